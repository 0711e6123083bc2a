//! What stands between a configuration and its rows: settings, servers, schema, time, durability, looked at before
//! anything is consumed.
//!
//! What is looked at is read elsewhere; here it is judged, without a clock and without I/O. Every finding has a code that
//! does not change, a sentence, and what to do.

mod database;
mod sample;
mod topic;

use std::fmt;

use serde::Serialize;

pub use database::{DatabaseFacts, judge_database, judge_table};
pub use sample::{SampleFacts, judge_sample};
pub use topic::{GroupFacts, TopicFacts, judge_group, judge_topic};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It does not work so, or loses rows.
    Error,
    /// It works, and may not be what is wanted.
    Warning,
    /// Worth knowing.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is; the same in every release.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub message: String,
    /// What to do; empty where there is nothing to be done.
    pub fix: String,
}

/// Takes findings in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// It does not work so.
    pub fn error(&mut self, code: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.put(Severity::Error, code, message, fix);
    }

    /// It may not be what is wanted.
    pub fn warning(&mut self, code: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.put(Severity::Warning, code, message, fix);
    }

    /// It is worth knowing.
    pub fn info(&mut self, code: &'static str, message: impl Into<String>) {
        self.put(Severity::Info, code, message, "");
    }

    fn put(&mut self, severity: Severity, code: &'static str, message: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { code, severity, message: message.into(), fix: fix.into() });
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    #[cfg(test)]
    fn codes(&self) -> Vec<(&'static str, Severity)> {
        self.0.iter().map(|finding| (finding.code, finding.severity)).collect()
    }
}
