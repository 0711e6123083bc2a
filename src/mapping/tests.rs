//! Mappings as users write them, on messages as they come.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::file::FileConfig;
use crate::message::{Header, TopicPartition};
use crate::row::Precision;

/// A mapping, and what it makes of messages.
struct Bench {
    rows: MappedRows,
    blocks: Vec<Block>,
    faulty: Vec<FaultyRow>,
}

fn compile(text: &str) -> Result<Mapping, String> {
    let config = FileConfig::parse(text)?;
    Mapping::compile(&config.format, &config.table, &config.unmatched, Path::new("."))
        .map_err(|errors| errors.to_string())
}

impl Bench {
    fn new(text: &str) -> Self {
        let mapping = compile(text).unwrap_or_else(|error| panic!("{error}"));
        let blocks =
            mapping.super_tables("power", Precision::Milli).into_iter().map(|stable| Block::new(Arc::new(stable)));
        Self { blocks: blocks.collect(), rows: mapping.rows(), faulty: Vec::new() }
    }

    fn put(&mut self, payload: &str) -> Result<Outcome, String> {
        let message = Message {
            source: TopicPartition::new("plant", 3),
            offset: 42,
            timestamp_ms: Some(1000),
            key: Some("k7".into()),
            payload: Some(payload.to_owned().into()),
            headers: vec![Header { name: "unit".into(), value: Some("bar".into()) }],
        };
        self.rows.append(&message, 0, &mut self.blocks, &mut self.faulty).map_err(|fault| fault.to_string())
    }

    /// Table, then each tag, then each column; NULL as `null`, no value as `-`.
    fn shown(&self, block: usize) -> Vec<String> {
        let block = &self.blocks[block];
        let cell = |column: &crate::block::Column, row: usize| match column.flags[row] {
            crate::block::NULL => "null".to_owned(),
            crate::block::UNSET => "-".to_owned(),
            _ => show(column.data_type, column.bytes(row)),
        };
        let row = |row: usize| {
            let table = block.table_of(row as u32);
            let tags = block.tags().iter().map(|tag| cell(tag, table));
            let columns = block.columns().iter().map(|column| cell(column, row));
            let cells: Vec<_> = tags.chain(columns).collect();
            format!("{} {}", block.table_name(table), cells.join(" "))
        };
        (0..block.rows()).map(row).collect()
    }

    fn faults(&self) -> Vec<String> {
        self.faulty.iter().map(|row| format!("{}: {}", row.element, row.fault)).collect()
    }
}

fn show(data_type: crate::tdengine::schema::DataType, bytes: &[u8]) -> String {
    use crate::tdengine::schema::DataType as T;
    match data_type {
        T::Int => i32::from_le_bytes(bytes.try_into().unwrap()).to_string(),
        T::BigInt | T::Timestamp => i64::from_le_bytes(bytes.try_into().unwrap()).to_string(),
        T::Float => f32::from_le_bytes(bytes.try_into().unwrap()).to_string(),
        T::Double => f64::from_le_bytes(bytes.try_into().unwrap()).to_string(),
        T::Bool => (bytes[0] == 1).to_string(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

const METERS: &str = r#"
format.type = "json"
[[table]]
stable = "meters"
name = "d_{device}"
timestamp = { field = "ts", unit = "ms" }
tags = { groupid = "int", location = { field = "/site/location", type = "varchar(8)", too_long = "truncate" } }
columns = { current = "float", voltage = { type = "int", invalid = "null" }, phase = { type = "float", default = 0.5 } }
"#;

#[test]
fn a_flat_message_becomes_a_row() {
    let mut bench = Bench::new(METERS);
    bench
        .put(r#"{"device":7,"ts":5,"current":1.5,"voltage":220,"phase":0.25,"groupid":2,"site":{"location":"Bern"}}"#)
        .unwrap();
    bench.put(r#"{"ts":6,"device":"x","current":null,"voltage":"many","site":{"location":"St. Gallen"}}"#).unwrap();
    bench.put(r#"{"ts":7,"device":7,"current":"2.5"}"#).unwrap();
    assert_eq!(
        bench.shown(0),
        ["d_7 2 Bern 5 1.5 220 0.25", "d_x null St. Gall 6 null null 0.5", "d_7 2 Bern 7 2.5 - 0.5"]
    );
    assert!(bench.faulty.is_empty());
}

#[test]
fn the_only_row_of_a_message_is_the_message() {
    let mut bench = Bench::new(METERS);
    let mut fault = |payload: &str| bench.put(payload).unwrap_err();
    assert!(fault(r#"{"ts":1}"#).contains("table name, {device}"));
    assert!(fault(r#"{"device":"a.b","ts":1}"#).contains("holds a '.'"));
    assert!(fault(r#"{"device":"a"}"#).starts_with("has no timestamp"));
    assert!(fault(r#"{"device":"a","ts":1,"current":true}"#).contains("current (FLOAT)"));
    assert!(fault("{").starts_with("cannot be decoded: not JSON"));
    assert_eq!((bench.blocks[0].rows(), bench.blocks[0].tables()), (0, 0), "nothing is left behind");
}

#[test]
fn each_element_goes_to_the_first_table_that_takes_it() {
    let mut bench = Bench::new(
        r#"
format.type = "json"
[[table]]
when = "kind == 't'"
rows = "/metrics"
stable = "temps"
name = "{node}_{name}"
timestamp = { field = "at", unit = "s" }
tags = { node = "varchar(8)", unit = { from = "header:unit", type = "varchar(8)" } }
columns = { v = "double" }
[[table]]
when = "kind == 'c' && value >= 0"
rows = "/metrics"
stable = "counts"
name = "{node}_{name}"
timestamp = { field = "/sent", unit = "ms" }
tags = { node = "varchar(8)" }
columns = { v = { type = "bigint", expr = "value * 2" }, n = { type = "int", from = "index" } }
[[table]]
stable = "states"
name = "{node}"
timestamp = { from = "timestamp" }
tags = { t = { type = "varchar(8)", from = "topic" } }
columns = { state = "varchar(8)", o = { type = "bigint", from = "offset" } }
"#,
    );
    bench
        .put(r#"{"node":"n1","sent":9,"metrics":[{"kind":"t","name":"a","at":1.25,"v":3},{"kind":"c","name":"b","value":4},
                 {"kind":"c","name":"b","value":-1},{"kind":"t","name":"a","v":1}]}"#)
        .unwrap();
    bench.put(r#"{"node":"n2","state":"up"}"#).unwrap();
    assert_eq!(bench.shown(0), ["n1_a n1 bar 1250 3"]);
    assert_eq!(bench.shown(1), ["n1_b n1 9 8 1"]);
    assert_eq!(bench.shown(2), ["n2 plant 1000 up 42"]);
    let faults = bench.faults();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].starts_with("3: has no timestamp") && faults[1].starts_with("2: no [[table]] takes it"),
        "{faults:?}"
    );
    // A condition that cannot be evaluated is the element's fault.
    assert!(
        bench.put(r#"{"node":"n","metrics":[{"kind":"c","name":"b","value":"x"}]}"#).unwrap_err().starts_with("when:")
    );
}

#[test]
fn what_no_table_takes_is_dropped_where_a_rule_says_so() {
    let unmatched = "[unmatched]\nto = 'drop'\n";
    let table = METERS.replace("stable =", "when = \"has(kafka.key) && device != 'off'\"\nstable =");
    let mut bench = Bench::new(&format!("{}{unmatched}", table));
    assert_eq!(bench.put(r#"{"device":"off","ts":1}"#), Ok(Outcome::Filtered));
    assert_eq!(bench.put(r#"{"device":"on","ts":1}"#), Ok(Outcome::Rows));
    let mut bench = Bench::new(&table);
    assert!(bench.put(r#"{"device":"off","ts":1}"#).unwrap_err().starts_with("no [[table]] takes it"));
}

#[test]
fn an_object_is_no_single_value_even_where_an_expression_wants_it_whole() {
    let mut bench = Bench::new(
        r#"
format.type = "json"
[[table]]
stable = "m"
name = "d"
timestamp = "ts"
tags = { t = { type = "int", expr = "a.b" } }
columns = { a = { type = "varchar(64)", invalid = "null" } }
"#,
    );
    bench.put(r#"{"ts":1,"a":{"b":7}}"#).unwrap();
    assert_eq!(bench.shown(0), ["d 7 1 null"]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let wrong = compile(
        r#"
format.type = "jsn"
[[table]]
when = "a =="
stable = "m"
name = "d_{"
timestamp = { field = "ts", unit = "minutes" }
tags = { a = "integr" }
columns = { v = { type = "int", too_long = "truncate", missing = "zero", expr = "1", field = "x" }, a = "int" }
"#,
    )
    .unwrap_err();
    for part in [
        "format: ",
        "table 1 (m), when: ",
        "name: ",
        "timestamp: unit",
        "tags.a: ",
        "columns.v: has more than one",
        "missing = \"zero\"",
        "too_long",
    ] {
        assert!(wrong.contains(part), "{part} in {wrong}");
    }
}

#[test]
fn the_demo_record_is_a_mapping_like_any_other() {
    use crate::codec::Format;
    use crate::row::Timestamp;
    use crate::simulate::Simulator;
    let simulator = Simulator { columns: 12, ..Simulator::new(Timestamp::from_millis(1_764_547_200_000)) };
    let schema = Arc::new(simulator.super_table(Precision::Milli));
    for (format, kind, [device, time, cols], unit) in [
        (Format::Json, "json", ["deviceID", "timestamp", "cols"], "rfc3339"),
        (Format::MsgPack, "msgpack", ["DeviceID", "Timestamp", "Cols"], "ms"),
    ] {
        let columns: String =
            (0..12).map(|i| format!("col{i} = {{ field = '/{cols}/{i}', type = 'binary(10)' }}\n")).collect();
        let mapping = compile(&format!(
            "format.type = '{kind}'\n[[table]]\nstable = 'stb'\nname = '{{{device}}}'\n\
             timestamp = {{ field = '{time}', unit = '{unit}' }}\n\
             tags = {{ device = {{ field = '{device}', type = 'binary(10)' }} }}\n[table.columns]\n{columns}"
        ))
        .unwrap();
        assert_eq!(mapping.super_tables("power", Precision::Milli)[0].columns, schema.columns);
        let (mut typed, mut mapped) = (DemoRows::new(format), mapping.rows());
        let mut blocks = [Block::new(schema.clone()), Block::new(schema.clone())];
        for n in 0..50 {
            let mut payload = Vec::new();
            simulator.record(n % 7, n).write(format, &mut payload).unwrap();
            let message = Message {
                source: TopicPartition::new("t", 0),
                offset: 0,
                timestamp_ms: None,
                key: None,
                payload: Some(payload.into()),
                headers: Vec::new(),
            };
            let [one, other] = &mut blocks;
            typed.append_one(&message, 0, one).unwrap();
            mapped.append(&message, 0, std::slice::from_mut(other), &mut Vec::new()).unwrap();
        }
        let encoded = |block: &mut Block| {
            let (mut frame, rows) = (Vec::new(), block.order().rows);
            crate::encode::stmt2::bind_frame(&mut frame, block, &rows, true);
            frame
        };
        let [one, other] = &mut blocks;
        assert_eq!(one.rows(), 50);
        assert!(encoded(one) == encoded(other), "{kind}");
    }
}
