//! Every supported request, whole, cut and damaged.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::prelude::*;

use super::*;
use crate::kafka::api::SUPPORTED;

fn encode(version: i16, request: impl Encodable) -> Bytes {
    let mut out = BytesMut::new();
    request.encode(&mut out, version).unwrap();
    out.freeze()
}

/// A request of each kind with two elements in each array.
#[allow(clippy::too_many_lines)]
fn request(api: ApiKey, version: i16) -> Bytes {
    let text = || StrBytes::from_static_str("some");
    let name = || TopicName(text());
    let group = || GroupId(text());
    let since = |first: i16| if version >= first { 2 } else { 0 };
    let data = || Bytes::from_static(b"data");
    match api {
        ApiKey::ApiVersions => encode(
            version,
            ApiVersionsRequest::default().with_client_software_name(if version >= 3 {
                text()
            } else {
                StrBytes::default()
            }),
        ),
        ApiKey::Metadata => encode(
            version,
            MetadataRequest::default()
                .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name())); 2])),
        ),
        ApiKey::Produce => {
            let partition = PartitionProduceData::default().with_records(Some(data()));
            let topic = TopicProduceData::default().with_name(name()).with_partition_data(vec![partition; 2]);
            encode(version, ProduceRequest::default().with_topic_data(vec![topic; 2]))
        }
        ApiKey::Fetch => {
            let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![FetchPartition::default(); 2]);
            let forgotten = ForgottenTopic::default().with_topic(name()).with_partitions(vec![7; 2]);
            encode(
                version,
                FetchRequest::default()
                    .with_topics(vec![topic; 2])
                    .with_forgotten_topics_data(vec![forgotten; since(7)]),
            )
        }
        ApiKey::ListOffsets => {
            let partitions = vec![ListOffsetsPartition::default(); 2];
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(partitions);
            encode(version, ListOffsetsRequest::default().with_topics(vec![topic; 2]))
        }
        ApiKey::OffsetForLeaderEpoch => {
            let partitions = vec![OffsetForLeaderPartition::default(); 2];
            let topic = OffsetForLeaderTopic::default().with_topic(name()).with_partitions(partitions);
            encode(version, OffsetForLeaderEpochRequest::default().with_topics(vec![topic; 2]))
        }
        ApiKey::FindCoordinator => encode(
            version,
            FindCoordinatorRequest::default()
                .with_key(if version < 4 { text() } else { StrBytes::default() })
                .with_coordinator_keys(vec![text(); since(4)]),
        ),
        ApiKey::JoinGroup => {
            let protocol = JoinGroupRequestProtocol::default().with_name(text()).with_metadata(data());
            encode(
                version,
                JoinGroupRequest::default()
                    .with_group_id(group())
                    .with_protocols(vec![protocol; 2])
                    .with_group_instance_id((version >= 5).then(text)),
            )
        }
        ApiKey::SyncGroup => {
            let assignment = SyncGroupRequestAssignment::default().with_member_id(text()).with_assignment(data());
            encode(version, SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![assignment; 2]))
        }
        ApiKey::Heartbeat => encode(version, HeartbeatRequest::default().with_group_id(group())),
        ApiKey::LeaveGroup => encode(
            version,
            LeaveGroupRequest::default().with_group_id(group()).with_members(vec![
                MemberIdentity::default()
                    .with_member_id(text());
                since(3)
            ]),
        ),
        ApiKey::OffsetCommit => {
            let partitions = vec![OffsetCommitRequestPartition::default(); 2];
            let topic = OffsetCommitRequestTopic::default().with_name(name()).with_partitions(partitions);
            encode(version, OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic; 2]))
        }
        ApiKey::OffsetFetch => {
            let topic = OffsetFetchRequestTopic::default().with_name(name()).with_partition_indexes(vec![7; 2]);
            let topics = OffsetFetchRequestTopics::default().with_name(name()).with_partition_indexes(vec![7; 2]);
            let of_group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topics; 2]));
            encode(
                version,
                OffsetFetchRequest::default()
                    .with_topics(Some(vec![topic; 2 - since(8)]))
                    .with_groups(vec![of_group; since(8)]),
            )
        }
        ApiKey::OffsetDelete => {
            let partitions = vec![OffsetDeleteRequestPartition::default(); 2];
            let topic = OffsetDeleteRequestTopic::default().with_name(name()).with_partitions(partitions);
            encode(version, OffsetDeleteRequest::default().with_group_id(group()).with_topics(vec![topic; 2]))
        }
        ApiKey::InitProducerId => encode(version, InitProducerIdRequest::default()),
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default()
                .with_name(name())
                .with_assignments(vec![CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1); 2]); 2])
                .with_configs(vec![CreatableTopicConfig::default().with_name(text()).with_value(Some(text())); 2]);
            encode(version, CreateTopicsRequest::default().with_topics(vec![topic; 2]))
        }
        ApiKey::DeleteTopics => encode(version, DeleteTopicsRequest::default().with_topic_names(vec![name(); 2])),
        ApiKey::CreatePartitions => {
            let assignment = CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1); 2]);
            let topic = CreatePartitionsTopic::default().with_name(name()).with_assignments(Some(vec![assignment; 2]));
            encode(version, CreatePartitionsRequest::default().with_topics(vec![topic; 2]))
        }
        ApiKey::DeleteRecords => {
            let partitions = vec![DeleteRecordsPartition::default(); 2];
            let topic = DeleteRecordsTopic::default().with_name(name()).with_partitions(partitions);
            encode(version, DeleteRecordsRequest::default().with_topics(vec![topic; 2]))
        }
        ApiKey::DescribeConfigs => {
            let resource = DescribeConfigsResource::default().with_configuration_keys(Some(vec![text(); 2]));
            encode(version, DescribeConfigsRequest::default().with_resources(vec![resource; 2]))
        }
        ApiKey::AlterConfigs => {
            let config = AlterableConfig::default().with_name(text()).with_value(Some(text()));
            let resource = AlterConfigsResource::default().with_configs(vec![config; 2]);
            encode(version, AlterConfigsRequest::default().with_resources(vec![resource; 2]))
        }
        ApiKey::IncrementalAlterConfigs => {
            use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
            let config = AlterableConfig::default().with_name(text()).with_value(Some(text()));
            let resource = AlterConfigsResource::default().with_configs(vec![config; 2]);
            encode(version, IncrementalAlterConfigsRequest::default().with_resources(vec![resource; 2]))
        }
        ApiKey::DescribeGroups => encode(version, DescribeGroupsRequest::default().with_groups(vec![group(); 2])),
        ApiKey::ListGroups => encode(
            version,
            ListGroupsRequest::default()
                .with_states_filter(vec![text(); since(4)])
                .with_types_filter(vec![text(); since(5)]),
        ),
        ApiKey::DeleteGroups => encode(version, DeleteGroupsRequest::default().with_groups_names(vec![group(); 2])),
        ApiKey::DescribeCluster => encode(version, DescribeClusterRequest::default()),
        ApiKey::ListPartitionReassignments => {
            let topic =
                ListPartitionReassignmentsTopics::default().with_name(name()).with_partition_indexes(vec![7; 2]);
            encode(version, ListPartitionReassignmentsRequest::default().with_topics(Some(vec![topic; 2])))
        }
        ApiKey::SaslHandshake => encode(version, SaslHandshakeRequest::default().with_mechanism(text())),
        other => panic!("no sample of {other:?}"),
    }
}

fn every_request() -> impl Iterator<Item = (ApiKey, i16, Bytes)> {
    let versions = |&(api, min, max): &(ApiKey, i16, i16)| (min..=max).map(move |version| (api, version));
    SUPPORTED.iter().flat_map(versions).map(|(api, version)| (api, version, request(api, version)))
}

#[test]
fn every_supported_request_is_walked_to_its_end_and_no_further() {
    for (api, version, body) in every_request() {
        assert_eq!(check(api, version, &body), Ok(()), "{api:?} {version}");
        for cut in 0..body.len() {
            assert_eq!(check(api, version, &body[..cut]), Err(Untrue), "{api:?} {version} cut to {cut} bytes");
        }
    }
}

#[test]
fn a_claim_of_many_elements_is_refused() {
    let body = [&[0xff, 0xff, 0, 1, 0, 0, 0, 0][..], &i32::MAX.to_be_bytes()].concat();
    assert_eq!(check(ApiKey::Produce, 3, &body), Err(Untrue));
    let compact = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0];
    assert_eq!(check(ApiKey::Metadata, 9, &compact), Err(Untrue));
    assert_eq!(check(ApiKey::DescribeGroups, 0, &(-2_i32).to_be_bytes()), Err(Untrue));
}

proptest! {
    /// What the check lets through can be given to the decoder: it may fail, but does not reserve more than there is.
    #[test]
    fn damaged_requests_do_no_harm(
        sample in 0..every_request().count(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        use kafka_protocol::protocol::Decodable;
        let (api, version, body) = every_request().nth(sample).unwrap();
        let mut body = body.to_vec();
        for (at, byte) in damage.into_iter().filter(|_| !body.is_empty()).collect::<Vec<_>>() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if check(api, version, &body).is_ok() {
            let mut body = Bytes::from(body);
            match api {
                ApiKey::Produce => drop(ProduceRequest::decode(&mut body, version)),
                ApiKey::Fetch => drop(FetchRequest::decode(&mut body, version)),
                ApiKey::Metadata => drop(MetadataRequest::decode(&mut body, version)),
                ApiKey::CreateTopics => drop(CreateTopicsRequest::decode(&mut body, version)),
                ApiKey::OffsetFetch => drop(OffsetFetchRequest::decode(&mut body, version)),
                ApiKey::JoinGroup => drop(JoinGroupRequest::decode(&mut body, version)),
                _ => {}
            }
        }
    }
}
