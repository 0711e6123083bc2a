//! Message queues: what the pipeline needs of one, whichever it is. Kafka in [`kafka`], for tests [`memory`].
//!
//! A subscription yields one kind of thing, [`Event`]. It never stops polling the queue behind it, so that a member
//! of a group stays one however slow the work downstream is. Three ways bound what it hands out:
//!
//! | way | what happens | when |
//! |---|---|---|
//! | the channel of events is bounded | polling for messages waits, group events still come | always |
//! | [`Control::hold`] | a partition's messages stay where they are, prefetched | ordinary pressure |
//! | [`Control::pause`] | the partition is not fetched any more, what is prefetched is thrown away | outages |

use std::future::Future;
use std::time::Duration;

use crate::message::{Message, Offset, Outgoing, TopicPartition};

pub mod kafka;
pub mod memory;

/// What goes wrong with a queue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MqError {
    /// No broker answered in time.
    #[error("no broker of {brokers} answered within {after:?}: {reason}; check the address and that the broker runs")]
    Unreachable {
        /// The addresses that were tried.
        brokers: String,
        /// How long was waited.
        after: Duration,
        /// What the client saw last.
        reason: String,
    },
    /// The topic is not there.
    #[error("topic {topic:?} does not exist; make it with `topic create --topic {topic}`")]
    UnknownTopic {
        /// Its name.
        topic: String,
    },
    /// A wrong password, a missing right: no retry helps.
    #[error("{action} was refused: {reason}; check user, password and rights")]
    Denied {
        /// What was tried.
        action: String,
        /// What the broker said.
        reason: String,
    },
    /// The client has shut itself out of its group: no retry helps.
    #[error("this consumer may not go on: {reason}{}", also(.advice))]
    Fatal {
        /// What the client said.
        reason: String,
        /// What to do; empty where nobody knows.
        advice: &'static str,
    },
    /// Where a partition should be read from, there is nothing (any more): to go on elsewhere is not ours to decide.
    #[error("{partition} cannot be read where it should be ({reason}): set another start, or read in a new group")]
    NoSuchOffset {
        /// The partition.
        partition: TopicPartition,
        /// What the client said.
        reason: String,
    },
    /// A setting that the client does not take.
    #[error("{0}")]
    Settings(String),
    /// What was published could not be delivered.
    #[error("publish to {topic}: {reason}")]
    Publish {
        /// The topic it was meant for.
        topic: String,
        /// What the client or broker said.
        reason: String,
    },
    /// A message is larger than the topic, or the client, takes.
    #[error("publish to {topic}: the message is larger than the topic takes; raise max.message.bytes there")]
    TooLarge {
        /// The topic it was meant for.
        topic: String,
    },
    /// The queue of the client is full: wait for deliveries and try again.
    #[error("the client's queue of messages in flight is full")]
    Full(Box<Outgoing>),
    /// Anything else that the queue said.
    #[error("{action}: {reason}")]
    Other {
        /// What was tried.
        action: String,
        /// What was said.
        reason: String,
    },
    /// The queue was stopped.
    #[error("the message queue is stopped")]
    Stopped,
}

fn also(advice: &str) -> String {
    if advice.is_empty() { String::new() } else { format!("; {advice}") }
}

/// Where a published message ended up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The partition.
    pub partition: i32,
    /// Its offset there; -1 where the broker does not say.
    pub offset: Offset,
}

/// What a subscription yields.
#[derive(Debug)]
pub enum Event {
    /// Messages, at least one, in order within each partition.
    Messages(Vec<Message>),
    /// Partitions were given to this subscription; their messages follow.
    Assigned(Vec<TopicPartition>),
    /// Partitions are taken away; no message of them follows. The group waits until [`Revocation::release`].
    Revoked(Revocation),
    /// All of the partition up to its end was handed out; more may come.
    End(TopicPartition, Offset),
    /// Something went wrong and is being retried.
    Error(MqError),
}

/// Partitions on their way to another member.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub partitions: Vec<TopicPartition>,
    /// They belong to another member already: nothing can be committed any more.
    pub lost: bool,
    /// Takes the offsets to commit; dropping it commits nothing.
    pub(crate) reply: std::sync::mpsc::SyncSender<Vec<(TopicPartition, Offset)>>,
}

impl Revocation {
    /// Lets the partitions go, after `offsets` (the next to read, per partition) were committed.
    pub fn release(self, offsets: Vec<(TopicPartition, Offset)>) {
        // The other side waits for a bounded time only; if it has gone on without us, the offsets are read again.
        let _ = self.reply.try_send(offsets);
    }
}

/// A stream of events.
pub trait Subscription: Send {
    /// What steers it from elsewhere.
    type Control: Control;

    /// The next event; `None` after [`Control::unsubscribe`], when all is handed out. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Option<Event>> + Send;

    /// A handle that steers this subscription.
    fn control(&self) -> Self::Control;
}

/// Steers a subscription while its events are awaited elsewhere.
pub trait Control: Clone + Send + Sync + 'static {
    /// Commits offsets, each the next to read, for the group. An error loses nothing: the messages come again.
    fn commit(&self, offsets: Vec<(TopicPartition, Offset)>) -> impl Future<Output = Result<(), MqError>> + Send;
    /// Leaves the partition's messages where they are until [`Self::unhold`].
    fn hold(&self, partitions: &[TopicPartition]);
    /// Ends [`Self::hold`].
    fn unhold(&self, partitions: &[TopicPartition]);
    /// Stops fetching the partitions until [`Self::resume`].
    fn pause(&self, partitions: &[TopicPartition]);
    /// Ends [`Self::pause`].
    fn resume(&self, partitions: &[TopicPartition]);
    /// Leaves the group: the partitions are revoked, then the stream ends.
    fn unsubscribe(&self);
}

/// A message queue.
pub trait MessageQueue: Send + Sync + 'static {
    /// What its subscriptions are.
    type Subscription: Subscription;

    /// Calls `hook` whenever a connection comes about, the first time included.
    fn on_connected(&self, hook: impl Fn() + Send + Sync + 'static);

    /// Calls `hook` with the reason whenever the last connection is lost.
    fn on_connection_lost(&self, hook: impl Fn(&str) + Send + Sync + 'static);

    /// Publishes a message, with key, headers and partition as it says, and waits until it is acknowledged.
    fn publish(&self, topic: &str, message: Outgoing) -> impl Future<Output = Result<Receipt, MqError>> + Send;

    /// Everything of `topics`, for this subscriber alone. A name that begins with `^` is a regular expression.
    ///
    /// # Errors
    /// Settings that the queue refuses.
    fn subscribe(&self, topics: &[String]) -> Result<Self::Subscription, MqError>;

    /// A share of `topics`: the subscribers of a group divide the partitions among them.
    ///
    /// # Errors
    /// Settings that the queue refuses.
    fn queue_subscribe(&self, topics: &[String], group: &str) -> Result<Self::Subscription, MqError>;

    /// As [`Self::queue_subscribe`], for a subscriber that works in `lanes`: all messages of a key go to one of them.
    ///
    /// # Errors
    /// Settings that the queue refuses.
    fn queue_subscribe_by_key(
        &self,
        topics: &[String],
        group: &str,
        lanes: usize,
    ) -> Result<KeyAffine<Self::Subscription>, MqError> {
        Ok(KeyAffine::new(self.queue_subscribe(topics, group)?, lanes))
    }

    /// Stops: waits for what is being published, ends all subscriptions.
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

/// An event for the lanes of a key-affine subscription.
#[derive(Debug)]
pub enum LaneEvent {
    /// Messages for each lane, by its number.
    Messages(Vec<Vec<Message>>),
    /// Anything else concerns all lanes.
    Other(Event),
}

/// A subscription whose messages are dealt to lanes by their key: see [`MessageQueue::queue_subscribe_by_key`].
#[derive(Debug)]
pub struct KeyAffine<S> {
    subscription: S,
    lanes: usize,
}

impl<S: Subscription> KeyAffine<S> {
    /// Deals the messages of `subscription` to `lanes` lanes, at least one.
    pub fn new(subscription: S, lanes: usize) -> Self {
        Self { subscription, lanes: lanes.max(1) }
    }

    /// The next event, its messages dealt to lanes. Cancel-safe.
    pub async fn next(&mut self) -> Option<LaneEvent> {
        Some(match self.subscription.next().await? {
            Event::Messages(messages) => {
                let mut lanes: Vec<Vec<Message>> = (0..self.lanes).map(|_| Vec::new()).collect();
                for message in messages {
                    lanes[lane_of(&message, self.lanes)].push(message);
                }
                LaneEvent::Messages(lanes)
            }
            other => LaneEvent::Other(other),
        })
    }

    /// A handle that steers the subscription.
    pub fn control(&self) -> S::Control {
        self.subscription.control()
    }
}

/// The lane of a message: by its key, or by its partition where it has none.
pub fn lane_of(message: &Message, lanes: usize) -> usize {
    let place = match &message.key {
        Some(key) => crate::codec::fnv1a_32(key) as usize,
        None => message.source.partition.unsigned_abs() as usize,
    };
    place % lanes.max(1)
}
