//! From a queue of messages to rows in TDengine: a worker decodes a batch while the one before is being written.
//!
//! ```text
//!  queue ─► prepare: take a batch, decode, group by table, encode ─► (one batch waits) ─► write, resolve
//! ```
//!
//! A worker owns its partitions, and one insert of it is under way at a time, so the rows of a table are written in
//! the order they came.

mod decide;
mod doing;
mod drift;
#[cfg(test)]
pub(crate) mod fake;
mod pace;
mod prepare;
mod session;
mod tags;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ack::{AckTracker, Epoch};
use crate::block::{Block, Column};
use crate::dead_letter::{DeadLetterError, DeadLetters};
use crate::mapping::{MessageFault, RowSource};
use crate::message::{Message, Offset, TopicPartition};
use crate::queue::{BatchQueue, Weigh};
use crate::row::Value;
use crate::stats::Stats;
use crate::tdengine::error::TdengineError;
use crate::tdengine::schema::{SuperTable, TagDrift};

pub use self::doing::Cause;
use self::doing::Doing;
#[cfg(test)]
pub(crate) use self::fake::of_member;
pub(crate) use self::session::Session;

/// A message in a worker's queue, and under which assignment of its partition it was read.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The assignment.
    pub epoch: Epoch,
}

impl Weigh for Delivery {
    fn weight_bytes(&self) -> usize {
        self.message.weight_bytes()
    }
}

/// A database that rows are written to.
pub trait Store: Clone + Send + Sync + 'static {
    /// What one worker writes with.
    type Writer: Writer;

    /// A writer, not yet connected.
    fn writer(&self) -> Self::Writer;

    /// Appends to `parts` the writes that `rows` of `block` (in the order they are written) come to, in buffers out of
    /// `spare` while there are any. Returns the rows that cannot be encoded, and why; they are in no part.
    fn encode(
        &self,
        block: &Block,
        rows: &[u32],
        spare: &mut Vec<Vec<u8>>,
        parts: &mut Vec<Part>,
    ) -> Vec<(u32, String)>;

    /// What becomes of tags that differ from those of a table that exists.
    fn tag_drift(&self) -> TagDrift {
        TagDrift::Ignore
    }

    /// `part` of `block` was written: its child tables are there.
    fn written(&self, block: &Block, part: &Part) {
        let _ = (block, part);
    }

    /// A child table of `part` was taken to be there and is not. Encoded again, its rows make it.
    fn forget(&self, block: &Block, part: &Part) {
        let _ = (block, part);
    }
}

/// What is written at once.
#[derive(Debug)]
pub struct Part {
    /// Rows of the block, in the order they are written.
    pub rows: Vec<u32>,
    /// They, encoded.
    pub payload: Vec<u8>,
    /// Whether child tables that are missing are made by it.
    pub makes_tables: bool,
}

/// One way into the database: a connection that comes about when it is needed.
pub trait Writer: Send + 'static {
    /// Reads the super table `known` again.
    fn read_schema(&mut self, known: &SuperTable) -> impl Future<Output = Result<SuperTable, TdengineError>> + Send;

    /// Writes what [`Store::encode`] made of rows for `schema`. `Ok` means that the server answered with code 0. The
    /// payload is as it was afterwards.
    fn write(
        &mut self,
        schema: &Arc<SuperTable>,
        part: &mut Part,
    ) -> impl Future<Output = Result<(), TdengineError>> + Send;

    /// Reads the tags of those of `tables` that are child tables of `schema`, in its order. By default there are none.
    fn read_tags(&mut self, schema: &SuperTable, tables: &[&str]) -> impl Future<Output = TagsRead> + Send {
        let _ = (schema, tables);
        async { Ok(Vec::new()) }
    }

    /// Gives the child table `table` other tags: each by its place in `schema`, and its only cell.
    fn set_tags(
        &mut self,
        schema: &SuperTable,
        table: &str,
        tags: &[(usize, &Column)],
    ) -> impl Future<Output = Result<(), TdengineError>> + Send {
        let _ = (schema, table, tags);
        async { Ok(()) }
    }

    /// Drops the connection; the next call makes a new one, to the next host if there are several.
    fn reconnect(&mut self);
}

/// Tables, and the values of their tags.
pub type TagsRead = Result<Vec<(String, Vec<Value<'static>>)>, TdengineError>;

/// Why a worker stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// TDengine refuses for good.
    #[error("writing {stable}: {source}")]
    Write {
        /// The super table.
        stable: String,
        /// What TDengine said.
        source: TdengineError,
    },
    /// A message cannot be written, and cannot be set aside either.
    #[error(transparent)]
    DeadLetter(#[from] DeadLetterError),
}

/// Which partitions are ours, and how far each is resolved.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) acks: AckTracker,
    /// Assignments that are being revoked: what is in flight is awaited, nothing new is begun.
    pub(crate) leaving: std::collections::HashSet<Epoch>,
    /// Which worker has a partition.
    pub(crate) lanes: HashMap<TopicPartition, usize>,
}

impl Progress {
    /// Whether the delivery's assignment is not over.
    fn has(&self, delivery: &Delivery) -> bool {
        self.acks.epoch(&delivery.message.source) == Some(delivery.epoch)
    }
}

/// The super tables of a pipeline, in the order that its [`RowSource`] knows them by.
pub(crate) type Schemas = Arc<[Arc<SuperTable>]>;

/// What the workers of a pipeline share.
pub(crate) struct Shared<S: Store> {
    pub(crate) store: S,
    /// The super tables, as they were last read.
    pub(crate) schemas: watch::Sender<Schemas>,
    pub(crate) progress: Mutex<Progress>,
    pub(crate) session: Session,
    /// Set once, when they begin.
    pub(crate) workers: OnceLock<Vec<Worker>>,
    /// Since when no commit went through, how often one was tried, and why the last did not.
    pub(crate) commit_error: Mutex<Option<(Instant, u32, String)>>,
    pub(crate) stats: Stats,
    pub(crate) dead_letters: tokio::sync::Mutex<DeadLetters>,
    /// How many workers wait for TDengine to come back.
    pub(crate) outage: watch::Sender<usize>,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) now_ms: fn() -> i64,
    /// Of the process's name: no two pause alike.
    pub(crate) jitter: u32,
}

impl<S: Store> Shared<S> {
    pub(crate) fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn jitter_seed(&self) -> u64 {
        (u64::from(self.jitter) << 32) ^ (self.now_ms)().unsigned_abs()
    }

    pub(crate) fn commit_error(&self) -> Option<(Instant, u32, String)> {
        self.commit_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Keeps those that may be begun: their partitions are ours, and are not being revoked.
    fn retain_ours(&self, deliveries: &mut Vec<Delivery>) {
        self.retain(deliveries, |progress, delivery| !progress.leaving.contains(&delivery.epoch));
    }

    /// Keeps those whose partitions were not let go.
    fn retain_held(&self, deliveries: &mut Vec<Delivery>) {
        self.retain(deliveries, |_, _| true);
    }

    fn retain(&self, deliveries: &mut Vec<Delivery>, may: impl Fn(&Progress, &Delivery) -> bool) {
        let progress = self.progress();
        let keep = |delivery: &Delivery| progress.has(delivery) && may(&progress, delivery);
        if runs(deliveries).all(|run| keep(&run[0])) {
            return;
        }
        let kept: Vec<bool> = runs(deliveries).flat_map(|run| std::iter::repeat_n(keep(&run[0]), run.len())).collect();
        let mut kept = kept.into_iter();
        deliveries.retain(|_| kept.next().unwrap_or(true));
    }

    /// Whether none of the deliveries' partitions was let go.
    fn holds(&self, deliveries: &[Delivery]) -> bool {
        let progress = self.progress();
        runs(deliveries).all(|run| progress.has(&run[0]))
    }
}

/// How many batches a worker has taken out of its queue, and how many of them it is done with.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    taken: AtomicU64,
    done: watch::Sender<u64>,
}

impl Batches {
    fn take(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    fn finish(&self) {
        self.done.send_modify(|done| *done = done.saturating_add(1));
    }

    /// The worker has ended: nobody is working on what it took any more.
    fn end(&self) {
        self.done.send_replace(u64::MAX);
    }

    /// Waits until all batches that are taken by now are done with.
    pub(crate) async fn settled(&self) {
        let taken = self.taken.load(Ordering::SeqCst);
        // The sender lives as long as `self`.
        let _ = self.done.subscribe().wait_for(|done| *done >= taken).await;
    }
}

/// Ends the count of batches, however the worker ends.
struct EndOfBatches(Arc<Batches>);

impl Drop for EndOfBatches {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A batch on its way: its messages, and their rows by columns.
struct Batch {
    deliveries: Vec<Delivery>,
    /// A block a super table.
    blocks: Vec<Block>,
    /// Of each block the rows that are not written themselves, each with the later one that took over their cells.
    merged: Vec<Vec<(u32, u32)>>,
    /// What is written at once, in order.
    writes: Vec<Write>,
    /// What cannot be written, and why.
    faults: Vec<Fault>,
    /// Messages that a rule drops, by their place in `deliveries`.
    filtered: Vec<u32>,
}

/// A part of one of the batch's blocks.
struct Write {
    block: usize,
    part: Part,
}

/// A message, or a row of it, that cannot be written.
struct Fault {
    /// The message's place in its batch.
    message: u32,
    /// The row's place in the message; `None`: all of the message.
    element: Option<u32>,
    reason: String,
    code: Option<String>,
    /// The row as SQL, where there is one.
    sql: Option<String>,
    /// The user wants the consumer to stop at it.
    stop: bool,
    /// A super table that has changed would explain it.
    may_be_drift: bool,
}

impl Fault {
    fn new(message: u32, element: Option<u32>, fault: &MessageFault) -> Self {
        let stop = matches!(fault, MessageFault::Stop(_));
        let may_be_drift = fault.may_be_drift();
        Self { message, element, reason: fault.to_string(), code: None, sql: None, stop, may_be_drift }
    }
}

/// A worker's ends: its queue, its count of batches, and what it is about.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) queue: BatchQueue<Delivery>,
    pub(crate) batches: Arc<Batches>,
    pub(crate) doing: Arc<Doing>,
}

impl Worker {
    pub(crate) fn new(queue: BatchQueue<Delivery>) -> Self {
        Self { queue, batches: Arc::default(), doing: Arc::default() }
    }

    /// Works until the queue is closed and empty, or until a fault that no retry mends. Dropped, it does nothing more.
    pub(crate) async fn run<S: Store, R: RowSource>(
        self,
        shared: Arc<Shared<S>>,
        rows: impl Fn() -> R + Send + 'static,
    ) -> Result<(), WorkerError> {
        let (ready, batches) = mpsc::channel(1);
        let _end = EndOfBatches(self.batches.clone());
        let spares = Arc::default();
        let pace = Arc::new(Mutex::new(pace::Pace::new(self.queue.settings())));
        let preparer = prepare::Preparer::new(shared.clone(), rows(), Arc::clone(&spares));
        let rewriter = prepare::Preparer::new(shared.clone(), rows(), spares);
        let writer = write::BatchWriter::new(shared, rewriter, self.batches.clone(), self.doing.clone(), pace.clone());
        let mut preparing = JoinSet::new();
        preparing.spawn(of_member(prepare::run(self, preparer, pace, ready)));
        writer.run(batches).await?;
        // No more batches come. If that is because it panicked, what it held is not written.
        match preparing.join_next().await {
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Ok(()),
        }
    }
}

/// What runs beside for a member: tests stop all of it at once, as a signal stops a process.
#[cfg(not(test))]
pub(crate) fn of_member<F: Future>(future: F) -> F {
    future
}

/// Consecutive deliveries of one partition in ascending order, which is how most batches come.
fn runs(deliveries: &[Delivery]) -> impl Iterator<Item = &[Delivery]> {
    // An epoch is of one partition.
    deliveries.chunk_by(|a, b| a.epoch == b.epoch && a.message.offset < b.message.offset)
}

/// How long an outage lasts before partitions are paused for it.
pub(crate) const OUTAGE_AFTER: Duration = Duration::from_secs(3);

/// Where a message stood, for errors.
fn place(message: &Message) -> (TopicPartition, Offset) {
    (message.source.clone(), message.offset)
}
