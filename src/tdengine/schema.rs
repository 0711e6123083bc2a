//! Super tables as the server describes them: fields, their types and limits, and the statements that make them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Sql;
use super::error::{Code, TdengineError};
use super::rows::Rows;
use crate::encode::escape::{escape_string, quote_identifier};
use crate::row::{Precision, Value};

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
    pub(super) fn is_bound_as(self, code: u8, bytes: i32) -> bool {
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

/// What a database keeps: the precision of its timestamps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// The precision.
    pub precision: Precision,
    /// KEEP: how old a row may be when it is written. `None` if the server does not say.
    pub keep: Option<Duration>,
}

impl Database {
    /// Asks the server for the database `name`.
    ///
    /// # Errors
    /// [`TdengineError::NoDatabase`] if it does not exist; what the way to the server gives.
    pub async fn read(server: &impl Sql, name: &str) -> Result<Self, TdengineError> {
        let missing = || TdengineError::NoDatabase { database: name.to_owned() };
        let literal = escape_string(name.as_bytes()).ok_or_else(missing)?;
        let literal = String::from_utf8_lossy(&literal);
        let sql = format!("select `precision`, `keep` from information_schema.ins_databases where name='{literal}'");
        let rows = server.sql(&sql).await?;
        let text = |column| rows.first(column).and_then(text_of);
        let precision = text("precision").ok_or_else(missing)?;
        let precision = precision.parse().map_err(|reason| not_understood(&sql, reason))?;
        Ok(Self { precision, keep: text("keep").and_then(|keep| parse_keep(&keep)) })
    }
}

/// The last, and longest, of `365d,730d,3650d`; units are minutes, hours and days.
fn parse_keep(text: &str) -> Option<Duration> {
    let last = text.rsplit(',').next()?.trim();
    let (count, seconds) = match last.strip_suffix(['m', 'h', 'd']) {
        Some(count) if last.ends_with('m') => (count, 60),
        Some(count) if last.ends_with('h') => (count, 3_600),
        Some(count) => (count, 86_400),
        None => (last, 86_400),
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

impl SuperTable {
    /// Asks the server for the super table `database`.`name`, its database's precision included.
    ///
    /// # Errors
    /// [`TdengineError::NoDatabase`] or [`TdengineError::NoSuperTable`] if it does not exist, [`TdengineError::Schema`]
    /// if it is a normal or child table; what the way to the server gives.
    pub async fn read(server: &impl Sql, database: &str, name: &str) -> Result<Self, TdengineError> {
        let precision = Database::read(server, database).await?.precision;
        let mut stable = Self {
            database: database.to_owned(),
            name: name.to_owned(),
            precision,
            columns: Vec::new(),
            composite_key: false,
            tags: Vec::new(),
        };
        let describe = format!("describe {}", stable.qualified_name());
        let rows = match server.sql(&describe).await {
            Ok(rows) => rows,
            Err(TdengineError::Server { code: Code::TABLE_NOT_EXIST | Code::STABLE_NOT_EXIST, .. }) => {
                return Err(TdengineError::NoSuperTable { name: stable.qualified_name() });
            }
            Err(error) => return Err(error),
        };
        stable.take_fields(&rows).map_err(|reason| not_understood(&describe, reason))?;
        if stable.tags.is_empty() || !stable.is_itself(server).await? {
            let reason = "it is a table, not a super table: name the super table that its rows belong to".to_owned();
            return Err(TdengineError::Schema { name: stable.qualified_name(), reason });
        }
        Ok(stable)
    }

    /// Takes the fields in from what `describe` answers: name, type, length, note.
    fn take_fields(&mut self, rows: &Rows) -> Result<(), String> {
        for row in &rows.rows {
            let [name, data_type, length, rest @ ..] = row.as_slice() else {
                return Err("a field has no type".to_owned());
            };
            let (Some(name), Some(data_type)) = (text_of(name), text_of(data_type)) else {
                return Err("a field has no name".to_owned());
            };
            let note = rest.first().and_then(text_of).unwrap_or_default();
            let length = match length {
                Value::Int(length) => *length,
                _ => 0,
            };
            let sized = matches!(&*data_type, "VARCHAR" | "BINARY" | "NCHAR" | "VARBINARY" | "GEOMETRY");
            let data_type = if sized { format!("{data_type}({length})") } else { data_type.into_owned() };
            let field = Field::new(name, data_type.parse()?);
            if note.contains("TAG") {
                self.tags.push(field);
            } else {
                self.composite_key |= note.contains("COMPOSITE KEY");
                self.columns.push(field);
            }
        }
        if self.columns.is_empty() { Err("it has no columns".to_owned()) } else { Ok(()) }
    }

    /// A child table is described with its super table's tags; only the catalogue tells the two apart.
    async fn is_itself(&self, server: &impl Sql) -> Result<bool, TdengineError> {
        let literal = |name: &str| {
            let escaped = escape_string(name.as_bytes()).unwrap_or_default();
            format!("'{}'", String::from_utf8_lossy(&escaped))
        };
        let sql = format!(
            "select stable_name from information_schema.ins_stables where db_name={} and stable_name={}",
            literal(&self.database),
            literal(&self.name)
        );
        Ok(!server.sql(&sql).await?.rows.is_empty())
    }
}

fn text_of<'v>(value: &'v Value<'static>) -> Option<Cow<'v, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    }
}

fn not_understood(sql: &str, reason: String) -> TdengineError {
    TdengineError::Protocol { action: sql.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tdengine::error::Class;
    use crate::tdengine::rows::ColumnMeta;

    #[test]
    fn the_longest_keep_counts() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(parse_keep("365d,730d,3650d"), days(3650));
        assert_eq!((parse_keep("5256000m"), parse_keep("240h"), parse_keep("7")), (days(3650), days(10), days(7)));
        assert_eq!((parse_keep(""), parse_keep("xd")), (None, None));
    }

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

    /// A server that answers as was recorded: rows of text, or a code.
    struct Recorded(Vec<(&'static str, Result<Cells, i64>)>);

    type Cells = Vec<Vec<Value<'static>>>;

    impl Sql for Recorded {
        async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
            let known = self.0.iter().find(|(start, _)| sql.starts_with(start));
            match &known.unwrap_or_else(|| panic!("{sql}")).1 {
                Ok(rows) => {
                    let column = |name: &str| ColumnMeta { name: name.into(), data_type: None };
                    let columns = ["precision", "keep"].map(column).to_vec();
                    Ok(Rows { columns, rows: rows.clone(), ..Rows::default() })
                }
                Err(code) => {
                    let (code, message) = (Code::new(*code), "as recorded".to_owned());
                    Err(TdengineError::Server { code, message, action: sql.to_owned() })
                }
            }
        }
    }

    fn field(name: &str, kind: &str, length: i64, note: &str) -> Vec<Value<'static>> {
        let text = |text: &str| Value::from(text.to_owned());
        vec![text(name), text(kind), Value::Int(length), text(note), text("delta-i")]
    }

    fn described() -> Cells {
        vec![
            field("ts", "TIMESTAMP", 8, ""),
            field("k", "INT", 4, "COMPOSITE KEY"),
            field("n", "NCHAR", 24, ""),
            field("d", "DECIMAL(10, 2)", 8, ""),
            field("g", "INT UNSIGNED", 4, "TAG"),
        ]
    }

    const DATABASE: &str = "select `precision`, `keep` from information_schema.ins_databases where name='o''hara'";
    const STABLE: &str =
        "select stable_name from information_schema.ins_stables where db_name='o''hara' and stable_name='st'";

    fn database() -> Cells {
        vec![vec![Value::from("us".to_owned()), Value::from("30d,30d,60d".to_owned())]]
    }

    #[tokio::test]
    async fn a_super_table_is_read_with_its_key_and_precision() {
        let found = vec![vec![Value::from("st".to_owned())]];
        let server = Recorded(vec![
            (DATABASE, Ok(database())),
            ("describe `o'hara`.`st`", Ok(described())),
            (STABLE, Ok(found)),
        ]);
        let stable = SuperTable::read(&server, "o'hara", "st").await.unwrap();
        assert_eq!((stable.precision, stable.composite_key), (Precision::Micro, true));
        let types: Vec<_> =
            stable.columns.iter().chain(&stable.tags).map(|field| field.data_type.to_string()).collect();
        assert_eq!(types, ["TIMESTAMP", "INT", "NCHAR(24)", "DECIMAL(10, 2)", "INT UNSIGNED"]);
        assert_eq!((stable.columns.len(), stable.tags.len()), (4, 1));
        let keep = Database::read(&server, "o'hara").await.unwrap().keep;
        assert_eq!(keep, Some(Duration::from_secs(60 * 86_400)));
    }

    #[tokio::test]
    async fn what_is_missing_is_told_apart() {
        let read = async |answers| SuperTable::read(&Recorded(answers), "o'hara", "st").await.unwrap_err();
        let no_database = read(vec![(DATABASE, Ok(Vec::new()))]).await;
        assert!(matches!(no_database, TdengineError::NoDatabase { .. }), "{no_database}");
        let no_stable = read(vec![(DATABASE, Ok(database())), ("describe", Err(0x2603))]).await;
        assert!(matches!(no_stable, TdengineError::NoSuperTable { .. }), "{no_stable}");
        let child =
            read(vec![(DATABASE, Ok(database())), ("describe", Ok(described())), (STABLE, Ok(Vec::new()))]).await;
        assert!(child.to_string().contains("not a super table"), "{child}");
        let refused = read(vec![(DATABASE, Ok(database())), ("describe", Err(0x2644))]).await;
        assert_eq!(refused.class(), Class::Fatal);
    }
}
