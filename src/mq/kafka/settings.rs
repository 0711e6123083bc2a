//! What librdkafka is told: our settings, the user's own properties, and those that the guarantee needs.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::Secret;
use crate::message::Offset;
use crate::mq::MqError;

/// Where a group begins that has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartOffset {
    /// At the first message that is still there.
    #[default]
    Earliest,
    /// At the end: only what comes from now on.
    Latest,
    /// At this offset, in every partition.
    At(Offset),
    /// At the first message at or after this time, in milliseconds since 1970-01-01T00:00:00Z.
    Time(i64),
}

/// `earliest`, `latest`, an offset, `@` and milliseconds, or a time as of RFC 3339; -1 is the end and -2 the beginning.
impl FromStr for StartOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(millis) = text.strip_prefix('@') {
            return millis
                .parse()
                .map(Self::Time)
                .map_err(|_| format!("{text:?} is not @ and milliseconds since 1970"));
        }
        match (text, text.parse::<Offset>()) {
            ("earliest", _) | (_, Ok(-2)) => Ok(Self::Earliest),
            ("latest", _) | (_, Ok(-1)) => Ok(Self::Latest),
            (_, Ok(offset)) if offset >= 0 => Ok(Self::At(offset)),
            _ => match text.parse::<jiff::Timestamp>() {
                Ok(time) => Ok(Self::Time(time.as_millisecond())),
                Err(_) => Err(format!(
                    "{text:?} is none of earliest, latest, an offset, @MILLISECONDS, or a time such as 2026-01-31T08:00:00Z"
                )),
            },
        }
    }
}

impl fmt::Display for StartOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::At(offset) => write!(f, "{offset}"),
            Self::Time(millis) => write!(f, "@{millis}"),
        }
    }
}

/// User and password, and how they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, ...
    pub mechanism: String,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Files for an encrypted connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust, PEM; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// The client's key, PEM.
    pub key: Option<PathBuf>,
}

/// How to reach Kafka and how to behave there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// `HOST:PORT`, several by comma.
    pub brokers: String,
    /// User and password.
    pub sasl: Option<Sasl>,
    /// Encryption.
    pub tls: Option<Tls>,
    /// Where a group begins that has committed nothing.
    pub start: StartOffset,
    /// How long a member may be silent before its partitions go to another.
    pub session_timeout: Duration,
    /// How long revoked partitions wait for what is in flight to be answered and committed.
    pub drain_timeout: Duration,
    /// How long a single question to the broker may take.
    pub request_timeout: Duration,
    /// Bytes of prefetched messages, over all partitions of a consumer: keys and payloads alone. librdkafka takes some
    /// 300 bytes a message besides, and keeps the answers that they came in whole.
    pub prefetch_bytes: usize,
    /// Any librdkafka property, in the user's words.
    pub properties: Vec<(String, String)>,
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".into(),
            sasl: None,
            tls: None,
            start: StartOffset::Earliest,
            session_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            prefetch_bytes: 5 << 20,
            properties: Vec::new(),
        }
    }
}

/// What the guarantee rests on, and what each is for.
const PROTECTED: [(&str, &str); 6] = [
    ("enable.auto.commit", "offsets are committed after their rows are written"),
    ("enable.auto.offset.store", "offsets are committed after their rows are written"),
    ("enable.idempotence", "a retried message must not be stored twice"),
    ("acks", "a message counts when all in-sync replicas have it"),
    ("request.required.acks", "a message counts when all in-sync replicas have it"),
    ("allow.auto.create.topics", "looking at a topic must not make it"),
];

impl KafkaSettings {
    /// # Errors
    /// [`MqError::Settings`] if a property is one that the guarantee needs, or asks for what this build lacks.
    pub fn check(&self) -> Result<(), MqError> {
        for (key, _) in &self.properties {
            if let Some((_, why)) = PROTECTED.iter().find(|(name, _)| name == key) {
                return Err(MqError::Settings(format!("the Kafka property {key} cannot be set: {why}; leave it out")));
            }
        }
        let needs_tls = self.tls.is_some()
            || self.sasl.as_ref().is_some_and(|sasl| sasl.mechanism.to_ascii_uppercase().starts_with("SCRAM"));
        if needs_tls && !cfg!(feature = "tls") {
            return Err(MqError::Settings(
                "TLS and SCRAM to Kafka need a build with the feature `tls`: cargo build --release --features tls"
                    .into(),
            ));
        }
        Ok(())
    }

    fn base(&self) -> Result<ClientConfig, MqError> {
        self.check()?;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "kafka-taos")
            .set("log.connection.close", "false")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000");
        let protocol = match (&self.sasl, &self.tls) {
            (None, None) => None,
            (None, Some(_)) => Some("ssl"),
            (Some(_), None) => Some("sasl_plaintext"),
            (Some(_), Some(_)) => Some("sasl_ssl"),
        };
        if let Some(protocol) = protocol {
            config.set("security.protocol", protocol);
        }
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", &sasl.mechanism)
                .set("sasl.username", &sasl.user)
                .set("sasl.password", sasl.password.expose());
        }
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.certificate),
                ("ssl.key.location", &tls.key),
            ];
            for (key, path) in files {
                if let Some(path) = path {
                    config.set(key, path.to_string_lossy());
                }
            }
        }
        Ok(config)
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        if self.properties.iter().any(|(key, _)| key == "max.partition.fetch.bytes") {
            // Another name for the same.
            config.remove("fetch.message.max.bytes");
        }
        config
    }

    /// Whether the group's members are managed by the broker (KIP-848), which then decides on sessions and assignment.
    pub fn is_managed_by_broker(&self) -> bool {
        // The last one wins, as everywhere.
        let protocol = self.properties.iter().rev().find(|(key, _)| key == "group.protocol");
        protocol.is_some_and(|(_, value)| value.eq_ignore_ascii_case("consumer"))
    }

    /// For a client that only asks.
    pub(super) fn admin(&self) -> Result<ClientConfig, MqError> {
        let mut config = self.base()?;
        config.set("allow.auto.create.topics", "false");
        Ok(self.with_properties(config))
    }

    /// For a member of `group` that is expected to have `partitions` partitions.
    pub(super) fn consumer(&self, group: &str, partitions: usize) -> Result<ClientConfig, MqError> {
        let mut config = self.base()?;
        let session_ms = self.session_timeout.as_millis();
        let poll_ms = (session_ms.max(self.drain_timeout.as_millis()) + 60_000).max(300_000);
        // Each partition's queue is bounded by itself, so the bound of all is divided.
        let queue_kbytes = (self.prefetch_bytes / partitions.max(1) / 1024).clamp(16, 16 << 10);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("enable.partition.eof", "true")
            .set("max.poll.interval.ms", poll_ms.to_string())
            .set("topic.metadata.refresh.interval.ms", "10000")
            .set("queued.max.messages.kbytes", queue_kbytes.to_string())
            .set("queued.min.messages", "100000")
            // A queue that is short of a byte is filled with a whole answer, which may unpack to several times as much.
            .set("fetch.message.max.bytes", (queue_kbytes * 1024 / 4).clamp(16 << 10, 1 << 20).to_string())
            // At its default of a second the client idles whenever its queue was full once.
            .set("fetch.queue.backoff.ms", "2")
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.wait.max.ms", "100")
            .set(
                "auto.offset.reset",
                match self.start {
                    StartOffset::Earliest => "earliest",
                    StartOffset::Latest => "latest",
                    // The start is set at the assignment; should that go wrong, it must show.
                    StartOffset::At(_) | StartOffset::Time(_) => "error",
                },
            );
        if !self.is_managed_by_broker() {
            // Otherwise librdkafka refuses to be told, be it by us or by the user.
            config
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", session_ms.to_string())
                .set("heartbeat.interval.ms", (session_ms / 4).clamp(100, 3000).to_string());
        }
        Ok(self.with_properties(config))
    }

    /// All that librdkafka is told for a producer, to hold ours against one that knows nothing else.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn producer_properties(&self) -> Result<Vec<(String, String)>, MqError> {
        let config = self.producer()?;
        Ok(config.config_map().iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    /// For a producer.
    pub(super) fn producer(&self) -> Result<ClientConfig, MqError> {
        let mut config = self.base()?;
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.timeout.ms", "120000");
        Ok(self.with_properties(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guarantee_needs_cannot_be_overridden() {
        for (key, _) in PROTECTED {
            let settings = KafkaSettings { properties: vec![(key.into(), "x".into())], ..Default::default() };
            assert!(settings.consumer("g", 1).unwrap_err().to_string().contains(key));
        }
    }

    #[test]
    fn properties_win_over_ours_and_kip_848_is_left_to_the_broker() {
        let properties = vec![("fetch.wait.max.ms".into(), "7".into()), ("group.protocol".into(), "consumer".into())];
        let config = KafkaSettings { properties, ..Default::default() }.consumer("g", 1).unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        for ours in ["session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"] {
            assert_eq!(config.get(ours), None, "{ours}");
        }
    }

    #[test]
    fn the_prefetch_is_divided_among_partitions() {
        let of = |settings: KafkaSettings, partitions| {
            let config = settings.consumer("g", partitions).unwrap();
            ["queued.max.messages.kbytes", "fetch.message.max.bytes"].map(|key| config.get(key).map(str::to_owned))
        };
        let some = |kbytes: &str, bytes: &str| [Some(kbytes.to_owned()), Some(bytes.to_owned())];
        assert_eq!(of(KafkaSettings::default(), 1), some("5120", "1048576"));
        assert_eq!(of(KafkaSettings::default(), 10), some("512", "131072"));
        assert_eq!(of(KafkaSettings::default(), 1000), some("16", "16384"));
        let properties = vec![("max.partition.fetch.bytes".into(), "7000".into())];
        assert_eq!(of(KafkaSettings { properties, ..Default::default() }, 10)[1], None);
    }

    #[test]
    fn a_start_is_read_in_every_form() {
        let parsed = |text: &str| text.parse::<StartOffset>().unwrap();
        assert_eq!((parsed("earliest"), parsed("-2")), (StartOffset::Earliest, StartOffset::Earliest));
        assert_eq!((parsed("latest"), parsed("-1")), (StartOffset::Latest, StartOffset::Latest));
        assert_eq!((parsed("42"), parsed("@1500")), (StartOffset::At(42), StartOffset::Time(1500)));
        assert_eq!(parsed("1970-01-01T01:00:01+01:00"), StartOffset::Time(1000));
        assert!("-3".parse::<StartOffset>().is_err() && "soon".parse::<StartOffset>().is_err());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn tls_without_the_feature_says_how_to_get_it() {
        let settings = KafkaSettings { tls: Some(Tls::default()), ..Default::default() };
        assert!(settings.check().unwrap_err().to_string().contains("--features tls"));
    }
}
