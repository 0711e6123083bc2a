//! Making, dropping and emptying tables.

use std::sync::Arc;

use super::{database_name, database_of, is_system};
use crate::tdengine::engine::catalog::{ColumnDef, Relation, Schema, Stable, Table, TableKind};
use crate::tdengine::engine::sql::ast::{CreateChild, CreateTable, ObjectName};
use crate::tdengine::engine::sql::insert::encode_tags;
use crate::tdengine::engine::sql::literal::ValueReader;
use crate::tdengine::engine::{DataType, Inner, Session, TdError, storage};

const MAX_COLUMNS: usize = 4096;
const MAX_TAGS: usize = 128;
const MAX_ROW_BYTES: u32 = 65_531;
const MAX_TAG_BYTES: u32 = 16_384;

impl Inner {
    pub(super) fn create_table(&self, session: &Session, create: CreateTable) -> Result<u64, TdError> {
        let database = database_name(session, &create.table)?;
        if is_system(&database) {
            let table = String::from_utf8_lossy(&create.table.name);
            return Err(TdError::new(
                0x0200,
                format!("Cannot create table of system database: `{database}`.`{table}`"),
            ));
        }
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        let found = catalog.database(&database)?;
        check_columns(&create.columns, create.tags.as_deref())?;
        check_options(&create)?;
        let (is_stable, is_table) =
            (found.stables.contains_key(&create.table.name[..]), found.tables.contains_key(&create.table.name[..]));
        if is_stable || is_table {
            return match create.if_not_exists && (is_stable == create.tags.is_some()) {
                true => Ok(0),
                false if is_stable && create.tags.is_some() => Err(TdError::new(0x0360, "STable already exists")),
                false => Err(TdError::new(0x0603, "Table already exists")),
            };
        }
        let (id, db, now) = (catalog.next_id(), catalog.database(&database)?.id, self.now_ms());
        let columns = Arc::new(Schema::new(create.columns));
        let database = catalog.databases.get_mut(&database).ok_or_else(TdError::no_database)?;
        let (name, comment) = (create.table.name.into(), create.options.comment);
        if let Some(tags) = create.tags {
            let tags = Arc::new(Schema::new(tags));
            let stable = Stable { id, name, columns, tags, created_ms: now, updated_ms: now, comment };
            storage::save_stable(&writer, db, &stable)?;
            database.put_stable(Arc::new(stable));
        } else {
            let ttl_days = create.options.ttl_days.unwrap_or(0);
            let table = Table { id, name, kind: TableKind::Normal(columns), created_ms: now, comment, ttl_days };
            storage::save_table(&writer, db, &table)?;
            database.put_table(Arc::new(table));
        }
        Ok(0)
    }

    pub(super) fn create_children(
        &self,
        session: &Session,
        sql: &[u8],
        children: Vec<CreateChild>,
    ) -> Result<u64, TdError> {
        let mut writer = self.store.writer();
        let mut made: Vec<(String, i64, Table)> = Vec::new();
        {
            let catalog = self.catalog();
            let mut next_id = catalog.last_id;
            for child in children {
                let name = database_name(session, &child.table)?;
                let database = catalog.database(&name)?;
                let Some(Relation::Super(stable)) =
                    database_of(&catalog, session, &child.stable)?.relation(&child.stable.name)
                else {
                    return Err(TdError::no_table());
                };
                let reader = ValueReader {
                    sql,
                    at: child.values_at,
                    precision: database.options.precision,
                    zone: &session.time_zone,
                    now: (self.clock)(),
                };
                let tags = tags_of(&child, &stable, reader)?;
                let again = made.iter().any(|(db, _, table)| *db == name && table.name[..] == child.table.name[..]);
                if again || database.relation(&child.table.name).is_some() {
                    if child.if_not_exists {
                        continue;
                    }
                    return Err(TdError::new(0x0603, "Table already exists"));
                }
                next_id += 1;
                let kind = TableKind::Child { stable: stable.id, tags: tags.into() };
                let (comment, ttl_days) = (child.options.comment, child.options.ttl_days.unwrap_or(0));
                let table = Table {
                    id: next_id,
                    name: child.table.name.into(),
                    kind,
                    created_ms: self.now_ms(),
                    comment,
                    ttl_days,
                };
                made.push((name, database.id, table));
            }
        }
        let transaction = writer.transaction()?;
        for (_, db, table) in &made {
            storage::save_table(&transaction, *db, table)?;
        }
        transaction.commit()?;
        let mut catalog = self.catalog_mut();
        for (name, _, table) in made {
            catalog.last_id = catalog.last_id.max(table.id);
            if let Some(database) = catalog.databases.get_mut(&name) {
                database.put_table(Arc::new(table));
            }
        }
        Ok(0)
    }

    pub(super) fn drop_tables(
        &self,
        session: &Session,
        tables: &[(ObjectName, bool)],
        stable: bool,
    ) -> Result<u64, TdError> {
        let mut writer = self.store.writer();
        let mut dropped = Vec::new();
        for (table, if_exists) in tables {
            let database = database_name(session, table)?;
            if is_system(&database) {
                let name = String::from_utf8_lossy(&table.name);
                return Err(TdError::new(
                    0x0200,
                    format!("Cannot drop table of system database: `{database}`.`{name}`"),
                ));
            }
            match self.relation(session, table) {
                Ok(Relation::Super(found)) => dropped.push((database, Relation::Super(found))),
                Ok(found) if !stable => dropped.push((database, found)),
                Ok(_) => return Err(TdError::new(0x0362, "STable not exist")),
                Err(error) if error.code == 0x2603 => match (if_exists, stable) {
                    (true, _) => {}
                    (false, true) => return Err(TdError::new(0x0362, "STable not exist")),
                    (false, false) => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
        let transaction = writer.transaction()?;
        for (_, relation) in &dropped {
            match relation {
                Relation::Super(stable) => storage::delete_stable(&transaction, stable.id)?,
                Relation::Child(table, _) | Relation::Normal(table, _) => {
                    storage::delete_table(&transaction, table.id)?
                }
            }
        }
        transaction.commit()?;
        let mut catalog = self.catalog_mut();
        for (database, relation) in dropped {
            let Some(database) = catalog.databases.get_mut(&database) else { continue };
            match relation {
                Relation::Super(stable) => database.remove_stable(&stable),
                Relation::Child(table, _) | Relation::Normal(table, _) => database.remove_table(&table.name),
            }
        }
        Ok(0)
    }
}

/// The tags of `create table .. using`.
fn tags_of(child: &CreateChild, stable: &Stable, mut reader: ValueReader<'_>) -> Result<Vec<u8>, TdError> {
    let slots: Vec<usize> = match &child.tag_names {
        None => stable.tags.live().map(|(slot, _)| slot).collect(),
        Some(names) => {
            let slot = |name: &String| {
                let found = stable.tags.find(name).map(|(slot, _)| slot);
                found.ok_or_else(|| TdError::new(0x260e, format!("Invalid tag name: {name}")))
            };
            names.iter().map(slot).collect::<Result<_, _>>()?
        }
    };
    let mismatch = || TdError::new(0x260d, "Tags number not matched");
    let mut values = vec![None; stable.tags.slots.len()];
    for (i, &slot) in slots.iter().enumerate() {
        if (i > 0 && !reader.take(b',')) || reader.peek().is(b')') {
            return Err(mismatch());
        }
        let mut value = Vec::new();
        if reader.value(&stable.tags.slots[slot], &mut value)? {
            values[slot] = Some(value);
        }
    }
    if !reader.take(b')') {
        let next = reader.peek();
        return Err(if next.is(b',') { mismatch() } else { reader.near(next, ") expected") });
    }
    Ok(encode_tags(&stable.tags, &values))
}

fn check_options(create: &CreateTable) -> Result<(), TdError> {
    let problem = |text: &str| Err(TdError::new(0x261a, text));
    if create.options.rollup {
        return problem(
            "Invalid option rollup: Only supported for create super table in databases configured with the 'RETENTIONS' option",
        );
    }
    if create.tags.is_some() && create.options.ttl_days.is_some() {
        return problem("Only supported for create non-super table in databases configured with the 'TTL' option");
    }
    Ok(())
}

/// The bytes one column may take in a row.
pub(super) fn column_bytes(data_type: DataType) -> u32 {
    match data_type {
        // Kept outside of the row.
        DataType::Blob => 8,
        other => other.bytes(),
    }
}

pub(super) fn check_row_bytes(columns: &Schema) -> Result<(), TdError> {
    let bytes: u32 = columns.live().map(|(_, column)| column_bytes(column.data_type)).fold(0, u32::saturating_add);
    if bytes > MAX_ROW_BYTES {
        return Err(TdError::new(0x263e, "Row length exceeds max length 65531"));
    }
    Ok(())
}

pub(super) fn check_tag_bytes(tags: &Schema) -> Result<(), TdError> {
    let bytes: u32 = tags.live().map(|(_, tag)| column_bytes(tag.data_type)).fold(0, u32::saturating_add);
    if bytes > MAX_TAG_BYTES {
        return Err(TdError::new(0x263d, "Tags length exceeds max length 16384"));
    }
    Ok(())
}

/// The length of a variable type must be one a column (or a tag) can have.
pub(super) fn check_length(data_type: DataType, tag: bool) -> Result<(), TdError> {
    let max = match (data_type, tag) {
        (DataType::NChar(_), false) => 16_379,
        (DataType::NChar(_), true) => 4_095,
        (_, false) => 65_517,
        (_, true) => 16_382,
    };
    let length = match data_type {
        DataType::VarChar(n) | DataType::NChar(n) | DataType::VarBinary(n) | DataType::Geometry(n) => n,
        _ => return Ok(()),
    };
    if length == 0 || length > max {
        return Err(TdError::new(0x2642, "Invalid column length for var length type"));
    }
    Ok(())
}

fn check_columns(columns: &[ColumnDef], tags: Option<&[ColumnDef]>) -> Result<(), TdError> {
    let problem = |code, text: &str| Err(TdError::new(code, text));
    let tags = tags.unwrap_or_default();
    if tags.len() > MAX_TAGS {
        return problem(0x2643, "Invalid number of tag columns");
    }
    if tags.len() > 1 && tags.iter().any(|tag| tag.data_type == DataType::Json) {
        return problem(0x2633, "Only one tag if there is a json tag");
    }
    if columns.len() < 2 {
        return problem(0x263f, "Illegal number of columns");
    }
    if columns.len() + tags.len() > MAX_COLUMNS {
        return problem(0x2640, "Too many columns");
    }
    if columns[0].data_type != DataType::Timestamp {
        return problem(0x2641, "First column must be timestamp");
    }
    for (i, column) in columns.iter().enumerate().skip(1) {
        if column.key && i > 1 {
            return problem(0x2678, "composite primary key column must be second column");
        }
        if column.key
            && !matches!(
                column.data_type,
                DataType::Int | DataType::UInt | DataType::BigInt | DataType::UBigInt | DataType::VarChar(_)
            )
        {
            return problem(
                0x2679,
                "composite primary key column must be of type int, uint, bigint, ubigint, and varchar",
            );
        }
        if column.data_type == DataType::Json {
            return problem(0x2652, "Only tag can be json type");
        }
    }
    let mut names = std::collections::HashSet::new();
    if !columns.iter().chain(tags).all(|column| names.insert(&column.name)) {
        return problem(0x263c, "Duplicated column names");
    }
    columns.iter().try_for_each(|column| check_length(column.data_type, false))?;
    tags.iter().try_for_each(|tag| check_length(tag.data_type, true))?;
    check_row_bytes(&Schema::new(columns.to_vec()))?;
    if tags.first().is_some_and(|tag| tag.data_type != DataType::Json) {
        check_tag_bytes(&Schema::new(tags.to_vec()))?;
    }
    Ok(())
}
