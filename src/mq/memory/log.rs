//! Topics, and the messages in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{MqError, Receipt};
use crate::codec::fnv1a_32;
use crate::message::{Message, Offset, Outgoing, TopicPartition};

pub(super) struct Logs {
    topics: BTreeMap<Arc<str>, Topic>,
    bytes: usize,
    /// Messages without a time get the milliseconds since then.
    began: Instant,
}

#[derive(Default)]
struct Topic {
    partitions: Vec<Vec<Message>>,
    /// Messages with neither key nor partition so far.
    dealt: usize,
}

impl Default for Logs {
    fn default() -> Self {
        Self { topics: BTreeMap::new(), bytes: 0, began: Instant::now() }
    }
}

impl Logs {
    pub(super) fn create(&mut self, topic: &str, partitions: usize) {
        let topic = self.topics.entry(topic.into()).or_default();
        let partitions = partitions.max(topic.partitions.len());
        topic.partitions.resize_with(partitions, Vec::new);
    }

    /// The partitions of a topic; none if it does not exist.
    pub(super) fn partitions(&self, topic: &str) -> &[Vec<Message>] {
        self.topics.get(topic).map_or(&[], |topic| &topic.partitions)
    }

    /// Every partition of every topic.
    pub(super) fn all(&self) -> impl Iterator<Item = TopicPartition> {
        self.topics.iter().flat_map(|(name, topic)| {
            (0_i32..).zip(&topic.partitions).map(|(partition, _)| TopicPartition::new(name.clone(), partition))
        })
    }

    /// The messages of a partition from `position` on.
    pub(super) fn from(&self, partition: &TopicPartition, position: Offset) -> &[Message] {
        let log = self.log(partition);
        usize::try_from(position).ok().and_then(|position| log.get(position..)).unwrap_or_default()
    }

    /// The offset that the next message will get.
    pub(super) fn end(&self, partition: &TopicPartition) -> Offset {
        offset(self.log(partition).len())
    }

    fn log(&self, partition: &TopicPartition) -> &[Message] {
        let partitions = self.partitions(&partition.topic);
        usize::try_from(partition.partition).ok().and_then(|number| partitions.get(number)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn append(&mut self, name: &str, message: &Outgoing, max_bytes: usize) -> Result<Receipt, MqError> {
        let refused = |reason| MqError::Publish { topic: name.to_owned(), reason };
        let now_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let Some((name, topic)) = self.topics.get_key_value(name).map(|(name, _)| name.clone()).and_then(|name| {
            let topic = self.topics.get_mut(&name)?;
            Some((name, topic))
        }) else {
            return Err(MqError::UnknownTopic { topic: name.to_owned() });
        };
        let count = topic.partitions.len();
        let number = match (message.partition, &message.key) {
            (Some(partition), _) => usize::try_from(partition)
                .ok()
                .filter(|number| *number < count)
                .ok_or_else(|| refused(format!("there is no partition {partition}, the topic has {count}")))?,
            (None, Some(key)) => fnv1a_32(key) as usize % count,
            (None, None) => {
                topic.dealt += 1;
                (topic.dealt - 1) % count
            }
        };
        let log = &mut topic.partitions[number];
        let partition = i32::try_from(number).unwrap_or(i32::MAX);
        let receipt = Receipt { partition, offset: offset(log.len()) };
        let message = Message {
            source: TopicPartition::new(name.clone(), partition),
            offset: receipt.offset,
            timestamp_ms: message.timestamp_ms.or(Some(now_ms)),
            key: message.key.clone(),
            payload: message.payload.clone(),
            headers: message.headers.clone(),
        };
        let bytes = self.bytes.saturating_add(message.weight_bytes());
        if bytes > max_bytes {
            return Err(refused(format!("the queue in memory is full at {max_bytes} bytes; raise max_bytes")));
        }
        self.bytes = bytes;
        log.push(message);
        Ok(receipt)
    }
}

fn offset(index: usize) -> Offset {
    Offset::try_from(index).unwrap_or(Offset::MAX)
}
