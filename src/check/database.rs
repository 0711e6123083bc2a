//! The database: what it promises, and whether the super tables are those that the mapping is for.

use std::time::Duration;

use super::Findings;
use crate::row::Precision;
use crate::tdengine::schema::{Create, Found, SchemaPolicy, SuperTable, differences};

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

/// Judges a super table that is `wanted` by the mapping, and as it is, if it is there.
pub fn judge_table(wanted: &SuperTable, there: Option<&SuperTable>, policy: &SchemaPolicy, findings: &mut Findings) {
    let name = wanted.qualified_name();
    let create = wanted.create_statement();
    let Some(there) = there else {
        for wrong in wanted.check() {
            findings.error(
                "stable-limits",
                format!("super table {name} cannot be made: {wrong}"),
                "correct the mapping",
            );
        }
        return match policy.create >= Create::Stable {
            true => findings.info("stable-will-be-made", format!("super table {name} is made at start: {create}")),
            false => findings.error(
                "stable-missing",
                format!("super table {name} is not there"),
                format!("[tdengine] create = \"stable\", or: {create}"),
            ),
        };
    };
    let (columns, tags) = (there.columns.len(), there.tags.len());
    findings.info("stable", format!("super table {name} has {columns} columns and {tags} tags"));
    for difference in differences(wanted, there) {
        if let Some(statement) = difference.statement(there, policy.evolve) {
            findings.info("stable-will-change", format!("super table {name} is changed at start: {statement}"));
            continue;
        }
        let text = difference.to_string();
        let (what, fix) = text.split_once(": ").unwrap_or((&text, "correct the mapping"));
        let message = format!("super table {name}: {what}");
        match difference.found {
            Found::Narrower(_) => findings.warning(
                "column-narrower",
                format!("{message}; what does not fit goes to the dead letters"),
                fix,
            ),
            Found::Nothing => findings.error("column-missing", message, fix),
            Found::Spelled(_) => findings.error("column-spelled", message, fix),
            Found::Elsewhere => findings.error("column-elsewhere", message, fix),
            Found::OtherKey(_) => findings.error("key-differs", message, fix),
            _ => findings.error("column-type", message, fix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity::{self, Error, Info, Warning};
    use super::*;
    use crate::tdengine::schema::{DataType, Field};

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

    fn judged(wanted: &SuperTable, there: Option<&SuperTable>, policy: &SchemaPolicy) -> Vec<(&'static str, Severity)> {
        let mut findings = Findings::default();
        judge_table(wanted, there, policy, &mut findings);
        findings.codes()
    }

    #[test]
    fn what_is_made_at_start_is_worth_knowing_only() {
        let nothing = SchemaPolicy::default();
        let all = SchemaPolicy {
            create: Create::Stable,
            evolve: "add-column,widen".parse().unwrap(),
            ..SchemaPolicy::default()
        };
        let wanted = stable(&[("v", "int"), ("w", "varchar(20)")], &[("t", "int")], false);
        assert_eq!(judged(&wanted, None, &nothing), [("stable-missing", Error)]);
        assert_eq!(judged(&wanted, None, &all), [("stable-will-be-made", Info)]);
        let there = stable(&[("w", "varchar(10)")], &[("t", "int")], false);
        let codes = [("stable", Info), ("column-missing", Error), ("column-narrower", Warning)];
        assert_eq!(judged(&wanted, Some(&there), &nothing), codes);
        let codes = [("stable", Info), ("stable-will-change", Info), ("stable-will-change", Info)];
        assert_eq!(judged(&wanted, Some(&there), &all), codes);
        assert_eq!(judged(&wanted, Some(&wanted), &nothing), [("stable", Info)]);
        let other = stable(&[("v", "varchar(4)"), ("W", "varchar(20)")], &[("t", "int")], false);
        let codes = [("stable", Info), ("column-type", Error), ("column-spelled", Error)];
        assert_eq!(judged(&wanted, Some(&other), &all), codes);
    }

    #[test]
    fn another_key_is_an_error() {
        let plain = stable(&[("k", "int")], &[("t", "int")], false);
        let composite = SuperTable { composite_key: true, ..plain.clone() };
        assert_eq!(judged(&composite, Some(&plain), &SchemaPolicy::default())[1], ("key-differs", Error));
        assert_eq!(judged(&plain, Some(&composite), &SchemaPolicy::default()), [("stable", Info)]);
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
