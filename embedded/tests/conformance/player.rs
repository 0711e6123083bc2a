//! Plays a case against an endpoint and tells what was not as recorded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::case::{Case, Difference, Request, RestRequest, Step, Variables, compare, frame};

/// How long an answer may take, and how long to wait for one that must not come.
const ANSWER: Duration = Duration::from_secs(60);
const NO_ANSWER: Duration = Duration::from_millis(300);

/// What became of a case.
pub(crate) struct Outcome {
    /// Why it stopped; `None` if every step was answered as recorded.
    pub(crate) failure: Option<Failure>,
    /// Error texts and block bytes that are not as recorded, in steps whose values are.
    pub(crate) lesser: Vec<Difference>,
}

pub(crate) struct Failure {
    /// Index of the step; `None` for the setup.
    pub(crate) step: Option<usize>,
    pub(crate) sent: String,
    pub(crate) problem: String,
    /// Whether the endpoint said that it does not support what was asked.
    pub(crate) unsupported: bool,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct Player {
    endpoint: SocketAddr,
    http: reqwest::Client,
    sockets: HashMap<String, Socket>,
    variables: Variables,
}

impl Player {
    pub(crate) fn new(endpoint: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { endpoint, http, sockets: HashMap::new(), variables: Variables::default() }
    }

    /// Sets up, plays the steps until one is not answered as recorded, and tears down.
    pub(crate) async fn play(&mut self, case: &Case) -> Outcome {
        self.variables = Variables::default();
        let mut lesser = Vec::new();
        let failure = match self.set_up(case).await {
            Some(failure) => Some(failure),
            None => self.play_steps(case, &mut lesser).await,
        };
        self.sockets.clear();
        for sql in &case.teardown {
            // The databases may be gone, or never have been.
            let _ = self.statement(sql).await;
        }
        Outcome { failure, lesser }
    }

    async fn set_up(&mut self, case: &Case) -> Option<Failure> {
        for sql in &case.setup {
            let reply = self.statement(sql).await;
            if !matches!(&reply, Ok(reply) if reply["json"]["code"] == 0) {
                let problem = format!("setup failed: {}", reply.as_ref().map_or_else(Clone::clone, Value::to_string));
                let unsupported = says_unsupported(reply.as_ref().unwrap_or(&Value::Null));
                return Some(Failure { step: None, sent: sql.clone(), problem, unsupported });
            }
        }
        None
    }

    async fn play_steps(&mut self, case: &Case, lesser: &mut Vec<Difference>) -> Option<Failure> {
        for (index, step) in case.steps.iter().enumerate() {
            let answer = self.play_step(step).await;
            let mut unsupported = false;
            let problem = match answer {
                Ok(got) => {
                    unsupported = says_unsupported(&got);
                    let (failed, minor) = compare(step, &self.variables, &got)
                        .into_iter()
                        .partition::<Vec<_>, _>(|difference| difference.kind == crate::case::Kind::Value);
                    lesser.extend(minor);
                    let problems: Vec<String> = failed.iter().take(3).map(Difference::to_string).collect();
                    problems.join("; ")
                }
                Err(problem) => problem,
            };
            if !problem.is_empty() {
                let mut sent = Value::Object(step.send.clone()).to_string();
                if let Some((end, _)) = sent.char_indices().nth(300) {
                    sent.truncate(end);
                }
                return Some(Failure { step: Some(index), sent, problem, unsupported });
            }
        }
        None
    }

    /// Sends what the step says and returns the answer in the shape of `expect`.
    async fn play_step(&mut self, step: &Step) -> Result<Value, String> {
        let request = step.request(&self.variables)?;
        let connection = step.conn.clone().unwrap_or_default();
        let reply = match request {
            Request::Rest(request) => self.rest(request).await?,
            Request::Open(path) => self.open(connection, &path).await?,
            Request::Close => {
                if let Some(mut socket) = self.sockets.remove(&connection) {
                    socket.close(None).await.map_err(|error| error.to_string())?;
                }
                json!({})
            }
            Request::Abort => {
                self.sockets.remove(&connection);
                json!({})
            }
            Request::Sleep(time) => {
                tokio::time::sleep(time).await;
                json!({})
            }
            Request::Text(text) => {
                // Not a text message of the library, which would refuse what is not UTF-8.
                let message = Message::Frame(Frame::message(text, OpCode::Data(Data::Text), true));
                self.exchange(&connection, message, step.expect.contains_key("none")).await?
            }
            Request::Binary(bytes) => {
                self.exchange(&connection, Message::binary(bytes), step.expect.contains_key("none")).await?
            }
            Request::FetchAll { result_id, first_req_id, collect } => {
                self.fetch_all(&connection, result_id, first_req_id, collect).await?
            }
        };
        self.variables.capture(step, &reply)?;
        Ok(reply)
    }

    async fn statement(&self, sql: &str) -> Result<Value, String> {
        self.rest(RestRequest {
            method: "POST".to_owned(),
            path: "/rest/sql".to_owned(),
            headers: vec![("Authorization".to_owned(), "Basic cm9vdDp0YW9zZGF0YQ==".to_owned())],
            body: Some(sql.as_bytes().to_vec()),
        })
        .await
    }

    async fn rest(&self, request: RestRequest) -> Result<Value, String> {
        let method = request.method.parse().map_err(|_| format!("no method: {}", request.method))?;
        let mut builder = self.http.request(method, format!("http://{}{}", self.endpoint, request.path));
        for (name, value) in request.headers {
            builder = builder.header(name, value);
        }
        let response =
            builder.body(request.body.unwrap_or_default()).send().await.map_err(|error| error.to_string())?;
        let content_type = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        let mut reply = json!({ "http_status": response.status().as_u16(), "content_type": content_type });
        let body = response.bytes().await.map_err(|error| error.to_string())?;
        match std::str::from_utf8(&body) {
            Ok(text) => {
                reply["raw_body"] = json!(text);
                match serde_json::from_str::<Value>(text) {
                    Ok(json) => reply["json"] = json,
                    Err(_) => reply["body"] = json!(text),
                }
            }
            Err(_) => reply["body_hex"] = json!(frame::to_hex(&body)),
        }
        Ok(reply)
    }

    async fn open(&mut self, connection: String, path: &str) -> Result<Value, String> {
        match tokio_tungstenite::connect_async(format!("ws://{}{path}", self.endpoint)).await {
            Ok((socket, response)) => {
                self.sockets.insert(connection, socket);
                Ok(json!({ "http_status": response.status().as_u16() }))
            }
            Err(Error::Http(response)) => Ok(json!({ "http_status": response.status().as_u16() })),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn exchange(&mut self, connection: &str, message: Message, no_answer: bool) -> Result<Value, String> {
        let socket = self.sockets.get_mut(connection).ok_or_else(|| format!("{connection} is not open"))?;
        if let Err(error) = socket.send(message).await {
            return Ok(json!({ "closed": 1006, "error": error.to_string() }));
        }
        let Ok(answer) = timeout(if no_answer { NO_ANSWER } else { ANSWER }, socket.next()).await else {
            return Ok(json!({ "none": true }));
        };
        Ok(match answer {
            Some(Ok(Message::Text(text))) => match serde_json::from_str::<Value>(&text) {
                Ok(reply) => json!({ "json": reply }),
                Err(_) => json!({ "text": text.as_str() }),
            },
            Some(Ok(Message::Binary(bytes))) => match frame::decode_fetch(&bytes) {
                Some(reply) => json!({ "fetch": reply }),
                None => json!({ "hex": frame::to_hex(&bytes) }),
            },
            Some(Ok(Message::Close(close))) => json!({ "closed": close.map_or(1005, |close| u16::from(close.code)) }),
            _ => json!({ "closed": 1006 }),
        })
    }

    async fn fetch_all(
        &mut self,
        connection: &str,
        result_id: u64,
        first_req_id: u64,
        collect: bool,
    ) -> Result<Value, String> {
        let mut rows = Vec::new();
        for req_id in first_req_id.. {
            let message = Message::binary(frame::fetch(req_id, result_id));
            let reply = self.exchange(connection, message, false).await?;
            let fetch = reply.get("fetch").ok_or_else(|| format!("no fetch reply: {reply}"))?;
            if fetch["finished"] == true || fetch["code"] != 0 {
                let (code, message) = (fetch["code"].clone(), fetch["message"].clone());
                let all = if collect {
                    json!({ "code": code, "message": message, "rows": rows.len(), "data": rows })
                } else {
                    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
                    let digest = frame::to_hex(&Sha256::digest(lines.join("\n")));
                    let (first, last) = (rows.first().into_iter(), rows.last().into_iter());
                    json!({ "code": code, "rows": rows.len(), "first": first.collect::<Vec<_>>(),
                            "last": last.collect::<Vec<_>>(), "rows_sha256": digest })
                };
                return Ok(json!({ "fetch_all": all }));
            }
            rows.extend(fetch["data"].as_array().cloned().unwrap_or_default());
        }
        unreachable!("request ids do not end")
    }
}

fn says_unsupported(reply: &Value) -> bool {
    let text = |part: &Value, key: &str| part[key].as_str().unwrap_or_default().to_owned();
    let texts = text(&reply["json"], "desc") + &text(&reply["json"], "message") + &text(&reply["fetch"], "message");
    texts.contains("not supported by the embedded endpoint")
}
