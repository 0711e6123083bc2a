//! What is published: drafts by number, the message's number as its payload.

use super::schedule::{Act, Body, Cell, Draft, Poison, Row, Schedule};
use crate::block::{Block, Origin, VALUE};
use crate::mapping::{FaultyRow, MessageFault, Outcome, RowSource};
use crate::message::Message;
use crate::row::Value;

/// The column that holds the row's number.
pub(super) const ID: usize = 1;
/// Most rows of a message.
const MOST: i64 = 16;

/// All drafts of a schedule, by number.
pub(super) struct Drafts(Vec<Draft>);

/// A row's number: later rows of a partition have greater ones.
pub(super) fn id_of(message: usize, row: usize) -> i64 {
    message as i64 * MOST + row as i64 + 1
}

/// Message and row of a number.
pub(super) fn row_of(id: i64) -> (usize, usize) {
    let id = id - 1;
    ((id / MOST) as usize, (id % MOST) as usize)
}

impl Drafts {
    pub(super) fn new(schedule: &Schedule) -> Self {
        let drafts = |act: &Act| if let Act::Publish(drafts) = act { drafts.clone() } else { Vec::new() };
        Self(schedule.steps.iter().flat_map(|step| drafts(&step.act)).collect())
    }

    pub(super) fn get(&self, number: usize) -> Option<&Draft> {
        self.0.get(number)
    }

    pub(super) fn rows(&self, number: usize) -> &[Row] {
        match self.0.get(number).map(|draft| &draft.body) {
            Some(Body::Rows(rows)) => rows,
            _ => &[],
        }
    }

    pub(super) fn partition_of(&self, id: i64) -> i32 {
        self.0[row_of(id).0].partition as i32
    }

    /// What is wrong with a row of whose cells the first is this.
    pub(super) fn poison_of(&self, (flag, value): (u8, i64)) -> Poison {
        let (message, row) = row_of(value);
        if flag == VALUE { self.rows(message).get(row).map_or(Poison::None, |row| row.poison) } else { Poison::None }
    }
}

pub(super) fn payload(number: usize, draft: &Draft) -> Option<Vec<u8>> {
    match draft.body {
        Body::Tombstone => None,
        Body::Garbage => Some(format!("?{number}").into_bytes()),
        _ => Some(number.to_string().into_bytes()),
    }
}

pub(super) fn number_of(payload: &[u8]) -> Option<usize> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

/// Reads the numbers.
pub(super) struct Source(pub(super) std::sync::Arc<Drafts>);

impl RowSource for Source {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let number = number_of(payload).ok_or(MessageFault::NoTable)?;
        let rows = match self.0.get(number).map(|draft| &draft.body) {
            Some(Body::Filtered) => return Ok(Outcome::Filtered),
            Some(Body::Rows(rows)) => rows,
            _ => return Err(MessageFault::NoTable),
        };
        for (element, row) in rows.iter().enumerate() {
            if let Err(fault) =
                append(row, id_of(number, element), Origin { message: origin, element: element as u32 }, blocks)
            {
                faulty.push(FaultyRow { element: element as u32, fault });
            }
        }
        Ok(Outcome::Rows)
    }
}

fn append(row: &Row, id: i64, origin: Origin, blocks: &mut [Block]) -> Result<(), MessageFault> {
    let block = blocks.get_mut(row.stable).ok_or(MessageFault::NoTable)?;
    let name = if row.poison == Poison::Map { "a.dotted.name".to_owned() } else { format!("d{}", row.table) };
    let mut builder = block.row(&name, origin)?;
    builder.set(0, &Value::Int(row.ts))?;
    builder.set(ID, &Value::Int(id))?;
    for (column, cell) in (2..).zip(row.cells) {
        match cell {
            Cell::Value => builder.set(column, &Value::Int(id))?,
            Cell::Null => builder.set(column, &Value::Null)?,
            Cell::Unset => {}
        }
    }
    Ok(builder.finish()?)
}
