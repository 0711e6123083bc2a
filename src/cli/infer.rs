//! `kafka-taos infer`: a first mapping, out of what a topic holds.

use std::path::PathBuf;

use clap::Args;
use kafka_taos::infer::{About, Inferred, infer};
use kafka_taos::tdengine::{Dsn, Transport};
use serde_json::json;

use super::sample::{Which, of_lines, of_topics};
use super::settings::{CommonArgs, KafkaArgs, Settings, TdengineArgs};
use super::{Context, Ended, Failure};

/// Look at messages of a topic, and print a configuration with a mapping for them, and the super tables it makes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kafka-taos infer --topic meters > meters.toml
  kafka-taos preview --config meters.toml
  kafka-taos consume --config meters.toml")]
pub(super) struct Infer {
    /// How many messages are looked at: half of them the first of each partition, half the last
    #[arg(long, default_value_t = 1000)]
    sample: usize,
    /// Read lines of this file in place of a topic, a message each; - is standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Infer {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let messages = match &self.input {
            Some(path) => of_lines(path, self.sample)?,
            None => of_topics(&settings, self.sample, Which::FirstAndLast).await?,
        };
        let Inferred { format, config, stables } = infer(&messages, &about(&settings)?)?;
        if context.json {
            let ddl: Vec<_> = stables.iter().map(|stable| stable.create_statement()).collect();
            context.print_json(&json!({"format": format.kind, "config": config, "ddl": ddl}))?;
        } else {
            print!("{config}");
        }
        Ok(Ended::Done)
    }
}

fn about(settings: &Settings) -> Result<About, Failure> {
    let topics = settings.topics.clone();
    let group = settings.group()?;
    let database = settings.tdengine.database.clone().unwrap_or_else(|| "test".to_owned());
    // A topic beside a pattern might be matched by it.
    let dead_letter = match topics.as_slice() {
        [topic] if !topic.starts_with('^') => format!("topic:{topic}.dead"),
        _ => "file:dead".to_owned(),
    };
    let url = url(&settings.tdengine, &database);
    Ok(About { brokers: settings.kafka.brokers.clone(), topics, group, url, database, dead_letter })
}

/// The URL without its password: that is nothing for a file.
fn url(dsn: &Dsn, database: &str) -> String {
    let scheme = match (dsn.transport, dsn.tls) {
        (Transport::WebSocket, false) => "ws",
        (Transport::WebSocket, true) => "wss",
        (Transport::Rest, false) => "http",
        (Transport::Rest, true) => "https",
    };
    let hosts: Vec<_> = dsn.hosts.iter().map(ToString::to_string).collect();
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let user = if dsn.user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        dsn.user.clone()
    } else {
        encoded(&dsn.user)
    };
    format!("{scheme}://{user}@{}/{database}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_has_all_but_the_password() {
        let shown = |text: &str| url(&text.parse().unwrap(), "db");
        assert_eq!(shown("ws://root:hunter2@a:6041,b:6042/db"), "ws://root@a:6041,b:6042/db");
        assert_eq!(shown("https://a%40b:hunter2@h/db"), "https://a%40b@h:6041/db");
    }
}
