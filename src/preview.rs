//! What a message becomes, shown and not written: for people who look at a mapping, and for its tests.

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use crate::block::{Block, Column};
use crate::encode::sql::{MAX_STATEMENT_BYTES, block_statements};
use crate::mapping::{FaultyRow, Outcome, RowSource};
use crate::message::Message;
use crate::row::{Precision, Value};
use crate::tdengine::rows::{cell_json, cell_text};
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// Shows what messages become, one by one.
pub struct Preview {
    rows: Box<dyn RowSource>,
    blocks: Vec<Block>,
    faulty: Vec<FaultyRow>,
}

/// What became of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Previewed {
    /// The rows, in their order within the message.
    pub rows: Vec<PreviewRow>,
    /// Why it, or rows of it, would go to the dead letters: which row (`None`: all of it), and the reason.
    pub faults: Vec<(Option<u32>, String)>,
    /// A rule drops it.
    pub dropped: bool,
}

/// A row that a message becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct PreviewRow {
    /// Its place in the message.
    pub element: u32,
    /// The super table.
    pub stable: String,
    /// The child table.
    pub table: String,
    /// The tags.
    pub tags: Cells,
    /// The columns, the timestamp first; those without a value are there as [`Value::Unset`].
    pub columns: Cells,
    /// The statement that would write it; why there is none, where it cannot be written as SQL.
    pub sql: Result<String, String>,
}

/// Named cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    precision: Precision,
    cells: Vec<Cell>,
}

/// A named cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The column or tag.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// What is stored there.
    pub value: Value<'static>,
}

impl Cells {
    fn of(fields: &[Field], columns: &[Column], row: usize, precision: Precision) -> Self {
        let cell = |(field, column): (&Field, &Column)| Cell {
            name: field.name.clone(),
            data_type: field.data_type,
            value: column.value(row, precision).into_owned(),
        };
        Self { precision, cells: fields.iter().zip(columns).map(cell).collect() }
    }

    /// The cell of that name.
    pub fn get(&self, name: &str) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.name == name)
    }

    /// The cells in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Cell> {
        self.cells.iter()
    }

    /// The precision of timestamps.
    pub fn precision(&self) -> Precision {
        self.precision
    }
}

/// `name=value name=value`; what has no value is left out.
impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = self.cells.iter().filter(|cell| cell.value != Value::Unset);
        for (at, cell) in there.enumerate() {
            let text = cell_text(&cell.value, Some(cell.data_type), self.precision);
            let quote = if matches!(cell.value, Value::Text(_)) { "\"" } else { "" };
            write!(f, "{}{}={quote}{text}{quote}", if at == 0 { "" } else { " " }, cell.name)?;
        }
        Ok(())
    }
}

/// An object; what has no value is left out.
impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for cell in self.cells.iter().filter(|cell| cell.value != Value::Unset) {
            object.serialize_entry(&cell.name, &cell_json(&cell.value, Some(cell.data_type), self.precision))?;
        }
        object.end()
    }
}

impl Preview {
    /// Of the rows that `rows` makes for super tables `schemas`.
    pub fn new(rows: Box<dyn RowSource>, schemas: impl IntoIterator<Item = SuperTable>) -> Self {
        let blocks = schemas.into_iter().map(|schema| Block::new(Arc::new(schema))).collect();
        Self { rows, blocks, faulty: Vec::new() }
    }

    /// What `message` becomes.
    pub fn of(&mut self, message: &Message) -> Previewed {
        self.blocks.iter_mut().for_each(Block::clear);
        self.faulty.clear();
        let appended = self.rows.append(message, 0, &mut self.blocks, &mut self.faulty);
        let mut previewed = Previewed { dropped: matches!(appended, Ok(Outcome::Filtered)), ..Previewed::default() };
        let faulty = self.faulty.drain(..);
        previewed.faults = faulty.map(|FaultyRow { element, fault }| (Some(element), fault.to_string())).collect();
        match appended {
            Ok(_) => {
                let rows = self.blocks.iter().flat_map(|block| (0..block.rows() as u32).map(|row| of_row(block, row)));
                previewed.rows = rows.collect();
                previewed.rows.sort_by_key(|row| row.element);
            }
            Err(fault) => previewed.faults = vec![(None, fault.to_string())],
        }
        previewed
    }
}

fn of_row(block: &Block, row: u32) -> PreviewRow {
    let (schema, table) = (block.schema(), block.table_of(row));
    let mut statements = Vec::new();
    let faults = block_statements(block, &[row], MAX_STATEMENT_BYTES, &mut statements);
    let sql = match (statements.pop(), faults.first()) {
        (Some(statement), None) => Ok(String::from_utf8_lossy(&statement.sql).into_owned()),
        (_, fault) => Err(fault.map(|(_, fault)| fault.to_string()).unwrap_or_default()),
    };
    PreviewRow {
        element: block.origin_of(row).element,
        stable: schema.name.clone(),
        table: block.table_name(table).to_owned(),
        tags: Cells::of(&schema.tags, block.tags(), table, schema.precision),
        columns: Cells::of(&schema.columns, block.columns(), row as usize, schema.precision),
        sql,
    }
}
