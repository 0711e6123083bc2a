//! Faults of the Go program that this one came from, each shown not to be there.

use std::time::Duration;

use kafka_taos::message::Outgoing;
use kafka_taos::record::Cell;
use kafka_taos::row::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;

use super::faulty_messages::{publish, record};
use crate::common::pair::{Pair, simulator};
use crate::common::process::Signal;
use crate::common::until;

/// 2025-12-01T00:00:00Z in milliseconds.
const START: i64 = 1_764_547_200_000;

/// There, an offset was marked when its record was put in a queue.
#[test]
fn what_is_only_queued_is_not_committed() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:first=8:stall"]), simulator(10, 2, 100));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--workers", "2"]);
    consumer.stderr_line("consumed 1000 records");
    consumer.kill();
    let next = pair.consume("t", &["--answer-timeout", "2s"]);
    assert_eq!((&next["consumed"], &next["partitions"]["t/0"]["first"]), (&1000.into(), &0.into()), "{next}");
    pair.assert_stored(&simulator);
}

/// There, a failed insert was logged, and its empty result used.
#[test]
fn a_failed_insert_is_tried_again_and_counted_once() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:first=3:code=0x0903"]), simulator(5, 2, 40));
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let result = pair.consume("t", &["--workers", "1"]);
    assert_eq!((&result["rows_written"], &result["retries"]), (&200.into(), &3.into()), "{result}");
    pair.assert_stored(&simulator);
}

/// There, strings were put into statements as they were.
#[test]
fn text_is_stored_as_it_is() {
    let texts = [
        "it's",
        "\"quoted\"",
        r"back\slash",
        r"\",
        "100 %",
        "a_b",
        "new\nline",
        "tab\there",
        "`tick`",
        "漢字 ü 🚀",
        "''",
        "; drop database test --",
    ];
    for write in ["stmt2", "sql", "rest"] {
        let pair = Pair::start();
        pair.run(&["sql", "create database test"]).expect(0);
        pair.run(&["sql", "create stable test.stb (ts timestamp, col0 binary(60)) tags (device binary(10))"]).expect(0);
        pair.create_topic("t", 1);
        let of = |(n, text): (i64, &&str)| {
            record("d", Timestamp::from_millis(START + n), vec![Cell::from(*text).into_owned()])
        };
        publish(&pair, "t", (0..).zip(&texts).map(of).collect());
        pair.consume("t", &["--write", write]);
        let stored = pair.json(&["sql", "select col0 from test.stb order by ts"]);
        let stored: Vec<_> = stored["rows"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap()).collect();
        assert_eq!(stored, texts, "{write}");
    }
}

/// There, timestamps had milliseconds, whatever the database had.
#[test]
fn microseconds_and_nanoseconds_are_kept() {
    for (precision, units) in [("ms", START), ("us", START * 1000 + 123), ("ns", START * 1_000_000 + 123_456)] {
        for write in ["stmt2", "sql"] {
            let pair = Pair::start();
            pair.run(&["sql", &format!("create database test precision '{precision}'")]).expect(0);
            pair.run(&["sql", "create stable test.stb (ts timestamp, col0 binary(9)) tags (device binary(9))"])
                .expect(0);
            pair.create_topic("t", 1);
            publish(&pair, "t", vec![record("d", Timestamp::new(START / 1000, 123_456), vec!["v".into()])]);
            pair.consume("t", &["--write", write]);
            assert_eq!(pair.scalar("select cast(ts as bigint) from test.stb"), units as u64, "{precision} by {write}");
        }
    }
}

/// There, a statement grew with its batch, beyond what the server takes.
#[test]
fn a_statement_stays_below_the_servers_limit_however_large_its_batch() {
    let (pair, simulator) = (Pair::start(), simulator(3, 100, 600));
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let whole = ["--write", "sql", "--workers", "1", "--batch-max-size", "1800", "--batch-min-size", "1800"];
    let result = pair.consume(
        "t",
        &[&whole[..], &["--queue-max-bytes", "16MiB", "--batch-max-bytes", "8MiB", "--linger", "5s"]].concat(),
    );
    assert_eq!((&result["batches"], &result["retries"]), (&1.into(), &0.into()), "{result}");
    pair.assert_stored(&simulator);
}

/// There, a shutdown waited for an empty queue, and not for what had been taken out of it.
#[test]
fn a_shutdown_waits_for_the_insert_under_way() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:nth=1:delay=2s"]), simulator(5, 2, 40));
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--workers", "1", "--json"]);
    pair.process.stderr_line("a fault strikes");
    consumer.signal(Signal::TERM);
    let result = consumer.wait().expect(143).json();
    assert_ne!(result["rows_written"], 0, "{result}");
    assert_eq!(result["rows_written"], result["partitions"]["t/0"]["committed"], "{result}");
    assert_eq!(pair.scalar("select count(*) from test.stb"), result["rows_written"].as_u64().unwrap());
    pair.consume("t", &[]);
    pair.assert_stored(&simulator);
}

/// There, a pause came about whenever it did.
#[test]
fn an_outage_takes_in_no_more_than_queues_hold() {
    let (pair, simulator) = (Pair::start_with(&["--fault", "tdengine:exec:code=0x0903"]), simulator(100, 1, 400));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    let small = ["--workers", "2", "--queue-max-size", "100", "--batch-max-size", "50", "--json"];
    let consumer = pair.start_command(&[&["consume", "--topic", "t"], &small[..]].concat());
    consumer.stderr_line("all partitions are paused");
    consumer.signal(Signal::TERM);
    consumer.stderr_line("a signal came");
    consumer.signal(Signal::TERM);
    let consumed = consumer.wait().expect(1).json()["consumed"].as_u64().unwrap();
    // Two workers with a queue, a batch that is written and one that waits, and a few events of a thousand on their way.
    assert!(consumed <= 2 * 200 + 12 * 1000, "{consumed} of {} were taken in", simulator.total());
}

/// There, the queue and the statistics ran in circles.
#[test]
fn an_idle_consumer_does_next_to_nothing() {
    let (pair, simulator) = (Pair::start(), simulator(2, 1, 5));
    pair.create_topic("t", 4);
    pair.produce("t", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t"]);
    consumer.stderr_line("consumed 10 records (0 in last second)");
    // Clock ticks of user and system: hundredths of a second on Linux.
    let spent = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", consumer.id())).unwrap();
        let after_name = stat.rsplit(") ").next().unwrap();
        after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
    };
    let before = spent();
    std::thread::sleep(Duration::from_secs(3));
    let ticks = spent() - before;
    assert!(ticks < 60, "{ticks} of 300 clock ticks were spent on nothing");
}

/// There, more than ten partitions were a panic.
#[test]
fn forty_partitions_are_read() {
    let (pair, simulator) = (Pair::start(), simulator(80, 1, 10));
    pair.create_topic("t", 40);
    pair.produce("t", &simulator, &[]);
    let result = pair.consume("t", &[]);
    assert_eq!(result["rows_written"], 800, "{result}");
    pair.assert_stored(&simulator);
}

/// There, the partition that was asked for was not the one that a record went to.
#[test]
fn every_record_is_in_its_tables_partition() {
    let (pair, simulator) = (Pair::start(), simulator(20, 1, 5));
    pair.create_topic("t", 7);
    pair.produce("t", &simulator, &[]);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &pair.brokers)
        .set("group.id", "check")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let fnv1a = |bytes: &[u8]| {
        bytes.iter().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
    };
    for _ in 0..simulator.total() {
        let message = until("a message is read", || consumer.poll(Duration::from_millis(100))).unwrap();
        let key = message.key().unwrap();
        assert_eq!(message.partition() as u32, fnv1a(key) % 7, "{}", String::from_utf8_lossy(key));
    }
}

/// There, the next message was sent when the one before was acknowledged.
#[test]
fn many_messages_are_on_their_way_at_once() {
    // One after another they would take longer than anyone waits here.
    let (pair, simulator) = (Pair::start_with(&["--fault", "kafka:produce:delay=50ms"]), simulator(100, 1, 100));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    pair.consume("t", &[]);
    pair.assert_stored(&simulator);
}

/// There, the handler's error was passed over: see also `faulty_messages`.
#[test]
fn a_message_that_cannot_be_written_is_never_committed_away() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    pair.produce("t", &simulator(1, 1, 3), &[]);
    publish(&pair, "t", vec![Outgoing { payload: Some(bytes::Bytes::from_static(b"\xc1")), ..Outgoing::default() }]);
    pair.produce("t", &simulator(1, 1, 3), &[]);
    let stopped = pair.run(&["consume", "--until-end", "--topic", "t", "--json"]).expect(1);
    assert_eq!(stopped.json()["partitions"]["t/0"]["committed"], 3, "{}", stopped.stdout);
    assert!(stopped.stderr.contains("t/0 offset 3"), "{}", stopped.stderr);
}
