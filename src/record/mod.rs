//! The demo record: a device, a moment, and as many columns as the simulator was asked for.
//!
//! ```
//! use kafka_taos::codec::{Codec, Format};
//! use kafka_taos::record::{Cell, Record, RecordRef};
//! use kafka_taos::row::Timestamp;
//!
//! let record = Record::new("tb7", Timestamp::from_millis(1_626_424_457_123), vec![Cell::from("abc"), Cell::Int(1)]);
//! let payload = record.encode()?;
//! assert_eq!(Record::decode(&payload)?, record);
//!
//! // For many of them: borrowed from the payload, the list of cells used again.
//! let mut borrowed = RecordRef::default();
//! borrowed.read(Format::MsgPack, &payload)?;
//! assert_eq!((borrowed.device_id.as_ref(), borrowed.cols.len()), ("tb7", 2));
//! # Ok::<(), kafka_taos::codec::CodecError>(())
//! ```
//!
//! As bytes it is what the original Go program wrote and read: a MessagePack map with the keys `DeviceID`, `Timestamp`
//! (the timestamp extension) and `Cols`, or JSON with `deviceID`, `timestamp` (RFC 3339) and `cols`.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::codec::{Codec, CodecError, Format};
use crate::row::{TaosEncoder, Timestamp, Value};

mod json;
pub(crate) mod msgpack;
#[cfg(test)]
mod tests;

/// The super table of demo records, where nothing else is said.
pub const DEFAULT_SUPER_TABLE: &str = "stb";

/// A column of a demo record.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that was written without a sign; beyond `i64` it can only be one.
    UInt(u64),
    /// A number with a fraction, written with 32 bits.
    Float(f32),
    /// A number with a fraction, written with 64 bits.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes. JSON has them as base64, and that reads back as text.
    Bytes(Cow<'a, [u8]>),
}

impl Cell<'_> {
    /// The same, owning what it holds.
    pub fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Bool(truth) => Cell::Bool(truth),
            Self::Int(number) => Cell::Int(number),
            Self::UInt(number) => Cell::UInt(number),
            Self::Float(number) => Cell::Float(number),
            Self::Double(number) => Cell::Double(number),
            Self::Text(text) => Cell::Text(text.into_owned().into()),
            Self::Bytes(bytes) => Cell::Bytes(bytes.into_owned().into()),
        }
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a> From<&'a Cell<'_>> for Value<'a> {
    fn from(cell: &'a Cell<'_>) -> Self {
        match cell {
            Cell::Null => Value::Null,
            Cell::Bool(truth) => Value::Bool(*truth),
            Cell::Int(number) => Value::Int(*number),
            Cell::UInt(number) => Value::UInt(*number),
            Cell::Float(number) => Value::Float((*number).into()),
            Cell::Double(number) => Value::Float(*number),
            Cell::Text(text) => Value::Text(Cow::Borrowed(text)),
            Cell::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

/// A demo record, borrowed from the payload it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordRef<'a> {
    /// The device: its own table, and the key of the message.
    pub device_id: Cow<'a, str>,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// What was measured: `col0`, `col1` and so on.
    pub cols: Vec<Cell<'a>>,
}

/// A demo record that owns all it holds.
pub type Record = RecordRef<'static>;

impl Default for RecordRef<'_> {
    fn default() -> Self {
        Self::new("", Timestamp::new(0, 0), Vec::new())
    }
}

impl<'a> RecordRef<'a> {
    /// A record of `device_id` at `timestamp`.
    pub fn new(device_id: impl Into<Cow<'a, str>>, timestamp: Timestamp, cols: Vec<Cell<'a>>) -> Self {
        Self { device_id: device_id.into(), timestamp, cols }
    }

    /// Becomes the record in `payload`. The list of cells is used again and text is borrowed: of MessagePack nothing
    /// is allocated, of JSON only text with escapes.
    ///
    /// # Errors
    /// [`CodecError::Decode`] if the payload is not exactly one record; what the record then holds is of no use.
    pub fn read(&mut self, format: Format, payload: &'a [u8]) -> Result<(), CodecError> {
        match format {
            Format::Json => json::read(self, payload),
            Format::MsgPack => msgpack::read(self, payload),
        }
    }

    /// Appends the record's bytes, in `format`.
    ///
    /// # Errors
    /// JSON has no NaN and no infinity, and no years beyond 9999. After an error `payload` may hold a part.
    pub fn write(&self, format: Format, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        match format {
            Format::Json => serde_json::to_writer(payload, self).map_err(|error| CodecError::encode(format, error)),
            Format::MsgPack => {
                msgpack::write(self, payload);
                Ok(())
            }
        }
    }

    /// The same, owning what it holds.
    pub fn into_owned(self) -> Record {
        RecordRef {
            device_id: self.device_id.into_owned().into(),
            timestamp: self.timestamp,
            cols: self.cols.into_iter().map(Cell::into_owned).collect(),
        }
    }

    /// The record as a row of `super_table`, in `database` or the connection's own.
    pub fn row_of<'r>(&'r self, database: Option<&'r str>, super_table: &'r str) -> RecordRow<'r> {
        RecordRow { record: self, database, super_table }
    }
}

impl Codec for Record {
    fn key(&self) -> Cow<'_, [u8]> {
        self.device_id.as_bytes().into()
    }

    fn encode_as(&self, format: Format, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        self.write(format, payload)
    }

    fn decode_as(format: Format, payload: &[u8]) -> Result<Self, CodecError> {
        let mut record = RecordRef::default();
        record.read(format, payload)?;
        Ok(record.into_owned())
    }
}

/// `ts, col0, col1, ..`: as many as a table can have.
static COLUMN_NAMES: LazyLock<Vec<String>> =
    LazyLock::new(|| std::iter::once("ts".to_owned()).chain((0..4096).map(|i| format!("col{i}"))).collect());

/// A row of [`DEFAULT_SUPER_TABLE`] in the connection's database; [`RecordRef::row_of`] names others.
impl TaosEncoder for RecordRef<'_> {
    fn super_table(&self) -> Option<&str> {
        Some(DEFAULT_SUPER_TABLE)
    }

    fn table(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.device_id)
    }

    fn tag_names(&self) -> Vec<Cow<'_, str>> {
        vec!["device".into()]
    }

    fn tags<'r>(&'r self, put: &mut dyn FnMut(Value<'r>)) {
        put(Value::Text(Cow::Borrowed(&self.device_id)));
    }

    fn column_names(&self) -> Vec<Cow<'_, str>> {
        COLUMN_NAMES.iter().take(1 + self.cols.len()).map(|name| name.as_str().into()).collect()
    }

    fn values<'r>(&'r self, put: &mut dyn FnMut(Value<'r>)) {
        put(self.timestamp.into());
        self.cols.iter().for_each(|cell| put(cell.into()));
    }
}

/// A demo record and where its row goes.
#[derive(Clone, Copy, Debug)]
pub struct RecordRow<'r> {
    record: &'r RecordRef<'r>,
    database: Option<&'r str>,
    super_table: &'r str,
}

impl TaosEncoder for RecordRow<'_> {
    fn database(&self) -> Option<&str> {
        self.database
    }

    fn super_table(&self) -> Option<&str> {
        Some(self.super_table)
    }

    fn table(&self) -> Cow<'_, str> {
        self.record.table()
    }

    fn tag_names(&self) -> Vec<Cow<'_, str>> {
        self.record.tag_names()
    }

    fn tags<'r>(&'r self, put: &mut dyn FnMut(Value<'r>)) {
        self.record.tags(put);
    }

    fn column_names(&self) -> Vec<Cow<'_, str>> {
        self.record.column_names()
    }

    fn values<'r>(&'r self, put: &mut dyn FnMut(Value<'r>)) {
        self.record.values(put);
    }
}
