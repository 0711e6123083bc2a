//! A topic as the place for dead letters: each is the message as it was, and what is known of it in headers behind its own.
//!
//! | header | value |
//! |---|---|
//! | `kafka-taos-dead-letter` | `1`; what stands before it are the message's own headers. `done`: no letter, but a list of letters that are done with, in the payload |
//! | `kafka-taos-topic`, `-partition`, `-offset`, `-timestamp` | where the message stood, and its time in milliseconds |
//! | `kafka-taos-reason`, `-code` | what was wrong, and the server's code |
//! | `kafka-taos-rows`, `-of-rows` | JSON: the rows at fault of a message that may hold others; and how many it held |
//! | `kafka-taos-decoded` | JSON: the decoded payload |
//! | `kafka-taos-failed-at`, `-tries` | when, in milliseconds, and how often |
//! | `kafka-taos-payload-bytes` | the payload was larger than the topic takes: so large, and left out |
//!
//! Numbers are decimal text. Of a header that is absent there is nothing to say.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::letter::Line;
use super::{DeadLetter, LetterId};
use crate::message::{Header, Message, Outgoing};
use crate::mq::kafka::{Admin, KafkaSettings, Producer};
use crate::mq::memory::MemoryQueue;
use crate::mq::{MqError, Receipt};

/// The first of our headers.
const MARKER: &str = "kafka-taos-dead-letter";
const LETTER: &str = "1";
const DONE: &str = "done";
/// Letters that are on their way at once.
const AT_ONCE: usize = 1000;
/// The client refuses for ever what its queue has no room for.
const MOST_BYTES: usize = 60 << 20;
/// Partitions of a topic that we make: letters are few, and so they stay in order.
const PARTITIONS: i32 = 1;

/// A message on its way.
pub type Publishing<'p> = Pin<Box<dyn Future<Output = Result<Receipt, MqError>> + Send + 'p>>;

/// Publishes a message, and waits until it is acknowledged.
pub trait Publish: Send + Sync {
    /// See [`crate::mq::MessageQueue::publish`].
    fn publish<'p>(&'p self, topic: &'p str, message: Outgoing) -> Publishing<'p>;
}

impl Publish for Producer {
    fn publish<'p>(&'p self, topic: &'p str, message: Outgoing) -> Publishing<'p> {
        Box::pin(Producer::publish(self, topic, message))
    }
}

impl Publish for MemoryQueue {
    fn publish<'p>(&'p self, topic: &'p str, message: Outgoing) -> Publishing<'p> {
        Box::pin(crate::mq::MessageQueue::publish(self, topic, message))
    }
}

/// A topic that dead letters are published to.
#[derive(Clone)]
pub struct TopicPlace {
    topic: Arc<str>,
    partitions: i32,
    publisher: Arc<dyn Publish>,
}

impl fmt::Debug for TopicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic:{}", self.topic)
    }
}

impl TopicPlace {
    /// A topic that is there, with so many partitions.
    pub fn new(topic: &str, partitions: i32, publisher: Arc<dyn Publish>) -> Self {
        Self { topic: topic.into(), partitions: partitions.max(1), publisher }
    }

    /// A topic of Kafka's. One that is not there is made: to keep all it gets, without end.
    ///
    /// # Errors
    /// No broker within `timeout`, a missing right, or a topic that does not keep what it gets.
    pub async fn open(settings: &KafkaSettings, topic: &str, timeout: Duration) -> Result<Self, MqError> {
        let admin = Admin::new(settings)?;
        if let Err(MqError::UnknownTopic { .. }) = admin.partitions(topic, timeout) {
            make(&admin, topic, timeout).await?;
        }
        let info = admin.describe(topic, timeout).await?;
        if info.config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            return Err(MqError::Settings(format!(
                "topic {topic} is compacted: of dead letters with the same key all but one would be lost; set another \
                 topic, or cleanup.policy=delete there"
            )));
        }
        // Waiting for a broker is the pipeline's part, which says so; the broker's limit is the one for a message.
        let ours = [("message.timeout.ms", "15000"), ("message.max.bytes", "1000000000")];
        let ours = ours.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let properties = ours.into_iter().chain(settings.properties.clone()).collect();
        let producer = Producer::new(&KafkaSettings { properties, ..settings.clone() })?;
        Ok(Self::new(topic, i32::try_from(info.partitions.len()).unwrap_or(1), Arc::new(producer)))
    }

    /// Its name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Keeps letters and takes them out of `letters`; when this returns all in-sync replicas have those.
    pub(super) async fn keep(&self, letters: &mut Vec<DeadLetter>) -> Result<(), MqError> {
        let mut kept = Vec::with_capacity(letters.len());
        let mut failure = None;
        for letters in letters.chunks(AT_ONCE) {
            let published = join_all(letters.iter().map(|letter| self.publish(letter, Form::Whole))).await;
            for (letter, outcome) in letters.iter().zip(published) {
                let outcome = match outcome {
                    Err(MqError::TooLarge { .. }) => self.keep_large(letter).await,
                    outcome => outcome,
                };
                kept.push(outcome.is_ok());
                failure = failure.or(outcome.err());
            }
            if failure.is_some() {
                break;
            }
        }
        let mut kept = kept.into_iter();
        letters.retain(|_| !kept.next().unwrap_or(false));
        failure.map_or(Ok(()), Err)
    }

    /// Keeps as much of a letter as the topic takes: it may have been too large in company only.
    async fn keep_large(&self, letter: &DeadLetter) -> Result<(), MqError> {
        let mut outcome = Ok(());
        for form in [Form::Whole, Form::MessageAlone, Form::WithoutPayload, Form::PlaceAlone] {
            outcome = self.publish(letter, form).await;
            if !matches!(outcome, Err(MqError::TooLarge { .. })) {
                break;
            }
        }
        outcome
    }

    async fn publish(&self, letter: &DeadLetter, form: Form) -> Result<(), MqError> {
        // Letters of a partition stay in order, in one.
        let partition = letter.partition.rem_euclid(self.partitions);
        let message = Outgoing { partition: Some(partition), ..outgoing(letter, form) };
        if message.payload.as_ref().is_some_and(|payload| payload.len() > MOST_BYTES) {
            return Err(MqError::TooLarge { topic: self.topic.to_string() });
        }
        self.publisher.publish(&self.topic, message).await.map(drop)
    }

    /// Notes letters as done with; when this returns all in-sync replicas have the note.
    pub(super) async fn mark(&self, done: Vec<LetterId>) -> Result<(), MqError> {
        for done in done.chunks(AT_ONCE) {
            self.publisher.publish(&self.topic, note(done)?).await?;
        }
        Ok(())
    }
}

async fn make(admin: &Admin, topic: &str, timeout: Duration) -> Result<(), MqError> {
    const BY_THE_BROKER: i32 = -1;
    let config = [("cleanup.policy", "delete"), ("retention.ms", "-1")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let made = admin.create(topic, PARTITIONS, BY_THE_BROKER, &config, timeout).await;
    // A broker may need a moment until it shows the topic; another consumer may have made it first.
    let deadline = Instant::now() + timeout;
    loop {
        match admin.partitions(topic, timeout) {
            Err(MqError::UnknownTopic { .. }) if made.is_ok() && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(MqError::UnknownTopic { .. }) => return made,
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    if made.is_ok() {
        tracing::warn!(topic, "the topic for dead letters was not there; it is made, to keep all it gets without end");
    }
    Ok(())
}

/// How much of a letter is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// Without what can be had again: the decoded form, the SQL.
    MessageAlone,
    WithoutPayload,
    /// Where the message stands and why it failed.
    PlaceAlone,
}

fn outgoing(letter: &DeadLetter, form: Form) -> Outgoing {
    let mut headers = if form == Form::PlaceAlone { Vec::new() } else { letter.headers.clone() };
    let mut say = |name: &str, value: String| {
        headers.push(Header { name: name.to_owned(), value: Some(Bytes::from(value)) });
    };
    say(MARKER, LETTER.to_owned());
    say("kafka-taos-topic", letter.topic.clone());
    say("kafka-taos-partition", letter.partition.to_string());
    say("kafka-taos-offset", letter.offset.to_string());
    if let Some(timestamp) = letter.timestamp_ms {
        say("kafka-taos-timestamp", timestamp.to_string());
    }
    say("kafka-taos-reason", letter.reason.clone());
    if let Some(code) = &letter.code {
        say("kafka-taos-code", code.clone());
    }
    say("kafka-taos-failed-at", letter.failed_at_ms.to_string());
    say("kafka-taos-tries", letter.tries.to_string());
    let mut rows = letter.rows.clone();
    if form != Form::Whole {
        rows.iter_mut().for_each(|row| row.sql = None);
    }
    // Without its rows a letter speaks of the whole message.
    if form != Form::PlaceAlone {
        if let (false, Ok(json)) = (rows.is_empty(), serde_json::to_string(&rows)) {
            say("kafka-taos-rows", json);
        }
        if let Some(of_rows) = letter.of_rows {
            say("kafka-taos-of-rows", of_rows.to_string());
        }
    }
    if let (Form::Whole, Some(decoded)) = (form, &letter.decoded) {
        say("kafka-taos-decoded", decoded.to_string());
    }
    let omitted = matches!(form, Form::WithoutPayload | Form::PlaceAlone);
    let omitted_bytes = letter.omitted_bytes.or(letter.payload.as_ref().filter(|_| omitted).map(|p| p.len() as u64));
    if let Some(bytes) = omitted_bytes {
        say("kafka-taos-payload-bytes", bytes.to_string());
    }
    Outgoing {
        partition: None,
        // The topic's retention counts from now, whenever the message was written.
        timestamp_ms: None,
        key: letter.key.clone().filter(|_| form != Form::PlaceAlone),
        payload: letter.payload.clone().filter(|_| !omitted),
        headers,
    }
}

fn note(done: &[LetterId]) -> Result<Outgoing, MqError> {
    let refused = |error: serde_json::Error| MqError::Settings(error.to_string());
    let payload = serde_json::to_vec(&Line::Done { done: done.to_vec() }).map_err(refused)?;
    let headers = vec![Header { name: MARKER.to_owned(), value: Some(Bytes::from_static(DONE.as_bytes())) }];
    Ok(Outgoing { payload: Some(payload.into()), headers, ..Outgoing::default() })
}

/// What a message in the topic says; `None` if it is none of ours.
pub(super) fn read(message: Message) -> Option<Line> {
    let Message { key, payload, mut headers, .. } = message;
    let marker = headers.iter().rposition(|header| header.name == MARKER)?;
    let ours = headers.split_off(marker);
    let say = |name: &str| {
        let value = ours.iter().find(|header| header.name == name)?.value.as_deref()?;
        std::str::from_utf8(value).ok()
    };
    if say(MARKER)? == DONE {
        return serde_json::from_slice(&payload?).ok().filter(|line| matches!(line, Line::Done { .. }));
    }
    Some(Line::Letter(Box::new(DeadLetter {
        topic: say("kafka-taos-topic")?.to_owned(),
        partition: say("kafka-taos-partition")?.parse().ok()?,
        offset: say("kafka-taos-offset")?.parse().ok()?,
        timestamp_ms: say("kafka-taos-timestamp").and_then(|text| text.parse().ok()),
        key,
        payload,
        omitted_bytes: say("kafka-taos-payload-bytes").and_then(|text| text.parse().ok()),
        headers,
        code: say("kafka-taos-code").map(str::to_owned),
        reason: say("kafka-taos-reason").unwrap_or_default().to_owned(),
        failed_at_ms: say("kafka-taos-failed-at")?.parse().ok()?,
        tries: say("kafka-taos-tries").and_then(|text| text.parse().ok()).unwrap_or(1),
        rows: say("kafka-taos-rows").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
        of_rows: say("kafka-taos-of-rows").and_then(|text| text.parse().ok()),
        decoded: say("kafka-taos-decoded").and_then(|json| serde_json::from_str(json).ok()),
    })))
}

impl DeadLetter {
    /// The letter as a message for a topic.
    pub fn to_message(&self) -> Outgoing {
        outgoing(self, Form::Whole)
    }

    /// The letter that a message in a topic is; `None`: it is none.
    pub fn from_message(message: Message) -> Option<Self> {
        match read(message)? {
            Line::Letter(letter) => Some(*letter),
            Line::Done { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::DeadRow;
    use super::super::tests::letter;
    use super::*;
    use crate::message::TopicPartition;

    /// Takes messages up to a size, together with those that come at the same time.
    struct Narrow {
        most: usize,
        taken: Mutex<Vec<Outgoing>>,
    }

    fn size(message: &Outgoing) -> usize {
        let headers = message.headers.iter().map(|h| h.name.len() + h.value.as_ref().map_or(0, Bytes::len));
        message.payload.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }

    impl Publish for Narrow {
        fn publish<'p>(&'p self, topic: &'p str, message: Outgoing) -> Publishing<'p> {
            Box::pin(async move {
                if size(&message) > self.most {
                    return Err(MqError::TooLarge { topic: topic.to_owned() });
                }
                self.taken.lock().unwrap().push(message);
                Ok(Receipt { partition: 0, offset: 0 })
            })
        }
    }

    fn as_read(message: Outgoing) -> Message {
        Message {
            source: TopicPartition::new("dead", 0),
            offset: 5,
            timestamp_ms: Some(99),
            key: message.key,
            payload: message.payload,
            headers: message.headers,
        }
    }

    fn whole() -> DeadLetter {
        let row =
            DeadRow { element: 2, reason: "too long".into(), code: Some("0x1".into()), sql: Some("s".repeat(2000)) };
        DeadLetter {
            payload: Some(Bytes::from(vec![b'p'; 5000])),
            code: Some("0x060B".into()),
            rows: vec![row],
            of_rows: Some(4),
            tries: 3,
            decoded: Some(serde_json::json!({"a": 1})),
            // A message that had been a dead letter before, in another place.
            headers: vec![
                Header { name: MARKER.into(), value: Some(Bytes::from_static(b"done")) },
                Header { name: "kafka-taos-topic".into(), value: None },
            ],
            ..letter(7)
        }
    }

    #[test]
    fn a_letter_is_read_as_it_was_published() {
        for letter in [letter(1), whole(), DeadLetter { key: None, payload: Some(Bytes::new()), ..letter(2) }] {
            let published = outgoing(&letter, Form::Whole);
            assert_eq!((&published.payload, &published.key), (&letter.payload, &letter.key), "as they were");
            assert_eq!(published.headers[..letter.headers.len()], letter.headers, "the message's own come first");
            assert_eq!(published.timestamp_ms, None, "or retention would take it at once");
            assert_eq!(read(as_read(published)), Some(Line::Letter(Box::new(letter))));
        }
        let done = vec![letter(1).id(), letter(2).id()];
        assert_eq!(read(as_read(note(&done).unwrap())), Some(Line::Done { done }));
    }

    #[test]
    fn what_others_publish_to_the_topic_is_passed_over() {
        let message = |headers: &[(&str, &str)], payload: &[u8]| {
            let header = |(name, value): &(&str, &str)| Header {
                name: (*name).to_owned(),
                value: Some(Bytes::copy_from_slice(value.as_bytes())),
            };
            let payload = Some(Bytes::copy_from_slice(payload));
            read(as_read(Outgoing { payload, headers: headers.iter().map(header).collect(), ..Outgoing::default() }))
        };
        assert_eq!(message(&[], b"x"), None);
        assert_eq!(message(&[(MARKER, "1")], b"x"), None);
        assert_eq!(message(&[(MARKER, "1"), ("kafka-taos-topic", "t"), ("kafka-taos-partition", "x")], b"x"), None);
        assert_eq!(message(&[(MARKER, "done")], b"{}"), None);
    }

    #[tokio::test]
    async fn of_a_letter_that_is_too_large_as_much_is_kept_as_there_is_room_for() {
        for (most, payload, rows, sql, key) in [
            (9000, true, true, true, true),
            (6000, true, true, false, true),
            (600, false, true, false, true),
            (320, false, false, false, false),
        ] {
            let narrow = Arc::new(Narrow { most, taken: Mutex::default() });
            TopicPlace::new("dead", 1, narrow.clone()).keep(&mut vec![letter(1), whole(), letter(9)]).await.unwrap();
            let taken = std::mem::take(&mut *narrow.taken.lock().unwrap());
            assert_eq!(taken.len(), 3, "{most}");
            let kept = taken.into_iter().find_map(|message| match read(as_read(message)) {
                Some(Line::Letter(letter)) if letter.offset == 7 => Some(letter),
                _ => None,
            });
            let kept = kept.unwrap();
            let has_sql = kept.rows.iter().any(|row| row.sql.is_some());
            assert_eq!(
                (kept.payload.is_some(), !kept.rows.is_empty(), has_sql, kept.key.is_some()),
                (payload, rows, sql, key),
                "{most}"
            );
            assert_eq!(kept.omitted_bytes, (!payload).then_some(5000), "never cut in silence");
            assert_eq!((kept.id(), &kept.reason, kept.tries), (whole().id(), &whole().reason, 3));
        }
        let narrow = Arc::new(Narrow { most: 10, taken: Mutex::default() });
        let refused = TopicPlace::new("dead", 1, narrow).keep(&mut vec![letter(1)]).await.unwrap_err();
        assert!(matches!(refused, MqError::TooLarge { .. }));
    }
}
