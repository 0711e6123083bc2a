//! Prepared inserts (stmt2): what a frame must look like to be bound, and what its rows become at exec.
//!
//! The life cycle of a statement (which calls may follow which, errors that stick) belongs to the protocol; here are
//! the checks of one bind, the merge of the bound rows and their atomic write.

use super::TdError;

/// `single_table_bind_once` of `stmt2_init`: the two ways of the server's client library to collect binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindMode {
    /// `false`: of rows with the same key the last one wins as a whole, its NULLs too; tables are looked up at bind.
    Many,
    /// `true`: rows with the same key merge per column, a NULL does not overwrite; tables are looked up at exec.
    Once,
}

/// What a `?` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindKind {
    /// A column's values, `bind_type` 1.
    Column = 1,
    /// A tag's value, `bind_type` 2.
    Tag = 2,
    /// The table's name, `bind_type` 4.
    TableName = 4,
}

/// One `?` of a prepared insert, as `stmt2_prepare` reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Name of the column or tag, or `tbname`.
    pub name: String,
    /// The type's number ([`super::DataType::code`]).
    pub field_type: u8,
    /// Timestamps: the database's precision; DECIMAL: its digits; 0 otherwise.
    pub precision: u8,
    /// DECIMAL: digits of the fraction; 0 otherwise.
    pub scale: u8,
    /// [`super::DataType::bytes`]; 271 for a table name.
    pub bytes: u32,
    /// What the `?` stands for.
    pub bind_type: BindKind,
}

/// The values of one column (or one tag: a single row) of one table in a bind frame, as they lie in the frame.
#[derive(Debug, Clone, Copy)]
pub struct BindColumn<'a> {
    /// The type's number as the frame names it; not checked by the frame parser.
    pub type_code: i32,
    /// One byte a row: 0 value, 1 NULL, 2 no value.
    pub is_null: &'a [u8],
    /// One little-endian i32 a row for variable types (`have_length` 1), else `None`.
    pub lengths: Option<&'a [u8]>,
    /// The buffer; may be empty if every row is NULL.
    pub data: &'a [u8],
}

/// One table of a bind frame.
#[derive(Debug, Clone, Default)]
pub struct BindTable<'a> {
    /// The name without its NUL; `None` if the frame carries no names.
    pub name: Option<&'a [u8]>,
    /// In the order of the statement's tag `?`; `None` if the frame carries no tags.
    pub tags: Option<Vec<BindColumn<'a>>>,
    /// In the order of the statement's column `?`.
    pub columns: Vec<BindColumn<'a>>,
}

/// What `stmt2_prepare` made of the text.
#[derive(Debug)]
pub enum Prepared {
    /// An INSERT with its pending rows.
    Insert(PreparedInsert),
    /// A SELECT with this many `?`; the endpoint can describe it but does not run it.
    Query {
        /// The number of `?`.
        parameters: usize,
    },
}

/// A prepared INSERT and the rows bound since the last exec.
#[derive(Debug)]
pub struct PreparedInsert {
    fields: Vec<Field>,
}

impl PreparedInsert {
    /// The `?` in the order of the text.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether rows were bound since the last exec.
    pub fn has_rows(&self) -> bool {
        false
    }
}

impl super::Engine {
    /// Prepares an INSERT (or recognises a SELECT) for stmt2.
    pub fn prepare(&self, _session: &super::Session, _sql: &[u8], _mode: BindMode) -> Result<Prepared, TdError> {
        Err(TdError::unsupported("stmt2"))
    }

    /// Checks the tables of one bind frame and adds their rows to what the statement has pending. Does not touch the store.
    /// After an error nothing of the statement's pending rows remains.
    pub fn bind(&self, _insert: &mut PreparedInsert, _tables: &[BindTable<'_>]) -> Result<(), TdError> {
        Err(TdError::unsupported("stmt2"))
    }

    /// Writes the pending rows in one transaction and returns the number of distinct keys. The statement has no pending
    /// rows afterwards, whatever the result.
    pub fn exec(&self, _insert: &mut PreparedInsert) -> Result<u64, TdError> {
        Err(TdError::unsupported("stmt2"))
    }
}
