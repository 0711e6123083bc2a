//! Which messages, and rows of messages, are in the dead letters.

use std::collections::HashMap;

use crate::dead_letter::Archive;
use crate::message::{Offset, TopicPartition};

/// What is set aside, by where it stood in Kafka: some 60 bytes a letter.
#[derive(Clone, Debug, Default)]
pub struct DeadSet(HashMap<TopicPartition, HashMap<Offset, Dead>>);

/// What of a message is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    All,
    /// It was, and has been put back in: its rows must be stored. Should this mapping make none of it, another one did.
    Replayed,
    /// These rows, by their place in the message.
    Rows(Box<[u32]>),
}

impl DeadSet {
    /// All that is in an archive.
    pub fn of(archive: &Archive) -> Self {
        let mut set = Self::default();
        for id in archive.done() {
            set.of_source(&id.topic, id.partition).insert(id.offset, Dead::Replayed);
        }
        for entry in archive.entries() {
            set.insert(&entry.source.topic, entry.source.partition, entry.offset, entry.rows.as_deref());
        }
        set
    }

    fn of_source(&mut self, topic: &str, partition: i32) -> &mut HashMap<Offset, Dead> {
        self.0.entry(TopicPartition::new(topic, partition)).or_default()
    }

    /// Takes in that `rows` of a message are set aside; `None`: all of it.
    pub fn insert(&mut self, topic: &str, partition: i32, offset: Offset, rows: Option<&[u32]>) {
        self.of_source(topic, partition).insert(offset, rows.map_or(Dead::All, |rows| Dead::Rows(rows.into())));
    }

    pub(super) fn get(&self, source: &TopicPartition, offset: Offset) -> Option<&Dead> {
        self.0.get(source)?.get(&offset)
    }
}

impl Dead {
    /// Whether the row is set aside.
    pub(super) fn has(&self, element: u32) -> bool {
        match self {
            Self::All => true,
            Self::Replayed => false,
            Self::Rows(rows) => rows.contains(&element),
        }
    }

    /// Whether it explains that a row cannot be made.
    pub(super) fn excuses(&self, element: u32) -> bool {
        *self == Self::Replayed || self.has(element)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_tell_rows_from_whole_messages() {
        let mut set = DeadSet::default();
        set.insert("t", 0, 5, Some(&[1, 3]));
        set.insert("t", 0, 6, None);
        set.of_source("t", 0).insert(7, Dead::Replayed);
        let source = TopicPartition::new("t", 0);
        let has = |offset, row| set.get(&source, offset).map(|dead| (dead.has(row), dead.excuses(row)));
        assert_eq!((has(5, 1), has(5, 0)), (Some((true, true)), Some((false, false))));
        assert_eq!((has(6, 0), has(7, 0), has(8, 0)), (Some((true, true)), Some((false, true)), None));
    }
}
