//! The first half of a rebalance: members join, and a generation begins when all have.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::member::Protocol;
use super::{Group, Member, NEW_MEMBER_TIMEOUT, State};

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for a member that has no id yet.
    pub member_id: String,
    /// The id that it gets then.
    pub fresh_member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Duration,
    pub rebalance_timeout: Duration,
    pub protocol_type: String,
    pub protocols: Vec<Protocol>,
    /// A new dynamic member must come back with its id (KIP-394, version 4 and later).
    pub id_required_first: bool,
    /// The client understands an order not to assign (KIP-814, version 9 and later).
    pub may_skip_assignment: bool,
    pub max_members: usize,
}

/// What a member that joined is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub member_id: String,
    pub skip_assignment: bool,
    /// For the leader: member id, instance id, metadata of everyone.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// Why a join failed, and the id to come back with where the error is `MemberIdRequired`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinRefusal {
    pub error: ResponseError,
    pub member_id: String,
}

pub(crate) type JoinAnswer = Result<Joined, JoinRefusal>;

impl Group {
    /// A member joins. The answer comes when the generation begins, at once for a refusal.
    pub(crate) fn join(&mut self, join: Join, now: Instant) -> oneshot::Receiver<JoinAnswer> {
        let (sender, receiver) = oneshot::channel();
        if let Err(refusal) = self.try_join(join, sender, now) {
            let (sender, receiver) = oneshot::channel();
            let _ = sender.send(Err(refusal));
            return receiver;
        }
        receiver
    }

    fn try_join(&mut self, join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) -> Result<(), JoinRefusal> {
        let refuse = |error, member_id: &str| Err(JoinRefusal { error, member_id: member_id.to_owned() });
        if !self.supports(&join) {
            return refuse(ResponseError::InconsistentGroupProtocol, &join.member_id);
        }
        let is_known = self.members.contains_key(&join.member_id) || self.pending.contains_key(&join.member_id);
        let replaces = join.instance_id.as_ref().is_some_and(|instance| self.instances.contains_key(instance));
        if !is_known && !replaces && self.members.len() + self.pending.len() >= join.max_members {
            return refuse(ResponseError::GroupMaxSizeReached, &join.member_id);
        }
        if join.member_id.is_empty() {
            return self.join_new(join, answer, now);
        }
        if self.pending.remove(&join.member_id).is_some() {
            self.add(Join { fresh_member_id: join.member_id.clone(), ..join }, answer, now);
            return Ok(());
        }
        if let Some(instance) = &join.instance_id {
            match self.instances.get(instance) {
                None => return refuse(ResponseError::UnknownMemberId, &join.member_id),
                Some(current) if *current != join.member_id => {
                    return refuse(ResponseError::FencedInstanceId, &join.member_id);
                }
                Some(_) => {}
            }
        }
        self.join_again(join, answer, now)
    }

    fn join_new(&mut self, join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) -> Result<(), JoinRefusal> {
        match &join.instance_id {
            Some(instance) => match self.instances.get(instance).cloned() {
                Some(previous) => self.replace_static(&previous, join, answer, now),
                None => self.add(join, answer, now),
            },
            None if join.id_required_first => {
                self.pending.insert(join.fresh_member_id.clone(), now + join.session_timeout);
                return Err(JoinRefusal { error: ResponseError::MemberIdRequired, member_id: join.fresh_member_id });
            }
            None => self.add(join, answer, now),
        }
        Ok(())
    }

    fn join_again(&mut self, join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) -> Result<(), JoinRefusal> {
        let is_leader = self.leader.as_deref() == Some(&join.member_id);
        let Some(member) = self.members.get_mut(&join.member_id).filter(|_| self.state != State::Empty) else {
            return Err(JoinRefusal { error: ResponseError::UnknownMemberId, member_id: join.member_id });
        };
        let unchanged = member.protocols == join.protocols;
        // A member that lost its answer gets it again; a leader that joins a stable group wants a rebalance.
        if unchanged && (self.state == State::Completing || self.state == State::Stable && !is_leader) {
            member.refresh(now);
            let _ = answer.send(Ok(self.joined(&join.member_id, is_leader, false)));
            return Ok(());
        }
        member.update(join, answer);
        match self.state {
            State::Preparing => self.complete_join_if_all_are_here(now),
            _ => self.prepare_rebalance(now),
        }
        Ok(())
    }

    fn add(&mut self, join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) {
        let id = join.fresh_member_id.clone();
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.protocol_type.get_or_insert_with(|| join.protocol_type.clone());
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.members.insert(id, Member::new(join, answer, now));
        match self.state {
            State::Preparing => self.complete_join_if_all_are_here(now),
            _ => self.prepare_rebalance(now),
        }
    }

    /// A static member came back without its member id: it takes its own place, and the group need not rebalance.
    fn replace_static(&mut self, previous_id: &str, join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) {
        let Some(mut previous) = self.members.remove(previous_id) else { return };
        previous.refuse(ResponseError::FencedInstanceId);
        let (id, may_skip) = (join.fresh_member_id.clone(), join.may_skip_assignment);
        if let Some(instance) = &join.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        let was_leader = self.leader.as_deref() == Some(previous_id);
        if was_leader {
            self.leader = Some(id.clone());
        }
        let mut member = Member::new(join, answer, now);
        (member.assignment, member.synced, member.is_new) = (previous.assignment, previous.synced, false);
        member.refresh(now);
        self.members.insert(id.clone(), member);
        match self.state {
            State::Stable if self.choose_protocol() == self.protocol => {
                let mut joined = self.joined(&id, was_leader && may_skip, was_leader && may_skip);
                if was_leader && !may_skip {
                    joined.leader = previous_id.to_owned(); // or it would assign anew, which nobody waits for
                }
                if let Some(member) = self.members.get_mut(&id) {
                    member.answer_join(Ok(joined));
                }
            }
            State::Preparing => self.complete_join_if_all_are_here(now),
            _ => self.prepare_rebalance(now),
        }
    }

    pub(super) fn complete_join_if_all_are_here(&mut self, now: Instant) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        if self.state == State::Preparing && all_joined && self.pending.is_empty() {
            self.complete_join(now);
        }
    }

    /// Begins the next generation with the members that joined, and the static ones that are still in their session.
    pub(super) fn complete_join(&mut self, now: Instant) {
        self.members.retain(|_, member| member.joining.is_some() || member.instance_id.is_some());
        let leader_joined =
            self.leader.as_ref().and_then(|id| self.members.get(id)).is_some_and(|member| member.joining.is_some());
        if !leader_joined {
            let joined = self.members.values().find(|member| member.joining.is_some());
            match joined.map(|member| member.id.clone()) {
                Some(id) => self.leader = Some(id),
                None if self.members.is_empty() => self.leader = None,
                None => {
                    // Static members only, and none is back: wait on until one is, or until their sessions end.
                    self.join_deadline = Some(now + self.rebalance_timeout());
                    return;
                }
            }
        }
        self.join_deadline = None;
        self.generation += 1;
        self.protocol = self.choose_protocol();
        if self.members.is_empty() {
            self.state = State::Empty;
            return;
        }
        self.state = State::Completing;
        self.sync_deadline = Some(now + self.rebalance_timeout());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id, self.leader.as_deref() == Some(&id), false);
            if let Some(member) = self.members.get_mut(&id) {
                (member.is_new, member.synced) = (false, false);
                if member.joining.is_some() {
                    member.refresh(now);
                    member.answer_join(Ok(joined));
                }
            }
        }
    }

    fn joined(&self, member_id: &str, with_members: bool, skip_assignment: bool) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let everyone = || self.members.values().map(|m| (m.id.clone(), m.instance_id.clone(), m.metadata(&protocol)));
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type().to_owned(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            skip_assignment,
            members: if with_members { everyone().collect() } else { Vec::new() },
            protocol,
        }
    }

    /// Whether the group could choose a protocol with this member in it.
    fn supports(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        let others = || self.members.values().filter(|member| member.id != join.member_id);
        others().next().is_none()
            || self.protocol_type() == join.protocol_type
                && join.protocols.iter().any(|(name, _)| others().all(|member| member.knows(name)))
    }

    /// Of the protocols that all know, the one that most prefer.
    fn choose_protocol(&self) -> Option<String> {
        let known_to_all = |name: &str| self.members.values().all(|member| member.knows(name));
        let mut votes: HashMap<&str, usize> = HashMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| known_to_all(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0))).map(|(name, _)| name.to_owned())
    }
}

impl Member {
    fn new(join: Join, answer: oneshot::Sender<JoinAnswer>, now: Instant) -> Self {
        Member {
            id: join.fresh_member_id,
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            assignment: Bytes::new(),
            rebalance_timeout: join.rebalance_timeout,
            session_timeout: join.session_timeout,
            protocols: join.protocols,
            is_new: true,
            synced: false,
            deadline: now + NEW_MEMBER_TIMEOUT,
            joining: Some(answer),
            syncing: None,
        }
    }

    fn update(&mut self, join: Join, answer: oneshot::Sender<JoinAnswer>) {
        self.rebalance_timeout = join.rebalance_timeout;
        self.session_timeout = join.session_timeout;
        self.protocols = join.protocols;
        self.joining = Some(answer);
    }
}
