//! ALTER TABLE and ALTER STABLE.

use std::sync::Arc;

use super::database_of;
use super::table::{check_length, check_row_bytes, check_tag_bytes};
use crate::tdengine::engine::catalog::{ColumnDef, Database, Relation, Schema, Stable, Table, TableKind};
use crate::tdengine::engine::row::{RowReader, Slot};
use crate::tdengine::engine::sql::ast::{AlterTable, ObjectName};
use crate::tdengine::engine::sql::insert::encode_tags;
use crate::tdengine::engine::sql::literal::ValueReader;
use crate::tdengine::engine::{DataType, Inner, Session, TdError, storage};

/// What a change is made to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Super,
    Normal,
}

impl Inner {
    pub(super) fn alter_table(
        &self,
        session: &Session,
        sql: &[u8],
        table: &ObjectName,
        action: AlterTable,
    ) -> Result<u64, TdError> {
        let writer = self.store.writer();
        let (database, precision) = {
            let catalog = self.catalog();
            let database = database_of(&catalog, session, table)?;
            (database.name.clone(), database.options.precision)
        };
        let relation = self.relation(session, table)?;
        let changed = match relation {
            Relation::Super(stable) => Relation::Super(Arc::new(alter_stable(&stable, action, self.now_ms())?)),
            Relation::Normal(table, schema) => {
                let table = alter_normal(&table, &schema, action)?;
                Relation::Normal(Arc::new(table), schema)
            }
            Relation::Child(table, stable) => {
                let reader = ValueReader { sql, at: 0, precision, zone: &session.time_zone, now: (self.clock)() };
                Relation::Child(Arc::new(alter_child(&table, &stable, action, reader)?), stable)
            }
        };
        let mut catalog = self.catalog_mut();
        let database: &mut Database = catalog.databases.get_mut(&*database).ok_or_else(TdError::no_database)?;
        match changed {
            Relation::Super(stable) => {
                storage::save_stable(&writer, database.id, &stable)?;
                database.put_stable(stable);
            }
            Relation::Child(table, _) | Relation::Normal(table, _) => {
                storage::save_table(&writer, database.id, &table)?;
                database.put_table(table);
            }
        }
        Ok(0)
    }
}

fn refused(text: impl Into<String>) -> TdError {
    TdError::new(0x2649, text)
}

fn invalid_column(name: &str) -> TdError {
    TdError::new(0x2602, format!("Invalid column name: {name}"))
}

fn invalid_tag(name: &str) -> TdError {
    TdError::new(0x260e, format!("Invalid tag name: {name}"))
}

fn alter_stable(stable: &Stable, action: AlterTable, now_ms: i64) -> Result<Stable, TdError> {
    let (mut columns, mut tags) = ((*stable.columns).clone(), (*stable.tags).clone());
    let taken = |name: &str| -> Result<(), TdError> {
        if stable.columns.find(name).is_some() {
            return Err(TdError::new(0x036b, "Column already exists"));
        }
        if stable.tags.find(name).is_some() {
            return Err(TdError::new(0x0369, "Tag already exists"));
        }
        Ok(())
    };
    let mut comment = stable.comment.clone();
    match action {
        AlterTable::AddColumn(column) => {
            check_column(&column)?;
            taken(&column.name)?;
            columns.slots.push(column);
            check_counts(&columns, &tags)?;
            check_row_bytes(&columns)?;
        }
        AlterTable::AddTag(tag) => {
            check_length(tag.data_type, true)?;
            taken(&tag.name)?;
            if tag.data_type == DataType::Json || tags.live().any(|(_, tag)| tag.data_type == DataType::Json) {
                return Err(TdError::new(0x2633, "Only one tag if there is a json tag"));
            }
            tags.slots.push(tag);
            check_counts(&columns, &tags)?;
            check_tag_bytes(&tags)?;
        }
        AlterTable::DropTag(name) => {
            let slot = tags.find(&name).map(|(slot, _)| slot).ok_or_else(|| invalid_tag(&name))?;
            if tags.live().count() == 1 {
                return Err(refused("the only tag cannot be dropped"));
            }
            tags.slots[slot].dropped = true;
        }
        AlterTable::ModifyTag(name, data_type) => {
            let slot = tags.find(&name).map(|(slot, _)| slot).ok_or_else(|| invalid_tag(&name))?;
            widen(&mut tags.slots[slot], data_type, true)?;
            check_tag_bytes(&tags)?;
        }
        AlterTable::RenameTag(from, to) => {
            let slot = tags.find(&from).map(|(slot, _)| slot).ok_or_else(|| invalid_tag(&from))?;
            taken(&to)?;
            tags.slots[slot].name = to;
        }
        AlterTable::RenameColumn(..) => return Err(refused("Rename column only available for normal table")),
        AlterTable::SetTags(_) => return Err(refused("Set tag value only available for child table")),
        AlterTable::Options(options) => {
            if options.ttl_days.is_some() {
                return Err(refused("Invalid alter table statement"));
            }
            comment = options.comment.or(comment);
        }
        change => change_columns(&mut columns, change, Target::Super)?,
    }
    Ok(Stable {
        columns: versioned(&stable.columns, columns),
        tags: versioned(&stable.tags, tags),
        updated_ms: now_ms,
        comment,
        ..stable.clone()
    })
}

fn alter_normal(table: &Table, schema: &Arc<Schema>, action: AlterTable) -> Result<Table, TdError> {
    let mut columns = (**schema).clone();
    let mut table = table.clone();
    match action {
        AlterTable::AddColumn(column) => {
            check_column(&column)?;
            if columns.find(&column.name).is_some() {
                return Err(TdError::new(0x263c, "Duplicated column names"));
            }
            columns.slots.push(column);
            check_counts(&columns, &Schema::default())?;
            check_row_bytes(&columns)?;
        }
        AlterTable::RenameColumn(from, to) => {
            let slot = columns.find(&from).map(|(slot, _)| slot).ok_or_else(|| invalid_column(&from))?;
            if columns.find(&to).is_some() {
                return Err(TdError::new(0x263c, "Duplicated column names"));
            }
            columns.slots[slot].name = to;
        }
        AlterTable::SetTags(tags) => {
            let name = tags.first().map_or("", |(name, _)| name);
            return Err(refused(format!("Invalid tag name: {name}")));
        }
        AlterTable::Options(options) => {
            table.ttl_days = options.ttl_days.unwrap_or(table.ttl_days);
            table.comment = options.comment.or(table.comment);
        }
        AlterTable::AddTag(_) | AlterTable::DropTag(_) | AlterTable::ModifyTag(..) | AlterTable::RenameTag(..) => {
            return Err(refused("Invalid alter table statement"));
        }
        change => change_columns(&mut columns, change, Target::Normal)?,
    }
    table.kind = TableKind::Normal(versioned(schema, columns));
    Ok(table)
}

fn alter_child(
    table: &Table,
    stable: &Stable,
    action: AlterTable,
    mut reader: ValueReader<'_>,
) -> Result<Table, TdError> {
    let mut table = table.clone();
    match action {
        AlterTable::Options(options) => {
            table.ttl_days = options.ttl_days.unwrap_or(table.ttl_days);
            table.comment = options.comment.or(table.comment);
        }
        AlterTable::SetTags(changes) => {
            let TableKind::Child { tags, .. } = &table.kind else { return Err(TdError::no_table()) };
            let mut stored = RowReader::new(tags);
            let value = |tag: &ColumnDef| match stored.next(tag.data_type.width()) {
                Slot::Value(value) => Some(value.to_vec()),
                Slot::Null | Slot::Absent => None,
            };
            let mut values: Vec<Option<Vec<u8>>> = stable.tags.slots.iter().map(value).collect();
            for (name, at) in changes {
                let (slot, tag) =
                    stable.tags.find(&name).ok_or_else(|| refused(format!("Invalid tag name: {name}")))?;
                reader.at = at;
                let mut bytes = Vec::new();
                values[slot] = reader.value(tag, &mut bytes)?.then_some(bytes);
            }
            let tags = encode_tags(&stable.tags, &values).into();
            table.kind = TableKind::Child { stable: stable.id, tags };
        }
        _ => return Err(refused("Invalid alter table statement")),
    }
    Ok(table)
}

/// The changes that super and normal tables have in common.
fn change_columns(columns: &mut Schema, change: AlterTable, target: Target) -> Result<(), TdError> {
    let find =
        |columns: &Schema, name: &str| columns.find(name).map(|(slot, _)| slot).ok_or_else(|| invalid_column(name));
    match change {
        AlterTable::DropColumn(name) => {
            let slot = find(columns, &name)?;
            if slot == 0 || columns.slots[slot].key {
                return Err(TdError::new(0x03c2, "Invalid stable alter options"));
            }
            if columns.live().count() == 2 {
                return Err(TdError::new(0x2651, "No columns can be dropped"));
            }
            columns.slots[slot].dropped = true;
        }
        AlterTable::ModifyColumn(name, data_type) => {
            let slot = find(columns, &name)?;
            widen(&mut columns.slots[slot], data_type, false)?;
            check_row_bytes(columns)?;
        }
        AlterTable::CompressColumn(name, compression) => {
            let slot = find(columns, &name)?;
            for (old, new) in columns.slots[slot].compression.iter_mut().zip(compression) {
                *old = new.or_else(|| old.take());
            }
        }
        _ if target == Target::Super => return Err(TdError::new(0x03c2, "Invalid stable alter options")),
        _ => return Err(refused("Invalid alter table statement")),
    }
    Ok(())
}

fn check_column(column: &ColumnDef) -> Result<(), TdError> {
    if column.data_type == DataType::Json {
        return Err(TdError::new(0x2652, "Only tag can be json type"));
    }
    if column.key {
        return Err(TdError::new(0x2678, "composite primary key column must be second column"));
    }
    check_length(column.data_type, false)
}

fn check_counts(columns: &Schema, tags: &Schema) -> Result<(), TdError> {
    if tags.live().count() > 128 {
        return Err(TdError::new(0x2643, "Invalid number of tag columns"));
    }
    if columns.live().count() + tags.live().count() > 4096 {
        return Err(TdError::new(0x2640, "Too many columns"));
    }
    Ok(())
}

/// Only the length of a variable type may change, and only grow.
fn widen(column: &mut ColumnDef, data_type: DataType, tag: bool) -> Result<(), TdError> {
    let same = std::mem::discriminant(&column.data_type) == std::mem::discriminant(&data_type);
    if !same || data_type.fixed_width().is_some() || data_type.length() <= column.data_type.length() {
        let problem = "Only varbinary/binary/nchar/geometry column length could be modified, and the length can only be \
                       increased, not decreased";
        return Err(TdError::new(0x264b, problem));
    }
    check_length(data_type, tag)?;
    column.data_type = data_type;
    Ok(())
}

/// The changed schema with the next version, or the old one where nothing changed.
fn versioned(old: &Arc<Schema>, mut new: Schema) -> Arc<Schema> {
    if **old == new {
        return old.clone();
    }
    new.version += 1;
    Arc::new(new)
}
