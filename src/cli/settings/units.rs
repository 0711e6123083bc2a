//! How values are written: lengths of time, bytes, pairs, truth.

use std::time::Duration;

use super::Failure;

pub(super) fn truth(name: &str, text: &str) -> Result<bool, Failure> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err(Failure::usage(format!("{name}={text}: write true or false"))),
    }
}

pub(super) fn human(duration: &Duration) -> String {
    format!("{duration:?}")
}

/// `50ms`, `10s`, `1m 30s`; a bare number is refused, since its unit would be a guess.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|signed| Duration::try_from(signed).ok());
    parsed.ok_or_else(|| format!("{text:?} is not a length of time: write it with its unit, as in 50ms, 10s, 5m"))
}

/// `1048576`, `8MiB`, `2MB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let parsed = text.parse::<bytesize::ByteSize>().ok().and_then(|size| usize::try_from(size.as_u64()).ok());
    parsed.ok_or_else(|| format!("{text:?} is not a number of bytes: write 1048576, 8MiB or 2MB"))
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("write a number above 0".into()),
    }
}

pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}
