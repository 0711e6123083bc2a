//! Topics: looking at them, making, changing and dropping them. Looking never makes one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use serde::Serialize;

use super::{KafkaSettings, translate};
use crate::message::{Offset, TopicPartition};
use crate::mq::MqError;

/// A topic as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicInfo {
    /// Its name.
    pub topic: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionInfo>,
    /// Its settings that are not the broker's defaults.
    pub config: BTreeMap<String, String>,
}

/// A partition as the broker describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionInfo {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it; -1: none does.
    pub leader: i32,
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that are up to date.
    pub in_sync: Vec<i32>,
    /// The first offset that is still there.
    pub first: Offset,
    /// The offset after the last message.
    pub end: Offset,
}

#[derive(Clone)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::log(level, facility, text);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason);
    }
}
impl rdkafka::consumer::ConsumerContext for Quiet {}

/// Asks about topics and changes them. Calls block: keep them off the runtime's threads.
pub struct Admin {
    settings: KafkaSettings,
    client: AdminClient<Quiet>,
    reader: BaseConsumer<Quiet>,
}

impl Admin {
    /// A client for the brokers of `settings`; nothing is connected yet.
    ///
    /// # Errors
    /// [`MqError::Settings`].
    pub fn new(settings: &KafkaSettings) -> Result<Self, MqError> {
        let config = settings.admin()?;
        let made = |error: KafkaError| translate("making an admin client", &error);
        Ok(Self {
            client: config.create_with_context(Quiet).map_err(made)?,
            reader: config.create_with_context(Quiet).map_err(made)?,
            settings: settings.clone(),
        })
    }

    /// The cluster's or one topic's metadata, tried until `timeout` (a broker may just be starting).
    fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata, MqError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = left.clamp(Duration::from_millis(100), Duration::from_secs(5));
            // Serves the log and error callbacks of the client.
            let spoken = self.reader.poll(Duration::ZERO).and_then(Result::err);
            if let Some(denied) =
                spoken.map(|e| translate("reading metadata", &e)).filter(|e| matches!(e, MqError::Denied { .. }))
            {
                return Err(denied);
            }
            match self.reader.fetch_metadata(topic, attempt) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => {
                    let spoken = self.reader.poll(Duration::ZERO).and_then(Result::err);
                    for error in spoken.iter().chain([&error]) {
                        if let denied @ MqError::Denied { .. } = translate("reading metadata", error) {
                            return Err(denied);
                        }
                    }
                    if Instant::now() >= deadline {
                        return Err(MqError::Unreachable {
                            brokers: self.settings.brokers.clone(),
                            after: timeout,
                            reason: error
                                .rdkafka_error_code()
                                .map_or_else(|| error.to_string(), |code| code.to_string()),
                        });
                    }
                    std::thread::sleep(Duration::from_millis(50).min(left));
                }
            }
        }
    }

    /// The names of all topics, internal ones left out.
    ///
    /// # Errors
    /// No broker within `timeout`, or access denied.
    pub fn topics(&self, timeout: Duration) -> Result<Vec<(String, usize)>, MqError> {
        let metadata = self.metadata(None, timeout)?;
        let mut topics: Vec<_> = metadata
            .topics()
            .iter()
            .filter(|topic| !topic.name().starts_with("__"))
            .map(|topic| (topic.name().to_owned(), topic.partitions().len()))
            .collect();
        topics.sort();
        Ok(topics)
    }

    /// How many partitions `topic` has.
    ///
    /// # Errors
    /// [`MqError::UnknownTopic`], no broker within `timeout`, or access denied.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<usize, MqError> {
        let metadata = self.metadata(Some(topic), timeout)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
        match found.map(|found| found.partitions().len()) {
            Some(partitions) if partitions > 0 => Ok(partitions),
            _ => Err(MqError::UnknownTopic { topic: topic.to_owned() }),
        }
    }

    /// The first offset and the end of a partition.
    ///
    /// # Errors
    /// The broker did not answer in time.
    pub fn watermarks(&self, source: &TopicPartition, timeout: Duration) -> Result<(Offset, Offset), MqError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
            match self.reader.fetch_watermarks(&source.topic, source.partition, left) {
                Ok(watermarks) => return Ok(watermarks),
                Err(error) if finds_its_leader(&error) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(translate(&format!("reading the end of {source}"), &error)),
            }
        }
    }

    /// All that the broker says of `topic`.
    ///
    /// # Errors
    /// As [`Self::partitions`].
    pub async fn describe(&self, topic: &str, timeout: Duration) -> Result<TopicInfo, MqError> {
        self.partitions(topic, timeout)?;
        let metadata = self.metadata(Some(topic), timeout)?;
        let mut partitions = Vec::new();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            let (first, end) = self.watermarks(&TopicPartition::new(topic, partition.id()), timeout)?;
            partitions.push(PartitionInfo {
                partition: partition.id(),
                leader: partition.leader(),
                replicas: partition.replicas().to_vec(),
                in_sync: partition.isr().to_vec(),
                first,
                end,
            });
        }
        partitions.sort_by_key(|partition| partition.partition);
        let config = self.config(topic, false, timeout).await;
        Ok(TopicInfo { topic: topic.to_owned(), partitions, config })
    }

    /// All settings of `topic`, the defaults of the broker among them; none where they may not be read.
    pub async fn all_settings(&self, topic: &str, timeout: Duration) -> BTreeMap<String, String> {
        self.config(topic, true, timeout).await
    }

    async fn config(&self, topic: &str, defaults: bool, timeout: Duration) -> BTreeMap<String, String> {
        let described = self.client.describe_configs(&[ResourceSpecifier::Topic(topic)], &options(timeout)).await;
        // A right to read messages need not be one to read settings.
        let resources = described.into_iter().flatten().filter_map(Result::ok);
        resources
            .flat_map(|resource| resource.entries)
            .filter(|entry| (defaults || !entry.is_default) && !entry.is_sensitive)
            .filter_map(|entry| Some((entry.name, entry.value?)))
            .collect()
    }

    /// The state of `group` in the broker's words, and how many members it has; `None` where there is none.
    ///
    /// # Errors
    /// The broker did not answer in time, or access was denied.
    pub fn group(&self, group: &str, timeout: Duration) -> Result<Option<(String, usize)>, MqError> {
        let list = self.reader.fetch_group_list(Some(group), timeout);
        let list = list.map_err(|error| translate(&format!("describing group {group}"), &error))?;
        let found = list.groups().iter().find(|found| found.name() == group && found.state() != "Dead");
        Ok(found.map(|found| (found.state().to_owned(), found.members().len())))
    }

    /// Makes `topic`.
    ///
    /// # Errors
    /// The broker refused, e.g. since there is one; or did not answer in time.
    pub async fn create(
        &self,
        topic: &str,
        partitions: i32,
        replication_factor: i32,
        config: &[(String, String)],
        timeout: Duration,
    ) -> Result<(), MqError> {
        self.metadata(None, timeout)?;
        let new = config.iter().fold(
            NewTopic::new(topic, partitions, TopicReplication::Fixed(replication_factor)),
            |new, (key, value)| new.set(key, value),
        );
        outcome("create", topic, self.client.create_topics([&new], &options(timeout)).await)
    }

    /// Drops `topic` with all it holds.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn delete(&self, topic: &str, timeout: Duration) -> Result<(), MqError> {
        self.partitions(topic, timeout)?;
        outcome("delete", topic, self.client.delete_topics(&[topic], &options(timeout)).await)
    }

    /// Gives `topic` `partitions` partitions in all; there can only be more.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn grow(&self, topic: &str, partitions: usize, timeout: Duration) -> Result<(), MqError> {
        self.partitions(topic, timeout)?;
        let new = NewPartitions::new(topic, partitions);
        outcome("alter", topic, self.client.create_partitions([&new], &options(timeout)).await)
    }

    /// Changes settings of `topic`; those it has already and that are not named stay.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub async fn configure(&self, topic: &str, config: &[(String, String)], timeout: Duration) -> Result<(), MqError> {
        // The protocol's plain alteration replaces all settings of a topic, so the present ones go along.
        let mut all = self.describe(topic, timeout).await?.config;
        all.extend(config.iter().cloned());
        let alter = all
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(topic)), |alter, (key, value)| alter.set(key, value));
        let results = self
            .client
            .alter_configs([&alter], &options(timeout))
            .await
            .map_err(|error| translate(&format!("alter topic {topic}"), &error))?;
        for result in results {
            result.map_err(|(_, code)| refused("alter", topic, code))?;
        }
        Ok(())
    }
}

/// What a broker says of a partition that was made, or has moved, a moment ago.
fn finds_its_leader(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownTopicOrPartition};
    matches!(error.rdkafka_error_code(), Some(LeaderNotAvailable | NotLeaderForPartition | UnknownTopicOrPartition))
}

fn options(timeout: Duration) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}

fn outcome(verb: &str, topic: &str, results: Result<Vec<TopicResult>, KafkaError>) -> Result<(), MqError> {
    let results = results.map_err(|error| translate(&format!("{verb} topic {topic}"), &error))?;
    results.into_iter().try_for_each(|result| match result {
        Ok(_) => Ok(()),
        Err((_, code)) => Err(refused(verb, topic, code)),
    })
}

fn refused(verb: &str, topic: &str, code: RDKafkaErrorCode) -> MqError {
    match code {
        RDKafkaErrorCode::UnknownTopicOrPartition => MqError::UnknownTopic { topic: topic.to_owned() },
        code => translate(&format!("{verb} topic {topic}"), &KafkaError::AdminOp(code)),
    }
}
