//! The two workloads: what their messages are, and what makes rows of them.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use kafka_taos::block::{Block, Places};
use kafka_taos::codec::{CodecError, Format, partition_of};
use kafka_taos::mapping::config::{FormatConfig, TableConfig, UnmatchedConfig};
use kafka_taos::mapping::{DemoRows, Mapping, MessageFault, OneRow, Policed, Policies, RowSource};
use kafka_taos::message::{Message, Outgoing, TopicPartition};
use kafka_taos::row::{Precision, TaosEncoder, Timestamp};
use kafka_taos::simulate::Simulator;
use kafka_taos::tdengine::schema::{DataType, Field, SuperTable};
use serde::{Deserialize, Serialize};

use crate::cli::Failure;

/// Where both workloads are written.
pub(super) const DATABASE: &str = "kafka_taos_bench";
/// Partitions of a workload's topic.
pub(super) const PARTITIONS: i32 = 10;

/// What is measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Workload {
    /// The demo record: 100 tables, 100 columns of 10 bytes, MessagePack
    W1,
    /// Meters: 10,000 tables, 3 narrow columns and 2 tags, JSON
    W2,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::W1 { "w1" } else { "w2" })
    }
}

/// The first record's timestamp: far enough in the past for any run to end before now.
const START_MS: i64 = 1_764_547_200_000;

impl Workload {
    pub(super) fn stable(self) -> &'static str {
        if self == Self::W1 { "stb" } else { "meters" }
    }

    fn tables(self) -> u64 {
        if self == Self::W1 { 100 } else { 10_000 }
    }

    fn simulator() -> Simulator {
        let database = DATABASE.to_owned();
        Simulator { database, records: u64::MAX, ..Simulator::new(Timestamp::from_millis(START_MS)) }
    }

    pub(super) fn super_table(self) -> SuperTable {
        match self {
            Self::W1 => Self::simulator().super_table(Precision::Milli),
            Self::W2 => SuperTable {
                database: DATABASE.into(),
                name: self.stable().into(),
                precision: Precision::Milli,
                columns: vec![
                    Field::new("ts", DataType::Timestamp),
                    Field::new("current", DataType::Float),
                    Field::new("voltage", DataType::Int),
                    Field::new("phase", DataType::Float),
                ],
                composite_key: false,
                tags: vec![Field::new("groupid", DataType::Int), Field::new("location", DataType::Varchar(24))],
            },
        }
    }

    /// Record number `index`: all tables, then the next interval. Its key, and its payload in place of what was there.
    pub(super) fn record(self, index: u64, text: &mut String, payload: &mut Vec<u8>) -> Result<String, CodecError> {
        payload.clear();
        if self == Self::W1 {
            let simulator = Self::simulator();
            let (table, number) = simulator.at(index);
            let record = simulator.record_in(text, table, number);
            record.write(Format::MsgPack, payload)?;
            return Ok(record.device_id.into_owned());
        }
        const PLACES: [&str; 4] =
            ["California.SanFrancisco", "California.LosAngeles", "Texas.Austin", "NewYork.Brooklyn"];
        let (table, number) = (index % self.tables(), index / self.tables());
        let device = format!("d{table}");
        let (current, voltage, phase) = (10 + table % 5, 210 + (table + number) % 20, (number * 7 + table) % 100);
        text.clear();
        // Writing into a String does not fail.
        let _ = write!(
            text,
            r#"{{"device":"{device}","ts":{},"current":{current}.{},"voltage":{voltage},"phase":0.{phase:02},"groupid":{},"location":"{}"}}"#,
            START_MS + (number as i64) * 1000,
            number % 10,
            table % 16,
            PLACES[(table % 4) as usize],
        );
        payload.extend_from_slice(text.as_bytes());
        Ok(device)
    }

    /// Record number `index` as it is published: to its table's partition, or with `scatter` to any.
    pub(super) fn outgoing(self, index: u64, scatter: bool, text: &mut String) -> Result<Outgoing, CodecError> {
        let mut payload = Vec::new();
        let key = self.record(index, text, &mut payload)?;
        let partition = match scatter {
            // As evenly as a random choice, and the same in every run.
            true => (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as i32 % PARTITIONS,
            false => partition_of(key.as_bytes(), PARTITIONS),
        };
        let (key, payload) = (Some(key.into_bytes().into()), Some(payload.into()));
        Ok(Outgoing { partition: Some(partition), key, payload, ..Outgoing::default() })
    }

    /// The first messages of one partition, about as many as a batch of `max_items` and `max_bytes` holds.
    pub(super) fn batch(self, max_items: usize, max_bytes: usize) -> Result<Vec<Message>, CodecError> {
        let source = TopicPartition::new("bench", 0);
        let (mut text, mut bytes, mut messages) = (String::new(), 0, Vec::new());
        for index in 0.. {
            let record = self.outgoing(index, false, &mut text)?;
            if record.partition != Some(0) {
                continue;
            }
            let message = Message {
                source: source.clone(),
                offset: messages.len() as i64,
                timestamp_ms: Some(START_MS),
                key: record.key,
                payload: record.payload,
                headers: Vec::new(),
            };
            bytes += message.weight_bytes();
            if messages.len() == max_items || (bytes > max_bytes && !messages.is_empty()) {
                break;
            }
            messages.push(message);
        }
        Ok(messages)
    }

    /// What makes rows of its messages, as in a consumer: the demo record by its type, meters by a mapping or, `typed`, by
    /// theirs.
    pub(super) fn rows(self, typed: bool) -> Result<impl Fn() -> Box<dyn RowSource> + Clone + Send + 'static, Failure> {
        let mapping = match self == Self::W2 && !typed {
            true => Some(meters()?),
            false => None,
        };
        Ok(move || -> Box<dyn RowSource> {
            let policies = Policies::default();
            match (&mapping, self) {
                (Some(mapping), _) => Box::new(Policed::new(policies, mapping.rows())),
                (None, Self::W1) => Box::new(Policed::new(policies, DemoRows::new(Format::MsgPack))),
                (None, Self::W2) => Box::new(Policed::new(policies, MeterRows::default())),
            }
        })
    }
}

/// The mapping that a user would write for meters.
const METERS: &str = r#"
stable    = "meters"
name      = "{device}"
timestamp = { field = "ts", unit = "ms" }
tags      = { groupid = "int", location = "varchar(24)" }
columns   = { current = "float", voltage = "int", phase = "float" }
"#;

fn meters() -> Result<Mapping, Failure> {
    let table: TableConfig = toml::from_str(METERS)?;
    let format = FormatConfig { kind: Some("json".into()), ..FormatConfig::default() };
    Ok(Mapping::compile(&format, &[table], &UnmatchedConfig::default(), Path::new("."))?)
}

/// A meter's reading, by hand: text is borrowed from the payload.
#[derive(Debug, Deserialize, TaosEncoder)]
#[taos(database = "kafka_taos_bench", super_table = "meters", table = "{device}")]
struct Meter<'a> {
    #[taos(skip)]
    #[serde(borrow)]
    device: Cow<'a, str>,
    #[taos(timestamp = "ms")]
    ts: i64,
    current: f32,
    voltage: i32,
    phase: f32,
    #[taos(tag)]
    groupid: i32,
    #[taos(tag)]
    #[serde(borrow)]
    location: Cow<'a, str>,
}

/// Makes rows of typed meter readings.
#[derive(Default)]
pub(super) struct MeterRows {
    places: Option<(Arc<SuperTable>, Places)>,
}

impl OneRow for MeterRows {
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let record: Meter<'_> = serde_json::from_slice(payload).map_err(|error| CodecError::Decode {
            format: Format::Json,
            position: None,
            reason: error.to_string(),
        })?;
        let places = match &self.places {
            Some((schema, places)) if Arc::ptr_eq(schema, block.schema()) => places,
            _ => {
                let places = Places::of(&record, block.schema())?;
                &self.places.insert((block.schema().clone(), places)).1
            }
        };
        Ok(block.push(&record, places, origin)?)
    }
}
