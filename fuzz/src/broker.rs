//! The embedded Kafka broker: its connections, record batches, and the folder it starts from.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use kafka_taos_embedded::kafka::{Broker, BrokerConfig};

use crate::input::messages;
use crate::runtime::{exchange, run};

/// Little memory, so that what lies about its size is found out.
fn config(data_dir: Option<&Path>) -> BrokerConfig {
    BrokerConfig {
        data_dir: data_dir.map(Path::to_owned),
        max_memory_bytes: 64 << 20,
        max_request_bytes: 1 << 20,
        ..BrokerConfig::default()
    }
}

/// A request with a header of version 1.
fn request(api: i16, version: i16, body: &[&[u8]]) -> Vec<u8> {
    let head = [&api.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 7], &(-1_i16).to_be_bytes()].concat();
    frame(&[&head, &body.concat()[..]].concat())
}

fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

/// Topic "t" with one partition (CreateTopics, version 2).
fn create_topic() -> Vec<u8> {
    request(19, 2, &[&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x27, 0x10, 0]])
}

/// Partition 0 of "t", as the only item of a request.
const PARTITION: &[u8] = &[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0];

/// Produce, version 7: the first that takes every compression.
fn produce(records: &[u8]) -> Vec<u8> {
    request(
        0,
        7,
        &[&[0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0], PARTITION, &(records.len() as u32).to_be_bytes(), records],
    )
}

/// ListOffsets, version 1.
fn offset_at(time: i64) -> Vec<u8> {
    request(2, 1, &[&[0xff; 4], PARTITION, &time.to_be_bytes()])
}

/// Fetch from the beginning, version 4.
fn fetch() -> Vec<u8> {
    let limits = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0];
    request(1, 4, &[&limits, PARTITION, &0_i64.to_be_bytes(), &(1_u32 << 20).to_be_bytes()])
}

/// What a client sends on a connection. An odd first byte: requests without their frames, which are put around them.
pub fn broker_requests(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let stream = if choice % 2 == 1 { messages(rest).flat_map(frame).collect() } else { rest.to_vec() };
    run(async {
        let broker = Broker::start(config(None)).await.expect("a free port");
        exchange(broker.address(), &stream).await;
        broker.shutdown().await;
    });
}

/// A record batch: produced, looked up by time, fetched. An odd first byte: its length and checksum are made right.
pub fn broker_batch(input: &[u8]) {
    let Some((choice, batch)) = input.split_first() else { return };
    let mut batch = batch.to_vec();
    if choice % 2 == 1 && batch.len() >= 61 {
        let length = (batch.len() - 12) as u32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let time = |at: usize| batch.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |time| i64::from_be_bytes(*time));
    let times = [time(27).saturating_add(1), time(35), -3, i64::MAX];
    let mut stream = [create_topic(), produce(&batch), fetch()].concat();
    stream.extend(times.into_iter().flat_map(offset_at));
    run(async {
        let broker = Broker::start(config(None)).await.expect("a free port");
        exchange(broker.address(), &stream).await;
        broker.shutdown().await;
    });
}

/// A file in the folder of a broker that starts. The first byte: even for the log of a partition, odd for the journal.
pub fn broker_folder(input: &[u8]) {
    let Some((choice, file)) = input.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("journal.1"), if choice % 2 == 1 { file } else { journal() }).expect("a journal");
    if choice % 2 == 0 {
        fs::create_dir_all(folder.path().join("topics/0")).expect("a folder");
        fs::write(folder.path().join("topics/0/0.log"), file).expect("a log");
    }
    run(async {
        let Ok(broker) = Broker::start(config(Some(folder.path()))).await else { return };
        exchange(broker.address(), &[fetch(), offset_at(-1), offset_at(-3), create_topic()].concat()).await;
        broker.shutdown().await;
    });
}

/// The journal of a broker with topic "t".
fn journal() -> &'static [u8] {
    static JOURNAL: OnceLock<Vec<u8>> = OnceLock::new();
    JOURNAL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        run(async {
            let broker = Broker::start(config(Some(folder.path()))).await.expect("a free port");
            exchange(broker.address(), &create_topic()).await;
            broker.shutdown().await;
        });
        fs::read(folder.path().join("journal.1")).expect("the first journal")
    })
}
