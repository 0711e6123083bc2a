//! Clients that lie, stammer and vanish. Whatever they send costs them their connection, and nobody else anything.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use kafka_taos_embedded::kafka::BrokerConfig;

use crate::support::{PATIENCE, Server, wait_until};

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), body].concat()
}

/// A request with a header of version 1 and no client id.
fn request(api: i16, version: i16, body: &[u8]) -> Vec<u8> {
    frame(&[&api.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7], &(-1_i16).to_be_bytes(), body].concat())
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    body
}

/// Sends `bytes` and expects the connection to be closed without an answer.
fn is_cut_off(server: &Server, bytes: &[u8]) {
    let mut stream = connect(server);
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => assert_eq!(answer, [0; 0]),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

/// The broker still serves others.
fn is_well(server: &Server, topic: &str) {
    server.create_topic(topic, 1);
    server.write(topic, 0, ["still here"]);
    assert_eq!(server.read(topic, 0, 0), ["still here"]);
}

#[test]
fn nonsense_costs_its_connection_only() {
    let server = Server::start();
    is_cut_off(&server, &u32::MAX.to_be_bytes());
    is_cut_off(&server, &i32::MAX.to_be_bytes());
    is_cut_off(&server, &(100_u32 << 20 | 1).to_be_bytes());
    is_cut_off(&server, b"GET / HTTP/1.1\r\n\r\n");
    is_cut_off(&server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello");
    is_cut_off(&server, &frame(&[]));
    is_cut_off(&server, &frame(&[0; 3]));
    is_cut_off(&server, &frame(&[0xff; 64]));
    is_cut_off(&server, &request(999, 0, &[]));
    is_cut_off(&server, &request(0, 99, &[]));
    is_cut_off(&server, &request(4, 0, &[]));
    is_well(&server, "t");
}

#[test]
fn lengths_that_lie_reserve_nothing() {
    let server = Server::start();
    let billions = i32::MAX.to_be_bytes();
    is_cut_off(&server, &request(0, 3, &[&[0xff, 0xff, 0, 1, 0, 0, 0, 0][..], &billions].concat()));
    is_cut_off(&server, &request(1, 4, &[&[0; 17][..], &billions].concat()));
    is_cut_off(&server, &request(3, 1, &billions));
    is_cut_off(&server, &request(19, 2, &billions));
    is_cut_off(&server, &request(10, 0, &[0x7f, 0xff, b'x']));
    is_cut_off(&server, &request(11, 0, &[&[0, 1, b'g', 0, 0, 0x27, 0x10, 0, 0, 0, 0][..], &billions].concat()));
    is_well(&server, "t");
}

#[test]
fn half_a_request_and_silence_are_closed_in_time() {
    let server = Server::with(BrokerConfig { max_idle: Duration::from_millis(300), ..BrokerConfig::default() });
    let whole = request(18, 0, &[]);
    is_cut_off(&server, &whole[..whole.len() - 1]);
    is_cut_off(&server, &whole[..2]);
    is_cut_off(&server, &[]);
    let mut stream = connect(&server);
    stream.write_all(&whole).unwrap();
    assert_eq!(answer(&mut stream)[..6], [0, 0, 0, 7, 0, 0], "a whole one in time is answered");
}

#[test]
fn requests_may_come_in_crumbs_and_in_heaps() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.set_nodelay(true).unwrap();
    for byte in request(18, 0, &[]) {
        stream.write_all(&[byte]).unwrap();
    }
    let first = answer(&mut stream);
    stream.write_all(&request(18, 0, &[]).repeat(50)).unwrap();
    (0..50).for_each(|_| assert_eq!(answer(&mut stream), first));
}

#[test]
fn a_newer_client_is_told_the_versions() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.write_all(&request(18, 99, &[0xff; 20])).unwrap();
    let told = answer(&mut stream);
    assert_eq!(told[..6], [0, 0, 0, 7, 0, 35], "UNSUPPORTED_VERSION");
    assert!(told.len() > 100);
}

#[test]
fn what_is_not_offered_is_refused_with_the_protocols_error() {
    let server = Server::start();
    let mut stream = connect(&server);
    stream.write_all(&request(26, 0, &[0; 20])).unwrap();
    assert_eq!(answer(&mut stream), [0, 0, 0, 7, 0, 0, 0, 0, 0, 35], "EndTxn: UNSUPPORTED_VERSION");
    stream.write_all(&request(17, 1, &[0, 5, b'P', b'L', b'A', b'I', b'N'])).unwrap();
    assert_eq!(answer(&mut stream), [0, 0, 0, 7, 0, 34, 0, 0, 0, 0], "SaslHandshake: ILLEGAL_SASL_STATE");
}

#[test]
fn a_client_that_hangs_up_frees_its_place_at_once() {
    let server = Server::with(BrokerConfig { max_connections: 1, ..BrokerConfig::default() });
    let mut poller = connect(&server);
    // A fetch of nothing, for at least one byte, that would wait for days.
    let days =
        [&(-1_i32).to_be_bytes()[..], &i32::MAX.to_be_bytes(), &1_i32.to_be_bytes(), &i32::MAX.to_be_bytes(), &[0; 5]];
    poller.write_all(&request(1, 4, &days.concat())).unwrap();
    is_cut_off(&server, &request(18, 0, &[]));
    drop(poller);
    wait_until(|| {
        let mut stream = connect(&server);
        stream.write_all(&request(18, 0, &[])).is_ok() && stream.read(&mut [0; 4]).is_ok_and(|read| read > 0)
    });
}

#[test]
fn idle_connections_are_bounded_and_cost_little() {
    let server = Server::with(BrokerConfig { max_connections: 200, ..BrokerConfig::default() });
    let idle: Vec<_> = (0..200).map(|_| connect(&server)).collect();
    let mut last = idle.last().unwrap();
    last.write_all(&request(18, 0, &[])).unwrap();
    answer(&mut last.try_clone().unwrap());
    is_cut_off(&server, &request(18, 0, &[]));
    drop(idle);
    wait_until(|| {
        let mut stream = connect(&server);
        stream.write_all(&request(18, 0, &[])).is_ok() && stream.read(&mut [0; 4]).is_ok_and(|read| read > 0)
    });
    is_well(&server, "t");
}

/// A produce request of version 3 for partition 0 of "t".
fn produce(records: &[u8]) -> Vec<u8> {
    let size = i32::try_from(records.len()).unwrap().to_be_bytes();
    let head: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];
    request(0, 3, &[head, &size, records].concat())
}

/// The error code of the only partition in an answer to [`produce`].
fn produced(stream: &mut TcpStream, records: &[u8]) -> i16 {
    stream.write_all(&produce(records)).unwrap();
    let answer = answer(stream);
    i16::from_be_bytes([answer[4 + 4 + 3 + 4 + 4], answer[4 + 4 + 3 + 4 + 5]])
}

#[test]
fn unsound_batches_are_refused_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(BrokerConfig { data_dir: Some(folder.path().to_owned()), ..BrokerConfig::default() });
    server.create_topic("t", 1);
    server.write("t", 0, ["sound"]);
    let batch = std::fs::read(folder.path().join("topics/0/0.log")).unwrap();
    let changed = |at: usize, byte: u8| {
        let mut batch = batch.clone();
        batch[at] = byte;
        batch
    };
    let sealed = |at: usize, byte: u8| {
        let mut batch = changed(at, byte);
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
        batch
    };
    let stream = &mut connect(&server);
    assert_eq!(produced(stream, &batch), 0);
    for (what, records, code) in [
        ("nothing", vec![], 2),
        ("half a header", batch[..30].to_vec(), 2),
        ("cut short", batch[..batch.len() - 1].to_vec(), 2),
        ("something behind it", [&batch[..], &[0]].concat(), 87),
        ("two batches", batch.repeat(2), 87),
        ("a length beyond all", changed(8, 0x7f), 2),
        ("a negative length", changed(8, 0xff), 2),
        ("an old format", changed(16, 1), 43),
        ("a flipped bit", changed(batch.len() - 1, 0x55), 2),
        ("a count that is not the delta", sealed(60, 9), 87),
        ("a negative count", sealed(57, 0xff), 87),
        ("a control batch", sealed(22, 1 << 5), 87),
        ("a transaction", sealed(22, 1 << 4), 48),
        ("an unknown codec", sealed(22, 7), 76),
        ("zstd before its time", sealed(22, 4), 76),
    ] {
        assert_eq!(produced(stream, &records), code, "{what}");
    }
    assert_eq!(server.read("t", 0, 0), ["sound", "sound"]);
}
