//! What a row is made of: values, timestamps, and the trait by which a record says what it is in TDengine.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The precision of a database's timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Milliseconds, the server's default.
    #[default]
    Milli,
    /// Microseconds.
    Micro,
    /// Nanoseconds.
    Nano,
}

impl Precision {
    /// Units of this precision in a second.
    pub const fn per_second(self) -> i64 {
        match self {
            Self::Milli => 1_000,
            Self::Micro => 1_000_000,
            Self::Nano => 1_000_000_000,
        }
    }
}

/// `ms`, `us` or `ns`, as `create database .. precision` takes it.
impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milli => "ms",
            Self::Micro => "us",
            Self::Nano => "ns",
        })
    }
}

impl FromStr for Precision {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ms" => Ok(Self::Milli),
            "us" => Ok(Self::Micro),
            "ns" => Ok(Self::Nano),
            other => Err(format!("precision {other:?} is none of ms, us, ns")),
        }
    }
}

/// A moment: seconds since 1970-01-01T00:00:00Z, and nanoseconds from there on. Wider than any precision of
/// the server, so that a record's own time is kept whole until it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

impl Timestamp {
    /// The moment `nanos` nanoseconds (carried over into seconds beyond 999,999,999) after `seconds`.
    pub const fn new(seconds: i64, nanos: u32) -> Self {
        Self { seconds: seconds.saturating_add((nanos / 1_000_000_000) as i64), nanos: nanos % 1_000_000_000 }
    }

    /// `count` units of `precision` since 1970-01-01T00:00:00Z.
    pub const fn from_units(count: i64, precision: Precision) -> Self {
        let unit = precision.per_second();
        Self { seconds: count.div_euclid(unit), nanos: (count.rem_euclid(unit) * (1_000_000_000 / unit)) as u32 }
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self::from_units(millis, Precision::Milli)
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Self::seconds`], below 1,000,000,000.
    pub const fn subsec_nanos(self) -> u32 {
        self.nanos
    }

    /// The moment in units of `precision`, digits beyond it cut (as the server cuts them); `None` where 64 bits
    /// do not hold it.
    pub fn in_units(self, precision: Precision) -> Option<i64> {
        let unit = precision.per_second();
        let subsecond = i64::from(self.nanos) / (1_000_000_000 / unit);
        if let Some(units) = self.seconds.checked_mul(unit).and_then(|units| units.checked_add(subsecond)) {
            return Some(units);
        }
        // Long before 1970 the sum may fit where its first part does not.
        i64::try_from(i128::from(self.seconds) * i128::from(unit) + i128::from(subsecond)).ok()
    }
}

/// A cell of a row, before it is held against its column's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value: what is stored for the same key stays, a new row gets NULL.
    Unset,
    /// NULL: overwrites what is stored for the same key.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond `i64`.
    UInt(u64),
    /// A number with a fraction. A 32-bit float is widened, which is exact.
    Float(f64),
    /// A moment.
    Timestamp(Timestamp),
    /// Text: VARCHAR, NCHAR, a JSON tag, a GEOMETRY as WKT, a DECIMAL as digits.
    Text(Cow<'a, str>),
    /// Bytes: VARBINARY, BLOB, a GEOMETRY as WKB, a VARCHAR that need not be UTF-8.
    Bytes(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// The same value, text and bytes borrowed from this one.
    pub fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Unset => Value::Unset,
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Int(number) => Value::Int(*number),
            Self::UInt(number) => Value::UInt(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Timestamp(moment) => Value::Timestamp(*moment),
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }

    /// The same value, text and bytes its own.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Unset => Value::Unset,
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(truth),
            Self::Int(number) => Value::Int(number),
            Self::UInt(number) => Value::UInt(number),
            Self::Float(number) => Value::Float(number),
            Self::Timestamp(moment) => Value::Timestamp(moment),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }

    /// What it is, for messages to people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unset => "no value",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::UInt(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Timestamp(_) => "a timestamp",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$v:ident| $make:expr;)*) => {$(
        impl<'a> From<$from> for Value<'a> {
            fn from($v: $from) -> Self { $make }
        }
    )*};
}
value_from! {
    bool => |v| Value::Bool(v);
    i8 => |v| Value::Int(v.into());
    i16 => |v| Value::Int(v.into());
    i32 => |v| Value::Int(v.into());
    i64 => |v| Value::Int(v);
    u8 => |v| Value::Int(v.into());
    u16 => |v| Value::Int(v.into());
    u32 => |v| Value::Int(v.into());
    u64 => |v| Value::UInt(v);
    f32 => |v| Value::Float(v.into());
    f64 => |v| Value::Float(v);
    Timestamp => |v| Value::Timestamp(v);
    &'a str => |v| Value::Text(Cow::Borrowed(v));
    String => |v| Value::Text(Cow::Owned(v));
    &'a [u8] => |v| Value::Bytes(Cow::Borrowed(v));
    &'a Value<'_> => |v| v.borrowed();
}

/// What is derived hands out references to fields. Type by type: written once for all `&Option<T>`, type inference
/// would look for an end of `Option<Option<..>>`.
macro_rules! value_from_field {
    ($($field:ty => |$v:ident| $make:expr;)*) => {
        value_from! {$(
            &'a $field => |$v| $make;
            &'a Option<$field> => |field| field.as_ref().map_or(Value::Null, |$v| $make);
        )*}
    };
}
value_from_field! {
    bool => |v| (*v).into();
    i8 => |v| (*v).into();
    i16 => |v| (*v).into();
    i32 => |v| (*v).into();
    i64 => |v| (*v).into();
    u8 => |v| (*v).into();
    u16 => |v| (*v).into();
    u32 => |v| (*v).into();
    u64 => |v| (*v).into();
    f32 => |v| (*v).into();
    f64 => |v| (*v).into();
    Timestamp => |v| (*v).into();
    &str => |v| Value::Text(Cow::Borrowed(v));
    String => |v| Value::Text(Cow::Borrowed(v));
    Cow<'_, str> => |v| Value::Text(Cow::Borrowed(v));
    &[u8] => |v| Value::Bytes(Cow::Borrowed(v));
    Vec<u8> => |v| Value::Bytes(Cow::Borrowed(v));
}

/// `None` is NULL. A field that should keep what is stored says [`Value::Unset`] itself.
impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// `#[derive(TaosEncoder)]`: see the trait.
pub use kafka_taos_derive::TaosEncoder;

/// What a record says of itself, so that it can be written as a row: by SQL ([`crate::encode::sql`]) and by
/// binary binds ([`crate::encode::stmt2`]) alike. `#[derive(TaosEncoder)]` writes it for a struct.
///
/// Values are handed out one by one, borrowed from the record: encoding allocates nothing for them.
///
/// ```
/// use kafka_taos::encode::sql::to_taos_insert_sql;
/// use kafka_taos::row::{Precision, TaosEncoder};
///
/// #[derive(TaosEncoder)]
/// #[taos(database = "power", super_table = "meters", table = "d_{device}")]
/// struct Reading {
///     #[taos(timestamp = "ms")]
///     ts: i64,
///     current: f32,
///     #[taos(name = "phase")]
///     angle: Option<f32>,
///     #[taos(tag)]
///     location: String,
///     #[taos(skip)]
///     device: u32,
/// }
///
/// let reading =
///     Reading { ts: 1_764_547_200_000, current: 10.5, angle: None, location: "Bärn".into(), device: 1001 };
/// assert_eq!(
///     String::from_utf8_lossy(&to_taos_insert_sql(&reading, Precision::Milli)?),
///     "insert into `power`.`d_1001` using `power`.`meters` (`location`) tags ('Bärn') \
///      (`ts`,`current`,`phase`) values (1764547200000,10.5,NULL)"
/// );
/// # Ok::<(), kafka_taos::encode::sql::SqlFault>(())
/// ```
pub trait TaosEncoder {
    /// The database; `None`: the one that the connection is set to.
    fn database(&self) -> Option<&str> {
        None
    }

    /// The super table; `None`: the table is a normal one and must exist.
    fn super_table(&self) -> Option<&str>;

    /// The table: a child table of [`Self::super_table`], created at the first row.
    fn table(&self) -> Cow<'_, str>;

    /// The names of the tags, in the order of [`Self::tags`]; empty: all of them, in the super table's order.
    fn tag_names(&self) -> Vec<Cow<'_, str>> {
        Vec::new()
    }

    /// Hands out the tags' values, in order.
    fn tags<'a>(&'a self, put: &mut dyn FnMut(Value<'a>));

    /// The names of the columns, the timestamp first, in the order of [`Self::values`]; empty: all of them, in the
    /// table's order.
    fn column_names(&self) -> Vec<Cow<'_, str>> {
        Vec::new()
    }

    /// Hands out the columns' values, in order, the timestamp first.
    fn values<'a>(&'a self, put: &mut dyn FnMut(Value<'a>));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_timestamp_is_cut_to_the_precision_downwards() {
        let moment = Timestamp::new(1_626_424_457, 123_456_789);
        assert_eq!(moment.in_units(Precision::Milli), Some(1_626_424_457_123));
        assert_eq!(moment.in_units(Precision::Micro), Some(1_626_424_457_123_456));
        assert_eq!(moment.in_units(Precision::Nano), Some(1_626_424_457_123_456_789));
        assert_eq!(Timestamp::new(-1, 999_999_999).in_units(Precision::Milli), Some(-1));
    }

    #[test]
    fn what_64_bits_do_not_hold_is_none() {
        assert_eq!(Timestamp::new(i64::MAX, 0).in_units(Precision::Milli), None);
        assert_eq!(Timestamp::new(i64::MIN, 0).in_units(Precision::Nano), None);
        assert_eq!(Timestamp::from_units(i64::MIN, Precision::Nano).in_units(Precision::Nano), Some(i64::MIN));
    }

    proptest! {
        #[test]
        fn units_survive_the_way_there_and_back(count: i64, which in 0usize..3) {
            let precision = [Precision::Milli, Precision::Micro, Precision::Nano][which];
            prop_assert_eq!(Timestamp::from_units(count, precision).in_units(precision), Some(count));
        }
    }
}
