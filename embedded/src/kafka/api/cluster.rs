//! The node itself: ApiVersions, FindCoordinator, DescribeCluster, InitProducerId, and what it refuses.

use std::io;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::describe_cluster_response::{DescribeClusterBroker, DescribeClusterResponse};
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, ApiKey, ApiVersionsRequest, BrokerId,
    ConsumerGroupHeartbeatResponse, DescribeClusterRequest, EndTxnResponse, FindCoordinatorRequest,
    InitProducerIdRequest, InitProducerIdResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, ProducerId, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Answer, Context, SUPPORTED, code, encode, text};
use crate::kafka::connection::invalid;
use crate::kafka::node::{CLUSTER_ID, NODE_ID};

/// Coordinators are asked for by kind: 0 is of groups, 1 of transactions.
const OF_GROUPS: i8 = 0;

pub(super) async fn api_versions(context: &Context<'_>, _request: ApiVersionsRequest) -> ApiVersionsResponse {
    let response = ApiVersionsResponse::default().with_api_keys(versions());
    response.with_error_code(context.injected.map_or(0, code))
}

/// The answer to a client that asked in a version we do not know.
pub(super) fn unsupported_version() -> ApiVersionsResponse {
    let error = code(ResponseError::UnsupportedVersion);
    ApiVersionsResponse::default().with_api_keys(versions()).with_error_code(error)
}

fn versions() -> Vec<ApiVersion> {
    let version = |(api, min, max): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(*api as i16).with_min_version(*min).with_max_version(*max)
    };
    SUPPORTED.iter().map(version).collect()
}

/// Answers a request that this broker did not offer: with the protocol's error where the answer has a place for it,
/// else, as Apache Kafka does, by closing the connection.
///
/// # Errors
/// The connection is to be closed.
pub(super) fn refuse(key: i16, version: i16, correlation_id: i32) -> io::Result<Answer> {
    let error = code(ResponseError::UnsupportedVersion);
    let answer = match ApiKey::try_from(key) {
        Ok(ApiKey::ConsumerGroupHeartbeat) => {
            encode(correlation_id, version, &ConsumerGroupHeartbeatResponse::default().with_error_code(error))
        }
        Ok(ApiKey::AddPartitionsToTxn) if version >= 4 => {
            encode(correlation_id, version, &AddPartitionsToTxnResponse::default().with_error_code(error))
        }
        Ok(ApiKey::AddOffsetsToTxn) => {
            encode(correlation_id, version, &AddOffsetsToTxnResponse::default().with_error_code(error))
        }
        Ok(ApiKey::EndTxn) => encode(correlation_id, version, &EndTxnResponse::default().with_error_code(error)),
        _ => Err(invalid(&format!("request {key} in version {version} is not supported by this broker"))),
    };
    Ok(Answer::Frame(vec![answer?]))
}

pub(super) async fn find_coordinator(
    context: &Context<'_>,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let refusal = match request.key_type {
        OF_GROUPS => context.injected.map(|error| (error, "")),
        _ => Some((ResponseError::TransactionalIdAuthorizationFailed, "this broker has no transactions")),
    };
    let (host, port) = context.advertised();
    let node = if refusal.is_some() { BrokerId(-1) } else { BrokerId(NODE_ID) };
    let error = refusal.map_or(0, |(error, _)| code(error));
    let reason = refusal.map(|(_, reason)| text(reason));
    if context.version < 4 {
        let response = FindCoordinatorResponse::default().with_error_code(error).with_node_id(node);
        let response = response.with_host(host).with_port(port);
        return if context.version >= 1 { response.with_error_message(reason) } else { response };
    }
    let coordinator = |key: StrBytes| {
        let of_key = Coordinator::default().with_key(key).with_node_id(node).with_host(host.clone()).with_port(port);
        of_key.with_error_code(error).with_error_message(reason.clone())
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

pub(super) async fn describe_cluster(
    context: &Context<'_>,
    _request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let (host, port) = context.advertised();
    let broker = DescribeClusterBroker::default().with_broker_id(BrokerId(NODE_ID)).with_host(host).with_port(port);
    DescribeClusterResponse::default()
        .with_error_code(context.injected.map_or(0, code))
        .with_cluster_id(StrBytes::from_static_str(CLUSTER_ID))
        .with_controller_id(BrokerId(NODE_ID))
        .with_brokers(vec![broker])
}

pub(super) async fn init_producer_id(context: &Context<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let allowed = match &request.transactional_id {
        Some(_) => Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => context.check_injected(),
    };
    let id = match allowed {
        Ok(()) => context.node.new_producer_id(&context.connection.sleeper).await,
        Err(error) => Err(error),
    };
    match id {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => {
            let response = InitProducerIdResponse::default().with_error_code(code(error));
            response.with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
        }
    }
}

/// Nothing is ever reassigned; Apache Kafka's `--describe` asks.
pub(super) async fn list_partition_reassignments(
    context: &Context<'_>,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_code(context.injected.map_or(0, code))
}

/// As a listener without authentication answers.
pub(super) async fn sasl_handshake(_context: &Context<'_>, _request: SaslHandshakeRequest) -> SaslHandshakeResponse {
    SaslHandshakeResponse::default().with_error_code(code(ResponseError::IllegalSaslState))
}
