//! How long batches wait and how large they are, by how fast the database answers. No clock, no I/O.

use std::time::Duration;

use crate::queue::QueueSettings;

/// Follows the answers to one worker's writes.
///
/// | the database answers | batches |
/// |---|---|
/// | fast | leave soon: a lone record does not wait longer than some answers take |
/// | slowly | wait up to the linger time, and so are fuller and fewer |
/// | to full ones very slowly | are halved, until it does not; and grow again once it is fast |
#[derive(Debug)]
pub(super) struct Pace {
    limits: QueueSettings,
    /// How long an answer took lately; `None` before the first.
    answer: Option<Duration>,
    max_batch_items: usize,
}

/// A batch waits for so many answers' time: little work then keeps the database busy a fifth of the time at most.
const ANSWERS_TO_WAIT: u32 = 4;
/// A full batch whose answer takes longer is too large: a retry would cost as much again.
const TOO_LONG: Duration = Duration::from_secs(2);
/// Batches are not halved below this.
const FEWEST_ITEMS: usize = 100;

impl Pace {
    pub(super) fn new(limits: QueueSettings) -> Self {
        Self { answer: None, max_batch_items: limits.max_batch_items, limits }
    }

    /// A write of `rows` rows was answered after `took`.
    pub(super) fn answered(&mut self, rows: usize, took: Duration) {
        self.answer = Some(self.answer.map_or(took, |before| (before * 3 + took) / 4));
        let is_full = rows >= self.max_batch_items / 2;
        if is_full && took > TOO_LONG {
            let fewest = FEWEST_ITEMS.min(self.limits.max_batch_items);
            self.max_batch_items = (self.max_batch_items / 2).max(fewest);
        } else if is_full && took < TOO_LONG / 4 {
            self.max_batch_items = (self.max_batch_items * 2).min(self.limits.max_batch_items);
        }
    }

    pub(super) fn linger(&self) -> Duration {
        self.answer.map_or(self.limits.linger, |answer| (answer * ANSWERS_TO_WAIT).min(self.limits.linger))
    }

    pub(super) fn max_batch_items(&self) -> usize {
        self.max_batch_items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn batches_wait_a_few_answers_and_never_beyond_the_limit() {
        let mut pace = Pace::new(QueueSettings::default());
        assert_eq!(pace.linger(), 50 * MS);
        pace.answered(1, 2 * MS);
        assert_eq!(pace.linger(), 8 * MS);
        (0..50).for_each(|_| pace.answered(1, 300 * MS));
        assert_eq!(pace.linger(), 50 * MS);
        (0..50).for_each(|_| pace.answered(1, MS));
        assert!(pace.linger() < 5 * MS);
    }

    #[test]
    fn batches_that_take_too_long_are_halved_and_grow_again() {
        let mut pace = Pace::new(QueueSettings::default());
        pace.answered(20_000, 3000 * MS);
        assert_eq!(pace.max_batch_items(), 10_000);
        // A small one says nothing of large ones.
        pace.answered(10, 3000 * MS);
        pace.answered(10, MS);
        assert_eq!(pace.max_batch_items(), 10_000);
        (0..20).for_each(|_| pace.answered(20_000, 3000 * MS));
        assert_eq!(pace.max_batch_items(), FEWEST_ITEMS);
        (0..20).for_each(|_| pace.answered(20_000, 100 * MS));
        assert_eq!(pace.max_batch_items(), 20_000);
    }
}
