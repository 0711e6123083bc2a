//! Moments as messages write them: numbers of a unit, RFC 3339, or a pattern.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use crate::block::CellError;
use crate::row::{Precision, Timestamp, Value};

/// How a moment is written.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeFormat {
    unit: Unit,
    /// Of times that name none.
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq)]
enum Unit {
    Seconds,
    Of(Precision),
    Rfc3339,
    Pattern(String),
}

impl FromStr for Unit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "s" => Ok(Self::Seconds),
            "rfc3339" => Ok(Self::Rfc3339),
            // Formatted once, so that a pattern that never works is refused before the first message.
            pattern if pattern.contains('%') => {
                match jiff::fmt::strtime::format(pattern, &jiff::Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC))
                {
                    Ok(_) => Ok(Self::Pattern(pattern.to_owned())),
                    Err(error) => Err(format!("the pattern {pattern:?} is not one of strftime: {error}")),
                }
            }
            other => other.parse().map(Self::Of).map_err(|_: String| {
                format!("unit {other:?} is none of s, ms, us, ns, rfc3339, or a pattern such as %Y-%m-%d %H:%M:%S")
            }),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds => f.write_str("s"),
            Self::Of(precision) => precision.fmt(f),
            Self::Rfc3339 => f.write_str("rfc3339"),
            Self::Pattern(pattern) => f.write_str(pattern),
        }
    }
}

impl TimeFormat {
    /// `unit` is one of `s`, `ms`, `us`, `ns`, `rfc3339`, or a strftime pattern; `zone` an IANA time zone, for text that
    /// names none (UTC if it is `None`).
    ///
    /// # Errors
    /// What is wrong, and what could stand there.
    pub fn new(unit: &str, zone: Option<&str>) -> Result<Self, String> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                format!("time zone {name:?} is not known: write one of the IANA names, such as Asia/Shanghai or UTC")
            })?,
        };
        Ok(Self { unit: unit.parse()?, zone })
    }

    /// Whether a whole number is a count of `precision` as it stands.
    pub(super) fn counts(&self, precision: Precision) -> bool {
        self.unit == Unit::Of(precision)
    }

    /// The moment that `value` means. Text of digits is a number too.
    ///
    /// # Errors
    /// The value is of another kind, or none that the format can be.
    pub fn read(&self, value: &Value<'_>) -> Result<Timestamp, CellError> {
        let per_second = match self.unit {
            Unit::Seconds => 1,
            Unit::Of(precision) => precision.per_second(),
            Unit::Rfc3339 | Unit::Pattern(_) => {
                return match value {
                    Value::Timestamp(moment) => Ok(*moment),
                    Value::Text(text) => self.read_text(text),
                    _ => Err(CellError::WrongType(value.kind())),
                };
            }
        };
        match value {
            Value::Timestamp(moment) => Ok(*moment),
            Value::Int(count) => Ok(of_units((*count).into(), per_second)),
            Value::UInt(count) => Ok(of_units((*count).into(), per_second)),
            Value::Float(count) => of_fraction(*count, per_second),
            Value::Text(text) => match text.parse::<i64>() {
                Ok(count) => Ok(of_units(count.into(), per_second)),
                Err(_) => match text.parse::<f64>() {
                    Ok(count) => of_fraction(count, per_second),
                    Err(_) => {
                        Err(CellError::NotATime { text: brief(text), wanted: format!("a number of {}", self.unit) })
                    }
                },
            },
            _ => Err(CellError::WrongType(value.kind())),
        }
    }

    fn read_text(&self, text: &str) -> Result<Timestamp, CellError> {
        let error = || CellError::NotATime { text: brief(text), wanted: self.unit.to_string() };
        let civil = |time: DateTime| time.to_zoned_datetime(self.zone.clone()).map(|zoned| zoned.timestamp());
        let moment = match &self.unit {
            Unit::Pattern(pattern) => {
                let broken_down = BrokenDownTime::parse(pattern, text).map_err(|_| error())?;
                match broken_down.to_timestamp() {
                    Ok(moment) => Ok(moment),
                    Err(_) => match broken_down.to_datetime() {
                        Ok(time) => civil(time),
                        // A pattern of a date alone: its midnight.
                        Err(_) => broken_down
                            .to_date()
                            .and_then(|date| civil(date.to_datetime(jiff::civil::Time::midnight()))),
                    },
                }
            }
            _ => text.parse::<jiff::Timestamp>().or_else(|_| text.parse::<DateTime>().and_then(civil)),
        };
        let moment = moment.map_err(|_| error())?;
        Ok(of_units(moment.as_nanosecond(), 1_000_000_000))
    }
}

fn of_units(count: i128, per_second: i64) -> Timestamp {
    let per_second = i128::from(per_second);
    let nanos = count.rem_euclid(per_second) * (1_000_000_000 / per_second);
    // 128 bits of any unit are far within 64 bits of seconds for all that 64 bits of the unit can hold.
    Timestamp::new(count.div_euclid(per_second) as i64, nanos as u32)
}

/// A double has 15 digits to trust: what lies beyond is rounded away, so that 1764547200.123 s is 123 ms and not 122.
fn of_fraction(count: f64, per_second: i64) -> Result<Timestamp, CellError> {
    const MOST: f64 = 9e18;
    if !count.is_finite() || count.abs() > MOST {
        return Err(CellError::OutOfRange(count.to_string()));
    }
    let (whole, fraction) = (count.floor(), count - count.floor());
    let digits = if count.abs() < 1e10 { 1e6 } else { 1e3 };
    let rounded = (fraction * digits).round() / digits;
    let nanos_per_unit = 1_000_000_000 / i128::from(per_second);
    let nanos = whole as i128 * nanos_per_unit + (rounded * nanos_per_unit as f64).round() as i128;
    Ok(of_units(nanos, 1_000_000_000))
}

fn brief(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(format: &TimeFormat, value: Value<'_>) -> Option<i64> {
        format.read(&value).ok()?.in_units(Precision::Milli)
    }

    #[test]
    fn numbers_are_counts_of_their_unit() {
        let of = |unit: &str, value: Value<'_>| millis(&TimeFormat::new(unit, None).unwrap(), value);
        assert_eq!(of("s", Value::Int(1_764_547_200)), Some(1_764_547_200_000));
        assert_eq!(of("s", Value::Float(1_764_547_200.123)), Some(1_764_547_200_123));
        assert_eq!(of("ms", Value::Float(1_764_547_200_123.0)), Some(1_764_547_200_123));
        assert_eq!(of("us", Value::Int(-1)), Some(-1));
        assert_eq!(of("ns", "1764547200123456789".into()), Some(1_764_547_200_123));
        assert_eq!(of("s", "1764547200.5".into()), Some(1_764_547_200_500));
        assert_eq!(of("s", Value::Int(i64::MIN)), None);
        assert_eq!(of("s", Value::Float(f64::NAN)), None);
        assert_eq!(of("ms", Value::Bool(true)), None);
    }

    #[test]
    fn text_is_read_by_its_pattern_and_zone() {
        let of = |unit: &str, zone: Option<&str>, text: &str| {
            millis(&TimeFormat::new(unit, zone).unwrap(), Value::Text(text.into()))
        };
        let noon = Some(1_764_590_400_000);
        assert_eq!(of("rfc3339", None, "2025-12-01T12:00:00Z"), noon);
        assert_eq!(of("rfc3339", None, "2025-12-01T20:00:00+08:00"), noon);
        assert_eq!(of("rfc3339", Some("Asia/Shanghai"), "2025-12-01T20:00:00"), noon);
        assert_eq!(of("%Y-%m-%d %H:%M:%S", Some("Asia/Shanghai"), "2025-12-01 20:00:00"), noon);
        assert_eq!(of("%Y-%m-%d %H:%M:%S%.f %z", None, "2025-12-01 12:00:00.25 +0000"), noon.map(|noon| noon + 250));
        assert_eq!(of("%d/%m/%Y", None, "01/12/2025"), noon.map(|noon| noon - 12 * 3_600_000));
        assert_eq!(of("rfc3339", None, "yesterday"), None);
    }

    #[test]
    fn what_is_no_unit_or_zone_is_refused_with_what_could_stand_there() {
        assert!(TimeFormat::new("min", None).unwrap_err().contains("s, ms, us, ns, rfc3339"));
        assert!(TimeFormat::new("ms", Some("Berlin")).unwrap_err().contains("IANA"));
        assert!(TimeFormat::new("%Q%!", None).unwrap_err().contains("strftime"));
    }
}
