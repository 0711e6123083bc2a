//! `infer`: what it prints is taken as it is: by `check`, by `preview`, by a consumer that loads the topic.

use std::path::Path;

use bytes::Bytes;
use kafka_taos::config::file::FileConfig;
use kafka_taos::message::Outgoing;
use serde_json::Value;

use crate::common::pair::{Pair, simulator};
use crate::common::process::{kafka_taos, run_with_input};
use crate::faulty_messages::publish;

/// Infers a configuration of `topic`, and loads the topic by it without an edit; returns the configuration.
#[track_caller]
fn loads(pair: &Pair, topic: &str, folder: &Path, database: &str) -> String {
    let url = pair.url().replace("/test", &format!("/{database}"));
    let file = folder.join(format!("{database}.toml"));
    let path = file.to_str().unwrap();
    let inferred = pair.run(&["infer", "--topic", topic, "--tdengine", &url]).expect(0).stdout;
    std::fs::write(&file, &inferred).unwrap();
    assert!(!inferred.contains("taosdata"), "{inferred}");
    // All that it needs stands in it.
    let run = |arguments: &[&str]| {
        let mut command = kafka_taos(arguments);
        command.args(["--config", path, "--json"]);
        crate::common::process::run(&mut command)
    };
    let checked = run(&["check"]);
    assert_eq!(checked.code, Some(0), "{}\n{inferred}", checked.stdout);
    for one in run(&["preview", "-n", "50"]).expect(0).json().as_array().unwrap() {
        assert_eq!(one["dead_letters"].as_array().map(Vec::len), Some(0), "{one}\n{inferred}");
    }
    let consumed = run(&["consume", "--until-end"]);
    assert_eq!(consumed.code, Some(0), "{}\n{inferred}", consumed.stderr);
    let consumed = consumed.json();
    assert!(consumed["rows_written"].as_u64() > Some(0), "{consumed}\n{inferred}");
    let proven = run(&["verify"]).expect(0).json();
    assert_eq!((&proven["missing"], &proven["messages"]), (&0.into(), &consumed["consumed"]), "{proven}");
    assert_eq!(run(&["check"]).code, Some(0), "and again, now that the tables are there");
    inferred
}

fn message(key: Option<&str>, payload: impl Into<Bytes>) -> Outgoing {
    Outgoing { key: key.map(|key| Bytes::from(key.to_owned())), payload: Some(payload.into()), ..Outgoing::default() }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[test]
fn the_examples_are_loaded_without_an_edit() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mappings");
    for name in ["meters", "telemetry", "sparkplug", "opentelemetry", "wide"] {
        // What the example's own tests are about, but for what is wrong on purpose, many times over.
        let config = FileConfig::read(&examples.join(format!("{name}.toml"))).unwrap();
        let good: Vec<_> = config.test.iter().filter(|test| test.faults.is_empty() && !test.dropped).collect();
        assert!(!good.is_empty(), "{name}");
        pair.create_topic(name, 2);
        let messages = good.iter().map(|test| message(test.key.as_deref(), test.input.clone().unwrap()));
        publish(&pair, name, messages.collect());
        loads(&pair, name, folder.path(), name);
    }
}

#[test]
fn meters_are_told_by_how_their_fields_vary() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    pair.create_topic("t", 3);
    let start = now_ms() - 100_000;
    let reading = |at: i64| {
        let device = at % 20;
        message(
            Some(&format!("d{device}")),
            format!(
                r#"{{"device":"d{device}","ts":{},"current":{}.5,"voltage":{},"groupid":{},"location":"Zürich.{}"}}"#,
                start + at * 1000 / 20,
                at % 9,
                215 + at % 10,
                device % 4,
                device % 5
            ),
        )
    };
    publish(&pair, "t", (0..400).map(reading).collect());
    let text = loads(&pair, "t", folder.path(), "power");
    let config = FileConfig::parse(&text).unwrap();
    let table = &config.table[0];
    let names = |fields: &kafka_taos::mapping::config::Fields| {
        fields.0.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names(&table.tags), names(&table.columns)),
        (
            ["device", "groupid", "location"].map(str::to_owned).to_vec(),
            ["current", "voltage"].map(str::to_owned).to_vec()
        ),
        "{text}"
    );
    assert_eq!(pair.scalar("select count(*) from power.t"), 400);
    assert_eq!(pair.scalar("select count(*) from (select distinct tbname from power.t)"), 20);
}

#[test]
fn demo_records_are_a_mapping_too() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    pair.create_topic("t", 2);
    pair.produce("t", &simulator(5, 3, 20), &[]);
    let text = loads(&pair, "t", folder.path(), "demo");
    assert!(text.contains("type = \"msgpack\"") && text.contains("/Cols/2"), "{text}");
    assert_eq!(pair.scalar("select count(*) from demo.t"), 100);
}

#[test]
fn what_cannot_be_inferred_says_what_to_do() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    assert!(pair.run(&["infer", "--topic", "t"]).expect(1).stderr.contains("no messages"));
    publish(&pair, "t", vec![message(None, &b"\0\0\0\0\x07\x02ab"[..]), message(None, &b"\0\0\0\0\x07\x04cd"[..])]);
    assert!(pair.run(&["infer", "--topic", "t"]).expect(1).stderr.contains("registry"));
    let lines = b"{\"id\":\"a\",\"ts\":1764547200000,\"v\":1}\n{\"id\":\"a\",\"ts\":1764547201000,\"v\":2}\n";
    let inferred = run_with_input(&mut kafka_taos(&["infer", "--input", "-", "--json"]), lines).expect(0).json();
    assert_eq!(inferred["format"], "json");
    assert!(matches!(&inferred["ddl"][0], Value::String(ddl) if ddl.contains("create stable")), "{inferred}");
}
