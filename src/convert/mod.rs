//! From a value as a payload has it to what a column's type takes: numbers out of text, shapes out of WKT, and so on.
//!
//! A value of the right kind is handed through as it is, at no cost. What is done to the others, and what is refused, is
//! the table in `docs/types.md`. Ranges and lengths are held against the column where the value enters a
//! [`Block`](crate::block::Block); both cost the row alone, never its batch.

mod geometry;
mod json;
mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

pub(crate) use geometry::to_wkt;

use crate::block::CellError;
use crate::row::{Timestamp, Value};
use crate::tdengine::schema::DataType;

/// The most bytes of a BLOB: 4 MiB with the four of its length.
const MAX_BLOB_BYTES: usize = (4 << 20) - 4;

/// Whether a column of `data_type` takes `value` as it stands, its range and length apart. Text is read, and bytes are
/// looked at, where the server would refuse a batch for them.
#[inline]
pub fn is_plain(value: &Value<'_>, data_type: DataType) -> bool {
    match value {
        Value::Text(_) => matches!(data_type, DataType::Varchar(_) | DataType::NChar(_)),
        Value::Bytes(_) => matches!(data_type, DataType::Varchar(_) | DataType::NChar(_) | DataType::VarBinary(_)),
        Value::Float(_) => data_type.is_float(),
        Value::Int(_) | Value::UInt(_) => data_type.is_integer() || data_type.is_float(),
        _ => true,
    }
}

/// `value` as a column of `data_type` takes it. Moments are for [`TimeFormat`](crate::mapping::TimeFormat): what is not
/// one already passes unchanged.
///
/// # Errors
/// The type does not take such a value. Ranges of numbers and lengths of texts are not checked here, but where the value
/// enters its column.
pub fn to<'v>(value: &'v Value<'_>, data_type: DataType) -> Result<Value<'v>, CellError> {
    use DataType as T;
    if is_plain(value, data_type) {
        return Ok(match (value, data_type) {
            (Value::Bool(truth), T::Varchar(_) | T::NChar(_)) => if *truth { "true" } else { "false" }.into(),
            (Value::Timestamp(moment), T::Varchar(_) | T::NChar(_)) => rfc3339(*moment)?.into(),
            _ => value.borrowed(),
        });
    }
    let wrong = || CellError::WrongType(value.kind());
    // Bytes are mostly text: keys, headers.
    let text = || match value {
        Value::Text(text) => Ok(&**text),
        Value::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| CellError::NotUtf8),
        _ => Err(wrong()),
    };
    Ok(match data_type {
        T::Bool => Value::Bool(match value {
            Value::Int(_) | Value::UInt(_) => number::truth_of(value)?,
            Value::Float(number) => number::truth_of(&number::whole(*number)?)?,
            _ => number::truth(text()?)?,
        }),
        T::Float | T::Double => Value::Float(number::float(text()?, data_type)?),
        T::Decimal { scale, .. } => Value::Text(match value {
            Value::Int(number) => number.to_string().into(),
            Value::UInt(number) => number.to_string().into(),
            Value::Float(number) => number::decimal(&number.to_string(), scale)?.into_owned().into(),
            _ => number::decimal(text()?, scale)?,
        }),
        T::Varchar(_) | T::NChar(_) => Value::Text(match value {
            Value::Int(number) => number.to_string().into(),
            Value::UInt(number) => number.to_string().into(),
            Value::Float(number) => number::text_of(*number).into(),
            _ => return Err(wrong()),
        }),
        T::VarBinary(_) | T::Blob => {
            let bytes = match value {
                Value::Text(text) => bytes_of(text, BinaryText::Plain)?,
                Value::Bytes(bytes) => Cow::Borrowed(&**bytes),
                _ => return Err(wrong()),
            };
            if data_type == T::Blob && bytes.len() > MAX_BLOB_BYTES {
                return Err(CellError::TooLong { length: bytes.len(), limit: MAX_BLOB_BYTES, unit: "bytes" });
            }
            Value::Bytes(bytes)
        }
        T::Geometry(_) => Value::Bytes(match value {
            Value::Text(text) => geometry::from_text(text)?.into(),
            Value::Bytes(bytes) => geometry::from_wkb(bytes)?,
            _ => return Err(wrong()),
        }),
        T::Json => Value::Text(json::tag(text()?)?.into()),
        _ if data_type.is_integer() => match value {
            Value::Float(number) => number::whole(*number)?,
            _ => number::integer(text()?)?,
        },
        _ => return Err(wrong()),
    })
}

/// The beginning of a text, or of bytes, so that it is no longer than `limit` of the type's units.
pub fn truncated<'v>(value: &'v Value<'_>, data_type: DataType, limit: usize) -> Value<'v> {
    match value {
        Value::Text(text) => {
            let end = match data_type {
                DataType::NChar(_) => text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at),
                _ => text.floor_char_boundary(limit),
            };
            Value::Text(Cow::Borrowed(&text[..end]))
        }
        Value::Bytes(bytes) => Value::Bytes(Cow::Borrowed(&bytes[..bytes.len().min(limit)])),
        _ => value.borrowed(),
    }
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BinaryText {
    /// The text's own bytes; hexadecimal digits after `\x`, as the server takes them.
    #[default]
    Plain,
    /// Hexadecimal digits.
    Hex,
    /// Base64, of either alphabet, padded.
    Base64,
}

/// The bytes that `text` writes.
///
/// # Errors
/// It is not written so.
pub fn bytes_of(text: &str, written: BinaryText) -> Result<Cow<'_, [u8]>, CellError> {
    match written {
        BinaryText::Plain => match text.strip_prefix(r"\x") {
            Some(digits) => bytes_of(digits, BinaryText::Hex),
            None => Ok(text.as_bytes().into()),
        },
        BinaryText::Hex => {
            let pair = |pair: &[u8]| match *pair {
                [high, low] => {
                    let digit = |byte: u8| char::from(byte).to_digit(16);
                    Some((digit(high)? << 4 | digit(low)?) as u8)
                }
                _ => None,
            };
            let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
            bytes.map(Cow::Owned).ok_or(CellError::WrongType("text that is not hexadecimal"))
        }
        BinaryText::Base64 => {
            let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
            engine.decode(text).map(Cow::Owned).map_err(|_| CellError::WrongType("text that is not base64"))
        }
    }
}

/// In UTC, with as many digits as there are.
fn rfc3339(moment: Timestamp) -> Result<String, CellError> {
    let time = jiff::Timestamp::new(moment.seconds(), moment.subsec_nanos() as i32);
    time.map(|time| time.to_string()).map_err(|_| CellError::OutOfRange(format!("second {}", moment.seconds())))
}
