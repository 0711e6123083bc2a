//! The general parser: everything but INSERT ... VALUES. Recursive descent over the tokens; one statement, of which
//! the rest of the text after `;` is no part.

mod ddl;
mod expr;
mod keywords;
mod select;
mod show;

use super::ast::{DatabaseOption, ObjectName, OptionValue, Statement};
use super::lexer::{self, Comments, Kind, Text, Token};
use crate::tdengine::engine::TdError;
use crate::tdengine::engine::catalog::{MAX_COLUMN_NAME, MAX_DATABASE_NAME, MAX_TABLE_NAME};

type Parse<T> = Result<T, TdError>;

/// How deep expressions and queries may nest.
const MAX_DEPTH: usize = 50;
/// How many queries one UNION, and how many tables one join may have.
const MAX_PARTS: usize = 100;

pub(crate) struct Parser<'a> {
    sql: &'a [u8],
    token: Token,
    /// The end of the last token taken.
    end: usize,
    depth: usize,
}

/// Parses the first statement of a text.
pub(crate) fn parse(text: &Text) -> Parse<Statement> {
    let sql = text.bytes();
    let mut parser = Parser { sql, token: lexer::next(sql, 0, Comments::Skip), end: 0, depth: 0 };
    let statement = parser.statement()?;
    if parser.token.is(b';') || parser.token.kind == Kind::End { Ok(statement) } else { Err(parser.unexpected()) }
}

impl Parser<'_> {
    fn statement(&mut self) -> Parse<Statement> {
        let Some(word) = self.word() else {
            return if self.token.is(b'(') { self.query().map(Statement::Query) } else { Err(self.unexpected()) };
        };
        match word {
            b"select" => self.query().map(Statement::Query),
            b"create" => self.create(),
            b"drop" => self.drop(),
            b"alter" => self.alter(),
            b"show" => self.show(),
            b"describe" | b"desc" => {
                self.advance();
                self.object_name().map(Statement::Describe)
            }
            b"use" => {
                self.advance();
                self.database_name().map(Statement::Use)
            }
            b"insert" => self.insert_query(),
            b"delete" => {
                self.advance();
                self.expect_word("from")?;
                let table = self.object_name()?;
                let condition = if self.take_word("where") { Some(self.expr()?) } else { None };
                Ok(Statement::Delete { table, condition })
            }
            b"reset" => {
                self.advance();
                self.expect_word("query")?;
                self.expect_word("cache")?;
                Ok(Statement::Nothing)
            }
            b"flush" => {
                self.advance();
                self.expect_word("database")?;
                self.database_name().map(Statement::Flush)
            }
            b"explain" => {
                self.advance();
                let _ = self.take_word("analyze");
                self.query()?;
                Err(TdError::unsupported("EXPLAIN"))
            }
            b"grant" | b"revoke" | b"kill" | b"compact" | b"balance" | b"merge" | b"redistribute" | b"split"
            | b"trim" | b"pause" | b"resume" | b"restore" | b"analyze" => {
                Err(TdError::unsupported(String::from_utf8_lossy(word).to_uppercase()))
            }
            _ => Err(self.unexpected()),
        }
    }

    /// `insert into table [(columns)] select ..`
    fn insert_query(&mut self) -> Parse<Statement> {
        self.advance();
        self.expect_word("into")?;
        let table = self.object_name()?;
        let mut columns = None;
        if self.take(b'(') {
            let mut names = vec![self.column_name()?];
            while self.take(b',') {
                names.push(self.column_name()?);
            }
            self.expect(b')')?;
            columns = Some(names);
        }
        if self.word() != Some(b"select") && !self.token.is(b'(') {
            return Err(self.unexpected());
        }
        Ok(Statement::InsertQuery { table, columns, query: self.query()? })
    }

    fn advance(&mut self) -> Token {
        let token = self.token;
        self.end = token.end;
        self.token = lexer::next(self.sql, token.end, Comments::Skip);
        token
    }

    fn unexpected(&self) -> TdError {
        lexer::syntax_error(self.sql, self.token)
    }

    /// The current token if it is a word.
    fn word(&self) -> Option<&[u8]> {
        (self.token.kind == Kind::Word).then(|| self.token.text(self.sql))
    }

    fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word.as_bytes())
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Takes all the words or none.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let (token, end) = (self.token, self.end);
        if words.iter().all(|word| self.take_word(word)) {
            return true;
        }
        (self.token, self.end) = (token, end);
        false
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.token.is(byte);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, byte: u8) -> Parse<()> {
        if self.take(byte) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A name: a word that is no keyword, or anything in backquotes.
    fn name(&mut self, max_bytes: usize) -> Parse<Vec<u8>> {
        let text = self.token.text(self.sql);
        let (name, from) = match self.token.kind {
            Kind::Word if !keywords::is_keyword(text) => (text.to_vec(), self.token.start),
            Kind::Quoted => (lexer::unquote_name(text), self.token.start + 1),
            _ => return Err(self.unexpected()),
        };
        if name.is_empty() || name.len() > max_bytes {
            let rest = String::from_utf8_lossy(&self.sql[from..]);
            return Err(TdError::new(0x2617, format!("Invalid identifier name: {rest}")));
        }
        self.advance();
        Ok(name)
    }

    fn column_name(&mut self) -> Parse<String> {
        self.name(MAX_COLUMN_NAME).map(text)
    }

    fn database_name(&mut self) -> Parse<String> {
        self.name(MAX_DATABASE_NAME).map(text)
    }

    fn object_name(&mut self) -> Parse<ObjectName> {
        let first = self.name(MAX_TABLE_NAME)?;
        if !self.take(b'.') {
            return Ok(ObjectName { database: None, name: first });
        }
        Ok(ObjectName { database: Some(text(first)), name: self.name(MAX_TABLE_NAME)? })
    }

    fn string(&mut self) -> Parse<Vec<u8>> {
        if self.token.kind != Kind::Str {
            return Err(self.unexpected());
        }
        let token = self.advance();
        Ok(lexer::unescape(token.text(self.sql)))
    }

    fn unsigned(&mut self) -> Parse<u64> {
        let value = std::str::from_utf8(self.token.text(self.sql)).ok().and_then(|text| text.parse().ok());
        match value {
            Some(value) if self.token.kind == Kind::Int => {
                self.advance();
                Ok(value)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// A duration such as `1h`, as written.
    fn duration(&mut self) -> Parse<Vec<u8>> {
        if self.token.kind != Kind::Duration {
            if self.token.kind == Kind::Int {
                self.advance();
            }
            return Err(self.unexpected());
        }
        let token = self.advance();
        Ok(token.text(self.sql).to_vec())
    }

    /// `if not exists` or `if exists`
    fn take_if(&mut self, words: &[&str]) -> Parse<bool> {
        if !self.is_word("if") {
            return Ok(false);
        }
        if self.take_words(words) { Ok(true) } else { Err(self.unexpected()) }
    }

    fn option_value(&mut self) -> Parse<OptionValue> {
        let negative = self.token.is(b'-') && {
            self.advance();
            true
        };
        let raw = self.token.text(self.sql);
        let number = |raw: &[u8]| std::str::from_utf8(raw).ok().and_then(|raw| raw.parse::<i64>().ok());
        let value = match self.token.kind {
            Kind::Int => number(raw).map(|value| OptionValue::Int(if negative { -value } else { value })),
            Kind::Duration if !negative => {
                number(&raw[..raw.len() - 1]).map(|value| OptionValue::Duration(value, raw[raw.len() - 1]))
            }
            Kind::Str if !negative => Some(OptionValue::Text(lexer::unescape(raw))),
            _ => None,
        };
        let value = value.ok_or_else(|| self.unexpected())?;
        self.advance();
        Ok(value)
    }

    /// The options of a database up to the end of the statement.
    fn database_options(&mut self, allowed: impl Fn(&str) -> bool) -> Parse<Vec<DatabaseOption>> {
        let mut options = Vec::new();
        while let Some(word) = self.word() {
            let name = String::from_utf8_lossy(word).into_owned();
            if !allowed(&name) {
                return Err(self.unexpected());
            }
            self.advance();
            let at = self.token.start;
            let negative =
                matches!(&*name, "wal_retention_period" | "wal_retention_size" | "table_prefix" | "table_suffix");
            if self.token.is(b'-') && !negative {
                return Err(self.unexpected());
            }
            let mut values = vec![self.option_value()?];
            while self.take(b',') {
                values.push(self.option_value()?);
            }
            options.push(DatabaseOption { name, at, values });
        }
        Ok(options)
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH {
            Err(TdError::unsupported(format!("more than {MAX_DEPTH} levels of nesting")))
        } else {
            parse(self)
        };
        self.depth -= 1;
        result
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
