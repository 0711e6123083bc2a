//! One table of a bind frame: its checks, and its rows straight from the frame's buffers into the batch.

use std::sync::Arc;

use super::{ABSENT, BindColumn, BindMode, BindTable, MAX_ROWS, PreparedInsert};
use crate::tdengine::engine::batch::Place;
use crate::tdengine::engine::catalog::{Catalog, ColumnDef, MAX_TABLE_NAME, Name, Schema};
use crate::tdengine::engine::row::{RowReader, RowWriter, Slot, Width};
use crate::tdengine::engine::sql::insert::{self, TableRef};
use crate::tdengine::engine::sql::literal;
use crate::tdengine::engine::storage::Key;
use crate::tdengine::engine::{DataType, TdError};

/// Where one slot's values come from while a table's rows are encoded.
pub(super) enum Source<'a> {
    /// Not bound: stays as it is stored.
    Absent,
    /// The column was dropped.
    Null,
    Fixed {
        is_null: &'a [u8],
        data: &'a [u8],
        width: usize,
    },
    Var {
        is_null: &'a [u8],
        lengths: &'a [u8],
        data: &'a [u8],
        at: usize,
        width: Width,
    },
}

impl PreparedInsert {
    /// Checks one table of a frame and adds its rows to the batch.
    pub(super) fn bind_table<'a>(
        &mut self,
        catalog: &Catalog,
        table: &BindTable<'a>,
        sources: &mut Vec<Source<'a>>,
    ) -> Result<(), TdError> {
        let rows = table.columns.first().map_or(0, |column| column.is_null.len());
        if rows == 0 || rows > MAX_ROWS || table.columns.len() < self.columns.len() {
            return Err(TdError::new(0x0236, "bind number out of range or not match"));
        }
        let (database, name) = self.target(catalog, table)?;
        let tags = match &table.tags {
            Some(values) if !self.tags.is_empty() => Some(self.encode_tags(values)?),
            // Tags written out in the statement.
            None if self.tags.is_empty() => self.clause.tags.clone(),
            _ => None,
        };
        let index = self.place(catalog, &database, &name, tags)?;
        self.sources(&table.columns, rows, sources)?;
        let ts_column = self.columns.iter().position(|&slot| slot == 0).map(|i| &table.columns[i]);
        let ts = ts_column.map_or(&[][..], |column| column.data);
        let key = self.clause.schema.key().map(|column| column.data_type);
        let partial = sources.iter().any(|source| match source {
            Source::Absent => true,
            Source::Null => false,
            Source::Fixed { is_null, .. } | Source::Var { is_null, .. } => is_null.contains(&ABSENT),
        });
        let bytes: usize = table.columns.iter().map(|column| column.data.len() + 2 * column.is_null.len()).sum();
        self.batch.reserve(index, rows, bytes + rows * (3 + sources.len() / 4));
        for (row, ts) in ts.chunks_exact(8).take(rows).enumerate() {
            let ts = i64::from_le_bytes(ts.try_into().unwrap_or_default());
            let key = match (key, sources.first()) {
                (Some(data_type), Some(source)) => insert::key_of(data_type, source.peek(row)),
                _ => Key::Int(0),
            };
            self.batch.push(index, ts, key, |out| {
                let mut writer = RowWriter::new(out, sources.len(), partial);
                sources.iter_mut().for_each(|source| source.write(row, &mut writer));
            });
        }
        Ok(())
    }

    /// Database and name of the table a frame addresses: `name` or `database.name`, taken as bytes.
    fn target(&self, catalog: &Catalog, table: &BindTable<'_>) -> Result<(Arc<str>, Name), TdError> {
        if !self.names_table() {
            return match &self.clause.table {
                TableRef::Named(name) => Ok((self.clause.database.clone(), name.clone())),
                TableRef::Placeholder => Err(TdError::no_table()),
            };
        }
        let name = table.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| TdError::new(0x022b, "Stmt table name not set correctly"))?;
        let (database, name) = match name.iter().position(|&byte| byte == b'.') {
            None => (self.clause.database.clone(), name),
            Some(dot) => {
                let database = String::from_utf8_lossy(&name[..dot]);
                (catalog.database(&database)?.name.clone(), &name[dot + 1..])
            }
        };
        if name.len() > MAX_TABLE_NAME {
            return Err(TdError::new(0x0200, "name too long"));
        }
        Ok((database, name.into()))
    }

    /// The table's place in the batch.
    fn place(
        &mut self,
        catalog: &Catalog,
        database: &Arc<str>,
        name: &Name,
        tags: Option<Arc<[u8]>>,
    ) -> Result<usize, TdError> {
        let (clause, mode) = (&self.clause, self.mode);
        let by_name = self.names_table();
        let retag = (mode == BindMode::Many).then(|| tags.clone()).flatten();
        let place = || match (&clause.existing, &clause.stable, tags) {
            (Some(table), _, _) if !by_name => Ok(Place::Existing(table.clone())),
            (_, Some(stable), Some(tags)) => Ok(Place::New { stable: stable.clone(), tags }),
            (_, Some(stable), None) => {
                let exists = || catalog.database(database).is_ok_and(|database| database.tables.contains_key(name));
                if mode == BindMode::Many && !exists() {
                    return Err(TdError::no_table());
                }
                Ok(Place::Child { stable: stable.id })
            }
            _ => Err(TdError::no_table()),
        };
        let index = self.batch.table(database, name, &clause.schema, place)?;
        if let (Some(last), Place::New { tags, .. }) = (retag, self.batch.place_mut(index)) {
            *tags = last;
        }
        Ok(index)
    }

    fn encode_tags(&self, values: &[BindColumn<'_>]) -> Result<Arc<[u8]>, TdError> {
        let Some(stable) = &self.clause.stable else { return Err(TdError::no_table()) };
        // Tags written out in the statement stand beside the bound ones.
        let mut written = RowReader::new(self.clause.tags.as_deref().unwrap_or_default());
        let tag = |tag: &ColumnDef| match written.next(tag.data_type.width()) {
            Slot::Value(value) => Some(value.to_vec()),
            Slot::Null | Slot::Absent => None,
        };
        let mut encoded: Vec<Option<Vec<u8>>> = stable.tags.slots.iter().map(tag).collect();
        for (&slot, value) in self.tags.iter().zip(values) {
            if value.is_null.first() == Some(&0) {
                encoded[slot] = Some(tag_value(stable.tags.slots[slot].data_type, value)?);
            }
        }
        Ok(insert::encode_tags(&stable.tags, &encoded).into())
    }

    /// Checks the columns of one table and lays them out by slot.
    fn sources<'a>(
        &self,
        columns: &[BindColumn<'a>],
        rows: usize,
        sources: &mut Vec<Source<'a>>,
    ) -> Result<(), TdError> {
        let schema: &Schema = &self.clause.schema;
        sources.clear();
        sources.extend(
            schema.slots.iter().skip(1).map(|column| if column.dropped { Source::Null } else { Source::Absent }),
        );
        for (column, &slot) in columns.iter().zip(&self.columns) {
            let def = &schema.slots[slot];
            if column.type_code != i32::from(def.data_type.code()) {
                return Err(TdError::new(0x0200, "column type mis-match with buffer type"));
            }
            if column.is_null.len() != rows {
                return Err(TdError::new(0x0200, "row number in each bind param should be the same"));
            }
            if (slot == 0 || def.key) && column.is_null.iter().any(|&flag| flag != 0) {
                return Err(TdError::new(0x267b, "Primary key column should not be null"));
            }
            let source = match (def.data_type.fixed_width(), column.lengths) {
                (Some(width), _) => {
                    let needed =
                        column.is_null.iter().rposition(|&flag| flag == 0).map_or(0, |last| (last + 1) * width);
                    (column.data.len() >= needed).then_some(Source::Fixed {
                        is_null: column.is_null,
                        data: column.data,
                        width,
                    })
                }
                (None, Some(lengths)) => {
                    check_lengths(def.data_type, column, lengths)?;
                    Some(Source::Var {
                        is_null: column.is_null,
                        lengths,
                        data: column.data,
                        at: 0,
                        width: def.data_type.width(),
                    })
                }
                (None, None) => {
                    let all_null = column.is_null.iter().all(|&flag| flag != 0);
                    all_null.then_some(Source::Fixed { is_null: column.is_null, data: column.data, width: 0 })
                }
            };
            let source = source.ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
            if slot > 0 {
                sources[slot - 1] = source;
            }
        }
        Ok(())
    }
}

fn length_at(lengths: &[u8], row: usize) -> usize {
    lengths.get(row * 4..row * 4 + 4).map_or(0, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).max(0) as usize)
}

/// Every value must lie in the buffer, fit the column and, for NCHAR, be UTF-8.
fn check_lengths(data_type: DataType, column: &BindColumn<'_>, lengths: &[u8]) -> Result<(), TdError> {
    let mut at = 0;
    for (row, &flag) in column.is_null.iter().enumerate() {
        let len = length_at(lengths, row);
        let value = column.data.get(at..at + len).ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
        at += len;
        if flag == 0 {
            check_text(data_type, value)?;
        }
    }
    Ok(())
}

fn check_text(data_type: DataType, value: &[u8]) -> Result<(), TdError> {
    let max = data_type.length() as usize;
    let fits = match data_type {
        DataType::NChar(_) => {
            let text = std::str::from_utf8(value).map_err(|error| {
                // An incomplete sequence at the end and a wrong byte are different errors of the C library.
                let errno = if error.error_len().is_none() { -2_130_771_946 } else { -2_130_771_884i64 };
                TdError::new(0x0216, format!("syntax error near 'Unknown error {errno}'"))
            })?;
            text.len() <= max || text.chars().count() <= max
        }
        _ => value.len() <= max,
    };
    if fits { Ok(()) } else { Err(TdError::new(0x2653, "Value too long for column/tag")) }
}

/// The stored bytes of a tag. Its type in the frame is not looked at: a fixed-width tag takes the low bytes.
fn tag_value(data_type: DataType, value: &BindColumn<'_>) -> Result<Vec<u8>, TdError> {
    if let Some(width) = data_type.fixed_width() {
        let mut bytes = value.data[..value.data.len().min(width)].to_vec();
        bytes.resize(width, 0);
        return Ok(bytes);
    }
    let len = value.lengths.map_or(value.data.len(), |lengths| length_at(lengths, 0));
    let bytes = value.data.get(..len).ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
    if data_type == DataType::Json {
        let problem = || format!("syntax error near '{}' (json parse error)", String::from_utf8_lossy(bytes));
        return literal::json_tag(bytes).ok_or_else(|| TdError::new(0x0216, problem()));
    }
    check_text(data_type, bytes)?;
    Ok(bytes.to_vec())
}

impl Source<'_> {
    /// Appends the row's value. Rows are asked for in order.
    #[inline]
    fn write(&mut self, row: usize, writer: &mut RowWriter<'_>) {
        match self {
            Self::Absent => writer.absent(),
            Self::Null => writer.null(),
            Self::Fixed { is_null, data, width } => match is_null[row] {
                0 => writer.fixed(&data[row * *width..(row + 1) * *width]),
                ABSENT => writer.absent(),
                _ => writer.null(),
            },
            Self::Var { is_null, lengths, data, at, width } => {
                let len = length_at(lengths, row);
                let value = &data[*at..*at + len];
                *at += len;
                match is_null[row] {
                    0 => writer.push(*width, Slot::Value(value)),
                    ABSENT => writer.absent(),
                    _ => writer.null(),
                }
            }
        }
    }

    /// The row's value, which the next [`Self::write`] appends.
    fn peek(&self, row: usize) -> &[u8] {
        match self {
            Self::Absent | Self::Null => &[],
            Self::Fixed { data, width, .. } => &data[row * width..(row + 1) * width],
            Self::Var { lengths, data, at, .. } => &data[*at..*at + length_at(lengths, row)],
        }
    }
}
