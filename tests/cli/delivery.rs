//! From the topic to the store: every row once, with its value, whatever happens meanwhile.

use crate::common::pair::{Pair, simulator};
use crate::common::process::Signal;
use crate::common::scenario;
use crate::common::until;
use kafka_taos::simulate::Simulator;

#[test]
fn nothing_is_lost_when_a_consumer_is_killed_half_way() {
    let pair = Pair::start();
    scenario::a_consumer_is_killed_half_way(&pair.brokers, &pair);
}

#[test]
fn every_way_of_writing_stores_the_same() {
    let simulator = simulator(7, 3, 40);
    for write in ["stmt2", "sql", "rest"] {
        let pair = Pair::start();
        pair.create_topic("t", 3);
        pair.produce("t", &simulator, &[]);
        let result = pair.consume("t", &["--write", write]);
        assert_eq!((&result["consumed"], &result["rows_written"]), (&280.into(), &280.into()), "{write}: {result}");
        pair.assert_stored(&simulator);
    }
}

#[test]
fn rest_needs_no_websocket() {
    let (pair, simulator) = (Pair::start(), simulator(3, 2, 10));
    pair.create_topic("t", 1);
    let url = pair.url().replace("ws://", "http://");
    pair.produce("t", &simulator, &["--tdengine", &url]);
    pair.consume("t", &["--tdengine", &url, "--write", "rest"]);
    pair.assert_stored(&simulator);
}

#[test]
fn json_records_are_stored_too() {
    let (pair, simulator) = (Pair::start(), simulator(3, 4, 30));
    pair.create_topic("t", 2);
    pair.produce("t", &simulator, &["--codec", "json"]);
    pair.consume("t", &["--codec", "json"]);
    pair.assert_stored(&simulator);
}

#[test]
fn producers_at_once_do_not_disturb_each_other() {
    let pair = Pair::start();
    pair.create_topic("t", 4);
    let of = |prefix: &str| Simulator { table_prefix: prefix.into(), ..simulator(5, 3, 100) };
    let (left, right) = (of("left"), of("right"));
    std::thread::scope(|scope| {
        scope.spawn(|| pair.produce("t", &left, &[]));
        scope.spawn(|| pair.produce("t", &right, &[]));
    });
    assert_eq!(pair.consume("t", &[])["consumed"], 1000);
    for (own, other) in [(&left, &right), (&right, &left)] {
        let comparison = pair.compare(own);
        // What the other one made is all that is more.
        assert_eq!((comparison.lost, comparison.wrong), (0, 0), "{comparison:?}");
        assert_eq!(comparison.duplicated, other.total(), "{comparison:?}");
        assert_eq!(comparison.rows_in_store, own.total() + other.total(), "{comparison:?}");
    }
}

#[test]
fn a_consumer_waits_for_topic_and_super_table() {
    let (pair, simulator) = (Pair::start(), simulator(4, 2, 25));
    let consumer = pair.start_command(&["consume", "--topic", "later", "--json"]);
    consumer.stderr_line("waiting for it");
    pair.create_topic("later", 2);
    pair.produce("later", &simulator, &[]);
    until("all is written", || {
        (pair.count_if_there("select count(*) from test.stb") >= simulator.total()).then_some(())
    });
    consumer.signal(Signal::INT);
    assert_eq!(consumer.wait().expect(130).json()["rows_written"], simulator.total());
    pair.assert_stored(&simulator);
}

#[test]
fn a_consumer_waits_for_a_topic_that_is_made_after_it_subscribed() {
    let (pair, simulator) = (Pair::start(), simulator(4, 2, 25));
    // The super table is there, the topic is not.
    pair.create_topic("early", 1);
    pair.produce("early", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "later", "--json"]);
    consumer.stderr_line("later");
    pair.create_topic("later", 2);
    pair.produce("later", &simulator, &[]);
    consumer.stderr_line("partitions assigned");
    until("all is written", || {
        (pair.count_if_there("select count(*) from test.stb") >= simulator.total()).then_some(())
    });
    consumer.signal(Signal::TERM);
    assert_eq!(consumer.wait().expect(143).json()["rows_written"], simulator.total());
    pair.assert_stored(&simulator);
}

#[test]
fn until_the_end_stops_there_and_goes_on_from_there() {
    let (pair, simulator) = (Pair::start(), simulator(4, 2, 25));
    pair.create_topic("t", 3);
    pair.produce("t", &simulator, &[]);
    assert_eq!(pair.consume("t", &[])["consumed"], 100);
    assert_eq!(pair.consume("t", &[])["consumed"], 0);
    assert_eq!(pair.consume("t", &["--group", "another"])["consumed"], 100);
    assert_eq!(pair.consume("t", &["--group", "late", "--offset", "latest"])["consumed"], 0);
    pair.assert_stored(&simulator);
}

#[test]
fn until_the_end_means_written_however_full_the_queues_are() {
    let (pair, simulator) = (Pair::start(), simulator(20, 5, 500));
    pair.create_topic("t", 4);
    pair.produce("t", &simulator, &[]);
    let narrow = ["--workers", "2", "--queue-max-size", "100", "--batch-max-size", "50", "--batch-min-size", "50"];
    assert_eq!(pair.consume("t", &narrow)["rows_written"], simulator.total());
    pair.assert_stored(&simulator);
}
