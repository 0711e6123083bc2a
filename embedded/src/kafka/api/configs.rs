//! Settings of topics and of the broker: DescribeConfigs, AlterConfigs, IncrementalAlterConfigs.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_request::AlterConfigsRequest;
use kafka_protocol::messages::alter_configs_response::{
    AlterConfigsResourceResponse as AlterResponse, AlterConfigsResponse,
};
use kafka_protocol::messages::describe_configs_request::{DescribeConfigsRequest, DescribeConfigsResource};
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_request::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_response::{
    AlterConfigsResourceResponse as IncrementalResponse, IncrementalAlterConfigsResponse,
};

use super::{Context, code, text};
use crate::kafka::node::{NODE_ID, Node};
use crate::kafka::topics::{Refusal, TopicConfig};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a setting's value comes from.
pub(super) const SOURCE_TOPIC: i8 = 1;
pub(super) const SOURCE_DEFAULT: i8 = 5;
const SOURCE_STATIC: i8 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    /// A whole number from this one on.
    Number(i64),
    /// One of these, by comma where several may be.
    Words(&'static [&'static str]),
}

/// What a topic can be told, with the default. Only `max.message.bytes` has an effect: nothing is ever trimmed, compacted or
/// compressed anew here. Settings whose effect a client could miss take their default alone.
const TOPIC_SETTINGS: &[(&str, Kind, &str)] = &[
    ("cleanup.policy", Kind::Words(&["delete", "compact"]), "delete"),
    ("compression.type", Kind::Words(&["producer"]), "producer"),
    ("delete.retention.ms", Kind::Number(0), "86400000"),
    ("file.delete.delay.ms", Kind::Number(0), "60000"),
    ("flush.messages", Kind::Number(1), "9223372036854775807"),
    ("flush.ms", Kind::Number(0), "9223372036854775807"),
    ("index.interval.bytes", Kind::Number(0), "4096"),
    ("max.compaction.lag.ms", Kind::Number(1), "9223372036854775807"),
    ("max.message.bytes", Kind::Number(0), "1048588"),
    ("message.timestamp.after.max.ms", Kind::Number(0), "9223372036854775807"),
    ("message.timestamp.before.max.ms", Kind::Number(0), "9223372036854775807"),
    ("message.timestamp.type", Kind::Words(&["CreateTime"]), "CreateTime"),
    ("min.cleanable.dirty.ratio", Kind::Words(&["0", "0.5", "1"]), "0.5"),
    ("min.compaction.lag.ms", Kind::Number(0), "0"),
    ("min.insync.replicas", Kind::Number(1), "1"),
    ("preallocate", Kind::Bool, "false"),
    ("retention.bytes", Kind::Number(-1), "-1"),
    ("retention.ms", Kind::Number(-1), "-1"),
    ("segment.bytes", Kind::Number(14), "1073741824"),
    ("segment.index.bytes", Kind::Number(4), "10485760"),
    ("segment.jitter.ms", Kind::Number(0), "0"),
    ("segment.ms", Kind::Number(1), "604800000"),
    ("unclean.leader.election.enable", Kind::Bool, "false"),
];

/// Sets one setting of a topic, or takes it back to its default (`None`).
///
/// # Errors
/// `InvalidConfig` with what can be set.
pub(super) fn set(config: &mut TopicConfig, name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let refuse = |reason: String| Err((ResponseError::InvalidConfig, reason));
    let Some((_, kind, _)) = TOPIC_SETTINGS.iter().find(|(known, ..)| *known == name) else {
        return refuse(format!("topics have no setting '{name}'"));
    };
    let Some(value) = value else {
        config.remove(name);
        return Ok(());
    };
    let is_valid = match kind {
        Kind::Bool => matches!(value, "true" | "false"),
        Kind::Number(min) => value.parse().is_ok_and(|number: i64| number >= *min),
        Kind::Words(words) => value.split(',').all(|word| words.contains(&word.trim())),
    };
    if !is_valid {
        let wanted = match kind {
            Kind::Bool => "true or false".to_owned(),
            Kind::Number(min) => format!("a whole number from {min} on"),
            Kind::Words(words) => format!("of {}", words.join(", ")),
        };
        return refuse(format!("'{name}' cannot be '{value}' here; it must be {wanted}"));
    }
    config.insert(name.to_owned(), value.to_owned());
    Ok(())
}

/// All settings of a topic: name, value, and whether the topic sets it itself.
pub(super) fn of_topic(node: &Node, config: &TopicConfig) -> Vec<(&'static str, String, bool)> {
    let value = |(name, _, default): &(&'static str, Kind, &str)| match config.get(*name) {
        Some(value) => (*name, value.clone(), true),
        None if *name == "max.message.bytes" => (*name, node.config.max_message_bytes.to_string(), false),
        None => (*name, (*default).to_owned(), false),
    };
    TOPIC_SETTINGS.iter().map(value).collect()
}

fn of_broker(node: &Node) -> Vec<(&'static str, String, bool)> {
    let config = &node.config;
    let values = [
        ("auto.create.topics.enable", config.auto_create_topics.to_string()),
        ("broker.id", NODE_ID.to_string()),
        ("connections.max.idle.ms", config.max_idle.as_millis().to_string()),
        ("default.replication.factor", "1".to_owned()),
        ("delete.topic.enable", "true".to_owned()),
        ("group.max.session.timeout.ms", config.max_session_timeout.as_millis().to_string()),
        ("group.max.size", config.max_group_members.to_string()),
        ("group.min.session.timeout.ms", config.min_session_timeout.as_millis().to_string()),
        ("max.connections", config.max_connections.to_string()),
        ("message.max.bytes", config.max_message_bytes.to_string()),
        ("num.partitions", config.default_partitions.to_string()),
        ("socket.request.max.bytes", config.max_request_bytes.to_string()),
    ];
    values.into_iter().map(|(name, value)| (name, value, true)).collect()
}

pub(super) async fn describe_configs(
    context: &Context<'_>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let mut response = DescribeConfigsResponse::default();
    for asked in request.resources {
        let answer = match describe(context, &asked) {
            Ok(configs) => DescribeConfigsResult::default().with_configs(configs),
            Err((error, reason)) => {
                DescribeConfigsResult::default().with_error_code(code(error)).with_error_message(Some(text(reason)))
            }
        };
        response.results.push(answer.with_resource_type(asked.resource_type).with_resource_name(asked.resource_name));
    }
    response
}

fn describe(
    context: &Context<'_>,
    asked: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    context.check_injected().map_err(|error| (error, String::new()))?;
    let (settings, source) = match asked.resource_type {
        TOPIC => (of_topic(context.node, &topic_config(context.node, &asked.resource_name)?), SOURCE_TOPIC),
        BROKER => (of_broker(context.node), SOURCE_STATIC),
        other => return Err(not_kept(other)),
    };
    let is_wanted = |name: &str| {
        let keys = asked.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
        keys.is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
    };
    let result = |(name, value, is_set): (&str, String, bool)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_config_source(if is_set { source } else { SOURCE_DEFAULT })
            .with_read_only(source == SOURCE_STATIC)
    };
    Ok(settings.into_iter().filter(|(name, ..)| is_wanted(name)).map(result).collect())
}

pub(super) async fn alter_configs(context: &Context<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut response = AlterConfigsResponse::default();
    for asked in request.resources {
        // This form replaces all settings by those given.
        let changes = asked.configs.iter().map(|entry| (entry.name.as_str(), entry.value.as_deref()));
        let result = alter(context, asked.resource_type, &asked.resource_name, request.validate_only, |config| {
            config.clear();
            changes.clone().try_for_each(|(name, value)| set(config, name, value))
        });
        let answer = match result.await {
            Ok(()) => AlterResponse::default(),
            Err((error, reason)) => {
                AlterResponse::default().with_error_code(code(error)).with_error_message(Some(text(reason)))
            }
        };
        response.responses.push(answer.with_resource_type(asked.resource_type).with_resource_name(asked.resource_name));
    }
    response
}

pub(super) async fn incremental_alter_configs(
    context: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut response = IncrementalAlterConfigsResponse::default();
    for asked in request.resources {
        let result = alter(context, asked.resource_type, &asked.resource_name, request.validate_only, |config| {
            asked.configs.iter().try_for_each(|entry| match entry.config_operation {
                0 => set(config, &entry.name, entry.value.as_deref()),
                1 => set(config, &entry.name, None),
                operation => {
                    let reason =
                        format!("'{}': operation {operation}; only set (0) and delete (1) are taken", entry.name);
                    Err((ResponseError::InvalidConfig, reason))
                }
            })
        });
        let answer = match result.await {
            Ok(()) => IncrementalResponse::default(),
            Err((error, reason)) => {
                IncrementalResponse::default().with_error_code(code(error)).with_error_message(Some(text(reason)))
            }
        };
        response.responses.push(answer.with_resource_type(asked.resource_type).with_resource_name(asked.resource_name));
    }
    response
}

async fn alter(
    context: &Context<'_>,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&mut TopicConfig) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    context.check_injected().map_err(|error| (error, String::new()))?;
    if resource_type != TOPIC {
        return Err(not_kept(resource_type));
    }
    let mut config = topic_config(context.node, name)?;
    change(&mut config)?;
    if validate_only {
        return Ok(());
    }
    context.node.set_topic_config(name, config, &context.connection.sleeper).await
}

fn topic_config(node: &Node, name: &str) -> Result<TopicConfig, Refusal> {
    let unknown = |error| (error, format!("there is no topic '{name}'"));
    Ok(node.topic(name).map_err(unknown)?.config())
}

fn not_kept(resource_type: i8) -> Refusal {
    let reason =
        format!("this broker keeps no changeable settings for resources of type {resource_type}, only for topics");
    (ResponseError::InvalidRequest, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_settings_themselves() {
        for (name, _, default) in TOPIC_SETTINGS {
            let mut config = TopicConfig::new();
            set(&mut config, name, Some(default)).unwrap();
            assert_eq!(config.get(*name).map(String::as_str), Some(*default));
            set(&mut config, name, None).unwrap();
            assert!(config.is_empty());
        }
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        let mut config = TopicConfig::new();
        for (name, value) in [
            ("no.such.setting", "1"),
            ("max.message.bytes", "many"),
            ("retention.ms", "-2"),
            ("compression.type", "gzip"),
            ("message.timestamp.type", "LogAppendTime"),
            ("cleanup.policy", "compact,shred"),
        ] {
            assert_eq!(set(&mut config, name, Some(value)).unwrap_err().0, ResponseError::InvalidConfig, "{name}");
        }
        assert!(config.is_empty());
    }
}
