//! What to do when a write fails: decided by the class of the error, by how often it was tried, and by how many rows
//! the write had. No clock, no I/O.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::tdengine::error::Class;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The same again, after a while.
    Retry,
    /// The same again on a new connection, after a while.
    Reconnect,
    /// The same again in two halves, after a while.
    Shrink,
    /// Two halves at once: one of them, or both, will go through.
    Split,
    /// Read the super table again and make the rows anew.
    ReadSchema,
    /// This one row is at fault.
    RowIsFaulty,
    /// No retry helps.
    Stop,
}

/// How often one write was tried, by what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    pub(super) schema_read: u32,
    pub(super) reinit: u32,
    pub(super) unknown: u32,
}

/// After so many tries an error of unknown meaning, or a schema that keeps changing, is no accident.
const MAX_UNKNOWN: u32 = 5;
const MAX_SCHEMA_READS: u32 = 3;

/// `tries` counts this error too.
pub(super) fn decide(class: Class, tries: Tries, rows: usize) -> Action {
    match class {
        Class::Network => Action::Reconnect,
        Class::Cluster | Class::Operator => Action::Retry,
        Class::Pressure if rows > 1 => Action::Shrink,
        Class::Pressure => Action::Retry,
        Class::StaleSchema if tries.schema_read <= MAX_SCHEMA_READS => Action::ReadSchema,
        Class::StaleSchema | Class::RowFault if rows > 1 => Action::Split,
        Class::StaleSchema | Class::RowFault => Action::RowIsFaulty,
        Class::BatchFault if rows > 1 => Action::Split,
        Class::ReInit if tries.reinit <= 1 => Action::Retry,
        Class::Unknown if tries.unknown <= MAX_UNKNOWN => Action::Retry,
        // On one row, or on a fresh statement, it is our own fault.
        Class::BatchFault | Class::ReInit | Class::Unknown | Class::Fatal => Action::Stop,
    }
}

/// Ever longer pauses between tries, with jitter, without end. A success begins anew.
pub(super) struct Pauses {
    seed: u64,
    pauses: Option<Box<dyn Iterator<Item = Duration> + Send>>,
}

impl Pauses {
    /// `seed` is what the jitter comes from: other processes must have others.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, pauses: None }
    }

    pub(super) fn reset(&mut self) {
        self.pauses = None;
    }

    pub(super) fn next(&mut self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(5);
        let pauses = self.pauses.get_or_insert_with(|| {
            self.seed = self.seed.wrapping_add(1);
            let pauses = ExponentialBuilder::default()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(LONGEST)
                .without_max_times()
                .with_jitter()
                .with_jitter_seed(self.seed);
            Box::new(pauses.build())
        });
        pauses.next().unwrap_or(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(class: Class, rows: usize) -> Action {
        decide(class, Tries { schema_read: 1, reinit: 1, unknown: 1 }, rows)
    }

    #[test]
    fn what_heals_by_itself_is_tried_again_without_end() {
        let worn = Tries { schema_read: 99, reinit: 99, unknown: 99 };
        assert_eq!(decide(Class::Network, worn, 10), Action::Reconnect);
        assert_eq!(decide(Class::Cluster, worn, 10), Action::Retry);
        assert_eq!(decide(Class::Operator, worn, 10), Action::Retry, "a full disk sends nothing to the dead letters");
        assert_eq!((after(Class::Pressure, 10), after(Class::Pressure, 1)), (Action::Shrink, Action::Retry));
    }

    #[test]
    fn a_faulty_row_is_found_by_halves() {
        assert_eq!((after(Class::RowFault, 8), after(Class::RowFault, 1)), (Action::Split, Action::RowIsFaulty));
        assert_eq!((after(Class::BatchFault, 8), after(Class::BatchFault, 1)), (Action::Split, Action::Stop));
    }

    #[test]
    fn what_does_not_heal_ends() {
        let worn = Tries { schema_read: 4, reinit: 2, unknown: 6 };
        assert_eq!(
            (after(Class::StaleSchema, 8), decide(Class::StaleSchema, worn, 8)),
            (Action::ReadSchema, Action::Split)
        );
        assert_eq!((after(Class::ReInit, 8), decide(Class::ReInit, worn, 8)), (Action::Retry, Action::Stop));
        assert_eq!((after(Class::Unknown, 8), decide(Class::Unknown, worn, 8)), (Action::Retry, Action::Stop));
        assert_eq!(after(Class::Fatal, 8), Action::Stop);
    }

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew() {
        let mut pauses = Pauses::new(7);
        let first = pauses.next();
        let late = (0..100).map(|_| pauses.next()).last().unwrap();
        pauses.reset();
        let again = pauses.next();
        assert!(first < Duration::from_millis(200) && again < Duration::from_millis(200), "{first:?} {again:?}");
        assert!(late >= Duration::from_secs(5) && late <= Duration::from_secs(10), "{late:?}");
    }
}
