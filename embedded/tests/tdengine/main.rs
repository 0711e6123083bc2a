//! What the recorded cases do not cover of the TDengine-compatible endpoint: misbehaving clients, injected faults,
//! compressed requests, data that outlives the endpoint, and clients that others wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../conformance/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the conformance runner, which needs all of it")]
mod frame;

mod clients;
mod faults;
mod hostile;
mod rest;
mod support;
mod writing;
