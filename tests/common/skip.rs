//! Tests that cannot be run here say so, and fail where all must be run.

use std::io::Write as _;

/// Says on standard error, past the test runner's capture, that a test is skipped.
///
/// # Panics
/// With `CI=true`: there, what a test needs must be installed.
#[track_caller]
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{reason}; with CI=true nothing is skipped");
    // Macros such as eprintln are captured for tests that pass.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Whether `program` can be run; [`skip`]s otherwise.
#[track_caller]
pub(crate) fn has(program: &str, argument: &str) -> bool {
    let ran = std::process::Command::new(program).arg(argument).output();
    let there = ran.is_ok_and(|output| output.status.success());
    if !there {
        skip(&format!("{program} is needed and not there"));
    }
    there
}
