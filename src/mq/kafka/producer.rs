//! Publishing to Kafka: many messages in flight, each counted when it is acknowledged.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use event_listener::{Event, Listener};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as KafkaHeader, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::{Hooks, KafkaSettings, translate};
use crate::message::Outgoing;
use crate::mq::{MqError, Receipt};

/// What became of the messages of a producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Acknowledged by all in-sync replicas, per partition.
    pub partitions: HashMap<i32, u64>,
    /// Given up.
    pub failed: u64,
    /// Why the last one was given up.
    pub last_error: Option<String>,
}

impl Delivered {
    /// Acknowledged, over all partitions.
    pub fn total(&self) -> u64 {
        self.partitions.values().sum()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

type Waiting = oneshot::Sender<Result<Receipt, MqError>>;

struct Context {
    hooks: Hooks,
    /// Acknowledged, by the number of the partition.
    partitions: Mutex<Vec<u64>>,
    failed: Mutex<(u64, Option<String>)>,
    acknowledged: AtomicU64,
    /// Those who want to know what became of one message, by the number that goes along with it.
    waiting: Mutex<HashMap<usize, Waiting>>,
    next_waiting: AtomicUsize,
    /// Something was delivered: there is room again.
    room: Event,
    /// Set together with `fatal`, to be asked for every message.
    is_fatal: AtomicBool,
    fatal: Mutex<Option<MqError>>,
}

/// The number of a message that nobody waits for.
const NOBODY: usize = 0;

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.hooks.lost(reason),
            Some(code) if super::is_denied(code) => {
                let denied = MqError::Denied { action: "publishing".into(), reason: reason.into() };
                *locked(&self.fatal) = Some(denied);
                self.is_fatal.store(true, Ordering::SeqCst);
                self.room.notify(usize::MAX);
            }
            _ => tracing::debug!(target: "librdkafka", %error, reason),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let outcome = match result {
            Ok(message) => {
                self.hooks.connected();
                let partition = message.partition();
                let place = usize::try_from(partition).unwrap_or(0);
                let mut partitions = locked(&self.partitions);
                if partitions.len() <= place {
                    partitions.resize(place + 1, 0);
                }
                partitions[place] += 1;
                drop(partitions);
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                Ok(Receipt { partition, offset: message.offset() })
            }
            Err((error, message)) => {
                let reason = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string());
                let mut failed = locked(&self.failed);
                *failed = (failed.0 + 1, Some(format!("{}: {reason}", message.topic())));
                drop(failed);
                Err(refused(message.topic(), error, reason))
            }
        };
        if number != NOBODY
            && let Some(waiting) = locked(&self.waiting).remove(&number)
        {
            // Who asked may have gone meanwhile.
            let _ = waiting.send(outcome);
        }
        self.room.notify(1);
    }
}

/// Why a message for `topic` was given up.
fn refused(topic: &str, error: &KafkaError, reason: String) -> MqError {
    let topic = topic.to_owned();
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => MqError::TooLarge { topic },
        Some(code) if super::is_denied(code) => MqError::Denied { action: format!("publishing to {topic}"), reason },
        _ => MqError::Publish { topic, reason },
    }
}

/// Publishes to Kafka: idempotent, acknowledged by all in-sync replicas, compressed. Cheap to clone.
#[derive(Clone)]
pub struct Producer {
    inner: ThreadedProducer<Context>,
    context: Arc<Context>,
}

impl Producer {
    /// A producer of its own.
    ///
    /// # Errors
    /// [`MqError::Settings`].
    pub fn new(settings: &KafkaSettings) -> Result<Self, MqError> {
        Self::with_hooks(settings, Hooks::default())
    }

    pub(super) fn with_hooks(settings: &KafkaSettings, hooks: Hooks) -> Result<Self, MqError> {
        let context = Context {
            hooks,
            partitions: Mutex::default(),
            failed: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            waiting: Mutex::default(),
            next_waiting: AtomicUsize::new(NOBODY + 1),
            room: Event::new(),
            is_fatal: AtomicBool::new(false),
            fatal: Mutex::default(),
        };
        let inner: ThreadedProducer<Context> = settings
            .producer()?
            .create_with_context(context)
            .map_err(|error| translate("making a producer", &error))?;
        let context = inner.context().clone();
        Ok(Self { inner, context })
    }

    /// Hands a message over, to be counted when it is acknowledged.
    ///
    /// # Errors
    /// [`MqError::Full`] gives the message back: wait with [`Self::room`]. A wrong password or a fatal error stays.
    pub fn enqueue(&self, topic: &str, message: Outgoing) -> Result<(), MqError> {
        self.send(topic, message, NOBODY)
    }

    /// Publishes a message and waits until it is acknowledged. Dropping the future does not take the message back.
    ///
    /// # Errors
    /// What became of it instead.
    pub async fn publish(&self, topic: &str, mut message: Outgoing) -> Result<Receipt, MqError> {
        let number = self.context.next_waiting.fetch_add(1, Ordering::Relaxed).max(NOBODY + 1);
        let (answer, answered) = oneshot::channel();
        locked(&self.context.waiting).insert(number, answer);
        loop {
            match self.send(topic, message, number) {
                Ok(()) => break,
                Err(MqError::Full(refused)) => {
                    message = *refused;
                    self.room(Duration::from_millis(100)).await;
                }
                Err(error) => {
                    locked(&self.context.waiting).remove(&number);
                    return Err(error);
                }
            }
        }
        answered.await.unwrap_or(Err(MqError::Stopped))
    }

    fn send(&self, topic: &str, message: Outgoing, number: usize) -> Result<(), MqError> {
        if self.context.is_fatal.load(Ordering::SeqCst)
            && let Some(MqError::Denied { action, reason }) = &*locked(&self.context.fatal)
        {
            return Err(MqError::Denied { action: action.clone(), reason: reason.clone() });
        }
        let headers = (!message.headers.is_empty()).then(|| {
            message.headers.iter().fold(OwnedHeaders::new_with_capacity(message.headers.len()), |headers, header| {
                headers.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() })
            })
        });
        let record = BaseRecord::<[u8], [u8], usize> {
            topic,
            partition: message.partition,
            payload: message.payload.as_deref(),
            key: message.key.as_deref(),
            timestamp: message.timestamp_ms,
            headers,
            delivery_opaque: number,
        };
        match self.inner.send(record) {
            Ok(()) => Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                Err(MqError::Full(Box::new(message)))
            }
            Err((error, _)) => Err(refused(topic, &error, error.to_string())),
        }
    }

    /// Waits until something was delivered, at most `timeout`.
    pub async fn room(&self, timeout: Duration) {
        let listener = self.context.room.listen();
        // Either way the caller tries again.
        let _ = tokio::time::timeout(timeout, listener).await;
    }

    /// As [`Self::room`], for a thread of its own.
    pub fn room_blocking(&self, timeout: Duration) {
        let listener = self.context.room.listen();
        let _ = listener.wait_timeout(timeout);
    }

    /// How many messages were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.context.acknowledged.load(Ordering::Relaxed)
    }

    /// What became of the messages so far.
    pub fn delivered(&self) -> Delivered {
        let partitions =
            (0..).zip(locked(&self.context.partitions).iter().copied()).filter(|(_, count)| *count > 0).collect();
        let (failed, last_error) = locked(&self.context.failed).clone();
        Delivered { partitions, failed, last_error }
    }

    /// Messages handed over and not yet acknowledged or given up.
    pub fn in_flight(&self) -> usize {
        usize::try_from(self.inner.in_flight_count()).unwrap_or(0)
    }

    /// Waits until all that was handed over is acknowledged or given up.
    ///
    /// # Errors
    /// Some were neither within `timeout`.
    pub async fn flush(&self, timeout: Duration) -> Result<(), MqError> {
        let producer = self.clone();
        tokio::task::spawn_blocking(move || producer.flush_blocking(timeout)).await.unwrap_or(Err(MqError::Stopped))
    }

    /// As [`Self::flush`], blocking the thread.
    ///
    /// # Errors
    /// Some were neither within `timeout`.
    pub fn flush_blocking(&self, timeout: Duration) -> Result<(), MqError> {
        self.inner.flush(timeout).map_err(|_| MqError::Publish {
            topic: "any topic".into(),
            reason: format!("{} messages were not acknowledged within {timeout:?}", self.in_flight()),
        })
    }
}
