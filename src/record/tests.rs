//! The demo record against the original's own messages, and against bytes that are none.

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
    let unknown = rmp_serde::to_vec(&serde_json::json!({"a": [1, {"b": "c"}, null, 1.5], "d": {"e": [[]]}})).unwrap();
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

/// One value of every form that MessagePack has, by the specification.
#[test]
fn an_unknown_value_of_every_form_is_passed_over() {
    let known = Record::new("tb1", Timestamp::new(1, 0), vec![Cell::Null]);
    let record = known.encode().unwrap();
    let sized: [(&[u8], usize); 22] = [
        (&[0xcc], 1), // uint 8 .. 64
        (&[0xcd], 2),
        (&[0xce], 4),
        (&[0xcf], 8),
        (&[0xd0], 1), // int 8 .. 64
        (&[0xd1], 2),
        (&[0xd2], 4),
        (&[0xd3], 8),
        (&[0xca], 4), // float 32, 64
        (&[0xcb], 8),
        (&[0xd9, 2], 2), // str 8 .. 32
        (&[0xda, 0, 2], 2),
        (&[0xdb, 0, 0, 0, 2], 2),
        (&[0xc4, 2], 2), // bin 8 .. 32
        (&[0xc5, 0, 2], 2),
        (&[0xc6, 0, 0, 0, 2], 2),
        (&[0xd4, 1], 1), // fixext 1 .. 16
        (&[0xd5, 1], 2),
        (&[0xd6, 1], 4),
        (&[0xd7, 1], 8),
        (&[0xd8, 1], 16),
        (&[0xc7, 2, 1], 2), // ext 8 .. 32
    ];
    let mut forms: Vec<Vec<u8>> = sized.iter().map(|(head, bytes)| [*head, &vec![0; *bytes]].concat()).collect();
    let plain: [&[u8]; 14] = [
        &[0xc0],
        &[0xc2],
        &[0xc3],
        &[0x7f],
        &[0xe0],
        &[0xa1, b'x'],
        &[0xc8, 0, 2, 1, 0, 0],
        &[0xc9, 0, 0, 0, 2, 1, 0, 0],
        &[0x92, 0x91, 0xc0, 0x90],
        &[0xdc, 0, 2, 0xc0, 0xc0],
        &[0xdd, 0, 0, 0, 2, 0xc0, 0xc0],
        &[0x82, 0xa1, b'x', 0xc0, 0xc0, 0x80],
        &[0xde, 0, 1, 0xc0, 0x80],
        &[0xdf, 0, 0, 0, 1, 0xc0, 0x91, 0xc0],
    ];
    forms.extend(plain.iter().map(|form| form.to_vec()));
    for form in forms {
        let payload = [&[0x84, 0xa1, b'x'][..], &form, &record[1..]].concat();
        assert_eq!(Record::decode(&payload).as_ref(), Ok(&known), "{form:02x?}");
    }
    let reserved = [&[0x84, 0xa1, b'x', 0xc1][..], &record[1..]].concat();
    assert!(Record::decode(&reserved).unwrap_err().to_string().contains("at byte 3"));
}

#[test]
fn an_error_names_the_byte() {
    let payload = from_hex("83a84465766963654944a3746231a954696d657374616d70d6ff60f14489a4436f6c739191");
    let error = Record::decode(&payload).unwrap_err();
    assert_eq!(error.to_string(), "not a msgpack record at byte 36: a column that is a list, a map or an extension");
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
    let expected =
        [Value::from("tb1"), Value::Timestamp(Timestamp::from_millis(5)), Value::Int(7), Value::Bytes(vec![1].into())];
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

    /// As other writers than the original do it.
    #[test]
    fn numbers_of_every_width_are_read(signed: i64, unsigned: u64, bits in 0u32..64) {
        let (signed, unsigned) = (signed >> bits, unsigned >> bits);
        let mut payload = Vec::new();
        Record::new("d", Timestamp::new(1, 0), vec![Cell::Null; 2]).write(Format::MsgPack, &mut payload).unwrap();
        payload.truncate(payload.len() - 2);
        rmp::encode::write_sint(&mut payload, signed).unwrap();
        rmp::encode::write_uint(&mut payload, unsigned).unwrap();
        let number = |cell: &Cell<'_>| match cell {
            Cell::Int(number) => i128::from(*number),
            Cell::UInt(number) => i128::from(*number),
            other => panic!("{other:?}"),
        };
        let cols = Record::decode(&payload).unwrap().cols;
        prop_assert_eq!((number(&cols[0]), number(&cols[1])), (signed.into(), unsigned.into()));
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
