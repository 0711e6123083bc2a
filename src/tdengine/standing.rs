//! Rows that stand in the database already, with other values: what to write an old row over them would cost.

use std::collections::HashMap;

use super::{Code, Rows, Sql, TdengineError};
use crate::block::{Block, Column, NULL, UNSET};
use crate::encode::escape::quote_identifier;
use crate::row::{Precision, Value};
use crate::tdengine::schema::DataType;

/// Rows that are asked for at once.
const AT_ONCE: usize = 200;

/// The rows of `block` whose key stands in the database with another value in a cell that the row has a value for. One that
/// the block itself has for that key, in a row before, is no other value.
///
/// # Errors
/// The database could not be asked.
pub async fn overwritten(sql: &impl Sql, block: &Block) -> Result<Vec<u32>, TdengineError> {
    let mut of_table: Vec<Vec<u32>> = vec![Vec::new(); block.tables()];
    (0..block.rows() as u32).for_each(|row| of_table[block.table_of(row)].push(row));
    let mut overwritten = Vec::new();
    for (table, rows) in of_table.iter().enumerate() {
        for rows in rows.chunks(AT_ONCE) {
            let stored = match sql.sql(&question(block, table, rows)).await {
                Ok(stored) => stored,
                Err(TdengineError::Server { code: Code::TABLE_NOT_EXIST, .. }) => break,
                Err(error) => return Err(error),
            };
            compare(block, rows, &stored, &mut overwritten);
        }
    }
    Ok(overwritten)
}

fn question(block: &Block, table: usize, rows: &[u32]) -> String {
    let schema = block.schema();
    let columns: Vec<_> = schema.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let mut times: Vec<_> = rows.iter().map(|&row| whole(block.columns()[0].bytes(row as usize))).collect();
    times.dedup();
    let times: Vec<_> = times.iter().map(i128::to_string).collect();
    format!(
        "select {} from {}.{} where {} in ({})",
        columns.join(", "),
        quote_identifier(&schema.database),
        quote_identifier(block.table_name(table)),
        columns[0],
        times.join(", ")
    )
}

fn compare(block: &Block, rows: &[u32], stored: &Rows, overwritten: &mut Vec<u32>) {
    let schema = block.schema();
    let keys = if schema.composite_key { 2 } else { 1 };
    let (key, rest) = block.columns().split_at(keys.min(block.columns().len()));
    let mut before: HashMap<usize, Vec<u32>> = HashMap::new();
    for &row in rows {
        let has_key = |cells: &Vec<Value<'_>>| {
            key.iter().zip(cells).all(|(column, cell)| same(column, row, cell, schema.precision))
        };
        let Some(at) = stored.rows.iter().position(has_key) else { continue };
        let cells = &stored.rows[at][key.len()..];
        let fits = |row: u32| {
            let has_value = |column: &Column| column.flags[row as usize] != UNSET;
            rest.iter().zip(cells).all(|(column, cell)| !has_value(column) || same(column, row, cell, schema.precision))
        };
        let earlier = before.entry(at).or_default();
        if !fits(row) && !earlier.iter().any(|&row| fits(row)) {
            overwritten.push(row);
        }
        earlier.push(row);
    }
}

/// Whether the cell of `row` is what is stored. What is in doubt is not.
fn same(column: &Column, row: u32, stored: &Value<'_>, precision: Precision) -> bool {
    let bytes = column.bytes(row as usize);
    if column.flags[row as usize] == NULL {
        return matches!(stored, Value::Null);
    }
    match stored {
        Value::Bool(truth) => bytes == [u8::from(*truth)],
        Value::Int(number) => i128::from(*number) == whole(bytes),
        Value::UInt(number) => bytes.len() == 8 && i128::from(*number) == whole(bytes) & i128::from(u64::MAX),
        Value::Float(number) if column.data_type == DataType::Float => bytes == (*number as f32).to_le_bytes(),
        Value::Float(number) => bytes == number.to_le_bytes(),
        Value::Timestamp(moment) => moment.in_units(precision).is_ok_and(|units| i128::from(units) == whole(bytes)),
        Value::Text(text) => bytes == text.as_bytes(),
        Value::Bytes(stored) => bytes == &**stored,
        Value::Null | Value::Unset => false,
    }
}

/// A whole number, little-endian, with its sign.
fn whole(bytes: &[u8]) -> i128 {
    let is_negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if is_negative { 0xff } else { 0 }; 16];
    let length = bytes.len().min(16);
    wide[..length].copy_from_slice(&bytes[..length]);
    i128::from_le_bytes(wide)
}
