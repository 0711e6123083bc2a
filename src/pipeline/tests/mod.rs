//! Whole pipelines on a queue in memory and a store that does as it is told, under a clock that jumps.

mod chance;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::dead_letter;
use crate::message::Outgoing;
use crate::mq::MessageQueue as _;
use crate::mq::memory::{Action, MemoryQueue, MemorySettings, MemorySubscription};
use crate::worker::fake::{Answer, FakeStore, Key, Lines, gone, refused, schema};

const SECOND: Duration = Duration::from_secs(1);

fn settings() -> PipelineSettings {
    PipelineSettings {
        workers: 2,
        queue: QueueSettings {
            max_queue_items: 40,
            max_batch_items: 10,
            min_batch_items: 5,
            linger: Duration::from_millis(5),
            ..QueueSettings::default()
        },
        dead_letter: DeadLetterTo::None,
        instance: "test".to_owned(),
        commit_interval: Duration::from_millis(100),
        drain_timeout: Duration::from_secs(5),
        until_end: None,
        now_ms: || 7,
    }
}

/// Messages in a pipeline of these settings: of each worker its queue, a batch that is written and one that is ready,
/// and what was on its way when its partitions were held: an event in hand, and those that the queue had prefetched.
const MOST_TAKEN_IN: u64 = 2 * (40 + 10 + 10 + (1 + 4) * 10);

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn topics() -> Vec<String> {
    vec!["t".to_owned()]
}

/// A queue whose events carry 10 messages, and a topic of so many partitions.
fn topic(partitions: usize) -> MemoryQueue {
    let queue = MemoryQueue::new(MemorySettings { max_event_messages: 10, ..MemorySettings::default() });
    queue.create_topic("t", partitions);
    queue
}

async fn publish(queue: &MemoryQueue, partition: i32, payload: Option<String>) {
    let message =
        Outgoing { partition: Some(partition), payload: payload.map(bytes::Bytes::from), ..Outgoing::default() };
    queue.publish("t", message).await.unwrap();
}

/// Rows `from..to` of a table a partition: offset, timestamp and value are the same.
async fn publish_rows(queue: &MemoryQueue, partition: i32, rows: std::ops::Range<i64>) {
    for n in rows {
        publish(queue, partition, Some(format!("d{partition} {n} {n}"))).await;
    }
}

struct Member {
    watch: Watch,
    graceful: Option<oneshot::Sender<()>>,
    abort: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<Snapshot, PipelineError>>,
}

impl Member {
    fn start(queue: &MemoryQueue, store: &FakeStore, settings: PipelineSettings) -> Self {
        Self::start_with(queue, store, settings, || Lines)
    }

    fn start_with<R: RowSource>(
        queue: &MemoryQueue,
        store: &FakeStore,
        settings: PipelineSettings,
        rows: impl Fn() -> R + Clone + Send + 'static,
    ) -> Self {
        let subscription = queue.queue_subscribe(&topics(), "g").unwrap();
        let pipeline = Pipeline::new(settings, subscription, store.clone(), schema(2));
        let (graceful, stopped) = oneshot::channel::<()>();
        let (abort, aborted) = oneshot::channel::<()>();
        let watch = pipeline.watch();
        let when = |told: oneshot::Receiver<()>| async move {
            if told.await.is_err() {
                std::future::pending().await
            }
        };
        let stop = Stop { graceful: when(stopped), abort: when(aborted) };
        let running = tokio::spawn(pipeline.run(rows, stop));
        Self { watch, graceful: Some(graceful), abort: Some(abort), running }
    }

    fn stop(&mut self) {
        let _ = self.graceful.take().unwrap().send(());
    }

    async fn ended(self) -> Result<Snapshot, PipelineError> {
        tokio::time::timeout(3600 * SECOND, self.running).await.expect("the pipeline ends").unwrap()
    }

    async fn stopped(mut self) -> Result<Snapshot, PipelineError> {
        self.stop();
        self.ended().await
    }

    fn consumed(&self) -> u64 {
        self.watch.snapshot().consumed
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..360_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

fn committed(queue: &MemoryQueue, partition: i32) -> Option<Offset> {
    queue.committed("g", &tp(partition))
}

async fn until_committed(queue: &MemoryQueue, ends: &[Offset]) {
    until(&format!("committed {ends:?}"), || {
        (0..).zip(ends).all(|(partition, end)| committed(queue, partition).unwrap_or(0) == *end)
    })
    .await;
}

/// A member of the group that does nothing, and the partitions that it was given.
async fn bystander(queue: &MemoryQueue) -> (MemorySubscription, Vec<TopicPartition>) {
    let mut subscription = queue.queue_subscribe(&topics(), "g").unwrap();
    loop {
        if let Some(Event::Assigned(partitions)) = subscription.next().await
            && !partitions.is_empty()
        {
            return (subscription, partitions);
        }
    }
}

fn slowly(after: Duration) -> impl FnMut(&[Key]) -> Answer + Send + 'static {
    move |_| Answer { after, ..Answer::from(Ok(())) }
}

/// The rows of each table were written in the order of their values, each at least once.
fn assert_in_order(store: &FakeStore, tables: &[(i32, i64)]) {
    let fake = store.fake();
    for (partition, count) in tables {
        let table = format!("d{partition}");
        let mut next = 0;
        for ((_, ts), _) in fake.history.iter().filter(|((name, _), _)| *name == table) {
            assert!(*ts <= next, "row {ts} of {table} was written before row {next}");
            next = next.max(ts + 1);
        }
        assert_eq!(next, *count, "rows of {table}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_is_written_and_committed_and_a_stop_ends_it() {
    let (queue, store) = (topic(4), FakeStore::new(|_| Ok(())));
    for partition in 0..4 {
        publish_rows(&queue, partition, 0..100).await;
    }
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[100; 4]).await;
    publish_rows(&queue, 2, 100..103).await;
    until("the rest is read", || member.consumed() == 403).await;
    let snapshot = member.stopped().await.unwrap();
    assert_eq!((snapshot.consumed, snapshot.rows_written, snapshot.redelivered), (403, 403, 0));
    assert_eq!(committed(&queue, 2), Some(103), "what was taken in is committed before the end");
    assert_eq!(snapshot.partitions[&tp(2)].committed, Some(103));
    assert_in_order(&store, &[(0, 100), (1, 100), (2, 103), (3, 100)]);
}

fn until_end(ends: &[Offset]) -> PipelineSettings {
    let ends = (0..).zip(ends).map(|(partition, end)| (tp(partition), *end)).collect();
    PipelineSettings { until_end: Some(ends), ..settings() }
}

#[tokio::test(start_paused = true)]
async fn until_the_end_of_full_empty_and_partly_committed_partitions() {
    let (queue, store) = (topic(3), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..50).await;
    publish_rows(&queue, 2, 0..30).await;
    let first = Member::start(&queue, &store, until_end(&[50, 0, 30])).ended().await.unwrap();
    assert_eq!((first.consumed, store.fake().rows.len()), (80, 80));
    publish_rows(&queue, 2, 30..60).await;
    let second = Member::start(&queue, &store, until_end(&[50, 0, 60])).ended().await.unwrap();
    assert_eq!((second.consumed, store.fake().rows.len()), (30, 110), "what is committed is not read again");
    let third = Member::start(&queue, &store, until_end(&[50, 0, 60])).ended().await.unwrap();
    assert_eq!(third.consumed, 0);
    assert_eq!([0, 1, 2].map(|partition| committed(&queue, partition)), [Some(50), None, Some(60)]);
}

#[tokio::test(start_paused = true)]
async fn until_the_end_with_more_members_than_partitions() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(SECOND / 10)));
    publish_rows(&queue, 0, 0..200).await;
    publish_rows(&queue, 1, 0..20).await;
    let members: Vec<_> = (0..5).map(|_| Member::start(&queue, &store, until_end(&[200, 20]))).collect();
    for member in members {
        member.ended().await.unwrap();
    }
    assert_eq!([0, 1].map(|partition| committed(&queue, partition)), [Some(200), Some(20)]);
    assert_in_order(&store, &[(0, 200), (1, 20)]);
}

#[tokio::test(start_paused = true)]
async fn until_the_end_waits_for_what_found_no_room_in_a_queue() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(SECOND)));
    publish_rows(&queue, 0, 0..100).await;
    let small = QueueSettings { max_queue_items: 3, max_batch_items: 3, min_batch_items: 1, ..settings().queue };
    let member = Member::start(&queue, &store, PipelineSettings { queue: small, ..until_end(&[100]) });
    let snapshot = member.ended().await.unwrap();
    assert_eq!((snapshot.rows_written, committed(&queue, 0)), (100, Some(100)));
}

#[tokio::test(start_paused = true)]
async fn revoked_partitions_are_let_go_with_exactly_what_is_resolved() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(SECOND)));
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
async fn a_member_that_is_dropped_writes_nothing_more() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(SECOND)));
    publish_rows(&queue, 0, 0..100).await;
    let member = Member::start(&queue, &store, settings());
    until("something is written", || !store.fake().history.is_empty()).await;
    member.running.abort();
    sleep(SECOND / 100).await;
    let writes = store.fake().writes;
    sleep(60 * SECOND).await;
    assert_eq!(store.fake().writes, writes);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_loses_nothing_and_takes_in_little() {
    let (queue, store) = (topic(4), FakeStore::new(|_| Err(gone())));
    for partition in 0..4 {
        publish_rows(&queue, partition, 0..500).await;
    }
    let member = Member::start(&queue, &store, settings());
    let mut most = 0;
    for _ in 0..300 {
        sleep(SECOND).await;
        most = most.max(member.consumed());
    }
    assert!(most > 0 && most <= MOST_TAKEN_IN, "{most}");
    assert_eq!((committed(&queue, 0), store.fake().rows.len()), (None, 0));
    publish_rows(&queue, 3, 500..510).await;
    store.answer(|_| Ok(()));
    until_committed(&queue, &[500, 500, 500, 510]).await;
    assert_eq!(member.stopped().await.unwrap().redelivered, 0);
    assert_in_order(&store, &[(0, 500), (1, 500), (2, 500), (3, 510)]);
}

#[tokio::test(start_paused = true)]
async fn partitions_go_on_after_an_outage_whatever_the_server_says_first() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(gone())));
    publish_rows(&queue, 0, 0..3).await;
    let to = DeadLetterTo::File(folder.path().into());
    let member = Member::start(&queue, &store, PipelineSettings { dead_letter: to, ..settings() });
    sleep(60 * SECOND).await;
    store.answer(|_| Err(refused(0x060B)));
    until_committed(&queue, &[3]).await;
    store.answer(|_| Ok(()));
    publish_rows(&queue, 0, 3..10).await;
    until_committed(&queue, &[10]).await;
    assert_eq!(member.stopped().await.unwrap().dead_lettered, 3);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_partitions_and_reorders_nothing() {
    let (queue, store) = (topic(6), FakeStore::new(slowly(SECOND / 5)));
    for partition in 0..6 {
        publish_rows(&queue, partition, 0..300).await;
    }
    let member = Member::start(&queue, &store, settings());
    let mut written = 0;
    while committed(&queue, 5) != Some(300) || written < 1800 {
        sleep(SECOND).await;
        written = store.fake().rows.len() as u64;
        let taken_in = member.consumed() - written;
        assert!(taken_in <= MOST_TAKEN_IN, "{taken_in}");
    }
    until_committed(&queue, &[300; 6]).await;
    member.stopped().await.unwrap();
    assert_in_order(&store, &[(0, 300), (1, 300), (2, 300), (3, 300), (4, 300), (5, 300)]);
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

#[tokio::test(start_paused = true)]
async fn without_a_place_for_it_a_bad_message_ends_all_at_once() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..7).await;
    publish(&queue, 0, None).await;
    publish_rows(&queue, 0, 8..30).await;
    publish_rows(&queue, 1, 0..30).await;
    let (member, began) = (Member::start(&queue, &store, settings()), Instant::now());
    let error = member.ended().await.unwrap_err().to_string();
    assert!(error.contains("t/0 offset 7") && error.contains("tombstone"), "{error}");
    assert_eq!([0, 1].map(|partition| committed(&queue, partition)), [Some(7), Some(30)]);
    assert!(began.elapsed() < SECOND, "ended after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bad_messages_are_set_aside_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..7).await;
    publish(&queue, 0, None).await;
    publish(&queue, 0, Some("d0 8 -999".to_owned())).await;
    publish_rows(&queue, 0, 9..30).await;
    let to = DeadLetterTo::File(folder.path().into());
    let member = Member::start(&queue, &store, PipelineSettings { dead_letter: to, ..until_end(&[30]) });
    let snapshot = member.ended().await.unwrap();
    assert_eq!((snapshot.rows_written, snapshot.dead_lettered, committed(&queue, 0)), (28, 2, Some(30)));
    let letters = dead_letter::read(&std::fs::read_to_string(folder.path().join("test.jsonl")).unwrap());
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_ends_the_pipeline_and_what_is_resolved_is_committed() {
    let denied = |keys: &[Key]| {
        if keys.iter().any(|(table, ts)| table == "d0" && *ts >= 20) { Err(refused(0x0303)) } else { Ok(()) }
    };
    let (queue, store) = (topic(2), FakeStore::new(denied));
    for partition in 0..2 {
        publish_rows(&queue, partition, 0..40).await;
    }
    let (member, began) = (Member::start(&queue, &store, settings()), Instant::now());
    let error = member.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::Worker(WorkerError::Write { .. })), "{error}");
    let first = committed(&queue, 0).unwrap_or(0);
    assert!((0..=20).contains(&first) && committed(&queue, 1) == Some(40), "{first}");
    let written = store.fake().rows.keys().filter(|(table, _)| table == "d0").count() as Offset;
    assert_eq!(written, first);
    assert!(began.elapsed() < SECOND, "ended after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_decoding_is_a_failure() {
    struct Broken;
    impl RowSource for Broken {
        fn append(
            &mut self,
            _: &crate::message::Message,
            _: u32,
            _: &mut crate::block::Block,
        ) -> Result<(), crate::mapping::MessageFault> {
            panic!("as told")
        }
    }
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let error = Member::start_with(&queue, &store, until_end(&[10]), || Broken).ended().await.unwrap_err();
    assert!(matches!(&error, PipelineError::Panicked(why) if why.contains("as told")), "{error}");
    assert_eq!(committed(&queue, 0), None);
}

#[tokio::test(start_paused = true)]
async fn commits_that_fail_are_tried_again() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let failed = || MqError::Other { action: "commit".into(), reason: "as told".into() };
    let expected = queue.fail(Action::Commit, [failed(), failed(), failed()]);
    let member = Member::start(&queue, &store, until_end(&[10]));
    member.ended().await.unwrap();
    assert_eq!((committed(&queue, 0), expected.remaining()), (Some(10), 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_committed_before_the_end_is_told() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 1, 0..10).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[0, 10]).await;
    queue.lose_connection("as told");
    sleep(SECOND).await;
    queue.restore_connection();
    publish_rows(&queue, 1, 10..15).await;
    until("it is written", || store.fake().rows.len() == 15).await;
    queue.lose_connection("as told");
    let error = member.stopped().await.unwrap_err();
    assert!(
        matches!(&error, PipelineError::Undrained { uncommitted, .. } if *uncommitted == [(tp(1), 10, 5)]),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stuck_store_ends_at_the_deadline_with_a_list() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(9999 * SECOND)));
    publish_rows(&queue, 1, 0..7).await;
    let mut member = Member::start(&queue, &store, settings());
    until("it is read", || member.consumed() == 7).await;
    let began = Instant::now();
    member.stop();
    let error = member.ended().await.unwrap_err();
    assert!(
        matches!(&error, PipelineError::Undrained { uncommitted, .. } if *uncommitted == [(tp(1), 0, 7)]),
        "{error}"
    );
    assert!(error.to_string().contains("t/1 7 from offset 0"), "{error}");
    assert!(began.elapsed() < 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once_with_a_list() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(9999 * SECOND)));
    publish_rows(&queue, 0, 0..7).await;
    let mut member = Member::start(&queue, &store, settings());
    until("it is read", || member.consumed() == 7).await;
    let began = Instant::now();
    member.stop();
    sleep(SECOND).await;
    let _ = member.abort.take().unwrap().send(());
    let error = member.ended().await.unwrap_err();
    assert!(matches!(&error, PipelineError::Aborted { uncommitted } if *uncommitted == [(tp(0), 0, 7)]), "{error}");
    assert!(began.elapsed() < 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_for_good_ends_it() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[10]).await;
    let trouble = MqError::Other { action: "reading".into(), reason: "as told".into() };
    let denied = MqError::Denied { action: "reading".into(), reason: "as told".into() };
    let expected = queue.fail(Action::Read, [trouble, denied]);
    publish_rows(&queue, 0, 10..11).await;
    let error = member.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::Mq(MqError::Denied { .. })), "{error}");
    drop(expected);
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
