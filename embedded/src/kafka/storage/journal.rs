//! The journal: every change beside the records themselves, and how it is read again.
//!
//! A journal begins with all that was known when it was begun, closed by a line that says so; changes follow. One without that
//! line was being begun when the process ended, and the one before it still holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::FolderError;
use crate::kafka::group::{Committed, Offsets};
use crate::kafka::topics::TopicConfig;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Record {
    /// What was known at the beginning ends here.
    Complete {
        generation: u64,
    },
    Topic {
        name: String,
        id: u64,
        partitions: usize,
        config: TopicConfig,
    },
    Partitions {
        topic: String,
        count: usize,
    },
    Config {
        topic: String,
        config: TopicConfig,
    },
    TopicDeleted {
        topic: String,
    },
    Start {
        topic: String,
        partition: i32,
        offset: i64,
    },
    Offset {
        group: String,
        topic: String,
        partition: i32,
        offset: i64,
        leader_epoch: i32,
        metadata: String,
    },
    OffsetForgotten {
        group: String,
        topic: String,
        partition: i32,
    },
    GroupDeleted {
        group: String,
    },
    /// Producer ids below this may have been given out; topic ids below that were.
    Ids {
        producer: i64,
        topic: u64,
    },
}

/// What a journal says, all in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub topics: BTreeMap<String, StoredTopic>,
    pub groups: BTreeMap<String, Offsets>,
    pub next_producer_id: i64,
    pub next_topic_id: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredTopic {
    pub id: u64,
    pub partitions: usize,
    pub config: TopicConfig,
    /// First offsets, where they are not 0.
    pub starts: BTreeMap<i32, i64>,
}

impl Memory {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Complete { .. } => {}
            Record::Topic { name, id, partitions, config } => {
                self.next_topic_id = self.next_topic_id.max(id + 1);
                self.topics.insert(name, StoredTopic { id, partitions, config, starts: BTreeMap::new() });
            }
            Record::Partitions { topic, count } => self.topic(&topic, |topic| topic.partitions = count),
            Record::Config { topic, config } => self.topic(&topic, |topic| topic.config = config),
            Record::TopicDeleted { topic } => {
                self.topics.remove(&topic);
                self.groups.values_mut().for_each(|offsets| {
                    offsets.remove(&topic);
                });
            }
            Record::Start { topic, partition, offset } => self.topic(&topic, |topic| {
                let start = topic.starts.entry(partition).or_default();
                *start = offset.max(*start);
            }),
            Record::Offset { group, topic, partition, offset, leader_epoch, metadata } => {
                let committed = Committed { offset, leader_epoch, metadata };
                self.groups.entry(group).or_default().entry(topic).or_default().insert(partition, committed);
            }
            Record::OffsetForgotten { group, topic, partition } => {
                let partitions = self.groups.get_mut(&group).and_then(|offsets| offsets.get_mut(&topic));
                partitions.and_then(|partitions| partitions.remove(&partition));
            }
            Record::GroupDeleted { group } => {
                self.groups.remove(&group);
            }
            Record::Ids { producer, topic } => {
                self.next_producer_id = self.next_producer_id.max(producer);
                self.next_topic_id = self.next_topic_id.max(topic);
            }
        }
    }

    fn topic(&mut self, name: &str, change: impl FnOnce(&mut StoredTopic)) {
        if let Some(topic) = self.topics.get_mut(name) {
            change(topic);
        }
    }

    /// The beginning of a journal that says the same.
    pub(crate) fn records(&self, generation: u64) -> Vec<Record> {
        let mut records = vec![Record::Ids { producer: self.next_producer_id, topic: self.next_topic_id }];
        for (name, stored) in &self.topics {
            let StoredTopic { id, partitions, config, starts } = stored.clone();
            records.push(Record::Topic { name: name.clone(), id, partitions, config });
            let start = |(partition, offset)| Record::Start { topic: name.clone(), partition, offset };
            records.extend(starts.into_iter().map(start));
        }
        for (group, offsets) in &self.groups {
            for (topic, partitions) in offsets {
                let of =
                    |(partition, committed): (&i32, &Committed)| offset_record(group, topic, *partition, committed);
                records.extend(partitions.iter().map(of));
            }
        }
        records.push(Record::Complete { generation });
        records
    }
}

/// The line for one committed offset.
pub(crate) fn offset_record(group: &str, topic: &str, partition: i32, committed: &Committed) -> Record {
    Record::Offset {
        group: group.to_owned(),
        topic: topic.to_owned(),
        partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata.clone(),
    }
}

pub(super) fn lines(records: &[Record]) -> Bytes {
    let mut lines = Vec::new();
    for record in records {
        // These types always are JSON; a map with other keys than strings would not be.
        if let Err(error) = serde_json::to_writer(&mut lines, record) {
            tracing::error!(%error, ?record, "cannot note a change in the journal");
        }
        lines.push(b'\n');
    }
    lines.into()
}

pub(super) fn path(folder: &Path, generation: u64) -> PathBuf {
    folder.join(format!("journal.{generation}"))
}

/// Reads the newest journal that is complete. Returns the newest number in use, and what it says.
pub(super) fn recall(folder: &Path) -> Result<(u64, Memory), FolderError> {
    let mut numbers = generations(folder).map_err(|source| FolderError::Io { path: folder.to_owned(), source })?;
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    for number in &numbers {
        let path = path(folder, *number);
        let text = fs::read(&path).map_err(|source| FolderError::Io { path: path.clone(), source })?;
        if let Some(memory) = replay(&path, &text)? {
            return Ok((numbers[0], memory));
        }
    }
    Ok((numbers.first().copied().unwrap_or(0), Memory::default()))
}

/// `None` for a journal that was never completed.
fn replay(path: &Path, text: &[u8]) -> Result<Option<Memory>, FolderError> {
    // What stands behind the last line end was being written when the process ended, and was never acknowledged.
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let mut memory = Memory::default();
    let mut is_complete = false;
    for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
        let record: Record = serde_json::from_slice(line).map_err(|error| FolderError::Journal {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string(),
        })?;
        is_complete |= matches!(record, Record::Complete { .. });
        memory.apply(record);
    }
    Ok(is_complete.then_some(memory))
}

/// Removes the journals that a newer, complete one replaces.
pub(super) fn remove_before(folder: &Path, generation: u64) {
    let older = generations(folder).unwrap_or_default().into_iter().filter(|number| *number < generation);
    for path in older.map(|number| path(folder, number)) {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "cannot remove an old journal; the next one tries again");
        }
    }
}

fn generations(folder: &Path) -> std::io::Result<Vec<u64>> {
    let number = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name());
        name.map(|name| name.to_str().and_then(|name| name.strip_prefix("journal.")?.parse().ok())).transpose()
    };
    fs::read_dir(folder)?.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> impl Strategy<Value = Record> {
        let name = || "[ab]";
        let config = || proptest::collection::btree_map("[xy]", "[0-9]\"?\n?", 0..2);
        prop_oneof![
            (name(), 0..9_u64, 1..4_usize, config()).prop_map(|(name, id, partitions, config)| Record::Topic {
                name,
                id,
                partitions,
                config
            }),
            (name(), 1..9_usize).prop_map(|(topic, count)| Record::Partitions { topic, count }),
            (name(), config()).prop_map(|(topic, config)| Record::Config { topic, config }),
            name().prop_map(|topic| Record::TopicDeleted { topic }),
            (name(), 0..2, 0..9_i64).prop_map(|(topic, partition, offset)| Record::Start { topic, partition, offset }),
            (name(), name(), 0..2, any::<i64>(), ".{0,3}").prop_map(|(group, topic, partition, offset, metadata)| {
                Record::Offset { group, topic, partition, offset, leader_epoch: 0, metadata }
            }),
            (name(), name(), 0..2).prop_map(|(group, topic, partition)| Record::OffsetForgotten {
                group,
                topic,
                partition
            }),
            name().prop_map(|group| Record::GroupDeleted { group }),
            (0..99_i64, 0..9_u64).prop_map(|(producer, topic)| Record::Ids { producer, topic }),
        ]
    }

    fn all_of(records: &[Record]) -> Memory {
        let mut memory = Memory::default();
        records.iter().cloned().for_each(|record| memory.apply(record));
        memory.groups.values_mut().for_each(|offsets| offsets.retain(|_, partitions| !partitions.is_empty()));
        memory.groups.retain(|_, offsets| !offsets.is_empty());
        memory
    }

    proptest! {
        #[test]
        fn a_rewritten_journal_says_the_same(records in proptest::collection::vec(record(), 0..40)) {
            let memory = all_of(&records);
            let text = lines(&memory.records(3));
            prop_assert_eq!(replay(Path::new("j"), &text).unwrap(), Some(memory));
        }

        #[test]
        fn a_torn_line_costs_that_line_only(records in proptest::collection::vec(record(), 1..9), torn in 1..30_usize) {
            let (last, before) = records.split_last().unwrap();
            let mut text = lines(&[&[Record::Complete { generation: 1 }], before].concat()).to_vec();
            let line = lines(std::slice::from_ref(last));
            text.extend_from_slice(&line[..line.len() - torn.min(line.len())]);
            let mut expected = Memory::default();
            before.iter().cloned().for_each(|record| expected.apply(record));
            prop_assert_eq!(replay(Path::new("j"), &text).unwrap(), Some(expected));
        }
    }

    #[test]
    fn a_journal_without_its_beginning_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut memory = Memory { next_producer_id: 7, ..Memory::default() };
        fs::write(path(folder.path(), 4), lines(&memory.records(4))).unwrap();
        fs::write(path(folder.path(), 5), lines(&[Record::Ids { producer: 9, topic: 9 }])).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), (5, memory.clone()));
        memory.next_producer_id = 8;
        fs::write(path(folder.path(), 10), lines(&memory.records(10))).unwrap();
        assert_eq!(recall(folder.path()).unwrap(), (10, memory));
        remove_before(folder.path(), 10);
        assert_eq!(generations(folder.path()).unwrap(), [10]);
    }

    #[test]
    fn a_broken_line_within_is_an_error_that_names_it() {
        let text = b"{\"complete\":{\"generation\":1}}\n{\"topic\n{\"topic_deleted\":{\"topic\":\"t\"}}\n";
        let error = replay(Path::new("journal.1"), text).unwrap_err().to_string();
        assert!(error.contains("journal.1, line 2"), "{error}");
    }
}
