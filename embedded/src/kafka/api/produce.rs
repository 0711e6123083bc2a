//! Produce.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};

use super::{Answer, Context, code, encode, text};
use crate::kafka::batch::BatchHeader;
use crate::kafka::partition::{Appended, Partition, Refusal};

const ZSTD: i16 = 4;
/// From this version on a producer may use zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// A batch in the log, and the partition to wait on.
type Taken = (Arc<Partition>, Appended);

pub(super) async fn produce(context: &Context<'_>, request: ProduceRequest) -> io::Result<Answer> {
    let mut taken = Vec::new();
    for topic in &request.topic_data {
        for data in &topic.partition_data {
            taken.push(append(context, &topic.name, data, request.acks, request.transactional_id.is_some()).await);
        }
    }
    let mut taken = taken.into_iter();
    let mut response = ProduceResponse::default();
    for topic in request.topic_data {
        let mut answers = TopicProduceResponse::default();
        for (data, taken) in topic.partition_data.iter().zip(taken.by_ref()) {
            let result = settle(context, taken).await;
            answers.partition_responses.push(partition_response(context, data.index, result));
        }
        response.responses.push(answers.with_name(topic.name));
    }
    if request.acks == 0 {
        // Nobody reads an answer. A connection that ends is how Apache Kafka tells such a producer of a failure.
        let failed = response.responses.iter().flat_map(|t| &t.partition_responses).any(|p| p.error_code != 0);
        return Ok(if failed { Answer::Close } else { Answer::Nothing });
    }
    Ok(Answer::Frame(vec![encode(context.correlation_id, context.version, &response)?]))
}

async fn append(
    context: &Context<'_>,
    topic: &str,
    data: &PartitionProduceData,
    acks: i16,
    transactional: bool,
) -> Result<Taken, Refusal> {
    let plain = |error| (error, "");
    context.check_injected().map_err(plain)?;
    if !(-1..=1).contains(&acks) {
        return Err((ResponseError::InvalidRequiredAcks, "acks must be -1, 0 or 1"));
    }
    if transactional {
        return Err((ResponseError::TransactionalIdAuthorizationFailed, "this broker has no transactions"));
    }
    context.node.faults.leader(topic, data.index).await.map_err(plain)?;
    let topic = context.node.topic(topic).map_err(plain)?;
    let partition = topic.partition(data.index).map_err(plain)?;
    let records: &Bytes = data.records.as_ref().ok_or((ResponseError::InvalidRecord, "no records"))?;
    if context.version < ZSTD_SINCE && BatchHeader::read(records).is_some_and(|batch| batch.compression() == ZSTD) {
        return Err((ResponseError::UnsupportedCompressionType, "zstd needs version 7 of this request"));
    }
    let max_bytes = topic.max_message_bytes().unwrap_or(context.node.config.max_message_bytes);
    let appended = partition.append(records, max_bytes)?;
    Ok((partition, appended))
}

/// Waits until a batch may be acknowledged.
async fn settle(context: &Context<'_>, taken: Result<Taken, Refusal>) -> Result<Appended, Refusal> {
    let (partition, appended) = taken?;
    partition.durable(&appended, &context.connection.sleeper).await?;
    Ok(appended)
}

fn partition_response(
    context: &Context<'_>,
    index: i32,
    result: Result<Appended, Refusal>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
    match result {
        Ok(appended) => response.with_base_offset(appended.base_offset).with_log_start_offset(appended.start_offset),
        Err((error, reason)) => {
            if !error.is_retriable() {
                tracing::warn!(partition = index, client = context.client_id, %error, reason, "produce refused");
            }
            let reason = (!reason.is_empty() && context.version >= 8).then(|| text(reason));
            let response = response.with_base_offset(-1).with_error_message(reason);
            response.with_log_start_offset(-1).with_error_code(code(error))
        }
    }
}
