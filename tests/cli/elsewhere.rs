//! What users of other programs complain of, each shown not to happen here.

use std::collections::BTreeMap;

use kafka_taos::dead_letter;
use kafka_taos::record::Cell;
use kafka_taos::row::Timestamp;
use serde_json::{Value, json};

use super::faulty_messages::{publish, record};
use crate::common::pair::{Pair, produce_arguments, simulator};
use crate::common::process::{Process, Signal};
use crate::common::until;

/// 2025-12-01T00:00:00Z in milliseconds.
const START: i64 = 1_764_547_200_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A pair with an empty topic `t` and a super table of two columns.
fn pair_with(partitions: u32, more: &[&str]) -> Pair {
    let pair = Pair::start_with(more);
    pair.run(&["sql", "create database test vgroups 4"]).expect(0);
    let stable = "create stable test.stb (ts timestamp, col0 binary(10), col1 binary(10)) tags (device binary(10))";
    pair.run(&["sql", stable]).expect(0);
    pair.create_topic("t", partitions);
    pair
}

fn rows(pair: &Pair, sql: &str) -> Vec<Value> {
    pair.json(&["sql", sql])["rows"].as_array().unwrap().clone()
}

/// A whole batch lost for one bad line (kafka-connect-tdengine); a failure without a reason (the same).
#[test]
fn a_bad_row_costs_only_itself_and_says_why() {
    let pair = pair_with(1, &[]);
    let bad = [100, 101, 557];
    let of =
        |n: i64| record(&format!("d{}", n % 7), at(if bad.contains(&n) { n } else { START + n }), vec!["v".into()]);
    publish(&pair, "t", (0..1000).map(of).collect());
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let whole = ["--workers", "1", "--batch-max-size", "1000", "--batch-min-size", "1000", "--linger", "5s", "--json"];
    let consume = [&["consume", "--until-end", "--topic", "t", "--dead-letter", &to], &whole[..]].concat();
    let ended = pair.run(&consume).expect(3);
    assert_eq!((&ended.json()["batches"], &ended.json()["dead_lettered"]), (&1.into(), &3.into()), "{}", ended.stdout);
    assert_eq!(pair.scalar("select count(*) from test.stb"), 997);
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let letters = dead_letter::read(&std::fs::read_to_string(file).unwrap());
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), bad);
    for letter in letters {
        assert_eq!(letter.code.as_deref(), Some("0x060B"));
        assert!(letter.reason.contains("older than the database keeps"), "{}", letter.reason);
        assert!(ended.stderr.contains(&format!("t/0 offset {} table", letter.offset)), "{}", ended.stderr);
    }
}

/// A budget of retries that no success restores.
#[test]
fn failures_with_successes_between_are_not_added_up() {
    // Five in a row of an unknown code would be too many.
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:every=2:code=0x7777"]), simulator(4, 2, 100));
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let result = pair.consume("t", &["--workers", "1", "--batch-max-size", "10", "--linger", "1ms"]);
    assert!(result["retries"].as_u64().unwrap() >= 30, "{result}");
    pair.assert_stored(&simulator);
}

/// A rejected event passed over by a later success (Vector #24543).
#[test]
fn a_later_success_does_not_carry_an_offset_past_a_rejected_record() {
    let pair = pair_with(2, &[]);
    let mut messages: Vec<_> = (0..40).map(|n| record("d", at(START + n), vec!["v".into()])).collect();
    messages[15] = record("d", at(15), vec!["old".into()]);
    messages.iter_mut().for_each(|message| message.partition = Some(0));
    publish(&pair, "t", messages);
    let small = ["--workers", "1", "--batch-max-size", "10", "--linger", "1ms", "--json"];
    for _again in 0..2 {
        let stopped = pair.run(&[&["consume", "--until-end", "--topic", "t"], &small[..]].concat()).expect(1);
        assert!(stopped.stderr.contains("t/0 offset 15"), "{}", stopped.stderr);
    }
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let rest = pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to, "--json"]).expect(3).json();
    assert_eq!(rest["partitions"]["t/0"]["first"], 15, "{rest}");
    assert_eq!(pair.scalar("select count(*) from test.stb"), 39);
}

/// Small batches where there are many partitions (clickhouse-kafka-connect #509).
#[test]
fn partitions_share_batches() {
    let (pair, simulator) = (Pair::start(), simulator(200, 1, 20));
    pair.create_topic("t", 50);
    pair.produce("t", &simulator, &[]);
    let result = pair.consume("t", &["--workers", "1"]);
    assert!(result["batches"].as_u64().unwrap() < 25, "{result}");
    pair.assert_stored(&simulator);
}

/// Records written twice after a restart, though nothing was the matter (clickhouse-kafka-connect #801).
#[test]
fn a_clean_restart_writes_nothing_twice() {
    let (pair, simulator) = (Pair::start(), simulator(20, 2, 200));
    pair.create_topic("t", 4);
    pair.produce("t", &simulator, &[]);
    let mut written = 0;
    for part in 0..3 {
        let consumer = pair.start_command(&["consume", "--topic", "t", "--batch-max-size", "40", "--json"]);
        let stored = || pair.count_if_there("select count(*) from test.stb");
        until("a part is written", || (stored() > part * 500).then_some(()));
        consumer.signal(Signal::TERM);
        written += consumer.wait().expect(143).json()["rows_written"].as_u64().unwrap();
    }
    written += pair.consume("t", &[])["rows_written"].as_u64().unwrap();
    assert_eq!(written, simulator.total());
    pair.assert_stored(&simulator);
}

/// A full disk that sent everything to the dead letters (kafka-connect-jdbc #1312).
#[test]
fn a_full_disk_is_waited_out_and_sends_nothing_to_the_dead_letters() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:first=6:disk-full"]), simulator(10, 2, 50));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let ended = pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to, "--json"]).expect(0);
    assert_eq!((&ended.json()["dead_lettered"], &ended.json()["retries"]), (&0.into(), &6.into()), "{}", ended.stdout);
    assert!(ended.stderr.contains("out of disk space"), "{}", ended.stderr);
    pair.assert_stored(&simulator);
}

/// A part of a batch written again, after what came later (Redpanda Connect #4387).
#[test]
fn the_last_value_of_a_key_stands_however_often_parts_are_written_again() {
    let faults =
        ["exec:every=5:drop-after", "exec:every=7:code=0x0903", "bind:every=11:drop-before", "exec:nth=2:code=0x0102"];
    let faults = faults.map(|fault| format!("tdengine:{fault}"));
    let flags: Vec<_> = faults.iter().flat_map(|fault| ["--fault", fault.as_str()]).collect();
    let pair = pair_with(1, &flags);
    // Twenty keys in ten tables (so in several vgroups), each with thirty values; now and then a row that is refused, so
    // that a part of its batch is stored and all of it comes again.
    let key = |n: i64| (n % 10, n / 10 % 2);
    let of = |n: i64| match n % 97 {
        50 => record(&format!("d{}", n % 10), at(n), vec!["old".into()]),
        _ => record(&format!("d{}", key(n).0), at(START + key(n).1), vec![Cell::Text(n.to_string().into())]),
    };
    publish(&pair, "t", (0..600).map(of).collect());
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let small = ["--workers", "1", "--batch-max-size", "37", "--linger", "1ms", "--dead-letter", &to];
    pair.run(&[&["consume", "--until-end", "--topic", "t"], &small[..]].concat()).expect(3);
    let last: BTreeMap<_, _> = (0..600).filter(|n| n % 97 != 50).map(|n| (key(n), n)).collect();
    let stored = rows(&pair, "select tbname, cast(ts as bigint), col0 from test.stb order by tbname, ts");
    let expected: Vec<_> =
        last.into_iter().map(|((table, ts), n)| json!([format!("d{table}"), START + ts, n.to_string()])).collect();
    assert_eq!(stored, expected);
}

/// A stall when members are added (Redpanda Connect #3410).
#[test]
fn members_that_come_and_go_stall_nothing() {
    let (pair, simulator) = (Pair::start(), simulator(40, 2, 150));
    pair.create_topic("t", 8);
    let generated = produce_arguments(&simulator);
    let produce = ["produce", "--topic", "t", "--rate", "1000", "--json"];
    let arguments: Vec<_> = produce.into_iter().chain(generated.iter().map(String::as_str)).collect();
    let producer = pair.start_command(&arguments);
    let member = || {
        let member = pair.start_command(&["consume", "--topic", "t", "--kafka", "heartbeat.interval.ms=300", "--json"]);
        member.stderr_line("partitions assigned");
        member
    };
    let first = member();
    let others: Vec<Process> = (0..3).map(|_| member()).collect();
    for other in others {
        other.signal(Signal::TERM);
        other.wait().expect(143);
    }
    producer.wait().expect(0);
    until("all is written", || {
        (pair.count_if_there("select count(*) from test.stb") >= simulator.total()).then_some(())
    });
    first.signal(Signal::TERM);
    first.wait().expect(143);
    pair.assert_stored(&simulator);
}

/// A slow write that lost the subscription (Telegraf #7622).
#[test]
fn a_database_slower_than_the_session_costs_no_membership() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:first=2:delay=5s"]), simulator(5, 2, 40));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    let consumer =
        pair.start_command(&["consume", "--topic", "t", "--session-timeout", "2s", "--workers", "1", "--json"]);
    until("all is written", || {
        (pair.count_if_there("select count(*) from test.stb") >= simulator.total()).then_some(())
    });
    assert_eq!(consumer.said().matches("partitions assigned").count(), 1, "{}", consumer.said());
    assert!(!consumer.said().contains("partitions revoked"), "{}", consumer.said());
    consumer.signal(Signal::TERM);
    assert_eq!(consumer.wait().expect(143).json()["redelivered"], 0);
}

/// A record's timestamp that leaked into the next after a fault (kafka-questdb-connector #40).
#[test]
fn a_faulty_record_lends_nothing_to_the_next() {
    let pair = pair_with(1, &[]);
    let long = || Cell::Text("much too long for its column".into());
    let cut_short = {
        let mut whole = record("d1", at(START + 1), vec!["first".into(), "second".into()]);
        whole.payload = whole.payload.map(|payload| payload.slice(..payload.len() - 3));
        whole
    };
    publish(
        &pair,
        "t",
        vec![
            record("d1", at(START), vec!["bad".into(), long()]),
            record("d2", at(START + 10), vec!["good".into()]),
            cut_short,
            record("d3", at(START + 20), vec![Cell::Null, "good".into()]),
            record("d1", at(1), vec!["old".into(), "old".into()]),
            record("d4", at(START + 30), vec!["good".into()]),
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to]).expect(3);
    let stored = rows(&pair, "select tbname, cast(ts as bigint), col0, col1 from test.stb order by tbname");
    let good = |table: &str, after: i64, first: Value, second: Value| json!([table, START + after, first, second]);
    assert_eq!(
        stored,
        [
            good("d2", 10, json!("good"), Value::Null),
            good("d3", 20, Value::Null, json!("good")),
            good("d4", 30, json!("good"), Value::Null)
        ]
    );
}

/// "Status normal, but stopped consuming" (taosX 3.3.3): see also `tests/consumer.rs`.
#[test]
fn consuming_goes_on_after_both_servers_were_away() {
    let folder = tempfile::tempdir().unwrap();
    let keep = ["--data-dir", folder.path().to_str().unwrap()];
    let (pair, half, simulator) = (Pair::start_with(&keep), simulator(10, 2, 100), simulator(10, 2, 200));
    let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
    let (kafka, tdengine) = (port(&pair.brokers), port(&pair.tdengine));
    pair.create_topic("t", 4);
    pair.produce("t", &half, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--session-timeout", "2s", "--json"]);
    let count = |pair: &Pair| pair.count_if_there("select count(*) from test.stb");
    until("something is written", || (count(&pair) > 0).then_some(()));
    pair.process.kill();
    consumer.stderr_line("no broker can be reached");
    let pair = Pair::start_at(&kafka, &tdengine, &keep);
    pair.produce("t", &simulator, &[]);
    until("all is written", || (count(&pair) >= simulator.total()).then_some(()));
    consumer.signal(Signal::TERM);
    consumer.wait().expect(143);
    pair.assert_stored(&simulator);
}
