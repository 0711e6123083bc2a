//! Cells in one form for both sides: what a message came to, and what the server has.

use std::borrow::Cow;

use crate::block::{Column, NULL, VALUE};
use crate::row::{Precision, Value};
use crate::tdengine::schema::DataType;

/// A cell as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cell {
    /// No value: what is stored stays.
    Unset,
    /// NULL.
    Null,
    /// The value's bytes, those that are equal by the type in one form.
    Value(Box<[u8]>),
}

impl Cell {
    /// The cell of a row that is to be stored.
    pub(super) fn expected(column: &Column, row: usize) -> Self {
        match column.flags[row] {
            VALUE => Self::Value(one_form(column.data_type, column.bytes(row)).into()),
            NULL => Self::Null,
            _ => Self::Unset,
        }
    }

    /// The cell that is stored, of a column of `data_type`; `precision` is the database's.
    pub(super) fn stored(value: &Value<'_>, data_type: DataType, precision: Precision) -> Self {
        let number = match value {
            Value::Null | Value::Unset => return Self::Null,
            Value::Text(text) => return Self::Value(one_form(data_type, text.as_bytes()).into()),
            Value::Bytes(bytes) => return Self::Value(one_form(data_type, bytes).into()),
            Value::Bool(truth) => u64::from(*truth),
            Value::Int(number) => *number as u64,
            Value::UInt(number) => *number,
            Value::Float(number) if data_type == DataType::Float => u64::from((*number as f32).to_bits()),
            Value::Float(number) => number.to_bits(),
            Value::Timestamp(moment) => moment.in_units(precision).unwrap_or(i64::MIN) as u64,
        };
        let width = data_type.fixed_width().unwrap_or(8);
        Self::Value(one_form(data_type, &number.to_le_bytes()[..width]).into())
    }
}

/// The bytes that stand for all that the type holds to be equal: of zero, of what is no number, of a decimal.
fn one_form(data_type: DataType, bytes: &[u8]) -> Cow<'_, [u8]> {
    let bits = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    match data_type {
        DataType::Float => {
            let number = f32::from_bits(bits(bytes) as u32);
            let number = if number.is_nan() { f32::NAN } else { number + 0.0 };
            number.to_le_bytes().to_vec().into()
        }
        DataType::Double => {
            let number = f64::from_bits(bits(bytes));
            let number = if number.is_nan() { f64::NAN } else { number + 0.0 };
            number.to_le_bytes().to_vec().into()
        }
        DataType::Decimal { scale, .. } => decimal(bytes, scale.into()).into(),
        _ => Cow::Borrowed(bytes),
    }
}

/// The digits of a decimal number with exactly `scale` of them after the point, the rest rounded half away from zero, as
/// the server does.
fn decimal(digits: &[u8], scale: usize) -> Vec<u8> {
    let (sign, unsigned) = match digits {
        [b'-', rest @ ..] => (&b"-"[..], rest),
        [b'+', rest @ ..] => (&b""[..], rest),
        rest => (&b""[..], rest),
    };
    let point = unsigned.iter().position(|byte| *byte == b'.').unwrap_or(unsigned.len());
    let (whole, fraction) = (&unsigned[..point], unsigned.get(point + 1..).unwrap_or_default());
    let kept = fraction.iter().chain(std::iter::repeat(&b'0')).take(scale);
    // A digit in front for what is carried.
    let mut all: Vec<u8> = std::iter::once(&b'0').chain(whole).chain(kept).copied().collect();
    if fraction.get(scale).is_some_and(|digit| *digit >= b'5') {
        for digit in all.iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                break;
            }
        }
    }
    let zeros = all.iter().take_while(|digit| **digit == b'0').count();
    let significant = &all[zeros..];
    match significant {
        [] => b"0".to_vec(),
        _ => [sign, significant].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_rounded_as_the_server_rounds() {
        let text = |digits: &str| String::from_utf8(decimal(digits.as_bytes(), 2)).unwrap();
        assert_eq!(
            ["1.005", "1.004", "-1.005", "9.995", "0.004", "-0.00", "007", ".5"].map(text),
            ["101", "100", "-101", "1000", "0", "0", "700", "50"]
        );
        assert_eq!(decimal(b"12", 0), b"12");
    }

    #[test]
    fn what_a_type_holds_to_be_equal_is_equal() {
        let float = |number: f64| Cell::stored(&Value::Float(number), DataType::Float, Precision::Milli);
        assert_eq!((float(0.0), float(f64::NAN)), (float(-0.0), float(-f64::NAN)));
        assert_ne!(float(0.1), float(0.2));
        let decimal = DataType::Decimal { precision: 10, scale: 2 };
        let digits = |text: &'static str| Cell::stored(&Value::from(text), decimal, Precision::Milli);
        assert_eq!(digits("1.50"), digits("+1.5"));
        let int = |number| Cell::stored(&Value::Int(number), DataType::Int, Precision::Milli);
        assert_eq!(int(-2), Cell::Value(Box::new((-2i32).to_le_bytes())));
    }
}
