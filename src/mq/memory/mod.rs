//! A queue in memory, for tests: it behaves as Kafka does where a pipeline can tell the difference, and on demand it
//! fails.
//!
//! Partitions are logs in memory, of bounded size. Members of a group share the partitions, keep what they have as
//! far as that is fair, and a partition changes hands only after it was released, or after a deadline. A subscription
//! prefetches a bounded number of events, which still come after [`Control::hold`](super::Control::hold) and before
//! [`Event::Revoked`]. There is no task and no thread behind it: all happens in the calls themselves, so under tokio's
//! paused clock it is deterministic.

mod failure;
mod group;
mod log;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::{Event as Bell, EventListener};
use tokio::time::{Instant, timeout_at};

use self::failure::Failures;
pub use self::failure::{Action, Expectation};
use self::group::{Group, GroupName};
use self::log::Logs;
pub use self::subscription::{MemoryControl, MemorySubscription};
use super::{Event, MessageQueue, MqError, Receipt};
use crate::message::{Message, Offset, Outgoing, TopicPartition};

/// Where a group begins that has committed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first message.
    #[default]
    Earliest,
    /// Behind the last message there is when the partition is assigned.
    Latest,
    /// At this offset, in every partition.
    At(Offset),
}

/// How a queue in memory behaves.
#[derive(Clone, Debug)]
pub struct MemorySettings {
    /// Partitions of a topic that is made by publishing to it. Default 1.
    pub partitions: usize,
    /// Where a subscription begins without a committed offset. Default: the first message.
    pub start: Start,
    /// Most messages in an event. Default 1,000.
    pub max_event_messages: usize,
    /// Most events that a subscription prefetches; those of the group come beside. Default 4.
    pub max_events: usize,
    /// How long a revoked partition waits for its release. Default 5 s.
    pub release_timeout: Duration,
    /// How long the group waits for a member whose subscription was dropped. Default 0: it has left at once.
    pub session_timeout: Duration,
    /// Whether all give back all they have whenever partitions are dealt anew. Default: only what goes to another.
    pub eager: bool,
    /// How long a publish waits for a lost connection. Default 5 s.
    pub publish_timeout: Duration,
    /// Most bytes in all partitions together; nothing is published beyond them. Default 256 MiB.
    pub max_bytes: usize,
}

impl Default for MemorySettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            start: Start::Earliest,
            max_event_messages: 1_000,
            max_events: 4,
            release_timeout: Duration::from_secs(5),
            session_timeout: Duration::ZERO,
            eager: false,
            publish_timeout: Duration::from_secs(5),
            max_bytes: 256 << 20,
        }
    }
}

/// A message queue in memory; its clones share it.
#[derive(Clone)]
pub struct MemoryQueue(Arc<Shared>);

struct Shared {
    settings: MemorySettings,
    state: Mutex<State>,
    /// Rung for all who wait, whenever anything changes.
    changed: Bell,
    failures: Failures,
    hooks: Mutex<Hooks>,
}

type Connected = Arc<dyn Fn() + Send + Sync>;
type ConnectionLost = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Hooks {
    connected: Vec<Connected>,
    lost: Vec<ConnectionLost>,
}

#[derive(Default)]
struct State {
    logs: Logs,
    groups: BTreeMap<GroupName, Group>,
    /// Members there ever were, in all groups.
    members: u64,
    publishing: usize,
    /// Why the connection is lost, while it is.
    lost: Option<String>,
    stopped: bool,
}

impl State {
    /// Deals partitions anew where members, topics or partitions changed.
    fn rebalance(&mut self, settings: &MemorySettings) {
        let now = Instant::now();
        for group in self.groups.values_mut() {
            group.rebalance(&self.logs, settings, now);
        }
    }
}

impl Default for MemoryQueue {
    fn default() -> Self {
        Self::new(MemorySettings::default())
    }
}

impl MemoryQueue {
    /// A queue without topics, connected.
    pub fn new(settings: MemorySettings) -> Self {
        Self(Arc::new(Shared {
            settings,
            state: Mutex::default(),
            changed: Bell::new(),
            failures: Failures::default(),
            hooks: Mutex::default(),
        }))
    }

    /// Makes a topic of so many partitions, or gives it more; it never gets fewer. Who subscribes to it, by name or by
    /// pattern, gets the new partitions.
    pub fn create_topic(&self, topic: &str, partitions: usize) {
        self.change(|state| {
            state.logs.create(topic, partitions);
            state.rebalance(&self.0.settings);
        });
    }

    /// All messages of a topic, partition by partition.
    pub fn messages(&self, topic: &str) -> Vec<Vec<Message>> {
        self.lock().logs.partitions(topic).to_vec()
    }

    /// The next offset to read that a group has committed.
    pub fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Offset> {
        self.lock().groups.get(&GroupName::Shared(group.to_owned()))?.committed(partition)
    }

    /// Loses the connection: nothing is handed out, commits fail, and publishes wait.
    pub fn lose_connection(&self, reason: &str) {
        let already = self.change(|state| state.lost.replace(reason.to_owned()));
        if already.is_none() {
            let hooks = locked(&self.0.hooks).lost.clone();
            hooks.iter().for_each(|hook| hook(reason));
        }
    }

    /// Ends [`lose_connection`](Self::lose_connection).
    pub fn restore_connection(&self) {
        if self.change(|state| state.lost.take()).is_some() {
            let hooks = locked(&self.0.hooks).connected.clone();
            hooks.iter().for_each(|hook| hook());
        }
    }

    /// Ends a member's session: its partitions go to others at once. It joins anew when it has read that it lost them.
    pub fn expire_session(&self, group: &str, member: u64) {
        self.of_group(group, |group| group.expire(member));
    }

    /// Lets the member that reads a partition read it again from `offsets` further back.
    pub fn seek_back(&self, group: &str, partition: &TopicPartition, offsets: Offset) {
        self.of_group(group, |group| group.seek_back(partition, offsets));
    }

    /// The member of a group that has a partition, by its number.
    pub fn owner(&self, group: &str, partition: &TopicPartition) -> Option<u64> {
        self.lock().groups.get(&GroupName::Shared(group.to_owned()))?.owner(partition)
    }

    fn of_group(&self, group: &str, steer: impl FnOnce(&mut Group)) {
        self.change(|state| {
            state.groups.get_mut(&GroupName::Shared(group.to_owned())).map(steer);
            state.rebalance(&self.0.settings);
        });
    }

    /// Makes the next calls of `action` fail, each with the next of `errors`. What is returned panics if it is dropped
    /// before all of them did.
    pub fn fail(&self, action: Action, errors: impl IntoIterator<Item = MqError>) -> Expectation {
        self.change(|_| self.0.failures.expect(action, errors))
    }

    /// Ends all failures of `action` that were asked for and have not happened.
    pub fn forgive(&self, action: Action) {
        self.0.failures.forgive(action);
    }

    fn join(&self, group: Option<&str>, topics: &[String]) -> Result<MemorySubscription, MqError> {
        let topics = group::Topics::new(topics)?;
        self.change(|state| {
            if state.stopped {
                return Err(MqError::Stopped);
            }
            state.members += 1;
            let member = state.members;
            let name = group.map_or(GroupName::Alone(member), |group| GroupName::Shared(group.to_owned()));
            state.groups.entry(name.clone()).or_default().join(member, topics, &state.logs);
            state.rebalance(&self.0.settings);
            Ok(MemorySubscription::new(self.clone(), name, member))
        })
    }

    fn try_publish(&self, topic: &str, message: &Outgoing) -> Result<Receipt, NotPublished> {
        let mut state = self.lock();
        if let Some(reason) = &state.lost {
            return Err(NotPublished::Wait(self.0.changed.listen(), reason.clone()));
        }
        if let Some(error) = self.0.failures.next(Action::Publish) {
            return Err(NotPublished::Failed(error));
        }
        if state.logs.partitions(topic).is_empty() {
            state.logs.create(topic, self.0.settings.partitions.max(1));
            state.rebalance(&self.0.settings);
        }
        let receipt = state.logs.append(topic, message, self.0.settings.max_bytes).map_err(NotPublished::Failed)?;
        drop(state);
        self.0.changed.notify(usize::MAX);
        Ok(receipt)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.0.state)
    }

    /// Changes the state, and tells all who wait.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.lock());
        self.0.changed.notify(usize::MAX);
        result
    }
}

enum NotPublished {
    Wait(EventListener, String),
    Failed(MqError),
}

/// A publish under way, which [`MessageQueue::stop`] waits for.
struct Publishing<'a>(&'a MemoryQueue);

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.publishing -= 1);
    }
}

impl MessageQueue for MemoryQueue {
    type Subscription = MemorySubscription;

    fn on_connected(&self, hook: impl Fn() + Send + Sync + 'static) {
        if self.lock().lost.is_none() {
            hook();
        }
        locked(&self.0.hooks).connected.push(Arc::new(hook));
    }

    fn on_connection_lost(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        locked(&self.0.hooks).lost.push(Arc::new(hook));
    }

    /// Cancel-safe: a publish that is dropped while it waits for the connection has published nothing.
    async fn publish(&self, topic: &str, message: Outgoing) -> Result<Receipt, MqError> {
        let accepted = self.change(|state| {
            state.publishing += usize::from(!state.stopped);
            !state.stopped
        });
        if !accepted {
            return Err(MqError::Stopped);
        }
        let _publishing = Publishing(self);
        let deadline = Instant::now() + self.0.settings.publish_timeout;
        loop {
            let (changed, reason) = match self.try_publish(topic, &message) {
                Ok(receipt) => return Ok(receipt),
                Err(NotPublished::Failed(error)) => return Err(error),
                Err(NotPublished::Wait(changed, reason)) => (changed, reason),
            };
            if timeout_at(deadline, changed).await.is_err() {
                return Err(MqError::Publish {
                    topic: topic.to_owned(),
                    reason: format!("not acknowledged within {:?}: {reason}", self.0.settings.publish_timeout),
                });
            }
        }
    }

    fn subscribe(&self, topics: &[String]) -> Result<MemorySubscription, MqError> {
        self.join(None, topics)
    }

    fn queue_subscribe(&self, topics: &[String], group: &str) -> Result<MemorySubscription, MqError> {
        self.join(Some(group), topics)
    }

    async fn stop(&self) {
        self.change(|state| {
            state.stopped = true;
            state.groups.values_mut().for_each(Group::leave_all);
            state.rebalance(&self.0.settings);
        });
        loop {
            let changed = self.0.changed.listen();
            if self.lock().publishing == 0 {
                return;
            }
            changed.await;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
