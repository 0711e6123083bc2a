//! A TCP proxy that fails on purpose: connections cut, stalled, slowed down, half open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// What becomes of bytes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    Clear,
    /// Nothing gets through, and nothing is lost: it comes later. Whoever ends the connection meanwhile takes back what
    /// he sent, so that nothing arrives of a client that has given up.
    Stalled,
    /// So many bytes every 10 ms.
    Slow(usize),
    /// What goes this way vanishes, and no end of a connection is told, as if a cable were pulled. Connections that have
    /// lost something end with this weather.
    HalfOpen(Way),
}

/// Bytes of one connection that a stall keeps; past it, the sender has to wait.
const MOST_HELD: usize = 4 << 20;

struct State {
    target: Mutex<SocketAddr>,
    weather: watch::Sender<Weather>,
    /// Connections older than the last change are cut.
    generation: watch::Sender<u64>,
    /// The next bytes that go this way are lost, together with their connection.
    ambush: Mutex<Option<Way>>,
}

/// A running proxy on a port of its own. Dropped, it cuts all and ends.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Proxy {
    /// In front of `target`, which need not be there yet.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let state = Arc::new(State {
            target: Mutex::new(target),
            weather: watch::Sender::new(Weather::Clear),
            generation: watch::Sender::new(0),
            ambush: Mutex::new(None),
        });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let address = listener.local_addr().expect("its address");
        let serving = state.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, serving.clone()));
            }
        });
        Self { address, state, runtime: Some(runtime) }
    }

    /// New connections go there.
    pub(crate) fn lead_to(&self, target: SocketAddr) {
        *self.state.target.lock().unwrap() = target;
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.state.weather.send_replace(weather);
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        self.state.generation.send_modify(|generation| *generation += 1);
    }

    /// Loses the next bytes that go this way, and their connection: a request that does not arrive, or an answer.
    pub(crate) fn cut_at(&self, way: Way) {
        *self.state.ambush.lock().unwrap() = Some(way);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(mut client: TcpStream, state: Arc<State>) {
    let target = *state.target.lock().unwrap();
    let mut cut = state.generation.subscribe();
    // Who finds nobody there is told so by the end of the connection.
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        () = pump(from_client, to_server, Way::ToServer, &state) => {}
        () = pump(from_server, to_client, Way::ToClient, &state) => {}
        _ = cut.changed() => {}
    }
}

/// Carries bytes until either end is gone.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, way: Way, state: &State) {
    let mut weather = state.weather.subscribe();
    let (mut buffer, mut held, mut has_lost) = (vec![0; 16 << 10], Vec::new(), false);
    loop {
        let now = *weather.borrow_and_update();
        let swallows = now == Weather::HalfOpen(way);
        if has_lost && !swallows {
            return;
        }
        if now != Weather::Stalled && !held.is_empty() && send(&mut to, &std::mem::take(&mut held), now).await.is_err()
        {
            return;
        }
        tokio::select! {
            read = from.read(&mut buffer), if held.len() < MOST_HELD => {
                let count = read.unwrap_or(0);
                if count > 0 && state.ambush.lock().unwrap().take_if(|ambush| *ambush == way).is_some() {
                    return;
                }
                match now {
                    Weather::HalfOpen(_) if count == 0 => {
                        // The other end does not hear of it while the cable is out.
                        let _ = weather.wait_for(|weather| !matches!(weather, Weather::HalfOpen(_))).await;
                        return;
                    }
                    _ if count == 0 => return,
                    _ if swallows => has_lost = true,
                    _ => held.extend_from_slice(&buffer[..count]),
                }
            }
            changed = weather.changed() => if changed.is_err() { return },
        }
    }
}

async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], weather: Weather) -> std::io::Result<()> {
    let Weather::Slow(at_once) = weather else { return to.write_all(bytes).await };
    for piece in bytes.chunks(at_once.max(1)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        to.write_all(piece).await?;
    }
    Ok(())
}
