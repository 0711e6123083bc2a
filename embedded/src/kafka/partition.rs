//! One partition: its log behind a lock, its bytes in memory or in a file, and who waits for it to grow.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;

use super::batch::{self, BatchHeader};
use super::lock;
use super::log::{Log, Place};
use super::storage::AppendFile;
use super::waiters::{Sleeper, Waiters};

/// The memory that all logs share.
#[derive(Debug)]
pub(crate) struct MemoryBudget {
    used_bytes: AtomicUsize,
    max_bytes: usize,
}

impl MemoryBudget {
    pub(crate) fn new(max_bytes: usize) -> Self {
        MemoryBudget { used_bytes: AtomicUsize::new(0), max_bytes }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max_bytes);
        self.used_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Partition {
    state: Mutex<State>,
    budget: Arc<MemoryBudget>,
    file: Option<Arc<AppendFile>>,
    /// Woken when there is more to read, and when the partition is gone.
    pub waiters: Arc<Waiters>,
}

#[derive(Debug, Default)]
struct State {
    log: Log,
    deleted: bool,
}

/// Why nothing was appended: the protocol's error and a sentence for the producer.
pub(crate) type Refusal = (ResponseError, &'static str);

/// A batch that stands in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub base_offset: i64,
    pub start_offset: i64,
    /// Bytes of the file that must be written before the batch may be acknowledged.
    durable_at: u64,
}

/// The offsets that every answer to a fetch carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watermarks {
    pub start: i64,
    pub high: i64,
}

/// Whole batches, found but not yet read from the disk.
#[derive(Debug)]
pub(crate) enum Batches {
    Memory(Vec<Bytes>),
    File { file: Arc<File>, begin: u64, size: usize },
}

impl Batches {
    /// The bytes, read off the runtime's threads where they lie in a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn load(self) -> std::io::Result<Vec<Bytes>> {
        match self {
            Batches::Memory(batches) => Ok(batches),
            Batches::File { size: 0, .. } => Ok(Vec::new()),
            Batches::File { file, begin, size } => tokio::task::spawn_blocking(move || {
                let mut bytes = BytesMut::zeroed(size);
                file.read_exact_at(&mut bytes, begin)?;
                Ok(vec![bytes.freeze()])
            })
            .await
            .map_err(std::io::Error::other)?,
        }
    }
}

impl Partition {
    /// A partition that begins with `log`, whose bytes are in `file` if there is one.
    pub(crate) fn new(
        log: Log,
        budget: Arc<MemoryBudget>,
        file: Option<Arc<AppendFile>>,
        waiters: Arc<Waiters>,
    ) -> Self {
        Partition { state: Mutex::new(State { log, deleted: false }), budget, file, waiters }
    }

    /// Takes one batch of at most `max_bytes`. In memory it can be read at once; in a file after [`Partition::durable`].
    ///
    /// # Errors
    /// A batch that is not sound, a sequence that does not follow, a full memory, or a file that cannot be written.
    pub(crate) fn append(&self, records: &[u8], max_bytes: usize) -> Result<Appended, Refusal> {
        let header = batch::check(records, max_bytes)?;
        let copy = batch::copy_for_log(records);
        let cost_bytes = if self.file.is_some() { 0 } else { copy.len() + size_of::<super::log::Entry>() };
        let mut state = self.open_state()?;
        let sequence = state.log.producers.check(&header);
        if let Some(base_offset) = sequence.map_err(|error| (error, "the sequence does not follow the last one"))? {
            return Ok(Appended {
                base_offset,
                start_offset: state.log.start_offset(),
                durable_at: self.enqueued_bytes(),
            });
        }
        if !self.budget.take(cost_bytes) {
            return Err((
                ResponseError::PolicyViolation,
                "the memory of the embedded broker is full: delete topics or records, or raise max_memory_bytes",
            ));
        }
        let appended = self.push(&mut state.log, &header, copy);
        drop(state);
        if appended.is_err() {
            self.budget.give_back(cost_bytes);
        } else if self.file.is_none() {
            self.waiters.wake();
        }
        appended
    }

    fn push(&self, log: &mut Log, header: &BatchHeader, copy: BytesMut) -> Result<Appended, Refusal> {
        let base_offset = log.end_offset();
        let bytes = batch::set_base_offset(copy, base_offset);
        let place = match &self.file {
            None => Place::Memory(bytes),
            Some(file) => Place::File(
                file.enqueue(bytes).map_err(|_| (ResponseError::KafkaStorageError, "the log cannot be written"))?,
            ),
        };
        log.push(header, place);
        Ok(Appended { base_offset, start_offset: log.start_offset(), durable_at: self.enqueued_bytes() })
    }

    /// Waits until an appended batch survives the end of this process.
    ///
    /// # Errors
    /// When its file could not be written.
    pub(crate) async fn durable(&self, appended: &Appended, sleeper: &Sleeper) -> Result<(), Refusal> {
        let Some(file) = &self.file else { return Ok(()) };
        let written = file.written(appended.durable_at, sleeper).await;
        written.map_err(|_| (ResponseError::KafkaStorageError, "the log could not be written"))
    }

    /// Whole batches from `offset` on, up to `max_bytes` together; with `at_least_one` the first comes whatever its size.
    ///
    /// # Errors
    /// `OffsetOutOfRange` outside of the log, `UnknownTopicOrPartition` once deleted, `KafkaStorageError`.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<(Watermarks, Batches, usize), ResponseError> {
        let state = self.open_state().map_err(|(error, _)| error)?;
        let written_bytes = self.written_bytes();
        let marks = watermarks(&state.log, written_bytes);
        if offset < marks.start || offset > state.log.end_offset() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let (mut size, mut begin, mut in_memory) = (0, None, Vec::new());
        let readable = state.log.entries_from(offset).take_while(|entry| entry.last_offset < marks.high);
        for entry in readable {
            if size + entry.size > max_bytes && !(at_least_one && size == 0) {
                break;
            }
            size += entry.size;
            match &entry.place {
                Place::Memory(bytes) => in_memory.push(bytes.clone()),
                Place::File(position) => {
                    begin.get_or_insert(*position);
                }
            }
        }
        let batches = match (&self.file, begin) {
            (Some(file), Some(begin)) => {
                drop(state);
                let file = file.file().map_err(|_| ResponseError::KafkaStorageError)?;
                Batches::File { file, begin, size }
            }
            _ => Batches::Memory(in_memory),
        };
        Ok((marks, batches, size))
    }

    /// First offset, and the offset after the last record that can be read.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition` once deleted.
    pub(crate) fn watermarks(&self) -> Result<Watermarks, ResponseError> {
        let state = self.open_state().map_err(|(error, _)| error)?;
        Ok(watermarks(&state.log, self.written_bytes()))
    }

    /// The first batch that has a record of `timestamp` (milliseconds since 1970) or later: its first offset and first
    /// timestamp, and where its bytes are.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition` once deleted, `KafkaStorageError`.
    pub(crate) fn find_time(&self, timestamp: i64) -> Result<Option<Batches>, ResponseError> {
        let state = self.open_state().map_err(|(error, _)| error)?;
        let high = watermarks(&state.log, self.written_bytes()).high;
        let found = state.log.entries().take_while(|e| e.last_offset < high).find(|e| e.max_timestamp >= timestamp);
        let Some((place, size)) = found.map(|entry| (entry.place.clone(), entry.size)) else { return Ok(None) };
        drop(state);
        self.locate(place, size).map(Some)
    }

    /// The batch with the largest timestamp.
    ///
    /// # Errors
    /// As [`Partition::find_time`].
    pub(crate) fn find_max_time(&self) -> Result<Option<Batches>, ResponseError> {
        let largest = {
            let state = self.open_state().map_err(|(error, _)| error)?;
            let high = watermarks(&state.log, self.written_bytes()).high;
            state.log.entries().take_while(|e| e.last_offset < high).map(|e| e.max_timestamp).max()
        };
        largest.map_or(Ok(None), |timestamp| self.find_time(timestamp))
    }

    fn locate(&self, place: Place, size: usize) -> Result<Batches, ResponseError> {
        match (place, &self.file) {
            (Place::File(begin), Some(file)) => {
                let file = file.file().map_err(|_| ResponseError::KafkaStorageError)?;
                Ok(Batches::File { file, begin, size })
            }
            (Place::Memory(bytes), _) => Ok(Batches::Memory(vec![bytes])),
            (Place::File(_), None) => Err(ResponseError::KafkaStorageError),
        }
    }

    /// Deletes the records before `offset` (-1: all that can be read) and returns the new start.
    ///
    /// # Errors
    /// `OffsetOutOfRange` beyond the end, `UnknownTopicOrPartition` once deleted.
    pub(crate) fn delete_before(&self, offset: i64) -> Result<i64, ResponseError> {
        let mut state = self.open_state().map_err(|(error, _)| error)?;
        let high = watermarks(&state.log, self.written_bytes()).high;
        let offset = if offset == -1 { high } else { offset };
        if offset > high {
            return Err(ResponseError::OffsetOutOfRange);
        }
        let freed_bytes = state.log.delete_before(offset)?;
        let start_offset = state.log.start_offset();
        drop(state);
        self.budget.give_back(freed_bytes);
        Ok(start_offset)
    }

    /// Ends the partition: memory is given back, waiting fetches are answered, nothing more is taken.
    pub(crate) fn delete(&self) {
        let freed_bytes = {
            let mut state = lock(&self.state);
            state.deleted = true;
            state.log.clear()
        };
        self.budget.give_back(freed_bytes);
        self.waiters.wake();
    }

    /// The highest producer id in the log.
    pub(crate) fn highest_producer_id(&self) -> Option<i64> {
        lock(&self.state).log.producers.highest_id()
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>, Refusal> {
        let state = lock(&self.state);
        if state.deleted {
            return Err((ResponseError::UnknownTopicOrPartition, "the topic was deleted"));
        }
        Ok(state)
    }

    /// `None` where everything in the log can be read.
    fn written_bytes(&self) -> Option<u64> {
        self.file.as_ref().map(|file| file.written_bytes())
    }

    fn enqueued_bytes(&self) -> u64 {
        self.file.as_ref().map_or(0, |file| file.enqueued_bytes())
    }
}

fn watermarks(log: &Log, written_bytes: Option<u64>) -> Watermarks {
    let high = written_bytes.map_or(log.end_offset(), |written| log.end_of_written(written));
    Watermarks { start: log.start_offset(), high }
}

impl Drop for Partition {
    fn drop(&mut self) {
        let freed_bytes = lock(&self.state).log.clear();
        self.budget.give_back(freed_bytes);
    }
}
