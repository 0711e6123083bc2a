//! A WebSocket message as far as it must be read to know what it asks for.

use bytes::Bytes;
use serde_json::Value;

use super::args::Args;
use crate::tdengine::faults::Operation;

/// Bytes of the head that every binary request starts with: request id, result or statement id, action.
pub(super) const HEAD_BYTES: usize = 24;

/// Binary actions, by their numbers.
pub(super) mod action {
    pub(in super::super) const QUERY: u64 = 6;
    pub(in super::super) const FETCH: u64 = 7;
    pub(in super::super) const BIND: u64 = 9;
    pub(in super::super) const VALIDATE: u64 = 10;
}

/// A message.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// `{"action": .., "args": ..}`.
    Json { action: String, args: Args },
    /// A text that is no such object.
    Malformed,
    /// A text frame that is no text.
    NotUtf8,
    /// A binary frame, its head included.
    Binary { req_id: u64, id: u64, action: u64, frame: Bytes },
}

impl Request {
    pub(super) fn from_text(text: &str) -> Self {
        let mut action = String::new();
        let mut args = None;
        match serde_json::from_str(text) {
            Ok(Value::Object(fields)) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name.eq_ignore_ascii_case("action") => action = text,
                        Value::Null if name.eq_ignore_ascii_case("action") => {}
                        _ if name.eq_ignore_ascii_case("action") => return Self::Malformed,
                        _ if name.eq_ignore_ascii_case("args") => args = Some(value),
                        _ => {}
                    }
                }
            }
            Ok(Value::Null) => {}
            _ => return Self::Malformed,
        }
        Self::Json { action, args: Args::new(args) }
    }

    pub(super) fn from_frame(frame: Bytes) -> Self {
        // What a short frame lacks of its head counts as zero.
        let mut head = [0; HEAD_BYTES];
        let present = frame.len().min(HEAD_BYTES);
        head[..present].copy_from_slice(&frame[..present]);
        let number = |at: usize| head[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        Self::Binary { req_id: number(0), id: number(8), action: number(16), frame }
    }

    /// What the request does, as far as faults care.
    pub(super) fn operation(&self) -> Option<Operation> {
        match self {
            Self::Json { action, .. } => match action.as_str() {
                "conn" => Some(Operation::Login),
                "query" => Some(Operation::Statement),
                "stmt2_prepare" => Some(Operation::Prepare),
                "stmt2_exec" => Some(Operation::Exec),
                _ => None,
            },
            Self::Malformed | Self::NotUtf8 => None,
            Self::Binary { action, .. } => match *action {
                action::QUERY => Some(Operation::Statement),
                action::BIND => Some(Operation::Bind),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_objects_with_an_action() {
        for text in ["{bad", "[]", "\"x\"", "{\"action\":5}", "{\"action\":\"query\"} trailing"] {
            assert_eq!(Request::from_text(text), Request::Malformed, "{text}");
        }
        let none = Request::Json { action: String::new(), args: Args::default() };
        assert_eq!(Request::from_text("{}"), none);
        assert_eq!(Request::from_text("null"), none);
        let query = Request::from_text("{\"action\":\"query\",\"args\":{\"sql\":\"x\"}}");
        assert_eq!(query, Request::Json { action: "query".to_owned(), args: Args::new(Some(json!({"sql": "x"}))) });
        assert_eq!(query.operation(), Some(Operation::Statement));
    }

    #[test]
    fn a_short_frame_has_a_head_too() {
        let Request::Binary { req_id, id, action, .. } =
            Request::from_frame(Bytes::from_static(&[7, 0, 0, 0, 0, 0, 0, 0, 3]))
        else {
            panic!("not binary")
        };
        assert_eq!((req_id, id, action), (7, 3, 0));
        assert_eq!(Request::from_frame(Bytes::new()).operation(), None);
    }
}
