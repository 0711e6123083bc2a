//! What the server says of its databases and super tables.

use std::borrow::Cow;
use std::time::Duration;

use super::{Field, SuperTable};
use crate::encode::escape::escape_string;
use crate::row::{Precision, Value};
use crate::tdengine::Sql;
use crate::tdengine::error::{Code, TdengineError};
use crate::tdengine::rows::Rows;

/// What a database keeps: the precision of its timestamps, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Database {
    /// The precision.
    pub precision: Precision,
    /// KEEP: how old a row may be when it is written. `None` if the server does not say.
    pub keep: Option<Duration>,
}

impl Database {
    /// Asks the server for the database `name`.
    ///
    /// # Errors
    /// [`TdengineError::NoDatabase`] if it does not exist; what the way to the server gives.
    pub async fn read(server: &impl Sql, name: &str) -> Result<Self, TdengineError> {
        let missing = || TdengineError::NoDatabase { database: name.to_owned() };
        let literal = escape_string(name.as_bytes()).ok_or_else(missing)?;
        let literal = String::from_utf8_lossy(&literal);
        let sql = format!("select `precision`, `keep` from information_schema.ins_databases where name='{literal}'");
        let rows = server.sql(&sql).await?;
        let text = |column| rows.first(column).and_then(text_of);
        let precision = text("precision").ok_or_else(missing)?;
        let precision = precision.parse().map_err(|reason| not_understood(&sql, reason))?;
        Ok(Self { precision, keep: text("keep").and_then(|keep| parse_keep(&keep)) })
    }
}

/// The last, and longest, of `365d,730d,3650d`; units are minutes, hours and days.
fn parse_keep(text: &str) -> Option<Duration> {
    let last = text.rsplit(',').next()?.trim();
    let (count, seconds) = match last.strip_suffix(['m', 'h', 'd']) {
        Some(count) if last.ends_with('m') => (count, 60),
        Some(count) if last.ends_with('h') => (count, 3_600),
        Some(count) => (count, 86_400),
        None => (last, 86_400),
    };
    Some(Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?))
}

impl SuperTable {
    /// Asks the server for the super table `database`.`name`, its database's precision included.
    ///
    /// # Errors
    /// [`TdengineError::NoDatabase`] or [`TdengineError::NoSuperTable`] if it does not exist, [`TdengineError::Schema`]
    /// if it is a normal or child table; what the way to the server gives.
    pub async fn read(server: &impl Sql, database: &str, name: &str) -> Result<Self, TdengineError> {
        let precision = Database::read(server, database).await?.precision;
        let mut stable = Self {
            database: database.to_owned(),
            name: name.to_owned(),
            precision,
            columns: Vec::new(),
            composite_key: false,
            tags: Vec::new(),
        };
        let describe = format!("describe {}", stable.qualified_name());
        let rows = match server.sql(&describe).await {
            Ok(rows) => rows,
            Err(TdengineError::Server { code: Code::TABLE_NOT_EXIST | Code::STABLE_NOT_EXIST, .. }) => {
                return Err(TdengineError::NoSuperTable { name: stable.qualified_name() });
            }
            Err(error) => return Err(error),
        };
        stable.take_fields(&rows).map_err(|reason| not_understood(&describe, reason))?;
        if stable.tags.is_empty() || !stable.is_itself(server).await? {
            let reason = "it is a table, not a super table: name the super table that its rows belong to".to_owned();
            return Err(TdengineError::Schema { name: stable.qualified_name(), reason });
        }
        Ok(stable)
    }

    /// Takes the fields in from what `describe` answers: name, type, length, note.
    fn take_fields(&mut self, rows: &Rows) -> Result<(), String> {
        for row in &rows.rows {
            let [name, data_type, length, rest @ ..] = row.as_slice() else {
                return Err("a field has no type".to_owned());
            };
            let (Some(name), Some(data_type)) = (text_of(name), text_of(data_type)) else {
                return Err("a field has no name".to_owned());
            };
            let note = rest.first().and_then(text_of).unwrap_or_default();
            let length = match length {
                Value::Int(length) => *length,
                _ => 0,
            };
            let sized = matches!(&*data_type, "VARCHAR" | "BINARY" | "NCHAR" | "VARBINARY" | "GEOMETRY");
            let data_type = if sized { format!("{data_type}({length})") } else { data_type.into_owned() };
            let field = Field::new(name, data_type.parse()?);
            if note.contains("TAG") {
                self.tags.push(field);
            } else {
                self.composite_key |= note.contains("COMPOSITE KEY");
                self.columns.push(field);
            }
        }
        if self.columns.is_empty() { Err("it has no columns".to_owned()) } else { Ok(()) }
    }

    /// A child table is described with its super table's tags; only the catalogue tells the two apart.
    async fn is_itself(&self, server: &impl Sql) -> Result<bool, TdengineError> {
        let literal = |name: &str| {
            let escaped = escape_string(name.as_bytes()).unwrap_or_default();
            format!("'{}'", String::from_utf8_lossy(&escaped))
        };
        let sql = format!(
            "select stable_name from information_schema.ins_stables where db_name={} and stable_name={}",
            literal(&self.database),
            literal(&self.name)
        );
        Ok(!server.sql(&sql).await?.rows.is_empty())
    }
}

fn text_of<'v>(value: &'v Value<'static>) -> Option<Cow<'v, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
        _ => None,
    }
}

fn not_understood(sql: &str, reason: String) -> TdengineError {
    TdengineError::Protocol { action: sql.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tdengine::error::Class;
    use crate::tdengine::rows::ColumnMeta;

    #[test]
    fn the_longest_keep_counts() {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(parse_keep("365d,730d,3650d"), days(3650));
        assert_eq!((parse_keep("5256000m"), parse_keep("240h"), parse_keep("7")), (days(3650), days(10), days(7)));
        assert_eq!((parse_keep(""), parse_keep("xd")), (None, None));
    }

    /// A server that answers as was recorded: rows of text, or a code.
    struct Recorded(Vec<(&'static str, Result<Cells, i64>)>);

    type Cells = Vec<Vec<Value<'static>>>;

    impl Sql for Recorded {
        async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
            let known = self.0.iter().find(|(start, _)| sql.starts_with(start));
            match &known.unwrap_or_else(|| panic!("{sql}")).1 {
                Ok(rows) => {
                    let column = |name: &str| ColumnMeta { name: name.into(), data_type: None };
                    let columns = ["precision", "keep"].map(column).to_vec();
                    Ok(Rows { columns, rows: rows.clone(), ..Rows::default() })
                }
                Err(code) => {
                    let (code, message) = (Code::new(*code), "as recorded".to_owned());
                    Err(TdengineError::Server { code, message, action: sql.to_owned() })
                }
            }
        }
    }

    fn field(name: &str, kind: &str, length: i64, note: &str) -> Vec<Value<'static>> {
        let text = |text: &str| Value::from(text.to_owned());
        vec![text(name), text(kind), Value::Int(length), text(note), text("delta-i")]
    }

    fn described() -> Cells {
        vec![
            field("ts", "TIMESTAMP", 8, ""),
            field("k", "INT", 4, "COMPOSITE KEY"),
            field("n", "NCHAR", 24, ""),
            field("d", "DECIMAL(10, 2)", 8, ""),
            field("g", "INT UNSIGNED", 4, "TAG"),
        ]
    }

    const DATABASE: &str = "select `precision`, `keep` from information_schema.ins_databases where name='o''hara'";
    const STABLE: &str =
        "select stable_name from information_schema.ins_stables where db_name='o''hara' and stable_name='st'";

    fn database() -> Cells {
        vec![vec![Value::from("us".to_owned()), Value::from("30d,30d,60d".to_owned())]]
    }

    #[tokio::test]
    async fn a_super_table_is_read_with_its_key_and_precision() {
        let found = vec![vec![Value::from("st".to_owned())]];
        let server = Recorded(vec![
            (DATABASE, Ok(database())),
            ("describe `o'hara`.`st`", Ok(described())),
            (STABLE, Ok(found)),
        ]);
        let stable = SuperTable::read(&server, "o'hara", "st").await.unwrap();
        assert_eq!((stable.precision, stable.composite_key), (Precision::Micro, true));
        let types: Vec<_> =
            stable.columns.iter().chain(&stable.tags).map(|field| field.data_type.to_string()).collect();
        assert_eq!(types, ["TIMESTAMP", "INT", "NCHAR(24)", "DECIMAL(10, 2)", "INT UNSIGNED"]);
        assert_eq!((stable.columns.len(), stable.tags.len()), (4, 1));
        let keep = Database::read(&server, "o'hara").await.unwrap().keep;
        assert_eq!(keep, Some(Duration::from_secs(60 * 86_400)));
    }

    #[tokio::test]
    async fn what_is_missing_is_told_apart() {
        let read = async |answers| SuperTable::read(&Recorded(answers), "o'hara", "st").await.unwrap_err();
        let no_database = read(vec![(DATABASE, Ok(Vec::new()))]).await;
        assert!(matches!(no_database, TdengineError::NoDatabase { .. }), "{no_database}");
        let no_stable = read(vec![(DATABASE, Ok(database())), ("describe", Err(0x2603))]).await;
        assert!(matches!(no_stable, TdengineError::NoSuperTable { .. }), "{no_stable}");
        let child =
            read(vec![(DATABASE, Ok(database())), ("describe", Ok(described())), (STABLE, Ok(Vec::new()))]).await;
        assert!(child.to_string().contains("not a super table"), "{child}");
        let refused = read(vec![(DATABASE, Ok(database())), ("describe", Err(0x2644))]).await;
        assert_eq!(refused.class(), Class::Fatal);
    }
}
