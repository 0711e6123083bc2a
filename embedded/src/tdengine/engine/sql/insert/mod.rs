//! INSERT ... VALUES, read in one pass over the bytes straight into a batch; and the same text with `?` for stmt2.
//!
//! The grammar is small and the texts are up to a megabyte of values, so it is written by hand, next to the general
//! parser ([`super::parser`]), as in the server itself. Nothing is looked at twice and no tree is built.

mod row;

use std::sync::Arc;

use self::row::{RowValues, ValueAt};
pub(crate) use self::row::{encode_tags, key_of};
use super::lexer::{self, Comments, Kind, Token};
use super::literal::ValueReader;
use crate::tdengine::engine::batch::Batch;
use crate::tdengine::engine::catalog::{Catalog, ColumnDef, MAX_TABLE_NAME, Name, Relation, Schema, Stable, Table};
use crate::tdengine::engine::{DataType, TdError};

/// Whether a text is INSERT with values (and not INSERT ... SELECT, nor anything the general parser must refuse).
pub(crate) fn is_insert_values(sql: &[u8]) -> bool {
    let mut token = lexer::next(sql, 0, Comments::Skip);
    if token.kind != Kind::Word || token.text(sql) != b"insert" {
        return false;
    }
    loop {
        token = lexer::next(sql, token.end, Comments::Refuse);
        match (token.kind, token.text(sql)) {
            (Kind::Word, b"values" | b"using" | b"file") => return true,
            (Kind::Word, b"select") | (Kind::End, _) => return false,
            _ => {}
        }
    }
}

/// What one value of a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Column(usize),
    Tag(usize),
    TableName,
}

/// The table of one clause: named, or `?` in stmt2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableRef {
    Named(Name),
    Placeholder,
}

/// One clause up to its VALUES.
#[derive(Debug, Clone)]
pub(crate) struct Clause {
    pub(crate) database: Arc<str>,
    pub(crate) table: TableRef,
    pub(crate) schema: Arc<Schema>,
    /// What the values of a row are, in their order.
    pub(crate) bound: Vec<Bound>,
    /// The super table: of USING, or the target itself where the values name the child table.
    pub(crate) stable: Option<Arc<Stable>>,
    /// Tags of USING given as values.
    pub(crate) tags: Option<Arc<[u8]>>,
    /// Tag slots of USING given as `?`.
    pub(crate) tag_placeholders: Vec<usize>,
    /// The target, where it is there already.
    pub(crate) existing: Option<Arc<Table>>,
}

/// Reads INSERT clauses against a catalog that does not change meanwhile.
pub(crate) struct InsertParser<'a> {
    pub(crate) reader: ValueReader<'a>,
    pub(crate) catalog: &'a Catalog,
    pub(crate) current: Option<&'a str>,
    /// stmt2: `?` stands for table names and values.
    pub(crate) placeholders: bool,
}

impl InsertParser<'_> {
    /// Reads a whole statement into a batch.
    pub(crate) fn statement(&mut self) -> Result<Batch, TdError> {
        let mut batch = Batch::default();
        self.head()?;
        loop {
            let clause = self.clause()?;
            self.rows(&clause, &mut batch)?;
            let token = self.reader.peek();
            if matches!(token.kind, Kind::End | Kind::Punct(b';', 0)) {
                return Ok(batch);
            }
        }
    }

    /// `insert into`
    pub(crate) fn head(&mut self) -> Result<(), TdError> {
        self.reader.at = lexer::next(self.reader.sql, 0, Comments::Skip).end;
        if self.reader.take_word("into") {
            return Ok(());
        }
        Err(self.reader.near(self.reader.peek(), "keyword INTO is expected"))
    }

    /// `table [(columns)] [using stable [(tags)] tags(..)] [(columns)] values`
    pub(crate) fn clause(&mut self) -> Result<Clause, TdError> {
        let (database, table) = self.table_name()?;
        let mut columns_at = self.skip_list()?;
        let mut clause =
            if self.reader.take_word("using") { self.using(database, table)? } else { self.target(database, table)? };
        self.reader.precision = self.catalog.database(&clause.database)?.options.precision;
        if columns_at.is_none() {
            columns_at = self.skip_list()?;
        }
        let values = self.reader.peek();
        if !self.reader.take_word("values") {
            if self.reader.take_word("file") {
                return Err(TdError::new(0x0200, "proxy mode does not support csv loading"));
            }
            return Err(self.reader.near(values, "keyword VALUES or FILE is expected"));
        }
        let by_name = clause.existing.is_none() && clause.tags.is_none() && clause.tag_placeholders.is_empty();
        match columns_at {
            Some(at) => clause.bound = self.column_list(at, &clause, by_name)?,
            None if by_name && clause.stable.is_some() => {
                let at = Token { start: values.start.saturating_sub(1), ..values };
                return Err(self
                    .reader
                    .near(at, "(...tbname, ts...) bounded cols is expected for supertable insertion"));
            }
            None => clause.bound = clause.schema.live().map(|(slot, _)| Bound::Column(slot)).collect(),
        }
        Ok(clause)
    }

    /// `[database.]table`, each bare, in backquotes or in quotes, without blanks around the dot.
    fn table_name(&mut self) -> Result<(Arc<str>, TableRef), TdError> {
        let token = self.reader.next();
        if self.placeholders && token.is(b'?') {
            let database = self.current.ok_or_else(|| TdError::new(0x0200, "db is not specified"))?;
            return Ok((self.catalog.database(database)?.name.clone(), TableRef::Placeholder));
        }
        let first = self.name(token)?;
        let sql = self.reader.sql;
        let (database, name) = if sql.get(token.end) == Some(&b'.') {
            let token = lexer::next(sql, token.end + 1, Comments::Refuse);
            self.reader.at = token.end;
            (Some(first), self.name(token)?)
        } else {
            (None, first)
        };
        if name.contains(&b'.') || database.as_ref().is_some_and(|name| name.contains(&b'.')) {
            return Err(TdError::new(0x2617, "The table name cannot contain '.'"));
        }
        if name.is_empty() || name.len() > MAX_TABLE_NAME {
            return Err(self.reader.near(token, "table name is too long"));
        }
        let database = match database {
            Some(database) => String::from_utf8_lossy(&database).into_owned(),
            None => self.current.ok_or_else(|| TdError::new(0x0200, "db is not specified"))?.to_owned(),
        };
        if matches!(database.as_str(), "information_schema" | "performance_schema") {
            return Err(TdError::new(0x2669, "System table not allowed"));
        }
        Ok((self.catalog.database(&database)?.name.clone(), TableRef::Named(name.into())))
    }

    fn name(&self, token: Token) -> Result<Vec<u8>, TdError> {
        let text = token.text(self.reader.sql);
        match token.kind {
            Kind::Word => Ok(text.to_vec()),
            Kind::Quoted => Ok(lexer::unquote_name(text)),
            Kind::Str => Ok(lexer::unescape(text)),
            _ => Err(self.reader.near(token, "table_name is expected")),
        }
    }

    /// A table that must exist, by its own name.
    fn target(&mut self, database: Arc<str>, table: TableRef) -> Result<Clause, TdError> {
        let TableRef::Named(name) = &table else { return Err(TdError::no_table()) };
        let (schema, stable, existing) =
            match self.catalog.database(&database)?.relation(name).ok_or_else(TdError::no_table)? {
                Relation::Super(stable) => (stable.columns.clone(), Some(stable), None),
                Relation::Child(table, stable) => (stable.columns.clone(), Some(stable), Some(table)),
                Relation::Normal(table, schema) => (schema, None, Some(table)),
            };
        Ok(Clause {
            database,
            table,
            schema,
            bound: Vec::new(),
            stable,
            tags: None,
            tag_placeholders: Vec::new(),
            existing,
        })
    }

    /// `stable [(tags)] tags(..)`
    fn using(&mut self, database: Arc<str>, table: TableRef) -> Result<Clause, TdError> {
        let (stable_database, stable_name) = self.table_name()?;
        let TableRef::Named(stable_name) = stable_name else { return Err(TdError::no_table()) };
        let relation = self.catalog.database(&stable_database)?.relation(&stable_name).ok_or_else(TdError::no_table)?;
        let stable = match relation {
            Relation::Super(stable) => stable,
            Relation::Child(_, stable) => stable,
            Relation::Normal(..) => {
                let _ = self.reader.take_word("tags") && self.reader.take(b'(');
                return Err(self.reader.near(self.reader.peek(), ") is expected"));
            }
        };
        let slots: Vec<usize> = match self.skip_list()? {
            Some(at) => self.name_list(at, &stable.tags)?,
            None => stable.tags.live().map(|(slot, _)| slot).collect(),
        };
        if !self.reader.take_word("tags") {
            return Err(self.reader.near(self.reader.peek(), "TAGS is expected"));
        }
        self.expect(b'(', "( is expected")?;
        self.reader.precision = self.catalog.database(&database)?.options.precision;
        let mut values = vec![None; stable.tags.slots.len()];
        let mut tag_placeholders = Vec::new();
        for (i, &slot) in slots.iter().enumerate() {
            if i > 0 && !self.reader.take(b',') {
                return Err(self.reader.near(self.reader.peek(), "invalid data or symbol"));
            }
            if self.placeholders && self.reader.take(b'?') {
                tag_placeholders.push(slot);
                continue;
            }
            let mut value = Vec::new();
            if self.reader.value(&stable.tags.slots[slot], &mut value)? {
                values[slot] = Some(value);
            }
        }
        self.expect(b')', ") is expected")?;
        let existing = match &table {
            TableRef::Named(name) => self.catalog.database(&database)?.tables.get(name).cloned(),
            TableRef::Placeholder => None,
        };
        if let TableRef::Named(name) = &table
            && (existing.as_ref().is_some_and(|table| table.stable_id() != Some(stable.id))
                || self.catalog.database(&database)?.stables.contains_key(name))
        {
            return Err(TdError::new(0x061d, "Table already exists in other stables"));
        }
        let tags = encode_tags(&stable.tags, &values).into();
        let schema = stable.columns.clone();
        Ok(Clause {
            database,
            table,
            schema,
            bound: Vec::new(),
            stable: Some(stable),
            tags: Some(tags),
            tag_placeholders,
            existing,
        })
    }

    fn expect(&mut self, byte: u8, problem: &str) -> Result<(), TdError> {
        if self.reader.take(byte) { Ok(()) } else { Err(self.reader.near(self.reader.peek(), problem)) }
    }

    /// Passes over a list of names in parentheses and says where it starts: its names mean something only once the
    /// schema is known.
    fn skip_list(&mut self) -> Result<Option<usize>, TdError> {
        let open = self.reader.peek();
        if !open.is(b'(') {
            return Ok(None);
        }
        loop {
            let token = self.reader.next();
            match token.kind {
                Kind::Punct(b')', 0) => return Ok(Some(open.end)),
                Kind::End | Kind::Illegal => return Err(self.reader.near(token, ") expected")),
                _ => {}
            }
        }
    }

    /// The names of a list that [`Self::skip_list`] passed over.
    fn names(&self, at: usize) -> Vec<(Token, Vec<u8>)> {
        let (sql, mut at, mut names) = (self.reader.sql, at, Vec::new());
        loop {
            let token = lexer::next(sql, at, Comments::Refuse);
            match token.kind {
                Kind::Punct(b')', 0) | Kind::End => return names,
                Kind::Quoted => names.push((token, lexer::unquote_name(token.text(sql)))),
                Kind::Punct(b',', 0) => {}
                _ => names.push((token, token.text(sql).to_vec())),
            }
            at = token.end;
        }
    }

    fn name_list(&self, at: usize, schema: &Schema) -> Result<Vec<usize>, TdError> {
        let slot = |(_, name): (Token, Vec<u8>)| {
            let name = String::from_utf8_lossy(&name).into_owned();
            schema.find(&name).map(|(slot, _)| slot).ok_or_else(|| invalid_column(&name))
        };
        self.names(at).into_iter().map(slot).collect()
    }

    /// The columns of `(..)`; with `by_name` they may be tags, and `tbname` must be among them.
    fn column_list(&self, at: usize, clause: &Clause, by_name: bool) -> Result<Vec<Bound>, TdError> {
        let tags = clause.stable.as_ref().filter(|_| by_name).map(|stable| &stable.tags);
        let mut bound = Vec::new();
        for (token, name) in self.names(at) {
            let name = String::from_utf8_lossy(&name).into_owned();
            let this = if tags.is_some() && name == "tbname" && token.kind == Kind::Word {
                Bound::TableName
            } else if let Some((slot, _)) = clause.schema.find(&name) {
                Bound::Column(slot)
            } else if let Some((slot, _)) = tags.and_then(|tags| tags.find(&name)) {
                Bound::Tag(slot)
            } else {
                return Err(invalid_column(&name));
            };
            if bound.contains(&this) {
                return Err(TdError::new(0x0216, format!("syntax error near '{name}' (duplicated column name)")));
            }
            bound.push(this);
        }
        if tags.is_some() && !bound.contains(&Bound::TableName) {
            return Err(TdError::new(0x0200, "tbname column should not be null"));
        }
        if !bound.contains(&Bound::Column(0)) {
            return Err(TdError::new(0x0200, "Primary timestamp column should not be null"));
        }
        if clause.schema.key().is_some() && !bound.contains(&Bound::Column(1)) {
            return Err(TdError::new(0x0200, "Primary key column should not be none"));
        }
        Ok(bound)
    }

    /// `(?, ..)` of a statement for stmt2; further rows say nothing new, a further table is refused.
    pub(crate) fn placeholder_row(&mut self, clause: &Clause) -> Result<(), TdError> {
        if !self.reader.take(b'(') {
            return Err(TdError::new(0x0216, "syntax error near 'no any data points'"));
        }
        for i in 0..clause.bound.len() {
            if i > 0 && !self.reader.take(b',') {
                if clause.bound.contains(&Bound::TableName) {
                    return Err(TdError::new(0x0216, "syntax error near '' () expected)"));
                }
                return Err(self.reader.near(self.reader.peek(), ", expected"));
            }
            if !self.reader.take(b'?') {
                return Err(TdError::new(0x263f, "Illegal number of columns"));
            }
        }
        let close = self.reader.next();
        match close.kind {
            Kind::Punct(b')', 0) => {}
            Kind::Punct(b',', 0) => return Err(TdError::new(0x263f, "Illegal number of columns")),
            _ => return Err(self.reader.near(close, ") expected")),
        }
        match self.reader.peek().kind {
            Kind::End | Kind::Punct(b';' | b'(' | b',', 0) => Ok(()),
            _ => Err(TdError::new(0x0200, "single table allowed in one stmt")),
        }
    }

    /// `(..)(..), (..)`
    fn rows(&mut self, clause: &Clause, batch: &mut Batch) -> Result<(), TdError> {
        let mut row = RowValues::new(clause);
        let mut any = false;
        loop {
            let token = self.reader.peek();
            if !token.is(b'(') {
                if any {
                    return Ok(());
                }
                return Err(TdError::new(0x0216, "syntax error near 'no any data points'"));
            }
            self.reader.at = token.end;
            row.clear();
            for (i, &bound) in clause.bound.iter().enumerate() {
                if i > 0 && !self.reader.take(b',') {
                    return Err(self.reader.near(self.reader.peek(), ", expected"));
                }
                self.value(clause, bound, &mut row)?;
            }
            let close = self.reader.next();
            match close.kind {
                Kind::Punct(b')', 0) => {}
                Kind::Punct(b',', 0) => return Err(TdError::new(0x263f, "Illegal number of columns")),
                _ => return Err(self.reader.near(close, ") expected")),
            }
            row.push(clause, batch)?;
            any = true;
            self.reader.take(b',');
        }
    }

    fn value(&mut self, clause: &Clause, bound: Bound, row: &mut RowValues) -> Result<(), TdError> {
        let token = self.reader.peek();
        let start = row.bytes.len();
        match bound {
            Bound::Column(slot) => {
                let column = &clause.schema.slots[slot];
                let some = self.reader.value(column, &mut row.bytes)?;
                if !some && slot == 0 {
                    return Err(self.reader.near(token, "Primary timestamp column should not be null"));
                }
                if !some && column.key {
                    return Err(TdError::new(0x267b, "Primary key column should not be null"));
                }
                row.columns[slot] = ValueAt::given(some, start, row.bytes.len());
            }
            Bound::Tag(slot) => {
                let Some(stable) = &clause.stable else { return Err(TdError::no_table()) };
                let some = self.reader.value(&stable.tags.slots[slot], &mut row.bytes)?;
                row.tags[slot] = ValueAt::given(some, start, row.bytes.len());
            }
            Bound::TableName => {
                let name = ColumnDef::new("tbname", DataType::VarChar(MAX_TABLE_NAME as u32));
                let problem = |text: &str| Err(TdError::new(0x0200, text));
                if !self.reader.value(&name, &mut row.bytes)? {
                    return problem("tbname can not be null value");
                }
                match &row.bytes[start..] {
                    [] => return problem("tbname can not be empty"),
                    name if name.contains(&b'.') => return problem("tbname can not contain '.'"),
                    name => row.name = Some(name.into()),
                }
            }
        }
        Ok(())
    }
}

fn invalid_column(name: &str) -> TdError {
    TdError::new(0x2602, format!("Invalid column name: {name}"))
}
