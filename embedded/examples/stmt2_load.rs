//! Rows a second that the endpoint takes through stmt2, client included, in one process:
//! `cargo run --release -p kafka-taos-embedded --example stmt2_load -- [wide|narrow] [CONNECTIONS] [DATA_DIR]`.
//!
//! `wide` rows have a timestamp and 100 columns `binary(10)`, as the demo record; `narrow` rows a timestamp, an int and a
//! double. Each connection writes its own 100 tables, 100 rows a table and bind, and keeps two statements busy in turn.

use std::error::Error;
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const TABLES: usize = 100;
const ROWS_PER_TABLE: usize = 100;
const DURATION: Duration = Duration::from_secs(8);
const FIRST_TIMESTAMP: i64 = 1_764_547_200_000;

type Failure = Box<dyn Error + Send + Sync>;
type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let wide = arguments.next().is_none_or(|shape| shape == "wide");
    let connections: usize = arguments.next().map_or(Ok(2), |count| count.parse())?;
    let mut config = EndpointConfig::default();
    config.data_dir = arguments.next().map(Into::into);
    let endpoint = Endpoint::start(config).await?;
    let url = format!("ws://{}/ws", endpoint.address());
    let mut socket = open(&url).await?;
    for sql in ["drop database if exists load", "create database load vgroups 1", &stable(wide)] {
        ask(&mut socket, json!({ "action": "query", "args": { "req_id": 1, "sql": sql } })).await?;
    }
    let started = Instant::now();
    let writers = (0..connections).map(|writer| tokio::spawn(write(url.clone(), writer, wide, started)));
    let (mut rows, mut bytes) = (0, 0);
    for writer in writers.collect::<Vec<_>>() {
        let (r, b) = writer.await??;
        rows += r;
        bytes += b;
    }
    let seconds = started.elapsed().as_secs_f64();
    let shape = if wide { "wide" } else { "narrow" };
    println!(
        "{shape}: {rows} rows in {seconds:.2} s over {connections} connections: {:.0} rows/s, {:.1} MB/s",
        rows as f64 / seconds,
        bytes as f64 / seconds / 1e6,
    );
    endpoint.shutdown().await;
    Ok(())
}

fn stable(wide: bool) -> String {
    let columns = match wide {
        true => (0..100).map(|i| format!("col{i} binary(10)")).collect::<Vec<_>>().join(", "),
        false => "i int, d double".to_owned(),
    };
    format!("create stable load.stb (ts timestamp, {columns}) tags (device binary(10))")
}

/// Writes until the time is over; returns rows and bytes.
async fn write(url: String, writer: usize, wide: bool, started: Instant) -> Result<(usize, usize), Failure> {
    let mut socket = open(&url).await?;
    let marks = vec!["?"; if wide { 103 } else { 5 }].join(",");
    let columns =
        if wide { (0..100).map(|i| format!("col{i}")).collect::<Vec<_>>().join(",") } else { "i,d".to_owned() };
    let sql = format!("insert into load.stb (tbname,device,ts,{columns}) values({marks})");
    let mut statements = Vec::new();
    for _ in 0..2 {
        let init = json!({ "req_id": 2, "single_stb_insert": true, "single_table_bind_once": true });
        let reply = ask(&mut socket, json!({ "action": "stmt2_init", "args": init })).await?;
        let id = reply["stmt_id"].as_u64().ok_or("no stmt_id")?;
        let prepare = json!({ "req_id": 3, "stmt_id": id, "sql": sql, "get_fields": true });
        ask(&mut socket, json!({ "action": "stmt2_prepare", "args": prepare })).await?;
        statements.push(id);
    }
    let (mut rows, mut bytes, mut bind) = (0, 0, 0);
    while started.elapsed() < DURATION {
        let id = statements[bind % 2];
        let frame = frame(id, writer, wide, FIRST_TIMESTAMP + (bind * ROWS_PER_TABLE) as i64);
        bytes += frame.len();
        socket.send(Message::binary(frame)).await?;
        reply(&mut socket).await?;
        ask(&mut socket, json!({ "action": "stmt2_exec", "args": { "req_id": 4, "stmt_id": id } })).await?;
        rows += TABLES * ROWS_PER_TABLE;
        bind += 1;
    }
    Ok((rows, bytes))
}

async fn open(url: &str) -> Result<Socket, Failure> {
    let mut socket = tokio_tungstenite::connect_async(url).await?.0;
    let args = json!({ "req_id": 1, "user": "root", "password": "taosdata" });
    ask(&mut socket, json!({ "action": "conn", "args": args })).await?;
    Ok(socket)
}

async fn ask(socket: &mut Socket, request: Value) -> Result<Value, Failure> {
    socket.send(Message::text(request.to_string())).await?;
    reply(socket).await
}

async fn reply(socket: &mut Socket) -> Result<Value, Failure> {
    let message = socket.next().await.ok_or("the connection is gone")??;
    let reply: Value = serde_json::from_str(message.to_text()?)?;
    if reply["code"] == 0 { Ok(reply) } else { Err(reply.to_string().into()) }
}

/// A bind of all tables of a writer.
fn frame(id: u64, writer: usize, wide: bool, first: i64) -> Vec<u8> {
    let names: Vec<String> = (0..TABLES).map(|table| format!("tb{}\0", writer * TABLES + table)).collect();
    let mut body = Vec::new();
    body.extend(names.iter().flat_map(|name| (name.len() as u16).to_le_bytes()));
    body.extend(names.concat().bytes());
    let tags_at = 28 + body.len();
    let tag = texts(1, b"device0001");
    body.extend((0..TABLES).flat_map(|_| (tag.len() as u32).to_le_bytes()));
    (0..TABLES).for_each(|_| body.extend(&tag));
    let columns_at = 28 + body.len();
    let timestamps = (0..ROWS_PER_TABLE as i64).flat_map(|row| (first + row).to_le_bytes()).collect();
    let mut blocks = block(9, ROWS_PER_TABLE, None, timestamps);
    if wide {
        let column = texts(ROWS_PER_TABLE, b"0123456789");
        (0..100).for_each(|_| blocks.extend(&column));
    } else {
        blocks.extend(block(4, ROWS_PER_TABLE, None, vec![7; 4 * ROWS_PER_TABLE]));
        blocks.extend(block(7, ROWS_PER_TABLE, None, vec![0; 8 * ROWS_PER_TABLE]));
    }
    body.extend((0..TABLES).flat_map(|_| (blocks.len() as u32).to_le_bytes()));
    (0..TABLES).for_each(|_| body.extend(&blocks));
    let column_count = if wide { 101 } else { 3 };
    let header = [28 + body.len(), TABLES, 1, column_count, 28, tags_at, columns_at];
    let mut frame: Vec<u8> = [4, id, 9].iter().flat_map(|number: &u64| number.to_le_bytes()).collect();
    frame.extend(1u16.to_le_bytes());
    frame.extend((-1i32).to_le_bytes());
    frame.extend(header.iter().flat_map(|number| (*number as u32).to_le_bytes()));
    frame.extend(body);
    frame
}

fn texts(rows: usize, text: &[u8]) -> Vec<u8> {
    let lengths = (0..rows).flat_map(|_| (text.len() as i32).to_le_bytes()).collect();
    block(8, rows, Some(lengths), text.repeat(rows))
}

fn block(kind: i32, rows: usize, lengths: Option<Vec<u8>>, data: Vec<u8>) -> Vec<u8> {
    let have_length = u8::from(lengths.is_some());
    let lengths = lengths.unwrap_or_default();
    let total = 17 + rows + lengths.len() + data.len();
    let mut out: Vec<u8> = [total as i32, kind, rows as i32].iter().flat_map(|number| number.to_le_bytes()).collect();
    out.extend(vec![0; rows]);
    out.push(have_length);
    out.extend(lengths);
    out.extend((data.len() as i32).to_le_bytes());
    out.extend(data);
    out
}
