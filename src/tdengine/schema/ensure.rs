//! Databases and super tables made and changed as a mapping wants them, however many consumers do it at once.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Database, Difference, Evolve, SuperTable, differences};
use crate::encode::escape::quote_identifier;
use crate::row::Precision;
use crate::tdengine::Sql;
use crate::tdengine::error::{Class, Code, TdengineError};

/// What is made where it is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Create {
    /// Nothing.
    #[default]
    None,
    /// Super tables.
    Stable,
    /// Super tables, and the database.
    Database,
}

impl FromStr for Create {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words: Vec<_> = text.split(',').map(str::trim).collect();
        words.sort_unstable();
        match words.as_slice() {
            ["none"] => Ok(Self::None),
            ["stable"] => Ok(Self::Stable),
            ["database", "stable"] => Ok(Self::Database),
            _ => Err(format!("{text:?} is none of none, stable, database,stable")),
        }
    }
}

impl fmt::Display for Create {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Stable => "stable",
            Self::Database => "database,stable",
        })
    }
}

/// What becomes of a message whose tags differ from those of its child table, which exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagDrift {
    /// It is not even looked at.
    Ignore,
    /// It is told and counted; the table stays as it is.
    #[default]
    Log,
    /// The table gets the message's tags, before the message counts as written.
    Alter,
}

impl FromStr for TagDrift {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ignore" => Ok(Self::Ignore),
            "log" => Ok(Self::Log),
            "alter" => Ok(Self::Alter),
            _ => Err(format!("{text:?} is none of log, ignore, alter")),
        }
    }
}

impl fmt::Display for TagDrift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ignore => "ignore",
            Self::Log => "log",
            Self::Alter => "alter",
        })
    }
}

/// What may be made and changed, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaPolicy {
    /// What is made where it is missing.
    pub create: Create,
    /// What is changed where it is not as wanted.
    pub evolve: Evolve,
    /// The precision of a database that is made.
    pub precision: Precision,
    /// Further options of a database that is made, as `create database` has them: `keep 365d vgroups 4`.
    pub database_options: String,
    /// What becomes of tags that differ from those of a table that exists.
    pub tag_drift: TagDrift,
}

/// So often a table is read and changed before it is said to resist.
const MAX_ROUNDS: u32 = 20;

impl SchemaPolicy {
    /// The database `name`, made if it is missing and may be.
    ///
    /// # Errors
    /// As [`Database::read`] has; the server refuses to make it.
    pub async fn database(&self, server: &impl Sql, name: &str) -> Result<Database, TdengineError> {
        let mut rounds = Rounds(0);
        loop {
            match Database::read(server, name).await {
                Err(TdengineError::NoDatabase { .. }) if self.create == Create::Database => {
                    run(server, &self.create_database(name)).await?;
                }
                read => return read,
            }
            rounds.next(name).await?;
        }
    }

    fn create_database(&self, name: &str) -> String {
        let (name, precision, options) = (quote_identifier(name), self.precision, self.database_options.trim());
        let space = if options.is_empty() { "" } else { " " };
        format!("create database if not exists {name} precision '{precision}'{space}{options}")
    }

    /// The super table as it is, once it is as `wanted`: made, or changed, as far as it may be. A text column narrower than
    /// wanted that may not be widened is put up with, and told.
    ///
    /// Consumers that do this at once do not disturb each other: every statement is one that does nothing where another
    /// was first, and what counts is what is read afterwards.
    ///
    /// # Errors
    /// As [`SuperTable::read`] has, where nothing may be made; [`TdengineError::Unfit`] if it is, and must stay, not as wanted;
    /// what the server refuses.
    pub async fn ensure(&self, server: &impl Sql, wanted: &SuperTable) -> Result<SuperTable, TdengineError> {
        let mut rounds = Rounds(0);
        let name = wanted.qualified_name();
        loop {
            let statements = match SuperTable::read(server, &wanted.database, &wanted.name).await {
                Ok(found) => {
                    let statements = self.changes(wanted, &found)?;
                    if statements.is_empty() {
                        return Ok(found);
                    }
                    statements
                }
                Err(TdengineError::NoDatabase { .. }) if self.create == Create::Database => {
                    vec![self.create_database(&wanted.database)]
                }
                Err(TdengineError::NoSuperTable { .. }) if self.create >= Create::Stable => {
                    let wrong = wanted.check();
                    if !wrong.is_empty() {
                        return Err(TdengineError::Unfit { name, reason: wrong.join("; ") });
                    }
                    vec![wanted.create_statement()]
                }
                Err(error) => return Err(error),
            };
            for statement in statements {
                run(server, &statement).await?;
            }
            rounds.next(&name).await?;
        }
    }

    /// The statements that make `found` as `wanted`.
    fn changes(&self, wanted: &SuperTable, found: &SuperTable) -> Result<Vec<String>, TdengineError> {
        let differences = differences(wanted, found);
        let statement = |difference: &Difference| difference.statement(found, self.evolve);
        let (mended, left): (Vec<_>, Vec<_>) = differences.iter().partition(|one| statement(one).is_some());
        let (tolerable, unfit): (Vec<_>, Vec<_>) = left.into_iter().partition(|one| one.is_tolerable());
        let list =
            |differences: &[&Difference]| differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        if !unfit.is_empty() {
            return Err(TdengineError::Unfit { name: found.qualified_name(), reason: list(&unfit) });
        }
        if !tolerable.is_empty() {
            tracing::warn!("{}: {}; longer values are at fault", found.qualified_name(), list(&tolerable));
        }
        Ok(mended.into_iter().filter_map(statement).collect())
    }
}

/// Runs a statement of ours. That another was first is no failure, nor is a server that is busy with the other's.
async fn run(server: &impl Sql, statement: &str) -> Result<(), TdengineError> {
    match server.sql(statement).await {
        Ok(_) => tracing::info!("{statement}"),
        Err(TdengineError::Server {
            code: Code::COLUMN_EXISTS | Code::TAG_EXISTS | Code::NOT_WIDER | Code::DATABASE_EXISTS,
            ..
        }) => {}
        Err(error) if error.class() == Class::Cluster => tracing::warn!(%error, "trying again: {statement}"),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// How often it was tried; the pauses between grow.
struct Rounds(u32);

impl Rounds {
    async fn next(&mut self, name: &str) -> Result<(), TdengineError> {
        self.0 += 1;
        if self.0 >= MAX_ROUNDS {
            let reason = "it does not become as wanted; does another program change it back?".to_owned();
            return Err(TdengineError::Schema { name: name.to_owned(), reason });
        }
        // What was just made is mostly there at once.
        tokio::time::sleep(Duration::from_millis(100) * (self.0 - 1).min(10)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::row::Value;
    use crate::tdengine::rows::{ColumnMeta, Rows};
    use crate::tdengine::schema::{DataType, Field};

    /// A server with at most one super table, which others may change between any two of our statements.
    #[derive(Default)]
    struct Server {
        database: Mutex<bool>,
        stable: Mutex<Option<SuperTable>>,
        statements: Mutex<Vec<String>>,
        /// What another does just before our statement number so.
        meanwhile: Mutex<Vec<(usize, SuperTable)>>,
        busy: Mutex<u32>,
    }

    fn refused(code: i64) -> TdengineError {
        TdengineError::Server { code: Code::new(code), message: "as told".into(), action: "sql".into() }
    }

    fn text(text: impl Into<String>) -> Value<'static> {
        Value::from(text.into())
    }

    impl Sql for Server {
        async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
            let mut stable = self.stable.lock().unwrap();
            let rows = |rows| {
                let column = |name: &str| ColumnMeta { name: name.into(), data_type: None };
                Ok(Rows { columns: ["precision", "keep"].map(column).to_vec(), rows, ..Rows::default() })
            };
            if sql.starts_with("select `precision`") {
                return rows(if *self.database.lock().unwrap() {
                    vec![vec![text("us"), text("365d")]]
                } else {
                    vec![]
                });
            }
            if sql.starts_with("select stable_name") {
                return rows(vec![vec![text("s")]]);
            }
            if sql.starts_with("describe") {
                let Some(stable) = &*stable else { return Err(refused(0x2603)) };
                let field = |field: &Field, note: &str| {
                    let length = match field.data_type {
                        DataType::Varchar(length) | DataType::NChar(length) => length,
                        _ => 8,
                    };
                    let name = field.data_type.to_string();
                    let kind = name.split('(').next().unwrap_or_default();
                    vec![text(&*field.name), text(kind), Value::Int(length.into()), text(note)]
                };
                let columns = stable.columns.iter().map(|column| field(column, ""));
                return rows(columns.chain(stable.tags.iter().map(|tag| field(tag, "TAG"))).collect());
            }
            let mut statements = self.statements.lock().unwrap();
            statements.push(sql.to_owned());
            self.meanwhile.lock().unwrap().retain(|(at, other)| {
                let now = *at == statements.len();
                if now {
                    *stable = Some(other.clone());
                }
                !now
            });
            let mut busy = self.busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return Err(refused(0x03D3));
            }
            if sql.starts_with("create database") {
                *self.database.lock().unwrap() = true;
            } else if sql.starts_with("create stable") {
                stable.get_or_insert_with(wanted);
            } else {
                let words: Vec<_> = sql.split(' ').collect();
                let (name, data_type) = (words[5].trim_matches('`'), words[6].parse().unwrap());
                let stable = stable.as_mut().unwrap();
                let fields = if words[4] == "tag" { &mut stable.tags } else { &mut stable.columns };
                let known = fields.iter_mut().find(|field| field.name == name);
                match (words[3], known) {
                    ("add", None) => fields.push(Field::new(name, data_type)),
                    ("add", Some(_)) => return Err(refused(if words[4] == "tag" { 0x0369 } else { 0x036B })),
                    (_, Some(field)) if field.data_type != data_type => field.data_type = data_type,
                    _ => return Err(refused(0x264B)),
                }
            }
            rows(vec![])
        }
    }

    fn stable(columns: &[(&str, DataType)]) -> SuperTable {
        let columns = columns.iter().map(|(name, data_type)| Field::new(*name, *data_type));
        SuperTable {
            database: "d".into(),
            name: "s".into(),
            precision: Precision::Micro,
            columns: std::iter::once(Field::new("ts", DataType::Timestamp)).chain(columns).collect(),
            composite_key: false,
            tags: vec![Field::new("g", DataType::Int)],
        }
    }

    fn wanted() -> SuperTable {
        stable(&[("v", DataType::Int), ("n", DataType::Varchar(20)), ("w", DataType::Double)])
    }

    fn policy(create: &str, evolve: &str) -> SchemaPolicy {
        let (create, evolve) = (create.parse().unwrap(), evolve.parse().unwrap());
        SchemaPolicy {
            create,
            evolve,
            precision: Precision::Micro,
            database_options: "keep 365d".into(),
            tag_drift: TagDrift::Log,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_missing_is_made_if_it_may_be() {
        let server = Server::default();
        assert!(matches!(
            policy("stable", "none").ensure(&server, &wanted()).await,
            Err(TdengineError::NoDatabase { .. })
        ));
        *server.busy.lock().unwrap() = 2;
        let made = policy("database,stable", "none").ensure(&server, &wanted()).await.unwrap();
        assert_eq!(made, wanted());
        let statements = server.statements.lock().unwrap().clone();
        assert!(statements.iter().all(|sql| sql.contains("if not exists")), "{statements:?}");
        assert_eq!(statements[0], "create database if not exists `d` precision 'us' keep 365d");
        *server.stable.lock().unwrap() = None;
        let missing = policy("none", "add-column,widen").ensure(&server, &wanted()).await;
        assert!(matches!(missing, Err(TdengineError::NoSuperTable { .. })));
        let database = policy("none", "none").database(&server, "d").await.unwrap();
        assert_eq!(database.precision, Precision::Micro);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_never_takes_is_not_asked_for() {
        let server = Server { database: Mutex::new(true), ..Server::default() };
        let too_long = stable(&[("n", DataType::Varchar(65_535))]);
        let error = policy("stable", "none").ensure(&server, &too_long).await.unwrap_err();
        assert_eq!((error.class(), server.statements.lock().unwrap().len()), (Class::Fatal, 0));
        assert!(error.to_string().contains("n: VARCHAR(65535) is too long"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_as_wanted_is_changed_if_it_may_be() {
        let old = stable(&[("v", DataType::Int), ("n", DataType::Varchar(8))]);
        let server = Server { database: Mutex::new(true), stable: Mutex::new(Some(old.clone())), ..Server::default() };
        let error = policy("stable", "widen").ensure(&server, &wanted()).await.unwrap_err();
        assert!(error.class() == Class::Fatal && error.to_string().contains("no column w (DOUBLE): add it"), "{error}");
        assert_eq!(server.statements.lock().unwrap().len(), 0, "nothing is changed where something must stay wrong");
        let tolerated = policy("none", "add-column").ensure(&server, &wanted()).await.unwrap();
        assert_eq!((tolerated.columns.len(), tolerated.columns[2].data_type), (4, DataType::Varchar(8)));
        assert_eq!(policy("none", "add-column,widen").ensure(&server, &wanted()).await.unwrap(), wanted());
    }

    #[tokio::test(start_paused = true)]
    async fn another_may_be_first_anywhere() {
        let old = stable(&[("v", DataType::Int), ("n", DataType::Varchar(8))]);
        let narrow = stable(&[("v", DataType::Int), ("n", DataType::Varchar(9)), ("w", DataType::Double)]);
        let wide = stable(&[("v", DataType::Int), ("n", DataType::Varchar(40)), ("w", DataType::Double)]);
        for (begin, other) in [(None, &old), (None, &wide), (Some(&old), &narrow), (Some(&old), &wide)] {
            for at in 1..=2 {
                let server = Server {
                    database: Mutex::new(true),
                    stable: Mutex::new(begin.cloned()),
                    meanwhile: Mutex::new(vec![(at, other.clone())]),
                    ..Server::default()
                };
                let found = policy("stable", "add-column,widen").ensure(&server, &wanted()).await.unwrap();
                assert_eq!(differences(&wanted(), &found), [], "{begin:?} {other:?} {at}");
            }
        }
    }

    #[test]
    fn settings_are_read_and_shown() {
        for text in ["none", "stable", "database,stable"] {
            assert_eq!(text.parse::<Create>().unwrap().to_string(), text);
        }
        for text in ["log", "ignore", "alter"] {
            assert_eq!(text.parse::<TagDrift>().unwrap().to_string(), text);
        }
        assert!("table".parse::<Create>().unwrap_err().contains("database,stable"));
    }
}
