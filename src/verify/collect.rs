//! From messages to the rows that must be stored, sorted by key.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::dead::{Dead, DeadSet};
use super::sort::Sorter;
use super::written::entry;
use super::{Counts, Finding, Messages, Progress, Settings, Span, Target, VerifyError};
use crate::block::{Block, Origin};
use crate::mapping::{FaultyRow, MessageFault, Outcome, RowSource};
use crate::message::{Message, Offset, TopicPartition};

/// What a message is read by, a schema out of a registry, may be so long in coming.
const READABLE_WITHIN: Duration = Duration::from_secs(10);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Rows that are held by columns before they go to be sorted.
const MOST_BLOCK_ROWS: usize = 4096;

pub(super) struct Collected {
    /// A partition each.
    pub(super) counts: Vec<Counts>,
    pub(super) findings: Vec<Finding>,
    pub(super) sorter: Sorter,
}

pub(super) struct Collector {
    spans: Vec<Span>,
    places: HashMap<TopicPartition, usize>,
    blocks: Vec<Block>,
    /// The messages that the rows of the blocks came from.
    origins: Vec<From>,
    dead: DeadSet,
    most_findings: usize,
    progress: Arc<Progress>,
    collected: Collected,
}

/// A message whose rows are in the blocks.
struct From {
    source: usize,
    offset: Offset,
    /// Read, but not committed yet: it proves nothing.
    is_tail: bool,
    dead: Option<Dead>,
    /// Its rows, and those of them in the dead letters.
    rows: (u64, u64),
}

impl Collector {
    pub(super) fn new(
        settings: &Settings,
        spans: Vec<Span>,
        targets: &[Target],
        dead: DeadSet,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            places: spans.iter().enumerate().map(|(place, span)| (span.source.clone(), place)).collect(),
            blocks: targets.iter().map(|target| Block::new(target.schema.clone())).collect(),
            origins: Vec::new(),
            dead,
            most_findings: settings.most_findings,
            progress,
            collected: Collected {
                counts: vec![Counts::default(); spans.len()],
                findings: Vec::new(),
                sorter: Sorter::new(settings.sort_bytes),
            },
            spans,
        }
    }

    pub(super) fn run(
        mut self,
        mut messages: impl Messages,
        mut rows: impl RowSource,
    ) -> Result<Collected, VerifyError> {
        let mut faulty = Vec::new();
        while let Some(message) = messages.next()? {
            self.progress.read.fetch_add(1, Ordering::Relaxed);
            let Some(&source) = self.places.get(&message.source) else { continue };
            self.take(source, &message, &mut rows, &mut faulty)?;
            if self.blocks.iter().map(Block::rows).sum::<usize>() >= MOST_BLOCK_ROWS
                || self.origins.len() >= MOST_BLOCK_ROWS
            {
                self.flush()?;
            }
        }
        self.flush()?;
        Ok(self.collected)
    }

    fn take(
        &mut self,
        source: usize,
        message: &Message,
        rows: &mut impl RowSource,
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<(), VerifyError> {
        let is_tail = message.offset >= self.spans[source].to;
        let dead = self.dead.get(&message.source, message.offset).cloned();
        let began = Instant::now();
        let appended = loop {
            match rows.append(message, self.origins.len() as u32, &mut self.blocks, faulty) {
                Err(fault) if fault.is_transient() && began.elapsed() >= READABLE_WITHIN => {
                    let (partition, offset) = (message.source.clone(), message.offset);
                    return Err(VerifyError::Unread { partition, offset, reason: fault.to_string() });
                }
                Err(fault) if fault.is_transient() => std::thread::sleep(TRY_AGAIN_AFTER),
                appended => break appended,
            }
        };
        let mut from = From { source, offset: message.offset, is_tail, dead, rows: (0, 0) };
        let faults = std::mem::take(faulty);
        if !is_tail {
            let counts = &mut self.collected.counts[source];
            counts.messages += 1;
            match appended {
                Ok(Outcome::Filtered) => counts.messages_filtered += 1,
                Ok(Outcome::Rows) => faults.iter().for_each(|row| self.row_fault(&mut from, message, row)),
                Err(fault) => self.message_fault(&from, message, &fault),
            }
        }
        self.origins.push(from);
        Ok(())
    }

    fn row_fault(&mut self, from: &mut From, message: &Message, row: &FaultyRow) {
        let counts = &mut self.collected.counts[from.source];
        counts.rows += 1;
        from.rows.0 += 1;
        if from.dead.as_ref().is_some_and(|dead| dead.excuses(row.element)) {
            counts.rows_dead += 1;
            from.rows.1 += 1;
        } else {
            counts.missing += 1;
            self.find(message, format!("its row {} cannot be stored ({})", row.element, row.fault));
        }
    }

    fn message_fault(&mut self, from: &From, message: &Message, fault: &MessageFault) {
        let counts = &mut self.collected.counts[from.source];
        if from.dead.is_some() {
            counts.messages_dead += 1;
        } else {
            counts.rows += 1;
            counts.missing += 1;
            self.find(message, format!("it cannot be stored ({fault})"));
        }
    }

    fn find(&mut self, message: &Message, what: String) {
        if self.collected.findings.len() < self.most_findings {
            let text = format!("{what}, and is not in the dead letters");
            let (source, offset) = (message.source.clone(), message.offset);
            self.collected.findings.push(Finding { is_stale: false, source, offset, text });
        }
    }

    /// Hands the rows of the blocks over to be sorted.
    fn flush(&mut self) -> Result<(), VerifyError> {
        let Self { blocks, origins, collected, .. } = self;
        for (stable, block) in blocks.iter_mut().enumerate() {
            for row in 0..block.rows() as u32 {
                let Origin { message, element } = block.origin_of(row);
                let from = &mut origins[message as usize];
                let is_dead = from.dead.as_ref().is_some_and(|dead| dead.has(element));
                if !from.is_tail {
                    let counts = &mut collected.counts[from.source];
                    counts.rows += 1;
                    counts.rows_dead += u64::from(is_dead);
                    from.rows.0 += 1;
                    from.rows.1 += u64::from(is_dead);
                }
                let origin = (from.source as u32, from.offset, element);
                collected.sorter.push(entry(block, stable as u16, row, origin, from.is_tail || is_dead))?;
            }
            block.clear();
        }
        for from in origins.drain(..).filter(|from| from.rows.0 > 0 && from.rows.0 == from.rows.1) {
            collected.counts[from.source].messages_dead += 1;
        }
        Ok(())
    }
}
