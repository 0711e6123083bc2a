//! Whole pipelines on a queue in memory and a store that does as it is told, under a clock that jumps.

mod complaints;
mod ends;
mod failures;
mod faults;
mod groups;
mod letters;
mod outages;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use std::pin::Pin;

use super::*;
use crate::dead_letter::{self, TopicPlace};
use crate::message::Outgoing;
use crate::mq::memory::{Action, MemoryQueue, MemorySettings, MemorySubscription};
use crate::mq::{MessageQueue as _, Receipt};
use crate::worker::fake::{Answer, FakeStore, Key, Lines, Process, gone, refused, schema};

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
        dead_letter_limit: None,
        replayed: Arc::default(),
        instance: "test".to_owned(),
        commit_interval: Duration::from_millis(100),
        session_timeout: Duration::from_secs(10),
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

/// A dead-letter place that does with each letter, by partition and offset, as it is told.
struct Place<F>(F);

impl<F: Fn(i32, Offset) -> Result<(), MqError> + Send + Sync + 'static> Place<F> {
    fn of(keep: F) -> DeadLetterTo {
        DeadLetterTo::Topic(TopicPlace::new("dead", 1, Arc::new(Self(keep))))
    }
}

impl<F: Fn(i32, Offset) -> Result<(), MqError> + Send + Sync> dead_letter::Publish for Place<F> {
    fn publish<'p>(
        &'p self,
        _: &'p str,
        message: Outgoing,
    ) -> Pin<Box<dyn Future<Output = Result<Receipt, MqError>> + Send + 'p>> {
        let header = |name: &str| {
            let found = message.headers.iter().rfind(|header| header.name == name)?;
            std::str::from_utf8(found.value.as_deref()?).ok()?.parse::<i64>().ok()
        };
        let kept = (self.0)(header("kafka-taos-partition").unwrap() as i32, header("kafka-taos-offset").unwrap());
        Box::pin(std::future::ready(kept.map(|()| Receipt { partition: 0, offset: 0 })))
    }
}

fn not_kept() -> MqError {
    MqError::Publish { topic: "dead".into(), reason: "no space left on device".into() }
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
        Self::run(&Process::default(), queue, store, settings, rows)
    }

    fn start_as(process: &Process, queue: &MemoryQueue, store: &FakeStore, settings: PipelineSettings) -> Self {
        Self::run(process, queue, store, settings, || Lines)
    }

    fn run<R: RowSource>(
        process: &Process,
        queue: &MemoryQueue,
        store: &FakeStore,
        settings: PipelineSettings,
        rows: impl Fn() -> R + Clone + Send + 'static,
    ) -> Self {
        let subscription = queue.queue_subscribe(&topics(), "g").unwrap();
        let pipeline = Pipeline::new(settings, subscription, store.clone(), vec![schema(2)]);
        let (graceful, stopped) = oneshot::channel::<()>();
        let (abort, aborted) = oneshot::channel::<()>();
        let watch = pipeline.watch();
        let when = |told: oneshot::Receiver<()>| async move {
            if told.await.is_err() {
                std::future::pending().await
            }
        };
        let stop = Stop { graceful: when(stopped), abort: when(aborted) };
        let running = tokio::spawn(process.run(pipeline.run(rows, stop)));
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

fn until_end(ends: &[Offset]) -> PipelineSettings {
    let ends = (0..).zip(ends).map(|(partition, end)| (tp(partition), *end)).collect();
    PipelineSettings { until_end: Some(ends), ..settings() }
}
