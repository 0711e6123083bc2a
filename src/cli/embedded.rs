//! `kafka-taos embedded`: a Kafka broker and a TDengine-compatible endpoint in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use kafka_taos_embedded::kafka::{self, Broker, BrokerConfig};
use kafka_taos_embedded::tdengine::{self, Endpoint, EndpointConfig};

use super::signals::Signals;
use super::{Context, Ended, Failure};

/// Run an embedded Kafka broker and an embedded TDengine, for development and tests, until a signal
#[derive(Args, Debug)]
#[command(after_help = FAULTS)]
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
    /// Let TDengine answer binary inserts and keep nothing of them: to measure what comes before
    #[arg(long)]
    discard: bool,
    /// Let a server fail on purpose: kafka:SPEC or tdengine:SPEC, see below; may be repeated
    #[arg(long = "fault", value_name = "SPEC")]
    faults: Vec<Fault>,
}

const FAULTS: &str = "\
Faults (WHEN is nth=N, every=N or first=N, counted from the start; without it: each time):
  kafka:REQUEST[:WHEN]:ACTION
      REQUEST  one of the protocol's: produce, fetch, metadata, offset-commit, heartbeat, ..
      ACTION   error=NAME (NOT_LEADER_OR_FOLLOWER, ..), delay=250ms, drop-before, drop-after
  kafka:leader=TOPIC/PARTITION:ACTION
      ACTION   not-leader, silent
  tdengine:OPERATION[:WHEN]:ACTION
      OPERATION  login, statement, prepare, bind, exec, any
      ACTION     code=0xHHHH, refuse (a wrong password), disk-full, delay=2s, drop-before,
                 drop-after, stall
  The connection is lost in place of the operation (drop-before) or of its answer (drop-after).

Examples:
  kafka-taos embedded --fault tdengine:exec:nth=3:drop-after --fault tdengine:login:delay=2s
  kafka-taos embedded --fault kafka:fetch:first=10:error=NOT_LEADER_OR_FOLLOWER";

/// A fault of one of the two servers.
#[derive(Clone, Debug)]
enum Fault {
    Kafka(kafka::Fault),
    Tdengine(tdengine::Fault),
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("kafka", fault)) => {
                fault.parse().map(Self::Kafka).map_err(|error: kafka::FaultParseError| error.to_string())
            }
            Some(("tdengine", fault)) => {
                fault.parse().map(Self::Tdengine).map_err(|error: tdengine::FaultParseError| error.to_string())
            }
            _ => Err("it names neither server; write kafka:SPEC or tdengine:SPEC".to_owned()),
        }
    }
}

impl Embedded {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let signals = Signals::watch()?;
        let broker = start_broker(self.kafka_port, self.data_dir.as_deref()).await?;
        let endpoint = start_endpoint(self.tdengine_port, self.data_dir.as_deref(), self.discard).await?;
        for fault in self.faults {
            match fault {
                Fault::Kafka(fault) => broker.faults().add(fault),
                Fault::Tdengine(fault) => {
                    endpoint.faults().add(fault);
                }
            }
        }
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

pub(super) async fn start_endpoint(port: u16, data_dir: Option<&Path>, discard: bool) -> Result<Endpoint, Failure> {
    let mut config = EndpointConfig::default();
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    config.data_dir = data_dir.map(|folder| folder.join("tdengine"));
    config.discard = discard;
    Endpoint::start(config).await.map_err(|error| Failure::failed(format!("embedded TDengine: {error}")))
}
