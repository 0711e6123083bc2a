//! Rows that stand in the database with other values: what an old row would cost that is written now.

use std::collections::HashMap;

use super::cell::Cell;
use crate::block::Block;
use crate::encode::escape::quote_identifier;
use crate::tdengine::{Code, Rows, Sql, TdengineError};

/// Rows that are asked for at once.
const AT_ONCE: usize = 200;

/// The rows of `block` whose key stands in the database with another value in a cell that the row has a value for. What the
/// block itself has for the key, in a row before, is no other value.
///
/// # Errors
/// The database could not be asked.
pub async fn overwriting(sql: &impl Sql, block: &Block) -> Result<Vec<u32>, TdengineError> {
    let mut of_table: Vec<Vec<u32>> = vec![Vec::new(); block.tables()];
    (0..block.rows() as u32).for_each(|row| of_table[block.table_of(row)].push(row));
    let mut overwriting = Vec::new();
    for (table, rows) in of_table.iter().enumerate() {
        for rows in rows.chunks(AT_ONCE) {
            let stored = match sql.sql(&question(block, table, rows)).await {
                Ok(stored) => stored,
                // Nothing of it can be overwritten.
                Err(TdengineError::Server { code: Code::TABLE_NOT_EXIST, .. }) => break,
                Err(error) => return Err(error),
            };
            overwriting.extend(compare(block, rows, &stored));
        }
    }
    Ok(overwriting)
}

fn question(block: &Block, table: usize, rows: &[u32]) -> String {
    let schema = block.schema();
    let columns: Vec<_> = schema.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let time = |row: &u32| {
        let mut units = [0; 8];
        units.copy_from_slice(block.columns()[0].bytes(*row as usize));
        i64::from_le_bytes(units).to_string()
    };
    let times: Vec<_> = rows.iter().map(time).collect();
    format!(
        "select {} from {}.{} where {} in ({})",
        columns.join(", "),
        quote_identifier(&schema.database),
        quote_identifier(block.table_name(table)),
        columns[0],
        times.join(", ")
    )
}

fn compare(block: &Block, rows: &[u32], stored: &Rows) -> Vec<u32> {
    let schema = block.schema();
    let keys = if schema.composite_key { 2 } else { 1 };
    let expected = |row: u32| block.columns().iter().map(move |column| Cell::expected(column, row as usize));
    let in_one_form = |cells: &Vec<_>| {
        let cell =
            |(value, column): (_, &crate::block::Column)| Cell::stored(value, column.data_type, schema.precision);
        cells.iter().zip(block.columns()).map(cell).collect()
    };
    let stored: HashMap<Vec<Cell>, Vec<Cell>> = stored
        .rows
        .iter()
        .map(|cells| {
            let mut key: Vec<Cell> = in_one_form(cells);
            let rest = key.split_off(keys.min(key.len()));
            (key, rest)
        })
        .collect();
    let mut explained: HashMap<Vec<Cell>, bool> = HashMap::new();
    let mut overwriting = Vec::new();
    for &row in rows {
        let key: Vec<Cell> = expected(row).take(keys).collect();
        let Some(stands) = stored.get(&key) else { continue };
        let fits = expected(row).skip(keys).zip(stands).all(|(cell, stands)| cell == Cell::Unset || cell == *stands);
        let explained = explained.entry(key).or_default();
        if !fits && !*explained {
            overwriting.push(row);
        }
        *explained |= fits;
    }
    overwriting
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::{Timestamp, Value};
    use crate::worker::fake::schema;

    /// Answers with these rows of table `d`, and knows no other.
    struct Standing(Vec<(i64, Value<'static>)>);

    impl Sql for Standing {
        async fn sql(&self, sql: &str) -> Result<Rows, TdengineError> {
            if !sql.starts_with("select `ts`, `v1` from `power`.`d` where `ts` in (") {
                return Err(crate::worker::fake::refused(0x2603));
            }
            let row = |(ts, value): &(i64, Value<'static>)| {
                vec![Value::Timestamp(Timestamp::from_millis(*ts)), value.clone()]
            };
            Ok(Rows { rows: self.0.iter().map(row).collect(), ..Rows::default() })
        }
    }

    #[tokio::test]
    async fn only_other_values_are_in_the_way() {
        let mut block = Block::new(Arc::new(schema(2)));
        let mut push = |table: &str, ts: i64, value: Value<'_>| {
            let mut row = block.row(table, 0).unwrap();
            row.set(0, &Value::Int(ts)).unwrap();
            row.set(1, &value).unwrap();
            row.finish().unwrap();
        };
        let rows = [
            ("d", 1, Value::Int(1)),
            ("d", 2, Value::Int(2)),
            ("d", 3, Value::Int(-3)),
            ("d", 4, Value::Null),
            ("d", 5, Value::Unset),
            ("d", 6, Value::Int(6)),
            ("d", 6, Value::Int(7)),
            ("d", 7, Value::Int(7)),
            ("d", 7, Value::Int(8)),
            ("e", 1, Value::Int(9)),
        ];
        rows.into_iter().for_each(|(table, ts, value)| push(table, ts, value));
        let standing = [
            (2, Value::Int(2)),
            (3, Value::Int(4)),
            (4, Value::Int(4)),
            (5, Value::Int(5)),
            (6, Value::Int(6)),
            (7, Value::Int(8)),
        ];
        let overwriting = overwriting(&Standing(standing.to_vec()), &block).await.unwrap();
        // 3 and 4 stand with other values; of 6 the first of two letters was written before; of 7 the first is older.
        assert_eq!(overwriting, [2, 3, 7]);
    }
}
