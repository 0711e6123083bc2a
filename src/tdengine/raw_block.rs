//! Rows of a result as the server sends them: a raw block, held by columns.
//!
//! ```text
//! i32 version = 1 | i32 length | i32 rows | i32 columns | u32 flags | u64 group
//! columns x (u8 type, i32 bytes) | columns x i32 data length
//! a column of fixed width:    bitmap of (rows + 7) / 8 bytes, most significant bit first, 1 = NULL | rows x width
//! a column of variable width: rows x i32 offset, -1 = NULL | data: u16 (BLOB: u32) length and bytes, a value each
//! ```
//! All numbers are little-endian; NCHAR is UCS-4. Blocks come from the network: everything is checked once, when a
//! block is taken in, and reading cells cannot fail afterwards.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::frame::Reader;
use crate::row::{Precision, Timestamp, Value};

/// What is wrong with a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// It ends before what it announces.
    #[error("the block is cut short")]
    Truncated,
    /// It is laid out in another way.
    #[error("the block has version {0}, only 1 is known")]
    Version(i32),
    /// A type that is not known.
    #[error("the block has a column of the unknown type {0}")]
    Type(u8),
    /// A value that lies outside of its column.
    #[error("the block has a value outside of its column")]
    Value,
}

/// A checked block.
#[derive(Clone, Debug)]
pub struct RawBlock {
    bytes: Bytes,
    rows: usize,
    columns: Vec<Layout>,
}

/// Where a column lies in the block.
#[derive(Clone, Debug)]
struct Layout {
    kind: u8,
    /// Digits after the point, of a DECIMAL.
    scale: u8,
    /// The bitmap of NULLs, or the values' offsets.
    head: Range<usize>,
    data: Range<usize>,
}

/// Bytes of a value in a block; `None` for types whose values each have their own length.
const fn width(kind: u8) -> Option<usize> {
    match kind {
        1 | 2 | 11 => Some(1),
        3 | 12 => Some(2),
        4 | 6 | 13 => Some(4),
        5 | 7 | 9 | 14 | 21 => Some(8),
        17 => Some(16),
        _ => None,
    }
}

impl RawBlock {
    /// Takes a block in and checks all of it.
    ///
    /// # Errors
    /// See [`BlockError`]; no bytes make it panic.
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let (rows, columns) = layout(&bytes)?;
        let block = Self { bytes, rows, columns };
        for column in block.columns.iter().filter(|column| width(column.kind).is_none()) {
            for row in 0..rows {
                block.variable(column, row).map_err(|OutOfColumn| BlockError::Value)?;
            }
        }
        Ok(block)
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns it has.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The cell at `row` and `column`; NULL where there is none. `precision` is that of the result. A DECIMAL
    /// comes as digits, text that is not valid as its bytes.
    pub fn value(&self, row: usize, column: usize, precision: Precision) -> Value<'_> {
        let Some(column) = self.columns.get(column).filter(|_| row < self.rows) else { return Value::Null };
        match width(column.kind) {
            Some(width) => self.fixed(column, width, row, precision),
            None => match self.variable(column, row) {
                Ok(Some(bytes)) => text_or_bytes(column.kind, bytes),
                _ => Value::Null,
            },
        }
    }

    fn fixed(&self, column: &Layout, width: usize, row: usize, precision: Precision) -> Value<'static> {
        let null = self.bytes[column.head.start + row / 8] & (0x80 >> (row % 8)) != 0;
        if null {
            return Value::Null;
        }
        let start = column.data.start + row * width;
        let mut at = Reader(&self.bytes[start..start + width]);
        let value = (|| {
            Some(match column.kind {
                1 => Value::Bool(at.u8()? != 0),
                2 => Value::from(at.u8()? as i8),
                3 => Value::from(at.u16()? as i16),
                4 => Value::from(at.u32()? as i32),
                5 => Value::Int(at.u64()? as i64),
                6 => Value::from(f32::from_bits(at.u32()?)),
                7 => Value::Float(f64::from_bits(at.u64()?)),
                9 => Value::Timestamp(Timestamp::from_units(at.u64()? as i64, precision)),
                11 => Value::from(at.u8()?),
                12 => Value::from(at.u16()?),
                13 => Value::from(at.u32()?),
                14 => Value::UInt(at.u64()?),
                17 => {
                    let (low, high) = (at.u64()?, at.u64()?);
                    Value::Text(decimal((u128::from(high) << 64 | u128::from(low)) as i128, column.scale).into())
                }
                21 => Value::Text(decimal(i128::from(at.u64()? as i64), column.scale).into()),
                _ => return None,
            })
        })();
        value.unwrap_or(Value::Null)
    }

    fn variable(&self, column: &Layout, row: usize) -> Result<Option<&[u8]>, OutOfColumn> {
        let start = column.head.start + row * 4;
        let offset = Reader(&self.bytes[start..start + 4]).u32().ok_or(OutOfColumn)? as i32;
        if offset < 0 {
            return Ok(None);
        }
        let mut at = Reader(self.bytes[column.data.clone()].get(offset as usize..).ok_or(OutOfColumn)?);
        let length = match column.kind {
            18 | 19 => at.u32().map(|length| length as usize),
            _ => at.u16().map(usize::from),
        };
        length.and_then(|length| at.take(length)).map(Some).ok_or(OutOfColumn)
    }
}

struct OutOfColumn;

fn layout(bytes: &[u8]) -> Result<(usize, Vec<Layout>), BlockError> {
    let mut at = Reader(bytes);
    let mut next = || at.u32().ok_or(BlockError::Truncated);
    let (version, _length, rows, columns) = (next()? as i32, next()?, next()? as usize, next()? as usize);
    let (_flags, _group) = (next()?, (next()?, next()?));
    if version != 1 {
        return Err(BlockError::Version(version));
    }
    // Each column takes 9 bytes of the head and at least one bit a row, so what is announced is bounded by what came.
    if columns.checked_mul(9).is_none_or(|head| head > at.0.len()) || (columns == 0 && rows > 0) {
        return Err(BlockError::Truncated);
    }
    let mut head = Reader(at.take(columns * 5).ok_or(BlockError::Truncated)?);
    let mut lengths = Reader(at.take(columns * 4).ok_or(BlockError::Truncated)?);
    let mut layouts = Vec::with_capacity(columns);
    while let (Some(kind), Some(size), Some(length)) = (head.u8(), head.u32(), lengths.u32()) {
        let head_bytes = match (width(kind), kind) {
            (Some(_), _) => Some(rows.div_ceil(8)),
            (None, 8 | 10 | 15 | 16 | 18..=20) => rows.checked_mul(4),
            _ => return Err(BlockError::Type(kind)),
        };
        let start = bytes.len() - at.0.len();
        let head_end = head_bytes.and_then(|count| at.take(count)).map(|head| start + head.len());
        let data = at.take(length as usize);
        let (Some(head_end), Some(data)) = (head_end, data) else { return Err(BlockError::Truncated) };
        if width(kind).is_some_and(|width| rows.checked_mul(width).is_none_or(|needed| needed > data.len())) {
            return Err(BlockError::Truncated);
        }
        // A DECIMAL's size holds its digits and scale too: 0xWW00PPSS.
        let scale = if matches!(kind, 17 | 21) { size as u8 } else { 0 };
        layouts.push(Layout { kind, scale, head: start..head_end, data: head_end..head_end + data.len() });
    }
    Ok((rows, layouts))
}

fn text_or_bytes(kind: u8, bytes: &[u8]) -> Value<'_> {
    match kind {
        10 => match ucs4(bytes) {
            Some(text) => Value::Text(Cow::Owned(text)),
            None => Value::Bytes(Cow::Borrowed(bytes)),
        },
        8 | 15 => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(Cow::Borrowed(text)),
            Err(_) => Value::Bytes(Cow::Borrowed(bytes)),
        },
        _ => Value::Bytes(Cow::Borrowed(bytes)),
    }
}

fn ucs4(bytes: &[u8]) -> Option<String> {
    let (points, rest) = bytes.as_chunks::<4>();
    let text = points.iter().map(|point| char::from_u32(u32::from_le_bytes(*point))).collect::<Option<_>>()?;
    rest.is_empty().then_some(text)
}

/// The digits of `unscaled` / 10^`scale`.
fn decimal(unscaled: i128, scale: u8) -> String {
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn from_hex(text: &str) -> Bytes {
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<_>>().into()
    }

    fn row(block: &RawBlock, row: usize) -> Vec<Value<'_>> {
        (0..block.columns()).map(|column| block.value(row, column, Precision::Milli)).collect()
    }

    /// `select ts, i, s, t from st`, as a real server answered it.
    const RECORDED: &str = "010000009300000003000000040000000000008000000000000000000908000000040400000008 0a000000
        0a22000000180000000c000000060000000e00000000008435d79a010000018435d79a010000008435d79a010000
        6005000000000000000000000000000000ffffffff0400000002007879000000000000060000000c00000004002d4e00
        0004002d4e0000000000";

    #[test]
    fn a_recorded_block_is_read() {
        let block = RawBlock::parse(from_hex(RECORDED)).unwrap();
        assert_eq!((block.rows(), block.columns()), (3, 4));
        let ts = |ms| Value::Timestamp(Timestamp::from_millis(ms));
        assert_eq!(row(&block, 0), [ts(1_764_547_200_000), Value::Int(5), "xy".into(), "中".into()]);
        assert_eq!(row(&block, 1), [ts(1_764_547_200_001), Value::Null, Value::Null, "中".into()]);
        assert_eq!(row(&block, 2), [ts(1_764_547_200_000), Value::Null, "".into(), "".into()]);
        assert_eq!(block.value(3, 0, Precision::Milli), Value::Null);
        assert_eq!(block.value(0, 4, Precision::Milli), Value::Null);
    }

    #[test]
    fn decimals_are_written_as_digits() {
        let text =
            [(1234, 2), (-150_000, 5), (-1, 2), (0, 0), (7, 0), (i128::MIN, 38)].map(|(n, scale)| decimal(n, scale));
        assert_eq!(text, ["12.34", "-1.50000", "-0.01", "0", "7", "-1.70141183460469231731687303715884105728"]);
    }

    #[test]
    fn what_is_announced_but_did_not_come_is_refused() {
        let recorded = from_hex(RECORDED);
        for end in 0..recorded.len() - 1 {
            assert!(RawBlock::parse(recorded.slice(..end)).is_err(), "{end}");
        }
        let mut rows_without_columns = recorded[..28].to_vec();
        rows_without_columns[12..16].fill(0);
        assert_eq!(RawBlock::parse(rows_without_columns.into()).unwrap_err(), BlockError::Truncated);
    }

    proptest! {
        /// A recorded block with bytes changed: whatever is taken in can be read to its end.
        #[test]
        fn no_bytes_panic(changes in proptest::collection::vec((0usize..148, any::<u8>()), 0..6), cut in 0usize..=147) {
            let mut bytes = from_hex(RECORDED).to_vec();
            for (at, byte) in changes {
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
            }
            bytes.truncate(bytes.len() - cut);
            if let Ok(block) = RawBlock::parse(bytes.into()) {
                prop_assert!(block.rows() <= 148 * 8);
                for number in 0..block.rows() {
                    row(&block, number);
                }
            }
        }
    }
}
