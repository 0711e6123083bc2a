//! Results of queries.

use super::select::Rows;
use super::{Block, Column, Precision, TdError};

/// The rows of a query, handed out block by block. Scans in key order are read from the store as they are asked for,
/// so that a large result is never in memory as a whole; sorted and grouped results are.
#[derive(Debug)]
pub struct ResultSet {
    columns: Vec<Column>,
    precision: Precision,
    rows: Rows,
}

impl ResultSet {
    pub(super) fn new(columns: Vec<Column>, precision: Precision, rows: Rows) -> Self {
        Self { columns, precision, rows }
    }

    /// The result's columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Unit of the result's timestamps.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The next rows, at most `max_rows`; an empty block ends the result. May read the store: call it from `spawn_blocking`.
    pub fn next_block(&mut self, max_rows: usize) -> Result<Block, TdError> {
        let mut block = Block { width: self.columns.len(), cells: Vec::new() };
        for _ in 0..max_rows {
            match self.rows.next()? {
                Some(row) => block.cells.extend(row),
                None => break,
            }
        }
        Ok(block)
    }
}
