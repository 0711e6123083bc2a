//! Payloads of messages.

use std::collections::BTreeMap;

use kafka_taos::codec::{self, Format};
use kafka_taos::record::RecordRef;
use kafka_taos::row::Timestamp;
use serde::{Deserialize, Serialize};

/// A demo record in MessagePack.
pub fn record_msgpack(input: &[u8]) {
    record(Format::MsgPack, input);
}

/// A demo record in JSON.
pub fn record_json(input: &[u8]) {
    record(Format::Json, input);
}

/// What was read is written and read again as the same bytes; comparing values would stumble over NaN.
fn record(format: Format, input: &[u8]) {
    let mut record = RecordRef::default();
    if record.read(format, input).is_err() {
        return;
    }
    let mut written = Vec::new();
    if record.write(format, &mut written).is_err() {
        return;
    }
    let mut again = RecordRef::default();
    again.read(format, &written).expect("what was written can be read");
    let mut rewritten = Vec::new();
    again.write(format, &mut rewritten).expect("what was read can be written");
    assert_eq!(written, rewritten);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    device: String,
    ts: Timestamp,
    phase: Option<f64>,
    #[serde(default)]
    flags: Vec<bool>,
    #[serde(default)]
    nested: BTreeMap<String, Vec<Option<i64>>>,
}

/// A record of a user's own type, in both formats.
pub fn codec(input: &[u8]) {
    for format in [Format::Json, Format::MsgPack] {
        let _ = codec::decode::<serde::de::IgnoredAny>(format, input);
        let _ = codec::decode::<serde_json::Value>(format, input);
        let Ok(reading) = codec::decode::<Reading>(format, input) else { continue };
        let mut written = Vec::new();
        if codec::encode(format, &reading, &mut written).is_err()
            || reading.phase.is_some_and(|phase| !phase.is_finite())
        {
            continue;
        }
        assert_eq!(codec::decode::<Reading>(format, &written), Ok(reading));
    }
}
