//! The second half of a worker: batches into the database, however often that takes, and then their offsets resolved.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::decide::{Action, Pauses, Tries, decide};
use super::doing::Doing;
use super::pace::Pace;
use super::prepare::{Preparer, faults_of};
use super::tags::Tags;
use super::{Batch, Batches, Delivery, Fault, OUTAGE_AFTER, Shared, Store, WorkerError, Write, Writer, place, runs};
use crate::ack::Resolution;
use crate::block::Block;
use crate::dead_letter::{DeadLetter, DeadLetterError, DeadRow};
use crate::mapping::RowSource;
use crate::message::Message;
use crate::stats::Stats;
use crate::tdengine::error::{Class, TdengineError};
use crate::tdengine::schema::SuperTable;

pub(super) struct BatchWriter<S: Store, R> {
    pub(super) shared: Arc<Shared<S>>,
    pub(super) writer: S::Writer,
    /// For what must be encoded anew: halves of a batch, a batch after the schema changed.
    preparer: Preparer<S, R>,
    batches: Arc<Batches>,
    pub(super) doing: Arc<Doing>,
    pace: Arc<Mutex<Pace>>,
    pub(super) outage: Outage,
    /// When a fault last made it look whether a super table has changed.
    pub(super) looked: Option<Instant>,
    pub(super) tags: Tags,
}

/// How a batch, or a part of it, ended.
enum Ended {
    Written,
    /// The super table has changed, or a partition was let go: the whole batch is to be made anew.
    Outdated,
}

impl<S: Store, R: RowSource> BatchWriter<S, R> {
    pub(super) fn new(
        shared: Arc<Shared<S>>,
        preparer: Preparer<S, R>,
        batches: Arc<Batches>,
        doing: Arc<Doing>,
        pace: Arc<Mutex<Pace>>,
    ) -> Self {
        let outage = Outage { total: shared.outage.clone(), since: None, counted: false };
        let tags = Tags::new(shared.store.tag_drift());
        Self { writer: shared.store.writer(), shared, preparer, batches, doing, pace, outage, looked: None, tags }
    }

    pub(super) async fn run(mut self, mut ready: mpsc::Receiver<Batch>) -> Result<(), WorkerError> {
        while let Some(batch) = ready.recv().await {
            self.doing.begin(&batch.deliveries);
            let batch = self.write_batch(batch).await?;
            self.check_tags(&batch).await?;
            // Whatever it said of the rows, the server has answered.
            self.outage.over();
            self.resolve(&batch).await?;
            self.doing.end();
            self.batches.finish();
            self.preparer.recycle(batch);
        }
        self.check_last_tags().await
    }

    /// Writes all rows of a batch; those that cannot be written are among its faults afterwards.
    async fn write_batch(&mut self, mut batch: Batch) -> Result<Batch, WorkerError> {
        let mut tries = Tries::default();
        if self.has_drifted(&batch).await? {
            batch = self.anew(batch).await;
        }
        loop {
            let mut writes = std::mem::take(&mut batch.writes);
            // The last is written first: taken from the end.
            writes.reverse();
            match self.write_parts(&mut batch, writes, &mut tries).await? {
                Ended::Written => return Ok(batch),
                Ended::Outdated => batch = self.anew(batch).await,
            }
        }
    }

    /// The batch made again of what is still ours. What was written of it already is written again, which changes nothing.
    async fn anew(&mut self, batch: Batch) -> Batch {
        let mut deliveries = batch.deliveries;
        self.shared.retain_held(&mut deliveries);
        self.preparer.prepare(deliveries, Shared::retain_held).await
    }

    async fn write_parts(
        &mut self,
        batch: &mut Batch,
        mut writes: Vec<Write>,
        tries: &mut Tries,
    ) -> Result<Ended, WorkerError> {
        let mut pauses = Pauses::new(self.shared.jitter_seed());
        while let Some(mut write) = writes.pop() {
            let schema = batch.blocks[write.block].schema().clone();
            let rows = write.part.rows.len();
            if !may_send(&self.shared, &self.doing, &batch.deliveries).await {
                return Ok(Ended::Outdated);
            }
            let began = Instant::now();
            let error = match self.writer.write(&schema, &mut write.part).await {
                Ok(()) => {
                    let mut pace = self.pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    pace.answered(rows, began.elapsed(), Instant::now());
                    drop(pace);
                    self.outage.over();
                    self.doing.advanced();
                    pauses.reset();
                    (tries.reinit, tries.unknown) = (0, 0);
                    Stats::add(&self.shared.stats.rows_written, rows as u64);
                    self.shared.store.written(&batch.blocks[write.block], &write.part);
                    batch.writes.push(write);
                    continue;
                }
                // One that was there is there no more: it is made again.
                Err(error) if !write.part.makes_tables && error.is_missing_table() => {
                    tracing::info!(%error, stable = %schema.qualified_name(), "a child table is gone; it is made again");
                    self.shared.store.forget(&batch.blocks[write.block], &write.part);
                    let anew = self.preparer.encode(batch, write.block, &write.part.rows);
                    writes.extend(anew.into_iter().rev());
                    Stats::add(&self.shared.stats.retries, 1);
                    continue;
                }
                Err(error) => error,
            };
            let class = error.class();
            match class {
                Class::StaleSchema => tries.schema_read += 1,
                Class::ReInit => tries.reinit += 1,
                Class::Unknown => tries.unknown += 1,
                _ => {}
            }
            let action = decide(class, *tries, rows);
            self.doing.failed(&error);
            self.tell(&error, action, batch, &write);
            match action {
                Action::Stop => return Err(fatal(&schema, error)),
                Action::RowIsFaulty => {
                    let row = write.part.rows[0];
                    let code = error.code().map(|code| code.to_string());
                    batch.faults.extend(faults_of(batch, write.block, row, &error.to_string(), code));
                    continue;
                }
                Action::ReadSchema => {
                    if self.read_schema(write.block, &schema, &mut pauses).await? {
                        return Ok(Ended::Outdated);
                    }
                    // Not so: somewhere in the cluster an older definition is still in use.
                    self.shared.stats.retried(class);
                    writes.push(write);
                    tokio::time::sleep(pauses.next()).await;
                    continue;
                }
                Action::Split | Action::Shrink => {
                    let (first, second) = write.part.rows.split_at(rows / 2);
                    for half in [second, first] {
                        writes.extend(self.preparer.encode(batch, write.block, half).into_iter().rev());
                    }
                }
                Action::Retry | Action::Reconnect => writes.push(write),
            }
            self.shared.stats.retried(class);
            if action == Action::Reconnect {
                self.writer.reconnect();
            }
            if action != Action::Split {
                self.outage.begun();
                tokio::time::sleep(pauses.next()).await;
            }
        }
        Ok(Ended::Written)
    }

    fn tell(&self, error: &TdengineError, action: Action, batch: &Batch, write: &Write) {
        let (block, rows) = (&batch.blocks[write.block], &write.part.rows);
        let Some(&row) = rows.first() else { return };
        let table = block.table_name(block.table_of(row));
        let (source, offset) = place(&batch.deliveries[block.origin_of(row).message as usize].message);
        let first = format!("{source} offset {offset} table {table}");
        match action {
            Action::Stop | Action::RowIsFaulty => {
                tracing::error!(%error, ?action, rows = rows.len(), %first, "write failed")
            }
            _ if error.class() == Class::Operator => {
                tracing::error!(%error, ?action, rows = rows.len(), %first, "write failed")
            }
            _ => tracing::warn!(%error, ?action, rows = rows.len(), %first, "write failed; nothing is lost"),
        }
    }

    /// Sets faulty messages aside, then counts all of the batch as resolved.
    async fn resolve(&mut self, batch: &Batch) -> Result<(), WorkerError> {
        let mut resolutions = vec![Resolution::Written; batch.deliveries.len()];
        batch.filtered.iter().for_each(|&message| resolutions[message as usize] = Resolution::Filtered);
        batch.faults.iter().for_each(|fault| resolutions[fault.message as usize] = Resolution::DeadLettered);
        let is_dead = |resolution: Resolution| resolution == Resolution::DeadLettered;
        if !batch.faults.is_empty() {
            let mut letters = self.letters(batch);
            let count = letters.len();
            // What came before the first bad message is written, and may be committed, whatever becomes of it.
            self.resolve_those(batch, &resolutions, |resolution| !is_dead(resolution));
            if let Some(fault) = batch.faults.iter().find(|fault| fault.stop) {
                let Message { source, offset, .. } = &batch.deliveries[fault.message as usize].message;
                let (topic, partition, offset) = (source.topic.to_string(), source.partition, *offset);
                return Err(DeadLetterError::Stop { topic, partition, offset, reason: fault.reason.clone() }.into());
            }
            self.keep(&mut letters).await?;
            Stats::add(&self.shared.stats.dead_lettered, count as u64);
        }
        self.resolve_those(batch, &resolutions, |_| true);
        Stats::add(&self.shared.stats.filtered, batch.filtered.len() as u64);
        Stats::add(&self.shared.stats.merged, batch.merged.iter().map(Vec::len).sum::<usize>() as u64);
        Stats::add(&self.shared.stats.batches, u64::from(!batch.writes.is_empty()));
        Ok(())
    }

    /// Keeps letters, however long their place takes none.
    async fn keep(&mut self, letters: &mut Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        let mut pauses = Pauses::new(self.shared.jitter_seed());
        loop {
            // Others may try in the meantime.
            let kept = self.shared.dead_letters.lock().await.keep(letters).await;
            match kept {
                Ok(()) => break,
                Err(error) if !error.is_transient() => return Err(error),
                Err(error) => {
                    tracing::error!(%error, letters = letters.len(), "dead letters are not kept; trying again, nothing is lost");
                    self.doing.not_kept(&error);
                    self.outage.begun();
                    tokio::time::sleep(pauses.next()).await;
                }
            }
        }
        self.outage.over();
        Ok(())
    }

    /// A letter for each message at fault, in the order of their offsets.
    fn letters(&mut self, batch: &Batch) -> Vec<DeadLetter> {
        let now_ms = (self.shared.now_ms)();
        let mut faults: Vec<&Fault> = batch.faults.iter().collect();
        faults.sort_by_key(|fault| (fault.message, fault.element));
        let mut of_rows = HashMap::new();
        for fault in &faults {
            of_rows.insert(fault.message, fault.element.map_or(0, |element| element + 1));
        }
        for origin in batch.blocks.iter().flat_map(Block::origins) {
            if let Some(rows) = of_rows.get_mut(&origin.message) {
                *rows = origin.element.saturating_add(1).max(*rows);
            }
        }
        let letter = |faults: &[&Fault]| {
            let message = &batch.deliveries[faults[0].message as usize].message;
            let row = |fault: &&Fault| {
                let (reason, code, sql) = (fault.reason.clone(), fault.code.clone(), fault.sql.clone());
                fault.element.map(|element| DeadRow { element, reason, code, sql })
            };
            // At fault as a whole it is, whatever its rows are.
            let rows: Option<Vec<_>> = faults.iter().map(row).collect();
            let of_rows = rows.as_ref().and(of_rows.get(&faults[0].message).copied());
            let (reason, code) = (faults[0].reason.clone(), faults[0].code.clone());
            let letter = DeadLetter::new(message, reason, code, rows.unwrap_or_default(), now_ms);
            DeadLetter { of_rows, ..letter.with_decoded(self.preparer.decoded(message)) }
        };
        let mut letters: Vec<_> = faults.chunk_by(|a, b| a.message == b.message).map(letter).collect();
        letters.sort_by_key(|letter| (letter.partition, letter.offset));
        letters
    }

    fn resolve_those(&self, batch: &Batch, resolutions: &[Resolution], which: impl Fn(Resolution) -> bool) {
        let mut progress = self.shared.progress();
        let mut at = 0;
        for run in runs(&batch.deliveries) {
            for alike in run.iter().zip(&resolutions[at..]).collect::<Vec<_>>().chunk_by(|a, b| a.1 == b.1) {
                let ([(first, resolution), ..], Some((last, _))) = (alike, alike.last()) else { continue };
                if which(**resolution) {
                    // Offsets in between that were never delivered (compacted away, say) are no matter to the tracker.
                    let offsets = first.message.offset..=last.message.offset;
                    progress.acks.resolve(&first.message.source, first.epoch, [offsets], **resolution);
                }
            }
            at += run.len();
        }
    }
}

/// Waits until the group's last word is younger than a session. False if a partition was let go: it has a new owner, whose
/// later values must not be overwritten.
async fn may_send<S: Store>(shared: &Shared<S>, doing: &Doing, deliveries: &[Delivery]) -> bool {
    doing.unconfirmed(!shared.session.is_confirmed());
    let may = shared.session.confirmed(|| shared.holds(deliveries)).await;
    doing.unconfirmed(false);
    may
}

pub(super) fn fatal(stable: &SuperTable, source: TdengineError) -> WorkerError {
    WorkerError::Write { stable: stable.qualified_name(), source }
}

/// Whether this worker waits for TDengine, told to the pipeline after a while.
pub(super) struct Outage {
    total: tokio::sync::watch::Sender<usize>,
    since: Option<Instant>,
    counted: bool,
}

impl Outage {
    pub(super) fn begun(&mut self) {
        let since = *self.since.get_or_insert_with(Instant::now);
        if !self.counted && since.elapsed() >= OUTAGE_AFTER {
            self.counted = true;
            self.total.send_modify(|total| *total += 1);
        }
    }

    pub(super) fn over(&mut self) {
        self.since = None;
        if std::mem::replace(&mut self.counted, false) {
            self.total.send_modify(|total| *total -= 1);
        }
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        self.over();
    }
}
