//! `topic`: as Kafka's own tool does.

use crate::common::pair::Pair;
use crate::common::scenario;

#[test]
fn a_topic_is_made_shown_changed_and_dropped() {
    scenario::a_topic_is_made_shown_changed_and_dropped(&Pair::start().brokers);
}

#[test]
fn a_topic_that_is_there_is_not_made_again() {
    let pair = Pair::start();
    pair.create_topic("meters", 2);
    let refused = pair.run(&["topic", "create", "--topic", "meters"]).expect(1);
    assert!(refused.stderr.contains("meters"), "{}", refused.stderr);
    pair.run(&["topic", "create", "--topic", "meters", "--if-not-exists"]).expect(0);
    let fewer = pair.run(&["topic", "alter", "--topic", "meters", "--partitions", "1"]).expect(1);
    assert!(fewer.stderr.contains("meters"), "{}", fewer.stderr);
}

#[test]
fn looking_at_a_topic_does_not_make_it() {
    let pair = Pair::start();
    for arguments in [
        &["topic", "describe", "--topic", "nowhere"][..],
        &["topic", "delete", "--topic", "nowhere"],
        &["topic", "alter", "--topic", "nowhere", "--partitions", "2"],
        &["produce", "--topic", "nowhere", "--records", "1"],
        &["console", "produce", "--topic", "nowhere"],
        &["console", "consume", "--topic", "nowhere"],
    ] {
        let refused = pair.run(arguments).expect(1);
        assert!(refused.stderr.contains("\"nowhere\" does not exist"), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(pair.json(&["topic", "list"]), serde_json::json!([]));
}
