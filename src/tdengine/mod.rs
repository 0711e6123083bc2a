//! The way into TDengine: WebSocket with stmt2, SQL over WebSocket, REST.
//!
//! ```text
//!  Dsn ─┬─► Connection (ws) ─┬─► Statement: bind, exec    rows in
//!       │                    └─► Query: blocks ─► Rows    SQL in, rows out, a block at a time
//!       └─► RestClient ────────► Rows                     SQL in, rows out
//! ```
//!
//! Every error has a [`Class`], which says what a writer does about it.

pub mod dsn;
pub mod error;
mod frame;
mod known;
pub mod raw_block;
pub mod rest;
pub mod rows;
pub mod schema;
mod store;
pub mod ws;

use std::future::Future;
use std::time::Duration;

pub use dsn::{Dsn, Transport};
pub use error::{Class, Code, TdengineError};
pub use rest::RestClient;
pub use rows::Rows;
pub use store::{TaosStore, TaosWriter, WriteMode};
pub use ws::{BindMode, Connection, Query, Statement};

/// How long things may take.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Until a host has accepted the connection and the login. Default 10 s, a host.
    pub connect_timeout: Duration,
    /// Until a message is handed to the network as a whole; past it the connection is given up. Default 30 s.
    pub write_timeout: Duration,
    /// Until a request is answered, counted from when it was made. Default 60 s.
    pub read_timeout: Duration,
    /// Between two pings; after three without any sign of life the connection is given up, unless a request waits,
    /// which has its own limit. Default 10 s.
    pub keep_alive: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(10),
        }
    }
}

/// What runs a statement and reads its whole result: a WebSocket connection or a REST client.
pub trait Sql: Sync {
    /// Runs `sql` and reads its result into memory.
    ///
    /// # Errors
    /// The server's refusal, or that of the way there.
    fn sql(&self, sql: &str) -> impl Future<Output = Result<Rows, TdengineError>> + Send;
}
