//! Accepts connections and hands their requests to REST and WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service as _;

use super::{State, rest, ws};

/// How long to wait after a connection could not be accepted, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the state's token is cancelled, then waits for what is in execution.
pub(super) async fn run(listener: TcpListener, state: Arc<State>) {
    let router = rest::router().merge(ws::router()).with_state(Arc::clone(&state));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = state.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                state.tasks.spawn(serve(stream, router.clone(), Arc::clone(&state)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    state.tasks.close();
    if tokio::time::timeout(state.shutdown_timeout, state.tasks.wait()).await.is_err() {
        tracing::warn!(connections = state.tasks.len(), "requests still in execution at shutdown are given up");
        state.abort.cancel();
        state.tasks.wait().await;
    }
}

async fn serve(stream: TcpStream, router: Router, state: Arc<State>) {
    // A reply is one write; waiting for more would only delay it.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let response = router.call(request.map(axum::body::Body::new)).await;
            response.map_err(|never: Infallible| match never {}).and_then(dropped)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(state.header_timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = state.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection => served,
                () = state.abort.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// Marks a response in whose place the connection is to be lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct DropConnection;

#[derive(Debug, thiserror::Error)]
#[error("connection dropped by an injected fault")]
struct Dropped;

fn dropped(response: Response) -> Result<Response, Dropped> {
    match response.extensions().get::<DropConnection>() {
        Some(DropConnection) => Err(Dropped),
        None => Ok(response),
    }
}
