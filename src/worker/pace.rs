//! How long batches wait and how large they are, by how fast the database answers. No clock, no I/O.

use std::time::Duration;

use tokio::time::Instant;

use crate::queue::QueueSettings;

/// Follows the answers to one worker's writes.
///
/// | the database answers | batches |
/// |---|---|
/// | fast, and little comes | leave soon: a lone record does not wait longer than some answers take |
/// | slowly, or much comes | wait up to the linger time, and so are fuller and fewer |
/// | to full ones very slowly | are halved, until it does not; and grow again once it is fast |
#[derive(Debug)]
pub(super) struct Pace {
    limits: QueueSettings,
    /// How long an answer took lately; `None` before the first.
    answer: Option<Duration>,
    /// Rows a second lately, and when the last of them were written.
    rate: Option<f64>,
    last: Option<Instant>,
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
        Self { answer: None, rate: None, last: None, max_batch_items: limits.max_batch_items, limits }
    }

    /// A write of `rows` rows was answered at `now`, after `took`.
    pub(super) fn answered(&mut self, rows: usize, took: Duration, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let rate = rows as f64 / (now - last).as_secs_f64().max(1e-6);
            self.rate = Some(self.rate.map_or(rate, |before| (before * 3.0 + rate) / 4.0));
        }
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
        let longest = self.limits.linger;
        // Then batches are large enough before they have lingered, and need not be torn apart.
        let little = self.limits.min_batch_items as f64 / 2.0;
        match (self.answer, self.rate) {
            (Some(answer), Some(rate)) if rate * longest.as_secs_f64() < little => {
                (answer * ANSWERS_TO_WAIT).min(longest)
            }
            _ => longest,
        }
    }

    pub(super) fn max_batch_items(&self) -> usize {
        self.max_batch_items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Batches of `rows`, each answered after `took`, one every `every`.
    fn run(pace: &mut Pace, batches: u32, rows: usize, took: Duration, every: Duration) {
        let begin = pace.last.unwrap_or_else(Instant::now);
        (1..=batches).for_each(|batch| pace.answered(rows, took, begin + every * batch));
    }

    #[test]
    fn batches_wait_a_few_answers_and_never_beyond_the_limit() {
        let mut pace = Pace::new(QueueSettings::default());
        assert_eq!(pace.linger(), 50 * MS);
        run(&mut pace, 2, 1, 2 * MS, 1000 * MS);
        assert_eq!(pace.linger(), 8 * MS);
        run(&mut pace, 50, 1, 300 * MS, 1000 * MS);
        assert_eq!(pace.linger(), 50 * MS);
        run(&mut pace, 50, 1, MS, 1000 * MS);
        assert!(pace.linger() < 5 * MS);
    }

    #[test]
    fn where_much_comes_batches_wait_to_be_full() {
        let mut pace = Pace::new(QueueSettings::default());
        // 35,000 rows a second, torn into small batches.
        run(&mut pace, 50, 140, MS, 4 * MS);
        assert_eq!(pace.linger(), 50 * MS);
        // 2,500 a second.
        run(&mut pace, 50, 10, MS, 4 * MS);
        assert!(pace.linger() < 5 * MS);
    }

    #[test]
    fn batches_that_take_too_long_are_halved_and_grow_again() {
        let mut pace = Pace::new(QueueSettings::default());
        run(&mut pace, 1, 20_000, 3000 * MS, 3000 * MS);
        assert_eq!(pace.max_batch_items(), 10_000);
        // A small one says nothing of large ones.
        run(&mut pace, 1, 10, 3000 * MS, 3000 * MS);
        run(&mut pace, 1, 10, MS, MS);
        assert_eq!(pace.max_batch_items(), 10_000);
        run(&mut pace, 20, 20_000, 3000 * MS, 3000 * MS);
        assert_eq!(pace.max_batch_items(), FEWEST_ITEMS);
        run(&mut pace, 20, 20_000, 100 * MS, 100 * MS);
        assert_eq!(pace.max_batch_items(), 20_000);
    }
}
