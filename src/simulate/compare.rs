//! Whether what was generated is what is stored: every row, every value.

use serde::Serialize;

use super::Simulator;
use crate::encode::escape::quote_identifier;
use crate::row::{Precision, Timestamp, Value};
use crate::tdengine::error::{Code, TdengineError};
use crate::tdengine::ws::Connection;

/// How stored rows differ from generated ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Rows in the super table.
    pub rows_in_store: u64,
    /// Generated and not stored.
    pub lost: u64,
    /// Stored, but with another value somewhere.
    pub wrong: u64,
    /// Stored and never generated.
    pub duplicated: u64,
    /// The first difference of each kind, for people.
    #[serde(skip)]
    pub examples: Vec<String>,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.wrong == 0 && self.duplicated == 0
    }

    fn note(&mut self, count: u64, text: impl FnOnce() -> String) {
        if count == 0 {
            self.examples.push(text());
        }
    }
}

impl Simulator {
    /// Reads every row of the super table over `connection`, and compares it with the record it was made of.
    ///
    /// # Errors
    /// The server's refusal, or that of the way there.
    pub async fn compare(&self, connection: &Connection) -> Result<Comparison, TdengineError> {
        let precision = crate::tdengine::schema::Database::read(connection, &self.database).await?.precision;
        let mut comparison = Comparison::default();
        let mut of_known_tables = 0;
        for table in 0..self.tables {
            of_known_tables += self.compare_table(connection, table, precision, &mut comparison).await?;
        }
        comparison.rows_in_store = self.stored_rows(connection).await?;
        let elsewhere = comparison.rows_in_store.saturating_sub(of_known_tables);
        if elsewhere > 0 {
            comparison.note(comparison.duplicated, || format!("{elsewhere} rows are in tables that nobody generated"));
            comparison.duplicated += elsewhere;
        }
        Ok(comparison)
    }

    /// How many rows the super table has.
    ///
    /// # Errors
    /// As [`Self::compare`].
    pub async fn stored_rows(&self, connection: &Connection) -> Result<u64, TdengineError> {
        let name = format!("{}.{}", quote_identifier(&self.database), quote_identifier(&self.super_table));
        let rows = connection.query(&format!("select count(*) from {name}")).await?.rows().await?;
        Ok(match rows.rows.first().and_then(|row| row.first()) {
            Some(Value::Int(count)) => u64::try_from(*count).unwrap_or(0),
            _ => 0,
        })
    }

    /// Returns how many rows the table has.
    async fn compare_table(
        &self,
        connection: &Connection,
        table: u64,
        precision: Precision,
        comparison: &mut Comparison,
    ) -> Result<u64, TdengineError> {
        let device = self.device_id(table);
        let columns: String = (0..self.columns).map(|column| format!(", col{column}")).collect();
        let name = format!("{}.{}", quote_identifier(&self.database), quote_identifier(&device));
        let mut query = match connection.query(&format!("select ts{columns} from {name} order by ts")).await {
            Ok(query) => query,
            Err(TdengineError::Server { code: Code::TABLE_NOT_EXIST, .. }) => {
                comparison.note(comparison.lost, || format!("table {device} is not there"));
                comparison.lost += self.records;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let key = |number| self.timestamp(number).in_units(precision);
        let (mut next, mut rows, mut text) = (0, 0, String::new());
        while let Some(block) = query.next_block().await? {
            for row in 0..block.rows() {
                rows += 1;
                let stored = match block.value(row, 0, precision) {
                    Value::Timestamp(moment) => moment,
                    _ => Timestamp::from_millis(i64::MIN),
                };
                while next < self.records && key(next) < stored.in_units(precision) {
                    comparison.note(comparison.lost, || format!("table {device}: record {next} is not there"));
                    comparison.lost += 1;
                    next += 1;
                }
                if next == self.records || key(next) != stored.in_units(precision) {
                    comparison.note(comparison.duplicated, || {
                        format!("table {device}: a row at {stored:?} that nobody generated")
                    });
                    comparison.duplicated += 1;
                    continue;
                }
                let record = self.record_in(&mut text, table, next);
                let differs = record
                    .cols
                    .iter()
                    .enumerate()
                    .position(|(column, cell)| !same(&block.value(row, column + 1, precision), &cell.into()));
                if let Some(column) = differs {
                    comparison
                        .note(comparison.wrong, || format!("table {device}: record {next} differs in col{column}"));
                    comparison.wrong += 1;
                }
                next += 1;
            }
        }
        if next < self.records {
            comparison.note(comparison.lost, || format!("table {device}: record {next} is not there"));
            comparison.lost += self.records - next;
        }
        Ok(rows)
    }
}

fn same(stored: &Value<'_>, generated: &Value<'_>) -> bool {
    match (stored, generated) {
        (Value::Text(stored), Value::Text(generated)) => stored == generated,
        (Value::Bytes(stored), Value::Text(generated)) => **stored == *generated.as_bytes(),
        _ => false,
    }
}
