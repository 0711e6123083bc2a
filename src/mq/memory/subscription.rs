//! A member of a group, and what steers it.

use std::time::Duration;

use event_listener::EventListener;
use tokio::time::{Instant, timeout_at};

use super::group::{GroupName, Member, MemberId};
use super::{Action, Event, MemoryQueue, MqError, State};
use crate::message::{Offset, TopicPartition};
use crate::mq::{Control, Subscription};

/// A release comes over a plain channel that wakes nobody: while one is awaited, it is looked for so often.
const RELEASE_CHECK: Duration = Duration::from_millis(10);

/// A subscription to a [`MemoryQueue`]. Dropping it leaves the group when its session is over, and commits nothing.
pub struct MemorySubscription {
    control: MemoryControl,
}

impl MemorySubscription {
    pub(super) fn new(queue: MemoryQueue, group: GroupName, member: MemberId) -> Self {
        Self { control: MemoryControl { queue, group, member } }
    }

    /// The member's number in its group, for [`MemoryQueue::expire_session`].
    pub fn member(&self) -> u64 {
        self.control.member
    }
}

impl Subscription for MemorySubscription {
    type Control = MemoryControl;

    async fn next(&mut self) -> Option<Event> {
        loop {
            let (changed, until) = match self.control.look() {
                Look::Found(event) => return Some(event),
                Look::Left => return None,
                Look::Wait(changed, until) => (changed, until),
            };
            match until {
                None => changed.await,
                // Either way it looks again.
                Some(until) => _ = timeout_at(until, changed).await,
            }
        }
    }

    fn control(&self) -> MemoryControl {
        self.control.clone()
    }
}

impl Drop for MemorySubscription {
    fn drop(&mut self) {
        let MemoryControl { queue, group: name, member } = &self.control;
        queue.change(|state| {
            let Some(group) = state.groups.get_mut(name) else { return };
            let session = queue.0.settings.session_timeout;
            group.abandon(*member, (!session.is_zero()).then(|| Instant::now() + session));
            match name {
                GroupName::Alone(_) => _ = state.groups.remove(name),
                GroupName::Shared(_) => state.rebalance(&queue.0.settings),
            }
        });
    }
}

enum Look {
    Found(Event),
    Left,
    Wait(EventListener, Option<Instant>),
}

/// Steers a [`MemorySubscription`].
#[derive(Clone)]
pub struct MemoryControl {
    queue: MemoryQueue,
    group: GroupName,
    member: MemberId,
}

impl MemoryControl {
    /// The next event, or what to wait for.
    fn look(&self) -> Look {
        let queue = &self.queue.0;
        let now = Instant::now();
        let mut state = self.queue.lock();
        let connected = state.lost.is_none();
        if state.groups.get_mut(&self.group).is_some_and(|group| group.settle(connected, now)) {
            state.rebalance(&queue.settings);
            queue.changed.notify(usize::MAX);
        }
        let State { logs, groups, .. } = &mut *state;
        let Some(group) = groups.get_mut(&self.group) else { return Look::Left };
        let left = group.has_left(self.member);
        let until = match group.awaits_release() {
            true => Some(now + RELEASE_CHECK),
            false => group.next_deadline(),
        };
        let Some(member) = group.member(self.member) else { return Look::Left };
        if let Some(error) = queue.failures.next(Action::Read) {
            return Look::Found(Event::Error(error));
        }
        if connected {
            member.prefetch(logs, &queue.settings);
        }
        match member.events.pop_front() {
            Some(event) => Look::Found(event),
            None if left => Look::Left,
            // Hung up under the lock, so that no change goes unheard.
            None => Look::Wait(queue.changed.listen(), until),
        }
    }

    fn steer(&self, steer: impl FnOnce(&mut Member)) {
        self.queue.change(|state| {
            state.groups.get_mut(&self.group).and_then(|group| group.member(self.member)).map(steer);
        });
    }

    /// Those that are the member's own; of others there is nothing to hold or pause.
    fn own<'a>(member: &Member, partitions: &'a [TopicPartition]) -> Vec<&'a TopicPartition> {
        partitions.iter().filter(|partition| member.reads(partition)).collect()
    }
}

impl Control for MemoryControl {
    async fn commit(&self, offsets: Vec<(TopicPartition, Offset)>) -> Result<(), MqError> {
        let GroupName::Shared(_) = self.group else { return Ok(()) };
        self.queue.change(|state| {
            if let Some(reason) = &state.lost {
                return Err(MqError::Other { action: "commit".to_owned(), reason: reason.clone() });
            }
            if let Some(error) = self.queue.0.failures.next(Action::Commit) {
                return Err(error);
            }
            state.groups.get_mut(&self.group).ok_or(MqError::Stopped)?.commit(self.member, offsets)
        })
    }

    fn hold(&self, partitions: &[TopicPartition]) {
        self.steer(|member| member.held.extend(Self::own(member, partitions).into_iter().cloned()));
    }

    fn unhold(&self, partitions: &[TopicPartition]) {
        self.steer(|member| member.held.retain(|held| !partitions.contains(held)));
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.steer(|member| member.paused.extend(Self::own(member, partitions).into_iter().cloned()));
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.steer(|member| member.paused.retain(|paused| !partitions.contains(paused)));
    }

    fn unsubscribe(&self) {
        self.queue.change(|state| {
            if let Some(group) = state.groups.get_mut(&self.group) {
                group.leave(self.member);
            }
            state.rebalance(&self.queue.0.settings);
        });
    }
}
