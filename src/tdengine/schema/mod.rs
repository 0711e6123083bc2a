//! Super tables: what the server says of them, what a mapping wants of them, and how the one becomes the other.
//!
//! ```text
//!  wanted ──► check: the server's limits ──┐
//!                                          ├─► differences ─► statements ─► read again ─► the table as it is
//!  read: what the server has ──────────────┘        └─► what no setting mends: an error, with what does
//! ```

mod data_type;
mod ensure;
mod evolve;
mod limits;
mod read;
mod tags;

pub use data_type::DataType;
pub use ensure::{Create, SchemaPolicy, TagDrift};
pub use evolve::{Difference, Evolve, Found, differences};
pub use read::Database;

use crate::encode::escape::quote_identifier;
use crate::row::Precision;

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
