//! Records as statements, without knowing their columns' types.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::literal::push_value;
use super::{INSERT, SqlFault, Statement, StatementWriter, VALUES, close, push_names};
use crate::encode::escape::{check_table_name, quote_identifier};
use crate::row::{Precision, TaosEncoder, Value};

/// A record that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {record}: {fault}")]
pub struct RecordFault {
    /// Its place in the slice.
    pub record: usize,
    /// What is wrong with it.
    #[source]
    pub fault: SqlFault,
}

/// The statement that inserts one record, times in `precision`. It may be longer than a server takes.
///
/// # Errors
/// SQL cannot express the record.
pub fn to_taos_insert_sql(record: &impl TaosEncoder, precision: Precision) -> Result<Vec<u8>, SqlFault> {
    let RecordText { head, row, .. } = RecordText::of(record, precision)?;
    Ok([INSERT, &head, VALUES, &row].concat())
}

/// The statements, of at most `max_bytes` each, that insert `records`, times in `precision`. They are to be run one
/// after another: a key that comes again stands in a later statement, because within one the server would not let a
/// NULL overwrite.
///
/// # Errors
/// The first record that SQL cannot express, or that alone is longer than a statement may be. Nothing is to be
/// written then.
pub fn to_taos_batch_insert_sql<R: TaosEncoder>(
    records: &[R],
    precision: Precision,
    max_bytes: usize,
) -> Result<Vec<Statement>, RecordFault> {
    let mut statements = Vec::new();
    let mut group = Group::default();
    for (place, record) in records.iter().enumerate() {
        let text = RecordText::of(record, precision).map_err(|fault| RecordFault { record: place, fault })?;
        if !group.keys.insert(text.key()) {
            std::mem::take(&mut group).write(max_bytes, &mut statements)?;
            group.keys.insert(text.key());
        }
        group.push(text, place);
    }
    group.write(max_bytes, &mut statements)?;
    Ok(statements)
}

/// Records without a repeated key: those with the same head together, heads in the order they came.
#[derive(Default)]
struct Group {
    keys: HashSet<Vec<u8>>,
    heads: HashMap<Vec<u8>, usize>,
    rows: Vec<Vec<(usize, String, Vec<u8>)>>,
}

impl Group {
    fn push(&mut self, text: RecordText, place: usize) {
        let head = *self.heads.entry(text.head).or_insert(self.rows.len());
        if head == self.rows.len() {
            self.rows.push(Vec::new());
        }
        self.rows[head].push((place, text.table, text.row));
    }

    fn write(self, max_bytes: usize, statements: &mut Vec<Statement>) -> Result<(), RecordFault> {
        let mut heads: Vec<_> = self.heads.into_iter().collect();
        heads.sort_by_key(|&(_, index)| index);
        let mut writer = StatementWriter::new(max_bytes, statements);
        for ((head, _), rows) in heads.into_iter().zip(self.rows) {
            writer.head(head);
            for (place, table, row) in rows {
                writer.row(place as u32, &row).map_err(|bytes| RecordFault {
                    record: place,
                    fault: SqlFault::RowTooLong { table, bytes, max_bytes },
                })?;
            }
        }
        writer.end();
        Ok(())
    }
}

/// What a record is in a statement.
struct RecordText {
    /// The table's name, for messages.
    table: String,
    /// All before `values`.
    head: Vec<u8>,
    /// How much of the head names the table.
    target_bytes: usize,
    /// The values, in parentheses.
    row: Vec<u8>,
    /// How much of the row the first value ends.
    key_bytes: usize,
}

impl RecordText {
    fn of(record: &impl TaosEncoder, precision: Precision) -> Result<Self, SqlFault> {
        let table = record.table();
        check_table_name(&table).map_err(|source| SqlFault::TableName { name: table.to_string(), source })?;
        let qualified = |name: &str| match record.database() {
            Some(database) => format!("{}.{}", quote_identifier(database), quote_identifier(name)),
            None => quote_identifier(name),
        };

        let mut head = qualified(&table).into_bytes();
        let target_bytes = head.len();
        if let Some(stable) = record.super_table() {
            let tags = Values::of(record.tag_names(), &table, "tags", precision, |put| record.tags(put))?;
            // Without tags the table must be there already, and nothing else need be said of it.
            if tags.count > 0 {
                head.extend_from_slice(b" using ");
                head.extend_from_slice(qualified(stable).as_bytes());
                push_names(&mut head, &tags.names);
                head.extend_from_slice(b" tags ");
                head.extend_from_slice(&tags.text);
            }
        }
        let values = Values::of(record.column_names(), &table, "columns", precision, |put| record.values(put))?;
        push_names(&mut head, &values.names);
        let (row, key_bytes) = (values.text, values.first_bytes);
        Ok(Self { table: table.into_owned(), head, target_bytes, row, key_bytes })
    }

    /// Table and timestamp.
    fn key(&self) -> Vec<u8> {
        [&self.head[..self.target_bytes], &self.row[..self.key_bytes]].concat()
    }
}

/// A record's tags or columns, those left out that have no value.
struct Values<'n> {
    names: Vec<Cow<'n, str>>,
    text: Vec<u8>,
    first_bytes: usize,
    count: usize,
}

impl<'n> Values<'n> {
    fn of<'v>(
        all_names: Vec<Cow<'n, str>>,
        table: &str,
        what: &'static str,
        precision: Precision,
        hand_out: impl FnOnce(&mut dyn FnMut(Value<'v>)),
    ) -> Result<Self, SqlFault> {
        let named = all_names.len();
        let mut left = all_names.into_iter();
        let mut values = Values { names: Vec::new(), text: b"(".to_vec(), first_bytes: 0, count: 0 };
        let mut fault = None;
        hand_out(&mut |value| {
            let name = left.next();
            values.count += 1;
            if matches!(value, Value::Unset) {
                if named == 0 {
                    fault.get_or_insert(SqlFault::NamelessUnset { table: table.to_owned() });
                }
                return;
            }
            if let Err(reason) = push_value(&mut values.text, &value, precision) {
                let field = name.as_ref().map_or_else(|| format!("{what} {}", values.count), |name| name.to_string());
                fault.get_or_insert(SqlFault::Value { table: table.to_owned(), field, reason });
            }
            if values.first_bytes == 0 {
                values.first_bytes = values.text.len();
            }
            values.text.push(b',');
            values.names.extend(name);
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        if named > 0 && named != values.count {
            return Err(SqlFault::Names { table: table.to_owned(), what, names: named, values: values.count });
        }
        close(&mut values.text);
        Ok(values)
    }
}
