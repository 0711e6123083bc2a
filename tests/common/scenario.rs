//! What is shown on the embedded servers and on a real Kafka alike.

use super::pair::{Pair, produce_arguments, simulator};
use super::process::{Process, Signal, kafka_taos, run};
use super::until;

/// Two consumers of one group; when a part is written, one of them is killed and a third comes. In the end every row is
/// in the store once, with its value, and the group has nothing left to read.
pub(crate) fn a_consumer_is_killed_half_way(brokers: &str, pair: &Pair) {
    let simulator = simulator(50, 5, 400);
    let command = |arguments: &[&str]| {
        let mut command = kafka_taos(arguments);
        command.env("KAFKA_BROKERS", brokers).env("TDENGINE_URL", pair.url()).env("KAFKA_TOPIC", "killed");
        command
    };
    let run = |arguments: &[&str]| run(&mut command(arguments));
    run(&["topic", "create", "--partitions", "6"]).expect(0);
    let consume = ["consume", "--workers", "2", "--session-timeout", "2s", "--batch-max-size", "100", "--json"];
    let start = || Process::start(&mut command(&consume));

    let generated = produce_arguments(&simulator);
    let generated = generated.iter().map(String::as_str);
    let produce: Vec<_> = ["produce", "--rate", "4000", "--json"].into_iter().chain(generated).collect();
    let producer = Process::start(&mut command(&produce));
    let (first, second) = (start(), start());
    first.stderr_line("partitions assigned");
    second.stderr_line("partitions assigned");

    let count = || pair.count_if_there("select count(*) from test.stb");
    until("a quarter is written", || (count() >= simulator.total() / 4).then_some(()));
    first.kill();
    let third = start();
    third.stderr_line("partitions assigned");
    assert_eq!(producer.wait().expect(0).json()["produced"], simulator.total());
    until("all is written", || (count() >= simulator.total()).then_some(()));

    for consumer in [second, third] {
        consumer.signal(Signal::TERM);
        let result = consumer.wait().expect(143).json();
        for (partition, stats) in result["partitions"].as_object().expect("partitions") {
            assert!(stats["committed"].is_i64(), "{partition}: {result}");
        }
    }
    let comparison = pair.compare(&simulator);
    assert!(comparison.is_clean() && comparison.rows_in_store == simulator.total(), "{comparison:?}");
    let rest = run(&["consume", "--until-end", "--json"]).expect(0).json();
    assert_eq!(rest["consumed"], 0, "all was committed: {rest}");
}

/// `topic`, as Kafka's own tool does.
pub(crate) fn a_topic_is_made_shown_changed_and_dropped(brokers: &str) {
    let topic = |arguments: &[&str]| {
        let arguments = [&["topic"], arguments, &["--brokers", brokers, "--json"]].concat();
        run(&mut kafka_taos(&arguments)).expect(0).json()
    };
    let names =
        || topic(&["list"]).as_array().expect("an array").iter().map(|one| one["topic"].clone()).collect::<Vec<_>>();
    topic(&["create", "--topic", "meters", "--partitions", "3", "--topic-config", "retention.ms=60000"]);
    assert_eq!(names(), ["meters"]);

    topic(&["alter", "--topic", "meters", "--partitions", "5", "--topic-config", "max.message.bytes=2000000"]);
    // A real broker may need a moment until all of it is seen.
    let described = until("the new partitions are seen", || {
        let described = topic(&["describe", "--topic", "meters"]);
        (described[0]["partitions"].as_array().expect("partitions").len() == 5).then_some(described)
    });
    assert_eq!(described[0]["config"]["retention.ms"], "60000", "settings not named stay: {described}");
    assert_eq!(described[0]["config"]["max.message.bytes"], "2000000", "{described}");

    topic(&["delete", "--topic", "meters"]);
    until("it is gone", || names().is_empty().then_some(()));
}
