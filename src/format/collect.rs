//! What a decoder hands out, for tests.

use super::{Decoder, FormatError, Found, Path, Plan, Visitor};
use crate::row::Value;

/// One call of a [`Visitor`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Handed {
    Record(Vec<Found<'static>>),
    Element(usize, Vec<Found<'static>>),
    End,
    Broken(String),
}

#[derive(Default)]
struct Collect(Vec<Handed>);

impl<'p> Visitor<'p> for Collect {
    fn record(&mut self, places: &[Found<'p>]) -> bool {
        self.0.push(Handed::Record(owned(places)));
        true
    }

    fn element(&mut self, array: usize, record: &[Found<'p>], places: &[Found<'p>]) {
        assert!(self.0.iter().rev().any(|handed| *handed == Handed::Record(owned(record))), "the record around it");
        self.0.push(Handed::Element(array, owned(places)));
    }

    fn end(&mut self, _: &[Found<'p>]) {
        self.0.push(Handed::End);
    }

    fn broken(&mut self, reason: FormatError) {
        self.0.push(Handed::Broken(reason.to_string()));
    }
}

fn owned(places: &[Found<'_>]) -> Vec<Found<'static>> {
    places.iter().cloned().map(Found::into_owned).collect()
}

/// All that `decoder` hands out of `payload`. On an error nothing was.
pub(super) fn collect(decoder: &mut dyn Decoder, payload: &[u8], plan: &Plan) -> Result<Vec<Handed>, FormatError> {
    let mut collect = Collect::default();
    let read = decoder.decode(payload, plan, &mut collect);
    assert!(read.is_ok() || collect.0.is_empty(), "handed out before an error: {:?}", collect.0);
    read.map(|()| collect.0)
}

/// The places of each record.
pub(super) fn records(decoder: &mut dyn Decoder, payload: &[u8], plan: &Plan) -> Vec<Vec<Found<'static>>> {
    let handed = collect(decoder, payload, plan).unwrap();
    let record = |handed| match handed {
        Handed::Record(places) => Some(places),
        _ => None,
    };
    handed.into_iter().filter_map(record).collect()
}

/// A plan that wants these places of records; those with a `*` behind whole.
pub(super) fn plan_of(paths: &[&str]) -> Plan {
    let mut plan = Plan::default();
    for path in paths {
        let whole = path.ends_with('*');
        plan.record.want(&path.trim_end_matches('*').parse::<Path>().unwrap(), whole);
    }
    plan
}

/// A value found.
pub(super) fn value<'a>(value: impl Into<Value<'a>>) -> Found<'static> {
    Found::Value(value.into().into_owned())
}
