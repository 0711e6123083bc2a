//! The consumer groups behind one lock, and the task that lets their deadlines pass.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::group::Group;
use super::lock;

/// See the module. The lock is held for decisions only, never over I/O or waiting.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    groups: Mutex<BTreeMap<String, Group>>,
    deadlines_changed: Notify,
}

impl Coordinator {
    /// Works on a group that exists.
    pub(crate) fn with<R>(&self, group_id: &str, work: impl FnOnce(&mut Group) -> R) -> Option<R> {
        let result = lock(&self.groups).get_mut(group_id).map(work);
        self.deadlines_changed.notify_one();
        result
    }

    /// Works on a group, made if need be.
    pub(crate) fn with_or_new<R>(&self, group_id: &str, work: impl FnOnce(&mut Group) -> R) -> R {
        let mut groups = lock(&self.groups);
        let group = match groups.get_mut(group_id) {
            Some(group) => group,
            None => groups.entry(group_id.to_owned()).or_default(),
        };
        let result = work(group);
        drop(groups);
        self.deadlines_changed.notify_one();
        result
    }

    /// Looks at, or changes, all groups.
    pub(crate) fn all<R>(&self, work: impl FnOnce(&mut BTreeMap<String, Group>) -> R) -> R {
        work(&mut lock(&self.groups))
    }

    /// Lets sessions, rebalances and given-out member ids end in time. Runs until cancelled.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let next = self.all(|groups| groups.values().filter_map(Group::next_deadline).min());
            let due = async {
                match next {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.deadlines_changed.notified() => {}
            }
            let now = Instant::now();
            self.all(|groups| {
                groups
                    .values_mut()
                    .filter(|group| group.next_deadline().is_some_and(|at| at <= now))
                    .for_each(|g| g.tick(now));
                groups.retain(|_, group| !group.is_void());
            });
        }
    }
}

/// A member id that no one else has: the client's name and 128 random bits.
pub(crate) fn fresh_member_id(client_id: &str) -> String {
    let random = || RandomState::new().hash_one(client_id);
    format!("{client_id}-{:016x}{:016x}", random(), random())
}
