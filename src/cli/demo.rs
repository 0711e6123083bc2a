//! `kafka-taos demo`: the whole way, and the proof that all arrived.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use kafka_taos::mapping::DemoRows;
use kafka_taos::message::TopicPartition;
use kafka_taos::mq::kafka::{Admin, KafkaQueue};
use kafka_taos::mq::{MessageQueue as _, MqError};
use kafka_taos::pipeline::{Pipeline, PipelineError, Stop, Watch};
use kafka_taos::simulate::{Comparison, Simulator};
use kafka_taos::stats::Snapshot;
use kafka_taos::tdengine::{ConnectOptions, Connection};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::consume::{lines, pipeline_settings, start_admin, store, super_table};
use super::dead_letter::dead_letter_place;
use super::embedded::{start_broker, start_endpoint};
use super::produce::{Produced, Running, make_super_table};
use super::settings::{
    AdminArgs, CommonArgs, DeadLetterArgs, KafkaArgs, PolicyArgs, QueueArgs, Settings, TdengineArgs,
};
use super::signals::Signals;
use super::simulator::SimulatorArgs;
use super::{Context, Ended, Failure};

/// Run the whole system and check every row: embedded Kafka and TDengine, topic, producer, consumers, comparison
#[derive(Args, Debug)]
pub(super) struct Demo {
    #[command(flatten)]
    simulator: SimulatorArgs,
    /// Partitions of the topic
    #[arg(long, default_value_t = 10)]
    partitions: i32,
    /// Consumers in the group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    consumers: u16,
    /// Leave all up afterwards, to be queried, until a signal
    #[arg(long)]
    keep: bool,
    /// Keep the data of the embedded servers in this folder
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    dead_letter: DeadLetterArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    produced: u64,
    consumed: u64,
    #[serde(flatten)]
    comparison: Comparison,
    redelivered: u64,
    seconds: f64,
    rows_per_second: f64,
    brokers: String,
    tdengine: String,
}

/// Without progress for so long, the demo gives up.
const STUCK_AFTER: Duration = Duration::from_secs(60);

impl Demo {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let mut settings = context.settings()?;
        let signals = Signals::watch()?;
        let is_given = |name: &str| settings.shown.iter().any(|shown| shown.setting == name && shown.from != "default");
        let (own_kafka, own_tdengine) = (is_given("brokers"), is_given("tdengine"));
        if !is_given("topic") {
            // A topic of this run alone, so that only its records are counted.
            settings.topics = vec![format!("demo-{}", jiff::Timestamp::now().as_millisecond())];
        }
        let broker = match own_kafka {
            true => None,
            false => Some(start_broker(0, self.data_dir.as_deref()).await?),
        };
        if let Some(broker) = &broker {
            settings.kafka.brokers = broker.address().to_string();
        }
        let endpoint = match own_tdengine {
            true => None,
            false => Some(start_endpoint(0, self.data_dir.as_deref(), false).await?),
        };
        if let Some(endpoint) = &endpoint {
            let url = format!("ws://root:taosdata@{}/demo", endpoint.address());
            settings.tdengine =
                url.parse().map_err(|error: kafka_taos::tdengine::dsn::DsnError| Failure::failed(error.to_string()))?;
        }
        let simulator = self.simulator.simulator(&settings)?;
        settings.tdengine.database = Some(simulator.database.clone());
        settings.stable = Some(simulator.super_table.clone());
        eprintln!("Kafka {}, TDengine {}", settings.kafka.brokers, settings.tdengine);

        let admin = start_admin(&settings).await?;
        let worked = tokio::select! {
            worked = self.work(context, &settings, &simulator, endpoint.is_some(), admin.as_ref()) => worked,
            () = signals.first() => return Ok(Ended::Signal(signals.exit_code().unwrap_or(130))),
        };
        let ended = worked.and_then(|report| report.conclude(context));
        if self.keep {
            eprintln!("left up until a signal: Kafka {}, TDengine {}", settings.kafka.brokers, settings.tdengine);
            signals.first().await;
        }
        if let Some(broker) = broker {
            broker.shutdown().await;
        }
        if let Some(endpoint) = endpoint {
            endpoint.shutdown().await;
        }
        ended
    }

    async fn work(
        &self,
        context: &Context<'_>,
        settings: &Settings,
        simulator: &Simulator,
        is_our_endpoint: bool,
        page: Option<&kafka_taos::admin::Admin>,
    ) -> Result<Report, Failure> {
        let topic = settings.one_topic()?.to_owned();
        let admin = Admin::new(&settings.kafka)?;
        let partitions = match admin.partitions(&topic, settings.timeout) {
            Err(MqError::UnknownTopic { .. }) => {
                admin.create(&topic, self.partitions, 1, &[], settings.timeout).await?;
                usize::try_from(self.partitions).unwrap_or(1)
            }
            there => there?,
        };
        // In a folder of ours there may be the rows of an earlier run; on a server of somebody's nothing is dropped.
        make_super_table(settings, simulator, is_our_endpoint).await?;
        let options = ConnectOptions { connect_timeout: settings.timeout, ..ConnectOptions::default() };
        let connection = Connection::connect(&settings.tdengine, None, 0, &options).await?;
        if simulator.stored_rows(&connection).await? > 0 {
            return Err(Failure::failed(format!(
                "super table {} holds rows already, which cannot be told from those of this run: give --stable another name, or drop it",
                simulator.super_table
            )));
        }
        let began = Instant::now();
        let (finish, finished) = watch::channel(false);
        let mut consumers = JoinSet::new();
        let mut watches = Vec::new();
        let queue = KafkaQueue::new(settings.kafka.clone())?;
        for _ in 0..self.consumers {
            let store = store(settings)?;
            let schema = super_table(&store, settings.database()?, &simulator.super_table, true).await?;
            let wanted = pipeline_settings(settings, dead_letter_place(settings, true).await?, None);
            let subscription = queue.queue_subscribe(&settings.topics, &topic)?;
            let pipeline = Pipeline::new(wanted, subscription, store, vec![schema]);
            watches.push(pipeline.watch());
            let (codec, mut finished) = (settings.codec, finished.clone());
            let stop = Stop {
                graceful: async move {
                    // Closed means that this function is left, so that is an end too.
                    let _ = finished.wait_for(|finished| *finished).await;
                },
                abort: std::future::pending(),
            };
            consumers.spawn(pipeline.run(move || DemoRows::new(codec), stop));
        }
        let all = Watch::all(watches);
        if let Some(page) = page {
            page.show(all.clone());
        }
        let lines = lines(&all, context.quiet);
        let run = async {
            let running = Running::start(settings, simulator.clone(), topic.clone(), partitions, None)?;
            let produced = running.finish(true, settings.timeout, std::future::pending()).await?;
            until_committed(&all, &topic, &produced, &mut consumers).await?;
            let _ = finish.send(true);
            while let Some(ended) = consumers.join_next().await {
                ended.map_err(|error| Failure::failed(error.to_string()))??;
            }
            Ok::<_, Failure>(produced)
        };
        let produced = tokio::select! {
            produced = run => produced?,
            () = lines => return Err(Failure::failed("the line a second ended")),
        };
        let seconds = began.elapsed().as_secs_f64();
        let Snapshot { consumed, redelivered, .. } = all.snapshot();
        eprintln!("comparing every row with the record it was made of");
        let comparison = simulator.compare(&connection).await?;
        Ok(Report {
            produced: produced.produced,
            consumed,
            // Over all consumers: what one read that another had read before is not known to either.
            redelivered: redelivered.max(consumed.saturating_sub(produced.produced)),
            rows_per_second: comparison.rows_in_store as f64 / seconds.max(f64::EPSILON),
            comparison,
            seconds,
            brokers: settings.kafka.brokers.clone(),
            tdengine: settings.tdengine.to_string(),
        })
    }
}

/// Waits until the group has committed all that was produced.
async fn until_committed(
    all: &Watch,
    topic: &str,
    produced: &Produced,
    consumers: &mut JoinSet<Result<Snapshot, PipelineError>>,
) -> Result<(), Failure> {
    let (mut progress, mut since) = (0, Instant::now());
    loop {
        let snapshot = all.snapshot();
        let committed = |partition: i32| {
            let stats = snapshot.partitions.get(&TopicPartition::new(topic, partition))?;
            Some((stats.committed?, stats.last + 1))
        };
        let done = produced.partitions.iter().all(|(partition, count)| {
            committed(*partition).is_some_and(|(committed, read)| committed >= read && committed as u64 >= *count)
        });
        if done {
            return Ok(());
        }
        if snapshot.rows_written > progress {
            (progress, since) = (snapshot.rows_written, Instant::now());
        }
        if since.elapsed() > STUCK_AFTER {
            return Err(Failure::failed(format!(
                "no row was written for {STUCK_AFTER:?}, after {} of {}",
                snapshot.rows_written, produced.produced
            )));
        }
        tokio::select! {
            Some(ended) = consumers.join_next() => {
                ended.map_err(|error| Failure::failed(error.to_string()))??;
            }
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

impl Report {
    fn conclude(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let Comparison { rows_in_store, lost, wrong, duplicated, examples } = &self.comparison;
        if !context.json {
            println!(
                "{} records produced, {} consumed, {rows_in_store} rows in the store in {:.1} s: {:.0} rows/s\n\
                 {lost} lost, {wrong} wrong, {duplicated} duplicated, {} redelivered",
                self.produced, self.consumed, self.seconds, self.rows_per_second, self.redelivered
            );
        }
        context.print_json(&self)?;
        match self.comparison.is_clean() {
            true => Ok(Ended::Done),
            false => Err(Failure::failed(format!("the store is not what was produced: {}", examples.join("; ")))),
        }
    }
}
