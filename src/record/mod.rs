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
mod msgpack;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::partition_of;
    use proptest::prelude::*;

    /// Written by the original Go program.
    const ORIGINAL: &str = include_str!("original-records.jsonl");

    #[derive(serde::Deserialize)]
    struct Original {
        device_id: String,
        unix_nanos: String,
        msgpack_hex: String,
        json: String,
        partition_of_10: i32,
    }

    fn from_hex(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_messages_of_the_original_are_read_and_written_alike() {
        let mut read = 0;
        for line in ORIGINAL.lines() {
            let original: Original = serde_json::from_str(line).unwrap();
            let (seconds, nanos) = original.unix_nanos.split_once(',').unwrap();
            let timestamp = Timestamp::new(seconds.parse().unwrap(), nanos.parse().unwrap());
            let payload = from_hex(&original.msgpack_hex);
            let mut record = RecordRef::default();
            record.read(Format::MsgPack, &payload).unwrap();
            assert_eq!((record.device_id.as_ref(), record.timestamp), (original.device_id.as_str(), timestamp));
            assert_eq!(partition_of(record.device_id.as_bytes(), 10), original.partition_of_10);
            let mut again = Vec::new();
            record.write(Format::MsgPack, &mut again).unwrap();
            assert_eq!(again, payload, "{line}");

            let mut from_json = RecordRef::default();
            from_json.read(Format::Json, original.json.as_bytes()).unwrap();
            assert_eq!((&from_json.device_id, from_json.timestamp), (&record.device_id, timestamp));
            assert_eq!(json_text(&from_json), json_text(&record));
            if original.json.contains("Z\"") {
                assert_eq!(json_text(&record), original.json);
            } else {
                // Of another offset the moment is kept, not the offset.
                assert!(json_text(&record).contains("2026-11-22T23:00:00.005Z"), "{line}");
            }
            read += 1;
        }
        assert_eq!(read, 36);
    }

    fn json_text(record: &RecordRef<'_>) -> String {
        let mut payload = Vec::new();
        record.write(Format::Json, &mut payload).unwrap();
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn unknown_keys_are_passed_over_and_known_ones_must_be_there() {
        let unknown =
            rmp_serde::to_vec(&serde_json::json!({"a": [1, {"b": "c"}, null, 1.5], "d": {"e": [[]]}})).unwrap();
        let record = Record::new("tb1", Timestamp::new(1, 0), vec![Cell::Null]);
        let known = record.encode().unwrap();
        let mut payload = vec![0x84, 0xa1, b'x'];
        payload.extend_from_slice(&unknown);
        payload.extend_from_slice(&known[1..]);
        assert_eq!(Record::decode(&payload).unwrap(), record);
        payload[0] = 0x81;
        let error = Record::decode(&payload[..3 + unknown.len()]).unwrap_err().to_string();
        assert!(error.contains("the key DeviceID is missing"), "{error}");

        let json = r#"{"deviceID":"tb1","x":[{}],"timestamp":"1970-01-01T00:00:01Z","cols":[null]}"#;
        assert_eq!(Record::decode_as(Format::Json, json.as_bytes()).unwrap(), record);
        let error = Record::decode_as(Format::Json, br#"{"deviceID":"tb1","cols":[]}"#).unwrap_err().to_string();
        assert!(error.contains("missing field `timestamp`"), "{error}");
    }

    #[test]
    fn an_error_names_the_byte() {
        let payload = from_hex("83a84465766963654944a3746231a954696d657374616d70d6ff60f14489a4436f6c739191");
        let error = Record::decode(&payload).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a msgpack record at byte 36: a column that is a list, a map or an extension"
        );
        let error = Record::decode_as(Format::Json, br#"{"cols":[1,[]]}"#).unwrap_err();
        assert!(matches!(error, CodecError::Decode { position: Some(12), .. }), "{error:?}");
        assert!(Record::decode(&[]).is_err());
    }

    #[test]
    fn what_json_cannot_express_is_an_error() {
        let nan = Record::new("tb1", Timestamp::new(0, 0), vec![Cell::Double(f64::NAN)]);
        assert!(nan.write(Format::Json, &mut Vec::new()).unwrap_err().to_string().contains("NaN"));
        let far = Record::new("tb1", Timestamp::new(i64::MAX, 0), Vec::new());
        assert!(far.write(Format::Json, &mut Vec::new()).unwrap_err().to_string().contains("9999"));
    }

    #[test]
    fn a_record_says_what_it_is() {
        let record = Record::new("tb1", Timestamp::from_millis(5), vec![Cell::Int(7), Cell::Bytes(vec![1].into())]);
        let row = record.row_of(Some("power"), "meters");
        assert_eq!((row.database(), row.super_table(), row.table().as_ref()), (Some("power"), Some("meters"), "tb1"));
        assert_eq!(
            (row.tag_names(), row.column_names()),
            (vec!["device".into()], vec!["ts".into(), "col0".into(), "col1".into()])
        );
        let mut values = Vec::new();
        row.tags(&mut |value| values.push(value));
        row.values(&mut |value| values.push(value));
        let expected = [
            Value::from("tb1"),
            Value::Timestamp(Timestamp::from_millis(5)),
            Value::Int(7),
            Value::Bytes(vec![1].into()),
        ];
        assert_eq!(values, expected);
        assert_eq!((record.super_table(), record.database()), (Some("stb"), None));
    }

    fn cells() -> impl Strategy<Value = Cell<'static>> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Bool),
            any::<i64>().prop_map(Cell::Int),
            any::<u64>().prop_map(Cell::UInt),
            any::<f32>().prop_map(Cell::Float),
            any::<f64>().prop_map(Cell::Double),
            any::<String>().prop_map(|text| Cell::Text(text.into())),
            "[a-z]{0,300}".prop_map(|text| Cell::Text(text.into())),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Cell::Bytes(bytes.into())),
        ]
    }

    prop_compose! {
        fn records()(
            device_id: String, seconds: i64, nanos in 0u32..1_000_000_000,
            cols in proptest::collection::vec(cells(), 0..40),
        ) -> Record {
            Record::new(device_id, Timestamp::new(seconds, nanos), cols)
        }
    }

    proptest! {
        #[test]
        fn msgpack_survives_the_way_there_and_back(record in records()) {
            let payload = record.encode().unwrap();
            // Bytes, not values: a NaN is not equal to itself.
            prop_assert_eq!(Record::decode(&payload).unwrap().encode().unwrap(), payload);
        }

        #[test]
        fn malformed_bytes_are_errors(record in records(), cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
            let whole = record.encode().unwrap();
            prop_assert!(Record::decode(&whole[..cut.index(whole.len())]).is_err());
            let mut changed = whole;
            let at = at.index(changed.len());
            changed[at] = byte;
            // Another record or an error, but no panic.
            let _ = Record::decode(&changed);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, text: String) {
            for payload in [bytes.as_slice(), text.as_bytes()] {
                let _ = Record::decode_as(Format::MsgPack, payload);
                let _ = Record::decode_as(Format::Json, payload);
            }
        }

        #[test]
        fn json_survives_the_way_there_and_back(
            device_id: String, seconds in -62_135_596_800i64..253_402_300_800, nanos in 0u32..1_000_000_000,
            text: String, number: i64, float in -1e300..1e300f64,
        ) {
            let cols = vec![Cell::Null, Cell::Text(text.into()), Cell::Int(number), Cell::Double(float)];
            let record = Record::new(device_id, Timestamp::new(seconds, nanos), cols);
            let text = json_text(&record);
            prop_assert_eq!(Record::decode_as(Format::Json, text.as_bytes()).unwrap(), record);
        }
    }

    /// `cargo test --release -p kafka-taos --lib speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn speed_of_reading_and_writing() {
        let simulator = crate::simulate::Simulator::new(Timestamp::from_millis(1_626_424_457_000));
        let records: Vec<Record> = (0..1000).map(|index| simulator.record(index % 100, index / 100)).collect();
        for format in [Format::MsgPack, Format::Json] {
            let payloads: Vec<Vec<u8>> = records
                .iter()
                .map(|record| {
                    let mut payload = Vec::new();
                    record.write(format, &mut payload).unwrap();
                    payload
                })
                .collect();
            let time = |what: &str, mut once: Box<dyn FnMut() + '_>| {
                let begin = std::time::Instant::now();
                (0..300).for_each(|_| once());
                println!("{format} {what}: {:.0} ns a record", begin.elapsed().as_nanos() as f64 / 300e3);
            };
            time(
                "read",
                Box::new(|| {
                    let mut record = RecordRef::default();
                    for payload in &payloads {
                        record.read(format, payload).unwrap();
                        assert_eq!(std::hint::black_box(&record).cols.len(), 100);
                    }
                }),
            );
            time(
                "write",
                Box::new(|| {
                    let mut payload = Vec::new();
                    for record in &records {
                        payload.clear();
                        record.write(format, &mut payload).unwrap();
                        assert!(std::hint::black_box(&payload).len() > 1000);
                    }
                }),
            );
        }
    }
}
