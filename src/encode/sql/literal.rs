//! Values as SQL literals.

use std::io::Write as _;

use crate::block::{Column, NULL, UNSET};
use crate::convert::to_wkt;
use crate::encode::escape::escape_string;
use crate::row::{Precision, Value};
use crate::tdengine::schema::DataType;

/// A value that SQL has no literal for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unwritable {
    /// A NUL ends the statement, wherever it stands.
    #[error("text with a NUL cannot be written in SQL, only bound (write mode stmt2)")]
    Nul,
    /// Only VARBINARY has hexadecimal literals, and the record does not say that the column is one.
    #[error("bytes with a NUL cannot be written in SQL without the column's type: write them through a block")]
    NulInBytes,
    /// NaN, or an infinity.
    #[error("NaN and infinity cannot be written in SQL, only bound (write mode stmt2)")]
    NotFinite,
    /// A double so near to zero that the server's parser refuses it.
    #[error("a number below 2.3e-308 cannot be written in SQL, only bound (write mode stmt2)")]
    Subnormal,
    /// SQL takes shapes as text, and these bytes are none.
    #[error("bytes that are no shape (WKB) cannot be written as a GEOMETRY")]
    NoShape,
    /// A moment that 64 bits do not hold in the database's precision.
    #[error("the timestamp does not fit 64 bits in {0}")]
    OutOfRange(Precision),
}

/// A value whose column's type is not known.
pub(super) fn push_value(text: &mut Vec<u8>, value: &Value<'_>, precision: Precision) -> Result<(), Unwritable> {
    match value {
        Value::Unset | Value::Null => text.extend_from_slice(b"NULL"),
        Value::Bool(truth) => push_display(text, truth),
        Value::Int(number) => push_display(text, number),
        Value::UInt(number) => push_display(text, number),
        Value::Float(number) => push_double(text, *number)?,
        Value::Timestamp(moment) => {
            push_display(text, moment.in_units(precision).ok_or(Unwritable::OutOfRange(precision))?);
        }
        Value::Text(string) => push_string(text, string.as_bytes())?,
        // A quoted string means the same in VARCHAR and VARBINARY; '\x..' does not.
        Value::Bytes(bytes) => push_string(text, bytes).map_err(|_| Unwritable::NulInBytes)?,
    }
    Ok(())
}

/// The cell of `row`, as the column's type wants it.
pub(crate) fn push_cell(text: &mut Vec<u8>, column: &Column, row: usize) -> Result<(), Unwritable> {
    if matches!(column.flags[row], NULL | UNSET) {
        text.extend_from_slice(b"NULL");
        return Ok(());
    }
    let bytes = column.bytes(row);
    match column.data_type {
        DataType::Bool => push_display(text, bytes != [0]),
        DataType::TinyInt => push_display(text, i8::from_le_bytes(little_endian(bytes))),
        DataType::SmallInt => push_display(text, i16::from_le_bytes(little_endian(bytes))),
        DataType::Int => push_display(text, i32::from_le_bytes(little_endian(bytes))),
        DataType::BigInt | DataType::Timestamp => push_display(text, i64::from_le_bytes(little_endian(bytes))),
        DataType::TinyIntUnsigned => push_display(text, u8::from_le_bytes(little_endian(bytes))),
        DataType::SmallIntUnsigned => push_display(text, u16::from_le_bytes(little_endian(bytes))),
        DataType::IntUnsigned => push_display(text, u32::from_le_bytes(little_endian(bytes))),
        DataType::BigIntUnsigned => push_display(text, u64::from_le_bytes(little_endian(bytes))),
        DataType::Float => push_float(text, f32::from_le_bytes(little_endian(bytes)))?,
        DataType::Double => push_double(text, f64::from_le_bytes(little_endian(bytes)))?,
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json => push_string(text, bytes)?,
        // The server reads both alike.
        DataType::VarBinary(_) | DataType::Blob => push_hex(text, bytes),
        DataType::Decimal { .. } => text.extend_from_slice(bytes),
        DataType::Geometry(_) => push_string(text, to_wkt(bytes).ok_or(Unwritable::NoShape)?.as_bytes())?,
    }
    Ok(())
}

/// The value's bytes; the column's width is that of its type.
fn little_endian<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.first_chunk().copied().unwrap_or([0; N])
}

fn push_display(text: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to memory does not fail.
    let _ = write!(text, "{value}");
}

/// The shortest text that reads back, whole numbers of common size without a point.
fn push_double(text: &mut Vec<u8>, number: f64) -> Result<(), Unwritable> {
    if !number.is_finite() {
        return Err(Unwritable::NotFinite);
    }
    if number.is_subnormal() {
        return Err(Unwritable::Subnormal);
    }
    if number.fract() == 0.0 && number.abs() < 1e15 && !(number == 0.0 && number.is_sign_negative()) {
        push_display(text, number);
    } else {
        push_display(text, format_args!("{number:?}"));
    }
    Ok(())
}

/// The server reads a float as a double first: the shortest text must get there over that detour, and not beyond the
/// largest float on the way (that one's own shortest text would).
fn push_float(text: &mut Vec<u8>, number: f32) -> Result<(), Unwritable> {
    if !number.is_finite() {
        return Err(Unwritable::NotFinite);
    }
    let shortest = format!("{number:?}");
    let reads_back = |wide: f64| wide as f32 == number && wide.abs() <= f32::MAX.into();
    if shortest.parse().is_ok_and(reads_back) {
        text.extend_from_slice(shortest.as_bytes());
        return Ok(());
    }
    push_double(text, number.into())
}

fn push_string(text: &mut Vec<u8>, string: &[u8]) -> Result<(), Unwritable> {
    let escaped = escape_string(string).ok_or(Unwritable::Nul)?;
    text.push(b'\'');
    text.extend_from_slice(&escaped);
    text.push(b'\'');
    Ok(())
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.extend_from_slice(br"'\x");
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text.push(b'\'');
}
