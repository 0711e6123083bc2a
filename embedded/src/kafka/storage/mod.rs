//! The data folder: what makes a broker remember.
//!
//! ```text
//! lock               held by the broker that uses the folder
//! journal.N          topics, settings, starts of logs, committed offsets, producer ids: one JSON object a line
//! topics/ID/P.log    the batches of partition P of the topic that the journal calls ID, one after another
//! topics/ID/P.cut    what the last start found broken at the end of P.log, and took off
//! ```
//!
//! A change is acknowledged when the operating system has it, so it survives the end of the process, but not a power cut. A
//! line or batch that was being written at that moment is cut off at the next start. Records that were deleted take up their
//! room until the topic is deleted.

mod append_file;
mod journal;
mod recovery;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::lock;
use super::log::Log;
use super::waiters::{Sleeper, Waiters};
pub(crate) use append_file::{AppendFile, Broken};
pub(crate) use journal::{Memory, Record, StoredTopic, offset_record};

/// A journal of fewer bytes is not worth being rewritten.
const MIN_REWRITE_BYTES: u64 = 16 << 20;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FolderError {
    #[error("another broker uses it")]
    InUse,
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}, line {line}: {reason}; restore the file, or move it away to begin without topics")]
    Journal { path: PathBuf, line: usize, reason: String },
}

/// A folder that this broker holds the lock of.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    journal: Mutex<Generation>,
    writers: TaskTracker,
    _lock: File,
}

/// The journal being written, and the size that it began with.
#[derive(Debug)]
struct Generation {
    number: u64,
    file: Arc<AppendFile>,
    first_bytes: u64,
}

/// A change that is on its way to the disk; with nothing to wait for where there is no folder.
#[derive(Debug, Default)]
#[must_use = "a change counts when it is written"]
pub(crate) struct Ticket(Option<(Arc<AppendFile>, u64)>);

impl Ticket {
    /// Waits until the change survives the end of this process.
    ///
    /// # Errors
    /// When it could not be written.
    pub(crate) async fn written(self, sleeper: &Sleeper) -> Result<(), Broken> {
        match self.0 {
            Some((file, bytes)) => file.written(bytes, sleeper).await,
            None => Ok(()),
        }
    }
}

impl Folder {
    /// Opens a folder, made if need be, and reads what it remembers. Blocks.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub(crate) fn open(path: &Path) -> Result<(Folder, Memory), FolderError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Io { path, source }
        };
        let topics = path.join("topics");
        fs::create_dir_all(&topics).map_err(failed(&topics))?;
        let lock_path = path.join("lock");
        let lock = File::options().create(true).append(true).open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse),
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let (last, memory) = journal::recall(path)?;
        remove_orphans(&topics, &memory).map_err(failed(&topics))?;
        let writers = TaskTracker::new();
        let next = Generation::begin(path, last + 1, &memory, &writers);
        let folder = Folder { path: path.to_owned(), journal: Mutex::new(next), writers, _lock: lock };
        Ok((folder, memory))
    }

    /// Notes a change. What it changes must be locked, so that the journal has the order in which things happened.
    pub(crate) fn record(&self, records: &[Record]) -> Result<Ticket, Broken> {
        let journal = lock(&self.journal);
        let bytes = journal::lines(records);
        let size = bytes.len() as u64;
        let begin = journal.file.enqueue(bytes)?;
        Ok(Ticket(Some((Arc::clone(&journal.file), begin + size))))
    }

    /// Whether the journal is mostly history.
    pub(crate) fn wants_rewrite(&self) -> bool {
        let journal = lock(&self.journal);
        journal.file.enqueued_bytes() > MIN_REWRITE_BYTES.max(4 * journal.first_bytes)
    }

    /// Begins a new journal with `memory` instead of its history. All that `memory` was taken from must be locked still.
    pub(crate) fn rewrite(&self, memory: &Memory) {
        let mut journal = lock(&self.journal);
        *journal = Generation::begin(&self.path, journal.number + 1, memory, &self.writers);
    }

    /// The file of a partition of a new topic, or a new partition.
    pub(crate) fn new_partition(&self, id: u64, index: usize, waiters: Arc<Waiters>) -> Arc<AppendFile> {
        self.partition_file(id, index, 0, waiters)
    }

    /// The log of a partition that may have been written before, and its file. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or its broken end cannot be taken off.
    pub(crate) fn recover_partition(
        &self,
        id: u64,
        index: usize,
        start_offset: i64,
        waiters: Arc<Waiters>,
    ) -> Result<(Log, Arc<AppendFile>), FolderError> {
        let path = self.partition_path(id, index);
        let failed = |source| FolderError::Io { path: path.clone(), source };
        let (log, bytes) = recovery::recover(&path, start_offset).map_err(failed)?;
        Ok((log, self.partition_file(id, index, bytes, waiters)))
    }

    fn partition_file(&self, id: u64, index: usize, bytes: u64, waiters: Arc<Waiters>) -> Arc<AppendFile> {
        Arc::new(AppendFile::new(self.partition_path(id, index), bytes, waiters, self.writers.clone()))
    }

    fn partition_path(&self, id: u64, index: usize) -> PathBuf {
        self.topic_path(id).join(format!("{index}.log"))
    }

    /// Removes the logs of a topic, in the background.
    pub(crate) fn remove_topic(&self, id: u64) {
        let path = self.topic_path(id);
        self.writers.spawn_blocking(move || match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(folder = %path.display(), %error, "cannot remove a deleted topic; the next start tries again");
            }
            _ => {}
        });
    }

    /// Waits until nothing is being written.
    pub(crate) async fn close(&self) {
        self.writers.close();
        self.writers.wait().await;
    }

    fn topic_path(&self, id: u64) -> PathBuf {
        self.path.join("topics").join(id.to_string())
    }
}

impl Generation {
    /// Once the new journal is complete, those before it are removed.
    fn begin(folder: &Path, number: u64, memory: &Memory, writers: &TaskTracker) -> Self {
        let bytes: Bytes = journal::lines(&memory.records(number));
        let first_bytes = bytes.len() as u64;
        let path = journal::path(folder, number);
        let file = Arc::new(AppendFile::new(path, 0, Arc::default(), writers.clone()));
        if file.enqueue(bytes).is_ok() {
            let (file, folder) = (Arc::clone(&file), folder.to_owned());
            writers.spawn(async move {
                if file.written(first_bytes, &Sleeper::new(0)).await.is_ok() {
                    let removal = tokio::task::spawn_blocking(move || journal::remove_before(&folder, number));
                    // It says itself what it could not remove.
                    let _ = removal.await;
                }
            });
        }
        Generation { number, file, first_bytes }
    }
}

/// Folders of topics that are not there any more.
fn remove_orphans(topics: &Path, memory: &Memory) -> io::Result<()> {
    for entry in fs::read_dir(topics)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
        if id.is_some_and(|id| memory.topics.values().all(|topic| topic.id != id)) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test]
    async fn a_journal_begun_anew_keeps_what_was_and_what_comes() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Folder::open(folder.path()).unwrap();
        let topic =
            |name: &str, id| Record::Topic { name: name.to_owned(), id, partitions: 1, config: BTreeMap::new() };
        let sleeper = Sleeper::new(1);
        let (first, mut memory) = open();
        assert_eq!(memory, Memory::default());
        first.record(&[topic("old", 0)]).unwrap().written(&sleeper).await.unwrap();
        let stored = StoredTopic { id: 0, partitions: 1, ..StoredTopic::default() };
        memory.topics.insert("old".to_owned(), stored);
        first.rewrite(&memory);
        first.record(&[topic("new", 7)]).unwrap().written(&sleeper).await.unwrap();
        first.close().await;
        drop(first);
        let (second, remembered) = open();
        assert_eq!(remembered.topics.keys().collect::<Vec<_>>(), ["new", "old"]);
        assert_eq!(remembered.next_topic_id, 8);
        second.close().await;
        let journals = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let journals: Vec<_> = journals.filter(|name| name.to_string_lossy().starts_with("journal.")).collect();
        assert_eq!(journals, ["journal.3"], "older ones are removed");
    }
}
