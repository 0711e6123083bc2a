//! The consumer groups behind one lock, and the task that lets their deadlines pass.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use kafka_protocol::ResponseError;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::group::Group;
use super::lock;

/// Groups that are remembered at a time.
const MAX_GROUPS: usize = 100_000;

/// See the module. The lock is held for decisions only, never over I/O or waiting.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    groups: Mutex<Groups>,
    earlier_deadline: Notify,
}

#[derive(Debug, Default)]
struct Groups {
    by_id: BTreeMap<String, Group>,
    /// When the task wakes next.
    alarm: Option<Instant>,
}

impl Coordinator {
    /// Works on a group that exists.
    pub(crate) fn with<R>(&self, group_id: &str, work: impl FnOnce(&mut Group) -> R) -> Option<R> {
        self.work(&mut lock(&self.groups), group_id, work)
    }

    /// Works on a group, made if need be.
    ///
    /// # Errors
    /// `PolicyViolation` when there are too many.
    pub(crate) fn with_or_new<R>(
        &self,
        group_id: &str,
        work: impl FnOnce(&mut Group) -> R,
    ) -> Result<R, ResponseError> {
        let mut groups = lock(&self.groups);
        if !groups.by_id.contains_key(group_id) {
            if groups.by_id.len() >= MAX_GROUPS {
                return Err(ResponseError::PolicyViolation);
            }
            groups.by_id.insert(group_id.to_owned(), Group::default());
        }
        self.work(&mut groups, group_id, work).ok_or(ResponseError::UnknownServerError)
    }

    fn work<R>(&self, groups: &mut Groups, group_id: &str, work: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let group = groups.by_id.get_mut(group_id)?;
        let result = work(group);
        if let Some(deadline) = group.next_deadline()
            && groups.alarm.is_none_or(|alarm| deadline < alarm)
        {
            groups.alarm = Some(deadline);
            self.earlier_deadline.notify_one();
        }
        if group.is_void() {
            groups.by_id.remove(group_id);
        }
        Some(result)
    }

    /// Looks at, or changes, all groups.
    pub(crate) fn all<R>(&self, work: impl FnOnce(&mut BTreeMap<String, Group>) -> R) -> R {
        work(&mut lock(&self.groups).by_id)
    }

    /// Lets sessions, rebalances and given-out member ids end in time. Runs until cancelled.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let alarm = lock(&self.groups).alarm;
            let ring = async {
                match alarm {
                    Some(alarm) => sleep_until(alarm).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ring => self.tick(Instant::now()),
                () = self.earlier_deadline.notified() => {}
            }
        }
    }

    fn tick(&self, now: Instant) {
        let mut groups = lock(&self.groups);
        for group in groups.by_id.values_mut() {
            if group.next_deadline().is_some_and(|deadline| deadline <= now) {
                group.tick(now);
            }
        }
        groups.by_id.retain(|_, group| !group.is_void());
        groups.alarm = groups.by_id.values().filter_map(Group::next_deadline).min();
    }
}

/// A member id that no one else has: the client's name and 128 random bits.
pub(crate) fn fresh_member_id(client_id: &str) -> String {
    let random = || RandomState::new().hash_one(client_id);
    format!("{client_id}-{:016x}{:016x}", random(), random())
}
