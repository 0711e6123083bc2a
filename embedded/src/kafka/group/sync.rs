//! The second half of a rebalance: the leader hands out the assignments.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Group, Identity, State};

/// A request for one's assignment; the leader brings everyone's.
#[derive(Debug)]
pub(crate) struct Sync<'a> {
    pub who: Identity<'a>,
    /// What the client believes was chosen (version 5 and later).
    pub protocol_type: Option<&'a str>,
    pub protocol: Option<&'a str>,
    pub assignments: HashMap<String, Bytes>,
}

/// The member's assignment.
pub(crate) type SyncAnswer = Result<Bytes, ResponseError>;

impl Group {
    /// A member asks for its assignment. The answer comes when the leader has brought it.
    pub(crate) fn sync(&mut self, sync: Sync<'_>, now: Instant) -> oneshot::Receiver<SyncAnswer> {
        let (sender, receiver) = oneshot::channel();
        let member_id = sync.who.member_id.to_owned();
        match self.try_sync(sync, now) {
            Some(answer) => {
                let _ = sender.send(answer);
            }
            None => {
                if let Some(member) = self.members.get_mut(&member_id) {
                    member.syncing = Some(sender);
                }
            }
        }
        receiver
    }

    /// `None`: the answer comes later.
    fn try_sync(&mut self, mut sync: Sync<'_>, now: Instant) -> Option<SyncAnswer> {
        if let Err(error) = self.check_member(sync.who) {
            return Some(Err(error));
        }
        let differs = |said: Option<&str>, chosen: &str| said.is_some_and(|said| said != chosen);
        if differs(sync.protocol_type, self.protocol_type()) || differs(sync.protocol, self.protocol()) {
            return Some(Err(ResponseError::InconsistentGroupProtocol));
        }
        let is_leader = self.leader.as_deref() == Some(sync.who.member_id);
        match self.state {
            State::Empty => return Some(Err(ResponseError::UnknownMemberId)),
            State::Preparing => return Some(Err(ResponseError::RebalanceInProgress)),
            State::Completing if is_leader => {
                self.state = State::Stable;
                for member in self.members.values_mut() {
                    member.assignment = sync.assignments.remove(&member.id).unwrap_or_default();
                    let assignment = member.assignment.clone();
                    member.answer_sync(Ok(assignment), now);
                }
            }
            State::Completing | State::Stable => {}
        }
        let stable = self.state == State::Stable;
        let member = self.members.get_mut(sync.who.member_id)?;
        member.synced = true;
        member.refresh(now);
        let answer = stable.then(|| Ok(member.assignment.clone()));
        if self.members.values().all(|member| member.synced) {
            self.sync_deadline = None;
        }
        answer
    }
}
