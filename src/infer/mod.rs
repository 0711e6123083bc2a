//! A first mapping, out of a sample of messages.
//!
//! ```text
//!  payloads ─► format, by content ─► records ─► rows ─► fields: kinds, ranges, how they vary
//!                                                          └─► time, device, tags, columns ─► configuration
//! ```
//!
//! What is chosen leaves room for what comes after the sample: lengths are doubled, whole numbers have tenfold room.
//! Everything here is a decision on the sample alone: no clock, no I/O.

mod choose;
mod detect;
mod profile;
#[cfg(test)]
mod tests;
mod write;

use crate::mapping::config::FormatConfig;
use crate::message::Message;
use crate::tdengine::schema::SuperTable;

/// Where the sample came from, and where its rows are to go: what of it stands in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The brokers, by comma.
    pub brokers: String,
    /// The topics.
    pub topics: Vec<String>,
    /// The group.
    pub group: String,
    /// TDengine's URL, without a password.
    pub url: String,
    /// The database in it.
    pub database: String,
    /// Where dead letters are to go.
    pub dead_letter: String,
}

/// Why no mapping can be made out of a sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InferError {
    /// There is nothing to look at.
    #[error("there are no messages with a payload: produce some, or read others with --offset")]
    Nothing,
    /// Messages of a format that needs a schema.
    #[error(
        "the messages begin with the magic byte and the number of a schema registry: they are Avro or Protobuf. Their schema \
         says what a sample cannot: write [format] type = \"avro\" (or \"protobuf\") and registry = \"http://HOST:8081\", \
         and see docs/formats.md"
    )]
    Registry,
    /// An Avro container file in a message.
    #[error("the messages are Avro with their schema in them (object containers): see docs/formats.md")]
    AvroContainer,
    /// None of the formats.
    #[error("the messages are of no format that can be told by content ({0}): see docs/formats.md")]
    Unknown(String),
    /// No field can be a column.
    #[error("the messages hold no single values that could be columns")]
    NoColumns,
}

/// What a sample comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The format.
    pub format: FormatConfig,
    /// The configuration, TOML with comments; the statements that make its super tables stand at its end.
    pub config: String,
    /// The super tables.
    pub stables: Vec<SuperTable>,
}

/// Looks at `messages` and makes a configuration out of them.
///
/// # Errors
/// They are of no format that is known by content, or hold nothing that could be a row.
pub fn infer(messages: &[Message], about: &About) -> Result<Inferred, InferError> {
    let payloads: Vec<&[u8]> = messages.iter().filter_map(|message| message.payload.as_deref()).collect();
    if payloads.is_empty() {
        return Err(InferError::Nothing);
    }
    let format = detect::format(&payloads)?;
    let is_text = format.kind.as_deref() == Some("csv");
    let tables = |with_arrays| -> Result<Vec<Option<choose::Table>>, InferError> {
        let profiles = profile::profiles(messages, &format, with_arrays)?;
        Ok(profiles.into_iter().map(|profile| choose::table(profile, is_text, about)).collect())
    };
    let mut chosen = tables(true)?;
    if chosen.iter().any(Option::is_none) {
        // Elements that hold nothing: their messages may.
        chosen = tables(false)?;
    }
    let tables: Vec<_> = chosen.into_iter().flatten().collect();
    if tables.is_empty() {
        return Err(InferError::NoColumns);
    }
    let tables = choose::distinct_names(tables);
    Ok(write::configuration(format, &tables, about, messages.len()))
}
