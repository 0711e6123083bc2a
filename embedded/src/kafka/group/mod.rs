//! A consumer group as a state machine: no I/O, no clock; time comes in with each call. The rules are those of the classic
//! group protocol of Apache Kafka (`GroupCoordinator`, KIP-62, KIP-345, KIP-394, KIP-429, KIP-814).
//!
//! ```text
//!            join                    all joined, or the               leader's sync
//!  Empty ───────────► Preparing ───  rebalance timeout  ──► Completing ───────────► Stable
//!    ▲                  ▲  │ ▲                                   │                    │
//!    └── all are gone ──┘  │ └──── join, leave, expiry ──────────┴────────────────────┘
//! ```

mod join;
mod member;
mod offsets;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::time::Instant;

pub(crate) use join::{Join, JoinAnswer, JoinRefusal, Joined};
pub(crate) use member::Member;
pub(crate) use offsets::{Committed, Offsets};
pub(crate) use sync::{Sync, SyncAnswer};

/// How long a member may wait for its first generation, as in Apache Kafka.
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

/// Where a group stands; the names are those that clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// Who speaks: every request of a member carries these.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity<'a> {
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Group {
    state: State,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Instance id of each static member to its member id.
    instances: HashMap<String, String>,
    /// Member ids given out (KIP-394) with which no one has joined yet, and when they lapse.
    pending: HashMap<String, Instant>,
    /// While preparing: who has not joined by then is out.
    join_deadline: Option<Instant>,
    /// After a join: who has not synced by then is out.
    sync_deadline: Option<Instant>,
    /// What the group has committed.
    pub offsets: Offsets,
}

impl Default for Group {
    fn default() -> Self {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: HashMap::new(),
            pending: HashMap::new(),
            join_deadline: None,
            sync_deadline: None,
            offsets: Offsets::default(),
        }
    }
}

impl Group {
    /// An empty group that had committed `offsets`.
    pub(crate) fn with_offsets(offsets: Offsets) -> Self {
        Group { offsets, ..Group::default() }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// "consumer" for consumers; empty where no one ever joined.
    pub(crate) fn protocol_type(&self) -> &str {
        self.protocol_type.as_deref().unwrap_or_default()
    }

    /// The assignor chosen by the present generation.
    pub(crate) fn protocol(&self) -> &str {
        self.protocol.as_deref().unwrap_or_default()
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Nothing would be lost if the group were forgotten.
    pub(crate) fn is_void(&self) -> bool {
        self.state == State::Empty && self.pending.is_empty() && self.offsets.is_empty()
    }

    /// A member says that it lives.
    ///
    /// # Errors
    /// What the member is to do: `RebalanceInProgress` (join again), `UnknownMemberId`, `IllegalGeneration`, `FencedInstanceId`.
    pub(crate) fn heartbeat(&mut self, who: Identity<'_>, now: Instant) -> Result<(), ResponseError> {
        self.check_member(who)?;
        if self.state == State::Empty {
            return Err(ResponseError::UnknownMemberId);
        }
        self.refresh(who.member_id, now);
        if self.state == State::Preparing { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }

    /// A member goes, or an administrator removes a static member by its instance id alone (empty member id).
    ///
    /// # Errors
    /// `UnknownMemberId`, `FencedInstanceId`.
    pub(crate) fn leave(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let member_id = match instance_id {
            Some(instance) => {
                let current = self.instances.get(instance).ok_or(ResponseError::UnknownMemberId)?;
                if !member_id.is_empty() && current != member_id {
                    return Err(ResponseError::FencedInstanceId);
                }
                current.clone()
            }
            None => member_id.to_owned(),
        };
        if self.pending.remove(&member_id).is_some() {
            self.complete_join_if_all_are_here(now);
            return Ok(());
        }
        if !self.members.contains_key(&member_id) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove(&member_id, now);
        Ok(())
    }

    /// When [`Group::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let members = self.members.values().filter_map(Member::expires);
        members.chain(self.pending.values().copied()).chain(self.join_deadline).chain(self.sync_deadline).min()
    }

    /// Does all that is due at `now`: sessions, given-out ids, and the two ends of a rebalance.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.pending.retain(|_, lapses| *lapses > now);
        let expired = |member: &&Member| member.expires().is_some_and(|at| at <= now);
        let gone: Vec<String> = self.members.values().filter(expired).map(|member| member.id.clone()).collect();
        gone.iter().for_each(|member_id| self.remove(member_id, now));
        if self.join_deadline.is_some_and(|at| at <= now) {
            self.complete_join(now);
        }
        if self.sync_deadline.is_some_and(|at| at <= now) {
            self.sync_deadline = None;
            let late: Vec<String> = self.members.values().filter(|m| !m.synced).map(|m| m.id.clone()).collect();
            late.iter().for_each(|member_id| self.remove(member_id, now));
        }
        self.complete_join_if_all_are_here(now);
    }

    /// Ends the session of every member that `matches`, as if its heartbeats had stopped in time. Returns how many.
    pub(crate) fn expire(&mut self, matches: impl Fn(&Member) -> bool, now: Instant) -> usize {
        let gone: Vec<String> = self.members.values().filter(|m| matches(m)).map(|m| m.id.clone()).collect();
        gone.iter().for_each(|member_id| self.remove(member_id, now));
        gone.len()
    }

    fn check_member(&self, who: Identity<'_>) -> Result<(), ResponseError> {
        if let Some(instance) = who.instance_id {
            match self.instances.get(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(current) if current != who.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if !self.members.contains_key(who.member_id) {
            return Err(ResponseError::UnknownMemberId);
        }
        if who.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        Ok(())
    }

    fn refresh(&mut self, member_id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.refresh(now);
        }
    }

    fn remove(&mut self, member_id: &str, now: Instant) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        member.refuse(ResponseError::UnknownMemberId);
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        match self.state {
            State::Stable | State::Completing => self.prepare_rebalance(now),
            State::Preparing => self.complete_join_if_all_are_here(now),
            State::Empty => {}
        }
    }

    fn prepare_rebalance(&mut self, now: Instant) {
        if self.state == State::Completing {
            for member in self.members.values_mut() {
                member.assignment = Bytes::new();
                member.answer_sync(Err(ResponseError::RebalanceInProgress), now);
            }
        }
        self.state = State::Preparing;
        self.sync_deadline = None;
        self.join_deadline = Some(now + self.rebalance_timeout());
        self.complete_join_if_all_are_here(now);
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }
}
