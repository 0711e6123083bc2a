//! `[kafka]` and its flags.

use std::path::PathBuf;

use kafka_taos::config::Secret;
use kafka_taos::config::file;
use kafka_taos::mq::kafka::{KafkaSettings, Sasl, StartOffset, Tls};

use super::Failure;
use super::layers::{Layers, Shown, env, read_secret};
use super::units::{duration, human, truth};

impl Layers<'_> {
    /// How to reach Kafka, the topics, the group.
    pub(super) fn kafka(&mut self, file: file::Kafka) -> Result<(KafkaSettings, Vec<String>, Option<String>), Failure> {
        let default = KafkaSettings::default();
        let brokers_in_file = file.brokers.map(|brokers| brokers.into_vec().join(","));
        let brokers = self.pick("brokers", "brokers", brokers_in_file, default.brokers);
        let topics_in_file = file.topics.map(|topics| topics.into_vec());
        let topics = self.pick_many("topic", "topic", topics_in_file, vec!["test".to_owned()], |topic| topic.clone());
        let group = self.pick_optional("group", "group", file.group);
        let offset_in_file = self.parsed("kafka.offset", file.offset.map(|offset| offset.to_string()))?;
        let start = self.pick("offset", "offset", offset_in_file, StartOffset::default());
        let in_file = self.parsed_by("kafka.session_timeout", file.session_timeout, duration)?;
        let session_timeout =
            self.pick_shown("session-timeout", "session_timeout", in_file, default.session_timeout, human);
        let session_chosen = self.shown.last().is_some_and(|session| session.from != "default");

        let sasl = self.sasl(file.sasl_mechanism, file.user, file.password_file)?;
        let tls = self.tls(file.tls_ca, file.tls_cert, file.tls_key)?;
        let properties_in_file: Vec<_> =
            file.properties.into_iter().map(|(key, value)| (key, value.to_string())).collect();
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
        let settings =
            KafkaSettings { brokers, sasl, tls, start, session_timeout, properties, ..KafkaSettings::default() };
        if session_chosen && settings.is_managed_by_broker() {
            return Err(Failure::usage(
                "with group.protocol=consumer the broker decides on sessions (group.consumer.session.timeout.ms there): \
                 leave --session-timeout out",
            ));
        }
        Ok((settings, topics, group))
    }

    fn sasl(
        &mut self,
        in_file: Option<String>,
        user: Option<String>,
        password_file: Option<PathBuf>,
    ) -> Result<Option<Sasl>, Failure> {
        let mechanism = self.pick_optional("sasl-mechanism", "sasl_mechanism", in_file);
        let user = self.pick_optional("user", "user", user);
        let password = self.kafka_password(password_file)?;
        let enabled = env("KAFKA_SASL_ENABLE").map(|text| truth("KAFKA_SASL_ENABLE", &text)).transpose()?;
        match (user, password) {
            _ if enabled == Some(false) => Ok(None),
            (Some(user), Some(password)) => {
                Ok(Some(Sasl { mechanism: mechanism.unwrap_or_else(|| "PLAIN".into()), user, password }))
            }
            (None, None) if enabled != Some(true) && mechanism.is_none() => Ok(None),
            (None, _) => Err(Failure::usage("SASL to Kafka needs a user: --user NAME or KAFKA_USER")),
            (Some(_), None) => Err(Failure::usage(
                "a Kafka user needs a password: --password-file FILE, or KAFKA_PASSWORD in the environment",
            )),
        }
    }

    fn tls(
        &mut self,
        ca: Option<PathBuf>,
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Option<Tls>, Failure> {
        let ca = self.pick_path("tls-ca", "tls_ca", ca);
        let certificate = self.pick_path("tls-cert", "tls_cert", certificate);
        let key = self.pick_path("tls-key", "tls_key", key);
        let tls_enabled = env("KAFKA_TLS_ENABLE").map(|text| truth("KAFKA_TLS_ENABLE", &text)).transpose()?;
        if certificate.is_some() != key.is_some() {
            return Err(Failure::usage(
                "a client certificate and its key belong together: give both --tls-cert and --tls-key",
            ));
        }
        let wants_tls = tls_enabled.unwrap_or(ca.is_some() || certificate.is_some());
        Ok(wants_tls.then_some(Tls { ca, certificate, key }))
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
}
