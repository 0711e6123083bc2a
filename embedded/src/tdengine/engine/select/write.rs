//! Statements that write what a query or a condition finds: DELETE and INSERT ... SELECT.

use std::sync::Arc;

use super::bind::Binder;
use super::input::Conditions;
use super::source::Source;
use super::value;
use crate::tdengine::engine::batch::{Batch, Duplicates, Place};
use crate::tdengine::engine::catalog::Relation;
use crate::tdengine::engine::exec::database_name;
use crate::tdengine::engine::row::{RowWriter, Slot};
use crate::tdengine::engine::sql::ast::{Expr, From, ObjectName, Query};
use crate::tdengine::engine::sql::insert::key_of;
use crate::tdengine::engine::storage::{self, Key};
use crate::tdengine::engine::{Cell, DataType, Inner, Session, TdError};

impl Inner {
    /// Deletes by time and, of a super table, by tags.
    pub(crate) fn delete(
        self: &Arc<Self>,
        session: &Session,
        table: &ObjectName,
        condition: Option<&Expr>,
    ) -> Result<u64, TdError> {
        let from = From::Table { table: table.clone(), alias: None };
        let mut input = self.input(session, &from, None)?;
        let context = self.context(session, input.precision);
        let columns = input.columns.clone();
        let condition =
            condition.map(|e| Binder { columns: &columns, context: &context, grouping: None }.bind(e)).transpose()?;
        let conditions = Conditions::split(condition, &columns)?;
        if !conditions.rest.is_empty() {
            return Err(TdError::new(0x2655, "The DELETE statement must only have a definite time window range"));
        }
        super::prune(&mut input, &conditions)?;
        let Source::Scan(scan) = input.source else {
            return Err(TdError::new(0x2669, "System table not allowed"));
        };
        let mut writer = self.store.writer();
        let transaction = writer.transaction()?;
        let mut deleted = 0;
        let first = conditions.first.unwrap_or(i64::MIN);
        for (table, _) in &scan.tables {
            deleted += storage::delete_rows(&transaction, table.id, first, scan.range.1)?;
        }
        transaction.commit()?;
        Ok(deleted)
    }

    /// Writes a query's rows into one table.
    pub(crate) fn insert_query(
        self: &Arc<Self>,
        session: &Session,
        table: &ObjectName,
        names: Option<Vec<String>>,
        query: &Query,
    ) -> Result<u64, TdError> {
        let (target, schema) = match self.relation(session, table)? {
            Relation::Normal(table, schema) => (table, schema),
            Relation::Child(table, stable) => (table, stable.columns.clone()),
            Relation::Super(_) => return Err(TdError::unsupported("INSERT ... SELECT into a super table")),
        };
        let slots: Vec<usize> = match names {
            None => schema.live().map(|(slot, _)| slot).collect(),
            Some(names) => {
                let slot =
                    |name: &String| schema.find(name).map(|(slot, _)| slot).ok_or_else(|| super::invalid_column(name));
                names.iter().map(slot).collect::<Result<_, _>>()?
            }
        };
        let mut result = self.query(session, query)?;
        let columns = result.columns().to_vec();
        if columns.len() != slots.len() {
            return Err(TdError::new(0x263f, "Illegal number of columns"));
        }
        if !slots.contains(&0) {
            return Err(TdError::new(0x0200, "Primary timestamp column should not be null"));
        }
        let database: Arc<str> = database_name(session, table)?.as_str().into();
        let partial = schema.live().any(|(slot, _)| !slots.contains(&slot));
        let mut batch = Batch::default();
        let index = batch.table(&database, &target.name.clone(), &schema, || Ok(Place::Existing(target.clone())))?;
        loop {
            let block = result.next_block(4096)?;
            if block.is_empty() {
                break;
            }
            for row in block.rows() {
                let mut values: Vec<Option<Option<Vec<u8>>>> = vec![None; schema.slots.len()];
                for ((cell, column), &slot) in row.iter().zip(&columns).zip(&slots) {
                    let to = schema.slots[slot].data_type;
                    let cell = value::cast(cell, column.data_type, to, result.precision(), &session.time_zone);
                    values[slot] = Some(stored(&cell, to));
                }
                let Some(Some(Some(ts))) = values.first() else {
                    return Err(TdError::new(0x267b, "Primary key column should not be null"));
                };
                let ts = i64::from_le_bytes(ts[..].try_into().unwrap_or_default());
                let key = match (schema.key(), values.get(1)) {
                    (Some(column), Some(Some(Some(value)))) => key_of(column.data_type, value),
                    (Some(_), _) => return Err(TdError::new(0x267b, "Primary key column should not be null")),
                    _ => Key::Int(0),
                };
                batch.push(index, ts, key, |out| {
                    let mut writer = RowWriter::new(out, schema.slots.len() - 1, partial);
                    for (value, column) in values.iter().zip(&schema.slots).skip(1) {
                        let slot = match value {
                            Some(Some(value)) => Slot::Value(value),
                            None if partial && !column.dropped => Slot::Absent,
                            _ => Slot::Null,
                        };
                        writer.push(column.data_type.width(), slot);
                    }
                });
            }
        }
        self.write(&mut batch, Duplicates::Merge)
    }
}

/// The stored bytes of a value that has its column's type.
fn stored(cell: &Cell, data_type: DataType) -> Option<Vec<u8>> {
    let width = data_type.fixed_width().unwrap_or(8);
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(value) => vec![u8::from(*value)],
        Cell::Int(value) | Cell::Timestamp(value) => value.to_le_bytes()[..width.min(8)].to_vec(),
        Cell::UInt(value) => value.to_le_bytes()[..width.min(8)].to_vec(),
        Cell::Float(value) => value.to_le_bytes().to_vec(),
        Cell::Double(value) => value.to_le_bytes().to_vec(),
        Cell::Decimal(value) => value.to_le_bytes()[..width.min(16)].to_vec(),
        Cell::Bytes(bytes) => bytes.to_vec(),
    })
}
