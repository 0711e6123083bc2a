//! The writer against a server: the embedded endpoint, and a real TDengine too where `KAFKA_TAOS_TEST_TDENGINE` names one
//! (`ws://USER:PASSWORD@HOST:PORT`). Databases of its own are made and dropped.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kafka_taos::block::Block;
use kafka_taos::convert;
use kafka_taos::row::{Precision, Timestamp, Value};
use kafka_taos::tdengine::schema::{DataType, Field, SuperTable};
use kafka_taos::tdengine::{Class, ConnectOptions, Connection, Dsn, Sql as _, TaosStore, WriteMode};
use kafka_taos::worker::{Store as _, Writer as _};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};

const BASE_MS: i64 = 1_764_547_200_000;

/// A server, and what keeps it up.
struct Server {
    dsn: Dsn,
    _endpoint: Option<Endpoint>,
}

async fn servers() -> Vec<Server> {
    let endpoint = Endpoint::start(EndpointConfig::default()).await.unwrap();
    let dsn = format!("ws://root:taosdata@{}", endpoint.address()).parse().unwrap();
    let mut servers = vec![Server { dsn, _endpoint: Some(endpoint) }];
    if let Ok(url) = std::env::var("KAFKA_TAOS_TEST_TDENGINE") {
        servers.push(Server { dsn: url.parse().expect("KAFKA_TAOS_TEST_TDENGINE"), _endpoint: None });
    }
    servers
}

/// A super table with a column of every type that SQL can write too.
fn stable(database: &str, precision: Precision) -> SuperTable {
    let columns = [
        ("ts", DataType::Timestamp),
        ("truth", DataType::Bool),
        ("tiny", DataType::TinyInt),
        ("small", DataType::SmallInt),
        ("whole", DataType::Int),
        ("big", DataType::BigInt),
        ("utiny", DataType::TinyIntUnsigned),
        ("usmall", DataType::SmallIntUnsigned),
        ("uwhole", DataType::IntUnsigned),
        ("ubig", DataType::BigIntUnsigned),
        ("single", DataType::Float),
        ("twice", DataType::Double),
        ("bytes", DataType::Varchar(20)),
        ("letters", DataType::NChar(20)),
        ("raw", DataType::VarBinary(20)),
        ("moment", DataType::Timestamp),
    ];
    SuperTable {
        database: database.to_owned(),
        name: "All Types".into(),
        precision,
        columns: columns.map(|(name, data_type)| Field::new(name, data_type)).to_vec(),
        composite_key: false,
        tags: vec![Field::new("site", DataType::NChar(8)), Field::new("line", DataType::Int)],
    }
}

fn values(row: i64, precision: Precision) -> Vec<Value<'static>> {
    let moment = Timestamp::from_millis(BASE_MS + row);
    let extreme = row % 2 == 0;
    vec![
        moment.into(),
        extreme.into(),
        (if extreme { i8::MIN } else { i8::MAX }).into(),
        (if extreme { i16::MIN } else { i16::MAX }).into(),
        (if extreme { i32::MIN } else { i32::MAX }).into(),
        (if extreme { i64::MIN + 1 } else { i64::MAX }).into(),
        (if extreme { 0 } else { u8::MAX }).into(),
        (if extreme { 0 } else { u16::MAX }).into(),
        (if extreme { 0 } else { u32::MAX }).into(),
        (if extreme { 0 } else { u64::MAX }).into(),
        1.5_f32.into(),
        (-0.1_f64).into(),
        "it's a \\ 'quote'".into(),
        "温度 🌡".into(),
        Value::Bytes(b"\x00\xff'\\"[..].into()),
        if extreme { Value::Null } else { Timestamp::from_units(-5, precision).into() },
    ]
}

async fn connection(server: &Server) -> Connection {
    Connection::connect(&server.dsn, None, 0, &ConnectOptions::default()).await.unwrap()
}

async fn fresh(connection: &Connection, database: &str, precision: Precision) {
    connection.sql(&format!("drop database if exists {database}")).await.unwrap();
    connection.sql(&format!("create database {database} precision '{precision}'")).await.unwrap();
    connection.sql(&stable(database, precision).create_statement()).await.unwrap();
}

async fn write(store: &TaosStore, block: &mut Block) -> Result<(), Class> {
    let order = block.order();
    let (mut spare, mut parts) = (Vec::new(), Vec::new());
    assert_eq!(store.encode(block, &order.rows, &mut spare, &mut parts), []);
    let mut writer = store.writer();
    for part in &mut parts {
        writer.write(block.schema(), part).await.map_err(|error| error.class())?;
    }
    Ok(())
}

fn push(block: &mut Block, table: &str, values: &[Value<'_>]) {
    let origin = block.rows() as u32;
    let mut row = block.row(table, origin).unwrap();
    row.set_tag(0, &"温室".into()).unwrap();
    row.set_tag(1, &Value::Null).unwrap();
    for (column, value) in values.iter().enumerate() {
        row.set(column, value).unwrap();
    }
    row.finish().unwrap();
}

/// Once written to, a child table is bound without its tags, in either way of binding; dropped meanwhile, it is made again.
#[tokio::test]
async fn known_tables_are_not_made_again_unless_they_are_gone() {
    for server in servers().await {
        let connection = connection(&server).await;
        let database = "writer_known";
        fresh(&connection, database, Precision::Milli).await;
        let store = TaosStore::new(server.dsn.clone(), WriteMode::Stmt2, ConnectOptions::default());
        let schema = Arc::new(store.read_schema(database, "All Types").await.unwrap());
        let mut writer = store.writer();
        for (round, rows_a_table) in [(0, 1), (1, 1), (2, 9), (3, 1), (4, 9)] {
            if round > 2 {
                connection.sql(&format!("drop table {database}.`Table 1`")).await.unwrap();
            }
            let mut block = Block::new(schema.clone());
            for row in 0..2 * rows_a_table {
                push(&mut block, &format!("Table {}", row % 2), &values(round * 100 + row, Precision::Milli));
            }
            let (rows, mut parts) = (block.order().rows, Vec::new());
            assert_eq!(store.encode(&block, &rows, &mut Vec::new(), &mut parts), []);
            assert_eq!(parts[0].makes_tables, round == 0);
            if round > 2 {
                assert!(writer.write(&schema, &mut parts[0]).await.unwrap_err().is_missing_table());
                store.forget(&block, &parts[0]);
                parts.clear();
                assert_eq!(store.encode(&block, &rows, &mut Vec::new(), &mut parts), []);
                assert!(parts[0].makes_tables);
            }
            writer.write(&schema, &mut parts[0]).await.unwrap();
            store.written(&block, &parts[0]);
            let sql = format!("select count(*) from {database}.`Table 1` where ts >= {}", BASE_MS + round * 100);
            let count = connection.sql(&sql).await.unwrap();
            assert_eq!(count.rows[0][0], Value::Int(rows_a_table), "round {round}");
        }
    }
}

#[tokio::test]
async fn every_type_arrives_in_every_mode_and_precision() {
    for server in servers().await {
        let connection = connection(&server).await;
        for (mode, precision) in [
            (WriteMode::Stmt2, Precision::Milli),
            (WriteMode::Stmt2, Precision::Nano),
            (WriteMode::Sql, Precision::Milli),
            (WriteMode::Sql, Precision::Micro),
            (WriteMode::Rest, Precision::Milli),
        ] {
            let database = format!("writer_{mode}_{precision}");
            fresh(&connection, &database, precision).await;
            let store = TaosStore::new(server.dsn.clone(), mode, ConnectOptions::default());
            let schema = store.read_schema(&database, "All Types").await.unwrap();
            assert_eq!(schema, stable(&database, precision));
            let mut block = Block::new(Arc::new(schema));
            for row in 0..200 {
                push(&mut block, &format!("Table {}", row % 7), &values(row, precision));
            }
            write(&store, &mut block).await.unwrap();
            let sql = format!("select * from {database}.`All Types` order by ts");
            let stored = connection.sql(&sql).await.unwrap();
            assert_eq!(stored.rows.len(), 200, "{database}");
            for (row, cells) in stored.rows.iter().enumerate() {
                let mut wanted = values(row as i64, precision);
                wanted.extend(["温室".into(), Value::Null]);
                for (column, (stored, wanted)) in cells.iter().zip(&wanted).enumerate() {
                    let same = match (stored, wanted) {
                        (Value::UInt(a), Value::Int(b)) => i64::try_from(*a) == Ok(*b),
                        (Value::Bytes(a), Value::Text(b)) => **a == *b.as_bytes(),
                        (Value::Text(a), Value::Bytes(b)) => *a.as_bytes() == **b,
                        (a, b) => a == b,
                    };
                    assert!(same, "{database} row {row} column {column}: {stored:?} is not {wanted:?}");
                }
            }
            connection.sql(&format!("drop database {database}")).await.unwrap();
        }
    }
}

/// What messages have as text, into the types that no number or text stands for.
#[tokio::test]
async fn shapes_decimals_blobs_and_json_tags_arrive_in_every_mode() {
    const COLUMNS: [(&str, DataType); 4] = [
        ("shape", DataType::Geometry(200)),
        ("price", DataType::Decimal { precision: 10, scale: 2 }),
        ("exact", DataType::Decimal { precision: 38, scale: 10 }),
        ("blob", DataType::Blob),
    ];
    const ROWS: [[&str; 4]; 3] = [
        ["POINT(1 2)", "12345678.905", "1234567890123456789012345678.0123456789", r"\x00ff"],
        ["POLYGON((0 0,1 0,1 1,0 0))", "1.25e3", "-0.00000000005", "text"],
        ["LINESTRING(0.1 -7.25, 1e10 3)", "-0.5", "1e-30", ""],
    ];
    const STORED: [[&str; 4]; 3] = [
        [
            "0101000000000000000000f03f0000000000000040",
            "12345678.91",
            "1234567890123456789012345678.0123456789",
            "00ff",
        ],
        [
            "0103000000010000000400000000000000000000000000000000000000000000000000f03f0000000000000000000000000000f03f\
             000000000000f03f00000000000000000000000000000000",
            "1250.00",
            "-0.0000000001",
            "74657874",
        ],
        [
            "0102000000020000009a9999999999b93f0000000000001dc0000000205fa002420000000000000840",
            "-0.50",
            "0.0000000000",
            "",
        ],
    ];
    for server in servers().await {
        let connection = connection(&server).await;
        for mode in [WriteMode::Stmt2, WriteMode::Sql, WriteMode::Rest] {
            let database = format!("writer_shapes_{mode}");
            connection.sql(&format!("drop database if exists {database}")).await.unwrap();
            connection.sql(&format!("create database {database}")).await.unwrap();
            let mut columns = vec![Field::new("ts", DataType::Timestamp)];
            columns.extend(COLUMNS.map(|(name, data_type)| Field::new(name, data_type)));
            let stable = SuperTable {
                columns,
                tags: vec![Field::new("about", DataType::Json)],
                ..stable(&database, Precision::Milli)
            };
            connection.sql(&stable.create_statement()).await.unwrap();
            let store = TaosStore::new(server.dsn.clone(), mode, ConnectOptions::default());
            let schema = store.read_schema(&database, &stable.name).await.unwrap();
            assert_eq!(schema, stable);
            let mut block = Block::new(Arc::new(schema));
            for (at, texts) in ROWS.iter().enumerate() {
                let mut row = block.row("t", at as u32).unwrap();
                row.set(0, &Value::Int(BASE_MS + at as i64)).unwrap();
                row.set_tag(0, &convert::to(&r#"{"site":"温室","n":1.5}"#.into(), DataType::Json).unwrap()).unwrap();
                for (column, (text, (_, data_type))) in texts.iter().zip(COLUMNS).enumerate() {
                    row.set(column + 1, &convert::to(&(*text).into(), data_type).unwrap()).unwrap();
                }
                row.finish().unwrap();
            }
            write(&store, &mut block).await.unwrap();
            let sql = format!("select shape, price, exact, `blob`, about from {database}.`All Types` order by ts");
            let stored = connection.sql(&sql).await.unwrap();
            for (row, wanted) in STORED.iter().enumerate() {
                let texts: Vec<_> = (0..4).map(|column| stored.text(row, column)).collect();
                assert_eq!(texts, wanted, "{database}");
                let tag: serde_json::Value = serde_json::from_str(&stored.text(row, 4)).unwrap();
                assert_eq!(tag, serde_json::json!({"site": "温室", "n": 1.5}), "{database}");
            }
            connection.sql(&format!("drop database {database}")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn null_overwrites_and_no_value_keeps() {
    for server in servers().await {
        let connection = connection(&server).await;
        for mode in [WriteMode::Stmt2, WriteMode::Sql] {
            let database = format!("writer_upsert_{mode}");
            fresh(&connection, &database, Precision::Milli).await;
            let store = TaosStore::new(server.dsn.clone(), mode, ConnectOptions::default());
            let schema = Arc::new(store.read_schema(&database, "All Types").await.unwrap());
            for (whole, big) in [(Value::Int(1), Value::Int(2)), (Value::Unset, Value::Null)] {
                let mut block = Block::new(schema.clone());
                let mut cells = vec![Value::Unset; 16];
                (cells[0], cells[4], cells[5]) = (Value::Int(BASE_MS), whole, big);
                push(&mut block, "t", &cells);
                write(&store, &mut block).await.unwrap();
            }
            let stored = connection.sql(&format!("select whole, big from {database}.t")).await.unwrap();
            assert_eq!(stored.rows, [[Value::Int(1), Value::Null]], "{database}");
            connection.sql(&format!("drop database {database}")).await.unwrap();
        }
    }
}

#[tokio::test]
async fn refusals_have_their_class_and_leave_the_writer_usable() {
    for server in servers().await {
        let connection = connection(&server).await;
        let database = "writer_refused";
        fresh(&connection, database, Precision::Milli).await;
        let store = TaosStore::new(server.dsn.clone(), WriteMode::Stmt2, ConnectOptions::default());
        let schema = Arc::new(store.read_schema(database, "All Types").await.unwrap());
        let block_at = |ts: i64| {
            let mut block = Block::new(schema.clone());
            let mut cells = vec![Value::Unset; 16];
            cells[0] = Value::Int(ts);
            push(&mut block, "t", &cells);
            block
        };
        // A second of 1970 is long past what a database keeps.
        assert_eq!(write(&store, &mut block_at(1000)).await, Err(Class::RowFault));
        assert_eq!(write(&store, &mut block_at(BASE_MS)).await, Ok(()));
        connection.sql(&format!("alter stable {database}.`All Types` modify column bytes varchar(40)")).await.unwrap();
        assert_eq!(write(&store, &mut block_at(BASE_MS + 1)).await, Err(Class::StaleSchema));
        connection.sql(&format!("drop database {database}")).await.unwrap();
        assert!(write(&store, &mut block_at(BASE_MS)).await.is_err());
    }
}
