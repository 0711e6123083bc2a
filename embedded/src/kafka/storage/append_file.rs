//! A file that is only ever appended to, by one writer at a time, which takes along all that has gathered meanwhile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::kafka::lock;
use crate::kafka::waiters::{Sleeper, Waiters};

/// The write failed earlier, and nothing more is taken: what is on the disk after the last good byte is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

/// See the module. Opened (and made) at the first write.
#[derive(Debug)]
pub(crate) struct AppendFile {
    path: PathBuf,
    file: OnceLock<Arc<File>>,
    queue: Mutex<Queue>,
    waiters: Arc<Waiters>,
    writers: TaskTracker,
}

/// What waits to be written is bounded by its senders: a connection has one request at a time.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Bytes>,
    enqueued_bytes: u64,
    written_bytes: u64,
    writing: bool,
    broken: bool,
}

impl AppendFile {
    /// A file at `path` that has `bytes` so far; `waiters` are woken after each write.
    pub(crate) fn new(path: PathBuf, bytes: u64, waiters: Arc<Waiters>, writers: TaskTracker) -> Self {
        let queue = Mutex::new(Queue { enqueued_bytes: bytes, written_bytes: bytes, ..Queue::default() });
        AppendFile { path, file: OnceLock::new(), queue, waiters, writers }
    }

    /// Hands `bytes` to the writer and returns where they will begin. Does not block.
    ///
    /// # Errors
    /// After a failed write.
    pub(crate) fn enqueue(self: &Arc<Self>, bytes: Bytes) -> Result<u64, Broken> {
        let mut queue = lock(&self.queue);
        if queue.broken {
            return Err(Broken);
        }
        let begin = queue.enqueued_bytes;
        queue.enqueued_bytes += bytes.len() as u64;
        queue.waiting.push(bytes);
        if !queue.writing {
            queue.writing = true;
            let this = Arc::clone(self);
            self.writers.spawn_blocking(move || this.write_waiting());
        }
        Ok(begin)
    }

    /// Bytes that the operating system has: they survive the end of this process.
    pub(crate) fn written_bytes(&self) -> u64 {
        lock(&self.queue).written_bytes
    }

    /// Bytes taken so far, written or not.
    pub(crate) fn enqueued_bytes(&self) -> u64 {
        lock(&self.queue).enqueued_bytes
    }

    /// Waits until the first `bytes` of the file are written.
    ///
    /// # Errors
    /// When a write failed. Cancelling loses nothing: the write goes on.
    pub(crate) async fn written(&self, bytes: u64, sleeper: &Sleeper) -> Result<(), Broken> {
        let _registered = self.waiters.register(sleeper);
        loop {
            {
                let queue = lock(&self.queue);
                if queue.written_bytes >= bytes {
                    return Ok(());
                }
                if queue.broken {
                    return Err(Broken);
                }
            }
            sleeper.notify.notified().await;
        }
    }

    /// The open file, for reading.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let opened = OpenOptions::new().create(true).read(true).append(true).open(&self.path)?;
        Ok(Arc::clone(self.file.get_or_init(|| Arc::new(opened))))
    }

    fn write_waiting(&self) {
        loop {
            let (batch, bytes) = {
                let mut queue = lock(&self.queue);
                if queue.waiting.is_empty() {
                    queue.writing = false;
                    return;
                }
                (std::mem::take(&mut queue.waiting), queue.enqueued_bytes)
            };
            let written = self.file().and_then(|file| batch.iter().try_for_each(|bytes| (&*file).write_all(bytes)));
            let mut queue = lock(&self.queue);
            match written {
                Ok(()) => queue.written_bytes = bytes,
                Err(error) => {
                    tracing::error!(file = %self.path.display(), %error, "cannot write; free the disk and restart the broker");
                    queue.broken = true;
                    queue.writing = false;
                    queue.waiting.clear();
                }
            }
            let broken = queue.broken;
            drop(queue);
            self.waiters.wake();
            if broken {
                return;
            }
        }
    }
}
