//! The requests: which are taken, and the way from a frame to its answer. One file a family.

mod cluster;
mod configs;
mod fetch;
mod groups;
mod membership;
mod offsets;
mod produce;
mod records;
mod topics;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, RequestHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::connection::invalid;
use super::faults::Effect;
use super::node::Node;
use super::shape;
use super::waiters::Sleeper;

/// The requests that are taken, with the oldest and newest version of each. Versions that name topics by id stay out.
pub(super) const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 8),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::SaslHandshake, 0, 1),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 6),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::ListPartitionReassignments, 0, 0),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 1),
];

/// What a handler can know of the connection that a request came on.
#[derive(Debug)]
pub(super) struct Connection {
    pub node: Arc<Node>,
    pub sleeper: Sleeper,
    /// Our end of it.
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// A frame in pieces, without its length.
    Frame(Vec<Bytes>),
    /// None is wanted.
    Nothing,
    /// The connection is to be closed.
    Close,
}

/// One request beside its body.
#[derive(Debug)]
struct Context<'a> {
    connection: &'a Connection,
    node: &'a Node,
    version: i16,
    correlation_id: i32,
    client_id: String,
    /// The error that a test wants everything in this request to be answered with.
    injected: Option<ResponseError>,
}

impl Context<'_> {
    /// Stands first wherever an item of a request is handled.
    fn check_injected(&self) -> Result<(), ResponseError> {
        self.injected.map_or(Ok(()), Err)
    }

    fn advertised(&self) -> (StrBytes, i32) {
        let (host, port) = self.node.advertised(self.connection.local);
        (text(host), port)
    }
}

/// Carries out the request in `frame`.
///
/// # Errors
/// The frame is not a request that can be understood; its connection is to be closed.
pub(super) async fn answer(connection: &Connection, mut frame: Bytes) -> io::Result<Answer> {
    let mut start = frame.clone();
    let numbers = start.try_get_i16().and_then(|key| Ok((key, start.try_get_i16()?, start.try_get_i32()?)));
    let (key, version, correlation_id) = numbers.map_err(|_| invalid("the request is shorter than its header"))?;
    let supported = SUPPORTED.iter().find(|(api, ..)| *api as i16 == key);
    let Some((api, _, _)) = supported.filter(|(_, min, max)| (*min..=*max).contains(&version)) else {
        if key == ApiKey::ApiVersions as i16 {
            // A newer client learns from the oldest form of this answer what to ask for.
            return Ok(Answer::Frame(vec![encode(correlation_id, 0, &cluster::unsupported_version())?]));
        }
        return cluster::refuse(key, version, correlation_id);
    };
    let api = *api;
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|error| invalid(&format!("{api:?} header: {error}")))?;
    shape::check(api, version, &frame).map_err(|_| invalid(&format!("{api:?} {version}: a length is not true")))?;

    let mut context = Context {
        connection,
        node: &connection.node,
        version,
        correlation_id,
        client_id: header.client_id.map(|id| id.as_str().to_owned()).unwrap_or_default(),
        injected: None,
    };
    let effect = context.node.faults.take(api);
    match effect {
        Some(Effect::Drop) => return Ok(Answer::Close),
        Some(Effect::Delay(duration)) => tokio::time::sleep(duration).await,
        Some(Effect::Error(error)) => context.injected = Some(error),
        Some(Effect::DropAnswer) | None => {}
    }
    let answer = dispatch(api, &context, frame).await?;
    Ok(if effect == Some(Effect::DropAnswer) { Answer::Close } else { answer })
}

async fn dispatch(api: ApiKey, context: &Context<'_>, mut body: Bytes) -> io::Result<Answer> {
    macro_rules! answer {
        ($handler:path) => {{
            let response = $handler(context, decode(&mut body, api, context.version)?).await;
            Ok(Answer::Frame(vec![encode(context.correlation_id, context.version, &response)?]))
        }};
    }
    match api {
        ApiKey::Produce => produce::produce(context, decode(&mut body, api, context.version)?).await,
        ApiKey::Fetch => fetch::fetch(context, decode(&mut body, api, context.version)?).await,
        ApiKey::ListOffsets => answer!(records::list_offsets),
        ApiKey::OffsetForLeaderEpoch => answer!(records::offset_for_leader_epoch),
        ApiKey::DeleteRecords => answer!(records::delete_records),
        ApiKey::Metadata => answer!(topics::metadata),
        ApiKey::CreateTopics => answer!(topics::create_topics),
        ApiKey::DeleteTopics => answer!(topics::delete_topics),
        ApiKey::CreatePartitions => answer!(topics::create_partitions),
        ApiKey::DescribeConfigs => answer!(configs::describe_configs),
        ApiKey::AlterConfigs => answer!(configs::alter_configs),
        ApiKey::IncrementalAlterConfigs => answer!(configs::incremental_alter_configs),
        ApiKey::JoinGroup => answer!(membership::join_group),
        ApiKey::SyncGroup => answer!(membership::sync_group),
        ApiKey::Heartbeat => answer!(membership::heartbeat),
        ApiKey::LeaveGroup => answer!(membership::leave_group),
        ApiKey::OffsetCommit => answer!(offsets::offset_commit),
        ApiKey::OffsetFetch => answer!(offsets::offset_fetch),
        ApiKey::OffsetDelete => answer!(offsets::offset_delete),
        ApiKey::DescribeGroups => answer!(groups::describe_groups),
        ApiKey::ListGroups => answer!(groups::list_groups),
        ApiKey::DeleteGroups => answer!(groups::delete_groups),
        ApiKey::ApiVersions => answer!(cluster::api_versions),
        ApiKey::FindCoordinator => answer!(cluster::find_coordinator),
        ApiKey::DescribeCluster => answer!(cluster::describe_cluster),
        ApiKey::InitProducerId => answer!(cluster::init_producer_id),
        ApiKey::ListPartitionReassignments => answer!(cluster::list_partition_reassignments),
        ApiKey::SaslHandshake => answer!(cluster::sasl_handshake),
        _ => Ok(Answer::Close),
    }
}

fn decode<T: Decodable>(body: &mut Bytes, api: ApiKey, version: i16) -> io::Result<T> {
    T::decode(body, version).map_err(|error| invalid(&format!("{api:?} {version}: {error}")))
}

fn encode<T: Encodable + HeaderVersion>(correlation_id: i32, version: i16, response: &T) -> io::Result<Bytes> {
    let mut frame = BytesMut::new();
    frame.put_i32(correlation_id);
    if T::header_version(version) >= 1 {
        frame.put_u8(0); // no tagged fields
    }
    response.encode(&mut frame, version).map_err(|error| invalid(&format!("answer of version {version}: {error}")))?;
    Ok(frame.freeze())
}

fn code(error: ResponseError) -> i16 {
    error.code()
}

/// 0 where all went well.
fn code_of<T>(result: &Result<T, ResponseError>) -> i16 {
    result.as_ref().err().map_or(0, ResponseError::code)
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
