//! Reading from Kafka while the broker misbehaves: the embedded broker, and its switches for faults.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_taos::message::{Offset, Outgoing, TopicPartition};
use kafka_taos::mq::kafka::{Admin, KafkaQueue, KafkaSettings, KafkaSubscription, StartOffset};
use kafka_taos::mq::{Control as _, Event, MessageQueue as _, MqError, Subscription as _};
use kafka_taos_embedded::kafka::{Broker, BrokerConfig, Effect};

const TIMEOUT: Duration = Duration::from_secs(10);

/// A broker with a topic `t` of one partition that holds ten messages, and a way to it.
async fn ten_messages(start: StartOffset) -> (Broker, KafkaQueue) {
    let broker = Broker::start(BrokerConfig::default()).await.unwrap();
    let settings = KafkaSettings { brokers: broker.address().to_string(), start, ..KafkaSettings::default() };
    Admin::new(&settings).unwrap().create("t", 1, 1, &[], TIMEOUT).await.unwrap();
    let queue = KafkaQueue::new(settings).unwrap();
    for n in 0..10 {
        let payload = Some(bytes::Bytes::from(n.to_string()));
        queue.publish("t", Outgoing { payload, ..Outgoing::default() }).await.unwrap();
    }
    (broker, queue)
}

/// The offset of the next message, or the error that ends a consumer.
async fn first(subscription: &mut KafkaSubscription) -> Result<Offset, MqError> {
    let read = async {
        loop {
            match subscription.next().await.expect("the subscription goes on") {
                Event::Messages(messages) => return Ok(messages[0].offset),
                Event::Error(error @ MqError::NoSuchOffset { .. }) => return Err(error),
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(40), read).await.expect("something is read")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_looked_up_at_once_is_looked_up_again() {
    let (broker, queue) = ten_messages(StartOffset::At(4)).await;
    broker.faults().next(ApiKey::OffsetFetch, Effect::Error(ResponseError::UnknownServerError));
    let mut subscription = queue.queue_subscribe(&["t".to_owned()], "g").unwrap();
    assert_eq!(first(&mut subscription).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_not_there_is_a_failure() {
    let (_broker, queue) = ten_messages(StartOffset::At(400)).await;
    let mut subscription = queue.queue_subscribe(&["t".to_owned()], "g").unwrap();
    let error = first(&mut subscription).await.unwrap_err().to_string();
    assert!(error.contains("t/0") && error.contains("another start"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_was_lost_is_read_when_it_comes_back() {
    let (broker, queue) = ten_messages(StartOffset::Earliest).await;
    let mut subscription = queue.queue_subscribe(&["t".to_owned()], "g").unwrap();
    assert_eq!(first(&mut subscription).await.unwrap(), 0);
    subscription.control().pause(&[TopicPartition::new("t", 0)]);
    broker.faults().expire_member("g", "kafka-taos");
    let lost = async {
        loop {
            if let Event::Revoked(revocation) = subscription.next().await.expect("the subscription goes on") {
                return revocation.release(Vec::new());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(40), lost).await.expect("it is lost");
    assert_eq!(first(&mut subscription).await.unwrap(), 0, "nothing was committed");
}
