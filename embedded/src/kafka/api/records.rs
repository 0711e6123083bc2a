//! Offsets of a log, and the deletion of records: ListOffsets, OffsetForLeaderEpoch, DeleteRecords.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsResponse, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderEpochRequest, OffsetForLeaderPartition,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use super::{Context, code, code_of};
use crate::kafka::batch::LEADER_EPOCH;
use crate::kafka::partition::Batches;
use crate::kafka::records::{offset_at_time, offset_of_max_time};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;

pub(super) async fn list_offsets(context: &Context<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut response = ListOffsetsResponse::default();
    for topic in request.topics {
        let mut answers = ListOffsetsTopicResponse::default();
        for asked in &topic.partitions {
            let result = offset_at(context, &topic.name, asked).await;
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code_of(&result));
            let (offset, timestamp) = result.ok().flatten().unwrap_or((-1, -1));
            let epoch = if offset >= 0 && context.version >= 4 { LEADER_EPOCH } else { -1 };
            answers.partitions.push(answer.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch));
        }
        response.topics.push(answers.with_name(topic.name));
    }
    response
}

/// Offset and timestamp; `None` where no record is so late.
async fn offset_at(
    context: &Context<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
) -> Result<Option<(i64, i64)>, ResponseError> {
    context.check_injected()?;
    context.node.faults.leader(topic, asked.partition_index).await?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    let partition = context.node.partition(topic, asked.partition_index)?;
    let marks = partition.watermarks()?;
    let (batch, time) = match asked.timestamp {
        LATEST => return Ok(Some((marks.high, -1))),
        EARLIEST => return Ok(Some((marks.start, -1))),
        MAX_TIMESTAMP => (partition.find_max_time()?, None),
        time if time >= 0 => (partition.find_time(time)?, Some(time)),
        _ => return Err(ResponseError::UnsupportedVersion),
    };
    let Some(batch) = batch else { return Ok(None) };
    let (offset, timestamp) = look_inside(batch, time).await?;
    Ok(Some((offset.max(marks.start), timestamp)))
}

/// Offset and timestamp of the first record at or after `time`, or of the latest one; off the runtime's threads, as the batch
/// may have to be decompressed.
async fn look_inside(batch: Batches, time: Option<i64>) -> Result<(i64, i64), ResponseError> {
    let loaded = batch.load().await.map_err(|_| ResponseError::KafkaStorageError)?;
    let batch = loaded.into_iter().next().ok_or(ResponseError::KafkaStorageError)?;
    let search = move || time.map_or_else(|| offset_of_max_time(&batch), |time| offset_at_time(&batch, time));
    let found = tokio::task::spawn_blocking(search).await.map_err(|_| ResponseError::UnknownServerError)?;
    found.ok_or(ResponseError::CorruptMessage)
}

pub(super) async fn offset_for_leader_epoch(
    context: &Context<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let mut response = OffsetForLeaderEpochResponse::default();
    for topic in request.topics {
        let mut answers = OffsetForLeaderTopicResult::default();
        for asked in &topic.partitions {
            let result = end_of_epoch(context, &topic.topic, asked);
            let answer = EpochEndOffset::default().with_partition(asked.partition).with_error_code(code_of(&result));
            let (epoch, offset) = result.unwrap_or((-1, -1));
            answers.partitions.push(answer.with_leader_epoch(epoch).with_end_offset(offset));
        }
        response.topics.push(answers.with_topic(topic.topic));
    }
    response
}

fn end_of_epoch(
    context: &Context<'_>,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    context.check_injected()?;
    if asked.current_leader_epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    let end = context.node.partition(topic, asked.partition)?.watermarks()?.high;
    Ok(if asked.leader_epoch == LEADER_EPOCH { (LEADER_EPOCH, end) } else { (-1, -1) })
}

pub(super) async fn delete_records(context: &Context<'_>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut response = DeleteRecordsResponse::default();
    for topic in request.topics {
        let mut answers = DeleteRecordsTopicResult::default();
        for asked in &topic.partitions {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let result = match context.check_injected() {
                Ok(()) => {
                    context
                        .node
                        .delete_records(&topic.name, asked.partition_index, asked.offset, &context.connection.sleeper)
                        .await
                }
                Err(error) => Err(error),
            };
            answers.partitions.push(match result {
                Ok(start) => answer.with_low_watermark(start),
                Err(error) => answer.with_low_watermark(-1).with_error_code(code(error)),
            });
        }
        response.topics.push(answers.with_name(topic.name));
    }
    response
}
