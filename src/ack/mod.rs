//! Which offsets may be committed: the algebra of delivered and resolved offsets.
//!
//! A partition's *epoch* lasts from its assignment to its revocation. In it, offsets are *delivered* in ascending
//! order with gaps (compaction, transactions), and *resolved* in any order: written, dead-lettered or filtered. The
//! *watermark* is the next offset to read when the process dies, and thus what is committed.
//!
//! With `U` the unresolved offsets, `first` the least of them, `W` the watermark and `next` the offset behind the
//! highest delivered:
//!
//! | step | `U` becomes | `W` becomes |
//! |---|---|---|
//! | assign | ∅, in a new epoch | none |
//! | deliver `a..=b` | `U ∪ {a..=b}` | `W` |
//! | deliver or resolve from another epoch | `U` | `W` |
//! | resolve `R` | `U ∖ R` | max(`W`, `next`) if no `first`, else max(`W`, the last delivered before `first`, + 1) |
//! | revoke | forgotten | forgotten, after it was returned to be committed |
//!
//! So that:
//!
//! - every offset below `W` that was delivered is resolved, unless it was delivered again after `W` had passed it; while
//!   such a one is unresolved, nothing is committed;
//! - `W` never goes back within an epoch, and there is none before the first offset of the epoch is resolved;
//! - what is resolved twice, or was never delivered, counts for nothing;
//! - an offset delivered again, after a seek back, is unresolved again: `W` stays where it is until it is resolved.
//!
//! After a seek back `W` may rest at the offset that was sought rather than at the end of the gap before it; nothing
//! was delivered between the two.
//!
//! Nothing here knows a clock or a broker. Offsets are kept as runs of unresolved ones alone, so a step costs the
//! logarithm of the runs in flight, however many messages they stand for and however long one of them blocks.

mod partition;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tokio::time::Instant;

use self::partition::{Partition, length};
use crate::message::{Offset, TopicPartition};

/// How many partitions that are not ours any more have their highest offset remembered, to count redeliveries.
const MAX_REMEMBERED_PARTITIONS: usize = 10_000;

/// One assignment of one partition. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(u64);

/// Why an offset needs no more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Its rows are in the database.
    Written,
    /// It is in the dead-letter place, with its reason.
    DeadLettered,
    /// A rule of the user's dropped it.
    Filtered,
}

/// What was delivered and resolved since the start, in messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckCounts {
    /// Delivered, again or not.
    pub delivered: u64,
    /// Of those, at or below the highest offset that was delivered of the partition before, in any epoch.
    pub redelivered: u64,
    /// Resolved as written.
    pub written: u64,
    /// Resolved as dead-lettered.
    pub dead_lettered: u64,
    /// Resolved as filtered.
    pub filtered: u64,
    /// Offsets acknowledged too late: their epoch was over.
    pub late: u64,
}

/// What keeps a partition's offset from moving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The partition.
    pub partition: TopicPartition,
    /// The first unresolved offset.
    pub first: Offset,
    /// When it was delivered.
    pub since: Instant,
    /// How many messages are unresolved, this one included.
    pub unresolved: u64,
    /// How far behind the last delivered offset it is, gaps included.
    pub behind: u64,
}

/// Keeps, for each partition, what was delivered and not yet resolved, and what may be committed.
#[derive(Debug, Default)]
pub struct AckTracker {
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Of partitions given away: their last epoch, and the highest offset delivered.
    remembered: BTreeMap<TopicPartition, (Epoch, Offset)>,
    epochs: u64,
    counts: AckCounts,
}

impl AckTracker {
    /// Knows no partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an epoch of the partition, and ends the one before if there is any.
    pub fn assign(&mut self, partition: TopicPartition) -> Epoch {
        self.epochs += 1;
        let epoch = Epoch(self.epochs);
        let highest = match self.partitions.get(&partition) {
            Some(before) => before.highest(),
            None => self.remembered.remove(&partition).map(|(_, highest)| highest),
        };
        self.partitions.insert(partition, Partition::new(epoch, highest));
        epoch
    }

    /// Ends the partition's epoch. Returns the offset to commit, if it moved since the last that was
    /// [`committed`](Self::committed).
    pub fn revoke(&mut self, partition: &TopicPartition) -> Option<Offset> {
        let ended = self.partitions.remove(partition)?;
        if let Some(highest) = ended.highest() {
            self.remembered.insert(partition.clone(), (ended.epoch(), highest));
        }
        if self.remembered.len() > MAX_REMEMBERED_PARTITIONS {
            let oldest = self.remembered.iter().min_by_key(|(_, (epoch, _))| *epoch).map(|(oldest, _)| oldest.clone());
            oldest.and_then(|oldest| self.remembered.remove(&oldest));
        }
        ended.committable()
    }

    /// The epoch of a partition that is assigned.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<Epoch> {
        self.partitions.get(partition).map(Partition::epoch)
    }

    /// Notes runs of offsets as delivered at `now`, in the order of their delivery. [`runs`] makes runs of offsets.
    ///
    /// Returns false if the epoch is over: the messages must not be worked on, they belong to someone else.
    #[must_use]
    pub fn deliver(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        offsets: impl IntoIterator<Item = RangeInclusive<Offset>>,
        now: Instant,
    ) -> bool {
        let Some(current) = self.partitions.get_mut(partition).filter(|current| current.epoch() == epoch) else {
            return false;
        };
        for run in offsets {
            self.counts.delivered += length(&run);
            self.counts.redelivered += current.deliver(run, now);
        }
        true
    }

    /// Notes runs of offsets as resolved. Returns how many messages are resolved by it: none if the epoch is over.
    ///
    /// A run may span gaps, but no offset that is not meant.
    pub fn resolve(
        &mut self,
        partition: &TopicPartition,
        epoch: Epoch,
        offsets: impl IntoIterator<Item = RangeInclusive<Offset>>,
        resolution: Resolution,
    ) -> u64 {
        let Some(current) = self.partitions.get_mut(partition).filter(|current| current.epoch() == epoch) else {
            self.counts.late += offsets.into_iter().map(|run| length(&run)).sum::<u64>();
            return 0;
        };
        let resolved = offsets.into_iter().map(|run| current.resolve(run)).sum();
        current.advance();
        *match resolution {
            Resolution::Written => &mut self.counts.written,
            Resolution::DeadLettered => &mut self.counts.dead_lettered,
            Resolution::Filtered => &mut self.counts.filtered,
        } += resolved;
        resolved
    }

    /// The next offset to read of each partition where it moved since the last that was
    /// [`committed`](Self::committed).
    pub fn committable(&self) -> Vec<(TopicPartition, Offset)> {
        let moved = |(tp, p): (&TopicPartition, &Partition)| p.committable().map(|offset| (tp.clone(), offset));
        self.partitions.iter().filter_map(moved).collect()
    }

    /// Where each partition would be read on if all ended now, whether that moved or not; one of which nothing was
    /// delivered yet is not among them. To commit it changes nothing, and shows whether the group takes our commits.
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let at = |(tp, p): (&TopicPartition, &Partition)| p.position().map(|offset| (tp.clone(), offset));
        self.partitions.iter().filter_map(at).collect()
    }

    /// The first offset of the partition that is delivered and not resolved.
    pub fn first_unresolved(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition)?.first_unresolved()
    }

    /// Notes that the offset, got from [`committable`](Self::committable), was committed.
    pub fn committed(&mut self, partition: &TopicPartition, offset: Offset) {
        if let Some(partition) = self.partitions.get_mut(partition) {
            partition.committed(offset);
        }
    }

    /// What keeps each partition from moving; one in which all is resolved is not among them.
    pub fn pending(&self) -> Vec<Pending> {
        self.partitions.iter().filter_map(|(tp, partition)| partition.pending(tp)).collect()
    }

    /// What would be read again if all ended now: of each partition the next offset to read, and how many from there
    /// on were delivered, gaps included.
    pub fn uncommitted(&self) -> Vec<(TopicPartition, Offset, u64)> {
        let behind =
            |(tp, p): (&TopicPartition, &Partition)| p.uncommitted().map(|(from, count)| (tp.clone(), from, count));
        self.partitions.iter().filter_map(behind).collect()
    }

    /// How many messages are delivered and not resolved, in all partitions.
    pub fn unresolved(&self) -> u64 {
        self.partitions.values().map(Partition::unresolved).sum()
    }

    /// What was delivered and resolved since the start.
    pub fn counts(&self) -> AckCounts {
        self.counts
    }
}

/// Joins offsets that follow each other to runs.
pub fn runs(offsets: impl IntoIterator<Item = Offset>) -> impl Iterator<Item = RangeInclusive<Offset>> {
    let mut offsets = offsets.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = offsets.next()?;
        let mut last = first;
        while let Some(next) = offsets.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        Some(first..=last)
    })
}
