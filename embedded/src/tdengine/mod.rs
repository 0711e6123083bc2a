//! The embedded TDengine-compatible endpoint: REST and WebSocket.
