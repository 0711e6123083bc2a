//! The store behind the TDengine endpoint: catalog, rows in SQLite, SQL and the semantics of stmt2.
//!
//! Every call is synchronous and may wait for the disk: call it from `spawn_blocking`. An [`Engine`] is cheap to clone
//! and shared by all connections.

mod batch;
mod catalog;
mod exec;
mod geometry;
mod result;
mod row;
mod select;
mod sql;
mod stmt2;
mod storage;
mod time;
mod types;
mod vgroup;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use catalog::{Catalog, User};

pub use result::ResultSet;
pub use stmt2::{BindColumn, BindKind, BindMode, BindTable, Field, Prepared, PreparedInsert};
pub use types::{Block, Cell, Column, DataType, Outcome, Precision, Session, TdError};

/// The server this endpoint answers like, as `select server_version()` and `version` of the WebSocket report it.
pub const SERVER_VERSION: &str = "3.3.7.5";

/// Where rows and catalog live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In memory; gone with the engine.
    Memory,
    /// In this directory, made if missing. What was answered with code 0 survives a kill of the process at any time
    /// (not a power failure: the log is not synced per statement).
    Directory(PathBuf),
}

/// Nanoseconds since 1970-01-01T00:00:00Z; what `now` and KEEP go by.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The directory cannot be made or written.
    #[error("cannot write to the data directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another engine, maybe of another process, has the directory open.
    #[error("the data directory {path} is in use: stop the other process or choose another directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// SQLite refuses the file.
    #[error("cannot open the store: {0}")]
    Store(#[from] rusqlite::Error),
}

/// Databases, tables and rows of one endpoint.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    store: storage::Store,
    /// Changed only while the store's writer is held.
    catalog: RwLock<Catalog>,
    clock: Clock,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Inner {
    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> i64 {
        (self.clock)().div_euclid(1_000_000)
    }
}

impl Engine {
    /// Opens (or makes) the store, with the system's clock.
    pub fn open(storage: Storage) -> Result<Self, OpenError> {
        Self::open_with_clock(storage, Arc::new(|| jiff::Timestamp::now().as_nanosecond() as i64))
    }

    /// Opens (or makes) the store with a clock of the caller's.
    pub fn open_with_clock(storage: Storage, clock: Clock) -> Result<Self, OpenError> {
        let store = storage::Store::open(&storage)?;
        let mut catalog = storage::load_catalog(&store.writer())?;
        catalog
            .users
            .entry("root".to_owned())
            .or_insert_with(|| User { password: "taosdata".to_owned(), created_ms: clock().div_euclid(1_000_000) });
        Ok(Self { inner: Arc::new(Inner { store, catalog: RwLock::new(catalog), clock }) })
    }

    /// Checks a user's password: 0x0351 for an unknown user, 0x0357 for a wrong password.
    pub fn login(&self, user: &str, password: &str) -> Result<(), TdError> {
        self.inner.login(user, password)
    }

    /// Makes `name` the session's database, as `conn` of the WebSocket does: case-sensitive, may be backquoted.
    /// An unknown one is an error (0x0388) and leaves the session as it was.
    pub fn use_database(&self, session: &mut Session, name: &str) -> Result<(), TdError> {
        let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name);
        if !exec::is_system(name) && !self.inner.catalog().databases.contains_key(name) {
            return Err(TdError::no_database());
        }
        session.database = Some(name.to_owned());
        Ok(())
    }

    /// Runs the first statement of a text, which need not be UTF-8.
    pub fn execute(&self, session: &mut Session, sql: &[u8]) -> Result<Outcome, TdError> {
        self.inner.execute(session, sql)
    }

    /// Parses a statement and looks up what it names; runs nothing.
    pub fn validate(&self, session: &Session, sql: &[u8]) -> Result<(), TdError> {
        self.inner.validate(session, sql)
    }
}
