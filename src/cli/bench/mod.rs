//! `kafka-taos bench`: what each part of the way costs, side by side, in one run.
//!
//! Servers and every single measure are processes of their own. Rounds go through all measures one after another, so
//! that what disturbs the machine disturbs all of them alike; of each the median counts.

mod meter;
mod plot;
mod report;
mod step;
mod workload;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;
use kafka_taos::mq::kafka::{Admin, Producer};

use self::report::{Report, Sample};
use self::step::{Measure, Measured, Step};
use self::workload::{Axis, Scene, Workload};
use super::settings::{CommonArgs, KafkaArgs, QueueArgs, Settings, TdengineArgs};
use super::signals::Signals;
use super::{Context, Ended, Failure};

/// Measure the parts of the way and the whole of it, side by side
#[derive(Args, Debug)]
pub(super) struct Bench {
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The workload; without it, both
    #[arg(long, value_enum)]
    workload: Option<Workload>,
    /// Measure these alone; by comma
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Records of a measure [default: 30000 of w1, 400000 of w2]
    #[arg(long, value_parser = clap::value_parser!(u64).range(2000..))]
    records: Option<u64>,
    /// Measure how the cost of the whole way grows with this, at three points, in place of all else
    #[arg(long, value_enum, conflicts_with_all = ["workload", "only", "records", "scatter"])]
    grow: Option<Axis>,
    /// Put each record in any partition, as the original producer does, and not in that of its table
    #[arg(long)]
    scatter: bool,
    /// Draw the result, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What a process that this one starts is to measure
    #[arg(long, hide = true)]
    step: Option<String>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Bench {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        if let Some(step) = &self.step {
            let step: Step = serde_json::from_str(step)?;
            println!("{}", serde_json::to_string(&step.run(settings).await?)?);
            return Ok(Ended::Done);
        }
        let signals = Signals::watch()?;
        let measured = tokio::select! {
            report = self.measure(&settings, context.quiet) => report?,
            () = signals.first() => return Ok(Ended::Signal(signals.exit_code().unwrap_or(130))),
        };
        if let Some(file) = &self.plot {
            measured.plot(file)?;
        }
        if !context.json {
            println!("{}", measured.table());
        }
        context.print_json(&measured)?;
        Ok(Ended::Done)
    }

    async fn measure(&self, settings: &Settings, quiet: bool) -> Result<Report, Failure> {
        let is_given = |name: &str| settings.shown.iter().any(|shown| shown.setting == name && shown.from != "default");
        let measures = self.measures(is_given("tdengine"));
        let needs = |measure| measures.contains(&measure);
        let null = Servers::start(true)?;
        let embedded = if needs(Measure::WholeEmbedded) { Some(Servers::start(false)?) } else { None };
        let mut kafka = settings.kafka.clone();
        if !is_given("brokers") {
            kafka.brokers.clone_from(&null.kafka);
        }
        let mut steps = Vec::new();
        for (number, scene) in self.scenes().into_iter().enumerate() {
            let now = jiff::Timestamp::now().as_millisecond();
            let topic = format!("kafka-taos-bench-{}-{now}-{number}", scene.workload);
            let reads = |measure: &Measure| {
                use Measure::{Decode, DecodeTyped, EncodeSql, EncodeStmt2, Queue};
                !matches!(measure, Decode | DecodeTyped | EncodeSql | EncodeStmt2 | Queue)
            };
            if measures.iter().any(reads) {
                let admin = Admin::new(&kafka)?;
                for topic in [topic.clone(), into(&topic)] {
                    admin.create(&topic, scene.partitions, 1, &[], settings.timeout).await?;
                }
                let (kafka, topic) = (kafka.clone(), topic.clone());
                tokio::task::spawn_blocking(move || fill(&kafka, &topic, scene)).await??;
            }
            for &measure in &measures {
                // The demo record is one by its type anyway.
                if scene.workload == Workload::W1 && matches!(measure, Measure::DecodeTyped | Measure::WholeNullTyped) {
                    continue;
                }
                let tdengine = match measure {
                    Measure::WholeEmbedded => embedded.as_ref().map(|servers| servers.tdengine.clone()),
                    // It is in the flags; there may be a password in it.
                    Measure::WholeServer => None,
                    _ => Some(null.tdengine.clone()),
                };
                let produces = matches!(measure, Measure::Produce | Measure::ProduceBare);
                let (brokers, topic) = (kafka.brokers.clone(), if produces { into(&topic) } else { topic.clone() });
                steps.push(Step { measure, scene, brokers, topic, tdengine });
            }
        }
        let mut samples: Vec<Vec<Measured>> = vec![Vec::new(); steps.len()];
        for round in 1..=self.rounds {
            for (step, samples) in steps.iter().zip(&mut samples) {
                if !quiet {
                    eprintln!("round {round} of {}: {} {}", self.rounds, step.scene, step.measure);
                }
                samples.push(run_alone(step).await?);
            }
        }
        let results = steps
            .iter()
            .zip(samples)
            .map(|(step, samples)| Sample::median(step.measure, step.scene, self.grow, samples));
        Ok(Report { rounds: self.rounds, results: results.collect() })
    }

    fn scenes(&self) -> Vec<Scene> {
        if let Some(axis) = self.grow {
            return axis.scenes().into();
        }
        let workloads = self.workload.map_or(vec![Workload::W1, Workload::W2], |one| vec![one]);
        let scene = |workload: Workload| {
            let scene = workload.scene();
            Scene { records: self.records.unwrap_or(scene.records), scatter: self.scatter, ..scene }
        };
        workloads.into_iter().map(scene).collect()
    }

    fn measures(&self, has_server: bool) -> Vec<Measure> {
        use clap::ValueEnum as _;
        match self.only.is_empty() {
            true if self.grow.is_some() => vec![Measure::WholeNull],
            true => {
                Measure::value_variants().iter().copied().filter(|m| has_server || *m != Measure::WholeServer).collect()
            }
            false => self.only.clone(),
        }
    }
}

/// The topic that is produced into, beside the one that is read.
fn into(topic: &str) -> String {
    format!("{topic}-produced")
}

/// Runs a step in a process of its own, with the flags of this one.
async fn run_alone(step: &Step) -> Result<Measured, Failure> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--step").arg(serde_json::to_string(step)?);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::failed(format!("{} {}: {}", step.scene, step.measure, said.trim())));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Publishes a workload's records.
fn fill(kafka: &kafka_taos::mq::kafka::KafkaSettings, topic: &str, scene: Scene) -> Result<(), Failure> {
    let producer = Producer::new(kafka)?;
    let mut text = String::new();
    for index in 0..scene.records {
        let mut message = scene.outgoing(index, &mut text)?;
        while let Err(error) = producer.enqueue(topic, message) {
            match error {
                kafka_taos::mq::MqError::Full(refused) => message = *refused,
                error => return Err(error.into()),
            }
            producer.room_blocking(Duration::from_millis(100));
        }
    }
    producer.flush_blocking(Duration::from_secs(60))?;
    match producer.delivered().last_error {
        Some(error) => Err(Failure::failed(error)),
        None => Ok(()),
    }
}

/// An embedded Kafka and an embedded TDengine in a process of their own; killed when dropped.
struct Servers {
    process: Child,
    kafka: String,
    tdengine: String,
}

impl Servers {
    fn start(discard: bool) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--quiet", "embedded", "--kafka-port", "0", "--tdengine-port", "0"]);
        if discard {
            command.arg("--discard");
        }
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let mut servers = Self { process, kafka: String::new(), tdengine: String::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some(("kafka", address)) => servers.kafka = address.to_owned(),
                Some(("tdengine", address)) => servers.tdengine = format!("ws://root:taosdata@{address}/"),
                _ => {}
            }
        }
        match servers.kafka.is_empty() {
            true => Err(Failure::failed("the embedded servers did not start")),
            false => Ok(servers),
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
