//! What is published, over the length of a schedule: keys written once, keys written again, and poison.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use kafka_taos::codec::Codec as _;
use kafka_taos::message::Outgoing;
use kafka_taos::mq::kafka::{KafkaSettings, Producer};
use kafka_taos::record::{Cell, Record};
use kafka_taos::row::Timestamp;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::check::POISON;
use crate::common;
use crate::plan::{Chance, LENGTH, Plan};
use crate::world::block_on;

/// 2025-12-01T00:00:00Z in milliseconds.
const START: i64 = 1_764_547_200_000;
const TABLES: u64 = 3;

/// Publishes on a thread of its own, to as many partitions as there are.
pub(crate) fn start(plan: &Plan, brokers: &str, topic: &str, partitions: Arc<AtomicI32>) -> JoinHandle<()> {
    let properties = vec![("topic.metadata.refresh.interval.ms".to_owned(), "500".to_owned())];
    let settings = KafkaSettings { brokers: brokers.to_owned(), properties, ..KafkaSettings::default() };
    let mut records = Records { chance: Chance::new(!plan.seed), used: HashMap::new(), poison: plan.poison, number: 0 };
    let (topic, count) = (topic.to_owned(), plan.records);
    std::thread::spawn(move || {
        block_on(async move {
            let producer = Producer::new(&settings).expect("a producer");
            let (mut publishing, began) = (JoinSet::new(), Instant::now());
            for number in 0..count {
                sleep_until(began + LENGTH.mul_f64(number as f64 / count as f64)).await;
                let message = records.next(partitions.load(Ordering::Relaxed));
                publishing.spawn(publish(producer.clone(), topic.clone(), message));
            }
            while let Some(published) = publishing.join_next().await {
                published.expect("a message is published");
            }
        });
    })
}

/// Until it is acknowledged: what is published twice has the same values.
async fn publish(producer: Producer, topic: String, message: Outgoing) {
    let began = Instant::now();
    while let Err(error) = producer.publish(&topic, message.clone()).await {
        assert!(began.elapsed() < common::PATIENCE, "not published: {error}");
        sleep(Duration::from_millis(100)).await;
    }
}

struct Records {
    chance: Chance,
    /// How many timestamps of a table are used.
    used: HashMap<String, i64>,
    poison: u64,
    number: u64,
}

impl Records {
    fn next(&mut self, partitions: i32) -> Outgoing {
        self.number += 1;
        let partition = self.chance.below(partitions as u64) as i32;
        let table = format!("p{partition}t{}", self.chance.below(TABLES));
        if self.chance.below(10_000) < self.poison {
            return self.poison(partition, &table);
        }
        let used = self.used.entry(table.clone()).or_default();
        let slot = match *used > 0 && self.chance.percent(30) {
            true => self.chance.below(*used as u64) as i64,
            false => {
                *used += 1;
                *used - 1
            }
        };
        let value = format!("v{}", self.number);
        let second = match self.chance.below(10) {
            0 => None,
            1 => Some(Cell::Null),
            _ => Some(Cell::Text(value.clone().into())),
        };
        let columns = std::iter::once(Cell::Text(value.into())).chain(second).collect();
        record(partition, b"good", &table, START + slot * 1000, columns)
    }

    /// Each of its own kind and with a timestamp of its own.
    fn poison(&mut self, partition: i32, table: &str) -> Outgoing {
        let outgoing = |payload| Outgoing {
            partition: Some(partition),
            key: Some(Bytes::from_static(POISON)),
            payload,
            ..Outgoing::default()
        };
        let number = self.number as i64;
        match self.chance.below(5) {
            0 => outgoing(Some(Bytes::from_static(b"\xffno record"))),
            1 => outgoing(None),
            // Too long for its column: known before it is sent.
            2 => record(partition, POISON, table, START - number * 1000, vec!["much too long".into()]),
            // Older than the database keeps: only the server knows.
            _ => record(partition, POISON, table, number, vec!["old".into()]),
        }
    }
}

fn record(partition: i32, key: &'static [u8], table: &str, ts: i64, columns: Vec<Cell<'static>>) -> Outgoing {
    let record = Record::new(table.to_owned(), Timestamp::from_millis(ts), columns);
    Outgoing {
        partition: Some(partition),
        key: Some(Bytes::from_static(key)),
        payload: Some(record.encode().expect("a payload").into()),
        ..Outgoing::default()
    }
}
