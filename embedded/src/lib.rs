//! A Kafka broker and a TDengine-compatible endpoint in one process, for development and tests.
//!
//! Both speak the real wire protocols over TCP, so that unmodified clients work against them, and both
//! bind to loopback unless told otherwise. Neither is meant for production.

mod fault_when;
pub mod kafka;
pub mod tdengine;
