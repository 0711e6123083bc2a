//! The embedded TDengine-compatible endpoint: REST and WebSocket on one port, as taosAdapter 3.3.7 answers them.
//!
//! ```text
//!  client ─► server ─┬─► rest ────► SQL ──────────────────────────► engine ─► JSON body
//!                    └─► ws ──┬───► SQL, results ─────────────────► engine ─► raw_block
//!                             └───► stmt2 ─► bind_frame ─► bind ──► engine
//!                    (faults strike between a request and its execution)
//! ```
//!
//! ```
//! use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let endpoint = Endpoint::start(EndpointConfig::default()).await?;
//! println!("ws://root:taosdata@{}", endpoint.address());
//! endpoint.shutdown().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod bind_frame;
pub mod engine;
mod faults;
mod login;
mod raw_block;
mod rest;
mod server;
mod time;
mod ws;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::fault_when::FaultWhen;
pub use faults::{Fault, FaultAction, FaultId, FaultParseError, Faults, Operation};

use engine::{Engine, OpenError, Storage};

/// Settings of an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointConfig {
    /// Where to listen; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Where rows are kept; `None` keeps them in memory. Default `None`.
    pub data_dir: Option<PathBuf>,
    /// The largest WebSocket message and the largest REST body (unpacked) taken, in bytes. A larger one ends its
    /// connection (WebSocket) or is answered with 413 (REST). Default 128 MiB.
    pub max_frame_bytes: usize,
    /// How long a client may take to send a request's head, and how long a connection may lie idle between REST requests.
    /// WebSocket connections are not bounded in time. Default 30 s.
    pub header_timeout: Duration,
    /// How long [`Endpoint::shutdown`] waits for requests in execution. Default 5 s.
    pub shutdown_timeout: Duration,
    /// Faults that are on from the start. Default none.
    pub faults: Vec<Fault>,
    /// Answer prepared inserts and keep nothing of them, unlooked at: to measure what comes before. Default false.
    pub discard: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            data_dir: None,
            max_frame_bytes: 128 << 20,
            header_timeout: Duration::from_secs(30),
            shutdown_timeout: Duration::from_secs(5),
            faults: Vec::new(),
            discard: false,
        }
    }
}

/// An endpoint cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another address or port 0")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The runtime is shutting down.
    #[error("the runtime is shutting down")]
    Runtime,
}

/// A running endpoint. Dropping it ends all its connections; [`Endpoint::shutdown`] also waits for them.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    faults: Faults,
    server: JoinHandle<()>,
    stop: DropGuard,
}

impl Endpoint {
    /// Opens the store and starts to listen.
    pub async fn start(config: EndpointConfig) -> Result<Self, EndpointError> {
        let storage = config.data_dir.map_or(Storage::Memory, Storage::Directory);
        let engine =
            tokio::task::spawn_blocking(|| Engine::open(storage)).await.map_err(|_| EndpointError::Runtime)??;
        let listen = |source| EndpointError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let faults = Faults::default();
        for fault in config.faults {
            faults.add(fault);
        }
        let stop = CancellationToken::new();
        let state = Arc::new(State {
            engine,
            faults: faults.clone(),
            discard: config.discard,
            max_frame_bytes: config.max_frame_bytes,
            header_timeout: config.header_timeout,
            shutdown_timeout: config.shutdown_timeout,
            stop: stop.clone(),
            abort: CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        });
        let server = tokio::spawn(server::run(listener, state));
        Ok(Self { address, faults, server, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The switches that make it fail on purpose.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Ends all connections and waits for the requests in execution, up to [`EndpointConfig::shutdown_timeout`].
    pub async fn shutdown(self) {
        drop(self.stop);
        if let Err(error) = self.server.await {
            tracing::warn!(%error, "the endpoint's server ended badly");
        }
    }
}

/// What all connections share.
#[derive(Debug)]
struct State {
    engine: Engine,
    faults: Faults,
    discard: bool,
    max_frame_bytes: usize,
    header_timeout: Duration,
    shutdown_timeout: Duration,
    /// Take no more requests.
    stop: CancellationToken,
    /// Give up those in execution.
    abort: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
}
