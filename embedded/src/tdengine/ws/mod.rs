//! WebSocket: one session after the upgrade of `/ws`, its requests answered in the order they came.

mod args;
mod connection;
mod reply;
mod request;
mod results;
mod statements;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State as Shared;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;

use super::State;
use super::faults::Verdict;
use connection::Connection;
use reply::Reply;
use request::Request;

/// Bytes read from the socket at a time; each connection keeps a buffer of this size.
const READ_BUFFER_BYTES: usize = 32 << 10;

pub(super) fn router() -> Router<Arc<State>> {
    Router::new().route("/ws", get(upgrade)).route("/ws/", get(upgrade)).route("/rest/ws", get(upgrade))
}

async fn upgrade(Shared(state): Shared<Arc<State>>, upgrade: WebSocketUpgrade) -> Response {
    let upgrade = upgrade
        .max_message_size(state.max_frame_bytes)
        .max_frame_size(state.max_frame_bytes)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0);
    upgrade.on_upgrade(async move |socket| {
        let (tasks, abort) = (state.tasks.clone(), state.abort.clone());
        let session = abort.run_until_cancelled(serve(Socket::new(socket), state));
        tasks.track_future(session).await;
    })
}

async fn serve(mut socket: Socket, state: Arc<State>) {
    let mut connection = Connection::new(state.engine.clone(), state.discard);
    loop {
        let request = tokio::select! {
            request = socket.next() => request,
            () = state.stop.cancelled() => None,
        };
        let Some(request) = request else { return };
        let started = Instant::now();
        let verdict = match request.operation() {
            None => Some(Verdict::default()),
            Some(operation) => tokio::select! {
                verdict = socket.unless_gone(state.faults.before(operation)) => verdict,
                () = state.stop.cancelled() => None,
            },
        };
        let Some(verdict) = verdict.filter(|verdict| !verdict.drop_before) else { return };
        let answering = tokio::task::spawn_blocking(move || {
            let reply = connection.answer(&request, started, verdict.answer);
            (connection, reply)
        });
        let Ok((returned, reply)) = socket.read_ahead(answering).await else {
            tracing::error!("a request could not be answered; its connection is closed");
            return;
        };
        connection = returned;
        if verdict.drop_after || !socket.send(reply).await {
            return;
        }
    }
}

/// A socket that reads the next request while the last one is being answered.
struct Socket {
    inner: WebSocket,
    ahead: Option<Request>,
    gone: bool,
}

impl Socket {
    fn new(inner: WebSocket) -> Self {
        Self { inner, ahead: None, gone: false }
    }

    /// The next request; `None` when the client is gone.
    async fn next(&mut self) -> Option<Request> {
        while self.ahead.is_none() && !self.gone {
            self.read().await;
        }
        self.ahead.take()
    }

    async fn read(&mut self) {
        match self.inner.recv().await {
            Some(Ok(Message::Text(text))) => self.ahead = Some(Request::from_text(&text)),
            Some(Ok(Message::Binary(frame))) => self.ahead = Some(Request::from_frame(frame)),
            // The library answers them; after a close there is nothing more to read.
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_))) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "websocket ended");
                self.gone = true;
                // The library reads no further, but a last reply can be sent.
                self.ahead = is_bad_text(error).then_some(Request::NotUtf8);
            }
            None => self.gone = true,
        }
    }

    /// Waits for `work`, reading at most one request meanwhile.
    async fn read_ahead<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let may_read = self.ahead.is_none() && !self.gone;
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.read(), if may_read => {}
            }
        }
    }

    /// The same, but gives `work` up when the client goes.
    async fn unless_gone<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        while !self.gone {
            let may_read = self.ahead.is_none();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = self.read(), if may_read => {}
            }
        }
        None
    }

    /// Whether the reply (if there is one) went out.
    async fn send(&mut self, reply: Reply) -> bool {
        let message = match reply {
            Reply::Text(text) => Message::text(text),
            Reply::Binary(bytes) => Message::binary(bytes),
            Reply::Nothing => return true,
        };
        self.inner.send(message).await.is_ok()
    }
}

/// Whether the client sent a text that is not UTF-8, which the protocol forbids and the library refuses.
fn is_bad_text(error: axum::Error) -> bool {
    matches!(error.into_inner().downcast_ref(), Some(tokio_tungstenite::tungstenite::Error::Utf8(_)))
}
