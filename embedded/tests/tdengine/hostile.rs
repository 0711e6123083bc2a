//! Clients that misbehave: each costs its own connection at most.

use std::net::SocketAddr;
use std::time::Duration;

use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{BASE, Client, one_row, start, value, with_stable};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Long enough for anything but a hang.
const PATIENCE: Duration = Duration::from_secs(60);

async fn is_alive(endpoint: &Endpoint) {
    assert_eq!(value(endpoint.address(), "select 1").await, 1);
}

/// A TCP connection after the upgrade, for frames that no library would send.
async fn upgraded(endpoint: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(endpoint).await.unwrap();
    stream.write_all(HANDSHAKE.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

/// Waits until the endpoint closes the connection.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is as good as an end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection stays open");
}

#[tokio::test]
async fn a_message_over_the_limit_ends_its_connection_only() {
    let mut config = EndpointConfig::default();
    config.max_frame_bytes = 1 << 20;
    let endpoint = Endpoint::start(config).await.unwrap();
    with_stable(&endpoint).await;
    let mut good = Client::connect(endpoint.address()).await;
    let mut bad = Client::connect(endpoint.address()).await;
    assert_eq!(bad.send(Message::binary(vec![0; 2 << 20])).await, None);
    assert_eq!(good.ask("version", json!({})).await.unwrap()["code"], 0);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_frame_that_claims_more_than_it_brings_waits_for_nothing_but_itself() {
    let endpoint = start().await;
    let mut waiting = Vec::new();
    for claimed in [100u64 << 20, 1 << 62, u64::MAX] {
        let mut stream = upgraded(endpoint.address()).await;
        let mut head = vec![0x82, 0xff];
        head.extend(claimed.to_be_bytes());
        head.extend([1, 2, 3, 4]);
        head.extend([0; 1000]);
        stream.write_all(&head).await.unwrap();
        if claimed > 1 << 30 {
            closed(&mut stream).await;
        } else {
            waiting.push(stream);
        }
    }
    is_alive(&endpoint).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_connection() {
    let endpoint = start().await;
    for garbage in [
        &[0xff; 64][..],
        &[0x00, 0x80, 0x13],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x81, 0x85, 0, 0, 0, 0, 0xff, 0xfe, 0, 1, 2],
    ] {
        let mut stream = upgraded(endpoint.address()).await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(&mut stream).await;
    }
    is_alive(&endpoint).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn half_a_handshake_is_given_up() {
    let mut config = EndpointConfig::default();
    config.header_timeout = Duration::from_millis(50);
    let endpoint = Endpoint::start(config).await.unwrap();
    let mut stream = TcpStream::connect(endpoint.address()).await.unwrap();
    stream.write_all(&HANDSHAKE.as_bytes()[..40]).await.unwrap();
    closed(&mut stream).await;
    is_alive(&endpoint).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn many_idle_connections_hinder_no_one() {
    let endpoint = start().await;
    let mut idle = Vec::new();
    for i in 0..1000 {
        if i % 2 == 0 {
            idle.push(TcpStream::connect(endpoint.address()).await.unwrap());
        } else {
            idle.push(upgraded(endpoint.address()).await);
        }
    }
    is_alive(&endpoint).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn bind_frames_with_any_byte_changed_are_answered() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    let mut client = Client::connect(endpoint.address()).await;
    let good = one_row(1, BASE);
    for at in 24..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let id = client.prepare(at % 2 == 0).await;
            let mut frame = one_row(id, BASE);
            frame[at] ^= change;
            let reply = client.send(Message::binary(frame)).await.expect("the connection was lost");
            assert!(reply["code"].is_u64(), "{reply}");
            client.ask("stmt2_close", json!({ "stmt_id": id })).await.unwrap();
        }
    }
    is_alive(&endpoint).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn frames_cut_anywhere_are_answered() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(false).await;
    let good = one_row(id, BASE);
    for length in 0..good.len() {
        let reply = client.send(Message::binary(good[..length].to_vec())).await.expect("the connection was lost");
        assert_ne!(reply["code"], 0, "{length} bytes: {reply}");
    }
    assert_eq!(client.bind(id, BASE).await.unwrap(), 0);
    assert_eq!(client.exec(id).await.unwrap(), 0);
    endpoint.shutdown().await;
}
