//! What `#[derive(TaosEncoder)]` says of a struct, and the whole way of a user's own record.

use std::borrow::Cow;

use kafka_taos::block::{Block, Places};
use kafka_taos::codec::{Codec, Format};
use kafka_taos::encode::sql::{MAX_STATEMENT_BYTES, block_statements, to_taos_batch_insert_sql};
use kafka_taos::row::{Precision, TaosEncoder, Timestamp, Value};
use kafka_taos::tdengine::schema::{DataType, Field, SuperTable};
use serde::{Deserialize, Serialize};

fn tags<'r>(record: &'r impl TaosEncoder) -> Vec<Value<'r>> {
    let mut values = Vec::new();
    record.tags(&mut |value| values.push(value));
    values
}

fn values<'r>(record: &'r impl TaosEncoder) -> Vec<Value<'r>> {
    let mut values = Vec::new();
    record.values(&mut |value| values.push(value));
    values
}

#[derive(TaosEncoder)]
#[taos(super_table = "st", table = "{{{type}}}_{id}_{{}}")]
struct Everything<'a, const N: usize> {
    small: u8,
    #[taos(timestamp)]
    moment: Timestamp,
    #[taos(tag, name = "kind")]
    r#type: &'a str,
    text: Cow<'a, str>,
    bytes: Vec<u8>,
    maybe: Option<String>,
    nothing: Option<i64>,
    kept: Value<'static>,
    #[taos(tag)]
    id: u64,
    #[taos(skip)]
    #[allow(dead_code)]
    other: [std::time::Instant; N],
}

#[test]
fn fields_of_every_kind_are_handed_out_in_order_the_timestamp_first() {
    let moment = Timestamp::new(5, 6);
    let record = Everything::<0> {
        small: 7,
        moment,
        r#type: "a",
        text: "b".into(),
        bytes: vec![0, 1],
        maybe: Some("c".into()),
        nothing: None,
        kept: Value::Unset,
        id: u64::MAX,
        other: [],
    };
    assert_eq!((record.database(), record.super_table()), (None, Some("st")));
    assert_eq!(record.table(), format!("{{a}}_{}_{{}}", u64::MAX));
    assert_eq!(record.tag_names(), ["kind", "id"]);
    assert_eq!(tags(&record), [Value::from("a"), Value::UInt(u64::MAX)]);
    assert_eq!(record.column_names(), ["moment", "small", "text", "bytes", "maybe", "nothing", "kept"]);
    let expected = [
        Value::Timestamp(moment),
        Value::Int(7),
        Value::from("b"),
        Value::from(&[0u8, 1][..]),
        Value::from("c"),
        Value::Null,
        Value::Unset,
    ];
    assert_eq!(values(&record), expected);
}

#[test]
fn a_name_that_is_a_field_alone_is_borrowed() {
    #[derive(TaosEncoder)]
    #[taos(table = "{device}")]
    struct Plain {
        #[taos(skip)]
        device: String,
        #[taos(timestamp = "s")]
        at: u32,
    }
    let plain = Plain { device: "d1".into(), at: 7 };
    assert!(matches!(plain.table(), Cow::Borrowed("d1")));
    assert_eq!((plain.super_table(), plain.tag_names().len(), tags(&plain).len()), (None, 0, 0));
    assert_eq!(values(&plain), [Value::Timestamp(Timestamp::new(7, 0))]);
}

#[derive(Debug, PartialEq, Serialize, Deserialize, TaosEncoder)]
#[taos(database = "power", super_table = "meters", table = "d_{device}")]
struct Reading {
    #[taos(skip)]
    device: String,
    #[taos(timestamp = "ms")]
    ts: i64,
    current: f32,
    voltage: i32,
    #[taos(tag, name = "groupid")]
    group: i32,
    #[taos(tag)]
    location: String,
}

impl Codec for Reading {
    const FORMAT: Format = Format::Json;
    fn key(&self) -> Cow<'_, [u8]> {
        self.device.as_bytes().into()
    }
}

#[test]
fn a_users_record_goes_from_its_message_to_sql_by_both_ways() {
    let payload =
        br#"{"device":"d1001","ts":1764547200000,"current":10.3,"voltage":219,"group":2,"location":"San Jos'e"}"#;
    let reading = Reading::decode(payload).unwrap();
    assert_eq!(reading.encode().unwrap(), payload);

    let schema = SuperTable {
        database: "power".into(),
        name: "meters".into(),
        precision: Precision::Micro,
        columns: vec![
            Field::new("ts", DataType::Timestamp),
            Field::new("voltage", DataType::Int),
            Field::new("current", DataType::Float),
        ],
        composite_key: false,
        tags: vec![Field::new("location", DataType::Varchar(24)), Field::new("groupid", DataType::Int)],
    };
    let places = Places::of(&reading, &schema).unwrap();
    let mut block = Block::new(schema.into());
    block.push(&reading, &places, 0).unwrap();
    let rows = block.order().rows;
    let mut statements = Vec::new();
    assert_eq!(block_statements(&block, &rows, MAX_STATEMENT_BYTES, &mut statements), []);
    assert_eq!(
        String::from_utf8_lossy(&statements[0].sql),
        "insert into `power`.`d_d1001` using `power`.`meters` (`location`,`groupid`) tags ('San Jos''e',2) \
         (`ts`,`voltage`,`current`) values (1764547200000000,219,10.3)"
    );

    let statements = to_taos_batch_insert_sql(&[reading], Precision::Micro, MAX_STATEMENT_BYTES).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&statements[0].sql),
        "insert into `power`.`d_d1001` using `power`.`meters` (`groupid`,`location`) tags (2,'San Jos''e') \
         (`ts`,`current`,`voltage`) values (1764547200000000,10.300000190734863,219)"
    );
}
