//! A broker and clients for one test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_taos_embedded::kafka::{Broker, BrokerConfig};
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;

/// Longer than anything here takes; a test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A broker on its own runtime, so that tests can block.
pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) runtime: Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let broker = runtime.block_on(Broker::start(config)).unwrap();
        Server { broker, runtime }
    }

    pub(crate) fn stop(self) {
        self.runtime.block_on(self.broker.shutdown());
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.address()
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address().to_string());
        config
    }

    pub(crate) fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    pub(crate) fn create_topic(&self, name: &str, partitions: i32) {
        use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let results = self.runtime.block_on(self.admin().create_topics([&topic], &AdminOptions::new())).unwrap();
        assert_eq!(results, [Ok(name.to_owned())]);
    }

    pub(crate) fn producer(&self, settings: &[(&str, &str)]) -> ThreadedProducer<DefaultProducerContext> {
        let mut config = self.client();
        config.set("linger.ms", "2").set("message.timeout.ms", "20000");
        settings.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        config.create().unwrap()
    }

    /// A consumer without automatic commits, from the beginning where nothing is committed.
    pub(crate) fn consumer(&self, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "200")
            .set("fetch.wait.max.ms", "100")
            .set("topic.metadata.refresh.interval.ms", "500");
        settings.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        config.create().unwrap()
    }

    /// Writes `values` to one partition in order and waits until they are acknowledged.
    pub(crate) fn write<'a>(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = &'a str>) {
        self.write_with(&[], topic, partition, values);
    }

    pub(crate) fn write_with<'a>(
        &self,
        settings: &[(&str, &str)],
        topic: &str,
        partition: i32,
        values: impl IntoIterator<Item = &'a str>,
    ) {
        let producer = self.producer(settings);
        for value in values {
            producer.send(BaseRecord::<(), str>::to(topic).partition(partition).payload(value)).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// All values of a partition from `offset` on, up to its present end.
    pub(crate) fn read(&self, topic: &str, partition: i32, offset: i64) -> Vec<String> {
        let consumer = self.consumer("reader", &[("check.crcs", "true")]);
        let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        assign(&consumer, topic, partition, Offset::Offset(offset));
        let mut values = Vec::new();
        let mut next = offset;
        while next < end {
            let message = poll(&consumer);
            next = message.offset() + 1;
            values.push(payload(&message));
        }
        values
    }
}

pub(crate) fn assign(consumer: &BaseConsumer, topic: &str, partition: i32, offset: Offset) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, offset).unwrap();
    consumer.assign(&list).unwrap();
}

/// The next message.
pub(crate) fn poll(consumer: &BaseConsumer) -> BorrowedMessage<'_> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no message came");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => return message,
            Some(Err(error)) => panic!("poll: {error}"),
            None => {}
        }
    }
}

pub(crate) fn payload(message: &BorrowedMessage<'_>) -> String {
    String::from_utf8(message.payload().unwrap().to_vec()).unwrap()
}

/// Polls `consumers` in turn until `done`, and fails when it takes too long.
pub(crate) fn poll_until(
    consumers: &[&BaseConsumer],
    mut on: impl FnMut(usize, &BorrowedMessage<'_>),
    mut done: impl FnMut() -> bool,
) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        for (index, consumer) in consumers.iter().enumerate() {
            if let Some(Ok(message)) = consumer.poll(Duration::from_millis(10)) {
                on(index, &message);
            }
        }
    }
}

/// The partitions that a consumer has now, by topic.
pub(crate) fn assignment(consumer: &BaseConsumer) -> BTreeMap<String, Vec<i32>> {
    let mut owned = BTreeMap::<String, Vec<i32>>::new();
    let list = consumer.assignment().unwrap();
    for element in list.elements() {
        owned.entry(element.topic().to_owned()).or_default().push(element.partition());
    }
    owned.values_mut().for_each(|partitions| partitions.sort_unstable());
    owned
}

pub(crate) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Waits for something that needs nobody's help.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(20));
    }
}
