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
    /// The nearest value; `None` beyond the range of a double. `text` is the number itself.
    #[inline]
    pub(super) fn value(&self, text: &str) -> Option<Value<'static>> {
        let is_exact = self.digits <= 19;
        if self.is_whole && is_exact {
            return Some(match (self.is_negative, i64::try_from(self.mantissa)) {
                (false, Ok(number)) => Value::Int(number),
                (false, Err(_)) => Value::UInt(self.mantissa),
                (true, Ok(0)) => Value::Float(-0.0),
                (true, Ok(number)) => Value::Int(-number),
                (true, Err(_)) if self.mantissa == 1 << 63 => Value::Int(i64::MIN),
                (true, Err(_)) => Value::Float(-(self.mantissa as f64)),
            });
        }
        // Both operands are exact, so the result is rounded once (Clinger).
        if is_exact && self.mantissa <= 1 << 53 && self.exponent.unsigned_abs() <= 22 {
            let (mantissa, power) = (self.mantissa as f64, POWERS[self.exponent.unsigned_abs() as usize]);
            let number = if self.exponent < 0 { mantissa / power } else { mantissa * power };
            return Some(Value::Float(if self.is_negative { -number } else { number }));
        }
        self.slow(text)
    }

    #[cold]
    fn slow(&self, text: &str) -> Option<Value<'static>> {
        if self.is_whole
            && let Ok(number) = text.parse()
        {
            return Some(Value::UInt(number));
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
    }
}
