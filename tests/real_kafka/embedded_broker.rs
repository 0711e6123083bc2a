//! Kafka's own command-line tools on the embedded broker.

use crate::common::kafka::{CONSUMER, GROUPS, Jars, PRODUCER, TOPICS};
use crate::common::pair::{Pair, simulator};
use crate::common::process::{run, run_with_input};

#[test]
#[ignore = "runs Java: run by ./test"]
fn kafkas_own_tools_work_on_the_embedded_broker() {
    let Some(jars) = Jars::resolve() else { return };
    let pair = Pair::start();
    let tool = |class: &str, arguments: &[&str]| jars.tool(class, &pair.brokers, arguments);

    run(&mut tool(TOPICS, &["--create", "--topic", "lines", "--partitions", "1"])).expect(0);
    run(&mut tool(TOPICS, &["--create", "--topic", "test", "--partitions", "3"])).expect(0);
    let listed = run(&mut tool(TOPICS, &["--list"])).expect(0).stdout;
    assert_eq!(listed.lines().filter(|topic| !topic.starts_with("__")).collect::<Vec<_>>(), ["lines", "test"]);
    let described = run(&mut tool(TOPICS, &["--describe", "--topic", "test"])).expect(0).stdout;
    assert!(described.contains("PartitionCount: 3"), "{described}");

    let keyed = ["--topic", "lines", "--reader-property", "parse.key=true", "--reader-property", "key.separator=:"];
    run_with_input(&mut tool(PRODUCER, &keyed), b"d1:one\nd2:two\n").expect(0);
    let ours =
        pair.run(&["console", "consume", "--topic", "lines", "--from-beginning", "--max", "2", "--key-separator", "="]);
    assert_eq!(ours.expect(0).stdout, "d1=one\nd2=two");
    pair.run_with_input(&["console", "produce", "--topic", "lines"], b"three\n").expect(0);
    let read = ["--topic", "lines", "--from-beginning", "--max-messages", "3", "--group", "java"];
    assert_eq!(run(&mut tool(CONSUMER, &read)).expect(0).stdout, "one\ntwo\nthree");

    // A group of ours as their tool sees it, and theirs.
    let simulator = simulator(4, 2, 25);
    pair.produce("test", &simulator, &[]);
    pair.consume("test", &["--group", "ours"]);
    let groups = run(&mut tool(GROUPS, &["--list"])).expect(0).stdout;
    assert!(groups.lines().any(|group| group == "ours") && groups.lines().any(|group| group == "java"), "{groups}");
    let described = run(&mut tool(GROUPS, &["--describe", "--group", "ours"])).expect(0).stdout;
    let lags: Vec<_> =
        described.lines().filter(|line| line.starts_with("ours")).map(|line| line.split_whitespace().nth(5)).collect();
    assert!(!lags.is_empty() && lags.iter().all(|lag| *lag == Some("0")), "{described}");

    run(&mut tool(TOPICS, &["--delete", "--topic", "lines"])).expect(0);
    assert_eq!(pair.json(&["topic", "list"]).as_array().unwrap().len(), 1);
}
