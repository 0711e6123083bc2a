//! Payloads of any shape: from bytes to the values at the places that a mapping wants.
//!
//! A mapping says once, as a [`Plan`], which places of a payload it needs. A [`Decoder`] walks each payload once and
//! hands out what it finds there, borrowed from the payload wherever the format lets it; everything else is passed over.
//!
//! ```text
//! record: the message, or one line of it       array: what a table's `rows` points to
//! ┌───────────────────────────────┐
//! │ site, gateway, ..  (places)   │ ─► Visitor::record
//! │ records: [ {..}, {..}, {..} ] │ ─► Visitor::element, once each, with the record's places beside its own
//! └───────────────────────────────┘ ─► Visitor::end
//! ```

#[cfg(test)]
mod collect;
mod avro;
mod compression;
mod configured;
mod csv;
mod finds;
mod json;
mod line;
mod msgpack;
mod plan;
mod protobuf;
mod registry;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Tree;

pub use avro::{AvroDecoder, AvroSchema};
pub use compression::{Compression, MAX_UNPACKED_BYTES, Unpacking};
pub use configured::{DecoderFactory, decoder};
pub use csv::CsvDecoder;
pub use json::JsonDecoder;
pub use line::LineDecoder;
pub use msgpack::MsgPackDecoder;
pub use plan::{Child, NodeId, Path, PathError, Places, Plan};
pub use protobuf::{ProtobufDecoder, ProtobufSchema};
pub use registry::RegistrySettings;

use crate::codec::timestamp::rfc3339;
use crate::row::Value;

/// What stands at a wanted place.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'p> {
    /// A single value; [`Value::Unset`] where there is nothing.
    Value(Value<'p>),
    /// An object or array, whole, where the plan wants it so.
    Tree(Tree),
    /// What is no single value where the plan wants one, or none that can be held; for messages to people, as `an object`,
    /// [`ARRAY`], `a number beyond the range of a double`.
    Nested(&'static str),
}

/// What [`Found::Nested`] calls an array, in every format.
pub const ARRAY: &str = "an array";

/// What [`Found::Nested`] calls an object, in every format.
pub const OBJECT: &str = "an object";

impl Found<'_> {
    /// Nothing is there.
    pub const MISSING: Found<'static> = Found::Value(Value::Unset);

    /// The same, held by itself.
    pub fn into_owned(self) -> Found<'static> {
        match self {
            Self::Value(value) => Found::Value(value.into_owned()),
            Self::Tree(tree) => Found::Tree(tree),
            Self::Nested(what) => Found::Nested(what),
        }
    }

    /// Whether something is there.
    pub const fn is_there(&self) -> bool {
        !matches!(self, Self::Value(Value::Unset))
    }
}

/// Takes what a decoder finds. `places` are those of [`Plan`], in the order that they were wanted in.
pub trait Visitor<'p> {
    /// A record begins; its own places are all known, arrays among them as [`Found::Nested`]. False: its elements
    /// are not wanted, and no [`Self::end`] follows.
    fn record(&mut self, places: &[Found<'p>]) -> bool;

    /// An element of the array number `array` of the plan. `record` are the places of the record around it.
    fn element(&mut self, array: usize, record: &[Found<'p>], places: &[Found<'p>]);

    /// All elements of the record were handed out.
    fn end(&mut self, places: &[Found<'p>]);

    /// One of several records of the payload cannot be read; those before and after it can.
    fn broken(&mut self, reason: FormatError);
}

/// Reads payloads of one format. Each worker has its own, so that it may keep what it has learned.
pub trait Decoder: Send {
    /// Reads `payload` and hands out what `plan` wants, borrowed from the payload or from the decoder itself.
    ///
    /// # Errors
    /// The payload is no record of the format. Nothing was handed out then: a record is handed out only when all of it
    /// was found well formed, and one bad record among several is told to [`Visitor::broken`].
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError>;
}

/// Why a payload, or one of its records, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {format}{}: {reason}", if *is_transient { "not yet known as" } else { "not" }, position.map_or(String::new(), |at| format!(" at byte {at}")))]
pub struct FormatError {
    /// The format that was tried.
    pub format: &'static str,
    /// How many bytes into the payload; `None` where the format's reader does not tell.
    pub position: Option<usize>,
    /// What is wrong there; short, and nothing of the payload in it but a few characters.
    pub reason: String,
    /// It is not the payload's fault: what is needed to read it cannot be had now, and the payload is to be read again
    /// in a while. It belongs to no dead letters.
    pub is_transient: bool,
}

impl FormatError {
    /// Cuts what a format's reader tells: no payload gets into a log by way of its error.
    pub(crate) fn new(format: &'static str, position: Option<usize>, reason: impl fmt::Display) -> Self {
        Self { format, position, reason: crate::codec::brief(&reason), is_transient: false }
    }

    pub(crate) fn transient(format: &'static str, reason: impl fmt::Display) -> Self {
        Self { is_transient: true, ..Self::new(format, None, reason) }
    }
}

/// A single value as JSON has it: bytes in base64, timestamps as RFC 3339, null for numbers that are not finite.
fn tree_of(value: &Value<'_>) -> Tree {
    match value {
        Value::Unset | Value::Null => Tree::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Timestamp(moment) => rfc3339(*moment).map_or(Tree::Null, |moment| moment.to_string().into()),
        Value::Text(text) => text.as_ref().into(),
        Value::Bytes(bytes) => STANDARD.encode(bytes).into(),
    }
}
