//! Partitions that change hands.

use super::*;
use crate::mq::{Control, Revocation};

#[tokio::test(start_paused = true)]
async fn revoked_partitions_are_let_go_with_exactly_what_is_resolved() {
    let landing = |_: &[Key]| Answer { before: SECOND, ..Answer::from(Ok(())) };
    let (queue, store) = (topic(2), FakeStore::new(landing));
    for partition in 0..2 {
        publish_rows(&queue, partition, 0..200).await;
    }
    let member = Member::start(&queue, &store, PipelineSettings { workers: 1, ..settings() });
    until("something is written", || !store.fake().history.is_empty()).await;
    let (_other, partitions) = bystander(&queue).await;
    assert_eq!(partitions, [tp(1)]);
    let written = |store: &FakeStore| store.fake().rows.keys().filter(|(table, _)| table == "d1").count() as Offset;
    let (at_release, offset) = (written(&store), committed(&queue, 1));
    assert_eq!(offset.unwrap_or(0), at_release, "all that was written, and nothing else");
    until_committed(&queue, &[200]).await;
    assert_eq!((written(&store), committed(&queue, 1)), (at_release, offset), "and nothing afterwards");
    member.stopped().await.unwrap();
    assert_in_order(&store, &[(0, 200)]);
}

#[tokio::test(start_paused = true)]
async fn members_come_and_go_and_die_and_nothing_is_missing() {
    let (queue, store) = (topic(6), FakeStore::new(slowly(SECOND / 20)));
    let publishing = tokio::spawn({
        let queue = queue.clone();
        async move {
            for n in 0..300 {
                for partition in 0..6 {
                    publish_rows(&queue, partition, n..n + 1).await;
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let first = Member::start(&queue, &store, settings());
    sleep(SECOND).await;
    let second = Member::start(&queue, &store, settings());
    sleep(SECOND / 2).await;
    let third = Member::start(&queue, &store, settings());
    sleep(SECOND / 2).await;
    assert!(third.consumed() > 0);
    third.running.abort();
    sleep(SECOND / 2).await;
    first.stopped().await.unwrap();
    publishing.await.unwrap();
    until_committed(&queue, &[300; 6]).await;
    second.stopped().await.unwrap();
    assert_eq!(store.fake().rows.len(), 1800);
    assert!(store.fake().rows.iter().all(|((_, ts), value)| *ts == i64::from(*value)));
}

#[tokio::test(start_paused = true)]
async fn partitions_are_let_off_when_all_that_waited_was_of_revoked_ones() {
    let store = FakeStore::new(slowly(SECOND));
    let queue = topic(2);
    let member = Member::start(&queue, &store, PipelineSettings { workers: 1, ..settings() });
    sleep(SECOND).await;
    // Only partition 1 has messages, and is held for them; then it is taken away.
    publish_rows(&queue, 1, 0..200).await;
    until("the queue is full", || member.consumed() > 60).await;
    let (_other, partitions) = bystander(&queue).await;
    assert_eq!(partitions, [tp(1)]);
    publish_rows(&queue, 0, 0..20).await;
    until_committed(&queue, &[20]).await;
    member.stopped().await.unwrap();
}

/// The store is away for longer than a revoked partition waits. Its next owner writes newer values as soon as the store
/// is back; what the former one still tries to write must not land on top of them.
#[tokio::test(start_paused = true)]
async fn lost_partitions_are_not_written_any_more() {
    let queue = topic(2);
    let away = FakeStore::new(|_| Err(gone()));
    for partition in 0..2 {
        publish_rows(&queue, partition, 0..3).await;
    }
    // One that sees the store away writes nothing, so two stores do for one with two ways to it.
    let member = Member::start(&queue, &away, PipelineSettings { workers: 1, ..settings() });
    until("all is read", || member.consumed() == 6).await;
    let (other, partitions) = bystander(&queue).await;
    assert_eq!(partitions, [tp(1)]);
    away.answer(|_| Ok(()));
    until_committed(&queue, &[3, 0]).await;
    let tables: Vec<_> = away.fake().history.iter().map(|((table, _), _)| table.clone()).collect();
    assert_eq!(tables, ["d0", "d0", "d0"]);
    // Given back, it is read anew.
    drop(other);
    until_committed(&queue, &[3, 3]).await;
    member.stopped().await.unwrap();
}

/// The queue takes a partition away at its deadline, and gives it back before the drain of the first time is over.
#[tokio::test(start_paused = true)]
async fn a_partition_that_comes_back_before_it_was_let_go_is_read_on() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(20 * SECOND)));
    for partition in 0..2 {
        publish_rows(&queue, partition, 0..3).await;
    }
    let patient = PipelineSettings { workers: 1, drain_timeout: 60 * SECOND, ..settings() };
    let member = Member::start(&queue, &store, patient);
    until("all is read", || member.consumed() == 6).await;
    let (other, partitions) = bystander(&queue).await;
    assert_eq!(partitions, [tp(1)]);
    drop(other);
    until_committed(&queue, &[3, 3]).await;
    publish_rows(&queue, 1, 3..6).await;
    until_committed(&queue, &[3, 6]).await;
    member.stopped().await.unwrap();
    assert_in_order(&store, &[(0, 3), (1, 6)]);
}

/// A subscription that yields what a test puts in.
struct Scripted(tokio::sync::mpsc::Receiver<Event>);

#[derive(Clone)]
struct Unsteered;

impl Control for Unsteered {
    async fn commit(&self, _: Vec<(TopicPartition, Offset)>) -> Result<(), MqError> {
        Ok(())
    }
    fn hold(&self, _: &[TopicPartition]) {}
    fn unhold(&self, _: &[TopicPartition]) {}
    fn pause(&self, _: &[TopicPartition]) {}
    fn resume(&self, _: &[TopicPartition]) {}
    fn unsubscribe(&self) {}
}

impl Subscription for Scripted {
    type Control = Unsteered;

    async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
    fn control(&self) -> Unsteered {
        Unsteered
    }
}

/// Whoever has lost a partition can have a successor already: what was begun is not tried again, however long a drain
/// may take.
#[tokio::test(start_paused = true)]
async fn partitions_taken_over_by_others_are_not_drained() {
    let away = FakeStore::new(|_| Err(gone()));
    let (events, subscription) = tokio::sync::mpsc::channel(10);
    let patient = PipelineSettings { workers: 1, drain_timeout: 60 * SECOND, ..settings() };
    let pipeline = Pipeline::new(patient, Scripted(subscription), away.clone(), vec![schema(2)]);
    let watch = pipeline.watch();
    let stop = Stop { graceful: std::future::pending(), abort: std::future::pending() };
    let running = tokio::spawn(pipeline.run(|| Lines, stop));
    let message = |n: i64| crate::message::Message {
        source: tp(0),
        offset: n,
        timestamp_ms: None,
        key: None,
        payload: Some(format!("d0 {n} {n}").into()),
        headers: Vec::new(),
    };
    events.send(Event::Assigned(vec![tp(0)])).await.unwrap();
    events.send(Event::Messages((0..30).map(message).collect())).await.unwrap();
    until("all is read", || watch.snapshot().consumed == 30).await;
    let (reply, released) = std::sync::mpsc::sync_channel(1);
    events.send(Event::Revoked(Revocation { partitions: vec![tp(0)], lost: true, reply })).await.unwrap();
    sleep(SECOND / 10).await;
    away.answer(|_| Ok(()));
    until("it is let go", || released.try_recv().is_ok()).await;
    assert_eq!(away.fake().history, [], "nothing of it was written any more");
    running.abort();
}
