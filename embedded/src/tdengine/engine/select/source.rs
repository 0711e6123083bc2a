//! Where rows come from: tables in the store, or rows at hand.

use std::sync::Arc;
use std::vec;

use super::eval::Typed;
use crate::tdengine::engine::catalog::{Schema, Table};
use crate::tdengine::engine::row::{RowReader, Slot};
use crate::tdengine::engine::storage::{self, Key, StoredRow};
use crate::tdengine::engine::{Cell, DataType, Inner, TdError};

/// Rows read from the store at once.
const PAGE_ROWS: usize = 2048;

/// What a column of an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The primary timestamp.
    Time,
    Column,
    Tag,
    TableName,
}

/// A column that expressions can name.
#[derive(Debug, Clone)]
pub(super) struct InputColumn {
    /// The names of its table: alias, or the table's own.
    pub(super) table: Arc<[u8]>,
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) role: Role,
    /// Whether `*` means it too.
    pub(super) in_star: bool,
}

/// Rows one after the other.
#[derive(Debug)]
pub(super) enum Source {
    Scan(Box<Scan>),
    Rows(vec::IntoIter<Vec<Cell>>),
}

impl Source {
    /// Puts the next row into `row`. False: there is none.
    pub(super) fn next(&mut self, row: &mut Vec<Cell>) -> Result<bool, TdError> {
        match self {
            Self::Scan(scan) => scan.next(row),
            Self::Rows(rows) => match rows.next() {
                Some(next) => {
                    *row = next;
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }
}

/// Rows of a table or of all child tables of a super table, table by table, each in time order.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) inner: Arc<Inner>,
    /// Still to be read, the next one last, each with its tags and name as they stand in a row.
    pub(super) tables: Vec<(Arc<Table>, Vec<Cell>)>,
    pub(super) schema: Arc<Schema>,
    /// Where each slot goes in a row; `None`: dropped, or not asked for.
    pub(super) targets: Vec<Option<usize>>,
    /// Live columns, which stand first in a row.
    pub(super) columns: usize,
    /// First and last timestamp.
    pub(super) range: (i64, i64),
    pub(super) descending: bool,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    table: i64,
    fixed: Vec<Cell>,
    page: vec::IntoIter<StoredRow>,
    /// The last row of the page, if there may be more.
    after: Option<(i64, Key)>,
}

impl std::fmt::Debug for StoredRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredRow").field("ts", &self.ts).finish_non_exhaustive()
    }
}

impl Scan {
    pub(super) fn new(
        inner: Arc<Inner>,
        tables: Vec<(Arc<Table>, Vec<Cell>)>,
        schema: Arc<Schema>,
        range: (i64, i64),
    ) -> Self {
        let columns = schema.live().count();
        let mut targets = vec![None; schema.slots.len()];
        schema.live().enumerate().for_each(|(i, (slot, _))| targets[slot] = Some(i));
        Self { inner, tables, schema, targets, columns, range, descending: false, current: None }
    }

    /// Leaves out what no expression reads.
    pub(super) fn only(&mut self, needed: &[bool]) {
        for target in &mut self.targets {
            *target = target.filter(|&i| needed.get(i).copied().unwrap_or(false));
        }
    }

    /// Leaves out the tables whose tags and name a condition rules out. `row` has the columns as NULL.
    pub(super) fn keep_tables(&mut self, condition: &Typed) -> Result<(), TdError> {
        let columns = self.columns;
        let mut problem = Ok(());
        self.tables.retain(|(_, fixed)| {
            let mut row = vec![Cell::Null; columns];
            row.extend(fixed.iter().cloned());
            match condition.eval(&row) {
                Ok(value) => value == Cell::Bool(true),
                Err(error) => {
                    problem = Err(error);
                    true
                }
            }
        });
        problem
    }

    /// The number of rows, without reading them.
    pub(super) fn count(&self) -> Result<u64, TdError> {
        let (first, last) = self.range;
        let mut count = 0;
        for (table, _) in &self.tables {
            count += self.inner.store.read(|connection| storage::count_rows(connection, table.id, first, last))?;
        }
        Ok(count)
    }

    fn next(&mut self, row: &mut Vec<Cell>) -> Result<bool, TdError> {
        loop {
            let current = match &mut self.current {
                Some(current) => current,
                None => {
                    let Some((table, fixed)) = self.tables.pop() else { return Ok(false) };
                    let page = self.page(table.id, None)?;
                    let after = last_key(&page);
                    self.current.insert(Current { table: table.id, fixed, page: page.into_iter(), after })
                }
            };
            if let Some(stored) = current.page.next() {
                row.clear();
                row.resize(self.columns, Cell::Null);
                if let Some(time) = row.first_mut() {
                    *time = Cell::Timestamp(stored.ts);
                }
                decode(&self.schema, &self.targets, &stored.row, row);
                row.extend(current.fixed.iter().cloned());
                return Ok(true);
            }
            match current.after.take() {
                None => self.current = None,
                Some(after) => {
                    let table = current.table;
                    let page = self.page(table, Some((after.0, &after.1)))?;
                    if let Some(current) = &mut self.current {
                        current.after = last_key(&page);
                        current.page = page.into_iter();
                    }
                }
            }
        }
    }

    fn page(&self, table: i64, after: Option<(i64, &Key)>) -> Result<Vec<StoredRow>, TdError> {
        let (range, descending) = (self.range, self.descending);
        self.inner.store.read(|connection| storage::scan_rows(connection, table, range, after, descending, PAGE_ROWS))
    }
}

fn last_key(page: &[StoredRow]) -> Option<(i64, Key)> {
    page.last().filter(|_| page.len() == PAGE_ROWS).map(|row| (row.ts, row.key.clone()))
}

fn decode(schema: &Schema, targets: &[Option<usize>], stored: &[u8], row: &mut [Cell]) {
    let wanted = targets.iter().rposition(Option::is_some).unwrap_or(0);
    let mut reader = RowReader::new(stored);
    for (column, target) in schema.slots.iter().zip(targets).take(wanted + 1).skip(1) {
        if let (Slot::Value(value), Some(target)) = (reader.next(column.data_type.width()), target) {
            row[*target] = column.data_type.cell(value);
        }
    }
}
