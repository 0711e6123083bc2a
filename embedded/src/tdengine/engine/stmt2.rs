//! Prepared inserts (stmt2): what a frame must look like to be bound, and what its rows become at exec.
//!
//! The life cycle of a statement (which calls may follow which, errors that stick) belongs to the protocol; here are
//! the checks of one bind, the merge of the bound rows and their atomic write.

use std::sync::Arc;

use super::batch::{Batch, Duplicates, Place};
use super::catalog::{Catalog, ColumnDef, MAX_TABLE_NAME, Name, Schema};
use super::row::{RowReader, RowWriter, Slot, Width};
use super::sql::insert::{self, Bound, Clause, InsertParser, TableRef};
use super::sql::lexer::{self, Comments, Kind, Text};
use super::sql::literal::{self, ValueReader};
use super::storage::Key;
use super::{DataType, Engine, Session, TdError};

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
            precision: super::Precision::Milli,
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

/// Where one slot's values come from while a table's rows are encoded.
enum Source<'a> {
    /// Not bound: stays as it is stored.
    Absent,
    /// The column was dropped.
    Null,
    Fixed {
        is_null: &'a [u8],
        data: &'a [u8],
        width: usize,
    },
    Var {
        is_null: &'a [u8],
        lengths: &'a [u8],
        data: &'a [u8],
        at: usize,
        width: Width,
    },
}

impl PreparedInsert {
    /// Whether rows of the schema the statement was prepared with can still be written: with "once" it must not have
    /// changed at all, with "many" its columns must still be there.
    fn check_schema(&self, catalog: &Catalog) -> Result<(), TdError> {
        let database = find_database(catalog, &self.clause.database)?;
        let now = match (&self.clause.stable, &self.clause.table) {
            (Some(stable), _) => database.stable_by_id(stable.id).map(|stable| stable.columns.clone()),
            (None, TableRef::Named(name)) => match database.relation(name) {
                Some(super::catalog::Relation::Normal(_, schema)) => Some(schema),
                _ => None,
            },
            (None, TableRef::Placeholder) => None,
        };
        let now = now.ok_or_else(no_table)?;
        let usable = match self.mode {
            BindMode::Once => now.version == self.clause.schema.version,
            BindMode::Many => {
                self.columns.iter().all(|&slot| now.slots.get(slot).is_some_and(|column| !column.dropped))
            }
        };
        if usable { Ok(()) } else { Err(TdError::new(0x061b, "Table schema is old")) }
    }

    fn bind_table<'a>(
        &mut self,
        catalog: &Catalog,
        table: &BindTable<'a>,
        sources: &mut Vec<Source<'a>>,
    ) -> Result<(), TdError> {
        let rows = table.columns.first().map_or(0, |column| column.is_null.len());
        if rows == 0 || rows > MAX_ROWS || table.columns.len() < self.columns.len() {
            return Err(TdError::new(0x0236, "bind number out of range or not match"));
        }
        let (database, name) = self.target(catalog, table)?;
        let tags = match &table.tags {
            Some(values) if !self.tags.is_empty() => Some(self.encode_tags(values)?),
            // Tags written out in the statement.
            None if self.tags.is_empty() => self.clause.tags.clone(),
            _ => None,
        };
        let index = self.place(catalog, &database, &name, tags)?;
        self.sources(&table.columns, rows, sources)?;
        let ts_column = self.columns.iter().position(|&slot| slot == 0).map(|i| &table.columns[i]);
        let ts = ts_column.map_or(&[][..], |column| column.data);
        let key = self.clause.schema.key().map(|column| column.data_type);
        let partial = sources.iter().any(|source| match source {
            Source::Absent => true,
            Source::Null => false,
            Source::Fixed { is_null, .. } | Source::Var { is_null, .. } => is_null.contains(&ABSENT),
        });
        let bytes: usize = table.columns.iter().map(|column| column.data.len() + 2 * column.is_null.len()).sum();
        self.batch.reserve(index, rows, bytes + rows * (3 + sources.len() / 4));
        for (row, ts) in ts.chunks_exact(8).take(rows).enumerate() {
            let ts = i64::from_le_bytes(ts.try_into().unwrap_or_default());
            let key = match (key, sources.first()) {
                (Some(data_type), Some(source)) => insert::key_of(data_type, source.peek(row)),
                _ => Key::Int(0),
            };
            self.batch.push(index, ts, key, |out| {
                let mut writer = RowWriter::new(out, sources.len(), partial);
                sources.iter_mut().for_each(|source| source.write(row, &mut writer));
            });
        }
        Ok(())
    }

    /// Database and name of the table a frame addresses: `name` or `database.name`, taken as bytes.
    fn target(&self, catalog: &Catalog, table: &BindTable<'_>) -> Result<(Arc<str>, Name), TdError> {
        if !self.names_table() {
            return match &self.clause.table {
                TableRef::Named(name) => Ok((self.clause.database.clone(), name.clone())),
                TableRef::Placeholder => Err(no_table()),
            };
        }
        let name = table.name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| TdError::new(0x022b, "Stmt table name not set correctly"))?;
        let (database, name) = match name.iter().position(|&byte| byte == b'.') {
            None => (self.clause.database.clone(), name),
            Some(dot) => {
                let database = String::from_utf8_lossy(&name[..dot]);
                (find_database(catalog, &database)?.name.clone(), &name[dot + 1..])
            }
        };
        if name.len() > MAX_TABLE_NAME {
            return Err(TdError::new(0x0200, "name too long"));
        }
        Ok((database, name.into()))
    }

    /// The table's place in the batch.
    fn place(
        &mut self,
        catalog: &Catalog,
        database: &Arc<str>,
        name: &Name,
        tags: Option<Arc<[u8]>>,
    ) -> Result<usize, TdError> {
        let (clause, mode) = (&self.clause, self.mode);
        let by_name = self.names_table();
        let retag = (mode == BindMode::Many).then(|| tags.clone()).flatten();
        let place = || match (&clause.existing, &clause.stable, tags) {
            (Some(table), _, _) if !by_name => Ok(Place::Existing(table.clone())),
            (_, Some(stable), Some(tags)) => Ok(Place::New { stable: stable.clone(), tags }),
            (_, Some(stable), None) => {
                let exists =
                    || find_database(catalog, database).is_ok_and(|database| database.tables.contains_key(name));
                if mode == BindMode::Many && !exists() {
                    return Err(no_table());
                }
                Ok(Place::Child { stable: stable.id })
            }
            _ => Err(no_table()),
        };
        let index = self.batch.table(database, name, &clause.schema, place)?;
        if let (Some(last), Place::New { tags, .. }) = (retag, self.batch.place_mut(index)) {
            *tags = last;
        }
        Ok(index)
    }

    fn encode_tags(&self, values: &[BindColumn<'_>]) -> Result<Arc<[u8]>, TdError> {
        let Some(stable) = &self.clause.stable else { return Err(no_table()) };
        // Tags written out in the statement stand beside the bound ones.
        let mut written = RowReader::new(self.clause.tags.as_deref().unwrap_or_default());
        let tag = |tag: &ColumnDef| match written.next(tag.data_type.width()) {
            Slot::Value(value) => Some(value.to_vec()),
            Slot::Null | Slot::Absent => None,
        };
        let mut encoded: Vec<Option<Vec<u8>>> = stable.tags.slots.iter().map(tag).collect();
        for (&slot, value) in self.tags.iter().zip(values) {
            if value.is_null.first() == Some(&0) {
                encoded[slot] = Some(tag_value(stable.tags.slots[slot].data_type, value)?);
            }
        }
        Ok(insert::encode_tags(&stable.tags, &encoded).into())
    }

    /// Checks the columns of one table and lays them out by slot.
    fn sources<'a>(
        &self,
        columns: &[BindColumn<'a>],
        rows: usize,
        sources: &mut Vec<Source<'a>>,
    ) -> Result<(), TdError> {
        let schema: &Schema = &self.clause.schema;
        sources.clear();
        sources.extend(
            schema.slots.iter().skip(1).map(|column| if column.dropped { Source::Null } else { Source::Absent }),
        );
        for (column, &slot) in columns.iter().zip(&self.columns) {
            let def = &schema.slots[slot];
            if column.type_code != i32::from(def.data_type.code()) {
                return Err(TdError::new(0x0200, "column type mis-match with buffer type"));
            }
            if column.is_null.len() != rows {
                return Err(TdError::new(0x0200, "row number in each bind param should be the same"));
            }
            if (slot == 0 || def.key) && column.is_null.iter().any(|&flag| flag != 0) {
                return Err(TdError::new(0x267b, "Primary key column should not be null"));
            }
            let source = match (def.data_type.fixed_width(), column.lengths) {
                (Some(width), _) => {
                    let needed =
                        column.is_null.iter().rposition(|&flag| flag == 0).map_or(0, |last| (last + 1) * width);
                    (column.data.len() >= needed).then_some(Source::Fixed {
                        is_null: column.is_null,
                        data: column.data,
                        width,
                    })
                }
                (None, Some(lengths)) => {
                    check_lengths(def.data_type, column, lengths)?;
                    Some(Source::Var {
                        is_null: column.is_null,
                        lengths,
                        data: column.data,
                        at: 0,
                        width: def.data_type.width(),
                    })
                }
                (None, None) => {
                    let all_null = column.is_null.iter().all(|&flag| flag != 0);
                    all_null.then_some(Source::Fixed { is_null: column.is_null, data: column.data, width: 0 })
                }
            };
            let source = source.ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
            if slot > 0 {
                sources[slot - 1] = source;
            }
        }
        Ok(())
    }
}

fn length_at(lengths: &[u8], row: usize) -> usize {
    lengths.get(row * 4..row * 4 + 4).map_or(0, |b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]).max(0) as usize)
}

/// Every value must lie in the buffer, fit the column and, for NCHAR, be UTF-8.
fn check_lengths(data_type: DataType, column: &BindColumn<'_>, lengths: &[u8]) -> Result<(), TdError> {
    let mut at = 0;
    for (row, &flag) in column.is_null.iter().enumerate() {
        let len = length_at(lengths, row);
        let value = column.data.get(at..at + len).ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
        at += len;
        if flag == 0 {
            check_text(data_type, value)?;
        }
    }
    Ok(())
}

fn check_text(data_type: DataType, value: &[u8]) -> Result<(), TdError> {
    let max = data_type.length() as usize;
    let fits = match data_type {
        DataType::NChar(_) => {
            let text = std::str::from_utf8(value).map_err(|error| {
                // An incomplete sequence at the end and a wrong byte are different errors of the C library.
                let errno = if error.error_len().is_none() { -2_130_771_946 } else { -2_130_771_884i64 };
                TdError::new(0x0216, format!("syntax error near 'Unknown error {errno}'"))
            })?;
            text.len() <= max || text.chars().count() <= max
        }
        _ => value.len() <= max,
    };
    if fits { Ok(()) } else { Err(TdError::new(0x2653, "Value too long for column/tag")) }
}

/// The stored bytes of a tag. Its type in the frame is not looked at: a fixed-width tag takes the low bytes.
fn tag_value(data_type: DataType, value: &BindColumn<'_>) -> Result<Vec<u8>, TdError> {
    if let Some(width) = data_type.fixed_width() {
        let mut bytes = value.data[..value.data.len().min(width)].to_vec();
        bytes.resize(width, 0);
        return Ok(bytes);
    }
    let len = value.lengths.map_or(value.data.len(), |lengths| length_at(lengths, 0));
    let bytes = value.data.get(..len).ok_or_else(|| TdError::new(0x0118, "Invalid parameters"))?;
    if data_type == DataType::Json {
        let problem = || format!("syntax error near '{}' (json parse error)", String::from_utf8_lossy(bytes));
        return literal::json_tag(bytes).ok_or_else(|| TdError::new(0x0216, problem()));
    }
    check_text(data_type, bytes)?;
    Ok(bytes.to_vec())
}

impl Source<'_> {
    /// Appends the row's value. Rows are asked for in order.
    #[inline]
    fn write(&mut self, row: usize, writer: &mut RowWriter<'_>) {
        match self {
            Self::Absent => writer.absent(),
            Self::Null => writer.null(),
            Self::Fixed { is_null, data, width } => match is_null[row] {
                0 => writer.fixed(&data[row * *width..(row + 1) * *width]),
                ABSENT => writer.absent(),
                _ => writer.null(),
            },
            Self::Var { is_null, lengths, data, at, width } => {
                let len = length_at(lengths, row);
                let value = &data[*at..*at + len];
                *at += len;
                match is_null[row] {
                    0 => writer.push(*width, Slot::Value(value)),
                    ABSENT => writer.absent(),
                    _ => writer.null(),
                }
            }
        }
    }

    /// The row's value, which the next [`Self::write`] appends.
    fn peek(&self, row: usize) -> &[u8] {
        match self {
            Self::Absent | Self::Null => &[],
            Self::Fixed { data, width, .. } => &data[row * width..(row + 1) * width],
            Self::Var { lengths, data, at, .. } => &data[*at..*at + length_at(lengths, row)],
        }
    }
}

fn find_database<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a super::catalog::Database, TdError> {
    catalog.databases.get(name).ok_or_else(|| TdError::new(0x0388, "Database not exist"))
}

fn no_table() -> TdError {
    TdError::new(0x2603, "Table does not exist")
}
