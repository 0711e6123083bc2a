//! The open results of a connection and the ways to fetch them.

use std::collections::HashMap;

use serde::Serialize;

use super::reply::{Context, Reply, adapter_error};
use super::request::{HEAD_BYTES, action};
use crate::tdengine::engine::{Block, DataType, ResultSet, TdError};
use crate::tdengine::raw_block;

/// Results by their ids, which count from 1.
#[derive(Debug, Default)]
pub(super) struct Results {
    last_id: u64,
    open: HashMap<u64, OpenResult>,
}

#[derive(Debug)]
struct OpenResult {
    rows: ResultSet,
    /// The block that `fetch` announced, for `fetch_block`.
    announced: Option<Block>,
}

/// Description of a result in the reply to a query.
#[derive(Debug, Default, Serialize)]
pub(super) struct QueryFields {
    id: u64,
    is_update: bool,
    affected_rows: u64,
    #[serde(flatten)]
    columns: ColumnFields,
}

/// The columns of a result; all null for an update.
#[derive(Debug, Default, Serialize)]
pub(super) struct ColumnFields {
    fields_count: usize,
    fields_names: Option<Vec<String>>,
    fields_types: Option<Vec<u8>>,
    fields_lengths: Option<Vec<u32>>,
    precision: u8,
    fields_precisions: Option<Vec<u8>>,
    fields_scales: Option<Vec<u8>>,
}

impl QueryFields {
    pub(super) fn update(affected_rows: u64) -> Self {
        Self { is_update: true, affected_rows, ..Self::default() }
    }

    pub(super) fn of(result: &ResultSet) -> Self {
        Self { columns: ColumnFields::new(result, DataType::length), ..Self::default() }
    }

    /// The same with the id under which the result can be fetched.
    pub(super) fn with_id(self, id: u64) -> Self {
        Self { id, ..self }
    }
}

impl ColumnFields {
    /// `length` is the declared length for a query, the bytes of a value for a prepared one.
    pub(super) fn new(result: &ResultSet, length: impl Fn(DataType) -> u32) -> Self {
        let types = || result.columns().iter().map(|column| column.data_type);
        let decimal = |data_type| match data_type {
            DataType::Decimal { precision, scale } => (precision, scale),
            _ => (0, 0),
        };
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        Self {
            fields_count: result.columns().len(),
            fields_names: Some(result.columns().iter().map(|column| name(column.name.as_ref())).collect()),
            fields_types: Some(types().map(DataType::code).collect()),
            fields_lengths: Some(types().map(length).collect()),
            precision: result.precision().code(),
            fields_precisions: Some(types().map(|data_type| decimal(data_type).0).collect()),
            fields_scales: Some(types().map(|data_type| decimal(data_type).1).collect()),
        }
    }
}

#[derive(Serialize)]
struct FetchFields {
    id: u64,
    completed: bool,
    lengths: Option<Vec<u32>>,
    rows: usize,
}

#[derive(Serialize)]
struct CountFields {
    num_fields: usize,
}

impl Results {
    /// Keeps a result open and returns its id.
    pub(super) fn add(&mut self, rows: ResultSet) -> u64 {
        self.last_id += 1;
        self.open.insert(self.last_id, OpenResult { rows, announced: None });
        self.last_id
    }

    pub(super) fn free(&mut self, id: u64) {
        self.open.remove(&id);
    }

    fn get(&mut self, id: u64) -> Result<&mut OpenResult, TdError> {
        self.open.get_mut(&id).ok_or_else(|| adapter_error("result is nil"))
    }

    /// The next block of a result; `None` at its end. A result at its end, or that failed, is gone.
    fn next_block(&mut self, id: u64) -> Result<Option<(&mut OpenResult, Block)>, TdError> {
        let block = self.get(id)?.rows.next_block(raw_block::MAX_ROWS);
        match block {
            Ok(block) if !block.is_empty() => Ok(Some((self.get(id)?, block))),
            Ok(_) => {
                self.free(id);
                Ok(None)
            }
            Err(error) => {
                self.free(id);
                Err(error)
            }
        }
    }

    /// `num_fields`.
    pub(super) fn count_fields(&mut self, context: &Context<'_>, id: u64) -> Result<Reply, TdError> {
        let num_fields = self.get(id)?.rows.columns().len();
        Ok(context.success(CountFields { num_fields }))
    }

    /// `fetch`, the older way: announces a block for `fetch_block`.
    pub(super) fn fetch_json(&mut self, context: &Context<'_>, id: u64) -> Result<Reply, TdError> {
        let Some((result, block)) = self.next_block(id)? else {
            return Ok(context.success(FetchFields { id, completed: true, lengths: None, rows: 0 }));
        };
        let lengths = result.rows.columns().iter().map(|column| column.data_type.bytes()).collect();
        let rows = block.len();
        result.announced = Some(block);
        Ok(context.success(FetchFields { id, completed: false, lengths: Some(lengths), rows }))
    }

    /// `fetch_block`: u64 time, u64 result id, the announced block.
    pub(super) fn fetch_block(&mut self, context: &Context<'_>, id: u64) -> Result<Reply, TdError> {
        let result = self.get(id)?;
        let block = result.announced.as_ref().ok_or_else(|| adapter_error("block is nil"))?;
        let mut out = [context.timing(), id].iter().flat_map(|number| number.to_le_bytes()).collect();
        raw_block::encode(&mut out, result.rows.columns(), block);
        Ok(Reply::Binary(out))
    }

    /// Binary action 7: the next block, or that there is none.
    pub(super) fn fetch_raw(&mut self, context: &Context<'_>, id: u64, frame: &[u8]) -> Reply {
        let version = frame.get(HEAD_BYTES..).and_then(<[u8]>::first_chunk).map(|bytes| u16::from_le_bytes(*bytes));
        let block = match version {
            None => Err(adapter_error("message length is too short")),
            Some(1) => self.next_block(id),
            Some(_) => Err(adapter_error("unknown fetch raw block version")),
        };
        let (error, finished) = match &block {
            Ok(block) => (None, block.is_none()),
            Err(error) => (Some(error), true),
        };
        let (code, message) = error.map_or((0, ""), |error| (error.code, error.message.as_str()));
        let mut out = Vec::with_capacity(64 + message.len());
        for number in [u64::MAX, action::FETCH] {
            out.extend(number.to_le_bytes());
        }
        out.extend(1u16.to_le_bytes());
        for number in [context.timing(), context.req_id] {
            out.extend(number.to_le_bytes());
        }
        for number in [u32::from(code), message.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        out.extend(message.bytes());
        out.extend(id.to_le_bytes());
        out.push(u8::from(finished));
        if let Ok(Some((result, block))) = block {
            let length_at = out.len();
            out.extend([0; 4]);
            raw_block::encode(&mut out, result.rows.columns(), &block);
            let length = (out.len() - length_at - 4) as u32;
            out[length_at..][..4].copy_from_slice(&length.to_le_bytes());
        }
        Reply::Binary(out)
    }
}
