//! The tests that a configuration brings along: messages, and the rows that must come of them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use toml::Value as Expected;

use super::Mapping;
use super::config::{ExpectedRow, TableConfig, TestConfig};
use crate::message::{Header, Message, TopicPartition};
use crate::preview::{Cell, Cells, Preview, PreviewRow, Previewed};
use crate::row::{Precision, Timestamp, Value};
use crate::tdengine::rows::cell_text;
use crate::tdengine::schema::DataType;

/// How a test of a mapping went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// Its name; its number where it has none.
    pub name: String,
    /// What is not as expected; nothing if all is.
    pub failures: Vec<String>,
}

/// The precision in which timestamps of `tables` lose nothing: that of the finest unit that they name.
pub fn finest_precision(tables: &[TableConfig]) -> Precision {
    let columns = tables.iter().flat_map(|table| table.columns.0.iter().chain(&table.tags.0));
    let units = columns.map(|(_, field)| &field.unit).chain(tables.iter().map(|table| &table.timestamp.unit));
    let rank = |precision: Precision| precision.per_second();
    units.flatten().filter_map(|unit| unit.parse().ok()).max_by_key(|unit| rank(*unit)).unwrap_or_default()
}

/// Runs the tests of a configuration on its mapping: files that they name are looked for in `folder`; messages are of
/// `topic` where a test does not say.
pub fn run_tests(
    mapping: &Mapping,
    tests: &[TestConfig],
    precision: Precision,
    topic: &str,
    folder: &Path,
) -> Vec<TestResult> {
    let mut preview = Preview::new(Box::new(mapping.rows()), mapping.super_tables("test", precision));
    let run = |(at, test): (usize, &TestConfig)| {
        let name = test.name.clone().unwrap_or_else(|| format!("test {}", at + 1));
        let failures = match message(test, topic, folder) {
            Ok(message) => differences(test, &preview.of(&message)),
            Err(reason) => vec![reason],
        };
        TestResult { name, failures }
    };
    tests.iter().enumerate().map(run).collect()
}

fn message(test: &TestConfig, topic: &str, folder: &Path) -> Result<Message, String> {
    let inputs =
        [test.input.is_some(), test.input_hex.is_some(), test.input_base64.is_some(), test.input_file.is_some()];
    if inputs.iter().filter(|given| **given).count() > 1 {
        return Err("has more than one of input, input_hex, input_base64, input_file: leave one".to_owned());
    }
    let payload = if let Some(text) = &test.input {
        Some(text.clone().into_bytes())
    } else if let Some(digits) = &test.input_hex {
        Some(from_hex(digits).ok_or("input_hex is not pairs of hexadecimal digits")?)
    } else if let Some(text) = &test.input_base64 {
        Some(STANDARD.decode(text.trim()).map_err(|error| format!("input_base64: {error}"))?)
    } else if let Some(file) = &test.input_file {
        let path = folder.join(file);
        Some(std::fs::read(&path).map_err(|error| format!("input_file {}: {error}", path.display()))?)
    } else {
        None
    };
    let header = |(name, value): (&String, &String)| Header { name: name.clone(), value: Some(value.clone().into()) };
    Ok(Message {
        source: TopicPartition::new(test.topic.as_deref().unwrap_or(topic), test.partition.unwrap_or(0)),
        offset: test.offset.unwrap_or(0),
        timestamp_ms: test.timestamp,
        key: test.key.clone().map(Bytes::from),
        payload: payload.map(Bytes::from),
        headers: test.headers.iter().map(header).collect(),
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| Some(c.to_digit(16)? as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn differences(test: &TestConfig, found: &Previewed) -> Vec<String> {
    let mut failures = Vec::new();
    match (test.dropped, found.dropped) {
        (true, false) => failures.push("should be dropped by a rule, and is not".to_owned()),
        (false, true) => failures.push("is dropped by a rule; if that is right, write dropped = true".to_owned()),
        _ => {}
    }
    for at in 0..test.rows.len().max(found.rows.len()) {
        match (test.rows.get(at), found.rows.get(at)) {
            (Some(expected), Some(row)) => {
                let of_row = row_differences(expected, row);
                failures.extend(of_row.into_iter().map(|difference| format!("row {}: {difference}", at + 1)));
            }
            (Some(expected), None) => failures.push(format!("row {} is missing: table {}", at + 1, expected.table)),
            (None, Some(row)) => {
                let PreviewRow { stable, table, columns, .. } = row;
                failures.push(format!("row {} is not expected: table {table} of {stable}, {columns}", at + 1));
            }
            (None, None) => {}
        }
    }
    for at in 0..test.faults.len().max(found.faults.len()) {
        match (test.faults.get(at), found.faults.get(at)) {
            (Some(part), Some((_, reason))) if reason.contains(part.as_str()) => {}
            (Some(part), Some((_, reason))) => failures.push(format!("fault {}: no {part:?} in: {reason}", at + 1)),
            (Some(part), None) => failures.push(format!("fault {} is missing: {part:?}", at + 1)),
            (None, Some((Some(row), reason))) => failures.push(format!("row {} cannot be written: {reason}", row + 1)),
            (None, Some((None, reason))) => failures.push(format!("cannot be written: {reason}")),
            (None, None) => {}
        }
    }
    failures
}

fn row_differences(expected: &ExpectedRow, row: &PreviewRow) -> Vec<String> {
    let mut differences = Vec::new();
    if expected.stable.as_ref().is_some_and(|stable| *stable != row.stable) {
        let wanted = expected.stable.as_deref().unwrap_or_default();
        differences.push(format!("super table is {}, expected {wanted}", row.stable));
    }
    if expected.table != row.table {
        differences.push(format!("table is {}, expected {}", row.table, expected.table));
    }
    for (kind, expected, cells) in [("tag", &expected.tags, &row.tags), ("column", &expected.columns, &row.columns)] {
        for (name, wanted) in expected {
            let Some(cell) = cells.get(name) else {
                let names: Vec<_> = cells.iter().map(|cell| cell.name.as_str()).collect();
                differences.push(format!("there is no {kind} {name}, only {}", names.join(", ")));
                continue;
            };
            if !is_equal(wanted, cell, cells.precision()) {
                differences.push(format!("{kind} {name} is {}, expected {wanted}", shown(cell, cells)));
            }
        }
    }
    differences
}

fn shown(cell: &Cell, cells: &Cells) -> String {
    let text = cell_text(&cell.value, Some(cell.data_type), cells.precision());
    match cell.value {
        Value::Text(_) => format!("{text:?}"),
        Value::Unset => "without a value".to_owned(),
        _ => text.into_owned(),
    }
}

/// Whether a cell is what a test expects. A configuration has no word for NULL and for no value: they are written as
/// `{ null = true }` and `{ unset = true }`.
fn is_equal(expected: &Expected, cell: &Cell, precision: Precision) -> bool {
    let is_float = |number: f64| match &cell.value {
        Value::Float(found) if cell.data_type == DataType::Float => *found as f32 == number as f32,
        Value::Float(found) => *found == number,
        Value::Int(found) => *found as f64 == number,
        Value::UInt(found) => *found as f64 == number,
        _ => false,
    };
    match (expected, &cell.value) {
        (Expected::Table(table), value) => match value {
            Value::Null => table.contains_key("null"),
            Value::Unset => table.contains_key("unset"),
            _ => false,
        },
        (Expected::Boolean(expected), Value::Bool(found)) => expected == found,
        (Expected::Integer(expected), Value::Int(found)) => expected == found,
        (Expected::Integer(expected), Value::UInt(found)) => u64::try_from(*expected) == Ok(*found),
        // Milliseconds, or the units of a mapping that counts in finer ones: the two are never mistaken for each other.
        (Expected::Integer(expected), Value::Timestamp(found)) => {
            [precision, Precision::Milli].into_iter().any(|precision| found.in_units(precision) == Some(*expected))
        }
        (Expected::Integer(expected), Value::Float(_)) => is_float(*expected as f64),
        (Expected::Float(expected), Value::Float(_) | Value::Int(_) | Value::UInt(_)) => is_float(*expected),
        (Expected::Datetime(expected), Value::Timestamp(found)) => is_moment(&expected.to_string(), *found, precision),
        (Expected::String(expected), Value::Timestamp(found)) => is_moment(expected, *found, precision),
        (_, Value::Text(found)) if matches!(cell.data_type, DataType::Decimal { .. }) => {
            let text = expected.as_str().map_or_else(|| expected.to_string(), str::to_owned);
            is_same_decimal(&text, found)
        }
        (Expected::String(expected), Value::Text(found)) if cell.data_type == DataType::Json => {
            let tree = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            expected == found || tree(expected).is_some_and(|expected| tree(found) == Some(expected))
        }
        (Expected::String(expected), Value::Text(found)) => expected == found,
        (Expected::String(expected), Value::Bytes(found)) => {
            expected.as_bytes() == &**found || from_hex(expected).is_some_and(|bytes| bytes == **found)
        }
        _ => false,
    }
}

/// A time that names no zone is in UTC. Digits beyond the precision are cut, as they are when it is stored.
fn is_moment(text: &str, found: Timestamp, precision: Precision) -> bool {
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        Some(civil.to_zoned_datetime(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    });
    moment.is_some_and(|moment| {
        let nanos = moment.as_nanosecond();
        let seconds = nanos.div_euclid(1_000_000_000) as i64;
        Timestamp::new(seconds, nanos.rem_euclid(1_000_000_000) as u32).in_units(precision) == found.in_units(precision)
    })
}

fn is_same_decimal(expected: &str, found: &str) -> bool {
    let parts = |text: &str| {
        let (is_negative, digits) = (text.starts_with('-'), text.trim_start_matches(['-', '+']));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        (is_negative, whole.trim_start_matches('0').to_owned(), fraction.trim_end_matches('0').to_owned())
    };
    parts(expected) == parts(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::FileConfig;

    const MAPPING: &str = r#"
[format]
type = "json"
[unmatched]
to = "drop"
[[table]]
when = "d != null"
stable = "m"
name = "d_{d}"
timestamp = "ts"
tags = { site = "nchar(8)" }
columns = { f = "float", i = "int", big = "bigint unsigned", b = "bool", dec = "decimal(8,2)", bin = "varbinary(8)", at = { type = "timestamp", unit = "rfc3339" } }
"#;

    fn run(tests: &str) -> Vec<TestResult> {
        let config = FileConfig::parse(&format!("{MAPPING}\n{tests}")).unwrap();
        let mapping = Mapping::compile(&config.format, &config.table, &config.unmatched, Path::new(".")).unwrap();
        run_tests(&mapping, &config.test, finest_precision(&config.table), "t", Path::new("."))
    }

    const INPUT: &str = r#"input = '{"d":1,"ts":1764547200000,"site":"Bern","f":10.3,"i":7,"b":true,"dec":"1.50","bin":"ab","at":"2025-12-01T01:00:00.5+01:00"}'"#;

    #[test]
    fn what_is_as_expected_passes() {
        let test = format!(
            "[[test]]\n{INPUT}\nrows = [{{ stable = 'm', table = 'd_1', tags = {{ site = 'Bern' }}, columns = {{ \
             ts = 2025-12-01T00:00:00Z, f = 10.3, i = 7, b = true, dec = 1.5, bin = '6162', \
             at = '2025-12-01T00:00:00.5Z', big = {{ unset = true }} }} }}]\n\
             [[test]]\ninput = '{{\"ts\":1}}'\ndropped = true\n\
             [[test]]\ninput_hex = '7b'\nfaults = ['JSON']\n[[test]]\nfaults = ['tombstone']"
        );
        for result in run(&test) {
            assert_eq!(result.failures, Vec::<String>::new(), "{}", result.name);
        }
    }

    #[test]
    fn what_differs_is_told_by_its_place() {
        let failures = |test: &str| run(&format!("[[test]]\n{test}"))[0].failures.join("; ");
        let expected = format!(
            "{INPUT}\nrows = [{{ stable = 'x', table = 'd_2', tags = {{ site = 'bern' }}, columns = {{ \
             ts = 1764547200001, f = 10.4, z = 1, big = 1 }} }}, {{ table = 'd_3' }}]\nfaults = ['bad']\ndropped = true"
        );
        let told = failures(&expected);
        for part in [
            "should be dropped",
            "row 1: super table is m, expected x",
            "row 1: table is d_1, expected d_2",
            "tag site is \"Bern\", expected \"bern\"",
            "column ts is 2025-12-01T00:00:00.000Z, expected 1764547200001",
            "column f is 10.3, expected 10.4",
            "there is no column z",
            "column big is without a value, expected 1",
            "row 2 is missing: table d_3",
            "fault 1 is missing",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(failures(INPUT).contains("row 1 is not expected: table d_1 of m"));
        assert!(failures("input = '{\"d\":1}'").contains("cannot be written"));
        assert!(failures("input = '{\"ts\":1}'").contains("dropped = true"));
        assert!(failures("input = '{}'\ninput_hex = '7b'").contains("more than one of input"));
        assert!(failures("input_hex = '7'").contains("pairs of hexadecimal digits"));
        assert!(failures("input_file = 'none.json'").contains("none.json"));
    }
}
