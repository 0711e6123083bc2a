//! `kafka-taos embedded`: a Kafka broker and a TDengine-compatible endpoint in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use kafka_taos_embedded::kafka::{Broker, BrokerConfig};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};

use super::signals::Signals;
use super::{Context, Ended, Failure};

/// Run an embedded Kafka broker and an embedded TDengine, for development and tests, until a signal
#[derive(Args, Debug)]
pub(super) struct Embedded {
    /// Port of the Kafka broker on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 9092)]
    kafka_port: u16,
    /// Port of the TDengine endpoint on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 6041)]
    tdengine_port: u16,
    /// Keep the data in this folder; without it, it is gone at the end
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl Embedded {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let signals = Signals::watch()?;
        let broker = start_broker(self.kafka_port, self.data_dir.as_deref()).await?;
        let endpoint = start_endpoint(self.tdengine_port, self.data_dir.as_deref()).await?;
        println!("ready kafka={} tdengine={}", broker.address(), endpoint.address());
        if !context.quiet {
            eprintln!("two embedded servers, for development and tests only; end them with Ctrl-C");
        }
        signals.first().await;
        broker.shutdown().await;
        endpoint.shutdown().await;
        Ok(Ended::Signal(signals.exit_code().unwrap_or(130)))
    }
}

pub(super) async fn start_broker(port: u16, data_dir: Option<&Path>) -> Result<Broker, Failure> {
    let config = BrokerConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        data_dir: data_dir.map(|folder| folder.join("kafka")),
        ..BrokerConfig::default()
    };
    Broker::start(config).await.map_err(|error| Failure::failed(format!("embedded Kafka: {error}")))
}

pub(super) async fn start_endpoint(port: u16, data_dir: Option<&Path>) -> Result<Endpoint, Failure> {
    let mut config = EndpointConfig::default();
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.data_dir = data_dir.map(|folder| folder.join("tdengine"));
    Endpoint::start(config).await.map_err(|error| Failure::failed(format!("embedded TDengine: {error}")))
}
