//! Numbers, decimals and truth out of text. Blanks around them do not count.

use std::borrow::Cow;

use crate::block::CellError;
use crate::row::Value;
use crate::tdengine::schema::DataType;

const NO_NUMBER: CellError = CellError::WrongType("text that is no number");

/// Digits before the point, and zeros behind it: with more a number fits no type, or is as good as 0. A DECIMAL has 38.
const MOST_PLACES: i64 = 76;
const LEAST_PLACES: i64 = -MOST_PLACES;

/// A whole number: `12`, `+12`, `12.0`, `1.2e1`. One with a fraction is refused: which way to round is for the user to say.
pub(super) fn integer(text: &str) -> Result<Value<'static>, CellError> {
    let text = text.trim_ascii();
    if let Ok(number) = text.parse() {
        return Ok(Value::Int(number));
    }
    let parts = Parts::of(text)?;
    let plain = parts.plain()?;
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    if fraction.bytes().any(|digit| digit != b'0') {
        return Err(CellError::WrongType("a number with a fraction"));
    }
    match (whole.parse(), whole.parse()) {
        (Ok(number), _) => Ok(Value::Int(number)),
        (_, Ok(number)) => Ok(Value::UInt(number)),
        _ => Err(out_of_range(text)),
    }
}

/// A number that has no fraction, of 64 bits.
pub(super) fn whole(number: f64) -> Result<Value<'static>, CellError> {
    // The limits are floats exactly; the upper ones are the first that are too large.
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    const LEAST: f64 = -HALF;
    const FULL: f64 = 2.0 * HALF;
    match number {
        _ if number.fract() != 0.0 => Err(CellError::WrongType("a number with a fraction")),
        LEAST..HALF => Ok(Value::Int(number as i64)),
        HALF..FULL => Ok(Value::UInt(number as u64)),
        _ => Err(CellError::OutOfRange(number.to_string())),
    }
}

/// A number as FLOAT or DOUBLE keeps it; NaN and infinities by their names.
pub(super) fn float(text: &str, data_type: DataType) -> Result<f64, CellError> {
    let text = text.trim_ascii();
    // By way of 64 bits a FLOAT would be rounded twice.
    let number = match data_type {
        DataType::Float => text.parse::<f32>().map(f64::from),
        _ => text.parse::<f64>(),
    };
    match number {
        Ok(number) if number.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) => Err(out_of_range(text)),
        Ok(number) => Ok(number),
        Err(_) => Err(NO_NUMBER),
    }
}

pub(super) fn truth(text: &str) -> Result<bool, CellError> {
    match text.trim_ascii() {
        "1" => Ok(true),
        "0" => Ok(false),
        text if text.eq_ignore_ascii_case("true") => Ok(true),
        text if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(CellError::WrongType("text that is neither true nor false")),
    }
}

pub(super) fn truth_of(number: &Value<'_>) -> Result<bool, CellError> {
    match number {
        Value::Int(number @ 0..=1) => Ok(*number == 1),
        Value::Int(number) => Err(CellError::OutOfRange(number.to_string())),
        other => Err(CellError::WrongType(other.kind())),
    }
}

/// The shortest text that reads back, with an exponent where it would be long.
pub(super) fn text_of(number: f64) -> String {
    match number.abs() {
        size if size != 0.0 && !(1e-5..1e16).contains(&size) => format!("{number:e}"),
        _ => number.to_string(),
    }
}

/// Digits as a DECIMAL takes them: no exponent, and no more than `scale` behind the point, rounded half away from zero.
pub(super) fn decimal(text: &str, scale: u8) -> Result<Cow<'_, str>, CellError> {
    let text = text.trim_ascii();
    let plain = match Parts::of(text)?.plain()? {
        Cow::Borrowed(plain) => Cow::Borrowed(plain.strip_suffix('.').unwrap_or(plain)),
        written_out => written_out,
    };
    let point = plain.find('.').unwrap_or(plain.len());
    let kept = point + 1 + usize::from(scale);
    if plain.len() <= kept {
        return Ok(plain);
    }
    let up = plain.as_bytes()[kept] >= b'5';
    let mut digits = plain.as_bytes()[..kept].to_vec();
    let mut carry = up;
    for digit in digits.iter_mut().rev().filter(|digit| digit.is_ascii_digit()) {
        if !carry {
            break;
        }
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
    }
    if carry {
        digits.insert(usize::from(!digits[0].is_ascii_digit()), b'1');
    }
    let rounded = String::from_utf8(digits).map_err(|_| NO_NUMBER)?;
    Ok(Cow::Owned(rounded.trim_end_matches('.').to_owned()))
}

fn out_of_range(text: &str) -> CellError {
    let end = text.floor_char_boundary(40);
    CellError::OutOfRange(if end < text.len() { format!("{}..", &text[..end]) } else { text.to_owned() })
}

/// A number as it is written.
struct Parts<'t> {
    text: &'t str,
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    /// `None` where none is written.
    exponent: Option<i64>,
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, CellError> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (digits, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((digits, exponent)) => {
                let is_number =
                    exponent.strip_prefix(['-', '+']).unwrap_or(exponent).bytes().all(|b| b.is_ascii_digit());
                // An exponent beyond 64 bits is as good as the largest.
                let beyond = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
                match exponent.parse() {
                    Ok(exponent) => (digits, Some(exponent)),
                    Err(_) if is_number && exponent.len() > 18 => (digits, Some(beyond)),
                    Err(_) => return Err(NO_NUMBER),
                }
            }
            None => (unsigned, None),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !are_digits(whole) || !are_digits(fraction) {
            return Err(NO_NUMBER);
        }
        Ok(Self { text, negative: text.starts_with('-'), whole, fraction, exponent })
    }

    /// Without an exponent. Never much longer than it was: what a DECIMAL cannot hold is refused before it is written out.
    fn plain(&self) -> Result<Cow<'t, str>, CellError> {
        let Some(exponent) = self.exponent else { return Ok(Cow::Borrowed(self.text)) };
        let all = format!("{}{}", self.whole, self.fraction);
        let digits = all.trim_start_matches('0');
        // Where the point stands, counted from the first digit that is not 0.
        let zeros = (all.len() - digits.len()) as i64;
        let point = (self.whole.len() as i64 - zeros).saturating_add(exponent);
        let sign = if self.negative { "-" } else { "" };
        Ok(Cow::Owned(match point {
            _ if digits.is_empty() => "0".to_owned(),
            MOST_PLACES.. => return Err(out_of_range(self.text)),
            ..LEAST_PLACES => "0".to_owned(),
            LEAST_PLACES..=0 => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
            _ if point as usize >= digits.len() => {
                format!("{sign}{digits}{}", "0".repeat(point as usize - digits.len()))
            }
            _ => format!("{sign}{}.{}", &digits[..point as usize], &digits[point as usize..]),
        }))
    }
}
