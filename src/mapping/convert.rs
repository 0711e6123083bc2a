//! Values of messages as columns take them, where they do not stand in the message so.

use std::borrow::Cow;

use crate::block::CellError;
use crate::row::Value;
use crate::tdengine::schema::DataType;

/// `value` as a column of `data_type` takes it.
///
/// # Errors
/// It is none that the type has.
pub(super) fn to<'v>(value: &'v Value<'_>, data_type: DataType) -> Result<Value<'v>, CellError> {
    use DataType as T;
    let Value::Text(text) = value else { return Ok(value.borrowed()) };
    let number = || text.trim().parse::<f64>().map(Value::Float).map_err(|_| CellError::WrongType("text"));
    match data_type {
        T::TinyInt | T::SmallInt | T::Int | T::BigInt => text.trim().parse().map(Value::Int).or_else(|_| number()),
        T::TinyIntUnsigned | T::SmallIntUnsigned | T::IntUnsigned | T::BigIntUnsigned => {
            text.trim().parse().map(Value::UInt).or_else(|_| number())
        }
        T::Float | T::Double => number(),
        T::Bool => match text.trim() {
            "true" | "TRUE" | "True" | "1" => Ok(Value::Bool(true)),
            "false" | "FALSE" | "False" | "0" => Ok(Value::Bool(false)),
            _ => Err(CellError::WrongType("text")),
        },
        _ => Ok(value.borrowed()),
    }
}

/// The beginning of a text, so that it is no longer than `limit` of the type's units.
pub(super) fn truncated<'v>(value: &'v Value<'_>, data_type: DataType, limit: usize) -> Value<'v> {
    let Value::Text(text) = value else { return value.borrowed() };
    let end = match data_type {
        DataType::NChar(_) => text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at),
        _ => text.floor_char_boundary(limit),
    };
    Value::Text(Cow::Borrowed(&text[..end]))
}
