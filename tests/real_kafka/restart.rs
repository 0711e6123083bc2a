//! The broker goes away and comes back while records are on their way.

use crate::common::kafka::{GROUPS, Kafka};
use crate::common::pair::{Pair, produce_arguments, simulator};
use crate::common::process::{Process, Signal, kafka_taos, run};
use crate::common::until;

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn nothing_is_lost_when_the_broker_is_restarted() {
    let Some(mut kafka) = Kafka::start() else { return };
    let (pair, simulator) = (Pair::start(), simulator(20, 5, 500));
    let brokers = kafka.brokers();
    let command = |arguments: &[&str]| {
        let mut command = kafka_taos(arguments);
        command.env("KAFKA_BROKERS", &brokers).env("TDENGINE_URL", pair.url()).env("KAFKA_TOPIC", "restarted");
        command
    };
    run(&mut command(&["topic", "create", "--partitions", "4"])).expect(0);
    let generated = produce_arguments(&simulator);
    let produce: Vec<_> =
        ["produce", "--rate", "2000", "--json"].into_iter().chain(generated.iter().map(String::as_str)).collect();
    let producer = Process::start(&mut command(&produce));
    let consumer = Process::start(&mut command(&["consume", "--session-timeout", "6s", "--json"]));

    let count = || pair.count_if_there("select count(*) from test.stb");
    until("a part is written", || (count() > simulator.total() / 10).then_some(()));
    kafka.kill();
    consumer.stderr_line("no broker can be reached");
    kafka.restart();
    until("half is written", || (count() > simulator.total() / 2).then_some(()));
    kafka.stop();
    kafka.restart();
    assert_eq!(producer.wait().expect(0).json()["produced"], simulator.total());
    until("all is written", || (count() >= simulator.total()).then_some(()));
    consumer.signal(Signal::TERM);
    consumer.wait().expect(143);
    pair.assert_stored(&simulator);

    // As Kafka's own tool sees it: the group has read all and has nobody in it.
    let described = run(&mut kafka.tool(GROUPS, &["--describe", "--group", "restarted"])).expect(0).stdout;
    let lags: Vec<_> = described
        .lines()
        .filter(|line| line.starts_with("restarted"))
        .map(|line| line.split_whitespace().nth(5))
        .collect();
    assert_eq!(lags, [Some("0"); 4], "{described}");
}
