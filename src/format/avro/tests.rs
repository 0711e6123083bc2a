//! Against records that other libraries wrote (`tests/fixtures/formats`), and against apache-avro on any value.

use apache_avro::types::Value as Theirs;
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

use super::*;
use crate::format::collect::{Handed, collect, plan_of, records, value};
use crate::format::{Found, Path};
use crate::row::{Timestamp, Value};

const SCHEMA: &str = include_str!("../../../tests/fixtures/formats/reading.avsc");
/// In blocks that say their size.
const JAVA: &[u8] = include_bytes!("../../../tests/fixtures/formats/reading-java-avro.bin");
const FASTAVRO: &[u8] = include_bytes!("../../../tests/fixtures/formats/reading-fastavro.bin");

fn decoder(schema: &str) -> AvroDecoder {
    AvroDecoder::new(Arc::new(AvroSchema::parse(schema, &[]).unwrap()))
}

/// 2025-12-01T00:00:00Z.
const MIDNIGHT: i64 = 1_764_547_200;

#[test]
fn every_type_of_a_record_that_others_wrote() {
    let expected: Vec<(&str, Found<'_>)> = vec![
        ("device", value("d1001")),
        ("ts", value(Timestamp::new(MIDNIGHT, 123_000_000))),
        ("ts_us", value(Timestamp::new(MIDNIGHT, 123_456_000))),
        ("ts_ns", value(Timestamp::new(MIDNIGHT, 123_456_789))),
        ("local", value(Timestamp::new(MIDNIGHT + 8 * 3600, 0))),
        ("day", value(Timestamp::new(MIDNIGHT, 0))),
        ("tod_ms", value(3_723_004_i64)),
        ("tod_us", value(3_723_000_004_i64)),
        ("flag", value(true)),
        ("nothing", Found::Value(Value::Null)),
        ("i", value(-7_i64)),
        ("l", value(1_i64 << 40)),
        ("f", value(0.5)),
        ("d", value(-1e300)),
        ("raw", value(&[0_u8, 0xff][..])),
        ("fix", value(&[1_u8, 2, 3, 4][..])),
        ("state", value("FAULT")),
        ("price", value("-12345.678")),
        ("price_fix", value("0.05")),
        ("id", value("123e4567-e89b-12d3-a456-426614174000")),
        ("maybe", value(2.5)),
        ("maybe_not", Found::Value(Value::Null)),
        ("either", value("text")),
        ("/site/name", value("Zürich")),
        ("/site/parent/name", value("Schweiz")),
        ("/site/parent/parent", Found::Value(Value::Null)),
        ("/tags/b", value("2")),
        ("samples", Found::Nested("an array")),
        ("/samples/1/q", value(7_i64)),
        ("/matrix/0/1", value(2_i64)),
        ("/matrix*", Found::Tree(json!([[1, 2], [], [3]]))),
        ("site*", Found::Tree(json!({"name": "Zürich", "parent": {"name": "Schweiz", "parent": null}}))),
        ("none", Found::MISSING),
    ];
    let paths: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    for payload in [FASTAVRO, JAVA] {
        let found = records(&mut decoder(SCHEMA), payload, &plan_of(&paths)).remove(0);
        for ((path, expected), found) in expected.iter().zip(&found) {
            assert_eq!(found, expected, "{path}");
        }
    }
}

#[test]
fn elements_have_places_of_their_own() {
    let mut plan = plan_of(&["device"]);
    let (samples, _) = plan.want_array(&Path::of(["samples"]));
    let (none, _) = plan.want_array(&Path::of(["site"]));
    plan.elements[samples].want(&"v".parse().unwrap(), false);
    plan.elements[samples].want(&"q".parse().unwrap(), false);
    plan.elements[none].want(&".".parse().unwrap(), false);
    let record = vec![value("d1001"), Found::Nested("an array"), Found::Nested("an object")];
    let expected = [
        Handed::Record(record),
        Handed::Element(samples, vec![value(1.5), Found::Value(Value::Null)]),
        Handed::Element(samples, vec![value(2.5), value(7_i64)]),
        Handed::End,
    ];
    for payload in [FASTAVRO, JAVA] {
        assert_eq!(collect(&mut decoder(SCHEMA), payload, &plan).unwrap(), expected);
    }
}

#[test]
fn a_record_of_another_length_is_none() {
    let mut decoder = decoder(SCHEMA);
    for end in 0..FASTAVRO.len() {
        assert!(collect(&mut decoder, &FASTAVRO[..end], &plan_of(&["device"])).is_err(), "{end}");
    }
    let longer = [FASTAVRO, &[0]].concat();
    let error = collect(&mut decoder, &longer, &plan_of(&["device"])).unwrap_err();
    assert_eq!(error.to_string(), "not Avro at byte 200: more bytes than one record of the schema has");
}

#[test]
fn blocks_with_their_size_are_read_too() {
    let schema =
        r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "long"}}]}"#;
    let found = records(&mut decoder(schema), &[0x03, 0x04, 2, 4, 2, 6, 0], &plan_of(&["a*"]));
    assert_eq!(found, [[Found::Tree(json!([1, 2, 3]))]]);
}

#[test]
fn a_payload_cannot_ask_for_more_work_than_it_has_bytes() {
    let nulls =
        r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}"#;
    let payload = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0];
    assert!(collect(&mut decoder(nulls), &payload, &plan_of(&["a*"])).is_err());
    let payload = [0xfe, 0xff, 0xff, 0xff, 0x0f, 0];
    let error = collect(&mut decoder(nulls), &payload, &plan_of(&["a*"])).unwrap_err().to_string();
    assert!(error.contains("more than 65536 elements"), "{error}");
    let itself = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}"#;
    let error = collect(&mut decoder(itself), &[], &plan_of(&["a"])).unwrap_err().to_string();
    assert!(error.contains("more than 127 deep"), "{error}");
    // Each record holds the one before twice, and none has a byte.
    let mut fields = r#"{"name": "a", "type": "null"}"#.to_owned();
    for depth in 0..40 {
        fields = format!(
            r#"{{"name": "a", "type": {{"type": "record", "name": "r{depth}", "fields": [{fields}]}}}}, {{"name": "b", "type": "r{depth}"}}"#
        );
    }
    let twice = format!(r#"{{"type": "record", "name": "r", "fields": [{fields}]}}"#);
    assert!(collect(&mut decoder(&twice), &[], &plan_of(&["x"])).is_err());
}

#[test]
fn a_schema_may_refer_to_others_and_to_names_of_its_namespace() {
    let other = r#"{"type": "enum", "name": "plant.State", "symbols": ["OFF", "ON"]}"#;
    let schema = r#"{"type": "record", "name": "Reading", "namespace": "plant", "fields": [
        {"name": "a", "type": "State"}, {"name": "b", "type": "plant.State"},
        {"name": "c", "type": {"type": "record", "name": "other.Within", "fields": [{"name": "d", "type": "plant.State"}]}}]}"#;
    let schema = AvroSchema::parse(schema, &[other.to_owned()]).unwrap();
    let found = records(&mut AvroDecoder::new(Arc::new(schema)), &[2, 0, 2], &plan_of(&["a", "b", "/c/d"]));
    assert_eq!(found, [[value("ON"), value("OFF"), value("ON")]]);
    let error = AvroSchema::parse(r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "gone"}]}"#, &[]);
    assert!(error.unwrap_err().contains("gone"));
    assert!(AvroSchema::parse("{", &[]).is_err());
}

#[test]
fn uuids_of_bytes_and_decimals_of_any_scale() {
    let schema = r#"{"type": "record", "name": "r", "fields": [
        {"name": "id", "type": {"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"}},
        {"name": "d", "type": {"type": "bytes", "logicalType": "big-decimal"}}]}"#;
    let id = 0x123e_4567_e89b_12d3_a456_4266_1417_4000_u128.to_be_bytes();
    let payload = [&id[..], &[8, 4, 0x04, 0xd2, 4]].concat();
    let found = records(&mut decoder(schema), &payload, &plan_of(&["id", "d"]));
    assert_eq!(found, [[value("123e4567-e89b-12d3-a456-426614174000"), value("12.34")]]);
}

#[test]
fn text_that_is_not_utf_8_is_bytes() {
    let schema = r#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}"#;
    assert_eq!(records(&mut decoder(schema), &[4, 0xff, b'x'], &plan_of(&["a"])), [[value(&b"\xffx"[..])]]);
}

/// A schema, a value of it, and what that is as JSON.
fn values() -> impl Strategy<Value = (Tree, Theirs, Tree)> {
    let leaf = prop_oneof![
        Just((json!("null"), Theirs::Null, Tree::Null)),
        any::<bool>().prop_map(|truth| (json!("boolean"), Theirs::Boolean(truth), truth.into())),
        any::<i32>().prop_map(|number| (json!("int"), Theirs::Int(number), number.into())),
        (any::<i64>(), 0..64).prop_map(|(number, bits)| number >> bits).prop_map(|number| (
            json!("long"),
            Theirs::Long(number),
            number.into()
        )),
        any::<f32>().prop_map(|number| (json!("float"), Theirs::Float(number), f64::from(number).into())),
        any::<f64>().prop_map(|number| (json!("double"), Theirs::Double(number), number.into())),
        any::<String>().prop_map(|text| (json!("string"), Theirs::String(text.clone()), text.into())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            (inner.clone(), 0..5_usize).prop_map(|((schema, value, tree), count)| (
                json!({"type": "array", "items": schema}),
                Theirs::Array(vec![value; count]),
                vec![tree; count].into(),
            )),
            (inner.clone(), prop::collection::btree_set("[a-c]{1,3}", 0..4)).prop_map(
                |((schema, value, tree), keys)| (
                    json!({"type": "map", "values": schema}),
                    Theirs::Map(keys.iter().map(|key| (key.clone(), value.clone())).collect()),
                    Tree::Object(keys.into_iter().map(|key| (key, tree.clone())).collect()),
                )
            ),
            (prop::collection::vec(inner, 0..6), any::<u64>()).prop_map(|(members, name)| {
                let name_of = |at: usize| ["a", "b", "c", "d", "e", "f"][at];
                let fields: Vec<_> = members
                    .iter()
                    .enumerate()
                    .map(|(at, (schema, ..))| json!({"name": name_of(at), "type": schema}))
                    .collect();
                let values =
                    members.iter().enumerate().map(|(at, (_, value, _))| (name_of(at).to_owned(), value.clone()));
                let trees = members.iter().enumerate().map(|(at, (.., tree))| (name_of(at).to_owned(), tree.clone()));
                (
                    json!({"type": "record", "name": format!("r{name}"), "fields": fields}),
                    Theirs::Record(values.collect()),
                    Tree::Object(trees.collect()),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_apache_avro_writes_is_read_as_it_was(
        (schema, theirs, tree) in values(), at: prop::sample::Index, byte: u8, bytes: Vec<u8>,
    ) {
        let schema = schema.to_string();
        let Ok(parsed) = apache_avro::Schema::parse_str(&schema) else { return Ok(()) };
        let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&parsed).build().unwrap();
        let payload = writer.write_value_to_vec(theirs).unwrap();
        let mut decoder = decoder(&schema);
        let found = records(&mut decoder, &payload, &plan_of(&[".*", "a", "/b/0"])).remove(0);
        match &found[0] {
            Found::Tree(found) => prop_assert_eq!(found, &tree),
            Found::Value(found) => prop_assert_eq!(&crate::format::tree_of(found), &tree),
            other => prop_assert!(false, "{:?}", other),
        }
        if let (Found::Value(a), Some(tree)) = (&found[1], tree.get("a")) {
            prop_assert_eq!(&crate::format::tree_of(a), tree);
        }
        let mut changed = payload.clone();
        if !changed.is_empty() {
            let at = at.index(changed.len());
            changed[at] = byte;
        }
        for payload in [changed, bytes] {
            let _ = collect(&mut decoder, &payload, &plan_of(&[".*", "a", "/b/0"]));
        }
    }
}
