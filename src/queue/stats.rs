//! What a queue says of itself.

use std::fmt;

/// The figures of a queue at one moment. Shows as `queue 120/10000 items, 1.2/64.0 MiB, 12000 in, 11880 out, paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Items in the queue.
    pub items: usize,
    /// Most items in the queue.
    pub max_items: usize,
    /// What they weigh.
    pub bytes: usize,
    /// Most bytes in the queue.
    pub max_bytes: usize,
    /// Items ever put in.
    pub enqueued: u64,
    /// Items ever taken out.
    pub dequeued: u64,
    /// Whether the queue is paused.
    pub paused: bool,
    /// Whether the queue is closed.
    pub closed: bool,
}

impl QueueStats {
    /// Whether a bound is reached.
    pub fn is_full(&self) -> bool {
        self.items >= self.max_items || self.bytes >= self.max_bytes
    }
}

impl fmt::Display for QueueStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "queue {}/{} items, {:.1}/{:.1} MiB, {} in, {} out",
            self.items,
            self.max_items,
            mib(self.bytes),
            mib(self.max_bytes),
            self.enqueued,
            self.dequeued
        )?;
        match (self.closed, self.paused) {
            (true, _) => f.write_str(", closed"),
            (false, true) => f.write_str(", paused"),
            (false, false) => Ok(()),
        }
    }
}
