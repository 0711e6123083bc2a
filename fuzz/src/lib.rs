//! What the fuzz targets do with their input. Each takes any bytes; a panic, or an assertion that does not hold, is a finding.
//!
//! The targets that speak to a server do so over TCP, as a stranger would: nothing is exported for their sake.

mod broker;
mod client;
mod endpoint;
mod formats;
mod input;
mod records;
mod runtime;

pub use broker::{broker_batch, broker_folder, broker_requests};
pub use client::{dead_letters, dsn, raw_block, rest_replies, settings, ws_replies};
pub use endpoint::{bind, bind_frame, endpoint_http, endpoint_messages, sql};
pub use formats::{
    format_avro, format_compressed, format_csv, format_json, format_line, format_msgpack, format_protobuf,
    format_schema,
};
pub use records::{codec, record_json, record_msgpack};
