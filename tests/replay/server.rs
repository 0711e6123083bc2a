//! Plays the server's side of a recorded case: whatever the client asks that was recorded is answered as recorded.
//!
//! The client chooses its own request numbers and leaves out what it would never do (use a failed statement, say), so a
//! request is looked for among all steps that were not played yet, by its content. What a client may do at any time
//! is answered without a record: its version, closing a statement, preparing again what was prepared before. Anything
//! else is a surprise, and fails the test.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::case::frame::{from_hex, to_hex};
use crate::case::{ANY, Case, Request as Recorded, Step, Transport, Variables};

type Shared = Arc<Mutex<Script>>;

/// A server that knows one case. It ends when it is dropped.
pub(crate) struct Replay {
    pub(crate) address: SocketAddr,
    script: Shared,
    task: JoinHandle<()>,
}

impl Replay {
    pub(crate) async fn start(case: &Case) -> Self {
        let script = Arc::new(Mutex::new(Script::new(case)));
        let router = Router::new().route("/ws", any(websocket)).fallback(rest).with_state(script.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { address, script, task }
    }

    /// Takes a step that the client leaves out from those that may be asked for.
    pub(crate) fn leave_out(&self, step: usize) {
        self.script.lock().unwrap().played[step] = true;
    }

    /// What was asked and never recorded.
    pub(crate) fn surprises(&self) -> Vec<String> {
        self.script.lock().unwrap().surprises.clone()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Script {
    steps: Vec<Step>,
    played: Vec<bool>,
    variables: Variables,
    next_id: u64,
    /// The recorded reply to the preparation of a text.
    prepared: HashMap<String, Json>,
    surprises: Vec<String>,
}

async fn websocket(State(script): State<Shared>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.max_message_size(64 << 20).on_upgrade(|socket| converse(socket, script))
}

async fn converse(mut socket: WebSocket, script: Shared) {
    // A recorded connection has a name, which its login tells.
    let mut name = None;
    while let Some(Ok(message)) = socket.recv().await {
        let reply = match message {
            Message::Text(text) => script.lock().unwrap().text(&mut name, &text),
            Message::Binary(bytes) => Some(script.lock().unwrap().binary(name.as_deref(), &bytes)),
            _ => None,
        };
        if let Some(reply) = reply
            && socket.send(reply).await.is_err()
        {
            return;
        }
    }
}

async fn rest(State(script): State<Shared>, uri: Uri, headers: HeaderMap, request: Request) -> Response {
    let method = request.method().to_string();
    let body = axum::body::to_bytes(request.into_body(), 16 << 20).await.unwrap();
    script.lock().unwrap().rest(&method, &uri, &headers, &body)
}

impl Script {
    fn new(case: &Case) -> Self {
        Self {
            steps: case.steps.clone(),
            played: vec![false; case.steps.len()],
            variables: Variables::default(),
            next_id: 1000,
            prepared: HashMap::new(),
            surprises: Vec::new(),
        }
    }

    /// Takes the first step that was not played and that `matches`.
    fn play(&mut self, matches: impl Fn(&Step, &Variables) -> bool) -> Option<Step> {
        let at = (0..self.steps.len()).find(|&at| !self.played[at] && matches(&self.steps[at], &self.variables))?;
        self.played[at] = true;
        Some(self.steps[at].clone())
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn text(&mut self, name: &mut Option<String>, text: &str) -> Option<Message> {
        let request: Json = serde_json::from_str(text).unwrap();
        let action = request["action"].as_str().unwrap_or_default();
        let (req_id, stmt_id) = (request["args"]["req_id"].clone(), request["args"]["stmt_id"].clone());
        let step = self.play(|step, variables| {
            let Some(recorded) = step.send.get("json") else { return false };
            (action == "conn" || step.conn == *name) && same_request(&variables.substitute(recorded), &request)
        });
        if action == "conn" {
            *name = step.as_ref().and_then(|step| step.conn.clone());
        }
        let good =
            json!({ "code": 0, "message": "", "action": action, "req_id": req_id, "timing": 1, "stmt_id": stmt_id });
        let reply = match (step, action) {
            (_, "free_result") => return None,
            (Some(step), _) => self.reply(&step, &req_id),
            (None, "version") => {
                json!({ "code": 0, "message": "", "action": action, "req_id": req_id, "timing": 1, "version": "3.3.7.5" })
            }
            (None, "stmt2_close") => good,
            (None, "stmt2_init") => {
                let mut reply = good;
                reply["stmt_id"] = json!(self.id());
                reply
            }
            (None, "stmt2_prepare")
                if let Some(known) = request["args"]["sql"].as_str().and_then(|sql| self.prepared.get(sql)) =>
            {
                let mut reply = known.clone();
                (reply["req_id"], reply["stmt_id"]) = (req_id, stmt_id);
                reply
            }
            (None, _) => self.surprise(text.to_owned(), action, &req_id),
        };
        if action == "stmt2_prepare"
            && reply["code"] == json!(0)
            && let Some(sql) = request["args"]["sql"].as_str()
        {
            self.prepared.insert(sql.to_owned(), reply.clone());
        }
        Some(Message::text(reply.to_string()))
    }

    fn binary(&mut self, name: Option<&str>, bytes: &[u8]) -> Message {
        let action = bytes.get(16).copied().unwrap_or_default();
        let req_id = json!(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
        let sql = bytes.get(30..).filter(|_| action == 6).map(String::from_utf8_lossy);
        let step = self.play(|step, variables| {
            let binary = ["hex", "bind_rule", "sql_frame_rule"].iter().any(|key| step.send.contains_key(*key));
            let same = match binary.then(|| step.request(variables)) {
                Some(Ok(Recorded::Binary(recorded))) => recorded.get(8..) == bytes.get(8..),
                _ => {
                    let query = step.send.get("json").filter(|json| json["action"] == json!("query"));
                    query.is_some_and(|json| json["args"]["sql"].as_str() == sql.as_deref())
                }
            };
            step.conn.as_deref() == name && same
        });
        match step {
            Some(step) if step.expect.contains_key("fetch") => self.block(&step, bytes),
            Some(step) => Message::text(self.reply(&step, &req_id).to_string()),
            None => {
                let shown = to_hex(&bytes[..bytes.len().min(400)]);
                Message::text(self.surprise(format!("{shown} {sql:?}"), "unknown", &req_id).to_string())
            }
        }
    }

    fn surprise(&mut self, request: String, action: &str, req_id: &Json) -> Json {
        self.surprises.push(request);
        json!({ "code": 0xFFFF, "message": "never recorded", "action": action, "req_id": req_id, "timing": 1 })
    }

    /// A step's reply, under the number of the client's request, with numbers for what was volatile.
    fn reply(&mut self, step: &Step, req_id: &Json) -> Json {
        let mut reply = self.variables.substitute(&step.expect["json"]);
        let id = self.id();
        for (key, value) in reply.as_object_mut().unwrap() {
            match key.as_str() {
                "req_id" => *value = req_id.clone(),
                "id" | "stmt_id" if value == ANY => *value = json!(id),
                "version" => *value = json!("3.3.7.5"),
                "message" if value == ANY => *value = json!("success"),
                _ if value == ANY => *value = json!(1),
                _ => {}
            }
        }
        self.variables.capture(step, &json!({ "json": reply })).unwrap();
        reply
    }

    fn block(&mut self, step: &Step, request: &[u8]) -> Message {
        let fetch = &step.expect["fetch"];
        let message = fetch["message"].as_str().unwrap_or_default();
        let finished = fetch["finished"] == json!(true);
        let mut frame = [u64::MAX, 7].iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
        frame.extend(1u16.to_le_bytes());
        frame.extend(77u64.to_le_bytes());
        frame.extend(&request[..8]);
        frame.extend((fetch["code"].as_u64().unwrap() as u32).to_le_bytes());
        frame.extend((message.len() as u32).to_le_bytes());
        frame.extend(message.as_bytes());
        frame.extend(&request[8..16]);
        frame.push(finished.into());
        if let Some(block) = fetch["block"].as_str().map(|hex| from_hex(hex).unwrap()) {
            frame.extend((block.len() as u32).to_le_bytes());
            frame.extend(block);
        }
        Message::binary(frame)
    }

    fn rest(&mut self, method: &str, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
        let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
        let asked = uri.path_and_query().map_or("", |path| path.as_str());
        let step = self.play(|step, variables| {
            if step.transport != Transport::Rest {
                return false;
            }
            let Ok(Recorded::Rest(recorded)) = step.request(variables) else { return false };
            let expected =
                recorded.headers.iter().find(|(name, _)| name == "Authorization").map(|(_, value)| value.as_str());
            recorded.method == method
                && recorded.path == asked
                && recorded.body.as_deref().unwrap_or_default() == body
                && expected == authorization
        });
        let Some(step) = step else {
            self.surprises.push(format!("{method} {asked} {}", String::from_utf8_lossy(body)));
            return StatusCode::NOT_IMPLEMENTED.into_response();
        };
        let status = StatusCode::from_u16(step.expect["http_status"].as_u64().unwrap() as u16).unwrap();
        let text = match (step.expect.get("body"), step.expect.get("json")) {
            (Some(Json::String(body)), _) if !body.contains(ANY) => body.clone(),
            (_, Some(json)) => without_any(json).to_string(),
            _ => String::new(),
        };
        (status, text).into_response()
    }
}

/// Whether two requests ask the same; an empty database is none.
fn same_request(recorded: &Json, request: &Json) -> bool {
    let plain = |json: &Json| {
        let mut json = json.clone();
        if let Some(args) = json["args"].as_object_mut() {
            args.remove("req_id");
            args.retain(|key, value| key != "db" || *value != json!(""));
        }
        json
    };
    plain(recorded) == plain(request)
}

/// With 1 in place of what was volatile.
fn without_any(json: &Json) -> Json {
    match json {
        Json::String(any) if any == ANY => json!(1),
        Json::Array(items) => items.iter().map(without_any).collect(),
        Json::Object(fields) => {
            let lists = |key: &str, value: &Json| matches!(key, "data" | "column_meta") && value == ANY;
            let plain = |(key, value): (&String, &Json)| {
                (key.clone(), if lists(key, value) { json!([]) } else { without_any(value) })
            };
            fields.iter().map(plain).collect()
        }
        other => other.clone(),
    }
}
