//! The store: one SQLite database with the rows of all tables and the catalog.
//!
//! Rows lie in one table, keyed by (table, timestamp, second key) without a rowid, so that a table's rows are
//! neighbours and in time order. In a directory the write-ahead log with `synchronous = NORMAL` makes a committed
//! transaction survive a kill of the process (a power failure may lose the last ones); readers have connections of
//! their own and neither wait for the writer nor hold it up. In memory there is one connection for all.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::catalog::{Catalog, Database, DatabaseOptions, Schema, Stable, Table, TableKind, User};
use super::{OpenError, Storage, TdError};

/// SQLite's page: above 4 kB so that a row of about 2 kB does not spill to overflow pages.
const PAGE_BYTES: u32 = 8192;
/// Page cache of the writing connection.
const CACHE_KIB: u32 = 64 * 1024;

/// Connections for reading that are kept.
const MAX_IDLE_READERS: usize = 8;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS databases(id INTEGER PRIMARY KEY, name TEXT NOT NULL, options TEXT NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS stables(id INTEGER PRIMARY KEY, db INTEGER NOT NULL, name BLOB NOT NULL, columns TEXT NOT NULL,
        tags TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL, comment TEXT);
    CREATE TABLE IF NOT EXISTS tables(id INTEGER PRIMARY KEY, db INTEGER NOT NULL, stable INTEGER, name BLOB NOT NULL,
        tags BLOB, columns TEXT, created INTEGER NOT NULL, comment TEXT, ttl INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS users(name TEXT PRIMARY KEY, password TEXT NOT NULL, created INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS rows(tid INTEGER, ts INTEGER, k, row BLOB NOT NULL, PRIMARY KEY(tid, ts, k)) WITHOUT ROWID;
";

/// The second part of a row's key; ordered as the column is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// 0 where there is no second column; unsigned values are shifted by 2^63.
    Int(i64),
    Bytes(Box<[u8]>),
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Int(value) => ToSqlOutput::Owned(Value::Integer(*value)),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// Connections to one SQLite database.
pub(crate) struct Store {
    writer: Mutex<Connection>,
    /// Idle connections for reading; only where the store is a file.
    readers: Mutex<Vec<Connection>>,
    path: Option<PathBuf>,
    /// Held as long as the store is open: the catalog in memory is right only if no other process writes.
    _lock: Option<File>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(crate) fn open(storage: &Storage) -> Result<Self, OpenError> {
        let (writer, path, lock) = match storage {
            Storage::Memory => (Connection::open_in_memory()?, None, None),
            Storage::Directory(directory) => {
                let problem = |source| OpenError::Directory { path: directory.clone(), source };
                std::fs::create_dir_all(directory).map_err(problem)?;
                let lock = File::create(directory.join("lock")).map_err(problem)?;
                lock.try_lock().map_err(|error| match error {
                    TryLockError::WouldBlock => OpenError::InUse { path: directory.clone() },
                    TryLockError::Error(source) => problem(source),
                })?;
                let path = directory.join("tdengine.sqlite");
                (Connection::open(&path)?, Some(path), Some(lock))
            }
        };
        writer.pragma_update(None, "page_size", PAGE_BYTES)?;
        writer.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
        if path.is_some() {
            writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            writer.pragma_update(None, "synchronous", "NORMAL")?;
            writer.pragma_update(None, "wal_autocheckpoint", 4000)?;
        }
        writer.set_prepared_statement_cache_capacity(64);
        writer.execute_batch(SCHEMA)?;
        Ok(Self { writer: Mutex::new(writer), readers: Mutex::default(), path, _lock: lock })
    }

    /// The only connection that writes; holding it is the engine's write lock.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Connection> {
        lock(&self.writer)
    }

    /// Runs a short read.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, TdError> {
        let Some(path) = &self.path else {
            return Ok(read(&self.writer())?);
        };
        let idle = lock(&self.readers).pop();
        let reader = match idle {
            Some(reader) => reader,
            None => {
                let reader = Connection::open(path)?;
                reader.pragma_update(None, "query_only", true)?;
                reader
            }
        };
        let result = read(&reader);
        let mut idle = lock(&self.readers);
        if idle.len() < MAX_IDLE_READERS {
            idle.push(reader);
        }
        Ok(result?)
    }
}

impl From<rusqlite::Error> for TdError {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            return Self::new(0x0129, "No enough disk space");
        }
        Self::new(0xffff, format!("the store of the embedded endpoint failed: {error}"))
    }
}

/// Damaged or foreign content where the catalog should be.
fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, TdError> {
    serde_json::to_string(value).map_err(|error| TdError::new(0xffff, error.to_string()))
}

/// Reads the whole catalog.
pub(crate) fn load_catalog(connection: &Connection) -> rusqlite::Result<Catalog> {
    let mut catalog = Catalog::default();
    let mut by_id = std::collections::HashMap::new();
    let mut statement = connection.prepare("SELECT id, name, options, created FROM databases")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        let options: DatabaseOptions = serde_json::from_str(row.get_ref(2)?.as_str()?).map_err(unreadable)?;
        catalog.databases.insert(name.clone(), Database::new(id, &name, options, row.get(3)?));
        catalog.last_id = catalog.last_id.max(id);
        by_id.insert(id, name);
    }
    let mut statement =
        connection.prepare("SELECT id, db, name, columns, tags, created, updated, comment FROM stables")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        catalog.last_id = catalog.last_id.max(id);
        let columns: Schema = serde_json::from_str(row.get_ref(3)?.as_str()?).map_err(unreadable)?;
        let tags: Schema = serde_json::from_str(row.get_ref(4)?.as_str()?).map_err(unreadable)?;
        if let Some(database) = by_id.get(&row.get(1)?).and_then(|name| catalog.databases.get_mut(name)) {
            database.put_stable(Arc::new(Stable {
                id,
                name: row.get_ref(2)?.as_blob()?.into(),
                columns: Arc::new(columns),
                tags: Arc::new(tags),
                created_ms: row.get(5)?,
                updated_ms: row.get(6)?,
                comment: row.get(7)?,
            }));
        }
    }
    let mut statement =
        connection.prepare("SELECT id, db, stable, name, tags, columns, created, comment, ttl FROM tables")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        catalog.last_id = catalog.last_id.max(id);
        let kind = match row.get::<_, Option<i64>>(2)? {
            Some(stable) => TableKind::Child { stable, tags: row.get_ref(4)?.as_blob()?.into() },
            None => {
                let schema = serde_json::from_str(row.get_ref(5)?.as_str()?).map_err(unreadable)?;
                TableKind::Normal(Arc::new(schema))
            }
        };
        if let Some(database) = by_id.get(&row.get(1)?).and_then(|name| catalog.databases.get_mut(name)) {
            let name = row.get_ref(3)?.as_blob()?.into();
            let (created_ms, comment, ttl_days) = (row.get(6)?, row.get(7)?, row.get(8)?);
            database.put_table(Arc::new(Table { id, name, kind, created_ms, comment, ttl_days }));
        }
    }
    let mut statement = connection.prepare("SELECT name, password, created FROM users")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        catalog.users.insert(row.get(0)?, User { password: row.get(1)?, created_ms: row.get(2)? });
    }
    Ok(catalog)
}

pub(crate) fn save_database(connection: &Connection, database: &Database) -> Result<(), TdError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO databases(id, name, options, created) VALUES(?, ?, ?, ?)")?
        .execute(params![database.id, &*database.name, json(&*database.options)?, database.created_ms])?;
    Ok(())
}

pub(crate) fn save_stable(connection: &Connection, db: i64, stable: &Stable) -> Result<(), TdError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO stables(id, db, name, columns, tags, created, updated, comment) VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            stable.id,
            db,
            &*stable.name,
            json(&*stable.columns)?,
            json(&*stable.tags)?,
            stable.created_ms,
            stable.updated_ms,
            stable.comment
        ])?;
    Ok(())
}

pub(crate) fn save_table(connection: &Connection, db: i64, table: &Table) -> Result<(), TdError> {
    let (stable, tags, columns) = match &table.kind {
        TableKind::Child { stable, tags } => (Some(*stable), Some(&**tags), None),
        TableKind::Normal(schema) => (None, None, Some(json(&**schema)?)),
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO tables(id, db, stable, name, tags, columns, created, comment, ttl) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![table.id, db, stable, &*table.name, tags, columns, table.created_ms, table.comment, table.ttl_days])?;
    Ok(())
}

pub(crate) fn save_user(connection: &Connection, name: &str, user: &User) -> Result<(), TdError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO users(name, password, created) VALUES(?, ?, ?)")?
        .execute(params![name, user.password, user.created_ms])?;
    Ok(())
}

pub(crate) fn delete_user(connection: &Connection, name: &str) -> Result<(), TdError> {
    connection.execute("DELETE FROM users WHERE name = ?", [name])?;
    Ok(())
}

/// Removes a table and its rows.
pub(crate) fn delete_table(connection: &Connection, id: i64) -> Result<(), TdError> {
    connection.prepare_cached("DELETE FROM rows WHERE tid = ?")?.execute([id])?;
    connection.prepare_cached("DELETE FROM tables WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Removes a super table, its child tables and their rows.
pub(crate) fn delete_stable(connection: &Connection, id: i64) -> Result<(), TdError> {
    connection.execute("DELETE FROM rows WHERE tid IN (SELECT id FROM tables WHERE stable = ?)", [id])?;
    connection.execute("DELETE FROM tables WHERE stable = ?", [id])?;
    connection.execute("DELETE FROM stables WHERE id = ?", [id])?;
    Ok(())
}

/// Removes a database with all it holds.
pub(crate) fn delete_database(connection: &Connection, id: i64) -> Result<(), TdError> {
    connection.execute("DELETE FROM rows WHERE tid IN (SELECT id FROM tables WHERE db = ?)", [id])?;
    connection.execute("DELETE FROM tables WHERE db = ?", [id])?;
    connection.execute("DELETE FROM stables WHERE db = ?", [id])?;
    connection.execute("DELETE FROM databases WHERE id = ?", [id])?;
    Ok(())
}

/// The stored row of a key.
pub(crate) fn get_row(connection: &Connection, table: i64, ts: i64, key: &Key) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT row FROM rows WHERE tid = ? AND ts = ? AND k = ?")?
        .query_row(params![table, ts, key], |row| row.get(0))
        .optional()
}

/// Deletes a table's rows from `first` to `last`, both included, and returns how many there were.
pub(crate) fn delete_rows(connection: &Connection, table: i64, first: i64, last: i64) -> rusqlite::Result<u64> {
    let deleted = connection
        .prepare_cached("DELETE FROM rows WHERE tid = ? AND ts BETWEEN ? AND ?")?
        .execute(params![table, first, last])?;
    Ok(deleted as u64)
}

/// The number of a table's rows from `first` to `last`, both included.
pub(crate) fn count_rows(connection: &Connection, table: i64, first: i64, last: i64) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT count(*) FROM rows WHERE tid = ? AND ts BETWEEN ? AND ?")?
        .query_row(params![table, first, last], |row| row.get::<_, i64>(0))
        .map(|count| count as u64)
}

/// A row as it lies in the store.
pub(crate) struct StoredRow {
    pub(crate) ts: i64,
    pub(crate) key: Key,
    pub(crate) row: Vec<u8>,
}

/// Rows of a table with `first <= ts <= last`, in key order (or backwards), at most `max_rows`, past `after` where given.
pub(crate) fn scan_rows(
    connection: &Connection,
    table: i64,
    (first, last): (i64, i64),
    after: Option<(i64, &Key)>,
    descending: bool,
    max_rows: usize,
) -> rusqlite::Result<Vec<StoredRow>> {
    let sql = match (after.is_some(), descending) {
        (false, false) => "SELECT ts, k, row FROM rows WHERE tid = ?1 AND ts BETWEEN ?2 AND ?3 ORDER BY ts, k LIMIT ?4",
        (false, true) => {
            "SELECT ts, k, row FROM rows WHERE tid = ?1 AND ts BETWEEN ?2 AND ?3 ORDER BY ts DESC, k DESC LIMIT ?4"
        }
        (true, false) => {
            "SELECT ts, k, row FROM rows WHERE tid = ?1 AND (ts, k) > (?5, ?6) AND ts BETWEEN ?2 AND ?3 ORDER BY ts, k LIMIT ?4"
        }
        (true, true) => {
            "SELECT ts, k, row FROM rows WHERE tid = ?1 AND (ts, k) < (?5, ?6) AND ts BETWEEN ?2 AND ?3 ORDER BY ts DESC, k DESC LIMIT ?4"
        }
    };
    // The page starts at the last row seen, so that SQLite seeks there and does not walk past the earlier rows.
    let (first, last) = match after {
        Some((ts, _)) if descending => (first, last.min(ts)),
        Some((ts, _)) => (first.max(ts), last),
        None => (first, last),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let limit = max_rows as i64;
    let mut rows = match after {
        Some((ts, key)) => statement.query(params![table, first, last, limit, ts, key])?,
        None => statement.query(params![table, first, last, limit])?,
    };
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let key = match row.get_ref(1)? {
            ValueRef::Integer(value) => Key::Int(value),
            other => Key::Bytes(other.as_blob().unwrap_or_default().into()),
        };
        out.push(StoredRow { ts: row.get(0)?, key, row: row.get(2)? });
    }
    Ok(out)
}
