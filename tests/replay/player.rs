//! Plays the client's side of a recorded case with the project's own client, and holds what it reads against the record.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kafka_taos::row::{Precision, Value};
use kafka_taos::tdengine::dsn::DsnError;
use kafka_taos::tdengine::rows::ColumnMeta;
use kafka_taos::tdengine::schema::DataType;
use kafka_taos::tdengine::ws::PreparedField;
use kafka_taos::tdengine::{
    BindMode, ConnectOptions, Connection, Dsn, Query, RestClient, Rows, Sql, Statement, TdengineError,
};
use serde_json::{Value as Json, json};

use crate::bind::{Bind, by_block, by_columns};
use crate::case::frame::{from_hex, to_hex};
use crate::case::{ANY, Case, Request, Step, Transport, Variables};
use crate::server::Replay;

/// What became of a case's steps.
#[derive(Default, Debug)]
pub(crate) struct Played {
    /// Steps that the client made, and read as recorded.
    pub(crate) steps: usize,
    /// Steps that the client has no call for, or leaves out on purpose; by reason.
    pub(crate) left_out: BTreeMap<&'static str, usize>,
}

type Step1 = Result<Option<&'static str>, String>;
const PLAYED: Step1 = Ok(None);

struct Player<'s> {
    server: &'s Replay,
    dsn: Dsn,
    connections: HashMap<String, Connection>,
    statements: HashMap<String, Slot>,
    queries: HashMap<String, (String, Query)>,
}

/// What a variable of a case stands for: a statement, made in two steps.
struct Slot {
    /// The step that made it.
    init: usize,
    conn: String,
    mode: BindMode,
    sql: String,
    statement: Option<Statement>,
    /// After an error, or after a step that was left out: the record goes on with what the client has replaced.
    over: bool,
}

/// Plays `case` against its server.
pub(crate) async fn play(case: &Case, server: &Replay) -> Result<Played, String> {
    let dsn = format!("ws://root:taosdata@{}/", server.address).parse().map_err(|error: DsnError| error.to_string())?;
    let mut player =
        Player { server, dsn, connections: HashMap::new(), statements: HashMap::new(), queries: HashMap::new() };
    let mut played = Played::default();
    for (at, step) in case.steps.iter().enumerate() {
        let outcome = match step.transport {
            Transport::Rest => player.rest(step).await,
            Transport::Ws => player.websocket(at, step).await,
        };
        match outcome.map_err(|error| format!("{}/{} step {at}: {error}", case.area, case.name))? {
            None => played.steps += 1,
            Some(reason) => {
                server.leave_out(at);
                *played.left_out.entry(reason).or_default() += 1;
            }
        }
    }
    Ok(played)
}

impl Player<'_> {
    async fn rest(&mut self, step: &Step) -> Step1 {
        if step.send.keys().any(|key| !matches!(key.as_str(), "sql" | "sql_rule" | "path" | "auth")) {
            return Ok(Some("rest: other headers, methods or bodies"));
        }
        let path = step.send.get("path").and_then(Json::as_str).unwrap_or("/rest/sql");
        let database = match path.strip_prefix("/rest/sql") {
            Some("") => None,
            Some(rest) if rest.starts_with('/') && !rest.contains(['?', '%']) => Some(&rest[1..]),
            _ => return Ok(Some("rest: other paths")),
        };
        let (user, password) = match step.send.get("auth") {
            None => ("root", "taosdata"),
            Some(auth) => match auth.as_str().and_then(|auth| auth.strip_prefix("basic ")?.split_once(':')) {
                Some(credentials) => credentials,
                None => return Ok(Some("rest: other authorization")),
            },
        };
        let Ok(Request::Rest(request)) = step.request(&Variables::default()) else { return Err("no request".into()) };
        let Ok(sql) = String::from_utf8(request.body.unwrap_or_default()) else { return Ok(Some("rest: not UTF-8")) };
        let dsn = self.dsn.clone().with_user(Some(user)).with_password(Some(password));
        let client = RestClient::new(&dsn, database, &ConnectOptions::default()).map_err(|error| error.to_string())?;
        let outcome = client.sql(&sql).await;
        let (status, expected) = (&step.expect["http_status"], &step.expect.get("json").unwrap_or(&Json::Null));
        match outcome {
            Err(TdengineError::Http { status: got, .. }) => same(status, &json!(got)),
            Err(TdengineError::Server { code, message, .. }) => {
                same(&expected["code"], &json!(code.get()))?;
                same(&expected["desc"], &json!(message))
            }
            Err(TdengineError::Protocol { .. }) if step.expect.contains_key("body_hex") => PLAYED,
            Err(other) => Err(other.to_string()),
            Ok(rows) => same_rest_rows(expected, &rows),
        }
    }

    async fn websocket(&mut self, at: usize, step: &Step) -> Step1 {
        let conn = step.conn.clone().unwrap_or_default();
        if step.send.contains_key("open") || step.send.contains_key("sleep_ms") {
            return PLAYED;
        }
        if step.send.contains_key("close") {
            self.statements.retain(|_, slot| slot.conn != conn);
            self.queries.retain(|_, (of, _)| *of != conn);
            self.connections.remove(&conn);
            return PLAYED;
        }
        if step.send.contains_key("bind") || step.send.contains_key("bind_rule") {
            return self.bind(step).await;
        }
        if let Some(json) = step.send.get("json") {
            let args = &json["args"];
            return match json["action"].as_str().unwrap_or_default() {
                "conn" => self.conn(step, conn, args).await,
                "query" => self.query(step, &conn, args["sql"].as_str().unwrap_or_default()).await,
                "stmt2_init" => {
                    let once = args["single_table_bind_once"] == json!(true);
                    let mode = if once { BindMode::Once } else { BindMode::Many };
                    let Some(variable) = step.capture.get("stmt_id") else { return Ok(Some("init: nothing captured")) };
                    let slot = Slot { init: at, conn, mode, sql: String::new(), statement: None, over: false };
                    self.statements.insert(variable.clone(), slot);
                    PLAYED
                }
                "stmt2_prepare" => self.prepare(step, args).await,
                "stmt2_exec" => self.exec(step, args).await,
                "stmt2_close" => self.close(args).await,
                _ => Ok(Some("ws: actions the client does not have")),
            };
        }
        if let Some(sql) = step.send.get("sql").and_then(Json::as_str) {
            let frame = from_hex(step.send["hex"].as_str().unwrap_or_default())?;
            let straight = frame.get(16) == Some(&6) && frame.get(30..) == Some(sql.as_bytes()) && frame[24] == 1;
            let length = frame.get(26..30).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
            return match straight && length == Some(sql.len() as u32) {
                true => self.query(step, &conn, sql).await,
                false => Ok(Some("ws: frames bent on purpose")),
            };
        }
        if step.expect.contains_key("fetch") {
            return self.fetch(step).await;
        }
        Ok(Some("ws: frames the client does not send"))
    }

    async fn conn(&mut self, step: &Step, conn: String, args: &Json) -> Step1 {
        let known = ["req_id", "user", "password", "db"];
        if args.as_object().is_none_or(|args| args.keys().any(|key| !known.contains(&key.as_str()))) {
            return Ok(Some("conn: with settings"));
        }
        if self.connections.contains_key(&conn) {
            return Ok(Some("conn: a second time"));
        }
        let dsn = self.dsn.clone().with_user(args["user"].as_str()).with_password(args["password"].as_str());
        let connected = Connection::connect(&dsn, args["db"].as_str(), 0, &ConnectOptions::default()).await;
        let connection = match outcome(step, connected)? {
            Some(connection) => connection,
            None => return PLAYED,
        };
        self.connections.insert(conn, connection);
        PLAYED
    }

    async fn query(&mut self, step: &Step, conn: &str, sql: &str) -> Step1 {
        let Some(connection) = self.connections.get(conn) else { return Ok(Some("ws: before a login")) };
        let Some(query) = outcome(step, connection.query(sql).await)? else { return PLAYED };
        let expected = &step.expect["json"];
        same(&expected["affected_rows"], &json!(query.affected_rows()))?;
        let names: Vec<_> = query.columns().iter().map(|column| &column.name).collect();
        same(&json!(expected["fields_names"].as_array().cloned().unwrap_or_default()), &json!(names))?;
        for (column, kind) in query.columns().iter().zip(expected["fields_types"].as_array().into_iter().flatten()) {
            same(kind, &json!(column.data_type.map(DataType::code)))?;
        }
        if let Some(variable) = step.capture.get("id") {
            self.queries.insert(variable.clone(), (conn.to_owned(), query));
        }
        PLAYED
    }

    async fn fetch(&mut self, step: &Step) -> Step1 {
        let variable = step.send.get("subst").and_then(|places| places[0]["var"].as_str()).unwrap_or_default();
        let Some((_, query)) = self.queries.get_mut(variable) else { return Ok(Some("fetch: of no result")) };
        let expected = &step.expect["fetch"];
        match query.next_block().await {
            Ok(None) if expected["code"] != json!(0) => Ok(Some("fetch: after the end")),
            Ok(None) => same(&expected["finished"], &json!(true)),
            Ok(Some(block)) => {
                let (columns, precision) = (query.columns(), query.precision());
                let cell = |row, column: usize| {
                    recorded_form(block.value(row, column, precision), &columns[column], precision)
                };
                let rows =
                    (0..block.rows()).map(|row| (0..columns.len()).map(|column| cell(row, column)).collect::<Json>());
                same(&expected["data"], &rows.collect())
            }
            Err(error) => same(&expected["code"], &json!(error.code().map(|code| code.get()))),
        }
    }

    async fn prepare(&mut self, step: &Step, args: &Json) -> Step1 {
        let Some(slot) = variable(args).and_then(|name| self.statements.get_mut(name)) else {
            return Ok(Some("stmt2: of no statement"));
        };
        let sql = args["sql"].as_str().unwrap_or_default();
        let first = slot.sql.is_empty() && !slot.over;
        let (conn, mode) = (slot.conn.clone(), slot.mode);
        sql.clone_into(&mut slot.sql);
        if !first || args["get_fields"] != json!(true) || !sql.starts_with("insert") {
            slot.over = true;
            self.server.leave_out(slot.init);
            return Ok(Some("stmt2: prepared otherwise"));
        }
        // What the record makes anew after an error, the client's statement makes anew by itself.
        let before = self.statements.values_mut().find(|other| {
            (&*other.conn, other.mode, &*other.sql) == (&*conn, mode, sql) && other.over && other.statement.is_some()
        });
        let reused = before.and_then(|other| other.statement.take());
        let statement = match reused {
            Some(statement) => Some(statement),
            None => {
                let Some(connection) = self.connections.get(&conn) else { return Ok(Some("stmt2: before a login")) };
                outcome(step, connection.prepare(sql, mode).await)?
            }
        };
        if let Some(statement) = &statement {
            let fields: Vec<_> = statement.fields().iter().map(field).collect();
            let recorded = step.expect["json"]["fields"].as_array().into_iter().flatten();
            let recorded =
                recorded.map(|field| json!([field["name"], field["field_type"], field["bytes"], field["bind_type"]]));
            same(&recorded.collect(), &json!(fields))?;
        }
        if let Some(slot) = variable(args).and_then(|name| self.statements.get_mut(name)) {
            slot.over = statement.is_none();
            slot.statement = statement;
        }
        PLAYED
    }

    async fn bind(&mut self, step: &Step) -> Step1 {
        let structure = step.send.get("bind").or(step.send.get("bind_rule")).ok_or("no bind")?;
        let name = step.send.get("subst").and_then(|places| places[0]["var"].as_str()).or(variable(structure));
        let Some(slot) = name.and_then(|name| self.statements.get_mut(name)) else {
            return Ok(Some("stmt2: of no statement"));
        };
        if slot.over {
            return Ok(Some("stmt2: a failed statement"));
        }
        let code = &step.expect["json"]["code"];
        let Some(bind) = Bind::read(structure) else {
            // A frame that never reached the statement does not change it.
            slot.over = *code != json!(0xFFFF);
            return Ok(Some("stmt2: frames bent on purpose"));
        };
        let Some(statement) = slot.statement.as_mut() else { return Ok(Some("stmt2: never prepared")) };
        let frame = by_block(&bind).unwrap_or_else(|| by_columns(&bind));
        match statement.bind(Bytes::from(frame)).await {
            Err(TdengineError::Refused(_)) => {
                slot.over = true;
                Ok(Some("stmt2: refused by the client, as it could crash a server"))
            }
            bound => {
                slot.over = bound.is_err();
                outcome(step, bound).and(PLAYED)
            }
        }
    }

    async fn exec(&mut self, step: &Step, args: &Json) -> Step1 {
        let Some(slot) = variable(args).and_then(|name| self.statements.get_mut(name)) else {
            return Ok(Some("stmt2: of no statement"));
        };
        if slot.over {
            return Ok(Some("stmt2: a failed statement"));
        }
        let Some(statement) = slot.statement.as_mut() else { return Ok(Some("stmt2: never prepared")) };
        match statement.exec().await {
            Err(TdengineError::Refused(_)) => {
                slot.over = true;
                Ok(Some("stmt2: refused by the client, as it could crash a server"))
            }
            executed => {
                slot.over = executed.is_err();
                match outcome(step, executed)? {
                    Some(affected) => same(&step.expect["json"]["affected"], &json!(affected)),
                    None => PLAYED,
                }
            }
        }
    }

    async fn close(&mut self, args: &Json) -> Step1 {
        let Some(slot) = variable(args).and_then(|name| self.statements.get_mut(name)) else {
            return Ok(Some("stmt2: of no statement"));
        };
        if slot.over {
            return Ok(Some("stmt2: a failed statement"));
        }
        slot.over = true;
        match slot.statement.take() {
            Some(statement) => statement.close().await.map_err(|error| error.to_string()).and(PLAYED),
            None => Ok(Some("stmt2: never prepared")),
        }
    }
}

/// The value of a call that was recorded as good; `None` for an error of the recorded code and text.
fn outcome<T>(step: &Step, got: Result<T, TdengineError>) -> Result<Option<T>, String> {
    let expected = &step.expect["json"];
    match got {
        Ok(value) => same(&expected["code"], &json!(0)).map(|_| Some(value)),
        Err(TdengineError::Server { code, message, .. }) => {
            same(&expected["code"], &json!(code.get()))?;
            same(&expected["message"], &json!(message)).map(|_| None)
        }
        Err(other) => Err(other.to_string()),
    }
}

fn variable(args: &Json) -> Option<&str> {
    args["stmt_id"].as_str()?.strip_prefix("${")?.strip_suffix('}')
}

fn field(field: &PreparedField) -> Json {
    json!([field.name, field.kind, field.bytes, field.bind_type])
}

fn same_rest_rows(expected: &Json, rows: &Rows) -> Step1 {
    let names = expected["column_meta"].as_array().into_iter().flatten();
    if rows.columns.is_empty() {
        return same(&expected["data"], &json!([[rows.affected_rows]]));
    }
    for (recorded, column) in names.zip(&rows.columns) {
        same(&recorded[0], &json!(column.name))?;
        let kind = column.data_type.map(|data_type| data_type.to_string()).unwrap_or_default().replace(", ", ",");
        let bare = kind.split_once('(').map_or(kind.as_str(), |(name, _)| name);
        if recorded[1] != json!(kind) {
            same(&recorded[1], &json!(bare))?;
        }
    }
    let got = serde_json::to_value(rows).map_err(|error| error.to_string())?;
    // JSON tags are text here.
    let json_text = |value: &Json| match value {
        Json::Object(_) | Json::Array(_) => json!(value.to_string()),
        other => other.clone(),
    };
    let data = expected["data"].as_array().into_iter().flatten();
    let data = data.map(|row| row.as_array().into_iter().flatten().map(json_text).collect::<Json>()).collect();
    same(&data, &got["rows"])
}

/// A value as the cases write it.
fn recorded_form(value: Value<'_>, column: &ColumnMeta, precision: Precision) -> Json {
    let hex = |bytes: &[u8]| json!({ "hex": to_hex(bytes) });
    match (value, column.data_type) {
        (Value::Null | Value::Unset, _) => Json::Null,
        (Value::Bool(truth), _) => json!(truth),
        (Value::Int(number), _) => json!(number),
        (Value::UInt(number), _) => json!(number),
        (Value::Float(number), _) if number.is_nan() => json!("NaN"),
        (Value::Float(number), _) if number.is_infinite() => json!(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        (Value::Float(number), _) => json!(number),
        (Value::Timestamp(moment), _) => json!(moment.in_units(precision)),
        (Value::Text(digits), Some(data_type @ DataType::Decimal { .. })) => {
            let unscaled: i128 = digits.replace('.', "").parse().unwrap_or_default();
            hex(&unscaled.to_le_bytes()[..if data_type.code() == 21 { 8 } else { 16 }])
        }
        (Value::Text(text), _) => json!(text),
        (Value::Bytes(bytes), Some(DataType::NChar(_))) => json!({ "ucs4hex": to_hex(&bytes) }),
        (Value::Bytes(bytes), Some(DataType::Varchar(_) | DataType::Json)) => hex(&bytes),
        (Value::Bytes(bytes), _) => hex(&Cow::Borrowed(&*bytes)),
    }
}

/// Compares with a record, in which `<any>` stands for anything and numbers are equal by value.
fn same(expected: &Json, got: &Json) -> Step1 {
    if alike(expected, got) { PLAYED } else { Err(format!("{got}, expected {expected}")) }
}

fn alike(expected: &Json, got: &Json) -> bool {
    match (expected, got) {
        (Json::String(any), _) if any == ANY => true,
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Json::Number(a), Json::Number(b)) => match (a.as_i128(), b.as_i128()) {
            (Some(a), Some(b)) => a == b,
            _ => a.as_f64() == b.as_f64(),
        },
        _ => expected == got,
    }
}
