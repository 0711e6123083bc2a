use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn tp() -> TopicPartition {
    TopicPartition::new("meters", 3)
}

/// A tracker with [`tp`] assigned, and the time 0.
fn assigned() -> (AckTracker, Epoch, Instant) {
    let mut tracker = AckTracker::new();
    let epoch = tracker.assign(tp());
    (tracker, epoch, Instant::now())
}

/// Delivers, then resolves one run after the other as written; returns the watermark after each.
fn watermarks(delivered: &[RangeInclusive<Offset>], resolved: &[RangeInclusive<Offset>]) -> Vec<Option<Offset>> {
    let (mut tracker, epoch, now) = assigned();
    assert!(tracker.deliver(&tp(), epoch, delivered.iter().cloned(), now));
    let step = |run: &RangeInclusive<Offset>| {
        tracker.resolve(&tp(), epoch, [run.clone()], Resolution::Written);
        tracker.committable().first().map(|(_, offset)| *offset)
    };
    resolved.iter().map(step).collect()
}

#[test]
fn the_watermark_moves_over_the_resolved_prefix_alone() {
    assert_eq!(watermarks(&[0..=9], &[0..=9]), [Some(10)]);
    assert_eq!(watermarks(&[0..=9], &[3..=9, 0..=0, 1..=2]), [None, Some(1), Some(10)]);
    assert_eq!(watermarks(&[0..=9], &[4..=5, 0..=2, 3..=3]), [None, Some(3), Some(6)]);
}

#[test]
fn what_is_committed_is_behind_the_last_resolved_offset_before_a_gap() {
    assert_eq!(watermarks(&[5..=9, 20..=29], &[5..=9, 20..=20]), [Some(10), Some(21)]);
    assert_eq!(watermarks(&[5..=5, 7..=7, 9..=9], &[9..=9, 5..=5, 7..=7]), [None, Some(6), Some(10)]);
    assert_eq!(watermarks(&[5..=5, 7..=7, 9..=9], &[0..=100]), [Some(10)], "a run may span gaps");
}

#[test]
fn what_was_never_delivered_or_is_resolved_already_counts_for_nothing() {
    let (mut tracker, epoch, now) = assigned();
    assert_eq!(tracker.resolve(&tp(), epoch, [0..=9], Resolution::Written), 0);
    assert!(tracker.deliver(&tp(), epoch, [0..=4, 10..=14], now));
    assert_eq!(tracker.resolve(&tp(), epoch, [3..=11], Resolution::Written), 4);
    assert_eq!(tracker.resolve(&tp(), epoch, [3..=11], Resolution::DeadLettered), 0);
    assert_eq!(tracker.resolve(&tp(), epoch, [2..=2], Resolution::DeadLettered), 1);
    assert_eq!(tracker.resolve(&tp(), epoch, runs([0, 1, 12]), Resolution::Filtered), 3);
    assert_eq!(
        tracker.counts(),
        AckCounts { delivered: 10, redelivered: 0, written: 4, dead_lettered: 1, filtered: 3, late: 0 }
    );
    assert_eq!(tracker.unresolved(), 2);
    #[allow(clippy::reversed_empty_ranges)]
    let empty = 14..=13;
    assert_eq!(tracker.resolve(&tp(), epoch, [empty.clone()], Resolution::Written), 0);
    assert!(tracker.deliver(&tp(), epoch, [empty], now));
    assert_eq!(tracker.unresolved(), 2);
}

#[test]
fn a_late_ack_moves_nothing() {
    let (mut tracker, first, now) = assigned();
    assert!(tracker.deliver(&tp(), first, [0..=9], now));
    assert_eq!(tracker.resolve(&tp(), first, [0..=4], Resolution::Written), 5);
    assert_eq!(tracker.revoke(&tp()), Some(5));
    assert_eq!(tracker.revoke(&tp()), None, "it is not ours any more");
    assert_eq!(tracker.resolve(&tp(), first, [5..=6], Resolution::Written), 0);
    assert!(!tracker.deliver(&tp(), first, [10..=19], now));

    let second = tracker.assign(tp());
    assert!(second > first);
    assert_eq!(tracker.epoch(&tp()), Some(second));
    assert!(tracker.deliver(&tp(), second, [5..=14], now));
    assert_eq!(tracker.resolve(&tp(), first, [5..=9], Resolution::Written), 0);
    assert_eq!(tracker.committable(), []);
    assert_eq!(tracker.resolve(&tp(), second, [5..=5], Resolution::Written), 1);
    assert_eq!(tracker.committable(), [(tp(), 6)]);
    assert_eq!(
        tracker.counts(),
        AckCounts { delivered: 20, redelivered: 5, written: 6, dead_lettered: 0, filtered: 0, late: 7 }
    );
}

#[test]
fn only_what_moved_since_the_last_commit_is_committable() {
    let (mut tracker, epoch, now) = assigned();
    assert!(tracker.deliver(&tp(), epoch, [0..=9], now));
    tracker.resolve(&tp(), epoch, [0..=4], Resolution::Written);
    tracker.committed(&tp(), 100);
    assert_eq!(tracker.committable(), [(tp(), 5)], "an epoch before went further; this one tells for itself");
    tracker.committed(&tp(), 5);
    assert_eq!(tracker.committable(), []);
    tracker.resolve(&tp(), epoch, [5..=6], Resolution::Written);
    tracker.committed(&tp(), 3);
    assert_eq!(tracker.committable(), [(tp(), 7)]);
    tracker.committed(&tp(), 7);
    assert_eq!(tracker.revoke(&tp()), None, "nothing is left to commit");
}

#[test]
fn after_a_seek_back_offsets_are_unresolved_again_and_the_watermark_waits() {
    let (mut tracker, epoch, now) = assigned();
    assert!(tracker.deliver(&tp(), epoch, [0..=9, 20..=29], now));
    tracker.resolve(&tp(), epoch, [0..=9, 25..=29], Resolution::Written);
    assert_eq!((tracker.committable(), tracker.positions()), (vec![(tp(), 10)], vec![(tp(), 10)]));

    assert!(tracker.deliver(&tp(), epoch, [5..=9, 15..=15, 20..=34], now));
    assert_eq!(tracker.counts().redelivered, 5 + 1 + 10);
    assert_eq!(tracker.unresolved(), 5 + 1 + 15);
    tracker.resolve(&tp(), epoch, [20..=24], Resolution::Written);
    assert_eq!(tracker.committable(), [], "the watermark does not go back, and nothing is committed past 5");
    assert_eq!(tracker.positions(), [(tp(), 5)]);
    tracker.resolve(&tp(), epoch, [5..=9], Resolution::Written);
    assert_eq!(tracker.committable(), [(tp(), 15)]);
    tracker.resolve(&tp(), epoch, [15..=15], Resolution::Written);
    assert_eq!(tracker.committable(), [(tp(), 25)]);
    tracker.resolve(&tp(), epoch, [25..=34], Resolution::Written);
    assert_eq!(tracker.committable(), [(tp(), 35)]);
}

#[test]
fn what_blocks_a_partition_is_told() {
    let (mut tracker, epoch, start) = assigned();
    let other = TopicPartition::new("meters", 4);
    let other_epoch = tracker.assign(other.clone());
    assert_eq!(tracker.pending(), []);
    let later = start + Duration::from_secs(7);
    assert!(tracker.deliver(&tp(), epoch, [0..=9], start));
    assert!(tracker.deliver(&tp(), epoch, [12..=19], later));
    assert!(tracker.deliver(&other, other_epoch, [0..=0], later));
    let pending = |tracker: &AckTracker| {
        tracker
            .pending()
            .into_iter()
            .map(|p| (p.partition.partition, p.first, p.since, p.unresolved, p.behind))
            .collect()
    };
    let found: Vec<_> = pending(&tracker);
    assert_eq!(found, [(3, 0, start, 18, 19), (4, 0, later, 1, 0)]);
    tracker.resolve(&tp(), epoch, [0..=3, 5..=9, 13..=13], Resolution::Written);
    tracker.resolve(&other, other_epoch, [0..=0], Resolution::Written);
    let found: Vec<_> = pending(&tracker);
    assert_eq!(found, [(3, 4, start, 8, 15)]);
    tracker.resolve(&tp(), epoch, [4..=4], Resolution::Written);
    let found: Vec<_> = pending(&tracker);
    assert_eq!(found, [(3, 12, later, 7, 7)]);
}

#[test]
fn redeliveries_are_counted_across_epochs_of_a_bounded_number_of_partitions() {
    let mut tracker = AckTracker::new();
    let now = Instant::now();
    let mut once = |partition: i32| {
        let tp = TopicPartition::new("many", partition);
        let epoch = tracker.assign(tp.clone());
        assert!(tracker.deliver(&tp, epoch, [0..=0], now));
        tracker.revoke(&tp);
        (tracker.remembered.len(), tracker.counts().redelivered)
    };
    let many = i32::try_from(MAX_REMEMBERED_PARTITIONS).unwrap();
    (0..=many).for_each(|partition| _ = once(partition));
    assert_eq!(once(many), (MAX_REMEMBERED_PARTITIONS, 1));
    assert_eq!(once(0), (MAX_REMEMBERED_PARTITIONS, 1), "the oldest is forgotten");
}

#[test]
fn a_run_stays_one_entry_however_many_messages_it_stands_for() {
    let (mut tracker, epoch, now) = assigned();
    assert!(tracker.deliver(&tp(), epoch, [0..=999_999_999], now));
    assert_eq!(tracker.resolve(&tp(), epoch, [1..=999_999_998], Resolution::Written), 999_999_998);
    assert_eq!(tracker.resolve(&tp(), epoch, [0..=0], Resolution::Written), 1);
    assert_eq!(tracker.committable(), [(tp(), 999_999_999)]);
    assert!(tracker.deliver(&tp(), epoch, [Offset::MAX..=Offset::MAX], now));
    assert_eq!(tracker.resolve(&tp(), epoch, [0..=Offset::MAX], Resolution::Written), 2);
}

#[test]
fn offsets_are_joined_to_runs() {
    let joined = |offsets: &[Offset]| runs(offsets.iter().copied()).collect::<Vec<_>>();
    assert_eq!(joined(&[]), []);
    assert_eq!(joined(&[3, 4, 5, 7, 9, 10, 8]), [3..=5, 7..=7, 9..=10, 8..=8]);
    assert_eq!(joined(&[Offset::MAX, Offset::MIN]), [Offset::MAX..=Offset::MAX, Offset::MIN..=Offset::MIN]);
}

/// One partition as plain sets of offsets.
#[derive(Default)]
struct Model {
    epoch: Option<Epoch>,
    delivered: BTreeSet<Offset>,
    unresolved: BTreeSet<Offset>,
    /// Where the watermark may rest: behind each delivered offset, and where a seek back began.
    rests: BTreeSet<Offset>,
    watermark: Option<Offset>,
    committed: Option<Offset>,
    highest: Option<Offset>,
}

impl Model {
    fn assign(&mut self, epoch: Option<Epoch>) {
        *self = Self { epoch, highest: self.highest, ..Self::default() };
    }

    fn deliver(&mut self, offset: Offset) -> u64 {
        if self.epoch.is_none() {
            return 0;
        }
        let passed = self.delivered.last().is_some_and(|last| offset <= *last);
        let leads = self.unresolved.first().is_none_or(|first| offset < *first);
        if passed && !leads && !self.unresolved.contains(&offset) && !self.unresolved.contains(&(offset - 1)) {
            self.rests.insert(offset);
        }
        self.delivered.insert(offset);
        self.unresolved.insert(offset);
        self.rests.insert(offset + 1);
        let again = self.highest >= Some(offset);
        self.highest = self.highest.max(Some(offset));
        u64::from(again)
    }

    fn resolve(&mut self, run: RangeInclusive<Offset>) -> u64 {
        let before = self.unresolved.len();
        self.unresolved.retain(|offset| !run.contains(offset));
        let first = self.unresolved.first().copied().unwrap_or(Offset::MAX);
        if self.delivered.first().is_some_and(|least| *least < first) {
            self.watermark = self.watermark.max(self.rests.range(..=first).next_back().copied());
        }
        (before - self.unresolved.len()) as u64
    }

    fn committable(&self) -> Option<Offset> {
        let is_passed = |watermark: &Offset| self.unresolved.range(..watermark).next().is_none();
        self.watermark.filter(is_passed).filter(|_| self.watermark > self.committed)
    }

    fn position(&self) -> Option<Offset> {
        [self.watermark, self.unresolved.first().copied()].into_iter().flatten().min()
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// After a gap of so many, so many.
    Deliver(Offset, Offset),
    /// From so far before the end, so many.
    SeekBack(Offset, Offset),
    /// From so far behind the first unresolved or watermark, so many.
    Resolve(Offset, Offset, bool),
    Commit,
    Revoke,
    Assign,
}

fn op(seek: bool) -> impl Strategy<Value = Op> {
    let gap = prop_oneof![3 => Just(0), 1 => 1..4_i64];
    prop_oneof![
        6 => (gap, 1..8_i64).prop_map(|(gap, count)| Op::Deliver(gap, count)),
        if seek { 2 } else { 0 } => (0..20_i64, 1..12_i64).prop_map(|(back, count)| Op::SeekBack(back, count)),
        10 => (-3..12_i64, 1..8_i64, prop::bool::weighted(0.1)).prop_map(|(at, count, stale)| Op::Resolve(at, count, stale)),
        2 => Just(Op::Commit),
        1 => Just(Op::Revoke),
        2 => Just(Op::Assign),
    ]
}

fn ops() -> impl Strategy<Value = (bool, Vec<(bool, Op)>)> {
    any::<bool>().prop_flat_map(|seek| (Just(seek), prop::collection::vec((any::<bool>(), op(seek)), 0..120)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn it_agrees_with_sets_of_offsets((seeks, ops) in ops()) {
        let now = Instant::now();
        let mut tracker = AckTracker::new();
        let partitions = [tp(), TopicPartition::new("meters", 4)];
        let mut models = [Model::default(), Model::default()];
        let mut stale = [Epoch(0), Epoch(0)];
        for (which, op) in ops {
            let (tp, model) = (&partitions[usize::from(which)], &mut models[usize::from(which)]);
            let stale = &mut stale[usize::from(which)];
            let before = (model.watermark, tracker.counts());
            let epoch = model.epoch.unwrap_or(*stale);
            let end = model.delivered.last().map_or(100, |last| last + 1);
            match op {
                Op::Deliver(gap, count) => {
                    let run = end + gap..=end + gap + count - 1;
                    prop_assert_eq!(tracker.deliver(tp, epoch, [run.clone()], now), model.epoch.is_some());
                    let again: u64 = run.map(|offset| model.deliver(offset)).sum();
                    prop_assert_eq!(tracker.counts().redelivered - before.1.redelivered, again);
                }
                Op::SeekBack(back, count) => {
                    let run = end - back..=end - back + count - 1;
                    prop_assert_eq!(tracker.deliver(tp, epoch, [run.clone()], now), model.epoch.is_some());
                    let again: u64 = run.map(|offset| model.deliver(offset)).sum();
                    prop_assert_eq!(tracker.counts().redelivered - before.1.redelivered, again);
                }
                Op::Resolve(at, count, true) => {
                    prop_assert_eq!(tracker.resolve(tp, *stale, [at..=at + count - 1], Resolution::Written), 0);
                    prop_assert_eq!(tracker.counts().late - before.1.late, u64::try_from(count).unwrap());
                }
                Op::Resolve(at, count, false) => {
                    let first = model.unresolved.first().copied().unwrap_or(end) + at;
                    let run = first..=first + count - 1;
                    let resolved = tracker.resolve(tp, epoch, [run.clone()], Resolution::Written);
                    let expected = if model.epoch.is_some() { model.resolve(run) } else { 0 };
                    prop_assert_eq!(resolved, expected);
                }
                Op::Commit => {
                    for (tp, offset) in tracker.committable() {
                        tracker.committed(&tp, offset);
                    }
                    models.iter_mut().for_each(|model| model.committed = model.committable().or(model.committed));
                }
                Op::Revoke => {
                    prop_assert_eq!(tracker.revoke(tp), model.committable());
                    *stale = epoch;
                    model.assign(None);
                }
                Op::Assign => {
                    *stale = epoch;
                    model.assign(Some(tracker.assign(tp.clone())));
                }
            }

            let model = &models[usize::from(which)];
            let same_epoch = model.epoch == Some(epoch);
            prop_assert!(!same_epoch || model.watermark >= before.0, "never back");
            let moved = |(tp, model): (&TopicPartition, &Model)| model.committable().map(|offset| (tp.clone(), offset));
            prop_assert_eq!(tracker.committable(), partitions.iter().zip(&models).filter_map(moved).collect::<Vec<_>>());
            let at = |(tp, model): (&TopicPartition, &Model)| model.position().map(|offset| (tp.clone(), offset));
            prop_assert_eq!(tracker.positions(), partitions.iter().zip(&models).filter_map(at).collect::<Vec<_>>());
            prop_assert_eq!(tracker.first_unresolved(tp), model.unresolved.first().copied());
            for (tp, offset) in tracker.committable() {
                let model = &models[usize::from(tp == partitions[1])];
                prop_assert!(model.unresolved.range(..offset).next().is_none(), "nothing is committed past an unresolved one");
            }
            if let (false, Some(watermark)) = (seeks, model.watermark) {
                prop_assert!(model.unresolved.range(..watermark).next().is_none(), "never past an unresolved one");
                let resolved = |offset: &Offset| model.delivered.contains(offset) && !model.unresolved.contains(offset);
                prop_assert!(resolved(&(watermark - 1)), "the last resolved of the prefix, + 1");
            }
            let pending: Vec<_> = tracker.pending().into_iter().map(|p| (p.partition, p.first, p.unresolved, p.behind)).collect();
            let expected: Vec<_> = partitions.iter().zip(&models).filter_map(|(tp, model)| {
                let (first, last) = (*model.unresolved.first()?, *model.delivered.last()?);
                Some((tp.clone(), first, model.unresolved.len() as u64, (last - first) as u64))
            }).collect();
            prop_assert_eq!(pending, expected);
            prop_assert_eq!(tracker.unresolved(), models.iter().map(|model| model.unresolved.len() as u64).sum::<u64>());
        }
    }
}
