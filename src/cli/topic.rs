//! `kafka-taos topic`: topics, as Kafka's own tool has them.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use kafka_taos::mq::MqError;
use kafka_taos::mq::kafka::Admin;
use serde::Serialize;
use serde_json::json;

use super::settings::{CommonArgs, KafkaArgs, key_value};
use super::{Context, Ended, Failure};

/// Make, list, describe, change and delete topics
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Topic {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Make a topic
    Create {
        /// How many partitions
        #[arg(long, default_value_t = 1)]
        partitions: i32,
        /// On how many brokers each partition is kept
        #[arg(long, default_value_t = 1)]
        replication_factor: i32,
        /// A setting of the topic; repeat it for several
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        topic_config: Vec<(String, String)>,
        /// Leave a topic of that name as it is, and count that as done
        #[arg(long)]
        if_not_exists: bool,
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// List all topics
    List {
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Show the partitions and settings of a topic
    Describe {
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Give a topic more partitions, or other settings
    Alter {
        /// How many partitions in all
        #[arg(long)]
        partitions: Option<usize>,
        /// A setting of the topic; repeat it for several
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
        topic_config: Vec<(String, String)>,
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Delete a topic with all it holds
    Delete {
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
}

#[derive(Serialize)]
struct Listed {
    topic: String,
    partitions: usize,
}

impl Topic {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let timeout = settings.timeout;
        let admin = Admin::new(&settings.kafka)?;
        match self.action {
            Action::Create { partitions, replication_factor, topic_config, if_not_exists, .. } => {
                let topic = settings.one_topic()?;
                if if_not_exists {
                    match admin.partitions(topic, timeout) {
                        Err(MqError::UnknownTopic { .. }) => {}
                        there => {
                            let partitions = there?;
                            let text = format!("topic {topic} is there already, with {partitions} partitions");
                            done(context, &text, json!({"created": null, "partitions": partitions}))?;
                            return Ok(Ended::Done);
                        }
                    }
                }
                admin.create(topic, partitions, replication_factor, &topic_config, timeout).await?;
                done(
                    context,
                    &format!("created topic {topic} with {partitions} partitions"),
                    json!({"created": topic, "partitions": partitions}),
                )?;
            }
            Action::List { .. } => {
                let topics = admin.topics(timeout)?;
                if !context.json {
                    topics.iter().for_each(|(topic, _)| println!("{topic}"));
                }
                let listed: Vec<_> =
                    topics.into_iter().map(|(topic, partitions)| Listed { topic, partitions }).collect();
                context.print_json(&listed)?;
            }
            Action::Describe { .. } => {
                let mut described = Vec::new();
                for topic in &settings.topics {
                    described.push(admin.describe(topic, timeout).await?);
                }
                if !context.json {
                    described.iter().for_each(print);
                }
                context.print_json(&described)?;
            }
            Action::Alter { partitions, topic_config, .. } => {
                let topic = settings.one_topic()?;
                if partitions.is_none() && topic_config.is_empty() {
                    return Err(Failure::usage("nothing to alter: give --partitions N or --topic-config KEY=VALUE"));
                }
                if let Some(partitions) = partitions {
                    admin.grow(topic, partitions, timeout).await?;
                }
                if !topic_config.is_empty() {
                    admin.configure(topic, &topic_config, timeout).await?;
                }
                done(context, &format!("altered topic {topic}"), json!({"altered": topic}))?;
            }
            Action::Delete { .. } => {
                let topic = settings.one_topic()?;
                admin.delete(topic, timeout).await?;
                done(context, &format!("deleted topic {topic}"), json!({"deleted": topic}))?;
            }
        }
        Ok(Ended::Done)
    }
}

fn done(context: &Context<'_>, text: &str, result: serde_json::Value) -> Result<(), Failure> {
    if !context.json {
        println!("{text}");
    }
    context.print_json(&result)
}

fn print(info: &kafka_taos::mq::kafka::TopicInfo) {
    let config: Vec<_> = info.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
    println!(
        "topic {}, {} partitions, settings: {}",
        info.topic,
        info.partitions.len(),
        if config.is_empty() { "defaults".into() } else { config.join(" ") }
    );
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["partition", "leader", "replicas", "in sync", "first", "end"]);
    let brokers = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    for partition in &info.partitions {
        table.add_row([
            partition.partition.to_string(),
            partition.leader.to_string(),
            brokers(&partition.replicas),
            brokers(&partition.in_sync),
            partition.first.to_string(),
            partition.end.to_string(),
        ]);
    }
    println!("{table}");
}
