//! How fast librdkafka writes to the broker and reads from it: `cargo test --release --test kafka speed -- --ignored --nocapture`.

use std::time::Instant;

use kafka_taos_embedded::kafka::BrokerConfig;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer};

use crate::support::{PATIENCE, Server};

const MESSAGES: usize = 3_000_000;
const VALUE: [u8; 100] = *b"{\"device_id\":\"tb000042\",\"timestamp\":1700000000000,\"cols\":[\"0123456789\",\"0123456789\",\"0123456789\"]}  ";

#[test]
#[ignore = "a measurement"]
fn speed_in_memory() {
    measure("memory", BrokerConfig::default());
}

#[test]
#[ignore = "a measurement"]
fn speed_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    measure("folder", BrokerConfig { data_dir: Some(folder.path().to_owned()), ..BrokerConfig::default() });
}

fn measure(what: &str, config: BrokerConfig) {
    let server = Server::with(config);
    for partitions in [1, 10] {
        let topic = format!("t{partitions}");
        server.create_topic(&topic, partitions);
        let settings = [
            ("compression.type", "lz4"),
            ("enable.idempotence", "true"),
            ("linger.ms", "5"),
            ("queue.buffering.max.messages", "500000"),
        ];
        let producer = server.producer(&settings);
        let begin = Instant::now();
        for n in 0..MESSAGES {
            let key = n.to_be_bytes();
            let mut record = BaseRecord::<[u8], [u8]>::to(&topic).key(&key).payload(&VALUE);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                std::thread::yield_now();
                record = back;
            }
        }
        producer.flush(PATIENCE).unwrap();
        report(what, partitions, "written", begin);

        let consumer = server.consumer(&topic, &[("fetch.queue.backoff.ms", "1"), ("queued.min.messages", "1000000")]);
        consumer.subscribe(&[&topic]).unwrap();
        let begin = Instant::now();
        let (mut count, mut bytes) = (0, 0);
        while count < MESSAGES {
            if let Some(message) = consumer.poll(PATIENCE) {
                bytes += message.unwrap().payload_len();
                count += 1;
            }
        }
        assert_eq!(bytes, MESSAGES * VALUE.len());
        report(what, partitions, "read", begin);
    }
}

fn report(what: &str, partitions: i32, done: &str, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{what}, {partitions} partitions: {MESSAGES} messages {done} in {seconds:.2} s, {:.0}/s",
        MESSAGES as f64 / seconds
    );
}
