//! Schemas by the number that each payload begins with, out of a Confluent-style schema registry.
//! <https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format>
//!
//! Decoding does not wait for the network: a thread of its own asks, one schema at a time, and keeps what it was told.
//! Until then a payload's error is transient: the payload is to be read again in a while, and is no one's fault.

mod client;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

pub use client::RegistrySettings;
use client::{Asked, Client};

use super::FormatError;

/// How long a payload waits for its schema before it is put off: a registry nearby has answered by then.
const PATIENCE: Duration = Duration::from_millis(250);

/// After this time what the registry did not have, or could not be asked, is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_FOR_UNKNOWN: Duration = Duration::from_secs(60);

/// So many schemas are known at once; beyond, all are forgotten and asked again.
const MAX_KNOWN: usize = 1000;

/// So many are waited for at once.
const MAX_ASKED: usize = 64;

/// A schema as the registry has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fetched {
    /// `AVRO`, `PROTOBUF`, `JSON`.
    pub(super) kind: String,
    pub(super) schema: String,
    /// The names, as the schema has them, and texts of the schemas that it refers to, and that those refer to.
    pub(super) references: Vec<(String, String)>,
}

/// Makes a schema of what was fetched, or says why it cannot be used.
pub(super) type Compile<S> = fn(&Fetched) -> Result<S, String>;

/// A registry that all workers ask.
pub(super) struct Registry<S> {
    shared: Arc<Shared<S>>,
    wanted: SyncSender<u32>,
    format: &'static str,
}

struct Shared<S> {
    known: Mutex<HashMap<u32, Known<S>>>,
    changed: Condvar,
}

enum Known<S> {
    Asked,
    Is(Arc<S>),
    /// Until then.
    Failed(Asked, Instant),
}

impl<S: Send + Sync + 'static> Registry<S> {
    /// Asks nothing yet. The thread ends with the last handle.
    pub(super) fn new(settings: RegistrySettings, format: &'static str, compile: Compile<S>) -> Result<Self, String> {
        let client = Client::new(settings)?;
        let shared = Arc::new(Shared { known: Mutex::default(), changed: Condvar::new() });
        let (wanted, numbers) = sync_channel(MAX_ASKED);
        let answers = Arc::clone(&shared);
        let ask = move || {
            while let Ok(number) = numbers.recv() {
                let answer = client.fetch(number).and_then(|fetched| {
                    compile(&fetched).map_err(|reason| Asked::Unusable(format!("schema {number} {reason}")))
                });
                answers.put(number, answer);
            }
        };
        thread::Builder::new()
            .name("schema-registry".to_owned())
            .spawn(ask)
            .map_err(|error| format!("no thread can be started: {error}"))?;
        Ok(Self { shared, wanted, format })
    }

    /// The schema of this number.
    ///
    /// # Errors
    /// Transient until the registry has answered; the registry does not have it, or it cannot be used.
    pub(super) fn get(&self, number: u32) -> Result<Arc<S>, FormatError> {
        let deadline = Instant::now() + PATIENCE;
        let mut known = self.shared.lock();
        loop {
            match known.get(&number) {
                Some(Known::Is(schema)) => return Ok(Arc::clone(schema)),
                Some(Known::Failed(why, until)) if Instant::now() < *until => {
                    return Err(match why {
                        Asked::Unusable(reason) => FormatError::new(self.format, None, reason),
                        Asked::Unanswered(reason) => FormatError::transient(self.format, reason),
                    });
                }
                Some(Known::Asked) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let reason = format_args!("the schema registry has not answered yet about schema {number}");
                        return Err(FormatError::transient(self.format, reason));
                    }
                    known = self.shared.changed.wait_timeout(known, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Some(Known::Failed(..)) | None => match self.wanted.try_send(number) {
                    Ok(()) => drop(known.insert(number, Known::Asked)),
                    Err(TrySendError::Full(_)) => {
                        return Err(FormatError::transient(self.format, "the schema registry has much to answer"));
                    }
                    Err(TrySendError::Disconnected(_)) => {
                        return Err(FormatError::transient(self.format, "the schema registry is asked no more"));
                    }
                },
            }
        }
    }
}

impl<S> Shared<S> {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Known<S>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, number: u32, answer: Result<S, Asked>) {
        let mut known = self.lock();
        if known.len() > MAX_KNOWN {
            known.retain(|_, known| matches!(known, Known::Asked));
        }
        let now = Instant::now();
        known.insert(
            number,
            match answer {
                Ok(schema) => Known::Is(Arc::new(schema)),
                Err(why @ Asked::Unanswered(_)) => Known::Failed(why, now + ASK_AGAIN),
                Err(why @ Asked::Unusable(_)) => Known::Failed(why, now + ASK_AGAIN_FOR_UNKNOWN),
            },
        );
        self.changed.notify_all();
    }
}

/// Where a decoder has its schemas from.
pub(super) enum Source<S> {
    /// One for all payloads, which are a record and nothing else.
    One(Arc<S>),
    /// That of the number in a payload's head; with those that this decoder has met.
    Registry(Arc<Registry<S>>, HashMap<u32, Arc<S>, RandomState>),
}

impl<S: Send + Sync + 'static> Source<S> {
    pub(super) fn registry(registry: Arc<Registry<S>>) -> Self {
        Self::Registry(registry, HashMap::default())
    }

    /// The schema of `payload`, and where its record begins.
    pub(super) fn of(&mut self, payload: &[u8], format: &'static str) -> Result<(&S, usize), FormatError> {
        let (registry, met) = match self {
            Self::One(schema) => return Ok((schema, 0)),
            Self::Registry(registry, met) => (registry, met),
        };
        let [0, a, b, c, d, ..] = *payload else {
            let reason = "it does not begin with a zero and the number of its schema, as a serializer with a schema \
                          registry writes it";
            return Err(FormatError::new(format, Some(0), reason));
        };
        let number = u32::from_be_bytes([a, b, c, d]);
        if !met.contains_key(&number) {
            let schema = registry.get(number)?;
            if met.len() >= MAX_KNOWN {
                met.clear();
            }
            met.insert(number, schema);
        }
        Ok((&met[&number], 5))
    }
}
