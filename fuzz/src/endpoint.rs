//! The embedded TDengine endpoint: its parsers, its engine, its two ways in.

use std::sync::Arc;

use futures_util::{SinkExt as _, StreamExt as _};
use kafka_taos_embedded::tdengine::engine::{BindMode, Engine, Outcome, Prepared, Session, Storage};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig, bind_frame as frame};
use tokio_tungstenite::tungstenite::Message;

use crate::input::messages;
use crate::runtime::{exchange, run};

/// 2025-12-01T00:00:00Z, in nanoseconds.
const NOW: i64 = 1_764_547_200_000_000_000;

const SCHEMA: &[&str] = &[
    "create database d",
    "create stable d.st (ts timestamp, i int, v varchar(8), n nchar(8), d double, b bool, u bigint unsigned, x decimal(10,2)) \
     tags (g int, t varchar(8))",
    "insert into d.a using d.st tags(1,'x') values(1764547200000,1,'a','b',1.5,true,7,1.25)(1764547200001,null,null,null,null,null,null,null)",
    "create table d.n (ts timestamp, v int)",
    "insert into d.n values(1764547200000,1)(1764547200005,2)",
];

/// An engine in memory with a few tables, whose clock stands.
fn engine() -> (Engine, Session) {
    let engine = Engine::open_with_clock(Storage::Memory, Arc::new(|| NOW)).expect("memory");
    let mut session = Session::new("root");
    for sql in SCHEMA {
        engine.execute(&mut session, sql.as_bytes()).expect("a statement that is right");
    }
    engine.use_database(&mut session, "d").expect("it was made");
    (engine, session)
}

/// The payload of a bind.
pub fn bind_frame(input: &[u8]) {
    let Ok(tables) = frame::parse(input) else { return };
    let blocks: usize = tables.iter().map(|table| table.columns.len() + table.tags.as_ref().map_or(0, Vec::len)).sum();
    assert!(blocks <= input.len() / 17, "a block has 17 bytes at least");
}

/// A bind into a prepared statement, and its execution. The first byte chooses the statement.
pub fn bind(input: &[u8]) {
    const STATEMENTS: [&str; 4] = [
        "insert into ? using st tags(?,?) values(?,?,?,?,?,?,?,?)",
        "insert into st (tbname,g,t,ts,i,v) values(?,?,?,?,?,?)",
        "insert into st (tbname,ts,n,x) values(?,?,?,?)",
        "insert into n values(?,?)",
    ];
    let Some((choice, payload)) = input.split_first() else { return };
    let Ok(tables) = frame::parse(payload) else { return };
    let mode = if choice & 4 == 0 { BindMode::Many } else { BindMode::Once };
    let (engine, session) = engine();
    let sql = STATEMENTS[usize::from(choice & 3)];
    let Ok(Prepared::Insert(mut insert)) = engine.prepare(&session, sql.as_bytes(), mode) else {
        panic!("{sql} is an insert");
    };
    if engine.bind(&mut insert, &tables).is_ok() {
        let _ = engine.exec(&mut insert);
    }
}

/// Statements, one a line, in one session.
pub fn sql(input: &[u8]) {
    let (engine, mut session) = engine();
    for sql in input.split(|byte| *byte == b'\n').take(16) {
        let _ = engine.validate(&session, sql);
        let _ = engine.prepare(&session, sql, BindMode::Many);
        let Ok(Outcome::Rows(mut rows)) = engine.execute(&mut session, sql) else { continue };
        for _ in 0..8 {
            match rows.next_block(1000) {
                Ok(block) if !block.is_empty() => {}
                _ => break,
            }
        }
    }
}

/// Messages of a client over WebSocket, after its login: text where they are UTF-8.
pub fn endpoint_messages(input: &[u8]) {
    const LOGIN: &str = r#"{"action":"conn","args":{"req_id":1,"user":"root","password":"taosdata","db":""}}"#;
    run(async {
        let endpoint = Endpoint::start(EndpointConfig::default()).await.expect("a free port");
        let url = format!("ws://{}/ws", endpoint.address());
        let (socket, _) = tokio_tungstenite::connect_async(url).await.expect("a WebSocket");
        let (mut sink, stream) = socket.split();
        let _ = sink.send(Message::text(LOGIN)).await;
        for message in messages(input).take(32) {
            let message = match std::str::from_utf8(message) {
                Ok(text) => Message::text(text),
                Err(_) => Message::binary(message.to_vec()),
            };
            if sink.send(message).await.is_err() {
                break;
            }
        }
        let _ = sink.close().await;
        stream.for_each(|_| std::future::ready(())).await;
        endpoint.shutdown().await;
    });
}

/// Bytes to its port.
pub fn endpoint_http(input: &[u8]) {
    run(async {
        let endpoint = Endpoint::start(EndpointConfig::default()).await.expect("a free port");
        exchange(endpoint.address(), input).await;
        endpoint.shutdown().await;
    });
}
