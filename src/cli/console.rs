//! `kafka-taos console`: lines to a topic, a topic's messages to lines.

use std::io::{BufRead as _, Write as _};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Args, Subcommand};
use kafka_taos::message::Outgoing;
use kafka_taos::mq::kafka::{Admin, KafkaQueue, KafkaSettings, Producer, StartOffset};
use kafka_taos::mq::{Event, MessageQueue as _, MqError, Subscription as _};
use serde_json::json;

use super::settings::{CommonArgs, KafkaArgs, Settings};
use super::signals::Signals;
use super::{Context, Ended, Failure};

/// Write lines to a topic, or a topic's messages to standard output
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Console {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// Each line of standard input becomes a message
    Produce {
        /// What stands between key and payload in a line; without it there is no key
        #[arg(long)]
        key_separator: Option<String>,
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Each message becomes a line of standard output
    Consume {
        /// From the first message that is still there; otherwise only what comes from now on
        #[arg(long)]
        from_beginning: bool,
        /// Stop after so many messages
        #[arg(long)]
        max: Option<u64>,
        /// Print the key before the payload, with this between them
        #[arg(long)]
        key_separator: Option<String>,
        #[command(flatten)]
        kafka: KafkaArgs,
        #[command(flatten)]
        common: CommonArgs,
    },
}

impl Console {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        match self.action {
            Action::Produce { key_separator, .. } => produce(context, &settings, key_separator).await,
            Action::Consume { from_beginning, max, key_separator, .. } => {
                consume(&settings, from_beginning, max, key_separator).await
            }
        }
    }
}

async fn produce(context: &Context<'_>, settings: &Settings, separator: Option<String>) -> Result<Ended, Failure> {
    let topic = settings.one_topic()?.to_owned();
    Admin::new(&settings.kafka)?.partitions(&topic, settings.timeout)?;
    let producer = Producer::new(&settings.kafka)?;
    let signals = Signals::watch()?;
    let sending = producer.clone();
    let reading = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            send(&sending, &topic, outgoing(line?, separator.as_deref()))?;
        }
        Ok::<(), Failure>(())
    });
    tokio::select! {
        read = reading => read.map_err(|error| Failure::failed(error.to_string()))??,
        () = signals.first() => {}
    }
    producer.flush(settings.timeout).await?;
    let delivered = producer.delivered();
    context.print_json(&json!({"produced": delivered.total(), "failed": delivered.failed}))?;
    match (delivered.last_error, signals.exit_code()) {
        (Some(error), _) => Err(Failure::failed(format!("{} messages were not delivered: {error}", delivered.failed))),
        (None, Some(code)) => Ok(Ended::Signal(code)),
        (None, None) => Ok(Ended::Done),
    }
}

fn outgoing(mut line: Vec<u8>, separator: Option<&str>) -> Outgoing {
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    let line = Bytes::from(line);
    let found = separator.filter(|separator| !separator.is_empty()).and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator.as_bytes())?;
        Some((line.slice(..at), line.slice(at + separator.len()..)))
    });
    match found {
        Some((key, payload)) => Outgoing { key: Some(key), payload: Some(payload), ..Outgoing::default() },
        None => Outgoing { payload: Some(line), ..Outgoing::default() },
    }
}

/// Hands a message over, waiting for room as long as others are being delivered.
fn send(producer: &Producer, topic: &str, mut message: Outgoing) -> Result<(), Failure> {
    loop {
        match producer.enqueue(topic, message) {
            Ok(()) => return Ok(()),
            Err(MqError::Full(refused)) => {
                message = *refused;
                producer.room_blocking(Duration::from_millis(100));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn consume(
    settings: &Settings,
    from_beginning: bool,
    max: Option<u64>,
    separator: Option<String>,
) -> Result<Ended, Failure> {
    let admin = Admin::new(&settings.kafka)?;
    for topic in settings.topics.iter().filter(|topic| !topic.starts_with('^')) {
        admin.partitions(topic, settings.timeout)?;
    }
    drop(admin);
    let start = if from_beginning { StartOffset::Earliest } else { settings_start(settings) };
    let queue = KafkaQueue::new(KafkaSettings { start, ..settings.kafka.clone() })?;
    // Without a group everything of the topics is for us; with one, our share of them.
    let mut subscription = match &settings.group {
        Some(group) => queue.queue_subscribe(&settings.topics, group)?,
        None => queue.subscribe(&settings.topics)?,
    };
    let signals = Signals::watch()?;
    let mut stopped = std::pin::pin!(signals.first());
    let (mut printed, mut quiet_since) = (0, Instant::now());
    while max.is_none_or(|max| printed < max) {
        let event = tokio::select! {
            () = &mut stopped => return Ok(Ended::Signal(signals.exit_code().unwrap_or(130))),
            event = subscription.next() => event,
        };
        match event {
            Some(Event::Messages(messages)) => {
                let mut out = std::io::stdout().lock();
                for message in messages {
                    if max.is_some_and(|max| printed >= max) {
                        break;
                    }
                    if let Some(separator) = &separator {
                        out.write_all(message.key.as_deref().unwrap_or_default())?;
                        out.write_all(separator.as_bytes())?;
                    }
                    out.write_all(message.payload.as_deref().unwrap_or_default())?;
                    out.write_all(b"\n")?;
                    printed += 1;
                }
                out.flush()?;
            }
            Some(Event::Revoked(revocation)) => revocation.release(Vec::new()),
            Some(Event::Error(error @ (MqError::Denied { .. } | MqError::Fatal { .. } | MqError::Settings(_)))) => {
                return Err(error.into());
            }
            Some(Event::Error(error)) if quiet_since.elapsed() > Duration::from_secs(1) => {
                quiet_since = Instant::now();
                tracing::warn!(%error, "reading has trouble; it is being retried");
            }
            Some(_) => {}
            None => break,
        }
    }
    Ok(Ended::Done)
}

/// As set; where nothing is set, the console shows what comes from now on.
fn settings_start(settings: &Settings) -> StartOffset {
    let is_set = settings.shown.iter().any(|shown| shown.setting == "offset" && shown.from != "default");
    if is_set { settings.kafka.start } else { StartOffset::Latest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let message = outgoing(b"d1::{\"a\"::1}\r".to_vec(), Some("::"));
        assert_eq!((message.key.as_deref(), message.payload.as_deref()), (Some(&b"d1"[..]), Some(&b"{\"a\"::1}"[..])));
        let plain = outgoing(b"d1".to_vec(), Some("::"));
        assert_eq!((plain.key, plain.payload.as_deref()), (None, Some(&b"d1"[..])));
    }
}
