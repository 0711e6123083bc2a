//! Signals: what was read is written and committed before the process ends.

use serde_json::Value;

use crate::common::pair::{Pair, simulator};
use crate::common::process::Signal;
use crate::common::until;

#[test]
fn after_a_signal_the_next_consumer_goes_on_where_this_one_stopped() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (pair, simulator) = (Pair::start(), simulator(20, 5, 500));
        pair.create_topic("t", 3);
        pair.produce("t", &simulator, &[]);
        let consumer = pair.start_command(&["consume", "--topic", "t", "--batch-max-size", "50", "--json"]);
        until("something is written", || (pair.count_if_there("select count(*) from test.stb") > 0).then_some(()));
        consumer.signal(signal);
        let stopped = consumer.wait().expect(code).json();
        let next = pair.consume("t", &[]);
        let committed = |result: &Value, partition: &str| result["partitions"][partition]["committed"].as_i64();
        for (partition, stats) in next["partitions"].as_object().unwrap() {
            let begins_at = committed(&stopped, partition).unwrap_or(0);
            assert_eq!(stats["first"], begins_at, "{partition}: {stopped} then {next}");
        }
        let both = stopped["rows_written"].as_u64().unwrap() + next["rows_written"].as_u64().unwrap();
        assert_eq!(both, simulator.total(), "no row was written twice: {stopped} then {next}");
        pair.assert_stored(&simulator);
    }
}

#[test]
fn a_second_signal_ends_a_consumer_whose_servers_do_not_answer() {
    let (pair, simulator) = (Pair::start(), simulator(10, 5, 500));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "t", "--batch-max-size", "50", "--json"]);
    until("something is written", || (pair.count_if_there("select count(*) from test.stb") > 0).then_some(()));
    pair.process.signal(Signal::STOP);
    consumer.signal(Signal::TERM);
    // The first one is taken note of before the second: both at once are one.
    consumer.stderr_line("a signal came");
    consumer.signal(Signal::TERM);
    let ended = consumer.wait();
    pair.process.signal(Signal::CONT);
    let ended = ended.expect(1);
    assert!(ended.stderr.contains("stopped at once"), "{}", ended.stderr);
    assert!(ended.json()["consumed"].is_u64());
    pair.consume("t", &[]);
    pair.assert_stored(&simulator);
}

#[test]
fn a_producer_tells_what_it_had_produced() {
    let (pair, simulator) = (Pair::start(), simulator(10, 2, 1_000_000));
    pair.create_topic("t", 2);
    let producer = pair.start_command(&[
        "produce",
        "--topic",
        "t",
        "--tables",
        "10",
        "--columns",
        "2",
        "--records",
        "1000000",
        "--rate",
        "1000",
        "--json",
    ]);
    producer.stderr_line("produced");
    producer.signal(Signal::INT);
    let produced = producer.wait().expect(130).json()["produced"].as_u64().unwrap();
    assert!(produced > 0 && produced < simulator.total());
    assert_eq!(pair.consume("t", &[])["consumed"], produced);
}

#[test]
fn console_and_servers_end_by_a_signal_too() {
    let pair = Pair::start();
    pair.create_topic("t", 1);
    let console = pair.start_command(&["console", "consume", "--topic", "t", "--from-beginning"]);
    pair.run_with_input(&["console", "produce", "--topic", "t"], b"a line\n").expect(0);
    console.stdout_line("a line");
    console.signal(Signal::INT);
    console.wait().expect(130);
    pair.process.signal(Signal::INT);
    pair.process.wait().expect(130);
}

#[test]
fn a_consumer_that_still_waits_ends_by_a_signal() {
    let pair = Pair::start();
    let consumer = pair.start_command(&["consume", "--topic", "t", "--json"]);
    consumer.stderr_line("waiting for it");
    consumer.signal(Signal::TERM);
    assert_eq!(consumer.wait().expect(143).json()["consumed"], 0);
}
