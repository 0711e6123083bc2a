//! The flags that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kafka_taos::codec::Format;
use kafka_taos::dead_letter::DeadLetterSetting;
use kafka_taos::mapping::Policy;
use kafka_taos::mq::kafka::StartOffset;
use kafka_taos::row::Precision;
use kafka_taos::tdengine::WriteMode;
use kafka_taos::tdengine::dsn::Dsn;
use kafka_taos::tdengine::schema::{Create, Evolve, TagDrift};

use super::dead_letter::{DeadLetterLimit, PolicyKind, policy};
use super::units::{at_least_one, bytes, duration, key_value};

/// How to reach Kafka, and what to read there.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaArgs {
    #[command(flatten)]
    connection: KafkaConnectionArgs,
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
}

/// How to reach Kafka.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Kafka")]
pub(crate) struct KafkaConnectionArgs {
    /// Brokers, HOST:PORT, several by comma [default: localhost:9092]
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true)]
    brokers: Option<String>,
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
    /// How long TDengine may take to answer; past it a write is tried again on a new connection [default: 60s]
    #[arg(long, value_parser = duration)]
    answer_timeout: Option<Duration>,
}

/// What may be made and changed in TDengine for a mapping.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Schema")]
pub(crate) struct SchemaArgs {
    /// What is made where it is missing, as the mapping wants it: none, stable, database,stable [default: none]
    #[arg(long)]
    create: Option<Create>,
    /// What is changed where the mapping wants more: none, add-column, widen, add-column,widen [default: none]
    #[arg(long)]
    evolve: Option<Evolve>,
    /// Where a message's tags differ from its table's: log, ignore, or alter the table [default: log]
    #[arg(long)]
    tag_drift: Option<TagDrift>,
    /// Precision of a database that is made: ms, us, ns [default: ms]
    #[arg(long)]
    precision: Option<Precision>,
    /// Further options of a database that is made, as in "keep 365d vgroups 4"
    #[arg(long, value_name = "OPTIONS")]
    database_options: Option<String>,
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
}

/// Where messages go that cannot be written.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Dead letters")]
pub(crate) struct DeadLetterArgs {
    /// Where messages go that cannot be written: topic:NAME, file:FOLDER, or none to stop at the first [default: none]
    #[arg(long, env = "KAFKA_TAOS_DEAD_LETTER", hide_env_values = true)]
    dead_letter: Option<DeadLetterSetting>,
}

/// What becomes of messages that cannot be written.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Dead letters")]
pub(crate) struct PolicyArgs {
    /// Stop when there are more dead letters than this, as in 1000/1m, or none for any number [default: 100000/1m]
    #[arg(long, value_name = "N/TIME")]
    dead_letter_limit: Option<DeadLetterLimit>,
    /// What becomes of messages that are undecodable, too_large, tombstone, no_timestamp: dead-letter, drop, stop;
    /// repeat it for several [default: dead-letter for all]
    #[arg(long, value_name = "KIND=WHAT", value_parser = policy)]
    policy: Vec<(PolicyKind, Policy)>,
    /// Messages larger than this are too_large, e.g. 1MiB [default: none are]
    #[arg(long, value_parser = bytes)]
    max_message_bytes: Option<usize>,
}

/// What a running consumer shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Admin")]
pub(crate) struct AdminArgs {
    /// Answer /metrics, /healthz, /readyz, /gaps and a page at HOST:PORT; a port alone is on loopback [default: off]
    #[arg(long, env = "KAFKA_TAOS_ADMIN", hide_env_values = true, value_name = "HOST:PORT")]
    admin: Option<String>,
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
