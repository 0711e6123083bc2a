//! From flags, environment and file to the settings in force: flag > environment > file > default.
//!
//! A file a section: what its settings are read from, and their defaults. [`layers`] knows which layer wins.

mod args;
mod dead_letter;
mod kafka;
mod layers;
mod queue;
mod tdengine;
mod units;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use kafka_taos::admin::Listen;
use kafka_taos::codec::Format;
use kafka_taos::config::file::FileConfig;
use kafka_taos::dead_letter::DeadLetterSetting;
use kafka_taos::mapping::{DemoRows, Mapping, Policed, RowSource};
use kafka_taos::mq::kafka::KafkaSettings;
use kafka_taos::queue::QueueSettings;
use kafka_taos::tdengine::dsn::Dsn;
use kafka_taos::tdengine::schema::SchemaPolicy;
use kafka_taos::tdengine::{ConnectOptions, WriteMode};

pub(crate) use args::{
    AdminArgs, CommonArgs, DeadLetterArgs, KafkaArgs, KafkaConnectionArgs, PolicyArgs, QueueArgs, SchemaArgs,
    TdengineArgs,
};
pub(crate) use dead_letter::Aside;
pub(crate) use layers::Shown;
pub(crate) use units::{duration, key_value};

use super::Failure;
use layers::Layers;
use units::human;

/// The file that is read where `--config` names none.
const DEFAULT_FILE: &str = "kafka-taos.toml";

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) tdengine: Dsn,
    pub(crate) stable: Option<String>,
    pub(crate) schema: SchemaPolicy,
    pub(crate) write: WriteMode,
    pub(crate) answer_timeout: Duration,
    pub(crate) workers: usize,
    pub(crate) queue: QueueSettings,
    pub(crate) aside: Aside,
    pub(crate) admin: Option<Listen>,
    pub(crate) codec: Format,
    /// How messages become rows; `None`: they are demo records.
    pub(crate) mapping: Option<Mapping>,
    pub(crate) timeout: Duration,
    pub(crate) shown: Vec<Shown>,
}

impl Settings {
    /// The only topic there is.
    ///
    /// # Errors
    /// There are several, or a pattern.
    pub(crate) fn one_topic(&self) -> Result<&str, Failure> {
        match self.topics.as_slice() {
            [topic] if !topic.starts_with('^') => Ok(topic),
            _ => Err(Failure::usage("this command takes one topic by name: give one --topic")),
        }
    }

    /// Whether a consumer of these topics would read what it sets aside.
    ///
    /// # Errors
    /// It would.
    pub(crate) fn check_dead_letters(&self) -> Result<(), Failure> {
        let DeadLetterSetting::Topic(dead) = &self.aside.to else { return Ok(()) };
        let is_read = |topic: &String| match topic.starts_with('^') {
            true => regex::Regex::new(topic).is_ok_and(|pattern| pattern.is_match(dead)),
            false => topic == dead,
        };
        match self.topics.iter().find(|topic| is_read(topic)) {
            Some(topic) => Err(Failure::usage(format!(
                "--topic {topic} would read the dead letters in {dead} too: choose a name for them that it does not match"
            ))),
            None => Ok(()),
        }
    }

    /// The database that the TDengine URL names.
    ///
    /// # Errors
    /// It names none.
    pub(crate) fn database(&self) -> Result<&str, Failure> {
        let missing = || Failure::usage("no database: put it in the URL, ws://USER@HOST:6041/DATABASE");
        self.tdengine.database.as_deref().ok_or_else(missing)
    }

    /// What makes rows of messages.
    pub(crate) fn rows(&self) -> impl Fn() -> Box<dyn RowSource> + Clone + Send + Sync + 'static {
        let (mapping, codec, policies) = (self.mapping.clone(), self.codec, self.aside.policies);
        move || match &mapping {
            Some(mapping) => Box::new(Policed::new(policies, mapping.rows())),
            None => Box::new(Policed::new(policies, DemoRows::new(codec))),
        }
    }

    /// The group: as set, or the name of the only topic.
    ///
    /// # Errors
    /// Several topics or a pattern, and no group.
    pub(crate) fn group(&self) -> Result<String, Failure> {
        match (&self.group, self.topics.as_slice()) {
            (Some(group), _) => Ok(group.clone()),
            (None, [topic]) if !topic.starts_with('^') => Ok(topic.clone()),
            _ => Err(Failure::usage("with several topics or a pattern the group must be given: --group NAME")),
        }
    }

    /// How long the way to TDengine may take.
    pub(crate) fn connect_options(&self) -> ConnectOptions {
        let defaults = ConnectOptions::default();
        let write_timeout = defaults.write_timeout.min(self.answer_timeout);
        ConnectOptions { connect_timeout: self.timeout, write_timeout, read_timeout: self.answer_timeout, ..defaults }
    }

    /// Reads all layers. `matches` are those of the command; `config` is what `--config` said.
    pub(crate) fn resolve(matches: &ArgMatches, config: Option<&Path>) -> Result<Self, Failure> {
        let (file, path) = match config {
            Some(path) => (FileConfig::read(path).map_err(|e| Failure::usage(e.to_string()))?, path.to_owned()),
            None if Path::new(DEFAULT_FILE).exists() => {
                let path = PathBuf::from(DEFAULT_FILE);
                (FileConfig::read(&path).map_err(|e| Failure::usage(e.to_string()))?, path)
            }
            None => (FileConfig::default(), PathBuf::new()),
        };
        let mut layers = Layers { matches, path, shown: Vec::new() };
        let settings = Self::of(&mut layers, file)?;
        settings.kafka.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(settings)
    }

    fn of(layers: &mut Layers<'_>, file: FileConfig) -> Result<Self, Failure> {
        let FileConfig {
            kafka,
            format,
            tdengine: in_tdengine,
            queue,
            dead_letter,
            policy,
            admin,
            table,
            unmatched,
            test: _,
            workers,
            timeout,
        } = file;
        let mapping = match table.is_empty() {
            true => None,
            false => {
                let folder = layers.path.parent().unwrap_or(Path::new("")).to_owned();
                let compiled = Mapping::compile(&format, &table, &unmatched, &folder);
                let place = layers.path.display();
                Some(compiled.map_err(|errors| Failure::usage(format!("configuration {place}:\n{errors}")))?)
            }
        };
        let (kafka, topics, group) = layers.kafka(kafka)?;
        let answer_in_file =
            layers.parsed_by("tdengine.answer_timeout", in_tdengine.answer_timeout.clone(), duration)?;
        let (tdengine, write, stable) = layers.tdengine(in_tdengine.clone())?;
        let schema = layers.schema(in_tdengine)?;
        let answer_default = ConnectOptions::default().read_timeout;
        let answer_timeout =
            layers.pick_shown("answer-timeout", "answer_timeout", answer_in_file, answer_default, human);
        let workers = layers.pick("workers", "workers", workers, 4);
        let queue = layers.queue(queue)?;
        let aside = layers.aside(dead_letter, policy)?;
        let admin = layers.pick_optional("admin", "admin", admin.listen);
        let admin = admin.map(|listen| listen.parse().map_err(|error| Failure::usage(format!("admin: {error}"))));
        let admin = admin.transpose()?;
        // A mapping reads formats that no typed record comes in.
        let codec_in_file = layers.parsed("format.type", format.kind.filter(|_| mapping.is_none()))?;
        let codec = layers.pick("codec", "codec", codec_in_file, Format::MsgPack);
        let timeout_in_file = layers.parsed_by("timeout", timeout, duration)?;
        let timeout = layers.pick_shown("timeout", "timeout", timeout_in_file, Duration::from_secs(10), human);
        let kafka = KafkaSettings { request_timeout: timeout, ..kafka };
        let shown = std::mem::take(&mut layers.shown);
        Ok(Self {
            kafka,
            topics,
            group,
            tdengine,
            stable,
            schema,
            write,
            answer_timeout,
            workers,
            queue,
            aside,
            admin,
            codec,
            mapping,
            timeout,
            shown,
        })
    }
}
