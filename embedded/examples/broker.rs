//! The embedded Kafka broker alone, until Ctrl-C: `broker [HOST:PORT] [DATA_DIR]`.

use std::error::Error;

use kafka_taos_embedded::kafka::{Broker, BrokerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut config = BrokerConfig::default();
    if let Some(listen) = arguments.next() {
        config.listen = listen.parse()?;
    }
    config.data_dir = arguments.next().map(Into::into);
    let broker = Broker::start(config).await?;
    println!("ready kafka={}", broker.address());
    tokio::signal::ctrl_c().await?;
    broker.shutdown().await;
    Ok(())
}
