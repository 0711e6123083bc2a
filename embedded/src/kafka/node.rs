//! What all connections share: settings, topics, groups, faults, and the folder where it all is kept if there is one.
//!
//! Locks are taken in this order: topics, producer ids, groups, journal. What changes is noted in the journal before its lock is given
//! back, and acknowledged when it is written.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock};

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::coordinator::Coordinator;
use super::faults::Faults;
use super::group::{Committed, Group, Identity, State};
use super::log::Log;
use super::partition::{MemoryBudget, Partition};
use super::storage::{Broken, Folder, FolderError, Memory, Record, StoredTopic, Ticket, offset_record};
use super::topics::{self, Refusal, Topic, TopicConfig};
use super::waiters::{Sleeper, Waiters};
use super::{BrokerConfig, BrokerError, lock, read, write};

/// The id of the one node there is.
pub(crate) const NODE_ID: i32 = 1;
/// The name of the cluster it makes up.
pub(crate) const CLUSTER_ID: &str = "kafka-taos-embedded";
/// Producer ids that are noted in the journal at a time.
const PRODUCER_IDS_NOTED: i64 = 1000;
/// Partitions of all topics together.
const MAX_PARTITIONS: usize = 100_000;

/// One offset of a commit.
#[derive(Debug)]
pub(crate) struct Commit {
    pub topic: String,
    pub partition: i32,
    pub committed: Committed,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Node {
    pub config: BrokerConfig,
    pub coordinator: Arc<Coordinator>,
    pub faults: Faults,
    topics: RwLock<Topics>,
    producer_ids: Mutex<ProducerIds>,
    budget: Arc<MemoryBudget>,
    folder: Option<Folder>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    next_id: u64,
}

impl Topics {
    /// # Errors
    /// When there is no room for `more` partitions.
    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        let present: usize = self.by_name.values().map(|topic| topic.partition_count()).sum();
        if present + more <= MAX_PARTITIONS {
            return Ok(());
        }
        let reason = format!("the broker has {present} partitions; at most {MAX_PARTITIONS} are possible");
        Err((ResponseError::PolicyViolation, reason))
    }
}

#[derive(Debug)]
struct ProducerIds {
    next: i64,
    /// Ids below this are noted as given out.
    noted: i64,
}

impl Node {
    /// Sets everything up; reads the data folder if there is one, and so blocks.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn open(config: BrokerConfig) -> Result<Node, BrokerError> {
        let coordinator = Arc::<Coordinator>::default();
        let mut node = Node {
            faults: Faults::new(Arc::clone(&coordinator)),
            budget: Arc::new(MemoryBudget::new(config.max_memory_bytes)),
            topics: RwLock::default(),
            producer_ids: Mutex::new(ProducerIds { next: 0, noted: 0 }),
            folder: None,
            coordinator,
            config,
        };
        if let Some(path) = node.config.data_dir.clone() {
            let failed = |source| BrokerError::DataDir { path: path.clone(), source: Box::new(source) };
            let (folder, memory) = Folder::open(&path).map_err(failed)?;
            node.remember(&folder, memory).map_err(failed)?;
            node.folder = Some(folder);
        }
        Ok(node)
    }

    fn remember(&self, folder: &Folder, memory: Memory) -> Result<(), FolderError> {
        let mut topics = write(&self.topics);
        topics.next_id = memory.next_topic_id;
        let mut next_producer_id = memory.next_producer_id;
        for (name, stored) in memory.topics {
            let partitions = self.recover_partitions(folder, &stored)?;
            let highest = partitions.iter().filter_map(|partition| partition.highest_producer_id()).max();
            next_producer_id = next_producer_id.max(highest.map_or(0, |id| id + 1));
            let topic = Topic::new(name.clone(), stored.id, partitions, stored.config);
            topics.by_name.insert(name, Arc::new(topic));
        }
        *lock(&self.producer_ids) = ProducerIds { next: next_producer_id, noted: next_producer_id };
        self.coordinator.all(|groups| {
            groups.extend(memory.groups.into_iter().map(|(id, offsets)| (id, Group::with_offsets(offsets))));
            groups.retain(|_, group| !group.is_void());
        });
        Ok(())
    }

    /// Host and port that a client which reached us at `local` is told to use.
    pub(crate) fn advertised(&self, local: SocketAddr) -> (String, i32) {
        match &self.config.advertised {
            Some((host, port)) => (host.clone(), i32::from(*port)),
            None => (local.ip().to_string(), i32::from(local.port())),
        }
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        read(&self.topics).by_name.values().cloned().collect()
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>, ResponseError> {
        read(&self.topics).by_name.get(name).cloned().ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn partition(&self, topic: &str, index: i32) -> Result<Arc<Partition>, ResponseError> {
        self.topic(topic)?.partition(index)
    }

    /// Makes a topic; `partitions` and `config` are checked already.
    ///
    /// # Errors
    /// A bad name, one that is taken, or a change that cannot be written.
    pub(crate) async fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        config: TopicConfig,
        sleeper: &Sleeper,
    ) -> Result<Arc<Topic>, Refusal> {
        topics::check_name(name)?;
        let (topic, ticket) = {
            let mut topics = write(&self.topics);
            if topics.by_name.contains_key(name) {
                return Err((ResponseError::TopicAlreadyExists, format!("topic '{name}' already exists")));
            }
            topics.check_room(partitions)?;
            let id = topics.next_id;
            let note = Record::Topic { name: name.to_owned(), id, partitions, config: config.clone() };
            let ticket = self.note(|| vec![note]).map_err(broken)?;
            let made = self.new_partitions(id, 0..partitions);
            let topic = Arc::new(Topic::new(name.to_owned(), id, made, config));
            topics.next_id += 1;
            topics.by_name.insert(name.to_owned(), Arc::clone(&topic));
            (topic, ticket)
        };
        ticket.written(sleeper).await.map_err(broken)?;
        Ok(topic)
    }

    /// Lets a topic grow to `count` partitions; only says whether it could with `validate_only`.
    ///
    /// # Errors
    /// A count that is not larger than the present one, or a change that cannot be written.
    pub(crate) async fn add_partitions(
        &self,
        topic: &Topic,
        count: usize,
        validate_only: bool,
        sleeper: &Sleeper,
    ) -> Result<(), Refusal> {
        let ticket = {
            let topics = write(&self.topics);
            let present = topic.partition_count();
            if count <= present {
                let reason = format!("topic '{}' has {present} partitions; they can only become more", topic.name);
                return Err((ResponseError::InvalidPartitions, reason));
            }
            topics.check_room(count - present)?;
            if validate_only {
                return Ok(());
            }
            let ticket = self.note(|| vec![Record::Partitions { topic: topic.name.clone(), count }]).map_err(broken)?;
            topic.add_partitions(self.new_partitions(topic.id, present..count));
            ticket
        };
        ticket.written(sleeper).await.map_err(broken)
    }

    /// Replaces the settings of a topic; they are checked already.
    ///
    /// # Errors
    /// No such topic, or a change that cannot be written.
    pub(crate) async fn set_topic_config(
        &self,
        name: &str,
        config: TopicConfig,
        sleeper: &Sleeper,
    ) -> Result<(), Refusal> {
        let ticket = {
            let topics = write(&self.topics);
            let unknown = || (ResponseError::UnknownTopicOrPartition, format!("there is no topic '{name}'"));
            let topic = topics.by_name.get(name).ok_or_else(unknown)?;
            let note = || vec![Record::Config { topic: name.to_owned(), config: config.clone() }];
            let ticket = self.note(note).map_err(broken)?;
            topic.set_config(config);
            ticket
        };
        ticket.written(sleeper).await.map_err(broken)
    }

    /// Deletes a topic with its records and with what groups have committed on it.
    ///
    /// # Errors
    /// No such topic, or a change that cannot be written.
    pub(crate) async fn delete_topic(&self, name: &str, sleeper: &Sleeper) -> Result<(), ResponseError> {
        let (topic, ticket) = {
            let mut topics = write(&self.topics);
            let topic = topics.by_name.remove(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
            self.coordinator.all(|groups| {
                groups.values_mut().for_each(|group| {
                    group.offsets.remove(name);
                });
            });
            (topic, self.note(|| vec![Record::TopicDeleted { topic: name.to_owned() }]))
        };
        topic.partitions().iter().for_each(|partition| partition.delete());
        settle(ticket, sleeper).await?;
        self.folder.iter().for_each(|folder| folder.remove_topic(topic.id));
        Ok(())
    }

    /// Deletes the records of a partition before `offset` (-1: all) and returns the new start.
    ///
    /// # Errors
    /// No such partition, an offset beyond the end, or a change that cannot be written.
    pub(crate) async fn delete_records(
        &self,
        topic: &str,
        index: i32,
        offset: i64,
        sleeper: &Sleeper,
    ) -> Result<i64, ResponseError> {
        let (start, ticket) = {
            let topics = read(&self.topics);
            let found = topics.by_name.get(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
            let start = found.partition(index)?.delete_before(offset)?;
            let note = || vec![Record::Start { topic: topic.to_owned(), partition: index, offset: start }];
            (start, self.note(note))
        };
        settle(ticket, sleeper).await?;
        Ok(start)
    }

    /// A producer id that was never given out.
    ///
    /// # Errors
    /// A change that cannot be written.
    pub(crate) async fn new_producer_id(&self, sleeper: &Sleeper) -> Result<i64, ResponseError> {
        let (id, ticket) = {
            let topic = read(&self.topics).next_id;
            let mut ids = lock(&self.producer_ids);
            let id = ids.next;
            ids.next += 1;
            if id < ids.noted {
                return Ok(id);
            }
            ids.noted = id + PRODUCER_IDS_NOTED;
            (id, self.note(|| vec![Record::Ids { producer: ids.noted, topic }]))
        };
        settle(ticket, sleeper).await?;
        Ok(id)
    }

    /// Notes what a member of a group has committed.
    ///
    /// # Errors
    /// What [`Group::may_commit`] says, or a change that cannot be written.
    pub(crate) async fn commit(
        &self,
        group_id: &str,
        who: Identity<'_>,
        commits: Vec<Commit>,
        now: Instant,
        sleeper: &Sleeper,
    ) -> Result<(), ResponseError> {
        let note = |c: &Commit| offset_record(group_id, &c.topic, c.partition, &c.committed);
        let work = |group: &mut Group| {
            group.may_commit(who, now)?;
            let ticket = self.note(|| commits.iter().map(note).collect());
            commits.into_iter().for_each(|c| group.commit(&c.topic, c.partition, c.committed));
            ticket.map_err(|Broken| ResponseError::KafkaStorageError)
        };
        let ticket = if who.generation < 0 {
            self.coordinator.with_or_new(group_id, work).flatten()
        } else {
            self.coordinator.with(group_id, work).unwrap_or(Err(ResponseError::IllegalGeneration))
        };
        ticket?.written(sleeper).await.map_err(|Broken| ResponseError::KafkaStorageError)?;
        self.rewrite_journal_if_long();
        Ok(())
    }

    /// Forgets one committed offset.
    ///
    /// # Errors
    /// No such partition, or a change that cannot be written.
    pub(crate) async fn forget_offset(
        &self,
        group_id: &str,
        topic: &str,
        partition: i32,
        sleeper: &Sleeper,
    ) -> Result<(), ResponseError> {
        self.partition(topic, partition)?;
        let note = || vec![Record::OffsetForgotten { group: group_id.to_owned(), topic: topic.to_owned(), partition }];
        let ticket = self.coordinator.with(group_id, |group| {
            group.forget(topic, partition);
            self.note(note)
        });
        settle(ticket.unwrap_or_else(|| Ok(Ticket::default())), sleeper).await
    }

    /// Deletes a group that has no members.
    ///
    /// # Errors
    /// `GroupIdNotFound`, `NonEmptyGroup`, or a change that cannot be written.
    pub(crate) async fn delete_group(&self, group_id: &str, sleeper: &Sleeper) -> Result<(), ResponseError> {
        let ticket = self.coordinator.all(|groups| {
            let group = groups.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
            if group.state() != State::Empty {
                return Err(ResponseError::NonEmptyGroup);
            }
            groups.remove(group_id);
            Ok(self.note(|| vec![Record::GroupDeleted { group: group_id.to_owned() }]))
        });
        settle(ticket?, sleeper).await
    }

    /// Waits until all is written.
    pub(crate) async fn close(&self) {
        if let Some(folder) = &self.folder {
            folder.close().await;
        }
    }

    /// Notes changes in the journal, if there is one.
    fn note(&self, records: impl FnOnce() -> Vec<Record>) -> Result<Ticket, Broken> {
        self.folder.as_ref().map_or_else(|| Ok(Ticket::default()), |folder| folder.record(&records()))
    }

    /// A journal that is mostly history is begun anew.
    fn rewrite_journal_if_long(&self) {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.wants_rewrite()) else { return };
        let topics = write(&self.topics);
        let producer_ids = lock(&self.producer_ids);
        self.coordinator.all(|groups| {
            let stored = |topic: &Arc<Topic>| (topic.name.clone(), stored_topic(topic));
            let memory = Memory {
                topics: topics.by_name.values().map(stored).collect(),
                groups: groups.iter().map(|(id, group)| (id.clone(), group.offsets.clone())).collect(),
                next_producer_id: producer_ids.noted,
                next_topic_id: topics.next_id,
            };
            folder.rewrite(&memory);
        });
    }

    fn new_partitions(&self, topic_id: u64, indexes: Range<usize>) -> Vec<Arc<Partition>> {
        let new = |index| {
            let waiters = Arc::<Waiters>::default();
            let file = self.folder.as_ref().map(|folder| folder.new_partition(topic_id, index, Arc::clone(&waiters)));
            Arc::new(Partition::new(Log::default(), Arc::clone(&self.budget), file, waiters))
        };
        indexes.map(new).collect()
    }

    fn recover_partitions(&self, folder: &Folder, stored: &StoredTopic) -> Result<Vec<Arc<Partition>>, FolderError> {
        let recover = |(number, index): (i32, usize)| {
            let waiters = Arc::<Waiters>::default();
            let start = stored.starts.get(&number).copied().unwrap_or(0);
            let (log, file) = folder.recover_partition(stored.id, index, start, Arc::clone(&waiters))?;
            Ok(Arc::new(Partition::new(log, Arc::clone(&self.budget), Some(file), waiters)))
        };
        (0..).zip(0..stored.partitions).map(recover).collect()
    }
}

fn stored_topic(topic: &Topic) -> StoredTopic {
    let partitions = topic.partitions();
    let start = |(index, partition): (i32, &Arc<Partition>)| {
        let start = partition.watermarks().map_or(0, |marks| marks.start);
        (start > 0).then_some((index, start))
    };
    let starts = (0..).zip(&partitions).filter_map(start).collect();
    StoredTopic { id: topic.id, partitions: partitions.len(), config: topic.config(), starts }
}

async fn settle(ticket: Result<Ticket, Broken>, sleeper: &Sleeper) -> Result<(), ResponseError> {
    let failed = |Broken| ResponseError::KafkaStorageError;
    ticket.map_err(failed)?.written(sleeper).await.map_err(failed)
}

fn broken(_: Broken) -> Refusal {
    (ResponseError::KafkaStorageError, "the data folder cannot be written".to_owned())
}
