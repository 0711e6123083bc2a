//! What exists: databases, their tables, their schemas. Held in memory, written through to the store.
//!
//! Everything a statement looks at is behind an [`Arc`] and never changes: a change replaces it. A statement that holds
//! an older one sees the schema it started with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::row::{RowReader, Slot, Width};
use super::{Cell, DataType, Precision, TdError};

/// A table's name; any bytes, since stmt2 takes names as they come.
pub(crate) type Name = Arc<[u8]>;

/// The longest names, in bytes.
pub(crate) const MAX_DATABASE_NAME: usize = 64;
pub(crate) const MAX_TABLE_NAME: usize = 192;
pub(crate) const MAX_COLUMN_NAME: usize = 64;

/// A column or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnDef {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// The second part of a composite key.
    pub(crate) key: bool,
    /// Its slot stays, its name is free again.
    pub(crate) dropped: bool,
    /// `encode`, `compress` and `level` where the statement gave them.
    pub(crate) compression: [Option<String>; 3],
}

impl ColumnDef {
    pub(crate) fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type, key: false, dropped: false, compression: [None, None, None] }
    }
}

/// Columns (the first is the timestamp, kept in the key and not in the row) or tags, by slot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Schema {
    pub(crate) slots: Vec<ColumnDef>,
    /// Grows with every change.
    pub(crate) version: u32,
}

impl Schema {
    pub(crate) fn new(slots: Vec<ColumnDef>) -> Self {
        Self { slots, version: 1 }
    }

    /// Slot and definition of what is not dropped, in order.
    pub(crate) fn live(&self) -> impl Iterator<Item = (usize, &ColumnDef)> {
        self.slots.iter().enumerate().filter(|(_, column)| !column.dropped)
    }

    pub(crate) fn find(&self, name: &str) -> Option<(usize, &ColumnDef)> {
        self.live().find(|(_, column)| column.name == name)
    }

    /// The second column where it belongs to the key.
    pub(crate) fn key(&self) -> Option<&ColumnDef> {
        self.slots.get(1).filter(|column| column.key && !column.dropped)
    }

    /// How rows of the table are stored: all slots but the timestamp.
    pub(crate) fn row_layout(&self) -> Vec<Width> {
        self.slots.iter().skip(1).map(|column| column.data_type.width()).collect()
    }
}

impl DataType {
    pub(crate) fn width(self) -> Width {
        match self.fixed_width() {
            Some(width) => Width::Fixed(width as u8),
            None if self == Self::Blob => Width::Long,
            None => Width::Short,
        }
    }

    /// The value of stored bytes.
    pub(crate) fn cell(self, bytes: &[u8]) -> Cell {
        fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
            let mut out = [0; N];
            let len = bytes.len().min(N);
            out[..len].copy_from_slice(&bytes[..len]);
            out
        }
        match self {
            Self::Null => Cell::Null,
            Self::Bool => Cell::Bool(array::<1>(bytes)[0] != 0),
            Self::TinyInt => Cell::Int(i8::from_le_bytes(array(bytes)).into()),
            Self::SmallInt => Cell::Int(i16::from_le_bytes(array(bytes)).into()),
            Self::Int => Cell::Int(i32::from_le_bytes(array(bytes)).into()),
            Self::BigInt => Cell::Int(i64::from_le_bytes(array(bytes))),
            Self::UTinyInt => Cell::UInt(array::<1>(bytes)[0].into()),
            Self::USmallInt => Cell::UInt(u16::from_le_bytes(array(bytes)).into()),
            Self::UInt => Cell::UInt(u32::from_le_bytes(array(bytes)).into()),
            Self::UBigInt => Cell::UInt(u64::from_le_bytes(array(bytes))),
            Self::Float => Cell::Float(f32::from_le_bytes(array(bytes))),
            Self::Double => Cell::Double(f64::from_le_bytes(array(bytes))),
            Self::Timestamp => Cell::Timestamp(i64::from_le_bytes(array(bytes))),
            Self::Decimal { precision: 19.., .. } => Cell::Decimal(i128::from_le_bytes(array(bytes))),
            Self::Decimal { .. } => Cell::Decimal(i64::from_le_bytes(array(bytes)).into()),
            Self::VarChar(_) | Self::NChar(_) | Self::VarBinary(_) | Self::Geometry(_) | Self::Json | Self::Blob => {
                Cell::Bytes(bytes.into())
            }
        }
    }
}

/// A super table.
#[derive(Debug, Clone)]
pub(crate) struct Stable {
    pub(crate) id: i64,
    pub(crate) name: Name,
    pub(crate) columns: Arc<Schema>,
    pub(crate) tags: Arc<Schema>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) comment: Option<String>,
}

/// A table with rows.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) id: i64,
    pub(crate) name: Name,
    pub(crate) kind: TableKind,
    pub(crate) created_ms: i64,
    pub(crate) comment: Option<String>,
    pub(crate) ttl_days: i64,
}

#[derive(Debug, Clone)]
pub(crate) enum TableKind {
    /// Its super table's id and its tags, encoded as a row.
    Child {
        stable: i64,
        tags: Arc<[u8]>,
    },
    Normal(Arc<Schema>),
}

impl Table {
    pub(crate) fn stable_id(&self) -> Option<i64> {
        match self.kind {
            TableKind::Child { stable, .. } => Some(stable),
            TableKind::Normal(_) => None,
        }
    }
}

/// The values of tags stored as a row, by slot.
pub(crate) fn tag_cells(schema: &Schema, tags: &[u8]) -> Vec<Cell> {
    let mut reader = RowReader::new(tags);
    let cell = |column: &ColumnDef| match reader.next(column.data_type.width()) {
        Slot::Value(bytes) => column.data_type.cell(bytes),
        Slot::Null | Slot::Absent => Cell::Null,
    };
    schema.slots.iter().map(cell).collect()
}

/// What a name in a database stands for.
#[derive(Debug, Clone)]
pub(crate) enum Relation {
    Super(Arc<Stable>),
    Child(Arc<Table>, Arc<Stable>),
    Normal(Arc<Table>, Arc<Schema>),
}

/// One database.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) options: Arc<DatabaseOptions>,
    pub(crate) created_ms: i64,
    pub(crate) stables: HashMap<Name, Arc<Stable>>,
    stables_by_id: HashMap<i64, Arc<Stable>>,
    pub(crate) tables: HashMap<Name, Arc<Table>>,
    /// Child tables of each super table, in the order of their making.
    children: HashMap<i64, BTreeMap<i64, Arc<Table>>>,
}

impl Database {
    pub(crate) fn new(id: i64, name: &str, options: DatabaseOptions, created_ms: i64) -> Self {
        Self {
            id,
            name: name.into(),
            options: Arc::new(options),
            created_ms,
            stables: HashMap::new(),
            stables_by_id: HashMap::new(),
            tables: HashMap::new(),
            children: HashMap::new(),
        }
    }

    pub(crate) fn stable_by_id(&self, id: i64) -> Option<&Arc<Stable>> {
        self.stables_by_id.get(&id)
    }

    pub(crate) fn relation(&self, name: &[u8]) -> Option<Relation> {
        if let Some(table) = self.tables.get(name) {
            return match &table.kind {
                TableKind::Child { stable, .. } => {
                    self.stable_by_id(*stable).map(|stable| Relation::Child(table.clone(), stable.clone()))
                }
                TableKind::Normal(schema) => Some(Relation::Normal(table.clone(), schema.clone())),
            };
        }
        self.stables.get(name).cloned().map(Relation::Super)
    }

    pub(crate) fn put_table(&mut self, table: Arc<Table>) {
        if let Some(stable) = table.stable_id() {
            self.children.entry(stable).or_default().insert(table.id, table.clone());
        }
        self.tables.insert(table.name.clone(), table);
    }

    pub(crate) fn remove_table(&mut self, name: &[u8]) {
        if let Some(table) = self.tables.remove(name)
            && let Some(children) = table.stable_id().and_then(|stable| self.children.get_mut(&stable))
        {
            children.remove(&table.id);
        }
    }

    pub(crate) fn put_stable(&mut self, stable: Arc<Stable>) {
        self.stables_by_id.insert(stable.id, stable.clone());
        self.stables.insert(stable.name.clone(), stable);
    }

    pub(crate) fn remove_stable(&mut self, stable: &Stable) {
        self.stables.remove(&stable.name);
        self.stables_by_id.remove(&stable.id);
        for table in self.children.remove(&stable.id).unwrap_or_default().into_values() {
            self.tables.remove(&table.name);
        }
    }

    pub(crate) fn children_of(&self, stable: i64) -> Vec<Arc<Table>> {
        self.children.get(&stable).map(|children| children.values().cloned().collect()).unwrap_or_default()
    }
}

/// A login.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) password: String,
    pub(crate) created_ms: i64,
}

/// Everything that exists.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) databases: BTreeMap<String, Database>,
    pub(crate) users: BTreeMap<String, User>,
    /// The last id given to a database or table.
    pub(crate) last_id: i64,
}

impl Catalog {
    pub(crate) fn database(&self, name: &str) -> Result<&Database, TdError> {
        self.databases.get(name).ok_or_else(TdError::no_database)
    }

    pub(crate) fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }
}

/// Options of a database; most are only stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseOptions {
    pub(crate) precision: Precision,
    pub(crate) keep_minutes: [i64; 3],
    pub(crate) duration_minutes: i64,
    pub(crate) cachemodel: String,
    /// The numeric options by name, as `ins_databases` lists them.
    pub(crate) numbers: BTreeMap<String, i64>,
}

/// A numeric option of `create database`: name, lowest and highest value, default, and whether `alter database` takes it.
pub(crate) const NUMBER_OPTIONS: &[(&str, i64, i64, i64, bool)] = &[
    ("buffer", 3, 16384, 256, true),
    ("cachesize", 1, 65536, 1, true),
    ("comp", 0, 2, 2, false),
    ("wal_fsync_period", 0, 180_000, 3000, true),
    ("maxrows", 200, 10_000, 4096, false),
    ("minrows", 10, 1000, 100, true),
    ("stt_trigger", 1, 16, 2, true),
    ("pages", 64, i32::MAX as i64 - 1, 256, true),
    ("pagesize", 1, 16384, 4, false),
    ("replica", 1, 3, 1, true),
    ("wal_level", 0, 2, 1, true),
    ("vgroups", 1, 1024, 2, false),
    ("single_stable", 0, 1, 0, false),
    ("table_prefix", -191, 191, 0, false),
    ("table_suffix", -191, 191, 0, false),
    ("tsdb_pagesize", 1, 16384, 4, false),
    ("wal_retention_period", -1, i32::MAX as i64, 3600, true),
    ("wal_retention_size", -1, i64::MAX, 0, true),
    ("keep_time_offset", 0, 23, 0, true),
    ("ss_chunkpages", 4096, 1_048_576, 131_072, false),
    ("ss_compact", 0, 1, 1, true),
];

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            precision: Precision::Milli,
            keep_minutes: [3650 * 1440; 3],
            duration_minutes: 10 * 1440,
            cachemodel: "none".to_owned(),
            numbers: NUMBER_OPTIONS.iter().map(|(name, _, _, default, _)| ((*name).to_owned(), *default)).collect(),
        }
    }
}

impl DatabaseOptions {
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    /// `365d,365d,365d`
    pub(crate) fn keep_text(&self) -> String {
        self.keep_minutes.map(minutes_text).join(",")
    }

    pub(crate) fn duration_text(&self) -> String {
        minutes_text(self.duration_minutes)
    }
}

fn minutes_text(minutes: i64) -> String {
    if minutes % 1440 == 0 {
        format!("{}d", minutes / 1440)
    } else if minutes % 60 == 0 {
        format!("{}h", minutes / 60)
    } else {
        format!("{minutes}m")
    }
}
