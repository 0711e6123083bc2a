//! When dead letters are a flood: no message is bad then, but the mapping, or the super table.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

/// No more than `most` dead letters within `window`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many.
    pub most: u64,
    /// Within how long.
    pub window: Duration,
}

/// Far beyond what single messages at fault come to, and reached within a second when all of them fail.
impl Default for Limit {
    fn default() -> Self {
        Self { most: 100_000, window: Duration::from_secs(60) }
    }
}

/// `1000/1m`.
impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (most, window) = text.split_once('/')?;
            let window = Duration::try_from(window.trim().parse::<jiff::SignedDuration>().ok()?).ok()?;
            Some(Self { most: most.trim().parse().ok()?, window }).filter(|_| !window.is_zero())
        };
        read().ok_or_else(|| format!("{text:?} is not a number of messages and a time, as in 1000/1m"))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.window) {
            Ok(window) => write!(f, "{}/{window:#}", self.most),
            Err(_) => write!(f, "{}/{:?}", self.most, self.window),
        }
    }
}

/// What was kept lately.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) limit: Limit,
    kept: VecDeque<(Instant, u64)>,
}

impl Window {
    /// Parts of a window that are counted together, so that what is remembered is bounded.
    const PARTS: u32 = 60;

    pub(super) fn new(limit: Limit) -> Self {
        Self { limit, kept: VecDeque::new() }
    }

    /// Whether `more` letters at `now` are within the limit.
    pub(super) fn admits(&mut self, more: u64, now: Instant) -> bool {
        while self.kept.front().is_some_and(|(at, _)| now.duration_since(*at) >= self.limit.window) {
            self.kept.pop_front();
        }
        self.kept.iter().map(|(_, count)| count).sum::<u64>().saturating_add(more) <= self.limit.most
    }

    /// Counts letters that were kept.
    pub(super) fn count(&mut self, more: u64, now: Instant) {
        match self.kept.back_mut() {
            Some((at, count)) if now.duration_since(*at) < self.limit.window / Self::PARTS => *count += more,
            _ => self.kept.push_back((now, more)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_it_is_shown() {
        for text in ["1000/1m", "5/2h", "1/500ms"] {
            assert_eq!(text.parse::<Limit>().unwrap().to_string(), text);
        }
        assert_eq!("7 / 60s".parse(), Ok(Limit { most: 7, window: Duration::from_secs(60) }));
        for text in ["1000", "x/1m", "1/0s", "1/-1s", "1/5", ""] {
            assert!(text.parse::<Limit>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = Window::new(Limit { most: 10, window: 60 * second });
        assert!(window.admits(10, began) && !window.admits(11, began));
        window.count(6, began);
        window.count(2, began + second / 2);
        assert!(window.admits(2, began + 59 * second) && !window.admits(3, began + 59 * second));
        window.count(2, began + 59 * second);
        assert!(window.admits(8, began + 61 * second) && !window.admits(9, began + 61 * second));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (began, step) = (Instant::now(), Duration::from_millis(1));
        let mut window = Window::new(Limit { most: u64::MAX, window: Duration::from_secs(1) });
        for n in 0..10_000 {
            window.admits(1, began + n * step);
            window.count(1, began + n * step);
        }
        assert!(window.kept.len() <= 62, "{}", window.kept.len());
    }
}
