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

pub mod message;
pub mod mq;
pub mod queue;
pub mod codec;
pub mod row;
pub mod block;
pub mod encode;
pub mod tdengine;
pub mod ack;
