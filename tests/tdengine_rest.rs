//! The REST client where things go wrong: hosts that are down or overloaded, refused logins, answers that do not come.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use kafka_taos::tdengine::{Class, ConnectOptions, Dsn, RestClient, Sql, TdengineError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const GOOD: &str = r#"{"code":0,"column_meta":[["1","BIGINT",8]],"data":[[1]],"rows":1}"#;
const NO_LOGIN: &str = r#"{"code":4357,"desc":"no auth info input","timing":1}"#;

/// A host that answers everything the same; with status 0, never.
struct Host {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Host {
    async fn start(status: u16, body: &'static str) -> Self {
        let answer = move || async move {
            if status == 0 {
                std::future::pending::<()>().await;
            }
            (StatusCode::from_u16(status).unwrap(), body)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        Self { address, task }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn client(hosts: &[SocketAddr]) -> RestClient {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let dsn: Dsn = format!("http://root:secret@{}/power", hosts.join(",")).parse().unwrap();
    let options = ConnectOptions { read_timeout: Duration::from_millis(300), ..ConnectOptions::default() };
    RestClient::new(&dsn, Some("power"), &options).unwrap()
}

async fn refusal(host: &Host) -> TdengineError {
    client(&[host.address]).sql("select 1").await.unwrap_err()
}

#[tokio::test]
async fn hosts_that_are_down_or_overloaded_are_passed_over() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (busy, good) = (Host::start(503, "").await, Host::start(200, GOOD).await);
    let client = client(&[closed, busy.address, good.address]);
    for _ in 0..2 {
        assert_eq!(client.sql("select 1").await.unwrap().rows.len(), 1);
        client.ping().await.unwrap();
    }
}

#[tokio::test]
async fn http_states_are_errors_with_their_class_and_text() {
    let overloaded = refusal(&Host::start(503, "").await).await;
    assert_eq!(overloaded.class(), Class::Network);
    let no_login = refusal(&Host::start(401, NO_LOGIN).await).await;
    assert_eq!(no_login.class(), Class::Fatal);
    let text = no_login.to_string();
    assert!(text.contains("401") && text.contains("no auth info input") && text.contains("check user"), "{text}");
    assert!(!text.contains("secret") && !format!("{no_login:?}").contains("secret"));
}

#[tokio::test]
async fn no_answer_in_time_leaves_the_outcome_open_and_no_other_host_is_asked() {
    let (silent, good) = (Host::start(0, "").await, Host::start(200, GOOD).await);
    let error = client(&[silent.address, good.address]).sql("insert into t values(now, 1)").await.unwrap_err();
    assert_eq!(error.class(), Class::Network);
    assert!(matches!(error, TdengineError::Timeout { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_answer_is_not_taken_for_one() {
    let error = refusal(&Host::start(200, "<html>").await).await;
    assert!(matches!(error, TdengineError::Protocol { .. }), "{error}");
    let elsewhere = refusal(&Host::start(200, "").await).await;
    assert!(matches!(elsewhere, TdengineError::Protocol { .. }), "{elsewhere}");
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn tls_that_is_not_built_in_is_said_so() {
    let error = RestClient::new(&"https://h/".parse().unwrap(), None, &ConnectOptions::default()).unwrap_err();
    assert!(error.to_string().contains("--features tls"), "{error}");
}
