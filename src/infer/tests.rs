//! Samples, and the mappings that come of them: each must map all of its own sample.

use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::file::FileConfig;
use crate::mapping::Mapping;
use crate::message::TopicPartition;
use crate::preview::{Preview, Previewed};

fn about() -> About {
    About {
        brokers: "localhost:9092".into(),
        topics: vec!["plant.meters".into()],
        group: "plant.meters".into(),
        url: "ws://root@localhost:6041/power".into(),
        database: "power".into(),
        dead_letter: "topic:plant.meters.dead".into(),
    }
}

fn messages<P: Into<Vec<u8>>>(payloads: impl IntoIterator<Item = P>) -> Vec<Message> {
    let message = |(offset, payload): (i64, P)| Message {
        source: TopicPartition::new("plant.meters", 0),
        offset,
        timestamp_ms: Some(1_764_547_200_000 + offset),
        key: None,
        payload: Some(Bytes::from(payload.into())),
        headers: Vec::new(),
    };
    (0..).zip(payloads).map(message).collect()
}

/// The configuration, and what it makes of the sample that it came of.
fn inferred(sample: &[Message]) -> (FileConfig, String, Vec<Previewed>) {
    let Inferred { config: text, stables, .. } = infer(sample, &about()).unwrap_or_else(|error| panic!("{error}"));
    let config = FileConfig::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mapping = Mapping::compile(&config.format, &config.table, &config.unmatched, Path::new(""))
        .unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let precision = stables[0].precision;
    let made = mapping.super_tables("power", precision);
    assert_eq!(made, stables, "{text}");
    for stable in &made {
        assert_eq!(stable.check(), Vec::<String>::new(), "{text}");
    }
    let mut preview = Preview::new(Box::new(mapping.rows()), made);
    let rows = sample.iter().map(|message| preview.of(message)).collect();
    (config, text, rows)
}

#[track_caller]
fn assert_all_mapped(text: &str, rows: &[Previewed]) {
    for (at, one) in rows.iter().enumerate() {
        assert_eq!(one.faults, [], "message {at}\n{text}");
    }
}

#[test]
fn flat_meters() {
    let payload = |at: i64| {
        let (device, ts) = (1001 + at % 10, 1_764_547_200_000 + at * 1000);
        format!(
            r#"{{"device":"d{device}","ts":{ts},"current":{}.5,"voltage":{},"on":true,"groupid":{},"location":"Bern.{device}"}}"#,
            at % 7,
            219 + at % 3,
            device % 3
        )
    };
    let (config, text, rows) = inferred(&messages((0..100).map(payload)));
    assert_all_mapped(&text, &rows);
    let table = &config.table[0];
    assert_eq!((table.stable.as_str(), table.name.template.as_str()), ("plant_meters", "d_{device}"), "{text}");
    assert_eq!((table.timestamp.field.as_deref(), table.timestamp.unit.as_deref()), (Some("ts"), Some("ms")));
    let kinds = |fields: &crate::mapping::config::Fields| {
        fields.0.iter().map(|(name, field)| format!("{name} {}", field.data_type)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&table.tags), ["device varchar(16)", "groupid int", "location varchar(18)"], "{text}");
    assert_eq!(kinds(&table.columns), ["current double", "on bool", "voltage int"], "{text}");
    assert_eq!(rows[3].rows[0].table, "d_d1004");
}

#[test]
fn nested_readings_and_status_messages() {
    let reading = |at: i64| {
        format!(
            r#"{{"gateway":{{"id":"g{}","site":{{"name":"Zürich"}}}},"readings":[
              {{"sensor":"s1","at":"2025-12-01T01:{:02}:00+01:00","values":{{"temp":20.5,"hum":41}}}},
              {{"sensor":"s2","at":"2025-12-01T01:{:02}:00","values":{{"hum":{at}}},"note":null}}]}}"#,
            at % 3,
            at % 60,
            at % 60
        )
    };
    let status = |at: i64| format!(r#"{{"gateway":{{"id":"g{}"}},"status":"online","uptime":{at}}}"#, at % 3);
    let payloads = (0..60).map(reading).chain((0..10).map(status));
    let (config, text, rows) = inferred(&messages(payloads));
    assert_all_mapped(&text, &rows);
    assert_eq!(config.table.len(), 2, "{text}");
    assert_eq!(config.table[0].rows.as_deref(), Some("/readings"), "{text}");
    assert_eq!(config.table[0].timestamp.unit.as_deref(), Some("rfc3339"), "{text}");
    assert_eq!((rows[0].rows.len(), rows[60].rows.len()), (2, 1), "{text}");
    assert_ne!(rows[0].rows[0].table, rows[0].rows[1].table, "{text}");
}

#[test]
fn series_that_share_a_moment_are_told_apart() {
    let payload = |at: i64| {
        let points = ["http.duration", "http.requests"].map(|metric| {
            format!(
                r#"{{"metric":"{metric}","timeUnixNano":"{}","asDouble":{at}.5}}"#,
                1_764_547_200_123_000_000i64 + at
            )
        });
        format!(
            r#"{{"resource":{{"attributes":{{"service.name":"cart","host.name":"h1"}}}},"points":[{}]}}"#,
            points.join(",")
        )
    };
    let (config, text, rows) = inferred(&messages((0..30).map(payload)));
    assert_all_mapped(&text, &rows);
    assert_eq!(config.table[0].timestamp.unit.as_deref(), Some("ns"), "{text}");
    assert_eq!(config.tdengine.precision.as_deref(), Some("ns"), "{text}");
    let tables: std::collections::HashSet<_> = rows[0].rows.iter().map(|row| &row.table).collect();
    assert_eq!(tables.len(), 2, "{text}");
}

#[test]
fn what_has_neither_time_nor_device_goes_by_what_kafka_knows() {
    let mut sample = messages((0..30).map(|at| format!(r#"{{"v":{at},"w":"x{at}"}}"#)));
    let (config, text, rows) = inferred(&sample);
    assert_all_mapped(&text, &rows);
    assert_eq!(config.table[0].timestamp.from.as_deref(), Some("timestamp"), "{text}");
    assert_eq!(rows[0].rows[0].table, "d_0", "{text}");
    for message in &mut sample {
        message.key = Some(Bytes::from(format!("plant/{}.x", message.offset % 3)));
    }
    let (_, text, rows) = inferred(&sample);
    assert_all_mapped(&text, &rows);
    assert_eq!(rows[4].rows[0].table, "d_plant/1_x", "{text}");
}

#[test]
fn other_formats() {
    let line =
        (0..30).map(|at| format!("cpu,host=h{} usage={at}.5,cores=8i {}", at % 3, 1_764_547_200_000_000_000i64 + at));
    let csv = (0..30).map(|at| format!("d{},{},{at}.25,ok", at % 3, 1_764_547_200_000i64 + at));
    let lines = (0..30).map(|at| {
        format!(
            "{{\"id\":\"a{}\",\"ts\":{},\"v\":1}}\n{{\"id\":\"b\",\"ts\":{},\"v\":2}}\n",
            at % 3,
            1_764_547_200 + at,
            1_764_547_200 + at
        )
    });
    let simulator = crate::simulate::Simulator {
        columns: 3,
        tables: 5,
        records: 6,
        ..crate::simulate::Simulator::new(crate::row::Timestamp::from_millis(1_764_547_200_000))
    };
    let demo = (0..30).map(|index| {
        let (table, number) = simulator.at(index);
        let mut payload = Vec::new();
        simulator.record(table, number).write(crate::codec::Format::MsgPack, &mut payload).unwrap();
        payload
    });
    let samples = [messages(line), messages(csv), messages(lines), messages(demo)];
    let kinds = ["line", "csv", "json", "msgpack"];
    for (sample, kind) in samples.iter().zip(kinds) {
        let (config, text, rows) = inferred(sample);
        assert_all_mapped(&text, &rows);
        assert_eq!(config.format.kind.as_deref(), Some(kind), "{text}");
        assert!(rows.iter().all(|one| !one.rows.is_empty()), "{text}");
    }
}

#[test]
fn secrets_do_not_get_into_it() {
    let (_, text, _) = inferred(&messages([r#"{"id":"a","ts":1764547200000,"v":1}"#]));
    assert!(text.contains("ws://root@localhost:6041/power") && text.contains("TDENGINE_PASSWORD"), "{text}");
    assert!(infer(&[], &about()).is_err());
}

/// Values of a field: of one kind mostly, missing and null at times.
fn scalar() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        (-1000i32..1000).prop_map(Json::from),
        (-1e9f64..1e9).prop_map(Json::from),
        "\\PC{0,20}".prop_map(Json::from),
        "[a-z]{1,8}".prop_map(Json::from),
    ]
}

fn tree() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value as Json;
    scalar().prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            3 => proptest::collection::btree_map("[a-zA-Z_.~/ -]{0,6}|id|ts|name|key", inner.clone(), 0..5)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
            1 => proptest::collection::vec(inner, 0..4).prop_map(Json::Array),
        ]
    })
}

fn record() -> impl Strategy<Value = serde_json::Value> {
    proptest::collection::btree_map("[a-zA-Z_.~/ -]{1,6}|id|ts|device|rows", tree(), 1..6)
        .prop_map(|map| serde_json::Value::Object(map.into_iter().collect()))
}

proptest! {
    /// Messages of any shapes, mixed: what is inferred of them compiles, and maps every one of them without a fault.
    #[test]
    fn any_json_maps_itself(records in proptest::collection::vec(record(), 1..12), repeats in 1usize..4) {
        let all: Vec<_> = std::iter::repeat_n(&records, repeats).flatten().map(ToString::to_string).collect();
        let sample = messages(all);
        match infer(&sample, &about()) {
            Err(InferError::NoColumns | InferError::Unknown(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
            Ok(_) => {
                let (_, text, rows) = inferred(&sample);
                for one in rows {
                    prop_assert!(one.faults.is_empty(), "{:?}\n{}", one.faults, text);
                }
            }
        }
    }

    /// Messages of one shape whose values differ, as topics have them.
    #[test]
    fn flat_json_of_one_shape_maps_itself(
        kinds in proptest::collection::vec(0u8..6, 1..8),
        numbers in proptest::collection::vec(any::<i32>(), 3..40),
    ) {
        let value = |kind: u8, number: i32| match kind {
            0 => serde_json::Value::from(number),
            1 => serde_json::Value::from(f64::from(number) / 8.0),
            2 => serde_json::Value::from(format!("text {}", number % 7)),
            3 => serde_json::Value::from(number % 2 == 0),
            4 => serde_json::Value::from(1_764_547_200_000i64 + i64::from(number)),
            _ => serde_json::Value::from(format!("Zürich {number}")),
        };
        let payload = |number: &i32| {
            let fields = kinds.iter().enumerate().map(|(at, kind)| (format!("f{at}"), value(*kind, number.wrapping_add(at as i32))));
            serde_json::Value::Object(fields.collect()).to_string()
        };
        let sample = messages(numbers.iter().map(payload));
        let (_, text, rows) = inferred(&sample);
        for one in rows {
            prop_assert!(one.faults.is_empty() && one.rows.len() == 1, "{:?}\n{}", one, text);
        }
    }
}
