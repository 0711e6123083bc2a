//! One member of a group and the requests of it that wait for an answer.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{JoinAnswer, JoinRefusal, SyncAnswer};

/// An assignor that a member knows, with what it tells the leader in it.
pub(crate) type Protocol = (String, Bytes);

#[derive(Debug)]
pub(crate) struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub assignment: Bytes,
    pub(super) rebalance_timeout: Duration,
    pub(super) session_timeout: Duration,
    /// In the order of the member's preference.
    pub(super) protocols: Vec<Protocol>,
    /// Has not been in any generation yet.
    pub(super) is_new: bool,
    /// Has asked for its assignment in the present generation.
    pub(super) synced: bool,
    pub(super) deadline: Instant,
    pub(super) joining: Option<oneshot::Sender<JoinAnswer>>,
    pub(super) syncing: Option<oneshot::Sender<SyncAnswer>>,
}

impl Member {
    /// When its session ends. A member that waits for an answer of ours is alive.
    pub(super) fn expires(&self) -> Option<Instant> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.deadline)
    }

    pub(super) fn refresh(&mut self, now: Instant) {
        self.deadline = now + self.session_timeout;
    }

    /// What it said of itself for the assignor `name`.
    pub(crate) fn metadata(&self, name: &str) -> Bytes {
        self.protocols.iter().find(|(known, _)| known == name).map(|(_, data)| data.clone()).unwrap_or_default()
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.protocols.iter().any(|(known, _)| known == name)
    }

    pub(super) fn answer_join(&mut self, answer: JoinAnswer) {
        if let Some(waiting) = self.joining.take() {
            // A connection that is gone does not take its answer; its session will end.
            let _ = waiting.send(answer);
        }
    }

    pub(super) fn answer_sync(&mut self, answer: SyncAnswer, now: Instant) {
        if let Some(waiting) = self.syncing.take() {
            let _ = waiting.send(answer);
            self.refresh(now);
        }
    }

    /// Answers whatever waits with `error`.
    pub(super) fn refuse(&mut self, error: ResponseError) {
        self.answer_join(Err(JoinRefusal { error, member_id: self.id.clone() }));
        if let Some(waiting) = self.syncing.take() {
            let _ = waiting.send(Err(error));
        }
    }
}
