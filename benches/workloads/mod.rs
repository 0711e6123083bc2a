//! The two workloads of the measurements, as a worker meets them: a batch of messages, and what makes rows of them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the measurement")]

use std::path::Path;
use std::sync::Arc;

use kafka_taos::block::Block;
use kafka_taos::codec::Format;
use kafka_taos::mapping::config::{FormatConfig, TableConfig, UnmatchedConfig};
use kafka_taos::mapping::{DemoRows, Mapping, RowSource};
use kafka_taos::message::{Message, TopicPartition};
use kafka_taos::row::{Precision, Timestamp};
use kafka_taos::simulate::Simulator;
use kafka_taos::tdengine::schema::SuperTable;

/// A batch and its way into a block.
pub(crate) struct Batch {
    pub(crate) messages: Vec<Message>,
    pub(crate) rows: Box<dyn RowSource>,
    pub(crate) blocks: [Block; 1],
}

type Make = fn() -> Batch;

/// Every one by its name.
pub(crate) const ALL: [(&str, Make); 2] = [("w1", demo), ("w2", meters)];

/// The demo record, MessagePack: 100 columns of 10 bytes, 10 tables, 50 rows each.
fn demo() -> Batch {
    let simulator = Simulator::new(Timestamp::from_millis(1_764_547_200_000));
    let payload = |index: u64| {
        let mut payload = Vec::new();
        simulator.record(index % 10, index / 10).write(Format::MsgPack, &mut payload).unwrap();
        payload
    };
    Batch::new((0..500).map(payload), Box::new(DemoRows::new(Format::MsgPack)), simulator.super_table(Precision::Milli))
}

/// Meters, JSON by a mapping: 3 columns and 2 tags, 1,000 tables, 4 rows each.
fn meters() -> Batch {
    let table: TableConfig = toml::from_str(
        r#"
        stable    = "meters"
        name      = "d{device}"
        timestamp = { field = "ts", unit = "ms" }
        tags      = { groupid = "int", location = "varchar(24)" }
        columns   = { current = "float", voltage = "int", phase = "float" }"#,
    )
    .unwrap();
    let format = FormatConfig { kind: Some("json".into()), ..FormatConfig::default() };
    let mapping = Mapping::compile(&format, &[table], &UnmatchedConfig::default(), Path::new(".")).unwrap();
    let schema = mapping.super_tables("power", Precision::Milli).swap_remove(0);
    let payload = |index: u64| {
        let (table, number) = (index % 1000, index / 1000);
        format!(
            r#"{{"device":"{table}","ts":{},"current":1{}.{},"voltage":{},"phase":0.{:02},"groupid":{},"location":"California.SanFrancisco"}}"#,
            1_764_547_200_000 + number * 1000,
            table % 5,
            number % 10,
            210 + table % 20,
            table % 100,
            table % 16
        )
        .into_bytes()
    };
    Batch::new((0..4000).map(payload), Box::new(mapping.rows()), schema)
}

impl Batch {
    fn new(payloads: impl Iterator<Item = Vec<u8>>, rows: Box<dyn RowSource>, schema: SuperTable) -> Self {
        let source = TopicPartition::new("bench", 0);
        let message = |(offset, payload): (i64, Vec<u8>)| Message {
            source: source.clone(),
            offset,
            timestamp_ms: Some(0),
            key: None,
            payload: Some(payload.into()),
            headers: Vec::new(),
        };
        Self { messages: (0..).zip(payloads).map(message).collect(), rows, blocks: [Block::new(Arc::new(schema))] }
    }

    /// Makes the block anew of the messages.
    pub(crate) fn decode(&mut self) {
        self.blocks[0].clear();
        let mut faulty = Vec::new();
        for (origin, message) in (0..).zip(&self.messages) {
            self.rows.append(message, origin, &mut self.blocks, &mut faulty).unwrap();
        }
        assert!(faulty.is_empty());
    }
}
