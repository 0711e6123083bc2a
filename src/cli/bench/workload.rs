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

/// A workload, and how large it is in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scene {
    pub(super) workload: Workload,
    pub(super) tables: u64,
    /// Beside the timestamp; those of meters are what they are.
    pub(super) columns: usize,
    /// Of the topic.
    pub(super) partitions: i32,
    /// Records of the topic.
    pub(super) records: u64,
    /// Whether a record goes to any partition, and not to that of its table.
    pub(super) scatter: bool,
}

impl Workload {
    /// As it is measured where nothing else is said.
    pub(super) fn scene(self) -> Scene {
        let (tables, columns, records) = if self == Self::W1 { (100, 100, 30_000) } else { (10_000, 3, 400_000) };
        Scene { workload: self, tables, columns, partitions: 10, records, scatter: false }
    }
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, tables, columns, partitions, records, .. } = self;
        write!(f, "{workload}, {tables} tables, {columns} columns, {partitions} partitions, {records} records:")
    }
}

/// What a cost may grow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Axis {
    /// 100, 10,000 and 1,000,000 child tables
    Tables,
    /// 1, 100 and 4,000 columns
    Columns,
    /// 1, 30 and 1,000 partitions
    Partitions,
    /// 100,000, 1,000,000 and 10,000,000 records that wait
    Backlog,
}

impl Axis {
    /// The three points; what else they are is the same in all, or so that there is enough to measure.
    pub(super) fn scenes(self) -> [Scene; 3] {
        let (w1, w2) = (Workload::W1.scene(), Workload::W2.scene());
        match self {
            Self::Tables => [100, 10_000, 1_000_000].map(|tables| Scene { tables, records: 1_000_000, ..w2 }),
            Self::Columns => [(1, 1_000_000), (100, 50_000), (4_000, 2_000)].map(|(columns, records)| Scene {
                columns,
                records,
                ..w1
            }),
            Self::Partitions => [1, 30, 1_000].map(|partitions| Scene { partitions, ..w2 }),
            Self::Backlog => [100_000, 1_000_000, 10_000_000].map(|records| Scene { records, ..w2 }),
        }
    }

    /// Where a scene stands on it.
    pub(super) fn of(self, scene: Scene) -> u64 {
        match self {
            Self::Tables => scene.tables,
            Self::Columns => scene.columns as u64,
            Self::Partitions => scene.partitions.unsigned_abs().into(),
            Self::Backlog => scene.records,
        }
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tables => "tables",
            Self::Columns => "columns",
            Self::Partitions => "partitions",
            Self::Backlog => "backlog",
        })
    }
}

impl Scene {
    pub(super) fn stable(self) -> &'static str {
        if self.workload == Workload::W1 { "stb" } else { "meters" }
    }

    fn simulator(self) -> Simulator {
        let Self { tables, columns, .. } = self;
        let database = DATABASE.to_owned();
        Simulator { database, tables, columns, records: u64::MAX, ..Simulator::new(Timestamp::from_millis(START_MS)) }
    }

    pub(super) fn super_table(self) -> SuperTable {
        match self.workload {
            Workload::W1 => self.simulator().super_table(Precision::Milli),
            Workload::W2 => SuperTable {
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
        if self.workload == Workload::W1 {
            let simulator = self.simulator();
            let (table, number) = simulator.at(index);
            let record = simulator.record_in(text, table, number);
            record.write(Format::MsgPack, payload)?;
            return Ok(record.device_id.into_owned());
        }
        const PLACES: [&str; 4] =
            ["California.SanFrancisco", "California.LosAngeles", "Texas.Austin", "NewYork.Brooklyn"];
        let (table, number) = (index % self.tables, index / self.tables);
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

    /// Record number `index` as it is published.
    pub(super) fn outgoing(self, index: u64, text: &mut String) -> Result<Outgoing, CodecError> {
        let mut payload = Vec::new();
        let key = self.record(index, text, &mut payload)?;
        let partition = match self.scatter {
            // As evenly as a random choice, and the same in every run.
            true => (index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as i32 % self.partitions,
            false => partition_of(key.as_bytes(), self.partitions),
        };
        let (key, payload) = (Some(key.into_bytes().into()), Some(payload.into()));
        Ok(Outgoing { partition: Some(partition), key, payload, ..Outgoing::default() })
    }

    /// The first messages of one partition, about as many as a batch of `max_items` and `max_bytes` holds.
    pub(super) fn batch(self, max_items: usize, max_bytes: usize) -> Result<Vec<Message>, CodecError> {
        let source = TopicPartition::new("bench", 0);
        let (mut text, mut bytes, mut messages) = (String::new(), 0, Vec::new());
        for index in 0.. {
            let record = Self { scatter: false, ..self }.outgoing(index, &mut text)?;
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
        let mapping = match self.workload == Workload::W2 && !typed {
            true => Some(meters()?),
            false => None,
        };
        Ok(move || -> Box<dyn RowSource> {
            let policies = Policies::default();
            match (&mapping, self.workload) {
                (Some(mapping), _) => Box::new(Policed::new(policies, mapping.rows())),
                (None, Workload::W1) => Box::new(Policed::new(policies, DemoRows::new(Format::MsgPack))),
                (None, Workload::W2) => Box::new(Policed::new(policies, MeterRows::default())),
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
