//! One column of a block: what its cells are, and whether a value fits them.

use std::fmt::Write as _;

use crate::row::{Precision, Value};
use crate::tdengine::schema::DataType;

/// Why a value does not fit a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CellError {
    /// The value is of another kind.
    #[error("is {0}, which the type does not take")]
    WrongType(&'static str),
    /// A number beyond the type's range.
    #[error("{0} is out of the type's range")]
    OutOfRange(String),
    /// A text or byte string beyond the definition's length.
    #[error("has {length} {unit}, the limit is {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit of the definition.
        limit: usize,
        /// `bytes` or `characters`.
        unit: &'static str,
    },
    /// NCHAR and JSON take UTF-8 only.
    #[error("is not UTF-8")]
    NotUtf8,
    /// A text is no moment of the kind that it should be.
    #[error("is {text:?}, which is not {wanted}")]
    NotATime {
        /// The text, or its beginning.
        text: String,
        /// The unit or pattern that was wanted.
        wanted: String,
    },
    /// The timestamp, or the second column of a composite key, is missing.
    #[error("is part of the key and must have a value")]
    MissingKey,
}

/// A cell that holds a value.
pub const VALUE: u8 = 0;
/// A cell that is NULL and overwrites.
pub const NULL: u8 = 1;
/// A cell without a value: what is stored stays.
pub const UNSET: u8 = 2;

/// One column (or tag) of a block: a flag a row, and the cells.
#[derive(Clone, Debug)]
pub struct Column {
    /// What the column takes.
    pub data_type: DataType,
    /// [`VALUE`], [`NULL`] or [`UNSET`], a row each.
    pub flags: Vec<u8>,
    /// The values.
    pub cells: Cells,
}

/// The values of a column, little-endian, as the server stores them.
#[derive(Clone, Debug)]
pub enum Cells {
    /// `width` bytes a row; zeros where there is no value.
    Fixed {
        /// Bytes of a value: 1, 2, 4 or 8.
        width: usize,
        /// Rows x width.
        bytes: Vec<u8>,
    },
    /// Each value has its own length; NCHAR as UTF-8, DECIMAL as digits.
    Variable {
        /// Start and length in `bytes`, a row each.
        spans: Vec<(u32, u32)>,
        /// The values, in the order they were pushed.
        bytes: Vec<u8>,
    },
}

impl Column {
    pub(super) fn new(data_type: DataType) -> Self {
        let cells = match data_type.fixed_width() {
            Some(width) => Cells::Fixed { width, bytes: Vec::new() },
            None => Cells::Variable { spans: Vec::new(), bytes: Vec::new() },
        };
        Self { data_type, flags: Vec::new(), cells }
    }

    /// The cell of `row`, without regard to its flag.
    pub fn bytes(&self, row: usize) -> &[u8] {
        match &self.cells {
            Cells::Fixed { width, bytes } => &bytes[row * width..][..*width],
            Cells::Variable { spans, bytes } => {
                let (start, length) = spans[row];
                &bytes[start as usize..][..length as usize]
            }
        }
    }

    /// The cell of `row` as a value; text and bytes are borrowed. `precision` is that of the super table.
    pub fn value(&self, row: usize, precision: Precision) -> Value<'_> {
        let bytes = match self.flags[row] {
            VALUE => self.bytes(row),
            NULL => return Value::Null,
            _ => return Value::Unset,
        };
        // Fixed cells are as wide as their type.
        let mut wide = [0; 8];
        let signed = |unsigned: u64, bits: u32| (unsigned << (64 - bits)) as i64 >> (64 - bits);
        if let Some(width) = self.data_type.fixed_width() {
            wide[..width].copy_from_slice(bytes);
        }
        let number = u64::from_le_bytes(wide);
        match self.data_type {
            DataType::Bool => Value::Bool(number != 0),
            DataType::TinyInt => Value::Int(signed(number, 8)),
            DataType::SmallInt => Value::Int(signed(number, 16)),
            DataType::Int => Value::Int(signed(number, 32)),
            DataType::BigInt => Value::Int(number as i64),
            DataType::TinyIntUnsigned | DataType::SmallIntUnsigned | DataType::IntUnsigned => Value::Int(number as i64),
            DataType::BigIntUnsigned => Value::UInt(number),
            DataType::Float => Value::Float(f32::from_bits(number as u32).into()),
            DataType::Double => Value::Float(f64::from_bits(number)),
            DataType::Timestamp => Value::Timestamp(crate::row::Timestamp::from_units(number as i64, precision)),
            DataType::VarBinary(_) | DataType::Geometry(_) | DataType::Blob => Value::Bytes(bytes.into()),
            DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Decimal { .. } => {
                std::str::from_utf8(bytes).map_or(Value::Bytes(bytes.into()), Value::from)
            }
        }
    }

    /// A column of one cell, held against the type.
    ///
    /// # Errors
    /// The value does not fit the type.
    pub fn of_one(data_type: DataType, value: &Value<'_>, precision: Precision) -> Result<Self, CellError> {
        let mut column = Self::new(data_type);
        column.push(value, precision)?;
        Ok(column)
    }

    /// A column of the cell of `row` alone.
    pub fn only(&self, row: usize) -> Self {
        let mut column = Self::new(self.data_type);
        column.flags.push(self.flags[row]);
        let cell = self.bytes(row);
        match &mut column.cells {
            Cells::Fixed { bytes, .. } => bytes.extend_from_slice(cell),
            Cells::Variable { spans, bytes } => {
                spans.push((0, cell.len() as u32));
                bytes.extend_from_slice(cell);
            }
        }
        column
    }

    pub(super) fn len(&self) -> usize {
        self.flags.len()
    }

    /// Forgets all cells and keeps the buffers.
    pub(super) fn clear(&mut self) {
        self.flags.clear();
        match &mut self.cells {
            Cells::Fixed { bytes, .. } => bytes.clear(),
            Cells::Variable { spans, bytes } => {
                spans.clear();
                bytes.clear();
            }
        }
    }

    /// Leaves out the last rows. Their bytes stay where they are, with nothing that points there, until [`Self::clear`].
    #[inline]
    pub(super) fn truncate(&mut self, rows: usize) {
        if self.flags.len() <= rows {
            return;
        }
        self.flags.truncate(rows);
        match &mut self.cells {
            Cells::Fixed { width, bytes } => bytes.truncate(rows * *width),
            Cells::Variable { spans, .. } => spans.truncate(rows),
        }
    }

    pub(super) fn push_empty(&mut self, flag: u8) {
        self.flags.push(flag);
        match &mut self.cells {
            Cells::Fixed { width, bytes } => bytes.resize(bytes.len() + *width, 0),
            Cells::Variable { spans, bytes } => spans.push((bytes.len() as u32, 0)),
        }
    }

    #[inline]
    fn push_fixed<const WIDTH: usize>(&mut self, value: [u8; WIDTH]) {
        self.flags.push(VALUE);
        if let Cells::Fixed { bytes, .. } = &mut self.cells {
            bytes.extend_from_slice(&value);
        }
    }

    #[inline]
    fn push_variable(&mut self, value: &[u8]) {
        self.flags.push(VALUE);
        if let Cells::Variable { spans, bytes } = &mut self.cells {
            spans.push((bytes.len() as u32, value.len() as u32));
            bytes.extend_from_slice(value);
        }
    }

    /// Copies the cell of `from` over that of `to`.
    pub(super) fn copy_cell(&mut self, from: usize, to: usize) {
        self.flags[to] = self.flags[from];
        match &mut self.cells {
            Cells::Fixed { width, bytes } => bytes.copy_within(from * *width..(from + 1) * *width, to * *width),
            Cells::Variable { spans, .. } => spans[to] = spans[from],
        }
    }

    /// Appends `value`, held against the type; on an error nothing was appended.
    #[inline]
    pub(super) fn push(&mut self, value: &Value<'_>, precision: Precision) -> Result<(), CellError> {
        // What nearly all cells are; all else takes its time.
        match (self.data_type, value) {
            (DataType::Varchar(limit), Value::Text(text)) if text.len() <= limit.into() => {
                self.push_variable(text.as_bytes());
            }
            (DataType::Varchar(limit), Value::Bytes(bytes)) if bytes.len() <= limit.into() => self.push_variable(bytes),
            (DataType::Int, Value::Int(number)) if i32::try_from(*number).is_ok() => {
                self.push_fixed((*number as i32).to_le_bytes());
            }
            (DataType::BigInt, Value::Int(number)) => self.push_fixed(number.to_le_bytes()),
            (DataType::Double, Value::Float(number)) => self.push_fixed(number.to_le_bytes()),
            (DataType::Float, Value::Float(wide)) if (*wide as f32).is_finite() => {
                self.push_fixed((*wide as f32).to_le_bytes());
            }
            (DataType::Timestamp, Value::Int(units)) => self.push_fixed(units.to_le_bytes()),
            _ => return self.push_any(value, precision),
        }
        Ok(())
    }

    #[inline(never)]
    fn push_any(&mut self, value: &Value<'_>, precision: Precision) -> Result<(), CellError> {
        macro_rules! int {
            ($t:ty) => {{
                let number = whole_number(value)?;
                let fit = <$t>::try_from(number).map_err(|_| CellError::OutOfRange(number.to_string()))?;
                self.push_fixed(fit.to_le_bytes())
            }};
        }
        if matches!(value, Value::Unset | Value::Null) {
            self.push_empty(if matches!(value, Value::Null) { NULL } else { UNSET });
            return Ok(());
        }
        match self.data_type {
            DataType::Bool => match value {
                Value::Bool(truth) => self.push_fixed([u8::from(*truth)]),
                Value::Int(number @ 0..=1) => self.push_fixed([*number as u8]),
                _ => return Err(CellError::WrongType(value.kind())),
            },
            DataType::TinyInt => int!(i8),
            DataType::SmallInt => int!(i16),
            DataType::Int => int!(i32),
            DataType::BigInt => int!(i64),
            DataType::TinyIntUnsigned => int!(u8),
            DataType::SmallIntUnsigned => int!(u16),
            DataType::IntUnsigned => int!(u32),
            DataType::BigIntUnsigned => int!(u64),
            DataType::Float => {
                let wide = number(value)?;
                let narrow = wide as f32;
                if narrow.is_infinite() && wide.is_finite() {
                    return Err(CellError::OutOfRange(wide.to_string()));
                }
                self.push_fixed(narrow.to_le_bytes());
            }
            DataType::Double => self.push_fixed(number(value)?.to_le_bytes()),
            DataType::Timestamp => self.push_fixed(timestamp_units(value, precision)?.to_le_bytes()),
            DataType::Varchar(limit) => match value {
                Value::Bytes(bytes) => self.push_limited(bytes, bytes.len(), limit, "bytes")?,
                _ => with_text(value, |text| self.push_limited(text.as_bytes(), text.len(), limit, "bytes"))?,
            },
            DataType::NChar(limit) => {
                let mut push = |text: &str| {
                    // Counting characters costs; up to the limit in bytes there cannot be more of them.
                    let characters = if text.len() <= limit.into() { text.len() } else { text.chars().count() };
                    self.push_limited(text.as_bytes(), characters, limit, "characters")
                };
                match value {
                    Value::Bytes(bytes) => push(std::str::from_utf8(bytes).map_err(|_| CellError::NotUtf8)?)?,
                    _ => with_text(value, push)?,
                }
            }
            DataType::Json => match value {
                Value::Text(text) => self.push_variable(text.as_bytes()),
                _ => return Err(CellError::WrongType(value.kind())),
            },
            DataType::VarBinary(limit) => match value {
                Value::Bytes(bytes) => self.push_limited(bytes, bytes.len(), limit, "bytes")?,
                Value::Text(text) => self.push_limited(text.as_bytes(), text.len(), limit, "bytes")?,
                _ => return Err(CellError::WrongType(value.kind())),
            },
            DataType::Geometry(limit) => match value {
                Value::Bytes(wkb) => self.push_limited(wkb, wkb.len(), limit, "bytes")?,
                _ => return Err(CellError::WrongType(value.kind())),
            },
            DataType::Blob => match value {
                Value::Bytes(bytes) => self.push_variable(bytes),
                Value::Text(text) => self.push_variable(text.as_bytes()),
                _ => return Err(CellError::WrongType(value.kind())),
            },
            DataType::Decimal { precision, scale } => with_text(value, |text| {
                check_decimal(text, precision, scale)?;
                self.push_variable(text.as_bytes());
                Ok(())
            })?,
        }
        Ok(())
    }

    fn push_limited(&mut self, value: &[u8], length: usize, limit: u16, unit: &'static str) -> Result<(), CellError> {
        if length > limit.into() {
            return Err(CellError::TooLong { length, limit: limit.into(), unit });
        }
        self.push_variable(value);
        Ok(())
    }
}

/// `value` as a whole number; one with a fraction of zero is whole.
fn whole_number(value: &Value<'_>) -> Result<i128, CellError> {
    match value {
        Value::Int(number) => Ok((*number).into()),
        Value::UInt(number) => Ok((*number).into()),
        Value::Float(number) if number.fract() == 0.0 => Ok(*number as i128),
        _ => Err(CellError::WrongType(value.kind())),
    }
}

fn number(value: &Value<'_>) -> Result<f64, CellError> {
    match value {
        Value::Float(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::UInt(number) => Ok(*number as f64),
        _ => Err(CellError::WrongType(value.kind())),
    }
}

/// A whole number is taken as units of the database's precision, as the server does.
fn timestamp_units(value: &Value<'_>, precision: Precision) -> Result<i64, CellError> {
    match value {
        Value::Timestamp(moment) => moment
            .in_units(precision)
            .ok_or_else(|| CellError::OutOfRange(format!("second {} in {precision}", moment.seconds()))),
        Value::Int(units) => Ok(*units),
        _ => Err(CellError::WrongType(value.kind())),
    }
}

/// Numbers and booleans are text where text is wanted, as the server takes them.
fn with_text(value: &Value<'_>, put: impl FnOnce(&str) -> Result<(), CellError>) -> Result<(), CellError> {
    let mut text = String::new();
    let written = match value {
        Value::Text(text) => return put(text),
        Value::Bool(truth) => write!(text, "{truth}"),
        Value::Int(number) => write!(text, "{number}"),
        Value::UInt(number) => write!(text, "{number}"),
        Value::Float(number) => write!(text, "{number}"),
        _ => return Err(CellError::WrongType(value.kind())),
    };
    written.map_err(|_| CellError::WrongType(value.kind()))?;
    put(&text)
}

/// A sign, digits, a point, digits; no more whole digits than the definition leaves, after the server has rounded
/// those beyond the scale away.
fn check_decimal(text: &str, precision: u8, scale: u8) -> Result<(), CellError> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !digits(whole) || !digits(fraction) {
        return Err(CellError::WrongType("not a decimal number"));
    }
    let whole = whole.trim_start_matches('0');
    let most = usize::from(precision - scale);
    let (kept, cut) = fraction.split_at(fraction.len().min(scale.into()));
    let carries = cut.as_bytes().first().is_some_and(|digit| *digit >= b'5')
        && kept.bytes().chain(whole.bytes()).all(|digit| digit == b'9');
    if whole.len() > most || (carries && whole.len() == most) {
        return Err(CellError::OutOfRange(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_fits_after_rounding() {
        let fits = |text: &str| check_decimal(text, 5, 2).is_ok();
        assert!(["999.994", "-999.99", "0", ".5", "00123.4", "99.999", "+1."].into_iter().all(fits));
        assert!(!["999.995", "-999.999", "1000", ".", "", "1e3", "abc"].into_iter().any(fits));
        assert!(check_decimal("0.5", 2, 2).is_ok() && check_decimal("0.995", 2, 2).is_err());
    }

    #[test]
    fn the_short_way_takes_what_the_long_one_takes() {
        let values = [
            Value::Int(i64::from(i32::MAX)),
            Value::Int(i64::from(i32::MIN) - 1),
            Value::Int(7),
            Value::Float(1e300),
            Value::Float(f64::NAN),
            Value::Float(f64::INFINITY),
            Value::Float(0.1),
            Value::from("abcd"),
            Value::from("abcde"),
            Value::Bytes((&[0xff; 4]).into()),
            Value::Bytes((&[0xff; 5]).into()),
            Value::Null,
        ];
        let types = [
            DataType::Int,
            DataType::BigInt,
            DataType::Float,
            DataType::Double,
            DataType::Timestamp,
            DataType::Varchar(4),
        ];
        for (data_type, value) in types.iter().flat_map(|data_type| values.iter().map(move |value| (*data_type, value)))
        {
            let (mut short, mut long) = (Column::new(data_type), Column::new(data_type));
            let ways = [short.push(value, Precision::Milli), long.push_any(value, Precision::Milli)];
            assert_eq!(ways[0], ways[1], "{data_type} {value:?}");
            assert_eq!(short.flags, long.flags);
            if !short.flags.is_empty() {
                assert_eq!(short.bytes(0), long.bytes(0), "{data_type} {value:?}");
            }
        }
    }
}
