//! Consumer groups: sharing, handing over, resuming.

use std::collections::{BTreeSet, HashMap};
use std::process::{Command, Stdio};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;

use crate::support::{Server, assignment, numbers, payload, poll, poll_until, wait_until};

/// Consumers of topic "t" in group "g", in one order of joining.
fn members(server: &Server, count: usize, settings: &[(&str, &str)]) -> Vec<BaseConsumer> {
    let join = |_| {
        let consumer = server.consumer("g", settings);
        consumer.subscribe(&["t"]).unwrap();
        consumer
    };
    (0..count).map(join).collect()
}

fn sizes(members: &[&BaseConsumer]) -> Vec<usize> {
    let mut sizes: Vec<_> = members.iter().map(|member| assignment(member).values().map(Vec::len).sum()).collect();
    sizes.sort_unstable();
    sizes
}

/// Polls until the partitions are shared as `expected`, in ascending order, and each has one owner.
fn settle(members: &[&BaseConsumer], expected: &[usize]) {
    let done = || {
        let owned: Vec<_> = members.iter().flat_map(|m| assignment(m).into_values().flatten()).collect();
        sizes(members) == expected && owned.iter().collect::<BTreeSet<_>>().len() == owned.len()
    };
    poll_until(members, |_, _| {}, done);
}

#[test]
fn a_group_resumes_where_it_committed() {
    let server = Server::start();
    server.create_topic("t", 1);
    let values = numbers(0..1000);
    server.write("t", 0, values.iter().map(String::as_str));
    let consumer = members(&server, 1, &[]).remove(0);
    for offset in 0..300 {
        assert_eq!(poll(&consumer).offset(), offset);
    }
    consumer.commit_message(&poll(&consumer), CommitMode::Sync).unwrap();
    let committed = {
        let list = consumer.committed(crate::support::PATIENCE).unwrap();
        list.elements()[0].offset()
    };
    assert_eq!(committed, rdkafka::Offset::Offset(301));
    drop(consumer);
    let consumer = &members(&server, 1, &[])[0];
    for offset in 301..1000 {
        assert_eq!(poll(consumer).offset(), offset);
    }
}

#[test]
fn every_assignor_shares_hands_over_and_loses_nothing() {
    for assignor in ["range", "roundrobin", "cooperative-sticky"] {
        let server = Server::start();
        server.create_topic("t", 6);
        let settings = [("partition.assignment.strategy", assignor)];
        let mut group = members(&server, 1, &settings);
        settle(&[&group[0]], &[6]);
        group.extend(members(&server, 2, &settings));
        settle(&group.iter().collect::<Vec<_>>(), &[2, 2, 2]);
        for partition in 0..6 {
            server.write("t", partition, numbers(0..50).iter().map(String::as_str));
        }
        let mut seen: HashMap<(i32, i64), usize> = HashMap::new();
        let mut count = 0;
        let total = std::cell::Cell::new(0);
        let all: Vec<_> = group.iter().collect();
        let on = |_, message: &rdkafka::message::BorrowedMessage<'_>| {
            *seen.entry((message.partition(), message.offset())).or_default() += 1;
            count += 1;
            total.set(count);
        };
        poll_until(&all, on, || total.get() == 300);
        assert!(seen.len() == 300 && seen.values().all(|times| *times == 1), "{assignor}");
        drop(all);
        group.pop();
        settle(&group.iter().collect::<Vec<_>>(), &[3, 3]);
    }
}

#[test]
fn a_killed_member_loses_its_partitions_when_its_session_ends() {
    let server = Server::start();
    server.create_topic("t", 4);
    let survivor = &members(&server, 1, &[("session.timeout.ms", "1500")])[0];
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "groups::member_of_its_own_process", "--ignored", "--nocapture"])
        .env("KAFKA_TEST_BROKER", server.address().to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    settle(&[survivor], &[2]);
    child.kill().unwrap();
    child.wait().unwrap();
    settle(&[survivor], &[4]);
}

/// Started, and killed, by the test above.
#[test]
#[ignore = "a part of another test"]
fn member_of_its_own_process() {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", std::env::var("KAFKA_TEST_BROKER").unwrap())
        .set("group.id", "g")
        .set("session.timeout.ms", "1500")
        .set("heartbeat.interval.ms", "200")
        .create()
        .unwrap();
    consumer.subscribe(&["t"]).unwrap();
    loop {
        consumer.poll(std::time::Duration::from_millis(100));
    }
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let server = Server::start();
    server.create_topic("t", 4);
    let of_group = |instance: &str| {
        let consumer = server.consumer("g", &[("group.instance.id", instance)]);
        consumer.subscribe(&["t"]).unwrap();
        consumer
    };
    let (stays, leaves) = (of_group("stays"), of_group("leaves"));
    settle(&[&stays, &leaves], &[2, 2]);
    let (before, kept) = (assignment(&leaves), assignment(&stays));
    drop(leaves); // a static member does not leave its group
    let back = of_group("leaves");
    poll_until(&[&back], |_, _| {}, || !assignment(&back).is_empty());
    assert_eq!(assignment(&back), before);
    poll_until(&[&stays], |_, _| {}, || true);
    assert_eq!(assignment(&stays), kept);
    let groups = stays.fetch_group_list(Some("g"), crate::support::PATIENCE).unwrap();
    assert_eq!((groups.groups()[0].state(), groups.groups()[0].members().len()), ("Stable", 2));
}

#[test]
fn a_pattern_finds_topics_that_come_later() {
    let server = Server::start();
    server.create_topic("in.a", 1);
    server.create_topic("out", 1);
    let consumer = server.consumer("g", &[("topic.metadata.refresh.interval.ms", "200")]);
    consumer.subscribe(&["^in\\..*"]).unwrap();
    poll_until(&[&consumer], |_, _| {}, || assignment(&consumer).keys().eq(["in.a"]));
    server.create_topic("in.b", 1);
    poll_until(&[&consumer], |_, _| {}, || assignment(&consumer).keys().eq(["in.a", "in.b"]));
    server.write("in.b", 0, ["found"]);
    assert_eq!(payload(&poll(&consumer)), "found");
}

#[test]
fn a_group_takes_on_added_partitions() {
    use rdkafka::admin::{AdminOptions, NewPartitions};
    let server = Server::start();
    server.create_topic("t", 1);
    let consumer = &members(&server, 1, &[("topic.metadata.refresh.interval.ms", "200")])[0];
    settle(&[consumer], &[1]);
    let more = NewPartitions::new("t", 3);
    server.runtime.block_on(server.admin().create_partitions([&more], &AdminOptions::new())).unwrap();
    settle(&[consumer], &[3]);
    server.write("t", 2, ["there"]);
    assert_eq!(payload(&poll(consumer)), "there");
}

#[test]
fn members_that_come_and_go_read_everything_between_them() {
    let server = Server::start();
    server.create_topic("t", 4);
    let values = numbers(0..500);
    for partition in 0..4 {
        server.write("t", partition, values.iter().map(String::as_str));
    }
    let mut seen = BTreeSet::new();
    for round in 0..6 {
        let group = members(&server, 1 + round % 3, &[("partition.assignment.strategy", "cooperative-sticky")]);
        let all: Vec<_> = group.iter().collect();
        let goal = (seen.len() + 250).min(2000);
        let count = std::cell::Cell::new(seen.len());
        let on = |index: usize, message: &rdkafka::message::BorrowedMessage<'_>| {
            seen.insert((message.partition(), message.offset()));
            // A commit may be refused in the middle of a rebalance; the records then come again.
            let _ = all[index].commit_message(message, CommitMode::Sync);
            count.set(seen.len());
        };
        poll_until(&all, on, || count.get() >= goal);
    }
    let last = &members(&server, 1, &[])[0];
    let count = std::cell::Cell::new(seen.len());
    let on = |_, message: &rdkafka::message::BorrowedMessage<'_>| {
        seen.insert((message.partition(), message.offset()));
        count.set(seen.len());
    };
    poll_until(&[last], on, || count.get() == 2000);
}

#[test]
fn an_expired_member_joins_again() {
    let server = Server::start();
    server.create_topic("t", 2);
    let consumer = &members(&server, 1, &[("client.id", "me")])[0];
    settle(&[consumer], &[2]);
    assert_eq!(server.broker.faults().expire_member("g", "me"), 1);
    assert_eq!(server.broker.faults().expire_member("g", "nobody"), 0);
    wait_until(|| {
        let _ = consumer.poll(std::time::Duration::from_millis(50));
        assignment(consumer).is_empty()
    });
    settle(&[consumer], &[2]);
}
