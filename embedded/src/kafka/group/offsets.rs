//! What a group has committed, and who may commit.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::{Group, Identity, State};

/// The next offset to read, with the client's note on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Committed offsets by topic and partition.
pub(crate) type Offsets = BTreeMap<String, BTreeMap<i32, Committed>>;

impl Group {
    /// Whether `who` may commit now. A commit is a sign of life.
    ///
    /// # Errors
    /// As [`Group::heartbeat`]; a client that is in no group (generation -1) may commit only while the group is empty.
    pub(crate) fn may_commit(&mut self, who: Identity<'_>, now: Instant) -> Result<(), ResponseError> {
        if who.generation < 0 && who.member_id.is_empty() && who.instance_id.is_none() {
            return if self.state == State::Empty { Ok(()) } else { Err(ResponseError::UnknownMemberId) };
        }
        self.check_member(who)?;
        self.refresh(who.member_id, now);
        if self.state == State::Completing { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// Notes an offset.
    pub(crate) fn commit(&mut self, topic: &str, partition: i32, committed: Committed) {
        match self.offsets.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, committed),
            None => self.offsets.entry(topic.to_owned()).or_default().insert(partition, committed),
        };
    }

    /// Forgets one offset; whether there was one.
    pub(crate) fn forget(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.offsets.get_mut(topic) else { return false };
        let was_there = partitions.remove(&partition).is_some();
        if partitions.is_empty() {
            self.offsets.remove(topic);
        }
        was_there
    }
}
