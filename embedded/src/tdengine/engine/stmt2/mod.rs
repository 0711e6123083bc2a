//! Prepared inserts (stmt2): what a frame must look like to be bound, and what its rows become at exec.
//!
//! The life cycle of a statement (which calls may follow which, errors that stick) belongs to the protocol; here are
//! the checks of one bind, the merge of the bound rows and their atomic write.

mod bind;

use super::batch::{Batch, Duplicates};
use super::catalog::{Catalog, ColumnDef, Relation};
use super::sql::insert::{self, Bound, Clause, InsertParser, TableRef};
use super::sql::lexer::{self, Comments, Kind, Text};
use super::sql::literal::ValueReader;
use super::{DataType, Engine, Precision, Session, TdError};

/// The most rows of one table in one bind.
const MAX_ROWS: usize = 32_767;
/// `is_null` of a row that leaves the stored value as it is; 0 is a value, anything else NULL.
const ABSENT: u8 = 2;

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
    Insert(Box<PreparedInsert>),
    /// A SELECT with this many `?`; put values in their place and [`Engine::execute`] it.
    Query {
        /// The number of `?`.
        parameters: usize,
    },
}

/// A prepared INSERT and the rows bound since the last exec. It keeps the schema it was prepared with.
#[derive(Debug)]
pub struct PreparedInsert {
    fields: Vec<Field>,
    mode: BindMode,
    clause: Clause,
    /// Slots of the tag `?` and of the column `?`.
    tags: Vec<usize>,
    columns: Vec<usize>,
    batch: Batch,
}

impl PreparedInsert {
    /// The `?` in the order of the text.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Whether rows were bound since the last exec.
    pub fn has_rows(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Drops the pending rows.
    pub fn clear(&mut self) {
        self.batch = Batch::default();
    }

    fn duplicates(&self) -> Duplicates {
        match self.mode {
            BindMode::Many => Duplicates::LastRow,
            BindMode::Once => Duplicates::Merge,
        }
    }

    fn names_table(&self) -> bool {
        self.clause.table == TableRef::Placeholder || self.clause.bound.contains(&Bound::TableName)
    }
}

impl Engine {
    /// Prepares an INSERT (or recognises a SELECT) for stmt2.
    pub fn prepare(&self, session: &Session, sql: &[u8], mode: BindMode) -> Result<Prepared, TdError> {
        let text = Text::new(sql);
        let sql = text.bytes();
        if !insert::is_insert_values(sql) {
            return query_parameters(sql)
                .map(|parameters| Prepared::Query { parameters })
                .ok_or_else(|| TdError::new(0x2600, "stmt only support 'SELECT' or 'INSERT'"));
        }
        let catalog = self.inner.catalog();
        let reader = ValueReader {
            sql,
            at: 0,
            precision: Precision::Milli,
            zone: &session.time_zone,
            now: (self.inner.clock)(),
        };
        let mut parser =
            InsertParser { reader, catalog: &catalog, current: session.database.as_deref(), placeholders: true };
        // What SQL calls an unknown table (0x2603) is an unset table name here.
        let table_name_error =
            |error: TdError| if error.code == 0x2603 { TdError::new(0x022b, error.message) } else { error };
        let clause = parser.head().and_then(|()| parser.clause()).map_err(table_name_error)?;
        parser.placeholder_row(&clause)?;
        let slots = |pick: fn(&Bound) -> Option<usize>| clause.bound.iter().filter_map(pick).collect::<Vec<_>>();
        let columns = slots(|bound| if let Bound::Column(slot) = bound { Some(*slot) } else { None });
        let mut tags = slots(|bound| if let Bound::Tag(slot) = bound { Some(*slot) } else { None });
        tags.extend(&clause.tag_placeholders);
        let precision = parser.reader.precision.code();
        let fields = fields(&clause, precision);
        Ok(Prepared::Insert(Box::new(PreparedInsert { fields, mode, clause, tags, columns, batch: Batch::default() })))
    }

    /// Checks the tables of one bind frame and adds their rows to what the statement has pending. Does not touch the store.
    /// After an error nothing of the statement's pending rows remains.
    pub fn bind(&self, insert: &mut PreparedInsert, tables: &[BindTable<'_>]) -> Result<(), TdError> {
        let catalog = self.inner.catalog();
        let mut sources = Vec::new();
        for table in tables {
            if let Err(error) = insert.bind_table(&catalog, table, &mut sources) {
                insert.clear();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the pending rows in one transaction and returns the number of distinct keys. The statement has no pending
    /// rows afterwards, whatever the result.
    pub fn exec(&self, insert: &mut PreparedInsert) -> Result<u64, TdError> {
        let mut batch = std::mem::take(&mut insert.batch);
        insert.check_schema(&self.inner.catalog())?;
        self.inner.write(&mut batch, insert.duplicates())
    }
}

/// The number of `?` in a SELECT ... FROM.
fn query_parameters(sql: &[u8]) -> Option<usize> {
    let mut token = lexer::next(sql, 0, Comments::Skip);
    if token.kind != Kind::Word || token.text(sql) != b"select" {
        return None;
    }
    let (mut from, mut parameters) = (false, 0);
    while token.kind != Kind::End {
        from |= token.kind == Kind::Word && token.text(sql) == b"from";
        parameters += usize::from(token.is(b'?'));
        token = lexer::next(sql, token.end, Comments::Skip);
    }
    from.then_some(parameters)
}

fn fields(clause: &Clause, precision: u8) -> Vec<Field> {
    let table_name = || Field {
        name: "tbname".to_owned(),
        field_type: DataType::VarChar(0).code(),
        precision: 0,
        scale: 0,
        bytes: 271,
        bind_type: BindKind::TableName,
    };
    let field = |column: &ColumnDef, bind_type| Field {
        name: column.name.clone(),
        field_type: column.data_type.code(),
        precision: if column.data_type == DataType::Timestamp { precision } else { 0 },
        scale: 0,
        bytes: if column.data_type == DataType::Json { 16_384 } else { column.data_type.bytes() },
        bind_type,
    };
    let tag = |slot: usize| clause.stable.as_ref().map(|stable| field(&stable.tags.slots[slot], BindKind::Tag));
    let mut fields = Vec::new();
    if clause.table == TableRef::Placeholder {
        fields.push(table_name());
    }
    fields.extend(clause.tag_placeholders.iter().filter_map(|&slot| tag(slot)));
    fields.extend(clause.bound.iter().filter_map(|bound| match *bound {
        Bound::Column(slot) => Some(field(&clause.schema.slots[slot], BindKind::Column)),
        Bound::Tag(slot) => tag(slot),
        Bound::TableName => Some(table_name()),
    }));
    fields
}

impl PreparedInsert {
    /// Whether rows of the schema the statement was prepared with can still be written: with "once" it must not have
    /// changed at all, with "many" its columns must still be there.
    fn check_schema(&self, catalog: &Catalog) -> Result<(), TdError> {
        let database = catalog.database(&self.clause.database)?;
        let now = match (&self.clause.stable, &self.clause.table) {
            (Some(stable), _) => database.stable_by_id(stable.id).map(|stable| stable.columns.clone()),
            (None, TableRef::Named(name)) => match database.relation(name) {
                Some(Relation::Normal(_, schema)) => Some(schema),
                _ => None,
            },
            (None, TableRef::Placeholder) => None,
        };
        let now = now.ok_or_else(TdError::no_table)?;
        let usable = match self.mode {
            BindMode::Once => now.version == self.clause.schema.version,
            BindMode::Many => {
                self.columns.iter().all(|&slot| now.slots.get(slot).is_some_and(|column| !column.dropped))
            }
        };
        if usable { Ok(()) } else { Err(TdError::new(0x061b, "Table schema is old")) }
    }
}
