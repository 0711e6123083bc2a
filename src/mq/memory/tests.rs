use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{sleep, timeout};

use super::*;
use crate::mq::{Control, LaneEvent, Revocation, Subscription};

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn tps(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().copied().map(tp).collect()
}

fn topics(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn to(partition: i32, payload: &'static str) -> Outgoing {
    Outgoing { partition: Some(partition), payload: Some(payload.into()), ..Outgoing::default() }
}

/// A queue with topic `t`, and in each of its partitions so many messages.
async fn filled(partitions: i32, messages: usize) -> MemoryQueue {
    let queue = MemoryQueue::default();
    fill(&queue, partitions, messages).await;
    queue
}

async fn fill(queue: &MemoryQueue, partitions: i32, messages: usize) {
    queue.create_topic("t", partitions as usize);
    for partition in 0..partitions {
        for _ in 0..messages {
            queue.publish("t", to(partition, "x")).await.unwrap();
        }
    }
}

/// Nothing comes for a while.
async fn quiet(subscription: &mut MemorySubscription) {
    let event = timeout(Duration::from_secs(1), subscription.next()).await;
    assert!(event.is_err(), "{event:?}");
}

/// The next event must be an assignment.
async fn assigned(subscription: &mut MemorySubscription) -> Vec<TopicPartition> {
    match subscription.next().await {
        Some(Event::Assigned(partitions)) => partitions,
        other => panic!("{other:?}"),
    }
}

/// The next revocation, after what was prefetched.
async fn revoked(subscription: &mut MemorySubscription) -> Revocation {
    loop {
        match subscription.next().await {
            Some(Event::Revoked(revocation)) => return revocation,
            Some(Event::Messages(_) | Event::End(..)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Where the messages of the next event are from, which must have some.
async fn messages(subscription: &mut MemorySubscription) -> Vec<(i32, Offset)> {
    match subscription.next().await {
        Some(Event::Messages(messages)) => {
            messages.iter().map(|message| (message.source.partition, message.offset)).collect()
        }
        other => panic!("{other:?}"),
    }
}

async fn end(subscription: &mut MemorySubscription) -> (i32, Offset) {
    match subscription.next().await {
        Some(Event::End(partition, offset)) => (partition.partition, offset),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_goes_to_its_partition_its_keys_or_the_next() {
    let queue = MemoryQueue::new(MemorySettings { partitions: 3, ..MemorySettings::default() });
    let keyed = Outgoing { key: Some("d1001".into()), ..Outgoing::default() };
    let place = i32::try_from(crate::codec::fnv1a_32(b"d1001") % 3).unwrap();
    assert_eq!(queue.publish("t", keyed.clone()).await.unwrap(), Receipt { partition: place, offset: 0 });
    let both = Outgoing { partition: Some((place + 1) % 3), ..keyed };
    assert_eq!(queue.publish("t", both).await.unwrap(), Receipt { partition: (place + 1) % 3, offset: 0 });
    let mut dealt = Vec::new();
    for _ in 0..4 {
        dealt.push(queue.publish("t", Outgoing::default()).await.unwrap().partition);
    }
    assert_eq!(dealt, [0, 1, 2, 0]);
    let error = queue.publish("t", to(3, "x")).await.unwrap_err().to_string();
    assert_eq!(error, "publish to t: there is no partition 3, the topic has 3");
    assert_eq!(queue.messages("t").iter().map(Vec::len).sum::<usize>(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_as_it_was_published() {
    let queue = MemoryQueue::default();
    let headers = vec![crate::message::Header { name: "h".into(), value: Some("v".into()) }];
    sleep(Duration::from_millis(7)).await;
    let sent = Outgoing { key: Some("k".into()), payload: Some("p".into()), headers, ..Outgoing::default() };
    queue.publish("t", sent.clone()).await.unwrap();
    queue.publish("t", Outgoing { timestamp_ms: Some(-5), ..Outgoing::default() }).await.unwrap();
    let mut subscription = queue.subscribe(&topics(&["t"])).unwrap();
    assigned(&mut subscription).await;
    let Some(Event::Messages(got)) = subscription.next().await else { panic!() };
    assert_eq!(
        (got[0].key.clone(), got[0].payload.clone(), got[0].headers.clone()),
        (sent.key, sent.payload, sent.headers)
    );
    assert_eq!((got[0].timestamp_ms, got[1].timestamp_ms), (Some(7), Some(-5)));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses() {
    let queue = MemoryQueue::new(MemorySettings { max_bytes: 500, ..MemorySettings::default() });
    let mut published = 0;
    let refused = loop {
        match queue.publish("t", to(0, "some bytes")).await {
            Ok(_) => published += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(published > 0);
    assert_eq!(refused, "publish to t: the queue in memory is full at 500 bytes; raise max_bytes");
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_all_and_is_told_each_end_once() {
    let queue = filled(2, 2).await;
    let mut subscription = queue.subscribe(&topics(&["t"])).unwrap();
    assert_eq!(assigned(&mut subscription).await, tps(&[0, 1]));
    assert_eq!(messages(&mut subscription).await, [(0, 0), (0, 1)]);
    assert_eq!(messages(&mut subscription).await, [(1, 0), (1, 1)]);
    assert_eq!(end(&mut subscription).await, (0, 2));
    assert_eq!(end(&mut subscription).await, (1, 2));
    quiet(&mut subscription).await;
    queue.publish("t", to(1, "x")).await.unwrap();
    assert_eq!(messages(&mut subscription).await, [(1, 2)]);
    assert_eq!(end(&mut subscription).await, (1, 3));

    let mut other = queue.subscribe(&topics(&["t"])).unwrap();
    assert_eq!(assigned(&mut other).await, tps(&[0, 1]), "everyone for himself");
    subscription.control().commit(vec![(tp(0), 2)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_publish_wakes_who_waits() {
    let queue = filled(1, 0).await;
    let mut subscription = queue.subscribe(&topics(&["t"])).unwrap();
    assigned(&mut subscription).await;
    assert_eq!(end(&mut subscription).await, (0, 0));
    let waiting = tokio::spawn(async move { messages(&mut subscription).await });
    tokio::task::yield_now().await;
    queue.publish("t", to(0, "x")).await.unwrap();
    assert_eq!(waiting.await.unwrap(), [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_begins_where_it_is_told() {
    for (start, first) in [(Start::Earliest, Some(0)), (Start::At(2), Some(2)), (Start::Latest, None)] {
        let queue = MemoryQueue::new(MemorySettings { start, ..MemorySettings::default() });
        fill(&queue, 1, 3).await;
        let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
        assigned(&mut subscription).await;
        if let Some(first) = first {
            assert_eq!(messages(&mut subscription).await[0], (0, first));
        }
        assert_eq!(end(&mut subscription).await, (0, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_on_where_it_committed() {
    let queue = filled(1, 5).await;
    let mut first = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut first).await;
    messages(&mut first).await;
    first.control().commit(vec![(tp(0), 3)]).await.unwrap();
    assert_eq!(queue.committed("g", &tp(0)), Some(3));
    drop(first);
    let mut second = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assert_eq!(assigned(&mut second).await, tps(&[0]));
    assert_eq!(messages(&mut second).await, [(0, 3), (0, 4)]);
    let mut other = queue.queue_subscribe(&topics(&["t"]), "another").unwrap();
    assigned(&mut other).await;
    assert_eq!(messages(&mut other).await.len(), 5);
    let error = other.control().commit(vec![(tp(7), 3)]).await.unwrap_err().to_string();
    assert_eq!(error, "commit: t/7 does not belong to this member of the group");
}

#[tokio::test(start_paused = true)]
async fn a_partition_changes_hands_when_it_is_released() {
    let queue = filled(4, 3).await;
    let mut first = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assert_eq!(assigned(&mut first).await, tps(&[0, 1, 2, 3]));
    let mut second = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assert_eq!(assigned(&mut second).await, [], "the group answers, and has nothing yet");

    for partition in 0..3 {
        assert_eq!(messages(&mut first).await, [(partition, 0), (partition, 1), (partition, 2)], "was on its way");
    }
    let revocation = revoked(&mut first).await;
    assert_eq!((revocation.partitions.clone(), revocation.lost), (tps(&[2, 3]), false));
    let start = Instant::now();
    let waiting = tokio::spawn(async move { (assigned(&mut second).await, messages(&mut second).await, second) });
    sleep(Duration::from_secs(2)).await;
    assert!(!waiting.is_finished());
    revocation.release(vec![(tp(2), 1), (tp(0), 9)]);
    let (partitions, first_messages, mut second) = waiting.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "at the release, not at the deadline");
    assert_eq!(partitions, tps(&[2, 3]));
    assert_eq!(first_messages, [(2, 1), (2, 2)], "from what was committed at the release");
    assert_eq!(queue.committed("g", &tp(0)), None, "was not revoked");
    assert_eq!(messages(&mut second).await, [(3, 0), (3, 1), (3, 2)]);
    let ends = BTreeSet::from([end(&mut first).await, end(&mut first).await]);
    assert_eq!(ends, BTreeSet::from([(0, 3), (1, 3)]), "what it kept");
    first.control().commit(vec![(tp(2), 3)]).await.unwrap_err();

    drop(second);
    assert_eq!(assigned(&mut first).await, tps(&[2, 3]), "what the second had, though it committed nothing");
    assert_eq!(messages(&mut first).await, [(2, 1), (2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_not_released_is_taken_at_the_deadline() {
    let queue = filled(2, 1).await;
    let mut first = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut first).await;
    let mut second = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut second).await;
    let start = Instant::now();
    assert_eq!(assigned(&mut second).await, tps(&[1]));
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    while let Some(event) = first.next().await {
        if let Event::Revoked(revocation) = event {
            assert!(revocation.lost, "it was not even read in time");
            revocation.release(vec![(tp(1), 1)]);
            break;
        }
    }
    assert_eq!(messages(&mut second).await, [(1, 0)]);
    assert_eq!(queue.committed("g", &tp(1)), None, "too late");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_revocation_lets_go_and_commits_nothing() {
    let queue = filled(2, 0).await;
    let mut first = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut first).await;
    let mut second = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut second).await;
    drop(revoked(&mut first).await);
    let start = Instant::now();
    assert_eq!(assigned(&mut second).await, tps(&[1]));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn who_unsubscribes_is_revoked_and_then_at_the_end() {
    let queue = filled(1, 1).await;
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut subscription).await;
    messages(&mut subscription).await;
    subscription.control().unsubscribe();
    let revocation = revoked(&mut subscription).await;
    assert_eq!(revocation.partitions, tps(&[0]));
    quiet(&mut subscription).await;
    revocation.release(vec![(tp(0), 1)]);
    assert!(subscription.next().await.is_none());
    assert!(subscription.next().await.is_none());
    assert_eq!(queue.committed("g", &tp(0)), Some(1));
}

#[tokio::test(start_paused = true)]
async fn members_share_fairly_and_move_little() {
    let queue = filled(7, 0).await;
    let mut members = Vec::new();
    let mut owned: Vec<BTreeSet<i32>> = Vec::new();
    for _ in 0..3 {
        members.push(queue.queue_subscribe(&topics(&["t"]), "g").unwrap());
        owned.push(BTreeSet::new());
        let before = owned.clone();
        settle(&mut members, &mut owned).await;
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        assert_eq!(
            (all.len(), owned.iter().map(BTreeSet::len).sum::<usize>()),
            (7, 7),
            "each has one owner: {owned:?}"
        );
        let sizes: BTreeSet<usize> = owned.iter().map(BTreeSet::len).collect();
        assert!(sizes.last().unwrap() - sizes.first().unwrap() <= 1, "{owned:?}");
        let old = before.len() - 1;
        assert!(before[..old].iter().zip(&owned).all(|(before, now)| now.is_subset(before)), "{before:?} {owned:?}");
    }
    members[1].control().unsubscribe();
    settle(&mut members, &mut owned).await;
    assert!(owned[1].is_empty());
    assert_eq!(owned.iter().map(BTreeSet::len).sum::<usize>(), 7);
}

/// Serves the members' events until none comes.
async fn settle(members: &mut [MemorySubscription], owned: &mut [BTreeSet<i32>]) {
    let mut quiet = 0;
    while quiet < 3 {
        quiet += 1;
        for (member, owned) in members.iter_mut().zip(&mut *owned) {
            while let Ok(Some(event)) = timeout(Duration::from_millis(10), member.next()).await {
                match event {
                    Event::Assigned(partitions) => owned.extend(partitions.iter().map(|p| p.partition)),
                    Event::Revoked(revocation) => {
                        revocation.partitions.iter().for_each(|p| assert!(owned.remove(&p.partition)));
                        revocation.release(Vec::new());
                        quiet = 0;
                    }
                    _ => {}
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pattern_finds_topics_old_and_new() {
    let queue = MemoryQueue::default();
    queue.create_topic("meters.a", 1);
    queue.create_topic("other", 1);
    let mut subscription = queue.queue_subscribe(&topics(&["^meters\\."]), "g").unwrap();
    assert_eq!(assigned(&mut subscription).await, [TopicPartition::new("meters.a", 0)]);
    end(&mut subscription).await;
    queue.publish("meters.b", Outgoing::default()).await.unwrap();
    queue.publish("not.meters.c", Outgoing::default()).await.unwrap();
    assert_eq!(assigned(&mut subscription).await, [TopicPartition::new("meters.b", 0)]);
    messages(&mut subscription).await;
    end(&mut subscription).await;
    queue.create_topic("meters.a", 2);
    assert_eq!(assigned(&mut subscription).await, [TopicPartition::new("meters.a", 1)]);
    assert!(
        matches!(queue.subscribe(&topics(&["^(meters"])), Err(MqError::Settings(text)) if text.contains("^(meters"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_is_not_there_is_waited_for() {
    let queue = MemoryQueue::default();
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assert!(matches!(subscription.next().await, Some(Event::Error(MqError::UnknownTopic { topic })) if topic == "t"));
    assert_eq!(assigned(&mut subscription).await, []);
    quiet(&mut subscription).await;
    queue.publish("t", to(0, "x")).await.unwrap();
    assert_eq!(assigned(&mut subscription).await, tps(&[0]));
    assert_eq!(messages(&mut subscription).await, [(0, 0)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_prefetched_is_bounded_and_comes_after_a_hold() {
    let queue = MemoryQueue::new(MemorySettings { max_event_messages: 2, max_events: 3, ..MemorySettings::default() });
    fill(&queue, 1, 20).await;
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    let control = subscription.control();
    assigned(&mut subscription).await;
    control.hold(&tps(&[0]));
    assert_eq!(messages(&mut subscription).await, [(0, 0), (0, 1)]);
    assert_eq!(messages(&mut subscription).await, [(0, 2), (0, 3)]);
    quiet(&mut subscription).await;
    control.unhold(&tps(&[0]));
    assert_eq!(messages(&mut subscription).await, [(0, 4), (0, 5)]);
    control.pause(&tps(&[0]));
    assert_eq!(messages(&mut subscription).await, [(0, 6), (0, 7)]);
    assert_eq!(messages(&mut subscription).await, [(0, 8), (0, 9)]);
    control.unhold(&tps(&[0]));
    quiet(&mut subscription).await;
    control.resume(&tps(&[0]));
    assert_eq!(messages(&mut subscription).await, [(0, 10), (0, 11)]);
}

#[tokio::test(start_paused = true)]
async fn a_hold_concerns_its_partition_alone() {
    let queue = filled(2, 0).await;
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut subscription).await;
    end(&mut subscription).await;
    end(&mut subscription).await;
    subscription.control().hold(&tps(&[0, 5]));
    queue.publish("t", to(0, "x")).await.unwrap();
    queue.publish("t", to(1, "x")).await.unwrap();
    assert_eq!(messages(&mut subscription).await, [(1, 0)]);
    assert_eq!(end(&mut subscription).await, (1, 1));
    quiet(&mut subscription).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_and_waited_for() {
    let queue = filled(1, 1).await;
    let (connected, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (count, reasons) = (connected.clone(), lost.clone());
    queue.on_connected(move || _ = count.fetch_add(1, Ordering::SeqCst));
    queue.on_connection_lost(move |reason| reasons.lock().unwrap().push(reason.to_owned()));
    assert_eq!(connected.load(Ordering::SeqCst), 1, "the first time included");
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();

    queue.lose_connection("cable pulled");
    queue.lose_connection("still");
    assert_eq!(*lost.lock().unwrap(), ["cable pulled"]);
    assigned(&mut subscription).await;
    quiet(&mut subscription).await;
    let error = subscription.control().commit(vec![(tp(0), 1)]).await.unwrap_err().to_string();
    assert_eq!(error, "commit: still");
    let start = Instant::now();
    let error = queue.publish("t", to(0, "x")).await.unwrap_err().to_string();
    assert_eq!(
        (start.elapsed(), error.as_str()),
        (Duration::from_secs(5), "publish to t: not acknowledged within 5s: still")
    );

    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move { queue.publish("t", to(0, "x")).await }
    });
    sleep(Duration::from_secs(1)).await;
    queue.restore_connection();
    queue.restore_connection();
    assert_eq!(connected.load(Ordering::SeqCst), 2);
    assert_eq!(publishing.await.unwrap().unwrap().offset, 1);
    assert_eq!(messages(&mut subscription).await, [(0, 0), (0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn it_fails_as_it_is_told_to() {
    let queue = filled(1, 1).await;
    let refusal = |topic: &str| MqError::Publish { topic: topic.into(), reason: "disk full".into() };
    let expected = queue.fail(Action::Publish, [refusal("first"), refusal("second")]);
    assert_eq!(queue.publish("t", to(0, "x")).await.unwrap_err().to_string(), "publish to first: disk full");
    assert_eq!(expected.remaining(), 1);
    assert_eq!(queue.publish("t", to(0, "x")).await.unwrap_err().to_string(), "publish to second: disk full");
    queue.publish("t", to(0, "x")).await.unwrap();
    drop(expected);

    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut subscription).await;
    messages(&mut subscription).await;
    end(&mut subscription).await;
    let waiting = tokio::spawn(async move { (subscription.next().await, subscription) });
    tokio::task::yield_now().await;
    let expected = queue.fail(Action::Read, [MqError::Stopped]);
    let (event, subscription) = waiting.await.unwrap();
    assert!(matches!(event, Some(Event::Error(MqError::Stopped))));
    drop(expected);
    let _expected = queue.fail(Action::Commit, [MqError::Stopped]);
    subscription.control().commit(vec![(tp(0), 1)]).await.unwrap_err();
    subscription.control().commit(vec![(tp(0), 1)]).await.unwrap();
}

#[test]
#[should_panic(expected = "Commit was expected to fail 1 more times")]
fn a_failure_that_never_came_fails_the_test() {
    let queue = MemoryQueue::default();
    drop(queue.fail(Action::Commit, [MqError::Stopped]));
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_publishes_and_ends_subscriptions() {
    let queue = filled(1, 1).await;
    let mut subscription = queue.queue_subscribe(&topics(&["t"]), "g").unwrap();
    assigned(&mut subscription).await;
    queue.lose_connection("gone");
    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move { queue.publish("t", to(0, "x")).await }
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    queue.stop().await;
    assert_eq!(start.elapsed(), Duration::from_secs(5), "until the publish gave up");
    publishing.await.unwrap().unwrap_err();
    assert!(matches!(queue.publish("t", to(0, "x")).await, Err(MqError::Stopped)));
    assert!(matches!(queue.subscribe(&topics(&["t"])), Err(MqError::Stopped)));
    revoked(&mut subscription).await.release(Vec::new());
    assert!(subscription.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn all_messages_of_a_key_go_to_one_lane() {
    let queue = MemoryQueue::new(MemorySettings { partitions: 3, ..MemorySettings::default() });
    for n in 0..60 {
        let key = format!("d{}", n % 7).into_bytes();
        queue.publish("t", Outgoing { key: Some(key.into()), ..Outgoing::default() }).await.unwrap();
    }
    let mut subscription = queue.queue_subscribe_by_key(&topics(&["t"]), "g", 4).unwrap();
    let mut lanes_of: BTreeMap<Vec<u8>, BTreeSet<usize>> = BTreeMap::new();
    let mut count = 0;
    while count < 60 {
        if let Some(LaneEvent::Messages(lanes)) = subscription.next().await {
            for (lane, messages) in lanes.into_iter().enumerate() {
                count += messages.len();
                for message in messages {
                    lanes_of.entry(message.key.unwrap().to_vec()).or_default().insert(lane);
                }
            }
        }
    }
    assert_eq!(lanes_of.len(), 7);
    assert!(lanes_of.values().all(|lanes| lanes.len() == 1), "{lanes_of:?}");
    assert!(lanes_of.values().flatten().collect::<BTreeSet<_>>().len() > 1);
}
