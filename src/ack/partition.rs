//! One partition in one epoch.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use tokio::time::Instant;

use super::{Epoch, Pending};
use crate::message::{Offset, TopicPartition};

#[derive(Debug)]
pub(super) struct Partition {
    epoch: Epoch,
    /// Runs of unresolved offsets, by their first; they do not overlap.
    runs: BTreeMap<Offset, Run>,
    unresolved: u64,
    /// The first offset delivered in this epoch.
    start: Option<Offset>,
    /// Behind the highest offset delivered in this epoch.
    next: Option<Offset>,
    /// The highest offset delivered in any epoch.
    highest: Option<Offset>,
    watermark: Option<Offset>,
    committed: Option<Offset>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    last: Offset,
    /// Where the watermark comes to rest when this is the first unresolved run: behind the last offset delivered
    /// before it. `None` where there was none.
    position: Option<Offset>,
    since: Instant,
}

impl Partition {
    pub(super) fn new(epoch: Epoch, highest: Option<Offset>) -> Self {
        Self {
            epoch,
            runs: BTreeMap::new(),
            unresolved: 0,
            start: None,
            next: None,
            highest,
            watermark: None,
            committed: None,
        }
    }

    /// Returns how many of the offsets were delivered before, or passed over.
    pub(super) fn deliver(&mut self, run: RangeInclusive<Offset>, now: Instant) -> u64 {
        if run.is_empty() {
            return 0;
        }
        let (first, last) = run.into_inner();
        let redelivered = self.highest.map_or(0, |highest| length(&(first..=last.min(highest))));
        self.highest = self.highest.max(Some(last));
        self.start.get_or_insert(first);

        let behind = last.saturating_add(1);
        let mut from = first;
        if let Some(next) = self.next.filter(|next| first < *next) {
            self.reopen(first, last.min(next - 1), now);
            from = next;
        }
        if from <= last {
            self.insert(from, Run { last, position: self.next, since: now });
            self.next = Some(behind);
        }
        redelivered
    }

    /// Makes offsets below `next` unresolved again, those that are not so yet.
    fn reopen(&mut self, first: Offset, last: Offset, now: Instant) {
        let mut from = first;
        while from <= last {
            if let Some(end) = self.run_at(from).and_then(|at| self.runs.get(&at)).map(|run| run.last) {
                from = end.saturating_add(1);
                continue;
            }
            let following = self.runs.range(from..).next().map(|(at, _)| *at);
            let end = following.map_or(last, |at| last.min(at - 1));
            let leads = self.runs.first_key_value().is_none_or(|(at, _)| from < *at);
            // Before all others nothing was delivered since the watermark; among others, stand at the run itself.
            let position = if leads { self.watermark } else { Some(from) };
            if let Some(run) = following.and_then(|at| self.runs.get_mut(&at)) {
                run.position = run.position.max(Some(end.saturating_add(1)));
            }
            self.insert(from, Run { last: end, position, since: now });
            from = end.saturating_add(1);
        }
    }

    /// Returns how many offsets are resolved by it.
    pub(super) fn resolve(&mut self, run: RangeInclusive<Offset>) -> u64 {
        let (first, last) = run.into_inner();
        let before = self.unresolved;
        let mut from = self.run_at(first).unwrap_or(first);
        while from <= last {
            let Some((&at, &run)) = self.runs.range(from..=last).next() else { break };
            self.remove(at, run);
            if at < first {
                self.insert(at, Run { last: first - 1, ..run });
            }
            if run.last > last {
                self.insert(last + 1, Run { position: Some(last + 1), ..run });
            }
            from = run.last.min(last).saturating_add(1);
        }
        before - self.unresolved
    }

    /// Moves the watermark over the resolved prefix.
    pub(super) fn advance(&mut self) {
        let reached = self.runs.first_key_value().map_or(self.next, |(_, run)| run.position);
        self.watermark = self.watermark.max(reached);
    }

    /// The first offset of the run that holds `offset`.
    fn run_at(&self, offset: Offset) -> Option<Offset> {
        self.runs.range(..=offset).next_back().filter(|(_, run)| run.last >= offset).map(|(at, _)| *at)
    }

    fn insert(&mut self, first: Offset, run: Run) {
        self.unresolved += length(&(first..=run.last));
        self.runs.insert(first, run);
    }

    fn remove(&mut self, first: Offset, run: Run) {
        self.unresolved -= length(&(first..=run.last));
        self.runs.remove(&first);
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(super) fn highest(&self) -> Option<Offset> {
        self.highest
    }

    pub(super) fn unresolved(&self) -> u64 {
        self.unresolved
    }

    pub(super) fn first_unresolved(&self) -> Option<Offset> {
        self.runs.first_key_value().map(|(first, _)| *first)
    }

    /// Nothing while an offset below the watermark is unresolved again.
    pub(super) fn committable(&self) -> Option<Offset> {
        let is_passed = |watermark: &Offset| self.first_unresolved().is_none_or(|first| first >= *watermark);
        self.watermark.filter(is_passed).filter(|_| self.watermark > self.committed)
    }

    /// The next offset to read if all ended now; none before the first is delivered.
    pub(super) fn position(&self) -> Option<Offset> {
        [self.watermark, self.first_unresolved()].into_iter().flatten().min()
    }

    pub(super) fn committed(&mut self, offset: Offset) {
        // An offset beyond the watermark was committed in an epoch before this one.
        if Some(offset) <= self.watermark {
            self.committed = self.committed.max(Some(offset));
        }
    }

    /// The next offset to read, and how many from there on were delivered.
    pub(super) fn uncommitted(&self) -> Option<(Offset, u64)> {
        let (from, next) = (self.committed.or(self.start)?, self.next?);
        (from < next).then(|| (from, from.abs_diff(next)))
    }

    pub(super) fn pending(&self, partition: &TopicPartition) -> Option<Pending> {
        let (&first, run) = self.runs.first_key_value()?;
        Some(Pending {
            partition: partition.clone(),
            first,
            since: run.since,
            unresolved: self.unresolved,
            behind: self.next.map_or(0, |next| length(&(first..=next - 1)) - 1),
        })
    }
}

/// How many offsets a run stands for.
pub(super) fn length(run: &RangeInclusive<Offset>) -> u64 {
    if run.is_empty() { 0 } else { run.end().abs_diff(*run.start()).saturating_add(1) }
}
