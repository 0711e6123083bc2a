//! What is shown on the embedded servers and on a real Kafka alike.

use super::pair::{Pair, produce_arguments, simulator};
use super::process::{Process, Signal, kafka_taos, run, run_with_input};
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

/// A demo record in JSON.
pub(crate) fn record(device: &str, second: u32, value: &str) -> String {
    format!(r#"{{"deviceID":"{device}","timestamp":"2026-01-01T00:00:{second:02}Z","cols":["{value}"]}}"#)
}

/// Records that do not fit, a payload that is none, and one that is larger than the topic for dead letters takes. All of
/// them are set aside there; when the table is wider, those that are records come back.
pub(crate) fn letters_go_to_a_topic_and_come_back(brokers: &str, pair: &Pair) {
    let command = |arguments: &[&str]| {
        let mut command = kafka_taos(arguments);
        command
            .env("KAFKA_BROKERS", brokers)
            .env("TDENGINE_URL", pair.url())
            .env("KAFKA_TAOS_DEAD_LETTER", "topic:letters.dead");
        command
    };
    let ours = |arguments: &[&str]| run(&mut command(&[arguments, &["--json"]].concat()));
    let simulator = simulator(2, 1, 3);
    ours(&["topic", "create", "--topic", "letters", "--partitions", "2"]).expect(0);
    let generated = produce_arguments(&simulator);
    let generated = generated.iter().map(String::as_str);
    let produce = ["produce", "--topic", "letters", "--codec", "json"];
    ours(&produce.into_iter().chain(generated).collect::<Vec<_>>()).expect(0);
    let wide = "w".repeat(20);
    // Nothing that compression makes small.
    let next = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let digits = std::iter::successors(Some(7), next).map(|state| format!("{:04x}", state >> 16));
    let huge: String = digits.take(2000).collect();
    let lines =
        [record("tb0", 1, &wide), "garbage".into(), record("tb1", 2, &wide), record("tb1", 3, &huge)].join("\n");
    let console = ["console", "produce", "--topic", "letters"];
    run_with_input(&mut command(&console), lines.as_bytes()).expect(0);

    let consume = ["consume", "--topic", "letters", "--codec", "json", "--until-end"];
    let first = ours(&consume).expect(3);
    assert!(first.stderr.contains("it is made"), "the topic is made, and that is said: {}", first.stderr);
    assert_eq!(first.json()["dead_lettered"], 4);
    // Once more, into a topic that takes only the coordinates of the largest.
    let small = ["topic", "alter", "--topic", "letters.dead", "--topic-config", "max.message.bytes=2000"];
    ours(&small).expect(0);
    let again = [&consume[..], &["--group", "again"]].concat();
    until("the broker knows the limit", || {
        let listed = ours(&["topic", "describe", "--topic", "letters.dead"]).expect(0).json();
        (listed[0]["config"]["max.message.bytes"] == "2000").then_some(())
    });
    assert_eq!(ours(&again).expect(3).json()["dead_lettered"], 4);

    let list = |more: &[&str]| ours(&[&["dead-letter", "list"], more].concat()).expect(0).json();
    let listed = list(&[]);
    let listed = listed.as_array().expect("an array");
    assert_eq!(listed.len(), 4, "a message that was set aside twice counts once: {listed:?}");
    let huge_one = listed.iter().find(|one| one["bytes"].as_u64() > Some(5000)).expect("the huge one");
    let place = |one: &serde_json::Value| (one["partition"].clone(), one["offset"].clone());
    let huge_place = place(huge_one);
    let shown = ours(&["dead-letter", "show", &huge_one["index"].to_string()]).expect(0).json();
    assert!(shown["payload"].is_null() && shown["offset"] == huge_one["offset"]);
    assert!(shown["omitted_bytes"].as_u64() > Some(8000));

    pair.run(&["sql", "alter stable test.stb modify column col0 binary(9000)"]).expect(0);
    let replay = |code| ours(&["dead-letter", "replay", "--codec", "json"]).expect(code).json();
    let replayed = replay(3);
    assert_eq!((&replayed["replayed"], &replayed["rows_written"]), (&3.into(), &3.into()), "{replayed}");
    assert_eq!(replayed["dead_lettered"], 1, "{replayed}");
    let left = list(&[]);
    assert_eq!((left.as_array().map(Vec::len), &left[0]["tries"]), (Some(1), &2.into()), "{left}");
    assert_ne!(place(&left[0]), huge_place, "the huge one was read where it came from");
    assert_eq!(pair.scalar("select count(*) from test.stb"), simulator.total() + 3);
    assert_eq!(replay(3)["dead_lettered"], 1);
    assert_eq!(list(&[])[0]["tries"], 3);
}
