//! From a message to rows: what a worker does with each message before anything is encoded.

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
    /// A row does not fit its table.
    #[error("{0}")]
    Row(#[from] RowFault),
}

/// Makes rows of messages. Each worker has its own, so that it may keep what it has learned.
pub trait RowSource: Send + 'static {
    /// Appends the rows of `message` to `block`; `origin` is the message's place in its batch.
    ///
    /// # Errors
    /// The message is at fault; the block is then as it was before.
    fn append(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault>;
}
