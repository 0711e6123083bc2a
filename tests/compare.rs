//! The comparison behind `demo` sees every kind of difference.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use kafka_taos::encode::sql::{MAX_STATEMENT_BYTES, to_taos_batch_insert_sql};
use kafka_taos::row::{Precision, Timestamp};
use kafka_taos::simulate::{Comparison, Simulator};
use kafka_taos::tdengine::{ConnectOptions, Connection, Sql as _};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};

fn simulator() -> Simulator {
    let start = Timestamp::from_millis(1_764_547_200_000);
    let small =
        Simulator { tables: 3, records: 20, columns: 4, interval: Duration::from_millis(1), ..Simulator::new(start) };
    Simulator { database: "compared".into(), ..small }
}

async fn stored(simulator: &Simulator) -> (Endpoint, Connection) {
    let endpoint = Endpoint::start(EndpointConfig::default()).await.unwrap();
    let dsn = format!("ws://root:taosdata@{}/", endpoint.address()).parse().unwrap();
    let connection = Connection::connect(&dsn, None, 0, &ConnectOptions::default()).await.unwrap();
    connection.sql("create database compared").await.unwrap();
    connection.sql(&simulator.super_table(Precision::Milli).create_statement()).await.unwrap();
    connection.sql("use compared").await.unwrap();
    let records: Vec<_> =
        (0..simulator.total()).map(|index| simulator.at(index)).map(|(t, n)| simulator.record(t, n)).collect();
    for statement in to_taos_batch_insert_sql(&records, Precision::Milli, MAX_STATEMENT_BYTES).unwrap() {
        connection.sql(&String::from_utf8(statement.sql).unwrap()).await.unwrap();
    }
    (endpoint, connection)
}

async fn after(statement: &str) -> Comparison {
    let simulator = simulator();
    let (endpoint, connection) = stored(&simulator).await;
    assert!(simulator.compare(&connection).await.unwrap().is_clean());
    connection.sql(statement).await.unwrap();
    let comparison = simulator.compare(&connection).await.unwrap();
    drop(connection);
    endpoint.shutdown().await;
    comparison
}

fn counts(comparison: &Comparison) -> (u64, u64, u64, u64) {
    (comparison.rows_in_store, comparison.lost, comparison.wrong, comparison.duplicated)
}

#[tokio::test]
async fn what_was_stored_is_what_was_generated() {
    let simulator = simulator();
    let (_endpoint, connection) = stored(&simulator).await;
    assert_eq!(counts(&simulator.compare(&connection).await.unwrap()), (60, 0, 0, 0));
}

#[tokio::test]
async fn a_value_changed_by_hand_is_wrong() {
    let comparison = after("insert into compared.tb1 (ts, col2) values (1764547200007, 'x')").await;
    assert_eq!(counts(&comparison), (60, 0, 1, 0));
    assert!(comparison.examples[0].contains("tb1: record 7 differs in col2"), "{:?}", comparison.examples);
    assert_eq!(counts(&after("insert into compared.tb1 (ts, col2) values (1764547200007, null)").await), (60, 0, 1, 0));
}

#[tokio::test]
async fn a_row_removed_by_hand_is_lost() {
    assert_eq!(counts(&after("delete from compared.tb2 where ts = 1764547200000").await), (59, 1, 0, 0));
    assert_eq!(counts(&after("delete from compared.tb2 where ts = 1764547200019").await), (59, 1, 0, 0));
    assert_eq!(counts(&after("drop table compared.tb0").await), (40, 20, 0, 0));
}

#[tokio::test]
async fn a_row_added_by_hand_is_one_that_nobody_generated() {
    let in_between = "insert into compared.tb0 values (1764547300000, 'a', 'b', 'c', 'd')";
    assert_eq!(counts(&after(in_between).await), (61, 0, 0, 1));
    let elsewhere =
        "insert into compared.other using compared.stb tags ('other') values (1764547200000, 'a', 'b', 'c', 'd')";
    assert_eq!(counts(&after(elsewhere).await), (61, 0, 0, 1));
}
