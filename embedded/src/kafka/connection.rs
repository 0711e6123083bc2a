//! Connections: frames in, frames out, one request at a time. Whatever is wrong with a connection ends that connection only.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::api::{self, Answer, Connection};
use super::node::Node;
use super::waiters::Sleeper;

/// What an idle connection holds ready to read into.
const READ_AHEAD_BYTES: usize = 8 << 10;
/// A buffer that grew beyond this is given back after the request.
const KEPT_BUFFER_BYTES: usize = 4 << 20;

/// Takes connections until `stop`; then ends those that are open.
pub(crate) async fn accept(listener: TcpListener, node: Arc<Node>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let mut next_id = 0;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < node.config.max_connections => {
                next_id += 1;
                connections.spawn(run(stream, peer, Arc::clone(&node), next_id));
            }
            Ok((_, peer)) => {
                tracing::warn!(%peer, max_connections = node.config.max_connections, "connection refused: too many")
            }
            Err(error) => {
                // Out of file descriptors, mostly: some connection must end first.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    connections.shutdown().await;
}

async fn run(stream: TcpStream, peer: SocketAddr, node: Arc<Node>, id: u64) {
    let mut rounds = node.faults.connection_rounds();
    let result = tokio::select! {
        result = serve(stream, peer, node, id) => result,
        _ = rounds.changed() => return,
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection closed");
    }
}

async fn serve(mut stream: TcpStream, peer: SocketAddr, node: Arc<Node>, id: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let max_idle = node.config.max_idle;
    let max_bytes = node.config.max_request_bytes;
    let connection = Connection { node, sleeper: Sleeper::new(id), local, peer };
    let mut buffer = BytesMut::new();
    while let Some(frame) = within(max_idle, read_frame(&mut stream, &mut buffer, max_bytes)).await? {
        let answer = tokio::select! {
            biased;
            answer = api::answer(&connection, frame) => answer?,
            () = hung_up(&stream, &mut buffer) => return Ok(()),
        };
        match answer {
            Answer::Frame(segments) => within(max_idle, write_frame(&mut stream, segments)).await?,
            Answer::Nothing => {}
            Answer::Close => return Ok(()),
        }
        if buffer.is_empty() && buffer.capacity() > KEPT_BUFFER_BYTES {
            buffer = BytesMut::new();
        }
    }
    Ok(())
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The next frame without its length; `None` at the end of the stream. Room is made for bytes that came, at most doubling,
/// never for bytes that are only announced.
async fn read_frame(stream: &mut TcpStream, buffer: &mut BytesMut, max_bytes: usize) -> io::Result<Option<Bytes>> {
    loop {
        let missing = match buffer.first_chunk() {
            None => READ_AHEAD_BYTES,
            Some(length) => {
                let claimed = i32::from_be_bytes(*length);
                let length = usize::try_from(claimed).ok().filter(|length| *length <= max_bytes);
                let length = length
                    .ok_or_else(|| invalid(&format!("frame of {claimed} bytes; at most {max_bytes} are taken")))?;
                if buffer.len() >= 4 + length {
                    buffer.advance(4);
                    return Ok(Some(buffer.split_to(length).freeze()));
                }
                4 + length - buffer.len()
            }
        };
        buffer.reserve(missing.min(buffer.len().max(READ_AHEAD_BYTES)));
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// Returns when the client has gone while it waits for an answer, so that a long poll does not outlive it. What it sends
/// meanwhile is kept; requests that came before the end of the stream are carried out still.
async fn hung_up(stream: &TcpStream, buffer: &mut BytesMut) {
    while buffer.len() < READ_AHEAD_BYTES {
        let read = stream.readable().await.and_then(|()| {
            buffer.reserve(READ_AHEAD_BYTES);
            stream.try_read_buf(buffer)
        });
        match read {
            Ok(0) if buffer.is_empty() => return,
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
    std::future::pending().await
}

async fn write_frame(stream: &mut TcpStream, segments: Vec<Bytes>) -> io::Result<()> {
    let bytes = segments.iter().map(Bytes::len).sum::<usize>();
    let length = i32::try_from(bytes).map_err(|_| invalid("the answer is larger than a frame can be"))?;
    let mut frame = Segments { segments: VecDeque::from(segments), remaining: 4 + bytes };
    frame.segments.push_front(Bytes::copy_from_slice(&length.to_be_bytes()));
    stream.write_all_buf(&mut frame).await
}

pub(crate) fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Pieces of a frame, written without being put together.
struct Segments {
    segments: VecDeque<Bytes>,
    remaining: usize,
}

impl Buf for Segments {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.segments.front().map_or(&[], |segment| segment)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.segments).map(|(slice, segment)| *slice = IoSlice::new(segment)).count()
    }

    fn advance(&mut self, mut bytes: usize) {
        self.remaining -= bytes;
        while let Some(segment) = self.segments.front_mut() {
            if bytes < segment.len() {
                segment.advance(bytes);
                return;
            }
            bytes -= segment.len();
            self.segments.pop_front();
        }
    }
}
