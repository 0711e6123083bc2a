//! What statements do.

mod alter;
mod database;
mod show;
pub(crate) mod system;
mod table;
mod user;

use std::sync::Arc;

use super::batch::Duplicates;
use super::catalog::{Catalog, Database, Relation};
use super::sql::ast::{ObjectName, Statement};
use super::sql::insert::{InsertParser, is_insert_values};
use super::sql::lexer::Text;
use super::sql::literal::ValueReader;
use super::sql::parser;
use super::{Inner, Outcome, Precision, Session, TdError};

/// The longest statement in bytes.
const MAX_SQL_BYTES: usize = 1024 * 1024;

pub(crate) fn is_system(database: &str) -> bool {
    matches!(database, "information_schema" | "performance_schema")
}

impl Inner {
    pub(crate) fn execute(self: &Arc<Self>, session: &mut Session, sql: &[u8]) -> Result<Outcome, TdError> {
        let text = checked(sql)?;
        if is_insert_values(text.bytes()) {
            return self.insert(session, text.bytes());
        }
        let statement = parser::parse(&text)?;
        let sql = text.bytes();
        let affected = match statement {
            Statement::Query(query) => return self.query(session, &query).map(Outcome::Rows),
            Statement::Show(show) => return self.show(session, show).map(Outcome::Rows),
            Statement::Describe(table) => return self.describe(session, &table).map(Outcome::Rows),
            Statement::CreateDatabase { name, if_not_exists, options } => {
                self.create_database(sql, &name, if_not_exists, &options)?
            }
            Statement::AlterDatabase { name, options } => self.alter_database(sql, &name, &options)?,
            Statement::DropDatabase { name, if_exists } => self.drop_database(&name, if_exists)?,
            Statement::Use(name) => {
                if !is_system(&name) && !self.catalog().databases.contains_key(&name) {
                    return Err(TdError::no_database());
                }
                session.database = Some(name);
                0
            }
            Statement::CreateTable(create) => self.create_table(session, create)?,
            Statement::CreateChildren(children) => self.create_children(session, sql, children)?,
            Statement::DropTables { tables, stable } => self.drop_tables(session, &tables, stable)?,
            Statement::AlterTable { table, action } => self.alter_table(session, sql, &table, action)?,
            Statement::InsertQuery { table, columns, query } => self.insert_query(session, &table, columns, &query)?,
            Statement::Delete { table, condition } => self.delete(session, &table, condition.as_ref())?,
            Statement::CreateUser { name, password } => self.create_user(&name, &password)?,
            Statement::AlterUser { name, password } => self.alter_user(&name, &password)?,
            Statement::DropUser(name) => self.drop_user(&name)?,
            Statement::Flush(name) => {
                self.catalog().databases.get(&name).map(|_| 0).ok_or_else(TdError::no_database)?
            }
            Statement::Nothing => 0,
        };
        Ok(Outcome::Update { affected })
    }

    /// Parses and resolves; runs nothing.
    pub(crate) fn validate(self: &Arc<Self>, session: &Session, sql: &[u8]) -> Result<(), TdError> {
        let text = checked(sql)?;
        if is_insert_values(text.bytes()) {
            let catalog = self.catalog();
            return self.insert_parser(session, text.bytes(), &catalog).statement().map(|_| ());
        }
        match parser::parse(&text)? {
            Statement::Query(query) => self.query(session, &query).map(|_| ()),
            Statement::InsertQuery { table, query, .. } => {
                self.relation(session, &table)?;
                self.query(session, &query).map(|_| ())
            }
            Statement::Describe(table) => self.relation(session, &table).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn insert_parser<'a>(&self, session: &'a Session, sql: &'a [u8], catalog: &'a Catalog) -> InsertParser<'a> {
        let now = (self.clock)();
        let reader = ValueReader { sql, at: 0, precision: Precision::Milli, zone: &session.time_zone, now };
        InsertParser { reader, catalog, current: session.database.as_deref(), placeholders: false }
    }

    fn insert(&self, session: &Session, sql: &[u8]) -> Result<Outcome, TdError> {
        let mut batch = {
            let catalog = self.catalog();
            self.insert_parser(session, sql, &catalog).statement()?
        };
        self.write(&mut batch, Duplicates::Merge).map(|affected| Outcome::Update { affected })
    }

    /// What a name stands for.
    pub(crate) fn relation(&self, session: &Session, table: &ObjectName) -> Result<Relation, TdError> {
        let catalog = self.catalog();
        database_of(&catalog, session, table)?.relation(&table.name).ok_or_else(TdError::no_table)
    }
}

/// A statement of a length the server takes.
fn checked(sql: &[u8]) -> Result<Text, TdError> {
    if sql.len() > MAX_SQL_BYTES {
        return Err(TdError::new(0x0219, "SQL statement too long"));
    }
    Ok(Text::new(sql))
}

/// The database that a table's name means.
pub(crate) fn database_name(session: &Session, table: &ObjectName) -> Result<String, TdError> {
    let name = table.database.as_ref().or(session.database.as_ref());
    name.cloned().ok_or_else(|| TdError::new(0x2616, "Database not specified"))
}

pub(crate) fn database_of<'a>(
    catalog: &'a Catalog,
    session: &Session,
    table: &ObjectName,
) -> Result<&'a Database, TdError> {
    catalog.database(&database_name(session, table)?)
}
