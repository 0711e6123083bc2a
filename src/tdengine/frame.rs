//! Messages of the WebSocket protocol: requests out, replies in. Pure.

use serde::Deserialize;
use serde_json::{Value, json};

use bytes::Bytes;

use super::error::Code;

const ACTION_SQL: u64 = 6;
const ACTION_FETCH: u64 = 7;
const VERSION: u16 = 1;

/// A reply in JSON. `code` is the only field to be trusted of a failure; the others are those of all actions.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Reply {
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) action: String,
    pub(super) req_id: u64,
    pub(super) version: Option<String>,
    /// Of a result.
    pub(super) id: Option<u64>,
    pub(super) is_update: bool,
    pub(super) affected_rows: u64,
    pub(super) fields_names: Option<Vec<String>>,
    pub(super) fields_types: Option<Vec<u8>>,
    pub(super) fields_lengths: Option<Vec<i64>>,
    pub(super) fields_precisions: Option<Vec<i64>>,
    pub(super) fields_scales: Option<Vec<i64>>,
    pub(super) precision: u8,
    /// Of a statement.
    pub(super) stmt_id: Option<u64>,
    pub(super) is_insert: bool,
    pub(super) fields: Option<Vec<PreparedField>>,
    pub(super) affected: u64,
}

/// What a `?` of a prepared statement stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PreparedField {
    /// The column's or tag's name; `tbname` for the table's.
    pub name: String,
    /// The number of its type, as in [`super::schema::DataType::code`].
    #[serde(rename = "field_type")]
    pub kind: u8,
    /// Its size in bytes: that of the value, plus two bytes for types of variable length.
    pub bytes: i32,
    /// 1: a column, 2: a tag, 4: the table's name.
    pub bind_type: u8,
}

/// A reply to a fetch.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) req_id: u64,
    pub(super) code: Code,
    pub(super) message: String,
    /// `None` when the result has ended; the server then has forgotten it.
    pub(super) block: Option<Bytes>,
}

/// The text of a request.
pub(super) fn action(name: &str, req_id: u64, mut args: Value) -> String {
    args["req_id"] = json!(req_id);
    json!({ "action": name, "args": args }).to_string()
}

/// A statement, to be run.
pub(super) fn sql(req_id: u64, sql: &str) -> Vec<u8> {
    let mut frame = header(req_id, 0, ACTION_SQL, 4 + sql.len());
    frame.extend_from_slice(&(sql.len() as u32).to_le_bytes());
    frame.extend_from_slice(sql.as_bytes());
    frame
}

/// A request for the next block of a result.
pub(super) fn fetch(req_id: u64, result_id: u64) -> Vec<u8> {
    header(req_id, result_id, ACTION_FETCH, 0)
}

fn header(req_id: u64, id: u64, action: u64, payload_bytes: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(26 + payload_bytes);
    for number in [req_id, id, action] {
        frame.extend_from_slice(&number.to_le_bytes());
    }
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame
}

/// Reads a reply to a fetch; `None` if it is none.
pub(super) fn fetched(frame: &Bytes) -> Option<Fetched> {
    let mut at = Reader(frame);
    if (at.u64()?, at.u64()?) != (u64::MAX, ACTION_FETCH) {
        return None;
    }
    let (_version, _time) = (at.u16()?, at.u64()?);
    let (req_id, code, message_bytes) = (at.u64()?, at.u32()?, at.u32()?);
    let message = String::from_utf8_lossy(at.take(message_bytes as usize)?).into_owned();
    let code = Code::new(code.into());
    let (_result_id, finished) = (at.u64()?, at.u8()? != 0);
    let block = if finished || code != Code::SUCCESS {
        None
    } else {
        let length = at.u32()? as usize;
        Some(frame.slice_ref(at.take(length)?))
    };
    Some(Fetched { req_id, code, message, block })
}

/// Takes little-endian numbers off the front of bytes; `None` past their end.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_as_recorded() {
        assert_eq!(sql(8, "select 1")[..30], *b"\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x06\0\0\0\0\0\0\0\x01\0\x08\0\0\0");
        assert_eq!(fetch(3, 1), b"\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\x01\0");
        assert_eq!(action("version", 1, json!({})), r#"{"action":"version","args":{"req_id":1}}"#);
    }

    #[test]
    fn nulls_of_an_update_are_read() {
        let reply: Reply = serde_json::from_str(
            r#"{"code":0,"message":"","action":"binary_query","req_id":2,"timing":1,"id":1,"is_update":true,
                "affected_rows":3,"fields_count":0,"fields_names":null,"fields_types":null,"precision":0}"#,
        )
        .unwrap();
        assert_eq!((reply.req_id, reply.affected_rows, reply.is_update), (2, 3, true));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, marked: bool) {
            let mut frame = bytes;
            if marked {
                frame.splice(0..0, [[0xff; 8], 7u64.to_le_bytes()].concat());
            }
            let _ = fetched(&frame.into());
        }
    }
}
