//! Whether this process is still a member of its group, by the group's own word.
//!
//! The group gives a member's partitions to others when it has heard nothing of it for a session. A process that was
//! stopped for that long (a suspended machine, a debugger, a swap storm) does not know; what it still sends would land
//! on top of its successor's later values, and TDengine has no fence against that. So a write is sent only while the
//! group's last word is younger than a session.
//!
//! The word is a commit that went through: of a former member the group takes none, and one it takes begins the
//! member's session anew. Time counts from before the commit was sent, by both clocks: the monotonic one stands still
//! while a machine sleeps, the other may be set. Where either says that a session is over, the group is asked again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// When the group was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    wall_ms: i64,
    /// How often its word was doubted before.
    doubts: u64,
}

/// The group's last word to this member.
#[derive(Debug)]
pub(crate) struct Session {
    timeout: Duration,
    now_ms: fn() -> i64,
    confirmed: watch::Sender<Option<Moment>>,
    doubts: AtomicU64,
}

impl Session {
    /// Not confirmed yet; a word lasts for `timeout`.
    pub(crate) fn new(timeout: Duration, now_ms: fn() -> i64) -> Self {
        Self { timeout, now_ms, confirmed: watch::Sender::new(None), doubts: AtomicU64::new(0) }
    }

    /// Now: to be taken before the group is asked.
    pub(crate) fn moment(&self) -> Moment {
        Moment { at: Instant::now(), wall_ms: (self.now_ms)(), doubts: self.doubts.load(Ordering::SeqCst) }
    }

    /// The group took a commit that was sent at `asked`.
    pub(crate) fn confirm(&self, asked: Moment) {
        self.confirmed.send_modify(|confirmed| match confirmed {
            _ if asked.doubts != self.doubts.load(Ordering::SeqCst) => {}
            Some(before) if before.at > asked.at => {}
            _ => *confirmed = Some(asked),
        });
    }

    /// What the group was asked before counts no more.
    pub(crate) fn doubt(&self) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        self.confirmed.send_replace(None);
    }

    /// Those that wait are to look again at what is theirs.
    pub(crate) fn wake(&self) {
        self.confirmed.send_modify(|_| ());
    }

    /// How old the group's last word is, by the clock that says more.
    pub(crate) fn age(&self) -> Option<Duration> {
        let Moment { at, wall_ms, .. } = (*self.confirmed.borrow())?;
        let by_wall = u64::try_from((self.now_ms)().saturating_sub(wall_ms)).unwrap_or(0);
        Some(at.elapsed().max(Duration::from_millis(by_wall)))
    }

    /// Whether a write may be sent.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.age().is_some_and(|age| age < self.timeout)
    }

    /// Whether the group should be asked, so that there is never a wait for its word.
    pub(crate) fn is_due(&self) -> bool {
        self.age().is_none_or(|age| age >= self.timeout / 3)
    }

    /// Waits until a write may be sent: true; or until `ours` does not hold any more: false.
    pub(crate) async fn confirmed(&self, ours: impl Fn() -> bool) -> bool {
        let mut changes = self.confirmed.subscribe();
        loop {
            changes.borrow_and_update();
            if !ours() {
                return false;
            }
            if self.is_confirmed() {
                return true;
            }
            // The sender is `self`.
            let _ = changes.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    static WALL: AtomicI64 = AtomicI64::new(1_000_000);

    #[tokio::test(start_paused = true)]
    async fn a_word_of_the_group_lasts_for_a_session_by_either_clock() {
        let session = Session::new(Duration::from_secs(9), || WALL.load(Ordering::Relaxed));
        let both = || (session.is_confirmed(), session.is_due());
        assert_eq!(both(), (false, true), "nothing was said yet");
        session.confirm(session.moment());
        assert_eq!(both(), (true, false));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(both(), (true, true));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(both(), (false, true));
        let earlier = session.moment();
        tokio::time::advance(Duration::from_secs(1)).await;
        session.confirm(session.moment());
        session.confirm(earlier);
        tokio::time::advance(Duration::from_secs(8)).await;
        assert!(session.is_confirmed(), "an older word takes nothing back");
        session.confirm(session.moment());
        WALL.fetch_sub(3_600_000, Ordering::Relaxed);
        assert!(session.is_confirmed(), "a clock set back says nothing");
        session.confirm(session.moment());
        WALL.fetch_add(9_000, Ordering::Relaxed);
        assert!(!session.is_confirmed(), "a machine that slept");
        session.confirm(session.moment());
        let asked = session.moment();
        session.doubt();
        assert!(!session.is_confirmed());
        session.confirm(asked);
        assert!(!session.is_confirmed(), "an answer to an older question");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_goes_on_at_the_groups_word_or_when_nothing_is_his_any_more() {
        let session = Session::new(Duration::from_secs(9), || 0);
        let ours = std::cell::Cell::new(true);
        let (waited, ()) = tokio::join!(session.confirmed(|| ours.get()), async {
            tokio::task::yield_now().await;
            session.confirm(session.moment());
        });
        assert!(waited);
        session.doubt();
        let (waited, ()) = tokio::join!(session.confirmed(|| ours.get()), async {
            tokio::task::yield_now().await;
            ours.set(false);
            session.wake();
        });
        assert!(!waited);
    }
}
