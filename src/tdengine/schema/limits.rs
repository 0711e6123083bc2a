//! What the server takes as a super table, checked before it is asked to make one.

use std::collections::HashSet;

use super::{DataType, Field, SuperTable};

/// Columns and tags together.
const MAX_FIELDS: usize = 4_096;
const MAX_TAGS: usize = 128;
/// Bytes of a row, and of a table's tags, as they are declared.
const MAX_ROW_BYTES: usize = 65_531;
const MAX_TAG_BYTES: usize = 16_384;
/// Bytes of a name.
const MAX_TABLE_NAME: usize = 192;
const MAX_FIELD_NAME: usize = 64;

impl SuperTable {
    /// All for which the server would refuse to make it; empty where there is nothing.
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(reason) = wrong_name(&self.name, MAX_TABLE_NAME) {
            wrong.push(format!("the super table's name {:?} {reason}", self.name));
        }
        let (columns, tags) = (&self.columns, &self.tags);
        if columns.len() < 2 {
            wrong.push("a super table has a timestamp and one more column at least".to_owned());
        }
        if columns.first().is_some_and(|first| first.data_type != DataType::Timestamp) {
            wrong.push("the first column is a timestamp".to_owned());
        }
        if tags.is_empty() {
            wrong.push("a super table has a tag at least".to_owned());
        }
        if tags.len() > MAX_TAGS {
            wrong.push(format!("{} tags, the limit is {MAX_TAGS}", tags.len()));
        }
        if columns.len() + tags.len() > MAX_FIELDS {
            wrong.push(format!("{} columns and tags, the limit is {MAX_FIELDS}", columns.len() + tags.len()));
        }
        if tags.len() > 1 && tags.iter().any(|tag| tag.data_type == DataType::Json) {
            wrong.push("a JSON tag is the only tag of its table".to_owned());
        }
        if let Some(key) = columns.get(1).filter(|key| self.composite_key && !may_be_key(key.data_type)) {
            wrong.push(format!(
                "{} ({}) cannot be part of the key: only INT, BIGINT (UNSIGNED too) and VARCHAR can",
                key.name, key.data_type
            ));
        }
        let mut names = HashSet::new();
        for (field, is_tag) in columns.iter().map(|field| (field, false)).chain(tags.iter().map(|field| (field, true)))
        {
            if let Some(reason) = wrong_name(&field.name, MAX_FIELD_NAME) {
                wrong.push(format!("the name {:?} {reason}", field.name));
            }
            if !names.insert(&field.name) {
                wrong.push(format!("two columns or tags have the name {:?}", field.name));
            }
            wrong.extend(wrong_type(field, is_tag));
        }
        let bytes = |fields: &[Field]| fields.iter().map(|field| declared_bytes(field.data_type)).sum::<usize>();
        if bytes(columns) > MAX_ROW_BYTES {
            wrong.push(format!("a row has up to {} bytes, the limit is {MAX_ROW_BYTES}", bytes(columns)));
        }
        if bytes(tags) > MAX_TAG_BYTES {
            wrong.push(format!("tags of up to {} bytes, the limit is {MAX_TAG_BYTES}", bytes(tags)));
        }
        wrong
    }
}

fn wrong_name(name: &str, max_bytes: usize) -> Option<String> {
    match name {
        "" => Some("is empty".to_owned()),
        _ if name.len() > max_bytes => Some(format!("has {} bytes, the limit is {max_bytes}", name.len())),
        _ if name.contains('.') => Some("has a dot, which no name can have".to_owned()),
        _ => None,
    }
}

fn wrong_type(field: &Field, is_tag: bool) -> Option<String> {
    let Field { name, data_type } = field;
    let (length, limit) = match (*data_type, is_tag) {
        (DataType::Json, false) => return Some(format!("{name}: only a tag can be JSON")),
        (DataType::Blob | DataType::Decimal { .. }, true) => {
            return Some(format!("{name}: {data_type} cannot be the type of a tag"));
        }
        (DataType::NChar(length), false) => (length, 16_379),
        (DataType::NChar(length), true) => (length, 4_095),
        (DataType::Varchar(length) | DataType::VarBinary(length) | DataType::Geometry(length), false) => {
            (length, 65_517)
        }
        (DataType::Varchar(length) | DataType::VarBinary(length) | DataType::Geometry(length), true) => {
            (length, 16_382)
        }
        _ => return None,
    };
    let kind = if is_tag { "tag" } else { "column" };
    (length > limit).then(|| format!("{name}: {data_type} is too long for a {kind}, the limit is {limit}"))
}

fn may_be_key(data_type: DataType) -> bool {
    use DataType::{BigInt, BigIntUnsigned, Int, IntUnsigned, Varchar};
    matches!(data_type, Int | IntUnsigned | BigInt | BigIntUnsigned | Varchar(_))
}

/// What a value may take: two bytes more for the length of those that have one, four a character in NCHAR.
fn declared_bytes(data_type: DataType) -> usize {
    match data_type {
        DataType::Varchar(length) | DataType::VarBinary(length) | DataType::Geometry(length) => usize::from(length) + 2,
        DataType::NChar(length) => 4 * usize::from(length) + 2,
        DataType::Decimal { precision, .. } => {
            if precision <= 18 {
                8
            } else {
                16
            }
        }
        // Kept outside of the row.
        DataType::Blob => 8,
        DataType::Json => 0,
        fixed => fixed.fixed_width().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Precision;

    fn with(columns: Vec<(String, DataType)>, tags: Vec<(String, DataType)>) -> SuperTable {
        let fields = |fields: Vec<(String, DataType)>| fields.into_iter().map(|(n, t)| Field::new(n, t)).collect();
        let mut columns: Vec<Field> = fields(columns);
        columns.insert(0, Field::new("ts", DataType::Timestamp));
        let (database, name) = ("d".to_owned(), "s".to_owned());
        SuperTable { database, name, precision: Precision::Milli, columns, composite_key: false, tags: fields(tags) }
    }

    fn many(prefix: &str, count: usize) -> Vec<(String, DataType)> {
        (0..count).map(|i| (format!("{prefix}{i}"), DataType::Int)).collect()
    }

    fn one(name: &str, data_type: DataType) -> Vec<(String, DataType)> {
        vec![(name.to_owned(), data_type)]
    }

    /// Each as a real server was recorded to take or refuse it.
    #[test]
    fn the_limits_are_those_of_the_server() {
        let takes = |columns, tags| assert_eq!(with(columns, tags).check(), [""; 0]);
        let refuses = |columns, tags, word: &str| {
            let wrong = with(columns, tags).check();
            assert!(wrong.iter().any(|reason| reason.contains(word)), "{word}: {wrong:?}");
        };
        takes(many("c", 4094), many("g", 1));
        refuses(many("c", 4095), many("g", 1), "4097 columns and tags");
        takes(many("c", 1), many("g", 128));
        refuses(many("c", 1), many("g", 129), "129 tags");
        refuses(many("c", 0), many("g", 1), "one more column");
        refuses(many("c", 1), many("g", 0), "a tag at least");
        refuses(many("c", 1), many("c", 1), "two columns or tags");
        takes(one("a", DataType::Varchar(65_517)), many("g", 1));
        refuses(one("a", DataType::Varchar(65_518)), many("g", 1), "too long for a column");
        refuses(one("a", DataType::NChar(16_380)), many("g", 1), "too long for a column");
        takes(many("c", 1), one("a", DataType::Varchar(16_382)));
        refuses(many("c", 1), one("a", DataType::Varchar(16_383)), "too long for a tag");
        let two = |a, b| [one("a", DataType::Varchar(a)), one("b", DataType::Varchar(b))].concat();
        takes(two(32_000, 33_000), many("g", 1));
        refuses(two(40_000, 40_000), many("g", 1), "the limit is 65531");
        refuses(many("c", 1), two(10_000, 10_000), "the limit is 16384");
        refuses(one("j", DataType::Json), many("g", 1), "only a tag can be JSON");
        refuses(many("c", 1), [one("j", DataType::Json), many("g", 1)].concat(), "the only tag");
        refuses(one(&"x".repeat(65), DataType::Int), many("g", 1), "65 bytes");
        refuses(one("a.b", DataType::Int), many("g", 1), "a dot");
        let mut keyed = with(one("k", DataType::Float), many("g", 1));
        keyed.composite_key = true;
        assert!(keyed.check()[0].contains("part of the key"));
    }
}
