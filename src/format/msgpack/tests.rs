//! The walk against rmp-serde, on what it writes and on damaged bytes.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::format::Path;
use crate::format::collect::{Handed, collect, plan_of, records, value};
use crate::row::Timestamp;

fn one(payload: &[u8], paths: &[&str]) -> Vec<Found<'static>> {
    records(&mut MsgPackDecoder::new(), payload, &plan_of(paths)).remove(0)
}

fn written(tree: &Tree) -> Vec<u8> {
    rmp_serde::to_vec(tree).unwrap()
}

#[test]
fn places_are_found_wherever_they_stand() {
    let payload = written(&json!({"b": {"c": [10, {"d": "x"}, [true]], "e": -7}, "other": [{"c": 1}], "a": 2.5}));
    let places = ["a", "/b/c/0", "/b/c/1/d", "/b/c/2/0", "/b/e", "b", "/b/c", "none", "/a/x", "/b/c*"];
    let whole = Found::Tree(json!([10, {"d": "x"}, [true]]));
    let found = [
        value(2.5),
        value(10_i64),
        value("x"),
        value(true),
        value(-7_i64),
        Found::Nested("an object"),
        whole,
        Found::MISSING,
        Found::MISSING,
    ];
    assert_eq!(one(&payload, &places), found);
}

#[test]
fn every_kind_of_value_has_its_own() {
    let mut payload = vec![0x8a];
    let entries: [(&[u8], &[u8]); 10] = [
        (b"\xa1a", b"\xc4\x02\x00\xff"),                    // bin
        (b"\xc4\x01b", b"\xca\x3f\x00\x00\x00"),            // a key of bytes, float 32
        (b"\x07", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), // a key that is a number, uint 64
        (b"\xd0\xf9", b"\xa2\xff\xfe"),                     // -7: text that is not UTF-8
        (b"\xa1t", b"\xd6\xff\x00\x00\x00\x05"),            // a timestamp
        (b"\xa1u", b"\xd5\xff\x00\x00"),                    // one that is none
        (b"\xa1x", b"\xd4\x05\x2a"),                        // another extension
        (b"\x91\xa1a", b"\x01"),                            // a key that is an array
        (b"\xa1n", b"\xc0"),
        (b"\xa1l", b"\x92\xd6\xff\x00\x00\x00\x05\xc4\x01\xff"),
    ];
    payload.extend(entries.iter().flat_map(|(key, value)| [*key, *value].concat()));
    let found = [
        value(&[0_u8, 0xff][..]),
        value(0.5),
        value(u64::MAX),
        value(&[0xff_u8, 0xfe][..]),
        value(Timestamp::new(5, 0)),
        Found::Nested("a timestamp has 4, 8 or 12 bytes"),
        value(&[42_u8][..]),
        Found::Value(Value::Null),
        Found::Tree(json!(["1970-01-01T00:00:05Z", "/w=="])),
    ];
    assert_eq!(one(&payload, &["a", "b", "7", "-7", "t", "u", "x", "n", "l*"]), found);
}

#[test]
fn what_python_wrote_is_read() {
    let payload = include_bytes!("../../../tests/fixtures/formats/reading-python-msgpack.bin");
    let expected: [(&str, Found<'_>); 12] = [
        ("device", value("d1001")),
        ("ts", value(Timestamp::new(1_764_547_200, 123_456_000))),
        ("f", value(0.5)),
        ("i", value(-7_i64)),
        ("u", value(u64::MAX)),
        ("raw", value(&[0_u8, 0xff][..])),
        ("flag", value(true)),
        ("nothing", Found::Value(Value::Null)),
        ("/site/name", value("Zürich")),
        ("/samples/1/q", value(7_i64)),
        ("7", value("seven")),
        ("ext", value(&[42_u8][..])),
    ];
    let found = one(payload, &expected.each_ref().map(|(path, _)| *path));
    assert_eq!(found, expected.map(|(_, found)| found));
}

#[test]
fn the_last_of_equal_keys_wins() {
    let payload = b"\x82\xa1a\x82\xa1b\x01\xa1c\x02\xa1a\x81\xa1c\x03";
    assert_eq!(one(payload, &["/a/b", "/a/c"]), [Found::MISSING, value(3_i64)]);
}

#[test]
fn elements_have_places_of_their_own() {
    let mut plan = plan_of(&["site"]);
    plan.want_array(&Path::of(["rows"]));
    plan.elements[0].want(&"ts".parse().unwrap(), false);
    plan.elements[0].want(&".".parse().unwrap(), true);
    let payload = written(&json!({"rows": [{"ts": 1}, 5, {"x": {}}], "site": "s"}));
    let expected = [
        Handed::Record(vec![value("s"), Found::Nested("an array")]),
        Handed::Element(0, vec![value(1_i64), Found::Tree(json!({"ts": 1}))]),
        Handed::Element(0, vec![Found::MISSING, value(5_i64)]),
        Handed::Element(0, vec![Found::MISSING, Found::Tree(json!({"x": {}}))]),
        Handed::End,
    ];
    assert_eq!(collect(&mut MsgPackDecoder::new(), &payload, &plan).unwrap(), expected);
}

#[test]
fn an_error_names_the_byte_and_the_reason() {
    let error =
        |payload: &[u8]| collect(&mut MsgPackDecoder::new(), payload, &plan_of(&["a"])).unwrap_err().to_string();
    assert_eq!(error(b""), "not MessagePack at byte 0: the payload ends within a value");
    assert_eq!(error(b"\x81\xa1a"), "not MessagePack at byte 3: the payload ends within a value");
    assert_eq!(
        error(b"\x81\xa1b\xdd\xff\xff\xff\xff\x01"),
        "not MessagePack at byte 9: the payload ends within a value"
    );
    assert_eq!(error(b"\x81\xa1a\xc1"), "not MessagePack at byte 3: a byte that MessagePack does not use");
    // Several records in one payload are not one record.
    assert_eq!(error(b"\x81\xa1a\x01\x81\xa1a\x02"), "not MessagePack at byte 4: more bytes than one record has");
}

#[test]
fn what_is_too_deep_for_a_tree_is_passed_over_where_it_is_not_wanted() {
    let payload = [b"\x82\xa1a", &[0x91; 300][..], b"\xc0\xa1b\x01"].concat();
    let found = [Found::Nested("an object or array nested more than 127 deep"), value(1_i64)];
    assert_eq!(one(&payload, &["a*", "b"]), found);
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        (any::<i64>(), 0..64).prop_map(|(number, bits)| Tree::from(number >> bits)),
        any::<u64>().prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        "[a-z]{0,300}".prop_map(Tree::from),
        any::<String>().prop_map(Tree::from),
    ];
    leaf.prop_recursive(4, 60, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Tree::from),
            prop::collection::vec(("[a-c]|.{0,40}", inner), 0..20)
                .prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

fn as_found(tree: &Tree) -> Found<'static> {
    match tree {
        Tree::Null => Found::Value(Value::Null),
        Tree::Bool(truth) => value(*truth),
        Tree::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => value(number),
            (_, Some(number)) => value(number),
            _ => value(number.as_f64().unwrap()),
        },
        Tree::String(text) => value(text.as_str()),
        tree => Found::Tree(tree.clone()),
    }
}

proptest! {
    #[test]
    fn every_member_of_what_rmp_writes_is_found(tree in trees()) {
        let payload = written(&tree);
        prop_assert_eq!(&one(&payload, &[".*"])[0], &as_found(&tree));
        let members: Vec<(String, &Tree)> = match &tree {
            Tree::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Tree::Array(elements) => elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        let mut plan = Plan::default();
        let places: Vec<_> = members.iter().map(|(key, _)| plan.record.want(&Path::of([key]), true)).collect();
        let found = records(&mut MsgPackDecoder::new(), &payload, &plan).remove(0);
        for (place, (key, value)) in places.iter().zip(&members) {
            prop_assert_eq!(&found[*place], &as_found(value), "{}", key);
        }
    }

    #[test]
    fn a_payload_cut_short_is_an_error(tree in trees(), cut: prop::sample::Index) {
        let payload = written(&tree);
        let cut = &payload[..cut.index(payload.len())];
        prop_assert!(collect(&mut MsgPackDecoder::new(), cut, &plan_of(&["a"])).is_err());
    }

    #[test]
    fn any_bytes_are_survived(tree in trees(), at: prop::sample::Index, byte: u8, bytes: Vec<u8>) {
        let mut plan = plan_of(&["a*", "/b/0", "/c/a"]);
        plan.want_array(&Path::of(["b"]));
        plan.elements[0].want(&".".parse().unwrap(), true);
        let mut payload = written(&tree);
        let at = at.index(payload.len());
        payload[at] = byte;
        for payload in [payload, bytes] {
            let _ = collect(&mut MsgPackDecoder::new(), &payload, &plan);
        }
    }
}
