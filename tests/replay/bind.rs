//! Recorded binds, written again by the project's encoder.

#![allow(dead_code, reason = "included by several tests, none of which needs all of it")]

use std::sync::Arc;

use kafka_taos::block::{Block, Cells, Column, NULL, VALUE};
use kafka_taos::encode::stmt2::{Shape, bind_frame, write_column, write_frame};
use kafka_taos::row::{Precision, Value};
use kafka_taos::tdengine::schema::{DataType, Field, SuperTable};
use serde_json::{Value as Json, json};

use crate::case::frame::from_hex;

/// A bind in normal form: names, tags and columns, each value as JSON.
pub(crate) struct Bind {
    tables: Vec<Table>,
}

struct Table {
    name: Option<Vec<u8>>,
    tags: Vec<Cellwise>,
    columns: Vec<Cellwise>,
}

struct Cellwise {
    kind: u8,
    values: Vec<Json>,
    flags: Vec<u8>,
}

impl Bind {
    /// `None` for a frame that was bent on purpose.
    pub(crate) fn read(bind: &Json) -> Option<Self> {
        let keys: Vec<_> = bind.as_object()?.keys().map(String::as_str).collect();
        if keys.iter().any(|key| !matches!(*key, "req_id" | "stmt_id" | "tables")) {
            return None;
        }
        let tables = match bind["tables"].get("repeat") {
            None => bind["tables"].as_array()?.clone(),
            Some(rule) => (0..rule["count"].as_u64()?)
                .map(|i| {
                    let mut table = rule["table"].clone();
                    table["name"] = json!(table["name"].as_str().unwrap().replace("{i}", &i.to_string()));
                    table
                })
                .collect(),
        };
        Some(Self { tables: tables.iter().map(Table::read).collect::<Option<_>>()? })
    }
}

impl Table {
    fn read(table: &Json) -> Option<Self> {
        let cells = |key: &str| match &table[key] {
            Json::Null => Some(Vec::new()),
            list => list.as_array()?.iter().map(Cellwise::read).collect(),
        };
        let name = if table["name"].is_null() { None } else { Some(bytes(&table["name"])) };
        Some(Self { name, tags: cells("tags")?, columns: cells("cols")? })
    }
}

impl Cellwise {
    fn read(column: &Json) -> Option<Self> {
        if column.as_object()?.keys().any(|key| !matches!(key.as_str(), "type" | "vals" | "is_null")) {
            return None;
        }
        let values = if let Some(rule) = column["vals"].get("rep") {
            vec![rule["value"].clone(); rule["count"].as_u64()? as usize]
        } else if let Some(rule) = column["vals"].get("seq") {
            let number = |key: &str| rule[key].as_i64().unwrap();
            (0..number("count")).map(|i| json!(number("start") + i * number("step"))).collect()
        } else {
            column["vals"].as_array()?.clone()
        };
        let flags: Vec<u8> = match column["is_null"].as_array() {
            Some(flags) => flags.iter().map(|flag| flag.as_u64().unwrap() as u8).collect(),
            None => values.iter().map(|value| if value.is_null() { NULL } else { VALUE }).collect(),
        };
        let kind = column["type"].as_u64()? as u8;
        let known = DataType::from_code(kind, 0, 0, 0).is_some();
        (known && flags.len() == values.len()).then_some(Self { kind, values, flags })
    }

    fn data_type(&self) -> DataType {
        // The widest definition; of a decimal the digits that its number of bytes stands for.
        DataType::from_code(self.kind, u16::MAX.into(), if self.kind == 17 { 38 } else { 18 }, 0).unwrap()
    }

    /// As a column of its own, for [`write_column`].
    fn column(&self) -> Column {
        let data_type = self.data_type();
        let raw: Vec<Vec<u8>> = self.values.iter().map(|value| self.raw(value)).collect();
        let cells = match data_type.fixed_width() {
            Some(width) => {
                let cells = raw.iter().flat_map(|value| if value.is_empty() { vec![0; width] } else { value.clone() });
                Cells::Fixed { width, bytes: cells.collect() }
            }
            None => {
                let mut at = 0;
                let mut span = |value: &Vec<u8>| {
                    at += value.len() as u32;
                    (at - value.len() as u32, value.len() as u32)
                };
                Cells::Variable { spans: raw.iter().map(&mut span).collect(), bytes: raw.concat() }
            }
        };
        Column { data_type, flags: self.flags.clone(), cells }
    }

    /// As a column holds it.
    fn raw(&self, value: &Json) -> Vec<u8> {
        match (self.data_type().fixed_width(), value) {
            (_, Json::Null) => Vec::new(),
            (None, _) if matches!(self.kind, 17 | 21) => decimal(value).into_bytes(),
            (_, Json::Object(_)) => bytes(value),
            (Some(_), _) if self.kind == 6 => (value.as_f64().unwrap() as f32).to_le_bytes().to_vec(),
            (Some(_), _) if self.kind == 7 => value.as_f64().unwrap().to_le_bytes().to_vec(),
            (Some(width), Json::Bool(truth)) => i64::from(*truth).to_le_bytes()[..width].to_vec(),
            (Some(width), Json::Number(number)) => number.as_i128().unwrap().to_le_bytes()[..width].to_vec(),
            _ => bytes(value),
        }
    }

    /// As a record would give it; `None` where a value cannot say that.
    fn value(&self, row: usize) -> Option<Value<'static>> {
        let value = &self.values[row];
        Some(match (self.flags[row], value) {
            (VALUE, Json::Null) => return None,
            (VALUE, _) if matches!(self.kind, 17 | 21) => Value::Text(decimal(value).into()),
            (VALUE, Json::Bool(truth)) => Value::Bool(*truth),
            (VALUE, Json::Object(_)) if self.kind == 6 => {
                Value::from(f32::from_le_bytes(bytes(value).try_into().ok()?))
            }
            (VALUE, Json::Object(_)) if self.kind == 7 => {
                Value::from(f64::from_le_bytes(bytes(value).try_into().ok()?))
            }
            (VALUE, Json::Number(number)) if matches!(self.kind, 6 | 7) => Value::Float(number.as_f64()?),
            (VALUE, Json::Number(number)) => match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::UInt(number.as_u64()?),
            },
            (VALUE, Json::String(text)) => Value::Text(text.clone().into()),
            (VALUE, _) if self.data_type().fixed_width().is_none() => Value::Bytes(bytes(value).into()),
            (VALUE, _) => return None,
            (NULL, _) => Value::Null,
            _ => Value::Unset,
        })
    }
}

fn bytes(value: &Json) -> Vec<u8> {
    match value {
        Json::String(text) => text.clone().into_bytes(),
        other => from_hex(other["hex"].as_str().unwrap()).unwrap(),
    }
}

/// The digits of a decimal that is recorded as its unscaled number.
fn decimal(value: &Json) -> String {
    let mut wide = [0; 16];
    let bytes = bytes(value);
    wide[..bytes.len()].copy_from_slice(&bytes);
    if bytes.last().is_some_and(|byte| byte & 0x80 != 0) {
        wide[bytes.len()..].fill(0xff);
    }
    i128::from_le_bytes(wide).to_string()
}

/// Through a block; `None` where a block cannot hold these rows.
pub(crate) fn by_block(bind: &Bind) -> Option<Vec<u8>> {
    let first = bind.tables.first()?;
    let fields = |cells: &[Cellwise]| {
        cells.iter().enumerate().map(|(i, cells)| Field::new(format!("f{i}"), cells.data_type())).collect()
    };
    let schema = SuperTable {
        database: "d".into(),
        name: "s".into(),
        precision: Precision::Milli,
        columns: fields(&first.columns),
        composite_key: false,
        tags: fields(&first.tags),
    };
    let kinds = |cells: &[Cellwise]| cells.iter().map(|cells| cells.kind).collect::<Vec<_>>();
    let mut block = Block::new(Arc::new(schema));
    for table in &bind.tables {
        let rows = table.columns.first()?.values.len();
        let name = String::from_utf8(table.name.clone()?).ok()?;
        let alike = kinds(&table.columns) == kinds(&first.columns) && kinds(&table.tags) == kinds(&first.tags);
        let known = (0..block.tables()).any(|known| block.table_name(known) == name);
        if !alike || known || table.columns.iter().any(|column| column.values.len() != rows) {
            return None;
        }
        for at in 0..rows {
            let mut row = block.row(&name, 0).ok()?;
            for (i, tag) in table.tags.iter().enumerate() {
                row.set_tag(i, &tag.value(0)?).ok()?;
            }
            for (i, column) in table.columns.iter().enumerate() {
                row.set(i, &column.value(at)?).ok()?;
            }
            row.finish().ok()?;
        }
    }
    let rows: Vec<u32> = (0..block.rows() as u32).collect();
    let mut frame = Vec::new();
    bind_frame(&mut frame, &block, &rows, !first.tags.is_empty());
    Some(frame)
}

/// Through the writer of frames, which takes anything.
pub(crate) fn by_columns(bind: &Bind) -> Vec<u8> {
    let widest = |count: fn(&Table) -> usize| bind.tables.iter().map(count).max().unwrap_or(0);
    let shape = Shape {
        tables: bind.tables.len(),
        tags: widest(|table| table.tags.len()),
        columns: widest(|table| table.columns.len()),
    };
    let write = |out: &mut Vec<u8>, cells: &[Cellwise]| {
        for cells in cells {
            write_column(out, &cells.column(), &(0..cells.values.len() as u32).collect::<Vec<_>>());
        }
    };
    let mut frame = Vec::new();
    write_frame(
        &mut frame,
        shape,
        |table| bind.tables[table].name.as_deref(),
        |out, table| write(out, &bind.tables[table].tags),
        |out, table| write(out, &bind.tables[table].columns),
    );
    frame
}
