//! temp
#![allow(missing_docs)]
use crate::message::{Offset, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Epoch(u64);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    Written,
    DeadLettered,
    Filtered,
}
#[derive(Debug, Default)]
struct P {
    epoch: Epoch,
    pending: BTreeMap<Offset, bool>,
    watermark: Option<Offset>,
    committed: Option<Offset>,
}
#[derive(Debug, Default)]
pub struct AckTracker {
    next: u64,
    parts: HashMap<TopicPartition, P>,
    highest: HashMap<TopicPartition, Offset>,
}
impl AckTracker {
    pub fn assign(&mut self, tp: &TopicPartition) -> Epoch {
        self.next += 1;
        let e = Epoch(self.next);
        self.parts.insert(tp.clone(), P { epoch: e, ..P::default() });
        e
    }
    pub fn is_current(&self, tp: &TopicPartition, e: Epoch) -> bool {
        self.parts.get(tp).is_some_and(|p| p.epoch == e)
    }
    pub fn deliver(&mut self, tp: &TopicPartition, e: Epoch, offsets: impl Iterator<Item = Offset>) -> u64 {
        let Some(p) = self.parts.get_mut(tp).filter(|p| p.epoch == e) else { return 0 };
        let h = self.highest.entry(tp.clone()).or_insert(-1);
        let mut n = 0;
        for o in offsets {
            if o <= *h {
                n += 1
            } else {
                *h = o
            }
            p.pending.insert(o, false);
        }
        n
    }
    pub fn resolve(&mut self, tp: &TopicPartition, e: Epoch, r: RangeInclusive<Offset>, _: Resolution) {
        let Some(p) = self.parts.get_mut(tp).filter(|p| p.epoch == e) else { return };
        for (_, d) in p.pending.range_mut(r) {
            *d = true
        }
        while let Some(f) = p.pending.first_entry() {
            if *f.get() {
                p.watermark = Some(f.key() + 1);
                f.remove();
            } else {
                break;
            }
        }
    }
    pub fn committable(&self) -> Vec<(TopicPartition, Offset)> {
        self.parts
            .iter()
            .filter(|(_, p)| p.watermark != p.committed)
            .filter_map(|(t, p)| Some((t.clone(), p.watermark?)))
            .collect()
    }
    pub fn committed(&mut self, tp: &TopicPartition, o: Offset) {
        if let Some(p) = self.parts.get_mut(tp) {
            p.committed = Some(o)
        }
    }
    pub fn revoke(&mut self, tp: &TopicPartition) -> Option<Offset> {
        self.parts.remove(tp)?.watermark
    }
    pub fn uncommitted(&self) -> Vec<(TopicPartition, Offset, u64)> {
        self.parts
            .iter()
            .filter_map(|(t, p)| {
                let first = p.pending.first_key_value();
                match first {
                    Some((o, _)) => Some((t.clone(), *o, p.pending.len() as u64)),
                    None if p.watermark != p.committed => Some((t.clone(), p.committed.unwrap_or(0), 0)),
                    None => None,
                }
            })
            .collect()
    }
}
