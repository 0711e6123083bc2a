//! `kafka-taos consume`: Kafka into TDengine.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use kafka_taos::dead_letter::DeadLetterTo;
use kafka_taos::message::{Offset, TopicPartition};
use kafka_taos::mq::MessageQueue as _;
use kafka_taos::mq::kafka::{Admin, KafkaQueue};
use kafka_taos::pipeline::{Pipeline, PipelineSettings, Stop, Watch};
use kafka_taos::stats::{PartitionStats, Snapshot, line};
use kafka_taos::tdengine::schema::{Database, SuperTable};
use kafka_taos::tdengine::{Class, TaosStore, TdengineError};
use serde::Serialize;

use super::dead_letter::dead_letter_place;
use super::settings::{
    AdminArgs, CommonArgs, DeadLetterArgs, KafkaArgs, PolicyArgs, QueueArgs, SchemaArgs, Settings, TdengineArgs,
};
use super::signals::Signals;
use super::{Context, Ended, Failure, every_second};

/// Read records and write them to TDengine, until a signal
#[derive(Args, Debug)]
pub(super) struct Consume {
    /// Stop at the offsets that are the end now
    #[arg(long)]
    until_end: bool,
    /// Super table of the demo record [default: stb]
    #[arg(long)]
    stable: Option<String>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    schema: SchemaArgs,
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

/// The result of a consumer.
#[derive(Debug, Serialize)]
struct Consumed {
    consumed: u64,
    rows_written: u64,
    merged: u64,
    filtered: u64,
    tag_drift: u64,
    dead_lettered: u64,
    redelivered: u64,
    batches: u64,
    retries: u64,
    seconds: f64,
    rows_per_second: f64,
    partitions: BTreeMap<String, PartitionStats>,
}

impl Consumed {
    fn of(snapshot: Snapshot, seconds: f64) -> Self {
        let partitions = snapshot.partitions.into_iter().map(|(source, stats)| (source.to_string(), stats)).collect();
        Self {
            consumed: snapshot.consumed,
            rows_written: snapshot.rows_written,
            merged: snapshot.merged,
            filtered: snapshot.filtered,
            tag_drift: snapshot.tag_drift,
            dead_lettered: snapshot.dead_lettered,
            redelivered: snapshot.redelivered,
            batches: snapshot.batches,
            retries: snapshot.retries,
            seconds,
            rows_per_second: snapshot.rows_written as f64 / seconds.max(f64::EPSILON),
            partitions,
        }
    }
}

impl Consume {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let group = settings.group()?;
        let signals = Signals::watch()?;
        let store = store(&settings)?;
        let admin = start_admin(&settings).await?;
        let ends = match self.until_end {
            true => Some(ends(&settings)?),
            false => None,
        };
        let ready = async {
            let dead_letters = dead_letter_place(&settings, self.until_end).await?;
            Ok::<_, Failure>((dead_letters, super_tables(&settings, &store, self.until_end).await?))
        };
        let (dead_letters, schemas) = tokio::select! {
            ready = ready => ready?,
            () = signals.first() => {
                context.print_json(&Consumed::of(Snapshot::default(), 0.0))?;
                return Ok(Ended::Signal(signals.exit_code().unwrap_or(130)));
            }
        };
        let queue = KafkaQueue::new(settings.kafka.clone())?;
        queue.on_connection_lost(|reason| tracing::warn!(reason, "no broker can be reached; trying again"));
        queue.on_connected(|| tracing::info!("connected to Kafka"));
        let subscription = queue.queue_subscribe(&settings.topics, &group)?;
        let wanted = pipeline_settings(&settings, dead_letters, ends);
        let pipeline = Pipeline::new(wanted, subscription, store, schemas);
        let watch = pipeline.watch();
        if let Some(admin) = &admin {
            admin.show(watch.clone());
        }
        let began = Instant::now();
        let first = signals.first();
        let graceful = async {
            first.await;
            tracing::info!("a signal came: what was read is written and committed; a second one ends this at once");
        };
        let stop = Stop { graceful, abort: signals.second() };
        let ended = tokio::select! {
            ended = pipeline.run(settings.rows(), stop) => ended,
            () = lines(&watch, context.quiet) => return Err(Failure::failed("the line a second ended")),
        };
        let seconds = began.elapsed().as_secs_f64();
        let snapshot = watch.snapshot();
        let consumed = Consumed::of(snapshot, seconds);
        if !context.json {
            println!(
                "consumed {} records, wrote {} rows in {seconds:.1} s: {:.0} rows/s; {} redelivered, {} dead letters, {} retries",
                consumed.consumed,
                consumed.rows_written,
                consumed.rows_per_second,
                consumed.redelivered,
                consumed.dead_lettered,
                consumed.retries
            );
        }
        context.print_json(&consumed)?;
        ended?;
        Ok(match signals.exit_code() {
            Some(code) => Ended::Signal(code),
            None if consumed.dead_lettered > 0 => Ended::DeadLetters,
            None => Ended::Done,
        })
    }
}

/// Listens on the admin address, if there is one.
pub(super) async fn start_admin(settings: &Settings) -> Result<Option<kafka_taos::admin::Admin>, Failure> {
    let Some(listen) = &settings.admin else { return Ok(None) };
    let started = kafka_taos::admin::Admin::start(listen).await;
    let admin = started.map_err(|error| Failure::failed(format!("admin address {listen}: {error}")))?;
    tracing::info!("admin page, metrics and health at http://{}", admin.address());
    if admin.is_open() {
        tracing::warn!("the admin address can be reached from other machines, and has no password");
    }
    Ok(Some(admin))
}

/// Prints a line a second of a running pipeline.
pub(super) async fn lines(watch: &Watch, quiet: bool) {
    let mut before = 0;
    every_second(quiet, |seconds| {
        let snapshot = watch.snapshot();
        let partitions: Vec<_> = snapshot.partitions.keys().collect();
        // Of one topic the numbers say enough.
        let one_topic = partitions.windows(2).all(|pair| pair[0].topic == pair[1].topic);
        let name = |source: &&TopicPartition| if one_topic { source.partition.to_string() } else { source.to_string() };
        let partitions: Vec<_> = partitions.iter().map(name).collect();
        let mut text = line("consumed", snapshot.consumed, before, seconds, &partitions);
        if let [oldest, ..] = watch.old_gaps().as_slice() {
            text += &format!(", held: {oldest}");
        }
        before = snapshot.consumed;
        text
    })
    .await;
}

/// Where each partition of the topics ends now.
pub(super) fn ends(settings: &Settings) -> Result<HashMap<TopicPartition, Offset>, Failure> {
    let admin = Admin::new(&settings.kafka)?;
    let mut ends = HashMap::new();
    for pattern in &settings.topics {
        let topics = match pattern.starts_with('^') {
            true => {
                let regex = regex::Regex::new(pattern)
                    .map_err(|error| Failure::usage(format!("--topic {pattern}: {error}")))?;
                admin.topics(settings.timeout)?.into_iter().filter(|(topic, _)| regex.is_match(topic)).collect()
            }
            false => vec![(pattern.clone(), admin.partitions(pattern, settings.timeout)?)],
        };
        for (topic, partitions) in topics {
            for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
                let source = TopicPartition::new(topic.as_str(), partition);
                let (_, end) = admin.watermarks(&source, settings.timeout)?;
                ends.insert(source, end);
            }
        }
    }
    Ok(ends)
}

pub(super) fn store(settings: &Settings) -> Result<TaosStore, Failure> {
    settings.write.check(&settings.tdengine).map_err(Failure::usage)?;
    let store = TaosStore::new(settings.tdengine.clone(), settings.write, settings.connect_options());
    Ok(store.with_policy(settings.schema.clone()))
}

/// Reads the super tables that rows go to, made or changed as the mapping wants them: its own, or that of the demo record.
pub(super) async fn super_tables(
    settings: &Settings,
    store: &TaosStore,
    at_once: bool,
) -> Result<Vec<SuperTable>, Failure> {
    let database = settings.database()?;
    let Some(mapping) = &settings.mapping else {
        let stable = settings.stable.as_deref().unwrap_or("stb");
        return Ok(vec![super_table(store, database, stable, at_once).await?]);
    };
    let Database { precision, .. } = waiting(at_once, || store.database(database)).await?;
    store.keep(mapping.super_tables(database, precision));
    let mut schemas = Vec::new();
    for wanted in mapping.super_tables(database, precision) {
        schemas.push(super_table(store, database, &wanted.name, at_once).await?);
    }
    Ok(schemas)
}

/// Reads the super table.
pub(super) async fn super_table(
    store: &TaosStore,
    database: &str,
    stable: &str,
    at_once: bool,
) -> Result<SuperTable, Failure> {
    waiting(at_once, || store.read_schema(database, stable)).await
}

/// What `read` reads. A consumer that runs waits for a server that is away, and for what is not there yet; with `at_once`
/// both are failures.
async fn waiting<T>(at_once: bool, read: impl AsyncFn() -> Result<T, TdengineError>) -> Result<T, Failure> {
    let mut told = String::new();
    loop {
        let error = match read().await {
            Ok(read) => return Ok(read),
            Err(error) => error,
        };
        let may_come = matches!(error, TdengineError::NoDatabase { .. } | TdengineError::NoSuperTable { .. });
        if at_once || (!may_come && error.class() == Class::Fatal) {
            return Err(error.into());
        }
        let text = error.to_string();
        if text != told {
            tracing::warn!("{text}; waiting for it");
            told = text;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// How a pipeline of `settings` works.
pub(super) fn pipeline_settings(
    settings: &Settings,
    dead_letter: DeadLetterTo,
    until_end: Option<HashMap<TopicPartition, Offset>>,
) -> PipelineSettings {
    /// Several of a process, as in the demo, may start within a millisecond; each writes dead letters to a file of its own.
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let now_ms = || jiff::Timestamp::now().as_millisecond();
    PipelineSettings {
        workers: settings.workers,
        queue: settings.queue.clone(),
        dead_letter,
        dead_letter_limit: settings.aside.limit,
        replayed: Arc::default(),
        instance: format!("{}-{}-{}", now_ms(), std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed)),
        commit_interval: Duration::from_millis(500),
        session_timeout: settings.kafka.session_timeout,
        drain_timeout: settings.kafka.drain_timeout,
        until_end,
        now_ms,
    }
}
