//! What was written is read back by the server's rules: a small tokenizer for names, strings and numbers, and a
//! parser for `insert`.

use std::borrow::Cow;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::block::Block;
use crate::row::{Precision, TaosEncoder, Timestamp, Value};
use crate::tdengine::schema::{DataType, Field, SuperTable};

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Word(String),
    Text(Vec<u8>),
    Mark(u8),
}

fn tokens(sql: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b' ' => {}
            b'`' => {
                let (name, after) = quoted(rest, b'`', false);
                rest = after;
                tokens.push(Token::Name(String::from_utf8(name).unwrap()));
            }
            b'\'' => {
                let (text, after) = quoted(rest, b'\'', true);
                rest = after;
                tokens.push(Token::Text(text));
            }
            b'(' | b')' | b',' | b'.' => tokens.push(Token::Mark(first)),
            _ => {
                let more = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"_.+-".contains(b)).count();
                let word = [&[first], &rest[..more]].concat();
                rest = &rest[more..];
                tokens.push(Token::Word(String::from_utf8(word).unwrap()));
            }
        }
    }
    tokens
}

/// What stands before the closing quote, and what after it.
fn quoted(mut rest: &[u8], quote: u8, escapes: bool) -> (Vec<u8>, &[u8]) {
    let mut inside = Vec::new();
    loop {
        let (&byte, after) = rest.split_first().expect("the quote is closed");
        rest = after;
        assert_ne!(byte, 0, "a NUL would end the statement");
        if byte == quote {
            match rest.split_first() {
                Some((&next, after)) if next == quote => rest = after,
                _ => return (inside, rest),
            }
            inside.push(quote);
        } else if byte == b'\\' && escapes {
            let (&next, after) = rest.split_first().expect("something is escaped");
            rest = after;
            match next {
                b'n' => inside.push(b'\n'),
                b'r' => inside.push(b'\r'),
                b't' => inside.push(b'\t'),
                b'b' => inside.push(8),
                b'f' => inside.push(12),
                b'%' | b'_' | b'x' => inside.extend([b'\\', next]),
                other => inside.push(other),
            }
        } else {
            inside.push(byte);
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Inserted {
    table: Vec<String>,
    stable: Vec<String>,
    tag_names: Vec<String>,
    tags: Vec<Token>,
    columns: Vec<String>,
    values: Vec<Token>,
}

struct Parser(std::iter::Peekable<std::vec::IntoIter<Token>>);

impl Parser {
    fn take(&mut self, wanted: &Token) -> bool {
        self.0.next_if_eq(wanted).is_some()
    }

    fn word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.into()))
    }

    fn names(&mut self, between: u8) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(Token::Name(name)) = self.0.next_if(|token| matches!(token, Token::Name(_))) {
            names.push(name);
            if !self.take(&Token::Mark(between)) {
                break;
            }
        }
        names
    }

    fn name_list(&mut self) -> Vec<String> {
        if !self.take(&Token::Mark(b'(')) {
            return Vec::new();
        }
        let names = self.names(b',');
        assert!(self.take(&Token::Mark(b')')));
        names
    }

    fn list(&mut self) -> Option<Vec<Token>> {
        if !self.take(&Token::Mark(b'(')) {
            return None;
        }
        let mut list = Vec::new();
        while !self.take(&Token::Mark(b')')) {
            list.push(self.0.next().expect("the list is closed"));
            let comma = self.take(&Token::Mark(b','));
            assert_ne!(comma, self.0.peek() == Some(&Token::Mark(b')')));
        }
        Some(list)
    }
}

/// The rows of an insert, in their order.
fn parse(sql: &[u8]) -> Vec<Inserted> {
    let mut parser = Parser(tokens(sql).into_iter().peekable());
    assert!(parser.word("insert") && parser.word("into"));
    let mut rows = Vec::new();
    while parser.0.peek().is_some() {
        let mut head = Inserted { table: parser.names(b'.'), ..Inserted::default() };
        if parser.word("using") {
            head.stable = parser.names(b'.');
            head.tag_names = parser.name_list();
            assert!(parser.word("tags"));
            head.tags = parser.list().unwrap();
        }
        head.columns = parser.name_list();
        assert!(parser.word("values"), "{}", String::from_utf8_lossy(sql));
        let before = rows.len();
        while let Some(values) = parser.list() {
            rows.push(Inserted { values, ..head.clone() });
        }
        assert!(rows.len() > before, "a head has rows");
    }
    rows
}

/// A record that says whatever a test wants.
#[derive(Clone, Debug)]
struct Free {
    table: String,
    tag: Value<'static>,
    values: Vec<Value<'static>>,
    named: bool,
}

impl TaosEncoder for Free {
    fn database(&self) -> Option<&str> {
        Some("po`wer")
    }
    fn super_table(&self) -> Option<&str> {
        Some("meters")
    }
    fn table(&self) -> Cow<'_, str> {
        self.table.as_str().into()
    }
    fn tag_names(&self) -> Vec<Cow<'_, str>> {
        vec!["site".into()]
    }
    fn tags<'a>(&'a self, put: &mut dyn FnMut(Value<'a>)) {
        put(self.tag.clone());
    }
    fn column_names(&self) -> Vec<Cow<'_, str>> {
        let names = ["ts", "a", "b", "c"].into_iter().take(self.values.len());
        if self.named { names.map(Cow::from).collect() } else { Vec::new() }
    }
    fn values<'a>(&'a self, put: &mut dyn FnMut(Value<'a>)) {
        self.values.iter().for_each(|value| put(value.clone()));
    }
}

fn free(table: &str, ts: i64, values: &[Value<'static>]) -> Free {
    let values = std::iter::once(Value::Int(ts)).chain(values.iter().cloned()).collect();
    Free { table: table.into(), tag: Value::Int(1), values, named: true }
}

fn text(sql: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(sql)
}

#[test]
fn rows_of_a_table_stand_under_one_head() {
    let records = [
        free("d1", 1, &[Value::Bool(true)]),
        free("d2", 1, &[Value::Null]),
        free("d1", 2, &[Value::Float(0.5)]),
        free("d1", 3, &[Value::Unset]),
    ];
    let statements = to_taos_batch_insert_sql(&records, Precision::Milli, MAX_STATEMENT_BYTES).unwrap();
    assert_eq!(statements.len(), 1);
    assert_eq!(statements[0].rows, [0, 2, 1, 3]);
    assert_eq!(
        text(&statements[0].sql),
        "insert into `po``wer`.`d1` using `po``wer`.`meters` (`site`) tags (1) (`ts`,`a`) values (1,true)(2,0.5) \
         `po``wer`.`d2` using `po``wer`.`meters` (`site`) tags (1) (`ts`,`a`) values (1,NULL) \
         `po``wer`.`d1` using `po``wer`.`meters` (`site`) tags (1) (`ts`) values (3)"
    );
}

#[test]
fn a_key_that_comes_again_stands_in_a_later_statement() {
    let records = [free("d1", 1, &[Value::Int(7)]), free("d2", 1, &[]), free("d1", 1, &[Value::Null])];
    let statements = to_taos_batch_insert_sql(&records, Precision::Milli, MAX_STATEMENT_BYTES).unwrap();
    let rows: Vec<_> = statements.iter().map(|statement| statement.rows.clone()).collect();
    assert_eq!(rows, [vec![0, 1], vec![2]]);
}

#[test]
fn what_sql_cannot_express_names_its_place() {
    let fault = |record: Free| to_taos_insert_sql(&record, Precision::Nano).unwrap_err().to_string();
    assert_eq!(
        fault(free("d1", 1, &[Value::Null, "a\0".into()])),
        "table \"d1\", b: text with a NUL cannot be written in SQL, only bound (write mode stmt2)"
    );
    assert!(fault(free("d1", 1, &[Value::Float(f64::NAN)])).contains("a: NaN"));
    assert!(fault(free("d1", 1, &[Value::Float(4e-324)])).contains("a: a number below"));
    assert!(fault(free("d1", 1, &[Value::from(&[0u8][..])])).contains("through a block"));
    assert!(fault(free("d1", 1, &[Timestamp::new(i64::MAX, 0).into()])).contains("64 bits in ns"));
    assert!(fault(free("d.1", 1, &[])).contains("holds a '.'"));
    assert!(fault(Free { named: false, ..free("d1", 1, &[Value::Unset]) }).contains("must name its columns"));
    assert!(
        fault(free("d1", 1, &[Value::Null, Value::Null, Value::Null, Value::Null])).contains("4 columns and has 5")
    );
    let error = to_taos_batch_insert_sql(&[free("d1", 1, &[]), free("", 1, &[])], Precision::Milli, 1000).unwrap_err();
    assert_eq!(error.record, 1);
}

#[test]
fn the_limit_is_kept_to_the_byte() {
    let records = [free("d1", 1, &[Value::Int(7)]), free("d1", 2, &[Value::Int(7)])];
    let both = to_taos_batch_insert_sql(&records, Precision::Milli, MAX_STATEMENT_BYTES).unwrap();
    let one = to_taos_insert_sql(&records[0], Precision::Milli).unwrap();
    let length = both[0].sql.len();
    assert_eq!(to_taos_batch_insert_sql(&records, Precision::Milli, length).unwrap(), both);
    let split = to_taos_batch_insert_sql(&records, Precision::Milli, length - 1).unwrap();
    assert_eq!((split.len(), &split[0].sql, &split[1].rows), (2, &one, &vec![1]));
    assert_eq!(to_taos_batch_insert_sql(&records, Precision::Milli, one.len()).unwrap(), split);
    let error = to_taos_batch_insert_sql(&records, Precision::Milli, one.len() - 1).unwrap_err();
    let limit = format!("this row alone has {} bytes, the limit is {}", one.len(), one.len() - 1);
    assert!(error.to_string().ends_with(&limit), "{error}");
}

fn value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        Just(Value::Unset),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::UInt),
        any::<f64>().prop_map(Value::Float),
        any::<i64>().prop_map(|units| Value::Timestamp(Timestamp::from_units(units, Precision::Micro))),
        string().prop_map(|text| Value::Text(text.into())),
        bytes().prop_map(|bytes| Value::Bytes(bytes.into())),
    ]
}

/// With all that quoting could trip over.
fn string() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z'\"\\\\%_x`\n\r\t,()é温🌡]{0,12}", any::<String>()]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        string().prop_map(String::into_bytes),
        "\\\\x[0-9a-f]{0,8}".prop_map(String::into_bytes),
    ]
}

/// Whether `token` is what the server reads as `value`.
fn reads_as(token: &Token, value: &Value<'_>) -> bool {
    match (token, value) {
        (Token::Word(word), Value::Null) => word == "NULL",
        (Token::Word(word), Value::Bool(truth)) => word.parse() == Ok(*truth),
        (Token::Word(word), Value::Int(number)) => word.parse() == Ok(*number),
        (Token::Word(word), Value::UInt(number)) => word.parse() == Ok(*number),
        (Token::Word(word), Value::Float(number)) => {
            word.parse::<f64>().is_ok_and(|read| read.to_bits() == number.to_bits())
        }
        (Token::Word(word), Value::Timestamp(moment)) => word.parse().ok() == moment.in_units(Precision::Micro),
        (Token::Text(text), Value::Text(value)) => text == value.as_bytes(),
        (Token::Text(text), Value::Bytes(value)) => text == value.as_ref(),
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_record_reads_back(table in "[a-z`'\" 温]{1,8}", tag in value(), values in proptest::collection::vec(value(), 0..4)) {
        let record = Free { tag, ..free(&table, 5, &values) };
        let writable = |value: &Value<'_>| match value {
            Value::Float(number) => number.is_finite() && !number.is_subnormal(),
            Value::Text(text) => !text.contains('\0'),
            Value::Bytes(bytes) => !bytes.contains(&0),
            _ => true,
        };
        let sql = to_taos_insert_sql(&record, Precision::Micro);
        prop_assert_eq!(sql.is_ok(), record.values.iter().chain([&record.tag]).all(writable));
        let Ok(sql) = sql else { return Ok(()) };
        let rows = parse(&sql);
        prop_assert_eq!(rows.len(), 1);
        prop_assert_eq!(&rows[0].table, &["po`wer".to_owned(), table]);
        if !matches!(record.tag, Value::Unset) {
            prop_assert!(reads_as(&rows[0].tags[0], &record.tag));
        }
        let names = record.column_names();
        let set: Vec<_> = names.iter().zip(&record.values).filter(|(_, v)| !matches!(v, Value::Unset)).collect();
        prop_assert_eq!(&rows[0].columns, &set.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
        for (token, (_, value)) in rows[0].values.iter().zip(&set) {
            prop_assert!(reads_as(token, value), "{:?} {:?}", token, value);
        }
    }

    #[test]
    fn a_batch_holds_every_record_once_and_keys_in_order(
        keys in proptest::collection::vec((0u8..3, 0i64..20, prop_oneof![Just(Value::Unset), Just(Value::Int(1))]), 0..60),
        max_bytes in 120usize..600,
    ) {
        let records: Vec<_> =
            keys.iter().map(|(table, ts, value)| free(&format!("d{table}"), *ts, std::slice::from_ref(value))).collect();
        let statements = to_taos_batch_insert_sql(&records, Precision::Milli, max_bytes).unwrap();
        let mut written = Vec::<u32>::new();
        for statement in &statements {
            prop_assert!(statement.sql.len() <= max_bytes);
            let rows = parse(&statement.sql);
            prop_assert_eq!(rows.len(), statement.rows.len());
            let mut seen = std::collections::HashSet::new();
            for (row, &place) in rows.iter().zip(&statement.rows) {
                let record = &records[place as usize];
                prop_assert_eq!(&row.table[1], &record.table);
                prop_assert!(reads_as(&row.values[0], &record.values[0]));
                let new_key = seen.insert((row.table.clone(), format!("{:?}", row.values[0])));
                prop_assert!(new_key);
            }
            written.extend(&statement.rows);
        }
        for key in written.iter().map(|&place| &keys[place as usize]) {
            let of_key: Vec<_> = written.iter().filter(|&&place| {
                let other = &keys[place as usize];
                (other.0, other.1) == (key.0, key.1)
            }).collect();
            prop_assert!(of_key.is_sorted());
        }
        written.sort_unstable();
        prop_assert_eq!(written, (0..records.len() as u32).collect::<Vec<_>>());
    }
}

/// A column of every type.
fn every_type() -> Arc<SuperTable> {
    let types = [
        DataType::Bool,
        DataType::TinyInt,
        DataType::SmallInt,
        DataType::Int,
        DataType::BigInt,
        DataType::TinyIntUnsigned,
        DataType::SmallIntUnsigned,
        DataType::IntUnsigned,
        DataType::BigIntUnsigned,
        DataType::Float,
        DataType::Double,
        DataType::Timestamp,
        DataType::Varchar(200),
        DataType::NChar(200),
        DataType::VarBinary(200),
        DataType::Decimal { precision: 30, scale: 5 },
        DataType::Blob,
        DataType::Geometry(100),
    ];
    let columns = types.iter().enumerate().map(|(at, data_type)| Field::new(format!("c{at}"), *data_type));
    Arc::new(SuperTable {
        database: "power".into(),
        name: "meters".into(),
        precision: Precision::Micro,
        columns: std::iter::once(Field::new("ts", DataType::Timestamp)).chain(columns).collect(),
        composite_key: false,
        tags: vec![Field::new("site", DataType::NChar(24)), Field::new("info", DataType::Json)],
    })
}

/// A row: table, then a value for each column, of the kind that its type takes.
fn row() -> impl Strategy<Value = (u8, Vec<Value<'static>>)> {
    let decimal = "-?[0-9]{1,25}(\\.[0-9]{0,5})?".prop_map(|digits| Value::Text(digits.into()));
    let values = (
        any::<[i8; 2]>(),
        any::<(i16, i32, i64, u8, u16)>(),
        any::<(u32, u64, f32, f64, i64)>(),
        (string(), string(), bytes(), bytes()),
        decimal,
    );
    let values = values.prop_map(|([bit, tiny], (small, int, big, utiny, usmall), n, (a, b, c, d), decimal)| {
        let (uint, ubig, float, double, ts) = n;
        vec![
            Value::Bool(bit < 0),
            tiny.into(),
            small.into(),
            int.into(),
            big.into(),
            utiny.into(),
            usmall.into(),
            uint.into(),
            ubig.into(),
            float.into(),
            double.into(),
            Value::Int(ts),
            Value::Text(a.into()),
            Value::Text(b.into()),
            Value::Bytes(c.into()),
            decimal,
            Value::Bytes(d.into()),
            Value::Unset,
        ]
    });
    // Most cells hold a value; each row has its own NULLs, and one of two sets of columns without any.
    (0u8..3, values, proptest::collection::vec(0u8..8, 18), any::<bool>()).prop_map(|(table, mut values, null, few)| {
        for (at, value) in values.iter_mut().enumerate() {
            if null[at] == 0 {
                *value = Value::Null;
            } else if few && at % 3 == 0 {
                *value = Value::Unset;
            }
        }
        (table, values)
    })
}

fn from_hex(literal: &[u8]) -> Vec<u8> {
    let digits = literal.strip_prefix(br"\x").expect("hexadecimal");
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// As the server stores the literal in a column of `data_type`.
fn stored(token: &Token, data_type: DataType) -> Vec<u8> {
    let word = || match token {
        Token::Word(word) => word.clone(),
        other => panic!("{other:?} for {data_type}"),
    };
    let string = || match token {
        Token::Text(text) => text.clone(),
        other => panic!("{other:?} for {data_type}"),
    };
    macro_rules! number {
        ($t:ty) => {
            word().parse::<$t>().unwrap().to_le_bytes().to_vec()
        };
    }
    match data_type {
        DataType::Bool => vec![word().parse::<bool>().unwrap().into()],
        DataType::TinyInt => number!(i8),
        DataType::SmallInt => number!(i16),
        DataType::Int => number!(i32),
        DataType::BigInt | DataType::Timestamp => number!(i64),
        DataType::TinyIntUnsigned => number!(u8),
        DataType::SmallIntUnsigned => number!(u16),
        DataType::IntUnsigned => number!(u32),
        DataType::BigIntUnsigned => number!(u64),
        DataType::Double => number!(f64),
        DataType::Float => {
            let wide: f64 = word().parse().unwrap();
            assert!(wide.abs() <= f32::MAX.into());
            (wide as f32).to_le_bytes().to_vec()
        }
        DataType::VarBinary(_) | DataType::Blob => from_hex(&string()),
        DataType::Decimal { .. } => word().into_bytes(),
        _ => string(),
    }
}

proptest! {
    #[test]
    fn a_block_reads_back(rows in proptest::collection::vec(row(), 0..12), max_bytes in 1200usize..5000) {
        let schema = every_type();
        let mut block = Block::new(Arc::clone(&schema));
        for (at, (table, values)) in rows.iter().enumerate() {
            let mut row = block.row(&format!("d'{table}"), 0).unwrap();
            row.set_tag(0, &Value::from("温'\\")).unwrap();
            row.set_tag(1, &Value::from(r#"{"a":"\"b'"}"#)).unwrap();
            row.set(0, &Value::Int(at as i64)).unwrap();
            for (column, value) in values.iter().enumerate() {
                row.set(column + 1, value).unwrap();
            }
            row.finish().unwrap();
        }
        let order = block.order().rows;
        let mut statements = Vec::new();
        let faults = block_statements(&block, &order, max_bytes, &mut statements);

        let mut placed: Vec<u32> = faults.iter().map(|(row, _)| *row).collect();
        for statement in &statements {
            prop_assert!(statement.sql.len() <= max_bytes);
            let parsed = parse(&statement.sql);
            prop_assert_eq!(parsed.len(), statement.rows.len());
            for (inserted, &row) in parsed.iter().zip(&statement.rows) {
                placed.push(row);
                prop_assert_eq!(&inserted.table[1], block.table_name(block.table_of(row)));
                prop_assert_eq!(&inserted.tag_names, &["site", "info"]);
                let tags = [Token::Text("温'\\".into()), Token::Text(br#"{"a":"\"b'"}"#.to_vec())];
                prop_assert_eq!(&inserted.tags, &tags);
                let set: Vec<_> = schema.columns.iter().zip(block.columns())
                    .filter(|(_, column)| column.flags[row as usize] != crate::block::UNSET)
                    .collect();
                prop_assert_eq!(&inserted.columns, &set.iter().map(|(field, _)| field.name.clone()).collect::<Vec<_>>());
                for (token, (field, column)) in inserted.values.iter().zip(set) {
                    if column.flags[row as usize] == crate::block::NULL {
                        prop_assert_eq!(token, &Token::Word("NULL".into()));
                    } else {
                        prop_assert_eq!(stored(token, field.data_type), column.bytes(row as usize), "{:?}", field);
                    }
                }
            }
        }
        placed.sort_unstable();
        prop_assert_eq!(placed, (0..rows.len() as u32).collect::<Vec<_>>());
        for (row, fault) in faults {
            let values = &rows[row as usize].1;
            let unwritable = values.iter().any(|value| match value {
                Value::Float(number) => !number.is_finite() || number.is_subnormal(),
                Value::Text(text) => text.contains('\0'),
                _ => false,
            });
            prop_assert!(unwritable || matches!(fault, SqlFault::RowTooLong { .. }), "{fault}");
        }
    }
}

#[test]
fn rows_that_only_a_bind_can_write_do_not_hold_up_the_others() {
    let mut block = Block::new(every_type());
    let mut push = |ts: i64, column: usize, value: Value<'_>, tag: Value<'_>| {
        let mut row = block.row(if tag == Value::Null { "d1" } else { "d2" }, 0).unwrap();
        row.set_tag(0, &tag).unwrap();
        row.set(0, &Value::Int(ts)).unwrap();
        row.set(column, &value).unwrap();
        row.finish().unwrap();
    };
    push(0, 10, Value::Float(f64::INFINITY), Value::Null);
    push(1, 10, Value::Float(1.0), Value::Null);
    push(2, 18, Value::Bytes(vec![1, 1].into()), Value::Null);
    push(3, 13, Value::from("a\0b"), Value::Null);
    push(4, 10, Value::Float(f32::MAX.into()), Value::Null);
    push(5, 10, Value::Float(1.0), Value::from("\0"));
    let order = block.order().rows;
    let mut statements = Vec::new();
    let faults = block_statements(&block, &order, MAX_STATEMENT_BYTES, &mut statements);
    let reasons: Vec<_> = faults.iter().map(|(row, fault)| (*row, fault.to_string())).collect();
    assert_eq!(reasons.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 2, 3, 5]);
    assert!(reasons[0].1.starts_with("table \"d1\", c9: NaN and infinity"), "{reasons:?}");
    assert!(reasons[1].1.contains("c17: bytes that are no shape"), "{reasons:?}");
    assert!(reasons[2].1.contains("c12: text with a NUL"), "{reasons:?}");
    assert!(reasons[3].1.contains("\"d2\", site: text with a NUL"), "{reasons:?}");
    assert_eq!((statements.len(), &statements[0].rows), (1, &vec![1, 4]));
    // Its shortest text, 3.4028235e38, is beyond the limit that the server checks.
    assert!(text(&statements[0].sql).contains("3.4028234663852886e38"));
}

/// `cargo test --release -p kafka-taos --lib speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn speed_of_statements() {
    let simulator = crate::simulate::Simulator::new(Timestamp::from_millis(1_626_424_457_000));
    let records: Vec<_> = (0..10_000).map(|index| simulator.record(index % 100, index / 100)).collect();
    let begin = std::time::Instant::now();
    let by_record = to_taos_batch_insert_sql(&records, Precision::Milli, MAX_STATEMENT_BYTES).unwrap();
    println!("from records: {:.0} ns a row", begin.elapsed().as_nanos() as f64 / 10e3);

    let mut block = Block::new(Arc::new(simulator.super_table(Precision::Milli)));
    let places = crate::block::Places::default();
    records.iter().for_each(|record| block.push(record, &places, 0).unwrap());
    let order = block.order().rows;
    let mut statements = Vec::new();
    let begin = std::time::Instant::now();
    assert_eq!(block_statements(&block, &order, MAX_STATEMENT_BYTES, &mut statements), []);
    println!("from a block: {:.0} ns a row", begin.elapsed().as_nanos() as f64 / 10e3);
    println!("{} and {} statements", by_record.len(), statements.len());
}
