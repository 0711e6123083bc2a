//! The first half of a worker: messages to rows, rows to what one write takes.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use super::{Batch, Delivery, Fault, Part, Shared, Store, Worker};
use crate::block::Block;
use crate::mapping::RowSource;

/// Makes batches of messages ready to be written.
pub(super) struct Preparer<S: Store, R> {
    shared: Arc<Shared<S>>,
    source: R,
    spares: Arc<Mutex<Spares>>,
}

/// Buffers of batches that are done with: both halves of a worker share them.
#[derive(Default)]
pub(super) struct Spares {
    blocks: Vec<Block>,
    payloads: Vec<Vec<u8>>,
}

impl Spares {
    /// More are never in use at once.
    const MOST: usize = 3;

    fn take_back(&mut self, batch: Batch) {
        if self.blocks.len() < Self::MOST {
            self.blocks.push(batch.block);
        }
        let room = Self::MOST.saturating_sub(self.payloads.len());
        self.payloads.extend(batch.parts.into_iter().map(|part| part.payload).take(room));
    }
}

impl<S: Store, R: RowSource> Preparer<S, R> {
    pub(super) fn new(shared: Arc<Shared<S>>, source: R, spares: Arc<Mutex<Spares>>) -> Self {
        Self { shared, source, spares }
    }

    fn spares(&self) -> MutexGuard<'_, Spares> {
        self.spares.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Decodes `deliveries` and encodes their rows for the super table as it is known now.
    pub(super) fn prepare(&mut self, deliveries: Vec<Delivery>) -> Batch {
        let schema = self.shared.schema.borrow().clone();
        let spare = self.spares().blocks.pop();
        let mut block = match spare {
            Some(spare) if Arc::ptr_eq(spare.schema(), &schema) => spare,
            _ => Block::new(schema),
        };
        block.clear();
        let mut faults = Vec::new();
        for (origin, delivery) in deliveries.iter().enumerate() {
            let origin = origin as u32;
            if let Err(fault) = self.source.append(&delivery.message, origin, &mut block) {
                faults.push(Fault { origin, reason: fault.to_string(), code: None });
            }
        }
        let order = block.order();
        let mut batch = Batch { deliveries, block, merged: order.merged, parts: Vec::new(), faults };
        batch.parts = self.encode(&mut batch, &order.rows);
        batch
    }

    /// What `rows` of the batch come to as writes, in order. Rows that cannot be encoded become faults.
    pub(super) fn encode(&mut self, batch: &mut Batch, rows: &[u32]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut payloads = std::mem::take(&mut self.spares().payloads);
        let unwritable = self.shared.store.encode(&batch.block, rows, &mut payloads, &mut parts);
        self.spares().payloads.append(&mut payloads);
        for (row, reason) in unwritable {
            let faults = faults_of(batch, row, &reason, None);
            batch.faults.extend(faults);
        }
        parts
    }

    /// Takes back the buffers of a batch that is done with.
    pub(super) fn recycle(&mut self, batch: Batch) {
        self.spares().take_back(batch);
    }
}

/// The messages behind `row`: its own, and those whose rows were merged into it, since their cells are in it too.
pub(super) fn faults_of(batch: &Batch, row: u32, reason: &str, code: Option<String>) -> Vec<Fault> {
    let mut rows = vec![row];
    // Merges are listed from earlier to later rows, so one pass from the end finds chains too.
    for &(earlier, later) in batch.merged.iter().rev() {
        if rows.contains(&later) {
            rows.push(earlier);
        }
    }
    let fault = |row| Fault { origin: batch.block.origin_of(row), reason: reason.to_owned(), code: code.clone() };
    rows.into_iter().map(fault).collect()
}

/// Prepares batches out of the worker's queue until it is closed and empty, or nobody wants them any more.
pub(super) async fn run<S: Store, R: RowSource>(
    worker: Worker,
    mut preparer: Preparer<S, R>,
    ready: mpsc::Sender<Batch>,
) {
    // Room first: a batch taken out before there is room for it would only grow old.
    while let Ok(room) = ready.reserve().await {
        let Some(mut deliveries) = worker.queue.take_batch().await else { return };
        // Counted before it is asked whose they are: a revocation that comes in between waits for this batch.
        worker.batches.take();
        preparer.shared.retain_ours(&mut deliveries);
        room.send(preparer.prepare(deliveries));
        // Decoding is work; give the others their turn.
        tokio::task::yield_now().await;
    }
}
