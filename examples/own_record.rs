//! A record of one's own, from Kafka into TDengine: copy this file, change `Reading`, and it is your consumer.
//!
//! `cargo run --example own_record` runs it against an embedded Kafka and an embedded TDengine.

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use kafka_taos::codec::{Codec, Format};
use kafka_taos::mapping::RecordRows;
use kafka_taos::message::{Outgoing, TopicPartition};
use kafka_taos::mq::MessageQueue as _;
use kafka_taos::mq::kafka::{Admin, KafkaQueue, KafkaSettings};
use kafka_taos::pipeline::{Pipeline, PipelineSettings, Stop};
use kafka_taos::row::{TaosEncoder, Timestamp};
use kafka_taos::tdengine::{ConnectOptions, Connection, Dsn, Sql as _, TaosStore, WriteMode};
use kafka_taos_embedded::{kafka::Broker, tdengine::Endpoint};
use serde::{Deserialize, Serialize};

/// What a sensor says: a row of its own table, `sensor_N`, in the super table `readings`.
#[derive(Serialize, Deserialize, TaosEncoder)]
#[taos(super_table = "readings", table = "sensor_{sensor}")]
struct Reading {
    #[taos(timestamp)]
    at: Timestamp,
    celsius: f64,
    note: Option<String>,
    #[taos(tag)]
    sensor: u32,
    #[taos(tag)]
    room: String,
}

impl Codec for Reading {
    const FORMAT: Format = Format::Json;

    fn key(&self) -> Cow<'_, [u8]> {
        self.sensor.to_le_bytes().to_vec().into()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In place of these two lines: your own brokers and your own TDengine.
    let (kafka, tdengine) = (Broker::start(Default::default()).await?, Endpoint::start(Default::default()).await?);
    let (brokers, url) = (kafka.address().to_string(), format!("ws://root:taosdata@{}/home", tdengine.address()));

    let settings = KafkaSettings { brokers, ..KafkaSettings::default() };
    let (topic, timeout) = ("readings".to_owned(), Duration::from_secs(10));
    Admin::new(&settings)?.create(&topic, 4, 1, &[], timeout).await?;
    let dsn: Dsn = url.parse()?;
    let connection = Connection::connect(&dsn, None, 0, &ConnectOptions::default()).await?;
    connection.sql("create database if not exists home").await?;
    let columns = "at timestamp, celsius double, note varchar(40)";
    connection
        .sql(&format!("create stable home.readings ({columns}) tags (sensor int unsigned, room varchar(20))"))
        .await?;

    let queue = KafkaQueue::new(settings)?;
    let mut ends: HashMap<TopicPartition, i64> = HashMap::new();
    for n in 0..100 {
        let at = Timestamp::from_millis(1_764_547_200_000 + n);
        let reading = Reading { at, celsius: 20.5, note: None, sensor: n as u32 % 5, room: "attic".into() };
        let partition = Some(reading.partition(4));
        let payload = Some(reading.encode()?.into());
        let receipt = queue.publish(&topic, Outgoing { partition, payload, ..Outgoing::default() }).await?;
        ends.insert(TopicPartition::new(topic.as_str(), receipt.partition), receipt.offset + 1);
    }

    let store = TaosStore::new(dsn, WriteMode::Stmt2, ConnectOptions::default());
    let schema = store.read_schema("home", "readings").await?;
    // Without an end it runs until `graceful` below is ready.
    let pipeline = PipelineSettings { workers: 2, until_end: Some(ends), ..PipelineSettings::default() };
    let pipeline = Pipeline::new(pipeline, queue.queue_subscribe(&[topic], "example")?, store, vec![schema]);
    let stop = Stop { graceful: std::future::pending(), abort: std::future::pending() };
    let counted = pipeline.run(RecordRows::<Reading>::default, stop).await?;
    println!("{} messages, {} rows", counted.consumed, counted.rows_written);
    println!("{:?}", connection.sql("select count(*), avg(celsius) from home.readings").await?.rows);
    Ok(())
}
