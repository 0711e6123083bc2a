//! Where a super table is not as a mapping wants it, and what changes it.

use std::fmt;
use std::str::FromStr;

use super::{DataType, Field, SuperTable};
use crate::encode::escape::quote_identifier;

/// What may be changed of a super table that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evolve {
    /// Columns and tags that it lacks are added.
    pub add_column: bool,
    /// VARCHAR, NCHAR, VARBINARY and GEOMETRY that are too narrow are widened.
    pub widen: bool,
}

/// `none`, or `add-column` and `widen`, by comma.
impl FromStr for Evolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut evolve = Self::default();
        if text == "none" {
            return Ok(evolve);
        }
        for word in text.split(',').map(str::trim) {
            match word {
                "add-column" => evolve.add_column = true,
                "widen" => evolve.widen = true,
                _ => return Err(format!("{word:?} is none of add-column, widen (several by comma), none")),
            }
        }
        Ok(evolve)
    }
}

impl fmt::Display for Evolve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.add_column, self.widen) {
            (false, false) => "none",
            (true, false) => "add-column",
            (false, true) => "widen",
            (true, true) => "add-column,widen",
        })
    }
}

/// A column or tag that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The wanted column or tag.
    pub field: Field,
    /// Whether it is a tag.
    pub is_tag: bool,
    /// What is there instead.
    pub found: Found,
}

/// What is there instead of a wanted column or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The same type, with less room.
    Narrower(DataType),
    /// A type that does not hold all values of the wanted one.
    Other(DataType),
    /// A name that differs in its letter case alone.
    Spelled(String),
    /// A tag where a column is wanted, or a column where a tag is.
    Elsewhere,
    /// Another key: the wanted one differs in its first column, or in whether its second belongs to it.
    OtherKey(String),
}

/// Where `found` is not as `wanted`, in the order of its columns and tags. What it has beyond that is no matter.
pub fn differences(wanted: &SuperTable, found: &SuperTable) -> Vec<Difference> {
    let mut differences: Vec<_> = key_difference(wanted, found).into_iter().collect();
    let key_is_other = !differences.is_empty();
    let kinds = [
        (&wanted.columns[usize::from(key_is_other).min(wanted.columns.len())..], &found.columns, &found.tags, false),
        (&wanted.tags[..], &found.tags, &found.columns, true),
    ];
    for (fields, own, others, is_tag) in kinds {
        differences.extend(fields.iter().filter_map(|field| {
            let by_name = |fields: &[Field]| fields.iter().find(|other| other.name == field.name).cloned();
            let spelled = || own.iter().find(|other| other.name.eq_ignore_ascii_case(&field.name));
            let found = match by_name(own) {
                Some(own) => match own.data_type.room_for(field.data_type) {
                    Room::Enough => return None,
                    Room::TooLittle => Found::Narrower(own.data_type),
                    Room::None => Found::Other(own.data_type),
                },
                None if by_name(others).is_some() => Found::Elsewhere,
                None => spelled().map_or(Found::Nothing, |other| Found::Spelled(other.name.clone())),
            };
            Some(Difference { field: field.clone(), is_tag, found })
        }));
    }
    differences
}

fn key_difference(wanted: &SuperTable, found: &SuperTable) -> Option<Difference> {
    let (first, found_first) = (wanted.columns.first()?, found.columns.first()?);
    let other = |field: &Field, reason| {
        Some(Difference { field: field.clone(), is_tag: false, found: Found::OtherKey(reason) })
    };
    if first.name != found_first.name {
        return other(
            first,
            format!("the first column is {0:?}: write column = {0:?} in the mapping's timestamp", found_first.name),
        );
    }
    let second =
        |stable: &SuperTable| stable.columns.get(1).filter(|_| stable.composite_key).map(|key| key.name.clone());
    match (second(wanted), second(found)) {
        (wanted, found) if wanted == found => None,
        // Its rows have the column, and thus the key.
        (None, Some(key)) if wanted.columns.iter().any(|column| column.name == key) => None,
        (None, Some(key)) => other(first, format!("{key:?} is part of the key, and the mapping has no such column")),
        (Some(key), _) => other(
            first,
            format!(
                "{key:?} is not part of the key, so that rows of one moment would overwrite each other: drop the table, or leave `key` out"
            ),
        ),
        (None, None) => None,
    }
}

impl Difference {
    /// Whether rows can be written all the same: values that find room.
    pub fn is_tolerable(&self) -> bool {
        matches!(self.found, Found::Narrower(_))
    }

    /// The statement that mends it in `stable`, where `evolve` allows one.
    pub fn statement(&self, stable: &SuperTable, evolve: Evolve) -> Option<String> {
        let verb = match self.found {
            Found::Nothing if evolve.add_column => "add",
            Found::Narrower(_) if evolve.widen => "modify",
            _ => return None,
        };
        let kind = if self.is_tag { "tag" } else { "column" };
        let (name, data_type) = (quote_identifier(&self.field.name), self.field.data_type);
        Some(format!("alter stable {} {verb} {kind} {name} {data_type}", stable.qualified_name()))
    }
}

/// What is not as wanted, and what to do about it.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Field { name, data_type } = &self.field;
        let kind = if self.is_tag { "tag" } else { "column" };
        match &self.found {
            Found::Nothing => {
                write!(f, "it has no {kind} {name} ({data_type}): add it, or write evolve = \"add-column\"")
            }
            Found::Narrower(found) => write!(
                f,
                "{kind} {name} is {found}, and the mapping wants {data_type}: widen it, or write evolve = \"widen\""
            ),
            Found::Other(found) => write!(
                f,
                "{kind} {name} is {found}, and the mapping wants {data_type}: write {found} in the mapping, or drop the {kind}"
            ),
            Found::Spelled(found) => {
                write!(f, "it has no {kind} {name:?}, but {found:?}: letter case counts, write it so in the mapping")
            }
            Found::Elsewhere => {
                let other = if self.is_tag { "column" } else { "tag" };
                write!(f, "{name} is a {other}, and the mapping wants a {kind}: put it among the {other}s")
            }
            Found::OtherKey(reason) => f.write_str(reason),
        }
    }
}

/// Whether values of one type find room in another.
enum Room {
    Enough,
    TooLittle,
    None,
}

impl DataType {
    /// Whether a column of this type has room for values of the type `wanted`.
    fn room_for(self, wanted: Self) -> Room {
        use DataType as T;
        let by = |enough| if enough { Room::Enough } else { Room::TooLittle };
        match (self, wanted) {
            _ if self == wanted => Room::Enough,
            (T::Varchar(has), T::Varchar(wants))
            | (T::NChar(has), T::NChar(wants))
            | (T::VarBinary(has), T::VarBinary(wants))
            | (T::Geometry(has), T::Geometry(wants)) => by(has >= wants),
            // A character has a byte at least, and four at most.
            (T::NChar(has), T::Varchar(wants)) if has >= wants => Room::Enough,
            (T::Varchar(has), T::NChar(wants)) if usize::from(has) >= 4 * usize::from(wants) => Room::Enough,
            (T::Double, T::Float) => Room::Enough,
            (T::Decimal { precision, scale }, T::Decimal { precision: wants, scale: behind })
                if scale >= behind && precision - scale >= wants - behind =>
            {
                Room::Enough
            }
            (has, wants) if has.is_integer() && wants.is_integer() => {
                let bits = |data_type: T| 8 * data_type.fixed_width().unwrap_or_default();
                let is_signed = |data_type: T| data_type.code() <= T::BigInt.code();
                let enough = match (is_signed(has), is_signed(wants)) {
                    (true, false) => bits(has) > bits(wants),
                    (false, true) => false,
                    _ => bits(has) >= bits(wants),
                };
                if enough { Room::Enough } else { Room::None }
            }
            _ => Room::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Precision;

    fn stable(columns: &[(&str, &str)], tags: &[(&str, &str)]) -> SuperTable {
        let fields = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, data_type)| Field::new(*name, data_type.parse().unwrap())).collect()
        };
        SuperTable {
            database: "d".into(),
            name: "s".into(),
            precision: Precision::Milli,
            columns: fields(columns),
            composite_key: false,
            tags: fields(tags),
        }
    }

    const TS: (&str, &str) = ("ts", "timestamp");

    #[test]
    fn what_is_wanted_beyond_what_is_there_has_its_statement() {
        let found =
            stable(&[TS, ("v", "int"), ("n", "varchar(8)"), ("more", "int")], &[("g", "int"), ("t", "nchar(4)")]);
        let wanted =
            stable(&[TS, ("v", "int"), ("w", "double"), ("n", "varchar(20)")], &[("t", "nchar(9)"), ("h", "bool")]);
        let statements = |evolve: &str| {
            let evolve = evolve.parse().unwrap();
            let of = |difference: &Difference| difference.statement(&found, evolve);
            differences(&wanted, &found).iter().filter_map(of).collect::<Vec<_>>()
        };
        let add = ["alter stable `d`.`s` add column `w` DOUBLE", "alter stable `d`.`s` add tag `h` BOOL"];
        let widen =
            ["alter stable `d`.`s` modify column `n` VARCHAR(20)", "alter stable `d`.`s` modify tag `t` NCHAR(9)"];
        assert_eq!(statements("none"), [""; 0]);
        assert_eq!(statements("add-column"), add);
        assert_eq!(statements("widen"), widen);
        assert_eq!(statements("add-column, widen"), [add[0], widen[0], widen[1], add[1]]);
        assert_eq!(differences(&found, &found), []);
    }

    #[test]
    fn wider_types_have_room() {
        let one = |data_type| stable(&[TS, ("v", data_type)], &[("g", "int")]);
        let difference =
            |wanted, found| differences(&one(wanted), &one(found)).pop().map(|difference| difference.found);
        for (wanted, found) in [
            ("int", "bigint"),
            ("tinyint unsigned", "smallint"),
            ("float", "double"),
            ("varchar(8)", "varchar(9)"),
            ("varchar(8)", "nchar(8)"),
            ("nchar(2)", "varchar(8)"),
            ("decimal(10,2)", "decimal(12,4)"),
        ] {
            assert_eq!(difference(wanted, found), None, "{wanted} in {found}");
        }
        for (wanted, found) in [
            ("bigint", "int"),
            ("int", "int unsigned"),
            ("int unsigned", "int"),
            ("double", "float"),
            ("varchar(8)", "int"),
            ("nchar(3)", "varchar(8)"),
            ("decimal(10,2)", "decimal(10,4)"),
        ] {
            let found_type = found.parse().unwrap();
            assert_eq!(difference(wanted, found), Some(Found::Other(found_type)), "{wanted} in {found}");
        }
        assert_eq!(difference("nchar(9)", "nchar(8)"), Some(Found::Narrower(DataType::NChar(8))));
    }

    #[test]
    fn what_no_setting_mends_says_what_does() {
        let found = stable(&[("_ts", "timestamp"), ("Current", "float"), ("v", "int")], &[("site", "int")]);
        let wanted = stable(&[TS, ("current", "float"), ("v", "double"), ("site", "int")], &[("site2", "int")]);
        let texts: Vec<_> = differences(&wanted, &found).iter().map(ToString::to_string).collect();
        for (text, words) in texts.iter().zip([
            "column = \"_ts\"",
            "\"Current\": letter case counts",
            "write INT in the mapping",
            "put it among the tags",
            "no tag site2 (INT): add it, or write evolve",
        ]) {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(texts.len(), 5);
        let all = "add-column,widen".parse().unwrap();
        let mended = differences(&wanted, &found).iter().filter_map(|d| d.statement(&found, all)).count();
        assert_eq!(mended, 1, "only the missing tag");
    }

    #[test]
    fn keys_must_agree() {
        let plain = stable(&[TS, ("k", "int"), ("v", "int")], &[("g", "int")]);
        let keyed = SuperTable { composite_key: true, ..plain.clone() };
        let without = stable(&[TS, ("v", "int")], &[("g", "int")]);
        let says = |wanted, found| differences(wanted, found).first().map(ToString::to_string).unwrap_or_default();
        assert_eq!((says(&plain, &keyed), says(&keyed, &keyed)), (String::new(), String::new()));
        assert!(says(&keyed, &plain).contains("overwrite each other"));
        assert!(says(&without, &keyed).contains("no such column"));
    }

    #[test]
    fn settings_are_read_and_shown() {
        for text in ["none", "add-column", "widen", "add-column,widen"] {
            assert_eq!(text.parse::<Evolve>().unwrap().to_string(), text);
        }
        assert!("all".parse::<Evolve>().unwrap_err().contains("add-column, widen"));
    }
}
