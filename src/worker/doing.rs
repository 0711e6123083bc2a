//! What a worker is about: for those who ask what holds a partition.

use std::sync::{Mutex, MutexGuard};

use serde::Serialize;
use tokio::time::Instant;

use super::Delivery;
use crate::ack::Epoch;
use crate::tdengine::error::TdengineError;

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// Its worker has others before it.
    Queue,
    /// Its write is sent, and TDengine has not answered yet.
    Answer,
    /// Its write failed, and is tried again.
    Retry,
    /// The dead-letter place takes nothing.
    DeadLetters,
    /// The group has not confirmed for a session that its partition is still ours.
    Session,
    /// It is written; Kafka takes no commit.
    Commit,
}

/// A worker's batch, and what becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) cause: Cause,
    pub(crate) since: Instant,
    /// Failures since the last success.
    pub(crate) failures: u32,
    /// The last failure.
    pub(crate) reason: String,
    epochs: Vec<Epoch>,
}

impl Task {
    /// Whether the batch has messages of that assignment.
    pub(crate) fn is_of(&self, epoch: Epoch) -> bool {
        self.epochs.contains(&epoch)
    }

    fn turn(&mut self, cause: Cause) {
        if self.cause != cause {
            (self.cause, self.since) = (cause, Instant::now());
        }
    }
}

/// What one worker is about now.
#[derive(Debug, Default)]
pub(crate) struct Doing(Mutex<Option<Task>>);

impl Doing {
    pub(crate) fn now(&self) -> Option<Task> {
        self.task().clone()
    }

    pub(super) fn begin(&self, deliveries: &[Delivery]) {
        let mut epochs: Vec<_> = super::runs(deliveries).map(|run| run[0].epoch).collect();
        epochs.sort_unstable();
        epochs.dedup();
        let (since, reason) = (Instant::now(), String::new());
        *self.task() = Some(Task { cause: Cause::Answer, since, failures: 0, reason, epochs });
    }

    pub(super) fn end(&self) {
        *self.task() = None;
    }

    /// Something went well.
    pub(super) fn advanced(&self) {
        self.update(|task| {
            (task.cause, task.since, task.failures) = (Cause::Answer, Instant::now(), 0);
            task.reason.clear();
        });
    }

    pub(super) fn failed(&self, error: &TdengineError) {
        self.update(|task| {
            task.turn(Cause::Retry);
            task.failures += 1;
            task.reason = error.to_string();
        });
    }

    pub(super) fn not_kept(&self, error: &dyn std::error::Error) {
        self.update(|task| {
            task.turn(Cause::DeadLetters);
            task.failures += 1;
            task.reason = error.to_string();
        });
    }

    /// Whether it waits for the group's word.
    pub(super) fn unconfirmed(&self, waits: bool) {
        self.update(|task| match (waits, task.cause) {
            (true, _) => task.turn(Cause::Session),
            (false, Cause::Session) => task.turn(Cause::Answer),
            (false, _) => {}
        });
    }

    fn update(&self, update: impl FnOnce(&mut Task)) {
        if let Some(task) = &mut *self.task() {
            update(task);
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<Task>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
