//! The demo record as JSON.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeStruct, Serializer};

use super::{Cell, Record, RecordRef};
use crate::codec::CodecError;
use crate::row::Timestamp;

pub(super) fn read<'a>(record: &mut RecordRef<'a>, payload: &'a [u8]) -> Result<(), CodecError> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    Fill(record)
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| CodecError::json(payload, &error))
}

/// Reads into a record that is already there.
struct Fill<'r, 'a>(&'r mut RecordRef<'a>);

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "deviceID")]
    DeviceId,
    #[serde(rename = "timestamp")]
    Timestamp,
    #[serde(rename = "cols")]
    Cols,
    #[serde(other)]
    Unknown,
}

/// A string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Fill<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Fill<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record with deviceID, timestamp and cols")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut device_id, mut timestamp, mut cols) = (None, None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::DeviceId => device_id = Some(map.next_value::<Text<'a>>()?.0),
                Key::Timestamp => timestamp = Some(map.next_value::<Timestamp>()?),
                Key::Cols => cols = Some(map.next_value_seed(Cells(&mut self.0.cols))?),
                Key::Unknown => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        self.0.device_id = device_id.ok_or_else(|| A::Error::missing_field("deviceID"))?;
        self.0.timestamp = timestamp.ok_or_else(|| A::Error::missing_field("timestamp"))?;
        cols.ok_or_else(|| A::Error::missing_field("cols"))
    }
}

/// Reads into a list of cells that is already there.
struct Cells<'r, 'a>(&'r mut Vec<Cell<'a>>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Cells<'_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.clear();
        deserializer.deserialize_any(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Cells<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of columns")
    }

    /// The original's empty list.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(cell) = list.next_element()? {
            self.0.push(cell);
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Cell<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, true, false, a number or text")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Cell<'de>, E> {
        Ok(Cell::Bool(truth))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cell<'de>, E> {
        Ok(Cell::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cell<'de>, E> {
        Ok(i64::try_from(number).map_or(Cell::UInt(number), Cell::Int))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cell<'de>, E> {
        Ok(Cell::Double(number))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(text.into()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cell<'de>, E> {
        Ok(Cell::Text(text.to_owned().into()))
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut record = RecordRef::default();
        Fill(&mut record).deserialize(deserializer)?;
        Ok(record.into_owned())
    }
}

impl Serialize for RecordRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut record = serializer.serialize_struct("Record", 3)?;
        record.serialize_field("deviceID", &self.device_id)?;
        record.serialize_field("timestamp", &self.timestamp)?;
        record.serialize_field("cols", &self.cols)?;
        record.end()
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::UInt(number) => serializer.serialize_u64(*number),
            Self::Float(number) if number.is_finite() => serializer.serialize_f32(*number),
            Self::Double(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Float(_) | Self::Double(_) => Err(S::Error::custom("JSON has no NaN and no infinity")),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
        }
    }
}
