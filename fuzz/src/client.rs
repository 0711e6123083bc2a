//! What the library reads besides payloads: settings, files, and the answers of TDengine.

use std::sync::LazyLock;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use kafka_taos::config::file::FileConfig;
use kafka_taos::dead_letter::{self, Archive, DeadLetter, DeadLetterSetting, Filter};
use kafka_taos::message::{Header, Outgoing, TopicPartition};
use kafka_taos::row::Precision;
use kafka_taos::tdengine::raw_block::RawBlock;
use kafka_taos::tdengine::rows::{cell_json, cell_text};
use kafka_taos::tdengine::schema::SuperTable;
use kafka_taos::tdengine::{BindMode, ConnectOptions, Connection, Dsn, RestClient, Sql as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::input::messages;
use crate::runtime::{HERE, run};

/// A connection URL.
pub fn dsn(input: &[u8]) {
    let Ok(dsn) = String::from_utf8_lossy(input).parse::<Dsn>() else { return };
    assert!(!dsn.hosts.is_empty());
    assert_eq!(dsn.hosts_from(input.len()).count(), dsn.hosts.len());
    let shown: Dsn = format!("ws://{}", dsn.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
        .parse()
        .expect("hosts are read as they are shown");
    assert_eq!(shown.hosts, dsn.hosts);
}

/// The configuration file, and the other texts that a user sets.
pub fn settings(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = FileConfig::parse(&text);
    let _ = text.parse::<kafka_taos_embedded::tdengine::Fault>();
    let _ = text.parse::<kafka_taos_embedded::kafka::Fault>();
    if let Ok(to) = text.parse::<DeadLetterSetting>() {
        assert_eq!(to.to_string().parse(), Ok(to));
    }
}

/// Rows of a result.
pub fn raw_block(input: &[u8]) {
    let Ok(block) = RawBlock::parse(Bytes::copy_from_slice(input)) else { return };
    for row in 0..block.rows() {
        for column in 0..block.columns() {
            let value = block.value(row, column, Precision::Nano);
            cell_text(&value, None, Precision::Nano);
            cell_json(&value, None, Precision::Nano);
        }
    }
}

/// A file of dead letters, and a message in a topic of them: each line of the input is a header, the last the payload.
pub fn dead_letters(input: &[u8]) {
    let letters = dead_letter::read(&String::from_utf8_lossy(input));
    let lines: Vec<_> = letters.iter().map(|letter| serde_json::to_string(letter).expect("plain fields")).collect();
    assert_eq!(dead_letter::read(&lines.join("\n")), letters);

    // One for all inputs: files are slow to make.
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));
    let folder = &*FOLDER;
    std::fs::write(folder.path().join("1.jsonl"), input).expect("write a file");
    let mut archive = Archive::of_folder(folder.path(), &Filter::default()).expect("any file can be read");
    for index in 0..archive.entries().len() {
        let letter = archive.letter(index).expect("what was found can be read");
        assert!(archive.entries()[index].ids().any(|id| id == letter.id()));
        assert_eq!(DeadLetter::from_message(as_read(letter.to_message())), Some(letter));
    }

    let mut lines: Vec<_> = input.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    let payload = lines.pop();
    let header = |line: Bytes| {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).map(Bytes::copy_from_slice);
        Header { name: String::from_utf8_lossy(&line[..at]).into_owned(), value }
    };
    let headers = lines.into_iter().map(header).collect();
    DeadLetter::from_message(as_read(Outgoing { payload, headers, ..Outgoing::default() }));
}

fn as_read(Outgoing { key, payload, headers, .. }: Outgoing) -> kafka_taos::message::Message {
    let source = TopicPartition::new("dead", 0);
    kafka_taos::message::Message { source, offset: 0, timestamp_ms: None, key, payload, headers }
}

/// The messages of a server over WebSocket: the login is answered well, then each request with the next message. In a text `$R`
/// stands for the request's number; in a binary reply to a fetch the number is put in its place.
pub fn ws_replies(input: &[u8]) {
    run(async {
        let listener = TcpListener::bind(HERE).await.expect("a free port");
        let dsn: Dsn = format!("ws://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
        let server = async {
            let (stream, _) = listener.accept().await.expect("the client");
            answer_requests(stream, input).await
        };
        let client = async {
            let options = ConnectOptions::default();
            let connection = Connection::connect(&dsn, None, 0, &options).await.expect("a login that is answered well");
            let _ = connection.sql("select 1").await;
            if let Ok(mut statement) = connection.prepare("insert into t values(?)", BindMode::Many).await {
                let _ = statement.bind(Bytes::from_static(&[0; 60])).await;
                let _ = statement.exec().await;
            }
            let _ = SuperTable::read(&connection, "d", "st").await;
        };
        tokio::select! {
            () = client => {}
            () = async { server.await; std::future::pending().await } => {}
        }
    });
}

async fn answer_requests(stream: TcpStream, input: &[u8]) {
    let mut replies = messages(input);
    stream.set_nodelay(true).expect("a socket's option");
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        let (action, id) = match &message {
            Message::Text(text) => {
                let request: serde_json::Value = serde_json::from_str(text).expect("requests are JSON");
                let id = request["args"]["req_id"].as_u64().expect("a number");
                (request["action"].as_str().unwrap_or_default().to_owned(), id)
            }
            Message::Binary(bytes) => {
                (String::new(), u64::from_le_bytes(*bytes.first_chunk().expect("requests have a head")))
            }
            _ => continue,
        };
        let reply = match action.as_str() {
            "version" | "conn" => Some(&br#"{"code":0,"version":"3.3.7.5","req_id":$R}"#[..]),
            _ => replies.next(),
        };
        let Some(reply) = reply else { return };
        let message = match std::str::from_utf8(reply) {
            Ok(text) => Message::text(text.replace("$R", &id.to_string())),
            Err(_) => {
                let mut reply = reply.to_vec();
                if let Some(number) = reply.get_mut(26..34) {
                    number.copy_from_slice(&id.to_le_bytes());
                }
                Message::binary(reply)
            }
        };
        // What was no reply to the request is followed by one, so that the client need not wait for its time to run out.
        let refusal = Message::text(format!(r#"{{"code":1,"req_id":{id}}}"#));
        if socket.send(message).await.is_err() || socket.send(refusal).await.is_err() {
            return;
        }
    }
}

/// The body of an HTTP answer.
pub fn rest_replies(input: &[u8]) {
    run(async {
        let listener = TcpListener::bind(HERE).await.expect("a free port");
        let dsn: Dsn = format!("http://{}", listener.local_addr().expect("an address")).parse().expect("a URL");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("the client");
            let mut request = Vec::new();
            while !request.ends_with(b"select 1") && stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", input.len());
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.write_all(input).await;
        };
        let client = async {
            let client = RestClient::new(&dsn, None, &ConnectOptions::default()).expect("plain settings");
            let Ok(rows) = client.sql("select 1").await else { return };
            for row in 0..rows.rows.len() {
                for column in 0..rows.columns.len() {
                    rows.text(row, column);
                }
            }
        };
        tokio::join!(server, client);
    });
}
