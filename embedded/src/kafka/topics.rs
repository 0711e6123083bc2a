//! The topics there are, and the rules for their names and settings.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use kafka_protocol::ResponseError;

use super::partition::Partition;
use super::{lock, read, write};

/// Partitions one topic may have.
const MAX_PARTITIONS: usize = 10_000;
/// As Apache Kafka has it: the longest name whose folder fits a file system.
const MAX_NAME_BYTES: usize = 249;

/// Settings of a topic that differ from the defaults.
pub(crate) type TopicConfig = BTreeMap<String, String>;

#[derive(Debug)]
pub(crate) struct Topic {
    pub name: String,
    /// What its logs are kept under; names can be used again.
    pub id: u64,
    partitions: RwLock<Vec<Arc<Partition>>>,
    config: Mutex<TopicConfig>,
}

impl Topic {
    pub(crate) fn new(name: String, id: u64, partitions: Vec<Arc<Partition>>, config: TopicConfig) -> Self {
        Topic { name, id, partitions: RwLock::new(partitions), config: Mutex::new(config) }
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        read(&self.partitions).clone()
    }

    pub(crate) fn partition_count(&self) -> usize {
        read(&self.partitions).len()
    }

    pub(crate) fn partition(&self, index: i32) -> Result<Arc<Partition>, ResponseError> {
        let index = usize::try_from(index).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
        read(&self.partitions).get(index).cloned().ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn add_partitions(&self, more: Vec<Arc<Partition>>) {
        write(&self.partitions).extend(more);
    }

    pub(crate) fn config(&self) -> TopicConfig {
        lock(&self.config).clone()
    }

    pub(crate) fn set_config(&self, config: TopicConfig) {
        *lock(&self.config) = config;
    }

    /// `max.message.bytes` where the topic sets it.
    pub(crate) fn max_message_bytes(&self) -> Option<usize> {
        lock(&self.config).get("max.message.bytes").and_then(|bytes| bytes.parse().ok())
    }
}

/// A refusal of an administrative request: the protocol's error and what to do instead.
pub(crate) type Refusal = (ResponseError, String);

/// Checks a name for a new topic by Apache Kafka's rule.
///
/// # Errors
/// `InvalidTopicException` with the rule that is broken.
pub(crate) fn check_name(name: &str) -> Result<(), Refusal> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let reason = match name {
        "" => "a topic name may not be empty",
        "." | ".." => "a topic may not be called . or ..",
        name if name.len() > MAX_NAME_BYTES => "a topic name has at most 249 characters",
        name if !name.bytes().all(legal) => "a topic name is made of ASCII letters, digits, '.', '_' and '-'",
        _ => return Ok(()),
    };
    Err((ResponseError::InvalidTopicException, reason.to_owned()))
}

/// Checks a number of partitions for a new or growing topic.
///
/// # Errors
/// `InvalidPartitions` with the range.
pub(crate) fn check_partition_count(count: i32) -> Result<usize, Refusal> {
    usize::try_from(count).ok().filter(|count| (1..=MAX_PARTITIONS).contains(count)).ok_or_else(|| {
        (ResponseError::InvalidPartitions, format!("a topic has 1 to {MAX_PARTITIONS} partitions, not {count}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_of_apache_kafka() {
        for good in ["a", "a.b_c-D9", &"x".repeat(249), "..."] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert_eq!(check_name(bad).unwrap_err().0, ResponseError::InvalidTopicException, "{bad}");
        }
    }

    #[test]
    fn a_topic_has_at_least_one_partition() {
        assert_eq!(check_partition_count(1).unwrap(), 1);
        for bad in [i32::MIN, -1, 0, 10_001, i32::MAX] {
            assert_eq!(check_partition_count(bad).unwrap_err().0, ResponseError::InvalidPartitions);
        }
    }
}
