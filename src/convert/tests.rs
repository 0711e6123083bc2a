//! Every cell of the table in `docs/types.md`, and what holds for all values.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::Block;
use crate::encode::sql::{MAX_STATEMENT_BYTES, block_statements};
use crate::row::Precision;
use crate::tdengine::schema::{Field, SuperTable};

/// What is stored of `value` in a column (JSON: in a tag) of `data_type`, as SQL writes it.
fn stored(value: &Value<'_>, data_type: DataType) -> Result<String, String> {
    let field = Field::new("c", data_type);
    let is_tag = data_type == DataType::Json;
    let other = Field::new("o", DataType::Int);
    let (columns, tags) = if is_tag { (other, field) } else { (field, other) };
    let mut block = Block::new(Arc::new(SuperTable {
        database: "d".into(),
        name: "s".into(),
        precision: Precision::Milli,
        columns: vec![Field::new("ts", DataType::Timestamp), columns],
        composite_key: false,
        tags: vec![tags],
    }));
    let value = to(value, data_type).map_err(|error| error.to_string())?;
    let mut row = block.row("t", 0).unwrap();
    row.set(0, &Value::Int(0)).unwrap();
    let set = if is_tag { row.set_tag(0, &value) } else { row.set(1, &value) };
    set.map_err(|error| error.to_string())?;
    row.finish().unwrap();
    let mut statements = Vec::new();
    let faults = block_statements(&block, &[0], MAX_STATEMENT_BYTES, &mut statements);
    match faults.first() {
        Some((_, fault)) => Err(fault.to_string()),
        None => {
            let sql = String::from_utf8_lossy(&statements[0].sql).into_owned();
            let literal = if is_tag { sql.split("tags (") } else { sql.split("values (0,") }.nth(1).unwrap();
            Ok(literal[..literal.find(if is_tag { ") (`ts`" } else { ")" }).unwrap()].to_owned())
        }
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn bytes(bytes: &[u8]) -> Value<'_> {
    Value::Bytes(bytes.into())
}

type Samples<'s> = Vec<(Value<'s>, Option<&'s str>)>;

/// The rows of the table: a type, and what becomes of samples of each kind, those of the columns in `docs/types.md`.
fn table() -> Vec<(&'static str, [Samples<'static>; 6])> {
    use Value::{Bool, Float, Int, Timestamp as Moment, UInt};
    let moment = || Moment(Timestamp::new(1, 500_000_000));
    let no = |value| vec![(value, None)];
    let integer = |least: &'static str, most: &'static str, beyond: &'static str| {
        [
            no(Bool(true)),
            vec![(Int(7), Some("7")), (UInt(u64::MAX), (most.len() == 20).then_some(most))],
            vec![(Float(7.0), Some("7")), (Float(7.5), None), (Float(1e30), None), (Float(f64::NAN), None)],
            no(moment()),
            vec![
                (text(most), Some(most)),
                (text(least), Some(least)),
                (text(beyond), None),
                (text(" +1.2e1 "), Some("12")),
                (text("12.0"), Some("12")),
                (text("1.5"), None),
                (text(""), None),
                (text("12a"), None),
            ],
            vec![(bytes(b"12"), Some("12")), (bytes(b"\xff"), None)],
        ]
    };
    let float = |[shortest, minus_seven, thousand]: [&'static str; 3], beyond: &'static str| {
        [
            no(Bool(true)),
            vec![(Int(-7), Some(minus_seven))],
            vec![(Float(1.5), Some("1.5"))],
            no(moment()),
            vec![(text("1.1"), Some(shortest)), (text("1e3"), Some(thousand)), (text(beyond), None), (text("x"), None)],
            vec![(bytes(b"1.5"), Some("1.5"))],
        ]
    };
    let letters = |any_bytes: bool| {
        [
            vec![(Bool(true), Some("'true'"))],
            vec![(Int(-7), Some("'-7'")), (UInt(7), Some("'7'"))],
            vec![(Float(0.5), Some("'0.5'")), (Float(1e300), Some("'1e300'")), (Float(3.0), Some("'3'"))],
            vec![(moment(), Some("'1970-01-01T00:00:01.5Z'"))],
            vec![(text("it's"), Some("'it''s'")), (text("0123456789012345678901234"), None)],
            vec![(bytes(b"ab"), Some("'ab'")), (bytes(b"\xff\xfe"), any_bytes.then_some("?"))],
        ]
    };
    let binary = || {
        [
            no(Bool(true)),
            no(Int(1)),
            no(Float(1.5)),
            no(moment()),
            vec![
                (text("ab"), Some(r"'\x6162'")),
                (text(r"\x00fF"), Some(r"'\x00ff'")),
                (text(r"\x0"), None),
                (text(r"\xzz"), None),
            ],
            vec![(bytes(b"\x00\xff"), Some(r"'\x00ff'"))],
        ]
    };
    vec![
        (
            "BOOL",
            [
                vec![(Bool(true), Some("true"))],
                vec![(Int(0), Some("false")), (Int(1), Some("true")), (Int(2), None), (UInt(7), None)],
                vec![(Float(1.0), Some("true")), (Float(0.5), None)],
                no(moment()),
                vec![(text("TRUE"), Some("true")), (text(" 0"), Some("false")), (text("yes"), None)],
                vec![(bytes(b"false"), Some("false"))],
            ],
        ),
        ("TINYINT", integer("-128", "127", "128")),
        ("SMALLINT", integer("-32768", "32767", "-32769")),
        ("INT", integer("-2147483648", "2147483647", "2147483648")),
        ("BIGINT", integer("-9223372036854775808", "9223372036854775807", "9223372036854775808")),
        ("TINYINT UNSIGNED", integer("0", "255", "256")),
        ("SMALLINT UNSIGNED", integer("0", "65535", "-1")),
        ("INT UNSIGNED", integer("0", "4294967295", "4294967296")),
        ("BIGINT UNSIGNED", integer("0", "18446744073709551615", "18446744073709551616")),
        ("FLOAT", float(["1.1", "-7.0", "1000.0"], "3.5e38")),
        ("DOUBLE", float(["1.1", "-7", "1000"], "-1e400")),
        ("VARCHAR(24)", letters(true)),
        ("NCHAR(24)", letters(false)),
        ("VARBINARY(24)", binary()),
        ("BLOB", binary()),
        (
            "DECIMAL(10, 2)",
            [
                no(Bool(true)),
                vec![(Int(-7), Some("-7")), (Int(100_000_000), None)],
                vec![(Float(1.25), Some("1.25")), (Float(0.1 + 0.2), Some("0.30")), (Float(f64::NAN), None)],
                no(moment()),
                vec![
                    (text("12345678.905"), Some("12345678.91")),
                    (text("1.25e3"), Some("1250")),
                    (text("99999999.995"), None),
                    (text("1e999999999999999999999"), None),
                    (text("1e-999999999999999999999"), Some("0")),
                    (text("abc"), None),
                ],
                vec![(bytes(b"1.5"), Some("1.5"))],
            ],
        ),
        (
            "GEOMETRY(100)",
            [
                no(Bool(true)),
                no(Int(1)),
                no(Float(1.5)),
                no(moment()),
                vec![
                    (text("point(1 2)"), Some("'POINT(1 2")),
                    (text("0101000000000000000000f03f0000000000000040"), Some("'POINT(1 2")),
                    (text("nonsense"), None),
                    (text("POINT(1)"), None),
                    (text("LINESTRING(0 0)"), None),
                    (text("POLYGON((0 0,1 0,1 1))"), None),
                    (text("POINT(1 2) x"), None),
                ],
                vec![(bytes(&WKB_POINT), Some("'POINT(1 2")), (bytes(&[1, 1, 0]), None)],
            ],
        ),
        (
            "JSON",
            [
                no(Bool(true)),
                no(Int(1)),
                no(Float(1.5)),
                no(moment()),
                vec![
                    (text(r#"{"k": 1, "s": "x", "n": null}"#), Some(r#"'{"k": 1, "s": "x", "n": null}'"#)),
                    (text("{bad"), None),
                    (text("[1]"), None),
                    (text(r#"{"a":{}}"#), None),
                    (text(r#"{"ä":1}"#), None),
                ],
                vec![(bytes(br#"{"k":1}"#), Some(r#"'{"k":1}'"#))],
            ],
        ),
    ]
}

/// POINT(1 2) as a server was recorded to keep it.
const WKB_POINT: [u8; 21] = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40];

#[test]
fn every_cell_of_the_table_is_as_it_says() {
    let mut documented = Documented::read();
    for (name, cells) in table() {
        let data_type: DataType = name.parse().unwrap();
        for (kind, samples) in cells.iter().enumerate() {
            for (value, wanted) in samples {
                let got = stored(value, data_type);
                match wanted {
                    Some("?") => assert!(got.is_ok(), "{name} {value:?}: {got:?}"),
                    Some(wanted) => assert_eq!(got.as_deref(), Ok(*wanted), "{name} {value:?}"),
                    None => assert!(got.is_err(), "{name} {value:?} is stored as {got:?}"),
                }
            }
            let is_taken = samples.iter().any(|(_, wanted)| wanted.is_some());
            assert_eq!(documented.is_taken(name, kind), is_taken, "docs/types.md, {name}, column {kind}");
        }
    }
    assert!(documented.0.is_empty(), "docs/types.md has rows that nothing shows: {:?}", documented.0.keys());
}

/// The table of `docs/types.md`: of each type, which kinds it takes.
struct Documented(std::collections::BTreeMap<String, (usize, Vec<bool>)>);

impl Documented {
    fn read() -> Self {
        let page = include_str!("../../docs/types.md");
        let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| type")).flat_map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
            let takes: Vec<_> = cells[1..].iter().map(|cell| *cell != "–").collect();
            cells[0].split(", ").map(|name| (name.to_owned(), (6, takes.clone()))).collect::<Vec<_>>()
        });
        // Its cells go by unit and pattern: see the tests of `mapping::time`.
        Self(rows.filter(|(name, _)| name != "TIMESTAMP").collect())
    }

    fn is_taken(&mut self, name: &str, kind: usize) -> bool {
        let name = name.split('(').next().unwrap();
        let (left, takes) = self.0.get_mut(name).unwrap_or_else(|| panic!("docs/types.md lacks {name}"));
        *left -= 1;
        let is_taken = takes[kind];
        if *left == 0 {
            self.0.remove(name);
        }
        is_taken
    }
}

#[test]
fn nan_and_infinity_are_numbers_that_sql_cannot_say() {
    for name in ["NaN", "-inf", "Infinity"] {
        let Ok(Value::Float(number)) = to(&text(name), DataType::Double) else { panic!("{name}") };
        assert!(!number.is_finite());
        assert!(stored(&text(name), DataType::Float).unwrap_err().contains("only bound (write mode stmt2)"));
    }
}

#[test]
fn shapes_are_little_endian_whatever_they_were() {
    let wkb = |value: Value<'_>| match to(&value, DataType::Geometry(200)) {
        Ok(Value::Bytes(wkb)) => wkb.into_owned(),
        other => panic!("{other:?}"),
    };
    // As a server was recorded to keep them.
    let line = "01020000000200000000000000000000000000000000000000000000000000f03f000000000000f03f";
    assert_eq!(wkb(text("POINT(1 2)")), WKB_POINT);
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(wkb(text("LINESTRING(0 0, 1 1)"))), line);
    let mut big_endian = vec![0, 0, 0, 0, 1];
    big_endian.extend([1.0f64, 2.0].map(f64::to_be_bytes).concat());
    assert_eq!(wkb(bytes(&big_endian)), WKB_POINT);
    let collection = wkb(text("GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))"));
    assert_eq!(to_wkt(&collection).unwrap(), "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))");
}

#[test]
fn deep_shapes_are_refused_and_not_followed() {
    let deep = format!("{}POINT(1 2){}", "GEOMETRYCOLLECTION(".repeat(50_000), ")".repeat(50_000));
    assert!(stored(&text(&deep), DataType::Geometry(100)).is_err());
    let deep = [&[1, 7, 0, 0, 0, 1, 0, 0, 0][..]].concat().repeat(50_000);
    assert!(stored(&bytes(&deep), DataType::Geometry(100)).is_err());
}

#[test]
fn what_is_cut_stays_whole_characters() {
    let cut = |value: Value<'_>, data_type, limit| match truncated(&value, data_type, limit) {
        Value::Text(text) => text.into_owned().into_bytes(),
        Value::Bytes(bytes) => bytes.into_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cut(text("温度x"), DataType::Varchar(4), 4), "温".as_bytes());
    assert_eq!(cut(text("温度x"), DataType::NChar(2), 2), "温度".as_bytes());
    assert_eq!(cut(bytes(b"\xff\xfe\xfd"), DataType::VarBinary(2), 2), b"\xff\xfe");
    assert_eq!(cut(text("ab"), DataType::Varchar(4), 4), b"ab");
}

#[test]
fn bytes_are_written_in_three_ways() {
    let of = |text, written| bytes_of(text, written).map(Cow::into_owned);
    assert_eq!(of("00fF", BinaryText::Hex), Ok(vec![0, 255]));
    assert_eq!(of("_-8=", BinaryText::Base64), Ok(vec![255, 239]));
    assert_eq!(of("AP8=", BinaryText::Base64), Ok(vec![0, 255]));
    assert_eq!(of("00fF", BinaryText::Plain), Ok(b"00fF".to_vec()));
    assert!(
        of("0", BinaryText::Hex).is_err() && of("€", BinaryText::Hex).is_err() && of("*", BinaryText::Base64).is_err()
    );
}

/// `text` times 10^scale, rounded half away from zero, by numbers of 128 bits.
fn scaled(whole: i64, fraction: &str, scale: usize) -> i128 {
    let digits: String = fraction.chars().chain("0".repeat(20).chars()).take(20).collect();
    let unit = 10i128.pow(20);
    let all = i128::from(whole.unsigned_abs()) * unit + digits.parse::<i128>().unwrap();
    let cut = 10i128.pow(20 - scale as u32);
    let rounded = (all + cut / 2) / cut;
    if whole < 0 { -rounded } else { rounded }
}

proptest! {
    #[test]
    fn integers_survive_text_and_floats_within_their_range(number: i64, unsigned: u64) {
        let made = |written: &str, data_type| to(&text(written), data_type).map(Value::into_number);
        prop_assert_eq!(made(&number.to_string(), DataType::BigInt), Ok(number.into()));
        prop_assert_eq!(made(&unsigned.to_string(), DataType::BigIntUnsigned), Ok(unsigned.into()));
        let float = number as f64;
        match to(&Value::Float(float), DataType::BigInt) {
            Ok(value) => prop_assert_eq!(value.into_number(), float as i128),
            Err(error) => prop_assert!(false, "{error}"),
        }
    }

    #[test]
    fn floats_are_rounded_once(number: f64) {
        prop_assume!(number.is_finite());
        let written = format!("{number:e}");
        prop_assert!(matches!(to(&text(&written), DataType::Double), Ok(Value::Float(read)) if read == number));
        match to(&text(&written), DataType::Float) {
            Ok(Value::Float(narrow)) => prop_assert_eq!(narrow as f32, written.parse::<f32>().unwrap()),
            other => prop_assert!(other.is_err() && written.parse::<f32>().unwrap().is_infinite()),
        }
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero(
        whole in -999_999i64..=999_999,
        fraction in "[0-9]{0,12}",
        scale in 0u8..=6,
        shift in -8i32..=8,
    ) {
        prop_assume!(whole != 0);
        let plain = format!("{whole}.{fraction}");
        // The same number with its point elsewhere.
        let sign = if whole < 0 { "-" } else { "" };
        let digits = format!("{}{fraction}", whole.unsigned_abs());
        let point = whole.unsigned_abs().to_string().len() as i32 + shift;
        let moved = match point {
            ..=0 => format!("{sign}.{}{digits}e{}", "0".repeat(-point as usize), -shift),
            _ if point as usize >= digits.len() => {
                format!("{sign}{digits}{}e{}", "0".repeat(point as usize - digits.len()), -shift)
            }
            _ => format!("{sign}{}.{}e{}", &digits[..point as usize], &digits[point as usize..], -shift),
        };
        let wanted = scaled(whole, &fraction, scale.into());
        for written in [plain, moved] {
            let made = to(&text(&written), DataType::Decimal { precision: 18, scale }).unwrap().into_text();
            let (made_whole, made_fraction) = made.split_once('.').unwrap_or((&made, ""));
            prop_assert!(made_fraction.len() <= scale.into(), "{written} -> {made}");
            let padded = format!("{made_whole}{made_fraction:0<width$}", width = usize::from(scale));
            prop_assert_eq!(padded.parse::<i128>().unwrap(), wanted, "{} -> {}", written, made);
        }
    }

    #[test]
    fn no_text_breaks_a_conversion(written in "\\PC{0,40}|[-+0-9eE. ]{0,30}|(POINT|POLYGON)[ (),0-9.a-z]{0,30}") {
        for (name, _) in table() {
            let _ = stored(&text(&written), name.parse().unwrap());
            let _ = stored(&bytes(written.as_bytes()), name.parse().unwrap());
        }
    }

    #[test]
    fn no_bytes_break_a_shape(wkb in proptest::collection::vec(any::<u8>(), 0..60), kind in 1u8..8) {
        let _ = stored(&bytes(&wkb), DataType::Geometry(100));
        let begun = [&[1, kind, 0, 0, 0][..], &wkb].concat();
        let _ = stored(&bytes(&begun), DataType::Geometry(100));
    }
}

impl Value<'_> {
    fn into_number(self) -> i128 {
        match self {
            Value::Int(number) => number.into(),
            Value::UInt(number) => number.into(),
            other => panic!("{other:?}"),
        }
    }

    fn into_text(self) -> String {
        match self {
            Value::Text(text) => text.into_owned(),
            other => panic!("{other:?}"),
        }
    }
}
