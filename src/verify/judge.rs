//! What became of the writes of one key: decided from them and from what is stored. No clock, no I/O.

use super::cell::Cell;
use crate::message::Offset;

/// A row that a message came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// The partition, by its place in the list of all.
    pub(super) source: u32,
    pub(super) offset: Offset,
    /// The row's place among those of its message.
    pub(super) element: u32,
    /// It may be stored or not, both is right: it is in the dead letters, or is read already and not committed yet.
    pub(super) optional: bool,
    /// A cell a column; the first is the timestamp.
    pub(super) cells: Vec<Cell>,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Its last value is stored.
    Present,
    /// An older value of it is stored: in this column.
    Stale { column: usize },
    /// No row is stored.
    Missing,
    /// A row is stored, with a value in this column that no message has.
    Changed { column: usize },
}

/// What became of each write that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The write that is to stand, and how it does; `None` where none must.
    pub(super) last: Option<(usize, Standing)>,
    /// Earlier writes of which all is still there, in the row that stands.
    pub(super) merged: Vec<usize>,
    /// Earlier writes of which a later one has overwritten something.
    pub(super) superseded: Vec<usize>,
}

/// Judges the writes of a key, sorted by partition and offset. Within a partition they were stored one after another;
/// between partitions there is no order, so that the last of each may stand.
pub(super) fn judge(writes: &[Write], stored: Option<&[Cell]>) -> Verdict {
    let counts = |at: &usize| !writes[*at].optional;
    let mut lasts: Vec<usize> = Vec::new();
    for at in (0..writes.len()).filter(counts) {
        match lasts.last_mut() {
            Some(last) if writes[*last].source == writes[at].source => *last = at,
            _ => lasts.push(at),
        }
    }
    let Some(&fallback) = lasts.last() else { return Verdict::default() };
    let stands_in = |at: usize, row: &[Cell]| {
        writes[at].cells.iter().zip(row).all(|(cell, stored)| *cell == Cell::Unset || cell == stored)
    };
    let (last, standing) = match stored {
        None => (fallback, Standing::Missing),
        Some(row) => {
            let last = lasts.iter().copied().find(|&at| stands_in(at, row)).unwrap_or(fallback);
            (last, standing_of(writes, row))
        }
    };
    let expected;
    let row = match (standing, stored) {
        (Standing::Present, Some(row)) => row,
        _ => {
            expected = written_one_by_one(writes, last);
            &expected
        }
    };
    let earlier = (0..writes.len()).filter(counts).filter(|&at| at != last);
    let (merged, superseded) = earlier.partition(|&at| stands_in(at, row));
    Verdict { last: Some((last, standing)), merged, superseded }
}

fn standing_of(writes: &[Write], stored: &[Cell]) -> Standing {
    let mut stale = None;
    for (column, cell) in stored.iter().enumerate() {
        if may_stand(writes, column, cell) {
            continue;
        }
        let is_older = |write: &Write| match &write.cells[column] {
            // Before a later write gave it a value.
            Cell::Unset => *cell == Cell::Null,
            written => written == cell,
        };
        match writes.iter().any(is_older) {
            true => stale = stale.or(Some(column)),
            false => return Standing::Changed { column },
        }
    }
    stale.map_or(Standing::Present, |column| Standing::Stale { column })
}

/// Whether `stored` is what some order of the partitions' writes leaves in a column.
fn may_stand(writes: &[Write], column: usize, stored: &Cell) -> bool {
    let mut is_set = false;
    for of_source in writes.chunk_by(|a, b| a.source == b.source) {
        for write in of_source.iter().rev() {
            let cell = &write.cells[column];
            if cell == stored {
                return true;
            }
            if *cell != Cell::Unset && !write.optional {
                is_set = true;
                break;
            }
        }
    }
    // Of what no write must have set, nothing is known: there may have been others, before.
    !is_set
}

/// The row that the writes of the partition of `last` leave, up to it.
fn written_one_by_one(writes: &[Write], last: usize) -> Vec<Cell> {
    let mut row = vec![Cell::Null; writes[last].cells.len()];
    for write in writes[..=last].iter().filter(|write| write.source == writes[last].source && !write.optional) {
        for (cell, written) in row.iter_mut().zip(&write.cells).filter(|(_, written)| **written != Cell::Unset) {
            cell.clone_from(written);
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(code: u8) -> Cell {
        match code {
            0 => Cell::Unset,
            1 => Cell::Null,
            value => Cell::Value(Box::new([value])),
        }
    }

    fn cells(codes: &[u8]) -> Vec<Cell> {
        codes.iter().map(|code| cell(*code)).collect()
    }

    fn write(source: u32, offset: Offset, codes: &[u8]) -> Write {
        Write { source, offset, element: 0, optional: false, cells: cells(codes) }
    }

    fn optional(write: Write) -> Write {
        Write { optional: true, ..write }
    }

    #[track_caller]
    fn assert(writes: &[Write], stored: Option<&[u8]>, last: usize, standing: Standing, merged: &[usize]) {
        let stored = stored.map(cells);
        let verdict = judge(writes, stored.as_deref());
        assert_eq!((verdict.last, verdict.merged.as_slice()), (Some((last, standing)), merged), "{verdict:?}");
        let counted = writes.iter().filter(|write| !write.optional).count();
        assert_eq!(1 + verdict.merged.len() + verdict.superseded.len(), counted);
    }

    #[test]
    fn a_key_written_once_stands_or_does_not() {
        let writes = [write(0, 7, &[9, 2, 1])];
        assert(&writes, Some(&[9, 2, 1]), 0, Standing::Present, &[]);
        assert(&writes, None, 0, Standing::Missing, &[]);
        assert(&writes, Some(&[9, 3, 1]), 0, Standing::Changed { column: 1 }, &[]);
        assert(&writes, Some(&[9, 2, 5]), 0, Standing::Changed { column: 2 }, &[]);
    }

    #[test]
    fn an_older_value_in_place_of_the_last_is_stale() {
        let writes = [write(0, 1, &[9, 2]), write(0, 2, &[9, 3])];
        assert(&writes, Some(&[9, 3]), 1, Standing::Present, &[]);
        assert(&writes, Some(&[9, 2]), 1, Standing::Stale { column: 1 }, &[]);
        assert(&writes, None, 1, Standing::Missing, &[]);
        let second_lost = [write(0, 1, &[9, 2, 0]), write(0, 2, &[9, 0, 3])];
        assert(&second_lost, Some(&[9, 2, 1]), 1, Standing::Stale { column: 2 }, &[0]);
    }

    #[test]
    fn no_value_keeps_and_null_overwrites() {
        let writes = [write(0, 1, &[9, 2, 4]), write(0, 2, &[9, 0, 1])];
        assert(&writes, Some(&[9, 2, 1]), 1, Standing::Present, &[]);
        assert(&writes, Some(&[9, 2, 4]), 1, Standing::Stale { column: 2 }, &[]);
        // Twice the same, or side by side: nothing of the earlier one is lost.
        assert(&[write(0, 1, &[9, 2]), write(0, 5, &[9, 2])], Some(&[9, 2]), 1, Standing::Present, &[0]);
        assert(&[write(0, 1, &[9, 2, 0]), write(0, 5, &[9, 0, 3])], Some(&[9, 2, 3]), 1, Standing::Present, &[0]);
        // Columns that no write sets may hold anything.
        assert(&[write(0, 1, &[9, 0])], Some(&[9, 77]), 0, Standing::Present, &[]);
    }

    #[test]
    fn between_partitions_the_last_of_each_may_stand() {
        let writes = [write(0, 1, &[9, 2]), write(0, 2, &[9, 3]), write(1, 1, &[9, 4])];
        assert(&writes, Some(&[9, 3]), 1, Standing::Present, &[]);
        assert(&writes, Some(&[9, 4]), 2, Standing::Present, &[]);
        assert(&writes, Some(&[9, 2]), 2, Standing::Stale { column: 1 }, &[]);
    }

    #[test]
    fn what_may_be_stored_or_not_excuses_its_value_only() {
        let writes = [write(0, 1, &[9, 2]), optional(write(0, 2, &[9, 3]))];
        assert(&writes, Some(&[9, 2]), 0, Standing::Present, &[]);
        assert(&writes, Some(&[9, 3]), 0, Standing::Present, &[]);
        assert(&writes, None, 0, Standing::Missing, &[]);
        let before = [optional(write(0, 1, &[9, 3])), write(0, 2, &[9, 2])];
        assert(&before, Some(&[9, 3]), 1, Standing::Stale { column: 1 }, &[]);
        assert_eq!(judge(&[optional(write(0, 1, &[9, 3]))], None), Verdict::default());
    }

    proptest! {
        /// Whatever order the partitions' writes are stored in, and whichever optional ones: the key stands.
        #[test]
        fn what_any_order_leaves_stands(
            codes in proptest::collection::vec((0u32..3, any::<bool>(), proptest::collection::vec(0u8..5, 3)), 1..12),
            picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 12),
        ) {
            let mut writes: Vec<_> = codes.into_iter().enumerate().map(|(offset, (source, optional, codes))| {
                Write { source, offset: offset as i64, element: 0, optional, cells: cells(&codes) }
            }).collect();
            writes.sort_by_key(|write| (write.source, write.offset));
            let mut queues: Vec<Vec<&Write>> =
                writes.chunk_by(|a, b| a.source == b.source).map(|of| of.iter().rev().collect()).collect();
            let mut row = vec![Cell::Null; 3];
            for (pick, skip) in picks.iter().cycle() {
                queues.retain(|queue| !queue.is_empty());
                if queues.is_empty() {
                    break;
                }
                let queue = pick.index(queues.len());
                let write = queues[queue].pop().unwrap();
                if write.optional && *skip {
                    continue;
                }
                for (cell, written) in row.iter_mut().zip(&write.cells).filter(|(_, written)| **written != Cell::Unset) {
                    cell.clone_from(written);
                }
            }
            let verdict = judge(&writes, Some(&row));
            let counted = writes.iter().filter(|write| !write.optional).count();
            match verdict.last {
                Some((_, standing)) => {
                    prop_assert_eq!(standing, Standing::Present);
                    prop_assert_eq!(1 + verdict.merged.len() + verdict.superseded.len(), counted);
                }
                None => prop_assert_eq!(counted, 0),
            }
        }
    }
}
