//! What the members of a group do: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{Context, code, code_of, text};
use crate::kafka::coordinator::fresh_member_id;
use crate::kafka::group::{Group, Identity, Join, JoinAnswer, JoinRefusal, Joined, Sync};

pub(super) async fn join_group(context: &Context<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    match join(context, request).await {
        Ok(joined) => joined_response(context, joined),
        Err(JoinRefusal { error, member_id }) => JoinGroupResponse::default()
            .with_error_code(code(error))
            .with_generation_id(-1)
            .with_member_id(text(member_id))
            .with_protocol_name((context.version < 7).then(StrBytes::default)),
    }
}

async fn join(context: &Context<'_>, request: JoinGroupRequest) -> JoinAnswer {
    let refuse = |error| Err(JoinRefusal { error, member_id: request.member_id.as_str().to_owned() });
    if let Err(error) = context.check_injected() {
        return refuse(error);
    }
    if request.group_id.is_empty() {
        return refuse(ResponseError::InvalidGroupId);
    }
    let config = &context.node.config;
    let session_timeout = milliseconds(request.session_timeout_ms);
    if !(config.min_session_timeout..=config.max_session_timeout).contains(&session_timeout) {
        return refuse(ResponseError::InvalidSessionTimeout);
    }
    // Version 0 had one timeout for both.
    let rebalance_timeout =
        if context.version == 0 { session_timeout } else { milliseconds(request.rebalance_timeout_ms) };
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes); // or the whole frame would live on with it
    let join = Join {
        member_id: request.member_id.as_str().to_owned(),
        fresh_member_id: fresh_member_id(request.group_instance_id.as_deref().unwrap_or(&context.client_id)),
        instance_id: request.group_instance_id.as_deref().map(str::to_owned),
        client_id: context.client_id.clone(),
        client_host: context.connection.peer.ip().to_string(),
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type.as_str().to_owned(),
        protocols: request.protocols.iter().map(|p| (p.name.as_str().to_owned(), copy(&p.metadata))).collect(),
        id_required_first: context.version >= 4,
        may_skip_assignment: context.version >= 9,
        max_members: config.max_group_members,
    };
    let group_id = request.group_id.as_str();
    let is_new = join.member_id.is_empty();
    let work = |group: &mut Group| group.join(join, Instant::now());
    let answer = if is_new {
        context.node.coordinator.with_or_new(group_id, work)
    } else {
        context.node.coordinator.with(group_id, work).ok_or(ResponseError::UnknownMemberId)
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return refuse(error),
    };
    // The member was replaced by a later request of its own.
    answer.await.unwrap_or_else(|_| refuse(ResponseError::UnknownMemberId))
}

fn joined_response(context: &Context<'_>, joined: Joined) -> JoinGroupResponse {
    let member = |(id, instance, metadata): (String, Option<String>, Bytes)| {
        let member = JoinGroupResponseMember::default().with_member_id(text(id)).with_metadata(metadata);
        if context.version >= 5 { member.with_group_instance_id(instance.map(text)) } else { member }
    };
    let response = JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_name(Some(text(joined.protocol)))
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id))
        .with_skip_assignment(joined.skip_assignment)
        .with_members(joined.members.into_iter().map(member).collect());
    if context.version >= 7 { response.with_protocol_type(Some(text(joined.protocol_type))) } else { response }
}

pub(super) async fn sync_group(context: &Context<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    let result = sync(context, &request).await;
    let response = SyncGroupResponse::default().with_error_code(code_of(&result));
    let response = response.with_assignment(result.unwrap_or_default());
    if context.version < 5 {
        return response;
    }
    response.with_protocol_type(request.protocol_type).with_protocol_name(request.protocol_name)
}

async fn sync(context: &Context<'_>, request: &SyncGroupRequest) -> Result<Bytes, ResponseError> {
    context.check_injected()?;
    let assignments = &request.assignments;
    let copied = assignments.iter().map(|a| (a.member_id.as_str().to_owned(), Bytes::copy_from_slice(&a.assignment)));
    let sync = Sync {
        who: Identity {
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type.as_deref(),
        protocol: request.protocol_name.as_deref(),
        assignments: copied.collect(),
    };
    let answer = context.node.coordinator.with(&request.group_id, |group| group.sync(sync, Instant::now()));
    match answer {
        None => Err(ResponseError::UnknownMemberId),
        Some(answer) => answer.await.unwrap_or(Err(ResponseError::RebalanceInProgress)),
    }
}

pub(super) async fn heartbeat(context: &Context<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let who = Identity {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id,
    };
    let beat = || context.node.coordinator.with(&request.group_id, |group| group.heartbeat(who, Instant::now()));
    let result = context.check_injected().and_then(|()| beat().unwrap_or(Err(ResponseError::UnknownMemberId)));
    HeartbeatResponse::default().with_error_code(code_of(&result))
}

pub(super) async fn leave_group(context: &Context<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let leave = |member_id: &str, instance_id: Option<&str>| {
        context.check_injected()?;
        let left = context
            .node
            .coordinator
            .with(&request.group_id, |group| group.leave(member_id, instance_id, Instant::now()));
        left.unwrap_or(Err(ResponseError::UnknownMemberId))
    };
    if context.version < 3 {
        return LeaveGroupResponse::default().with_error_code(code_of(&leave(&request.member_id, None)));
    }
    let member = |member: &kafka_protocol::messages::leave_group_request::MemberIdentity| {
        let result = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code_of(&result))
    };
    LeaveGroupResponse::default().with_members(request.members.iter().map(member).collect())
}

fn milliseconds(milliseconds: i32) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
