//! From a message to rows: what a worker does with each message before anything is encoded.

pub mod config;
mod records;

pub use records::{DemoRows, RecordRows};

use crate::block::{Block, RowFault};
use crate::codec::CodecError;
use crate::message::Message;

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
    /// The pipeline has no super table at all.
    #[error("no super table was given to write to")]
    NoTable,
    /// A row does not fit its table.
    #[error("{0}")]
    Row(#[from] RowFault),
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
}

/// Makes one row of each message, all in the first super table. What most types of a program's own come to.
pub trait OneRow: Send + 'static {
    /// Appends the row of `message` to `block`; `origin` is the message's place in its batch.
    ///
    /// # Errors
    /// The message is at fault; the block is then as it was before.
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault>;
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
}
