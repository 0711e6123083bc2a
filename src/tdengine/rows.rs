//! A result in memory: named columns and rows of values, as JSON or text.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::fmt::temporal::DateTimePrinter;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::schema::DataType;
use crate::row::{Precision, Timestamp, Value};

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnMeta {
    /// Its name or expression.
    pub name: String,
    /// Its type; `None` for one that has no name in a definition.
    pub data_type: Option<DataType>,
}

/// The whole result of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// The columns; none for what is not a query.
    pub columns: Vec<ColumnMeta>,
    /// The rows, a value a column.
    pub rows: Vec<Vec<Value<'static>>>,
    /// The precision of the result's timestamps.
    pub precision: Precision,
    /// Rows that an insert or delete touched; 0 for all else.
    pub affected_rows: u64,
}

impl Rows {
    /// The value in the first row of the column `name`.
    pub fn first(&self, name: &str) -> Option<&Value<'static>> {
        let column = self.columns.iter().position(|column| column.name == name)?;
        self.rows.first()?.get(column)
    }

    /// A cell as people read it: NULL as `NULL`, bytes as hexadecimal digits, a moment in RFC 3339 (UTC).
    pub fn text(&self, row: usize, column: usize) -> Cow<'_, str> {
        let value = self.rows.get(row).and_then(|cells| cells.get(column)).unwrap_or(&Value::Null);
        let data_type = self.columns.get(column).and_then(|column| column.data_type);
        cell_text(value, data_type, self.precision)
    }
}

/// A value of `data_type` as people read it; see [`Rows::text`].
pub fn cell_text<'v>(value: &'v Value<'_>, data_type: Option<DataType>, precision: Precision) -> Cow<'v, str> {
    match value {
        Value::Null | Value::Unset => Cow::Borrowed("NULL"),
        Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::Int(number) => number.to_string().into(),
        Value::UInt(number) => number.to_string().into(),
        // A FLOAT was widened: as many digits as tell it from its neighbours are those of 32 bits.
        Value::Float(number) if data_type == Some(DataType::Float) => (*number as f32).to_string().into(),
        Value::Float(number) => number.to_string().into(),
        Value::Timestamp(moment) => rfc3339(*moment, precision).into(),
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bytes(bytes) => hex(bytes).into(),
    }
}

/// The moment as the server's REST interface writes it: RFC 3339 in UTC with 3, 6 or 9 digits.
fn rfc3339(moment: Timestamp, precision: Precision) -> String {
    let digits = match precision {
        Precision::Milli => 3,
        Precision::Micro => 6,
        Precision::Nano => 9,
    };
    let printer = DateTimePrinter::new().precision(Some(digits));
    match jiff::Timestamp::new(moment.seconds(), moment.subsec_nanos() as i32) {
        Ok(time) => printer.timestamp_to_string(&time),
        Err(_) => format!("{} {precision}", moment.in_units(precision).unwrap_or_default()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `{"columns":[..],"rows":[[..]],"affected_rows":N}`; numbers stay numbers, NULL is null, what JSON has no number
/// for is text.
impl Serialize for Rows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("columns", &names)?;
        map.serialize_entry("rows", &RowList(self))?;
        map.serialize_entry("affected_rows", &self.affected_rows)?;
        map.end()
    }
}

struct RowList<'r>(&'r Rows);

impl Serialize for RowList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.rows.len()))?;
        for row in &self.0.rows {
            let types = self.0.columns.iter().map(|column| column.data_type).chain(std::iter::repeat(None));
            let cells: Vec<_> =
                row.iter().zip(types).map(|(value, kind)| cell_json(value, kind, self.0.precision)).collect();
            list.serialize_element(&cells)?;
        }
        list.end()
    }
}

/// A value of `data_type` as JSON.
pub fn cell_json(value: &Value<'_>, data_type: Option<DataType>, precision: Precision) -> serde_json::Value {
    match value {
        Value::Null | Value::Unset => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(number) => (*number).into(),
        Value::UInt(number) => (*number).into(),
        Value::Float(number) if !number.is_finite() => number.to_string().into(),
        Value::Float(_) => match cell_text(value, data_type, precision).parse::<f64>() {
            Ok(number) => number.into(),
            Err(_) => serde_json::Value::Null,
        },
        _ => cell_text(value, data_type, precision).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        let column = |name: &str, data_type| ColumnMeta { name: name.into(), data_type: Some(data_type) };
        Rows {
            columns: vec![
                column("ts", DataType::Timestamp),
                column("f", DataType::Float),
                column("d", DataType::Double),
                column("v", DataType::VarBinary(8)),
                column("s", DataType::Varchar(8)),
            ],
            rows: vec![
                vec![
                    Value::Timestamp(Timestamp::from_millis(1_764_547_200_010)),
                    Value::from(1.1f32),
                    Value::Float(f64::NAN),
                    Value::Bytes(Cow::Borrowed(&[1, 255])),
                    Value::from("a\"b".to_owned()),
                ],
                vec![Value::Null; 5],
            ],
            ..Rows::default()
        }
    }

    #[test]
    fn cells_are_text_for_people() {
        let rows = rows();
        let texts = |row| (0..5).map(|column| rows.text(row, column).into_owned()).collect::<Vec<_>>();
        assert_eq!(texts(0), ["2025-12-01T00:00:00.010Z", "1.1", "NaN", "01ff", "a\"b"]);
        assert_eq!(texts(1), ["NULL"; 5]);
    }

    #[test]
    fn rows_are_json_for_programs() {
        assert_eq!(
            serde_json::to_string(&rows()).unwrap(),
            r#"{"columns":["ts","f","d","v","s"],"rows":[["2025-12-01T00:00:00.010Z",1.1,"NaN","01ff","a\"b"],[null,null,null,null,null]],"affected_rows":0}"#
        );
    }

    #[test]
    fn moments_no_calendar_holds_are_counts() {
        assert_eq!(rfc3339(Timestamp::from_millis(i64::MAX), Precision::Milli), "9223372036854775807 ms");
    }

    #[test]
    fn values_are_found_by_name() {
        assert_eq!(rows().first("f"), Some(&Value::from(1.1f32)));
        assert_eq!(rows().first("x"), None);
    }
}
