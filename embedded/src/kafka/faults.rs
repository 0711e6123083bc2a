//! Switches with which a test makes the broker misbehave, settable while it runs.
//!
//! As text a fault reads `REQUEST[:WHEN]:ACTION`, or `leader=TOPIC/PARTITION:ACTION`:
//!
//! ```
//! use kafka_taos_embedded::kafka::{ApiKey, Effect, Fault, FaultWhen};
//!
//! let fault: Fault = "produce:nth=3:drop-after".parse()?;
//! assert_eq!(fault, Fault::Request { api: ApiKey::Produce, when: FaultWhen::Nth(3), effect: Effect::DropAnswer });
//! # Ok::<(), kafka_taos_embedded::kafka::FaultParseError>(())
//! ```
//!
//! | part | values |
//! |---|---|
//! | `REQUEST` | a request by its name in the protocol: `produce`, `fetch`, `offset-commit`, `JoinGroup`, .. |
//! | `WHEN` | `nth=N` (only the Nth since the fault was added), `every=N`, `first=N`; absent: each one |
//! | `ACTION` | `error=NAME` (`NOT_LEADER_OR_FOLLOWER`, `not-coordinator`, ..), `delay=DURATION` (`250ms`, `2s`), `drop-before`, `drop-after`; of a leader `not-leader`, `silent` |

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use tokio::sync::watch;
use tokio::time::Instant;

use super::coordinator::Coordinator;
use super::lock;
use crate::fault_when::{FaultWhen, parse_duration};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The request is not carried out; every item of it is answered with this error.
    Error(ResponseError),
    /// The connection is closed before the request is carried out.
    Drop,
    /// The request is carried out, and the connection is closed instead of an answer.
    DropAnswer,
    /// The request waits this long first.
    Delay(Duration),
}

/// How a partition's leader fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderFault {
    /// Produce, fetch and offset requests are answered with `NotLeaderOrFollower`.
    NotLeader,
    /// Produce and fetch requests, and the connections they came on, get no answer until the fault ends.
    Silent,
}

/// One failure to bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Of requests of one kind.
    Request {
        /// The kind.
        api: ApiKey,
        /// Which of them.
        when: FaultWhen,
        /// What goes wrong.
        effect: Effect,
    },
    /// Of a partition's leader, until [`Faults::restore_leader`].
    Leader {
        /// The topic; it need not exist yet.
        topic: String,
        /// The partition.
        partition: i32,
        /// How it fails.
        fault: LeaderFault,
    },
}

/// A text that is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no fault: {problem}; write REQUEST[:WHEN]:ACTION, as in `produce:nth=3:drop-after` or \
     `fetch:error=NOT_LEADER_OR_FOLLOWER`, or leader=TOPIC/PARTITION:silent"
)]
pub struct FaultParseError {
    text: String,
    problem: String,
}

impl FromStr for Fault {
    type Err = FaultParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = |what: &str, part: &str| FaultParseError {
            text: text.to_owned(),
            problem: format!("unknown {what} `{part}`"),
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (subject, when, action) = match parts[..] {
            [subject, action] => (subject, None, action),
            [subject, when, action] => (subject, Some(when), action),
            _ => {
                let problem = "it has neither two nor three parts".to_owned();
                return Err(FaultParseError { text: text.to_owned(), problem });
            }
        };
        if let Some(leader) = subject.strip_prefix("leader=") {
            let parsed = leader.rsplit_once('/').and_then(|(topic, partition)| Some((topic, partition.parse().ok()?)));
            let (topic, partition) = parsed.ok_or_else(|| unknown("partition", leader))?;
            if let Some(when) = when {
                return Err(unknown("time of a leader's fault", when));
            }
            let fault = match action {
                "not-leader" => LeaderFault::NotLeader,
                "silent" => LeaderFault::Silent,
                _ => return Err(unknown("action", action)),
            };
            return Ok(Self::Leader { topic: topic.to_owned(), partition, fault });
        }
        let named = |api: &ApiKey| same_name(&format!("{api:?}"), subject);
        Ok(Self::Request {
            api: ApiKey::iter().find(named).ok_or_else(|| unknown("request", subject))?,
            when: match when {
                None => FaultWhen::Always,
                Some(when) => FaultWhen::parse(when).ok_or_else(|| unknown("time", when))?,
            },
            effect: parse_effect(action).ok_or_else(|| unknown("action", action))?,
        })
    }
}

fn parse_effect(text: &str) -> Option<Effect> {
    Some(match text.split_once('=') {
        None if text == "drop-before" => Effect::Drop,
        None if text == "drop-after" => Effect::DropAnswer,
        Some(("delay", duration)) => Effect::Delay(parse_duration(duration)?),
        Some(("error", name)) => {
            // The protocol's codes are -1 and those from 1 on, one after another.
            let known = |error: &ResponseError| !matches!(error, ResponseError::Unknown(_));
            let mut errors = (-1..1000).filter_map(ResponseError::try_from_code).filter(known);
            Effect::Error(errors.find(|error| same_name(&format!("{error:?}"), name))?)
        }
        _ => return None,
    })
}

/// Whether `name` is `proper_name`, however its words are set off: `OffsetCommit`, `OFFSET_COMMIT`, `offset-commit`.
fn same_name(proper_name: &str, name: &str) -> bool {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-'))
        .flat_map(char::to_lowercase)
        .eq(proper_name.chars().flat_map(char::to_lowercase))
}

#[derive(Debug)]
struct Rule {
    api: ApiKey,
    /// Requests to let pass.
    skip: u64,
    /// Requests to strike after these.
    times: u64,
    /// Requests to let pass after each one struck.
    pause: u64,
    effect: Effect,
}

/// The switches; [`super::Broker::faults`] has them. All start off.
#[derive(Debug)]
pub struct Faults {
    rules: Mutex<Vec<Rule>>,
    leaders: watch::Sender<HashMap<(String, i32), LeaderFault>>,
    any_leader: AtomicBool,
    connections: watch::Sender<u64>,
    coordinator: Arc<Coordinator>,
}

impl Faults {
    pub(crate) fn new(coordinator: Arc<Coordinator>) -> Self {
        Faults {
            rules: Mutex::default(),
            leaders: watch::Sender::default(),
            any_leader: AtomicBool::new(false),
            connections: watch::Sender::default(),
            coordinator,
        }
    }

    /// The next request of `api` has `effect`.
    pub fn next(&self, api: ApiKey, effect: Effect) {
        self.nth(api, 1, 1, effect);
    }

    /// Requests of `api` have `effect`: from the `first` one counted from now (1 is the next), and `times` in a row.
    pub fn nth(&self, api: ApiKey, first: u32, times: u32, effect: Effect) {
        let skip = first.saturating_sub(1).into();
        lock(&self.rules).push(Rule { api, skip, times: times.into(), pause: 0, effect });
    }

    /// Switches `fault` on.
    pub fn add(&self, fault: Fault) {
        let (api, when, effect) = match fault {
            Fault::Request { api, when, effect } => (api, when, effect),
            Fault::Leader { topic, partition, fault } => return self.fail_leader(&topic, partition, fault),
        };
        let (skip, times, pause) = match when {
            FaultWhen::Always => (0, u64::MAX, 0),
            FaultWhen::Nth(n) => (n.saturating_sub(1), 1, 0),
            FaultWhen::First(n) => (0, n, 0),
            FaultWhen::Every(n) => (n.saturating_sub(1), u64::MAX, n.saturating_sub(1)),
        };
        lock(&self.rules).push(Rule { api, skip, times, pause, effect });
    }

    /// Lets the leader of a partition fail until [`Faults::restore_leader`].
    pub fn fail_leader(&self, topic: &str, partition: i32, fault: LeaderFault) {
        self.any_leader.store(true, Ordering::Release);
        self.leaders.send_modify(|leaders| {
            leaders.insert((topic.to_owned(), partition), fault);
        });
    }

    /// Ends [`Faults::fail_leader`].
    pub fn restore_leader(&self, topic: &str, partition: i32) {
        self.leaders.send_modify(|leaders| {
            leaders.remove(&(topic.to_owned(), partition));
            self.any_leader.store(!leaders.is_empty(), Ordering::Release);
        });
    }

    /// Closes every connection that is open now. Clients may connect again at once.
    pub fn drop_connections(&self) {
        self.connections.send_modify(|round| *round += 1);
    }

    /// Ends the session of the members of `group` whose member id, group instance id or client id is `member`, as if
    /// their heartbeats had stopped in time. Returns how many there were.
    pub fn expire_member(&self, group: &str, member: &str) -> usize {
        let matches = |m: &super::group::Member| {
            m.id == member || m.client_id == member || m.instance_id.as_deref() == Some(member)
        };
        self.coordinator.with(group, |group| group.expire(matches, Instant::now())).unwrap_or_default()
    }

    /// Switches all faults off.
    pub fn clear(&self) {
        lock(&self.rules).clear();
        self.leaders.send_modify(|leaders| {
            leaders.clear();
            self.any_leader.store(false, Ordering::Release);
        });
    }

    /// Counts one request of `api` and says what is to happen to it.
    pub(crate) fn take(&self, api: ApiKey) -> Option<Effect> {
        let mut rules = lock(&self.rules);
        let mut effect = None;
        for rule in rules.iter_mut().filter(|rule| rule.api == api) {
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if effect.is_none() {
                rule.times = rule.times.saturating_sub(1);
                rule.skip = rule.pause;
                effect = Some(rule.effect);
            }
        }
        rules.retain(|rule| rule.times > 0);
        effect
    }

    /// The connections watch this.
    pub(crate) fn connection_rounds(&self) -> watch::Receiver<u64> {
        self.connections.subscribe()
    }

    /// Waits while the leader is silent.
    ///
    /// # Errors
    /// `NotLeaderOrFollower` while that fault is on.
    pub(crate) async fn leader(&self, topic: &str, partition: i32) -> Result<(), ResponseError> {
        if !self.any_leader.load(Ordering::Acquire) {
            return Ok(());
        }
        let key = (topic.to_owned(), partition);
        let mut leaders = self.leaders.subscribe();
        let answers = |leaders: &HashMap<_, _>| leaders.get(&key) != Some(&LeaderFault::Silent);
        match leaders.wait_for(answers).await {
            Ok(leaders) if leaders.contains_key(&key) => Err(ResponseError::NotLeaderOrFollower),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> Faults {
        Faults::new(Arc::default())
    }

    #[test]
    fn a_rule_hits_the_requests_it_names_and_no_other() {
        let faults = faults();
        let error = Effect::Error(ResponseError::NotCoordinator);
        faults.nth(ApiKey::Heartbeat, 2, 2, error);
        assert_eq!(faults.take(ApiKey::Fetch), None);
        let taken: Vec<_> = (0..4).map(|_| faults.take(ApiKey::Heartbeat)).collect();
        assert_eq!(taken, [None, Some(error), Some(error), None]);
    }

    fn fault(text: &str) -> Fault {
        text.parse().unwrap()
    }

    #[test]
    fn texts_become_faults() {
        let request = |api, when, effect| Fault::Request { api, when, effect };
        let not_leader = Effect::Error(ResponseError::NotLeaderOrFollower);
        for name in ["NOT_LEADER_OR_FOLLOWER", "NotLeaderOrFollower", "not-leader-or-follower"] {
            assert_eq!(fault(&format!("fetch:error={name}")), request(ApiKey::Fetch, FaultWhen::Always, not_leader));
        }
        let late = Effect::Delay(Duration::from_millis(250));
        assert_eq!(
            fault("offset-commit:every=2:delay=250ms"),
            request(ApiKey::OffsetCommit, FaultWhen::Every(2), late)
        );
        assert_eq!(
            fault("JoinGroup:first=3:drop-before"),
            request(ApiKey::JoinGroup, FaultWhen::First(3), Effect::Drop)
        );
        let unknown = Effect::Error(ResponseError::UnknownServerError);
        assert_eq!(
            fault("METADATA:nth=9:error=unknown-server-error"),
            request(ApiKey::Metadata, FaultWhen::Nth(9), unknown)
        );
        let silent = LeaderFault::Silent;
        assert_eq!(fault("leader=a.b/3:silent"), Fault::Leader { topic: "a.b".into(), partition: 3, fault: silent });
    }

    #[test]
    fn other_texts_are_refused_with_what_is_wrong() {
        for (text, part) in [
            ("", "parts"),
            ("produce", "parts"),
            ("produce:nth=1:nth=2:drop-before", "parts"),
            ("exec:drop-before", "request `exec`"),
            ("produce:nth=0:drop-before", "time `nth=0`"),
            ("produce:stall", "action `stall`"),
            ("produce:error=Unknown(999)", "action"),
            ("produce:error=NONE", "action"),
            ("produce:delay=5", "action `delay=5`"),
            ("leader=t:silent", "partition `t`"),
            ("leader=t/0:drop-before", "action `drop-before`"),
            ("leader=t/0:nth=1:silent", "time of a leader's fault `nth=1`"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("REQUEST[:WHEN]:ACTION"), "{error}");
        }
    }

    #[test]
    fn a_fault_strikes_when_it_says() {
        let struck = |when| {
            let faults = faults();
            faults.add(fault(&format!("fetch{when}:drop-before")));
            (0..6).map(|_| if faults.take(ApiKey::Fetch).is_some() { 'x' } else { '-' }).collect::<String>()
        };
        assert_eq!(struck(""), "xxxxxx");
        assert_eq!(struck(":nth=2"), "-x----");
        assert_eq!(struck(":every=2"), "-x-x-x");
        assert_eq!(struck(":first=3"), "xxx---");
    }

    #[test]
    fn rules_of_one_api_follow_one_another() {
        let faults = faults();
        faults.next(ApiKey::Produce, Effect::Drop);
        faults.next(ApiKey::Produce, Effect::DropAnswer);
        let taken: Vec<_> = (0..3).map(|_| faults.take(ApiKey::Produce)).collect();
        assert_eq!(taken, [Some(Effect::Drop), Some(Effect::DropAnswer), None]);
    }

    #[tokio::test]
    async fn a_silent_leader_answers_when_restored() {
        let faults = Arc::new(faults());
        faults.fail_leader("t", 0, LeaderFault::Silent);
        assert_eq!(faults.leader("t", 1).await, Ok(()));
        let waiting = tokio::spawn({
            let faults = Arc::clone(&faults);
            async move { faults.leader("t", 0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        faults.restore_leader("t", 0);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        faults.fail_leader("t", 0, LeaderFault::NotLeader);
        assert_eq!(faults.leader("t", 0).await, Err(ResponseError::NotLeaderOrFollower));
    }
}
