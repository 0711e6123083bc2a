//! A [`Timestamp`] in records: RFC 3339 text where people read, MessagePack's timestamp extension where they don't.
//!
//! <https://github.com/msgpack/msgpack/blob/master/spec.md#timestamp-extension-type>

use std::fmt;

use jiff::tz::Offset;
use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::row::Timestamp;

/// The extension's number.
pub(crate) const EXTENSION: i8 = -1;

/// The shortest of the three forms of the extension that holds a moment.
pub(crate) enum Wire {
    Seconds32([u8; 4]),
    Nanos30Seconds34([u8; 8]),
    Nanos32Seconds64([u8; 12]),
}

impl Wire {
    pub(crate) fn of(moment: Timestamp) -> Self {
        let nanos = moment.subsec_nanos();
        match (u64::try_from(moment.seconds()), u32::try_from(moment.seconds())) {
            (_, Ok(seconds)) if nanos == 0 => Self::Seconds32(seconds.to_be_bytes()),
            (Ok(seconds), _) if seconds >> 34 == 0 => {
                Self::Nanos30Seconds34((u64::from(nanos) << 34 | seconds).to_be_bytes())
            }
            _ => {
                let mut bytes = [0; 12];
                bytes[..4].copy_from_slice(&nanos.to_be_bytes());
                bytes[4..].copy_from_slice(&moment.seconds().to_be_bytes());
                Self::Nanos32Seconds64(bytes)
            }
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Seconds32(bytes) => bytes,
            Self::Nanos30Seconds34(bytes) => bytes,
            Self::Nanos32Seconds64(bytes) => bytes,
        }
    }
}

/// The moment that the extension's bytes mean, in any of its three forms.
pub(crate) fn read_extension(bytes: &[u8]) -> Result<Timestamp, &'static str> {
    let (seconds, nanos) = if let Ok(bytes) = bytes.try_into() {
        (u32::from_be_bytes(bytes).into(), 0)
    } else if let Ok(bytes) = bytes.try_into() {
        let both = u64::from_be_bytes(bytes);
        ((both & ((1 << 34) - 1)) as i64, (both >> 34) as u32)
    } else if let Some((nanos, seconds)) = bytes.split_first_chunk() {
        let seconds = seconds.try_into().map_err(|_| "a timestamp has 4, 8 or 12 bytes")?;
        (i64::from_be_bytes(seconds), u32::from_be_bytes(*nanos))
    } else {
        return Err("a timestamp has 4, 8 or 12 bytes");
    };
    if nanos > 999_999_999 {
        return Err("a timestamp with more than 999999999 nanoseconds");
    }
    Ok(Timestamp::new(seconds, nanos))
}

/// The moment of an RFC 3339 text, in any offset.
pub(crate) fn read_rfc3339(text: &str) -> Result<Timestamp, &'static str> {
    let moment: jiff::Timestamp = text.parse().map_err(|_| "no RFC 3339 time, as in 2025-12-01T00:00:00.5Z")?;
    // jiff counts nanoseconds towards 1970, we count them upwards.
    let (seconds, nanos) = (moment.as_second(), moment.subsec_nanosecond());
    Ok(if nanos < 0 {
        Timestamp::new(seconds - 1, (nanos + 1_000_000_000).unsigned_abs())
    } else {
        Timestamp::new(seconds, nanos.unsigned_abs())
    })
}

/// RFC 3339 in UTC, as many digits of the second as it has.
pub(crate) fn rfc3339(moment: Timestamp) -> Result<impl fmt::Display, &'static str> {
    jiff::Timestamp::new(moment.seconds(), moment.subsec_nanos().cast_signed())
        .ok()
        .filter(|moment| (0..=9999).contains(&Offset::UTC.to_datetime(*moment).year()))
        .ok_or("a timestamp before the year 0 or after 9999, which RFC 3339 does not have")
}

/// The extension as rmp-serde knows it: a newtype struct of this name around number and bytes.
#[derive(Serialize, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Extension<'a>(#[serde(borrow)] (i8, &'a serde_bytes::Bytes));

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(&rfc3339(*self).map_err(S::Error::custom)?);
        }
        Extension((EXTENSION, serde_bytes::Bytes::new(Wire::of(*self).bytes()))).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_str(Rfc3339);
        }
        match Extension::deserialize(deserializer)? {
            Extension((EXTENSION, bytes)) => read_extension(bytes).map_err(D::Error::custom),
            Extension((number, _)) => Err(D::Error::custom(format_args!("extension {number}, which is no timestamp"))),
        }
    }
}

struct Rfc3339;

impl Visitor<'_> for Rfc3339 {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RFC 3339 time")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        read_rfc3339(text).map_err(E::custom)
    }
}
