//! Groups as an administrator sees them: DescribeGroups, ListGroups, DeleteGroups.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Context, code, code_of, text};
use crate::kafka::group::{Group, Member, State};

pub(super) async fn describe_groups(context: &Context<'_>, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let describe = |id: GroupId| {
        let described = match context.check_injected() {
            Err(error) => DescribedGroup::default().with_error_code(code(error)),
            Ok(()) => match context.node.coordinator.with(&id, |group| described(context, group)) {
                Some(group) => group,
                None => DescribedGroup::default().with_group_state(StrBytes::from_static_str("Dead")),
            },
        };
        described.with_group_id(id)
    };
    DescribeGroupsResponse::default().with_groups(request.groups.into_iter().map(describe).collect())
}

fn described(context: &Context<'_>, group: &Group) -> DescribedGroup {
    let is_stable = group.state() == State::Stable;
    let protocol = if is_stable { group.protocol() } else { "" };
    let member = |member: &Member| {
        let described = DescribedGroupMember::default()
            .with_member_id(text(member.id.clone()))
            .with_client_id(text(member.client_id.clone()))
            .with_client_host(text(format!("/{}", member.client_host)));
        let described = if is_stable {
            described.with_member_metadata(member.metadata(protocol)).with_member_assignment(member.assignment.clone())
        } else {
            described
        };
        if context.version >= 4 {
            described.with_group_instance_id(member.instance_id.clone().map(text))
        } else {
            described
        }
    };
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(group.state().name()))
        .with_protocol_type(text(group.protocol_type()))
        .with_protocol_data(text(protocol))
        .with_members(group.members().map(member).collect())
}

pub(super) async fn list_groups(context: &Context<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    if let Some(error) = context.injected {
        return ListGroupsResponse::default().with_error_code(code(error));
    }
    let is_wanted = |wanted: &[StrBytes], word: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| wanted.as_str().eq_ignore_ascii_case(word))
    };
    let listed = |(id, group): (&String, &Group)| {
        let listed = ListedGroup::default()
            .with_group_id(GroupId(text(id.clone())))
            .with_protocol_type(text(group.protocol_type()));
        let state = StrBytes::from_static_str(group.state().name());
        let listed = if context.version >= 4 { listed.with_group_state(state) } else { listed };
        if context.version >= 5 { listed.with_group_type(StrBytes::from_static_str("classic")) } else { listed }
    };
    let groups = context.node.coordinator.all(|groups| {
        let of_state = groups.iter().filter(|(_, group)| is_wanted(&request.states_filter, group.state().name()));
        of_state.filter(|_| is_wanted(&request.types_filter, "classic")).map(listed).collect()
    });
    ListGroupsResponse::default().with_groups(groups)
}

pub(super) async fn delete_groups(context: &Context<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut response = DeleteGroupsResponse::default();
    for id in request.groups_names {
        let result = match context.check_injected() {
            Ok(()) => context.node.delete_group(&id, &context.connection.sleeper).await,
            Err(error) => Err(error),
        };
        response.results.push(DeletableGroupResult::default().with_error_code(code_of(&result)).with_group_id(id));
    }
    response
}
