//! Which messages, and rows of messages, are in the dead letters.

use std::collections::HashMap;

use crate::dead_letter::DeadLetter;
use crate::message::{Offset, TopicPartition};

/// What is set aside, by where it stood in Kafka: some 60 bytes a letter.
#[derive(Clone, Debug, Default)]
pub struct DeadSet(HashMap<TopicPartition, HashMap<Offset, Dead>>);

/// What of a message is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dead {
    All,
    /// These rows, by their place in the message.
    Rows(Box<[u32]>),
}

impl DeadSet {
    /// Takes a letter in.
    pub fn insert(&mut self, letter: &DeadLetter) {
        let rows: Vec<u32> = letter.rows.iter().map(|row| row.element).collect();
        self.insert_rows(&letter.topic, letter.partition, letter.offset, &rows);
    }

    /// Takes in that `rows` of a message are set aside; none: all of it.
    pub fn insert_rows(&mut self, topic: &str, partition: i32, offset: Offset, rows: &[u32]) {
        let of_source = self.0.entry(TopicPartition::new(topic, partition)).or_default();
        let dead = of_source.entry(offset).or_insert_with(|| Dead::Rows(Box::default()));
        match dead {
            // Letters that were kept again count once.
            Dead::Rows(known) if !rows.is_empty() => {
                let more = rows.iter().filter(|row| !known.contains(row));
                *known = known.iter().chain(more).copied().collect();
            }
            _ => *dead = Dead::All,
        }
    }

    pub(super) fn of(&self, source: &TopicPartition, offset: Offset) -> Option<&Dead> {
        self.0.get(source)?.get(&offset)
    }
}

impl Dead {
    pub(super) fn has(&self, element: u32) -> bool {
        match self {
            Self::All => true,
            Self::Rows(rows) => rows.contains(&element),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_add_up() {
        let mut set = DeadSet::default();
        set.insert_rows("t", 0, 5, &[1]);
        set.insert_rows("t", 0, 5, &[3]);
        set.insert_rows("t", 0, 6, &[1]);
        set.insert_rows("t", 0, 6, &[]);
        let source = TopicPartition::new("t", 0);
        let dead = set.of(&source, 5).unwrap();
        assert!(dead.has(1) && dead.has(3) && !dead.has(0));
        assert_eq!(set.of(&source, 6), Some(&Dead::All));
        assert_eq!(set.of(&source, 7), None);
    }
}
