//! SIGINT and SIGTERM: the first asks for an end in order, the second for one at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::Failure;

/// Watches for signals from its making on.
#[derive(Clone)]
pub(super) struct Signals {
    seen: watch::Receiver<u32>,
    code: Arc<AtomicU8>,
}

impl Signals {
    pub(super) fn watch() -> Result<Self, Failure> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (sender, seen) = watch::channel(0);
        let code = Arc::new(AtomicU8::new(0));
        let first = code.clone();
        // Ends with the runtime.
        tokio::spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = interrupt.recv() => 130,
                    _ = terminate.recv() => 143,
                };
                // The first one decides on the exit code.
                let _ = first.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
                sender.send_modify(|seen| *seen += 1);
            }
        });
        Ok(Self { seen, code })
    }

    /// Ends when the first signal has come.
    pub(super) fn first(&self) -> impl Future<Output = ()> + Send + use<> {
        self.at_least(1)
    }

    /// Ends when the second signal has come.
    pub(super) fn second(&self) -> impl Future<Output = ()> + Send + use<> {
        self.at_least(2)
    }

    fn at_least(&self, number: u32) -> impl Future<Output = ()> + Send + use<> {
        let mut seen = self.seen.clone();
        async move {
            if seen.wait_for(|seen| *seen >= number).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// The exit code of the first signal, if one has come.
    pub(super) fn exit_code(&self) -> Option<u8> {
        match self.code.load(Ordering::Relaxed) {
            0 => None,
            code => Some(code),
        }
    }
}
