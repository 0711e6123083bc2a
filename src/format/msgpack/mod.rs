//! MessagePack, walked by hand. <https://github.com/msgpack/msgpack/blob/master/spec.md>
//!
//! Keys are text, bytes or whole numbers (found as their digits); entries with keys of other kinds are passed over. Text
//! that is not UTF-8 is bytes, the timestamp extension is a timestamp, other extensions are their bytes.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use rmp::Marker;
use serde_json::Value as Tree;

use super::finds::{Finds, NOWHERE, Shelf};
use super::plan::{NodeId, Places};
use super::{ARRAY, Decoder, FormatError, Found, OBJECT, Plan, Visitor, tree_of};
use crate::codec::timestamp::{EXTENSION, read_extension};
use crate::row::Value;

/// As deep as a tree is made; what is passed over may be deeper.
const MAX_DEPTH: u32 = 127;

/// Reads MessagePack, one record a payload.
#[derive(Debug, Default)]
pub struct MsgPackDecoder {
    shelf: Shelf,
}

impl MsgPackDecoder {
    /// One record a payload.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Decoder for MsgPackDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let mut walker = Walker { bytes: payload, at: 0 };
        let (mut record, mut element) = self.shelf.take(plan);
        walker
            .whole(&mut self.shelf.record(plan, &mut record))
            .map_err(|reason| FormatError::new("MessagePack", Some(walker.at), reason))?;
        if visitor.record(&record) {
            for array in 0..self.shelf.arrays.len() {
                if self.shelf.arrays[array] == NOWHERE {
                    continue;
                }
                walker.at = self.shelf.arrays[array];
                let Ok(Head::Array(length)) = walker.head() else { continue };
                for _ in 0..length {
                    let read = walker.value(&mut self.shelf.element(plan, array, &mut element), Places::ROOT);
                    debug_assert_eq!(read, Ok(()), "all of it was walked over before");
                    visitor.element(array, &record, &element);
                }
            }
            visitor.end(&record);
        }
        self.shelf.keep(record, element);
        Ok(())
    }
}

type Walked<T = ()> = Result<T, &'static str>;

const CUT_SHORT: &str = "the payload ends within a value";

/// A value but for what is nested in it.
enum Head<'p> {
    Value(Value<'p>),
    Text(&'p [u8]),
    Extension(i8, &'p [u8]),
    /// So many values follow.
    Array(usize),
    /// So many keys and values follow.
    Map(usize),
}

struct Walker<'p> {
    bytes: &'p [u8],
    /// On an error it stands at the value that is wrong.
    at: usize,
}

impl<'p> Walker<'p> {
    fn whole(&mut self, finds: &mut Finds<'_, 'p>) -> Walked {
        self.value(finds, Places::ROOT)?;
        if self.at == self.bytes.len() { Ok(()) } else { Err("more bytes than one record has") }
    }

    /// The `N` bytes behind the marker.
    #[inline]
    fn operand<const N: usize>(&self) -> Walked<[u8; N]> {
        self.bytes.get(self.at + 1..).and_then(<[u8]>::first_chunk).copied().ok_or(CUT_SHORT)
    }

    fn length8(&self) -> Walked<usize> {
        self.operand().map(|[length]| length.into())
    }

    fn length16(&self) -> Walked<usize> {
        self.operand().map(|bytes| u16::from_be_bytes(bytes).into())
    }

    fn length32(&self) -> Walked<usize> {
        self.operand().map(|bytes| u32::from_be_bytes(bytes) as usize)
    }

    /// Takes `head` bytes that were looked at, and hands out the `length` behind them.
    #[inline]
    fn take(&mut self, head: usize, length: usize) -> Walked<&'p [u8]> {
        let taken = self.bytes.get(self.at + head..).and_then(|rest| rest.get(..length)).ok_or(CUT_SHORT)?;
        self.at += head + length;
        Ok(taken)
    }

    fn scalar(&mut self, width: usize, value: impl Into<Value<'p>>) -> Walked<Head<'p>> {
        self.at += width;
        Ok(Head::Value(value.into()))
    }

    fn text(&mut self, head: usize, length: usize) -> Walked<Head<'p>> {
        self.take(head, length).map(Head::Text)
    }

    fn binary(&mut self, head: usize, length: usize) -> Walked<Head<'p>> {
        self.take(head, length).map(|bytes| Head::Value(Value::from(bytes)))
    }

    fn extension(&mut self, head: usize, length: usize) -> Walked<Head<'p>> {
        let taken = self.take(head, 1 + length)?;
        Ok(Head::Extension(taken[0].cast_signed(), &taken[1..]))
    }

    #[inline]
    fn head(&mut self) -> Walked<Head<'p>> {
        let marker = self.bytes.get(self.at).map(|byte| Marker::from_u8(*byte)).ok_or(CUT_SHORT)?;
        match marker {
            Marker::FixPos(number) => self.scalar(1, number),
            Marker::FixNeg(number) => self.scalar(1, number),
            Marker::Null => self.scalar(1, Value::Null),
            Marker::True => self.scalar(1, true),
            Marker::False => self.scalar(1, false),
            Marker::U8 => self.scalar(2, u8::from_be_bytes(self.operand()?)),
            Marker::U16 => self.scalar(3, u16::from_be_bytes(self.operand()?)),
            Marker::U32 => self.scalar(5, u32::from_be_bytes(self.operand()?)),
            Marker::U64 => {
                let number = u64::from_be_bytes(self.operand()?);
                self.scalar(9, i64::try_from(number).map_or(Value::UInt(number), Value::Int))
            }
            Marker::I8 => self.scalar(2, i8::from_be_bytes(self.operand()?)),
            Marker::I16 => self.scalar(3, i16::from_be_bytes(self.operand()?)),
            Marker::I32 => self.scalar(5, i32::from_be_bytes(self.operand()?)),
            Marker::I64 => self.scalar(9, i64::from_be_bytes(self.operand()?)),
            Marker::F32 => self.scalar(5, f32::from_be_bytes(self.operand()?)),
            Marker::F64 => self.scalar(9, f64::from_be_bytes(self.operand()?)),
            Marker::FixStr(length) => self.text(1, length.into()),
            Marker::Str8 => self.text(2, self.length8()?),
            Marker::Str16 => self.text(3, self.length16()?),
            Marker::Str32 => self.text(5, self.length32()?),
            Marker::Bin8 => self.binary(2, self.length8()?),
            Marker::Bin16 => self.binary(3, self.length16()?),
            Marker::Bin32 => self.binary(5, self.length32()?),
            Marker::FixExt1 => self.extension(1, 1),
            Marker::FixExt2 => self.extension(1, 2),
            Marker::FixExt4 => self.extension(1, 4),
            Marker::FixExt8 => self.extension(1, 8),
            Marker::FixExt16 => self.extension(1, 16),
            Marker::Ext8 => self.extension(2, self.length8()?),
            Marker::Ext16 => self.extension(3, self.length16()?),
            Marker::Ext32 => self.extension(5, self.length32()?),
            Marker::FixArray(length) => self.take(1, 0).map(|_| Head::Array(length.into())),
            Marker::Array16 => self.length16().and_then(|length| self.take(3, 0).map(|_| Head::Array(length))),
            Marker::Array32 => self.length32().and_then(|length| self.take(5, 0).map(|_| Head::Array(length))),
            Marker::FixMap(length) => self.take(1, 0).map(|_| Head::Map(length.into())),
            Marker::Map16 => self.length16().and_then(|length| self.take(3, 0).map(|_| Head::Map(length))),
            Marker::Map32 => self.length32().and_then(|length| self.take(5, 0).map(|_| Head::Map(length))),
            Marker::Reserved => Err("a byte that MessagePack does not use"),
        }
    }

    /// The value at `node`.
    #[inline]
    fn value(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId) -> Walked {
        let begin = self.at;
        let found = match self.head()? {
            Head::Value(value) => Found::Value(value),
            Head::Text(text) => Found::Value(text_or_bytes(text)),
            Head::Extension(EXTENSION, bytes) => {
                read_extension(bytes).map_or_else(Found::Nested, |moment| Found::Value(Value::Timestamp(moment)))
            }
            Head::Extension(_, bytes) => Found::Value(bytes.into()),
            Head::Array(length) => return self.nested(finds, node, begin, length, true),
            Head::Map(length) => return self.nested(finds, node, begin, length, false),
        };
        finds.put_single(node, || found);
        Ok(())
    }

    fn nested(
        &mut self,
        finds: &mut Finds<'_, 'p>,
        node: NodeId,
        begin: usize,
        length: usize,
        is_array: bool,
    ) -> Walked {
        let here = finds.places.at(node);
        finds.forget_within(node);
        if is_array {
            finds.put_array(node, begin);
        }
        if here.children.is_empty() {
            self.skip(if is_array { length as u64 } else { 2 * length as u64 })?;
        } else if is_array {
            for number in 0..length {
                match here.children.iter().find(|child| child.index == Some(number)) {
                    Some(child) => self.value(finds, child.node)?,
                    None => self.skip(1)?,
                }
            }
        } else {
            self.map(finds, node, length)?;
        }
        if here.place.is_some() {
            finds.put(
                node,
                match is_array {
                    _ if here.whole => {
                        Walker { bytes: self.bytes, at: begin }.tree(0).map_or_else(Found::Nested, Found::Tree)
                    }
                    true => Found::Nested(ARRAY),
                    false => Found::Nested(OBJECT),
                },
            );
        }
        Ok(())
    }

    fn map(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId, length: usize) -> Walked {
        let mut before = Finds::first_of(node);
        for _ in 0..length {
            let guess = finds.guess(before);
            let child = self.key()?.and_then(|key| finds.places.child(node, &key, guess));
            match child {
                Some((child, node)) => {
                    before = finds.followed(before, guess, child, node);
                    self.value(finds, node)?;
                }
                None => self.skip(1)?,
            }
        }
        Ok(())
    }

    /// A key, if it is one that can be wanted.
    #[inline]
    fn key(&mut self) -> Walked<Option<Cow<'p, [u8]>>> {
        Ok(match self.head()? {
            Head::Text(key) => Some(key.into()),
            Head::Value(Value::Bytes(key)) => Some(key),
            Head::Value(Value::Int(key)) => Some(key.to_string().into_bytes().into()),
            Head::Value(Value::UInt(key)) => Some(key.to_string().into_bytes().into()),
            Head::Value(_) | Head::Extension(..) => None,
            Head::Array(length) => self.skip(length as u64).map(|()| None)?,
            Head::Map(length) => self.skip(2 * length as u64).map(|()| None)?,
        })
    }

    /// Passes over values; nested ones are counted, not descended into.
    fn skip(&mut self, mut values: u64) -> Walked {
        while values > 0 {
            values -= 1;
            match self.head()? {
                Head::Array(length) => values += length as u64,
                Head::Map(length) => values += 2 * length as u64,
                _ => {}
            }
        }
        Ok(())
    }

    /// The value as JSON has it: bytes in base64, timestamps as RFC 3339, null for numbers that are not finite.
    fn tree(&mut self, depth: u32) -> Walked<Tree> {
        if depth > MAX_DEPTH {
            return Err("an object or array nested more than 127 deep");
        }
        Ok(match self.head()? {
            Head::Value(value) => tree_of(&value),
            Head::Text(text) => tree_of(&text_or_bytes(text)),
            Head::Extension(EXTENSION, bytes) => tree_of(&Value::Timestamp(read_extension(bytes)?)),
            Head::Extension(_, bytes) => tree_of(&bytes.into()),
            Head::Array(length) => Tree::Array((0..length).map(|_| self.tree(depth + 1)).collect::<Walked<_>>()?),
            Head::Map(length) => {
                let mut members = serde_json::Map::new();
                for _ in 0..length {
                    let key = self.key()?;
                    let value = self.tree(depth + 1)?;
                    if let Some(key) = key {
                        members.insert(String::from_utf8_lossy(&key).into_owned(), value);
                    }
                }
                Tree::Object(members)
            }
        })
    }
}

fn text_or_bytes(text: &[u8]) -> Value<'_> {
    std::str::from_utf8(text).map_or(Value::from(text), Value::from)
}
