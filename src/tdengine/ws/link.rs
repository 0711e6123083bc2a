//! One WebSocket: requests go out in turn, replies find the request that waits for them.
//!
//! ```text
//!  request ─► outgoing (bounded) ─► write ─► socket ─► read ─► waiting, by req_id ─► request
//! ```
//!
//! Both directions run in one task, which ends when the last handle is dropped, when the socket breaks, or when the
//! server gives no sign of life; whatever waits then fails with the reason.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

use crate::tdengine::ConnectOptions;
use crate::tdengine::error::{Code, TdengineError};
use crate::tdengine::frame::{self, Fetched, Reply};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The largest reply: a block has at most 4096 rows of 64 KiB.
const MAX_REPLY_BYTES: usize = 512 << 20;

/// A message is written in fragments of this size: the masked copy that WebSocket asks of a client then stays small and
/// warm, however large the message.
const FRAGMENT_BYTES: usize = 128 << 10;

/// Requests that may wait to be written.
const MAX_OUTGOING: usize = 16;

/// A message to be written.
#[derive(Debug)]
enum Outgoing {
    Text(String),
    /// `head` stands in place of the first bytes of `body`.
    Binary {
        head: [u8; 16],
        body: Bytes,
    },
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Incoming {
    Reply(Box<Reply>),
    Fetched(Fetched),
}

/// A live WebSocket. Dropping the last handle closes it.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    waiting: Arc<Waiting>,
    next_id: AtomicU64,
    read_timeout: Duration,
}

impl Link {
    /// Opens `url` and starts the task that serves it.
    pub(super) async fn open(url: &str, address: String, options: &ConnectOptions) -> Result<Self, TdengineError> {
        let config = WebSocketConfig::default()
            .write_buffer_size(0)
            .max_message_size(Some(MAX_REPLY_BYTES))
            .max_frame_size(Some(MAX_REPLY_BYTES));
        let no_delay = true;
        let connecting = tokio_tungstenite::connect_async_with_config(url, Some(config), no_delay);
        let (socket, _) = match timeout(options.connect_timeout, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => return Err(connect_error(address, error)),
            Err(_) => {
                let reason = format!("no answer within {:?}", options.connect_timeout);
                return Err(TdengineError::Connect { address, reason });
            }
        };
        let waiting = Arc::new(Waiting { address, state: Mutex::default(), close: CancellationToken::new() });
        let (outgoing, requests) = mpsc::channel(MAX_OUTGOING);
        tokio::spawn(serve(socket, requests, outgoing.downgrade(), waiting.clone(), options.clone()));
        Ok(Self { outgoing, waiting, next_id: AtomicU64::new(1), read_timeout: options.read_timeout })
    }

    pub(super) fn address(&self) -> &str {
        &self.waiting.address
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.close.is_cancelled()
    }

    /// Ends the connection; whatever waits fails with `reason`.
    pub(super) fn close(&self, reason: &str) {
        self.waiting.fail(reason);
    }

    /// Asks for an action and waits for its reply; a code other than 0 is an error.
    ///
    /// Dropping the future forgets the request; the server may still carry it out.
    pub(super) async fn call(&self, name: &str, args: Value) -> Result<Reply, TdengineError> {
        let id = self.next_id();
        self.reply_to(id, name, Outgoing::Text(frame::action(name, id, args))).await
    }

    /// Runs a statement.
    pub(super) async fn sql(&self, sql: &str) -> Result<Reply, TdengineError> {
        let id = self.next_id();
        self.reply_to(id, "a statement", binary(frame::sql(id, sql))).await
    }

    /// Binds: `frame` is sent with this request's number and `stmt_id` in place of its first 16 bytes.
    pub(super) async fn bind(&self, stmt_id: u64, frame: Bytes) -> Result<Reply, TdengineError> {
        let id = self.next_id();
        let mut head = [0; 16];
        head[..8].copy_from_slice(&id.to_le_bytes());
        head[8..].copy_from_slice(&stmt_id.to_le_bytes());
        self.reply_to(id, "stmt2_bind", Outgoing::Binary { head, body: frame }).await
    }

    /// The next block of a result.
    pub(super) async fn fetch(&self, result_id: u64) -> Result<Fetched, TdengineError> {
        const ACTION: &str = "a fetch";
        let id = self.next_id();
        match self.request(id, ACTION, binary(frame::fetch(id, result_id))).await? {
            Incoming::Fetched(Fetched { code: Code::SUCCESS, block, req_id, message }) => {
                Ok(Fetched { code: Code::SUCCESS, block, req_id, message })
            }
            Incoming::Fetched(Fetched { code, message, .. }) => {
                Err(TdengineError::Server { code, message, action: ACTION.to_owned() })
            }
            Incoming::Reply(reply) => Err(refusal(*reply, ACTION)),
        }
    }

    /// Tells the server something that it does not answer, or whose answer no one waits for; dropped where the way is blocked.
    pub(super) fn tell(&self, name: &str, args: Value) {
        let _ = self.outgoing.try_send(Outgoing::Text(frame::action(name, self.next_id(), args)));
    }

    fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    async fn reply_to(&self, id: u64, action: &str, message: Outgoing) -> Result<Reply, TdengineError> {
        match self.request(id, action, message).await? {
            Incoming::Reply(reply) if reply.code == 0 => Ok(*reply),
            Incoming::Reply(reply) => Err(refusal(*reply, action)),
            Incoming::Fetched(_) => {
                Err(TdengineError::Protocol { action: action.to_owned(), reason: "it is a block of a result".into() })
            }
        }
    }

    async fn request(&self, id: u64, action: &str, message: Outgoing) -> Result<Incoming, TdengineError> {
        let reply = self.waiting.register(id)?;
        let exchange = async {
            let closed = || self.waiting.closed();
            self.outgoing.send(message).await.map_err(|_| closed())?;
            reply.receive().await.map_err(|_| closed())
        };
        timeout(self.read_timeout, exchange)
            .await
            .map_err(|_| TdengineError::Timeout { action: action.to_owned(), after: self.read_timeout })?
    }
}

fn binary(frame: Vec<u8>) -> Outgoing {
    let mut head = [0; 16];
    head.copy_from_slice(&frame[..16]);
    Outgoing::Binary { head, body: frame.into() }
}

fn refusal(reply: Reply, action: &str) -> TdengineError {
    TdengineError::Server { code: Code::new(reply.code), message: reply.message, action: action.to_owned() }
}

fn connect_error(address: String, error: tungstenite::Error) -> TdengineError {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            let body = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            TdengineError::Http { address, status: response.status().as_u16(), body }
        }
        other => TdengineError::Connect { address, reason: other.to_string() },
    }
}

/// The requests that wait for a reply, until the connection is closed.
#[derive(Debug)]
struct Waiting {
    address: String,
    state: Mutex<State>,
    /// Cancelled once no reply will come any more.
    close: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    requests: HashMap<u64, oneshot::Sender<Incoming>>,
    closed: Option<String>,
}

impl Waiting {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, id: u64) -> Result<Registered<'_>, TdengineError> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.closed.is_some() {
            drop(state);
            return Err(self.closed());
        }
        state.requests.insert(id, sender);
        Ok(Registered { waiting: self, id, receiver })
    }

    /// Hands a reply to the request that waits for it; gives it back if none does (any more).
    fn resolve(&self, id: u64, incoming: Incoming) -> Option<Incoming> {
        match self.state().requests.remove(&id) {
            Some(request) => request.send(incoming).err(),
            None => Some(incoming),
        }
    }

    fn is_empty(&self) -> bool {
        self.state().requests.is_empty()
    }

    /// Fails every request, those to come too. The first reason stays.
    fn fail(&self, reason: &str) {
        let mut state = self.state();
        state.closed.get_or_insert_with(|| reason.to_owned());
        state.requests.clear();
        drop(state);
        self.close.cancel();
    }

    fn closed(&self) -> TdengineError {
        let reason = self.state().closed.clone().unwrap_or_default();
        TdengineError::Closed { address: self.address.clone(), reason }
    }
}

/// A request's place among the waiting, given up when it is dropped.
struct Registered<'w> {
    waiting: &'w Waiting,
    id: u64,
    receiver: oneshot::Receiver<Incoming>,
}

impl Registered<'_> {
    async fn receive(mut self) -> Result<Incoming, oneshot::error::RecvError> {
        (&mut self.receiver).await
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.waiting.state().requests.remove(&self.id);
    }
}

async fn serve(
    socket: Socket,
    requests: mpsc::Receiver<Outgoing>,
    outgoing: mpsc::WeakSender<Outgoing>,
    waiting: Arc<Waiting>,
    options: ConnectOptions,
) {
    let (sink, stream) = socket.split();
    let reason = tokio::select! {
        reason = read(stream, &waiting, &outgoing, options.keep_alive.saturating_mul(3)) => reason,
        reason = write(sink, requests, &options) => reason,
        () = waiting.close.cancelled() => String::new(),
    };
    tracing::debug!(address = waiting.address, reason, "connection to tdengine closed");
    waiting.fail(&reason);
}

/// Hands out replies until the socket ends, or is silent for longer than `silence`; says why.
async fn read(
    mut stream: SplitStream<Socket>,
    waiting: &Waiting,
    outgoing: &mpsc::WeakSender<Outgoing>,
    silence: Duration,
) -> String {
    loop {
        let message = match timeout(silence, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))) | Ok(None) => {
                return "the server ended it".to_owned();
            }
            Ok(Some(Err(error))) => return error.to_string(),
            // A server may be too busy to say so while it works on a request, which has its own limit of time.
            Err(_) if !waiting.is_empty() => continue,
            Err(_) => return format!("the server gave no sign of life for {silence:?}"),
        };
        let unclaimed = match message {
            Message::Text(text) => match serde_json::from_str::<Reply>(&text) {
                Ok(reply) => waiting.resolve(reply.req_id, Incoming::Reply(Box::new(reply))),
                Err(error) => return format!("an answer is not understood: {error}"),
            },
            Message::Binary(bytes) => match frame::fetched(&bytes) {
                Some(fetched) => waiting.resolve(fetched.req_id, Incoming::Fetched(fetched)),
                None => return "an answer is not understood: neither JSON nor a block".to_owned(),
            },
            Message::Close(frame) => {
                return match frame {
                    Some(frame) => format!("the server closed it: {frame}"),
                    None => "the server closed it".to_owned(),
                };
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => None,
        };
        if let Some(Incoming::Reply(reply)) = unclaimed {
            let Reply { action, req_id, code, .. } = &*reply;
            tracing::debug!(action, req_id, code, "reply that no one waits for any more");
            // A result that was given up would stay with the server for as long as the connection.
            if let (Some(id), false, Some(outgoing)) = (reply.id, reply.is_update, outgoing.upgrade()) {
                let _ = outgoing.try_send(Outgoing::Text(frame::action("free_result", 0, json!({ "id": id }))));
            }
        }
    }
}

/// Writes requests, and a ping now and then, until all handles are dropped or the socket takes no more; says why.
async fn write(
    mut sink: SplitSink<Socket, Message>,
    mut requests: mpsc::Receiver<Outgoing>,
    options: &ConnectOptions,
) -> String {
    let mut keep_alive = interval(options.keep_alive.max(Duration::from_millis(1)));
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keep_alive.reset();
    loop {
        let written = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => timeout(options.write_timeout, write_message(&mut sink, request)).await,
                None => {
                    let _ = timeout(Duration::from_secs(1), sink.send(Message::Close(None))).await;
                    return "it was dropped".to_owned();
                }
            },
            _ = keep_alive.tick() => timeout(options.write_timeout, sink.send(Message::Ping(Bytes::new()))).await,
        };
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("a message could not be written within {:?}", options.write_timeout),
        }
    }
}

async fn write_message(sink: &mut SplitSink<Socket, Message>, message: Outgoing) -> Result<(), tungstenite::Error> {
    let (head, mut body) = match message {
        Outgoing::Text(text) => return sink.send(Message::text(text)).await,
        Outgoing::Binary { head, body } => (head, body),
    };
    let mut first = body.split_to(body.len().min(FRAGMENT_BYTES)).to_vec();
    first[..head.len()].copy_from_slice(&head);
    let mut fragment = Bytes::from(first);
    let mut kind = Data::Binary;
    loop {
        sink.feed(Message::Frame(Frame::message(fragment, OpCode::Data(kind), body.is_empty()))).await?;
        if body.is_empty() {
            return sink.flush().await;
        }
        fragment = body.split_to(body.len().min(FRAGMENT_BYTES));
        kind = Data::Continue;
    }
}
