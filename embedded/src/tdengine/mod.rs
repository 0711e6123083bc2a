//! The embedded TDengine-compatible endpoint: REST and WebSocket.

pub mod engine;
