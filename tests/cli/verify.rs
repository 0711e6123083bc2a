//! `verify`: what is there is found there, and nothing that is not.

use bytes::Bytes;
use kafka_taos::message::Outgoing;
use serde_json::{Value, json};

use crate::common::pair::{Pair, simulator};
use crate::common::process::Ended;
use crate::faulty_messages::publish;

#[track_caller]
fn assert_counts(result: &Value, expected: Value) {
    let names = [
        "messages",
        "messages_filtered",
        "messages_dead",
        "rows",
        "rows_present",
        "merged",
        "superseded",
        "rows_dead",
        "stale",
        "missing",
    ];
    for name in names {
        let wanted = expected.get(name).cloned().unwrap_or_else(|| json!(0));
        assert_eq!(result[name], wanted, "{name}: {result}");
        let parts = result["partitions"].as_array().expect("partitions");
        let sum: u64 = parts.iter().map(|part| part[name].as_u64().expect("a number")).sum();
        assert_eq!(json!(sum), wanted, "{name} over the partitions: {result}");
    }
    assert_eq!(result.as_object().unwrap().len(), names.len() + 1, "{result}");
}

fn verify(pair: &Pair, more: &[&str]) -> Ended {
    pair.run(&[&["verify", "--topic", "t", "--json"], more].concat())
}

#[test]
fn what_was_consumed_is_all_there() {
    let pair = Pair::start();
    let simulator = simulator(7, 3, 40);
    pair.create_topic("t", 3);
    pair.produce("t", &simulator, &[]);
    let nothing = verify(&pair, &[]).expect(0);
    assert_counts(&nothing.json(), json!({}));
    assert!(nothing.stderr.contains("has committed nothing"), "{}", nothing.stderr);
    pair.consume("t", &[]);
    let result = verify(&pair, &[]).expect(0).json();
    assert_counts(&result, json!({"messages": 280, "rows": 280, "rows_present": 280}));
    assert_eq!(result["partitions"].as_array().unwrap().len(), 3);
    let people = pair.run(&["verify", "--topic", "t"]).expect(0);
    assert!(people.stdout.contains("280 present") && people.stdout.contains("0 missing"), "{}", people.stdout);
    // What comes later is not committed, and explains nothing away.
    pair.produce("t", &simulator, &[]);
    assert_counts(&verify(&pair, &[]).expect(0).json(), json!({"messages": 280, "rows": 280, "rows_present": 280}));
}

#[test]
fn a_deleted_row_is_missing_with_its_place() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    pair.produce("t", &simulator(2, 2, 5), &[]);
    pair.consume("t", &[]);
    pair.run(&["sql", "delete from test.tb1 where ts = 1764547201000"]).expect(0);
    let found = verify(&pair, &[]).expect(1);
    assert_counts(&found.json(), json!({"messages": 10, "rows": 10, "rows_present": 9, "missing": 1}));
    for part in ["missing: t/0 offset 3", "tb1", "2025-12-01T00:00:01.000Z", "no row is stored", "--offset"] {
        assert!(found.stderr.contains(part), "{part}: {}", found.stderr);
    }
    // From further on there is nothing to complain of.
    let rest = verify(&pair, &["--from", "4"]).expect(0).json();
    assert_counts(&rest, json!({"messages": 6, "rows": 6, "rows_present": 6}));
    assert_eq!(rest["partitions"][0]["from"], 4, "{rest}");

    pair.run(&["sql", "drop table test.tb0"]).expect(0);
    assert_counts(
        &verify(&pair, &[]).expect(1).json(),
        json!({"messages": 10, "rows": 10, "rows_present": 4, "missing": 6}),
    );
}

#[test]
fn values_of_a_key_are_told_apart() {
    let pair = Pair::start();
    let simulator = simulator(2, 2, 5);
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    pair.consume("t", &[]);
    let older = pair.json(&["sql", "select col0, col1 from test.tb1 where ts = 1764547202000"]);
    let older: Vec<_> = (0..2).map(|column| older["rows"][0][column].as_str().unwrap().to_owned()).collect();

    // Other values of the same keys: in place of those before, in batches of their own.
    pair.produce("t", &simulator, &["--seed", "5"]);
    pair.consume("t", &[]);
    let overwritten = json!({"messages": 20, "rows": 20, "rows_present": 10, "superseded": 10});
    assert_counts(&verify(&pair, &[]).expect(0).json(), overwritten);

    // The same once more: nothing of the earlier ones is lost.
    pair.produce("t", &simulator, &["--seed", "5"]);
    pair.consume("t", &[]);
    let again = json!({"messages": 30, "rows": 30, "rows_present": 10, "merged": 10, "superseded": 10});
    assert_counts(&verify(&pair, &[]).expect(0).json(), again);

    let late = format!("insert into test.tb1 values (1764547202000, '{}', '{}')", older[0], older[1]);
    pair.run(&["sql", &late]).expect(0);
    let stale = verify(&pair, &[]).expect(0);
    let counts = json!({"messages": 30, "rows": 30, "rows_present": 9, "merged": 10, "superseded": 10, "stale": 1});
    assert_counts(&stale.json(), counts);
    assert!(stale.stderr.contains("stale: t/") && stale.stderr.contains("older value of col0"), "{}", stale.stderr);
    verify(&pair, &["--strict"]).expect(1);

    pair.run(&["sql", "insert into test.tb1 values (1764547203000, 'nobody', 'sent')"]).expect(0);
    let changed = verify(&pair, &[]).expect(1);
    let counts = json!({"messages": 30, "rows": 30, "rows_present": 8, "merged": 10, "superseded": 10, "stale": 1, "missing": 1});
    assert_counts(&changed.json(), counts);
    assert!(changed.stderr.contains("value that no message has"), "{}", changed.stderr);
}

#[test]
fn dead_letters_excuse_what_is_in_them() {
    let pair = Pair::start();
    let simulator = simulator(2, 2, 5);
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let bad =
        |payload: Option<&'static [u8]>| Outgoing { payload: payload.map(Bytes::from_static), ..Outgoing::default() };
    publish(&pair, "t", vec![bad(Some(b"\xffno record")), bad(None)]);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().join("dead").display());
    pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to]).expect(3);
    let excused = verify(&pair, &["--dead-letter", &to]).expect(0).json();
    assert_counts(&excused, json!({"messages": 12, "messages_dead": 2, "rows": 10, "rows_present": 10}));
    let without = verify(&pair, &[]).expect(1);
    assert_counts(&without.json(), json!({"messages": 12, "rows": 12, "rows_present": 10, "missing": 2}));
    assert!(without.stderr.contains("t/0 offset 10") && without.stderr.contains("not in the dead letters"));
}

#[test]
fn what_cannot_be_proven_is_a_failure() {
    let pair = Pair::start();
    pair.run(&["verify", "--topic", "nowhere", "--timeout", "1s"]).expect(1);
    pair.create_topic("t", 1);
    let no_table = verify(&pair, &["--timeout", "1s"]).expect(1);
    assert!(no_table.stderr.contains("test"), "{}", no_table.stderr);
}

/// One of each type, an array of them a message, keys repeated within it and across messages, NULL and no value.
const TYPES: &str = r#"
[format]
type = "json"
[[table]]
rows = "/rows"
stable = "all"
name = "t_{/id}"
timestamp = "ts"
tags = { id = { field = "/id", type = "int" } }
[table.columns]
k  = { type = "int", key = true }
b  = "bool"
i1 = "tinyint"
u1 = "tinyint unsigned"
i8 = "bigint"
u8 = "bigint unsigned"
f  = "float"
d  = "double"
v  = "varchar(16)"
n  = "nchar(16)"
x  = "varbinary(16)"
at = { type = "timestamp", unit = "rfc3339" }
m  = "decimal(12,3)"
[unmatched]
to = "drop"
[tdengine]
create = "database,stable"
precision = "us"
"#;

#[test]
fn every_type_is_compared_as_it_is_stored() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("types.toml");
    std::fs::write(&file, TYPES).unwrap();
    let file = file.to_str().unwrap();
    pair.create_topic("t", 2);
    let message = |partition: i32, text: String| Outgoing {
        partition: Some(partition),
        payload: Some(Bytes::from(text)),
        ..Outgoing::default()
    };
    let full = |k: u32, f: &str| {
        format!(
            r#"{{"ts":1764547200000,"k":{k},"b":true,"i1":-128,"u1":255,"i8":-9223372036854775808,"u8":18446744073709551615,
                 "f":{f},"d":0.1,"v":"it's \\ x","n":"Zürich ☃","x":"bytes","at":"2025-12-01T00:00:00.123456Z","m":"12.3456"}}"#
        )
    };
    let of = |id: i32, rows: &[String]| message(id % 2, format!(r#"{{"id":{id},"rows":[{}]}}"#, rows.join(",")));
    let bare = |k: u32, more: &str| format!(r#"{{"ts":1764547200000,"k":{k}{more}}}"#);
    publish(
        &pair,
        "t",
        vec![
            of(0, &[full(1, "16777217"), full(2, "-0.0"), full(1, "1.1")]),
            of(0, &[bare(1, r#","b":null"#), bare(3, "")]),
            of(1, &[full(1, "3.4e38"), bare(1, r#","v":"other","n":null"#)]),
            of(1, &[bare(1, r#","v":"other""#)]),
            message(1, r#"{"id":7}"#.to_owned()),
        ],
    );
    for (group, write) in [("stmt2", "stmt2"), ("sql", "sql")] {
        let url = pair.url().replace("/test", &format!("/{group}"));
        let common = ["--config", file, "--topic", "t", "--group", group, "--tdengine", &url, "--json"];
        let consume = [&["consume", "--until-end", "--write", write][..], &common].concat();
        assert_eq!(pair.run(&consume).expect(0).json()["consumed"], 5);
        let proven = pair.run(&[&["verify"][..], &common].concat()).expect(0).json();
        let counts =
            json!({"messages": 5, "messages_filtered": 1, "rows": 8, "rows_present": 4, "merged": 1, "superseded": 3});
        assert_counts(&proven, counts);
    }
    // A value that differs in its last place only.
    pair.run(&["sql", "insert into stmt2.t_0 (ts, k, m) values (1764547200000000, 2, 12.345)"]).expect(0);
    let url = pair.url().replace("/test", "/stmt2");
    let changed =
        pair.run(&["verify", "--config", file, "--topic", "t", "--group", "stmt2", "--tdengine", &url]).expect(1);
    assert!(
        changed.stderr.contains("t/0 offset 0: table stmt2.t_0 of all") && changed.stderr.contains("m is stored"),
        "{}",
        changed.stderr
    );
}
