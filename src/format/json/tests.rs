//! The walk against serde_json, on any JSON and on what is nearly JSON.

use proptest::prelude::*;
use serde_json::Value as Tree;

use super::*;
use crate::format::collect::{Handed, collect, plan_of, records, value};
use crate::format::{Child, Path};

fn one(payload: &str, paths: &[&str]) -> Vec<Found<'static>> {
    records(&mut JsonDecoder::new(), payload.as_bytes(), &plan_of(paths)).remove(0)
}

fn error(payload: &[u8]) -> String {
    collect(&mut JsonDecoder::new(), payload, &plan_of(&["a"])).unwrap_err().to_string()
}

#[test]
fn places_are_found_wherever_they_stand() {
    let payload = r#" { "b" : {"c":[10,{"d":"x"},[true]] , "e\u0066":-7}, "other":[{"c":1}], "a":2.5e1 } "#;
    let places = ["a", "/b/c/0", "/b/c/1/d", "/b/c/2/0", "/b/ef", "b", "/b/c", "none", "/a/x", "/b/c/7"];
    let found = [
        value(25.0),
        value(10_i64),
        value("x"),
        value(true),
        value(-7_i64),
        Found::Nested("an object"),
        Found::Nested("an array"),
        Found::MISSING,
        Found::MISSING,
        Found::MISSING,
    ];
    assert_eq!(one(payload, &places), found);
    // Keys in another order than before.
    let mut decoder = JsonDecoder::new();
    let plan = plan_of(&["a", "b", "c"]);
    for payload in [r#"{"a":1,"b":2,"c":3}"#, r#"{"c":3,"x":0,"a":1,"b":2}"#, r#"{"b":2,"c":3,"a":1}"#] {
        for _ in 0..2 {
            let found = records(&mut decoder, payload.as_bytes(), &plan).remove(0);
            assert_eq!(found, [value(1_i64), value(2_i64), value(3_i64)], "{payload}");
        }
    }
}

#[test]
fn a_plain_text_is_borrowed() {
    struct Borrowed<'p>(Vec<Found<'p>>);
    impl<'p> Visitor<'p> for Borrowed<'p> {
        fn record(&mut self, places: &[Found<'p>]) -> bool {
            self.0.extend_from_slice(places);
            false
        }
        fn element(&mut self, _: usize, _: &[Found<'p>], _: &[Found<'p>]) {}
        fn end(&mut self, _: &[Found<'p>]) {}
        fn broken(&mut self, _: FormatError) {}
    }
    let mut seen = Borrowed(Vec::new());
    let mut decoder = JsonDecoder::new();
    decoder.decode(r#"{"a":"Zürich","b":"a\nb"}"#.as_bytes(), &plan_of(&["a", "b"]), &mut seen).unwrap();
    assert!(matches!(&seen.0[0], Found::Value(Value::Text(Cow::Borrowed("Zürich")))));
    assert!(matches!(&seen.0[1], Found::Value(Value::Text(Cow::Owned(text))) if text == "a\nb"));
}

#[test]
fn the_last_of_equal_keys_wins() {
    assert_eq!(one(r#"{"a":1,"a":"x"}"#, &["a"]), [value("x")]);
    assert_eq!(one(r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#, &["/a/b", "/a/c"]), [Found::MISSING, value(3_i64)]);
    assert_eq!(one(r#"{"a":{"b":1},"a":5}"#, &["/a/b", "a"]), [Found::MISSING, value(5_i64)]);
    let mut plan = plan_of(&[]);
    plan.want_array(&Path::of(["a"]));
    let handed = collect(&mut JsonDecoder::new(), br#"{"a":[1,2],"a":null}"#, &plan).unwrap();
    assert_eq!(handed, [Handed::Record(vec![Found::Value(Value::Null)]), Handed::End]);
}

#[test]
fn elements_have_places_of_their_own() {
    let mut plan = plan_of(&["site"]);
    let (records, _) = plan.want_array(&Path::of(["records"]));
    let (other, _) = plan.want_array(&Path::of(["x", "1"]));
    plan.elements[records].want(&"ts".parse().unwrap(), false);
    plan.elements[records].want(&"/v/0".parse().unwrap(), false);
    plan.elements[other].want(&".".parse().unwrap(), true);
    let payload =
        r#"{"x":[0,["p",{"q":[]},null]],"records":[{"ts":1,"v":[7]},5,{"v":[]}, {"v":["a"],"ts":2}],"site":"s"}"#;
    let nothing = || vec![Found::MISSING, Found::MISSING];
    let expected = [
        Handed::Record(vec![value("s"), Found::Nested("an array"), Found::Nested("an array")]),
        Handed::Element(records, vec![value(1_i64), value(7_i64)]),
        Handed::Element(records, nothing()),
        Handed::Element(records, nothing()),
        Handed::Element(records, vec![value(2_i64), value("a")]),
        Handed::Element(other, vec![value("p")]),
        Handed::Element(other, vec![Found::Tree(serde_json::json!({"q": []}))]),
        Handed::Element(other, vec![Found::Value(Value::Null)]),
        Handed::End,
    ];
    assert_eq!(collect(&mut JsonDecoder::new(), payload.as_bytes(), &plan).unwrap(), expected);
    // The payload itself is the array.
    let mut plan = Plan::default();
    plan.want_array(&Path::default());
    plan.elements[0].want(&"a".parse().unwrap(), false);
    let handed = collect(&mut JsonDecoder::new(), br#"[{"a":1},{"a":2}]"#, &plan).unwrap();
    assert_eq!(handed.len(), 4);
    assert_eq!(handed[2], Handed::Element(0, vec![value(2_i64)]));
}

#[test]
fn a_bad_element_is_a_bad_payload_and_hands_out_nothing() {
    let mut plan = plan_of(&["site"]);
    plan.want_array(&Path::of(["records"]));
    let payload = br#"{"site":"s","records":[{"a":1},{"a":01}]}"#;
    let error = collect(&mut JsonDecoder::new(), payload, &plan).unwrap_err();
    assert_eq!(error.to_string(), "not JSON at byte 38: no number as JSON has it");
}

#[test]
fn what_no_type_holds_costs_its_place_alone() {
    assert_eq!(one(r#"{"a":1e999,"b":2}"#, &["a", "b"]), [NUMBER_OUT_OF_RANGE, value(2_i64)]);
    assert_eq!(one(r#"{"a":"\ud800x","b":2}"#, &["a", "b"]), [HALF_A_PAIR, value(2_i64)]);
    assert_eq!(one(r#"{"a":{"x":1e999},"b":"\ud83d\ude00"}"#, &["a*", "b"]), [TREE_OUT_OF_RANGE, value("😀")]);
}

#[test]
fn an_error_names_the_byte_and_the_reason() {
    assert_eq!(error(b""), "not JSON at byte 0: the payload ends within a value");
    assert_eq!(error(b"{\"a\":"), "not JSON at byte 5: the payload ends within a value");
    assert_eq!(error(b"{\"a\" 1}"), "not JSON at byte 5: no colon behind a key");
    assert_eq!(error(b"{\"a\":1}{}"), "not JSON at byte 7: more than one value");
    assert_eq!(error(b"{\"a\":1,}"), "not JSON at byte 7: no key in quotes");
    assert_eq!(error(b"{\"a\":\"\xff\"}"), "not JSON at byte 6: text that is not UTF-8");
    assert_eq!(error("[".repeat(128).as_bytes()), "not JSON at byte 127: objects and arrays nested more than 127 deep");
    assert_eq!(error(br#"{"b":"\x"}"#), "not JSON at byte 6: an escape that JSON does not have");
}

#[test]
fn depth_ends_where_serde_json_ends() {
    for depth in [126, 127, 128] {
        let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let ours = collect(&mut JsonDecoder::new(), nested.as_bytes(), &plan_of(&["a"]));
        assert_eq!(ours.is_ok(), serde_json::from_str::<Tree>(&nested).is_ok(), "{depth}");
    }
}

#[test]
fn lines_are_records_and_a_bad_line_is_one_bad_record() {
    let plan = plan_of(&["a"]);
    let payload = b"{\"a\":1}\r\n\n{\"a\":2\n{\"a\":3}\n";
    let expected = [
        Handed::Record(vec![value(1_i64)]),
        Handed::End,
        Handed::Broken("not JSON at byte 16: the payload ends within a value".to_owned()),
        Handed::Record(vec![value(3_i64)]),
        Handed::End,
    ];
    assert_eq!(collect(&mut JsonDecoder::of_lines(), payload, &plan).unwrap(), expected);
    let mut decoder = JsonDecoder::of_lines();
    assert!(collect(&mut decoder, b"{", &plan).is_err() && collect(&mut decoder, b" \n", &plan).is_err());
}

fn trees() -> impl Strategy<Value = Tree> {
    let key = || prop_oneof!["[a-c]", "[0-3]", ".{0,20}"];
    let leaf = prop_oneof![
        Just(Tree::Null),
        any::<bool>().prop_map(Tree::from),
        any::<i64>().prop_map(Tree::from),
        any::<u64>().prop_map(Tree::from),
        (-1000_i64..1000).prop_map(Tree::from),
        any::<f64>().prop_map(Tree::from),
        (any::<i32>(), 0..9).prop_map(|(number, digits)| Tree::from(f64::from(number) / 10_f64.powi(digits))),
        ".{0,40}".prop_map(Tree::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::from),
            prop::collection::vec((key(), inner), 0..6).prop_map(|members| Tree::Object(members.into_iter().collect())),
        ]
    })
}

/// Every place of a tree.
fn paths(tree: &Tree, path: &mut Vec<String>, found: &mut Vec<Path>) {
    let members: Vec<(String, &Tree)> = match tree {
        Tree::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Tree::Array(elements) => elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    found.push(Path::of(path.clone()));
    for (key, value) in members {
        path.push(key);
        paths(value, path, found);
        path.pop();
    }
}

/// As the seam has it: what serde_json finds at a place.
fn expected(tree: &Tree, path: &Path, whole: bool) -> Found<'static> {
    let mut at = Some(tree);
    for key in path.keys() {
        at = match at {
            Some(Tree::Object(members)) => members.get(key),
            Some(Tree::Array(elements)) => key.parse().ok().and_then(|index: usize| elements.get(index)),
            _ => None,
        };
    }
    match at {
        None => Found::MISSING,
        Some(Tree::Null) => Found::Value(Value::Null),
        Some(Tree::Bool(truth)) => value(*truth),
        Some(Tree::Number(number)) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => value(number),
            (_, Some(number)) => value(number),
            _ => value(number.as_f64().unwrap()),
        },
        Some(Tree::String(text)) => value(text.as_str()),
        Some(tree) if whole => Found::Tree(tree.clone()),
        Some(Tree::Array(_)) => Found::Nested("an array"),
        Some(Tree::Object(_)) => Found::Nested("an object"),
    }
}

fn same(ours: &Found<'_>, theirs: &Found<'_>) -> bool {
    match (ours, theirs) {
        (Found::Value(Value::Float(ours)), Found::Value(Value::Float(theirs))) => ours.to_bits() == theirs.to_bits(),
        _ => ours == theirs,
    }
}

fn agrees(payload: &[u8], wanted: &[(Path, bool)]) -> Result<(), TestCaseError> {
    let mut plan = Plan::default();
    let places: Vec<_> = wanted.iter().map(|(path, whole)| plan.record.want(path, *whole)).collect();
    let mut decoder = JsonDecoder::new();
    match (serde_json::from_slice::<Tree>(payload), collect(&mut decoder, payload, &plan)) {
        (Ok(tree), Ok(handed)) => {
            let [Handed::Record(found), Handed::End] = handed.as_slice() else { panic!("{handed:?}") };
            for ((path, _), place) in wanted.iter().zip(&places) {
                let whole = wanted.iter().any(|(other, whole)| *whole && other.keys() == path.keys());
                let theirs = expected(&tree, path, whole);
                prop_assert!(same(&found[*place], &theirs), "{path}: {:?} is not {theirs:?}", found[*place]);
            }
        }
        (Err(_), Err(_)) => {}
        // What no type holds is passed over, or costs its place alone.
        (Err(error), Ok(_)) => {
            let passed_over = serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok();
            prop_assert!(passed_over && std::str::from_utf8(payload).is_ok(), "{error}");
        }
        (Ok(tree), Err(error)) => prop_assert!(false, "{error} in {tree}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_place_of_any_json_is_found(tree in trees(), pretty: bool, wholes: Vec<bool>, other in "[a-c]{1,2}") {
        let payload = if pretty { serde_json::to_string_pretty(&tree) } else { serde_json::to_string(&tree) }.unwrap();
        let mut wanted = Vec::new();
        paths(&tree, &mut Vec::new(), &mut wanted);
        wanted.push(Path::of([other]));
        let whole = |at: usize| wholes.get(at).copied().unwrap_or(false);
        let wanted: Vec<_> = wanted.into_iter().enumerate().map(|(at, path)| (path, whole(at))).collect();
        agrees(payload.as_bytes(), &wanted)?;
    }

    #[test]
    fn what_is_nearly_json_is_decided_as_serde_json_decides(
        tree in trees(), at: prop::sample::Index, byte in prop::sample::select(&b"{}[]\",:\\eE.-+0123 9u\n\0\x1f\xff\xc3"[..]),
        cut: prop::sample::Index, kind in 0..3,
    ) {
        let mut payload = serde_json::to_vec(&tree).unwrap();
        let at = at.index(payload.len());
        match kind {
            0 => payload[at] = byte,
            1 => payload.insert(at, byte),
            _ => payload.truncate(cut.index(payload.len())),
        }
        let wanted: Vec<_> = ["a", "b", "/a/0"].map(|path| (path.parse().unwrap(), false)).into();
        agrees(&payload, &wanted)?;
    }

    #[test]
    fn numbers_of_any_form_are_read_alike(number in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?") {
        agrees(format!("{{\"a\":{number}}}").as_bytes(), &[(Path::of(["a"]), false)])?;
    }

    #[test]
    fn numbers_near_the_limits_are_read_alike(
        base in prop::sample::select(vec![1_u128 << 53, 1 << 63, 1 << 64, 10_u128.pow(19), 0]), plus in -20_i128..20,
        minus: bool, point in 0_usize..24, exponent in -30..30,
    ) {
        let digits = (base.cast_signed() + plus).unsigned_abs().to_string();
        let sign = if minus { "-" } else { "" };
        let point = point.min(digits.len());
        let fraction = match &digits[point..] { "" => String::new(), digits => format!(".{digits}") };
        let whole = digits[..point].trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        for number in [format!("{sign}{digits}"), format!("{sign}{whole}{fraction}e{exponent}")] {
            agrees(format!("[{number}]").as_bytes(), &[(Path::of(["0"]), false)])?;
        }
    }

    #[test]
    fn text_of_any_form_is_read_alike(
        parts in prop::collection::vec(prop_oneof!["\\PC{0,12}", "\\\\u[dD][89a-fA-F][0-9a-f]{2}", "\\\\u[0-9a-fA-F]{3,4}", "\\\\[a-z\"/\\\\]"], 0..6)
    ) {
        let payload = format!("{{\"a\":\"{}\",\"b\":1}}", parts.concat());
        agrees(payload.as_bytes(), &[(Path::of(["a"]), false), (Path::of(["b"]), false)])?;
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>) {
        agrees(&bytes, &[(Path::of(["a"]), true)])?;
    }
}

#[test]
fn many_places_are_found_by_their_keys() {
    let mut keys: Vec<String> = (0..300).map(|number| format!("a long key number {number}")).collect();
    let paths: Vec<&str> = keys.iter().map(String::as_str).collect();
    let plan = plan_of(&paths);
    keys.reverse();
    let members: Vec<String> = keys.iter().map(|key| format!("{}:{}", Tree::from(key.as_str()), &key[18..])).collect();
    let payload = format!("{{{}}}", members.join(","));
    let found = records(&mut JsonDecoder::new(), payload.as_bytes(), &plan).remove(0);
    assert!(found.iter().enumerate().all(|(at, found)| *found == value(at as i64)));
    let children: &[Child] = plan.record.children(0);
    assert_eq!(children.len(), 300);
}

/// `cargo test --release -p kafka-taos --lib format::json::tests::speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed_of_a_reading() {
    #[derive(serde::Deserialize)]
    struct Reading<'a> {
        device: &'a str,
        ts: i64,
        current: f64,
        voltage: i64,
        phase: f64,
        groupid: i64,
        location: &'a str,
    }
    struct Seen(usize);
    impl<'p> Visitor<'p> for Seen {
        fn record(&mut self, places: &[Found<'p>]) -> bool {
            self.0 += std::hint::black_box(places).iter().filter(|found| found.is_there()).count();
            false
        }
        fn element(&mut self, _: usize, _: &[Found<'p>], _: &[Found<'p>]) {}
        fn end(&mut self, _: &[Found<'p>]) {}
        fn broken(&mut self, _: FormatError) {}
    }
    let payloads: Vec<String> = (0..10_000_i64)
        .map(|number| {
            format!(
                r#"{{"device":"d{}","ts":{},"current":{}.{},"voltage":{},"phase":0.{},"groupid":{},"location":"California.SanFrancisco"}}"#,
                1000 + number % 9000, 1_764_547_200_000 + number, number % 20, number % 10, 210 + number % 20,
                1 + number % 99, number % 10
            )
        })
        .collect();
    let plan = plan_of(&["device", "ts", "current", "voltage", "phase", "groupid", "location"]);
    let few = plan_of(&["location", "ts", "device"]);
    let (mut decoder, mut seen) = (JsonDecoder::new(), Seen(0));
    for _ in 0..3 {
        let time = |what: &str, once: &mut dyn FnMut(&str)| {
            let round = |_| {
                let begin = std::time::Instant::now();
                payloads.iter().for_each(|payload| once(payload));
                begin.elapsed()
            };
            let best = (0..100).map(round).min().unwrap();
            print!("{what}: {:.0} ns   ", best.as_nanos() as f64 / 1e4);
        };
        time("all seven", &mut |payload| decoder.decode(payload.as_bytes(), &plan, &mut seen).unwrap());
        time("three of them", &mut |payload| decoder.decode(payload.as_bytes(), &few, &mut seen).unwrap());
        time("serde_json borrowed", &mut |payload| {
            let reading: Reading<'_> = serde_json::from_slice(payload.as_bytes()).unwrap();
            let Reading { device, ts, current, voltage, phase, groupid, location } = std::hint::black_box(reading);
            std::hint::black_box((device, ts, current, voltage, phase, groupid, location));
        });
        time("UTF-8 alone", &mut |payload| {
            std::hint::black_box(std::str::from_utf8(payload.as_bytes()).unwrap());
        });
        println!();
    }
    assert_eq!(seen.0, 3 * 1_000_000 * 10);
}
