//! Protocol Buffers. <https://protobuf.dev/programming-guides/encoding/>
//!
//! Fields are found by their names in the `.proto`, or by their JSON names. A field that is not in a message has no value
//! if its absence can be told (`optional`, messages, members of a `oneof`), and is the type's zero otherwise, as the
//! format has it. Enums are their names, `google.protobuf.Timestamp` is a timestamp, a `Duration` its seconds, a wrapper
//! what is in it, and a `Struct` or `Value` as JSON has it.

mod schema;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value as Held,
};
use serde_json::Value as Tree;

use super::finds::{Finds, Shelf};
use super::plan::{NodeId, Places};
use super::registry::Source;
use super::{ARRAY, Decoder, FormatError, Found, OBJECT, Plan, Visitor, tree_of};
use crate::row::{Timestamp, Value};

pub use schema::ProtobufSchema;
pub(super) use schema::compile;

pub(super) const FORMAT: &str = "Protobuf";

/// Reads Protocol Buffers, one message a payload.
pub struct ProtobufDecoder {
    source: Source<ProtobufSchema>,
    /// The only type that is read, by its full name.
    only: Option<String>,
    /// That of the payload, out of which values are borrowed.
    message: Option<DynamicMessage>,
    shelf: Shelf,
}

impl ProtobufDecoder {
    /// Of payloads of this schema.
    pub fn new(schema: ProtobufSchema) -> Self {
        Self::of(Source::One(schema.into()), None)
    }

    pub(super) fn of(source: Source<ProtobufSchema>, only: Option<String>) -> Self {
        Self { source, only, message: None, shelf: Shelf::default() }
    }

    /// The type of a payload, and where its message begins.
    fn type_of(&mut self, payload: &[u8]) -> Result<(MessageDescriptor, usize), FormatError> {
        let (schema, mut at) = self.source.of(payload, FORMAT)?;
        let message = match schema {
            ProtobufSchema::Message(message) => return Ok((message.clone(), at)),
            ProtobufSchema::File(file) => {
                let places = indexes(payload, &mut at);
                let mut places = places.iter().flatten();
                let outermost = places.next().and_then(|place| file.messages().nth(*place));
                places.try_fold(outermost, |message, place| {
                    let within = message?.child_messages().nth(*place)?;
                    Some(Some(within))
                })
            }
        };
        let Some(Some(message)) = message else {
            return Err(FormatError::new(FORMAT, Some(5), "it names a message that its schema does not have"));
        };
        match &self.only {
            Some(only) if only != message.full_name() => {
                let reason = format_args!("it is a {}, and the configuration says {only}", message.full_name());
                Err(FormatError::new(FORMAT, None, reason))
            }
            _ => Ok((message, at)),
        }
    }
}

impl Decoder for ProtobufDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let (message, begin) = self.type_of(payload)?;
        let message = DynamicMessage::decode(message, &payload[begin..])
            .map_err(|error| FormatError::new(FORMAT, None, error))?;
        let message: &'p DynamicMessage = self.message.insert(message);
        let (mut record, mut element) = self.shelf.take(plan);
        let mut lists = Lists::new();
        put(&mut self.shelf.record(plan, &mut record), Places::ROOT, &of_message(message), &mut lists);
        if visitor.record(&record) {
            lists.sort_by_key(|(array, ..)| *array);
            for (array, kind, values) in lists {
                for value in values {
                    let mut finds = self.shelf.element(plan, array, &mut element);
                    put(&mut finds, Places::ROOT, &of_value(&kind, value), &mut Lists::new());
                    visitor.element(array, &record, &element);
                }
            }
            visitor.end(&record);
        }
        self.shelf.keep(record, element);
        Ok(())
    }
}

/// The place of the message's type in its file, from the outside in: how many numbers, and the numbers, as zigzag
/// varints; a single zero stands for the first message.
fn indexes(payload: &[u8], at: &mut usize) -> Option<Vec<usize>> {
    let mut next = || {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = *payload.get(*at)?;
            *at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return (number & 1 == 0).then_some(number as usize >> 1);
            }
        }
        None
    };
    match next()? {
        0 => Some(vec![0]),
        count => (0..count).map(|_| next()).collect(),
    }
}

/// The arrays whose elements are rows, by their numbers.
type Lists<'p> = Vec<(usize, Kind, &'p [Held])>;

/// What stands at a place.
enum Branch<'p> {
    Single(Found<'p>),
    Message(&'p DynamicMessage),
    List(Kind, &'p [Held]),
    /// With the kind of its values; `None`: nothing is in it.
    Map(Kind, Option<&'p HashMap<MapKey, Held>>),
}

fn put<'p>(finds: &mut Finds<'_, 'p>, node: NodeId, branch: &Branch<'p>, lists: &mut Lists<'p>) {
    let here = finds.places.at(node);
    let nested = match branch {
        Branch::Single(found) => return finds.put_single(node, || found.clone()),
        Branch::Message(message) => {
            let of = message.descriptor();
            for child in &here.children {
                let field = of.get_field_by_name(&child.key).or_else(|| of.get_field_by_json_name(&child.key));
                if let Some(field) = field {
                    put(finds, child.node, &of_field(message, &field), lists);
                }
            }
            OBJECT
        }
        Branch::Map(kind, entries) => {
            for child in &here.children {
                let mut entries = entries.iter().copied().flatten();
                if let Some((_, value)) = entries.find(|(key, _)| key_text(key) == child.key) {
                    put(finds, child.node, &of_value(kind, value), lists);
                }
            }
            OBJECT
        }
        Branch::List(kind, values) => {
            for child in &here.children {
                if let Some(value) = child.index.and_then(|index| values.get(index)) {
                    put(finds, child.node, &of_value(kind, value), lists);
                }
            }
            if let Some(array) = here.array {
                lists.push((array as usize, kind.clone(), values));
            }
            ARRAY
        }
    };
    if here.whole {
        finds.put(node, Found::Tree(tree(branch)));
    } else {
        finds.put(node, Found::Nested(nested));
    }
}

fn of_field<'p>(message: &'p DynamicMessage, field: &FieldDescriptor) -> Branch<'p> {
    if field.supports_presence() && !message.has_field(field) {
        return Branch::Single(Found::MISSING);
    }
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    match message.get_field(field) {
        Cow::Borrowed(value) => of_value(&kind, value),
        // The zero of its type.
        Cow::Owned(_) if field.is_list() => Branch::List(kind, &[]),
        Cow::Owned(_) if field.is_map() => Branch::Map(kind, None),
        Cow::Owned(value) => match of_value(&kind, &value) {
            Branch::Single(found) => Branch::Single(found.into_owned()),
            _ => Branch::Single(Found::MISSING),
        },
    }
}

fn of_value<'p>(kind: &Kind, value: &'p Held) -> Branch<'p> {
    let value = match value {
        Held::Bool(truth) => Value::Bool(*truth),
        Held::I32(number) => Value::Int((*number).into()),
        Held::I64(number) => Value::Int(*number),
        Held::U32(number) => Value::Int((*number).into()),
        Held::U64(number) => i64::try_from(*number).map_or(Value::UInt(*number), Value::Int),
        Held::F32(number) => Value::Float((*number).into()),
        Held::F64(number) => Value::Float(*number),
        Held::String(text) => Value::Text(text.as_str().into()),
        Held::Bytes(bytes) => Value::Bytes(bytes.as_ref().into()),
        Held::EnumNumber(number) => match kind.as_enum().and_then(|of| of.get_value(*number)) {
            Some(value) => Value::Text(value.name().to_owned().into()),
            // A name that the schema does not have yet.
            None => Value::Int((*number).into()),
        },
        Held::Message(message) => return of_message(message),
        Held::List(values) => return Branch::List(kind.clone(), values),
        Held::Map(entries) => return Branch::Map(kind.clone(), Some(entries)),
    };
    Branch::Single(Found::Value(value))
}

/// A message, or what a well-known one stands for.
fn of_message(message: &DynamicMessage) -> Branch<'_> {
    let of = message.descriptor();
    let Some(name) = of.full_name().strip_prefix("google.protobuf.") else { return Branch::Message(message) };
    let field = |number| of.get_field(number);
    let number = |at| match message.get_field_by_number(at).as_deref() {
        Some(Held::I64(number)) => *number,
        Some(Held::I32(number)) => (*number).into(),
        _ => 0,
    };
    match name {
        "Timestamp" => Branch::Single(match u32::try_from(number(2)) {
            Ok(nanos @ 0..1_000_000_000) => Found::Value(Value::Timestamp(Timestamp::new(number(1), nanos))),
            _ => Found::Nested("a timestamp with nanoseconds beyond a second"),
        }),
        "Duration" => Branch::Single(Found::Value(Value::Float(number(1) as f64 + number(2) as f64 / 1e9))),
        "DoubleValue" | "FloatValue" | "Int64Value" | "UInt64Value" | "Int32Value" | "UInt32Value" | "BoolValue"
        | "StringValue" | "BytesValue" | "Struct" | "ListValue" => {
            field(1).map_or(Branch::Message(message), |field| of_field(message, &field))
        }
        // The first of its members is the null.
        "Value" => match of.fields().find(|field| message.has_field(field)) {
            Some(field) if field.number() != 1 => of_field(message, &field),
            _ => Branch::Single(Found::Value(Value::Null)),
        },
        _ => Branch::Message(message),
    }
}

fn tree(branch: &Branch<'_>) -> Tree {
    match branch {
        Branch::Single(Found::Value(value)) => tree_of(value),
        Branch::Single(_) => Tree::Null,
        Branch::Message(message) => {
            let of = message.descriptor();
            let members = of.fields().filter_map(|field| match of_field(message, &field) {
                Branch::Single(Found::MISSING) => None,
                branch => Some((field.name().to_owned(), tree(&branch))),
            });
            Tree::Object(members.collect())
        }
        Branch::List(kind, values) => values.iter().map(|value| tree(&of_value(kind, value))).collect(),
        Branch::Map(kind, entries) => {
            let entries = entries.iter().copied().flatten();
            Tree::Object(
                entries.map(|(key, value)| (key_text(key).into_owned(), tree(&of_value(kind, value)))).collect(),
            )
        }
    }
}

fn key_text(key: &MapKey) -> Cow<'_, str> {
    match key {
        MapKey::String(text) => text.into(),
        MapKey::Bool(truth) => truth.to_string().into(),
        MapKey::I32(number) => number.to_string().into(),
        MapKey::I64(number) => number.to_string().into(),
        MapKey::U32(number) => number.to_string().into(),
        MapKey::U64(number) => number.to_string().into(),
    }
}
