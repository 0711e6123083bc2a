//! Faults as a client meets them.

use std::time::Duration;

use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig, Fault};
use serde_json::json;

use crate::support::{BASE, Client, post, rest, set_up, start, value, with_stable};

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_failed_exec_breaks_many_and_not_once() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    for (once, afterwards) in [(false, 0x0117), (true, 0)] {
        let mut client = Client::connect(endpoint.address()).await;
        let id = client.prepare(once).await;
        let disk_full = endpoint.faults().add(fault("exec:first=1:disk-full"));
        assert_eq!(client.bind(id, BASE).await.unwrap(), 0);
        assert_eq!(client.exec(id).await.unwrap(), 0x012E);
        assert_eq!(endpoint.faults().remove(disk_full), 1);
        assert_eq!(client.bind(id, BASE).await.unwrap(), afterwards);
        client.prepare_again(id).await;
        assert_eq!(client.bind(id, BASE + 1).await.unwrap(), 0);
        assert_eq!(client.exec(id).await.unwrap(), 0);
        assert_eq!(value(endpoint.address(), "select count(*) from d.st").await, 1, "once: {once}");
    }
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_failed_bind_sticks() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(true).await;
    endpoint.faults().add(fault("bind:nth=2:code=0x0216"));
    assert_eq!(client.bind(id, BASE).await.unwrap(), 0);
    assert_eq!(client.bind(id, BASE + 1).await.unwrap(), 0x0216);
    assert_eq!(client.exec(id).await.unwrap(), 0x0216);
    assert_eq!(client.bind(id, BASE + 1).await.unwrap(), 0x0216);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_connection_is_lost_before_or_after_execution() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    for (when, stored) in [("before", json!([])), ("after", json!([[1]]))] {
        let mut client = Client::connect(endpoint.address()).await;
        let id = client.prepare(false).await;
        assert_eq!(client.bind(id, BASE).await.unwrap(), 0);
        let drop = endpoint.faults().add(fault(&format!("exec:drop-{when}")));
        assert_eq!(client.exec(id).await, None);
        endpoint.faults().remove(drop);
        assert_eq!(rest(endpoint.address(), "select count(*) from d.st group by tbname").await["data"], stored);
    }
    let drop = endpoint.faults().add(fault("statement:drop-after"));
    let lost = post(endpoint.address()).body("create table d.n (ts timestamp, v int)").send().await;
    assert!(lost.is_err());
    endpoint.faults().remove(drop);
    set_up(endpoint.address(), &["insert into d.n values(1764547200000, 1)"]).await;
    endpoint.shutdown().await;
}

#[tokio::test]
async fn logins_are_refused() {
    let mut config = EndpointConfig::default();
    config.faults = vec![fault("login:refuse")];
    let endpoint = Endpoint::start(config).await.unwrap();
    let mut client = Client::open(endpoint.address()).await;
    assert_eq!(client.log_in().await.unwrap()["code"], 0x0357);
    assert_eq!(rest(endpoint.address(), "select 1").await["code"], 0x0357);
    endpoint.faults().clear();
    assert_eq!(rest(endpoint.address(), "select 1").await["code"], 0);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_stalled_request_ends_with_its_client_and_with_the_endpoint() {
    let endpoint = start().await;
    with_stable(&endpoint).await;
    let stall = endpoint.faults().add(fault("bind:stall"));
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(false).await;
    let stalled = tokio::time::timeout(Duration::from_millis(100), client.bind(id, BASE)).await;
    assert!(stalled.is_err());
    assert_eq!(endpoint.faults().struck(stall), 1);
    drop(client);
    let mut client = Client::connect(endpoint.address()).await;
    let id = client.prepare(false).await;
    let (answer, ()) = tokio::join!(client.bind(id, BASE), async {
        while endpoint.faults().struck(stall) < 2 {
            tokio::task::yield_now().await;
        }
        endpoint.shutdown().await;
    });
    assert_eq!(answer, None);
}
