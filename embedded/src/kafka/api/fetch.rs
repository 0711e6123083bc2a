//! Fetch, with long polling. Its answer is put together here and not by `kafka-protocol`, so that record batches go from the
//! log to the socket without being copied.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchRequest;
use tokio::time::{Instant, timeout_at};

use super::{Answer, Context, code};
use crate::kafka::batch::LEADER_EPOCH;
use crate::kafka::partition::{Batches, Partition, Watermarks};

/// Bytes of records in one answer at most, whatever the client asks for; as in Apache Kafka.
const MAX_ANSWER_BYTES: usize = 55 << 20;
/// Batches smaller than this are copied together: a piece of its own costs more than the copy.
const COPIED_BYTES: usize = 8 << 10;

/// One partition of the request.
struct Wanted {
    index: i32,
    offset: i64,
    max_bytes: usize,
    /// The partition, or why it cannot be read.
    partition: Result<Arc<Partition>, ResponseError>,
}

/// What one partition is answered.
type Found = Result<(Watermarks, Batches), ResponseError>;

pub(super) async fn fetch(context: &Context<'_>, request: FetchRequest) -> io::Result<Answer> {
    if let Some(error) = session_error(context, &request) {
        return Ok(Answer::Frame(vec![head(context, Some(error), 0).freeze()]));
    }
    let mut wanted = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let max_bytes = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
            let partition = leader(context, &topic.topic, asked.partition, asked.current_leader_epoch).await;
            partitions.push(Wanted { index: asked.partition, offset: asked.fetch_offset, max_bytes, partition });
        }
        wanted.push((topic.topic.as_str(), partitions));
    }
    let found = wait(context, &request, &wanted).await;
    answer(context, &wanted, found).await
}

/// This broker keeps no fetch sessions (KIP-227): it offers id 0, and every request names all of its partitions.
fn session_error(context: &Context<'_>, request: &FetchRequest) -> Option<ResponseError> {
    let of_session = request.session_id != 0 && request.session_epoch > 0;
    of_session.then_some(ResponseError::FetchSessionIdNotFound).filter(|_| context.version >= 7)
}

async fn leader(context: &Context<'_>, topic: &str, index: i32, epoch: i32) -> Result<Arc<Partition>, ResponseError> {
    context.check_injected()?;
    context.node.faults.leader(topic, index).await?;
    if epoch > LEADER_EPOCH {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    context.node.partition(topic, index)
}

/// Reads until there is enough, an error, or no time left.
async fn wait(context: &Context<'_>, request: &FetchRequest, wanted: &[(&str, Vec<Wanted>)]) -> Vec<Found> {
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_ANSWER_BYTES);
    let max_wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = Instant::now() + max_wait.min(context.node.config.max_idle);
    let (found, size) = read(wanted, max_bytes);
    if size >= min_bytes || found.iter().any(Result::is_err) {
        return found;
    }
    let sleeper = &context.connection.sleeper;
    let partitions = wanted.iter().flat_map(|(_, partitions)| partitions).filter_map(|w| w.partition.as_ref().ok());
    let _registered: Vec<_> = partitions.map(|partition| partition.waiters.register(sleeper)).collect();
    loop {
        let (found, size) = read(wanted, max_bytes);
        if size >= min_bytes || found.iter().any(Result::is_err) {
            return found;
        }
        if timeout_at(deadline, sleeper.notify.notified()).await.is_err() {
            return read(wanted, max_bytes).0;
        }
    }
}

/// What there is now, and its size. The first batch is given out even if it is larger than the limits.
fn read(wanted: &[(&str, Vec<Wanted>)], max_bytes: usize) -> (Vec<Found>, usize) {
    let mut total = 0;
    let found = wanted.iter().flat_map(|(_, partitions)| partitions).map(|wanted| {
        let partition = wanted.partition.as_ref().map_err(|error| *error)?;
        let room = max_bytes.saturating_sub(total).min(wanted.max_bytes);
        let (marks, batches, size) = partition.read(wanted.offset, room, total == 0)?;
        total += size;
        Ok((marks, batches))
    });
    (found.collect(), total)
}

/// The answer in versions 4 to 11 of the
/// [message](https://github.com/apache/kafka/blob/trunk/clients/src/main/resources/common/message/FetchResponse.json).
async fn answer(context: &Context<'_>, wanted: &[(&str, Vec<Wanted>)], found: Vec<Found>) -> io::Result<Answer> {
    let mut pieces = Vec::new();
    let mut buffer = head(context, None, wanted.len());
    let mut found = found.into_iter();
    for (topic, partitions) in wanted {
        put_string(&mut buffer, topic);
        put_count(&mut buffer, partitions.len());
        for (wanted, found) in partitions.iter().zip(found.by_ref()) {
            let (marks, batches, error) = load(context, topic, wanted.index, found).await;
            buffer.put_i32(wanted.index);
            buffer.put_i16(error.map_or(0, code));
            buffer.put_i64(marks.high);
            buffer.put_i64(marks.high); // last stable offset: there are no transactions
            if context.version >= 5 {
                buffer.put_i64(marks.start);
            }
            buffer.put_i32(-1); // no aborted transactions
            if context.version >= 11 {
                buffer.put_i32(-1); // no preferred replica
            }
            put_count(&mut buffer, batches.iter().map(Bytes::len).sum());
            for batch in batches {
                if batch.len() < COPIED_BYTES {
                    buffer.put_slice(&batch);
                } else {
                    pieces.push(buffer.split().freeze());
                    pieces.push(batch);
                }
            }
        }
    }
    pieces.push(buffer.freeze());
    Ok(Answer::Frame(pieces))
}

async fn load(
    context: &Context<'_>,
    topic: &str,
    index: i32,
    found: Found,
) -> (Watermarks, Vec<Bytes>, Option<ResponseError>) {
    let none = Watermarks { start: -1, high: -1 };
    match found {
        Err(error) => (none, Vec::new(), Some(error)),
        Ok((marks, batches)) => match batches.load().await {
            Ok(batches) => (marks, batches, None),
            Err(error) => {
                tracing::error!(topic, partition = index, client = context.client_id, %error, "cannot read the log");
                (none, Vec::new(), Some(ResponseError::KafkaStorageError))
            }
        },
    }
}

/// The answer up to its first topic.
fn head(context: &Context<'_>, error: Option<ResponseError>, topics: usize) -> BytesMut {
    let mut buffer = BytesMut::new();
    buffer.put_i32(context.correlation_id);
    buffer.put_i32(0); // throttle time
    if context.version >= 7 {
        buffer.put_i16(error.map_or(0, code));
        buffer.put_i32(0); // no session
    }
    put_count(&mut buffer, topics);
    buffer
}

/// Counts and sizes are bounded by the request and by [`MAX_ANSWER_BYTES`], far below the largest `i32`.
fn put_count(buffer: &mut BytesMut, count: usize) {
    buffer.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// Topic names came in a request, with a length of two bytes.
fn put_string(buffer: &mut BytesMut, string: &str) {
    buffer.put_i16(i16::try_from(string.len()).unwrap_or(i16::MAX));
    buffer.put_slice(string.as_bytes());
}
