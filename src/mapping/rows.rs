//! Messages into rows, as a compiled mapping says.
//!
//! A record goes to the first table whose condition holds for it. A table with `rows` takes elements of its array, each
//! the first that holds for it; a table without takes the record as one row, unless elements of it went elsewhere
//! before. What no table takes is unmatched.

use std::sync::Arc;

use super::compile::{Cell, Compiled, Misfit, Missing, Table};
use super::source::{Seen, Source};
use super::{FaultyRow, FieldFault, FieldReason, MessageFault, Outcome, RowSource};
use crate::block::{Block, CellError, Origin, RowBuilder, RowFault};
use crate::convert;
use crate::format::{self, Decoder, FormatError, Found, Visitor};
use crate::message::Message;
use crate::row::{Precision, Timestamp, Value};
use crate::tdengine::schema::{DataType, SuperTable};

/// Makes rows of messages by a mapping: see [`super::Mapping::rows`].
pub struct MappedRows {
    mapping: Arc<Compiled>,
    decoder: Box<dyn Decoder>,
    memory: Memory,
}

/// What is kept from message to message.
#[derive(Default)]
struct Memory {
    /// Of each table, where its cells stand in the super table that it was last asked about.
    places: Vec<Option<Places>>,
    /// The buffer of a table's name.
    name: String,
    /// Elements of the record that no table took yet.
    unmatched: Vec<u32>,
}

struct Places {
    schema: Arc<SuperTable>,
    tags: Vec<usize>,
    columns: Vec<usize>,
}

impl MappedRows {
    pub(super) fn new(mapping: Arc<Compiled>) -> Self {
        let memory = Memory { places: mapping.tables.iter().map(|_| None).collect(), ..Memory::default() };
        Self { decoder: (mapping.decoder)(), mapping, memory }
    }
}

impl RowSource for MappedRows {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let before = faulty.len();
        let mut making = Making {
            mapping: &self.mapping,
            memory: &mut self.memory,
            message,
            origin,
            blocks,
            faulty,
            index: 0,
            records: 0,
            rows: 0,
            dropped: 0,
            taken: false,
        };
        self.decoder.decode(payload, &self.mapping.plan, &mut making)?;
        let Making { records, rows, dropped, faulty, index, .. } = making;
        // The only row of a message is the message.
        if records == 1 && index == 1 && faulty.len() == before + 1 {
            return faulty.pop().map_or(Ok(Outcome::Rows), |only| Err(only.fault));
        }
        let nothing = rows == 0 && faulty.len() == before;
        Ok(if nothing && dropped > 0 { Outcome::Filtered } else { Outcome::Rows })
    }

    /// JSON and MessagePack are told by their looks; of other formats the payload itself must do.
    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        let payload = message.payload.as_deref()?;
        let read: Option<serde_json::Value> =
            serde_json::from_slice(payload).ok().or_else(|| rmp_serde::from_slice(payload).ok());
        read.filter(|value| value.is_object() || value.is_array())
    }
}

/// A message on its way into the blocks.
struct Making<'m> {
    mapping: &'m Compiled,
    memory: &'m mut Memory,
    message: &'m Message,
    origin: u32,
    blocks: &'m mut [Block],
    faulty: &'m mut Vec<FaultyRow>,
    /// The place of the next row in the message.
    index: u32,
    records: u32,
    rows: u32,
    /// Rows, or records, that no table takes and that are dropped.
    dropped: u32,
    /// Whether a table took an element of this record.
    taken: bool,
}

impl Making<'_> {
    /// Makes the row of `seen` in the first table, of those up to `end` that are `of` the right kind, that takes it; whether
    /// one did.
    fn offer(&mut self, end: usize, of: impl Fn(&Table) -> bool, seen: &Seen<'_, '_>) -> bool {
        let mapping = self.mapping;
        for (at, table) in mapping.tables[..end].iter().enumerate().filter(|(_, table)| of(table)) {
            let holds = match &table.when {
                None => Ok(true),
                Some(condition) => seen.holds(&condition.expression, &condition.spots),
            };
            let done = match holds {
                Ok(false) => continue,
                Ok(true) => self.put(at, table, seen),
                Err(reason) => Err(MessageFault::Condition(reason)),
            };
            match done {
                Ok(()) => self.rows += 1,
                Err(fault) => self.faulty.push(FaultyRow { element: seen.index, fault }),
            }
            return true;
        }
        false
    }

    fn put(&mut self, at: usize, table: &Table, seen: &Seen<'_, '_>) -> Result<(), MessageFault> {
        let Some(block) = self.blocks.get_mut(table.stable) else { return Err(MessageFault::NoTable) };
        let Memory { places, name, .. } = &mut *self.memory;
        let places = match &mut places[at] {
            Some(places) if Arc::ptr_eq(&places.schema, block.schema()) => places,
            other => other.insert(Places::of(table, block.schema())?),
        };
        table.name.write(name, seen)?;
        let schema = &*places.schema;
        let mut row = block.row(name, Origin { message: self.origin, element: seen.index })?;
        for (cell, &column) in table.columns.iter().zip(&places.columns) {
            let data_type = schema.columns[column].data_type;
            fill(&mut row, cell, seen, data_type, schema.precision, |row, value| row.set(column, value))?;
        }
        if row.wants_tags() {
            for (cell, &tag) in table.tags.iter().zip(&places.tags) {
                let data_type = schema.tags[tag].data_type;
                fill(&mut row, cell, seen, data_type, schema.precision, |row, value| row.set_tag(tag, value))?;
            }
        }
        Ok(row.finish()?)
    }

    fn unmatched(&mut self, index: u32) {
        if self.mapping.drops_unmatched {
            self.dropped += 1;
        } else {
            self.faulty.push(FaultyRow { element: index, fault: MessageFault::Unmatched });
        }
    }
}

impl<'p> Visitor<'p> for Making<'_> {
    fn record(&mut self, places: &[Found<'p>]) -> bool {
        self.records += 1;
        self.taken = false;
        self.memory.unmatched.clear();
        let is_array = |place: usize| match places.get(place) {
            Some(Found::Nested(what)) => *what == format::ARRAY,
            Some(Found::Tree(tree)) => tree.is_array(),
            _ => false,
        };
        let has = |table: &Table| table.array.is_some_and(|(_, place)| is_array(place));
        let seen = Seen { message: self.message, record: places, element: &[], index: self.index };
        // Tables before the first whose array is there need no elements to be tried.
        let first_array = self.mapping.tables.iter().position(has);
        let end = first_array.unwrap_or(self.mapping.tables.len());
        if self.offer(end, |table| table.array.is_none(), &seen) {
            self.index += 1;
            return false;
        }
        if first_array.is_none() {
            self.unmatched(self.index);
            self.index += 1;
        }
        first_array.is_some()
    }

    fn element(&mut self, array: usize, record: &[Found<'p>], places: &[Found<'p>]) {
        let seen = Seen { message: self.message, record, element: places, index: self.index };
        match self.offer(self.mapping.tables.len(), |table| table.array.is_some_and(|(of, _)| of == array), &seen) {
            true => self.taken = true,
            false => self.memory.unmatched.push(self.index),
        }
        self.index += 1;
    }

    fn end(&mut self, places: &[Found<'p>]) {
        if !self.taken {
            let seen = Seen { message: self.message, record: places, element: &[], index: self.index };
            if self.offer(self.mapping.tables.len(), |table| table.array.is_none(), &seen) {
                self.index += 1;
                return;
            }
        }
        for index in std::mem::take(&mut self.memory.unmatched) {
            self.unmatched(index);
        }
    }

    fn broken(&mut self, reason: FormatError) {
        self.records += 1;
        self.faulty.push(FaultyRow { element: self.index, fault: reason.into() });
        self.index += 1;
    }
}

impl Places {
    fn of(table: &Table, schema: &Arc<SuperTable>) -> Result<Self, RowFault> {
        let look_up = |cells: &[Cell], fields: &[crate::tdengine::schema::Field]| {
            let place = |cell: &Cell| {
                let unknown = || RowFault::UnknownField { stable: schema.qualified_name(), name: cell.name.clone() };
                fields.iter().position(|field| field.name == cell.name).ok_or_else(unknown)
            };
            cells.iter().map(place).collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            tags: look_up(&table.tags, &schema.tags)?,
            columns: look_up(&table.columns, &schema.columns)?,
            schema: schema.clone(),
        })
    }
}

type Set<'b, 'r> = dyn FnMut(&mut RowBuilder<'b>, &Value<'_>) -> Result<(), RowFault> + 'r;

/// Fills one cell of a row: the value as it stands where the column takes it so, which is nearly always.
#[inline]
fn fill<'b>(
    row: &mut RowBuilder<'b>,
    cell: &Cell,
    seen: &Seen<'_, '_>,
    data_type: DataType,
    precision: Precision,
    mut set: impl FnMut(&mut RowBuilder<'b>, &Value<'_>) -> Result<(), RowFault>,
) -> Result<(), MessageFault> {
    if let Source::Place(spot) = &cell.source
        && let Found::Value(value) = seen.at(*spot)
    {
        let is_plain = match (&cell.time, value) {
            (_, Value::Unset | Value::Null) => false,
            (None, value) => convert::is_plain(value, data_type),
            (Some(time), Value::Int(_)) => time.counts(precision),
            (Some(_), _) => false,
        };
        if is_plain && set(row, value).is_ok() {
            return Ok(());
        }
    }
    fill_slowly(row, cell, seen, data_type, &mut set)
}

/// Defaults, conversions, policies.
fn fill_slowly<'b>(
    row: &mut RowBuilder<'b>,
    cell: &Cell,
    seen: &Seen<'_, '_>,
    data_type: DataType,
    set: &mut Set<'b, '_>,
) -> Result<(), MessageFault> {
    let fault = |reason| FieldFault { field: cell.name.clone(), reason };
    let is_key = cell.missing == Missing::DeadLetter && cell.time.is_some();
    let read = match &cell.source {
        // Whole for the sake of an expression that wants it so; a column of one value takes none of it.
        Source::Place(spot) if data_type != DataType::Json => match seen.at(*spot) {
            Found::Tree(tree) if tree.is_array() => Err(FieldReason::Wrong(format::ARRAY)),
            Found::Tree(_) => Err(FieldReason::Wrong(format::OBJECT)),
            _ => seen.read(&cell.source),
        },
        source => seen.read(source),
    };
    let value = match read {
        Ok(value) => value,
        Err(FieldReason::Wrong(_)) if cell.invalid == Misfit::Null => Value::Null,
        Err(reason) => return Err(fault(reason).into()),
    };
    let value = match value {
        Value::Unset if cell.default.is_some() => cell.default.as_ref().map_or(Value::Unset, Value::borrowed),
        // An explicit null of the message overwrites; nothing at all keeps.
        Value::Unset | Value::Null => match cell.missing {
            Missing::Keep => value,
            Missing::Null => Value::Null,
            Missing::DeadLetter if is_key => return Err(MessageFault::NoTimestamp(fault(FieldReason::Missing))),
            Missing::DeadLetter => return Err(fault(FieldReason::Missing).into()),
            Missing::Kafka => match seen.message.timestamp_ms {
                Some(ms) => return Ok(set(row, &Value::Timestamp(Timestamp::from_millis(ms)))?),
                None => return Err(MessageFault::NoTimestamp(fault(FieldReason::Missing))),
            },
        },
        value => value,
    };
    if matches!(value, Value::Unset | Value::Null) {
        return Ok(set(row, &value)?);
    }
    let cell_fault = |reason: CellError| RowFault::Cell { field: cell.name.clone(), data_type, reason };
    let fits = match &cell.time {
        Some(time) => time.read(&value).map(Value::Timestamp).map_err(cell_fault),
        None => convert::to(&value, data_type).map_err(cell_fault),
    };
    let refused = match fits {
        Ok(fits) => match set(row, &fits) {
            Ok(()) => return Ok(()),
            Err(RowFault::Cell { reason: CellError::TooLong { limit, .. }, .. })
                if cell.too_long == Misfit::Truncate =>
            {
                return Ok(set(row, &convert::truncated(&fits, data_type, limit))?);
            }
            Err(refused) => refused,
        },
        Err(refused) => refused,
    };
    let policy = match &refused {
        RowFault::Cell { reason: CellError::TooLong { .. }, .. } => cell.too_long,
        _ => cell.invalid,
    };
    match policy {
        Misfit::Null => Ok(set(row, &Value::Null)?),
        _ => Err(refused.into()),
    }
}
