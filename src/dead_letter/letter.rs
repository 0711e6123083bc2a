//! What is kept of a message, and how it is written: a line of JSON, bytes in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::message::{Header, Message, Offset, TopicPartition};

/// A message that could not be written, as it is kept: all that Kafka had of it, and what was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its time in Kafka, milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    #[serde(with = "in_base64")]
    pub key: Option<Bytes>,
    /// Its payload.
    #[serde(with = "in_base64")]
    pub payload: Option<Bytes>,
    /// The payload was larger than its place takes, and had so many bytes: it is in its own topic alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted_bytes: Option<u64>,
    /// Its headers.
    #[serde(with = "headers_in_base64")]
    pub headers: Vec<Header>,
    /// The server's code, where the server refused it, as `0x060B`.
    pub code: Option<String>,
    /// What was wrong.
    pub reason: String,
    /// When it was put here, milliseconds since 1970-01-01T00:00:00Z.
    pub failed_at_ms: i64,
    /// How often it has failed: 1, and one more for each replay.
    #[serde(default = "once")]
    pub tries: u32,
    /// The rows of the message that are at fault; empty: all of it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<DeadRow>,
    /// How many rows the message had, where some of them are at fault: with another number it is another mapping that
    /// reads it, and `rows` do not say which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_rows: Option<u32>,
    /// The payload as it was decoded, where it could be and is not too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<serde_json::Value>,
}

/// A row that could not be written, of a message that may hold others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRow {
    /// Its place among the rows of the message, from 0.
    pub element: u32,
    /// What was wrong.
    pub reason: String,
    /// The server's code, where the server refused it.
    pub code: Option<String>,
    /// The row as SQL, where there came to be one and it is not too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// Which letter of which message: a message that fails again has a later one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LetterId {
    /// The message's topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: Offset,
    /// When the letter was put where it is.
    pub failed_at_ms: i64,
    /// How often the message had failed by then.
    #[serde(default = "once")]
    pub tries: u32,
}

/// The most that is kept of a reason, in characters.
const MAX_REASON_CHARS: usize = 2000;
/// The most that is kept besides the message itself, of the decoded form and of all SQL each, in bytes.
const MAX_FORM_BYTES: usize = 64 << 10;

impl DeadLetter {
    /// What is kept of `message`, which failed for `reason` at `failed_at_ms`.
    pub fn new(
        message: &Message,
        reason: String,
        code: Option<String>,
        mut rows: Vec<DeadRow>,
        failed_at_ms: i64,
    ) -> Self {
        let mut room = MAX_FORM_BYTES;
        for row in &mut rows {
            row.reason = clip(std::mem::take(&mut row.reason));
            row.sql.take_if(|sql| sql.len() > room);
            room -= row.sql.as_ref().map_or(0, String::len);
        }
        Self {
            topic: message.source.topic.to_string(),
            partition: message.source.partition,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            key: message.key.clone(),
            payload: message.payload.clone(),
            omitted_bytes: None,
            headers: message.headers.clone(),
            code,
            reason: clip(reason),
            failed_at_ms,
            tries: 1,
            rows,
            of_rows: None,
            decoded: None,
        }
    }

    /// Keeps the decoded form too, unless it is too long.
    pub fn with_decoded(mut self, decoded: Option<serde_json::Value>) -> Self {
        self.decoded = decoded.filter(|decoded| decoded.to_string().len() <= MAX_FORM_BYTES);
        self
    }

    /// Which letter it is.
    pub fn id(&self) -> LetterId {
        LetterId {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: self.offset,
            failed_at_ms: self.failed_at_ms,
            tries: self.tries,
        }
    }

    /// The message it was.
    pub fn into_message(self) -> Message {
        Message {
            source: TopicPartition::new(self.topic, self.partition),
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            key: self.key,
            payload: self.payload,
            headers: self.headers,
        }
    }
}

/// A line of a file of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    /// These letters, which may stand before or after, in this file or another, are done with.
    Done {
        done: Vec<LetterId>,
    },
    Letter(Box<DeadLetter>),
}

fn once() -> u32 {
    1
}

fn clip(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Base64(#[serde(with = "in_base64")] Option<Bytes>);

mod in_base64 {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| STANDARD.encode(bytes)).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let bytes = text.map(|text| STANDARD.decode(text)).transpose();
        Ok(bytes.map_err(serde::de::Error::custom)?.map(Bytes::from))
    }
}

mod headers_in_base64 {
    use super::*;

    pub(super) fn serialize<S: Serializer>(headers: &[Header], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(headers.iter().map(|header| (&header.name, Base64(header.value.clone()))))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Header>, D::Error> {
        let headers = Vec::<(String, Base64)>::deserialize(deserializer)?;
        Ok(headers.into_iter().map(|(name, Base64(value))| Header { name, value }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::*;

    #[test]
    fn a_letter_is_a_line_of_json_with_bytes_in_base64() {
        let text = serde_json::to_string(&letter(1)).unwrap();
        assert_eq!(
            text,
            r#"{"topic":"meters","partition":3,"offset":1,"timestamp_ms":7,"key":"/2tleQ==","payload":null,"headers":[["h",null],["i","eA=="]],"code":null,"reason":"bad","failed_at_ms":9,"tries":1}"#
        );
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), Line::Letter(Box::new(letter(1))));
        // As it was written before tries were counted.
        assert_eq!(serde_json::from_str::<DeadLetter>(&text.replace(r#","tries":1"#, "")).unwrap(), letter(1));
    }

    #[test]
    fn what_is_too_long_to_be_kept_beside_the_message_is_left_out() {
        let row = |sql: usize| DeadRow { element: 0, reason: "r".repeat(3000), code: None, sql: Some("s".repeat(sql)) };
        let long = DeadLetter::new(
            &letter(1).into_message(),
            "é".repeat(3000),
            None,
            vec![row(10), row(MAX_FORM_BYTES), row(20)],
            9,
        );
        assert_eq!((long.reason.chars().count(), long.rows[0].reason.len()), (2001, 2000 + '…'.len_utf8()));
        let lengths: Vec<_> = long.rows.iter().map(|row| row.sql.as_ref().map(String::len)).collect();
        assert_eq!(lengths, [Some(10), None, Some(20)]);
        assert_eq!(long.clone().with_decoded(Some("x".repeat(MAX_FORM_BYTES).into())).decoded, None);
        assert_eq!(long.with_decoded(Some(1.into())).decoded, Some(1.into()));
    }
}
