//! The database: what it promises, and whether the super tables are those that the mapping is for.

use std::time::Duration;

use super::Findings;
use crate::row::Precision;
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// A database as the server describes it; what it does not say is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Of its timestamps.
    pub precision: Precision,
    /// How old a row may be when it is written.
    pub keep: Option<Duration>,
    /// On how many nodes it is kept.
    pub replica: Option<i64>,
    /// 1: what is answered for is in the log, 2: and on disk by then.
    pub wal_level: Option<i64>,
    /// Milliseconds between two times that the log is written to disk; 0: at once.
    pub wal_fsync_period: Option<i64>,
}

/// What a consumer may make and change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plans {
    /// It makes a database that is not there.
    pub creates_database: bool,
    /// It makes super tables that are not there.
    pub creates_stable: bool,
    /// It adds columns and tags.
    pub adds_columns: bool,
    /// It widens VARCHAR and NCHAR.
    pub widens: bool,
}

/// A super table, as the mapping wants it and as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFacts<'t> {
    /// As the mapping would make it.
    pub wanted: &'t SuperTable,
    /// As it is, if it is there.
    pub there: Option<&'t SuperTable>,
}

/// Judges a database.
pub fn judge_database(facts: &DatabaseFacts, findings: &mut Findings) {
    let name = &facts.name;
    let keep =
        facts.keep.map_or_else(|| "an unknown time".to_owned(), |keep| format!("{} days", keep.as_secs() / 86_400));
    findings.info("database", format!("database {name} counts time in {} and keeps rows for {keep}", facts.precision));
    match (facts.wal_level, facts.wal_fsync_period) {
        (Some(2), Some(0)) => {}
        (Some(2), Some(period)) => findings.warning(
            "durability-fsync",
            format!("database {name} writes its log to disk every {period} ms: a power cut takes what was answered for since"),
            format!("alter database {name} wal_fsync_period 0, or several replicas"),
        ),
        (Some(level), _) => findings.warning(
            "durability-wal",
            format!("database {name} has wal_level {level}: what it answers for is not on disk yet, and a power cut takes it"),
            format!("alter database {name} wal_level 2; alter database {name} wal_fsync_period 0"),
        ),
        (None, _) => {}
    }
    if facts.replica == Some(1) {
        findings.warning(
            "durability-replica",
            format!("database {name} is kept on one node: it is lost with its disk"),
            format!("in production, with three nodes: alter database {name} replica 3"),
        );
    }
}

/// Judges a super table.
pub fn judge_table(facts: TableFacts<'_>, plans: Plans, findings: &mut Findings) {
    let TableFacts { wanted, there } = facts;
    let name = wanted.qualified_name();
    let create = wanted.create_statement();
    let Some(there) = there else {
        return match plans.creates_stable {
            true => findings.info("stable-will-be-made", format!("super table {name} is made at start: {create}")),
            false => findings.error(
                "stable-missing",
                format!("super table {name} is not there"),
                format!("[tdengine] create = \"stable\", or: {create}"),
            ),
        };
    };
    findings.info(
        "stable",
        format!("super table {name} has {} columns and {} tags", there.columns.len(), there.tags.len()),
    );
    if wanted.composite_key && !there.composite_key {
        findings.error(
            "key-differs",
            format!("{name} has the timestamp alone as its key, the mapping has {} in it too", wanted.columns[1].name),
            "rows of one timestamp overwrite one another: make the super table anew, with COMPOSITE KEY",
        );
    } else if there.composite_key {
        let key = &there.columns[1].name;
        if wanted.columns.iter().skip(1).all(|column| column.name != *key) {
            findings.error(
                "key-differs",
                format!("{name} has {key} in its key, and the mapping has no value for it"),
                format!("add a column {key} to the mapping"),
            );
        }
    }
    if wanted.columns[0].name != there.columns[0].name {
        findings.error(
            "timestamp-name",
            format!(
                "the first column of {name} is {}, in the mapping it is {}",
                there.columns[0].name, wanted.columns[0].name
            ),
            format!("timestamp = {{ .., column = \"{}\" }}", there.columns[0].name),
        );
    }
    for (kind, wanted_fields, known) in
        [("column", &wanted.columns[1..], &there.columns), ("tag", &wanted.tags[..], &there.tags)]
    {
        for field in wanted_fields {
            match known.iter().find(|known| known.name == field.name) {
                Some(known) => judge_field(&name, kind, field, known, plans, findings),
                None if plans.adds_columns => {
                    findings.info("column-will-be-added", format!("{kind} {} is added to {name}", field.name));
                }
                None => findings.error(
                    "column-missing",
                    format!("{name} has no {kind} {}", field.name),
                    format!(
                        "[tdengine] evolve = \"add-column\", or: alter stable {name} add {kind} `{}` {}",
                        field.name, field.data_type
                    ),
                ),
            }
        }
    }
}

fn judge_field(name: &str, kind: &str, wanted: &Field, there: &Field, plans: Plans, findings: &mut Findings) {
    let place = format!("{kind} {} of {name}", wanted.name);
    match fit(wanted.data_type, there.data_type) {
        Fit::Same => {}
        Fit::Narrow if plans.widens && is_text(there.data_type) => findings.info(
            "column-will-be-widened",
            format!("{place} is widened from {} to {}", there.data_type, wanted.data_type),
        ),
        Fit::Narrow => findings.warning(
            "column-narrower",
            format!(
                "{place} is {}, the mapping has {}: what does not fit goes to the dead letters",
                there.data_type, wanted.data_type
            ),
            match is_text(there.data_type) {
                true => format!(
                    "[tdengine] evolve = \"widen\", or: alter stable {name} modify {kind} `{}` {}",
                    wanted.name, wanted.data_type
                ),
                false => format!("write {} in the mapping, if that is enough", there.data_type),
            },
        ),
        Fit::Other => findings.error(
            "column-type",
            format!("{place} is {}, the mapping has {}", there.data_type, wanted.data_type),
            format!("write {} in the mapping, or give the column another name", there.data_type),
        ),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// All values of the one are values of the other.
    Same,
    /// Some are not.
    Narrow,
    /// They are of another kind.
    Other,
}

const fn is_text(data_type: DataType) -> bool {
    matches!(data_type, DataType::Varchar(_) | DataType::NChar(_))
}

/// How the values of `wanted` fit into a column of `there`.
fn fit(wanted: DataType, there: DataType) -> Fit {
    let of = |fits: bool| if fits { Fit::Same } else { Fit::Narrow };
    if wanted == there {
        return Fit::Same;
    }
    match (wanted, there) {
        (DataType::Varchar(wanted), DataType::Varchar(there))
        | (DataType::NChar(wanted), DataType::NChar(there))
        // In bytes here, in characters there: at worst a character is a byte.
        | (DataType::Varchar(wanted), DataType::NChar(there))
        | (DataType::VarBinary(wanted), DataType::VarBinary(there))
        | (DataType::Geometry(wanted), DataType::Geometry(there)) => of(wanted <= there),
        (DataType::NChar(wanted), DataType::Varchar(there)) => of(u32::from(wanted) * 4 <= u32::from(there)),
        (DataType::Decimal { precision, scale }, DataType::Decimal { precision: of_all, scale: of_fraction }) => {
            of(scale <= of_fraction && precision - scale <= of_all.saturating_sub(of_fraction))
        }
        _ => match (range(wanted), range(there)) {
            (Some(wanted), Some(there)) => of(wanted.0 >= there.0 && wanted.1 <= there.1),
            (Some(_), None) if matches!(there, DataType::Float | DataType::Double) => Fit::Same,
            (None, Some(_)) if matches!(wanted, DataType::Float | DataType::Double) => Fit::Narrow,
            (None, None) => match (wanted, there) {
                (DataType::Float, DataType::Double) => Fit::Same,
                (DataType::Double, DataType::Float) => Fit::Narrow,
                _ => Fit::Other,
            },
            _ => Fit::Other,
        },
    }
}

/// The whole numbers that a type takes.
fn range(data_type: DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::TinyInt => (i8::MIN.into(), i8::MAX.into()),
        DataType::SmallInt => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int => (i32::MIN.into(), i32::MAX.into()),
        DataType::BigInt => (i64::MIN.into(), i64::MAX.into()),
        DataType::TinyIntUnsigned => (0, u8::MAX.into()),
        DataType::SmallIntUnsigned => (0, u16::MAX.into()),
        DataType::IntUnsigned => (0, u32::MAX.into()),
        DataType::BigIntUnsigned => (0, u64::MAX.into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Severity::{self, Error, Info, Warning};
    use super::*;

    fn stable(columns: &[(&str, &str)], tags: &[(&str, &str)], composite_key: bool) -> SuperTable {
        let fields = |list: &[(&str, &str)]| {
            list.iter().map(|(name, kind)| Field::new(*name, kind.parse().unwrap())).collect::<Vec<_>>()
        };
        SuperTable {
            database: "db".into(),
            name: "st".into(),
            precision: Precision::Milli,
            columns: [vec![Field::new("ts", DataType::Timestamp)], fields(columns)].concat(),
            composite_key,
            tags: fields(tags),
        }
    }

    fn judged(wanted: &SuperTable, there: Option<&SuperTable>, plans: Plans) -> Vec<(&'static str, Severity)> {
        let mut findings = Findings::default();
        judge_table(TableFacts { wanted, there }, plans, &mut findings);
        findings.codes()
    }

    const ALL: Plans = Plans { creates_database: true, creates_stable: true, adds_columns: true, widens: true };

    #[test]
    fn what_is_made_at_start_is_worth_knowing_only() {
        let wanted = stable(&[("v", "int"), ("w", "varchar(20)")], &[("t", "int")], false);
        assert_eq!(judged(&wanted, None, Plans::default()), [("stable-missing", Error)]);
        assert_eq!(judged(&wanted, None, ALL), [("stable-will-be-made", Info)]);
        let there = stable(&[("w", "varchar(10)")], &[("t", "int")], false);
        let codes = [("stable", Info), ("column-missing", Error), ("column-narrower", Warning)];
        assert_eq!(judged(&wanted, Some(&there), Plans::default()), codes);
        let codes = [("stable", Info), ("column-will-be-added", Info), ("column-will-be-widened", Info)];
        assert_eq!(judged(&wanted, Some(&there), ALL), codes);
        assert_eq!(judged(&wanted, Some(&wanted), Plans::default()), [("stable", Info)]);
    }

    #[test]
    fn another_key_is_an_error() {
        let (plain, composite) =
            (stable(&[("k", "int")], &[("t", "int")], false), stable(&[("k", "int")], &[("t", "int")], true));
        assert_eq!(judged(&composite, Some(&plain), ALL), [("stable", Info), ("key-differs", Error)]);
        assert_eq!(judged(&plain, Some(&composite), ALL), [("stable", Info)]);
        let without = stable(&[("v", "int")], &[("t", "int")], false);
        assert_eq!(judged(&without, Some(&composite), ALL)[1], ("key-differs", Error));
    }

    #[test]
    fn types_fit_where_all_values_do() {
        let kind = |text: &str| text.parse::<DataType>().unwrap();
        let fits = [
            ("int", "bigint"),
            ("int", "double"),
            ("tinyint unsigned", "smallint"),
            ("float", "double"),
            ("varchar(8)", "nchar(8)"),
            ("decimal(5,2)", "decimal(8,3)"),
        ];
        let narrow = [
            ("bigint", "int"),
            ("int", "int unsigned"),
            ("double", "int"),
            ("nchar(8)", "varchar(8)"),
            ("decimal(5,2)", "decimal(5,3)"),
            ("double", "float"),
        ];
        let other = [("int", "varchar(8)"), ("bool", "int"), ("timestamp", "bigint"), ("varchar(8)", "varbinary(8)")];
        for (list, expected) in [(&fits[..], Fit::Same), (&narrow[..], Fit::Narrow), (&other[..], Fit::Other)] {
            for (wanted, there) in list {
                assert_eq!(fit(kind(wanted), kind(there)), expected, "{wanted} into {there}");
            }
        }
    }

    #[test]
    fn what_is_not_on_disk_is_told() {
        let facts = |wal_level, period, replica| DatabaseFacts {
            name: "db".into(),
            precision: Precision::Milli,
            keep: None,
            replica: Some(replica),
            wal_level: Some(wal_level),
            wal_fsync_period: Some(period),
        };
        let codes = |facts| {
            let mut findings = Findings::default();
            judge_database(&facts, &mut findings);
            findings.codes()[1..].to_vec()
        };
        assert_eq!(codes(facts(2, 0, 3)), []);
        assert_eq!(codes(facts(2, 3000, 3)), [("durability-fsync", Warning)]);
        assert_eq!(codes(facts(1, 3000, 1)), [("durability-wal", Warning), ("durability-replica", Warning)]);
    }
}
