//! The whole way of a consumer: a subscription, the workers behind it, and what is committed when.
//!
//! | event | what happens |
//! |---|---|
//! | messages | to the queue of the worker that owns their partition; what finds no room waits here, and its worker's partitions are held until there is |
//! | partitions assigned | each to the worker that has the fewest |
//! | partitions revoked | nothing new of them is begun, what is in flight is awaited, their offsets are committed, they are let go |
//! | TDengine, or the place for dead letters, is away for seconds | all partitions are paused until it is back |
//! | a tick | what is resolved is committed; where nothing is, and the group's last word is old, the offsets as they are |
//! | shutdown, the end, a fault | queues take nothing more, what they hold is written, offsets are committed, the group is left |

mod gaps;
mod intake;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

pub use self::gaps::{Gap, Health};
use self::intake::Intake;
use crate::dead_letter::{DeadLetterTo, DeadLetters, Entry, Limit};
use crate::mapping::RowSource;
use crate::message::{Offset, TopicPartition};
use crate::mq::{Control, Event, MqError, Subscription};
use crate::queue::{BatchQueue, QueueSettings};
use crate::stats::{Snapshot, Stats};
use crate::tdengine::schema::SuperTable;
use crate::worker::{Progress, Session, Shared, Store, Worker, WorkerError, of_member};

/// How a pipeline works.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// Workers, each with a queue and a writer of its own.
    pub workers: usize,
    /// The queue of each worker.
    pub queue: QueueSettings,
    /// Where messages go that cannot be written.
    pub dead_letter: DeadLetterTo,
    /// How many of them there may be; `None`: any number.
    pub dead_letter_limit: Option<Limit>,
    /// The dead letters that are read, where it is a replay.
    pub replayed: Arc<[Entry]>,
    /// A name for this process's dead letters that no other uses.
    pub instance: String,
    /// How often resolved offsets are committed.
    pub commit_interval: Duration,
    /// How long the group waits for a sign of this member. Nothing is written while its last word is older.
    pub session_timeout: Duration,
    /// How long a shutdown, or a revocation, waits for what is in flight.
    pub drain_timeout: Duration,
    /// Stop when each of our partitions is read up to its end here; one that is not listed, up to its end then.
    pub until_end: Option<HashMap<TopicPartition, Offset>>,
    /// Milliseconds since 1970-01-01T00:00:00Z, for the times that dead letters carry.
    pub now_ms: fn() -> i64,
}

/// Four workers, no place for dead letters, commits twice a second, no end.
impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            workers: 4,
            queue: QueueSettings::default(),
            dead_letter: DeadLetterTo::None,
            dead_letter_limit: None,
            replayed: Arc::default(),
            instance: std::process::id().to_string(),
            commit_interval: Duration::from_millis(500),
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
            until_end: None,
            now_ms: || jiff::Timestamp::now().as_millisecond(),
        }
    }
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
        /// Per partition: the next offset to read, and how many messages from there on were read.
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
pub struct Watch(Arc<dyn Show>);

trait Show: Send + Sync {
    fn snapshot(&self) -> Snapshot;
    fn gaps(&self) -> Vec<Gap>;
    fn health(&self) -> Health;
}

impl<S: Store> Show for Shared<S> {
    fn snapshot(&self) -> Snapshot {
        self.stats.snapshot()
    }

    fn gaps(&self) -> Vec<Gap> {
        gaps::gaps(self)
    }

    fn health(&self) -> Health {
        gaps::health(self)
    }
}

impl Show for Vec<Watch> {
    fn snapshot(&self) -> Snapshot {
        self.iter().map(Watch::snapshot).fold(Snapshot::default(), Snapshot::plus)
    }

    fn gaps(&self) -> Vec<Gap> {
        self.iter().flat_map(Watch::gaps).collect()
    }

    fn health(&self) -> Health {
        self.iter().map(Watch::health).reduce(Health::plus).unwrap_or_default()
    }
}

impl Watch {
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.0.snapshot()
    }

    /// What holds each partition, by topic and partition; one of which all is done is not among them.
    pub fn gaps(&self) -> Vec<Gap> {
        self.0.gaps()
    }

    /// The partitions that are held for so long that it is worth telling, the longest first.
    pub fn old_gaps(&self) -> Vec<Gap> {
        gaps::oldest(self.gaps())
    }

    /// Whether it can do its work.
    pub fn health(&self) -> Health {
        self.0.health()
    }

    /// Several pipelines as one: their counters added up.
    pub fn all(watches: Vec<Watch>) -> Self {
        Self(Arc::new(watches))
    }
}

/// A consumer put together and not yet running.
pub struct Pipeline<S: Store, Q: Subscription> {
    settings: PipelineSettings,
    shared: Arc<Shared<S>>,
    subscription: Q,
}

impl<S: Store, Q: Subscription> Pipeline<S, Q> {
    /// From `subscription` into child tables of `schemas` in `store`; the first is where a [`RowSource`] of one row a
    /// message puts it.
    pub fn new(settings: PipelineSettings, subscription: Q, store: S, schemas: Vec<SuperTable>) -> Self {
        let dead_letters = DeadLetters::new(settings.dead_letter.clone(), &settings.instance)
            .with_limit(settings.dead_letter_limit)
            .replaying(settings.replayed.clone());
        let shared = Shared {
            store,
            schemas: watch::Sender::new(schemas.into_iter().map(Arc::new).collect()),
            progress: Mutex::new(Progress::default()),
            session: Session::new(settings.session_timeout, settings.now_ms),
            workers: OnceLock::new(),
            commit_error: Mutex::default(),
            stats: Stats::default(),
            dead_letters: tokio::sync::Mutex::new(dead_letters),
            outage: watch::Sender::new(0),
            now_ms: settings.now_ms,
            jitter: crate::codec::fnv1a_32(settings.instance.as_bytes()),
        };
        Self { settings, shared: Arc::new(shared), subscription }
    }

    /// A handle that reads the counters.
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }

    /// Runs until one of `stop`'s futures is ready, the end is reached, or something fails for good. `rows` makes what
    /// decodes messages, twice a worker.
    ///
    /// # Errors
    /// See [`PipelineError`]. What was resolved until then is committed, but for [`PipelineError::Aborted`].
    ///
    /// Dropped, it writes and commits nothing more; its partitions are let go as they are.
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
        let workers = shared.workers.get_or_init(|| workers).clone();
        // Dropped with this future, so that nothing is written that nobody waits for.
        let mut running = JoinSet::new();
        for worker in &workers {
            running.spawn(of_member(worker.clone().run(shared.clone(), rows.clone())));
        }
        let mut intake = Intake::new(&settings, shared.clone(), subscription.control(), workers);
        let mut outage = shared.outage.subscribe();
        let mut ticks = tokio::time::interval(settings.commit_interval.max(Duration::from_millis(1)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut graceful, mut abort) = (pin!(stop.graceful), pin!(stop.abort));
        let mut committing = None;
        let mut teller = gaps::Teller::default();
        // A commit that failed waits for the next tick.
        let (mut commit_due, mut commit_failed) = (false, false);
        // What is read when the end is reached is written, however long that takes; a signal or a fault sets a limit.
        let (mut ending, mut deadline): (bool, Option<Instant>) = (false, None);
        let (mut failure, mut aborted, mut left) = (None, false, false);

        loop {
            let mut cause = None;
            tokio::select! {
                biased;
                () = &mut abort => {
                    aborted = true;
                    break;
                }
                () = expired(deadline) => break,
                () = &mut graceful, if deadline.is_none() => cause = Some(Ok(())),
                Some(ended) = running.join_next() => {
                    let ended = ended.map_err(|error| PipelineError::Panicked(error.to_string()));
                    match ended.and_then(|ended| ended.map_err(PipelineError::from)) {
                        // As it should.
                        Ok(()) if ending => {}
                        ended => cause = Some(ended),
                    }
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
                        MqError::Denied { .. } | MqError::Fatal { .. } | MqError::NoSuchOffset { .. } | MqError::Settings(_) => cause = Some(Err(error.into())),
                        other => tracing::warn!(error = %other, "the message queue has trouble; it is being retried"),
                    },
                    Some(event) => intake.take(event, ending),
                    None => break,
                },
                _ = ticks.tick() => {
                    (commit_due, commit_failed) = (true, false);
                    intake.remind();
                    teller.tell(&shared);
                }
            }
            let at_end = settings.until_end.is_some() && !ending && intake.is_at_end();
            if (at_end || cause.is_some()) && !ending {
                ending = true;
                intake.close();
            }
            if let Some(cause) = cause {
                failure = failure.or(cause.err());
                deadline.get_or_insert_with(|| Instant::now() + settings.drain_timeout);
            }
            let is_wanted = commit_due || running.is_empty() || intake.is_unconfirmed();
            if committing.is_none() && !commit_failed && is_wanted {
                committing = intake.commit().map(Box::pin);
                commit_due = false;
            }
            // All is written and committed: the group can be left. The events of leaving end the loop.
            if running.is_empty() && committing.is_none() && !commit_failed && !left {
                left = true;
                intake.control.unsubscribe();
            }
        }
        let snapshot = shared.stats.snapshot();
        let uncommitted = shared.progress().acks.uncommitted();
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
