//! The walk over Avro's binary encoding. <https://avro.apache.org/docs/1.12.0/specification/#binary-encoding>

use std::borrow::Cow;

use serde_json::Value as Tree;

use super::schema::{Type, TypeId};
use crate::format::finds::Finds;
use crate::format::plan::NodeId;
use crate::format::{ARRAY, Found, OBJECT, tree_of};
use crate::row::{Timestamp, Value};

/// Records, arrays and maps within each other; a schema may refer to itself.
const MAX_DEPTH: u32 = 127;

/// Elements without a byte, such as nulls: a few bytes could say that there are more than can ever be counted.
const MAX_EMPTY: u32 = 1 << 16;

pub(super) type Walked<T = ()> = Result<T, &'static str>;

const CUT_SHORT: &str = "the payload ends within a value";
const TOO_DEEP: &str = "values nested more than 127 deep";

pub(super) struct Walker<'p> {
    pub(super) types: &'p [Type],
    pub(super) bytes: &'p [u8],
    /// On an error it stands at, or behind, the value that is wrong.
    pub(super) at: usize,
    pub(super) depth: u32,
    pub(super) empty: u32,
    /// Where arrays begin whose elements are rows, and what the elements are.
    pub(super) arrays: Vec<(usize, TypeId)>,
}

impl<'p> Walker<'p> {
    fn take(&mut self, length: usize) -> Walked<&'p [u8]> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length)).ok_or(CUT_SHORT)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Walked<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| CUT_SHORT)
    }

    #[inline]
    fn long(&mut self) -> Walked<i64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or(CUT_SHORT)?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
            }
        }
        Err("a number of more than 64 bits")
    }

    fn int(&mut self) -> Walked<i32> {
        i32::try_from(self.long()?).map_err(|_| "an int of more than 32 bits")
    }

    fn sized(&mut self) -> Walked<&'p [u8]> {
        let length = usize::try_from(self.long()?).map_err(|_| "a length below zero")?;
        self.take(length)
    }

    fn of_size(&mut self, size: Option<usize>) -> Walked<&'p [u8]> {
        match size {
            Some(size) => self.take(size),
            None => self.sized(),
        }
    }

    /// The type that is there, where it is one of several.
    #[inline]
    fn branch(&mut self, mut id: TypeId) -> Walked<TypeId> {
        let types = self.types;
        while let Type::Union(branches) = &types[id] {
            let branch = usize::try_from(self.long()?).ok().and_then(|branch| branches.get(branch));
            id = *branch.ok_or("a branch that the union does not have")?;
        }
        Ok(id)
    }

    /// What is neither record nor array nor map; `None` where it is.
    #[inline]
    fn single(&mut self, id: TypeId) -> Walked<Option<Found<'p>>> {
        let types = self.types;
        let value = match &types[id] {
            Type::Null => Value::Null,
            Type::Bool => match self.array()? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                _ => return Err("a boolean that is neither 0 nor 1"),
            },
            Type::Int => Value::Int(self.int()?.into()),
            Type::Long => Value::Int(self.long()?),
            Type::Float => Value::Float(f32::from_le_bytes(self.array()?).into()),
            Type::Double => Value::Float(f64::from_le_bytes(self.array()?)),
            Type::Bytes => Value::from(self.sized()?),
            Type::Text => text_or_bytes(self.sized()?),
            Type::Fixed(size) => Value::from(self.take(*size)?),
            Type::Enum(symbols) => {
                let symbol = usize::try_from(self.int()?).ok().and_then(|symbol| symbols.get(symbol));
                Value::from(symbol.ok_or("a symbol that the enum does not have")?.as_str())
            }
            Type::Date => Value::Timestamp(Timestamp::new(i64::from(self.int()?) * 86_400, 0)),
            Type::Timestamp(precision) => Value::Timestamp(Timestamp::from_units(self.long()?, *precision)),
            Type::Decimal(scale, size) => return self.of_size(*size).map(|unscaled| Some(decimal(unscaled, *scale))),
            Type::BigDecimal => {
                let mut within = Walker { bytes: self.sized()?, at: 0, arrays: Vec::new(), ..*self };
                let unscaled = within.sized()?;
                let scale = usize::try_from(within.long()?).map_err(|_| "a decimal with a scale below zero")?;
                return Ok(Some(decimal(unscaled, scale)));
            }
            Type::Uuid(size) => match self.of_size(*size)?.try_into() {
                Ok(bytes) => Value::Text(uuid(u128::from_be_bytes(bytes)).into()),
                Err(_) => return Err("a UUID that does not have sixteen bytes"),
            },
            Type::Union(_) | Type::Array(_) | Type::Map(_) | Type::Record(_) => return Ok(None),
        };
        Ok(Some(Found::Value(value)))
    }

    /// Into a record, array or map; where it begins.
    fn deeper(&mut self) -> Walked<usize> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(TOO_DEEP) } else { Ok(self.at) }
    }

    fn shallower(&mut self, begin: usize) -> Walked {
        self.depth -= 1;
        self.count_if_empty(begin)
    }

    fn count_if_empty(&mut self, begin: usize) -> Walked {
        self.empty += u32::from(self.at == begin);
        if self.empty > MAX_EMPTY { Err("more than 65536 elements without a byte") } else { Ok(()) }
    }

    /// The blocks of an array or map; `each` takes an element, and is told its number.
    pub(super) fn blocks(&mut self, mut each: impl FnMut(&mut Self, usize) -> Walked) -> Walked {
        let mut number = 0;
        loop {
            let count = self.long()?;
            if count < 0 {
                // How many bytes the block has, for those that pass over it unread.
                self.long()?;
            }
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count.unsigned_abs() {
                let begin = self.at;
                each(self, number)?;
                number += 1;
                self.count_if_empty(begin)?;
            }
        }
    }

    /// The value at `node`.
    pub(super) fn value(&mut self, finds: &mut Finds<'_, 'p>, node: NodeId, id: TypeId) -> Walked {
        let id = self.branch(id)?;
        if let Some(found) = self.single(id)? {
            finds.put_single(node, || found);
            return Ok(());
        }
        let (types, places) = (self.types, finds.places);
        let here = places.at(node);
        finds.forget_within(node);
        let begin = self.deeper()?;
        let mut before = Finds::first_of(node);
        match &types[id] {
            Type::Record(fields) => {
                for (name, id) in fields {
                    self.member(finds, node, &mut before, name.as_bytes(), *id)?;
                }
            }
            Type::Map(id) => self.blocks(|walker, _| {
                let key = walker.sized()?;
                walker.member(finds, node, &mut before, key, *id)
            })?,
            Type::Array(id) => {
                finds.put_array(node, begin);
                if here.array.is_some() {
                    self.arrays.push((begin, *id));
                }
                self.blocks(|walker, number| match here.children.iter().find(|child| child.index == Some(number)) {
                    Some(child) => walker.value(finds, child.node, *id),
                    None => walker.skip(*id),
                })?;
            }
            _ => {}
        }
        self.shallower(begin)?;
        if here.place.is_some() {
            let is_array = matches!(types[id], Type::Array(_));
            finds.put(
                node,
                match is_array {
                    _ if here.whole => {
                        let mut again = Walker { at: begin, arrays: Vec::new(), ..*self };
                        again.tree(id).map_or_else(Found::Nested, Found::Tree)
                    }
                    true => Found::Nested(ARRAY),
                    false => Found::Nested(OBJECT),
                },
            );
        }
        Ok(())
    }

    #[inline]
    fn member(
        &mut self,
        finds: &mut Finds<'_, 'p>,
        node: NodeId,
        before: &mut super::Before,
        key: &[u8],
        id: TypeId,
    ) -> Walked {
        let guess = finds.guess(*before);
        match finds.places.child(node, key, guess) {
            Some((child, node)) => {
                *before = finds.followed(*before, guess, child, node);
                self.value(finds, node, id)
            }
            None => self.skip(id),
        }
    }

    /// Passes over a value.
    fn skip(&mut self, id: TypeId) -> Walked {
        let id = self.branch(id)?;
        if self.single(id)?.is_some() {
            return Ok(());
        }
        let types = self.types;
        let begin = self.deeper()?;
        match &types[id] {
            Type::Record(fields) => fields.iter().try_for_each(|(_, id)| self.skip(*id))?,
            Type::Map(id) => self.blocks(|walker, _| {
                walker.sized()?;
                walker.skip(*id)
            })?,
            Type::Array(id) => self.blocks(|walker, _| walker.skip(*id))?,
            _ => {}
        }
        self.shallower(begin)?;
        Ok(())
    }

    /// A value as JSON has it.
    fn tree(&mut self, id: TypeId) -> Walked<Tree> {
        let id = self.branch(id)?;
        match self.single(id)? {
            Some(Found::Value(value)) => return Ok(tree_of(&value)),
            Some(Found::Nested(what)) => return Err(what),
            _ => {}
        }
        let types = self.types;
        let begin = self.deeper()?;
        let tree = match &types[id] {
            Type::Record(fields) => {
                let members = fields.iter().map(|(name, id)| Ok((name.clone(), self.tree(*id)?)));
                Tree::Object(members.collect::<Walked<_>>()?)
            }
            Type::Map(id) => {
                let mut members = serde_json::Map::new();
                self.blocks(|walker, _| {
                    let key = String::from_utf8_lossy(walker.sized()?).into_owned();
                    members.insert(key, walker.tree(*id)?);
                    Ok(())
                })?;
                Tree::Object(members)
            }
            Type::Array(id) => {
                let mut elements = Vec::new();
                self.blocks(|walker, _| {
                    elements.push(walker.tree(*id)?);
                    Ok(())
                })?;
                Tree::Array(elements)
            }
            _ => Tree::Null,
        };
        self.shallower(begin)?;
        Ok(tree)
    }
}

fn text_or_bytes(text: &[u8]) -> Value<'_> {
    std::str::from_utf8(text).map_or(Value::from(text), Value::from)
}

fn uuid(id: u128) -> String {
    let part = |shift: u32, digits: u32| (id >> shift) & ((1 << (4 * digits)) - 1);
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12))
}

/// A whole number in two's complement, its most significant byte first, with `scale` digits of it behind the point.
fn decimal(unscaled: &[u8], scale: usize) -> Found<'static> {
    let mut digits = unscaled;
    while let [sign @ (0 | 0xff), next, ..] = digits
        && digits.len() > 16
        && sign >> 7 == next >> 7
    {
        digits = &digits[1..];
    }
    if digits.len() > 16 || scale > 76 {
        return Found::Nested("a decimal of more digits than can be held");
    }
    let is_negative = digits.first().is_some_and(|byte| byte >> 7 == 1);
    let mut bytes = [if is_negative { 0xff } else { 0 }; 16];
    bytes[16 - digits.len()..].copy_from_slice(digits);
    let number = i128::from_be_bytes(bytes);
    let sign = if is_negative { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    Found::Value(Value::Text(Cow::Owned(format!("{sign}{whole}{point}{fraction}"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::collect::value;

    #[test]
    fn a_decimal_is_its_digits() {
        assert_eq!(decimal(&[], 0), value("0"));
        assert_eq!(decimal(&[5], 2), value("0.05"));
        assert_eq!(decimal(&[0xff], 1), value("-0.1"));
        assert_eq!(decimal(&[0xff; 20], 0), value("-1"));
        assert_eq!(decimal(&[0, 0x80], 0), value("128"));
        assert_eq!(decimal(&i128::MIN.to_be_bytes(), 38), value("-1.70141183460469231731687303715884105728"));
        assert_eq!(decimal(&[1; 17], 0), Found::Nested("a decimal of more digits than can be held"));
    }
}
