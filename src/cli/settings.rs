//! From flags, environment and file to the settings in force: flag > environment > file > default.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use kafka_taos::codec::Format;
use kafka_taos::config::Secret;
use kafka_taos::config::file::FileConfig;
use kafka_taos::dead_letter::DeadLetterTo;
use kafka_taos::mq::kafka::{KafkaSettings, Sasl, StartOffset, Tls};
use kafka_taos::queue::QueueSettings;
use kafka_taos::tdengine::WriteMode;
use kafka_taos::tdengine::dsn::Dsn;
use serde::Serialize;

use super::Failure;

/// The file that is read where `--config` names none.
const DEFAULT_FILE: &str = "kafka-taos.toml";

/// How to reach Kafka, and what to read there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    /// Brokers, HOST:PORT, several by comma [default: localhost:9092]
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true)]
    brokers: Option<String>,
    /// Topic; repeat it for several; ^REGEX for a pattern [default: test]
    #[arg(long, env = "KAFKA_TOPIC", hide_env_values = true, value_delimiter = ',')]
    topic: Vec<String>,
    /// Consumer group [default: the topic's name]
    #[arg(long, env = "KAFKA_GROUP", hide_env_values = true)]
    group: Option<String>,
    /// Where a group begins that has committed nothing: earliest, latest, an offset, @MILLISECONDS or a time as of
    /// RFC 3339 [default: earliest]
    #[arg(long, env = "KAFKA_OFFSET", hide_env_values = true, allow_hyphen_values = true)]
    offset: Option<StartOffset>,
    /// How long a member may be silent before its partitions go to another [default: 10s]
    #[arg(long, value_parser = duration)]
    session_timeout: Option<Duration>,
    /// PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 [default with a user: PLAIN]
    #[arg(long, env = "KAFKA_SASL_MECHANISM", hide_env_values = true)]
    sasl_mechanism: Option<String>,
    /// User for SASL
    #[arg(long, env = "KAFKA_USER", hide_env_values = true)]
    user: Option<String>,
    /// File with the password for SASL; or KAFKA_PASSWORD in the environment
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Certificates of the authorities to trust, PEM; turns TLS on
    #[arg(long, env = "KAFKA_TLS_CA", hide_env_values = true)]
    tls_ca: Option<PathBuf>,
    /// The client's certificate, PEM
    #[arg(long, env = "KAFKA_TLS_CERT", hide_env_values = true)]
    tls_cert: Option<PathBuf>,
    /// The client's key, PEM
    #[arg(long, env = "KAFKA_TLS_KEY", hide_env_values = true)]
    tls_key: Option<PathBuf>,
    /// Any librdkafka property; repeat it for several
    #[arg(long = "kafka", value_name = "KEY=VALUE", value_parser = key_value)]
    property: Vec<(String, String)>,
}

/// How to reach TDengine.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TDengine")]
pub(crate) struct TdengineArgs {
    /// ws://USER[:PASSWORD]@HOST:PORT/DB; wss, http, https too; several hosts by comma
    /// [default: ws://root:taosdata@localhost:6041/test]
    #[arg(long, env = "TDENGINE_URL", hide_env_values = true, value_name = "URL", alias = "taosuri")]
    tdengine: Option<Dsn>,
    /// How rows are written: stmt2, sql, rest [default: stmt2]
    #[arg(long)]
    write: Option<WriteMode>,
}

/// How the consumer works.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Queue and workers")]
pub(crate) struct QueueArgs {
    /// Workers, each with a queue and a connection of its own [default: 4]
    #[arg(long, alias = "worker", env = "KAFKA_TAOS_WORKERS", hide_env_values = true, value_parser = at_least_one)]
    workers: Option<usize>,
    /// Messages that a queue holds at most
    #[arg(long, env = "QUEUE_MAX_QUEUE_SIZE", hide_env_values = true)]
    queue_max_size: Option<usize>,
    /// Bytes that a queue holds at most, e.g. 8MiB
    #[arg(long, value_parser = bytes)]
    queue_max_bytes: Option<usize>,
    /// Messages in a batch at most
    #[arg(long, env = "QUEUE_MAX_BATCH_SIZE", hide_env_values = true)]
    batch_max_size: Option<usize>,
    /// Messages that make a batch before the linger time is over
    #[arg(long, env = "QUEUE_MIN_BATCH_SIZE", hide_env_values = true)]
    batch_min_size: Option<usize>,
    /// Bytes in a batch at most, e.g. 2MiB
    #[arg(long, value_parser = bytes)]
    batch_max_bytes: Option<usize>,
    /// How long a message waits for others at most, e.g. 50ms
    #[arg(long, env = "QUEUE_LINGER_TIME", hide_env_values = true, value_parser = duration)]
    linger: Option<Duration>,
    /// Where messages go that cannot be written: file:FOLDER, or none to stop at the first [default: none]
    #[arg(long, env = "KAFKA_TAOS_DEAD_LETTER", hide_env_values = true)]
    dead_letter: Option<DeadLetterTo>,
}

/// What all commands share.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CommonArgs {
    /// How long a command tries to connect; a running consumer tries without end [default: 10s]
    #[arg(long, value_parser = duration)]
    timeout: Option<Duration>,
    /// How records are encoded: msgpack, json [default: msgpack]
    #[arg(long)]
    codec: Option<Format>,
}

/// A setting, as `config` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    /// `flag`, `environment VARIABLE`, `file PATH`, `default`.
    pub(crate) from: String,
}

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) kafka: KafkaSettings,
    pub(crate) topics: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) tdengine: Dsn,
    pub(crate) stable: Option<String>,
    pub(crate) write: WriteMode,
    pub(crate) workers: usize,
    pub(crate) queue: QueueSettings,
    pub(crate) dead_letter: DeadLetterTo,
    pub(crate) codec: Format,
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

    /// The database that the TDengine URL names.
    ///
    /// # Errors
    /// It names none.
    pub(crate) fn database(&self) -> Result<&str, Failure> {
        let missing = || Failure::usage("no database: put it in the URL, ws://USER@HOST:6041/DATABASE");
        self.tdengine.database.as_deref().ok_or_else(missing)
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
        let settings = layers.all(file)?;
        settings.kafka.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(settings)
    }
}

struct Layers<'a> {
    matches: &'a ArgMatches,
    path: PathBuf,
    shown: Vec<Shown>,
}

impl Layers<'_> {
    fn all(&mut self, file: FileConfig) -> Result<Settings, Failure> {
        let FileConfig {
            kafka: in_kafka,
            format,
            tdengine: in_tdengine,
            queue: in_queue,
            dead_letter,
            workers,
            timeout,
            table: _,
            unmatched: _,
            test: _,
        } = file;
        let default = KafkaSettings::default();

        let brokers_in_file = in_kafka.brokers.map(|brokers| brokers.into_vec().join(","));
        let brokers = self.pick("brokers", "brokers", brokers_in_file, default.brokers);
        let topics_in_file = in_kafka.topics.map(|topics| topics.into_vec());
        let topics = self.pick_many("topic", "topic", topics_in_file, vec!["test".to_owned()], |topic| topic.clone());
        let group = self.pick_optional("group", "group", in_kafka.group);
        let offset_in_file = self.parsed("kafka.offset", in_kafka.offset.map(|offset| offset.to_string()))?;
        let start = self.pick("offset", "offset", offset_in_file, StartOffset::default());
        let in_file = self.parsed_by("kafka.session_timeout", in_kafka.session_timeout, duration)?;
        let session_timeout =
            self.pick_shown("session-timeout", "session_timeout", in_file, default.session_timeout, human);

        let mechanism = self.pick_optional("sasl-mechanism", "sasl_mechanism", in_kafka.sasl_mechanism);
        let user = self.pick_optional("user", "user", in_kafka.user);
        let password = self.kafka_password(in_kafka.password_file)?;
        let enabled = env("KAFKA_SASL_ENABLE").map(|text| truth("KAFKA_SASL_ENABLE", &text)).transpose()?;
        let sasl = match (user, password) {
            _ if enabled == Some(false) => None,
            (Some(user), Some(password)) => {
                Some(Sasl { mechanism: mechanism.unwrap_or_else(|| "PLAIN".into()), user, password })
            }
            (None, None) if enabled != Some(true) && mechanism.is_none() => None,
            (None, _) => {
                return Err(Failure::usage("SASL to Kafka needs a user: --user NAME or KAFKA_USER"));
            }
            (Some(_), None) => {
                return Err(Failure::usage(
                    "a Kafka user needs a password: --password-file FILE, or KAFKA_PASSWORD in the environment",
                ));
            }
        };
        let ca = self.pick_path("tls-ca", "tls_ca", in_kafka.tls_ca);
        let certificate = self.pick_path("tls-cert", "tls_cert", in_kafka.tls_cert);
        let key = self.pick_path("tls-key", "tls_key", in_kafka.tls_key);
        let tls_enabled = env("KAFKA_TLS_ENABLE").map(|text| truth("KAFKA_TLS_ENABLE", &text)).transpose()?;
        if certificate.is_some() != key.is_some() {
            return Err(Failure::usage(
                "a client certificate and its key belong together: give both --tls-cert and --tls-key",
            ));
        }
        let wants_tls = tls_enabled.unwrap_or(ca.is_some() || certificate.is_some());
        let tls = wants_tls.then_some(Tls { ca, certificate, key });
        let properties_in_file: Vec<_> =
            in_kafka.properties.into_iter().map(|(key, value)| (key, value.to_string())).collect();
        let from_flags =
            self.pick_many("kafka", "property", Some(properties_in_file.clone()), Vec::new(), |(key, value)| {
                // A property may carry a secret, whatever its name.
                if key.contains("password") || key.contains("secret") || key.contains("token") {
                    format!("{key}=***")
                } else {
                    format!("{key}={value}")
                }
            });
        // Flags win per property, not as a whole.
        let properties = properties_in_file.into_iter().chain(from_flags).collect();
        if env("KAFKA_VERSION").is_some() {
            tracing::warn!("KAFKA_VERSION is ignored: the protocol's version is negotiated with the broker");
        }
        let kafka =
            KafkaSettings { brokers, sasl, tls, start, session_timeout, properties, ..KafkaSettings::default() };

        let url_in_file = self.parsed("tdengine.url", in_tdengine.url)?;
        let dsn_default =
            "ws://root:taosdata@localhost:6041/test".parse::<Dsn>().map_err(|e| Failure::failed(e.to_string()))?;
        if std::env::args().any(|argument| argument == "--taosuri" || argument.starts_with("--taosuri=")) {
            tracing::warn!("--taosuri is an old name: write --tdengine ws://USER@HOST:6041/DB");
        }
        let mut tdengine = self.pick("tdengine", "tdengine", url_in_file, dsn_default);
        if let Some(user) = env("TDENGINE_USER").or(in_tdengine.user) {
            tdengine = tdengine.with_user(Some(&user));
        }
        if let Some(password) = self.tdengine_password(in_tdengine.password_file)? {
            tdengine = tdengine.with_password(Some(password.expose()));
        }
        let write_in_file = self.parsed("tdengine.write", in_tdengine.write)?;
        let write = self.pick("write", "write", write_in_file, WriteMode::Stmt2);
        // What nobody chose is checked by the commands that write.
        if self.shown.last().is_some_and(|write| write.from != "default") {
            write.check(&tdengine).map_err(Failure::usage)?;
        }
        let stable = self.pick_optional("stable", "stable", in_tdengine.stable);

        let workers = self.pick("workers", "workers", workers, 4);
        let queue = self.queue(in_queue)?;
        let to_in_file = self.parsed("dead_letter.to", dead_letter.to)?;
        let dead_letter = self.pick("dead-letter", "dead_letter", to_in_file, DeadLetterTo::None);
        let codec_in_file = self.parsed("format.type", format.kind)?;
        let codec = self.pick("codec", "codec", codec_in_file, Format::MsgPack);
        let timeout_in_file = self.parsed_by("timeout", timeout, duration)?;
        let timeout = self.pick_shown("timeout", "timeout", timeout_in_file, Duration::from_secs(10), human);
        let kafka = KafkaSettings { request_timeout: timeout, ..kafka };

        let shown = std::mem::take(&mut self.shown);
        Ok(Settings {
            kafka,
            topics,
            group,
            tdengine,
            stable,
            write,
            workers,
            queue,
            dead_letter,
            codec,
            timeout,
            shown,
        })
    }

    fn queue(&mut self, file: kafka_taos::config::file::Queue) -> Result<QueueSettings, Failure> {
        let default = QueueSettings::default();
        let max_bytes_in_file = self.parsed_by("queue.max_bytes", file.max_bytes.map(|b| b.to_string()), bytes)?;
        let batch_bytes_in_file =
            self.parsed_by("queue.batch_max_bytes", file.batch_max_bytes.map(|b| b.to_string()), bytes)?;
        let linger_in_file = self.parsed_by("queue.linger", file.linger, duration)?;
        let max_queue_items = self.pick("queue-max-size", "queue_max_size", file.max_size, default.max_queue_items);
        let max_queue_bytes =
            self.pick("queue-max-bytes", "queue_max_bytes", max_bytes_in_file, default.max_queue_bytes);
        let max_batch_items =
            self.pick("batch-max-size", "batch_max_size", file.batch_max_size, default.max_batch_items);
        // A small maximum alone is no contradiction: the minimum that nobody set goes along.
        let min_default = default.min_batch_items.min(max_batch_items);
        let min_batch_items = self.pick("batch-min-size", "batch_min_size", file.batch_min_size, min_default);
        let max_batch_bytes =
            self.pick("batch-max-bytes", "batch_max_bytes", batch_bytes_in_file, default.max_batch_bytes);
        let linger = self.pick_shown("linger", "linger", linger_in_file, default.linger, human);
        let settings = QueueSettings {
            max_queue_items,
            max_queue_bytes,
            max_batch_items,
            min_batch_items,
            max_batch_bytes,
            linger,
        };
        settings.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(settings)
    }

    /// What the file says of `key`, read as the flag is.
    fn parsed<T: FromStr>(&self, key: &str, text: Option<String>) -> Result<Option<T>, Failure>
    where
        T::Err: Display,
    {
        self.parsed_by(key, text, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    fn parsed_by<T>(
        &self,
        key: &str,
        text: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let read = |text: String| {
            read(&text)
                .map_err(|error| Failure::usage(format!("configuration {}: {key}: {error}", self.path.display())))
        };
        text.map(read).transpose()
    }

    fn pick<T: Clone + Display + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<T>,
        default: T,
    ) -> T {
        self.pick_shown(setting, id, file, default, T::to_string)
    }

    fn pick_shown<T: Clone + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<T>,
        default: T,
        show: fn(&T) -> String,
    ) -> T {
        let (value, from) = match (self.given::<T>(id), file) {
            (Some(given), _) => given,
            (None, Some(value)) => (value, format!("file {}", self.path.display())),
            (None, None) => (default, "default".to_owned()),
        };
        self.shown.push(Shown { setting, value: show(&value), from });
        value
    }

    fn pick_many<T: Clone + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<Vec<T>>,
        default: Vec<T>,
        show: fn(&T) -> String,
    ) -> Vec<T> {
        let given = self.matches.try_get_many::<T>(id).ok().flatten().map(|many| many.cloned().collect::<Vec<_>>());
        // Asked only of what was given: clap panics about arguments that the command does not have.
        let given = given.and_then(|values| Some((values, self.origin(id)?)));
        let (value, from) = match (given, file) {
            (Some((values, from)), _) => (values, from),
            (None, Some(values)) if !values.is_empty() => (values, format!("file {}", self.path.display())),
            (None, _) => (default, "default".to_owned()),
        };
        self.shown.push(Shown { setting, value: value.iter().map(show).collect::<Vec<_>>().join(","), from });
        value
    }

    fn pick_optional(&mut self, setting: &'static str, id: &str, file: Option<String>) -> Option<String> {
        let text = self.pick_shown(setting, id, file.map(Some), None, |text| text.clone().unwrap_or_default());
        // The flag holds a plain text, not an optional one.
        match self.given::<String>(id) {
            Some((value, from)) => {
                if let Some(shown) = self.shown.last_mut() {
                    *shown = Shown { setting, value: value.clone(), from };
                }
                Some(value)
            }
            None => text,
        }
    }

    fn pick_path(&mut self, setting: &'static str, id: &str, file: Option<PathBuf>) -> Option<PathBuf> {
        let (value, from) = match (self.given::<PathBuf>(id), file) {
            (Some((path, from)), _) => (Some(path), from),
            (None, Some(path)) => (Some(path), format!("file {}", self.path.display())),
            (None, None) => (None, "default".to_owned()),
        };
        let text = value.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        self.shown.push(Shown { setting, value: text, from });
        value
    }

    fn given<T: Clone + Send + Sync + 'static>(&self, id: &str) -> Option<(T, String)> {
        let value = self.matches.try_get_one::<T>(id).ok().flatten()?.clone();
        Some((value, self.origin(id)?))
    }

    fn origin(&self, id: &str) -> Option<String> {
        // An empty variable is as good as none: files of environment variables are full of them.
        let is_empty = || self.matches.get_raw(id).is_none_or(|mut raw| raw.all(std::ffi::OsStr::is_empty));
        match self.matches.value_source(id)? {
            ValueSource::EnvVariable if is_empty() => None,
            ValueSource::CommandLine => Some("flag".into()),
            ValueSource::EnvVariable => Some("environment".into()),
            _ => None,
        }
    }

    fn kafka_password(&mut self, file: Option<PathBuf>) -> Result<Option<Secret>, Failure> {
        let flag = self.given::<PathBuf>("password_file");
        let from_environment = env("KAFKA_PASSWORD").map(Secret::new);
        let (secret, from) = match (flag, from_environment, file) {
            (Some((path, from)), _, _) => (Some(read_secret(&path)?), from),
            (None, Some(secret), _) => (Some(secret), "environment".to_owned()),
            (None, None, Some(path)) => (Some(read_secret(&path)?), format!("file {}", self.path.display())),
            (None, None, None) => (None, "default".to_owned()),
        };
        let value = secret.as_ref().map(Secret::to_string).unwrap_or_default();
        self.shown.push(Shown { setting: "password-file", value, from });
        Ok(secret)
    }

    fn tdengine_password(&self, file: Option<PathBuf>) -> Result<Option<Secret>, Failure> {
        if let Some(password) = env("TDENGINE_PASSWORD") {
            return Ok(Some(Secret::new(password)));
        }
        env("TDENGINE_PASSWORD_FILE").map(PathBuf::from).or(file).map(|path| read_secret(&path)).transpose()
    }
}

/// An environment variable; an empty one is as good as none.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn truth(name: &str, text: &str) -> Result<bool, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Failure::usage(format!("{name}={text}: write true or false"))),
    }
}

fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("password file {}: {error}", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn human(duration: &Duration) -> String {
    format!("{duration:?}")
}

/// `50ms`, `10s`, `1m 30s`; a bare number is refused, since its unit would be a guess.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    parsed.ok_or_else(|| format!("{text:?} is not a length of time: write it with its unit, as in 50ms, 10s, 5m"))
}

/// `1048576`, `8MiB`, `2MB`.
fn bytes(text: &str) -> Result<usize, String> {
    let parsed = text.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    parsed.ok_or_else(|| format!("{text:?} is not a number of bytes: write 1048576, 8MiB or 2MB"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("write a number above 0".into()),
    }
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
