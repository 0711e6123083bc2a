//! Where a cell's value comes from.

use std::borrow::Cow;

use super::FieldReason;
use super::expression::{Expression, KAFKA, cel_value, kafka_value};
use crate::format::Found;
use crate::message::Message;
use crate::row::{Timestamp, Value};

/// A place in a message: of the element, where a row is one, and of the record around it. Where the one that comes first
/// has nothing, the other's counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) element: Option<usize>,
    pub(super) record: Option<usize>,
    pub(super) record_first: bool,
}

/// What Kafka knows of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    Key,
    Topic,
    Partition,
    Offset,
    Timestamp,
    Header(String),
    /// The place of the row in the message.
    Index,
}

impl Meta {
    /// As `from` of a field has it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        Ok(match (text, text.strip_prefix("header:")) {
            ("key", _) => Self::Key,
            ("topic", _) => Self::Topic,
            ("partition", _) => Self::Partition,
            ("offset", _) => Self::Offset,
            ("timestamp", _) => Self::Timestamp,
            ("index", _) => Self::Index,
            (_, Some(name)) if !name.is_empty() => Self::Header(name.to_owned()),
            _ => {
                return Err(format!(
                    "from = {text:?} is none of key, topic, partition, offset, timestamp, index, header:NAME"
                ));
            }
        })
    }
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Source {
    Place(Spot),
    Kafka(Meta),
    Constant(Value<'static>),
    /// What each of its variables is; `None`: Kafka's own.
    Computed(Expression, Vec<Option<Spot>>),
}

/// A row to be made: the message, and what was found in it.
pub(super) struct Seen<'s, 'p> {
    pub(super) message: &'s Message,
    pub(super) record: &'s [Found<'p>],
    pub(super) element: &'s [Found<'p>],
    pub(super) index: u32,
}

impl<'s, 'p> Seen<'s, 'p> {
    pub(super) fn at(&self, spot: Spot) -> &'s Found<'p> {
        let found = |places: &'s [Found<'p>], place: Option<usize>| places.get(place?).filter(|found| found.is_there());
        let element = || found(self.element, spot.element);
        let record = || found(self.record, spot.record);
        let found = if spot.record_first { record().or_else(element) } else { element().or_else(record) };
        found.unwrap_or(&Found::MISSING)
    }

    /// The value of any source but a place.
    pub(super) fn read(&self, source: &'s Source) -> Result<Value<'s>, FieldReason> {
        Ok(match source {
            Source::Place(spot) => match self.at(*spot) {
                Found::Value(value) => value.borrowed(),
                Found::Tree(tree) => Value::Text(Cow::Owned(tree.to_string())),
                Found::Nested(kind) => return Err(FieldReason::Wrong(kind)),
            },
            Source::Constant(value) => value.borrowed(),
            Source::Kafka(meta) => self.meta(meta),
            Source::Computed(expression, spots) => {
                let value_of = self.variables(expression, spots);
                expression.value(value_of).map_err(FieldReason::Expression)?
            }
        })
    }

    fn meta(&self, meta: &Meta) -> Value<'s> {
        let text = |bytes: &'s bytes::Bytes| match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(Cow::Borrowed(text)),
            Err(_) => Value::Bytes(Cow::Borrowed(bytes)),
        };
        match meta {
            Meta::Key => self.message.key.as_ref().map_or(Value::Unset, text),
            Meta::Topic => Value::Text(Cow::Borrowed(&self.message.source.topic)),
            Meta::Partition => Value::Int(self.message.source.partition.into()),
            Meta::Offset => Value::Int(self.message.offset),
            Meta::Timestamp => {
                self.message.timestamp_ms.map_or(Value::Unset, |ms| Value::Timestamp(Timestamp::from_millis(ms)))
            }
            Meta::Header(name) => {
                // Of several the last counts, as in Kafka's own clients.
                let header = self.message.headers.iter().rev().find(|header| header.name == *name);
                header.and_then(|header| header.value.as_ref()).map_or(Value::Unset, text)
            }
            Meta::Index => Value::Int(self.index.into()),
        }
    }

    /// Whether a condition holds for the row.
    pub(super) fn holds(&self, condition: &Expression, spots: &[Option<Spot>]) -> Result<bool, String> {
        condition.holds(self.variables(condition, spots))
    }

    fn variables(&self, expression: &'s Expression, spots: &'s [Option<Spot>]) -> impl Fn(&str) -> cel::Value {
        move |name| {
            let at = expression.variables().iter().position(|variable| variable == name);
            match at.and_then(|at| spots.get(at)) {
                Some(Some(spot)) => cel_value(self.at(*spot)),
                Some(None) if name == KAFKA => kafka_value(self.message),
                _ => cel::Value::Null,
            }
        }
    }
}
