//! Sequence checks of idempotent producers, as the broker of Apache Kafka does them (`ProducerStateManager`, `ProducerAppendInfo`).

use std::collections::{HashMap, VecDeque};

use kafka_protocol::ResponseError;

use super::batch::BatchHeader;

/// How many batches a producer may have in flight, and so how many can be told to be duplicates.
const REMEMBERED_BATCHES: usize = 5;
/// Producers remembered for a partition; the one that was silent longest is forgotten first.
const REMEMBERED_PRODUCERS: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Written {
    first: i32,
    last: i32,
    base_offset: i64,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    batches: VecDeque<Written>,
}

/// What is known of the producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producers(HashMap<i64, Producer>);

impl Producers {
    /// Whether `batch` may be appended. `Ok(Some(offset))`: it stands at that offset already.
    ///
    /// # Errors
    /// An older epoch than known, or a sequence that does not follow the last one.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Option<i64>, ResponseError> {
        let Some(known) = self.0.get(&batch.producer_id).filter(|_| batch.is_idempotent()) else {
            return Ok(None); // a producer not seen here may begin anywhere: its earlier records may be deleted
        };
        if batch.producer_epoch < known.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if batch.producer_epoch > known.epoch {
            return if batch.base_sequence == 0 { Ok(None) } else { Err(ResponseError::OutOfOrderSequenceNumber) };
        }
        let last = last_sequence(batch);
        if let Some(twin) = known.batches.iter().find(|b| b.first == batch.base_sequence && b.last == last) {
            return Ok(Some(twin.base_offset));
        }
        match known.batches.back() {
            Some(previous) if batch.base_sequence != following(previous.last, 1) => {
                Err(ResponseError::OutOfOrderSequenceNumber)
            }
            _ => Ok(None),
        }
    }

    /// Notes that `batch` was appended at `base_offset`.
    pub(crate) fn appended(&mut self, batch: &BatchHeader, base_offset: i64) {
        if !batch.is_idempotent() {
            return;
        }
        if self.0.len() >= REMEMBERED_PRODUCERS && !self.0.contains_key(&batch.producer_id) {
            let written_last = |p: &Producer| p.batches.back().map_or(-1, |b| b.base_offset);
            if let Some(silent) = self.0.iter().min_by_key(|(_, p)| written_last(p)).map(|(id, _)| *id) {
                self.0.remove(&silent);
            }
        }
        let producer = self
            .0
            .entry(batch.producer_id)
            .or_insert_with(|| Producer { epoch: batch.producer_epoch, batches: VecDeque::new() });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == REMEMBERED_BATCHES {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Written { first: batch.base_sequence, last: last_sequence(batch), base_offset });
    }

    /// The highest producer id seen.
    pub(crate) fn highest_id(&self) -> Option<i64> {
        self.0.keys().max().copied()
    }
}

fn last_sequence(batch: &BatchHeader) -> i32 {
    following(batch.base_sequence, batch.last_offset_delta)
}

/// Sequences run from 0 to `i32::MAX` and begin anew.
fn following(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    i32::try_from(sum % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, records: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            size: 100,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            record_count: records,
        }
    }

    #[test]
    fn duplicates_are_known_by_their_offset_and_gaps_refused() {
        let mut producers = Producers::default();
        for n in 0..6 {
            let next = batch(0, n * 10, 10);
            assert_eq!(producers.check(&next), Ok(None));
            producers.appended(&next, i64::from(n) * 10);
        }
        assert_eq!(producers.check(&batch(0, 50, 10)), Ok(Some(50)));
        assert_eq!(producers.check(&batch(0, 10, 10)), Ok(Some(10)));
        let refused = Err(ResponseError::OutOfOrderSequenceNumber);
        assert_eq!(producers.check(&batch(0, 0, 10)), refused, "older than the five remembered");
        assert_eq!(producers.check(&batch(0, 61, 10)), refused);
        assert_eq!(producers.check(&batch(0, 50, 11)), refused, "same start, other length");
        assert_eq!(producers.check(&batch(0, 60, 1)), Ok(None));
    }

    #[test]
    fn epochs_fence_and_restart_the_sequence() {
        let mut producers = Producers::default();
        producers.appended(&batch(1, 40, 10), 0);
        assert_eq!(producers.check(&batch(0, 50, 10)), Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(producers.check(&batch(2, 50, 10)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(producers.check(&batch(2, 0, 10)), Ok(None));
        producers.appended(&batch(2, 0, 10), 10);
        assert_eq!(producers.check(&batch(2, 10, 1)), Ok(None));
        assert_eq!(producers.check(&batch(1, 50, 1)), Err(ResponseError::InvalidProducerEpoch));
    }

    #[test]
    fn sequences_begin_anew_after_the_largest() {
        let mut producers = Producers::default();
        producers.appended(&batch(0, i32::MAX - 1, 2), 0);
        assert_eq!(producers.check(&batch(0, 0, 3)), Ok(None));
        producers.appended(&batch(0, i32::MAX, 3), 2);
        assert_eq!(producers.check(&batch(0, 2, 1)), Ok(None));
    }

    #[test]
    fn the_silent_are_forgotten_first() {
        let mut producers = Producers::default();
        for id in 0..=REMEMBERED_PRODUCERS {
            let id = i64::try_from(id).unwrap();
            producers.appended(&BatchHeader { producer_id: id, ..batch(0, 0, 1) }, id);
        }
        assert_eq!(producers.0.len(), REMEMBERED_PRODUCERS);
        assert!(!producers.0.contains_key(&0));
    }
}
