//! REST beyond the recorded cases.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use serde_json::{Value, json};

use crate::support::{post, post_with, set_up, start};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let endpoint = start().await;
    let request = || post(endpoint.address()).header("Content-Encoding", "gzip");
    let reply: Value = request().body(gzip(b"select 1")).send().await.unwrap().json().await.unwrap();
    assert_eq!(reply["data"], json!([[1]]));
    assert_eq!(request().body("select 1").send().await.unwrap().status(), 400);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_packed_or_not() {
    let mut config = EndpointConfig::default();
    config.max_frame_bytes = 100_000;
    let endpoint = Endpoint::start(config).await.unwrap();
    let body = vec![b' '; 1_000_000];
    let packed = post(endpoint.address()).header("Content-Encoding", "gzip").body(gzip(&body));
    assert_eq!(packed.send().await.unwrap().status(), 413);
    assert_eq!(post(endpoint.address()).body(body).send().await.unwrap().status(), 413);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_login_gives_a_token_that_authorizes() {
    let endpoint = start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://{}{path}", endpoint.address());
    let reply = client.get(url("/rest/login/root/taosdata")).send().await.unwrap();
    assert_eq!(reply.status(), 200);
    let token = reply.json::<Value>().await.unwrap()["desc"].as_str().unwrap().to_owned();
    let query = client.post(url("/rest/sql")).header("Authorization", format!("Taosd {token}")).body("select 1");
    assert_eq!(query.send().await.unwrap().json::<Value>().await.unwrap()["code"], 0);
    assert_eq!(client.get(url("/rest/login/root/wrong")).send().await.unwrap().status(), 401);
    let long = client.get(url(&format!("/rest/login/{}/x", "a".repeat(32)))).send().await.unwrap();
    assert_eq!(long.status(), 400);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn a_result_larger_than_one_part_arrives_whole() {
    let endpoint = start().await;
    set_up(endpoint.address(), &["create database d vgroups 1", "create table d.n (ts timestamp, s varchar(100))"])
        .await;
    let text = "x".repeat(100);
    for batch in 0..5 {
        let rows: String =
            (0..5000).map(|i| format!("({}, '{text}')", 1_764_547_200_000i64 + batch * 5000 + i)).collect();
        set_up(endpoint.address(), &[&format!("insert into d.n values {rows}")]).await;
    }
    let reply: Value = post(endpoint.address()).body("select * from d.n").send().await.unwrap().json().await.unwrap();
    assert_eq!(reply["rows"], 25_000);
    assert_eq!(reply["data"].as_array().unwrap().len(), 25_000);
    endpoint.shutdown().await;
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_named() {
    let endpoint = start().await;
    let answer = async |parameters: &str| {
        let response = post_with(endpoint.address(), parameters).body("select 1").send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap()["desc"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(answer("tz=No/Where").await, (400, "unknown time zone No/Where".to_owned()));
    assert_eq!(answer("conn_tz=No/Where").await, (400, "unknown time zone No/Where".to_owned()));
    assert!(answer("req_id=x").await.1.starts_with("illegal param, req_id must be numeric"));
    assert!(answer("row_with_meta=x").await.1.starts_with("illegal param, row_with_meta must be boolean"));
    assert_eq!(answer("req_id=5&tz=Asia/Shanghai&row_with_meta=t").await, (200, String::new()));
    endpoint.shutdown().await;
}
