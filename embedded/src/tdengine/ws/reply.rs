//! Replies of the WebSocket.

use std::time::Instant;

use serde::Serialize;

use crate::tdengine::engine::TdError;

/// What goes back to the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Text(String),
    Binary(Vec<u8>),
    /// Some actions have no reply.
    Nothing,
}

/// The request that a reply belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) action: &'a str,
    pub(super) req_id: u64,
    pub(super) started: Instant,
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    code: u16,
    message: &'a str,
    action: &'a str,
    req_id: u64,
    timing: u64,
    #[serde(flatten)]
    fields: T,
}

#[derive(Serialize)]
struct NoFields {}

/// What every reply about a statement carries.
#[derive(Serialize)]
pub(super) struct StatementFields {
    pub(super) stmt_id: u64,
}

impl Context<'_> {
    /// A good reply with these fields.
    pub(super) fn success(&self, fields: impl Serialize) -> Reply {
        self.reply(0, "", fields)
    }

    /// A good reply without any.
    pub(super) fn done(&self) -> Reply {
        self.success(NoFields {})
    }

    /// An error.
    pub(super) fn failure(&self, error: &TdError) -> Reply {
        self.reply(error.code, &error.message, NoFields {})
    }

    /// An error of a statement.
    pub(super) fn statement_failure(&self, error: &TdError, stmt_id: u64) -> Reply {
        self.reply(error.code, &error.message, StatementFields { stmt_id })
    }

    /// Nanoseconds since the request came.
    pub(super) fn timing(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn reply(&self, code: u16, message: &str, fields: impl Serialize) -> Reply {
        let Context { action, req_id, .. } = *self;
        let envelope = Envelope { code, message, action, req_id, timing: self.timing(), fields };
        match serde_json::to_string(&envelope) {
            Ok(text) => Reply::Text(text),
            Err(error) => {
                tracing::error!(%error, action, "a reply cannot be written");
                Reply::Nothing
            }
        }
    }
}

/// An error of the adapter itself rather than the server.
pub(super) fn adapter_error(message: impl Into<String>) -> TdError {
    TdError::new(0xffff, message)
}
