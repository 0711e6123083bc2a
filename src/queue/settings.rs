//! The bounds of a queue and of its batches.

use std::time::Duration;

/// Bounds of a queue and of its batches. [`check`](Self::check)ed when a queue is made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// Most items in the queue. Default 100,000.
    pub max_queue_items: usize,
    /// Most bytes in the queue; a single heavier item gets through alone. Default 2 MiB.
    pub max_queue_bytes: usize,
    /// Most items in a batch. Default 20,000.
    pub max_batch_items: usize,
    /// As many items are handed out without waiting any longer. Default 1,000.
    pub min_batch_items: usize,
    /// Most bytes in a batch; a single heavier item is a batch alone. Default 1 MiB.
    pub max_batch_bytes: usize,
    /// How long the oldest item waits for a batch to fill; zero hands out at once what is there. Default 50 ms.
    pub linger: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            max_queue_items: 100_000,
            max_queue_bytes: 2 << 20,
            max_batch_items: 20_000,
            min_batch_items: 1_000,
            max_batch_bytes: 1 << 20,
            linger: Duration::from_millis(50),
        }
    }
}

impl QueueSettings {
    /// Looks for what cannot be meant.
    ///
    /// # Errors
    /// A bound of zero, or one that another makes unreachable.
    pub fn check(&self) -> Result<(), QueueSettingsError> {
        let positive = [
            ("max_queue_items", self.max_queue_items),
            ("max_queue_bytes", self.max_queue_bytes),
            ("max_batch_items", self.max_batch_items),
            ("min_batch_items", self.min_batch_items),
            ("max_batch_bytes", self.max_batch_bytes),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(QueueSettingsError::Zero { name });
        }
        let ordered = [
            ("min_batch_items", self.min_batch_items, "max_batch_items", self.max_batch_items),
            ("max_batch_items", self.max_batch_items, "max_queue_items", self.max_queue_items),
            ("max_batch_bytes", self.max_batch_bytes, "max_queue_bytes", self.max_queue_bytes),
        ];
        match ordered.into_iter().find(|(_, lesser, _, greater)| lesser > greater) {
            Some((name, value, bound_name, bound)) => {
                Err(QueueSettingsError::Unreachable { name, value, bound_name, bound })
            }
            None => Ok(()),
        }
    }
}

/// Settings that contradict themselves or each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueueSettingsError {
    /// Nothing would ever pass.
    #[error("{name} is 0, with which nothing would ever pass; write 1 or more")]
    Zero {
        /// The setting.
        name: &'static str,
    },
    /// A bound that another one keeps from ever being reached.
    #[error("{name} = {value} can never be reached with {bound_name} = {bound}; lower the one or raise the other")]
    Unreachable {
        /// The setting that is too great.
        name: &'static str,
        /// Its value.
        value: usize,
        /// The setting that bounds it.
        bound_name: &'static str,
        /// Its value.
        bound: usize,
    },
}
