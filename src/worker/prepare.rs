//! The first half of a worker: messages to rows, rows to what one write takes.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use super::decide::Pauses;
use super::pace::Pace;
use super::{Batch, Delivery, Fault, Shared, Store, Worker, Write};
use crate::block::{Block, Origin};
use crate::encode::sql;
use crate::mapping::{FaultyRow, Outcome, RowSource};
use crate::message::Message;
use crate::tdengine::schema::{SuperTable, TagDrift};

/// Makes batches of messages ready to be written.
pub(super) struct Preparer<S: Store, R> {
    shared: Arc<Shared<S>>,
    source: R,
    spares: Arc<Mutex<Spares>>,
}

/// Buffers of batches that are done with: both halves of a worker share them.
#[derive(Default)]
pub(super) struct Spares {
    /// Those of a batch together.
    blocks: Vec<Vec<Block>>,
    payloads: Vec<Vec<u8>>,
}

impl Spares {
    /// More are never in use at once.
    const MOST: usize = 3;

    fn take_back(&mut self, batch: Batch) {
        if self.blocks.len() < Self::MOST {
            self.blocks.push(batch.blocks);
        }
        let room = Self::MOST.saturating_sub(self.payloads.len());
        self.payloads.extend(batch.writes.into_iter().map(|write| write.part.payload).take(room));
    }
}

impl<S: Store, R: RowSource> Preparer<S, R> {
    pub(super) fn new(shared: Arc<Shared<S>>, source: R, spares: Arc<Mutex<Spares>>) -> Self {
        Self { shared, source, spares }
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Decodes `deliveries` and encodes their rows for the super tables as they are known now.
    ///
    /// As long as what is needed to read one of them cannot be had, they all wait, since a table's rows keep their order;
    /// `keep` drops those that are not to be prepared any more.
    pub(super) async fn prepare(
        &mut self,
        mut deliveries: Vec<Delivery>,
        keep: impl Fn(&Shared<S>, &mut Vec<Delivery>),
    ) -> Batch {
        let mut pauses = Pauses::new(self.shared.jitter_seed());
        let mut is_told = false;
        loop {
            match self.prepare_now(deliveries) {
                Ok(batch) => return batch,
                Err((unread, reason)) => {
                    if !is_told {
                        tracing::warn!(reason, messages = unread.len(), "messages wait, as they cannot be read yet");
                    }
                    (deliveries, is_told) = (unread, true);
                }
            }
            tokio::time::sleep(pauses.next()).await;
            keep(&self.shared, &mut deliveries);
        }
    }

    /// The deliveries come back where one of them cannot be read yet, with the reason.
    fn prepare_now(&mut self, deliveries: Vec<Delivery>) -> Result<Batch, (Vec<Delivery>, String)> {
        let mut batch = Batch {
            deliveries,
            blocks: self.empty_blocks(),
            merged: Vec::new(),
            writes: Vec::new(),
            faults: Vec::new(),
            filtered: Vec::new(),
        };
        let (mut faulty, mut unread) = (Vec::new(), None);
        for (message, delivery) in (0..).zip(&batch.deliveries) {
            match self.source.append(&delivery.message, message, &mut batch.blocks, &mut faulty) {
                Ok(Outcome::Rows) => {}
                Ok(Outcome::Filtered) => batch.filtered.push(message),
                Err(fault) if fault.is_transient() => {
                    unread = Some(fault.to_string());
                    break;
                }
                Err(fault) => batch.faults.push(Fault::new(message, None, &fault)),
            }
            let of_row = |FaultyRow { element, fault }| Fault::new(message, Some(element), &fault);
            batch.faults.extend(faulty.drain(..).map(of_row));
        }
        if let Some(reason) = unread {
            let deliveries = std::mem::take(&mut batch.deliveries);
            self.recycle(batch);
            return Err((deliveries, reason));
        }
        let mut rows = Vec::new();
        for block in &mut batch.blocks {
            let order = block.order();
            batch.merged.push(order.merged);
            rows.push(order.rows);
        }
        for (block, rows) in rows.iter().enumerate() {
            let mut writes = self.encode(&mut batch, block, rows);
            batch.writes.append(&mut writes);
        }
        Ok(batch)
    }

    /// A block for each super table, out of a batch that is done with where one fits.
    fn empty_blocks(&self) -> Vec<Block> {
        let schemas = self.shared.schemas.borrow().clone();
        let mut spare = self.spares().blocks.pop().unwrap_or_default().into_iter();
        let fitting = |schema: &Arc<SuperTable>| match spare.next() {
            Some(mut block) if Arc::ptr_eq(block.schema(), schema) => {
                block.clear();
                block
            }
            _ => {
                let mut block = Block::new(schema.clone());
                if self.shared.store.tag_drift() == TagDrift::Alter {
                    block.watch_tags();
                }
                block
            }
        };
        schemas.iter().map(fitting).collect()
    }

    /// What `rows` of one of the batch's blocks come to as writes, in order. Rows that cannot be encoded become faults.
    pub(super) fn encode(&mut self, batch: &mut Batch, block: usize, rows: &[u32]) -> Vec<Write> {
        let mut parts = Vec::new();
        let mut payloads = std::mem::take(&mut self.spares().payloads);
        let unwritable = self.shared.store.encode(&batch.blocks[block], rows, &mut payloads, &mut parts);
        self.spares().payloads.append(&mut payloads);
        for (row, reason) in unwritable {
            let faults = faults_of(batch, block, row, &reason, None);
            batch.faults.extend(faults);
        }
        parts.into_iter().map(|part| Write { block, part }).collect()
    }

    /// The payload as it is decoded.
    pub(super) fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        self.source.decoded(message)
    }

    /// Takes back the buffers of a batch that is done with.
    pub(super) fn recycle(&mut self, batch: Batch) {
        self.spares().take_back(batch);
    }
}

/// The messages behind `row` of a block: its own, and those whose rows were merged into it, since their cells are in it
/// too.
pub(super) fn faults_of(batch: &Batch, block: usize, row: u32, reason: &str, code: Option<String>) -> Vec<Fault> {
    let mut rows = vec![row];
    // Merges are listed from earlier to later rows, so one pass from the end finds chains too.
    for &(earlier, later) in batch.merged[block].iter().rev() {
        if rows.contains(&later) {
            rows.push(earlier);
        }
    }
    let sql = as_sql(&batch.blocks[block], row);
    let fault = |row| {
        let Origin { message, element } = batch.blocks[block].origin_of(row);
        let (element, reason) = (Some(element), reason.to_owned());
        Fault { message, element, reason, code: code.clone(), sql: sql.clone(), stop: false, may_be_drift: false }
    };
    rows.into_iter().map(fault).collect()
}

/// The row as a statement for people, where it is text.
fn as_sql(block: &Block, row: u32) -> Option<String> {
    let mut statements = Vec::new();
    sql::block_statements(block, &[row], sql::MAX_STATEMENT_BYTES, &mut statements);
    String::from_utf8(statements.pop()?.sql).ok()
}

/// Prepares batches out of the worker's queue until it is closed and empty, or nobody wants them any more.
pub(super) async fn run<S: Store, R: RowSource>(
    worker: Worker,
    mut preparer: Preparer<S, R>,
    pace: Arc<Mutex<Pace>>,
    ready: mpsc::Sender<Batch>,
) {
    // Room first: a batch taken out before there is room for it would only grow old.
    while let Ok(room) = ready.reserve().await {
        {
            let pace = pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            worker.queue.pace(pace.linger(), pace.max_batch_items());
        }
        let Some(mut deliveries) = worker.queue.take_batch().await else { return };
        // Counted before it is asked whose they are: a revocation that comes in between waits for this batch.
        worker.batches.take();
        preparer.shared.retain_ours(&mut deliveries);
        room.send(preparer.prepare(deliveries, Shared::retain_ours).await);
        // Decoding is work; give the others their turn.
        tokio::task::yield_now().await;
    }
}
