//! The store behind the TDengine endpoint: catalog, rows in SQLite, SQL and the semantics of stmt2.
//!
//! Every call is synchronous and may wait for the disk: call it from `spawn_blocking`. An [`Engine`] is cheap to clone
//! and shared by all connections.

mod stmt2;
mod types;

use std::path::PathBuf;
use std::sync::Arc;

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
    /// The directory cannot be made.
    #[error("cannot create the data directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refuses the file.
    #[error("cannot open the store: {0}")]
    Store(#[from] rusqlite::Error),
}

/// Databases, tables and rows of one endpoint.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    /// Opens (or makes) the store, with the system's clock.
    pub fn open(storage: Storage) -> Result<Self, OpenError> {
        Self::open_with_clock(storage, Arc::new(|| jiff::Timestamp::now().as_nanosecond() as i64))
    }

    /// Opens (or makes) the store with a clock of the caller's.
    pub fn open_with_clock(_storage: Storage, _clock: Clock) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// Checks a user's password: 0x0351 for an unknown user, 0x0357 for a wrong password.
    pub fn login(&self, _user: &str, _password: &str) -> Result<(), TdError> {
        Ok(())
    }

    /// Makes `name` the session's database, as `conn` of the WebSocket does: case-sensitive, may be backquoted.
    pub fn use_database(&self, _session: &mut Session, _name: &str) -> Result<(), TdError> {
        Err(TdError::unsupported("databases"))
    }

    /// Runs the first statement of a text, which need not be UTF-8.
    pub fn execute(&self, _session: &mut Session, _sql: &[u8]) -> Result<Outcome, TdError> {
        Err(TdError::unsupported("SQL"))
    }
}

/// The rows of a query, handed out block by block, so that a large result is never in memory as a whole where the
/// query allows it (scans in key order).
#[derive(Debug)]
pub struct ResultSet {
    columns: Vec<Column>,
    precision: Precision,
    rows: std::vec::IntoIter<Cell>,
}

impl ResultSet {
    /// The result's columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Unit of the result's timestamps.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The next rows, at most `max_rows`; an empty block ends the result. May read the store: call it from `spawn_blocking`.
    pub fn next_block(&mut self, max_rows: usize) -> Result<Block, TdError> {
        let width = self.columns.len();
        Ok(Block { width, cells: self.rows.by_ref().take(max_rows * width).collect() })
    }
}
