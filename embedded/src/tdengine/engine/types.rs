//! What passes between the engine and the protocol layers: types, cells, results, sessions, errors.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// The server's answer to a statement that failed: its code (the low 16 bits, as clients see them) and its exact text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (0x{code:04X})")]
pub struct TdError {
    /// The low 16 bits of the server's error code.
    pub code: u16,
    /// The text the server sends with it.
    pub message: String,
}

impl TdError {
    /// An error with this code and text.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A table that is not there.
    pub(crate) fn no_table() -> Self {
        Self::new(0x2603, "Table does not exist")
    }

    /// A database that is not there.
    pub(crate) fn no_database() -> Self {
        Self::new(0x0388, "Database not exist")
    }

    /// The statement is valid TDengine, but this endpoint does not do it (0x0100, "Operation not supported" on a server).
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(0x0100, format!("{what}: not supported by the embedded endpoint"))
    }
}

/// Unit of a database's timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Precision {
    /// Milliseconds, wire code 0.
    #[default]
    Milli,
    /// Microseconds, wire code 1.
    Micro,
    /// Nanoseconds, wire code 2.
    Nano,
}

impl Precision {
    /// The number the protocols use: 0, 1 or 2.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Fraction digits of a second: 3, 6 or 9.
    pub fn digits(self) -> usize {
        3 + 3 * self as usize
    }

    /// Ticks in one second: 10^3, 10^6 or 10^9.
    pub fn per_second(self) -> i64 {
        [1_000, 1_000_000, 1_000_000_000][self as usize]
    }

    /// `ms`, `us` or `ns`.
    pub fn name(self) -> &'static str {
        ["ms", "us", "ns"][self as usize]
    }
}

/// Type of a column or tag; lengths as declared (bytes, for NCHAR characters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are TDengine's type names")]
pub enum DataType {
    Null,
    Bool,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    UTinyInt,
    USmallInt,
    UInt,
    UBigInt,
    Float,
    Double,
    Timestamp,
    VarChar(u32),
    NChar(u32),
    VarBinary(u32),
    Geometry(u32),
    Decimal { precision: u8, scale: u8 },
    Json,
    Blob,
}

impl DataType {
    /// The type's number in every binary protocol.
    pub fn code(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool => 1,
            Self::TinyInt => 2,
            Self::SmallInt => 3,
            Self::Int => 4,
            Self::BigInt => 5,
            Self::Float => 6,
            Self::Double => 7,
            Self::VarChar(_) => 8,
            Self::Timestamp => 9,
            Self::NChar(_) => 10,
            Self::UTinyInt => 11,
            Self::USmallInt => 12,
            Self::UInt => 13,
            Self::UBigInt => 14,
            Self::Json => 15,
            Self::VarBinary(_) => 16,
            Self::Decimal { precision: 19.., .. } => 17,
            Self::Blob => 18,
            Self::Geometry(_) => 20,
            Self::Decimal { .. } => 21,
        }
    }

    /// The type's name in `column_meta` of REST and in `describe`; DECIMAL carries its precision and scale.
    pub fn name(self) -> String {
        match self {
            Self::Null => "NULL",
            Self::Bool => "BOOL",
            Self::TinyInt => "TINYINT",
            Self::SmallInt => "SMALLINT",
            Self::Int => "INT",
            Self::BigInt => "BIGINT",
            Self::Float => "FLOAT",
            Self::Double => "DOUBLE",
            Self::VarChar(_) => "VARCHAR",
            Self::Timestamp => "TIMESTAMP",
            Self::NChar(_) => "NCHAR",
            Self::UTinyInt => "TINYINT UNSIGNED",
            Self::USmallInt => "SMALLINT UNSIGNED",
            Self::UInt => "INT UNSIGNED",
            Self::UBigInt => "BIGINT UNSIGNED",
            Self::Json => "JSON",
            Self::VarBinary(_) => "VARBINARY",
            Self::Geometry(_) => "GEOMETRY",
            Self::Blob => "BLOB",
            Self::Decimal { precision, scale } => return format!("DECIMAL({precision},{scale})"),
        }
        .to_owned()
    }

    /// Bytes of a fixed-width value; `None` for the variable types.
    pub fn fixed_width(self) -> Option<usize> {
        Some(match self {
            Self::Null | Self::Bool | Self::TinyInt | Self::UTinyInt => 1,
            Self::SmallInt | Self::USmallInt => 2,
            Self::Int | Self::UInt | Self::Float => 4,
            Self::BigInt | Self::UBigInt | Self::Double | Self::Timestamp => 8,
            Self::Decimal { precision, .. } => {
                if precision > 18 {
                    16
                } else {
                    8
                }
            }
            Self::VarChar(_) | Self::NChar(_) | Self::VarBinary(_) | Self::Geometry(_) | Self::Json | Self::Blob => {
                return None;
            }
        })
    }

    /// The declared length, as `describe`, REST's `column_meta` and `fields_lengths` of the WebSocket report it.
    pub fn length(self) -> u32 {
        match self {
            Self::VarChar(n) | Self::NChar(n) | Self::VarBinary(n) | Self::Geometry(n) => n,
            Self::Json => 4095,
            Self::Blob => 4_194_304,
            fixed => fixed.fixed_width().unwrap_or_default() as u32,
        }
    }

    /// The bytes one value may take with its header, as raw blocks and stmt2 fields report it:
    /// two more than the length, and four bytes a character for NCHAR.
    pub fn bytes(self) -> u32 {
        match self {
            Self::NChar(n) => n * 4 + 2,
            Self::VarChar(n) | Self::VarBinary(n) | Self::Geometry(n) => n + 2,
            fixed => fixed.length(),
        }
    }
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The name in the result: alias, column name or the expression's text. Bytes, since the statement need not be UTF-8.
    pub name: Vec<u8>,
    /// Type with its length.
    pub data_type: DataType,
}

/// One value of a result.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL of any type.
    Null,
    /// BOOL.
    Bool(bool),
    /// TINYINT to BIGINT.
    Int(i64),
    /// The unsigned integers.
    UInt(u64),
    /// FLOAT.
    Float(f32),
    /// DOUBLE.
    Double(f64),
    /// TIMESTAMP in the result's precision, counted from 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// VARCHAR (any bytes), NCHAR and JSON (UTF-8), VARBINARY, GEOMETRY (WKB), BLOB.
    Bytes(Box<[u8]>),
    /// DECIMAL: the value times 10^scale.
    Decimal(i128),
}

/// Rows of a result, one row after the other in one flat list of cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// Cells per row.
    pub width: usize,
    /// `width` cells per row.
    pub cells: Vec<Cell>,
}

impl Block {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.width).unwrap_or(0)
    }

    /// Whether there is no row: the result has ended.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The rows, each a slice of `width` cells.
    pub fn rows(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks_exact(self.width.max(1))
    }
}

/// What a statement answers.
#[derive(Debug)]
pub enum Outcome {
    /// Anything that is not a query.
    Update {
        /// Distinct keys written or rows deleted; 0 for DDL.
        affected: u64,
    },
    /// A query.
    Rows(super::ResultSet),
}

/// State of one connection (WebSocket) or one request (REST).
#[derive(Debug, Clone)]
pub struct Session {
    /// The user that logged in.
    pub user: String,
    /// The current database, as `use` left it. It may not exist (any more).
    pub database: Option<String>,
    /// The zone in which timestamps without a zone are read, and in which `interval` and the text functions count.
    pub time_zone: TimeZone,
}

impl Session {
    /// A session without a database, in UTC.
    pub fn new(user: impl Into<String>) -> Self {
        Self { user: user.into(), database: None, time_zone: TimeZone::UTC }
    }
}
