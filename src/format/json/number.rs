//! Numbers: whole ones as they are, others as the nearest double.

use crate::row::Value;

/// A number as it was passed over.
pub(super) struct Number {
    pub(super) is_negative: bool,
    /// Without fraction and exponent.
    pub(super) is_whole: bool,
    /// What its digits make, where they are no more than nineteen.
    pub(super) mantissa: u64,
    pub(super) digits: usize,
    pub(super) exponent: i64,
}

impl Default for Number {
    fn default() -> Self {
        Self { is_negative: false, is_whole: true, mantissa: 0, digits: 0, exponent: 0 }
    }
}

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

impl Number {
    /// As it mostly is.
    #[inline(always)]
    pub(super) fn as_int(&self) -> Option<i64> {
        let number = i64::try_from(self.mantissa).ok()?;
        match self.is_negative {
            _ if !self.is_whole || self.digits > 19 => None,
            true if number == 0 => None,
            true => Some(-number),
            false => Some(number),
        }
    }

    /// Both operands are exact, so the result is rounded once (Clinger).
    #[inline(always)]
    pub(super) fn as_exact_float(&self) -> Option<f64> {
        let power = POWERS.get(self.exponent.unsigned_abs() as usize)?;
        if self.is_whole || self.digits > 19 || self.mantissa > 1 << 53 {
            return None;
        }
        let mantissa = self.mantissa as f64;
        let number = if self.exponent < 0 { mantissa / power } else { mantissa * power };
        Some(if self.is_negative { -number } else { number })
    }

    /// What is neither; `None` beyond the range of a double. `text` is the number itself.
    #[cold]
    pub(super) fn value(&self, text: &str) -> Option<Value<'static>> {
        if self.is_whole
            && !self.is_negative
            && let Ok(number) = text.parse()
        {
            return Some(Value::UInt(number));
        }
        if text == "-9223372036854775808" {
            return Some(Value::Int(i64::MIN));
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
    }
}
