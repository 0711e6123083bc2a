//! Types of columns and tags.

use std::fmt;
use std::str::FromStr;

/// The type of a column or tag. Lengths are those of the definition: bytes for VARCHAR, VARBINARY, GEOMETRY,
/// characters for NCHAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the names are the server's own
pub enum DataType {
    Bool,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    TinyIntUnsigned,
    SmallIntUnsigned,
    IntUnsigned,
    BigIntUnsigned,
    Float,
    Double,
    Timestamp,
    Varchar(u16),
    NChar(u16),
    VarBinary(u16),
    Geometry(u16),
    Decimal { precision: u8, scale: u8 },
    Blob,
    Json,
}

impl DataType {
    /// The type's number in a stmt2 bind and in result blocks.
    pub const fn code(self) -> u8 {
        match self {
            Self::Bool => 1,
            Self::TinyInt => 2,
            Self::SmallInt => 3,
            Self::Int => 4,
            Self::BigInt => 5,
            Self::Float => 6,
            Self::Double => 7,
            Self::Varchar(_) => 8,
            Self::Timestamp => 9,
            Self::NChar(_) => 10,
            Self::TinyIntUnsigned => 11,
            Self::SmallIntUnsigned => 12,
            Self::IntUnsigned => 13,
            Self::BigIntUnsigned => 14,
            Self::Json => 15,
            Self::VarBinary(_) => 16,
            // Up to 18 digits the server keeps 64 bits, and names that a type of its own.
            Self::Decimal { precision, .. } => {
                if precision <= 18 {
                    21
                } else {
                    17
                }
            }
            Self::Blob => 18,
            Self::Geometry(_) => 20,
        }
    }

    /// The type with the number `code`; `length`, `precision` and `scale` are those of the definition. `None` for a
    /// number that is no type's.
    pub fn from_code(code: u8, length: i64, precision: i64, scale: i64) -> Option<Self> {
        let length = length.clamp(0, u16::MAX.into()) as u16;
        Some(match code {
            1 => Self::Bool,
            2 => Self::TinyInt,
            3 => Self::SmallInt,
            4 => Self::Int,
            5 => Self::BigInt,
            6 => Self::Float,
            7 => Self::Double,
            8 => Self::Varchar(length),
            9 => Self::Timestamp,
            10 => Self::NChar(length),
            11 => Self::TinyIntUnsigned,
            12 => Self::SmallIntUnsigned,
            13 => Self::IntUnsigned,
            14 => Self::BigIntUnsigned,
            15 => Self::Json,
            16 => Self::VarBinary(length),
            17 | 21 => Self::Decimal { precision: precision.clamp(0, 38) as u8, scale: scale.clamp(0, 38) as u8 },
            18 | 19 => Self::Blob,
            20 => Self::Geometry(length),
            _ => return None,
        })
    }

    /// Whether a prepared statement that wants type number `code` of `bytes` bytes wants this type. Those of a text
    /// count two more for its length, four a character in NCHAR.
    pub(in crate::tdengine) fn is_bound_as(self, code: u8, bytes: i32) -> bool {
        let wanted = match self {
            Self::Varchar(length) | Self::VarBinary(length) | Self::Geometry(length) => i32::from(length) + 2,
            Self::NChar(length) => 4 * i32::from(length) + 2,
            _ => bytes,
        };
        code == self.code() && bytes == wanted
    }

    /// Whether its values are whole numbers.
    pub const fn is_integer(self) -> bool {
        matches!(self.code(), 2..=5 | 11..=14)
    }

    /// Whether it is FLOAT or DOUBLE.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::Float | Self::Double)
    }

    /// Bytes of a value, for the types whose values all have the same; `None` where each has its own length.
    pub const fn fixed_width(self) -> Option<usize> {
        match self {
            Self::Bool | Self::TinyInt | Self::TinyIntUnsigned => Some(1),
            Self::SmallInt | Self::SmallIntUnsigned => Some(2),
            Self::Int | Self::IntUnsigned | Self::Float => Some(4),
            Self::BigInt | Self::BigIntUnsigned | Self::Double | Self::Timestamp => Some(8),
            _ => None,
        }
    }
}

/// As in `create table` and in `describe` with its length.
impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("BOOL"),
            Self::TinyInt => f.write_str("TINYINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::TinyIntUnsigned => f.write_str("TINYINT UNSIGNED"),
            Self::SmallIntUnsigned => f.write_str("SMALLINT UNSIGNED"),
            Self::IntUnsigned => f.write_str("INT UNSIGNED"),
            Self::BigIntUnsigned => f.write_str("BIGINT UNSIGNED"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Varchar(n) => write!(f, "VARCHAR({n})"),
            Self::NChar(n) => write!(f, "NCHAR({n})"),
            Self::VarBinary(n) => write!(f, "VARBINARY({n})"),
            Self::Geometry(n) => write!(f, "GEOMETRY({n})"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Blob => f.write_str("BLOB"),
            Self::Json => f.write_str("JSON"),
        }
    }
}

/// Reads a type as people and the server write it, in any letter case: `int`, `binary(10)`, `decimal(18,2)`.
impl FromStr for DataType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (name, arguments) = match lower.split_once('(') {
            Some((name, rest)) => {
                let inner = rest.strip_suffix(')').ok_or_else(|| format!("type {text:?} lacks its closing ')'"))?;
                let numbers: Result<Vec<u16>, _> = inner.split(',').map(|n| n.trim().parse()).collect();
                (
                    name.trim().to_owned(),
                    numbers.map_err(|_| format!("type {text:?} has a length that is not a number"))?,
                )
            }
            None => (lower.split_whitespace().collect::<Vec<_>>().join(" "), Vec::new()),
        };
        let length = || match arguments.as_slice() {
            [length] if *length > 0 => Ok(*length),
            _ => Err(format!("type {text:?} needs one length above 0, as in {name}(24)")),
        };
        let data_type = match name.as_str() {
            "varchar" | "binary" => Self::Varchar(length()?),
            "nchar" => Self::NChar(length()?),
            "varbinary" => Self::VarBinary(length()?),
            "geometry" => Self::Geometry(length()?),
            "decimal" | "numeric" => match arguments.as_slice() {
                [precision @ 1..=38] => Self::Decimal { precision: *precision as u8, scale: 0 },
                [precision @ 1..=38, scale] if scale <= precision => {
                    Self::Decimal { precision: *precision as u8, scale: *scale as u8 }
                }
                _ => {
                    return Err(format!(
                        "type {text:?} needs digits and scale, as in decimal(18,2), at most 38 digits"
                    ));
                }
            },
            _ if !arguments.is_empty() => return Err(format!("type {text:?} takes no length")),
            "bool" => Self::Bool,
            "tinyint" => Self::TinyInt,
            "smallint" => Self::SmallInt,
            "int" | "integer" => Self::Int,
            "bigint" => Self::BigInt,
            "tinyint unsigned" => Self::TinyIntUnsigned,
            "smallint unsigned" => Self::SmallIntUnsigned,
            "int unsigned" | "integer unsigned" => Self::IntUnsigned,
            "bigint unsigned" => Self::BigIntUnsigned,
            "float" => Self::Float,
            "double" => Self::Double,
            "timestamp" => Self::Timestamp,
            "blob" => Self::Blob,
            "json" => Self::Json,
            _ => return Err(format!("type {text:?} is not one of TDengine's")),
        };
        Ok(data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_is_compared_in_its_own_sizes() {
        assert!(DataType::Varchar(8).is_bound_as(8, 10) && !DataType::Varchar(8).is_bound_as(8, 12));
        assert!(DataType::NChar(8).is_bound_as(10, 34) && !DataType::NChar(8).is_bound_as(8, 34));
        assert!(DataType::Int.is_bound_as(4, 4) && !DataType::Int.is_bound_as(5, 8));
        assert!(DataType::Json.is_bound_as(15, 16_384));
        assert!(DataType::Decimal { precision: 10, scale: 2 }.is_bound_as(21, 8));
    }

    #[test]
    fn numbers_of_types_lead_back_to_them() {
        for code in 1..=21 {
            let data_type = DataType::from_code(code, 5, if code == 17 { 30 } else { 10 }, 2).unwrap();
            assert_eq!(data_type.code(), if code == 19 { 18 } else { code });
        }
        assert_eq!(DataType::from_code(0, 0, 0, 0), None);
    }
}
