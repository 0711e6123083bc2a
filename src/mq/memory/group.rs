//! A group: who has which partition, and how they change hands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc;

use regex::Regex;
use tokio::time::Instant;

use super::log::Logs;
use super::{Event, MemorySettings, MqError, Start};
use crate::message::{Offset, TopicPartition};
use crate::mq::Revocation;

/// Members are numbered in the order in which they joined.
pub(super) type MemberId = u64;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupName {
    Shared(String),
    /// Of one member that is in no group; nothing is committed for it.
    Alone(u64),
}

/// What a member subscribes to.
pub(super) struct Topics(Vec<Pattern>);

enum Pattern {
    Name(String),
    Regex(Regex),
}

impl Topics {
    pub(super) fn new(topics: &[String]) -> Result<Self, MqError> {
        let pattern = |topic: &String| match topic.strip_prefix('^') {
            None => Ok(Pattern::Name(topic.clone())),
            Some(_) => Regex::new(topic).map(Pattern::Regex).map_err(|error| {
                MqError::Settings(format!("topic {topic:?} begins with ^ and is no regular expression: {error}"))
            }),
        };
        topics.iter().map(pattern).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, topic: &str) -> bool {
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(name) => name == topic,
            Pattern::Regex(regex) => regex.is_match(topic),
        })
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|pattern| if let Pattern::Name(name) = pattern { Some(name) } else { None })
    }
}

/// What a member says of the partitions that it lets go.
type Reply = mpsc::Receiver<Vec<(TopicPartition, Offset)>>;

#[derive(Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    /// Who has a partition, until it is released.
    owners: BTreeMap<TopicPartition, MemberId>,
    revoked: Vec<Revoked>,
    /// Members whose session is over and that have not answered that they know.
    fenced: Vec<(MemberId, Reply)>,
    committed: BTreeMap<TopicPartition, Offset>,
}

pub(super) struct Member {
    topics: Topics,
    /// What it is handed out next: bounded, but for the group's own events.
    pub(super) events: VecDeque<Event>,
    /// The partitions that it reads.
    reading: BTreeMap<TopicPartition, Reading>,
    /// Which of them comes first next time.
    turn: usize,
    pub(super) held: BTreeSet<TopicPartition>,
    pub(super) paused: BTreeSet<TopicPartition>,
    leaving: bool,
    /// It is gone without a word, and its session lasts until then.
    gone: Option<Instant>,
}

struct Reading {
    position: Offset,
    /// The end that was told last.
    end_told: Option<Offset>,
}

/// Partitions on their way from a member.
struct Revoked {
    member: MemberId,
    partitions: Vec<TopicPartition>,
    released: mpsc::Receiver<Vec<(TopicPartition, Offset)>>,
    deadline: Instant,
}

impl Group {
    pub(super) fn join(&mut self, id: MemberId, topics: Topics, logs: &Logs) {
        let missing = topics.names().filter(|name| logs.partitions(name).is_empty());
        let mut events: VecDeque<Event> =
            missing.map(|topic| Event::Error(MqError::UnknownTopic { topic: topic.clone() })).collect();
        // The group's answer, which may be that there is nothing yet.
        events.push_back(Event::Assigned(Vec::new()));
        let member = Member {
            topics,
            events,
            reading: BTreeMap::new(),
            turn: 0,
            held: BTreeSet::new(),
            paused: BTreeSet::new(),
            leaving: false,
            gone: None,
        };
        self.members.insert(id, member);
    }

    /// Begins to leave: see [`rebalance`](Self::rebalance).
    pub(super) fn leave(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.leaving = true;
        }
    }

    pub(super) fn leave_all(&mut self) {
        self.members.values_mut().for_each(|member| member.leaving = true);
    }

    /// A member is gone without a word: its session lasts until `deadline`, where there is one.
    pub(super) fn abandon(&mut self, id: MemberId, deadline: Option<Instant>) {
        match (deadline, self.members.get_mut(&id)) {
            (Some(deadline), Some(member)) if !member.leaving => member.gone = Some(deadline),
            _ => self.remove(id),
        }
    }

    /// What the member had is free, but for what it was asked to release and still may.
    fn remove(&mut self, id: MemberId) {
        self.members.remove(&id);
        let revoked = &self.revoked;
        self.owners.retain(|partition, owner| {
            *owner != id || revoked.iter().any(|revoked| revoked.partitions.contains(partition))
        });
    }

    /// The member's session is over: all it has is taken from it at once, and it joins anew when it has learned so.
    pub(super) fn expire(&mut self, id: MemberId) {
        let mut asked = BTreeSet::new();
        for revoked in std::mem::take(&mut self.revoked) {
            if revoked.member == id {
                self.tell_lost(&revoked);
                asked.extend(revoked.partitions);
            } else {
                self.revoked.push(revoked);
            }
        }
        let owned = self.owners.iter().filter(|(_, owner)| **owner == id).map(|(partition, _)| partition.clone());
        let lost: Vec<_> = owned.filter(|partition| !asked.contains(partition)).collect();
        self.owners.retain(|_, owner| *owner != id);
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.gone.is_some() {
            self.members.remove(&id);
            return;
        }
        member.forget(&lost);
        let (reply, released) = mpsc::sync_channel(1);
        member.events.push_back(Event::Revoked(Revocation { partitions: lost, lost: true, reply }));
        self.fenced.push((id, released));
    }

    /// Reads a partition again from `offsets` further back.
    pub(super) fn seek_back(&mut self, partition: &TopicPartition, offsets: Offset) {
        let owner = self.owners.get(partition).and_then(|owner| self.members.get_mut(owner));
        if let Some(reading) = owner.and_then(|member| member.reading.get_mut(partition)) {
            *reading = Reading { position: (reading.position - offsets).max(0), end_told: None };
        }
    }

    /// Who has the partition.
    pub(super) fn owner(&self, partition: &TopicPartition) -> Option<MemberId> {
        self.owners.get(partition).copied()
    }

    pub(super) fn member(&mut self, id: MemberId) -> Option<&mut Member> {
        self.members.get_mut(&id)
    }

    /// Whether a member has left, so that nothing more will come.
    pub(super) fn has_left(&self, id: MemberId) -> bool {
        self.members.get(&id).is_none_or(|member| member.leaving) && !self.owners.values().any(|owner| *owner == id)
    }

    pub(super) fn committed(&self, partition: &TopicPartition) -> Option<Offset> {
        self.committed.get(partition).copied()
    }

    /// Commits for a member that has the partitions.
    pub(super) fn commit(&mut self, id: MemberId, offsets: Vec<(TopicPartition, Offset)>) -> Result<(), MqError> {
        if self.is_fenced(id) {
            return Err(MqError::Other {
                action: "commit".to_owned(),
                reason: "the member's session is over".to_owned(),
            });
        }
        if let Some((partition, _)) = offsets.iter().find(|(partition, _)| self.owners.get(partition) != Some(&id)) {
            return Err(MqError::Other {
                action: "commit".to_owned(),
                reason: format!("{partition} does not belong to this member of the group"),
            });
        }
        self.committed.extend(offsets);
        Ok(())
    }

    fn is_fenced(&self, id: MemberId) -> bool {
        self.fenced.iter().any(|(fenced, _)| *fenced == id)
    }

    /// Whether someone is waited for whose answer rings no bell.
    pub(super) fn awaits_release(&self) -> bool {
        !self.revoked.is_empty() || !self.fenced.is_empty()
    }

    /// When a partition is next taken from a member that does not release it, or is gone.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let releases = self.revoked.iter().map(|revoked| revoked.deadline);
        releases.chain(self.members.values().filter_map(|member| member.gone)).min()
    }

    /// Takes over what was released, or was not in time. Whether anything is free now.
    pub(super) fn settle(&mut self, connected: bool, now: Instant) -> bool {
        let before = self.revoked.len() + self.fenced.len();
        let over = self.members.iter().filter(|(_, member)| member.gone.is_some_and(|deadline| deadline <= now));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        over.iter().for_each(|id| self.expire(*id));
        self.fenced.retain(|(_, released)| matches!(released.try_recv(), Err(mpsc::TryRecvError::Empty)));
        for revoked in std::mem::take(&mut self.revoked) {
            match revoked.released.try_recv() {
                Err(mpsc::TryRecvError::Empty) if now < revoked.deadline => {
                    self.revoked.push(revoked);
                    continue;
                }
                Ok(offsets) if connected => {
                    self.committed.extend(offsets.into_iter().filter(|(p, _)| revoked.partitions.contains(p)));
                }
                Err(mpsc::TryRecvError::Empty) => self.tell_lost(&revoked),
                _ => {}
            }
            revoked.partitions.iter().for_each(|partition| _ = self.owners.remove(partition));
        }
        !over.is_empty() || self.revoked.len() + self.fenced.len() < before
    }

    /// A revocation that its member has not read yet finds it has lost the partitions.
    fn tell_lost(&mut self, revoked: &Revoked) {
        let events = self.members.get_mut(&revoked.member).into_iter().flat_map(|member| &mut member.events);
        for event in events {
            if let Event::Revoked(unread) = event
                && unread.partitions == revoked.partitions
            {
                unread.lost = true;
            }
        }
    }

    /// Revokes what someone else should have, and assigns what is free.
    pub(super) fn rebalance(&mut self, logs: &Logs, settings: &MemorySettings, now: Instant) {
        let target = self.target(logs);
        let is_gone = |id: &MemberId| self.members.get(id).is_some_and(|member| member.gone.is_some());
        let all_anew = settings.eager && self.owners != target;
        let mut taken: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, owner) in &self.owners {
            let revoked = self.revoked.iter().any(|revoked| revoked.partitions.contains(partition));
            let moves = target.get(partition) != Some(owner) || (all_anew && !is_gone(owner));
            if moves && !revoked {
                taken.entry(*owner).or_default().push(partition.clone());
            }
        }
        for (id, partitions) in taken {
            let (reply, released) = mpsc::sync_channel(1);
            if let Some(member) = self.members.get_mut(&id) {
                member.forget(&partitions);
                let revocation = Revocation { partitions: partitions.clone(), lost: false, reply };
                member.events.push_back(Event::Revoked(revocation));
            }
            self.revoked.push(Revoked { member: id, partitions, released, deadline: now + settings.release_timeout });
        }

        let is_gone = |id: &MemberId| self.members.get(id).is_some_and(|member| member.gone.is_some());
        if all_anew && self.owners.values().any(|owner| !is_gone(owner)) {
            return;
        }
        let mut given: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, id) in target {
            if !self.owners.contains_key(&partition) {
                given.entry(id).or_default().push(partition);
            }
        }
        for (id, partitions) in given {
            let Some(member) = self.members.get_mut(&id) else { continue };
            for partition in &partitions {
                self.owners.insert(partition.clone(), id);
                let committed = self.committed.get(partition).copied();
                let position = committed.unwrap_or_else(|| match settings.start {
                    Start::Earliest => 0,
                    Start::Latest => logs.end(partition),
                    Start::At(offset) => offset,
                });
                member.reading.insert(partition.clone(), Reading { position, end_told: None });
            }
            member.assign(partitions);
        }
    }

    /// Who should have what: everyone keeps what he has, as far as no one else has two fewer.
    fn target(&self, logs: &Logs) -> BTreeMap<TopicPartition, MemberId> {
        let wants = |id: &MemberId, partition: &TopicPartition| {
            self.members.get(id).is_some_and(|member| !member.leaving && member.topics.has(&partition.topic))
        };
        // Who is gone keeps what he has while his session lasts, and gets nothing more.
        let takes = |id: &MemberId, member: &Member| !member.leaving && member.gone.is_none() && !self.is_fenced(*id);
        let mut loads: BTreeMap<MemberId, usize> =
            self.members.iter().filter(|(id, member)| takes(id, member)).map(|(id, _)| (*id, 0)).collect();
        let mut target = BTreeMap::new();
        let mut free = Vec::new();
        for partition in logs.all() {
            match self.owners.get(&partition).filter(|owner| wants(owner, &partition)) {
                Some(owner) => {
                    loads.entry(*owner).and_modify(|load| *load += 1);
                    target.insert(partition, *owner);
                }
                None => free.push(partition),
            }
        }
        let least = |loads: &BTreeMap<MemberId, usize>, partition: &TopicPartition| {
            let wanting = loads.iter().filter(|(id, _)| wants(id, partition));
            wanting.min_by_key(|(_, load)| **load).map(|(id, load)| (*id, *load))
        };
        for partition in free {
            if let Some((id, _)) = least(&loads, &partition) {
                *loads.entry(id).or_default() += 1;
                target.insert(partition, id);
            }
        }
        // Each move makes the loads more even, so there is a last one.
        while let Some((partition, from, to)) = target.iter().rev().find_map(|(partition, from)| {
            let (to, load) = least(&loads, partition)?;
            (loads.get(from) > Some(&(load + 1))).then(|| (partition.clone(), *from, to))
        }) {
            *loads.entry(from).or_default() -= 1;
            *loads.entry(to).or_default() += 1;
            target.insert(partition, to);
        }
        target
    }
}

impl Member {
    fn assign(&mut self, partitions: Vec<TopicPartition>) {
        // The answer to joining, if it is not read yet.
        match self.events.back_mut() {
            Some(Event::Assigned(assigned)) => assigned.extend(partitions),
            _ => self.events.push_back(Event::Assigned(partitions)),
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.reading.remove(partition);
            self.held.remove(partition);
            self.paused.remove(partition);
        }
    }

    /// Whether it reads the partition.
    pub(super) fn reads(&self, partition: &TopicPartition) -> bool {
        self.reading.contains_key(partition)
    }

    /// Reads ahead, the partitions in turn, as far as there is room for events.
    pub(super) fn prefetch(&mut self, logs: &Logs, settings: &MemorySettings) {
        while self.events.len() < settings.max_events.max(1) {
            let Some(event) = self.read(logs, settings.max_event_messages.max(1)) else { break };
            self.events.push_back(event);
        }
    }

    fn read(&mut self, logs: &Logs, max_messages: usize) -> Option<Event> {
        let count = self.reading.len();
        for turn in (0..count).map(|step| (self.turn + step) % count) {
            let Some((partition, reading)) = self.reading.iter_mut().nth(turn) else { continue };
            if self.held.contains(partition) || self.paused.contains(partition) {
                continue;
            }
            let messages: Vec<_> = logs.from(partition, reading.position).iter().take(max_messages).cloned().collect();
            let end = logs.end(partition);
            let event = match messages.last() {
                Some(last) => {
                    reading.position = last.offset + 1;
                    Event::Messages(messages)
                }
                None if reading.end_told != Some(end) => {
                    reading.end_told = Some(end);
                    Event::End(partition.clone(), end)
                }
                None => continue,
            };
            self.turn = turn + 1;
            return Some(event);
        }
        None
    }
}
