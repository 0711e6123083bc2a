//! Rows as SQL text, for servers that are too old for binary binds, and for people.
//!
//! `insert into DB.TABLE using DB.STABLE (TAGS) tags(..) (COLUMNS) values(..)(..) TABLE2 using ..`: rows of one table
//! stand under one head, names in backquotes, strings escaped, times as whole numbers in the database's precision.
//! Statements are cut at the server's limit, between rows. They are bytes, because a VARCHAR need not be UTF-8.
//!
//! ```
//! use kafka_taos::encode::sql::to_taos_insert_sql;
//! use kafka_taos::record::{Cell, Record};
//! use kafka_taos::row::{Precision, Timestamp};
//!
//! let record = Record::new("tb1", Timestamp::from_millis(1_626_424_457_123), vec![Cell::from("it's")]);
//! let sql = to_taos_insert_sql(&record, Precision::Milli)?;
//! assert_eq!(
//!     String::from_utf8_lossy(&sql),
//!     "insert into `tb1` using `stb` (`device`) tags ('tb1') (`ts`,`col0`) values (1626424457123,'it''s')"
//! );
//! # Ok::<(), kafka_taos::encode::sql::SqlFault>(())
//! ```
//!
//! A record ([`TaosEncoder`](crate::row::TaosEncoder)) does not know its columns' types, a
//! [`Block`](crate::block::Block) does. So a record's bytes are written as a string that means the same in VARCHAR
//! and VARBINARY, and a float may get other digits in a text column than a bind stores there.

use crate::encode::escape::{NameError, quote_identifier};

mod block;
mod literal;
mod record;
#[cfg(test)]
mod tests;

pub use block::block_statements;
pub use literal::Unwritable;
pub(crate) use literal::push_cell;
pub use record::{RecordFault, to_taos_batch_insert_sql, to_taos_insert_sql};

/// The longest statement that servers before late 2025 take, in bytes.
pub const MAX_STATEMENT_BYTES: usize = 1_048_576;

/// One insert, and what it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// The text.
    pub sql: Vec<u8>,
    /// The rows in it, in their order: row numbers of the block, or places in the slice of records.
    pub rows: Vec<u32>,
}

/// Why a row cannot be written as SQL. Binary binds take most of these.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SqlFault {
    /// The table's name is none.
    #[error("table {name:?}: {source}")]
    TableName {
        /// The refused name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// SQL has no way to write a value.
    #[error("table {table:?}, {field}: {reason}")]
    Value {
        /// The table of the row.
        table: String,
        /// The column or tag.
        field: String,
        /// What cannot be written.
        reason: Unwritable,
    },
    /// The row alone is longer than a statement may be.
    #[error("table {table:?}: a statement of this row alone has {bytes} bytes, the limit is {max_bytes}")]
    RowTooLong {
        /// The table of the row.
        table: String,
        /// How long the statement would be.
        bytes: usize,
        /// How long it may be.
        max_bytes: usize,
    },
    /// Names and values of a record's columns or tags do not belong together.
    #[error("table {table:?}: the record names {names} {what} and has {values} values for them")]
    Names {
        /// The table of the row.
        table: String,
        /// `columns` or `tags`.
        what: &'static str,
        /// How many names.
        names: usize,
        /// How many values.
        values: usize,
    },
    /// Without names a value cannot be left out.
    #[error("table {table:?}: a record with values that are not set must name its columns")]
    NamelessUnset {
        /// The table of the row.
        table: String,
    },
}

const INSERT: &[u8] = b"insert into ";
const VALUES: &[u8] = b" values ";

/// Puts heads and rows together to statements of at most `max_bytes`.
struct StatementWriter<'o> {
    max_bytes: usize,
    statements: &'o mut Vec<Statement>,
    statement: Statement,
    head: Vec<u8>,
    /// Whether rows can follow as they are, because the statement's last head is this one.
    under_head: bool,
}

impl<'o> StatementWriter<'o> {
    fn new(max_bytes: usize, statements: &'o mut Vec<Statement>) -> Self {
        Self { max_bytes, statements, statement: Statement::default(), head: Vec::new(), under_head: false }
    }

    /// What stands before the rows that follow.
    fn head(&mut self, head: Vec<u8>) {
        self.head = head;
        self.under_head = false;
    }

    /// Adds a row; where it is too long for a statement of its own, the error says how long that would be.
    fn row(&mut self, number: u32, text: &[u8]) -> Result<(), usize> {
        let with_head = self.head.len() + VALUES.len() + text.len();
        let alone = INSERT.len() + with_head;
        if alone > self.max_bytes {
            return Err(alone);
        }
        let more = if self.under_head { text.len() } else { 1 + with_head };
        if !self.statement.rows.is_empty() && self.statement.sql.len() + more > self.max_bytes {
            self.end();
        }
        let sql = &mut self.statement.sql;
        if !self.under_head {
            sql.extend_from_slice(if sql.is_empty() { INSERT } else { b" " });
            sql.extend_from_slice(&self.head);
            sql.extend_from_slice(VALUES);
            self.under_head = true;
        }
        sql.extend_from_slice(text);
        self.statement.rows.push(number);
        Ok(())
    }

    /// Ends the statement, if there is one.
    fn end(&mut self) {
        if !self.statement.rows.is_empty() {
            self.statements.push(std::mem::take(&mut self.statement));
        }
        self.under_head = false;
    }
}

/// ` (NAME,NAME)`, or nothing where there are none.
fn push_names<S: AsRef<str>>(text: &mut Vec<u8>, names: &[S]) {
    if names.is_empty() {
        return;
    }
    text.extend_from_slice(b" (");
    for name in names {
        // Without a copy: a hundred names before each table's rows add up.
        let name = name.as_ref();
        if name.contains('`') {
            text.extend_from_slice(quote_identifier(name).as_bytes());
        } else {
            text.push(b'`');
            text.extend_from_slice(name.as_bytes());
            text.push(b'`');
        }
        text.push(b',');
    }
    close(text);
}

/// Turns the comma after the last of a list into its closing parenthesis.
fn close(list: &mut Vec<u8>) {
    if list.last() == Some(&b',') {
        list.pop();
    }
    list.push(b')');
}
