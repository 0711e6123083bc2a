//! Switches that make the endpoint fail on purpose: slow answers, error codes, lost connections, refused logins.
//!
//! Off by default; they can be set while the endpoint runs, and each one counts how often it struck, so that a test can
//! see whether the failure it prepared was met. As text a fault reads `OPERATION[:WHEN]:ACTION`:
//!
//! ```
//! use kafka_taos_embedded::tdengine::{Fault, FaultAction, FaultWhen, Operation};
//!
//! let fault: Fault = "exec:nth=3:code=0x060B".parse()?;
//! assert_eq!(fault.operation, Operation::Exec);
//! assert_eq!(fault.when, FaultWhen::Nth(3));
//! assert!(matches!(fault.action, FaultAction::Answer { code: 0x060B, .. }));
//! # Ok::<(), kafka_taos_embedded::tdengine::FaultParseError>(())
//! ```
//!
//! | part | values |
//! |---|---|
//! | `OPERATION` | `login`, `statement` (SQL over REST or WebSocket), `prepare`, `bind`, `exec`, `any` |
//! | `WHEN` | `nth=N` (only the Nth since the fault was added), `every=N`, `first=N`; absent: each one |
//! | `ACTION` | `code=0xHHHH`, `refuse` (a wrong password), `disk-full`, `delay=DURATION` (`250ms`, `2s`), `drop-before`, `drop-after`, `stall` |

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::engine::TdError;
use crate::fault_when::{FaultWhen, parse_duration};

/// What a client asks for, as far as faults tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// `conn` of the WebSocket, and the check of the credentials of a REST request.
    Login,
    /// One SQL text, over REST or WebSocket.
    Statement,
    /// `stmt2_prepare`.
    Prepare,
    /// A stmt2 bind frame.
    Bind,
    /// `stmt2_exec`.
    Exec,
    /// Each of the above.
    Any,
}

/// What happens to an operation that is struck.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// It is carried out after this time.
    Delay(Duration),
    /// It is not carried out and answered with this code (its low 16 bits) and text. A statement (stmt2) then is in the
    /// state in which such a failure leaves it.
    Answer {
        /// The low 16 bits of the server's code.
        code: u16,
        /// The text beside it.
        message: String,
    },
    /// The connection is lost before it is carried out.
    DropBefore,
    /// It is carried out, and the connection is lost in place of the answer.
    DropAfter,
    /// It is neither carried out nor answered until the client gives up or the endpoint is shut down.
    Stall,
}

/// One failure to bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it strikes.
    pub operation: Operation,
    /// Which of these.
    pub when: FaultWhen,
    /// What happens then.
    pub action: FaultAction,
}

impl Fault {
    /// A fault that strikes each operation of this kind.
    pub fn new(operation: Operation, action: FaultAction) -> Self {
        Self { operation, when: FaultWhen::Always, action }
    }

    /// The same fault, striking at other times.
    pub fn when(self, when: FaultWhen) -> Self {
        Self { when, ..self }
    }
}

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no fault: {problem}; write OPERATION[:WHEN]:ACTION, as in `exec:nth=3:code=0x060B` or `bind:delay=200ms`"
)]
pub struct FaultParseError {
    text: String,
    problem: String,
}

impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: String| FaultParseError { text: text.to_owned(), problem };
        let parts: Vec<&str> = text.split(':').collect();
        let (operation, when, action) = match parts[..] {
            [operation, action] => (operation, None, action),
            [operation, when, action] => (operation, Some(when), action),
            _ => return Err(error("it has neither two nor three parts".to_owned())),
        };
        Ok(Self {
            operation: parse_operation(operation).ok_or_else(|| error(format!("unknown operation `{operation}`")))?,
            when: match when {
                None => FaultWhen::Always,
                Some(when) => FaultWhen::parse(when).ok_or_else(|| error(format!("unknown time `{when}`")))?,
            },
            action: parse_action(action).ok_or_else(|| error(format!("unknown action `{action}`")))?,
        })
    }
}

fn parse_operation(text: &str) -> Option<Operation> {
    Some(match text {
        "login" => Operation::Login,
        "statement" => Operation::Statement,
        "prepare" => Operation::Prepare,
        "bind" => Operation::Bind,
        "exec" => Operation::Exec,
        "any" => Operation::Any,
        _ => return None,
    })
}

fn parse_action(text: &str) -> Option<FaultAction> {
    let answer = |code, message: &str| FaultAction::Answer { code, message: message.to_owned() };
    Some(match text.split_once('=') {
        None => match text {
            "refuse" => answer(0x0357, "Authentication failure"),
            "disk-full" => answer(0x012E, "No enough disk space"),
            "drop-before" => FaultAction::DropBefore,
            "drop-after" => FaultAction::DropAfter,
            "stall" => FaultAction::Stall,
            _ => return None,
        },
        Some(("code", code)) => {
            let code = match code.strip_prefix("0x") {
                Some(hex) => u16::from_str_radix(hex, 16),
                None => code.parse(),
            };
            answer(code.ok().filter(|code| *code != 0)?, "fault injected by the embedded endpoint")
        }
        Some(("delay", duration)) => FaultAction::Delay(parse_duration(duration)?),
        Some(_) => return None,
    })
}

/// A fault that was added, to remove it or ask for its count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

/// The faults of one endpoint. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Switches>>);

#[derive(Debug, Default)]
struct Switches {
    added: u64,
    active: Vec<Switch>,
}

#[derive(Debug)]
struct Switch {
    id: FaultId,
    fault: Fault,
    seen: u64,
    struck: u64,
}

impl Faults {
    /// Adds a fault; it strikes from the next operation on, after those added before it.
    pub fn add(&self, fault: Fault) -> FaultId {
        let mut switches = self.lock();
        switches.added += 1;
        let id = FaultId(switches.added);
        switches.active.push(Switch { id, fault, seen: 0, struck: 0 });
        id
    }

    /// Removes a fault; returns how often it struck.
    pub fn remove(&self, id: FaultId) -> u64 {
        let struck = self.struck(id);
        self.lock().active.retain(|switch| switch.id != id);
        struck
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.lock().active.clear();
    }

    /// How often a fault struck so far; 0 for one that was removed.
    pub fn struck(&self, id: FaultId) -> u64 {
        self.lock().active.iter().find(|switch| switch.id == id).map_or(0, |switch| switch.struck)
    }

    /// Counts an operation and returns what is to happen to it.
    pub(super) fn strike(&self, operation: Operation) -> Vec<FaultAction> {
        let mut switches = self.lock();
        let hit = switches.active.iter_mut().filter_map(|switch| {
            if switch.fault.operation != operation && switch.fault.operation != Operation::Any {
                return None;
            }
            switch.seen += 1;
            let strikes = match switch.fault.when {
                FaultWhen::Always => true,
                FaultWhen::Nth(n) => switch.seen == n,
                FaultWhen::Every(n) => switch.seen.is_multiple_of(n),
                FaultWhen::First(n) => switch.seen <= n,
            };
            if !strikes {
                return None;
            }
            switch.struck += 1;
            let Fault { operation, action, .. } = &switch.fault;
            tracing::info!(?operation, ?action, "a fault strikes");
            Some(action.clone())
        });
        hit.collect()
    }

    /// Counts an operation and lives through what is to happen before it.
    pub(super) async fn before(&self, operation: Operation) -> Verdict {
        let mut verdict = Verdict::default();
        for action in self.strike(operation) {
            match action {
                FaultAction::Delay(time) => tokio::time::sleep(time).await,
                FaultAction::Stall => std::future::pending().await,
                FaultAction::DropBefore => verdict.drop_before = true,
                FaultAction::DropAfter => verdict.drop_after = true,
                FaultAction::Answer { code, message } => verdict.answer = Some(TdError { code, message }),
            }
        }
        verdict
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Switches> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the faults leave of an operation.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) drop_before: bool,
    pub(super) drop_after: bool,
    pub(super) answer: Option<TdError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn texts_become_faults() {
        assert_eq!(fault("login:refuse").operation, Operation::Login);
        assert_eq!(fault("bind:delay=250ms").action, FaultAction::Delay(Duration::from_millis(250)));
        assert_eq!(fault("any:delay=2s").action, FaultAction::Delay(Duration::from_secs(2)));
        assert_eq!(fault("exec:every=5:drop-after").when, FaultWhen::Every(5));
        assert_eq!(fault("statement:first=2:stall").when, FaultWhen::First(2));
        let code = |text: &str| match fault(text).action {
            FaultAction::Answer { code, .. } => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code("exec:disk-full"), 0x012E);
        assert_eq!(code("prepare:code=0x2603"), 0x2603);
        assert_eq!(code("exec:code=1547"), 0x060B);
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        for text in
            ["", "exec", "exec:nth=0:stall", "exec:nth=1:nth=2:stall", "flush:stall", "exec:code=0", "exec:delay=5"]
        {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains("OPERATION[:WHEN]:ACTION"), "{error}");
        }
    }

    #[test]
    fn a_fault_strikes_when_it_says() {
        let struck = |when| {
            let faults = Faults::default();
            let id = faults.add(Fault::new(Operation::Exec, FaultAction::DropBefore).when(when));
            let pattern: String = (0..6)
                .map(|_| {
                    assert_eq!(faults.strike(Operation::Bind), []);
                    if faults.strike(Operation::Exec).is_empty() { '-' } else { 'x' }
                })
                .collect();
            assert_eq!(faults.struck(id), pattern.matches('x').count() as u64);
            assert_eq!(faults.remove(id), pattern.matches('x').count() as u64);
            assert_eq!(faults.strike(Operation::Exec), []);
            pattern
        };
        assert_eq!(struck(FaultWhen::Always), "xxxxxx");
        assert_eq!(struck(FaultWhen::Nth(2)), "-x----");
        assert_eq!(struck(FaultWhen::Every(2)), "-x-x-x");
        assert_eq!(struck(FaultWhen::First(3)), "xxx---");
    }

    #[test]
    fn any_counts_each_operation() {
        let faults = Faults::default();
        faults.add(fault("any:nth=2:drop-before"));
        assert_eq!(faults.strike(Operation::Login), []);
        assert_eq!(faults.strike(Operation::Bind), [FaultAction::DropBefore]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_comes_before_the_rest() {
        let faults = Faults::default();
        faults.add(fault("bind:delay=5s"));
        faults.add(fault("bind:disk-full"));
        let start = tokio::time::Instant::now();
        let verdict = faults.before(Operation::Bind).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert_eq!(verdict.answer.map(|error| error.code), Some(0x012E));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_does_not_end() {
        let faults = Faults::default();
        faults.add(fault("exec:stall"));
        let stalled = tokio::time::timeout(Duration::from_secs(3600), faults.before(Operation::Exec));
        assert!(stalled.await.is_err());
    }
}
