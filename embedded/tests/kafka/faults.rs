//! The switches that make the broker misbehave, and what a good client makes of it.

use std::time::Duration;

use kafka_taos_embedded::kafka::{ApiKey, Effect, LeaderFault, ResponseError};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer};

use crate::support::{PATIENCE, Server, assign, numbers, payload, poll};

#[test]
fn lost_answers_do_not_make_an_idempotent_producer_write_twice() {
    let server = Server::start();
    server.create_topic("t", 1);
    let values = numbers(0..2000);
    for nth in [1, 3, 4, 9] {
        server.broker.faults().nth(ApiKey::Produce, nth, 1, Effect::DropAnswer);
    }
    server.broker.faults().nth(ApiKey::Produce, 6, 1, Effect::Drop);
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "100"), ("retry.backoff.ms", "10")];
    server.write_with(&settings, "t", 0, values.iter().map(String::as_str));
    assert_eq!(server.read("t", 0, 0), values);
}

#[test]
fn an_error_is_answered_as_often_as_asked() {
    let server = Server::start();
    server.create_topic("t", 1);
    server.write("t", 0, ["v"]);
    let consumer = server.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    let message = poll(&consumer);
    let error = Effect::Error(ResponseError::GroupAuthorizationFailed);
    server.broker.faults().nth(ApiKey::OffsetCommit, 2, 1, error);
    consumer.commit_message(&message, CommitMode::Sync).unwrap();
    let refused = consumer.commit_message(&message, CommitMode::Sync);
    assert!(
        matches!(refused, Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::GroupAuthorizationFailed))),
        "{refused:?}"
    );
    consumer.commit_message(&message, CommitMode::Sync).unwrap();
}

#[test]
fn a_leader_that_is_none_is_waited_for() {
    let server = Server::start();
    server.create_topic("t", 1);
    for fault in [LeaderFault::NotLeader, LeaderFault::Silent] {
        server.broker.faults().fail_leader("t", 0, fault);
        let producer = server.producer(&[("enable.idempotence", "true"), ("retry.backoff.ms", "50")]);
        producer.send(BaseRecord::<(), str>::to("t").payload("v")).unwrap();
        assert!(producer.flush(Duration::from_millis(500)).is_err(), "nothing is written meanwhile");
        server.broker.faults().restore_leader("t", 0);
        producer.flush(PATIENCE).unwrap();
    }
    assert_eq!(server.read("t", 0, 0), ["v", "v"]);
}

#[test]
fn dropped_connections_are_made_again() {
    let server = Server::start();
    server.create_topic("t", 1);
    let consumer = server.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    for value in ["a", "b", "c"] {
        server.write("t", 0, [value]);
        assert_eq!(payload(&poll_through_errors(&consumer)), value);
        server.broker.faults().drop_connections();
    }
}

#[test]
fn a_delay_is_a_delay() {
    let server = Server::start();
    server.create_topic("t", 1);
    server.broker.faults().next(ApiKey::Produce, Effect::Delay(Duration::from_millis(700)));
    let producer = server.producer(&[]);
    producer.send(BaseRecord::<(), str>::to("t").payload("v")).unwrap();
    assert!(producer.flush(Duration::from_millis(300)).is_err());
    producer.flush(PATIENCE).unwrap();
    server.broker.faults().nth(ApiKey::Produce, 1, 1000, Effect::Drop);
    server.broker.faults().clear();
    server.write("t", 0, ["w"]);
    assert_eq!(server.read("t", 0, 0), ["v", "w"]);
}

fn poll_through_errors(consumer: &rdkafka::consumer::BaseConsumer) -> rdkafka::message::BorrowedMessage<'_> {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        assert!(std::time::Instant::now() < deadline);
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            return message;
        }
    }
}
