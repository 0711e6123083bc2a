//! Failures on demand.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::{MqError, locked};

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publishing a message: the call returns the error.
    Publish,
    /// Committing offsets: the call returns the error. What is committed by releasing a revocation is not meant.
    Commit,
    /// Reading: the error comes as an event.
    Read,
}

type Errors = Arc<Mutex<VecDeque<MqError>>>;

#[derive(Default)]
pub(super) struct Failures(Mutex<Vec<(Action, Errors)>>);

impl Failures {
    pub(super) fn expect(&self, action: Action, errors: impl IntoIterator<Item = MqError>) -> Expectation {
        let errors: Errors = Arc::new(Mutex::new(errors.into_iter().collect()));
        locked(&self.0).push((action, Arc::clone(&errors)));
        Expectation { action, errors }
    }

    pub(super) fn forgive(&self, action: Action) {
        let failures = locked(&self.0);
        failures.iter().filter(|(failing, _)| *failing == action).for_each(|(_, errors)| locked(errors).clear());
    }

    /// The error with which `action` must fail now.
    pub(super) fn next(&self, action: Action) -> Option<MqError> {
        let mut failures = locked(&self.0);
        failures.retain(|(_, errors)| !locked(errors).is_empty());
        let (_, errors) = failures.iter().find(|(failing, _)| *failing == action)?;
        locked(errors).pop_front()
    }
}

/// Failures that are expected to happen: dropped before all of them did, it panics, and so fails the test.
#[must_use = "dropped at once, it finds that nothing failed yet, and panics"]
pub struct Expectation {
    action: Action,
    errors: Errors,
}

impl Expectation {
    /// How many failures are still to happen.
    pub fn remaining(&self) -> usize {
        locked(&self.errors).len()
    }
}

impl fmt::Debug for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failures of {:?} to come", self.remaining(), self.action)
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let remaining = std::mem::take(&mut *locked(&self.errors)).len();
        if remaining > 0 && !std::thread::panicking() {
            panic!("{:?} was expected to fail {remaining} more times", self.action);
        }
    }
}
