//! InfluxDB line protocol: a line is a record.
//! <https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/>
//!
//! `measurement`, `time`, and the names of fields and tags are places. Where names are equal, the first of these stands
//! there: `measurement` and `time`, a field, a tag; `/tags/NAME` and `/fields/NAME` find each.

use std::borrow::Cow;

use influxdb_line_protocol::{EscapedStr, FieldValue, ParsedLine, parse_lines, split_lines};

use super::finds::{Finds, Shelf};
use super::plan::{NodeId, Places};
use super::{Decoder, FormatError, Found, Plan, Visitor, tree_of};
use crate::row::{Precision, Timestamp, Value};

const FORMAT: &str = "line protocol";

/// Reads line protocol: one record a line.
#[derive(Debug)]
pub struct LineDecoder {
    /// Of its times; `None`: seconds.
    precision: Option<Precision>,
    shelf: Shelf,
}

impl LineDecoder {
    /// With times in this precision; `None`: in seconds.
    pub fn new(precision: Option<Precision>) -> Self {
        Self { precision, shelf: Shelf::default() }
    }

    fn time(&self, count: i64) -> Timestamp {
        self.precision.map_or(Timestamp::new(count, 0), |precision| Timestamp::from_units(count, precision))
    }

    fn hand_out<'p>(&mut self, line: ParsedLine<'p>, plan: &Plan, visitor: &mut dyn Visitor<'p>) {
        let time = line.timestamp.map(|count| self.time(count));
        let tags = line.series.tag_set.unwrap_or_default();
        let tags: Vec<_> = tags.into_iter().map(|(key, tag)| (text(key), Value::Text(text(tag)))).collect();
        let fields: Vec<_> = line.field_set.into_iter().map(|(key, field)| (text(key), value(field))).collect();
        let (mut found, element) = self.shelf.take(plan);
        let mut finds = self.shelf.record(plan, &mut found);
        put_all(&mut finds, Places::ROOT, &tags);
        put_all(&mut finds, Places::ROOT, &fields);
        for (key, values) in [("tags", &tags), ("fields", &fields)] {
            if let Some((_, node)) = plan.record.child(Places::ROOT, key.as_bytes(), 0) {
                finds.forget_within(node);
                put_all(&mut finds, node, values);
                finds.put_object(node, || members(values));
            }
        }
        let own =
            [("measurement", Some(Value::Text(text(line.series.measurement)))), ("time", time.map(Value::Timestamp))];
        let own: Vec<_> = own.into_iter().filter_map(|(key, value)| Some((Cow::Borrowed(key), value?))).collect();
        put_all(&mut finds, Places::ROOT, &own);
        finds.put_object(Places::ROOT, || {
            [&tags, &fields, &own].into_iter().flat_map(|values| members(values)).collect()
        });
        if visitor.record(&found) {
            visitor.end(&found);
        }
        self.shelf.keep(found, element);
    }
}

impl Decoder for LineDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let text = std::str::from_utf8(payload)
            .map_err(|error| FormatError::new(FORMAT, Some(error.valid_up_to()), "text that is not UTF-8"))?;
        let lines: Vec<_> = split_lines(text).filter_map(|line| Some((line, parse_lines(line).next()?))).collect();
        if lines.is_empty() {
            return Err(FormatError::new(FORMAT, Some(0), "a payload without a line"));
        }
        let is_alone = lines.len() == 1;
        for (line, parsed) in lines {
            let error = match parsed {
                Ok(parsed) => {
                    self.hand_out(parsed, plan, visitor);
                    continue;
                }
                Err(error) => FormatError::new(FORMAT, Some(line.as_ptr() as usize - text.as_ptr() as usize), error),
            };
            if is_alone {
                return Err(error);
            }
            visitor.broken(error);
        }
        Ok(())
    }
}

type Values<'a, 'p> = &'a [(Cow<'p, str>, Value<'p>)];

fn put_all<'p>(finds: &mut Finds<'_, 'p>, node: NodeId, values: Values<'_, 'p>) {
    let mut before = Finds::first_of(node);
    for (key, value) in values {
        let guess = finds.guess(before);
        if let Some((child, node)) = finds.places.child(node, key.as_bytes(), guess) {
            before = finds.followed(before, guess, child, node);
            finds.put_single(node, || Found::Value(value.clone()));
        }
    }
}

fn members(values: Values<'_, '_>) -> serde_json::Map<String, serde_json::Value> {
    values.iter().map(|(key, value)| (key.clone().into_owned(), tree_of(value))).collect()
}

fn text(text: EscapedStr<'_>) -> Cow<'_, str> {
    match text {
        EscapedStr::SingleSlice(text) => Cow::Borrowed(text),
        EscapedStr::CopiedValue(text) => Cow::Owned(text),
    }
}

fn value(value: FieldValue<'_>) -> Value<'_> {
    match value {
        FieldValue::I64(number) => Value::Int(number),
        FieldValue::U64(number) => i64::try_from(number).map_or(Value::UInt(number), Value::Int),
        FieldValue::F64(number) => Value::Float(number),
        FieldValue::String(string) => Value::Text(text(string)),
        FieldValue::Boolean(truth) => Value::Bool(truth),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::format::collect::{Handed, collect, plan_of, records, value};

    fn nanos() -> LineDecoder {
        LineDecoder::new(Some(Precision::Nano))
    }

    #[test]
    fn every_part_of_a_line_has_its_place() {
        let payload =
            br#"m\ 1,host=a\,b,both=t f=1.5,i=-2i,u=18446744073709551615u,b=true,both="x\"y",e=2u 1465839830100400200"#;
        let places =
            ["measurement", "host", "f", "i", "u", "b", "both", "/tags/both", "/fields/both", "time", "none", "e"];
        let found = records(&mut nanos(), payload, &plan_of(&places));
        let expected = [
            value("m 1"),
            value("a,b"),
            value(1.5),
            value(-2_i64),
            value(u64::MAX),
            value(true),
            value("x\"y"),
            value("t"),
            value("x\"y"),
            value(Timestamp::new(1_465_839_830, 100_400_200)),
            Found::MISSING,
            value(2_i64),
        ];
        assert_eq!(found, [expected]);
        let found = records(&mut nanos(), b"m,a=1 b=2 1000000000", &plan_of(&[".*", "tags*", "fields"]));
        let whole = json!({"measurement": "m", "a": "1", "b": 2.0, "time": "1970-01-01T00:00:01Z"});
        let expected = [Found::Tree(whole), Found::Tree(json!({"a": "1"})), Found::Nested("an object")];
        assert_eq!(found, [expected]);
    }

    #[test]
    fn what_influxdbs_own_client_wrote_is_read() {
        let payload = include_bytes!("../../tests/fixtures/formats/points-python.line");
        let places = ["measurement", "host", "/tags/both", "/fields/both", "f", "i", "b", "text", "time", "v"];
        let found = records(&mut nanos(), payload, &plan_of(&places));
        let first = [
            value("m 1,x"),
            value("a,b=c d"),
            value("t"),
            value("x\"y\\z"),
            value(1.5),
            value(-2_i64),
            value(true),
            value("Zürich, line"),
            value(Timestamp::new(1_465_839_830, 100_400_200)),
            Found::MISSING,
        ];
        assert_eq!(found[0], first);
        assert_eq!((&found[1][0], &found[1][9]), (&value("m2"), &value(1_i64)));
    }

    #[test]
    fn what_the_format_names_itself_comes_first() {
        let found = records(
            &mut nanos(),
            b"m,time=t,tags=x fields=1,measurement=2",
            &plan_of(&["time", "measurement", "tags", "/tags/tags"]),
        );
        assert_eq!(found, [[value("t"), value("m"), Found::Nested("an object"), value("x")]]);
    }

    #[test]
    fn times_have_the_precision_that_is_set() {
        for (precision, count) in [
            (None, "5"),
            (Some(Precision::Milli), "5000"),
            (Some(Precision::Micro), "5000000"),
            (Some(Precision::Nano), "5000000000"),
        ] {
            let payload = format!("m v=1 {count}\nm v=1 -{count}");
            let found = records(&mut LineDecoder::new(precision), payload.as_bytes(), &plan_of(&["time"]));
            assert_eq!(found, [[value(Timestamp::new(5, 0))], [value(Timestamp::new(-5, 0))]]);
        }
        assert_eq!(records(&mut nanos(), b"m v=1", &plan_of(&["time"])), [[Found::MISSING]]);
    }

    #[test]
    fn a_bad_line_is_one_bad_record() {
        let plan = plan_of(&["v"]);
        let handed = collect(&mut nanos(), b"# a comment\nm v=1\n\nm v=x\nm v=2\n", &plan).unwrap();
        let Handed::Broken(reason) = &handed[2] else { panic!("{handed:?}") };
        assert!(reason.starts_with("not line protocol at byte 19: "), "{reason}");
        assert_eq!(handed[3], Handed::Record(vec![value(2.0)]));
        assert!(collect(&mut nanos(), b"m v=x", &plan).is_err());
        assert!(collect(&mut nanos(), b"# nothing", &plan).is_err());
        assert!(collect(&mut nanos(), b"m v=\"\xff\"", &plan).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(bytes: Vec<u8>, text in "([a-b,= \\\\\"\n0-9iut#é]{0,12}|m,t=a f=1 2\n){0,4}") {
            for payload in [&bytes, text.as_bytes()] {
                let _ = collect(&mut nanos(), payload, &plan_of(&["a", "/tags/a", ".*"]));
            }
        }
    }
}
