//! All rows of a batch for one super table, held by columns and grouped by child table.
//!
//! Rows are pushed in the order they were read. Each cell is held against its column's type and limits as it comes,
//! so that one bad value costs its own row and never a batch. [`Block::order`] then says in which order they are
//! written: by child table, by timestamp within it, and each key once. Both encoders read a block through such an
//! order, whole or in parts; neither knows where the rows came from.

mod cell;
mod tables;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

pub use self::cell::{CellError, Cells, Column, NULL, UNSET, VALUE};
use self::tables::Tables;
use crate::encode::escape::{NameError, check_table_name};
use crate::row::{Precision, TaosEncoder, Value};
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// Why a row cannot be written to its super table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RowFault {
    /// The child table's name is none.
    #[error("table {name:?}: {source}")]
    TableName {
        /// The refused name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A cell does not fit its column or tag.
    #[error("{field} ({data_type}): {reason}")]
    Cell {
        /// The column or tag.
        field: String,
        /// Its type.
        data_type: DataType,
        /// What is wrong.
        reason: CellError,
    },
    /// The row has more values than the table has columns.
    #[error("more values than the {columns} columns of {stable}")]
    TooManyValues {
        /// The super table.
        stable: String,
        /// How many columns (or tags) it has.
        columns: usize,
    },
    /// The record names a column or tag that the super table does not have.
    #[error("{stable} has no column or tag {name:?}: add it (alter stable) or leave it out")]
    UnknownField {
        /// The super table.
        stable: String,
        /// The unknown name.
        name: String,
    },
}

/// The last timestamp that the server takes for a key.
const fn last_key(precision: Precision) -> i64 {
    match precision {
        Precision::Milli => 31_556_995_200_000,
        Precision::Micro => 31_556_995_200_000_000,
        Precision::Nano => 9_214_646_400_000_000_000,
    }
}

/// Where the names of a record's tags and columns stand in a super table. Made once, used for every record of the
/// same shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The tag that each of the record's tags goes to; empty: in order.
    pub tags: Vec<usize>,
    /// The column that each of the record's values goes to; empty: in order.
    pub columns: Vec<usize>,
}

impl Places {
    /// Looks the record's names up in `schema`.
    ///
    /// # Errors
    /// [`RowFault::UnknownField`] if the super table lacks one.
    pub fn of(record: &impl TaosEncoder, schema: &SuperTable) -> Result<Self, RowFault> {
        let look_up = |fields: &[Field], names: Vec<std::borrow::Cow<'_, str>>| {
            let place = |name: &std::borrow::Cow<'_, str>| {
                fields
                    .iter()
                    .position(|field| field.name == *name)
                    .ok_or_else(|| RowFault::UnknownField { stable: schema.qualified_name(), name: name.to_string() })
            };
            names.iter().map(place).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            tags: look_up(&schema.tags, record.tag_names())?,
            columns: look_up(&schema.columns, record.column_names())?,
        })
    }
}

/// Rows of one super table, by columns.
#[derive(Debug)]
pub struct Block {
    schema: Arc<SuperTable>,
    /// The child tables, in the order they first appeared.
    tables: Tables,
    /// A row a table.
    tags: Vec<Column>,
    later_tags: Option<LaterTags>,
    /// The first is the timestamp.
    columns: Vec<Column>,
    table_of_row: Vec<u32>,
    origin_of_row: Vec<Origin>,
}

/// Tags of rows after the first of their child table, where they differ from those before.
#[derive(Debug)]
struct LaterTags {
    columns: Vec<Column>,
    rows: usize,
    /// The last row of each child table that has one.
    last: HashMap<u32, usize, RandomState>,
}

/// Which message of a batch a row was made of, and which row of that message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The message's place in the batch.
    pub message: u32,
    /// The row's place among those that the message holds, 0 where it is the only one.
    pub element: u32,
}

/// The only row of a message.
impl From<u32> for Origin {
    fn from(message: u32) -> Self {
        Self { message, element: 0 }
    }
}

impl Block {
    /// An empty block for `schema`.
    pub fn new(schema: Arc<SuperTable>) -> Self {
        let make = |fields: &[Field]| fields.iter().map(|field| Column::new(field.data_type)).collect();
        Self {
            tags: make(&schema.tags),
            columns: make(&schema.columns),
            later_tags: None,
            schema,
            tables: Tables::default(),
            table_of_row: Vec::new(),
            origin_of_row: Vec::new(),
        }
    }

    /// The super table that the rows are for.
    pub fn schema(&self) -> &Arc<SuperTable> {
        &self.schema
    }

    /// How many rows were pushed.
    pub fn rows(&self) -> usize {
        self.table_of_row.len()
    }

    /// How many child tables they are for.
    pub fn tables(&self) -> usize {
        self.tables.len()
    }

    /// The name of the child table number `table`.
    pub fn table_name(&self, table: usize) -> &str {
        self.tables.name(table)
    }

    /// The tags, a row a child table.
    pub fn tags(&self) -> &[Column] {
        &self.tags
    }

    /// Has the tags of every row looked at from now on, not of the first of each child table alone.
    pub fn watch_tags(&mut self) {
        self.later_tags.get_or_insert_with(|| LaterTags {
            columns: self.schema.tags.iter().map(|tag| Column::new(tag.data_type)).collect(),
            rows: 0,
            last: HashMap::default(),
        });
    }

    /// The tags of the last row of the child table number `table`, if tags are watched, or of its first: columns, and the row
    /// of them that it is.
    pub fn last_tags(&self, table: usize) -> (&[Column], usize) {
        let later = self.later_tags.as_ref();
        match later.and_then(|later| Some((later, *later.last.get(&(table as u32))?))) {
            Some((later, row)) => (&later.columns, row),
            None => (&self.tags, table),
        }
    }

    /// The columns, the timestamp first.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The child table that `row` goes to.
    pub fn table_of(&self, row: u32) -> usize {
        self.table_of_row[row as usize] as usize
    }

    /// Leaves out rows, of those from `start` on, for whose origin `keep` is false.
    pub fn retain_from(&mut self, start: usize, keep: impl Fn(Origin) -> bool) {
        let mut kept = start;
        for row in start..self.rows() {
            if !keep(self.origin_of_row[row]) {
                continue;
            }
            if kept < row {
                self.columns.iter_mut().for_each(|column| column.copy_cell(row, kept));
                self.table_of_row[kept] = self.table_of_row[row];
                self.origin_of_row[kept] = self.origin_of_row[row];
            }
            kept += 1;
        }
        self.columns.iter_mut().for_each(|column| column.truncate(kept));
        self.table_of_row.truncate(kept);
        self.origin_of_row.truncate(kept);
    }

    /// Where each row comes from.
    pub fn origins(&self) -> impl Iterator<Item = Origin> {
        self.origin_of_row.iter().copied()
    }

    /// What was given as the origin of `row`.
    pub fn origin_of(&self, row: u32) -> Origin {
        self.origin_of_row[row as usize]
    }

    /// Forgets all rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.tables.clear();
        self.tags.iter_mut().chain(&mut self.columns).for_each(Column::clear);
        self.table_of_row.clear();
        self.origin_of_row.clear();
    }

    /// Begins a row of the child table `table`, made from `origin`. It counts once
    /// [`RowBuilder::finish`] has taken it; a builder dropped before leaves nothing behind.
    ///
    /// # Errors
    /// [`RowFault::TableName`] if no table can have that name.
    pub fn row(&mut self, table: &str, origin: impl Into<Origin>) -> Result<RowBuilder<'_>, RowFault> {
        let (table, new_table) = match self.tables.find(table) {
            Some(known) => (known, false),
            None => {
                check_table_name(table).map_err(|source| RowFault::TableName { name: table.to_owned(), source })?;
                (self.tables.add(table), true)
            }
        };
        Ok(RowBuilder { block: self, table, origin: origin.into(), new_table, filled: 0, finished: false })
    }

    /// Appends what `record` says of itself; `places` says where its names stand in the super table.
    ///
    /// # Errors
    /// A fault of the row; the block is then as it was before.
    pub fn push(
        &mut self,
        record: &impl TaosEncoder,
        places: &Places,
        origin: impl Into<Origin>,
    ) -> Result<(), RowFault> {
        let mut row = self.row(&record.table(), origin)?;
        let mut fault = None;
        if row.wants_tags() {
            let mut at = 0;
            record.tags(&mut |value| {
                if fault.is_none() {
                    fault = row.set_tag(places.tags.get(at).copied().unwrap_or(at), &value).err();
                }
                at += 1;
            });
        }
        let mut at = 0;
        record.values(&mut |value| {
            if fault.is_none() {
                fault = row.set(places.columns.get(at).copied().unwrap_or(at), &value).err();
            }
            at += 1;
        });
        match fault {
            Some(fault) => Err(fault),
            None => row.finish(),
        }
    }

    /// The order in which the rows are written: grouped by child table, by timestamp within each, each key once.
    /// Rows with the same key are merged as if written one after another: NULL overwrites, no value keeps.
    pub fn order(&mut self) -> Order {
        let mut starts = vec![0u32; self.tables.len() + 1];
        for &table in &self.table_of_row {
            starts[table as usize + 1] += 1;
        }
        for table in 1..starts.len() {
            starts[table] += starts[table - 1];
        }
        let mut rows = vec![0u32; self.rows()];
        let mut next = starts.clone();
        for (row, &table) in self.table_of_row.iter().enumerate() {
            rows[next[table as usize] as usize] = row as u32;
            next[table as usize] += 1;
        }
        let mut merged = Vec::new();
        let Some(Column { cells: Cells::Fixed { bytes: keys, .. }, .. }) = self.columns.first() else {
            return Order { rows, merged };
        };
        let (keys, _) = keys.as_chunks();
        let composite = if self.schema.composite_key { self.columns.get(1) } else { None };
        let key = |row: u32| {
            let second = composite.map_or(&[][..], |column| column.bytes(row as usize));
            (i64::from_le_bytes(keys[row as usize]), second)
        };
        for table in starts.windows(2) {
            let rows = &mut rows[table[0] as usize..table[1] as usize];
            // Mostly they come in order, each key once.
            if rows.is_sorted_by(|&a, &b| key(a) < key(b)) {
                continue;
            }
            rows.sort_by(|&a, &b| key(a).cmp(&key(b)));
            merged.extend(rows.windows(2).filter(|pair| key(pair[0]) == key(pair[1])).map(|pair| (pair[0], pair[1])));
        }
        if !merged.is_empty() {
            for &(earlier, later) in &merged {
                for column in &mut self.columns {
                    if column.flags[later as usize] == UNSET {
                        column.copy_cell(earlier as usize, later as usize);
                    }
                }
            }
            let mut gone = vec![false; self.table_of_row.len()];
            merged.iter().for_each(|&(earlier, _)| gone[earlier as usize] = true);
            rows.retain(|&row| !gone[row as usize]);
        }
        Order { rows, merged }
    }
}

impl LaterTags {
    /// Keeps the tags of a row of `table`, whose first row has `tags`, unless they are those that it had before.
    fn take(&mut self, table: u32, tags: &[Column]) {
        for column in self.columns.iter_mut().filter(|column| column.len() == self.rows) {
            column.push_empty(NULL);
        }
        let before = self.last.get(&table).copied();
        let is_as_before = self.columns.iter().zip(tags).all(|(column, first)| {
            let (before, at) = before.map_or((first, table as usize), |row| (column, row));
            column.flags[self.rows] == before.flags[at] && column.bytes(self.rows) == before.bytes(at)
        });
        if !is_as_before {
            self.last.insert(table, self.rows);
            self.rows += 1;
        }
        self.cut();
    }

    /// Forgets the tags of a row that was not taken.
    fn cut(&mut self) {
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
    }
}

fn i64_at(column: &Column, row: usize) -> i64 {
    column.bytes(row).try_into().map_or(0, i64::from_le_bytes)
}

/// In which order the rows of a block are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Row numbers, those of a child table together.
    pub rows: Vec<u32>,
    /// Rows that are not written themselves, each with the row of the same key that took over their cells.
    pub merged: Vec<(u32, u32)>,
}

/// A row being put together: see [`Block::row`].
#[derive(Debug)]
pub struct RowBuilder<'b> {
    block: &'b mut Block,
    table: u32,
    origin: Origin,
    new_table: bool,
    /// As many columns, the first ones, have their cell; others may.
    filled: usize,
    finished: bool,
}

impl RowBuilder<'_> {
    /// Whether the tags are needed: the block knows a child table's tags from its first row on.
    pub fn wants_tags(&self) -> bool {
        self.new_table || self.block.later_tags.is_some()
    }

    /// Sets the tag number `tag`; ignored where [`Self::wants_tags`] says no.
    ///
    /// # Errors
    /// The value does not fit the tag, or there is no such tag.
    pub fn set_tag(&mut self, tag: usize, value: &Value<'_>) -> Result<(), RowFault> {
        let (tags, row) = match &mut self.block.later_tags {
            _ if self.new_table => (&mut self.block.tags, self.table as usize),
            Some(later) => (&mut later.columns, later.rows),
            None => return Ok(()),
        };
        // A table is made with all its tags: none without a value.
        let value = if matches!(value, Value::Unset) { &Value::Null } else { value };
        set(tags, &self.block.schema, &self.block.schema.tags, tag, row, value)
    }

    /// Sets the column number `column`; 0 is the timestamp. Columns that are not set have no value.
    ///
    /// # Errors
    /// The value does not fit the column, or there is no such column.
    pub fn set(&mut self, column: usize, value: &Value<'_>) -> Result<(), RowFault> {
        let row = self.block.table_of_row.len();
        set(&mut self.block.columns, &self.block.schema, &self.block.schema.columns, column, row, value)?;
        if column == self.filled {
            self.filled += 1;
        }
        Ok(())
    }

    /// Takes the row into the block.
    ///
    /// # Errors
    /// A part of the key is missing, or the timestamp is one that the server never takes.
    pub fn finish(mut self) -> Result<(), RowFault> {
        let block = &mut *self.block;
        let row = block.table_of_row.len();
        for column in block.columns.iter_mut().skip(self.filled) {
            if column.len() == row {
                column.push_empty(UNSET);
            }
        }
        let keys = if block.schema.composite_key { 2 } else { 1 };
        if let Some(missing) = block.columns.iter().take(keys).position(|column| column.flags[row] != VALUE) {
            return Err(cell_fault(&block.schema.columns[missing], CellError::MissingKey));
        }
        let (units, precision) = (block.columns.first().map_or(0, |keys| i64_at(keys, row)), block.schema.precision);
        if units > last_key(precision) {
            let text = format!("{units} {precision} since 1970");
            return Err(cell_fault(&block.schema.columns[0], CellError::OutOfRange(text)));
        }
        if self.new_table {
            for tag in &mut block.tags {
                if tag.len() == self.table as usize {
                    tag.push_empty(NULL);
                }
            }
        } else if let Some(later) = &mut block.later_tags {
            later.take(self.table, &block.tags);
        }
        block.table_of_row.push(self.table);
        block.origin_of_row.push(self.origin);
        self.finished = true;
        Ok(())
    }
}

/// Appends `value` as the cell of `row`; a cell that is set twice keeps the later value.
fn set(
    columns: &mut [Column],
    schema: &SuperTable,
    fields: &[Field],
    index: usize,
    row: usize,
    value: &Value<'_>,
) -> Result<(), RowFault> {
    let Some(column) = columns.get_mut(index) else {
        return Err(RowFault::TooManyValues { stable: schema.qualified_name(), columns: fields.len() });
    };
    column.truncate(row);
    column.push(value, schema.precision).map_err(|reason| cell_fault(&fields[index], reason))
}

#[cold]
fn cell_fault(field: &Field, reason: CellError) -> RowFault {
    RowFault::Cell { field: field.name.clone(), data_type: field.data_type, reason }
}

impl Drop for RowBuilder<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let rows = self.block.table_of_row.len();
        self.block.columns.iter_mut().for_each(|column| column.truncate(rows));
        if let Some(later) = &mut self.block.later_tags {
            later.cut();
        }
        if self.new_table {
            self.block.tags.iter_mut().for_each(|column| column.truncate(self.table as usize));
            self.block.tables.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn schema() -> Arc<SuperTable> {
        Arc::new(SuperTable {
            database: "power".into(),
            name: "meters".into(),
            precision: Precision::Milli,
            columns: vec![
                Field::new("ts", DataType::Timestamp),
                Field::new("voltage", DataType::TinyInt),
                Field::new("note", DataType::Varchar(4)),
            ],
            composite_key: false,
            tags: vec![Field::new("site", DataType::NChar(2))],
        })
    }

    fn push(block: &mut Block, table: &str, ts: i64, voltage: Value<'_>, note: Value<'_>) -> Result<(), RowFault> {
        let origin = block.rows() as u32;
        let mut row = block.row(table, origin)?;
        row.set_tag(0, &Value::from("温度"))?;
        row.set(0, &Value::Int(ts))?;
        row.set(1, &voltage)?;
        row.set(2, &note)?;
        row.finish()
    }

    #[test]
    fn a_refused_row_leaves_nothing_behind() {
        let mut block = Block::new(schema());
        push(&mut block, "d1", 1, Value::Int(1), "a".into()).unwrap();
        let too_long = push(&mut block, "d2", 2, Value::Int(1), "abcde".into());
        assert!(too_long.unwrap_err().to_string().contains("note (VARCHAR(4)): has 5 bytes, the limit is 4"));
        assert!(push(&mut block, "d3", 3, Value::Int(128), "a".into()).is_err());
        assert!(push(&mut block, "d.3", 3, Value::Int(1), "a".into()).is_err());
        assert_eq!((block.rows(), block.tables()), (1, 1));
        push(&mut block, "d2", 4, Value::Null, "ab".into()).unwrap();
        assert_eq!((block.rows(), block.tables(), block.table_of(1)), (2, 2, 1));
        assert_eq!((block.columns()[2].bytes(1), block.columns()[1].flags[1]), (&b"ab"[..], NULL));
        assert_eq!(block.tags()[0].bytes(1), "温度".as_bytes());
    }

    #[test]
    fn tags_that_change_within_a_block_are_found_where_they_are_watched() {
        for watched in [false, true] {
            let mut block = Block::new(schema());
            if watched {
                block.watch_tags();
            }
            let mut push = |table: &str, tag: &str, ts: i64| {
                let mut row = block.row(table, 0)?;
                row.set_tag(0, &tag.into())?;
                row.set(0, &Value::Int(ts))?;
                row.finish()
            };
            for (n, (table, tag)) in
                [("a", "x"), ("b", "x"), ("a", "y"), ("b", "x"), ("a", "z"), ("a", "z")].iter().enumerate()
            {
                push(table, tag, n as i64).unwrap();
            }
            assert!(push("a", "w", i64::MAX).is_err());
            assert_eq!(push("a", "too long", 9).is_err(), watched);
            let last = |table| {
                let (tags, row) = block.last_tags(table);
                String::from_utf8_lossy(tags[0].bytes(row)).into_owned()
            };
            assert_eq!([last(0), last(1)], if watched { ["z", "x"] } else { ["x", "x"] });
            assert_eq!(block.tags()[0].bytes(0), b"x", "a table is made with its first");
            block.clear();
            assert_eq!(block.tables(), 0);
        }
    }

    #[test]
    fn the_key_must_be_there_and_in_range() {
        let mut block = Block::new(schema());
        assert!(block.row("d1", 0).unwrap().finish().unwrap_err().to_string().contains("part of the key"));
        assert!(push(&mut block, "d1", last_key(Precision::Milli) + 1, Value::Null, Value::Null).is_err());
        push(&mut block, "d1", last_key(Precision::Milli), Value::Null, Value::Null).unwrap();
    }

    #[test]
    fn rows_of_a_key_merge_as_if_written_one_after_another() {
        let mut block = Block::new(schema());
        push(&mut block, "d1", 2, Value::Int(9), "z".into()).unwrap();
        push(&mut block, "d1", 1, Value::Int(1), "a".into()).unwrap();
        push(&mut block, "d1", 1, Value::Unset, Value::Null).unwrap();
        push(&mut block, "d1", 1, Value::Unset, Value::Unset).unwrap();
        let order = block.order();
        assert_eq!((order.rows.as_slice(), order.merged.as_slice()), (&[3, 0][..], &[(1, 2), (2, 3)][..]));
        assert_eq!((block.columns()[1].bytes(3), block.columns()[2].flags[3]), (&[1][..], NULL));
    }

    proptest! {
        /// Against the plain model: a map from key to cells, written one after another.
        #[test]
        fn the_order_holds_what_writing_one_by_one_would(
            rows in proptest::collection::vec((0u8..4, 0i64..6, 0u8..3, any::<i8>()), 0..80),
        ) {
            let mut block = Block::new(schema());
            let mut model = std::collections::BTreeMap::<(String, i64), Option<i8>>::new();
            for (table, ts, flag, number) in rows {
                let table = format!("d{table}");
                let value = match flag { 0 => Value::Int(number.into()), 1 => Value::Null, _ => Value::Unset };
                let stored = model.entry((table.clone(), ts)).or_default();
                match flag { 0 => *stored = Some(number), 1 => *stored = None, _ => {} }
                push(&mut block, &table, ts, value, Value::Unset).unwrap();
            }
            let order = block.order();
            prop_assert_eq!(order.rows.len(), model.len());
            prop_assert_eq!(order.rows.len() + order.merged.len(), block.rows());
            let mut last: Option<(usize, i64)> = None;
            for &row in &order.rows {
                let (table, ts) = (block.table_of(row), i64_at(&block.columns()[0], row as usize));
                prop_assert!(last < Some((table, ts)));
                last = Some((table, ts));
                let cell = &block.columns()[1];
                let value = (cell.flags[row as usize] == VALUE).then(|| cell.bytes(row as usize)[0] as i8);
                prop_assert_eq!(value, model[&(block.table_name(table).to_owned(), ts)]);
            }
        }
    }
}
