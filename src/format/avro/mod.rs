//! Avro, walked by hand under the schema that it was written with.
//!
//! A schema from a file reads payloads that are a record and nothing else; one from a registry those that begin with the
//! schema's number, as Confluent's serializers write them. Fields are found by the writer's names: what was added to a
//! schema, or reordered, needs no reader's schema.

mod schema;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

use super::finds::{Before, NOWHERE, Shelf};
use super::plan::Places;
use super::registry::{Fetched, Source};
use super::{Decoder, FormatError, Plan, Visitor};

pub use schema::AvroSchema;
use walk::Walker;

pub(super) const FORMAT: &str = "Avro";

/// Reads Avro, one record a payload.
pub struct AvroDecoder {
    source: Source<AvroSchema>,
    shelf: Shelf,
}

impl AvroDecoder {
    /// Of payloads that are a record of this schema.
    pub fn new(schema: Arc<AvroSchema>) -> Self {
        Self::of(Source::One(schema))
    }

    pub(super) fn of(source: Source<AvroSchema>) -> Self {
        Self { source, shelf: Shelf::default() }
    }
}

impl Decoder for AvroDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let (schema, begin) = self.source.of(payload, FORMAT)?;
        walk(schema, payload, begin, plan, visitor, &mut self.shelf)
    }
}

/// Of what a registry has.
pub(super) fn compile(fetched: &Fetched) -> Result<AvroSchema, String> {
    if fetched.kind != "AVRO" {
        return Err(format!("is of the type {}, and the format is avro", fetched.kind));
    }
    let references: Vec<String> = fetched.references.iter().map(|(_, schema)| schema.clone()).collect();
    AvroSchema::parse(&fetched.schema, &references)
}

fn walk<'p>(
    schema: &'p AvroSchema,
    payload: &'p [u8],
    begin: usize,
    plan: &Plan,
    visitor: &mut dyn Visitor<'p>,
    shelf: &mut Shelf,
) -> Result<(), FormatError> {
    let mut walker = Walker { types: &schema.types, bytes: payload, at: begin, depth: 0, empty: 0, arrays: Vec::new() };
    let (mut record, mut element) = shelf.take(plan);
    let read = walker.value(&mut shelf.record(plan, &mut record), Places::ROOT, schema.root);
    let at = |walker: &Walker<'_>, reason| FormatError::new(FORMAT, Some(walker.at), reason);
    read.map_err(|reason| at(&walker, reason))?;
    if walker.at < payload.len() {
        return Err(at(&walker, "more bytes than one record of the schema has"));
    }
    if visitor.record(&record) {
        for array in 0..plan.elements.len() {
            let begin = shelf.arrays[array];
            let Some((_, id)) = walker.arrays.iter().rfind(|(at, _)| *at == begin && begin != NOWHERE).copied() else {
                continue;
            };
            (walker.at, walker.depth, walker.empty) = (begin, 0, 0);
            let read = walker.blocks(|walker, _| {
                walker.value(&mut shelf.element(plan, array, &mut element), Places::ROOT, id)?;
                visitor.element(array, &record, &element);
                Ok(())
            });
            debug_assert_eq!(read, Ok(()), "all of it was walked over before");
        }
        visitor.end(&record);
    }
    shelf.keep(record, element);
    Ok(())
}
