//! Bytes to records and back.
//!
//! A record type that serde can read and write becomes one that travels by saying what its key is:
//!
//! ```
//! use std::borrow::Cow;
//! use kafka_taos::codec::{Codec, Format};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Reading {
//!     device: String,
//!     voltage: i32,
//! }
//!
//! impl Codec for Reading {
//!     const FORMAT: Format = Format::Json;
//!     fn key(&self) -> Cow<'_, [u8]> {
//!         self.device.as_bytes().into()
//!     }
//! }
//!
//! let reading = Reading { device: "d1001".into(), voltage: 219 };
//! let payload = reading.encode()?;
//! assert_eq!(payload, br#"{"device":"d1001","voltage":219}"#);
//! assert_eq!(Reading::decode(&payload)?, reading);
//! assert_eq!(reading.partition(10), 5);
//! # Ok::<(), kafka_taos::codec::CodecError>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::Serialize;

pub(crate) mod timestamp;

/// How records are written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON text.
    Json,
    /// MessagePack, structs as maps from field name to value.
    #[default]
    MsgPack,
}

/// `json` or `msgpack`, as in settings.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::MsgPack => "msgpack",
        })
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "json" => Ok(Self::Json),
            "msgpack" => Ok(Self::MsgPack),
            other => Err(format!("format {other:?} is none of json, msgpack")),
        }
    }
}

/// Why bytes are no record, or a record cannot be written as bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The payload is not what the format or the record's type asks for.
    #[error("not a {format} record{}: {reason}", position.map_or(String::new(), |at| format!(" at byte {at}")))]
    Decode {
        /// The format that was tried.
        format: Format,
        /// How many bytes into the payload; `None` where the format's reader does not tell.
        position: Option<usize>,
        /// What is wrong there, at most [`MAX_REASON_CHARS`] characters.
        reason: String,
    },
    /// The record holds what the format cannot express.
    #[error("the record cannot be written as {format}: {reason}")]
    Encode {
        /// The format.
        format: Format,
        /// What cannot be written.
        reason: String,
    },
}

/// Where a reason is cut, so that no payload gets into a log by way of its error.
pub const MAX_REASON_CHARS: usize = 160;

impl CodecError {
    pub(crate) fn decode(format: Format, position: Option<usize>, reason: impl fmt::Display) -> Self {
        Self::Decode { format, position, reason: brief(&reason) }
    }

    pub(crate) fn encode(format: Format, reason: impl fmt::Display) -> Self {
        Self::Encode { format, reason: brief(&reason) }
    }

    /// serde_json counts lines and columns, both from 1; columns in bytes.
    pub(crate) fn json(payload: &[u8], error: &serde_json::Error) -> Self {
        let lines = payload.split_inclusive(|&byte| byte == b'\n');
        let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
        Self::decode(Format::Json, Some(before + error.column().saturating_sub(1)), error)
    }
}

pub(crate) fn brief(reason: &dyn fmt::Display) -> String {
    let mut text = reason.to_string();
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS - 1) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A record that travels as a message: its format, its key, and by that its partition.
pub trait Codec: Serialize + DeserializeOwned {
    /// The format of [`Self::encode`] and [`Self::decode`]. Where a setting decides, the two with `_as` take another.
    const FORMAT: Format = Format::MsgPack;

    /// What belongs together and must stay in order: messages with the same key go to the same partition.
    fn key(&self) -> Cow<'_, [u8]>;

    /// The record's bytes, in [`Self::FORMAT`].
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the format cannot express a value.
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut payload = Vec::new();
        self.encode_as(Self::FORMAT, &mut payload)?;
        Ok(payload)
    }

    /// Appends the record's bytes, in `format`. After an error `payload` may hold a part of them.
    ///
    /// # Errors
    /// [`CodecError::Encode`] if the format cannot express a value.
    fn encode_as(&self, format: Format, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        encode(format, self, payload)
    }

    /// The record of a payload in [`Self::FORMAT`].
    ///
    /// # Errors
    /// [`CodecError::Decode`] if the payload is not exactly one record.
    fn decode(payload: &[u8]) -> Result<Self, CodecError> {
        Self::decode_as(Self::FORMAT, payload)
    }

    /// The record of a payload in `format`.
    ///
    /// # Errors
    /// [`CodecError::Decode`] if the payload is not exactly one record.
    fn decode_as(format: Format, payload: &[u8]) -> Result<Self, CodecError> {
        decode(format, payload)
    }

    /// The partition of a topic with `partitions` of them: [`partition_of`] the key.
    fn partition(&self, partitions: i32) -> i32 {
        partition_of(&self.key(), partitions)
    }
}

/// Appends what serde knows of `value`, in `format`.
///
/// # Errors
/// [`CodecError::Encode`] if the format cannot express a value.
pub fn encode(format: Format, value: &impl Serialize, payload: &mut Vec<u8>) -> Result<(), CodecError> {
    match format {
        Format::Json => serde_json::to_writer(payload, value).map_err(|error| CodecError::encode(format, error)),
        Format::MsgPack => {
            rmp_serde::encode::write_named(payload, value).map_err(|error| CodecError::encode(format, error))
        }
    }
}

/// Reads what serde makes of `payload`, in `format`. Strings may be borrowed from it.
///
/// # Errors
/// [`CodecError::Decode`] if the payload is not exactly one `T`.
pub fn decode<'de, T: Deserialize<'de>>(format: Format, payload: &'de [u8]) -> Result<T, CodecError> {
    match format {
        Format::Json => serde_json::from_slice(payload).map_err(|error| CodecError::json(payload, &error)),
        Format::MsgPack => {
            let mut deserializer = rmp_serde::Deserializer::from_read_ref(payload);
            let value = T::deserialize(&mut deserializer).map_err(|error| CodecError::decode(format, None, error))?;
            // The reader does not say whether it is at the end; asked for more, it does.
            match bool::deserialize(&mut deserializer) {
                Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
                _ => Err(CodecError::decode(format, None, "more bytes than one record has")),
            }
        }
    }
}

/// The partition of `key` among `partitions`: its FNV-1a hash modulo their number.
pub fn partition_of(key: &[u8], partitions: i32) -> i32 {
    // Below the number of partitions, and that is an i32.
    (fnv1a_32(key) % partitions.max(1).unsigned_abs()) as i32
}

/// FNV-1a, 32 bits: the hash by which records find their partition.
///
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
pub const fn fnv1a_32(bytes: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Timestamp;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Reading {
        device: String,
        ts: Timestamp,
        phase: Option<f64>,
    }

    impl Codec for Reading {
        fn key(&self) -> Cow<'_, [u8]> {
            self.device.as_bytes().into()
        }
    }

    /// The vectors of the draft's appendix C.
    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("b", 0xe70c_2de5), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv1a_32(text.as_bytes()), hash, "{text}");
        }
        assert_eq!((partition_of(b"tb0", 10), partition_of(b"tb0", 1), partition_of(b"tb0", 0)), (5, 0, 0));
    }

    #[test]
    fn an_error_says_where_and_why_and_not_what_else() {
        let error = Reading::decode_as(Format::Json, b"{\"device\":\"d1\",\n\"ts\":7}").unwrap_err();
        assert!(matches!(error, CodecError::Decode { position: Some(21), .. }), "{error:?}");
        let long = format!(r#"{{"device":"d1","ts":"{}"}}"#, "secret".repeat(1000));
        let error = Reading::decode_as(Format::Json, long.as_bytes()).unwrap_err();
        assert!(error.to_string().chars().count() < MAX_REASON_CHARS + 60, "{error}");
        let mut payload = Reading { device: "d1".into(), ts: Timestamp::new(0, 0), phase: None }.encode().unwrap();
        payload.push(0x91);
        let error = Reading::decode(&payload).unwrap_err();
        assert_eq!(error.to_string(), "not a msgpack record: more bytes than one record has");
    }

    proptest! {
        #[test]
        fn records_survive_both_formats(
            device: String, seconds in -62_135_596_800i64..253_402_300_800, nanos in 0u32..1_000_000_000,
            phase in proptest::option::of(-1e300..1e300f64),
        ) {
            let reading = Reading { device, ts: Timestamp::new(seconds, nanos), phase };
            for format in [Format::Json, Format::MsgPack] {
                let mut payload = Vec::new();
                reading.encode_as(format, &mut payload).unwrap();
                prop_assert_eq!(&Reading::decode_as(format, &payload).unwrap(), &reading);
            }
        }
    }
}
