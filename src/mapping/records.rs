//! Typed records: what a program knows at compile time how to decode.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{MessageFault, OneRow};
use crate::block::{Block, Places};
use crate::codec::{Codec, Format};
use crate::message::Message;
use crate::record::{Cell, RecordRef};
use crate::row::{TaosEncoder, Timestamp};
use crate::tdengine::schema::SuperTable;

/// Records of a type of one's own, a row each.
#[derive(Debug)]
pub struct RecordRows<T> {
    format: Format,
    /// For the super table it was last asked about.
    places: Option<(Arc<SuperTable>, Places)>,
    records: PhantomData<fn() -> T>,
}

impl<T: Codec + TaosEncoder> RecordRows<T> {
    /// Reads records in `format`.
    pub fn new(format: Format) -> Self {
        Self { format, places: None, records: PhantomData }
    }
}

impl<T: Codec + TaosEncoder> Default for RecordRows<T> {
    fn default() -> Self {
        Self::new(T::FORMAT)
    }
}

impl<T: Codec + TaosEncoder + 'static> OneRow for RecordRows<T> {
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let record = T::decode_as(self.format, payload)?;
        let places = match &self.places {
            Some((schema, places)) if Arc::ptr_eq(schema, block.schema()) => places,
            _ => {
                let places = Places::of(&record, block.schema())?;
                &self.places.insert((block.schema().clone(), places)).1
            }
        };
        Ok(block.push(&record, places, origin)?)
    }
}

/// Demo records: text is borrowed from the payload, and a record may have any number of columns up to the table's.
#[derive(Debug)]
pub struct DemoRows {
    format: Format,
    places: Option<(Arc<SuperTable>, Places)>,
    /// The cells of the record before, for their buffer.
    spare: Vec<Cell<'static>>,
}

impl DemoRows {
    /// Reads demo records in `format`.
    pub fn new(format: Format) -> Self {
        Self { format, places: None, spare: Vec::new() }
    }
}

impl OneRow for DemoRows {
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let mut record = RecordRef::new("", Timestamp::from_millis(0), std::mem::take(&mut self.spare));
        let read = record.read(self.format, payload);
        let places = match &self.places {
            Some((schema, places)) if Arc::ptr_eq(schema, block.schema()) => places,
            _ => &self.places.insert((block.schema().clone(), demo_places(block.schema()))).1,
        };
        let pushed = read.map_err(MessageFault::from).and_then(|()| Ok(block.push(&record, places, origin)?));
        let mut cells = record.cols;
        cells.clear();
        // Nothing is left in it, so this only gives the buffer its longer life.
        self.spare = cells.into_iter().map(|_| Cell::Null).collect();
        pushed
    }

    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        let mut record = RecordRef::default();
        record.read(self.format, message.payload.as_deref()?).ok()?;
        serde_json::to_value(&record).ok()
    }
}

/// `ts, col0, col1, ..` and the tag `device`, wherever they stand; what the table lacks is a place beyond its last.
fn demo_places(schema: &SuperTable) -> Places {
    let beyond = schema.columns.len();
    let place = |name: &str| schema.columns.iter().position(|field| field.name == name).unwrap_or(beyond);
    let known = (0..).map(|i| place(&format!("col{i}"))).take_while(|&place| place < beyond);
    let mut columns: Vec<usize> = std::iter::once(place("ts")).chain(known).collect();
    // A record with more columns than the table has goes astray by name, not into a neighbour's place.
    columns.resize(columns.len().max(beyond) + 1, beyond);
    let tag = schema.tags.iter().position(|field| field.name == "device").unwrap_or(schema.tags.len());
    Places { tags: vec![tag], columns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TopicPartition;
    use crate::row::Precision;
    use crate::simulate::Simulator;

    fn message(payload: Option<&[u8]>) -> Message {
        Message {
            source: TopicPartition::new("t", 0),
            offset: 0,
            timestamp_ms: None,
            key: None,
            payload: payload.map(bytes::Bytes::copy_from_slice),
            headers: Vec::new(),
        }
    }

    fn payload(columns: usize) -> Vec<u8> {
        let simulator = Simulator { columns, ..Simulator::new(Timestamp::from_millis(1000)) };
        let mut payload = Vec::new();
        simulator.record(7, 0).write(Format::MsgPack, &mut payload).unwrap();
        payload
    }

    #[test]
    fn demo_records_become_rows_whatever_came_before() {
        let simulator = Simulator { columns: 3, ..Simulator::new(Timestamp::from_millis(0)) };
        let mut block = Block::new(Arc::new(simulator.super_table(Precision::Milli)));
        let mut rows = DemoRows::new(Format::MsgPack);
        assert!(matches!(rows.append_one(&message(None), 0, &mut block), Err(MessageFault::Tombstone)));
        assert!(matches!(rows.append_one(&message(Some(b"\xc1")), 0, &mut block), Err(MessageFault::Codec(_))));
        assert!(matches!(rows.append_one(&message(Some(&payload(4))), 0, &mut block), Err(MessageFault::Row(_))));
        assert_eq!((block.rows(), block.tables()), (0, 0));
        rows.append_one(&message(Some(&payload(3))), 0, &mut block).unwrap();
        rows.append_one(&message(Some(&payload(2))), 1, &mut block).unwrap();
        assert_eq!((block.rows(), block.table_name(0)), (2, "tb7"));
        assert_eq!(block.columns()[3].flags, [crate::block::VALUE, crate::block::UNSET]);
    }

    #[test]
    fn columns_are_found_by_name() {
        let mut schema =
            Simulator { columns: 2, ..Simulator::new(Timestamp::from_millis(0)) }.super_table(Precision::Milli);
        schema.columns.insert(1, crate::tdengine::schema::Field::new("note", crate::tdengine::schema::DataType::Int));
        let mut block = Block::new(Arc::new(schema));
        DemoRows::new(Format::MsgPack).append_one(&message(Some(&payload(2))), 0, &mut block).unwrap();
        assert_eq!(block.columns()[1].flags, [crate::block::UNSET]);
        assert_eq!(block.columns()[2].flags, [crate::block::VALUE]);
        let three = DemoRows::new(Format::MsgPack).append_one(&message(Some(&payload(3))), 0, &mut block);
        assert!(three.unwrap_err().to_string().contains("more values"));
    }
}
