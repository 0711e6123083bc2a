//! What holds each partition's offset, since when, and why; and whether a pipeline can do its work at all.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::ack::Pending;
use crate::message::Offset;
use crate::worker::{Cause, Shared, Store};

/// What keeps a partition's committed offset from moving. Shows as `t/0 at offset 42 for 12 s, 130 messages: retry 7: ..`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset that is read and not yet done with.
    pub offset: Offset,
    /// For how long it has been read, in seconds.
    pub seconds: f64,
    /// How many messages of the partition are read and not done with.
    pub messages: u64,
    /// What it waits for.
    pub waits_for: Cause,
    /// For how long it, or what is before it, has waited for that, in seconds.
    pub waiting_seconds: f64,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure; empty where there was none.
    pub reason: String,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, offset, seconds, messages, failures, reason, .. } = self;
        write!(f, "{topic}/{partition} at offset {offset} for {seconds:.0} s, {messages} messages: ")?;
        match self.waits_for {
            Cause::Queue => f.write_str("its worker has others before it")?,
            Cause::Answer => f.write_str("TDengine has not answered yet")?,
            Cause::Retry => write!(f, "its write failed {failures} times")?,
            Cause::DeadLetters => f.write_str("the dead-letter place takes nothing")?,
            Cause::Session => f.write_str("the group has not confirmed that it is ours")?,
            Cause::Commit => f.write_str("written, and Kafka takes no commit")?,
        }
        if reason.is_empty() { Ok(()) } else { write!(f, "; {reason}") }
    }
}

/// A gap that is younger is told to nobody.
pub(super) const TOLD_AFTER: Duration = Duration::from_secs(10);
/// How often they are told.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Tells the log of gaps, now and then.
#[derive(Default)]
pub(super) struct Teller(Option<Instant>);

impl Teller {
    pub(super) fn tell<S: Store>(&mut self, shared: &Shared<S>) {
        if self.0.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            return;
        }
        let old = oldest(gaps(shared));
        let [first, ..] = old.as_slice() else { return };
        tracing::warn!(partitions = old.len(), oldest = %first, "partitions are held; nothing is lost");
        self.0 = Some(Instant::now());
    }
}

/// Those that are old enough to be told, the oldest first.
pub(super) fn oldest(mut gaps: Vec<Gap>) -> Vec<Gap> {
    gaps.retain(|gap| gap.seconds >= TOLD_AFTER.as_secs_f64());
    gaps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    gaps
}

pub(super) fn gaps<S: Store>(shared: &Shared<S>) -> Vec<Gap> {
    let workers = shared.workers.get().map_or(&[][..], Vec::as_slice);
    let tasks: Vec<_> = workers.iter().map(|worker| worker.doing.now()).collect();
    let commit_error = shared.commit_error();
    let progress = shared.progress();
    let gap = |Pending { partition: source, first, since, unresolved, .. }: Pending| {
        let epoch = progress.acks.epoch(&source);
        let task = progress.lanes.get(&source).and_then(|lane| tasks.get(*lane)?.as_ref());
        // Behind another's batch it waits for what that waits for.
        let (waits_for, waiting, failures, reason) = match task {
            Some(task) if epoch.is_some_and(|epoch| task.is_of(epoch)) || task.cause != Cause::Answer => {
                (task.cause, task.since.max(since), task.failures, task.reason.clone())
            }
            _ => (Cause::Queue, since, 0, String::new()),
        };
        Gap {
            topic: source.topic.to_string(),
            partition: source.partition,
            offset: first,
            seconds: since.elapsed().as_secs_f64(),
            messages: unresolved,
            waits_for,
            waiting_seconds: waiting.elapsed().as_secs_f64(),
            failures,
            reason,
        }
    };
    let mut gaps: Vec<_> = progress.acks.pending().into_iter().map(gap).collect();
    if let Some((since, failures, reason)) = commit_error {
        let pending: Vec<_> = gaps.iter().map(|gap| (gap.topic.clone(), gap.partition)).collect();
        for (source, offset) in progress.acks.committable() {
            if pending.contains(&(source.topic.to_string(), source.partition)) {
                continue;
            }
            let seconds = since.elapsed().as_secs_f64();
            gaps.push(Gap {
                topic: source.topic.to_string(),
                partition: source.partition,
                offset,
                seconds,
                messages: 0,
                waits_for: Cause::Commit,
                waiting_seconds: seconds,
                failures,
                reason: reason.clone(),
            });
        }
    }
    gaps
}

/// What a pipeline is like at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Partitions that are ours.
    pub assigned: usize,
    /// Whether partitions are paused, because what is written to has been away for seconds.
    pub paused: bool,
    /// Messages and bytes in the queues of the workers.
    pub queued: (usize, usize),
    /// The most that these may be.
    pub queue_limits: (usize, usize),
    /// Messages that are read and not done with.
    pub unresolved: u64,
    /// For how long nothing was committed although something could be.
    pub commit_age: Option<Duration>,
    /// For how long the group has said nothing, where something waits to be written.
    pub session_age: Option<Duration>,
    /// Why it cannot do its work now.
    pub not_ready: Option<String>,
}

impl Health {
    /// Both together: numbers added, the worse of the rest; ready where one is ready.
    pub fn plus(self, other: Self) -> Self {
        let both_not = self.not_ready.is_some() && other.not_ready.is_some();
        let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
        Self {
            assigned: self.assigned + other.assigned,
            paused: self.paused || other.paused,
            queued: add(self.queued, other.queued),
            queue_limits: add(self.queue_limits, other.queue_limits),
            unresolved: self.unresolved + other.unresolved,
            commit_age: self.commit_age.max(other.commit_age),
            session_age: self.session_age.max(other.session_age),
            not_ready: if both_not { self.not_ready } else { None },
        }
    }
}

pub(super) fn health<S: Store>(shared: &Shared<S>) -> Health {
    let workers = shared.workers.get().map_or(&[][..], Vec::as_slice);
    let stats: Vec<_> = workers.iter().map(|worker| worker.queue.stats()).collect();
    let paused = *shared.outage.borrow() > 0;
    let waits = gaps(shared).into_iter().find(|gap| matches!(gap.waits_for, Cause::Retry | Cause::DeadLetters));
    let (assigned, unresolved, committable) = {
        let progress = shared.progress();
        (progress.lanes.len(), progress.acks.unresolved(), !progress.acks.committable().is_empty())
    };
    let not_ready = if workers.is_empty() || stats.iter().all(|stats| stats.closed) {
        Some("not consuming: it is starting or ending".to_owned())
    } else if assigned == 0 {
        Some("no partitions are assigned".to_owned())
    } else if paused {
        Some(waits.map_or_else(|| "TDengine takes nothing".to_owned(), |gap| gap.to_string()))
    } else {
        None
    };
    let sum = |of: fn(&crate::queue::QueueStats) -> usize| stats.iter().map(of).sum();
    Health {
        assigned,
        paused,
        queued: (sum(|stats| stats.items), sum(|stats| stats.bytes)),
        queue_limits: (sum(|stats| stats.max_items), sum(|stats| stats.max_bytes)),
        unresolved,
        commit_age: shared.commit_error().filter(|_| committable).map(|(since, ..)| since.elapsed()),
        session_age: shared.session.age().filter(|_| unresolved > 0),
        not_ready,
    }
}
