//! One row of VALUES on its way into a batch.

use super::{Bound, Clause, TableRef};
use crate::tdengine::engine::batch::{Batch, Place};
use crate::tdengine::engine::catalog::{Name, Schema};
use crate::tdengine::engine::row::{RowWriter, Slot};
use crate::tdengine::engine::storage::Key;
use crate::tdengine::engine::{DataType, TdError};

/// Where one slot's value lies while a row is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum ValueAt {
    Absent,
    Null,
    Value(usize, usize),
}

impl ValueAt {
    pub(super) fn given(some: bool, start: usize, end: usize) -> Self {
        if some { Self::Value(start, end) } else { Self::Null }
    }

    fn slot<'a>(&self, bytes: &'a [u8]) -> Slot<'a> {
        match *self {
            Self::Absent => Slot::Absent,
            Self::Null => Slot::Null,
            Self::Value(start, end) => Slot::Value(&bytes[start..end]),
        }
    }
}

/// One row while its values are read; used again for the next one.
pub(super) struct RowValues {
    pub(super) bytes: Vec<u8>,
    pub(super) columns: Vec<ValueAt>,
    pub(super) tags: Vec<ValueAt>,
    pub(super) name: Option<Name>,
    /// Where the rows go, if that does not change from row to row.
    table: Option<usize>,
    partial: bool,
}

impl RowValues {
    pub(super) fn new(clause: &Clause) -> Self {
        let bound = |slot: usize| clause.bound.contains(&Bound::Column(slot));
        let dropped = |slot: usize| clause.schema.slots[slot].dropped;
        let slots = clause.schema.slots.len();
        Self {
            bytes: Vec::new(),
            columns: vec![ValueAt::Absent; slots],
            tags: vec![ValueAt::Null; clause.stable.as_ref().map_or(0, |stable| stable.tags.slots.len())],
            name: None,
            table: None,
            partial: !(clause.bound.len() == slots || (0..slots).all(|slot| bound(slot) || dropped(slot))),
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.name = None;
    }

    pub(super) fn push(&mut self, clause: &Clause, batch: &mut Batch) -> Result<(), TdError> {
        let table = match (self.table, &self.name, &clause.table) {
            (Some(table), None, _) => table,
            (_, Some(name), _) => {
                let Some(stable) = &clause.stable else { return Err(TdError::no_table()) };
                let tags = || {
                    let mut out = Vec::new();
                    let mut writer = RowWriter::new(&mut out, self.tags.len(), false);
                    for (tag, def) in self.tags.iter().zip(&stable.tags.slots) {
                        writer.push(def.data_type.width(), tag.slot(&self.bytes));
                    }
                    Ok(Place::New { stable: stable.clone(), tags: out.into() })
                };
                batch.table(&clause.database, name, &clause.schema, tags)?
            }
            (None, None, TableRef::Named(name)) => {
                let place = || match (&clause.existing, &clause.stable, &clause.tags) {
                    (Some(table), _, _) => Ok(Place::Existing(table.clone())),
                    (None, Some(stable), Some(tags)) => Ok(Place::New { stable: stable.clone(), tags: tags.clone() }),
                    _ => Err(TdError::no_table()),
                };
                let table = batch.table(&clause.database, name, &clause.schema, place)?;
                self.table = Some(table);
                table
            }
            (None, None, TableRef::Placeholder) => return Err(TdError::no_table()),
        };
        let Slot::Value(ts) = self.columns[0].slot(&self.bytes) else { return Err(TdError::no_table()) };
        let ts = i64::from_le_bytes(ts.try_into().unwrap_or_default());
        let key = match (clause.schema.key(), self.columns.get(1).map(|slot| slot.slot(&self.bytes))) {
            (Some(column), Some(Slot::Value(value))) => key_of(column.data_type, value),
            _ => Key::Int(0),
        };
        batch.push(table, ts, key, |out| {
            let mut writer = RowWriter::new(out, self.columns.len() - 1, self.partial);
            for (slot, column) in self.columns.iter().zip(&clause.schema.slots).skip(1) {
                // A dropped column is not there to be kept: it reads as NULL in a complete row.
                let slot = if self.partial { slot.slot(&self.bytes) } else { absent_as_null(slot.slot(&self.bytes)) };
                writer.push(column.data_type.width(), slot);
            }
        });
        Ok(())
    }
}

fn absent_as_null(slot: Slot<'_>) -> Slot<'_> {
    if slot == Slot::Absent { Slot::Null } else { slot }
}

/// A stored value as the second part of a key.
pub(crate) fn key_of(data_type: DataType, value: &[u8]) -> Key {
    let mut wide = [0; 8];
    let len = value.len().min(8);
    wide[..len].copy_from_slice(&value[..len]);
    match data_type {
        DataType::Int => Key::Int(i64::from(i32::from_le_bytes([wide[0], wide[1], wide[2], wide[3]]))),
        DataType::UInt | DataType::BigInt => Key::Int(i64::from_le_bytes(wide)),
        DataType::UBigInt => Key::Int(i64::from_le_bytes(wide) ^ i64::MIN),
        _ => Key::Bytes(value.into()),
    }
}

/// Tags, by slot, as a row.
pub(crate) fn encode_tags(schema: &Schema, values: &[Option<Vec<u8>>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = RowWriter::new(&mut out, schema.slots.len(), false);
    for (tag, value) in schema.slots.iter().zip(values) {
        writer.push(tag.data_type.width(), value.as_deref().map_or(Slot::Null, Slot::Value));
    }
    out
}
