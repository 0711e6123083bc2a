//! Timestamps and durations in SQL text.

use jiff::civil;
use jiff::tz::TimeZone;

use super::Precision;

/// Reads `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS[.fraction]`, the same with `T`, with `Z`, `+08:00` or `+0800` at the end;
/// blanks may lead. Digits past the precision are cut. Without a zone the time is one of `zone`.
pub(crate) fn parse_timestamp(text: &[u8], precision: Precision, zone: &TimeZone) -> Option<i64> {
    let mut cursor = Cursor(text.trim_ascii_start());
    let year = cursor.number(4, 4)?;
    cursor.expect(b'-')?;
    let month = cursor.number(1, 2)?;
    cursor.expect(b'-')?;
    let day = cursor.number(1, 2)?;
    let date = civil::Date::new(year as i16, month as i8, day as i8).ok()?;
    let (mut time, mut fraction, mut offset_seconds) = (civil::Time::midnight(), 0, None);
    if !cursor.0.is_empty() {
        if cursor.expect(b'T').is_none() {
            cursor.expect(b' ')?;
        }
        let hour = cursor.number(1, 2)?;
        cursor.expect(b':')?;
        let minute = cursor.number(1, 2)?;
        cursor.expect(b':')?;
        let second = cursor.number(1, 2)?;
        time = civil::Time::new(hour as i8, minute as i8, second as i8, 0).ok()?;
        if cursor.expect(b'.').is_some() {
            fraction = cursor.fraction(precision.digits())?;
        }
        offset_seconds = cursor.zone()?;
    }
    if !cursor.0.is_empty() {
        return None;
    }
    let local = date.to_datetime(time);
    let seconds = match offset_seconds {
        Some(offset) => civil_seconds(local) - offset,
        None if *zone == TimeZone::UTC => civil_seconds(local),
        None => local.to_zoned_datetime(zone.clone()).ok()?.timestamp().as_second(),
    };
    seconds.checked_mul(precision.per_second())?.checked_add(fraction)
}

/// Seconds since 1970 of a date and time taken as UTC.
fn civil_seconds(local: civil::DateTime) -> i64 {
    let days = local.date().duration_since(civil::date(1970, 1, 1)).as_secs();
    days + i64::from(local.hour()) * 3600 + i64::from(local.minute()) * 60 + i64::from(local.second())
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    fn number(&mut self, min_digits: usize, max_digits: usize) -> Option<i64> {
        let digits = self.0.iter().take(max_digits).take_while(|b| b.is_ascii_digit()).count();
        if digits < min_digits {
            return None;
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Some(number.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    /// At least one digit; those past `digits` are cut.
    fn fraction(&mut self, digits: usize) -> Option<i64> {
        let count = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(count);
        self.0 = rest;
        let value =
            (0..digits).fold(0, |value, i| value * 10 + number.get(i).map_or(0, |digit| i64::from(digit - b'0')));
        (count > 0).then_some(value)
    }

    /// `None` inside: no zone is given.
    fn zone(&mut self) -> Option<Option<i64>> {
        if self.expect(b'Z').is_some() {
            return Some(Some(0));
        }
        let sign = match self.0.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Some(None),
        };
        self.0 = &self.0[1..];
        let hours = self.number(2, 2)?;
        let minutes = if self.0.is_empty() {
            0
        } else {
            let _ = self.expect(b':');
            self.number(2, 2)?
        };
        (hours <= 14 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
    }
}

/// A duration literal such as `10s`, in ticks of `precision`; `None` for months and years, which have no fixed length,
/// and for what overflows.
pub(crate) fn parse_duration(text: &[u8], precision: Precision) -> Option<i64> {
    let (&unit, number) = text.split_last()?;
    let number: i64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let per_second = i128::from(precision.per_second());
    let nanos = i128::from(number)
        * match unit.to_ascii_lowercase() {
            b'b' => 1,
            b'u' => 1_000,
            b'a' => 1_000_000,
            b's' => 1_000_000_000,
            b'm' => 60_000_000_000,
            b'h' => 3_600_000_000_000,
            b'd' => 86_400_000_000_000,
            b'w' => 7 * 86_400_000_000_000,
            _ => return None,
        };
    i64::try_from(nanos.checked_mul(per_second)? / 1_000_000_000).ok()
}

/// Ticks of `precision` at a time given in nanoseconds.
pub(crate) fn ticks(nanos: i64, precision: Precision) -> i64 {
    nanos.div_euclid(1_000_000_000 / precision.per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Option<i64> {
        parse_timestamp(text.as_bytes(), Precision::Milli, &TimeZone::UTC)
    }

    #[test]
    fn spellings_the_server_takes() {
        for (text, expected) in [
            ("2025-12-01", 1_764_547_200_000),
            ("2025-12-01 00:00:02", 1_764_547_202_000),
            ("2025-12-01 00:00:03.5", 1_764_547_203_500),
            ("2025-12-01 00:00:04.123456", 1_764_547_204_123),
            ("2025-12-01T00:00:05Z", 1_764_547_205_000),
            ("2025-12-01T08:00:07+08:00", 1_764_547_207_000),
            ("2025-12-01T08:00:08+0800", 1_764_547_208_000),
            ("2025-12-01 08:00:09+08:00", 1_764_547_209_000),
            ("2025-12-01T00:00:29-05:00", 1_764_565_229_000),
            (" 2025-12-01 00:00:38", 1_764_547_238_000),
            ("1900-01-01 00:00:00", -2_208_988_800_000),
            ("0001-01-01 00:00:00", -62_135_596_800_000),
            ("9999-12-31 23:59:59", 253_402_300_799_000),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn spellings_it_refuses() {
        for text in [
            "",
            "abc",
            "2025-12-01 00:00",
            "2025/12/01 00:00:00",
            "2025-12-01 00:00:10 Z",
            "2025-12-01t00:00:23z",
            "2025-02-30 00:00:00",
            "2025-12-01 24:00:00",
            "2025-12-01 00:60:00",
            "2025-12-01T00:00:33+5",
            "2025-12-01 00:00:39 ",
            "20251201",
        ] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_of_the_session_counts_where_the_text_has_none() {
        let shanghai = TimeZone::fixed(jiff::tz::offset(8));
        let parse = |text: &str| parse_timestamp(text.as_bytes(), Precision::Micro, &shanghai);
        assert_eq!(parse("2025-12-01 08:00:00.000001"), Some(1_764_547_200_000_001));
        assert_eq!(parse("2025-12-01T00:00:00Z"), Some(1_764_547_200_000_000));
    }

    #[test]
    fn durations_in_ticks() {
        assert_eq!(parse_duration(b"1h", Precision::Milli), Some(3_600_000));
        assert_eq!(parse_duration(b"5u", Precision::Nano), Some(5_000));
        assert_eq!(parse_duration(b"1n", Precision::Milli), None);
        assert_eq!(parse_duration(b"9223372036854775807w", Precision::Nano), None);
    }
}
