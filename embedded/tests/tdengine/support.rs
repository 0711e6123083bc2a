//! A small client of the endpoint.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::frame;

/// 2025-12-01T00:00:00Z in milliseconds.
pub(crate) const BASE: i64 = 1_764_547_200_000;

pub(crate) async fn start() -> Endpoint {
    Endpoint::start(EndpointConfig::default()).await.unwrap()
}

/// Runs a statement over REST and returns the reply.
pub(crate) async fn rest(endpoint: SocketAddr, sql: &str) -> Value {
    let response = post(endpoint).body(sql.to_owned()).send().await.unwrap();
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// A request to `/rest/sql` of the default user.
pub(crate) fn post(endpoint: SocketAddr) -> reqwest::RequestBuilder {
    post_with(endpoint, "")
}

/// The same with parameters in its URL.
pub(crate) fn post_with(endpoint: SocketAddr, parameters: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.post(format!("http://{endpoint}/rest/sql?{parameters}")).basic_auth("root", Some("taosdata"))
}

/// Runs statements that must succeed.
pub(crate) async fn set_up(endpoint: SocketAddr, statements: &[&str]) {
    for sql in statements {
        let reply = rest(endpoint, sql).await;
        assert_eq!(reply["code"], 0, "{sql}: {reply}");
    }
}

/// Database `d` with a super table `st`.
pub(crate) async fn with_stable(endpoint: &Endpoint) {
    let stable = "create stable d.st (ts timestamp, i int, s varchar(8)) tags (g int)";
    set_up(endpoint.address(), &["create database d vgroups 1", stable]).await;
}

/// The only value of a query's result.
pub(crate) async fn value(endpoint: SocketAddr, sql: &str) -> Value {
    let reply = rest(endpoint, sql).await;
    assert_eq!(reply["code"], 0, "{sql}: {reply}");
    reply["data"][0][0].clone()
}

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// A WebSocket on which no one is logged in yet.
    pub(crate) async fn open(endpoint: SocketAddr) -> Self {
        Self(tokio_tungstenite::connect_async(format!("ws://{endpoint}/ws")).await.unwrap().0)
    }

    /// Logged in, with `d` as its database.
    pub(crate) async fn connect(endpoint: SocketAddr) -> Self {
        let mut client = Self::open(endpoint).await;
        let reply = client.log_in().await.unwrap();
        assert_eq!(reply["code"], 0, "{reply}");
        client
    }

    pub(crate) async fn log_in(&mut self) -> Option<Value> {
        self.ask("conn", json!({ "user": "root", "password": "taosdata", "db": "d" })).await
    }

    /// Sends a JSON request; `None` if the connection is lost in place of the answer.
    pub(crate) async fn ask(&mut self, action: &str, args: Value) -> Option<Value> {
        self.send(Message::text(json!({ "action": action, "args": args }).to_string())).await
    }

    /// Sends a message and returns the JSON reply.
    pub(crate) async fn send(&mut self, message: Message) -> Option<Value> {
        self.0.send(message).await.ok()?;
        match self.0.next().await?.ok()? {
            Message::Text(text) => serde_json::from_str(&text).ok(),
            _ => None,
        }
    }

    /// A prepared insert into children of `d.st`; `once` binds each table once.
    pub(crate) async fn prepare(&mut self, once: bool) -> u64 {
        let init = json!({ "single_stb_insert": true, "single_table_bind_once": once });
        let id = self.ask("stmt2_init", init).await.unwrap()["stmt_id"].as_u64().unwrap();
        self.prepare_again(id).await;
        id
    }

    pub(crate) async fn prepare_again(&mut self, id: u64) {
        let sql = "insert into ? using st tags(?) values(?,?,?)";
        let reply = self.ask("stmt2_prepare", json!({ "stmt_id": id, "sql": sql, "get_fields": true })).await.unwrap();
        assert_eq!(reply["code"], 0, "{reply}");
    }

    /// Binds one row of table `a`; returns the code.
    pub(crate) async fn bind(&mut self, id: u64, ts: i64) -> Option<Value> {
        self.send(Message::binary(one_row(id, ts))).await.map(|reply| reply["code"].clone())
    }

    /// Returns the code.
    pub(crate) async fn exec(&mut self, id: u64) -> Option<Value> {
        self.ask("stmt2_exec", json!({ "stmt_id": id })).await.map(|reply| reply["code"].clone())
    }
}

/// A bind frame with one row of table `a`.
pub(crate) fn one_row(id: u64, ts: i64) -> Vec<u8> {
    let table = json!({
        "name": "a",
        "tags": [{ "type": 4, "vals": [1] }],
        "cols": [{ "type": 9, "vals": [ts] }, { "type": 4, "vals": [5] }, { "type": 8, "vals": ["x"] }],
    });
    frame::encode_bind(&json!({ "req_id": 1, "stmt_id": id, "tables": [table] })).unwrap()
}
