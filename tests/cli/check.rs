//! `check`: everything is looked at, and each finding has its code and its fix.

use std::path::Path;

use bytes::Bytes;
use kafka_taos::message::Outgoing;
use serde_json::Value;

use crate::common::pair::Pair;
use crate::common::process::{kafka_taos, run};
use crate::faulty_messages::publish;

const METERS: &str = r#"
[format]
type = "json"
[[table]]
stable = "meters"
name = "d_{device}"
timestamp = "ts"
tags = { groupid = "int" }
columns = { current = "float", note = "nchar(8)" }
[dead_letter]
to = "file:dead"
"#;

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("meters.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn severity(findings: &Value, code: &str) -> String {
    let found = findings.as_array().unwrap().iter().find(|finding| finding["code"] == code);
    let found = found.unwrap_or_else(|| panic!("no {code} in {findings:#}"));
    for key in ["message", "fix"] {
        assert!(found[key].is_string(), "{found}");
    }
    if found["severity"] != "info" {
        assert_ne!(found["fix"], "", "{found}");
    }
    found["severity"].as_str().unwrap().to_owned()
}

fn reading(device: &str, ts: i64) -> Outgoing {
    let text = format!(r#"{{"device":"{device}","ts":{ts},"groupid":2,"current":10.3}}"#);
    Outgoing { key: Some(Bytes::from(device.to_owned())), payload: Some(text.into()), ..Outgoing::default() }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[test]
fn what_will_be_made_is_no_error() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), &format!("{METERS}\n[tdengine]\ncreate = \"database,stable\""));
    pair.create_topic("t", 2);
    publish(&pair, "t", (0..20).map(|at| reading(&format!("d{}", at % 3), now_ms() - at)).collect());
    let check = ["check", "--topic", "t", "--config", &file];
    let findings = pair.run(&[&check[..], &["--json"]].concat()).expect(0).json();
    for code in ["database-will-be-made", "stable-will-be-made", "topic", "group-new", "sample", "dead-letter"] {
        assert_eq!(severity(&findings, code), "info", "{code}");
    }
    // The embedded broker is one; that is worth a warning.
    assert_eq!(severity(&findings, "topic-one-replica"), "warning");
    let people = pair.run(&check).expect(0).stdout;
    assert!(people.contains("fix: ") && people.contains("create stable if not exists"), "{people}");
}

#[test]
fn all_is_looked_at_though_some_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), METERS);
    let mut command = kafka_taos(&["check", "--json", "--timeout", "500ms", "--config", &file, "--topic", "t"]);
    command.args(["--brokers", "127.0.0.1:1", "--tdengine", "ws://root:hunter2@127.0.0.1:1/power"]);
    let checked = run(&mut command).expect(1);
    let findings = checked.json();
    assert_eq!(severity(&findings, "kafka-unreachable"), "error");
    assert_eq!(severity(&findings, "tdengine-unreachable"), "error");
    assert_eq!(severity(&findings, "dead-letter"), "info");
    assert!(!checked.stdout.contains("hunter2") && !checked.stderr.contains("hunter2"));

    let file = write(folder.path(), "[kafka]\ntopic = \"t\"\n");
    let findings = run(&mut kafka_taos(&["check", "--json", "--config", &file])).expect(1).json();
    assert_eq!(severity(&findings, "settings"), "error");
    assert!(findings[0]["message"].as_str().unwrap().contains("line 2"), "{findings}");
}

#[test]
fn what_does_not_fit_is_told_before_it_is_tried() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), METERS);
    pair.create_topic("t", 1);
    let checked = |file: &str| pair.run(&["check", "--topic", "t", "--config", file, "--json"]).expect(1).json();
    assert_eq!(severity(&checked(&file), "database-missing"), "error");
    pair.run(&["sql", "create database test keep 10 duration 1"]).expect(0);
    let empty = checked(&file);
    assert_eq!((severity(&empty, "stable-missing"), severity(&empty, "sample-empty")), ("error".into(), "info".into()));

    pair.run(&["sql", "create stable test.meters (ts timestamp, current float, note nchar(4)) tags (site int)"])
        .expect(0);
    let old = now_ms() - 20 * 86_400_000;
    publish(&pair, "t", vec![reading("d1", old), reading("d1", now_ms())]);
    let findings = checked(&file);
    assert_eq!(severity(&findings, "column-missing"), "error");
    assert_eq!(severity(&findings, "column-narrower"), "warning");
    assert_eq!(severity(&findings, "durability-wal"), "warning");

    let file =
        write(folder.path(), &METERS.replace("groupid = \"int\"", "site = { type = \"int\", field = \"groupid\" }"));
    let findings = checked(&file);
    assert_eq!(severity(&findings, "keep"), "error");
    let seconds =
        write(folder.path(), &METERS.replace("timestamp = \"ts\"", "timestamp = { field = \"ts\", unit = \"us\" }"));
    let findings = checked(&seconds);
    assert!(findings.to_string().contains("timestamp-unit") || findings.to_string().contains("sample-dead-letters"));
    let missing = pair.run(&["check", "--topic", "nowhere", "--config", &file, "--json"]).expect(1).json();
    assert_eq!(severity(&missing, "topic-missing"), "error");
}
