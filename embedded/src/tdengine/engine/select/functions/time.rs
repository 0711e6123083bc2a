//! Times as functions read and show them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::tdengine::engine::select::eval::Context;
use crate::tdengine::engine::{Cell, Precision, TdError, time};

pub(in crate::tdengine::engine::select) fn time_of(cell: &Cell, context: &Context) -> i64 {
    match cell {
        Cell::Timestamp(ticks) | Cell::Int(ticks) => *ticks,
        Cell::UInt(ticks) => *ticks as i64,
        Cell::Bytes(text) => time::parse_timestamp(text, context.precision, &context.zone).unwrap_or(0),
        _ => 0,
    }
}

pub(in crate::tdengine::engine::select) fn timestamp(ticks: i64, precision: Precision) -> Option<Timestamp> {
    let nanos = i128::from(ticks) * i128::from(1_000_000_000 / precision.per_second());
    Timestamp::from_nanosecond(nanos).ok()
}

/// The zone's distance from UTC at a time, in ticks.
pub(in crate::tdengine::engine::select) fn offset_ticks(ticks: i64, context: &Context) -> i64 {
    timestamp(ticks, context.precision)
        .map_or(0, |at| i64::from(context.zone.to_offset(at).seconds()) * context.precision.per_second())
}

pub(in crate::tdengine::engine::select) fn zone_text(context: &Context) -> String {
    let now = timestamp(time::ticks(context.now, Precision::Milli), Precision::Milli).unwrap_or_default();
    let offset = now.to_zoned_datetime(context.zone.clone()).strftime("(%Z, %z)").to_string();
    format!("{} {offset}", context.zone.iana_name().unwrap_or("UTC"))
}

/// `+08:00`, `+0800`, `+08` or `z`.
pub(in crate::tdengine::engine::select) fn fixed_zone(text: &[u8]) -> Result<TimeZone, TdError> {
    let invalid = || TdError::new(0x2800, "Invalid timzone format");
    let text = std::str::from_utf8(text).map_err(|_| invalid())?;
    if text.eq_ignore_ascii_case("z") {
        return Ok(TimeZone::UTC);
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(invalid()),
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    let (hours, minutes): (i32, i32) = match (digits.len(), digits.get(..2), digits.get(2..)) {
        (2, Some(hours), _) => (hours.parse().map_err(|_| invalid())?, 0),
        (4, Some(hours), Some(minutes)) => {
            (hours.parse().map_err(|_| invalid())?, minutes.parse().map_err(|_| invalid())?)
        }
        _ => return Err(invalid()),
    };
    let offset = jiff::tz::Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).map_err(|_| invalid())?;
    Ok(TimeZone::fixed(offset))
}

/// `2025-12-01T00:00:00.000+0000`
pub(in crate::tdengine::engine::select) fn iso8601(
    ticks: i64,
    precision: Precision,
    zone: &TimeZone,
) -> Option<String> {
    let zoned = timestamp(ticks, precision)?.to_zoned_datetime(zone.clone());
    let fraction = ticks.rem_euclid(precision.per_second());
    Some(format!(
        "{}.{fraction:0width$}{}",
        zoned.strftime("%Y-%m-%dT%H:%M:%S"),
        zoned.strftime("%z"),
        width = precision.digits()
    ))
}

/// The parts of TO_CHAR's format that are pure digits; anything else stands for itself.
pub(in crate::tdengine::engine::select) fn to_char(ticks: i64, format: &str, context: &Context) -> Option<String> {
    let zoned = timestamp(ticks, context.precision)?.to_zoned_datetime(context.zone.clone());
    let nanos = zoned.subsec_nanosecond();
    let mut out = String::new();
    let mut rest = format;
    while !rest.is_empty() {
        let parts: [(&str, String); 14] = [
            ("yyyy", format!("{:04}", zoned.year())),
            ("hh24", format!("{:02}", zoned.hour())),
            ("hh12", format!("{:02}", (zoned.hour() + 11) % 12 + 1)),
            ("ddd", format!("{:03}", zoned.day_of_year())),
            ("mi", format!("{:02}", zoned.minute())),
            ("ss", format!("{:02}", zoned.second())),
            ("ms", format!("{:03}", nanos / 1_000_000)),
            ("us", format!("{:06}", nanos / 1_000)),
            ("ns", format!("{nanos:09}")),
            ("yy", format!("{:02}", zoned.year().rem_euclid(100))),
            ("mm", format!("{:02}", zoned.month())),
            ("dd", format!("{:02}", zoned.day())),
            ("hh", format!("{:02}", (zoned.hour() + 11) % 12 + 1)),
            ("tzh", zoned.strftime("%z").to_string().chars().take(3).collect()),
        ];
        let found =
            parts.iter().find(|(part, _)| rest.get(..part.len()).is_some_and(|at| at.eq_ignore_ascii_case(part)));
        match found {
            Some((part, value)) => {
                out.push_str(value);
                rest = &rest[part.len()..];
            }
            None => {
                let mut chars = rest.chars();
                out.extend(chars.next());
                rest = chars.as_str();
            }
        }
    }
    Some(out)
}
