//! TDengine as a pipeline's [`Store`]: one connection a worker, a statement a super table.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::dsn::{Dsn, Transport};
use super::error::{Code, TdengineError};
use super::known::KnownTables;
use super::rest::RestClient;
use super::rows::Rows;
use super::schema::{Database, SchemaPolicy, SuperTable, TagDrift};
use super::ws::{BindMode, Connection, Statement};
use super::{ConnectOptions, Sql};
use crate::block::{Block, Column};
use crate::encode::{sql, stmt2};
use crate::worker::{Part, Store, TagsRead, Writer};

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// Binary binds over WebSocket, for servers from 3.3.5.0 on.
    #[default]
    Stmt2,
    /// SQL text over WebSocket.
    Sql,
    /// SQL text over HTTP.
    Rest,
}

impl WriteMode {
    /// Whether rows can be written that way to `dsn`.
    ///
    /// # Errors
    /// The contradiction, and what to write instead.
    pub fn check(self, dsn: &Dsn) -> Result<(), String> {
        match (self, dsn.transport) {
            (Self::Stmt2 | Self::Sql, Transport::Rest) => Err(format!(
                "--write {self} goes over WebSocket, but the URL begins with http: write ws:// in the URL, or --write rest"
            )),
            _ => Ok(()),
        }
    }
}

impl FromStr for WriteMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "stmt2" => Ok(Self::Stmt2),
            "sql" => Ok(Self::Sql),
            "rest" => Ok(Self::Rest),
            _ => Err(format!("{text:?} is none of stmt2, sql, rest")),
        }
    }
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stmt2 => "stmt2",
            Self::Sql => "sql",
            Self::Rest => "rest",
        })
    }
}

/// A bind is cut at this many bytes; larger ones were seen to go through, and bring nothing.
const MAX_FRAME_BYTES: usize = 8 << 20;

/// A TDengine.
#[derive(Clone, Debug)]
pub struct TaosStore {
    dsn: Dsn,
    mode: WriteMode,
    /// Child tables that are there.
    known: Arc<KnownTables>,
    options: ConnectOptions,
    /// The host that the next connection tries first, so that several share them.
    next_host: Arc<AtomicUsize>,
    policy: Arc<SchemaPolicy>,
    /// What super tables must be, once that is known.
    wanted: Arc<OnceLock<Vec<SuperTable>>>,
}

impl TaosStore {
    /// The one at `dsn`. Nothing is connected yet.
    pub fn new(dsn: Dsn, mode: WriteMode, options: ConnectOptions) -> Self {
        Self {
            dsn,
            mode,
            options,
            next_host: Arc::default(),
            policy: Arc::default(),
            wanted: Arc::default(),
            known: Arc::default(),
        }
    }

    /// The same, with what may be made and changed there.
    pub fn with_policy(self, policy: SchemaPolicy) -> Self {
        Self { policy: Arc::new(policy), ..self }
    }

    /// Keeps super tables as `wanted` from now on: whenever one of them is read, at the start and after a change that a write
    /// ran into, it is made or changed as far as the policy allows. Only the first call counts.
    pub fn keep(&self, wanted: Vec<SuperTable>) {
        let _ = self.wanted.set(wanted);
    }

    /// Reads the database `name`, made if it is missing and may be.
    ///
    /// # Errors
    /// As [`SchemaPolicy::database`] and [`Connection::connect`] have.
    pub async fn database(&self, name: &str) -> Result<Database, TdengineError> {
        self.policy.database(self.writer().link().await?, name).await
    }

    /// Reads the super table `stable` of `database`, over a connection of its own; made or changed, if that is wanted.
    ///
    /// # Errors
    /// As [`SuperTable::read`], [`SchemaPolicy::ensure`] and [`Connection::connect`] have.
    pub async fn read_schema(&self, database: &str, stable: &str) -> Result<SuperTable, TdengineError> {
        self.writer().read(database, stable).await
    }
}

impl Store for TaosStore {
    type Writer = TaosWriter;

    fn writer(&self) -> TaosWriter {
        TaosWriter { store: self.clone(), link: None }
    }

    fn encode(
        &self,
        block: &Block,
        rows: &[u32],
        spare: &mut Vec<Vec<u8>>,
        parts: &mut Vec<Part>,
    ) -> Vec<(u32, String)> {
        match self.mode {
            WriteMode::Stmt2 => {
                for rows in stmt2::split(block, rows, MAX_FRAME_BYTES) {
                    let mut payload = spare.pop().unwrap_or_default();
                    let makes_tables = !self.known.all(block, rows);
                    stmt2::bind_frame(&mut payload, block, rows, makes_tables);
                    parts.push(Part { rows: rows.to_vec(), payload, makes_tables });
                }
                Vec::new()
            }
            WriteMode::Sql | WriteMode::Rest => {
                let mut statements = Vec::new();
                let faults = sql::block_statements(block, rows, sql::MAX_STATEMENT_BYTES, &mut statements);
                parts.extend(statements.into_iter().map(|statement| Part {
                    rows: statement.rows,
                    payload: statement.sql,
                    makes_tables: true,
                }));
                faults.into_iter().map(|(row, fault)| (row, fault.to_string())).collect()
            }
        }
    }

    fn tag_drift(&self) -> TagDrift {
        self.policy.tag_drift
    }

    fn written(&self, block: &Block, part: &Part) {
        if self.mode == WriteMode::Stmt2 && part.makes_tables {
            self.known.add(block, &part.rows);
        }
    }

    fn forget(&self, block: &Block, part: &Part) {
        self.known.remove(block, &part.rows);
    }
}

/// A statement, and what it is prepared for.
#[derive(Debug)]
struct Prepared {
    schema: Arc<SuperTable>,
    with_tags: bool,
    mode: BindMode,
    statement: Statement,
}

impl Prepared {
    fn is_for(&self, database: &str, stable: &str) -> bool {
        self.schema.database == database && self.schema.name == stable
    }
}

/// Which way of binding is the faster one for so many rows of so many tables.
fn bind_mode(rows: usize, tables: usize) -> BindMode {
    /// From more rows a table on, binding them at once takes the server longer than binding table by table.
    const FEW: usize = 2;
    if rows <= tables * FEW { BindMode::Once } else { BindMode::Many }
}

#[derive(Debug)]
enum Link {
    WebSocket { connection: Connection, prepared: Vec<Prepared> },
    Rest(RestClient),
}

impl Sql for Link {
    async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
        match self {
            Self::WebSocket { connection, .. } => connection.sql(sql).await,
            Self::Rest(client) => client.sql(sql).await,
        }
    }
}

/// Writes rows of any super table; connects when it first needs to, and after every [`Writer::reconnect`].
#[derive(Debug)]
pub struct TaosWriter {
    store: TaosStore,
    link: Option<Link>,
}

impl TaosWriter {
    async fn link(&mut self) -> Result<&mut Link, TdengineError> {
        let TaosStore { dsn, mode, options, next_host, .. } = &self.store;
        match &mut self.link {
            Some(Link::WebSocket { connection, .. }) if connection.is_closed() => self.link = None,
            _ => {}
        }
        let made = match self.link.take() {
            Some(link) => link,
            None if *mode == WriteMode::Rest || dsn.transport == Transport::Rest => {
                Link::Rest(RestClient::new(dsn, None, options)?)
            }
            None => {
                let first_host = next_host.fetch_add(1, Ordering::Relaxed);
                Link::WebSocket {
                    connection: Connection::connect(dsn, None, first_host, options).await?,
                    prepared: Vec::new(),
                }
            }
        };
        Ok(self.link.insert(made))
    }

    async fn read(&mut self, database: &str, stable: &str) -> Result<SuperTable, TdengineError> {
        let (policy, wanted) = (self.store.policy.clone(), self.store.wanted.clone());
        let link = self.link().await?;
        if let Link::WebSocket { prepared, .. } = link {
            // Prepared for the table as it was.
            prepared.retain(|known| !known.is_for(database, stable));
        }
        let is_it = |wanted: &&SuperTable| wanted.database == database && wanted.name == stable;
        match wanted.get().and_then(|wanted| wanted.iter().find(is_it)) {
            Some(wanted) => policy.ensure(link, wanted).await,
            None => SuperTable::read(link, database, stable).await,
        }
    }
}

/// A VARCHAR may hold any bytes, a statement of ours only text. The server's code for such text makes it the row's fault.
fn text(payload: &[u8]) -> Result<&str, TdengineError> {
    std::str::from_utf8(payload).map_err(|error| TdengineError::Server {
        code: Code::new(0x0216),
        message: format!("a value is not UTF-8 ({error}); only --write stmt2 takes it"),
        action: "insert".to_owned(),
    })
}

impl Writer for TaosWriter {
    async fn read_schema(&mut self, known: &SuperTable) -> Result<SuperTable, TdengineError> {
        self.read(&known.database, &known.name).await
    }

    async fn write(&mut self, schema: &Arc<SuperTable>, part: &mut Part) -> Result<(), TdengineError> {
        let store_mode = self.store.mode;
        match self.link().await? {
            Link::WebSocket { connection, prepared } if store_mode == WriteMode::Stmt2 => {
                let tables = stmt2::Shape::of(&part.payload).map_or(1, |shape| shape.tables);
                let (with_tags, mode) = (part.makes_tables, bind_mode(part.rows.len(), tables));
                // One that another worker found changed is prepared for what it was.
                let is_old = |known: &Prepared| !Arc::ptr_eq(&known.schema, schema);
                prepared.retain(|known| !(known.is_for(&schema.database, &schema.name) && is_old(known)));
                let fits = |known: &Prepared| !is_old(known) && known.with_tags == with_tags && known.mode == mode;
                let at = match prepared.iter().position(fits) {
                    Some(at) => at,
                    None => {
                        let statement = connection.prepare_insert(schema, with_tags, mode).await?;
                        prepared.push(Prepared { schema: schema.clone(), with_tags, mode, statement });
                        prepared.len() - 1
                    }
                };
                let frame = Bytes::from(std::mem::take(&mut part.payload));
                let written = prepared[at].statement.insert(frame.clone()).await;
                // The buffer comes back, for another try or for the next batch; copied only if it is still being sent.
                part.payload = frame.into();
                written.map(drop)
            }
            link => link.sql(text(&part.payload)?).await.map(drop),
        }
    }

    async fn read_tags(&mut self, schema: &SuperTable, tables: &[&str]) -> TagsRead {
        schema.read_tags(self.link().await?, tables).await
    }

    async fn set_tags(
        &mut self,
        schema: &SuperTable,
        table: &str,
        tags: &[(usize, &Column)],
    ) -> Result<(), TdengineError> {
        schema.set_tags(self.link().await?, table, tags).await
    }

    fn reconnect(&mut self) {
        self.link = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stmt2_over_http_is_a_contradiction() {
        let dsn = |text: &str| text.parse::<Dsn>().unwrap();
        assert!(WriteMode::Stmt2.check(&dsn("http://root@h:6041/db")).unwrap_err().contains("--write rest"));
        for mode in [WriteMode::Stmt2, WriteMode::Sql, WriteMode::Rest] {
            assert_eq!(mode.check(&dsn("ws://root@h:6041/db")), Ok(()));
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
    }

    #[test]
    fn few_rows_a_table_are_bound_at_once() {
        assert_eq!((bind_mode(1, 1), bind_mode(2000, 1000)), (BindMode::Once, BindMode::Once));
        assert_eq!((bind_mode(3, 1), bind_mode(5000, 1000)), (BindMode::Many, BindMode::Many));
    }
}
