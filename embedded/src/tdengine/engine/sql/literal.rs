//! Values as they stand in VALUES(..) and TAGS(..), read straight into stored bytes.
//!
//! The rules are the server's client library's: which spellings of a number, time or text a type takes, how it is
//! rounded, and what the error says.

use jiff::tz::TimeZone;

use super::lexer::{self, Comments, Kind, Token};
use crate::tdengine::engine::catalog::ColumnDef;
use crate::tdengine::engine::{DataType, Precision, TdError, geometry, time};

/// Where values are read from, and what their meaning depends on.
pub(crate) struct ValueReader<'a> {
    pub(crate) sql: &'a [u8],
    pub(crate) at: usize,
    pub(crate) precision: Precision,
    pub(crate) zone: &'a TimeZone,
    /// `now` in nanoseconds.
    pub(crate) now: i64,
}

impl<'a> ValueReader<'a> {
    /// Takes the next token.
    pub(crate) fn next(&mut self) -> Token {
        let token = self.peek();
        self.at = token.end;
        token
    }

    pub(crate) fn peek(&self) -> Token {
        lexer::next(self.sql, self.at, Comments::Refuse)
    }

    /// Takes the next token if it is this byte.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let token = self.peek();
        if token.is(byte) {
            self.at = token.end;
        }
        token.is(byte)
    }

    /// Takes the next token if it is this word.
    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let token = self.peek();
        let found = token.kind == Kind::Word && token.text(self.sql) == word.as_bytes();
        if found {
            self.at = token.end;
        }
        found
    }

    /// `syntax error near '..' (..)` with the text from the token on.
    pub(crate) fn near(&self, token: Token, problem: &str) -> TdError {
        near(&self.sql[token.start..], problem)
    }

    /// The same where a string's value is the problem: with what stands inside its quotes.
    fn near_value(&self, token: Token, problem: &str) -> TdError {
        match token.kind {
            Kind::Str => near(&lexer::unescape(token.text(self.sql)), problem),
            _ => self.near(token, problem),
        }
    }

    /// Reads one value of a column or tag and appends its stored bytes. False: NULL.
    pub(crate) fn value(&mut self, column: &ColumnDef, out: &mut Vec<u8>) -> Result<bool, TdError> {
        if column.data_type == DataType::Timestamp {
            return self.timestamp(out);
        }
        let token = self.literal()?;
        let raw = token.text(self.sql);
        let is_text = matches!(column.data_type, DataType::VarChar(_) | DataType::NChar(_));
        if is_null(token, raw, is_text) {
            return Ok(false);
        }
        match column.data_type {
            DataType::VarChar(max) => {
                let start = out.len();
                self.text(token, out);
                within(out.len() - start <= max as usize, column)?;
            }
            DataType::NChar(max) => {
                let start = out.len();
                self.text(token, out);
                let text = std::str::from_utf8(&out[start..])
                    .map_err(|_| self.near_value(token, "Unknown error -2130771884"))?;
                within(text.len() <= max as usize || text.chars().count() <= max as usize, column)?;
            }
            DataType::VarBinary(_) | DataType::Blob => {
                let bytes = var_binary(token, raw)
                    .ok_or_else(|| TdError::new(0x266a, format!("Invalid varbinary value: {}", column.name)))?;
                within(bytes.len() <= column.data_type.length() as usize, column)?;
                out.extend(bytes);
            }
            DataType::Geometry(max) => {
                if token.kind != Kind::Str {
                    return Err(self.near_value(token, "Unknown error 65535"));
                }
                let text = lexer::unescape(raw);
                let wkb = std::str::from_utf8(&text)
                    .ok()
                    .and_then(geometry::wkt_to_wkb)
                    .ok_or_else(|| self.near_value(token, "Invalid function para value"))?;
                within(wkb.len() <= max as usize, column)?;
                out.extend(wkb);
            }
            DataType::Json => {
                let text = if token.kind == Kind::Str { lexer::unescape(raw) } else { raw.to_vec() };
                out.extend(json_tag(&text).ok_or_else(|| self.near_value(token, "json parse error"))?);
            }
            number => {
                let unescaped;
                let text = if token.kind == Kind::Str {
                    unescaped = lexer::unescape(raw);
                    &unescaped[..]
                } else {
                    raw
                };
                scalar(number, text, token.kind == Kind::Str, out).map_err(|problem| match problem {
                    Problem::Text(problem) => self.near_value(token, &problem),
                    Problem::DecimalOverflow => TdError::new(0x013d, "Decimal value overflow"),
                })?;
            }
        }
        Ok(true)
    }

    /// One literal; a sign belongs to the number it stands before.
    fn literal(&mut self) -> Result<Token, TdError> {
        let token = self.peek();
        let fits = match token.kind {
            Kind::Str | Kind::Int | Kind::Float | Kind::Radix | Kind::Duration => Some(token),
            Kind::Word if matches!(token.text(self.sql), b"null" | b"true" | b"false") => Some(token),
            Kind::Punct(b'+' | b'-', 0) => {
                let number = lexer::next(self.sql, token.end, Comments::Refuse);
                (matches!(number.kind, Kind::Int | Kind::Float | Kind::Radix | Kind::Duration)
                    && number.start == token.end)
                    .then_some(Token { start: token.start, ..number })
            }
            _ => None,
        };
        let token = fits.ok_or_else(|| self.near(token, "invalid data or symbol"))?;
        self.at = token.end;
        Ok(token)
    }

    /// The text of a string, or of a number or boolean as it was written.
    fn text(&self, token: Token, out: &mut Vec<u8>) {
        let raw = token.text(self.sql);
        match token.kind {
            Kind::Str => lexer::unescape_into(raw, out),
            _ => out.extend_from_slice(raw),
        }
    }

    /// A time: an integer in the database's precision, a date, `now`, `today`, and one `+ 1s` or `- 1h` after it.
    fn timestamp(&mut self, out: &mut Vec<u8>) -> Result<bool, TdError> {
        let word = self.peek();
        let function = word.kind == Kind::Word && matches!(word.text(self.sql), b"now" | b"today");
        let (token, mut ticks) = if function {
            self.at = word.end;
            if self.take(b'(') && !self.take(b')') {
                return Err(self.near(word, "invalid timestamp"));
            }
            let now = match word.text(self.sql) {
                b"now" => self.now,
                _ => midnight(self.now, self.zone),
            };
            (word, time::ticks(now, self.precision))
        } else {
            let token = self.literal()?;
            let raw = token.text(self.sql);
            if is_null(token, raw, false) {
                return Ok(false);
            }
            let ticks = match token.kind {
                Kind::Int => parse_integer(raw),
                Kind::Str => {
                    let text = lexer::unescape(raw);
                    parse_integer(&text).or_else(|| time::parse_timestamp(&text, self.precision, self.zone))
                }
                _ => None,
            };
            (token, ticks.ok_or_else(|| self.near_value(token, "invalid timestamp"))?)
        };
        let sign = match self.peek().kind {
            Kind::Punct(b'+', 0) => 1,
            Kind::Punct(b'-', 0) => -1,
            _ => 0,
        };
        if sign != 0 {
            self.next();
            let duration = self.next();
            let shifted = time::parse_duration(duration.text(self.sql), self.precision)
                .filter(|_| duration.kind == Kind::Duration)
                .and_then(|duration| ticks.checked_add(duration.checked_mul(sign)?));
            let more = matches!(self.peek().kind, Kind::Punct(b'+' | b'-', 0));
            ticks = shifted.filter(|_| !more).ok_or_else(|| self.near_value(token, "invalid timestamp"))?;
        }
        out.extend_from_slice(&ticks.to_le_bytes());
        Ok(true)
    }
}

fn near(text: &[u8], problem: &str) -> TdError {
    TdError::new(0x0216, format!("syntax error near '{}' ({problem})", String::from_utf8_lossy(text)))
}

/// The last midnight of the zone, in nanoseconds.
pub(crate) fn midnight(now: i64, zone: &TimeZone) -> i64 {
    jiff::Timestamp::from_nanosecond(now.into())
        .and_then(|now| now.to_zoned_datetime(zone.clone()).start_of_day())
        .map_or(now, |day| day.timestamp().as_nanosecond() as i64)
}

fn within(fits: bool, column: &ColumnDef) -> Result<(), TdError> {
    if fits { Ok(()) } else { Err(TdError::new(0x2653, format!("Value too long for column/tag: {}", column.name))) }
}

/// `null`; quoted it is NULL too, except where it can be text.
fn is_null(token: Token, raw: &[u8], is_text: bool) -> bool {
    match token.kind {
        Kind::Word => raw == b"null",
        Kind::Str => !is_text && raw.len() == 6 && raw[1..5].eq_ignore_ascii_case(b"null"),
        _ => false,
    }
}

/// `'\x00ff'` is hex (the backslash not doubled), any other string its bytes; nothing else is one.
fn var_binary(token: Token, raw: &[u8]) -> Option<Vec<u8>> {
    if token.kind != Kind::Str {
        return None;
    }
    match raw[1..raw.len() - 1].strip_prefix(b"\\x") {
        Some(hex) if hex.len() % 2 == 0 => {
            hex.chunks_exact(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
        }
        Some(_) => None,
        None => Some(lexer::unescape(raw)),
    }
}

/// A JSON tag as it is stored: compact; only an object is one.
pub(crate) fn json_tag(text: &[u8]) -> Option<Vec<u8>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
    serde_json::to_vec(&object).ok()
}

#[derive(Debug, PartialEq)]
enum Problem {
    Text(String),
    DecimalOverflow,
}

/// Appends the stored bytes of a boolean or number.
fn scalar(data_type: DataType, text: &[u8], quoted: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
    let problem = |text: &str| Problem::Text(text.to_owned());
    match data_type {
        DataType::Bool => out.push(u8::from(parse_bool(text).ok_or_else(|| problem("invalid bool data"))?)),
        DataType::Float | DataType::Double => {
            if text.is_empty() {
                return Err(problem("invalid numeric data"));
            }
            let value = parse_float(text).ok_or_else(|| problem(illegal_float(data_type, text)))?;
            if data_type == DataType::Double {
                out.extend_from_slice(&value.to_le_bytes());
            } else if value.abs() <= f64::from(f32::MAX) {
                out.extend_from_slice(&(value as f32).to_le_bytes());
            } else {
                return Err(problem("illegal float data"));
            }
        }
        DataType::Decimal { precision, scale } => {
            let value = parse_decimal(text, precision, scale).ok_or(Problem::DecimalOverflow)?;
            if precision > 18 {
                out.extend_from_slice(&value.to_le_bytes());
            } else {
                out.extend_from_slice(&(value as i64).to_le_bytes());
            }
        }
        integer => {
            let (name, min, max) = integer_range(integer);
            if text.is_empty() && quoted {
                return Err(problem("invalid numeric data"));
            }
            let value = parse_number(text).ok_or_else(|| Problem::Text(format!("invalid {name} data")))?;
            if value < min || value > max {
                let invalid = name.ends_with("bigint") || (min == 0 && value < 0);
                return Err(Problem::Text(if invalid {
                    format!("invalid {name} data")
                } else {
                    format!("{name} data overflow")
                }));
            }
            let width = integer.fixed_width().unwrap_or(8);
            out.extend_from_slice(&value.to_le_bytes()[..width]);
        }
    }
    Ok(())
}

/// What C reads as NaN or infinity is refused in other words.
fn illegal_float(data_type: DataType, text: &[u8]) -> &'static str {
    let read = std::str::from_utf8(text).ok().and_then(|text| text.trim_start().parse::<f64>().ok());
    let named = !text.iter().any(u8::is_ascii_digit) && read.is_some_and(|value| !value.is_finite());
    if named && data_type == DataType::Double { "illegal double data" } else { "illegal float data" }
}

fn integer_range(data_type: DataType) -> (&'static str, i128, i128) {
    match data_type {
        DataType::TinyInt => ("tinyint", i8::MIN.into(), i8::MAX.into()),
        DataType::SmallInt => ("smallint", i16::MIN.into(), i16::MAX.into()),
        DataType::Int => ("int", i32::MIN.into(), i32::MAX.into()),
        DataType::UTinyInt => ("unsigned tinyint", 0, u8::MAX.into()),
        DataType::USmallInt => ("unsigned smallint", 0, u16::MAX.into()),
        DataType::UInt => ("unsigned int", 0, u32::MAX.into()),
        DataType::UBigInt => ("unsigned bigint", 0, u64::MAX.into()),
        _ => ("bigint", i64::MIN.into(), i64::MAX.into()),
    }
}

/// Digits with a sign and nothing else.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_bool(text: &[u8]) -> Option<bool> {
    if text.eq_ignore_ascii_case(b"true") {
        Some(true)
    } else if text.eq_ignore_ascii_case(b"false") {
        Some(false)
    } else {
        parse_float(text).map(|value| value != 0.0)
    }
}

/// Sign and digits of an unsigned remainder, blanks before them skipped.
fn signed(text: &[u8]) -> (bool, &[u8]) {
    let text = text.trim_ascii_start();
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

fn radix(digits: &[u8]) -> Option<u128> {
    let (radix, digits) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest),
        _ => return None,
    };
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// An integer as INSERT takes it: decimal, hex, binary, or a fraction rounded half away from zero.
pub(crate) fn parse_number(text: &[u8]) -> Option<i128> {
    let (negative, digits) = signed(text);
    if !digits.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        return None;
    }
    let magnitude = match radix(digits) {
        Some(value) => i128::try_from(value).ok()?,
        None => {
            let digits = std::str::from_utf8(digits).ok()?;
            match digits.parse::<i128>() {
                Ok(value) => value,
                Err(_) => digits.parse::<f64>().ok().filter(|value| *value < 1e30)?.round() as i128,
            }
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// A float as INSERT takes it; infinities, NaN and what a double can only hold below its normal range are refused.
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    let (negative, digits) = signed(text);
    if !digits.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        return None;
    }
    let magnitude = match radix(digits) {
        Some(value) => value as f64,
        None => {
            let value: f64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            let mantissa = digits.iter().take_while(|b| !matches!(b, b'e' | b'E'));
            let zero = !mantissa.clone().any(|b| (b'1'..=b'9').contains(b));
            if !(value.is_normal() || zero) {
                return None;
            }
            value
        }
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// A decimal times 10^scale, rounded half away from zero; text that is no number is 0. `None`: too many digits.
pub(crate) fn parse_decimal(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = signed(text);
    let (mut mantissa, mut exponent, mut seen_point, mut i) = (0i128, 0i32, false, 0);
    while let Some(&byte) = digits.get(i) {
        match byte {
            b'0'..=b'9' if mantissa < 10i128.pow(37) => {
                mantissa = mantissa * 10 + i128::from(byte - b'0');
                exponent -= i32::from(seen_point);
            }
            b'0'..=b'9' => exponent += i32::from(!seen_point),
            b'.' if !seen_point => seen_point = true,
            _ => break,
        }
        i += 1;
    }
    if let Some((b'e' | b'E', rest)) = digits.get(i..).and_then(<[u8]>::split_first) {
        let written: i32 = std::str::from_utf8(rest).ok().and_then(|rest| rest.parse().ok()).unwrap_or(0);
        exponent = exponent.saturating_add(written);
    }
    let shift = exponent.saturating_add(i32::from(scale));
    let value = if mantissa == 0 {
        0
    } else if shift >= 0 {
        mantissa.checked_mul(10i128.checked_pow(shift as u32)?)?
    } else {
        let divisor = 10i128.checked_pow(shift.unsigned_abs()).unwrap_or(i128::MAX);
        let (quotient, rest) = (mantissa / divisor, mantissa % divisor);
        quotient + i128::from(rest >= divisor - rest)
    };
    let fits = value < 10i128.pow(u32::from(precision.min(38)));
    fits.then_some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data_type: DataType, sql: &str) -> Result<Option<Vec<u8>>, TdError> {
        let zone = TimeZone::UTC;
        let mut reader = ValueReader {
            sql: sql.as_bytes(),
            at: 0,
            precision: Precision::Milli,
            zone: &zone,
            now: 1_764_547_201_500_000_000,
        };
        let mut out = Vec::new();
        let some = reader.value(&ColumnDef::new("c", data_type), &mut out)?;
        Ok(some.then_some(out))
    }

    fn int(sql: &str) -> Result<i32, String> {
        read(DataType::Int, sql).map(|v| i32::from_le_bytes(v.unwrap().try_into().unwrap())).map_err(|e| e.message)
    }

    #[test]
    fn integers_round_half_away_from_zero() {
        for (sql, value) in [
            ("1", 1),
            ("+1", 1),
            ("-1", -1),
            ("007", 7),
            ("0x10", 16),
            ("0b101", 5),
            ("1.4", 1),
            ("1.5", 2),
            ("2.5", 3),
            ("-1.5", -2),
            ("1e2", 100),
            ("'12'", 12),
            ("' 12'", 12),
            ("'0x10'", 16),
            ("'1.5'", 2),
            (".5", 1),
            ("5.", 5),
        ] {
            assert_eq!(int(sql), Ok(value), "{sql}");
        }
        for (sql, message) in [
            ("'abc'", "syntax error near 'abc' (invalid int data)"),
            ("''", "syntax error near '' (invalid numeric data)"),
            ("'12 '", "syntax error near '12 ' (invalid int data)"),
            ("1a)", "syntax error near '1a)' (invalid int data)"),
            ("true)", "syntax error near 'true)' (invalid int data)"),
            ("nan)", "syntax error near 'nan)' (invalid data or symbol)"),
            ("--1)", "syntax error near '--1)' (invalid data or symbol)"),
            ("2147483648)", "syntax error near '2147483648)' (int data overflow)"),
        ] {
            assert_eq!(int(sql), Err(message.to_owned()));
        }
    }

    #[test]
    fn floats_out_of_range_are_refused() {
        let ok = |data_type, sql| read(data_type, sql).is_ok();
        for sql in ["1.8e308", "4e-324", "1e-400", "'nan'", "'-inf'", "0x1p3", "'abc'", "''"] {
            assert!(!ok(DataType::Double, sql) || sql == "0x1p3", "{sql}");
        }
        assert!(ok(DataType::Float, "3.4e38") && !ok(DataType::Float, "3.5e38"));
        assert_eq!(read(DataType::Float, "1e-50").unwrap().unwrap(), 0f32.to_le_bytes());
        assert_eq!(read(DataType::Double, "-0.0").unwrap().unwrap(), (-0f64).to_le_bytes());
    }

    #[test]
    fn null_in_quotes_is_null_only_where_it_is_not_text() {
        assert_eq!(read(DataType::Int, "'NULL'"), Ok(None));
        assert_eq!(read(DataType::VarChar(8), "'NULL'"), Ok(Some(b"NULL".to_vec())));
        assert_eq!(read(DataType::VarChar(8), "null"), Ok(None));
        assert_eq!(read(DataType::VarChar(8), "5.50"), Ok(Some(b"5.50".to_vec())));
    }

    #[test]
    fn lengths_count_bytes_or_characters() {
        assert!(read(DataType::NChar(2), "'中文'").is_ok());
        assert_eq!(read(DataType::NChar(2), "'中文x'").unwrap_err().code, 0x2653);
        assert_eq!(read(DataType::VarChar(2), "'中'").unwrap_err().code, 0x2653);
    }

    #[test]
    fn varbinary_is_hex_after_a_single_backslash_x() {
        let bytes = |sql| read(DataType::VarBinary(10), sql).map(Option::unwrap).map_err(|e| e.code);
        assert_eq!(bytes(r"'\x00ff'"), Ok(vec![0, 255]));
        assert_eq!(bytes(r"'\x'"), Ok(vec![]));
        assert_eq!(bytes(r"'\\x41'"), Ok(b"\\x41".to_vec()));
        assert_eq!(bytes(r"'\x0'"), Err(0x266a));
        assert_eq!(bytes("5"), Err(0x266a));
    }

    #[test]
    fn decimals_round_and_overflow() {
        assert_eq!(parse_decimal(b"1.005", 10, 2), Some(101));
        assert_eq!(parse_decimal(b"-1.005", 10, 2), Some(-101));
        assert_eq!(parse_decimal(b"1e-5", 18, 4), Some(0));
        assert_eq!(parse_decimal(b"1.25e1", 18, 4), Some(125_000));
        assert_eq!(parse_decimal(b"abc", 10, 2), Some(0));
        assert_eq!(parse_decimal(b"999.995", 5, 2), None);
    }

    #[test]
    fn times_take_one_duration() {
        let ticks = |sql| read(DataType::Timestamp, sql).map(|v| i64::from_le_bytes(v.unwrap().try_into().unwrap()));
        assert_eq!(ticks("1764547219000 + 1s"), Ok(1_764_547_220_000));
        assert_eq!(ticks("now - 1a"), Ok(1_764_547_201_499));
        assert_eq!(ticks("today()"), Ok(1_764_547_200_000));
        assert_eq!(ticks("'20251201'"), Ok(20_251_201));
        for sql in ["'2025-12-01 01:00:00'+1h-30m", "1e12", "1764547217.5", "1764547221000a", "true", "2025-12-01"] {
            assert_eq!(ticks(sql).unwrap_err().code, 0x0216, "{sql}");
        }
    }
}
