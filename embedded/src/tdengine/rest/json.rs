//! Bodies of REST replies, byte by byte as taosAdapter writes them.

use std::fmt::{Display, LowerExp};
use std::time::Instant;

use jiff::tz::TimeZone;

use super::nanoseconds_since;
use crate::tdengine::engine::{Cell, Column, DataType, ResultSet, TdError};
use crate::tdengine::time::write_rfc3339;

/// Rows read from the store at a time.
const MAX_BLOCK_ROWS: usize = 4096;

/// The body of a statement that is no query.
pub(super) fn update(affected: u64, row_with_meta: bool, timing: Option<u64>) -> Vec<u8> {
    let row = if row_with_meta { format!(r#"{{"affected_rows":{affected}}}"#) } else { format!("[{affected}]") };
    let timing = timing.map(|timing| format!(r#","timing":{timing}"#)).unwrap_or_default();
    format!(r#"{{"code":0,"column_meta":[["affected_rows","INT",4]],"data":[{row}],"rows":1{timing}}}"#).into_bytes()
}

/// The body of an error.
pub(super) fn error(code: u16, desc: &str, timing: u64) -> Vec<u8> {
    let mut out = format!(r#"{{"code":{code},"desc":"#).into_bytes();
    // Other than data, texts of errors are written so that they can stand in HTML.
    let mut text = Vec::new();
    write_string(&mut text, desc.as_bytes());
    for byte in text {
        match byte {
            b'<' | b'>' | b'&' => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.extend(format!(r#","timing":{timing}}}"#).bytes());
    out
}

/// The body of a query, written block by block.
#[derive(Debug)]
pub(super) struct Rows {
    result: ResultSet,
    zone: TimeZone,
    row_with_meta: bool,
    /// When the request came, if its time is to be told.
    timed_from: Option<Instant>,
    rows: u64,
}

/// Why a body of rows breaks off.
#[derive(Debug, thiserror::Error)]
pub(super) enum RowsError {
    #[error(transparent)]
    Engine(#[from] TdError),
    /// NaN and the infinities, which JSON cannot express; taosAdapter then sends nothing.
    #[error("a number that is not finite")]
    NotFinite,
}

impl Rows {
    /// Starts the body in `out`.
    pub(super) fn start(
        result: ResultSet,
        zone: TimeZone,
        row_with_meta: bool,
        timed_from: Option<Instant>,
        out: &mut Vec<u8>,
    ) -> Self {
        out.extend(br#"{"code":0,"column_meta":["#);
        for (index, column) in result.columns().iter().enumerate() {
            out.extend(if index > 0 { &b",["[..] } else { b"[" });
            write_string(out, &column.name);
            let data_type = column.data_type;
            out.extend(format!(r#","{}",{}]"#, data_type.name(), data_type.length()).bytes());
        }
        out.extend(br#"],"data":["#);
        Self { result, zone, row_with_meta, timed_from, rows: 0 }
    }

    /// Appends the next block; false if there is none and the body has got its end.
    pub(super) fn write_block(&mut self, out: &mut Vec<u8>) -> Result<bool, RowsError> {
        let block = self.result.next_block(MAX_BLOCK_ROWS)?;
        if block.is_empty() {
            out.extend(format!(r#"],"rows":{}"#, self.rows).bytes());
            if let Some(started) = self.timed_from {
                out.extend(format!(r#","timing":{}"#, nanoseconds_since(started)).bytes());
            }
            out.push(b'}');
            return Ok(false);
        }
        for row in block.rows() {
            if self.rows > 0 {
                out.push(b',');
            }
            self.rows += 1;
            self.write_row(row, out)?;
        }
        Ok(true)
    }

    fn write_row(&self, row: &[Cell], out: &mut Vec<u8>) -> Result<(), RowsError> {
        out.push(if self.row_with_meta { b'{' } else { b'[' });
        for (index, (column, cell)) in self.result.columns().iter().zip(row).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            if self.row_with_meta {
                write_string(out, &column.name);
                out.push(b':');
            }
            self.write_cell(column, cell, out)?;
        }
        out.push(if self.row_with_meta { b'}' } else { b']' });
        Ok(())
    }

    fn write_cell(&self, column: &Column, cell: &Cell, out: &mut Vec<u8>) -> Result<(), RowsError> {
        match cell {
            Cell::Null => out.extend(b"null"),
            Cell::Bool(value) => out.extend(if *value { &b"true"[..] } else { b"false" }),
            Cell::Int(value) => out.extend(value.to_string().bytes()),
            Cell::UInt(value) => out.extend(value.to_string().bytes()),
            Cell::Float(value) => write_float(out, *value, 1e-6, 1e21)?,
            Cell::Double(value) => write_float(out, *value, 1e-6, 1e21)?,
            Cell::Timestamp(ticks) => {
                out.push(b'"');
                write_rfc3339(out, *ticks, self.result.precision(), &self.zone);
                out.push(b'"');
            }
            Cell::Decimal(unscaled) => {
                let scale = if let DataType::Decimal { scale, .. } = column.data_type { scale } else { 0 };
                write_decimal(out, *unscaled, usize::from(scale));
            }
            Cell::Bytes(bytes) => match column.data_type {
                DataType::VarBinary(_) | DataType::Geometry(_) | DataType::Blob => {
                    out.push(b'"');
                    out.extend(bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()));
                    out.push(b'"');
                }
                DataType::Json => out.extend(&bytes[..]),
                _ => write_string(out, bytes),
            },
        }
        Ok(())
    }
}

/// A string as it stands: bytes that are not UTF-8, `/`, `<`, `>`, `&` and DEL pass through.
fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(br"\n"),
            b'\r' => out.extend(br"\r"),
            b'\t' => out.extend(br"\t"),
            0..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The shortest text that reads back as `value`; below `smallest` and from `largest` on with an exponent of at least two digits.
fn write_float<F>(out: &mut Vec<u8>, value: F, smallest: F, largest: F) -> Result<(), RowsError>
where
    F: Copy + Display + LowerExp + Into<f64>,
{
    let size = value.into().abs();
    if !size.is_finite() {
        return Err(RowsError::NotFinite);
    }
    if size == 0.0 || size >= smallest.into() && size < largest.into() {
        out.extend(value.to_string().bytes());
        return Ok(());
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    out.extend(format!("{mantissa}e{sign}{digits:0>2}").bytes());
    Ok(())
}

fn write_decimal(out: &mut Vec<u8>, unscaled: i128, scale: usize) {
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    out.extend(format!("\"{sign}{whole}{point}{fraction}\"").bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_printed_as_recorded() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (12_345_678.9, "12345678.9"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.7e308, "1.7e+308"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-07"),
            (1e-300, "1e-300"),
            (123_456_789_012_345_678.0, "123456789012345680"),
            (-12_500_000_000.0, "-12500000000"),
        ];
        for (value, expected) in cases {
            assert_eq!(written(|out| write_float(out, value, 1e-6, 1e21).unwrap()), expected);
        }
        assert!(write_float(&mut Vec::new(), f64::NAN, 1e-6, 1e21).is_err());
    }

    #[test]
    fn floats_are_printed_with_their_own_digits() {
        for (value, expected) in [(1.1f32, "1.1"), (3.4e38, "3.4e+38"), (12_345_678.9, "12345679"), (1e-7, "1e-07")] {
            assert_eq!(written(|out| write_float(out, value, 1e-6, 1e21).unwrap()), expected);
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        assert_eq!(written(|out| write_decimal(out, -1, 2)), "\"-0.01\"");
        assert_eq!(written(|out| write_decimal(out, 1_234_567_891, 2)), "\"12345678.91\"");
        assert_eq!(written(|out| write_decimal(out, 0, 5)), "\"0.00000\"");
        assert_eq!(written(|out| write_decimal(out, -7, 0)), "\"-7\"");
    }

    #[test]
    fn strings_pass_through_but_for_what_json_forbids() {
        let text = "<a href=\"x\">&\u{7f}/\u{2028}\t\n\r\\\u{1}\u{1f}";
        let expected = "\"<a href=\\\"x\\\">&\u{7f}/\u{2028}\\t\\n\\r\\\\\\u0001\\u001f\"";
        assert_eq!(written(|out| write_string(out, text.as_bytes())), expected);
        let mut out = Vec::new();
        write_string(&mut out, b"\xff\xfe");
        assert_eq!(out, b"\"\xff\xfe\"");
    }

    #[test]
    fn errors_are_safe_in_html() {
        let body = String::from_utf8(error(9728, "near \"<b>\"", 5)).unwrap();
        assert_eq!(body, r#"{"code":9728,"desc":"near \"\u003cb\u003e\"","timing":5}"#);
    }
}
