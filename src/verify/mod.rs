//! The proof that nothing is missing: what a group has committed, read again and held against what is stored.
//!
//! ```text
//!  topic ─► rows, by the mapping ─► sorted by key (memory, then disk) ─► a part of the keys at a time ─┐
//!  dead letters ─► what is excused ──────────┘                                                       ├─► judged, counted
//!  database ─────────────────────────────────────────────────────────► the same keys, by table ─────┘
//! ```
//!
//! Nothing of it rests on what a consumer remembers: topic, database and dead letters are read anew. Each row that the
//! mapping makes is one of these, so that `rows` is their sum:
//!
//! | row | is |
//! |---|---|
//! | `rows_present` | the last of its key, and its value is stored |
//! | `merged` | an earlier one of its key, all of whose values are still there in the row that stands |
//! | `superseded` | an earlier one of its key, of which a later one has overwritten something |
//! | `rows_dead` | in the dead letters |
//! | `stale` | the last of its key, where an older value of the key is stored |
//! | `missing` | the last of its key, and neither stored nor in the dead letters; or there with a value that no message has |
//!
//! A message that cannot be mapped, and is not in the dead letters either, counts as one missing row.
//!
//! Memory is bounded by [`Settings::sort_bytes`] and a few parts of keys, whatever the topic holds; what is beyond is on
//! disk, in the system's folder for temporary files. Only dead letters are all held in memory, some 60 bytes each.

mod cell;
mod collect;
mod compare;
mod dead;
mod judge;
mod sort;
mod standing;
mod written;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::ser::SerializeStruct as _;

pub use dead::DeadSet;
pub use standing::overwriting;

use crate::mapping::RowSource;
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::MqError;
use crate::tdengine::schema::SuperTable;
use crate::tdengine::{Connection, TdengineError};

/// Why it cannot be told whether anything is missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The topic cannot be read.
    #[error(transparent)]
    Mq(#[from] MqError),
    /// The database cannot be read.
    #[error(transparent)]
    Tdengine(#[from] TdengineError),
    /// What is sorted found no room on disk.
    #[error("sorting rows on disk: {0}; free space in the folder for temporary files, or set TMPDIR to another")]
    Disk(#[from] std::io::Error),
    /// What a message is read by cannot be had, so that nothing can be said of it.
    #[error("{partition} offset {offset}: {reason}; nothing is proven")]
    Unread {
        /// Its partition.
        partition: TopicPartition,
        /// Its offset.
        offset: Offset,
        /// What cannot be had.
        reason: String,
    },
    /// A thread of it ended.
    #[error("reading the topic ended before its time")]
    Ended,
}

/// Which offsets of a partition are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The partition.
    pub source: TopicPartition,
    /// The first offset that is still there.
    pub first: Offset,
    /// The first offset that is looked at.
    pub from: Offset,
    /// The end of what is looked at: the group's committed offset.
    pub to: Offset,
    /// The end of the partition. Up to there it is read too, [`TAIL_MESSAGES`] at most: what a consumer has written and
    /// not committed yet may stand in place of what it had before.
    pub end: Offset,
}

/// Messages behind the committed offset that are looked at; more than a consumer holds at once.
pub const TAIL_MESSAGES: Offset = 200_000;

impl Span {
    /// The offsets that are read.
    pub fn read(&self) -> std::ops::Range<Offset> {
        // Where nothing is to be proven, nothing can be explained either.
        let tail = if self.from < self.to { self.end.min(self.to.saturating_add(TAIL_MESSAGES)) } else { self.to };
        self.from..tail.max(self.to)
    }
}

/// A super table that rows are for.
#[derive(Clone, Debug)]
pub struct Target {
    /// As it is; as it should be where it is not there.
    pub schema: Arc<SuperTable>,
    /// Whether it is there.
    pub exists: bool,
}

/// How it is done.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Rows are sorted in so much memory; beyond it, on disk.
    pub sort_bytes: usize,
    /// How many rows that are missing, and that are stale, are told.
    pub most_findings: usize,
    /// How far it is, for whoever looks.
    pub progress: Arc<Progress>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { sort_bytes: 64 << 20, most_findings: 10, progress: Arc::default() }
    }
}

/// What was counted, of all or of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // see the table of the module
pub struct Counts {
    pub messages: u64,
    pub messages_filtered: u64,
    /// Of which no row is stored: all of the message is in the dead letters.
    pub messages_dead: u64,
    pub rows: u64,
    pub rows_present: u64,
    pub merged: u64,
    pub superseded: u64,
    pub rows_dead: u64,
    pub stale: u64,
    pub missing: u64,
}

impl Counts {
    const NAMES: [&'static str; 10] = [
        "messages",
        "messages_filtered",
        "messages_dead",
        "rows",
        "rows_present",
        "merged",
        "superseded",
        "rows_dead",
        "stale",
        "missing",
    ];

    const fn numbers(&self) -> [u64; 10] {
        [
            self.messages,
            self.messages_filtered,
            self.messages_dead,
            self.rows,
            self.rows_present,
            self.merged,
            self.superseded,
            self.rows_dead,
            self.stale,
            self.missing,
        ]
    }

    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.messages_filtered += other.messages_filtered;
        self.messages_dead += other.messages_dead;
        self.rows += other.rows;
        self.rows_present += other.rows_present;
        self.merged += other.merged;
        self.superseded += other.superseded;
        self.rows_dead += other.rows_dead;
        self.stale += other.stale;
        self.missing += other.missing;
    }
}

/// A partition, and what was counted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionReport {
    /// What was looked at.
    pub span: Span,
    /// What was found.
    pub counts: Counts,
}

/// `{"partition":"TOPIC/0","first":N,"from":N,"to":N,"end":N,"messages":N,..}`
impl Serialize for PartitionReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("PartitionReport", 15)?;
        object.serialize_field("partition", &self.span.source.to_string())?;
        object.serialize_field("first", &self.span.first)?;
        object.serialize_field("from", &self.span.from)?;
        object.serialize_field("to", &self.span.to)?;
        object.serialize_field("end", &self.span.end)?;
        for (name, number) in Counts::NAMES.into_iter().zip(self.counts.numbers()) {
            object.serialize_field(name, &number)?;
        }
        object.end()
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Over all partitions.
    pub counts: Counts,
    /// Of each.
    pub partitions: Vec<PartitionReport>,
    /// The first rows that are missing, and the first that are stale.
    pub findings: Vec<Finding>,
}

/// `{"messages":N,..,"missing":N,"partitions":[..]}`
impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Report", 11)?;
        for (name, number) in Counts::NAMES.into_iter().zip(self.counts.numbers()) {
            object.serialize_field(name, &number)?;
        }
        object.serialize_field("partitions", &self.partitions)?;
        object.end()
    }
}

/// A row, or message, that is not stored as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Stale; otherwise missing.
    pub is_stale: bool,
    /// Where it stands in Kafka.
    pub source: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// What it is and what is wrong, with table and timestamp.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.is_stale { "stale" } else { "missing" };
        write!(f, "{kind}: {} offset {}: {}", self.source, self.offset, self.text)
    }
}

/// How far it is, for people who wait.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    compared: AtomicU64,
}

impl Progress {
    /// Messages read, and keys compared.
    pub fn now(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.compared.load(Ordering::Relaxed))
    }
}

/// Reads messages of [`Span::read`] of all spans, in order within each partition.
pub trait Messages: Send + 'static {
    /// The next message; `None` when all were read. Blocks.
    ///
    /// # Errors
    /// They cannot be read.
    fn next(&mut self) -> Result<Option<Message>, MqError>;
}

impl Messages for crate::mq::kafka::Reader {
    fn next(&mut self) -> Result<Option<Message>, MqError> {
        self.read_next()
    }
}

/// Holds the rows of all messages of `spans` against what is stored. `rows` makes rows for the super tables of `targets`,
/// in their order.
///
/// # Errors
/// Topic or database cannot be read, or the disk is full: then nothing is proven. Dropping the future ends it.
pub async fn verify(
    settings: Settings,
    spans: Vec<Span>,
    messages: impl Messages,
    rows: impl RowSource,
    targets: Vec<Target>,
    dead: DeadSet,
    connection: &Connection,
) -> Result<Report, VerifyError> {
    let collector = collect::Collector::new(&settings, spans.clone(), &targets, dead, settings.progress.clone());
    let collected = tokio::task::spawn_blocking(move || collector.run(messages, rows));
    let collect::Collected { counts, findings, sorter } = collected.await.map_err(|_| VerifyError::Ended)??;
    let mut comparison =
        compare::Comparison::new(&settings, &spans, targets, counts, findings, settings.progress.clone());
    comparison.run(sorter, connection).await?;
    Ok(comparison.report())
}
