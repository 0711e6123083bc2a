//! The log of one partition as an index of its batches. No I/O and no clock; [`super::partition`] puts it behind a lock.

use std::collections::VecDeque;

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::batch::BatchHeader;
use super::sequence::Producers;

/// Where a batch's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Memory(Bytes),
    /// In the partition's file, beginning at this byte.
    File(u64),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub base_offset: i64,
    pub last_offset: i64,
    pub max_timestamp: i64,
    pub size: usize,
    pub place: Place,
}

impl Entry {
    pub(crate) fn new(header: &BatchHeader, base_offset: i64, place: Place) -> Entry {
        Entry {
            base_offset,
            last_offset: base_offset.saturating_add(i64::from(header.last_offset_delta)),
            max_timestamp: header.max_timestamp,
            size: header.size,
            place,
        }
    }

    /// What the entry costs in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.place {
            Place::Memory(bytes) => bytes.len() + size_of::<Entry>(),
            Place::File(_) => 0,
        }
    }
}

/// The batches of a partition in the order of their offsets, which have no gaps.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    start_offset: i64,
    end_offset: i64,
    /// Sequence state of the idempotent producers.
    pub producers: Producers,
}

impl Log {
    /// The first offset that can be read.
    pub(crate) fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset that the next record gets.
    pub(crate) fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// The offset after the last batch that lies in the first `written_bytes` of the file.
    pub(crate) fn end_of_written(&self, written_bytes: u64) -> i64 {
        let written = |entry: &Entry| match entry.place {
            Place::Memory(_) => true,
            Place::File(begin) => begin + entry.size as u64 <= written_bytes,
        };
        if self.entries.back().is_none_or(written) {
            return self.end_offset;
        }
        let unwritten = self.entries.partition_point(written);
        self.entries.get(unwritten).map_or(self.end_offset, |entry| entry.base_offset.max(self.start_offset))
    }

    /// Appends a batch whose base offset is [`Log::end_offset`].
    pub(crate) fn push(&mut self, header: &BatchHeader, place: Place) {
        let base_offset = self.end_offset;
        self.producers.appended(header, base_offset);
        let entry = Entry::new(header, base_offset, place);
        self.end_offset = entry.last_offset.saturating_add(1);
        self.entries.push_back(entry);
    }

    /// Moves the start to `offset`, and returns the memory of the batches that lie wholly before it.
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the end. An offset before the start changes nothing.
    pub(crate) fn delete_before(&mut self, offset: i64) -> Result<usize, ResponseError> {
        if offset > self.end_offset || offset < 0 {
            return Err(ResponseError::OffsetOutOfRange);
        }
        self.start_offset = self.start_offset.max(offset);
        let mut freed_bytes = 0;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.last_offset < self.start_offset) {
            freed_bytes += entry.memory_bytes();
        }
        Ok(freed_bytes)
    }

    /// Forgets everything, and returns the memory that was used.
    pub(crate) fn clear(&mut self) -> usize {
        self.entries.drain(..).map(|entry| entry.memory_bytes()).sum()
    }

    /// The batches from the one that holds `offset` on.
    pub(crate) fn entries_from(&self, offset: i64) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.last_offset < offset);
        self.entries.range(first..)
    }

    /// All batches.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &mut Log, records: i32) {
        let header = BatchHeader {
            base_offset: 0,
            size: 100,
            attributes: 0,
            last_offset_delta: records - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: records,
        };
        log.push(&header, Place::Memory(Bytes::from_static(&[0; 100])));
    }

    fn first(log: &Log, offset: i64) -> Option<i64> {
        log.entries_from(offset).next().map(|entry| entry.base_offset)
    }

    #[test]
    fn a_batch_is_found_by_any_of_its_offsets() {
        let mut log = Log::default();
        [3, 1, 5].into_iter().for_each(|records| push(&mut log, records));
        assert_eq!(log.end_offset(), 9);
        let found: Vec<_> = (0..10).map(|offset| first(&log, offset)).collect();
        assert_eq!(found[..4], [Some(0), Some(0), Some(0), Some(3)]);
        assert_eq!(found[4..], [Some(4), Some(4), Some(4), Some(4), Some(4), None]);
    }

    #[test]
    fn deletion_moves_the_start_and_frees_whole_batches_only() {
        let mut log = Log::default();
        [3, 3, 3].into_iter().for_each(|records| push(&mut log, records));
        let cost = 100 + size_of::<Entry>();
        assert_eq!(log.delete_before(4), Ok(cost));
        assert_eq!((log.start_offset(), first(&log, 4)), (4, Some(3)));
        assert_eq!(log.delete_before(2), Ok(0), "the start never moves back");
        assert_eq!(log.start_offset(), 4);
        assert_eq!(log.delete_before(10), Err(ResponseError::OffsetOutOfRange));
        assert_eq!(log.delete_before(9), Ok(2 * cost));
        assert_eq!((log.start_offset(), log.end_offset(), first(&log, 9)), (9, 9, None));
        push(&mut log, 2);
        assert_eq!((log.end_offset(), first(&log, 9)), (11, Some(9)));
    }
}
