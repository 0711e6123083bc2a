//! The ways in which a group divides its partitions: each with members that come and go under load.

use serde_json::Value;

use crate::common::kafka::{GROUPS, Kafka};
use crate::common::pair::{Pair, produce_arguments, simulator};
use crate::common::process::{Process, Signal, kafka_taos, run};
use crate::common::until;

/// A topic of its own, a group of the same name, and how its members take part.
struct Group<'a> {
    kafka: &'a Kafka,
    pair: Pair,
    name: &'a str,
    properties: &'a [&'a str],
}

impl<'a> Group<'a> {
    fn new(kafka: &'a Kafka, name: &'a str, properties: &'a [&'a str]) -> Self {
        let group = Self { kafka, pair: Pair::start(), name, properties };
        run(&mut group.command(&["topic", "create", "--partitions", "6"])).expect(0);
        group
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = kafka_taos(arguments);
        command.env("KAFKA_BROKERS", self.kafka.brokers()).env("TDENGINE_URL", self.pair.url());
        command.env("KAFKA_TOPIC", self.name);
        command
    }

    fn member(&self, more: &[&str]) -> Process {
        let mut arguments = vec!["consume", "--json", "--workers", "2", "--batch-max-size", "50"];
        let properties = self.properties.iter().chain(more);
        properties.for_each(|property| arguments.extend(["--kafka", property]));
        Process::start(&mut self.command(&arguments))
    }

    fn count(&self) -> u64 {
        self.pair.count_if_there("select count(*) from test.stb")
    }

    /// What Kafka's own tool says of it.
    fn described(&self, more: &str) -> String {
        run(&mut self.kafka.tool(GROUPS, &["--describe", "--group", self.name, more])).expect(0).stdout
    }
}

fn leave(member: Process) -> Value {
    member.signal(Signal::TERM);
    member.wait().expect(143).json()
}

/// Two members share a topic that is being written to; a third comes, the first goes.
fn members_come_and_go(kafka: &Kafka, name: &str, properties: &[&str], strategy: &str) {
    let (group, simulator) = (Group::new(kafka, name, properties), simulator(24, 2, 250));
    let generated = produce_arguments(&simulator);
    let produce: Vec<_> =
        ["produce", "--rate", "1000", "--json"].into_iter().chain(generated.iter().map(String::as_str)).collect();
    let producer = Process::start(&mut group.command(&produce));
    let (first, second) = (group.member(&[]), group.member(&[]));
    first.stderr_line("partitions assigned");
    second.stderr_line("partitions assigned");
    until("a quarter is written", || (group.count() > simulator.total() / 4).then_some(()));
    let third = group.member(&[]);
    third.stderr_line("partitions assigned");
    let state = group.described("--state");
    assert!(state.contains(strategy), "{name}: {state}");
    leave(first);
    assert_eq!(producer.wait().expect(0).json()["produced"], simulator.total());
    until("all is written", || (group.count() >= simulator.total()).then_some(()));
    for member in [second, third] {
        member.signal(Signal::TERM);
        let ended = member.wait().expect(143);
        assert_ne!(ended.json()["consumed"], 0, "{name}: {}", ended.stderr);
    }
    group.pair.assert_stored(&simulator);
    let rest = run(&mut group.command(&["consume", "--until-end", "--json"])).expect(0).json();
    assert_eq!(rest["consumed"], 0, "{name}: all was committed: {rest}");
}

/// A static member that is started again within its session takes up its partitions, and nobody else notices.
fn a_static_member_comes_back_to_its_partitions(kafka: &Kafka) {
    let (group, half, simulator) =
        (Group::new(kafka, "static", &["session.timeout.ms=20000"]), simulator(24, 2, 25), simulator(24, 2, 50));
    group.pair.produce_to(&kafka.brokers(), group.name, &half);
    let (first, second) = (group.member(&["group.instance.id=a"]), group.member(&["group.instance.id=b"]));
    // Both have their share once the members of the group are settled.
    until("partitions are shared", || {
        let members = group.described("--members");
        (members.lines().filter(|line| line.split_whitespace().last() == Some("3")).count() == 2).then_some(())
    });
    let seen = |member: &Process| member.said().matches("partitions assigned").count();
    let before = seen(&second);
    leave(first);
    let first = group.member(&["group.instance.id=a"]);
    first.stderr_line("partitions assigned");
    group.pair.produce_to(&kafka.brokers(), group.name, &simulator);
    until("all is written", || (group.count() >= simulator.total()).then_some(()));
    assert_eq!(seen(&second), before, "{}", second.said());

    // One that takes its place is told apart from one that is started again only by the one that is left.
    let usurper = group.member(&["group.instance.id=b"]);
    let fenced = second.wait().expect(1);
    assert!(fenced.stderr.contains("give each its own"), "{}", fenced.stderr);
    usurper.stderr_line("partitions assigned");
    leave(first);
    leave(usurper);
    group.pair.assert_stored(&simulator);
}

/// With KIP-848 it is the second of a name that is refused.
fn a_second_member_of_a_name_is_refused(kafka: &Kafka) {
    let group = Group::new(kafka, "named", &["group.protocol=consumer", "group.instance.id=a"]);
    let simulator = simulator(4, 2, 25);
    group.pair.produce_to(&kafka.brokers(), group.name, &simulator);
    let first = group.member(&[]);
    first.stderr_line("partitions assigned");
    let refused = group.member(&[]).wait().expect(1);
    assert!(refused.stderr.contains("give each its own"), "{}", refused.stderr);
    until("all is written", || (group.count() >= simulator.total()).then_some(()));
    leave(first);
    group.pair.assert_stored(&simulator);
}

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn groups_divide_partitions_in_every_way_that_kafka_has() {
    let Some(kafka) = Kafka::start() else { return };
    // At the default of 2.5 s all would be over before a member learns of another.
    const HEARTBEAT: &str = "heartbeat.interval.ms=300";
    members_come_and_go(&kafka, "cooperative", &[HEARTBEAT], "cooperative-sticky");
    members_come_and_go(&kafka, "range", &[HEARTBEAT, "partition.assignment.strategy=range"], "range");
    members_come_and_go(&kafka, "roundrobin", &[HEARTBEAT, "partition.assignment.strategy=roundrobin"], "roundrobin");
    members_come_and_go(&kafka, "kip-848", &["group.protocol=consumer"], "uniform");
    a_static_member_comes_back_to_its_partitions(&kafka);
    a_second_member_of_a_name_is_refused(&kafka);
}
