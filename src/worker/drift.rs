//! Super tables that change while rows are written to them: noticed, read again, and made as wanted where that is allowed.
//!
//! A change is noticed where a write runs into it, and where rows are at fault for it: a text too long for its column, or a
//! column that is not there. Rows are made anew for the table as it is then, and nothing is lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::decide::Pauses;
use super::write::{BatchWriter, fatal};
use super::{Batch, Store, WorkerError, Writer};
use crate::block::{CellError, RowFault};
use crate::mapping::{MessageFault, RowSource};
use crate::tdengine::error::{Class, TdengineError};
use crate::tdengine::schema::SuperTable;

/// For faults that a change would explain, super tables are read again no more often than so.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A super table that was dropped is waited for so long: it may be on its way to be made anew.
const WAIT_FOR_TABLE: Duration = Duration::from_secs(60);

impl MessageFault {
    /// Whether a super table that has changed since it was read would explain it.
    pub(super) fn may_be_drift(&self) -> bool {
        match self {
            Self::Row(RowFault::Cell { reason, .. }) => matches!(reason, CellError::TooLong { .. }),
            Self::Row(fault) => matches!(fault, RowFault::UnknownField { .. } | RowFault::TooManyValues { .. }),
            Self::Stop(fault) => fault.may_be_drift(),
            _ => false,
        }
    }
}

impl<S: Store, R: RowSource> BatchWriter<S, R> {
    /// Whether rows of the batch are at fault because a super table was another when they were made.
    pub(super) async fn has_drifted(&mut self, batch: &Batch) -> Result<bool, WorkerError> {
        if !batch.faults.iter().any(|fault| fault.may_be_drift) {
            return Ok(false);
        }
        // Prepared before a batch, or another worker, found out.
        let known = self.shared.schemas.borrow().clone();
        if batch.blocks.iter().zip(known.iter()).any(|(block, known)| !Arc::ptr_eq(block.schema(), known)) {
            return Ok(true);
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_AGAIN_AFTER) {
            return Ok(false);
        }
        let mut has_drifted = false;
        for (number, block) in batch.blocks.iter().enumerate() {
            has_drifted |=
                self.read_schema(number, block.schema(), &mut Pauses::new(self.shared.jitter_seed())).await?;
        }
        self.looked = Some(Instant::now());
        Ok(has_drifted)
    }

    /// Reads the super table of the block number `block` again; whether it is another one than `used`. Tried until it is
    /// answered.
    pub(super) async fn read_schema(
        &mut self,
        block: usize,
        used: &Arc<SuperTable>,
        pauses: &mut Pauses,
    ) -> Result<bool, WorkerError> {
        let mut gone_since = None;
        loop {
            let error = match self.writer.read_schema(used).await {
                Ok(read) => return Ok(self.take_schema(block, used, read)),
                Err(error) => error,
            };
            self.doing.failed(&error);
            match error {
                TdengineError::NoSuperTable { .. } | TdengineError::NoDatabase { .. } => {
                    let since: &Instant = gone_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= WAIT_FOR_TABLE {
                        return Err(fatal(used, error));
                    }
                    tracing::error!(%error, "waiting for it, at most {WAIT_FOR_TABLE:?}; nothing is lost");
                }
                _ if error.class() == Class::Fatal => return Err(fatal(used, error)),
                _ => {
                    tracing::warn!(%error, "reading the super table failed; trying again");
                    self.writer.reconnect();
                }
            }
            self.outage.begun();
            tokio::time::sleep(pauses.next()).await;
        }
    }

    /// Tells all workers of a super table that was read; whether it is another one than `used`.
    fn take_schema(&self, block: usize, used: &SuperTable, read: SuperTable) -> bool {
        let is_other = *used != read;
        self.shared.schemas.send_if_modified(|known| {
            let changed = *known[block] != read;
            if changed {
                tracing::warn!(stable = %read.qualified_name(), "the super table has changed; its definition was read again");
                let mut schemas = known.to_vec();
                schemas[block] = Arc::new(read);
                *known = schemas.into();
            }
            changed
        });
        is_other
    }
}
