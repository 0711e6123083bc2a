//! The way into TDengine: WebSocket with stmt2, SQL over WebSocket, REST.

pub mod schema;
