//! The embedded broker as its clients see it: librdkafka, and hostile ones that speak bytes.

// What helpers of a test cannot do is a failed test.
#![allow(clippy::unwrap_used)]

mod administration;
mod faults;
mod folder;
mod groups;
mod hostile;
mod records;
mod speed;
mod support;
