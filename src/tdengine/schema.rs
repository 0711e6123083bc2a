//! Super tables as the server describes them: fields, their types and limits, and the statements that make them.

use std::fmt;
use std::str::FromStr;

use crate::encode::escape::quote_identifier;
use crate::row::Precision;

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

/// A column or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, as the server keeps it.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

impl Field {
    /// The field `name` of `data_type`.
    pub fn new(name: impl Into<String>, data_type: DataType) -> Self {
        Self { name: name.into(), data_type }
    }
}

/// A super table: where its child tables' rows go, and what they look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuperTable {
    /// The database it is in.
    pub database: String,
    /// Its name.
    pub name: String,
    /// The database's precision.
    pub precision: Precision,
    /// The columns; the first is the timestamp that keys the rows.
    pub columns: Vec<Field>,
    /// Whether the second column belongs to the key.
    pub composite_key: bool,
    /// The tags.
    pub tags: Vec<Field>,
}

impl SuperTable {
    /// `database`.`name`, quoted.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", quote_identifier(&self.database), quote_identifier(&self.name))
    }

    /// The statement that makes it, where it is not there yet.
    pub fn create_statement(&self) -> String {
        let list = |fields: &[Field], key: bool| {
            let definitions = fields.iter().enumerate().map(|(i, field)| {
                let suffix = if key && i == 1 { " COMPOSITE KEY" } else { "" };
                format!("{} {}{suffix}", quote_identifier(&field.name), field.data_type)
            });
            definitions.collect::<Vec<_>>().join(", ")
        };
        format!(
            "create stable if not exists {} ({}) tags ({})",
            self.qualified_name(),
            list(&self.columns, self.composite_key),
            list(&self.tags, false)
        )
    }

    /// The statement that drops it, if it is there.
    pub fn drop_statement(&self) -> String {
        format!("drop stable if exists {}", self.qualified_name())
    }
}
