//! The admin address: what a running consumer says of itself over HTTP.
//!
//! | path | what it answers |
//! |---|---|
//! | `/metrics` | counters and gauges, as Prometheus and OpenMetrics read them |
//! | `/healthz` | 200 while the process is alive |
//! | `/readyz` | 200 while it can do its work, otherwise 503; with the reason as text |
//! | `/gaps` | a JSON array: what holds each partition's offset, since when, and why ([`Gap`](crate::pipeline::Gap)) |
//! | `/` | all of it on a page for people |
//!
//! There is no password on it, so it listens on loopback unless it is told otherwise.

mod metrics;
mod page;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::pipeline::Watch;

/// Where to listen: `HOST:PORT`; `PORT` and `:PORT` are on loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(String);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
        if port.parse::<u16>().is_err() || (host.contains(':') && !host.starts_with('[')) {
            return Err(format!("{text:?} is not HOST:PORT, as in 127.0.0.1:9464; a port alone is on loopback"));
        }
        Ok(Self(format!("{}:{port}", if host.is_empty() { "127.0.0.1" } else { host })))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The server. Dropped, it ends.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    shown: Shown,
    serving: JoinHandle<()>,
}

/// The pipeline, once there is one.
#[derive(Clone, Default)]
struct Shown(Arc<OnceLock<Watch>>);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "a pipeline" } else { "nothing yet" })
    }
}

impl Admin {
    /// Listens, and answers from now on: until [`Self::show`], that it is starting.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(listen: &Listen) -> std::io::Result<Self> {
        let listener = TcpListener::bind(&listen.0).await?;
        let address = listener.local_addr()?;
        let shown = Shown::default();
        let router = Router::new()
            .route("/", get(page))
            .route("/metrics", get(metrics))
            .route("/healthz", get(async || "alive\n"))
            .route("/readyz", get(readyz))
            .route("/gaps", get(gaps))
            .with_state(shown.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the admin address answers no more; consuming goes on");
            }
        });
        Ok(Self { address, shown, serving })
    }

    /// Shows a pipeline; the first one stays.
    pub fn show(&self, watch: Watch) {
        // A second one has no place; there is one a process.
        let _ = self.shown.0.set(watch);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether others than this machine can reach it.
    pub fn is_open(&self) -> bool {
        !matches!(self.address.ip(), IpAddr::V4(ip) if ip.is_loopback())
            && !matches!(self.address.ip(), IpAddr::V6(ip) if ip.is_loopback())
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shown {
    /// Why it is not ready, if it is not.
    fn not_ready(&self) -> Option<String> {
        match self.0.get() {
            None => Some("starting: TDengine or its super table is not there yet".to_owned()),
            Some(watch) => watch.health().not_ready,
        }
    }
}

async fn readyz(State(shown): State<Shown>) -> Response {
    match shown.not_ready() {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn gaps(State(shown): State<Shown>) -> Response {
    let gaps = shown.0.get().map(Watch::gaps).unwrap_or_default();
    match serde_json::to_string(&gaps) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(shown): State<Shown>) -> Response {
    match metrics::encode(shown.0.get(), shown.not_ready().is_none()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn page(State(shown): State<Shown>) -> Html<String> {
    Html(page::page(shown.0.get(), shown.not_ready().as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(listen("9464").unwrap(), "127.0.0.1:9464");
        assert_eq!(listen(":9464").unwrap(), "127.0.0.1:9464");
        assert_eq!(listen("0.0.0.0:0").unwrap(), "0.0.0.0:0");
        assert_eq!(listen("[::1]:9464").unwrap(), "[::1]:9464");
        for wrong in ["", "host", "host:", "::1:9464", "h:99999"] {
            assert!(listen(wrong).unwrap_err().contains("HOST:PORT"), "{wrong}");
        }
    }

    #[tokio::test]
    async fn before_there_is_a_pipeline_it_is_alive_and_not_ready() {
        let admin = Admin::start(&"0".parse().unwrap()).await.unwrap();
        assert!(!admin.is_open());
        let get = async |path: &str| {
            let response = reqwest::get(format!("http://{}{path}", admin.address())).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        assert_eq!(get("/healthz").await, (200, "alive\n".to_owned()));
        let (status, reason) = get("/readyz").await;
        assert!(status == 503 && reason.starts_with("starting"), "{status} {reason}");
        assert_eq!(get("/gaps").await, (200, "[]".to_owned()));
        let (status, metrics) = get("/metrics").await;
        assert!(status == 200 && metrics.contains("kafka_taos_ready 0\n"), "{metrics}");
        assert!(get("/").await.1.contains("starting"));
        assert_eq!(get("/other").await.0, 404);
    }
}
