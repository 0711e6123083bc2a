//! A mapping as it is written in a configuration file: `[format]`, `[[table]]`, `[unmatched]`, `[[test]]`.
//!
//! Everything is optional that has a default, and unknown keys are refused. What it means is checked, and compiled, by
//! [`super::Mapping::compile`].

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// `[format]`: how payloads are read.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct FormatConfig {
    /// `json`, `msgpack`, `csv`, `line`, `avro`, `protobuf`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `none`, `gzip`, `zstd`, or `auto` (the default): recognised by the payload's first bytes.
    pub compression: Option<String>,
    /// JSON: one record a line.
    pub lines: Option<bool>,
    /// CSV: the character between fields; a comma by default.
    pub delimiter: Option<String>,
    /// CSV: whether each message begins with a line of names.
    pub header: Option<bool>,
    /// CSV without a header: the names of the fields, in order.
    pub fields: Option<Vec<String>>,
    /// CSV: a field that reads so has no value; the empty field by default.
    pub null: Option<String>,
    /// Line protocol: `s`, `ms`, `us` or `ns` (the default).
    pub precision: Option<String>,
    /// Avro: a schema in a file (`.avsc`). Protobuf: a descriptor set in a file, or a `.proto`.
    pub schema: Option<PathBuf>,
    /// Protobuf: the full name of the message's type.
    pub message: Option<String>,
    /// Avro, Protobuf: the URL of a Confluent-style schema registry; messages carry the schema's number.
    pub registry: Option<String>,
    /// The registry's user.
    pub registry_user: Option<String>,
    /// A file with the registry's password.
    pub registry_password_file: Option<PathBuf>,
}

/// `[[table]]`: which messages become rows of one super table, and how. The first table whose [`Self::when`] holds takes
/// a message (or an element of its [`Self::rows`]).
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// A condition in CEL, over the fields of the message or element.
    pub when: Option<String>,
    /// The array whose elements are rows.
    pub rows: Option<String>,
    /// The super table.
    pub stable: String,
    /// The child table's name.
    pub name: NameConfig,
    /// The first column.
    pub timestamp: TimestampConfig,
    /// The tags, in order.
    #[serde(default)]
    pub tags: Fields,
    /// The columns after the timestamp, in order.
    pub columns: Fields,
}

/// Names and what they hold, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub Vec<(String, FieldConfig)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> serde::de::Visitor<'de> for InOrder {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table of names, each with a type, as in { current = \"float\" }")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `name = "d_{device}"`, or `name = { expr = "'d_' + device" }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NameConfig {
    /// Text with `{field}`, `{/path/to/field}`, `{key}`, `{topic}`, `{partition}` in it.
    pub template: String,
    /// Or a CEL expression.
    pub expr: Option<String>,
}

/// `timestamp = "ts"`, or `timestamp = { field = "ts", unit = "ms" }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimestampConfig {
    /// Where it stands in the message.
    pub field: Option<String>,
    /// Or what of Kafka's it is: see [`FieldConfig::from`]; mostly `timestamp`.
    pub from: Option<String>,
    /// Or a CEL expression.
    pub expr: Option<String>,
    /// `s`, `ms` (the default), `us`, `ns`, `rfc3339`, or a strftime pattern.
    pub unit: Option<String>,
    /// The IANA time zone of times that say none; UTC by default.
    pub timezone: Option<String>,
    /// The column's name, where the super table is created; `ts` by default.
    pub column: Option<String>,
    /// Where there is none: `dead-letter` (the default) or `kafka`, the message's own time.
    pub missing: Option<String>,
}

/// `"float"`, or `{ type = "float", field = "/a/b", .. }`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldConfig {
    /// The type, as in `create table`: `int`, `varchar(24)`, `decimal(18,2)`, ..
    pub data_type: String,
    /// Where it stands in the message; by default the field of the column's own name.
    pub field: Option<String>,
    /// Or what of Kafka's it is: `key`, `topic`, `partition`, `offset`, `timestamp`, `header:NAME`; or `index`, the place
    /// of the element in its array.
    pub from: Option<String>,
    /// Or a constant.
    pub value: Option<toml::Value>,
    /// Or a CEL expression over the fields of the message or element.
    pub expr: Option<String>,
    /// What stands there where the message has nothing.
    pub default: Option<toml::Value>,
    /// Where there is nothing, and no default: `keep` (no value: what is stored stays; the default), `null`,
    /// `dead-letter`.
    pub missing: Option<String>,
    /// Where the value is of another type, or out of range: `dead-letter` (the default), `null`.
    pub invalid: Option<String>,
    /// Where a text is too long: `dead-letter` (the default), `null`, `truncate`.
    pub too_long: Option<String>,
    /// Of a timestamp: as [`TimestampConfig::unit`].
    pub unit: Option<String>,
    /// Of a timestamp: as [`TimestampConfig::timezone`].
    pub timezone: Option<String>,
    /// The first column after the timestamp only: it is part of the key.
    pub key: Option<bool>,
}

/// A text stands for the one key that is mostly wanted.
macro_rules! text_or_table {
    ($type:ident, $expecting:literal, $from_text:expr, { $($key:literal => $field:ident),* $(,)? }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl<'de> serde::de::Visitor<'de> for Either {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$type, E> {
                        let from_text: fn(&str) -> $type = $from_text;
                        Ok(from_text(text))
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        let mut read = $type::default();
                        while let Some(key) = map.next_key::<String>()? {
                            match key.as_str() {
                                $($key => read.$field = map.next_value()?,)*
                                _ => return Err(A::Error::unknown_field(&key, &[$($key),*])),
                            }
                        }
                        Ok(read)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }
    };
}

text_or_table!(
    NameConfig,
    "text with fields in braces, as in \"d_{device}\", or { expr = \"..\" }",
    |text| NameConfig { template: text.to_owned(), expr: None },
    { "template" => template, "expr" => expr }
);
text_or_table!(
    TimestampConfig,
    "a field's name, or a table as in { field = \"ts\", unit = \"ms\" }",
    |text| TimestampConfig { field: Some(text.to_owned()), ..TimestampConfig::default() },
    {
        "field" => field, "from" => from, "expr" => expr, "unit" => unit, "timezone" => timezone, "column" => column,
        "missing" => missing,
    }
);
text_or_table!(
    FieldConfig,
    "a type, or a table as in { type = \"float\", field = \"/a/b\" }",
    |text| FieldConfig { data_type: text.to_owned(), ..FieldConfig::default() },
    {
        "type" => data_type, "field" => field, "from" => from, "value" => value, "expr" => expr, "default" => default,
        "missing" => missing, "invalid" => invalid, "too_long" => too_long, "unit" => unit, "timezone" => timezone,
        "key" => key,
    }
);

/// `[unmatched]`: what becomes of messages, or elements, that no table takes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct UnmatchedConfig {
    /// `dead-letter` (the default), `drop`.
    pub to: Option<String>,
}

/// `[[test]]`: a message, and the rows that must come of it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct TestConfig {
    /// What it shows, for the report.
    pub name: Option<String>,
    /// The payload as text.
    pub input: Option<String>,
    /// Or as hexadecimal digits, white space between them allowed.
    pub input_hex: Option<String>,
    /// Or as base64.
    pub input_base64: Option<String>,
    /// Or in a file, beside the configuration.
    pub input_file: Option<PathBuf>,
    /// The message's key.
    pub key: Option<String>,
    /// The message's topic; the first of the configuration by default.
    pub topic: Option<String>,
    /// The message's partition, 0 by default.
    pub partition: Option<i32>,
    /// The message's offset, 0 by default.
    pub offset: Option<i64>,
    /// The message's time, milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp: Option<i64>,
    /// The message's headers.
    #[serde(default)]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The rows that it becomes, in order.
    #[serde(default)]
    pub rows: Vec<ExpectedRow>,
    /// Parts of the reasons why it, or rows of it, go to the dead letters, in order.
    #[serde(default)]
    pub faults: Vec<String>,
    /// It is dropped by a rule.
    #[serde(default)]
    pub dropped: bool,
}

/// A row that a test expects.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRow {
    /// The super table.
    pub stable: Option<String>,
    /// The child table.
    pub table: String,
    /// Its tags; those that are not listed are not compared.
    #[serde(default)]
    pub tags: toml::Table,
    /// Its columns, the timestamp among them; those that are not listed are not compared.
    #[serde(default)]
    pub columns: toml::Table,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stands_for_the_key_that_is_mostly_wanted() {
        let table: TableConfig = toml::from_str(
            "stable = 'm'\nname = 'd_{id}'\ntimestamp = 'ts'\n[tags]\nsite = 'int'\n[columns]\n\
             v = 'float'\na = { type = 'varchar(4)', field = '/x/y', too_long = 'truncate' }",
        )
        .unwrap();
        assert_eq!(table.timestamp.field.as_deref(), Some("ts"));
        let names: Vec<_> = table.columns.0.iter().map(|(name, field)| (name.as_str(), &*field.data_type)).collect();
        assert_eq!(names, [("v", "float"), ("a", "varchar(4)")], "in the order of the file");
        assert_eq!(table.columns.0[1].1.field.as_deref(), Some("/x/y"));
    }

    #[test]
    fn an_unknown_key_is_refused_with_what_could_stand_there() {
        let wrong = toml::from_str::<Fields>("v = { type = 'int', filed = 'x' }").unwrap_err().to_string();
        assert!(wrong.contains("filed") && wrong.contains("`field`"), "{wrong}");
    }
}
