//! `test` and `preview`: what a mapping makes of messages, without anything being written.

use std::path::Path;

use bytes::Bytes;
use kafka_taos::message::Outgoing;

use crate::common::pair::Pair;
use crate::common::process::{kafka_taos, run, run_with_input};
use crate::faulty_messages::publish;

const METERS: &str = r#"
[format]
type = "json"
[[table]]
when = "device != null"
stable = "meters"
name = "d_{device}"
timestamp = "ts"
tags = { groupid = "int" }
columns = { current = "float", note = "nchar(8)" }
[unmatched]
to = "drop"
[[test]]
name = "a reading"
input = '{"device":"d1","ts":1764547200000,"groupid":2,"current":10.3}'
rows = [{ stable = "meters", table = "d_d1", tags = { groupid = 2 }, columns = { ts = 2025-12-01T00:00:00Z, current = 10.3, note = { unset = true } } }]
"#;

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("meters.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_examples_pass_their_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mappings");
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(names.len() >= 5, "{names:?}");
    for path in names {
        let tested = run(kafka_taos(&["test", "--json"]).arg(&path)).expect(0).json();
        assert!(!tested.as_array().unwrap().is_empty(), "{}", path.display());
    }
}

#[test]
fn a_test_that_fails_says_what_differs() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), METERS);
    let passed = run(&mut kafka_taos(&["test", &file])).expect(0);
    assert_eq!(passed.stdout, "ok    a reading");
    let file = write(folder.path(), &METERS.replace("groupid = 2 }, columns", "groupid = 3 }, columns"));
    let failed = run(&mut kafka_taos(&["test", &file])).expect(1);
    assert!(failed.stdout.contains("FAIL  a reading\n      row 1: tag groupid is 2, expected 3"), "{}", failed.stdout);
    let failed = run(&mut kafka_taos(&["test", &file, "--json"])).expect(1).json();
    assert_eq!(failed[0]["failures"][0], "row 1: tag groupid is 2, expected 3");
    let file = write(folder.path(), METERS.split("[[test]]").next().unwrap());
    assert!(run(&mut kafka_taos(&["test", &file])).expect(1).stderr.contains("[[test]]"));
    let file = write(folder.path(), &METERS.replace("\"float\"", "\"flaot\""));
    assert!(run(&mut kafka_taos(&["test", &file])).expect(2).stderr.contains("columns.current"));
}

#[test]
fn a_preview_shows_rows_and_dead_letters_and_writes_nothing() {
    let pair = Pair::start();
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), METERS);
    pair.create_topic("t", 2);
    let message = |partition, text: &'static str| Outgoing {
        partition: Some(partition),
        key: Some(Bytes::from_static(b"k")),
        payload: Some(Bytes::from_static(text.as_bytes())),
        ..Outgoing::default()
    };
    publish(
        &pair,
        "t",
        vec![
            message(0, r#"{"device":"d1","ts":1764547200000,"groupid":2,"current":10.3,"note":"it's"}"#),
            message(0, r#"{"device":"d1","ts":1764547200000,"groupid":2,"current":10.3,"note":"far too long"}"#),
            message(1, r#"{"status":"ok"}"#),
            message(1, "no JSON"),
        ],
    );
    let preview = ["preview", "--topic", "t", "--config", &file];
    let shown = pair.run(&[&preview[..], &["--json"]].concat()).expect(0);
    assert!(shown.stderr.contains("as the mapping would make it"), "{}", shown.stderr);
    let shown = shown.json();
    assert_eq!(shown[0]["rows"][0]["table"], "d_d1", "{shown}");
    assert_eq!(shown[0]["rows"][0]["columns"]["current"], 10.3, "{shown}");
    let sql = shown[0]["rows"][0]["sql"].as_str().unwrap();
    assert!(sql.starts_with("insert into `test`.`d_d1` using `test`.`meters`") && sql.contains("'it''s'"), "{sql}");
    assert!(shown[1]["dead_letters"][0]["reason"].as_str().unwrap().contains("note (NCHAR(8))"), "{shown}");
    assert_eq!((&shown[2]["dropped"], &shown[2]["partition"]), (&true.into(), &"t/1".into()), "{shown}");
    assert!(shown[3]["dead_letters"][0]["reason"].as_str().unwrap().contains("JSON"), "{shown}");
    let people = pair.run(&[&preview[..], &["-n", "2"]].concat()).expect(0).stdout;
    assert!(
        people.contains("t/0 offset 0, key \"k\"\n  table d_d1 of meters") && people.contains("dropped"),
        "{people}"
    );
    let nothing = pair.run(&["sql", "select count(*) from test.meters"]);
    assert_eq!(nothing.code, Some(1), "nothing was made: {}", nothing.stdout);
}

#[test]
fn a_preview_of_lines_needs_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), METERS);
    let mut command = kafka_taos(&["preview", "--input", "-", "--config", &file, "--json", "--timeout", "200ms"]);
    command.args(["--tdengine", "ws://root:taosdata@127.0.0.1:1/power"]);
    let shown =
        run_with_input(&mut command, b"{\"device\":\"d1\",\"ts\":1,\"groupid\":2}\n\n{\"device\":\"d2\",\"ts\":2}\n");
    let shown = shown.expect(0).json();
    assert_eq!(shown[1]["rows"][0]["table"], "d_d2", "{shown}");
}
