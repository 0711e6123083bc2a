//! Against messages that other libraries wrote (`tests/fixtures/formats`).

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::format::Path;
use crate::format::collect::{Handed, collect, plan_of, records, value};

const PYTHON: &[u8] = include_bytes!("../../../tests/fixtures/formats/reading-python-protobuf.bin");

fn fixture(name: &str) -> PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/formats").join(name)
}

fn decoder() -> ProtobufDecoder {
    ProtobufDecoder::new(ProtobufSchema::read(&fixture("reading.desc"), "plant.Reading").unwrap())
}

#[test]
fn every_type_of_a_message_that_python_wrote() {
    let expected: Vec<(&str, Found<'_>)> = vec![
        ("device", value("d1001")),
        ("ts", value(Timestamp::new(1_764_547_200, 123_456_789))),
        ("lasted", value(-3.5)),
        ("flag", value(true)),
        ("i32", value(-7_i64)),
        ("i64", value(-1_i64 << 40)),
        ("u32", value((1_i64 << 32) - 1)),
        ("u64", value(u64::MAX)),
        ("s32", value(-3_i64)),
        ("s64", value(-1_i64 << 50)),
        ("f32", value(5_i64)),
        ("f64", value(6_i64)),
        ("sf32", value(-5_i64)),
        ("sf64", value(-6_i64)),
        ("f", value(0.5)),
        ("d", value(-1e300)),
        ("raw", value(&[0_u8, 0xff][..])),
        ("state", value("FAULT")),
        ("unknown_state", value(77_i64)),
        ("/site/name", value("Zürich")),
        ("/site/parent/name", value("Schweiz")),
        ("site*", Found::Tree(json!({"name": "Zürich", "parent": {"name": "Schweiz"}}))),
        ("/tags/b", value("2")),
        ("tags*", Found::Tree(json!({"a": "1", "b": "2"}))),
        ("/sites/-4/name", value("x")),
        ("samples", Found::Nested("an array")),
        ("/samples/1/q", value(7_i64)),
        ("/samples/0/q", Found::MISSING),
        ("/counts*", Found::Tree(json!([1, 2, 3]))),
        ("/states/0", value("ON")),
        ("text", value("words")),
        ("wrapped", value(2.5)),
        ("/extra/k/0", value(1.0)),
        ("/extra/k/1/n", Found::Value(Value::Null)),
        ("extra*", Found::Tree(json!({"k": [1.0, {"n": null}], "t": true}))),
        // What is not there, and cannot be told from zero.
        ("zero", value(0_i64)),
        ("empty", value("")),
        // What is not there, and can.
        ("maybe", value(0_i64)),
        ("maybe_not", Found::MISSING),
        ("number", Found::MISSING),
        ("wrapped_not", Found::MISSING),
        ("no_site", Found::MISSING),
        ("/no_site/name", Found::MISSING),
        ("camel_case_name", value(9_i64)),
        ("camelCaseName", value(9_i64)),
        ("none", Found::MISSING),
    ];
    let paths: Vec<&str> = expected.iter().map(|(path, _)| *path).collect();
    let found = records(&mut decoder(), PYTHON, &plan_of(&paths)).remove(0);
    for ((path, expected), found) in expected.iter().zip(&found) {
        assert_eq!(found, expected, "{path}");
    }
    let mut compiled = ProtobufDecoder::new(ProtobufSchema::read(&fixture("reading.proto"), "plant.Reading").unwrap());
    assert_eq!(records(&mut compiled, PYTHON, &plan_of(&paths)).remove(0), found, "by the .proto itself");
}

#[test]
fn an_empty_message_is_one_of_zeros() {
    let found = records(&mut decoder(), &[], &plan_of(&["i32", "device", "state", "tags*", "counts*", "ts"])).remove(0);
    let expected =
        [value(0_i64), value(""), value("OFF"), Found::Tree(json!({})), Found::Tree(json!([])), Found::MISSING];
    assert_eq!(found, expected);
}

#[test]
fn elements_have_places_of_their_own() {
    let mut plan = plan_of(&["device"]);
    let (samples, _) = plan.want_array(&Path::of(["samples"]));
    let (counts, _) = plan.want_array(&Path::of(["counts"]));
    plan.elements[samples].want(&"v".parse().unwrap(), false);
    plan.elements[counts].want(&".".parse().unwrap(), false);
    let expected = [
        Handed::Record(vec![value("d1001"), Found::Nested("an array"), Found::Nested("an array")]),
        Handed::Element(samples, vec![value(1.5)]),
        Handed::Element(samples, vec![value(2.5)]),
        Handed::Element(counts, vec![value(1_i64)]),
        Handed::Element(counts, vec![value(2_i64)]),
        Handed::Element(counts, vec![value(3_i64)]),
        Handed::End,
    ];
    assert_eq!(collect(&mut decoder(), PYTHON, &plan).unwrap(), expected);
}

#[test]
fn damaged_text_is_an_error() {
    let error = collect(&mut decoder(), &[0x0a, 1, 0xff], &plan_of(&["device"])).unwrap_err().to_string();
    assert!(error.starts_with("not Protobuf: ") && error.contains("UTF-8"), "{error}");
}

#[test]
fn a_file_says_what_it_has() {
    let error = |name: &str, message: &str| ProtobufSchema::read(&fixture(name), message).unwrap_err();
    let told = error("reading.desc", "Reading");
    assert!(told.contains("has no message \"Reading\"; it has plant.Site, plant.Other, plant.Reading"), "{told}");
    assert!(error("no-such.desc", "Reading").contains("cannot be read"));
    assert!(error("no-such.proto", "Reading").contains("cannot be compiled"));
    assert!(error("reading.avsc", "Reading").contains("is no descriptor set"));
}

proptest! {
    #[test]
    fn damaged_messages_are_errors_or_survived(cut: prop::sample::Index, at: prop::sample::Index, byte: u8, bytes: Vec<u8>) {
        let mut plan = plan_of(&[".*", "/site/parent/name", "/tags/a", "/extra/k/1", "ts"]);
        plan.want_array(&Path::of(["samples"]));
        plan.elements[0].want(&".".parse().unwrap(), true);
        let mut changed = PYTHON.to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        for payload in [&changed, &PYTHON[..cut.index(PYTHON.len())], &bytes] {
            let _ = collect(&mut decoder(), payload, &plan);
        }
    }
}
