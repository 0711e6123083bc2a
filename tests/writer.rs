//! The writer against a server: the embedded endpoint, and a real TDengine too where `KAFKA_TAOS_TEST_TDENGINE` names one
//! (`ws://USER:PASSWORD@HOST:PORT`). Databases of its own are made and dropped.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use kafka_taos::block::Block;
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
        writer.write(block.schema(), &mut part.payload).await.map_err(|error| error.class())?;
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
