//! Values in expressions: comparison, conversion, text.

use std::cmp::Ordering;

use jiff::tz::TimeZone;

use crate::tdengine::engine::sql::literal::{parse_float, parse_number};
use crate::tdengine::engine::{Cell, DataType, Precision, time};

/// A number in a comparison or calculation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Float(value) => value,
        }
    }
}

/// The number a value stands for; text that is none counts as 0, as in the server.
pub(super) fn number(cell: &Cell, data_type: DataType) -> Option<Number> {
    Some(match cell {
        Cell::Null => return None,
        Cell::Bool(value) => Number::Int(i128::from(*value)),
        Cell::Int(value) | Cell::Timestamp(value) => Number::Int((*value).into()),
        Cell::UInt(value) => Number::Int((*value).into()),
        Cell::Float(value) => Number::Float((*value).into()),
        Cell::Double(value) => Number::Float(*value),
        Cell::Decimal(value) => Number::Float(*value as f64 / 10f64.powi(scale(data_type).into())),
        Cell::Bytes(text) => match (parse_number(text), parse_float(text)) {
            (_, Some(value)) if value.fract() != 0.0 => Number::Float(value),
            (Some(value), _) => Number::Int(value),
            _ => Number::Float(0.0),
        },
    })
}

fn scale(data_type: DataType) -> u8 {
    match data_type {
        DataType::Decimal { scale, .. } => scale,
        _ => 0,
    }
}

/// Whether values are numbers (BOOL and TIMESTAMP are none).
pub(super) fn is_numeric(data_type: DataType) -> bool {
    is_integer(data_type) || matches!(data_type, DataType::Float | DataType::Double | DataType::Decimal { .. })
}

pub(super) fn is_integer(data_type: DataType) -> bool {
    use DataType::*;
    matches!(data_type, TinyInt | SmallInt | Int | BigInt) || is_unsigned(data_type)
}

pub(super) fn is_unsigned(data_type: DataType) -> bool {
    use DataType::*;
    matches!(data_type, UTinyInt | USmallInt | UInt | UBigInt)
}

pub(super) fn is_text(data_type: DataType) -> bool {
    matches!(data_type, DataType::VarChar(_) | DataType::NChar(_))
}

/// Compares two values that are not NULL: as bytes if both are text, else as numbers.
pub(super) fn compare(a: (&Cell, DataType), b: (&Cell, DataType)) -> Option<Ordering> {
    match (a.0, b.0) {
        (Cell::Null, _) | (_, Cell::Null) => None,
        (Cell::Bytes(a), Cell::Bytes(b)) => Some(a.cmp(b)),
        (Cell::Decimal(x), Cell::Decimal(y)) if scale(a.1) == scale(b.1) => Some(x.cmp(y)),
        _ => match (number(a.0, a.1)?, number(b.0, b.1)?) {
            (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
            (a, b) => a.as_f64().partial_cmp(&b.as_f64()),
        },
    }
}

/// The order of ORDER BY and of keys: NULL first, NaN after the numbers.
pub(super) fn order(a: &Cell, b: &Cell, data_type: DataType) -> Ordering {
    match (a, b) {
        (Cell::Null, Cell::Null) => Ordering::Equal,
        (Cell::Null, _) => Ordering::Less,
        (_, Cell::Null) => Ordering::Greater,
        (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
        (Cell::Double(a), Cell::Double(b)) => a.total_cmp(b),
        _ => compare((a, data_type), (b, data_type)).unwrap_or(Ordering::Equal),
    }
}

/// Appends bytes that are equal just where the values are.
pub(super) fn key_bytes(cell: &Cell, out: &mut Vec<u8>) {
    match cell {
        Cell::Null => out.push(0),
        Cell::Bool(value) => out.extend([1, u8::from(*value)]),
        Cell::Int(value) | Cell::Timestamp(value) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Cell::UInt(value) => {
            out.push(3);
            out.extend(value.to_le_bytes());
        }
        Cell::Float(value) => {
            out.push(4);
            out.extend(value.to_bits().to_le_bytes());
        }
        Cell::Double(value) => {
            out.push(5);
            out.extend(value.to_bits().to_le_bytes());
        }
        Cell::Decimal(value) => {
            out.push(6);
            out.extend(value.to_le_bytes());
        }
        Cell::Bytes(bytes) => {
            out.push(7);
            out.extend((bytes.len() as u32).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// The text of a value as CAST and CONCAT show it.
pub(super) fn text(cell: &Cell, data_type: DataType) -> Vec<u8> {
    match cell {
        Cell::Null => Vec::new(),
        Cell::Bool(value) => value.to_string().into_bytes(),
        Cell::Int(value) | Cell::Timestamp(value) => value.to_string().into_bytes(),
        Cell::UInt(value) => value.to_string().into_bytes(),
        Cell::Float(value) => format!("{value:.6}").into_bytes(),
        Cell::Double(value) => format!("{value:.6}").into_bytes(),
        Cell::Decimal(value) => decimal_text(*value, scale(data_type)).into_bytes(),
        Cell::Bytes(bytes) => bytes.to_vec(),
    }
}

/// A decimal with all digits of its fraction.
pub(super) fn decimal_text(value: i128, scale: u8) -> String {
    let digits = format!("{:0width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
    let sign = if value < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Cuts text to what a type holds: bytes, or characters for NCHAR.
pub(super) fn cut(mut text: Vec<u8>, data_type: DataType) -> Vec<u8> {
    let max = data_type.length() as usize;
    match data_type {
        DataType::NChar(_) => {
            let text = String::from_utf8_lossy(&text);
            text.chars().take(max).collect::<String>().into_bytes()
        }
        _ => {
            text.truncate(max);
            text
        }
    }
}

/// A value as another type; what does not fit wraps or is cut, as the server's CAST does.
pub(super) fn cast(cell: &Cell, from: DataType, to: DataType, precision: Precision, zone: &TimeZone) -> Cell {
    if *cell == Cell::Null {
        return Cell::Null;
    }
    let integer = || match number(cell, from) {
        Some(Number::Int(value)) => value,
        Some(Number::Float(value)) => value as i128,
        None => 0,
    };
    match to {
        DataType::Bool => Cell::Bool(number(cell, from).is_some_and(|value| value.as_f64() != 0.0)),
        DataType::TinyInt => Cell::Int((integer() as i8).into()),
        DataType::SmallInt => Cell::Int((integer() as i16).into()),
        DataType::Int => Cell::Int((integer() as i32).into()),
        DataType::BigInt => Cell::Int(integer() as i64),
        DataType::UTinyInt => Cell::UInt((integer() as u8).into()),
        DataType::USmallInt => Cell::UInt((integer() as u16).into()),
        DataType::UInt => Cell::UInt((integer() as u32).into()),
        DataType::UBigInt => Cell::UInt(integer() as u64),
        DataType::Float => number(cell, from).map_or(Cell::Null, |value| Cell::Float(value.as_f64() as f32)),
        DataType::Double => number(cell, from).map_or(Cell::Null, |value| Cell::Double(value.as_f64())),
        DataType::Timestamp => match cell {
            Cell::Bytes(text) => {
                time::parse_timestamp(text, precision, zone).map_or(Cell::Timestamp(integer() as i64), Cell::Timestamp)
            }
            _ => Cell::Timestamp(integer() as i64),
        },
        DataType::VarChar(_) | DataType::NChar(_) | DataType::VarBinary(_) => {
            Cell::Bytes(cut(text(cell, from), to).into())
        }
        _ => cell.clone(),
    }
}

/// LIKE: `%` is any run of characters, `_` any one, a backslash takes the next as it is.
pub(super) fn like(text: &[u8], pattern: &[u8]) -> bool {
    let (mut t, mut p) = (0, 0);
    // Where to go on after the last `%` if what follows it does not fit here.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let step = match (&pattern[p..], text.get(t)) {
            ([b'%', ..], _) => {
                retry = Some((t, p + 1));
                Some((0, 1))
            }
            ([], None) => return true,
            ([b'_', ..], Some(first)) => Some((utf8_width(*first).min(text.len() - t), 1)),
            ([b'\\', literal @ (b'%' | b'_' | b'\\'), ..], Some(byte)) => (byte == literal).then_some((1, 2)),
            ([literal, ..], Some(byte)) => (byte == literal).then_some((1, 1)),
            (_, _) => None,
        };
        match (step, retry) {
            (Some((text_bytes, pattern_bytes)), _) => (t, p) = (t + text_bytes, p + pattern_bytes),
            (None, Some((from, after))) if from < text.len() => {
                retry = Some((from + 1, after));
                (t, p) = (from + 1, after);
            }
            (None, _) => return false,
        }
    }
}

fn utf8_width(first: u8) -> usize {
    match first {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xff => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns() {
        for (text, pattern, matches) in [
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("a%c", r"a\%c", true),
            ("abc", r"a\%c", false),
            ("conf_nm_x", r"conf\_nm\_%", true),
            ("中文", "_文", true),
            ("", "%", true),
            ("aaab", "%a%b%", true),
            ("aaaa", "%a%a%a%b", false),
            ("abc", "ab", false),
        ] {
            assert_eq!(like(text.as_bytes(), pattern.as_bytes()), matches, "{text} like {pattern}");
        }
    }

    #[test]
    fn decimals_show_all_digits() {
        assert_eq!(decimal_text(-1, 2), "-0.01");
        assert_eq!(decimal_text(12345, 0), "12345");
    }
}
