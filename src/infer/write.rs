//! The configuration, as text for people to read and change.

use std::fmt::Write as _;

use super::choose::{Chosen, NameOf, SourceOf, Table, finest, super_table};
use super::{About, Inferred};
use crate::mapping::config::FormatConfig;
use crate::row::Precision;
use crate::tdengine::schema::DataType;

pub(super) fn configuration(format: FormatConfig, tables: &[Table], about: &About, messages: usize) -> Inferred {
    let precision = finest(tables);
    let stables: Vec<_> = tables.iter().map(|table| super_table(table, &about.database, precision)).collect();
    let mut text = String::new();
    // Writing to a text cannot fail.
    let _ = write_all(&mut text, &format, tables, about, messages, precision);
    let _ = writeln!(text, "\n# What is made at start:");
    let _ = writeln!(text, "#   create database if not exists `{}` precision '{precision}'", about.database);
    for stable in &stables {
        let _ = writeln!(text, "#   {}", stable.create_statement());
    }
    Inferred { format, config: text, stables }
}

fn write_all(
    text: &mut String,
    format: &FormatConfig,
    tables: &[Table],
    about: &About,
    messages: usize,
    precision: Precision,
) -> std::fmt::Result {
    writeln!(
        text,
        "# A first mapping, out of {messages} messages. Look at it with `preview`, hold it against the servers with `check`."
    )?;
    writeln!(text, "\n[kafka]")?;
    writeln!(text, "brokers = {}", quoted(&about.brokers))?;
    let topics: Vec<_> = about.topics.iter().map(|topic| quoted(topic)).collect();
    writeln!(text, "topics  = [{}]", topics.join(", "))?;
    writeln!(text, "group   = {}", quoted(&about.group))?;
    writeln!(text, "\n[format]")?;
    write_format(text, format)?;
    for table in tables {
        write_table(text, table)?;
    }
    writeln!(text, "\n[tdengine]")?;
    writeln!(text, "url       = {}", quoted(&about.url))?;
    writeln!(text, "# The password: TDENGINE_PASSWORD in the environment, or password_file = \"FILE\" here.")?;
    writeln!(text, "create    = \"database,stable\"")?;
    writeln!(text, "precision = {}", quoted(&precision.to_string()))?;
    writeln!(text, "# Fields that come later are not seen before they are written above; then this adds them.")?;
    writeln!(text, "evolve    = \"add-column,widen\"")?;
    writeln!(text, "\n[dead_letter]")?;
    writeln!(text, "to = {}", quoted(&about.dead_letter))
}

fn write_format(text: &mut String, format: &FormatConfig) -> std::fmt::Result {
    writeln!(text, "type = {}", quoted(format.kind.as_deref().unwrap_or_default()))?;
    if let Some(lines) = format.lines {
        writeln!(text, "lines = {lines}")?;
    }
    if let Some(header) = format.header {
        writeln!(text, "header = {header}")?;
    }
    if let Some(delimiter) = &format.delimiter {
        writeln!(text, "delimiter = {}", quoted(delimiter))?;
    }
    if let Some(fields) = &format.fields {
        let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
        writeln!(text, "# Give them names that say what they are.\nfields = [{}]", fields.join(", "))?;
    }
    if let Some(precision) = &format.precision {
        writeln!(text, "precision = {}", quoted(precision))?;
    }
    Ok(())
}

fn write_table(text: &mut String, table: &Table) -> std::fmt::Result {
    let Table { stable, rows, name, time, tags, columns, left_out, count } = table;
    writeln!(text, "\n# Out of {count} rows.\n[[table]]")?;
    if let Some(rows) = rows {
        writeln!(text, "rows      = {}", quoted(rows))?;
    }
    writeln!(text, "stable    = {}", quoted(stable))?;
    match name {
        NameOf::Template(template) => writeln!(text, "name      = {}", quoted(template))?,
        NameOf::Expression(expression) => writeln!(text, "name      = {{ expr = {} }}", quoted(expression))?,
    }
    let column = quoted(&time.column);
    match &time.field {
        Some(field) => {
            let missing = if time.is_missing { ", missing = \"kafka\"" } else { "" };
            let (field, unit) = (quoted(field), quoted(time.unit));
            writeln!(text, "timestamp = {{ field = {field}, unit = {unit}, column = {column}{missing} }}")?;
        }
        None => {
            writeln!(text, "# No field looks like a time: this is the message's own.")?;
            writeln!(text, "timestamp = {{ from = \"timestamp\", column = {column} }}")?;
        }
    }
    for (kind, list) in [("tags", tags), ("columns", columns)] {
        writeln!(text, "\n[table.{kind}]")?;
        for one in list {
            writeln!(text, "{} = {}  # {}", key(&one.name), definition(one), one.note)?;
        }
    }
    if !left_out.is_empty() {
        writeln!(text, "\n# Left out:")?;
        left_out.iter().try_for_each(|one| writeln!(text, "#   {}", one_line(one)))?;
    }
    Ok(())
}

fn definition(one: &Chosen) -> String {
    let data_type = quoted(&type_name(one.data_type));
    let invalid = if one.is_nested { ", invalid = \"null\"" } else { "" };
    match &one.source {
        SourceOf::Kafka(from) => format!("{{ from = \"{from}\", type = {data_type} }}"),
        SourceOf::Field(path) if *path == one.name && invalid.is_empty() => data_type,
        SourceOf::Field(path) => format!("{{ field = {}, type = {data_type}{invalid} }}", quoted(path)),
    }
}

fn type_name(data_type: DataType) -> String {
    data_type.to_string().to_ascii_lowercase()
}

fn key(name: &str) -> String {
    let is_bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if is_bare { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
