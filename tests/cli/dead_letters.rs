//! Dead letters: where they go, how they are looked at, and how they come back.

use bytes::Bytes;
use kafka_taos::message::{Header, Outgoing};
use serde_json::{Value, json};

use crate::common::pair::{Pair, simulator};
use crate::common::process::{Ended, Signal};
use crate::common::scenario::{letters_go_to_a_topic_and_come_back, record};
use crate::common::{skip, until};
use crate::faulty_messages::publish;

/// A pair with the super table of the demo record and a topic, and a place for dead letters.
struct Fixture {
    pair: Pair,
    place: String,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new(place: &str) -> Self {
        let (pair, folder) = (Pair::start(), tempfile::tempdir().unwrap());
        pair.create_topic("t", 1);
        pair.produce("t", &simulator(2, 2, 5), &["--codec", "json"]);
        let place = match place {
            "file" => format!("file:{}", folder.path().join("dead").display()),
            _ => "topic:t.dead".to_owned(),
        };
        Self { pair, place, _folder: folder }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let place = ["--dead-letter", &self.place, "--codec", "json", "--json"];
        self.pair.run(&[arguments, &place].concat())
    }

    fn consume(&self, more: &[&str]) -> Ended {
        self.run(&[&["consume", "--until-end", "--topic", "t"], more].concat())
    }

    fn letters(&self, filter: &[&str]) -> Vec<Value> {
        let listed = self.run(&[&["dead-letter", "list"], filter].concat()).expect(0).json();
        listed.as_array().unwrap().clone()
    }

    fn replay(&self, more: &[&str]) -> Ended {
        self.run(&[&["dead-letter", "replay"], more].concat())
    }

    fn sql(&self, sql: &str) -> Value {
        self.pair.json(&["sql", sql])["rows"].clone()
    }
}

fn wide(letters: usize) -> String {
    "w".repeat(letters)
}

#[test]
fn letters_go_to_a_topic_that_is_made_and_come_back_through_a_wider_table() {
    let pair = Pair::start();
    letters_go_to_a_topic_and_come_back(&pair.brokers.clone(), &pair);
}

#[test]
fn a_letter_in_a_topic_is_the_message_as_it_was() {
    let fixture = Fixture::new("topic");
    let header =
        |name: &str, value: &'static [u8]| Header { name: name.into(), value: Some(Bytes::from_static(value)) };
    let message = Outgoing {
        key: Some(Bytes::from_static(b"\xffkey")),
        payload: Some(Bytes::from_static(b"\xffno record")),
        headers: vec![header("trace", b"\x01"), Header { name: "empty".into(), value: None }],
        timestamp_ms: Some(1_000_000),
        ..Outgoing::default()
    };
    publish(&fixture.pair, "t", vec![message]);
    assert_eq!(fixture.consume(&[]).expect(3).json()["dead_lettered"], 1);
    let shown = fixture.run(&["dead-letter", "show", "t/0/10"]).expect(0).json();
    // In base64.
    assert_eq!((&shown["key"], &shown["payload"]), (&json!("/2tleQ=="), &json!("/25vIHJlY29yZA==")), "{shown}");
    assert_eq!(shown["headers"], json!([["trace", "AQ=="], ["empty", null]]), "{shown}");
    assert_eq!(shown["timestamp_ms"], 1_000_000, "old as it is, retention leaves it alone: {shown}");
    let people = fixture.pair.run(&["dead-letter", "show", "0", "--dead-letter", "topic:t.dead"]).expect(0).stdout;
    assert!(people.contains("0xff6b6579") && people.contains("cannot be decoded"), "{people}");
    fixture.run(&["dead-letter", "show", "t/0/11"]).expect(1);
    assert_eq!(fixture.consume(&[]).expect(0).json()["consumed"], 0);
}

#[test]
fn what_fails_again_stays_with_one_more_try() {
    for place in ["file", "topic"] {
        let fixture = Fixture::new(place);
        let lines = format!("garbage\n{}\n{}\n", record("tb0", 1, &wide(20)), record("tb1", 2, &wide(30)));
        let produce = ["console", "produce", "--topic", "t"];
        fixture.pair.run_with_input(&produce, lines.as_bytes()).expect(0);
        assert_eq!(fixture.consume(&[]).expect(3).json()["dead_lettered"], 3);
        fixture.sql("alter stable test.stb modify column col0 binary(20)");
        let again = fixture.replay(&[]).expect(3).json();
        assert_eq!((&again["letters"], &again["replayed"], &again["dead_lettered"]), (&json!(3), &json!(1), &json!(2)));
        let tries: Vec<_> =
            fixture.letters(&[]).iter().map(|one| (one["offset"].clone(), one["tries"].clone())).collect();
        assert_eq!(tries, [(json!(10), json!(2)), (json!(12), json!(2))], "{place}");
        fixture.sql("alter stable test.stb modify column col0 binary(30)");
        let only = fixture.replay(&["--reason", "LIMIT IS 20"]).expect(0).json();
        assert_eq!((&only["letters"], &only["rows_written"]), (&json!(1), &json!(1)));
        let left = fixture.letters(&[]);
        assert_eq!((left.len(), &left[0]["offset"]), (1, &json!(10)), "{place}");
        assert_eq!(fixture.pair.scalar("select count(*) from test.stb"), 12);
        let verified = fixture.run(&["verify", "--topic", "t"]).expect(0).json();
        assert_eq!((&verified["messages_dead"], &verified["missing"]), (&json!(1), &json!(0)), "{verified}");
    }
}

#[test]
fn an_old_row_is_not_written_over_a_newer_one_unless_asked() {
    let fixture = Fixture::new("file");
    let put = |value: &str| {
        let line = format!("{}\n", record("tb9", 7, value));
        fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], line.as_bytes()).expect(0);
    };
    put(&wide(20));
    put("newer");
    fixture.consume(&[]).expect(3);
    fixture.sql("alter stable test.stb modify column col0 binary(20)");
    let left = fixture.replay(&[]).expect(3);
    assert_eq!((&left.json()["overwriting"], &left.json()["rows_written"]), (&json!(1), &json!(0)));
    assert!(left.stderr.contains("t/0/10") && left.stderr.contains("--overwrite"), "{}", left.stderr);
    assert_eq!(fixture.sql("select col0 from test.tb9"), json!([["newer"]]));
    assert_eq!(fixture.letters(&[])[0]["tries"], 1, "it is left as it was");
    fixture.replay(&["--overwrite"]).expect(0);
    assert_eq!(fixture.sql("select col0 from test.tb9"), json!([[wide(20)]]));
    // What is written already is no other value.
    assert!(fixture.letters(&[]).is_empty());
}

/// A mapping of messages with several rows.
const MAPPING: &str = r#"
[format]
type = "json"
[[table]]
rows      = "/records"
stable    = "notes"
name      = "n_{id}"
timestamp = "ts"
tags      = { site = "int" }
columns   = { note = "varchar(10)" }
"#;

#[test]
fn of_a_message_that_failed_in_part_only_that_part_is_written_again() {
    let fixture = Fixture::new("topic");
    fixture.sql("create stable test.notes (ts timestamp, note varchar(10)) tags (site int)");
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), MAPPING).unwrap();
    let config = config.path().to_str().unwrap();
    let run = |arguments: &[&str]| {
        fixture.pair.run(&[arguments, &["--config", config, "--dead-letter", "topic:t.dead", "--json"]].concat())
    };
    let consume = ["consume", "--until-end", "--topic", "n"];
    fixture.pair.create_topic("n", 1);
    let put = |lines: &str| {
        fixture.pair.run_with_input(&["console", "produce", "--topic", "n"], lines.as_bytes()).expect(0);
    };
    let row = |id: &str, note: &str| format!(r#"{{"id":"{id}","ts":1767225600000,"note":"{note}"}}"#);
    let three =
        |b: &str| format!(r#"{{"site":1,"records":[{},{},{}]}}"#, row("a", "old"), row("b", b), row("c", "old"));
    put(&format!("{}\n", three(&wide(20))));
    let first = run(&consume).expect(3).json();
    assert_eq!((&first["rows_written"], &first["dead_lettered"]), (&json!(2), &json!(1)), "{first}");
    let shown = run(&["dead-letter", "show", "n/0/0"]).expect(0).json();
    assert_eq!((&shown["rows"][0]["element"], &shown["of_rows"]), (&json!(1), &json!(3)), "{shown}");
    assert_eq!(shown["decoded"]["records"][2]["id"], "c", "{shown}");

    put(&format!(r#"{{"site":1,"records":[{}]}}"#, row("a", "new")));
    run(&consume).expect(0);
    fixture.sql("alter stable test.notes modify column note varchar(20)");
    let replayed = run(&["dead-letter", "replay"]).expect(0).json();
    assert_eq!((&replayed["replayed"], &replayed["rows_written"]), (&json!(1), &json!(1)), "{replayed}");
    let stored = fixture.sql("select tbname, note from test.notes order by tbname");
    assert_eq!(stored, json!([["n_a", "new"], ["n_b", wide(20)], ["n_c", "old"]]));
    assert_eq!(run(&["dead-letter", "list"]).expect(0).json(), json!([]));
}

#[test]
fn letters_are_found_by_what_is_known_of_them() {
    let fixture = Fixture::new("file");
    fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], b"a\nb\nc\nd\n").expect(0);
    fixture.consume(&[]).expect(3);
    let offsets =
        |filter: &[&str]| fixture.letters(filter).iter().map(|one| one["offset"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(offsets(&[]), [10, 11, 12, 13]);
    assert_eq!(offsets(&["--offset", "11..12"]), [11, 12]);
    assert_eq!(offsets(&["--offset", "13", "--topic", "t", "--partition", "0"]), [13]);
    assert_eq!(offsets(&["--limit", "2"]), [10, 11]);
    assert_eq!((offsets(&["--topic", "u"]), offsets(&["--code", "0x060B"])), (vec![], vec![]));
    assert_eq!(offsets(&["--since", "1h", "--reason", "cannot be decoded"]).len(), 4);
    assert_eq!(offsets(&["--since", "2100-01-01T00:00:00Z"]), Vec::<u64>::new());
}

#[test]
fn a_policy_drops_or_stops_and_what_is_dropped_is_counted() {
    let fixture = Fixture::new("file");
    fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], b"garbage\n").expect(0);
    publish(&fixture.pair, "t", vec![Outgoing { key: Some(Bytes::from_static(b"k")), ..Outgoing::default() }]);
    let large = format!("{}\n", record("tb0", 9, &wide(500)));
    fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], large.as_bytes()).expect(0);

    let stopped = fixture.consume(&["--policy", "undecodable=stop", "--group", "stop"]).expect(1);
    assert!(stopped.stderr.contains("t/0 offset 10") && stopped.stderr.contains("policy"), "{}", stopped.stderr);
    assert_eq!(stopped.json()["partitions"]["t/0"]["committed"], 10);

    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "[policy]\nundecodable = 'drop'\ntombstone = 'drop'\nmax_message_bytes = '400B'\n")
        .unwrap();
    let config = ["--config", config.path().to_str().unwrap()];
    let result = fixture.consume(&config).expect(3).json();
    assert_eq!((&result["filtered"], &result["dead_lettered"]), (&json!(2), &json!(1)), "{result}");
    let reason = fixture.letters(&[])[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("more than max_message_bytes = 400"), "{reason}");
    let all = [&config[..], &["--policy", "too_large=drop", "--group", "all"]].concat();
    assert_eq!(fixture.consume(&all).expect(0).json()["filtered"], 3, "flags and file add up");

    let refused = fixture.consume(&["--policy", "tombstone=ignore"]).expect(2).stderr;
    assert!(refused.contains("dead-letter, drop, stop"), "{refused}");
}

#[test]
fn a_flood_of_faults_stops_the_consumer_and_nothing_is_lost() {
    let fixture = Fixture::new("topic");
    let garbage = "x\n".repeat(30);
    fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], garbage.as_bytes()).expect(0);
    let flood = fixture.consume(&["--dead-letter-limit", "20/1m"]).expect(1);
    assert!(flood.stderr.contains("20/1m") && flood.stderr.contains("mapping"), "{}", flood.stderr);
    let result = fixture.consume(&["--dead-letter-limit", "none"]).expect(3).json();
    assert_eq!(result["partitions"]["t/0"]["committed"], 40, "{result}");
    assert_eq!(fixture.letters(&[]).len(), 30);
}

#[test]
fn places_that_would_lose_letters_are_refused() {
    let fixture = Fixture::new("file");
    let with = |topic: &str, place: &str| {
        let consume = ["consume", "--until-end", "--group", "g", "--topic", topic, "--dead-letter", place];
        fixture.pair.run(&consume)
    };
    let loops = with("^t.*", "topic:t.dead").expect(2).stderr;
    assert!(loops.contains("would read the dead letters"), "{loops}");
    with("t", "topic:t").expect(2);
    let compacted =
        ["topic", "create", "--topic", "c", "--partitions", "1", "--topic-config", "cleanup.policy=compact"];
    fixture.pair.run(&compacted).expect(0);
    let refused = with("t", "topic:c").expect(1).stderr;
    assert!(refused.contains("compacted"), "{refused}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = with("t", &format!("file:{}/x", file.path().display())).expect(1).stderr;
    assert!(below.contains("dead letters to"), "{below}");
    fixture.pair.run(&["dead-letter", "list"]).expect(2);
}

/// A file system of a few pages, mounted while this lives.
#[cfg(target_os = "linux")]
struct Tiny(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Tiny {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|ran| ran.status.success());
        if !mounted {
            skip::skip(
                "a tiny file system cannot be mounted (that takes root); pipeline::tests::letters fills /dev/full",
            );
        }
        mounted.then(|| Self(folder))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn while_the_disk_is_full_consuming_waits_and_goes_on_when_there_is_room() {
    // It takes root; elsewhere the pipeline's own test stands for it, so this is no hole in CI.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(tiny) = Tiny::mount() else { return };
    let mut fixture = Fixture::new("file");
    fixture.place = format!("file:{}", tiny.0.path().display());
    let filler = tiny.0.path().join("filler");
    let consume = ["consume", "--topic", "t", "--codec", "json", "--dead-letter", &fixture.place, "--json"];
    let consumer = fixture.pair.start_command(&consume);
    consumer.stderr_line("partitions assigned");
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let lines = format!("garbage\n{}\n", record("tb0", 5, "good"));
    fixture.pair.run_with_input(&["console", "produce", "--topic", "t"], lines.as_bytes()).expect(0);
    let told = consumer.stderr_line("dead letters are not kept");
    assert!(told.contains("free space"), "{told}");
    std::fs::remove_file(&filler).unwrap();
    until("the letter is kept", || (fixture.letters(&[]).len() == 1).then_some(()));
    consumer.signal(Signal::TERM);
    let result = consumer.wait().expect(143).json();
    assert_eq!(result["partitions"]["t/0"]["committed"], 12, "{result}");
    assert_eq!(fixture.pair.scalar("select count(*) from test.stb"), 11);
}
