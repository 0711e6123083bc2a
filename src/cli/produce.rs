//! `kafka-taos produce`: the simulator into Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kafka_taos::codec::{Format, partition_of};
use kafka_taos::encode::escape::quote_identifier;
use kafka_taos::message::Outgoing;
use kafka_taos::mq::MqError;
use kafka_taos::mq::kafka::{Admin, Producer};
use kafka_taos::simulate::Simulator;
use kafka_taos::stats::line;
use kafka_taos::tdengine::schema::{DataType, Database, SuperTable};
use kafka_taos::tdengine::{ConnectOptions, Connection, Dsn, RestClient, Sql, TdengineError, Transport};
use serde::Serialize;

use super::settings::{CommonArgs, KafkaArgs, Settings, TdengineArgs};
use super::signals::Signals;
use super::simulator::SimulatorArgs;
use super::{Context, Ended, Failure, every_second};

/// Generate records and publish them, and make the super table they are for
#[derive(Args, Debug)]
pub(super) struct Produce {
    #[command(flatten)]
    simulator: SimulatorArgs,
    /// Records a second at most [default: as fast as it goes]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Drop the super table with all its rows first
    #[arg(long)]
    reset: bool,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// The result of a producer.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Produced {
    pub(super) produced: u64,
    failed: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    pub(super) partitions: BTreeMap<i32, u64>,
}

impl Produce {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let simulator = self.simulator.simulator(&settings)?;
        let signals = Signals::watch()?;
        let topic = settings.one_topic()?.to_owned();
        let partitions = Admin::new(&settings.kafka)?.partitions(&topic, settings.timeout)?;
        make_super_table(&settings, &simulator, self.reset).await?;
        let running = Running::start(&settings, simulator, topic, partitions, self.rate)?;
        let produced = running.finish(context.quiet, settings.timeout, signals.first()).await?;
        if !context.json {
            println!(
                "produced {} records, {} bytes in {:.1} s: {:.0} records/s",
                produced.produced, produced.bytes, produced.seconds, produced.records_per_second
            );
        }
        context.print_json(&produced)?;
        Ok(signals.exit_code().map_or(Ended::Done, Ended::Signal))
    }
}

/// A connection for a few statements, whichever way the URL says.
pub(super) enum Server {
    WebSocket(Connection),
    Rest(RestClient),
}

impl Server {
    pub(super) async fn connect(dsn: &Dsn, timeout: Duration) -> Result<Self, TdengineError> {
        let options = ConnectOptions { connect_timeout: timeout, ..ConnectOptions::default() };
        Ok(match dsn.transport {
            Transport::WebSocket => Self::WebSocket(Connection::connect(dsn, None, 0, &options).await?),
            Transport::Rest => Self::Rest(RestClient::new(dsn, None, &options)?),
        })
    }
}

impl Sql for Server {
    async fn sql(&self, sql: &str) -> Result<kafka_taos::tdengine::Rows, TdengineError> {
        match self {
            Self::WebSocket(connection) => connection.sql(sql).await,
            Self::Rest(client) => client.sql(sql).await,
        }
    }
}

/// Makes database and super table if they are not there; one that is there must be able to take the records.
pub(super) async fn make_super_table(
    settings: &Settings,
    simulator: &Simulator,
    reset: bool,
) -> Result<SuperTable, Failure> {
    let server = Server::connect(&settings.tdengine, settings.timeout).await?;
    let name = quote_identifier(&simulator.database);
    server.sql(&format!("create database if not exists {name}")).await?;
    let precision = Database::read(&server, &simulator.database).await?.precision;
    let wanted = simulator.super_table(precision);
    if reset {
        server.sql(&wanted.drop_statement()).await?;
    }
    server.sql(&wanted.create_statement()).await?;
    let there = SuperTable::read(&server, &simulator.database, &simulator.super_table).await?;
    let kinds = [("column", &wanted.columns, &there.columns), ("tag", &wanted.tags, &there.tags)];
    let mut widened = false;
    for (kind, wanted_fields, known) in kinds {
        for field in wanted_fields {
            let known = known.iter().find(|known| known.name == field.name).map(|known| known.data_type);
            match (known, field.data_type) {
                (Some(known), wanted) if known == wanted => {}
                (Some(DataType::Varchar(known)), DataType::Varchar(wanted)) if known >= wanted => {}
                // A producer whose tables have longer names, or longer values.
                (Some(DataType::Varchar(_)), longer @ DataType::Varchar(_)) => {
                    let name = quote_identifier(&field.name);
                    let alter = format!("alter stable {} modify {kind} {name} {longer}", wanted.qualified_name());
                    server.sql(&alter).await?;
                    widened = true;
                }
                _ => {
                    return Err(Failure::failed(format!(
                        "{} is there already and has no {kind} {} {}: use another --stable, or drop it with --reset",
                        wanted.qualified_name(),
                        field.name,
                        field.data_type
                    )));
                }
            }
        }
    }
    match widened {
        true => Ok(SuperTable::read(&server, &simulator.database, &simulator.super_table).await?),
        false => Ok(there),
    }
}

/// A producer at work on a thread of its own.
pub(super) struct Running {
    producer: Producer,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    generating: tokio::task::JoinHandle<Result<(), MqError>>,
    began: Instant,
}

impl Running {
    pub(super) fn start(
        settings: &Settings,
        simulator: Simulator,
        topic: String,
        partitions: usize,
        rate: Option<u64>,
    ) -> Result<Self, Failure> {
        let producer = Producer::new(&settings.kafka)?;
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work = Generating {
            producer: producer.clone(),
            stop: stop.clone(),
            bytes: bytes.clone(),
            simulator,
            topic,
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            format: settings.codec,
            rate,
        };
        let generating = tokio::task::spawn_blocking(move || work.run());
        Ok(Self { producer, stop, bytes, generating, began: Instant::now() })
    }

    /// Waits until all is generated, or `stopped`, and acknowledged.
    pub(super) async fn finish(
        mut self,
        quiet: bool,
        timeout: Duration,
        stopped: impl Future<Output = ()>,
    ) -> Result<Produced, Failure> {
        let mut before = 0;
        let producer = self.producer.clone();
        let lines = every_second(quiet, |seconds| {
            let delivered = producer.delivered();
            let mut partitions: Vec<_> = delivered.partitions.keys().copied().collect();
            partitions.sort_unstable();
            let partitions: Vec<_> = partitions.iter().map(i32::to_string).collect();
            let text = line("produced", delivered.total(), before, seconds, &partitions);
            before = delivered.total();
            text
        });
        let stop = self.stop.clone();
        let work = async {
            tokio::select! {
                () = stopped => {
                    stop.store(true, Ordering::Relaxed);
                    (&mut self.generating).await
                }
                done = &mut self.generating => done,
            }
        };
        let generated = tokio::select! {
            generated = work => generated.map_err(|error| Failure::failed(error.to_string()))?,
            () = lines => return Err(Failure::failed("the line a second ended")),
        };
        generated?;
        // Each message has its own time to be delivered; this only waits for the last of them to be told.
        self.producer.flush(timeout.max(Duration::from_secs(130))).await?;
        let seconds = self.began.elapsed().as_secs_f64();
        let delivered = self.producer.delivered();
        if delivered.failed > 0 {
            let error = delivered.last_error.unwrap_or_default();
            return Err(Failure::failed(format!(
                "{} of {} records were not delivered: {error}; is the broker up?",
                delivered.failed,
                delivered.failed + delivered.partitions.values().sum::<u64>()
            )));
        }
        let produced = delivered.total();
        Ok(Produced {
            produced,
            failed: 0,
            bytes: self.bytes.load(Ordering::Relaxed),
            seconds,
            records_per_second: produced as f64 / seconds.max(f64::EPSILON),
            partitions: delivered.partitions.into_iter().collect(),
        })
    }
}

struct Generating {
    producer: Producer,
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    simulator: Simulator,
    topic: String,
    partitions: i32,
    format: Format,
    rate: Option<u64>,
}

impl Generating {
    fn run(self) -> Result<(), MqError> {
        let began = Instant::now();
        let (mut text, mut payload) = (String::new(), Vec::new());
        for index in 0..self.simulator.total() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if let Some(rate) = self.rate {
                let due = Duration::from_secs_f64(index as f64 / rate as f64);
                // Short waits are saved up: a thread cannot sleep for microseconds.
                while let Some(early) =
                    due.checked_sub(began.elapsed()).filter(|early| *early > Duration::from_millis(2))
                {
                    if self.stop.load(Ordering::Relaxed) {
                        return Ok(());
                    }
                    std::thread::sleep(early.min(Duration::from_millis(200)));
                }
            }
            let (table, number) = self.simulator.at(index);
            let record = self.simulator.record_in(&mut text, table, number);
            payload.clear();
            record.write(self.format, &mut payload).map_err(|error| MqError::Other {
                action: format!("encoding record {number} of {}", record.device_id),
                reason: error.to_string(),
            })?;
            let key = record.device_id.as_bytes();
            let message = Outgoing {
                partition: Some(partition_of(key, self.partitions)),
                key: Some(bytes::Bytes::copy_from_slice(key)),
                payload: Some(bytes::Bytes::copy_from_slice(&payload)),
                ..Outgoing::default()
            };
            self.send(message)?;
            self.bytes.fetch_add(payload.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn send(&self, mut message: Outgoing) -> Result<(), MqError> {
        loop {
            match self.producer.enqueue(&self.topic, message) {
                Ok(()) => return Ok(()),
                Err(MqError::Full(refused)) => message = *refused,
                Err(error) => return Err(error),
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.producer.room_blocking(Duration::from_millis(100));
        }
    }
}
