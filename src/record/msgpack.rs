//! The demo record as MessagePack, read and written by hand: this is the hot path.
//!
//! <https://github.com/msgpack/msgpack/blob/master/spec.md>. Numbers are written at full width, as the original does;
//! every width is read.

use rmp::Marker;

use super::{Cell, RecordRef};
use crate::codec::timestamp::{EXTENSION, Wire, read_extension};
use crate::codec::{CodecError, Format};
use crate::row::{Timestamp, Value};

/// More cells than this are not allotted ahead on a payload's word.
const MAX_CELLS_AHEAD: usize = 4096;

pub(super) fn read<'a>(record: &mut RecordRef<'a>, payload: &'a [u8]) -> Result<(), CodecError> {
    let mut reader = Reader { rest: payload };
    match read_map(record, &mut reader) {
        Ok(()) if reader.rest.is_empty() => Ok(()),
        Ok(()) => Err(reader.error(payload, "more bytes than one record has")),
        Err(reason) => Err(reader.error(payload, reason)),
    }
}

fn read_map<'a>(record: &mut RecordRef<'a>, reader: &mut Reader<'a>) -> Result<(), &'static str> {
    let (mut device_id, mut timestamp, mut cols) = (false, false, false);
    for _ in 0..reader.map_length()? {
        match reader.text("a key that is not text")? {
            "DeviceID" => {
                record.device_id = reader.text("a DeviceID that is not text")?.into();
                device_id = true;
            }
            "Timestamp" => {
                record.timestamp = reader.timestamp()?;
                timestamp = true;
            }
            "Cols" => {
                reader.cells(&mut record.cols)?;
                cols = true;
            }
            _ => reader.skip()?,
        }
    }
    match (device_id, timestamp, cols) {
        (true, true, true) => Ok(()),
        (false, ..) => Err("the key DeviceID is missing"),
        (_, false, _) => Err("the key Timestamp is missing"),
        _ => Err("the key Cols is missing"),
    }
}

/// A record whose cells are still to be read, one by one: where its device and its timestamp stand before them, as they
/// do in what we and the original write.
pub(crate) struct Pulled<'a> {
    pub(crate) device_id: &'a str,
    pub(crate) timestamp: Timestamp,
    cells: usize,
    reader: Reader<'a>,
}

impl<'a> Pulled<'a> {
    /// `None`: it is not so, or no record; [`read`] knows which.
    pub(crate) fn begin(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { rest: payload };
        let key = |reader: &mut Reader<'a>, name| reader.text("").ok().filter(|key| *key == name);
        if reader.map_length().ok()? != 3 {
            return None;
        }
        key(&mut reader, "DeviceID")?;
        let device_id = reader.text("").ok()?;
        key(&mut reader, "Timestamp")?;
        let timestamp = reader.timestamp().ok()?;
        key(&mut reader, "Cols")?;
        let cells = reader.list_length().ok()?;
        Some(Self { device_id, timestamp, cells, reader })
    }

    /// Hands out the cells, ASCII text as its bytes. `None`: this is no record after all, or `put` refused a cell.
    pub(crate) fn cells(mut self, mut put: impl FnMut(&Value<'_>) -> Option<()>) -> Option<()> {
        for _ in 0..self.cells {
            match self.reader.peek().ok()? {
                Marker::FixStr(length) => {
                    let bytes = self.reader.take(1, length.into()).ok()?;
                    match bytes.is_ascii() {
                        true => put(&Value::Bytes(bytes.into()))?,
                        false => put(&Value::from(std::str::from_utf8(bytes).ok()?))?,
                    }
                }
                _ => put(&Value::from(&self.reader.cell().ok()?))?,
            }
        }
        self.reader.rest.is_empty().then_some(())
    }
}

const CUT_SHORT: &str = "the payload ends within a value";

/// What is left of a payload. Nothing is taken on an error, so that it stands where the error is.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn error(&self, payload: &[u8], reason: &str) -> CodecError {
        CodecError::decode(Format::MsgPack, Some(payload.len() - self.rest.len()), reason)
    }

    fn peek(&self) -> Result<Marker, &'static str> {
        self.rest.first().map(|&byte| Marker::from_u8(byte)).ok_or(CUT_SHORT)
    }

    /// The `N` bytes behind the marker.
    fn operand<const N: usize>(&self) -> Result<[u8; N], &'static str> {
        self.rest.get(1..).and_then(<[u8]>::first_chunk).copied().ok_or(CUT_SHORT)
    }

    fn length8(&self) -> Result<usize, &'static str> {
        self.operand().map(|[length]| length.into())
    }

    fn length16(&self) -> Result<usize, &'static str> {
        self.operand().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn length32(&self) -> Result<usize, &'static str> {
        self.operand().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    /// Takes `head` bytes that were looked at, and hands out the `length` behind them.
    fn take(&mut self, head: usize, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(head + length).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(&taken[head..])
    }

    fn map_length(&mut self) -> Result<usize, &'static str> {
        let (head, length) = match self.peek()? {
            Marker::FixMap(length) => (1, length.into()),
            Marker::Map16 => (3, self.length16()?),
            Marker::Map32 => (5, self.length32()?),
            _ => return Err("no map"),
        };
        self.take(head, 0)?;
        Ok(length)
    }

    fn text(&mut self, or: &'static str) -> Result<&'a str, &'static str> {
        let (head, length) = match self.peek()? {
            Marker::FixStr(length) => (1, length.into()),
            Marker::Str8 => (2, self.length8()?),
            Marker::Str16 => (3, self.length16()?),
            Marker::Str32 => (5, self.length32()?),
            _ => return Err(or),
        };
        self.utf8(head, length)
    }

    fn utf8(&mut self, head: usize, length: usize) -> Result<&'a str, &'static str> {
        let at = self.rest;
        std::str::from_utf8(self.take(head, length)?).map_err(|_| {
            self.rest = at;
            "text that is not UTF-8"
        })
    }

    fn timestamp(&mut self) -> Result<Timestamp, &'static str> {
        let (head, length) = match self.peek()? {
            Marker::FixExt4 => (1, 4),
            Marker::FixExt8 => (1, 8),
            Marker::Ext8 => (2, self.length8()?),
            _ => return Err("a Timestamp that is not the timestamp extension"),
        };
        let at = self.rest;
        let moment = match self.take(head, 1 + length)?.split_first() {
            Some((&number, bytes)) if number.cast_signed() == EXTENSION => read_extension(bytes),
            _ => Err("a Timestamp that is another extension"),
        };
        moment.inspect_err(|_| self.rest = at)
    }

    fn list_length(&mut self) -> Result<usize, &'static str> {
        let (head, length) = match self.peek()? {
            Marker::Null => (1, 0), // the original's empty list
            Marker::FixArray(length) => (1, length.into()),
            Marker::Array16 => (3, self.length16()?),
            Marker::Array32 => (5, self.length32()?),
            _ => return Err("Cols that are not a list"),
        };
        self.take(head, 0)?;
        Ok(length)
    }

    fn cells(&mut self, cells: &mut Vec<Cell<'a>>) -> Result<(), &'static str> {
        let length = self.list_length()?;
        cells.clear();
        cells.reserve(length.min(self.rest.len()).min(MAX_CELLS_AHEAD));
        for _ in 0..length {
            cells.push(self.cell()?);
        }
        Ok(())
    }

    fn cell(&mut self) -> Result<Cell<'a>, &'static str> {
        let (head, length) = match self.peek()? {
            Marker::FixStr(length) => return self.utf8(1, length.into()).map(Cell::from),
            Marker::Str8 => return self.utf8(2, self.length8()?).map(Cell::from),
            Marker::Str16 => return self.utf8(3, self.length16()?).map(Cell::from),
            Marker::Str32 => return self.utf8(5, self.length32()?).map(Cell::from),
            Marker::Bin8 => (2, self.length8()?),
            Marker::Bin16 => (3, self.length16()?),
            Marker::Bin32 => (5, self.length32()?),
            marker => {
                let (cell, width) = self.scalar(marker)?;
                self.take(width, 0)?;
                return Ok(cell);
            }
        };
        Ok(Cell::Bytes(self.take(head, length)?.into()))
    }

    /// A cell of fixed width, and how many bytes it has with its marker.
    fn scalar(&self, marker: Marker) -> Result<(Cell<'static>, usize), &'static str> {
        Ok(match marker {
            Marker::Null => (Cell::Null, 1),
            Marker::True => (Cell::Bool(true), 1),
            Marker::False => (Cell::Bool(false), 1),
            Marker::FixPos(number) => (Cell::Int(number.into()), 1),
            Marker::FixNeg(number) => (Cell::Int(number.into()), 1),
            Marker::I8 => (Cell::Int(i8::from_be_bytes(self.operand()?).into()), 2),
            Marker::I16 => (Cell::Int(i16::from_be_bytes(self.operand()?).into()), 3),
            Marker::I32 => (Cell::Int(i32::from_be_bytes(self.operand()?).into()), 5),
            Marker::I64 => (Cell::Int(i64::from_be_bytes(self.operand()?)), 9),
            Marker::U8 => (Cell::UInt(u8::from_be_bytes(self.operand()?).into()), 2),
            Marker::U16 => (Cell::UInt(u16::from_be_bytes(self.operand()?).into()), 3),
            Marker::U32 => (Cell::UInt(u32::from_be_bytes(self.operand()?).into()), 5),
            Marker::U64 => (Cell::UInt(u64::from_be_bytes(self.operand()?)), 9),
            Marker::F32 => (Cell::Float(f32::from_be_bytes(self.operand()?)), 5),
            Marker::F64 => (Cell::Double(f64::from_be_bytes(self.operand()?)), 9),
            _ => return Err("a column that is a list, a map or an extension"),
        })
    }

    /// Passes over a value of an unknown key; nested ones are counted, not descended into.
    fn skip(&mut self) -> Result<(), &'static str> {
        let mut values = 1u64;
        while values > 0 {
            values -= 1;
            let (bytes, within) = match self.peek()? {
                Marker::Null | Marker::True | Marker::False | Marker::FixPos(_) | Marker::FixNeg(_) => (1, 0),
                Marker::U8 | Marker::I8 => (2, 0),
                Marker::U16 | Marker::I16 | Marker::FixExt1 => (3, 0),
                Marker::FixExt2 => (4, 0),
                Marker::U32 | Marker::I32 | Marker::F32 => (5, 0),
                Marker::FixExt4 => (6, 0),
                Marker::U64 | Marker::I64 | Marker::F64 => (9, 0),
                Marker::FixExt8 => (10, 0),
                Marker::FixExt16 => (18, 0),
                Marker::FixStr(length) => (1 + usize::from(length), 0),
                Marker::Str8 | Marker::Bin8 => (2 + self.length8()?, 0),
                Marker::Str16 | Marker::Bin16 => (3 + self.length16()?, 0),
                Marker::Str32 | Marker::Bin32 => (5 + self.length32()?, 0),
                Marker::Ext8 => (3 + self.length8()?, 0),
                Marker::Ext16 => (4 + self.length16()?, 0),
                Marker::Ext32 => (6 + self.length32()?, 0),
                Marker::FixArray(length) => (1, length.into()),
                Marker::Array16 => (3, self.length16()?),
                Marker::Array32 => (5, self.length32()?),
                Marker::FixMap(length) => (1, 2 * usize::from(length)),
                Marker::Map16 => (3, 2 * self.length16()?),
                Marker::Map32 => (5, 2 * self.length32()?),
                Marker::Reserved => return Err("a byte that MessagePack does not use"),
            };
            self.take(bytes, 0)?;
            values += within as u64;
        }
        Ok(())
    }
}

pub(super) fn write(record: &RecordRef<'_>, payload: &mut Vec<u8>) {
    write_head(payload, &record.device_id, record.timestamp, record.cols.len());
    for cell in &record.cols {
        match cell {
            Cell::Null => payload.push(Marker::Null.to_u8()),
            Cell::Bool(truth) => payload.push(if *truth { Marker::True } else { Marker::False }.to_u8()),
            Cell::Int(number) => write_fixed(payload, Marker::I64, number.to_be_bytes()),
            Cell::UInt(number) => write_fixed(payload, Marker::U64, number.to_be_bytes()),
            Cell::Float(number) => write_fixed(payload, Marker::F32, number.to_be_bytes()),
            Cell::Double(number) => write_fixed(payload, Marker::F64, number.to_be_bytes()),
            Cell::Text(text) => write_text(payload, text.as_bytes()),
            Cell::Bytes(bytes) => {
                let markers = [Marker::Bin8, Marker::Bin16, Marker::Bin32];
                write_length(payload, bytes.len(), markers);
                payload.extend_from_slice(bytes);
            }
        }
    }
}

/// All of a record up to its first cell.
pub(crate) fn write_head(payload: &mut Vec<u8>, device_id: &str, timestamp: Timestamp, cells: usize) {
    payload.push(Marker::FixMap(3).to_u8());
    write_text(payload, b"DeviceID");
    write_text(payload, device_id.as_bytes());
    write_text(payload, b"Timestamp");
    let wire = Wire::of(timestamp);
    match &wire {
        Wire::Seconds32(_) => payload.push(Marker::FixExt4.to_u8()),
        Wire::Nanos30Seconds34(_) => payload.push(Marker::FixExt8.to_u8()),
        Wire::Nanos32Seconds64(bytes) => payload.extend([Marker::Ext8.to_u8(), bytes.len() as u8]),
    }
    payload.push(EXTENSION.cast_unsigned());
    payload.extend_from_slice(wire.bytes());
    write_text(payload, b"Cols");
    match cells {
        0..16 => payload.push(Marker::FixArray(cells as u8).to_u8()),
        16..0x1_0000 => write_fixed(payload, Marker::Array16, (cells as u16).to_be_bytes()),
        _ => write_fixed(payload, Marker::Array32, (cells as u32).to_be_bytes()),
    }
}

/// Text in UTF-8.
pub(crate) fn write_text(payload: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        0..32 => payload.push(Marker::FixStr(text.len() as u8).to_u8()),
        length => write_length(payload, length, [Marker::Str8, Marker::Str16, Marker::Str32]),
    }
    payload.extend_from_slice(text);
}

fn write_fixed<const N: usize>(payload: &mut Vec<u8>, marker: Marker, bytes: [u8; N]) {
    payload.push(marker.to_u8());
    payload.extend_from_slice(&bytes);
}

/// The narrowest of a marker for 8, 16 and 32 bits of length that will do.
fn write_length(payload: &mut Vec<u8>, length: usize, [narrow, medium, wide]: [Marker; 3]) {
    match length {
        0..0x100 => write_fixed(payload, narrow, [length as u8]),
        0x100..0x1_0000 => write_fixed(payload, medium, (length as u16).to_be_bytes()),
        _ => write_fixed(payload, wide, (length as u32).to_be_bytes()),
    }
}
