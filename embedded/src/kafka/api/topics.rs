//! Topics: Metadata, CreateTopics, DeleteTopics, CreatePartitions.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsRequest, CreatePartitionsTopic};
use kafka_protocol::messages::create_partitions_response::{CreatePartitionsResponse, CreatePartitionsTopicResult};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsResponse,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicsRequest;
use kafka_protocol::messages::delete_topics_response::{DeletableTopicResult, DeleteTopicsResponse};
use kafka_protocol::messages::metadata_request::MetadataRequest;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::configs::{self, SOURCE_DEFAULT, SOURCE_TOPIC};
use super::{Context, code, text, topic_name};
use crate::kafka::batch::LEADER_EPOCH;
use crate::kafka::node::{CLUSTER_ID, NODE_ID};
use crate::kafka::topics::{Refusal, Topic, TopicConfig, check_name, check_partition_count};

pub(super) async fn metadata(context: &Context<'_>, request: MetadataRequest) -> MetadataResponse {
    let (host, port) = context.advertised();
    let broker = MetadataResponseBroker::default().with_node_id(BrokerId(NODE_ID)).with_host(host).with_port(port);
    // Version 0 says "all topics" with an empty array, later ones with null; before version 4 topics were always made.
    let names = request.topics.filter(|topics| context.version > 0 || !topics.is_empty());
    let may_create = context.version < 4 || request.allow_auto_topic_creation;
    let topics = match names {
        None => context.node.topics().iter().map(|topic| describe(context, topic)).collect(),
        Some(names) => {
            let mut topics = Vec::new();
            for name in names.into_iter().filter_map(|topic| topic.name) {
                topics.push(match find_or_create(context, &name, may_create).await {
                    Ok(topic) => describe(context, &topic),
                    Err(error) => MetadataResponseTopic::default().with_name(Some(name)).with_error_code(code(error)),
                });
            }
            topics
        }
    };
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER_ID)))
        .with_controller_id(BrokerId(NODE_ID))
        .with_topics(topics)
}

async fn find_or_create(context: &Context<'_>, name: &str, may_create: bool) -> Result<Arc<Topic>, ResponseError> {
    context.check_injected()?;
    match context.node.topic(name) {
        Ok(topic) => Ok(topic),
        Err(unknown) => {
            check_name(name).map_err(|(error, _)| error)?;
            if !(may_create && context.node.config.auto_create_topics) {
                return Err(unknown);
            }
            let count = check_partition_count(context.node.config.default_partitions).map_err(|(error, _)| error)?;
            match context.node.create_topic(name, count, TopicConfig::new(), &context.connection.sleeper).await {
                Ok(topic) => Ok(topic),
                Err((ResponseError::TopicAlreadyExists, _)) => context.node.topic(name),
                Err((error, _)) => Err(error),
            }
        }
    }
}

fn describe(context: &Context<'_>, topic: &Topic) -> MetadataResponseTopic {
    let partition = |index| {
        let leader = BrokerId(NODE_ID);
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(if context.version >= 7 { LEADER_EPOCH } else { -1 })
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    };
    let count = i32::try_from(topic.partition_count()).unwrap_or(i32::MAX);
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_partitions((0..count).map(partition).collect())
}

pub(super) async fn create_topics(context: &Context<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut times_named: HashMap<TopicName, usize> = HashMap::new();
    request.topics.iter().for_each(|topic| *times_named.entry(topic.name.clone()).or_default() += 1);
    let mut response = CreateTopicsResponse::default();
    for asked in &request.topics {
        if times_named.get(&asked.name).is_some_and(|times| *times > 1) {
            if !response.topics.iter().any(|answer| answer.name == asked.name) {
                let refusal = (ResponseError::InvalidRequest, "the topic is named twice in the request".to_owned());
                response.topics.push(created(context, asked, Err(refusal)));
            }
            continue;
        }
        let result = create(context, asked, request.validate_only).await;
        response.topics.push(created(context, asked, result));
    }
    response
}

async fn create(
    context: &Context<'_>,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<(usize, TopicConfig), Refusal> {
    context.check_injected().map_err(|error| (error, String::new()))?;
    check_name(&asked.name)?;
    let count = partition_count(context, asked)?;
    let mut config = TopicConfig::new();
    for entry in &asked.configs {
        configs::set(&mut config, &entry.name, entry.value.as_deref())?;
    }
    if !validate_only {
        context.node.create_topic(&asked.name, count, config.clone(), &context.connection.sleeper).await?;
    } else if context.node.topic(&asked.name).is_ok() {
        return Err((ResponseError::TopicAlreadyExists, format!("topic '{}' already exists", &*asked.name)));
    }
    Ok((count, config))
}

fn partition_count(context: &Context<'_>, asked: &CreatableTopic) -> Result<usize, Refusal> {
    if asked.assignments.is_empty() {
        if !matches!(asked.replication_factor, -1 | 1) {
            let reason =
                format!("replication factor {} is more than the one broker there is", asked.replication_factor);
            return Err((ResponseError::InvalidReplicationFactor, reason));
        }
        let default = context.node.config.default_partitions;
        return check_partition_count(if asked.num_partitions == -1 { default } else { asked.num_partitions });
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|assignment| assignment.partition_index).collect();
    indexes.sort_unstable();
    let complete = indexes.iter().zip(0..).all(|(index, expected)| *index == expected);
    if !complete || asked.assignments.iter().any(|assignment| assignment.broker_ids != [BrokerId(NODE_ID)]) {
        let reason = format!("assignments must give each partition from 0 on to broker {NODE_ID}");
        return Err((ResponseError::InvalidReplicaAssignment, reason));
    }
    check_partition_count(i32::try_from(indexes.len()).unwrap_or(i32::MAX))
}

fn created(
    context: &Context<'_>,
    asked: &CreatableTopic,
    result: Result<(usize, TopicConfig), Refusal>,
) -> CreatableTopicResult {
    let answer = CreatableTopicResult::default().with_name(asked.name.clone());
    match result {
        Err((error, reason)) => answer.with_error_code(code(error)).with_error_message(Some(text(reason))),
        Ok(_) if context.version < 5 => answer,
        Ok((count, config)) => {
            let entry = |(name, value, is_set): (&str, String, bool)| {
                CreatableTopicConfigs::default()
                    .with_name(text(name))
                    .with_value(Some(text(value)))
                    .with_config_source(if is_set { SOURCE_TOPIC } else { SOURCE_DEFAULT })
            };
            let entries = configs::of_topic(context.node, &config).into_iter().map(entry).collect();
            answer
                .with_num_partitions(i32::try_from(count).unwrap_or(i32::MAX))
                .with_replication_factor(1)
                .with_configs(Some(entries))
        }
    }
}

pub(super) async fn delete_topics(context: &Context<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let mut response = DeleteTopicsResponse::default();
    for name in request.topic_names {
        let result = match context.check_injected() {
            Ok(()) => context.node.delete_topic(&name, &context.connection.sleeper).await,
            Err(error) => Err(error),
        };
        let answer = DeletableTopicResult::default().with_error_code(super::code_of(&result));
        response.responses.push(answer.with_name(Some(name)));
    }
    response
}

pub(super) async fn create_partitions(
    context: &Context<'_>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut response = CreatePartitionsResponse::default();
    for asked in request.topics {
        let answer = match grow(context, &asked, request.validate_only).await {
            Ok(()) => CreatePartitionsTopicResult::default(),
            Err((error, reason)) => CreatePartitionsTopicResult::default()
                .with_error_code(code(error))
                .with_error_message(Some(text(reason))),
        };
        response.results.push(answer.with_name(asked.name));
    }
    response
}

async fn grow(context: &Context<'_>, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    context.check_injected().map_err(|error| (error, String::new()))?;
    let unknown = |error| (error, format!("there is no topic '{}'", &*asked.name));
    let topic = context.node.topic(&asked.name).map_err(unknown)?;
    let count = check_partition_count(asked.count)?;
    if let Some(assignments) = &asked.assignments {
        let more = count.saturating_sub(topic.partition_count());
        if assignments.len() != more || assignments.iter().any(|a| a.broker_ids != [BrokerId(NODE_ID)]) {
            let reason = format!("assignments must give each of the {more} new partitions to broker {NODE_ID}");
            return Err((ResponseError::InvalidReplicaAssignment, reason));
        }
    }
    context.node.add_partitions(&topic, count, validate_only, &context.connection.sleeper).await
}
