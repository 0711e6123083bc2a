//! Counters of a running consumer, and what they were at a moment.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::message::{Offset, TopicPartition};
use crate::tdengine::error::Class;

/// What was read of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStats {
    /// The first offset that was read.
    pub first: Offset,
    /// The last offset that was read.
    pub last: Offset,
    /// Messages read.
    pub consumed: u64,
    /// The offset that was committed, the next to read; `None` before the first commit.
    pub committed: Option<Offset>,
}

impl PartitionStats {
    fn join(&mut self, other: &Self) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.consumed += other.consumed;
        self.committed = self.committed.max(other.committed);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counters of a running consumer. Each is counted once a batch.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: AtomicU64,)*
            retries_by_class: Mutex<BTreeMap<&'static str, u64>>,
            partitions: Mutex<BTreeMap<TopicPartition, PartitionStats>>,
        }

        /// The counters at a moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// The retries by the class of the error, as `network`.
            pub retries_by_class: BTreeMap<&'static str, u64>,
            /// What was read of each partition.
            pub partitions: BTreeMap<TopicPartition, PartitionStats>,
        }

        impl Snapshot {
            /// Both together: counters added, partitions joined.
            pub fn plus(mut self, other: Self) -> Self {
                $(self.$name += other.$name;)*
                for (class, retries) in other.retries_by_class {
                    *self.retries_by_class.entry(class).or_default() += retries;
                }
                for (source, stats) in other.partitions {
                    match self.partitions.get_mut(&source) {
                        Some(known) => known.join(&stats),
                        None => {
                            self.partitions.insert(source, stats);
                        }
                    }
                }
                self
            }
        }

        impl Stats {
            /// The counters now.
            pub fn snapshot(&self) -> Snapshot {
                Snapshot {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    retries_by_class: locked(&self.retries_by_class).clone(),
                    partitions: self.partitions().clone(),
                }
            }
        }
    };
}

counters! {
    /// Messages read.
    consumed,
    /// Rows that the server took.
    rows_written,
    /// Rows that were merged into a later one of the same key before they were written.
    merged,
    /// Messages dropped by a rule that the user wrote.
    filtered,
    /// Child tables whose tags a message had otherwise, counted anew for each other value.
    tag_drift,
    /// Messages in the dead-letter place.
    dead_lettered,
    /// Messages that this process had read before.
    redelivered,
    /// Batches written.
    batches,
    /// Writes that were tried again.
    retries,
    /// Revocations that ended with writes unanswered: their rows are written again.
    undrained,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Stats {
    fn partitions(&self) -> std::sync::MutexGuard<'_, BTreeMap<TopicPartition, PartitionStats>> {
        locked(&self.partitions)
    }

    /// A write is tried again after an error of that class.
    pub fn retried(&self, class: Class) {
        Self::add(&self.retries, 1);
        *locked(&self.retries_by_class).entry(class.name()).or_default() += 1;
    }

    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    /// Messages `first` to `last` of a partition were read, `consumed` of them.
    pub fn read(&self, source: &TopicPartition, first: Offset, last: Offset, consumed: u64) {
        Self::add(&self.consumed, consumed);
        let mut partitions = self.partitions();
        match partitions.get_mut(source) {
            Some(known) => known.join(&PartitionStats { first, last, consumed, committed: None }),
            None => {
                partitions.insert(source.clone(), PartitionStats { first, last, consumed, committed: None });
            }
        }
    }

    /// The group's offset of a partition is `offset` now.
    pub fn committed(&self, source: &TopicPartition, offset: Offset) {
        if let Some(known) = self.partitions().get_mut(source) {
            known.committed = Some(offset);
        }
    }
}

/// A line a second for people: what came, how much of it lately, and from where.
pub fn line(verb: &str, total: u64, before: u64, seconds: f64, partitions: &[String]) -> String {
    let lately = ((total - before) as f64 / seconds.max(f64::EPSILON)).round() as u64;
    format!("{verb} {total} records ({lately} in last second), partitions [{}]", partitions.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_keep_their_ends() {
        let stats = Stats::default();
        let source = TopicPartition::new("t", 3);
        stats.read(&source, 10, 19, 10);
        stats.read(&source, 15, 17, 3);
        stats.committed(&source, 20);
        let snapshot = stats.snapshot();
        assert_eq!(snapshot.consumed, 13);
        assert_eq!(
            snapshot.partitions[&source],
            PartitionStats { first: 10, last: 19, consumed: 13, committed: Some(20) }
        );
    }

    #[test]
    fn the_line_says_how_much_came_in_the_last_second() {
        let partitions = ["t/0".to_owned(), "t/1".to_owned()];
        let line = line("consumed", 412_000, 308_889, 1.0, &partitions);
        assert_eq!(line, "consumed 412000 records (103111 in last second), partitions [t/0 t/1]");
    }
}
