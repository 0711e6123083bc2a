//! From a message to rows: what a worker does with each message before anything is encoded.

mod compile;
pub mod config;
mod expression;
mod name;
mod policy;
mod records;
mod rows;
mod source;
#[cfg(test)]
mod tests;
mod time;
mod trial;

use std::sync::Arc;

pub use compile::{MappingError, MappingErrors};
pub use policy::{Policed, Policies, Policy};
pub use records::{DemoRows, RecordRows};
pub use rows::MappedRows;
pub use time::TimeFormat;
pub use trial::{TestResult, finest_precision, run_tests};

use crate::block::{Block, RowFault};
use crate::codec::CodecError;
use crate::format::FormatError;
use crate::message::Message;

/// A mapping by configuration, compiled: which messages become rows of which tables, and how. Cheap to clone.
#[derive(Clone)]
pub struct Mapping(Arc<compile::Compiled>);

/// A compiled `when`, and where its variables stand.
#[derive(Debug)]
struct Condition {
    expression: expression::Expression,
    spots: Vec<Option<source::Spot>>,
}

/// What is wrong with a field of a message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldFault {
    /// The column, tag, or part of the table's name that it is for.
    pub field: String,
    /// What is wrong.
    pub reason: FieldReason,
}

/// Why a field of a message cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldReason {
    /// It is not there, or null.
    #[error("the message has no value for it")]
    Missing,
    /// It is of a kind that does not serve here.
    #[error("is {0}, which does not serve here")]
    Wrong(&'static str),
    /// An expression fails.
    #[error("{0}")]
    Expression(String),
}

/// Why a message, or a row of it, cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageFault {
    /// The message has no payload.
    #[error("the message is a tombstone: it has no payload")]
    Tombstone,
    /// The payload is not what the codec reads.
    #[error("cannot be decoded: {0}")]
    Codec(#[from] CodecError),
    /// The payload is not of the format that the mapping names.
    #[error("cannot be decoded: {0}")]
    Format(#[from] FormatError),
    /// A field is missing, or not what it should be.
    #[error("{0}")]
    Field(#[from] FieldFault),
    /// The message, or row, has no timestamp.
    #[error("has no timestamp: {0}")]
    NoTimestamp(FieldFault),
    /// A `when` cannot be evaluated.
    #[error("when: {0}")]
    Condition(String),
    /// No table of the mapping takes it.
    #[error("no [[table]] takes it: no `when` holds, or its `rows` are not there; see [unmatched]")]
    Unmatched,
    /// The pipeline has no super table at all.
    #[error("no super table was given to write to")]
    NoTable,
    /// A row does not fit its table.
    #[error("{0}")]
    Row(#[from] RowFault),
    /// The message is larger than the user lets in.
    #[error("the message has {bytes} bytes, more than max_message_bytes = {most}")]
    TooLarge {
        /// Its key and payload.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A fault that the user wants the consumer to stop at.
    #[error("{0}")]
    Stop(Box<MessageFault>),
}

impl MessageFault {
    /// Whether it is not the message's: what is needed to read it cannot be had now, and it is to be read again in a while.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Format(error) if error.is_transient)
    }
}

/// What became of a message that is not at fault as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its rows, none or many, are in the blocks; those at fault are reported.
    Rows,
    /// A rule of the user's drops it.
    Filtered,
}

/// One row of a message that cannot be written; the others can.
#[derive(Debug)]
pub struct FaultyRow {
    /// Its place among the rows of the message.
    pub element: u32,
    /// Why.
    pub fault: MessageFault,
}

/// Makes rows of messages. Each worker has its own, so that it may keep what it has learned.
pub trait RowSource: Send + 'static {
    /// Appends the rows of `message` to `blocks`, which are those of the pipeline's super tables, in their order;
    /// `origin` is the message's place in its batch. Rows that are at fault among good ones are added to `faulty`.
    ///
    /// # Errors
    /// The message is at fault as a whole; the blocks are then as they were before.
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault>;

    /// What the payload of `message` says, for people; `None` where it cannot be decoded.
    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        let _ = message;
        None
    }
}

impl RowSource for Box<dyn RowSource> {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        (**self).append(message, origin, blocks, faulty)
    }

    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        (**self).decoded(message)
    }
}

/// Makes one row of each message, all in the first super table. What most types of a program's own come to.
pub trait OneRow: Send + 'static {
    /// Appends the row of `message` to `block`; `origin` is the message's place in its batch.
    ///
    /// # Errors
    /// The message is at fault; the block is then as it was before.
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault>;

    /// As [`RowSource::decoded`].
    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        let _ = message;
        None
    }
}

impl<T: OneRow> RowSource for T {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        _: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        let [block, ..] = blocks else { return Err(MessageFault::NoTable) };
        self.append_one(message, origin, block)?;
        Ok(Outcome::Rows)
    }

    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        OneRow::decoded(self, message)
    }
}
