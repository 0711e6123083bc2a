//! Switches with which a test makes the broker misbehave, settable while it runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use tokio::sync::watch;
use tokio::time::Instant;

use super::coordinator::Coordinator;
use super::lock;

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

#[derive(Debug)]
struct Rule {
    api: ApiKey,
    skip: u32,
    times: u32,
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
        lock(&self.rules).push(Rule { api, skip: first.saturating_sub(1), times, effect });
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
                effect = Some(rule.effect);
            }
        }
        rules.retain(|rule| rule.skip > 0 || rule.times > 0);
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
