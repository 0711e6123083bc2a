//! The tables of `information_schema`, made from the catalog when they are asked for.

use std::sync::Arc;

use crate::tdengine::engine::catalog::{Catalog, Database, Schema, Table, TableKind, tag_cells};
use crate::tdengine::engine::select::Rows;
use crate::tdengine::engine::{Cell, Column, DataType, Inner, Precision, ResultSet, TdError};

const MAX_TAG_TEXT: u32 = 16_384;

pub(super) fn text(text: impl AsRef<[u8]>) -> Cell {
    Cell::Bytes(text.as_ref().into())
}

pub(super) fn columns(list: &[(&str, DataType)]) -> Vec<Column> {
    list.iter().map(|(name, data_type)| Column { name: name.as_bytes().to_vec(), data_type: *data_type }).collect()
}

pub(super) fn table_of(list: &[(&str, DataType)], rows: Vec<Vec<Cell>>) -> ResultSet {
    ResultSet::new(columns(list), Precision::Milli, Rows::Ready(rows.into_iter()))
}

const fn varchar(length: u32) -> DataType {
    DataType::VarChar(length)
}

const DATABASES: &[(&str, DataType)] = &[
    ("name", varchar(64)),
    ("create_time", DataType::Timestamp),
    ("vgroups", DataType::Int),
    ("ntables", DataType::BigInt),
    ("replica", DataType::TinyInt),
    ("strict", varchar(4)),
    ("duration", varchar(10)),
    ("keep", varchar(32)),
    ("buffer", DataType::Int),
    ("pagesize", DataType::Int),
    ("pages", DataType::Int),
    ("minrows", DataType::Int),
    ("maxrows", DataType::Int),
    ("comp", DataType::TinyInt),
    ("precision", varchar(2)),
    ("status", varchar(10)),
    ("retentions", varchar(60)),
    ("single_stable", DataType::Bool),
    ("cachemodel", varchar(11)),
    ("cachesize", DataType::Int),
    ("wal_level", DataType::TinyInt),
    ("wal_fsync_period", DataType::Int),
    ("wal_retention_period", DataType::Int),
    ("wal_retention_size", DataType::BigInt),
    ("stt_trigger", DataType::SmallInt),
    ("table_prefix", DataType::SmallInt),
    ("table_suffix", DataType::SmallInt),
    ("tsdb_pagesize", DataType::Int),
    ("keep_time_offset", DataType::Int),
    ("ss_chunkpages", DataType::Int),
    ("ss_keeplocal", varchar(10)),
    ("ss_compact", DataType::TinyInt),
    ("with_arbitrator", DataType::TinyInt),
    ("encrypt_algorithm", varchar(16)),
    ("compact_interval", varchar(12)),
    ("compact_time_range", varchar(24)),
    ("compact_time_offset", varchar(4)),
];

const STABLES: &[(&str, DataType)] = &[
    ("stable_name", varchar(192)),
    ("db_name", varchar(64)),
    ("create_time", DataType::Timestamp),
    ("columns", DataType::Int),
    ("tags", DataType::Int),
    ("last_update", DataType::Timestamp),
    ("table_comment", varchar(1024)),
    ("watermark", varchar(64)),
    ("max_delay", varchar(64)),
    ("rollup", varchar(128)),
    ("uid", DataType::BigInt),
    ("isvirtual", DataType::Bool),
    ("keep", DataType::BigInt),
];

const TABLES: &[(&str, DataType)] = &[
    ("table_name", varchar(192)),
    ("db_name", varchar(64)),
    ("create_time", DataType::Timestamp),
    ("columns", DataType::Int),
    ("stable_name", varchar(192)),
    ("uid", DataType::BigInt),
    ("vgroup_id", DataType::Int),
    ("ttl", DataType::Int),
    ("table_comment", varchar(1024)),
    ("type", varchar(21)),
];

pub(super) const TAGS: &[(&str, DataType)] = &[
    ("table_name", varchar(192)),
    ("db_name", varchar(64)),
    ("stable_name", varchar(192)),
    ("tag_name", varchar(64)),
    ("tag_type", varchar(32)),
    ("tag_value", varchar(MAX_TAG_TEXT)),
];

const COLUMNS: &[(&str, DataType)] = &[
    ("table_name", varchar(192)),
    ("db_name", varchar(64)),
    ("table_type", varchar(21)),
    ("col_name", varchar(64)),
    ("col_type", varchar(32)),
    ("col_length", DataType::Int),
    ("col_precision", DataType::Int),
    ("col_scale", DataType::Int),
    ("col_nullable", DataType::Int),
];

pub(super) const USERS: &[(&str, DataType)] = &[
    ("name", varchar(24)),
    ("super", DataType::TinyInt),
    ("enable", DataType::TinyInt),
    ("sysinfo", DataType::TinyInt),
    ("createdb", DataType::TinyInt),
    ("create_time", DataType::Timestamp),
    ("allowed_host", varchar(49_152)),
];

/// What a query's condition says of a system table's rows: names that they must have.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) database: Option<Vec<u8>>,
    pub(crate) table: Option<Vec<u8>>,
}

impl Wanted {
    fn database(&self, database: &Database) -> bool {
        self.database.as_ref().is_none_or(|name| name == database.name.as_bytes())
    }

    fn table(&self, name: &[u8]) -> bool {
        self.table.as_ref().is_none_or(|wanted| wanted == name)
    }
}

impl Inner {
    /// A table of a system database: at least the rows that are wanted.
    pub(crate) fn system_table(&self, database: &str, name: &[u8], wanted: &Wanted) -> Result<ResultSet, TdError> {
        if database != "information_schema" {
            return Err(TdError::unsupported(database));
        }
        let catalog = self.catalog();
        let databases = || catalog.databases.values().filter(|database| wanted.database(database));
        Ok(match name {
            b"ins_databases" => table_of(DATABASES, database_rows(&catalog)),
            b"ins_stables" => table_of(STABLES, databases().flat_map(stable_rows).collect()),
            b"ins_tables" => table_of(TABLES, databases().flat_map(|database| table_rows(database, wanted)).collect()),
            b"ins_tags" => {
                let tables = |database: &Database| {
                    let tables = database.tables.values().filter(|table| wanted.table(&table.name));
                    tables.flat_map(|table| tag_rows(database, table)).collect::<Vec<_>>()
                };
                table_of(TAGS, databases().flat_map(tables).collect())
            }
            b"ins_columns" => {
                table_of(COLUMNS, databases().flat_map(|database| column_rows(database, wanted)).collect())
            }
            b"ins_users" => table_of(USERS, user_rows(&catalog)),
            known if KNOWN.contains(&known) => return Err(TdError::unsupported(String::from_utf8_lossy(known))),
            _ => return Err(TdError::no_table()),
        })
    }
}

/// Tables of the server's that the endpoint has no content for.
const KNOWN: &[&[u8]] = &[
    b"ins_dnodes",
    b"ins_mnodes",
    b"ins_vgroups",
    b"ins_cluster",
    b"ins_functions",
    b"ins_indexes",
    b"ins_streams",
    b"ins_topics",
    b"ins_configs",
    b"ins_dnode_variables",
    b"ins_vnodes",
    b"ins_views",
    b"ins_grants_full",
    b"ins_grants_logs",
    b"ins_user_privileges",
    b"ins_subscriptions",
    b"ins_qnodes",
    b"ins_snodes",
    b"ins_compacts",
    b"ins_tsmas",
    b"ins_machines",
];

fn database_rows(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let row = |database: &Database| {
        let options = &database.options;
        let cell = |(name, data_type): &(&str, DataType)| match *name {
            "name" => text(&*database.name),
            "create_time" => Cell::Timestamp(database.created_ms),
            "ntables" => Cell::Int(database.tables.len() as i64),
            "strict" => text("on"),
            "duration" => text(options.duration_text()),
            "keep" => text(options.keep_text()),
            "precision" => text(options.precision.name()),
            "status" => text("ready"),
            "retentions" => Cell::Null,
            "cachemodel" => text(&options.cachemodel),
            "ss_keeplocal" => text("525600m"),
            "with_arbitrator" => Cell::Int(0),
            "encrypt_algorithm" => text("none"),
            "compact_interval" => text("0d"),
            "compact_time_range" => text("0d,0d"),
            "compact_time_offset" => text("0h"),
            number if *data_type == DataType::Bool => Cell::Bool(options.number(number) != 0),
            number => Cell::Int(options.number(number)),
        };
        DATABASES.iter().map(cell).collect()
    };
    let system = |(name, tables): (&str, i64)| {
        let cell = |(column, _): &(&str, DataType)| match *column {
            "name" => text(name),
            "ntables" => Cell::Int(tables),
            "precision" => text("ms"),
            "status" => text("ready"),
            _ => Cell::Null,
        };
        DATABASES.iter().map(cell).collect()
    };
    let system_databases = [("information_schema", 46), ("performance_schema", 5)];
    system_databases.into_iter().map(system).chain(catalog.databases.values().map(row)).collect()
}

fn stable_rows(database: &Database) -> Vec<Vec<Cell>> {
    let row = |stable: &Arc<crate::tdengine::engine::catalog::Stable>| {
        vec![
            text(&stable.name),
            text(&*database.name),
            Cell::Timestamp(stable.created_ms),
            Cell::Int(stable.columns.live().count() as i64),
            Cell::Int(stable.tags.live().count() as i64),
            Cell::Timestamp(stable.updated_ms),
            stable.comment.as_ref().map_or(Cell::Null, text),
            text("5000a,5000a"),
            text("-1a,-1a"),
            text(""),
            Cell::Int(stable.id),
            Cell::Bool(false),
            Cell::Int(-1),
        ]
    };
    database.stables.values().map(row).collect()
}

/// The super table's name and the columns of a table.
fn family<'a>(database: &'a Database, table: &'a Table) -> (Cell, Option<&'a Arc<Schema>>, &'static str) {
    match &table.kind {
        TableKind::Normal(schema) => (Cell::Null, Some(schema), "NORMAL_TABLE"),
        TableKind::Child { stable, .. } => {
            let stable = database.stable_by_id(*stable);
            (
                stable.map_or(Cell::Null, |stable| text(&stable.name)),
                stable.map(|stable| &stable.columns),
                "CHILD_TABLE",
            )
        }
    }
}

fn table_rows(database: &Database, wanted: &Wanted) -> Vec<Vec<Cell>> {
    let row = |table: &Arc<Table>| {
        let (stable, columns, kind) = family(database, table);
        vec![
            text(&table.name),
            text(&*database.name),
            Cell::Timestamp(table.created_ms),
            Cell::Int(columns.map_or(0, |columns| columns.live().count()) as i64),
            stable,
            Cell::Int(table.id),
            Cell::Int(2),
            Cell::Int(table.ttl_days),
            table.comment.as_ref().map_or(Cell::Null, text),
            text(kind),
        ]
    };
    database.tables.values().filter(|table| wanted.table(&table.name)).map(row).collect()
}

/// The tags of a table, one a row.
pub(super) fn tag_rows(database: &Database, table: &Table) -> Vec<Vec<Cell>> {
    let TableKind::Child { stable, tags } = &table.kind else { return Vec::new() };
    let Some(stable) = database.stable_by_id(*stable) else { return Vec::new() };
    let cells = tag_cells(&stable.tags, tags);
    let row = |(slot, tag): (usize, &crate::tdengine::engine::catalog::ColumnDef)| {
        vec![
            text(&table.name),
            text(&*database.name),
            text(&stable.name),
            text(&tag.name),
            text(type_text(tag.data_type)),
            cells.get(slot).map_or(Cell::Null, |cell| tag_text(cell, tag.data_type)),
        ]
    };
    stable.tags.live().map(row).collect()
}

/// A tag as text.
pub(super) fn tag_text(cell: &Cell, data_type: DataType) -> Cell {
    match cell {
        Cell::Null => Cell::Null,
        Cell::Float(value) => text(format!("{value:.5}")),
        Cell::Double(value) => text(format!("{value:.9}")),
        Cell::Bytes(bytes) if matches!(data_type, DataType::VarBinary(_) | DataType::Geometry(_)) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            text(format!("\\x{hex}"))
        }
        Cell::Bytes(bytes) => text(bytes),
        other => text(crate::tdengine::engine::select::plain_text(other, data_type)),
    }
}

/// The name of a type with its length, as `ins_tags` and `ins_columns` have it.
fn type_text(data_type: DataType) -> String {
    match data_type {
        DataType::VarChar(n) | DataType::NChar(n) => format!("{}({n})", data_type.name()),
        other => other.name(),
    }
}

fn column_rows(database: &Database, wanted: &Wanted) -> Vec<Vec<Cell>> {
    let rows_of = |name: &[u8], schema: &Schema, kind: &str| -> Vec<Vec<Cell>> {
        let row = |(_, column): (usize, &crate::tdengine::engine::catalog::ColumnDef)| {
            let (precision, scale) = match column.data_type {
                DataType::Decimal { precision, scale } => (Cell::Int(precision.into()), Cell::Int(scale.into())),
                _ => (Cell::Null, Cell::Null),
            };
            vec![
                text(name),
                text(&*database.name),
                text(kind),
                text(&column.name),
                text(type_text(column.data_type)),
                Cell::Int(column.data_type.length().into()),
                precision,
                scale,
                Cell::Null,
            ]
        };
        schema.live().map(row).collect()
    };
    let mut rows = Vec::new();
    for stable in database.stables.values().filter(|stable| wanted.table(&stable.name)) {
        rows.extend(rows_of(&stable.name, &stable.columns, "SUPER_TABLE"));
    }
    for table in database.tables.values().filter(|table| wanted.table(&table.name)) {
        let (_, schema, kind) = family(database, table);
        if let Some(schema) = schema {
            rows.extend(rows_of(&table.name, schema, kind));
        }
    }
    rows
}

pub(super) fn user_rows(catalog: &Catalog) -> Vec<Vec<Cell>> {
    let row = |(name, user): (&String, &crate::tdengine::engine::catalog::User)| {
        let root = i64::from(name == "root");
        vec![
            text(name),
            Cell::Int(root),
            Cell::Int(1),
            Cell::Int(1),
            Cell::Int(root),
            Cell::Timestamp(user.created_ms),
            text("127.0.0.1/32,::1/128"),
        ]
    };
    catalog.users.iter().map(row).collect()
}
