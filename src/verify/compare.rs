//! What is stored, read a part of the keys at a time, and each key judged.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::cell::Cell;
use super::judge::{Standing, judge};
use super::sort::Sorter;
use super::written::{ByKey, Key, Written};
use super::{Counts, Finding, PartitionReport, Progress, Report, Settings, Span, Target, VerifyError};
use crate::encode::escape::{escape_string, quote_identifier};
use crate::row::{Timestamp, Value};
use crate::tdengine::raw_block::RawBlock;
use crate::tdengine::rows::cell_text;
use crate::tdengine::schema::SuperTable;
use crate::tdengine::{Connection, TdengineError};

/// Keys of one super table that are asked for at once.
#[derive(Default)]
struct Part {
    keys: Vec<Written>,
    tables: usize,
    bytes: usize,
    /// Keys of its table went into a part before.
    is_rest: bool,
}

const MOST_PART_KEYS: usize = 20_000;
const MOST_PART_BYTES: usize = 8 << 20;
const MOST_PART_TABLES: usize = 500;
/// A table with so many keys is asked for by itself: its range of time need not be that of others.
const OWN_PART_KEYS: usize = 256;

impl Part {
    fn push(&mut self, written: Written) {
        let is_new = self.keys.last().is_none_or(|last| last.key.table != written.key.table);
        self.tables += usize::from(is_new);
        self.bytes += written.weight_bytes();
        self.keys.push(written);
    }

    fn append(&mut self, mut other: Self) {
        self.tables += other.tables;
        self.bytes += other.bytes;
        self.keys.append(&mut other.keys);
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= MOST_PART_KEYS || self.bytes >= MOST_PART_BYTES || self.tables >= MOST_PART_TABLES
    }
}

/// Deals sorted keys to parts: parts of one table, and parts of several that are small.
fn deal(
    keys: impl Iterator<Item = io::Result<Written>>,
    mut put: impl FnMut(Part) -> io::Result<()>,
) -> io::Result<()> {
    let (mut small, mut table) = (Part::default(), Part::default());
    let mut put = |part: &mut Part| if part.keys.is_empty() { Ok(()) } else { put(std::mem::take(part)) };
    let end_table = |small: &mut Part, table: &mut Part, put: &mut dyn FnMut(&mut Part) -> io::Result<()>| {
        if table.keys.len() >= OWN_PART_KEYS || table.is_rest {
            return put(table);
        }
        let of_other = |a: &Part, b: &Part| match (a.keys.last(), b.keys.first()) {
            (Some(a), Some(b)) => a.key.stable != b.key.stable,
            _ => false,
        };
        if of_other(small, table) {
            put(small)?;
        }
        small.append(std::mem::take(table));
        if small.is_full() { put(small) } else { Ok(()) }
    };
    for written in keys {
        let written = written?;
        let same_table = |last: &Written| last.key.stable == written.key.stable && last.key.table == written.key.table;
        if !table.keys.last().is_none_or(same_table) {
            end_table(&mut small, &mut table, &mut put)?;
        }
        table.push(written);
        if table.is_full() {
            put(&mut table)?;
            table.is_rest = true;
        }
    }
    end_table(&mut small, &mut table, &mut put)?;
    put(&mut small)
}

pub(super) struct Comparison {
    spans: Vec<Span>,
    targets: Vec<Target>,
    counts: Vec<Counts>,
    findings: Vec<Finding>,
    most_findings: usize,
    progress: Arc<Progress>,
}

impl Comparison {
    pub(super) fn new(
        settings: &Settings,
        spans: &[Span],
        targets: Vec<Target>,
        counts: Vec<Counts>,
        findings: Vec<Finding>,
        progress: Arc<Progress>,
    ) -> Self {
        let most_findings = settings.most_findings;
        Self { spans: spans.to_vec(), targets, counts, findings, most_findings, progress }
    }

    pub(super) async fn run(&mut self, sorter: Sorter, connection: &Connection) -> Result<(), VerifyError> {
        // One part is made while the one before is asked for.
        let (sender, mut parts) = mpsc::channel(1);
        let dealing = tokio::task::spawn_blocking(move || {
            let gone = |_| io::Error::other("nobody waits for it any more");
            deal(ByKey::new(sorter.sorted()?), |part| sender.blocking_send(part).map_err(gone))
        });
        while let Some(part) = parts.recv().await {
            self.part(part, connection).await?;
        }
        Ok(dealing.await.map_err(|_| VerifyError::Ended)??)
    }

    async fn part(&mut self, part: Part, connection: &Connection) -> Result<(), VerifyError> {
        let Some(stable) = part.keys.first().map(|first| usize::from(first.key.stable)) else { return Ok(()) };
        let Target { schema, exists } = self.targets[stable].clone();
        let mut stored: Vec<Option<Vec<Cell>>> = vec![None; part.keys.len()];
        if exists {
            read(&schema, &part.keys, &mut stored, connection).await?;
        }
        for (written, stored) in part.keys.iter().zip(stored) {
            self.key(&schema, written, stored.as_deref());
        }
        self.progress.compared.fetch_add(part.keys.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn key(&mut self, schema: &SuperTable, written: &Written, stored: Option<&[Cell]>) {
        let verdict = judge(&written.writes, stored);
        let of = |at: usize| written.writes[at].source as usize;
        verdict.merged.iter().for_each(|&at| self.counts[of(at)].merged += 1);
        verdict.superseded.iter().for_each(|&at| self.counts[of(at)].superseded += 1);
        written.older.iter().for_each(|(&source, number)| self.counts[source as usize].superseded += number);
        let Some((last, standing)) = verdict.last else { return };
        let counts = &mut self.counts[of(last)];
        let column = |column: usize| schema.columns.get(column).map_or("", |field| field.name.as_str());
        let (is_stale, what) = match standing {
            Standing::Present => {
                counts.rows_present += 1;
                return;
            }
            Standing::Stale { column: at } => {
                counts.stale += 1;
                (true, format!("an older value of {} is stored", column(at)))
            }
            Standing::Missing => {
                counts.missing += 1;
                (false, "no row is stored".to_owned())
            }
            Standing::Changed { column: at } => {
                counts.missing += 1;
                (false, format!("{} is stored with a value that no message has", column(at)))
            }
        };
        if self.findings.iter().filter(|finding| finding.is_stale == is_stale).count() < self.most_findings {
            let write = &written.writes[last];
            let (source, offset) = (self.spans[of(last)].source.clone(), write.offset);
            let text = format!("table {}, {}: {what}", place(schema, &written.key), moment(schema, &written.key));
            self.findings.push(Finding { is_stale, source, offset, text });
        }
    }

    pub(super) fn report(self) -> Report {
        let mut total = Counts::default();
        self.counts.iter().for_each(|counts| total.add(counts));
        let partitions = self.spans.into_iter().zip(self.counts);
        let partitions = partitions.map(|(span, counts)| PartitionReport { span, counts }).collect();
        Report { counts: total, partitions, findings: self.findings }
    }
}

fn place(schema: &SuperTable, key: &Key) -> String {
    format!("{}.{} of {}", schema.database, key.table, schema.name)
}

fn moment(schema: &SuperTable, key: &Key) -> String {
    let moment = Value::Timestamp(Timestamp::from_units(key.timestamp, schema.precision));
    cell_text(&moment, None, schema.precision).into_owned()
}

/// Reads what is stored of `keys`, all of one super table.
async fn read(
    schema: &SuperTable,
    keys: &[Written],
    stored: &mut [Option<Vec<Cell>>],
    connection: &Connection,
) -> Result<(), TdengineError> {
    let places: HashMap<&Key, usize> = keys.iter().enumerate().map(|(at, written)| (&written.key, at)).collect();
    let mut query = connection.query(&statement(schema, keys)).await?;
    let precision = schema.precision;
    let mut key = Key { stable: keys[0].key.stable, ..Key::default() };
    while let Some(block) = query.next_block().await? {
        for row in 0..block.rows() {
            key.table.clear();
            key.table.push_str(&cell_text(&block.value(row, 0, precision), None, precision));
            let cells = cells(schema, &block, row);
            if let Cell::Value(bytes) = &cells[0] {
                key.timestamp = (**bytes).try_into().map_or(0, i64::from_le_bytes);
            }
            if let (true, Some(Cell::Value(bytes))) = (schema.composite_key, cells.get(1)) {
                key.second.clone_from(bytes);
            }
            if let Some(&at) = places.get(&key) {
                stored[at] = Some(cells);
            }
        }
    }
    Ok(())
}

fn cells(schema: &SuperTable, block: &RawBlock, row: usize) -> Vec<Cell> {
    let columns = schema.columns.iter().enumerate();
    let cell = |(column, field): (usize, &crate::tdengine::schema::Field)| {
        Cell::stored(&block.value(row, column + 1, schema.precision), field.data_type, schema.precision)
    };
    columns.map(cell).collect()
}

/// The tables of `keys` over the time from the first to the last; what else is there is passed over.
fn statement(schema: &SuperTable, keys: &[Written]) -> String {
    let columns: String = schema.columns.iter().fold(String::new(), |mut list, field| {
        let _ = write!(list, ",{}", quote_identifier(&field.name));
        list
    });
    let mut names: Vec<&str> = keys.iter().map(|written| written.key.table.as_str()).collect();
    names.dedup();
    let literal = |name: &&str| {
        // No table's name holds a NUL, the only text that is no literal.
        let escaped = escape_string(name.as_bytes()).unwrap_or_default();
        format!("'{}'", String::from_utf8_lossy(&escaped))
    };
    let names: Vec<_> = names.iter().map(literal).collect();
    let times = keys.iter().map(|written| written.key.timestamp);
    let (first, last) = times.fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
    let key = quote_identifier(&schema.columns[0].name);
    format!(
        "select tbname{columns} from {} where tbname in ({}) and {key} >= {first} and {key} <= {last}",
        schema.qualified_name(),
        names.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stable: u16, table: &str, timestamp: i64) -> io::Result<Written> {
        Ok(Written { key: Key { stable, table: table.into(), timestamp, ..Key::default() }, ..Written::default() })
    }

    #[test]
    fn large_tables_are_asked_for_alone_and_small_ones_together() {
        let mut keys = Vec::new();
        (0..10).for_each(|at| keys.push(written(0, "a", at)));
        (0..45_000).for_each(|at| keys.push(written(0, "b", at)));
        (0..20_001).for_each(|at| keys.push(written(0, "bb", at)));
        (0..10).for_each(|at| keys.push(written(0, "c", at)));
        (0..10).for_each(|at| keys.push(written(1, "a", at)));
        (0..1200).for_each(|at| keys.push(written(1, &format!("t{at:04}"), 0)));
        let mut parts = Vec::new();
        let count = keys.len();
        deal(keys.into_iter(), |part| {
            let stables: Vec<_> = part.keys.iter().map(|written| written.key.stable).collect();
            assert!(stables.iter().all(|stable| *stable == stables[0]), "a part is of one super table");
            parts.push((part.tables, part.keys.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            parts,
            [(1, 20_000), (1, 20_000), (1, 5_000), (1, 20_000), (1, 1), (2, 20), (500, 509), (500, 500), (201, 201)]
        );
        assert_eq!(parts.iter().map(|(_, keys)| keys).sum::<usize>(), count);
    }
}
