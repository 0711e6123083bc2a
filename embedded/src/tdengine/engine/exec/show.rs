//! SHOW and DESCRIBE.

use super::system::{self, table_of, text};
use super::{database_name, database_of, is_system};
use crate::tdengine::engine::catalog::{ColumnDef, Database, Relation, Schema, Stable, Table, TableKind, tag_cells};
use crate::tdengine::engine::select::like;
use crate::tdengine::engine::sql::ast::{ObjectName, Show};
use crate::tdengine::engine::{Cell, DataType, Inner, ResultSet, Session, TdError};

const fn varchar(length: u32) -> DataType {
    DataType::VarChar(length)
}

impl Inner {
    pub(super) fn show(&self, session: &Session, show: Show) -> Result<ResultSet, TdError> {
        let names = |column: &str, names: Vec<Vec<u8>>, length| {
            table_of(&[(column, varchar(length))], names.into_iter().map(|name| vec![text(name)]).collect())
        };
        let catalog = self.catalog();
        let database = |name: Option<&String>| -> Result<&Database, TdError> {
            let name =
                name.or(session.database.as_ref()).ok_or_else(|| TdError::new(0x2600, "database not specified"))?;
            catalog.database(name)
        };
        let matching =
            |name: &[u8], pattern: &Option<Vec<u8>>| pattern.as_ref().is_none_or(|pattern| like(name, pattern));
        Ok(match show {
            Show::Databases => {
                let system = ["information_schema", "performance_schema"].map(|name| name.as_bytes().to_vec());
                let own = catalog.databases.keys().map(|name| name.clone().into_bytes());
                names("name", system.into_iter().chain(own).collect(), 64)
            }
            Show::Tables { database: name, like } => {
                let tables = database(name.as_ref())?.tables.keys().filter(|name| matching(name, &like));
                names("table_name", tables.map(|name| name.to_vec()).collect(), 192)
            }
            Show::Stables { database: name, like } => {
                let stables = database(name.as_ref())?.stables.keys().filter(|name| matching(name, &like));
                names("stable_name", stables.map(|name| name.to_vec()).collect(), 192)
            }
            Show::CreateDatabase(name) => {
                let database = catalog.database(&name)?;
                let row = vec![text(&name), text(create_database(database))];
                table_of(&[("Database", varchar(63)), ("Create Database", varchar(65_517))], vec![row])
            }
            Show::CreateTable { table, stable } => {
                let database = database_of(&catalog, session, &table)?;
                let create = match database.relation(&table.name).ok_or_else(TdError::no_table)? {
                    Relation::Super(stable) => create_stable(&stable),
                    _ if stable => return Err(TdError::new(0x022f, "Table is not a super table")),
                    Relation::Child(table, stable) => create_child(&table, &stable),
                    Relation::Normal(table, schema) => create_normal(&table, &schema),
                };
                let row = vec![text(&table.name), text(create)];
                table_of(&[("Table", varchar(193)), ("Create Table", varchar(3_145_726))], vec![row])
            }
            Show::Tags { table } => {
                let database = database_of(&catalog, session, &table)?;
                let rows = match database.relation(&table.name) {
                    Some(Relation::Child(table, _)) => system::tag_rows(database, &table),
                    Some(Relation::Super(stable)) => database
                        .children_of(stable.id)
                        .iter()
                        .flat_map(|table| system::tag_rows(database, table))
                        .collect(),
                    Some(Relation::Normal(..)) => {
                        return Err(TdError::new(0x2665, "Tags can only applied to super table and child table"));
                    }
                    None => {
                        return Err(TdError::new(0x2662, "Fail to get table info, error: Table does not exist"));
                    }
                };
                table_of(system::TAGS, rows)
            }
            Show::TableTags { table } => {
                let database = database_of(&catalog, session, &table)?;
                let Some(Relation::Super(stable)) = database.relation(&table.name) else {
                    return Err(TdError::no_table());
                };
                table_tags(database, &stable)
            }
            Show::TableDistributed(table) => {
                database_of(&catalog, session, &table)?.relation(&table.name).ok_or_else(TdError::no_table)?;
                return Err(TdError::unsupported("SHOW TABLE DISTRIBUTED"));
            }
            Show::Users => table_of(system::USERS, system::user_rows(&catalog)),
            Show::Functions => table_of(&[("name", varchar(64))], Vec::new()),
            Show::Alive => table_of(&[("status", DataType::Int)], vec![vec![Cell::Int(1)]]),
            Show::Variables => table_of(
                &[
                    ("name", varchar(30)),
                    ("value", varchar(4094)),
                    ("scope", varchar(6)),
                    ("category", varchar(6)),
                    ("info", varchar(62)),
                ],
                Vec::new(),
            ),
            Show::Grants => return Err(TdError::unsupported("SHOW GRANTS")),
            Show::Other(what) => return Err(TdError::unsupported(format!("SHOW {}", what.to_uppercase()))),
        })
    }

    pub(super) fn describe(&self, session: &Session, table: &ObjectName) -> Result<ResultSet, TdError> {
        const FIELDS: [(&str, DataType); 7] = [
            ("field", varchar(325)),
            ("type", varchar(20)),
            ("length", DataType::Int),
            ("note", varchar(16)),
            ("encode", varchar(12)),
            ("compress", varchar(12)),
            ("level", varchar(12)),
        ];
        let database = database_name(session, table)?;
        let basic = |name: &[u8], data_type: DataType, note: &str| {
            vec![text(name), text(data_type.name()), Cell::Int(data_type.length().into()), text(note)]
        };
        if is_system(&database) {
            let described = self.system_table(&database, &table.name, &system::Wanted::default())?;
            let rows = described.columns().iter().map(|column| basic(&column.name, column.data_type, "")).collect();
            return Ok(table_of(&FIELDS[..4], rows));
        }
        let row = |column: &ColumnDef, note: &str| {
            let mut row =
                basic(column.name.as_bytes(), column.data_type, if column.key { "COMPOSITE KEY" } else { note });
            let tag = note == "TAG";
            let defaults = if tag { ["disabled"; 3] } else { default_compression(column.data_type) };
            let given = column.compression.iter().zip(defaults);
            row.extend(given.map(|(given, default)| text(given.as_deref().unwrap_or(default))));
            row
        };
        let columns =
            |schema: &Schema, note: &str| schema.live().map(|(_, column)| row(column, note)).collect::<Vec<_>>();
        let rows = match self.relation(session, table)? {
            Relation::Normal(_, schema) => columns(&schema, ""),
            Relation::Super(stable) | Relation::Child(_, stable) => {
                [columns(&stable.columns, ""), columns(&stable.tags, "TAG")].concat()
            }
        };
        Ok(table_of(&FIELDS, rows))
    }
}

/// `encode`, `compress` and `level` of a column that names none.
fn default_compression(data_type: DataType) -> [&'static str; 3] {
    match data_type {
        DataType::Timestamp => ["delta-i", "lz4", "medium"],
        DataType::Bool => ["bit-packing", "zstd", "medium"],
        DataType::Float | DataType::Double => ["delta-d", "lz4", "medium"],
        DataType::TinyInt | DataType::UTinyInt | DataType::SmallInt | DataType::USmallInt => {
            ["simple8b", "zlib", "medium"]
        }
        other if other.fixed_width().is_some() && !matches!(other, DataType::Decimal { .. }) => {
            ["simple8b", "lz4", "medium"]
        }
        _ => ["disabled", "zstd", "medium"],
    }
}

fn table_tags(database: &Database, stable: &Stable) -> ResultSet {
    let tags: Vec<(usize, &ColumnDef)> = stable.tags.live().collect();
    let mut columns = vec![("tbname", varchar(270))];
    columns.extend(tags.iter().map(|(_, tag)| (tag.name.as_str(), tag.data_type)));
    let row = |table: &std::sync::Arc<Table>| {
        let mut row = vec![text(&table.name)];
        if let TableKind::Child { tags: stored, .. } = &table.kind {
            let cells = tag_cells(&stable.tags, stored);
            row.extend(tags.iter().map(|(slot, _)| cells.get(*slot).cloned().unwrap_or(Cell::Null)));
        }
        row
    };
    table_of(&columns, database.children_of(stable.id).iter().map(row).collect())
}

fn create_database(database: &Database) -> String {
    let options = &database.options;
    let mut out = format!("CREATE DATABASE `{}`", database.name);
    let number = |name: &str| format!(" {} {}", name.to_uppercase(), options.number(name));
    for part in [
        number("buffer"),
        number("cachesize"),
        format!(" CACHEMODEL '{}'", options.cachemodel),
        number("comp"),
        format!(" DURATION {}", options.duration_text()),
        number("wal_fsync_period"),
        number("maxrows"),
        number("minrows"),
        number("stt_trigger"),
        format!(" KEEP {}", options.keep_text()),
        number("pages"),
        number("pagesize"),
        format!(" PRECISION '{}'", options.precision.name()),
        number("replica"),
        number("wal_level"),
        number("vgroups"),
        number("single_stable"),
        number("table_prefix"),
        number("table_suffix"),
        number("tsdb_pagesize"),
        number("wal_retention_period"),
        number("wal_retention_size"),
        number("keep_time_offset"),
        " ENCRYPT_ALGORITHM 'none'".to_owned(),
        number("ss_chunkpages"),
        " SS_KEEPLOCAL 525600m".to_owned(),
        number("ss_compact"),
        " COMPACT_INTERVAL 0d COMPACT_TIME_RANGE 0d,0d COMPACT_TIME_OFFSET 0h".to_owned(),
    ] {
        out += &part;
    }
    out
}

fn definitions(schema: &Schema) -> String {
    let definition = |(_, column): (usize, &ColumnDef)| {
        let name = column.name.replace('`', "``");
        let data_type = match column.data_type {
            sized @ (DataType::VarChar(n) | DataType::NChar(n) | DataType::VarBinary(n) | DataType::Geometry(n)) => {
                format!("{}({n})", sized.name())
            }
            DataType::Decimal { precision, scale } => format!("DECIMAL({precision}, {scale})"),
            other => other.name(),
        };
        let key = if column.key { " COMPOSITE KEY" } else { "" };
        let mut out = format!("`{name}` {data_type}{key}");
        for (word, value) in ["ENCODE", "COMPRESS", "LEVEL"].iter().zip(&column.compression) {
            if let Some(value) = value {
                out += &format!(" {word} '{value}'");
            }
        }
        out
    };
    schema.live().map(definition).collect::<Vec<_>>().join(", ")
}

fn quoted(name: &[u8]) -> String {
    String::from_utf8_lossy(name).replace('`', "``")
}

fn comment_text(comment: Option<&String>) -> String {
    comment.map_or_else(String::new, |comment| format!(" COMMENT '{comment}'"))
}

fn create_stable(stable: &Stable) -> String {
    let (name, columns, tags) = (quoted(&stable.name), definitions(&stable.columns), definitions(&stable.tags));
    format!("CREATE STABLE `{name}` ({columns}) TAGS ({tags}){}", comment_text(stable.comment.as_ref()))
}

fn table_options(table: &Table) -> String {
    let ttl = if table.ttl_days > 0 { format!(" TTL {}", table.ttl_days) } else { String::new() };
    comment_text(table.comment.as_ref()) + &ttl
}

fn create_normal(table: &Table, schema: &Schema) -> String {
    format!("CREATE TABLE `{}` ({}){}", quoted(&table.name), definitions(schema), table_options(table))
}

fn create_child(table: &Table, stable: &Stable) -> String {
    let TableKind::Child { tags, .. } = &table.kind else { return String::new() };
    let cells = tag_cells(&stable.tags, tags);
    let names: Vec<String> = stable.tags.live().map(|(_, tag)| format!("`{}`", tag.name.replace('`', "``"))).collect();
    let value =
        |(slot, tag): (usize, &ColumnDef)| match cells.get(slot).map(|cell| system::tag_text(cell, tag.data_type)) {
            Some(Cell::Bytes(value)) if tag.data_type.fixed_width().is_none() && tag.data_type != DataType::Json => {
                format!("\"{}\"", String::from_utf8_lossy(&value))
            }
            Some(Cell::Bytes(value)) => String::from_utf8_lossy(&value).into_owned(),
            _ => "NULL".to_owned(),
        };
    let values: Vec<String> = stable.tags.live().map(value).collect();
    let (names, values) = (names.join(", "), values.join(", "));
    let (name, stable, options) = (quoted(&table.name), quoted(&stable.name), table_options(table));
    format!("CREATE TABLE `{name}` USING `{stable}` ({names}) TAGS ({values}){options}")
}
