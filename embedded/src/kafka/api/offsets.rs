//! What groups have committed: OffsetCommit, OffsetFetch, OffsetDelete.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName,
};
use tokio::time::Instant;

use super::{Context, code, code_of, text, topic_name};
use crate::kafka::group::{Committed, Group, Identity, State};
use crate::kafka::node::Commit;

/// Bytes of the note on one offset, as in Apache Kafka.
const MAX_METADATA_BYTES: usize = 4096;

pub(super) async fn offset_commit(context: &Context<'_>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let who = Identity {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
    };
    let mut commits = Vec::new();
    let mut response = OffsetCommitResponse::default();
    for topic in &request.topics {
        let mut answers = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
        for asked in &topic.partitions {
            let metadata = asked.committed_metadata.as_deref().unwrap_or_default();
            let check = || {
                context.check_injected()?;
                context.node.partition(&topic.name, asked.partition_index)?;
                if metadata.len() > MAX_METADATA_BYTES { Err(ResponseError::OffsetMetadataTooLarge) } else { Ok(()) }
            };
            let result = check();
            if result.is_ok() {
                let leader_epoch = if context.version >= 6 { asked.committed_leader_epoch } else { -1 };
                commits.push(Commit {
                    topic: topic.name.as_str().to_owned(),
                    partition: asked.partition_index,
                    committed: Committed {
                        offset: asked.committed_offset,
                        leader_epoch,
                        metadata: metadata.to_owned(),
                    },
                });
            }
            let answer = OffsetCommitResponsePartition::default().with_partition_index(asked.partition_index);
            answers.partitions.push(answer.with_error_code(code_of(&result)));
        }
        response.topics.push(answers);
    }
    let sleeper = &context.connection.sleeper;
    if let Err(error) = context.node.commit(&request.group_id, who, commits, Instant::now(), sleeper).await {
        let refused = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|p| p.error_code == 0);
        refused.for_each(|partition| partition.error_code = code(error));
    }
    response
}

pub(super) async fn offset_fetch(context: &Context<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let error = context.injected.map_or(0, code);
    if context.version >= 8 {
        let group = |asked: &kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup| {
            let topics = asked.topics.as_ref().map(|topics| {
                topics.iter().map(|topic| (topic.name.clone(), topic.partition_indexes.clone())).collect()
            });
            let topics = committed(context, &asked.group_id, topics).into_iter().map(|(name, partitions)| {
                let partition = |(index, committed): (i32, Committed)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(committed.offset)
                        .with_committed_leader_epoch(committed.leader_epoch)
                        .with_metadata(Some(text(committed.metadata)))
                };
                let partitions = partitions.into_iter().map(partition).collect();
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
            });
            OffsetFetchResponseGroup::default()
                .with_group_id(asked.group_id.clone())
                .with_error_code(error)
                .with_topics(if error == 0 { topics.collect() } else { Vec::new() })
        };
        return OffsetFetchResponse::default().with_groups(request.groups.iter().map(group).collect());
    }
    let topics = request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
    let topics = committed(context, &request.group_id, topics).into_iter().map(|(name, partitions)| {
        let partition = |(index, committed): (i32, Committed)| {
            let answer = OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(committed.offset)
                .with_metadata(Some(text(committed.metadata)))
                .with_error_code(error);
            if context.version >= 5 { answer.with_committed_leader_epoch(committed.leader_epoch) } else { answer }
        };
        let partitions = partitions.into_iter().map(partition).collect();
        OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions)
    });
    let response = OffsetFetchResponse::default().with_topics(topics.collect());
    if context.version >= 2 { response.with_error_code(error) } else { response }
}

type Asked = Vec<(TopicName, Vec<i32>)>;
type Found = Vec<(TopicName, Vec<(i32, Committed)>)>;

/// The offsets asked for, -1 where none is committed; all there are for `None`.
fn committed(context: &Context<'_>, group_id: &str, asked: Option<Asked>) -> Found {
    let none = || Committed { offset: -1, leader_epoch: -1, metadata: String::new() };
    context
        .node
        .coordinator
        .with(group_id, |group| match &asked {
            None => {
                let all = group.offsets.iter().map(|(name, partitions)| {
                    (
                        topic_name(name),
                        partitions.iter().map(|(index, committed)| (*index, committed.clone())).collect(),
                    )
                });
                all.collect()
            }
            Some(topics) => {
                let one = |topic: &str, index: i32| group.offsets.get(topic).and_then(|p| p.get(&index)).cloned();
                let topics = topics.iter().map(|(name, indexes)| {
                    let partitions = indexes.iter().map(|index| (*index, one(name, *index).unwrap_or_else(none)));
                    (name.clone(), partitions.collect())
                });
                topics.collect()
            }
        })
        .unwrap_or_else(|| {
            let topics = asked.unwrap_or_default().into_iter();
            topics.map(|(name, indexes)| (name, indexes.into_iter().map(|index| (index, none())).collect())).collect()
        })
}

pub(super) async fn offset_delete(context: &Context<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    // Apache Kafka looks at what the members of a live group subscribe to; here a live group keeps all of its offsets.
    let is_live = |group: &mut Group| group.state() != State::Empty;
    let is_live = match context.check_injected() {
        Err(error) => return OffsetDeleteResponse::default().with_error_code(code(error)),
        Ok(()) => context.node.coordinator.with(&request.group_id, is_live),
    };
    let Some(is_live) = is_live else {
        return OffsetDeleteResponse::default().with_error_code(code(ResponseError::GroupIdNotFound));
    };
    let mut response = OffsetDeleteResponse::default();
    for topic in request.topics {
        let mut answers = OffsetDeleteResponseTopic::default();
        for asked in &topic.partitions {
            let result = if is_live {
                Err(ResponseError::GroupSubscribedToTopic)
            } else {
                context
                    .node
                    .forget_offset(&request.group_id, &topic.name, asked.partition_index, &context.connection.sleeper)
                    .await
            };
            let answer = OffsetDeleteResponsePartition::default().with_partition_index(asked.partition_index);
            answers.partitions.push(answer.with_error_code(code_of(&result)));
        }
        response.topics.push(answers.with_name(topic.name));
    }
    response
}
