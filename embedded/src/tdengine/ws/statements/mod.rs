//! The life cycle of stmt2 statements: which call may follow which, and which errors stay.
//!
//! ```text
//! init ─► prepare ─► bind ─► [bind ..] ─► exec ─► bind ..          prepare starts anew at any time, close ends it
//! ```
//!
//! - An error of a bind stays: every later bind and exec gives it again, until the statement is prepared again.
//! - A bind of too many rows (0x0236) does not stay, but leaves nothing to execute.
//! - An exec without anything bound since the last one is 0x022A, which stays.
//! - An exec that fails in the server breaks a statement that binds "many" (0x0117 from then on); one that binds "once"
//!   goes on. An error that the client library finds at exec stays for both.
//! - A frame that the adapter refuses (0xFFFF) never reaches the statement.

use std::collections::HashMap;

use serde::Serialize;

use super::args::{Fields, Malformed};
use super::reply::{Context, Reply, StatementFields, adapter_error};
use super::request::HEAD_BYTES;
use super::results::{ColumnFields, Results};
use crate::tdengine::bind_frame;
use crate::tdengine::engine::{
    BindMode, BindTable, DataType, Engine, Field, Outcome, Prepared, PreparedInsert, ResultSet, Session, TdError,
};

mod query;

use query::PreparedQuery;

/// Rows out of range: the one error of a bind that does not stay.
const BIND_NUMBER_ERROR: u16 = 0x0236;
/// What a text that is neither INSERT nor SELECT is refused with.
const SYNTAX_ERROR: u16 = 0x2600;
/// Codes of errors that the client library finds, as opposed to the server.
const CLIENT_LIBRARY_CODES: std::ops::RangeInclusive<u16> = 0x2600..=0x26ff;

/// Statements by their ids, which count from 1.
#[derive(Debug)]
pub(super) struct Statements {
    last_id: u64,
    /// What is bound is answered for, and gone.
    discard: bool,
    open: HashMap<u64, Statement>,
}

#[derive(Serialize)]
struct PrepareFields<'a> {
    stmt_id: u64,
    is_insert: bool,
    fields: Option<Vec<FieldDescription<'a>>>,
    fields_count: usize,
}

#[derive(Serialize)]
struct FieldDescription<'a> {
    name: &'a str,
    field_type: u8,
    precision: u8,
    scale: u8,
    bytes: u32,
    bind_type: u8,
}

impl<'a> From<&'a Field> for FieldDescription<'a> {
    fn from(field: &'a Field) -> Self {
        let Field { name, field_type, precision, scale, bytes, bind_type } = field;
        Self {
            name,
            field_type: *field_type,
            precision: *precision,
            scale: *scale,
            bytes: *bytes,
            bind_type: *bind_type as u8,
        }
    }
}

#[derive(Serialize)]
struct ExecFields {
    stmt_id: u64,
    affected: u64,
}

#[derive(Serialize)]
struct ResultFields {
    stmt_id: u64,
    id: u64,
    #[serde(flatten)]
    columns: ColumnFields,
}

impl Statements {
    pub(super) fn new(discard: bool) -> Self {
        Self { last_id: 0, discard, open: HashMap::new() }
    }

    /// Answers the JSON actions `stmt2_*`.
    pub(super) fn answer(
        &mut self,
        context: &Context<'_>,
        fields: Fields<'_>,
        engine: &Engine,
        session: &mut Session,
        results: &mut Results,
        injected: Option<TdError>,
    ) -> Result<Reply, Malformed> {
        if context.action == "stmt2_init" {
            fields.bool("single_stb_insert")?;
            let mode = if fields.bool("single_table_bind_once")? { BindMode::Once } else { BindMode::Many };
            self.last_id += 1;
            self.open.insert(self.last_id, Statement::new(mode));
            return Ok(context.success(StatementFields { stmt_id: self.last_id }));
        }
        let stmt_id = fields.u64("stmt_id")?;
        if context.action == "stmt2_close" {
            self.open.remove(&stmt_id);
            return Ok(context.success(StatementFields { stmt_id }));
        }
        let (sql, get_fields) = match context.action {
            "stmt2_prepare" => (fields.text("sql")?, fields.bool("get_fields")?),
            _ => ("", false),
        };
        let reply = self.get(stmt_id).and_then(|statement| match context.action {
            "stmt2_prepare" => {
                statement.prepare(engine, session, sql.as_bytes(), get_fields, injected)?;
                Ok(context.success(statement.describe(stmt_id, get_fields)))
            }
            "stmt2_exec" => {
                let affected = statement.exec(engine, session, injected)?;
                Ok(context.success(ExecFields { stmt_id, affected }))
            }
            _ => {
                let result = statement.take_result()?;
                let columns = ColumnFields::new(&result, DataType::bytes);
                Ok(context.success(ResultFields { stmt_id, id: results.add(result), columns }))
            }
        });
        Ok(reply.unwrap_or_else(|error| context.statement_failure(&error, stmt_id)))
    }

    /// Binary action 9: head, u16 version = 1, i32 column (-1: all), then what [`bind_frame`] describes.
    pub(super) fn bind(
        &mut self,
        stmt_id: u64,
        frame: &[u8],
        engine: &Engine,
        injected: Option<TdError>,
    ) -> Result<(), TdError> {
        let too_short = || adapter_error("message length is too short");
        let (version, rest) = frame.get(HEAD_BYTES..).and_then(<[u8]>::split_first_chunk).ok_or_else(too_short)?;
        let (column, payload) = rest.split_first_chunk().ok_or_else(too_short)?;
        if u16::from_le_bytes(*version) != 1 {
            return Err(adapter_error("unknown stmt2 bind version"));
        }
        let discard = self.discard;
        let statement = self.get(stmt_id)?;
        if discard {
            return statement.discard(injected);
        }
        let tables = bind_frame::parse(payload).map_err(|error| adapter_error(error.to_string()))?;
        if i32::from_le_bytes(*column) != -1 {
            return Err(TdError::unsupported("binding one column at a time"));
        }
        statement.bind(engine, &tables, injected)
    }

    fn get(&mut self, stmt_id: u64) -> Result<&mut Statement, TdError> {
        self.open.get_mut(&stmt_id).ok_or_else(|| adapter_error("stmt2 is nil"))
    }
}

#[derive(Debug)]
struct Statement {
    mode: BindMode,
    prepared: Option<Text>,
    stage: Stage,
    /// The error that every bind and exec gives.
    stuck: Option<TdError>,
}

/// What was prepared.
#[derive(Debug)]
enum Text {
    Insert(Box<PreparedInsert>),
    Query(PreparedQuery),
}

/// What happened last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Prepared, with its fields described or not.
    Prepared {
        described: bool,
    },
    /// A bind that named tables but left no rows.
    Named,
    Bound,
    Executed,
}

fn api_error() -> TdError {
    TdError::new(0x022A, "Stmt API usage error")
}

impl Statement {
    fn new(mode: BindMode) -> Self {
        Self { mode, prepared: None, stage: Stage::Named, stuck: None }
    }

    fn prepare(
        &mut self,
        engine: &Engine,
        session: &Session,
        sql: &[u8],
        described: bool,
        injected: Option<TdError>,
    ) -> Result<(), TdError> {
        *self = Self { stage: Stage::Prepared { described }, ..Self::new(self.mode) };
        if let Some(error) = injected {
            return self.stick(error);
        }
        self.prepared = Some(match engine.prepare(session, sql, self.mode) {
            Ok(Prepared::Insert(insert)) => Text::Insert(insert),
            Ok(Prepared::Query { parameters }) => Text::Query(PreparedQuery::new(sql, parameters)),
            Err(error) => {
                // The server's client library reads the text of an INSERT only when someone asks for its fields.
                let read_later = !described && is_insert(sql) && error.code != SYNTAX_ERROR;
                self.stuck = Some(error.clone());
                return if read_later { Ok(()) } else { Err(error) };
            }
        });
        Ok(())
    }

    fn describe(&self, stmt_id: u64, get_fields: bool) -> PrepareFields<'_> {
        let (is_insert, fields, count) = match &self.prepared {
            Some(Text::Insert(insert)) => (true, Some(insert.fields()), insert.fields().len()),
            Some(Text::Query(query)) => (false, None, query.parameters()),
            None => (true, None, 0),
        };
        let fields = fields.filter(|_| get_fields).map(|fields| fields.iter().map(FieldDescription::from).collect());
        PrepareFields { stmt_id, is_insert, fields, fields_count: if get_fields { count } else { 0 } }
    }

    fn bind(&mut self, engine: &Engine, tables: &[BindTable<'_>], injected: Option<TdError>) -> Result<(), TdError> {
        self.check()?;
        if tables.is_empty() && injected.is_none() {
            return Ok(());
        }
        let bound = match (&mut self.prepared, injected) {
            (_, Some(error)) => Err(error),
            (Some(Text::Insert(insert)), _) => engine.bind(insert, tables),
            (Some(Text::Query(query)), _) => query.bind(tables),
            (None, _) => Err(api_error()),
        };
        match &bound {
            Ok(()) => self.stage = Stage::Bound,
            Err(error) if error.code == BIND_NUMBER_ERROR => self.stage = Stage::Named,
            Err(error) => self.stuck = Some(error.clone()),
        }
        bound
    }

    /// As [`Self::bind`] of a frame that is right, with nothing of it kept.
    fn discard(&mut self, injected: Option<TdError>) -> Result<(), TdError> {
        self.check()?;
        match injected {
            Some(error) => self.stick(error),
            None => {
                self.stage = Stage::Bound;
                Ok(())
            }
        }
    }

    fn exec(&mut self, engine: &Engine, session: &mut Session, injected: Option<TdError>) -> Result<u64, TdError> {
        self.check()?;
        match self.stage {
            Stage::Bound => {}
            Stage::Prepared { described: true } => return Err(TdError::new(0x070F, "invalid input")),
            Stage::Prepared { described: false } | Stage::Named | Stage::Executed => return self.stick(api_error()),
        }
        self.stage = Stage::Executed;
        match &mut self.prepared {
            Some(Text::Insert(insert)) => {
                let written = match injected {
                    Some(error) => {
                        insert.clear();
                        Err(error)
                    }
                    None => engine.exec(insert),
                };
                written.inspect_err(|error| self.stuck = stuck_after_exec(self.mode, error))
            }
            Some(Text::Query(query)) => {
                let outcome = match injected {
                    Some(error) => Err(error),
                    None => engine.execute(session, &query.text()),
                };
                match outcome? {
                    Outcome::Rows(rows) => query.keep(rows),
                    Outcome::Update { .. } => {}
                }
                Ok(0)
            }
            None => self.stick(api_error()),
        }
    }

    fn take_result(&mut self) -> Result<ResultSet, TdError> {
        match &mut self.prepared {
            Some(Text::Query(query)) => query.take_result().ok_or_else(api_error),
            _ => Err(api_error()),
        }
    }

    fn check(&mut self) -> Result<(), TdError> {
        match &self.stuck {
            Some(error) => Err(error.clone()),
            None if self.prepared.is_none() => self.stick(api_error()),
            None => Ok(()),
        }
    }

    fn stick<T>(&mut self, error: TdError) -> Result<T, TdError> {
        self.stuck = Some(error.clone());
        Err(error)
    }
}

fn is_insert(sql: &[u8]) -> bool {
    sql.trim_ascii_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"insert"))
}

/// What stays of an error at exec.
fn stuck_after_exec(mode: BindMode, error: &TdError) -> Option<TdError> {
    match mode {
        BindMode::Many => Some(TdError::new(0x0117, "Invalid pointer")),
        BindMode::Once => CLIENT_LIBRARY_CODES.contains(&error.code).then(|| error.clone()),
    }
}
