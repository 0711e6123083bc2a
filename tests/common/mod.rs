//! What tests of whole processes share: our binary, a pair of embedded servers, a real Apache Kafka.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

pub(crate) mod kafka;
pub(crate) mod mappings;
pub(crate) mod pair;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod scenario;
pub(crate) mod skip;

use std::time::{Duration, Instant};

/// Longer than anything here takes; who waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `ready` yields something.
///
/// # Panics
/// It does not, for [`PATIENCE`].
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until `attempt` succeeds.
///
/// # Panics
/// It does not, for [`PATIENCE`]; with the last error.
#[track_caller]
pub(crate) fn until_ok<T, E: std::fmt::Display>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(error) if began.elapsed() > PATIENCE => panic!("waited {PATIENCE:?} in vain until {what}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// A port that nothing listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}
