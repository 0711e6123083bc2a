//! Tags of child tables, read and set.

use super::SuperTable;
use crate::block::Column;
use crate::encode::escape::{escape_string, quote_identifier};
use crate::encode::sql::push_cell;
use crate::row::Value;
use crate::tdengine::Sql;
use crate::tdengine::error::{Code, TdengineError};

impl SuperTable {
    /// Asks the server for the tags of those of `tables` that are its child tables.
    ///
    /// # Errors
    /// What the way to the server gives.
    pub async fn read_tags(
        &self,
        server: &impl Sql,
        tables: &[&str],
    ) -> Result<Vec<(String, Vec<Value<'static>>)>, TdengineError> {
        let rows = server.sql(&self.tags_query(tables)).await?.rows;
        let table = |mut row: Vec<Value<'static>>| {
            let tags = row.split_off(1);
            match row.pop() {
                Some(Value::Text(name)) => Some((name.into_owned(), tags)),
                _ => None,
            }
        };
        Ok(rows.into_iter().filter(|row| !row.is_empty()).filter_map(table).collect())
    }

    fn tags_query(&self, tables: &[&str]) -> String {
        let tags: String = self.tags.iter().map(|tag| format!(", {}", quote_identifier(&tag.name))).collect();
        let literal = |table: &&str| {
            let escaped = escape_string(table.as_bytes())?;
            Some(format!("'{}'", String::from_utf8_lossy(&escaped)))
        };
        let names: Vec<_> = tables.iter().filter_map(literal).collect();
        format!("select tags tbname{tags} from {} where tbname in ({})", self.qualified_name(), names.join(","))
    }

    /// Gives its child table `table` other tags: each by its place, and its only cell.
    ///
    /// # Errors
    /// The server's refusal; a value that SQL cannot say.
    pub async fn set_tags(
        &self,
        server: &impl Sql,
        table: &str,
        tags: &[(usize, &Column)],
    ) -> Result<(), TdengineError> {
        server.sql(&self.set_tags_statement(table, tags)?).await.map(drop)
    }

    fn set_tags_statement(&self, table: &str, tags: &[(usize, &Column)]) -> Result<String, TdengineError> {
        let refused = |message: String| TdengineError::Server {
            code: Code::new(0x0216),
            message,
            action: format!("alter table {table} set tag"),
        };
        let mut set = Vec::new();
        for (tag, cell) in tags {
            let mut literal = Vec::new();
            push_cell(&mut literal, cell, 0).map_err(|reason| refused(reason.to_string()))?;
            let literal = String::from_utf8(literal).map_err(|error| refused(error.to_string()))?;
            set.push(format!("{} = {literal}", quote_identifier(&self.tags[*tag].name)));
        }
        let table = format!("{}.{}", quote_identifier(&self.database), quote_identifier(table));
        Ok(format!("alter table {table} set tag {}", set.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Precision;
    use crate::tdengine::schema::{DataType, Field};

    #[test]
    fn statements_quote_what_they_name() {
        let stable = SuperTable {
            database: "d".into(),
            name: "s".into(),
            precision: Precision::Milli,
            columns: Vec::new(),
            composite_key: false,
            tags: vec![Field::new("g", DataType::Int), Field::new("n o", DataType::NChar(9))],
        };
        assert_eq!(
            stable.tags_query(&["a", "o'h"]),
            "select tags tbname, `g`, `n o` from `d`.`s` where tbname in ('a','o''h')"
        );
        let cell = |tag: usize, value: Value<'_>| {
            Column::of_one(stable.tags[tag].data_type, &value, Precision::Milli).unwrap()
        };
        let (g, n) = (cell(0, Value::Int(-5)), cell(1, "it's".into()));
        assert_eq!(
            stable.set_tags_statement("Up `per", &[(1, &n), (0, &g)]).unwrap(),
            "alter table `d`.`Up ``per` set tag `n o` = 'it''s', `g` = -5"
        );
        assert!(stable.set_tags_statement("t", &[(1, &cell(1, "\0".into()))]).is_err());
    }
}
