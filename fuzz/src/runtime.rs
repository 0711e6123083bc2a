//! Where the targets run that need a network.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

/// Longer than any answer takes; whoever waits for it has hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// Port 0 of this machine.
pub(crate) const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Runs `work` to its end.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let within = async { tokio::time::timeout(PATIENCE, work).await.expect("an end within 20 seconds") };
    RUNTIME.with(|runtime| runtime.block_on(within))
}

/// Sends `bytes`, ends the sending side, and returns all that is answered.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    // The other side may hang up at any time.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    answer
}
