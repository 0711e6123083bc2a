//! A result over WebSocket, read block by block.

use std::sync::Arc;

use serde_json::json;

use super::link::Link;
use crate::row::Precision;
use crate::row::Value;
use crate::tdengine::error::TdengineError;
use crate::tdengine::frame::Reply;
use crate::tdengine::raw_block::RawBlock;
use crate::tdengine::rows::{ColumnMeta, Rows};
use crate::tdengine::schema::DataType;

/// The result of a statement. Only one block is held at a time, so that results of any size can be read. Dropped
/// before its end, it tells the server to forget the rest.
#[derive(Debug)]
pub struct Query {
    link: Arc<Link>,
    /// The result's number while the server has more of it.
    id: Option<u64>,
    columns: Vec<ColumnMeta>,
    precision: Precision,
    affected_rows: u64,
}

impl Query {
    pub(super) fn new(link: Arc<Link>, reply: Reply) -> Result<Self, TdengineError> {
        let id = reply.id.filter(|_| !reply.is_update);
        let precision = match reply.precision {
            1 => Precision::Micro,
            2 => Precision::Nano,
            _ => Precision::Milli,
        };
        let at = |list: &Option<Vec<i64>>, i: usize| list.as_ref().and_then(|list| list.get(i)).copied().unwrap_or(0);
        let names = reply.fields_names.iter().flatten();
        let types = reply.fields_types.iter().flatten();
        let column = |(i, (name, kind)): (usize, (&String, &u8))| ColumnMeta {
            name: name.clone(),
            data_type: DataType::from_code(
                *kind,
                at(&reply.fields_lengths, i),
                at(&reply.fields_precisions, i),
                at(&reply.fields_scales, i),
            ),
        };
        let columns = names.zip(types).enumerate().map(column).collect();
        Ok(Self { link, id, columns, precision, affected_rows: reply.affected_rows })
    }

    /// The columns; none for what is not a query.
    pub fn columns(&self) -> &[ColumnMeta] {
        &self.columns
    }

    /// The precision of the result's timestamps.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows that an insert or delete touched. It may be below the number of rows sent and proves nothing.
    pub fn affected_rows(&self) -> u64 {
        self.affected_rows
    }

    /// The next block (up to 4096 rows), or `None` at the end. Its cells are read with [`RawBlock::value`] and
    /// [`Self::precision`].
    ///
    /// # Errors
    /// The server's refusal, or that of the way there; the result is then over.
    pub async fn next_block(&mut self) -> Result<Option<RawBlock>, TdengineError> {
        let Some(id) = self.id else { return Ok(None) };
        let Some(block) = self.link.fetch(id).await.inspect_err(|_| self.id = None)?.block else {
            self.id = None;
            return Ok(None);
        };
        let protocol = |reason: String| TdengineError::Protocol { action: "a fetch".to_owned(), reason };
        let block = RawBlock::parse(block).map_err(|error| protocol(error.to_string()))?;
        if block.columns() != self.columns.len() {
            return Err(protocol(format!("{} columns were announced, {} came", self.columns.len(), block.columns())));
        }
        Ok(Some(block))
    }

    /// The whole result, in memory.
    ///
    /// # Errors
    /// As [`Self::next_block`].
    pub async fn rows(mut self) -> Result<Rows, TdengineError> {
        let mut rows = Vec::new();
        while let Some(block) = self.next_block().await? {
            let cell = |row, column| owned(block.value(row, column, self.precision));
            rows.extend((0..block.rows()).map(|row| (0..block.columns()).map(|column| cell(row, column)).collect()));
        }
        Ok(Rows {
            columns: std::mem::take(&mut self.columns),
            rows,
            precision: self.precision,
            affected_rows: self.affected_rows,
        })
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.tell("free_result", json!({ "id": id }));
        }
    }
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Text(text) => Value::Text(text.into_owned().into()),
        Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
        Value::Unset => Value::Unset,
        Value::Null => Value::Null,
        Value::Bool(truth) => Value::Bool(truth),
        Value::Int(number) => Value::Int(number),
        Value::UInt(number) => Value::UInt(number),
        Value::Float(number) => Value::Float(number),
        Value::Timestamp(moment) => Value::Timestamp(moment),
    }
}
