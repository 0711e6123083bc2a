//! Runs the embedded TDengine-compatible endpoint until Ctrl-C:
//! `cargo run -p kafka-taos-embedded --example endpoint -- [PORT] [DATA_DIR] [FAULT ..]`.

use std::net::Ipv4Addr;

use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().map_or(Ok(6041), |port| port.parse())?;
    let mut config = EndpointConfig::default();
    config.listen = (Ipv4Addr::LOCALHOST, port).into();
    config.data_dir = arguments.next().filter(|folder| !folder.is_empty()).map(Into::into);
    config.faults = arguments.map(|fault| fault.parse()).collect::<Result<_, _>>()?;
    let endpoint = Endpoint::start(config).await?;
    println!("ready tdengine={}", endpoint.address());
    tokio::signal::ctrl_c().await?;
    endpoint.shutdown().await;
    Ok(())
}
