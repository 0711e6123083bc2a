//! TDengine over WebSocket: SQL with results by blocks, and binary binds (stmt2).

mod link;
mod query;
mod statement;

use std::sync::Arc;

use serde_json::json;

use link::Link;
pub use query::Query;
pub use statement::{BindMode, Statement};

use super::dsn::{Dsn, Host};
use super::error::{Class, Code, TdengineError};
pub use super::frame::PreparedField;
use super::frame::Reply;
use super::rows::Rows;
use super::schema::SuperTable;
use super::{ConnectOptions, Sql};
use crate::encode::stmt2;

/// The first server version with stmt2 over WebSocket.
const STMT2_SINCE: [u32; 4] = [3, 3, 5, 0];

/// A logged-in WebSocket connection. Requests may be made concurrently; [`Statement`]s and [`Query`]s share the
/// connection, which is closed when the last of them is dropped.
#[derive(Debug)]
pub struct Connection {
    link: Arc<Link>,
    version: String,
}

impl Connection {
    /// Connects to the first host of `dsn` that accepts, beginning with the number `first_host` (counted around), and
    /// logs in, to `database` if one is given. Statements that name their database need none.
    ///
    /// # Errors
    /// A refused login at once; the last host's error if none can be reached.
    pub async fn connect(
        dsn: &Dsn,
        database: Option<&str>,
        first_host: usize,
        options: &ConnectOptions,
    ) -> Result<Self, TdengineError> {
        if dsn.tls && cfg!(not(feature = "tls")) {
            let text = "this build has no TLS: build with `--features tls`, or write ws:// in place of wss://";
            return Err(TdengineError::Settings(text.to_owned()));
        }
        let mut last = None;
        for host in dsn.hosts_from(first_host) {
            match tokio::time::timeout(options.connect_timeout, Self::log_in(dsn, host, database, options)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if !matches!(error.class(), Class::Network | Class::Cluster) => return Err(error),
                Ok(Err(error)) => last = Some(error),
                Err(_) => {
                    let reason = format!("no login within {:?}", options.connect_timeout);
                    last = Some(TdengineError::Connect { address: host.to_string(), reason });
                }
            }
        }
        Err(last.unwrap_or_else(|| TdengineError::Settings("the TDengine URL names no host".to_owned())))
    }

    async fn log_in(
        dsn: &Dsn,
        host: &Host,
        database: Option<&str>,
        options: &ConnectOptions,
    ) -> Result<Self, TdengineError> {
        let scheme = if dsn.tls { "wss" } else { "ws" };
        let link = Link::open(&format!("{scheme}://{host}/ws"), host.to_string(), options).await?;
        let version = link.call("version", json!({})).await?.version.unwrap_or_default();
        let login = json!({ "user": dsn.user, "password": dsn.password, "db": database.unwrap_or("") });
        link.call("conn", login).await?;
        Ok(Self { link: Arc::new(link), version })
    }

    /// The host it leads to.
    pub fn address(&self) -> &str {
        self.link.address()
    }

    /// The server's version, as `3.3.7.5`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it is over; every further request fails.
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    /// Refuses a server that has no stmt2.
    ///
    /// # Errors
    /// [`TdengineError::TooOld`], which names the way out.
    pub fn require_stmt2(&self) -> Result<(), TdengineError> {
        match version_numbers(&self.version) {
            Some(version) if version < STMT2_SINCE => Err(TdengineError::TooOld { version: self.version.clone() }),
            _ => Ok(()),
        }
    }

    /// Runs `sql`; its result is read block by block.
    ///
    /// # Errors
    /// The server's refusal, or that of the way there. Dropping the future leaves open whether it was run.
    pub async fn query(&self, sql: &str) -> Result<Query, TdengineError> {
        let reply: Reply = self.link.sql(sql).await?;
        Query::new(self.link.clone(), reply)
    }

    /// Prepares a statement of binary binds.
    ///
    /// # Errors
    /// [`TdengineError::TooOld`], or the server's refusal.
    pub async fn prepare(&self, sql: &str, mode: BindMode) -> Result<Statement, TdengineError> {
        self.require_stmt2()?;
        Statement::prepare(self.link.clone(), sql.to_owned(), mode).await
    }

    /// Prepares the insert of rows of `stable` as [`stmt2::bind_frame`] writes them. Without tags, tables that do not
    /// exist are refused (0x2603).
    ///
    /// # Errors
    /// As [`Self::prepare`]; [`TdengineError::Schema`] if the server's super table is not `stable` (any more).
    pub async fn prepare_insert(
        &self,
        stable: &SuperTable,
        with_tags: bool,
        mode: BindMode,
    ) -> Result<Statement, TdengineError> {
        let prepared = self.prepare(&stmt2::insert_statement(stable, with_tags), mode).await;
        let statement = prepared.map_err(|error| match error {
            // A super table that is gone is refused with the code of a malformed statement.
            TdengineError::Server { code: Code::INVALID_STATEMENT, message, .. } => TdengineError::Schema {
                name: stable.qualified_name(),
                reason: format!("cannot be prepared: {message}"),
            },
            error => error,
        })?;
        statement.check(stable, with_tags)?;
        Ok(statement)
    }
}

impl Sql for Connection {
    async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
        self.query(sql).await?.rows().await
    }
}

/// `3.3.7.5` or `ver:3.3.7.5`, with whatever may follow; `None` where it is something else.
fn version_numbers(version: &str) -> Option<[u32; 4]> {
    let start = version.find(|c: char| c.is_ascii_digit())?;
    let mut parts = version[start..].split(|c: char| !c.is_ascii_digit());
    let mut next = || parts.next()?.parse().ok();
    Some([next()?, next()?, next()?, next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version_numbers("3.3.7.5"), Some([3, 3, 7, 5]));
        assert_eq!(version_numbers("ver:3.3.10.0.alpha"), Some([3, 3, 10, 0]));
        assert_eq!(version_numbers("3.3.5"), Some([3, 3, 5, 0]));
        assert_eq!(version_numbers("dev"), None);
        assert!(version_numbers("3.3.10.0") > Some(STMT2_SINCE));
        assert!(version_numbers("3.3.4.8") < Some(STMT2_SINCE));
    }
}
