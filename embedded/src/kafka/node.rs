//! What all connections share: settings, topics, groups, faults and the place where it all is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, RwLock};

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::coordinator::Coordinator;
use super::faults::Faults;
use super::group::{Committed, Group, Identity, State};
use super::log::Log;
use super::partition::{MemoryBudget, Partition};
use super::topics::{self, Refusal, Topic, TopicConfig};
use super::waiters::{Sleeper, Waiters};
use super::{BrokerConfig, BrokerError, read, write};

/// The id of the one node there is.
pub(crate) const NODE_ID: i32 = 1;
/// The name of the cluster it makes up.
pub(crate) const CLUSTER_ID: &str = "kafka-taos-embedded";

/// One offset of a commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub topic: String,
    pub partition: i32,
    pub committed: Committed,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub config: BrokerConfig,
    pub coordinator: Arc<Coordinator>,
    pub faults: Faults,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    budget: Arc<MemoryBudget>,
    next_producer_id: AtomicI64,
}

impl Node {
    pub(crate) fn open(config: BrokerConfig) -> Result<Node, BrokerError> {
        let coordinator = Arc::<Coordinator>::default();
        Ok(Node {
            faults: Faults::new(Arc::clone(&coordinator)),
            budget: Arc::new(MemoryBudget::new(config.max_memory_bytes)),
            topics: RwLock::default(),
            next_producer_id: AtomicI64::new(0),
            coordinator,
            config,
        })
    }

    /// Host and port that a client which reached us at `local` is told to use.
    pub(crate) fn advertised(&self, local: SocketAddr) -> (String, i32) {
        match &self.config.advertised {
            Some((host, port)) => (host.clone(), i32::from(*port)),
            None => (local.ip().to_string(), i32::from(local.port())),
        }
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        read(&self.topics).values().cloned().collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>, ResponseError> {
        read(&self.topics).get(name).cloned().ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ResponseError> {
        self.topic(topic)?.partition(index)
    }

    /// Makes a topic; `partitions` and `config` are checked already.
    pub(crate) async fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        config: TopicConfig,
    ) -> Result<Arc<Topic>, Refusal> {
        topics::check_name(name)?;
        let mut topics = write(&self.topics);
        if topics.contains_key(name) {
            return Err((ResponseError::TopicAlreadyExists, format!("topic '{name}' already exists")));
        }
        let topic = Arc::new(Topic::new(name.to_owned(), self.new_partitions(0..partitions), config));
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Lets a topic grow to `count` partitions.
    pub(crate) async fn add_partitions(&self, topic: &Topic, count: usize, validate_only: bool) -> Result<(), Refusal> {
        let _only_one_grows = write(&self.topics);
        let present = topic.partition_count();
        if count <= present {
            let reason = format!("topic '{}' has {present} partitions already; they can only become more", topic.name);
            return Err((ResponseError::InvalidPartitions, reason));
        }
        if !validate_only {
            topic.add_partitions(self.new_partitions(present..count));
        }
        Ok(())
    }

    /// Replaces the settings of a topic; they are checked already.
    pub(crate) async fn set_topic_config(&self, name: &str, config: TopicConfig) -> Result<(), Refusal> {
        let topic = self.topic(name).map_err(|error| (error, format!("there is no topic '{name}'")))?;
        topic.set_config(config);
        Ok(())
    }

    /// Deletes a topic with its records and with what groups have committed on it.
    pub(crate) async fn delete_topic(&self, name: &str) -> Result<(), ResponseError> {
        let topic = write(&self.topics).remove(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        topic.partitions().iter().for_each(|partition| partition.delete());
        self.coordinator.all(|groups| {
            groups.values_mut().for_each(|group| {
                group.offsets.remove(name);
            });
        });
        Ok(())
    }

    /// Deletes the records of a partition before `offset` (-1: all) and returns the new start.
    pub(crate) async fn delete_records(&self, topic: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
        self.partition(topic, index)?.delete_before(offset)
    }

    /// A producer id that was never given out.
    pub(crate) async fn new_producer_id(&self) -> Result<i64, ResponseError> {
        Ok(self.next_producer_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Notes what a member of a group has committed.
    pub(crate) async fn commit(
        &self,
        group_id: &str,
        who: Identity<'_>,
        commits: Vec<Commit>,
        now: Instant,
        _sleeper: &Sleeper,
    ) -> Result<(), ResponseError> {
        let work = |group: &mut Group| {
            group.may_commit(who, now)?;
            commits.into_iter().for_each(|c| group.commit(&c.topic, c.partition, c.committed));
            Ok(())
        };
        if who.generation < 0 {
            return self.coordinator.with_or_new(group_id, work);
        }
        self.coordinator.with(group_id, work).unwrap_or(Err(ResponseError::IllegalGeneration))
    }

    /// Forgets one committed offset.
    pub(crate) async fn forget_offset(&self, group_id: &str, topic: &str, partition: i32) -> Result<(), ResponseError> {
        self.partition(topic, partition)?;
        self.coordinator.with(group_id, |group| group.forget(topic, partition));
        Ok(())
    }

    /// Deletes a group that has no members.
    pub(crate) async fn delete_group(&self, group_id: &str) -> Result<(), ResponseError> {
        self.coordinator.all(|groups| {
            let group = groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
            if group.state() != State::Empty {
                return Err(ResponseError::NonEmptyGroup);
            }
            groups.remove(group_id);
            Ok(())
        })
    }

    /// Waits until all is written.
    pub(crate) async fn close(&self) {}

    fn new_partitions(&self, indexes: std::ops::Range<usize>) -> Vec<Arc<Partition>> {
        let new = |_| Partition::new(Log::default(), Arc::clone(&self.budget), None, Arc::<Waiters>::default());
        indexes.map(new).map(Arc::new).collect()
    }
}
