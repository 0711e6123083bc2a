//! Kafka, by librdkafka: [`KafkaQueue`].

mod admin;
mod consumer;
mod copy;
mod producer;
mod reader;
mod settings;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub use admin::{Admin, PartitionInfo, TopicInfo};
pub use consumer::{KafkaControl, KafkaSubscription};
pub use producer::{Delivered, Producer};
pub use reader::{Offsets, Reader};
pub use settings::{KafkaSettings, Sasl, StartOffset, Tls};

use crate::message::Outgoing;
use crate::mq::{MessageQueue, MqError, Receipt};

/// What is called when connections come and go.
#[derive(Clone, Default)]
pub(super) struct Hooks(Arc<HookState>);

#[derive(Default)]
struct HookState {
    lists: Mutex<HookLists>,
    /// As in the lists, to be asked for every message.
    is_connected: AtomicBool,
}

type ConnectedHook = Arc<dyn Fn() + Send + Sync>;
type LostHook = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct HookLists {
    connected: Vec<ConnectedHook>,
    lost: Vec<LostHook>,
}

impl Hooks {
    fn lists(&self) -> std::sync::MutexGuard<'_, HookLists> {
        self.0.lists.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A broker has answered.
    fn connected(&self) {
        if self.is_connected() {
            return;
        }
        let hooks = {
            let lists = self.lists();
            if self.0.is_connected.swap(true, Ordering::SeqCst) {
                return;
            }
            lists.connected.clone()
        };
        hooks.iter().for_each(|hook| hook());
    }

    /// No broker can be reached.
    fn lost(&self, reason: &str) {
        let hooks = {
            let lists = self.lists();
            if !self.0.is_connected.swap(false, Ordering::SeqCst) {
                return;
            }
            lists.lost.clone()
        };
        hooks.iter().for_each(|hook| hook(reason));
    }

    fn is_connected(&self) -> bool {
        self.0.is_connected.load(Ordering::SeqCst)
    }
}

/// Kafka as a [`MessageQueue`].
///
/// Connections are made again without end, with back-off; while none is there, publishing waits, and subscriptions
/// are silent but for [`crate::mq::Event::Error`].
pub struct KafkaQueue {
    settings: KafkaSettings,
    hooks: Hooks,
    producer: OnceLock<Producer>,
    subscriptions: Mutex<Vec<KafkaControl>>,
}

impl KafkaQueue {
    /// A queue on the brokers of `settings`; nothing is connected before it is needed.
    ///
    /// # Errors
    /// [`MqError::Settings`].
    pub fn new(settings: KafkaSettings) -> Result<Self, MqError> {
        settings.check()?;
        Ok(Self { settings, hooks: Hooks::default(), producer: OnceLock::new(), subscriptions: Mutex::default() })
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &KafkaSettings {
        &self.settings
    }

    /// The producer behind [`MessageQueue::publish`], for publishing in bulk.
    ///
    /// # Errors
    /// [`MqError::Settings`].
    pub fn producer(&self) -> Result<&Producer, MqError> {
        if self.producer.get().is_none() {
            let made = Producer::with_hooks(&self.settings, self.hooks.clone())?;
            // Of two made at once one is dropped, empty.
            let _ = self.producer.set(made);
        }
        self.producer.get().ok_or(MqError::Stopped)
    }

    fn subscribe_as(&self, topics: &[String], group: &str, shared: bool) -> Result<KafkaSubscription, MqError> {
        let subscription = consumer::subscribe(&self.settings, self.hooks.clone(), topics, group, shared)?;
        let mut all = self.subscriptions.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        all.push(crate::mq::Subscription::control(&subscription));
        Ok(subscription)
    }
}

impl MessageQueue for KafkaQueue {
    type Subscription = KafkaSubscription;

    fn on_connected(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.hooks.lists().connected.push(Arc::new(hook));
    }

    fn on_connection_lost(&self, hook: impl Fn(&str) + Send + Sync + 'static) {
        self.hooks.lists().lost.push(Arc::new(hook));
    }

    async fn publish(&self, topic: &str, message: Outgoing) -> Result<Receipt, MqError> {
        self.producer()?.publish(topic, message).await
    }

    fn subscribe(&self, topics: &[String]) -> Result<KafkaSubscription, MqError> {
        // A group of its own, that never commits: Kafka has no other way to subscribe to patterns.
        let unique = format!("kafka-taos-{}-{:x}", std::process::id(), rand_suffix());
        self.subscribe_as(topics, &unique, false)
    }

    fn queue_subscribe(&self, topics: &[String], group: &str) -> Result<KafkaSubscription, MqError> {
        self.subscribe_as(topics, group, true)
    }

    async fn stop(&self) {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock().unwrap_or_else(|p| p.into_inner()));
        subscriptions.iter().for_each(crate::mq::Control::unsubscribe);
        if let Some(producer) = self.producer.get()
            && let Err(error) = producer.flush(self.settings.drain_timeout).await
        {
            tracing::error!(%error, "stopped with messages that were not acknowledged");
        }
    }
}

fn rand_suffix() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Puts librdkafka's error in our words; `action` says what was tried.
pub(super) fn translate(action: &str, error: &KafkaError) -> MqError {
    let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
    let action = action.to_owned();
    match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => MqError::Denied { action, reason },
        _ => match error {
            KafkaError::ClientConfig(_, text, key, value) if key == "sasl.password" || key.contains("ssl") => {
                MqError::Settings(format!("Kafka property {key}: {}", text.replace(value.as_str(), "***")))
            }
            KafkaError::ClientConfig(_, text, key, value) => {
                MqError::Settings(format!("Kafka property {key}={value}: {text}"))
            }
            KafkaError::ClientCreation(text) => MqError::Settings(format!("Kafka client: {text}")),
            _ => MqError::Other { action, reason },
        },
    }
}

/// What librdkafka gives up on.
pub(super) fn fatal(code: RDKafkaErrorCode, reason: String) -> MqError {
    use RDKafkaErrorCode as Code;
    let advice = match code {
        Code::FencedInstanceId | Code::UnreleasedInstanceId => {
            "a group.instance.id belongs to one running consumer: give each its own"
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature => {
            "with group.protocol=consumer the broker must have KIP-848 (Apache Kafka 4.0): leave it out"
        }
        _ => "",
    };
    MqError::Fatal { reason, advice }
}

/// A wrong password or a missing right: trying again helps nobody.
fn is_denied(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
    )
}

/// librdkafka's log lines, at levels that fit an operator: it retries by itself, so its errors are our warnings.
fn log(level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
    use rdkafka::config::RDKafkaLogLevel as Level;
    match level {
        // Every property of ours is for one kind of client only; that is known.
        _ if facility == "CONFWARN" => tracing::debug!(target: "librdkafka", "{facility} {text}"),
        Level::Emerg | Level::Alert | Level::Critical => tracing::error!(target: "librdkafka", "{facility} {text}"),
        Level::Error | Level::Warning => tracing::debug!(target: "librdkafka", "{facility} {text}"),
        _ => tracing::trace!(target: "librdkafka", "{facility} {text}"),
    }
}
