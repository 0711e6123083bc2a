//! What travels: messages, where they stand in Kafka, and how far a partition has been read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A position in a partition, as Kafka numbers it: 0 is the first message ever written there.
pub type Offset = i64;

/// A partition of a topic. Cheap to clone: the topic's name is shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// `TOPIC/PARTITION`, as in every output of the program.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// One header of a message: a name and bytes, or a name alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name; names may repeat within a message.
    pub name: String,
    /// The header's value; `None` is Kafka's null.
    pub value: Option<Bytes>,
}

/// A message as it was read: it owns all it holds, and knows where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The partition it was read from.
    pub source: TopicPartition,
    /// Its offset in that partition.
    pub offset: Offset,
    /// Milliseconds since 1970-01-01T00:00:00Z, by the producer or the broker; `None` where Kafka has none.
    pub timestamp_ms: Option<i64>,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// The headers, in their order.
    pub headers: Vec<Header>,
}

impl Message {
    /// What the message weighs in a queue bounded by bytes: key, payload and headers, and a constant for the rest.
    pub fn weight_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len)).sum();
        size_of::<Self>()
            + self.key.as_ref().map_or(0, Bytes::len)
            + self.payload.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// A message to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// The partition it must go to; `None` leaves the choice to the key, or to the client where there is none.
    pub partition: Option<i32>,
    /// Milliseconds since 1970-01-01T00:00:00Z; `None` lets the client stamp it.
    pub timestamp_ms: Option<i64>,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The payload; `None` is a tombstone.
    pub payload: Option<Bytes>,
    /// The headers, in their order.
    pub headers: Vec<Header>,
}
