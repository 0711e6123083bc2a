//! The whole way of a consumer: a subscription, the workers behind it, and what is committed when.
//!
//! | event | what happens |
//! |---|---|
//! | messages | to the queue of the worker that owns their partition; what finds no room waits here, and its worker's partitions are held until there is |
//! | partitions assigned | each to the worker that has the fewest |
//! | partitions revoked | nothing new of them is begun, what is in flight is awaited, their offsets are committed, they are let go |
//! | TDengine is away for seconds | all partitions are paused until it is back |
//! | a tick | what is resolved is committed |
//! | shutdown, the end, a fault | queues take nothing more, what they hold is written, offsets are committed, the group is left |

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::ack::Epoch;

use crate::dead_letter::{DeadLetterTo, DeadLetters};
use crate::mapping::RowSource;
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::{Control, Event, MqError, Revocation, Subscription};
use crate::queue::{BatchQueue, QueueSettings};
use crate::stats::{Snapshot, Stats};
use crate::tdengine::schema::SuperTable;
use crate::worker::{Delivery, Progress, Shared, Store, Worker, WorkerError};

/// How a pipeline works.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Workers, each with a queue and a writer of its own.
    pub workers: usize,
    /// The queue of each worker.
    pub queue: QueueSettings,
    /// Where messages go that cannot be written.
    pub dead_letter: DeadLetterTo,
    /// A name for this process's dead letters that no other uses.
    pub instance: String,
    /// How often resolved offsets are committed.
    pub commit_interval: Duration,
    /// How long a shutdown, or a revocation, waits for what is in flight.
    pub drain_timeout: Duration,
    /// Stop when each of our partitions is read up to its end here; one that is not listed, up to its end then.
    pub until_end: Option<HashMap<TopicPartition, Offset>>,
    /// Milliseconds since 1970-01-01T00:00:00Z, for the times that dead letters carry.
    pub now_ms: fn() -> i64,
}

/// Why a pipeline failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// Writing, or setting aside, failed for good.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The message queue refuses for good.
    #[error(transparent)]
    Mq(#[from] MqError),
    /// What was read could not all be written and committed in time.
    #[error("stopped after {after:?} with messages not committed: {}; they will be read again", list(.uncommitted))]
    Undrained {
        /// How long was waited.
        after: Duration,
        /// Per partition: the next offset to read, and how many messages from there on are not resolved.
        uncommitted: Vec<(TopicPartition, Offset, u64)>,
    },
    /// Stopped at once, by a second signal.
    #[error("stopped at once; not committed: {}; these will be read again", list(.uncommitted))]
    Aborted {
        /// As for [`Self::Undrained`].
        uncommitted: Vec<(TopicPartition, Offset, u64)>,
    },
    /// A worker ended in a way it never should.
    #[error("a worker broke down: {0}; this is a fault of the program, please report it")]
    Panicked(String),
}

fn list(uncommitted: &[(TopicPartition, Offset, u64)]) -> String {
    match uncommitted {
        [] => "nothing".to_owned(),
        some => {
            let one = |(source, offset, count): &(TopicPartition, Offset, u64)| {
                format!("{source} {count} from offset {offset}")
            };
            some.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

/// Ways to end a running pipeline.
pub struct Stop<G, A> {
    /// Ends it in order: all that was taken in is written and committed.
    pub graceful: G,
    /// Ends it at once.
    pub abort: A,
}

/// What a running pipeline shows.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn() -> Snapshot + Send + Sync>);

impl Watch {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        (self.0)()
    }

    /// Several pipelines as one: their counters added up.
    pub fn all(watches: Vec<Watch>) -> Self {
        Self(Arc::new(move || watches.iter().map(Watch::snapshot).fold(Snapshot::default(), Snapshot::plus)))
    }
}

/// A consumer put together and not yet running.
pub struct Pipeline<S: Store, Q: Subscription> {
    settings: PipelineSettings,
    shared: Arc<Shared<S>>,
    subscription: Q,
}

impl<S: Store, Q: Subscription> Pipeline<S, Q> {
    /// From `subscription` into `schema`'s child tables in `store`.
    pub fn new(settings: PipelineSettings, subscription: Q, store: S, schema: SuperTable) -> Self {
        let dead_letters = DeadLetters::new(settings.dead_letter.clone(), &settings.instance);
        let shared = Shared {
            store,
            schema: watch::Sender::new(Arc::new(schema)),
            progress: Mutex::new(Progress::default()),
            stats: Stats::default(),
            dead_letters: tokio::sync::Mutex::new(dead_letters),
            outage: watch::Sender::new(0),
            now_ms: settings.now_ms,
        };
        Self { settings, shared: Arc::new(shared), subscription }
    }

    /// A handle that reads the counters.
    pub fn watch(&self) -> Watch {
        let shared = self.shared.clone();
        Watch(Arc::new(move || shared.stats.snapshot()))
    }

    /// Runs until one of `stop`'s futures is ready, the end is reached, or something fails for good. `rows` makes what
    /// decodes messages, twice a worker.
    ///
    /// # Errors
    /// See [`PipelineError`]. What was resolved until then is committed, but for [`PipelineError::Aborted`].
    pub async fn run<R: RowSource>(
        self,
        rows: impl Fn() -> R + Clone + Send + 'static,
        stop: Stop<impl Future<Output = ()>, impl Future<Output = ()>>,
    ) -> Result<Snapshot, PipelineError> {
        let Self { settings, shared, mut subscription } = self;
        let workers: Vec<Worker> = (0..settings.workers.max(1))
            .map(|_| BatchQueue::new(settings.queue.clone()).map(Worker::new))
            .collect::<Result<_, _>>()
            .map_err(|error| MqError::Settings(error.to_string()))?;
        let mut running: FuturesUnordered<_> =
            workers.iter().map(|worker| tokio::spawn(worker.clone().run(shared.clone(), rows.clone()))).collect();
        let mut intake = Intake::new(&settings, shared.clone(), subscription.control(), workers);
        let mut outage = shared.outage.subscribe();
        let mut ticks = tokio::time::interval(settings.commit_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut graceful, mut abort) = (pin!(stop.graceful), pin!(stop.abort));
        let mut committing = None;
        // A commit that failed waits for the next tick.
        let (mut commit_due, mut commit_failed) = (false, false);
        // Set once the end has begun, by whatever cause.
        let mut deadline: Option<Instant> = None;
        let (mut failure, mut aborted, mut left) = (None, false, false);

        loop {
            let ending = deadline.is_some();
            let mut cause = None;
            tokio::select! {
                biased;
                () = &mut abort => {
                    aborted = true;
                    break;
                }
                () = expired(deadline) => break,
                () = &mut graceful, if !ending => cause = Some(Ok(())),
                Some(ended) = running.next() => {
                    let ended = ended.map_err(|error| PipelineError::Panicked(error.to_string()));
                    cause = Some(ended.and_then(|ended| ended.map_err(PipelineError::from)));
                }
                (offsets, outcome) = present(&mut committing), if committing.is_some() => {
                    committing = None;
                    commit_failed = !intake.committed(offsets, outcome);
                }
                Ok(()) = outage.changed() => {
                    let away = *outage.borrow_and_update() > 0;
                    intake.pause(away);
                }
                () = intake.refill(), if !ending && intake.is_waiting() => intake.unhold(),
                event = subscription.next() => match event {
                    Some(Event::Error(error)) => match error {
                        MqError::Denied { .. } | MqError::Settings(_) => cause = Some(Err(error.into())),
                        other => tracing::warn!(error = %other, "the message queue has trouble; it is being retried"),
                    },
                    Some(event) => intake.take(event, ending),
                    None => break,
                },
                _ = ticks.tick() => (commit_due, commit_failed) = (true, false),
            }
            if settings.until_end.is_some() && !ending && intake.is_at_end() {
                cause.get_or_insert(Ok(()));
            }
            if let Some(cause) = cause {
                failure = failure.or(cause.err());
                if deadline.is_none() {
                    deadline = Some(Instant::now() + settings.drain_timeout);
                    intake.close();
                }
            }
            if committing.is_none() && !commit_failed && (commit_due || running.is_empty()) {
                let offsets = shared.progress().acks.committable();
                if !offsets.is_empty() {
                    let control = intake.control.clone();
                    committing = Some(Box::pin(async move { (offsets.clone(), control.commit(offsets).await) }));
                }
                commit_due = false;
            }
            // All is written and committed: the group can be left. The events of leaving end the loop.
            if running.is_empty() && committing.is_none() && !commit_failed && !left {
                left = true;
                intake.control.unsubscribe();
            }
        }
        running.iter().for_each(tokio::task::JoinHandle::abort);
        let snapshot = shared.stats.snapshot();
        let pending = shared.progress().acks.pending();
        let uncommitted: Vec<_> =
            pending.into_iter().map(|held| (held.partition, held.first, held.unresolved)).collect();
        match failure {
            _ if aborted => Err(PipelineError::Aborted { uncommitted }),
            Some(error) => Err(error),
            None if uncommitted.is_empty() => Ok(snapshot),
            None => Err(PipelineError::Undrained { after: settings.drain_timeout, uncommitted }),
        }
    }
}

async fn expired(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn present<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// A worker, seen from the intake.
struct Lane {
    worker: Worker,
    /// What found no room in the worker's queue; its partitions are held meanwhile.
    waiting: VecDeque<Delivery>,
    held: bool,
}

/// Where a partition of ours goes.
#[derive(Clone, Copy)]
struct Owned {
    epoch: Epoch,
    lane: usize,
    /// The offset after the last message that was read.
    position: Offset,
    at_end: bool,
}

/// Takes events in, and deals messages to the workers.
struct Intake<S: Store, C> {
    control: C,
    shared: Arc<Shared<S>>,
    lanes: Vec<Lane>,
    owned: HashMap<TopicPartition, Owned>,
    /// When partitions were last given to us or taken away; `None`: the group has not answered yet.
    settled_since: Option<Instant>,
    ends: HashMap<TopicPartition, Offset>,
    drain_timeout: Duration,
    paused: bool,
}

/// A member that owns nothing for so long will get nothing.
const NOTHING_FOR_US: Duration = Duration::from_secs(5);

impl<S: Store, C: Control> Intake<S, C> {
    fn new(settings: &PipelineSettings, shared: Arc<Shared<S>>, control: C, workers: Vec<Worker>) -> Self {
        let lane = |worker| Lane { worker, waiting: VecDeque::new(), held: false };
        Self {
            control,
            shared,
            lanes: workers.into_iter().map(lane).collect(),
            owned: HashMap::new(),
            settled_since: None,
            ends: settings.until_end.clone().unwrap_or_default(),
            drain_timeout: settings.drain_timeout,
            paused: false,
        }
    }

    fn take(&mut self, event: Event, ending: bool) {
        match event {
            Event::Messages(_) if ending => {} // not resolved, so they are read again
            Event::Messages(messages) => self.deal(messages),
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked(revocation) => self.revoked(revocation),
            Event::End(source, _) => {
                if let Some(owned) = self.owned.get_mut(&source) {
                    owned.at_end = true;
                }
            }
            Event::Error(_) => {} // told apart by the caller
        }
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        if !partitions.is_empty() {
            tracing::info!(partitions = %names(&partitions), "partitions assigned");
        }
        self.settled_since = Some(Instant::now());
        if self.paused {
            self.control.pause(&partitions);
        }
        for source in partitions {
            let epoch = self.shared.progress().acks.assign(source.clone());
            let load = |lane: usize| self.owned.values().filter(|owned| owned.lane == lane).count();
            let lane = (0..self.lanes.len()).min_by_key(|&lane| load(lane)).unwrap_or(0);
            if self.lanes[lane].held {
                self.control.hold(std::slice::from_ref(&source));
            }
            self.owned.insert(source, Owned { epoch, lane, position: 0, at_end: false });
        }
    }

    /// Nothing new of the partitions is begun; when what is in flight is answered, they are let go.
    fn revoked(&mut self, revocation: Revocation) {
        tracing::info!(partitions = %names(&revocation.partitions), lost = revocation.lost, "partitions revoked");
        self.settled_since = Some(Instant::now());
        self.shared.progress().leaving.extend(revocation.partitions.iter().cloned());
        for lane in &mut self.lanes {
            lane.waiting.retain(|delivery| !revocation.partitions.contains(&delivery.message.source));
        }
        self.owned.retain(|source, _| !revocation.partitions.contains(source));
        let batches: Vec<_> = self.lanes.iter().map(|lane| lane.worker.batches.clone()).collect();
        let (shared, deadline) = (self.shared.clone(), Instant::now() + self.drain_timeout.mul_f32(0.9));
        // Its owner is the revocation: the task ends when that is released, or with its deadline.
        tokio::spawn(async move {
            for batches in batches {
                if timeout_at(deadline, batches.settled()).await.is_err() {
                    tracing::warn!(
                        "revoked partitions are let go with writes unanswered; their rows are written again"
                    );
                    break;
                }
            }
            let offsets = {
                let mut progress = shared.progress();
                let finals = revocation.partitions.iter().filter_map(|source| {
                    progress.leaving.remove(source);
                    Some((source.clone(), progress.acks.revoke(source)?))
                });
                finals.collect::<Vec<_>>()
            };
            if !revocation.lost {
                offsets.iter().for_each(|(source, offset)| shared.stats.committed(source, *offset));
            }
            revocation.release(offsets);
        });
    }

    fn deal(&mut self, messages: Vec<Message>) {
        let mut messages = messages.into_iter().peekable();
        while let Some(first) = messages.next() {
            let source = first.source.clone();
            let mut run = vec![first];
            while let Some(next) = messages.next_if(|next| next.source == source) {
                run.push(next);
            }
            let Some(owned) = self.owned.get_mut(&source) else { continue };
            let (first, last) = (run[0].offset, run[run.len() - 1].offset);
            {
                let mut progress = self.shared.progress();
                let offsets = crate::ack::runs(run.iter().map(|message| message.offset));
                if !progress.acks.deliver(&source, owned.epoch, offsets, Instant::now()) {
                    continue;
                }
                self.shared.stats.redelivered.store(progress.acks.counts().redelivered, Ordering::Relaxed);
            }
            self.shared.stats.read(&source, first, last, run.len() as u64);
            owned.position = last + 1;
            let (epoch, lane) = (owned.epoch, &mut self.lanes[owned.lane]);
            lane.waiting.extend(run.into_iter().map(|message| Delivery { message, epoch }));
            lane.worker.queue.try_put_many(&mut lane.waiting);
            if !lane.waiting.is_empty() && !lane.held {
                lane.held = true;
                let held = self.of_lane(self.owned[&source].lane);
                self.control.hold(&held);
            }
        }
    }

    fn of_lane(&self, lane: usize) -> Vec<TopicPartition> {
        self.owned.iter().filter(|(_, owned)| owned.lane == lane).map(|(source, _)| source.clone()).collect()
    }

    fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Ends when one of the lanes has put all that waited into its queue. Cancel-safe: the rest stays here.
    async fn refill(&mut self) {
        let waiting = self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty());
        let mut puts: FuturesUnordered<_> =
            waiting.map(|lane| async { lane.worker.queue.put_many(&mut lane.waiting).await }).collect();
        // A closed queue takes nothing more; then all of this is over.
        let _ = puts.next().await;
    }

    fn unhold(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].held && self.lanes[lane].waiting.is_empty() {
                self.lanes[lane].held = false;
                self.control.unhold(&self.of_lane(lane));
            }
        }
    }

    fn pause(&mut self, pause: bool) {
        if self.paused == pause {
            return;
        }
        self.paused = pause;
        let all: Vec<_> = self.owned.keys().cloned().collect();
        if pause {
            tracing::warn!("TDengine takes nothing; all partitions are paused until it does, nothing is lost");
            self.control.pause(&all);
        } else {
            tracing::info!("TDengine is back; all partitions go on");
            self.control.resume(&all);
        }
    }

    /// Nothing more is taken in; what the queues hold is still written.
    fn close(&mut self) {
        for lane in &mut self.lanes {
            lane.waiting.clear();
            lane.worker.queue.pause();
            lane.worker.queue.close();
        }
    }

    /// Whether the commit went through.
    fn committed(&self, offsets: Vec<(TopicPartition, Offset)>, outcome: Result<(), MqError>) -> bool {
        if let Err(error) = outcome {
            tracing::warn!(%error, "commit failed; it is tried again, nothing is lost");
            return false;
        }
        let mut progress = self.shared.progress();
        for (source, offset) in offsets {
            progress.acks.committed(&source, offset);
            self.shared.stats.committed(&source, offset);
        }
        true
    }

    fn is_at_end(&self) -> bool {
        let done = |(source, owned): (&TopicPartition, &Owned)| {
            owned.at_end || self.ends.get(source).is_some_and(|end| owned.position >= *end)
        };
        match self.settled_since {
            None => false,
            Some(since) if self.owned.is_empty() => since.elapsed() >= NOTHING_FOR_US,
            Some(_) => self.owned.iter().all(done),
        }
    }
}

/// `TOPIC [0 1 2] OTHER [0]`
fn names(partitions: &[TopicPartition]) -> String {
    let mut topics: std::collections::BTreeMap<&str, Vec<i32>> = std::collections::BTreeMap::new();
    for source in partitions {
        topics.entry(&source.topic).or_default().push(source.partition);
    }
    let name = |(topic, mut numbers): (&str, Vec<i32>)| {
        numbers.sort_unstable();
        format!("{topic} [{}]", numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(" "))
    };
    topics.into_iter().map(name).collect::<Vec<_>>().join(" ")
}
