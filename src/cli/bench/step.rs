//! One measure of one workload, in a process of its own: so its CPU time and its peak memory are its alone.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use kafka_taos::block::Block;
use kafka_taos::dead_letter::DeadLetterTo;
use kafka_taos::encode::{sql, stmt2};
use kafka_taos::mapping::RowSource;
use kafka_taos::message::{Message, Offset, TopicPartition};
use kafka_taos::mq::kafka::{KafkaQueue, KafkaSettings, Producer};
use kafka_taos::mq::{Control as _, Event, MessageQueue as _, MqError, Subscription as _};
use kafka_taos::pipeline::{Pipeline, Stop};
use kafka_taos::queue::BatchQueue;
use kafka_taos::row::Value;
use kafka_taos::tdengine::schema::SuperTable;
use kafka_taos::tdengine::{Dsn, Sql as _};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use serde::{Deserialize, Serialize};

use super::meter::{Cost, Meter, peak_memory_bytes};
use super::workload::{DATABASE, Scene};
use crate::cli::Failure;
use crate::cli::consume::{ends, pipeline_settings, store};
use crate::cli::produce::Server;
use crate::cli::settings::Settings;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Measure {
    /// Messages to rows of a block
    Decode,
    /// The same, through a type of one's own in place of a mapping
    DecodeTyped,
    /// A block to SQL text
    EncodeSql,
    /// A block to binary binds
    EncodeStmt2,
    /// Messages through a batch queue, from one task to another
    Queue,
    /// Messages out of Kafka, thrown away
    Poll,
    /// Messages into Kafka by librdkafka alone
    ProduceBare,
    /// Messages into Kafka by our producer
    Produce,
    /// Kafka to a TDengine that keeps nothing
    WholeNull,
    /// The same, through a type of one's own in place of a mapping
    WholeNullTyped,
    /// Kafka to the embedded TDengine
    WholeEmbedded,
    /// Kafka to the TDengine of --tdengine
    WholeServer,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// What a process is to measure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Step {
    pub(super) measure: Measure,
    pub(super) scene: Scene,
    pub(super) brokers: String,
    pub(super) topic: String,
    /// `None`: as set.
    pub(super) tdengine: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) cost: Cost,
    pub(super) peak_memory_bytes: Option<u64>,
}

/// A measure that makes no progress for so long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Step {
    pub(super) async fn run(&self, mut settings: Settings) -> Result<Measured, Failure> {
        settings.kafka.brokers.clone_from(&self.brokers);
        settings.topics = vec![self.topic.clone()];
        settings.stable = Some(self.scene.stable().to_owned());
        let (rows, bytes, cost) = match self.measure {
            Measure::Decode | Measure::DecodeTyped => self.decode(&settings)?,
            Measure::EncodeSql | Measure::EncodeStmt2 => self.encode(&settings)?,
            Measure::Queue => self.queue(&settings).await?,
            Measure::Poll => self.poll(&settings).await?,
            Measure::Produce => self.produce(&settings.kafka).await?,
            Measure::ProduceBare => self.produce_bare(&settings.kafka)?,
            Measure::WholeNull | Measure::WholeNullTyped | Measure::WholeEmbedded | Measure::WholeServer => {
                self.whole(settings).await?
            }
        };
        Ok(Measured { rows, bytes, cost, peak_memory_bytes: peak_memory_bytes() })
    }

    fn batch(&self, settings: &Settings) -> Result<Vec<Message>, Failure> {
        Ok(self.scene.batch(settings.queue.max_batch_items, settings.queue.max_batch_bytes)?)
    }

    /// Calls `work` until it has done the rows of this step; the first call is not counted. Returns rows, bytes, cost.
    fn repeat(
        &self,
        rows_at_once: usize,
        mut work: impl FnMut() -> Result<usize, Failure>,
    ) -> Result<(u64, u64, Cost), Failure> {
        work()?;
        let times = self.scene.records.div_ceil(rows_at_once as u64).max(1);
        let (began, mut bytes) = (Meter::now(), 0);
        for _ in 0..times {
            bytes += work()? as u64;
        }
        Ok((times * rows_at_once as u64, bytes, began.until(Meter::now())))
    }

    fn blocks(&self) -> [Block; 1] {
        [Block::new(Arc::new(self.scene.super_table()))]
    }

    fn rows(&self) -> Result<impl Fn() -> Box<dyn RowSource> + Clone + Send + 'static, Failure> {
        self.scene.rows(matches!(self.measure, Measure::DecodeTyped | Measure::WholeNullTyped))
    }

    fn decode(&self, settings: &Settings) -> Result<(u64, u64, Cost), Failure> {
        let (messages, mut rows, mut blocks) = (self.batch(settings)?, self.rows()?(), self.blocks());
        let bytes = payload_bytes(&messages);
        self.repeat(messages.len(), || {
            blocks[0].clear();
            append(&mut *rows, &messages, &mut blocks)?;
            Ok(bytes)
        })
    }

    fn encode(&self, settings: &Settings) -> Result<(u64, u64, Cost), Failure> {
        let (messages, mut rows, mut blocks) = (self.batch(settings)?, self.rows()?(), self.blocks());
        append(&mut *rows, &messages, &mut blocks)?;
        let [block] = &mut blocks;
        let mut frame = Vec::new();
        self.repeat(messages.len(), || {
            let order = block.order();
            let mut bytes = 0;
            if self.measure == Measure::EncodeSql {
                let mut statements = Vec::new();
                sql::block_statements(block, &order.rows, sql::MAX_STATEMENT_BYTES, &mut statements);
                bytes = statements.iter().map(|statement| statement.sql.len()).sum();
            } else {
                for part in stmt2::split(block, &order.rows, 8 << 20) {
                    stmt2::bind_frame(&mut frame, block, part, true);
                    bytes += frame.len();
                }
            }
            Ok(bytes)
        })
    }

    /// Messages go round: what is taken out is put in again, in portions as they come from Kafka.
    async fn queue(&self, settings: &Settings) -> Result<(u64, u64, Cost), Failure> {
        const PORTION: usize = 1000;
        let queue = BatchQueue::new(settings.queue.clone())?;
        let (back, mut returned) = tokio::sync::mpsc::channel::<Vec<Message>>(64);
        let messages = self.batch(settings)?;
        let (size, total) = (messages.len(), self.scene.records);
        let bytes_each = payload_bytes(&messages) as u64 / size.max(1) as u64;
        for portion in messages.chunks(PORTION) {
            back.send(portion.to_vec()).await?;
        }
        let taking = {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut taken = 0;
                while let Some(batch) = queue.take_batch().await {
                    taken += batch.len() as u64;
                    if taken >= total || back.send(batch).await.is_err() {
                        break;
                    }
                }
                taken
            })
        };
        let began = Meter::now();
        let mut line = VecDeque::new();
        while let Some(batch) = returned.recv().await {
            line.extend(batch);
            queue.put_many(&mut line).await?;
        }
        queue.close();
        let taken = taking.await?;
        Ok((taken, taken * bytes_each, began.until(Meter::now())))
    }

    async fn poll(&self, settings: &Settings) -> Result<(u64, u64, Cost), Failure> {
        let queue = KafkaQueue::new(settings.kafka.clone())?;
        let mut subscription = queue.queue_subscribe(&settings.topics, &unique_group())?;
        let (mut began, mut rows, mut bytes) = (None, 0, 0);
        let (mut seen, mut cost) = (0, None);
        while seen < self.scene.records {
            match tokio::time::timeout(PATIENCE, subscription.next()).await? {
                Some(Event::Messages(messages)) => {
                    seen += messages.len() as u64;
                    // The first are waited for, not read.
                    let Some(began) = began else {
                        began = Some(Meter::now());
                        continue;
                    };
                    rows += messages.len() as u64;
                    bytes += payload_bytes(&messages) as u64;
                    drop(messages);
                    if seen >= self.scene.records {
                        cost = Some(Meter::until(began, Meter::now()));
                    }
                }
                Some(Event::Error(error)) => return Err(error.into()),
                Some(Event::Revoked(revocation)) => revocation.release(Vec::new()),
                Some(_) => {}
                None => break,
            }
        }
        subscription.control().unsubscribe();
        while let Some(event) = subscription.next().await {
            if let Event::Revoked(revocation) = event {
                revocation.release(Vec::new());
            }
        }
        Ok((rows, bytes, cost.ok_or_else(|| Failure::failed("too few messages to measure by"))?))
    }

    async fn produce(&self, kafka: &KafkaSettings) -> Result<(u64, u64, Cost), Failure> {
        let producer = Producer::new(kafka)?;
        let records = self.outgoing()?;
        let bytes =
            |number: u64| records[number as usize % records.len()].payload.as_ref().map_or(0, |p| p.len() as u64);
        let began = Meter::now();
        let topic = self.topic.clone();
        let sending = producer.clone();
        let (total, to_send) = (self.scene.records, records.clone());
        tokio::task::spawn_blocking(move || {
            for number in 0..total {
                let mut message = to_send[number as usize % to_send.len()].clone();
                loop {
                    match sending.enqueue(&topic, message) {
                        Ok(()) => break,
                        Err(MqError::Full(refused)) => message = *refused,
                        Err(error) => return Err(error),
                    }
                    sending.room_blocking(Duration::from_millis(100));
                }
            }
            Ok(())
        })
        .await??;
        producer.flush(PATIENCE).await?;
        let cost = began.until(Meter::now());
        match producer.delivered().failed {
            0 => Ok((total, (0..total).map(bytes).sum(), cost)),
            failed => Err(Failure::failed(format!("{failed} messages were not delivered"))),
        }
    }

    /// As a program would that knows nothing but librdkafka: the same messages, the same properties.
    fn produce_bare(&self, kafka: &KafkaSettings) -> Result<(u64, u64, Cost), Failure> {
        let properties = kafka.producer_properties()?;
        let config: ClientConfig = properties.into_iter().collect();
        let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create()?;
        let records = self.outgoing()?;
        let (began, mut bytes) = (Meter::now(), 0);
        for number in 0..self.scene.records {
            let message = &records[number as usize % records.len()];
            let payload = message.payload.as_deref().unwrap_or_default();
            bytes += payload.len() as u64;
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic).payload(payload);
            record.key = message.key.as_deref();
            record.partition = message.partition;
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => record = refused,
                    Err((error, _)) => return Err(error.into()),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        producer.flush(PATIENCE)?;
        Ok((self.scene.records, bytes, began.until(Meter::now())))
    }

    fn outgoing(&self) -> Result<Vec<kafka_taos::message::Outgoing>, Failure> {
        let mut text = String::new();
        let records = (0..self.scene.records.min(10_000)).map(|index| self.scene.outgoing(index, &mut text));
        Ok(records.collect::<Result<_, _>>()?)
    }

    async fn whole(&self, mut settings: Settings) -> Result<(u64, u64, Cost), Failure> {
        if let Some(url) = &self.tdengine {
            settings.tdengine = url.parse::<Dsn>()?;
        }
        settings.tdengine.database = Some(DATABASE.to_owned());
        let stable = make_empty(&settings, &self.scene.super_table()).await?;
        let queue = KafkaQueue::new(settings.kafka.clone())?;
        let ends: HashMap<TopicPartition, Offset> = ends(&settings)?;
        let total: u64 = ends.values().map(|end| end.unsigned_abs()).sum();
        let subscription = queue.queue_subscribe(&settings.topics, &unique_group())?;
        let wanted = pipeline_settings(&settings, DeadLetterTo::None, Some(ends));
        let pipeline = Pipeline::new(wanted, subscription, store(&settings)?, vec![stable]);
        let watch = pipeline.watch();
        let stop = Stop { graceful: std::future::pending(), abort: std::future::pending() };
        let running = pipeline.run(self.rows()?, stop);
        // From the first message read to the last row written: without joining and leaving the group.
        let measuring = async {
            let (mut began, mut moved) = (None, (Instant::now(), 0));
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                let now = watch.snapshot();
                if began.is_none() && now.consumed > 0 {
                    began = Some((Meter::now(), now.rows_written));
                }
                let done = now.rows_written + now.merged;
                if done >= total {
                    return began.map(|(began, before)| (now.rows_written - before, began.until(Meter::now())));
                }
                if done > moved.1 {
                    moved = (Instant::now(), done);
                } else if moved.0.elapsed() > PATIENCE {
                    return None;
                }
            }
        };
        let (mut running, mut measuring) = (std::pin::pin!(running), std::pin::pin!(measuring));
        let measured = tokio::select! {
            ended = &mut running => {
                ended?;
                measuring.await
            }
            measured = &mut measuring => {
                running.await?;
                measured
            }
        };
        let (rows, cost) = measured.ok_or_else(|| Failure::failed(format!("no progress for {PATIENCE:?}")))?;
        if rows == 0 {
            return Err(Failure::failed("too few records to measure by"));
        }
        let stored = count(&settings).await?;
        if !matches!(self.measure, Measure::WholeNull | Measure::WholeNullTyped) && stored != Some(total) {
            return Err(Failure::failed(format!("{total} rows were written and {stored:?} are stored")));
        }
        let average = payload_bytes(&self.batch(&settings)?) as u64 / self.batch(&settings)?.len().max(1) as u64;
        Ok((rows, rows * average, cost))
    }
}

/// The workload's database and super table, with nothing in it.
async fn make_empty(settings: &Settings, stable: &SuperTable) -> Result<SuperTable, Failure> {
    let dsn = Dsn { database: None, ..settings.tdengine.clone() };
    let server = Server::connect(&dsn, settings.timeout).await?;
    server.sql(&format!("drop database if exists {DATABASE}")).await?;
    server.sql(&format!("create database {DATABASE}")).await?;
    server.sql(&stable.create_statement()).await?;
    Ok(SuperTable::read(&server, &stable.database, &stable.name).await?)
}

async fn count(settings: &Settings) -> Result<Option<u64>, Failure> {
    let server = Server::connect(&settings.tdengine, settings.timeout).await?;
    let stable = settings.stable.as_deref().unwrap_or_default();
    let rows = server.sql(&format!("select count(*) from {DATABASE}.{stable}")).await?;
    Ok(match rows.rows.first().and_then(|row| row.first()) {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    })
}

fn append(rows: &mut dyn RowSource, messages: &[Message], blocks: &mut [Block]) -> Result<(), Failure> {
    let mut faulty = Vec::new();
    for (origin, message) in (0..).zip(messages) {
        rows.append(message, origin, blocks, &mut faulty)?;
    }
    match faulty.pop() {
        None => Ok(()),
        Some(row) => Err(row.fault.into()),
    }
}

fn payload_bytes(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.payload.as_ref().map_or(0, |payload| payload.len())).sum()
}

/// A group that has committed nothing.
fn unique_group() -> String {
    format!("bench-{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond())
}
