//! Typed records: what a program knows at compile time how to decode.

use std::marker::PhantomData;
use std::sync::Arc;

use super::{MessageFault, OneRow};
use crate::block::{Block, Places};
use crate::codec::{Codec, Format};
use crate::message::Message;
use crate::record::msgpack::Pulled;
use crate::record::{Cell, RecordRef};
use crate::row::{TaosEncoder, Timestamp, Value};
use crate::tdengine::schema::{DataType, Field, SuperTable};

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
    places: Option<(Arc<SuperTable>, DemoPlaces)>,
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
        let DemoPlaces { places, all_text } = match &self.places {
            Some((schema, places)) if Arc::ptr_eq(schema, block.schema()) => places,
            _ => &self.places.insert((block.schema().clone(), DemoPlaces::of(block.schema()))).1,
        };
        if self.format == Format::MsgPack && *all_text && pull(payload, places, origin, block).is_some() {
            return Ok(());
        }
        // The long way also knows what is wrong.
        let mut record = RecordRef::new("", Timestamp::from_millis(0), std::mem::take(&mut self.spare));
        let read = record.read(self.format, payload);
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

/// A record straight from its payload into the block. `None`: the block is as it was before; the payload or a value is at
/// fault, or it is one that this way does not know.
fn pull(payload: &[u8], places: &Places, origin: u32, block: &mut Block) -> Option<()> {
    let record = Pulled::begin(payload)?;
    let mut row = block.row(record.device_id, origin).ok()?;
    row.set_tag(places.tags[0], &Value::from(record.device_id)).ok()?;
    let mut columns = places.columns.iter();
    row.set(*columns.next()?, &Value::Timestamp(record.timestamp)).ok()?;
    record.cells(|value| row.set(*columns.next()?, value).ok())?;
    row.finish().ok()
}

/// Where a demo record's parts stand in a super table.
#[derive(Debug)]
struct DemoPlaces {
    places: Places,
    /// Whether all columns but the timestamp take text, and take it as bytes too.
    all_text: bool,
}

impl DemoPlaces {
    /// `ts, col0, col1, ..` and the tag `device`, wherever they stand; what the table lacks is a place beyond its last.
    fn of(schema: &SuperTable) -> Self {
        let beyond = schema.columns.len();
        let place = |name: &str| schema.columns.iter().position(|field| field.name == name).unwrap_or(beyond);
        let known = (0..).map(|i| place(&format!("col{i}"))).take_while(|&place| place < beyond);
        let mut columns: Vec<usize> = std::iter::once(place("ts")).chain(known).collect();
        // A record with more columns than the table has goes astray by name, not into a neighbour's place.
        columns.resize(columns.len().max(beyond) + 1, beyond);
        let tag = schema.tags.iter().position(|field| field.name == "device").unwrap_or(schema.tags.len());
        let is_text = |field: &Field| matches!(field.data_type, DataType::Varchar(_) | DataType::NChar(_));
        Self { places: Places { tags: vec![tag], columns }, all_text: schema.columns.iter().skip(1).all(is_text) }
    }
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
        schema.columns.insert(1, Field::new("note", DataType::Int));
        let mut block = Block::new(Arc::new(schema));
        DemoRows::new(Format::MsgPack).append_one(&message(Some(&payload(2))), 0, &mut block).unwrap();
        assert_eq!(block.columns()[1].flags, [crate::block::UNSET]);
        assert_eq!(block.columns()[2].flags, [crate::block::VALUE]);
        let three = DemoRows::new(Format::MsgPack).append_one(&message(Some(&payload(3))), 0, &mut block);
        assert!(three.unwrap_err().to_string().contains("more values"));
    }

    /// Of any payload, the short way leaves what the long one leaves.
    #[test]
    fn both_ways_come_to_the_same_row() {
        let mut schema = Simulator { columns: 3, column_bytes: 4, ..Simulator::new(Timestamp::from_millis(0)) }
            .super_table(Precision::Milli);
        schema.columns[2].data_type = DataType::NChar(4);
        let schema = Arc::new(schema);
        let texts = ["abcd", "äö", "abcde", "温度温度", ""];
        let mut payloads: Vec<Vec<u8>> = Vec::new();
        for text in texts {
            for cell in [Cell::from(text), Cell::Null, Cell::Int(5), Cell::Bytes(b"\xff"[..].into())] {
                let cols = vec![Cell::from("a"), cell, Cell::from(text)];
                let mut payload = Vec::new();
                RecordRef::new("tb1", Timestamp::from_millis(7), cols).write(Format::MsgPack, &mut payload).unwrap();
                payloads.extend((0..payload.len()).map(|end| payload[..end].to_vec()));
                payloads.push([payload.as_slice(), b"x"].concat());
                payloads.push(payload);
            }
        }
        for payload in payloads {
            let DemoPlaces { places, all_text } = DemoPlaces::of(&schema);
            assert!(all_text);
            let (mut short, mut long) = (Block::new(schema.clone()), Block::new(schema.clone()));
            let pulled = pull(&payload, &places, 0, &mut short);
            let mut record = RecordRef::default();
            let read = record.read(Format::MsgPack, &payload).is_ok();
            let pushed = read && long.push(&record, &places, 0).is_ok();
            if pulled.is_some() {
                assert!(pushed, "{payload:?}");
                let cells = |block: &Block| {
                    let columns = block.columns().iter().chain(block.tags());
                    columns.map(|column| (column.flags.clone(), column.bytes(0).to_vec())).collect::<Vec<_>>()
                };
                assert_eq!(cells(&short), cells(&long), "{payload:?}");
            }
            assert_eq!((short.rows(), short.tables()), if pulled.is_some() { (1, 1) } else { (0, 0) });
        }
    }
}
