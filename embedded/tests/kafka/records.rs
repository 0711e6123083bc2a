//! What is written is read: codecs, sizes, headers, offsets, positions.

use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{PATIENCE, Server, assign, numbers, payload, poll};

#[test]
fn every_codec_comes_back_as_it_was_written() {
    let server = Server::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let values = numbers(0..5000);
        server.create_topic(codec, 1);
        server.write_with(&[("compression.type", codec)], codec, 0, values.iter().map(String::as_str));
        assert_eq!(server.read(codec, 0, 0), values, "{codec}");
        assert_eq!(server.read(codec, 0, 4990), values[4990..], "{codec}, from within a batch");
    }
}

#[test]
fn an_idempotent_producer_keeps_count_and_order() {
    let server = Server::start();
    server.create_topic("t", 1);
    let values = numbers(0..20_000);
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "100")];
    server.write_with(&settings, "t", 0, values.iter().map(String::as_str));
    assert_eq!(server.read("t", 0, 0), values);
}

#[test]
fn keys_headers_and_timestamps_are_kept() {
    let server = Server::start();
    server.create_topic("t", 1);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "a", value: Some("1") })
        .insert(Header { key: "none", value: None::<&str> });
    let producer = server.producer(&[]);
    let record = BaseRecord::to("t").key("key").payload("value").headers(headers).timestamp(1_700_000_000_123);
    producer.send(record).unwrap();
    producer.send(BaseRecord::<str, str>::to("t").key("tombstone")).unwrap();
    producer.flush(PATIENCE).unwrap();

    let consumer = server.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    let message = poll(&consumer);
    assert_eq!((message.key(), message.timestamp().to_millis()), (Some(&b"key"[..]), Some(1_700_000_000_123)));
    let headers = message.headers().unwrap();
    assert_eq!(headers.get(0), Header { key: "a", value: Some(&b"1"[..]) });
    assert_eq!(headers.get(1), Header { key: "none", value: None });
    assert_eq!(poll(&consumer).payload(), None);
}

#[test]
fn large_messages_pass_where_the_topic_allows_them() {
    use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
    let server = Server::start();
    server.create_topic("small", 1);
    let topic = NewTopic::new("large", 1, TopicReplication::Fixed(1)).set("max.message.bytes", "20000000");
    server.runtime.block_on(server.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
    let producer = server.producer(&[("message.max.bytes", "30000000")]);
    let value = "x".repeat(10_000_000);
    producer.send(BaseRecord::<(), str>::to("large").payload(&value)).unwrap();
    producer.send(BaseRecord::<(), str>::to("small").payload(&value)).unwrap();
    producer.flush(PATIENCE).unwrap();
    assert_eq!(server.read("large", 0, 0), [value]);
    assert_eq!(server.read("small", 0, 0), [""; 0], "larger than max.message.bytes");
}

#[test]
fn watermarks_follow_the_log() {
    let server = Server::start();
    server.create_topic("t", 2);
    let consumer = server.consumer("g", &[]);
    assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (0, 0));
    server.write("t", 0, ["a", "b", "c"]);
    assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (0, 3));
    assert_eq!(consumer.fetch_watermarks("t", 1, PATIENCE).unwrap(), (0, 0));
    assert!(consumer.fetch_watermarks("t", 2, PATIENCE).is_err());
}

#[test]
fn offsets_are_found_by_time_within_batches_of_every_codec() {
    let server = Server::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        server.create_topic(codec, 1);
        let producer = server.producer(&[("linger.ms", "200"), ("compression.type", codec)]);
        for n in 0..10 {
            let value = "value".repeat(20);
            producer.send(BaseRecord::<(), str>::to(codec).payload(&value).timestamp(1000 + n * 10)).unwrap();
            if n == 4 {
                producer.flush(PATIENCE).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
        let consumer = server.consumer("g", &[]);
        for (time, expected) in [
            (0, Offset::Offset(0)),
            (1000, Offset::Offset(0)),
            (1001, Offset::Offset(1)),
            (1040, Offset::Offset(4)),
            (1050, Offset::Offset(5)),
            (1085, Offset::Offset(9)),
            (1091, Offset::End),
        ] {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(codec, 0, Offset::Offset(time)).unwrap();
            let found = consumer.offsets_for_times(asked, PATIENCE).unwrap();
            assert_eq!(found.elements()[0].offset(), expected, "{codec} at {time}");
        }
    }
}

#[test]
fn a_consumer_seeks_pauses_and_resumes() {
    let server = Server::start();
    server.create_topic("t", 1);
    let values = numbers(0..100);
    server.write("t", 0, values.iter().map(String::as_str));
    let consumer = server.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    assert_eq!(payload(&poll(&consumer)), "0");
    consumer.seek("t", 0, Offset::Offset(50), PATIENCE).unwrap();
    assert_eq!(payload(&poll(&consumer)), "50");
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 0);
    consumer.pause(&list).unwrap();
    assert!(consumer.poll(Duration::from_millis(300)).is_none());
    consumer.resume(&list).unwrap();
    assert_eq!(payload(&poll(&consumer)), "51");
}

#[test]
fn a_new_group_begins_where_it_is_told() {
    let server = Server::start();
    server.create_topic("t", 1);
    server.write("t", 0, ["old"]);
    let earliest = server.consumer("e", &[("auto.offset.reset", "earliest")]);
    earliest.subscribe(&["t"]).unwrap();
    assert_eq!(payload(&poll(&earliest)), "old");
    let latest = server.consumer("l", &[("auto.offset.reset", "latest"), ("enable.partition.eof", "true")]);
    latest.subscribe(&["t"]).unwrap();
    let end = std::iter::repeat_with(|| latest.poll(PATIENCE)).flatten().next();
    assert!(matches!(end, Some(Err(rdkafka::error::KafkaError::PartitionEOF(0)))), "{end:?}");
    server.write("t", 0, ["new"]);
    assert_eq!(payload(&poll(&latest)), "new");
}

#[test]
fn an_offset_that_is_gone_is_reset() {
    let server = Server::start();
    server.create_topic("t", 1);
    server.write("t", 0, ["a", "b"]);
    let consumer = server.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Offset(1000));
    assert_eq!(payload(&poll(&consumer)), "a");
}

#[test]
fn thirty_megabytes_pass_through_one_partition() {
    let server = Server::start();
    server.create_topic("t", 1);
    let producer = server.producer(&[("enable.idempotence", "true")]);
    let filler = "x".repeat(990);
    for n in 0..30_000 {
        let value = format!("{n:010}{filler}");
        producer.send(BaseRecord::<(), str>::to("t").payload(&value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    let consumer = server.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    for n in 0..30_000 {
        let message = poll(&consumer);
        assert_eq!(message.offset(), n);
        assert_eq!(message.payload().unwrap()[..10], *format!("{n:010}").as_bytes());
        assert_eq!(message.payload_len(), 1000);
    }
}

#[test]
fn a_full_memory_refuses_and_keeps_what_it_has() {
    use kafka_taos_embedded::kafka::BrokerConfig;
    use rdkafka::admin::AdminOptions;
    let server = Server::with(BrokerConfig { max_memory_bytes: 1_000_000, ..BrokerConfig::default() });
    server.create_topic("t", 1);
    let value = "x".repeat(100_000);
    let settings = [("linger.ms", "0"), ("batch.num.messages", "1")];
    server.write_with(&settings, "t", 0, std::iter::repeat_n(value.as_str(), 20));
    let kept = server.read("t", 0, 0).len();
    assert_eq!(kept, 9, "nine of 100 kB fit beside their headers");
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::End).unwrap();
    server.runtime.block_on(server.admin().delete_records(&all, &AdminOptions::new())).unwrap();
    server.write_with(&settings, "t", 0, [value.as_str()]);
    assert_eq!(server.read("t", 0, 9).len(), 1, "deleted records give their room back");
}

#[test]
fn a_fetch_is_answered_as_soon_as_there_is_something() {
    let server = Server::start();
    server.create_topic("t", 1);
    let consumer = server.consumer("g", &[("fetch.wait.max.ms", "25000")]);
    assign(&consumer, "t", 0, Offset::Beginning);
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    server.write("t", 0, ["now"]);
    let message = consumer.poll(Duration::from_secs(20)).expect("before the fetch's own deadline").unwrap();
    assert_eq!(message.payload(), Some(&b"now"[..]));
}
