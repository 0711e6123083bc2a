//! Time zones by name, and timestamps as REST prints them.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::engine::Precision;

/// The zone of this name in the tz database, spelled exactly so; the empty name and the server's own zone are UTC.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    if matches!(name, "" | "UTC" | "Local") {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// The zone that a connection means by this name: from the tz database, a POSIX zone such as `UTC-8`, and UTC for
/// anything else, as the server's client library does it.
pub(super) fn zone_or_utc(name: &str) -> TimeZone {
    zone(name).or_else(|| TimeZone::posix(name).ok()).unwrap_or(TimeZone::UTC)
}

/// Appends a timestamp as `2025-12-01T08:00:00.000+08:00`: as many digits as the precision has, `Z` for no offset, and
/// as many digits of the year as it needs.
pub(super) fn write_rfc3339(out: &mut Vec<u8>, ticks: i64, precision: Precision, zone: &TimeZone) {
    let per_second = precision.per_second();
    let (utc_seconds, fraction) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
    let offset_seconds = i64::from(offset(utc_seconds, zone).seconds());
    let seconds = utc_seconds + offset_seconds;
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    let second_of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    if year < 0 {
        out.push(b'-');
    }
    number(out, year.unsigned_abs(), 4);
    for (separator, value) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        out.push(separator);
        number(out, value.unsigned_abs(), 2);
    }
    out.push(b'.');
    number(out, fraction.unsigned_abs(), precision.digits());
    let offset_minutes = offset_seconds / 60;
    if offset_minutes == 0 {
        return out.push(b'Z');
    }
    out.push(if offset_minutes < 0 { b'-' } else { b'+' });
    number(out, offset_minutes.unsigned_abs() / 60, 2);
    out.push(b':');
    number(out, offset_minutes.unsigned_abs() % 60, 2);
}

/// The zone's offset, that of the nearest known time for times beyond what the tz database can tell.
fn offset(seconds: i64, zone: &TimeZone) -> Offset {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).map_or(Offset::UTC, |at| zone.to_offset(at))
}

/// Year, month and day of the proleptic Gregorian calendar, by the days since 1970-01-01, for any number of days.
fn civil_date(days: i64) -> (i64, i64, i64) {
    // Years are counted from 0000-03-01, so that the leap day is the last of its year; 400 years have 146 097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn number(out: &mut Vec<u8>, value: u64, digits: usize) {
    out.extend(format!("{value:0digits$}").bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(ticks: i64, precision: Precision, zone_name: &str) -> String {
        let mut out = Vec::new();
        write_rfc3339(&mut out, ticks, precision, &zone(zone_name).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn timestamps_are_printed_as_recorded() {
        assert_eq!(text(1_764_547_200_000, Precision::Milli, ""), "2025-12-01T00:00:00.000Z");
        assert_eq!(text(1_764_547_199_999_999, Precision::Micro, ""), "2025-11-30T23:59:59.999999Z");
        assert_eq!(text(1_764_547_200_000, Precision::Milli, "Asia/Shanghai"), "2025-12-01T08:00:00.000+08:00");
        assert_eq!(text(0, Precision::Nano, "America/New_York"), "1969-12-31T19:00:00.000000000-05:00");
        assert_eq!(text(-1, Precision::Milli, ""), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn any_64_bits_are_printed() {
        assert_eq!(text(i64::MAX, Precision::Milli, ""), "292278994-08-17T07:12:55.807Z");
        assert_eq!(text(i64::MIN, Precision::Nano, ""), "1677-09-21T00:12:43.145224192Z");
        assert!(text(i64::MIN, Precision::Milli, "Asia/Shanghai").starts_with("-2922"));
    }

    #[test]
    fn names_of_zones_are_exact_over_rest_and_forgiving_over_websocket() {
        assert!(zone("asia/shanghai").is_none());
        assert!(zone("No/Where").is_none());
        assert_eq!(zone_or_utc("No/Where"), TimeZone::UTC);
        assert_eq!(zone_or_utc("UTC-8").to_offset(Timestamp::UNIX_EPOCH), Offset::constant(8));
    }

    proptest! {
        #[test]
        fn dates_agree_with_the_calendar_of_jiff(seconds in -377_705_023_201i64..253_402_207_200) {
            let date = TimeZone::UTC.to_datetime(Timestamp::from_second(seconds).unwrap()).date();
            let expected = (i64::from(date.year()), i64::from(date.month()), i64::from(date.day()));
            prop_assert_eq!(civil_date(seconds.div_euclid(86_400)), expected);
        }
    }
}
