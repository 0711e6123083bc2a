//! The recorded cases: their format, what a step sends, and how an answer is compared.
//!
//! Nothing here knows an endpoint or opens a socket, so that any test can include this file by `#[path]`: one that plays
//! the client's side against an endpoint, or one that plays the server's side against a client.
//! The format and the rules of comparison are described in `README.md` beside it.

#![allow(dead_code, unreachable_pub, reason = "included by several tests, none of which needs all of it")]

#[path = "frame.rs"]
pub mod frame;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

/// Stands in `expect` for any value; the key must still be there.
pub const ANY: &str = "<any>";

/// One conversation with the server, recorded step by step.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    pub name: String,
    pub area: String,
    /// 1: a loader's write path and its reads; 2: likely to be met; 3: exotic.
    pub tier: u8,
    pub about: String,
    /// Statements that must succeed over REST before the first step.
    pub setup: Vec<String>,
    pub steps: Vec<Step>,
    /// Statements to run over REST afterwards, whatever happened.
    #[serde(default)]
    pub teardown: Vec<String>,
    /// May crash a real taosAdapter.
    #[serde(default)]
    pub unsafe_on_real: bool,
}

/// One request and the answer that was recorded for it.
#[derive(Debug, Clone, Deserialize)]
pub struct Step {
    pub transport: Transport,
    /// The WebSocket connection's name.
    pub conn: Option<String>,
    pub send: Map<String, Value>,
    pub expect: Map<String, Value>,
    /// Field of a good JSON reply -> name of the variable that keeps it.
    #[serde(default)]
    pub capture: BTreeMap<String, String>,
    #[serde(default)]
    pub rows: RowOrder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Rest,
    Ws,
}

/// How the rows of a result are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOrder {
    #[default]
    Exact,
    /// The same rows in any order.
    Set,
    /// At least these rows, in any order.
    Contains,
}

/// Reads all cases of one `.jsonl` file.
pub fn load(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(i, line)| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}:{}: {e}", path.display(), i + 1)))
        .collect()
}

/// Reads all cases of all `.jsonl` files of a folder, files by name.
pub fn load_folder(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    files.iter().flat_map(|path| load(path)).collect()
}

/// Values captured from replies, by name.
#[derive(Debug, Default)]
pub struct Variables(HashMap<String, Value>);

impl Variables {
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    pub fn number(&self, name: &str) -> Result<u64, String> {
        self.0.get(name).and_then(Value::as_u64).ok_or_else(|| format!("variable {name} was not captured"))
    }

    /// Keeps what a step wants kept of a good reply.
    pub fn capture(&mut self, step: &Step, reply: &Value) -> Result<(), String> {
        let Some(reply) = reply.get("json") else { return Ok(()) };
        for (field, name) in &step.capture {
            match reply.get(field) {
                Some(value) => self.set(name, value.clone()),
                None if reply.get("code") == Some(&json!(0)) => {
                    return Err(format!("no {field} to capture in {reply}"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Puts values in place of `${name}`; a string that is wholly `${name}` becomes the value itself.
    pub fn substitute(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.substitute_text(text),
            Value::Array(items) => items.iter().map(|item| self.substitute(item)).collect(),
            Value::Object(fields) => {
                Value::Object(fields.iter().map(|(k, v)| (k.clone(), self.substitute(v))).collect())
            }
            other => other.clone(),
        }
    }

    fn substitute_text(&self, text: &str) -> Value {
        let whole = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        if let Some(value) = whole.and_then(|name| self.0.get(name)) {
            return value.clone();
        }
        let mut out = text.to_owned();
        for (name, value) in &self.0 {
            out = out.replace(&format!("${{{name}}}"), &value.to_string());
        }
        Value::String(out)
    }
}

/// What a step puts on the wire, variables filled in and generated texts written out.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    Rest(RestRequest),
    /// Open the step's WebSocket connection at this path.
    Open(String),
    /// A text frame; not always UTF-8.
    Text(Vec<u8>),
    Binary(Vec<u8>),
    /// Fetch blocks (action 7, request ids counting up) until one is the last.
    FetchAll {
        result_id: u64,
        first_req_id: u64,
        collect: bool,
    },
    /// Close with a close frame.
    Close,
    /// Drop the TCP connection.
    Abort,
    Sleep(Duration),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RestRequest {
    pub method: String,
    /// Path and query.
    pub path: String,
    /// With `Authorization`, unless the case sends none.
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

impl Step {
    /// What this step sends.
    pub fn request(&self, variables: &Variables) -> Result<Request, String> {
        match self.transport {
            Transport::Rest => self.rest_request(variables).map(Request::Rest),
            Transport::Ws => self.ws_request(variables),
        }
    }

    fn rest_request(&self, variables: &Variables) -> Result<RestRequest, String> {
        let Value::Object(send) = variables.substitute(&Value::Object(self.send.clone())) else { unreachable!() };
        let text = |key: &str| send.get(key).and_then(Value::as_str);
        let mut headers = Vec::new();
        for (name, value) in send.get("headers").and_then(Value::as_object).into_iter().flatten() {
            headers.push((name.clone(), value.as_str().unwrap_or_default().to_owned()));
        }
        let authorization = match send.get("auth") {
            None => Some(basic("root:taosdata")),
            Some(Value::String(auth)) if auth.is_empty() => None,
            Some(Value::String(auth)) => Some(match auth.strip_prefix("basic ") {
                Some(credentials) => basic(credentials),
                None => auth.clone(),
            }),
            Some(_) => None,
        };
        headers.extend(authorization.map(|value| ("Authorization".to_owned(), value)));
        let body = if let Some(sql) = text("sql") {
            Some(sql.as_bytes().to_vec())
        } else if let Some(rule) = send.get("sql_rule") {
            Some(sql_by_rule(rule)?.into_bytes())
        } else {
            text("body_hex").map(frame::from_hex).transpose()?
        };
        Ok(RestRequest {
            method: text("method").unwrap_or("POST").to_owned(),
            path: text("path").unwrap_or("/rest/sql").to_owned(),
            headers,
            body,
        })
    }

    fn ws_request(&self, variables: &Variables) -> Result<Request, String> {
        let text = |key: &str| self.send.get(key).and_then(Value::as_str);
        let number = |key: &str| self.send.get(key).and_then(Value::as_u64);
        if let Some(path) = text("open") {
            return Ok(Request::Open(path.to_owned()));
        }
        if let Some(how) = text("close") {
            return Ok(if how == "abort" { Request::Abort } else { Request::Close });
        }
        if let Some(milliseconds) = number("sleep_ms") {
            return Ok(Request::Sleep(Duration::from_millis(milliseconds)));
        }
        if let Some(result) = self.send.get("fetch_all") {
            let result_id = variables.substitute(result).as_u64().ok_or("fetch_all names no result")?;
            let collect = self.send.get("collect") == Some(&Value::Bool(true));
            return Ok(Request::FetchAll { result_id, first_req_id: number("req_id0").unwrap_or(1000), collect });
        }
        if let Some(json) = self.send.get("json") {
            return Ok(Request::Text(variables.substitute(json).to_string().into_bytes()));
        }
        if let Some(text) = text("text") {
            return Ok(Request::Text(match variables.substitute_text(text) {
                Value::String(text) => text.into_bytes(),
                other => other.to_string().into_bytes(),
            }));
        }
        if let Some(hex) = text("text_hex") {
            return frame::from_hex(hex).map(Request::Text);
        }
        if let Some(hex) = text("hex") {
            return self.fill_in(frame::from_hex(hex)?, variables).map(Request::Binary);
        }
        if let Some(rule) = self.send.get("bind_rule") {
            return frame::encode_bind(&variables.substitute(rule)).map(Request::Binary);
        }
        if let Some(rule) = self.send.get("sql_frame_rule") {
            let req_id = rule["req_id"].as_u64().ok_or("sql_frame_rule without req_id")?;
            let sql = sql_by_rule(&rule["sql_rule"])?;
            return Ok(Request::Binary(frame::sql(req_id, frame::ACTION_SQL, sql.as_bytes())));
        }
        Err(format!("a step of an unknown kind: {:?}", self.send.keys()))
    }

    /// Writes captured ids into a recorded frame.
    fn fill_in(&self, mut bytes: Vec<u8>, variables: &Variables) -> Result<Vec<u8>, String> {
        for place in self.send.get("subst").and_then(Value::as_array).into_iter().flatten() {
            let (at, len) = (place["at"].as_u64().unwrap_or(0) as usize, place["len"].as_u64().unwrap_or(8) as usize);
            let value = variables.number(place["var"].as_str().unwrap_or_default())?.to_le_bytes();
            let target = bytes.get_mut(at..at + len).ok_or("a substitution past the end of its frame")?;
            target.copy_from_slice(&value[..len]);
        }
        Ok(bytes)
    }
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64.encode(credentials))
}

/// prefix + items joined by `sep` + suffix; in an item `{i}` counts from 0 and `{ts}` is `ts0 + i * step`.
fn sql_by_rule(rule: &Value) -> Result<String, String> {
    let text = |key: &str| rule[key].as_str().unwrap_or_default();
    let count = rule["count"].as_i64().ok_or("sql_rule without count")?;
    let mut sql = text("prefix").to_owned();
    for i in 0..count {
        if i > 0 {
            sql.push_str(text("sep"));
        }
        let mut item = text("item").replace("{i}", &i.to_string());
        if let Some(start) = rule["ts0"].as_i64() {
            item = item.replace("{ts}", &(start + i * rule["step"].as_i64().unwrap_or(0)).to_string());
        }
        sql.push_str(&item);
    }
    sql.push_str(text("suffix"));
    Ok(sql)
}

/// One place where an answer is not as recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub kind: Kind,
    pub path: String,
    pub expected: String,
    pub got: String,
}

/// What differs. Only `Value` counts as failed; the others are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Value,
    /// The text of an error, its code being right.
    Text,
    /// The bytes of a raw block, its decoded rows being right.
    Block,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}, expected {}", self.path, self.got, self.expected)
    }
}

/// The differences between a recorded answer and `got`, which has the same shape:
/// `{"http_status", "content_type", "json" | "body" | "body_hex", "raw_body"}` over REST, and
/// `{"json"}`, `{"fetch"}`, `{"fetch_all"}`, `{"hex"}`, `{"none": true}`, `{"closed": code}` or `{}` over WebSocket.
pub fn compare(step: &Step, variables: &Variables, got: &Value) -> Vec<Difference> {
    let expected = variables.substitute(&Value::Object(step.expect.clone()));
    let mut differences = Differences(Vec::new());
    for key in ["http_status", "content_type", "body_hex", "hex", "none", "closed"] {
        if let Some(expected) = expected.get(key) {
            differences.values(expected, got.get(key).unwrap_or(&Value::Null), key, Kind::Value);
        }
    }
    if let Some(body) = expected.get("body") {
        differences.values(body, got.get("raw_body").unwrap_or(&Value::Null), "body", Kind::Value);
    }
    for key in ["json", "fetch", "fetch_all"] {
        if let Some(expected) = expected.get(key) {
            match got.get(key) {
                Some(got) => differences.reply(expected.clone(), got.clone(), key, step.rows),
                None => differences.push(Kind::Value, key, expected, got),
            }
        }
    }
    if step.transport == Transport::Ws && step.expect.is_empty() && got != &json!({}) {
        differences.push(Kind::Value, "$", &expected, got);
    }
    differences.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn push(&mut self, kind: Kind, path: &str, expected: &Value, got: &Value) {
        self.0.push(Difference { kind, path: path.to_owned(), expected: short(expected), got: short(got) });
    }

    fn reply(&mut self, mut expected: Value, mut got: Value, path: &str, rows: RowOrder) {
        let failed = expected.get("code").is_some_and(|code| code != &json!(0));
        if let (Some(expected), Some(got)) = (expected.as_object_mut(), got.as_object_mut()) {
            if let Some(block) = expected.remove("block") {
                let sent = got.remove("block").unwrap_or_default();
                if frame::mask_nulls(&block) != frame::mask_nulls(&sent) {
                    self.push(Kind::Block, "block", &block, &sent);
                }
            }
            for key in ["desc", "message"] {
                if failed && let (Some(expected), Some(got)) = (expected.remove(key), got.remove(key)) {
                    self.values(&expected, &got, &format!("{path}.{key}"), Kind::Text);
                }
            }
            if rows != RowOrder::Exact
                && let (Some(Value::Array(expected)), Some(Value::Array(got))) =
                    (expected.remove("data"), got.remove("data"))
            {
                self.rows(&expected, got, &format!("{path}.data"), rows);
            }
        }
        self.values(&expected, &got, path, Kind::Value);
    }

    fn rows(&mut self, expected: &[Value], mut left: Vec<Value>, path: &str, order: RowOrder) {
        if order == RowOrder::Set && expected.len() != left.len() {
            return self.push(Kind::Value, path, &expected.into(), &left.into());
        }
        for row in expected {
            match left.iter().position(|candidate| same(row, candidate)) {
                Some(i) => drop(left.swap_remove(i)),
                None => self.push(Kind::Value, path, row, &left.clone().into()),
            }
        }
    }

    fn values(&mut self, expected: &Value, got: &Value, path: &str, kind: Kind) {
        match (expected, got) {
            (Value::String(any), _) if any == ANY => {}
            (Value::Object(expected), Value::Object(got)) => {
                for (key, value) in expected {
                    let path = format!("{path}.{key}");
                    match got.get(key) {
                        Some(got) => self.values(value, got, &path, kind),
                        None => self.push(kind, &path, value, &json!("nothing")),
                    }
                }
                for (key, value) in got.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                    self.push(kind, &format!("{path}.{key}"), &json!("nothing"), value);
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
                for (i, (a, b)) in a.iter().zip(b).enumerate() {
                    self.values(a, b, &format!("{path}[{i}]"), kind);
                }
            }
            (Value::Number(a), Value::Number(b)) if same_number(a, b) => {}
            _ if expected == got => {}
            _ => self.push(kind, path, expected, got),
        }
    }
}

fn same(expected: &Value, got: &Value) -> bool {
    let mut differences = Differences(Vec::new());
    differences.values(expected, got, "", Kind::Value);
    differences.0.is_empty()
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
