//! A Kafka broker in this process, for development and tests.
//!
//! It speaks the wire protocol over TCP, so that unmodified clients and Apache Kafka's own tools work against it: topics,
//! idempotent produce, fetch with long polling, offsets by time, consumer groups of the classic protocol, and the
//! administrative requests around them. It is a single node. It has no transactions, no KIP-848 groups, no TLS and no
//! authentication, and it keeps everything until it is deleted: retention and compaction do not happen.
//!
//! ```text
//!  TCP ─► connection (frames) ─► shape (lengths are true) ─► api (one file a family)
//!                                                              ├─► topics ─► partition ─► log (index), batch, sequence
//!                                                              │                 └─► memory, or storage (a folder)
//!                                                              └─► coordinator ─► group (state machine)
//! ```
//!
//! Record batches are kept as they came; only base offset and leader epoch are set.
//!
//! ```
//! use kafka_taos_embedded::kafka::{ApiKey, Broker, BrokerConfig, Effect, ResponseError};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start(BrokerConfig { default_partitions: 10, ..BrokerConfig::default() }).await?;
//! println!("bootstrap.servers={}", broker.address());
//! broker.faults().next(ApiKey::OffsetCommit, Effect::Error(ResponseError::RebalanceInProgress));
//! broker.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod api;
mod batch;
mod connection;
mod coordinator;
mod faults;
mod group;
mod log;
mod node;
mod partition;
mod records;
mod sequence;
mod shape;
mod storage;
mod topics;
mod waiters;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

pub use kafka_protocol::ResponseError;
pub use kafka_protocol::messages::ApiKey;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use crate::fault_when::FaultWhen;
pub use faults::{Effect, Fault, FaultParseError, Faults, LeaderFault};
use node::Node;

/// How a [`Broker`] is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Where to listen; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// Host and port that clients are told to connect to. Default: the address that they reached us at.
    pub advertised: Option<(String, u16)>,
    /// Where logs, topics and committed offsets live; made if it is not there, and used by one broker at a time.
    /// What was acknowledged survives the end of the process, a SIGKILL too, but not a power cut. Default: in memory.
    pub data_dir: Option<PathBuf>,
    /// Bytes that all logs together may take in memory; beyond it produce is refused, and nothing is trimmed. Default 2 GiB.
    pub max_memory_bytes: usize,
    /// Bytes of one request; a larger one closes its connection. Default 100 MiB.
    pub max_request_bytes: usize,
    /// Bytes of one record batch where the topic sets no `max.message.bytes`. Default 1,048,588, as in Apache Kafka.
    pub max_message_bytes: usize,
    /// Connections at a time; further ones are closed at once. Default 10,000.
    pub max_connections: usize,
    /// A connection that sends no whole request, or takes no answer, for so long is closed. Default 10 minutes.
    pub max_idle: Duration,
    /// Partitions of a topic that does not say. Default 1.
    pub default_partitions: i32,
    /// Whether a topic is made when a client that allows it asks for it, as producers do. Default true.
    pub auto_create_topics: bool,
    /// The shortest session a group member may ask for. Default 1 s (Apache Kafka: 6 s).
    pub min_session_timeout: Duration,
    /// The longest. Default 30 minutes.
    pub max_session_timeout: Duration,
    /// Members that one group may have. Default 1,000.
    pub max_group_members: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised: None,
            data_dir: None,
            max_memory_bytes: 2 << 30,
            max_request_bytes: 100 << 20,
            max_message_bytes: 1_048_588,
            max_connections: 10_000,
            max_idle: Duration::from_secs(600),
            default_partitions: 1,
            auto_create_topics: true,
            min_session_timeout: Duration::from_secs(1),
            max_session_timeout: Duration::from_secs(1800),
            max_group_members: 1_000,
        }
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose another port, or 0 for a free one")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {path}")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The runtime ended while the broker started.
    #[error("the runtime ended while the broker started")]
    Cancelled,
}

/// A running broker. Dropping it stops it at once; [`Broker::shutdown`] also waits until all is written and closed.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    node: Arc<Node>,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl Broker {
    /// Starts a broker; it accepts connections when this returns.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
        let address = config.listen;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            listener.local_addr().map(|address| (listener, address))
        };
        let (listener, address) = listening.await.map_err(|source| BrokerError::Listen { address, source })?;
        let opening = tokio::task::spawn_blocking(move || Node::open(config));
        let node = Arc::new(opening.await.map_err(|_| BrokerError::Cancelled)??);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let deadlines = Arc::clone(&node.coordinator).run();
        let stopped = stop.clone();
        tasks.spawn(async move {
            stopped.run_until_cancelled(deadlines).await;
        });
        tasks.spawn(connection::accept(listener, Arc::clone(&node), stop.clone()));
        Ok(Broker { address, node, tasks, stop: stop.drop_guard() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The switches that make it misbehave.
    pub fn faults(&self) -> &Faults {
        &self.node.faults
    }

    /// Closes all connections, waits until everything taken is written, and gives the data folder free.
    pub async fn shutdown(mut self) {
        drop(self.stop);
        while self.tasks.join_next().await.is_some() {}
        self.node.close().await;
    }
}

/// Locks; a panic elsewhere does not spread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
