//! Who is to be woken when a log grows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::lock;

/// A connection as a sleeper: it handles one request at a time, so one [`Notify`] is enough, and a wake-up that
/// comes before the sleep is kept.
#[derive(Debug, Clone)]
pub(crate) struct Sleeper {
    pub id: u64,
    pub notify: Arc<Notify>,
}

impl Sleeper {
    pub(crate) fn new(id: u64) -> Self {
        Sleeper { id, notify: Arc::new(Notify::new()) }
    }
}

/// The connections that wait for one log.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<u64, Arc<Notify>>>);

impl Waiters {
    /// Wakes everyone who waits.
    pub(crate) fn wake(&self) {
        lock(&self.0).values().for_each(|notify| notify.notify_one());
    }

    /// Registers until the guard is dropped. Register first, look at the log then, sleep last: no wake-up is lost.
    pub(crate) fn register(self: &Arc<Self>, sleeper: &Sleeper) -> Registered {
        lock(&self.0).insert(sleeper.id, Arc::clone(&sleeper.notify));
        Registered { waiters: Arc::clone(self), id: sleeper.id }
    }
}

/// Ends a registration when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    waiters: Arc<Waiters>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        lock(&self.waiters.0).remove(&self.id);
    }
}
