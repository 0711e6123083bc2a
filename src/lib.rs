//! The fastest and safest way from Kafka into TDengine.
//!
//! ```text
//!  simulate ─► codec ─► mq (produce) ─► Kafka ─► mq (consume) ─► queue ─► worker ───────────────────────────► ack ─► commit
//!                                                                         codec ─► mapping ─► rows ─► encode ─► tdengine
//!                                                                                     └── faults ──► dead_letter ──┘
//! ```
//!
//! A message is polled, put in its worker's queue, taken out in a batch, decoded, mapped to rows of tables, encoded
//! as one insert, sent, answered, and only then is its offset allowed to be committed.

// What is derived speaks of this crate by its name, in its own tests too.
extern crate self as kafka_taos;

pub mod message;
pub mod mq;
pub mod queue;
pub mod codec;
pub mod format;
pub mod record;
pub mod simulate;
pub mod mapping;
pub mod convert;
pub mod row;
pub mod block;
pub mod encode;
pub mod tdengine;
pub mod worker;
pub mod ack;
pub mod dead_letter;
pub mod pipeline;
pub mod preview;
pub mod check;
pub mod infer;
pub mod verify;
pub mod stats;
pub mod config;
