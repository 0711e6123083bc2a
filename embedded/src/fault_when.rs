//! What the fault switches of both servers have in common: when a fault strikes, and how durations are written.

use std::time::Duration;

/// Which of the operations a fault strikes, counted from when it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultWhen {
    /// Each one.
    Always,
    /// The Nth only; the first is 1.
    Nth(u64),
    /// The Nth, the 2Nth and so on.
    Every(u64),
    /// The first N.
    First(u64),
}

impl FaultWhen {
    /// Reads `nth=N`, `every=N` or `first=N`, N from 1.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, number) = text.split_once('=')?;
        let number = number.parse().ok().filter(|number| *number > 0)?;
        Some(match name {
            "nth" => Self::Nth(number),
            "every" => Self::Every(number),
            "first" => Self::First(number),
            _ => return None,
        })
    }
}

/// Reads `250ms` or `2s`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs)
}
