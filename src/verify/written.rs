//! Rows on their way into order, and out of it: what each key was written with.

use std::collections::BTreeMap;
use std::io;

use super::cell::Cell;
use super::judge::Write;
use super::sort::Entry;
use crate::block::Block;

/// A row's key: super table (by its place in the list), child table, timestamp, second column where it is composite.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) stable: u16,
    pub(super) table: String,
    pub(super) timestamp: i64,
    pub(super) second: Box<[u8]>,
}

/// A key, and all that was written with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) key: Key,
    /// Sorted by partition and offset.
    pub(super) writes: Vec<Write>,
    /// Older writes that are not kept, a number a partition.
    pub(super) older: BTreeMap<u32, u64>,
}

/// Of a key's history so much is held; it bounds memory where all the world writes one key.
const MOST_WRITES: usize = 1000;

/// Where a row came from, behind its key: partition, offset, element.
const ORIGIN_BYTES: usize = 4 + 8 + 4;
const UNSET: u8 = 0;
const NULL: u8 = 1;
const VALUE: u8 = 2;

/// The row number `row` of `block`, which is that of super table number `stable`. The bytes of keys sort by super
/// table, child table, timestamp, and where they came from.
pub(super) fn entry(block: &Block, stable: u16, row: u32, origin: (u32, i64, u32), optional: bool) -> Entry {
    let at = row as usize;
    let mut key = stable.to_be_bytes().to_vec();
    // No table's name holds a NUL.
    key.extend_from_slice(block.table_name(block.table_of(row)).as_bytes());
    key.push(0);
    let timestamp = block.columns()[0].bytes(at).try_into().map_or(0, i64::from_le_bytes);
    key.extend_from_slice(&in_order(timestamp).to_be_bytes());
    let second = match block.columns().get(1).filter(|_| block.schema().composite_key) {
        Some(column) => match Cell::expected(column, at) {
            Cell::Value(bytes) => bytes,
            _ => Box::default(),
        },
        None => Box::default(),
    };
    key.extend_from_slice(&(second.len() as u16).to_be_bytes());
    key.extend_from_slice(&second);
    let (source, offset, element) = origin;
    key.extend_from_slice(&source.to_be_bytes());
    key.extend_from_slice(&in_order(offset).to_be_bytes());
    key.extend_from_slice(&element.to_be_bytes());

    let mut body = vec![u8::from(optional)];
    for column in block.columns() {
        match Cell::expected(column, at) {
            Cell::Unset => body.push(UNSET),
            Cell::Null => body.push(NULL),
            Cell::Value(bytes) => {
                body.push(VALUE);
                body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                body.extend_from_slice(&bytes);
            }
        }
    }
    Entry { key, body }
}

/// Bytes, most significant first, that sort as the numbers do.
fn in_order(number: i64) -> u64 {
    number as u64 ^ (1 << 63)
}

/// What [`entry`] wrote.
fn read(entry: &Entry) -> Option<(Key, Write)> {
    let (key, origin) = entry.key.split_at_checked(entry.key.len().checked_sub(ORIGIN_BYTES)?)?;
    let (stable, rest) = key.split_first_chunk()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (timestamp, rest) = rest.get(end + 1..)?.split_first_chunk()?;
    let key = Key {
        stable: u16::from_be_bytes(*stable),
        table: String::from_utf8_lossy(key.get(2..2 + end)?).into_owned(),
        timestamp: in_order(u64::from_be_bytes(*timestamp) as i64) as i64,
        second: rest.get(2..)?.into(),
    };
    let (source, rest) = origin.split_first_chunk()?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (element, _) = rest.split_first_chunk()?;
    let (optional, mut rest) = entry.body.split_first()?;
    let mut cells = Vec::new();
    while let Some((flag, after)) = rest.split_first() {
        rest = after;
        cells.push(match *flag {
            UNSET => Cell::Unset,
            NULL => Cell::Null,
            _ => {
                let (length, after) = rest.split_first_chunk()?;
                let (bytes, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                rest = after;
                Cell::Value(bytes.into())
            }
        });
    }
    let write = Write {
        source: u32::from_be_bytes(*source),
        offset: in_order(u64::from_be_bytes(*offset) as i64) as i64,
        element: u32::from_be_bytes(*element),
        optional: *optional != 0,
        cells,
    };
    Some((key, write))
}

/// Puts the sorted entries of each key together.
pub(super) struct ByKey<I> {
    entries: I,
    next: Option<(Key, Write)>,
}

impl<I: Iterator<Item = io::Result<Entry>>> ByKey<I> {
    pub(super) fn new(entries: I) -> Self {
        Self { entries, next: None }
    }

    fn take(&mut self) -> io::Result<Option<(Key, Write)>> {
        if let Some(next) = self.next.take() {
            return Ok(Some(next));
        }
        let Some(entry) = self.entries.next().transpose()? else { return Ok(None) };
        read(&entry)
            .map(Some)
            .ok_or_else(|| io::Error::other("a row that was set aside to be sorted came back damaged"))
    }

    fn key(&mut self) -> io::Result<Option<Written>> {
        let Some((key, write)) = self.take()? else { return Ok(None) };
        let mut written = Written { key, writes: vec![write], older: BTreeMap::new() };
        while let Some((key, write)) = self.take()? {
            if key != written.key {
                self.next = Some((key, write));
                break;
            }
            written.writes.push(write);
            if written.writes.len() > MOST_WRITES {
                written.forget_older();
            }
        }
        Ok(Some(written))
    }
}

impl<I: Iterator<Item = io::Result<Entry>>> Iterator for ByKey<I> {
    type Item = io::Result<Written>;

    fn next(&mut self) -> Option<io::Result<Written>> {
        self.key().transpose()
    }
}

impl Written {
    /// Forgets the older half, but for the last write that counts of each partition.
    fn forget_older(&mut self) {
        let writes = std::mem::take(&mut self.writes);
        let half = writes.len() / 2;
        let mut last = BTreeMap::new();
        for (at, write) in writes.iter().enumerate().filter(|(_, write)| !write.optional) {
            last.insert(write.source, at);
        }
        for (at, write) in writes.into_iter().enumerate() {
            if at >= half || last.get(&write.source) == Some(&at) {
                self.writes.push(write);
            } else if !write.optional {
                *self.older.entry(write.source).or_default() += 1;
            }
        }
    }

    /// About what it takes in memory.
    pub(super) fn weight_bytes(&self) -> usize {
        let cell = |cell: &Cell| size_of::<Cell>() + if let Cell::Value(bytes) = cell { bytes.len() } else { 0 };
        let write = |write: &Write| size_of::<Write>() + write.cells.iter().map(cell).sum::<usize>();
        size_of::<Self>() + self.key.table.len() + self.writes.iter().map(write).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::{Precision, Value};
    use crate::tdengine::schema::{DataType, Field, SuperTable};

    fn schema() -> Arc<SuperTable> {
        Arc::new(SuperTable {
            database: "db".into(),
            name: "st".into(),
            precision: Precision::Milli,
            columns: vec![
                Field::new("ts", DataType::Timestamp),
                Field::new("k", DataType::Int),
                Field::new("v", DataType::Varchar(8)),
            ],
            composite_key: true,
            tags: vec![Field::new("t", DataType::Int)],
        })
    }

    fn entries(rows: &[(&str, i64, i64, Value<'_>, i64)]) -> Vec<Entry> {
        let mut block = Block::new(schema());
        for (at, (table, timestamp, second, value, _)) in rows.iter().enumerate() {
            let mut row = block.row(table, at as u32).unwrap();
            row.set(0, &Value::Int(*timestamp)).unwrap();
            row.set(1, &Value::Int(*second)).unwrap();
            row.set(2, value).unwrap();
            row.finish().unwrap();
        }
        let mut entries: Vec<_> =
            rows.iter().enumerate().map(|(at, row)| entry(&block, 3, at as u32, (1, row.4, 0), false)).collect();
        entries.sort();
        entries
    }

    #[test]
    fn keys_come_in_order_with_all_their_writes() {
        let rows = [
            ("b", 1, 0, Value::Null, 9),
            ("a", 5, 7, "x".into(), 300),
            ("a", 5, 7, Value::Unset, 4),
            ("a", 5, -7, "y".into(), 5),
            ("a", -5, 7, "z".into(), 6),
            ("ab", 0, 0, "".into(), 7),
        ];
        let all: Vec<_> = ByKey::new(entries(&rows).into_iter().map(Ok)).map(Result::unwrap).collect();
        let shape = |written: &Written| {
            let offsets: Vec<_> = written.writes.iter().map(|write| write.offset).collect();
            (written.key.table.clone(), written.key.timestamp, offsets)
        };
        let mut shapes: Vec<_> = all.iter().map(shape).collect();
        shapes[1..3].sort();
        assert_eq!(
            shapes,
            [
                ("a".into(), -5, vec![6]),
                ("a".into(), 5, vec![4, 300]),
                ("a".into(), 5, vec![5]),
                ("ab".into(), 0, vec![7]),
                ("b".into(), 1, vec![9]),
            ]
        );
        let two = all.iter().find(|written| written.writes.len() == 2).unwrap();
        assert_eq!((&two.writes[0].cells[2], &two.writes[1].cells[2]), (&Cell::Unset, &Cell::Value(Box::new(*b"x"))));
        assert_eq!((two.key.stable, two.writes[0].source, &*two.key.second), (3, 1, &7i32.to_le_bytes()[..]));
    }

    #[test]
    fn of_a_key_that_is_written_without_end_a_part_is_held() {
        let rows: Vec<_> = (0..5000).map(|offset| ("a", 1, 1, Value::from("x"), offset)).collect();
        let mut all = ByKey::new(entries(&rows).into_iter().map(Ok));
        let written = all.next().unwrap().unwrap();
        assert!(written.writes.len() <= MOST_WRITES && all.next().is_none());
        assert_eq!(written.writes.len() as u64 + written.older[&1], 5000);
        assert_eq!(written.writes.last().unwrap().offset, 4999);
    }
}
