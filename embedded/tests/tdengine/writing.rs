//! Writing through stmt2: large binds, several statements, and a store that outlives its endpoint.

use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::frame;
use crate::support::{BASE, Client, set_up, start, value, with_stable};

#[tokio::test]
async fn a_bind_of_20_megabytes_is_written() {
    let endpoint = start().await;
    set_up(
        endpoint.address(),
        &["create database d vgroups 1", "create stable d.st (ts timestamp, i int, s varchar(1000)) tags (g int)"],
    )
    .await;
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(true).await;
    let (tables, rows) = (20, 1000);
    let table = json!({
        "name": "t{i}",
        "tags": [{ "type": 4, "vals": [1] }],
        "cols": [
            { "type": 9, "vals": { "seq": { "start": BASE, "step": 1, "count": rows } } },
            { "type": 4, "vals": { "seq": { "start": 0, "step": 1, "count": rows } } },
            { "type": 8, "vals": { "rep": { "value": "x".repeat(1000), "count": rows } } },
        ],
    });
    let bind = json!({ "stmt_id": id, "tables": { "repeat": { "count": tables, "table": table } } });
    let frame = frame::encode_bind(&bind).unwrap();
    assert!(frame.len() > 20_000_000);
    assert_eq!(client.send(Message::binary(frame)).await.unwrap()["code"], 0);
    let reply = client.ask("stmt2_exec", json!({ "stmt_id": id })).await.unwrap();
    assert_eq!((&reply["code"], &reply["affected"]), (&json!(0), &json!(tables * rows)));
    assert_eq!(value(endpoint.address(), "select count(*) from d.st").await, tables * rows);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn connections_write_side_by_side() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    let writers = (0..4).map(|writer| {
        let address = endpoint.address();
        tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            let id = client.prepare(writer % 2 == 0).await;
            for i in 0..25 {
                assert_eq!(client.bind(id, BASE + writer * 1000 + i).await.unwrap(), 0);
                assert_eq!(client.exec(id).await.unwrap(), 0);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(value(endpoint.address(), "select count(*) from d.st").await, 100);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn rows_in_a_folder_outlive_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = EndpointConfig::default();
    config.data_dir = Some(folder.path().join("data"));
    let endpoint = Endpoint::start(config.clone()).await.unwrap();
    with_stable(&endpoint).await;
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(false).await;
    assert_eq!(client.bind(id, BASE).await.unwrap(), 0);
    assert_eq!(client.exec(id).await.unwrap(), 0);
    endpoint.shutdown().await;
    let endpoint = Endpoint::start(config).await.unwrap();
    assert_eq!(value(endpoint.address(), "select count(*) from d.st").await, 1);
    endpoint.shutdown().await;
}
