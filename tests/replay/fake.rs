//! A server that answers well, unless a test says otherwise, and keeps what it was asked.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

/// What a test has the server do with a request.
pub(crate) enum Answer {
    /// What it would do by itself.
    Usual,
    /// Nothing.
    Silence,
    /// Fields in place of those of the usual reply.
    With(Json),
    /// These replies, as they stand; `$REQ` stands for the request's number.
    Texts(Vec<String>),
    /// End the connection without a word.
    Abort,
    /// Read nothing any more, and answer nothing: not even pings.
    Freeze,
}

/// A request as it came: its action (`bind`, `sql`, `fetch` for binary ones), its arguments, its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) action: String,
    pub(crate) args: Json,
    pub(crate) bytes: Vec<u8>,
}

type Rule = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Fake {
    pub(crate) async fn start(rule: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, rule): (_, Rule) = (asked.clone(), Arc::new(rule));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, log.clone(), rule.clone()));
            }
        });
        Self { address, asked, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://root:taosdata@{}/", self.address)
    }

    /// What was asked, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.action).collect()
    }

    /// Waits until `action` was asked `times`.
    pub(crate) async fn until(&self, action: &str, times: usize) {
        while self.actions().iter().filter(|asked| *asked == action).count() < times {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, rule: Rule) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let asked = match message {
            Message::Text(text) => {
                let request: Json = serde_json::from_str(&text).unwrap();
                let action = request["action"].as_str().unwrap().to_owned();
                Asked { action, args: request["args"].clone(), bytes: text.as_bytes().to_vec() }
            }
            Message::Binary(bytes) => {
                let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
                let action = match number(16) {
                    6 => "sql",
                    7 => "fetch",
                    _ => "bind",
                };
                let args = json!({ "req_id": number(0), "stmt_id": number(8) });
                Asked { action: action.to_owned(), args, bytes: bytes.to_vec() }
            }
            _ => continue,
        };
        log.lock().unwrap().push(asked.clone());
        let changed = match rule(&asked) {
            Answer::Usual => json!({}),
            Answer::With(fields) => fields,
            Answer::Silence => continue,
            Answer::Texts(texts) => {
                for text in texts {
                    let text = text.replace("$REQ", &asked.args["req_id"].to_string());
                    socket.send(Message::text(text)).await.unwrap();
                }
                continue;
            }
            Answer::Abort => return,
            Answer::Freeze => std::future::pending().await,
        };
        if asked.action == "free_result" {
            continue;
        }
        let mut reply = usual(&asked);
        reply.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let _ = socket.send(Message::text(reply.to_string())).await;
    }
}

fn usual(asked: &Asked) -> Json {
    let mut reply = json!({
        "code": 0, "message": "", "action": asked.action, "req_id": asked.args["req_id"], "timing": 1,
        "stmt_id": asked.args["stmt_id"],
    });
    let field = |name: &str, kind: u8, bytes: u16, bind_type: u8| json!({ "name": name, "field_type": kind, "precision": 0, "scale": 0, "bytes": bytes, "bind_type": bind_type });
    let more = match asked.action.as_str() {
        "version" => json!({ "version": "3.3.7.5" }),
        "stmt2_init" => json!({ "stmt_id": asked.args["req_id"] }),
        "stmt2_prepare" => json!({
            "is_insert": true,
            "fields": [field("tbname", 8, 271, 4), field("ts", 9, 8, 1), field("note", 8, 10, 1), field("site", 4, 4, 2)],
        }),
        "stmt2_exec" => json!({ "affected": 1 }),
        "sql" => json!({ "id": 9, "is_update": true, "affected_rows": 3, "precision": 0, "fields_names": null }),
        _ => json!({}),
    };
    reply.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    reply
}
