//! Rows on their way into the store: collected by INSERT or stmt2, merged by key, written in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::catalog::{Database, Name, Schema, Stable, Table, TableKind};
use super::row::{self, Merge};
use super::storage::{self, Key};
use super::time::ticks;
use super::{Inner, Precision, TdError, vgroup};

/// What rows with the same key within one batch become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duplicates {
    /// The last value of each column; NULL does not overwrite (SQL, and stmt2 with `single_table_bind_once`).
    Merge,
    /// The last row as a whole.
    LastRow,
}

/// Where a table's rows go.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Existing(Arc<Table>),
    /// A child table of this super table that must be there when the rows are written.
    Child {
        stable: i64,
    },
    /// Made with these tags unless it exists by then.
    New {
        stable: Arc<Stable>,
        tags: Arc<[u8]>,
    },
}

#[derive(Debug, Clone)]
struct PendingRow {
    ts: i64,
    key: Key,
    start: usize,
    end: usize,
}

#[derive(Debug)]
pub(crate) struct TableRows {
    database: Arc<str>,
    name: Name,
    pub(crate) place: Place,
    schema: Arc<Schema>,
    rows: Vec<PendingRow>,
    /// Keys strictly grow from row to row.
    sorted: bool,
}

/// Rows of any number of tables; the rows' bytes lie in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    tables: Vec<TableRows>,
    by_name: HashMap<(Arc<str>, Name), usize>,
    bytes: Vec<u8>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(|table| table.rows.is_empty())
    }

    /// The place in the batch of a table's rows; `place` is asked only for a table not yet in it.
    pub(crate) fn table(
        &mut self,
        database: &Arc<str>,
        name: &Name,
        schema: &Arc<Schema>,
        place: impl FnOnce() -> Result<Place, TdError>,
    ) -> Result<usize, TdError> {
        if let Some(&index) = self.by_name.get(&(database.clone(), name.clone())) {
            return Ok(index);
        }
        let index = self.tables.len();
        let (database, name) = (database.clone(), name.clone());
        let (schema, place) = (schema.clone(), place()?);
        self.by_name.insert((database.clone(), name.clone()), index);
        self.tables.push(TableRows { database, name, place, schema, rows: Vec::new(), sorted: true });
        Ok(index)
    }

    pub(crate) fn place_mut(&mut self, table: usize) -> &mut Place {
        &mut self.tables[table].place
    }

    pub(crate) fn reserve(&mut self, table: usize, rows: usize, bytes: usize) {
        self.tables[table].rows.reserve(rows);
        self.bytes.reserve(bytes);
    }

    /// Adds a row that `encode` appends to the buffer.
    #[inline]
    pub(crate) fn push(&mut self, table: usize, ts: i64, key: Key, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        encode(&mut self.bytes);
        let table = &mut self.tables[table];
        table.sorted =
            table.sorted && table.rows.last().is_none_or(|last| last.ts < ts || (last.ts == ts && last.key < key));
        table.rows.push(PendingRow { ts, key, start, end: self.bytes.len() });
    }
}

impl TableRows {
    /// Sorts by key and leaves one row a key; merged rows are appended to `bytes`.
    fn deduplicate(&mut self, duplicates: Duplicates, bytes: &mut Vec<u8>) {
        if self.sorted {
            return;
        }
        self.rows.sort_by(|a, b| (a.ts, &a.key).cmp(&(b.ts, &b.key)));
        let layout = self.schema.row_layout();
        let mut kept: Vec<PendingRow> = Vec::with_capacity(self.rows.len());
        for row in self.rows.drain(..) {
            match kept.last_mut() {
                Some(last) if last.ts == row.ts && last.key == row.key => {
                    if duplicates == Duplicates::LastRow {
                        *last = row;
                        continue;
                    }
                    let mut merged = Vec::new();
                    row::merge(
                        &layout,
                        Some(&bytes[last.start..last.end]),
                        &bytes[row.start..row.end],
                        Merge::Batch,
                        &mut merged,
                    );
                    last.start = bytes.len();
                    bytes.extend(merged);
                    last.end = bytes.len();
                }
                _ => kept.push(row),
            }
        }
        self.rows = kept;
        self.sorted = true;
    }
}

/// The timestamps a database takes: from now less KEEP to the end of the year 2969 (nanoseconds: to 2262).
pub(crate) fn accepted_range(database: &Database, now_nanos: i64) -> (i64, i64) {
    let precision = database.options.precision;
    let keep = database.options.keep_minutes[2].saturating_mul(60).saturating_mul(precision.per_second());
    let last = match precision {
        Precision::Milli => 31_556_995_200_000,
        Precision::Micro => 31_556_995_200_000_000,
        Precision::Nano => 9_214_646_400_000_000_000,
    };
    (ticks(now_nanos, precision).saturating_sub(keep), last)
}

impl Inner {
    /// Writes a batch in one transaction and returns the number of distinct keys. A time out of range refuses all that
    /// the batch has for the table's vgroup; what it has for other vgroups is written although the answer is the error.
    /// After any other error nothing is written.
    pub(crate) fn write(&self, batch: &mut Batch, duplicates: Duplicates) -> Result<u64, TdError> {
        let mut writer = self.store.writer();
        let mut made = Vec::new();
        let refused = self.drop_refused(batch)?;
        let targets = self.resolve(batch, &mut made)?;
        let transaction = writer.transaction()?;
        for (database, table) in &made {
            storage::save_table(&transaction, *database, table)?;
        }
        let mut written = 0;
        {
            let mut put =
                transaction.prepare_cached("INSERT OR REPLACE INTO rows(tid, ts, k, row) VALUES(?, ?, ?, ?)")?;
            let Batch { tables, bytes, .. } = batch;
            let mut complete = Vec::new();
            for (rows, (id, schema)) in tables.iter_mut().zip(targets) {
                rows.deduplicate(duplicates, bytes);
                written += rows.rows.len() as u64;
                let grown = schema.slots.len() > rows.schema.slots.len();
                let mut layout = None;
                for row in &rows.rows {
                    let mut encoded = &bytes[row.start..row.end];
                    if grown || row::is_partial(encoded) {
                        let layout = layout.get_or_insert_with(|| schema.row_layout());
                        let stored = storage::get_row(&transaction, id, row.ts, &row.key)?;
                        complete.clear();
                        row::merge(layout, stored.as_deref(), encoded, Merge::Stored, &mut complete);
                        encoded = &complete;
                    }
                    put.execute((id, row.ts, &row.key, encoded))?;
                }
            }
        }
        transaction.commit()?;
        if !made.is_empty() {
            let mut catalog = self.catalog_mut();
            for (database, table) in made {
                catalog.last_id = catalog.last_id.max(table.id);
                if let Some(database) = catalog.databases.values_mut().find(|d| d.id == database) {
                    database.put_table(Arc::new(table));
                }
            }
        }
        if refused { Err(TdError::new(0x060b, "Timestamp data out of range")) } else { Ok(written) }
    }

    /// Takes all tables of the vgroups that refuse a time of theirs out of the batch. True: there were some.
    fn drop_refused(&self, batch: &mut Batch) -> Result<bool, TdError> {
        let catalog = self.catalog();
        let now = (self.clock)();
        let mut ranges: HashMap<Arc<str>, (i64, i64, u32)> = HashMap::new();
        let mut refusing = HashSet::new();
        for rows in &batch.tables {
            if !ranges.contains_key(&rows.database) {
                let database = catalog.database(&rows.database)?;
                let (first, last) = accepted_range(database, now);
                ranges.insert(rows.database.clone(), (first, last, database.options.number("vgroups") as u32));
            }
            let Some(&(first, last, vgroups)) = ranges.get(&rows.database) else { continue };
            if rows.rows.iter().any(|row| row.ts < first || row.ts > last) {
                refusing.insert((rows.database.clone(), vgroup::of_table(&rows.database, &rows.name, vgroups)));
            }
        }
        if !refusing.is_empty() {
            batch.tables.retain(|rows| {
                let vgroups = ranges.get(&rows.database).map_or(1, |(_, _, vgroups)| *vgroups);
                !refusing.contains(&(rows.database.clone(), vgroup::of_table(&rows.database, &rows.name, vgroups)))
            });
        }
        Ok(!refusing.is_empty())
    }

    /// Id and schema of each table in the batch as things are now, with the tables to be made.
    fn resolve(&self, batch: &Batch, made: &mut Vec<(i64, Table)>) -> Result<Vec<(i64, Arc<Schema>)>, TdError> {
        let catalog = self.catalog();
        let now = (self.clock)();
        let mut next_id = catalog.last_id;
        let mut targets = Vec::with_capacity(batch.tables.len());
        for rows in &batch.tables {
            let database = catalog.database(&rows.database)?;
            let id = match (&rows.place, database.tables.get(&rows.name)) {
                (Place::Existing(table), Some(now)) if now.id == table.id => table.id,
                (Place::Existing(_), _) | (Place::Child { .. }, None) => return Err(TdError::no_table()),
                (Place::Child { stable }, Some(now)) => in_stable(now, *stable)?,
                (Place::New { stable, .. }, Some(now)) => in_stable(now, stable.id)?,
                (Place::New { stable, tags }, None) => {
                    next_id += 1;
                    let kind = TableKind::Child { stable: stable.id, tags: tags.clone() };
                    let (name, created_ms) = (rows.name.clone(), now / 1_000_000);
                    made.push((database.id, Table { id: next_id, name, kind, created_ms, comment: None, ttl_days: 0 }));
                    next_id
                }
            };
            let schema = match (&rows.place, database.tables.get(&rows.name).map(|table| &table.kind)) {
                (_, Some(TableKind::Normal(schema))) => schema.clone(),
                (_, Some(TableKind::Child { stable, .. })) => columns_of(database, *stable)?,
                (Place::New { stable, .. }, None) => columns_of(database, stable.id)?,
                (_, None) => return Err(TdError::no_table()),
            };
            targets.push((id, schema));
        }
        Ok(targets)
    }
}

fn in_stable(table: &Table, stable: i64) -> Result<i64, TdError> {
    if table.stable_id() == Some(stable) {
        return Ok(table.id);
    }
    Err(TdError::new(0x061d, "Table already exists in other stables"))
}

fn columns_of(database: &Database, stable: i64) -> Result<Arc<Schema>, TdError> {
    database.stable_by_id(stable).map(|stable| stable.columns.clone()).ok_or_else(TdError::no_table)
}
