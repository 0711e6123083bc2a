//! One WebSocket connection: who is logged in, its open results and its statements.
//!
//! Every message is answered by one synchronous call that may wait for the store.

use std::time::Instant;

use serde::Serialize;

use super::args::{Fields, Malformed};
use super::reply::{Context, Reply, StatementFields, adapter_error};
use super::request::{HEAD_BYTES, Request, action};
use super::results::{QueryFields, Results};
use super::statements::Statements;
use crate::tdengine::engine::{Engine, Outcome, SERVER_VERSION, Session, TdError};
use crate::tdengine::login::Credentials;
use crate::tdengine::time;

/// The state of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    engine: Engine,
    /// Who is connected, after a good `conn`.
    session: Option<Session>,
    results: Results,
    statements: Statements,
}

#[derive(Serialize)]
struct VersionFields {
    version: &'static str,
}

#[derive(Serialize)]
struct ServerInfoFields {
    info: &'static str,
}

#[derive(Serialize)]
struct CurrentDatabaseFields<'a> {
    db: &'a str,
}

#[derive(Serialize)]
struct StatusFields {
    status: i32,
    details: &'static str,
}

#[derive(Serialize)]
struct ValidateFields {
    result_code: i64,
}

impl Connection {
    pub(super) fn new(engine: Engine, discard: bool) -> Self {
        Self { engine, session: None, results: Results::default(), statements: Statements::new(discard) }
    }

    /// Answers a message. `injected` is an error that stands in place of executing what the message asks for.
    pub(super) fn answer(&mut self, request: &Request, started: Instant, injected: Option<TdError>) -> Reply {
        match request {
            Request::Malformed => {
                let context = Context { action: "", req_id: 0, started };
                context.failure(&adapter_error("unmarshal request error"))
            }
            Request::NotUtf8 => {
                let context = Context { action: "", req_id: 0, started };
                context.failure(&TdError::unsupported("a text frame that is not UTF-8"))
            }
            Request::Json { action, args } => {
                let mut context = Context { action, req_id: args.req_id(), started };
                if action.is_empty() {
                    return context.failure(&adapter_error("request no action"));
                }
                if action == "version" && args.are_missing() {
                    return context.success(VersionFields { version: SERVER_VERSION });
                }
                let Some(name) = name_in_errors(action).filter(|_| self.session.is_some() || needs_no_login(action))
                else {
                    let problem = if self.session.is_some() {
                        format!("unknown action {action}")
                    } else {
                        "server not connected".to_owned()
                    };
                    return context.failure(&adapter_error(problem));
                };
                let answered = args.fields().and_then(|fields| {
                    context.req_id = fields.u64("req_id")?;
                    self.answer_json(&context, fields, injected)
                });
                answered.unwrap_or_else(|Malformed| {
                    context.req_id = args.req_id();
                    context.failure(&adapter_error(format!("unmarshal {name} request error")))
                })
            }
            Request::Binary { req_id, id, action, frame } => {
                let context = Context { action: binary_action_name(*action), req_id: *req_id, started };
                self.answer_binary(&context, *action, *id, frame, injected)
            }
        }
    }

    fn answer_json(
        &mut self,
        context: &Context<'_>,
        fields: Fields<'_>,
        injected: Option<TdError>,
    ) -> Result<Reply, Malformed> {
        match context.action {
            "version" => return Ok(context.success(VersionFields { version: SERVER_VERSION })),
            "conn" => return self.connect(context, fields, injected),
            "check_server_status" => {
                fields.optional_text("fqdn")?;
                fields.i64("port")?;
                return Ok(context.success(StatusFields { status: 2, details: "" }));
            }
            _ => {}
        }
        let Some(session) = &mut self.session else {
            return Ok(context.failure(&adapter_error("server not connected")));
        };
        let reply = match context.action {
            "query" => {
                let sql = fields.text("sql")?;
                return Ok(self.query(context, sql.as_bytes(), injected));
            }
            "get_current_db" => {
                Ok(context.success(CurrentDatabaseFields { db: session.database.as_deref().unwrap_or("") }))
            }
            "get_server_info" => Ok(context.success(ServerInfoFields { info: SERVER_VERSION })),
            "options_connection" => set_options(session, fields.list("options")?)?.map(|()| context.done()),
            "fetch" => self.results.fetch_json(context, fields.u64("id")?),
            "fetch_block" => self.results.fetch_block(context, fields.u64("id")?),
            "num_fields" => self.results.count_fields(context, fields.u64("result_id")?),
            "free_result" => {
                self.results.free(fields.u64("id")?);
                Ok(Reply::Nothing)
            }
            action if action.starts_with("stmt2_") => {
                return self.statements.answer(context, fields, &self.engine, session, &mut self.results, injected);
            }
            // The first statement API's close has no reply either.
            "close" => Ok(Reply::Nothing),
            "insert" => Err(match (fields.i64("protocol")?, &session.database) {
                (None | Some(0), _) => adapter_error("schemaless write protocol is null"),
                (_, None) => TdError::new(0x2616, "Database not specified"),
                _ => TdError::unsupported("schemaless writing"),
            }),
            _ => Err(TdError::unsupported("the first statement API (stmt)")),
        };
        Ok(reply.unwrap_or_else(|error| context.failure(&error)))
    }

    fn answer_binary(
        &mut self,
        context: &Context<'_>,
        action: u64,
        id: u64,
        frame: &[u8],
        injected: Option<TdError>,
    ) -> Reply {
        let Some(session) = &self.session else {
            return context.failure(&adapter_error("server not connected"));
        };
        match action {
            action::QUERY => match sql_of(frame) {
                Ok(sql) => self.query(context, sql, injected),
                Err(error) => context.failure(&error),
            },
            action::VALIDATE => match sql_of(frame) {
                Ok(sql) => {
                    let code = self.engine.validate(session, sql).map_or_else(|error| error.code, |()| 0);
                    // The server's codes are negative 32-bit numbers whose low 16 bits are the code.
                    let result_code = if code == 0 { 0 } else { i64::from(0x8000_0000_u32 as i32) + i64::from(code) };
                    context.success(ValidateFields { result_code })
                }
                Err(error) => context.failure(&error),
            },
            action::FETCH => self.results.fetch_raw(context, id, frame),
            action::BIND => match self.statements.bind(id, frame, &self.engine, injected) {
                Ok(()) => context.success(StatementFields { stmt_id: id }),
                Err(error) => context.statement_failure(&error, id),
            },
            1..=5 => context.failure(&TdError::unsupported(format!("binary action {action}"))),
            _ => context.failure(&adapter_error(format!("unknown binary action {action}"))),
        }
    }

    fn connect(
        &mut self,
        context: &Context<'_>,
        fields: Fields<'_>,
        injected: Option<TdError>,
    ) -> Result<Reply, Malformed> {
        let credentials =
            Credentials { user: fields.text("user")?.to_owned(), password: fields.text("password")?.to_owned() };
        let (database, zone, mode) = (fields.text("db")?, fields.text("tz")?, fields.i64("mode")?);
        for name in ["app", "ip"] {
            fields.text(name)?;
        }
        let connected = self.log_in(credentials, database, injected).and_then(|session| match mode {
            None | Some(0) => Ok(session),
            Some(mode) => Err(adapter_error(format!("unexpected mode:{mode}"))),
        });
        Ok(match connected {
            Ok(session) => {
                self.session = Some(Session { time_zone: time::zone_or_utc(zone), ..session });
                context.success(VersionFields { version: SERVER_VERSION })
            }
            Err(error) => context.failure(&error),
        })
    }

    fn log_in(&self, credentials: Credentials, database: &str, injected: Option<TdError>) -> Result<Session, TdError> {
        if self.session.is_some() {
            return Err(adapter_error("duplicate connections"));
        }
        if let Some(error) = injected {
            return Err(error);
        }
        credentials.check(&self.engine)?;
        let mut session = Session::new(credentials.user);
        if !database.is_empty() {
            self.engine.use_database(&mut session, database)?;
        }
        Ok(session)
    }

    fn query(&mut self, context: &Context<'_>, sql: &[u8], injected: Option<TdError>) -> Reply {
        let Some(session) = &mut self.session else {
            return context.failure(&adapter_error("server not connected"));
        };
        let outcome = match injected {
            Some(error) => Err(error),
            None => self.engine.execute(session, sql),
        };
        match outcome {
            Ok(Outcome::Update { affected }) => context.success(QueryFields::update(affected)),
            Ok(Outcome::Rows(result)) => {
                let fields = QueryFields::of(&result);
                context.success(fields.with_id(self.results.add(result)))
            }
            Err(error) => context.failure(&error),
        }
    }
}

/// Sets what `options_connection` lists: 0 charset, 1 time zone, 2 ip, 3 app, -1 all of them back to their defaults.
fn set_options(session: &mut Session, options: &[serde_json::Value]) -> Result<Result<(), TdError>, Malformed> {
    let read = options.iter().map(|option| {
        let option = Fields::of(option)?;
        Ok((option.i64("option")?.unwrap_or(0), option.optional_text("value")?))
    });
    for (option, value) in read.collect::<Result<Vec<_>, Malformed>>()? {
        match (option, value) {
            (-1, _) => session.time_zone = jiff::tz::TimeZone::UTC,
            (0, Some(charset)) if !charset.eq_ignore_ascii_case("utf-8") => {
                return Ok(Err(TdError::unsupported(format!("charset {charset}"))));
            }
            (1, zone) => session.time_zone = time::zone_or_utc(zone.unwrap_or("")),
            (0 | 2 | 3, _) => {}
            _ => return Ok(Err(TdError::new(0x0118, "Invalid parameters"))),
        }
    }
    Ok(Ok(()))
}

/// The text of a binary SQL frame (actions 6 and 10): head, u16 version = 1, u32 length, text.
fn sql_of(frame: &[u8]) -> Result<&[u8], TdError> {
    let too_short = || adapter_error("message length is too short");
    let (version, rest) = frame.get(HEAD_BYTES..).and_then(<[u8]>::split_first_chunk).ok_or_else(too_short)?;
    let (length, text) = rest.split_first_chunk().filter(|(_, text)| !text.is_empty()).ok_or_else(too_short)?;
    let (version, length) = (u16::from_le_bytes(*version), u32::from_le_bytes(*length));
    if version != 1 {
        return Err(adapter_error(format!("unknown binary query version:{version}")));
    }
    text.get(..length as usize).ok_or_else(|| {
        let present = text.len();
        adapter_error(format!("uncompleted message, sql length:{length}, remainMessageLength:{present}"))
    })
}

fn needs_no_login(action: &str) -> bool {
    matches!(action, "version" | "conn" | "check_server_status")
}

/// How a known action is called in "unmarshal .. request error".
fn name_in_errors(action: &str) -> Option<&'static str> {
    Some(match action {
        "version" => "version",
        "conn" => "connect",
        "check_server_status" => "check server status",
        "query" => "query",
        "fetch" => "fetch",
        "fetch_block" => "fetch block",
        "free_result" => "free result",
        "num_fields" => "num fields",
        "get_current_db" => "get current db",
        "get_server_info" => "get server info",
        "options_connection" => "options connection",
        "insert" => "schemaless insert",
        "stmt2_init" => "stmt2 init",
        "stmt2_prepare" => "stmt2 prepare",
        "stmt2_exec" => "stmt2 exec",
        "stmt2_result" => "stmt2 result",
        "stmt2_close" => "stmt2 close",
        "init" => "stmt init",
        "prepare" => "stmt prepare",
        "set_table_name" => "stmt set table name",
        "set_tags" => "stmt set tags",
        "bind" => "stmt bind",
        "add_batch" => "stmt add batch",
        "exec" => "stmt exec",
        "close" => "stmt close",
        "get_tag_fields" => "stmt get tag fields",
        "get_col_fields" => "stmt get col fields",
        "use_result" => "stmt use result",
        "stmt_num_params" => "stmt num params",
        "stmt_get_param" => "stmt get param",
        _ => return None,
    })
}

/// How a binary action is called in replies.
fn binary_action_name(action: u64) -> &'static str {
    match action {
        1 => "set_tags",
        2 => "bind",
        3 => "write_raw",
        4 => "write_raw_block",
        5 => "write_raw_block_with_fields",
        action::QUERY => "binary_query",
        action::FETCH => "fetch_raw_block",
        action::BIND => "stmt2_bind",
        action::VALIDATE => "validate_sql",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tdengine::engine::Storage;

    fn connected() -> Connection {
        let mut connection = Connection::new(Engine::open(Storage::Memory).unwrap(), false);
        let conn = json!({ "action": "conn", "args": { "user": "root", "password": "taosdata" } });
        let reply = answer(&mut connection, &Request::from_text(&conn.to_string()));
        assert!(matches!(reply, Reply::Text(text) if text.starts_with(r#"{"code":0,"#)));
        connection
    }

    fn answer(connection: &mut Connection, request: &Request) -> Reply {
        connection.answer(request, Instant::now(), None)
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|flag| json!(flag)),
            any::<i64>().prop_map(|number| json!(number)),
            (0u64..4).prop_map(|id| json!(id)),
            "[a-z ?,()']{0,20}".prop_map(|text| json!(text)),
            Just(json!([{ "option": 1, "value": null }, 5])),
        ]
    }

    proptest! {
        #[test]
        fn any_frames_are_answered(frames in proptest::collection::vec((0u64..13, 0u64..3, proptest::collection::vec(any::<u8>(), 0..80)), 1..8)) {
            let mut connection = connected();
            for (action, id, rest) in frames {
                let mut frame: Vec<u8> = [1, id, action].iter().flat_map(|number: &u64| number.to_le_bytes()).collect();
                frame.extend(1u16.to_le_bytes());
                frame.extend(rest);
                prop_assert_ne!(answer(&mut connection, &Request::from_frame(Bytes::from(frame))), Reply::Nothing);
            }
        }

        #[test]
        fn any_arguments_are_answered(
            action in prop::sample::select(vec![
                "version", "conn", "query", "fetch", "fetch_block", "num_fields", "options_connection", "get_current_db", "insert",
                "stmt2_init", "stmt2_prepare", "stmt2_exec", "stmt2_result", "stmt2_close", "init", "nonsense",
            ]),
            names in proptest::collection::vec(prop::sample::select(vec!["req_id", "stmt_id", "id", "sql", "options", "get_fields", "db"]), 0..4),
            value in any_json(),
        ) {
            let args: serde_json::Map<_, _> = names.into_iter().map(|name| (name.to_owned(), value.clone())).collect();
            let mut connection = connected();
            let request = Request::from_text(&json!({ "action": action, "args": args }).to_string());
            let Reply::Text(text) = answer(&mut connection, &request) else { panic!("no text") };
            let reply: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert!(reply["code"].is_u64() && reply["action"] == action, "{}", reply);
        }
    }
}
