//! JSON, walked by hand: this is the hot path.
//!
//! What is a record is decided as serde_json decides it, but for what JSON's grammar allows and no type holds (a number
//! beyond a double, half a surrogate pair): where it is not wanted it is passed over, where it is, it costs its own row.

mod number;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;

use number::Number;
use text::{hex4, special, unescape};

use super::finds::{Finds, NOWHERE, Shelf};
use super::plan::{NodeId, Places};
use super::{ARRAY, Decoder, FormatError, Found, OBJECT, Plan, Visitor};
use crate::row::Value;

/// As deep as serde_json goes.
const MAX_DEPTH: u32 = 127;

/// Reads JSON: one record a payload, or one a line.
#[derive(Debug, Default)]
pub struct JsonDecoder {
    is_lines: bool,
    shelf: Shelf,
}

impl JsonDecoder {
    /// One record a payload.
    pub fn new() -> Self {
        Self::default()
    }

    /// One record a line; empty lines are passed over.
    pub fn of_lines() -> Self {
        Self { is_lines: true, ..Self::default() }
    }

    fn record<'p>(&mut self, payload: &'p [u8], plan: &Plan, visitor: &mut dyn Visitor<'p>) -> Result<(), FormatError> {
        let text =
            std::str::from_utf8(payload).map_err(|error| fault(error.valid_up_to(), "text that is not UTF-8"))?;
        let mut walker = Walker { text, bytes: payload, at: 0 };
        let (mut record, mut element) = self.shelf.take(plan);
        walker.whole(&mut self.shelf.record(plan, &mut record)).map_err(|reason| fault(walker.at, reason))?;
        if visitor.record(&record) {
            for array in 0..self.shelf.arrays.len() {
                if self.shelf.arrays[array] == NOWHERE {
                    continue;
                }
                walker.at = self.shelf.arrays[array];
                let read = walker.list(b']', 0, |walker, _| {
                    walker.value(&mut self.shelf.element(plan, array, &mut element), Places::ROOT, 0)?;
                    visitor.element(array, &record, &element);
                    Ok(())
                });
                debug_assert_eq!(read, Ok(()), "all of it was walked over before");
            }
            visitor.end(&record);
        }
        self.shelf.keep(record, element);
        Ok(())
    }
}

impl Decoder for JsonDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        if !self.is_lines {
            return self.record(payload, plan, visitor);
        }
        let is_blank = |line: &[u8]| line.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
        let mut lines = payload.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).peekable();
        let first = lines.next().ok_or_else(|| fault(0, "a payload without a line"))?;
        if lines.peek().is_none() {
            return self.record(first, plan, visitor);
        }
        for line in std::iter::once(first).chain(lines) {
            if let Err(mut error) = self.record(line, plan, visitor) {
                let begin = line.as_ptr() as usize - payload.as_ptr() as usize;
                error.position = error.position.map(|at| begin + at);
                visitor.broken(error);
            }
        }
        Ok(())
    }
}

fn fault(position: usize, reason: &str) -> FormatError {
    FormatError::new("JSON", Some(position), reason)
}

type Walked<T = ()> = Result<T, &'static str>;

const CUT_SHORT: &str = "the payload ends within a value";
const NO_VALUE: &str = "neither a value nor the end of a list";
const NO_TEXT: &str = "text with a control character in it, or without an end";
const NO_ESCAPE: &str = "an escape that JSON does not have";
const NO_NUMBER: &str = "no number as JSON has it";
const TOO_DEEP: &str = "objects and arrays nested more than 127 deep";

/// Found where JSON's grammar allows more than can be held.
const NUMBER_OUT_OF_RANGE: Found<'static> = Found::Nested("a number beyond the range of a double");
const HALF_A_PAIR: Found<'static> = Found::Nested("text with half a surrogate pair");
const TREE_OUT_OF_RANGE: Found<'static> =
    Found::Nested("an object or array with a number beyond the range of a double or half a surrogate pair in it");

struct Walker<'p> {
    text: &'p str,
    bytes: &'p [u8],
    /// On an error it stands there.
    at: usize,
}

impl<'p> Walker<'p> {
    /// The next byte; a zero, which begins nothing in JSON, at the end.
    #[inline]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn error<T>(&self, reason: &'static str) -> Walked<T> {
        Err(if self.at < self.bytes.len() { reason } else { CUT_SHORT })
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
    }

    /// One record, and nothing but white space around it.
    fn whole(&mut self, finds: &mut Finds<'_, 'p>) -> Walked {
        self.space();
        self.value(finds, Places::ROOT, 0)?;
        self.space();
        if self.at == self.bytes.len() { Ok(()) } else { Err("more than one value") }
    }

    /// What stands between brackets, with commas between; `each` takes one, and is told its number.
    #[inline]
    fn list(&mut self, close: u8, depth: u32, mut each: impl FnMut(&mut Self, usize) -> Walked) -> Walked {
        if depth >= MAX_DEPTH {
            return Err(TOO_DEEP);
        }
        self.at += 1;
        self.space();
        if self.peek() == close {
            self.at += 1;
            return Ok(());
        }
        for number in 0.. {
            each(self, number)?;
            self.space();
            match self.peek() {
                b',' => self.at += 1,
                end if end == close => break,
                _ => return self.error("neither a comma nor the end of an object or array"),
            }
            self.space();
        }
        self.at += 1;
        Ok(())
    }

    /// The value at `node`.
    #[inline]
    fn value(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId, depth: u32) -> Walked {
        match self.peek() {
            b'"' => {
                let (begin, is_escaped) = (self.at + 1, self.pass_string()?);
                let text = &self.text[begin..self.at - 1];
                if is_escaped {
                    finds.put_single(node, || escaped(text));
                } else {
                    finds.put_single(node, || Found::Value(Value::Text(Cow::Borrowed(text))));
                }
            }
            b'-' | b'0'..=b'9' => {
                let begin = self.at;
                let number = self.pass_number()?;
                if let Some(number) = number.as_int() {
                    finds.put_single(node, || Found::Value(Value::Int(number)));
                } else if let Some(number) = number.as_exact_float() {
                    finds.put_single(node, || Found::Value(Value::Float(number)));
                } else {
                    let value = number.value(&self.text[begin..self.at]);
                    finds.put_single(node, || value.map_or(NUMBER_OUT_OF_RANGE, Found::Value));
                }
            }
            b'{' | b'[' => self.nested(finds, node, depth)?,
            b't' => {
                self.literal("true")?;
                finds.put_single(node, || Found::Value(Value::Bool(true)));
            }
            b'f' => {
                self.literal("false")?;
                finds.put_single(node, || Found::Value(Value::Bool(false)));
            }
            b'n' => {
                self.literal("null")?;
                finds.put_single(node, || Found::Value(Value::Null));
            }
            _ => return self.error(NO_VALUE),
        }
        Ok(())
    }

    fn nested(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId, depth: u32) -> Walked {
        let (places, begin) = (finds.places, self.at);
        let here = places.at(node);
        let is_array = self.peek() == b'[';
        finds.forget_within(node);
        if is_array {
            finds.put_array(node, begin);
        }
        if here.children.is_empty() {
            self.skip(depth)?;
        } else if is_array {
            self.list(b']', depth, |walker, number| {
                match here.children.iter().find(|child| child.index == Some(number)) {
                    Some(child) => walker.value(finds, child.node, depth + 1),
                    None => walker.skip(depth + 1),
                }
            })?;
        } else {
            self.object(finds, node, depth)?;
        }
        if here.place.is_some() {
            finds.put(
                node,
                match is_array {
                    _ if here.whole => {
                        serde_json::from_str(&self.text[begin..self.at]).map_or(TREE_OUT_OF_RANGE, Found::Tree)
                    }
                    true => Found::Nested(ARRAY),
                    false => Found::Nested(OBJECT),
                },
            );
        }
        Ok(())
    }

    fn object(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId, depth: u32) -> Walked {
        let children = &finds.places.at(node).children;
        let mut before = Finds::first_of(node);
        self.list(b'}', depth, |walker, _| {
            let guess = finds.guess(before);
            let expected = children.get(guess).and_then(|child| child.quoted_at(&walker.bytes[walker.at..]));
            let child = match expected {
                Some(length) => {
                    walker.at += length;
                    Some((guess, children[guess].node))
                }
                None => {
                    let key = walker.key()?;
                    finds.places.child(node, key.as_bytes(), guess)
                }
            };
            walker.space();
            match child {
                Some((child, node)) => {
                    before = finds.followed(before, guess, child, node);
                    walker.value(finds, node, depth + 1)
                }
                None => walker.skip(depth + 1),
            }
        })
    }

    /// A key, and the colon behind it.
    fn key(&mut self) -> Walked<Cow<'p, str>> {
        if self.peek() != b'"' {
            return self.error("no key in quotes");
        }
        let (begin, is_escaped) = (self.at + 1, self.pass_string()?);
        let key = &self.text[begin..self.at - 1];
        self.space();
        if self.peek() != b':' {
            return self.error("no colon behind a key");
        }
        self.at += 1;
        // A key with half a surrogate pair in it is none that can be wanted.
        Ok(if is_escaped { unescape(key).unwrap_or_default().into() } else { key.into() })
    }

    /// Passes over a value.
    fn skip(&mut self, depth: u32) -> Walked {
        match self.peek() {
            b'"' => self.pass_string().map(drop),
            b'-' | b'0'..=b'9' => self.pass_number().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'[' => self.list(b']', depth, |walker, _| walker.skip(depth + 1)),
            b'{' => self.list(b'}', depth, |walker, _| {
                if walker.peek() != b'"' {
                    return walker.error("no key in quotes");
                }
                walker.pass_string()?;
                walker.space();
                if walker.peek() != b':' {
                    return walker.error("no colon behind a key");
                }
                walker.at += 1;
                walker.space();
                walker.skip(depth + 1)
            }),
            _ => self.error(NO_VALUE),
        }
    }

    #[inline]
    fn literal(&mut self, literal: &str) -> Walked {
        if !self.bytes[self.at..].starts_with(literal.as_bytes()) {
            return Err(NO_VALUE);
        }
        self.at += literal.len();
        Ok(())
    }

    /// Passes over a text in quotes; whether there are escapes in it.
    #[inline(always)]
    fn pass_string(&mut self) -> Walked<bool> {
        let (bytes, mut at, mut is_escaped) = (self.bytes, self.at + 1, false);
        loop {
            while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
                let special = special(u64::from_le_bytes(*word));
                at += special.trailing_zeros() as usize / 8;
                if special != 0 {
                    break;
                }
            }
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(is_escaped);
                }
                Some(b'\\') => {
                    is_escaped = true;
                    let length = match bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if bytes.get(at + 2..at + 6).is_some_and(|hex| hex4(hex).is_some()) => 6,
                        _ => {
                            self.at = at;
                            return Err(NO_ESCAPE);
                        }
                    };
                    at += length;
                }
                Some(0x20..) => at += 1,
                _ => {
                    self.at = at;
                    return Err(NO_TEXT);
                }
            }
        }
    }

    /// Passes over digits, and adds them to `mantissa`; how many they are.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        // In locals: through the reference each digit would wait for the one before to reach memory.
        let (begin, mut at, mut number) = (self.at, self.at, *mantissa);
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(at) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            at += 1;
        }
        (self.at, *mantissa) = (at, number);
        at - begin
    }

    #[inline(always)]
    fn pass_number(&mut self) -> Walked<Number> {
        let mut number = Number { is_negative: self.peek() == b'-', ..Number::default() };
        self.at += usize::from(number.is_negative);
        let is_zero = self.peek() == b'0';
        number.digits = self.digits(&mut number.mantissa);
        if number.digits == 0 || is_zero && number.digits > 1 {
            return self.error(NO_NUMBER);
        }
        if self.peek() == b'.' {
            self.at += 1;
            let digits = self.digits(&mut number.mantissa);
            if digits == 0 {
                return self.error(NO_NUMBER);
            }
            (number.is_whole, number.digits, number.exponent) = (false, number.digits + digits, -(digits as i64));
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            let is_negative = self.peek() == b'-';
            self.at += usize::from(matches!(self.peek(), b'-' | b'+'));
            let mut exponent = 0;
            let digits = self.digits(&mut exponent);
            if digits == 0 {
                return self.error(NO_NUMBER);
            }
            // More digits leave the fast path, whatever they are.
            let exponent = if digits > 9 { 1_000_000_000 } else { exponent as i64 };
            number.is_whole = false;
            number.exponent += if is_negative { -exponent } else { exponent };
        }
        Ok(number)
    }
}

/// Text with well-formed escapes in it.
#[cold]
fn escaped(text: &str) -> Found<'static> {
    unescape(text).map_or(HALF_A_PAIR, |text| Found::Value(text.into()))
}
