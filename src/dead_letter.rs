//! Where messages go that cannot be written: kept whole, with the reason, before their offset counts as resolved.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt as _;

use crate::message::Message;

/// The place for dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterTo {
    /// Nowhere: the first bad message stops the consumer.
    #[default]
    None,
    /// A file in this folder, a line of JSON each; every process writes its own.
    File(PathBuf),
    /// As a test says.
    #[cfg(test)]
    Told(Told),
}

/// A place that a test makes.
#[cfg(test)]
#[derive(Clone)]
pub struct Told(pub(crate) std::sync::Arc<dyn Fn(&[DeadLetter]) -> std::io::Result<()> + Send + Sync>);

#[cfg(test)]
impl PartialEq for Told {
    fn eq(&self, other: &Self) -> bool {
        std::sync::Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
impl Eq for Told {}

#[cfg(test)]
impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told")
    }
}

/// `none` or `file:FOLDER`.
impl FromStr for DeadLetterTo {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("file", folder)) if !folder.is_empty() => Ok(Self::File(folder.into())),
            _ => Err(format!("{text:?} is neither none nor file:FOLDER")),
        }
    }
}

impl fmt::Display for DeadLetterTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::File(folder) => write!(f, "file:{}", folder.display()),
            #[cfg(test)]
            Self::Told(_) => f.write_str("told"),
        }
    }
}

/// A message that could not be written, as it is kept: all that Kafka had of it, in base64 where it is bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its time in Kafka, milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: Option<i64>,
    /// Its key, base64.
    pub key: Option<String>,
    /// Its payload, base64.
    pub payload: Option<String>,
    /// Its headers: name, and value in base64.
    pub headers: Vec<(String, Option<String>)>,
    /// The server's code, where the server refused it, as `0x060B`.
    pub code: Option<String>,
    /// What was wrong.
    pub reason: String,
    /// When it was put here, milliseconds since 1970-01-01T00:00:00Z.
    pub failed_at_ms: i64,
    /// The rows of the message that are at fault; empty: all of it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<DeadRow>,
}

/// A row that could not be written, of a message that holds others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRow {
    /// Its place among the rows of the message, from 0.
    pub element: u32,
    /// What was wrong.
    pub reason: String,
    /// The server's code, where the server refused it.
    pub code: Option<String>,
}

impl DeadLetter {
    /// What is kept of `message`, which failed for `reason` at `failed_at_ms`.
    pub fn new(message: &Message, reason: String, code: Option<String>, rows: Vec<DeadRow>, failed_at_ms: i64) -> Self {
        Self {
            topic: message.source.topic.to_string(),
            partition: message.source.partition,
            offset: message.offset,
            timestamp_ms: message.timestamp_ms,
            key: message.key.as_ref().map(|key| STANDARD.encode(key)),
            payload: message.payload.as_ref().map(|payload| STANDARD.encode(payload)),
            headers: message
                .headers
                .iter()
                .map(|header| (header.name.clone(), header.value.as_ref().map(|value| STANDARD.encode(value))))
                .collect(),
            code,
            reason,
            failed_at_ms,
            rows,
        }
    }
}

/// Why dead letters cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no place for them.
    #[error(
        "{topic}/{partition} offset {offset}: {reason}. No place for dead letters is set, so the consumer stops here; \
         correct the message's producer, or set --dead-letter file:FOLDER to set such messages aside"
    )]
    NoPlace {
        /// The message's topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What was wrong with it.
        reason: String,
    },
    /// The file cannot be written.
    #[error("dead letters to {path}: {source}; free space there, or correct the folder's rights")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl DeadLetterError {
    /// Whether it may heal: then the letters are to be kept again, however long that takes, and nothing is resolved until
    /// they are. All else is for a person to decide.
    pub fn is_transient(&self) -> bool {
        use std::io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::NoPlace { .. } => false,
            Self::Write { source, .. } => !matches!(
                source.kind(),
                InvalidInput | IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem
            ),
        }
    }
}

/// Keeps dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    to: DeadLetterTo,
    file: Option<(PathBuf, File)>,
    name: String,
}

impl DeadLetters {
    /// Keeps them at `to`; in a folder under the file name `name`, which no other process must use.
    pub fn new(to: DeadLetterTo, name: &str) -> Self {
        Self { to, file: None, name: format!("{name}.jsonl") }
    }

    /// Keeps `letters`; when this returns they are on disk.
    ///
    /// # Errors
    /// They are not; nothing may be resolved.
    pub async fn keep(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let Some(first) = letters.first() else { return Ok(()) };
        let folder = match &self.to {
            DeadLetterTo::None => {
                return Err(DeadLetterError::NoPlace {
                    topic: first.topic.clone(),
                    partition: first.partition,
                    offset: first.offset,
                    reason: first.reason.clone(),
                });
            }
            DeadLetterTo::File(folder) => folder.clone(),
            #[cfg(test)]
            DeadLetterTo::Told(told) => {
                return (told.0)(letters).map_err(|source| DeadLetterError::Write { path: PathBuf::new(), source });
            }
        };
        let path = folder.join(&self.name);
        let failed = |source| DeadLetterError::Write { path: path.clone(), source };
        let mut lines = Vec::new();
        for letter in letters {
            serde_json::to_writer(&mut lines, letter).map_err(|error| failed(error.into()))?;
            lines.push(b'\n');
        }
        if self.file.is_none() {
            self.file = Some((path.clone(), open(&folder, &path).await.map_err(failed)?));
        }
        let Some((_, file)) = &mut self.file else { return Ok(()) };
        let written = async {
            file.write_all(&lines).await?;
            file.flush().await?;
            file.sync_data().await
        };
        let written = written.await;
        if written.is_err() {
            // What was written of a line ends with the file: the next attempt begins a new one.
            self.file = None;
        }
        written.map_err(failed)
    }
}

async fn open(folder: &Path, path: &Path) -> std::io::Result<File> {
    tokio::fs::create_dir_all(folder).await?;
    let mut file = OpenOptions::new().create(true).append(true).open(path).await?;
    // A line cut short by an earlier failure must not swallow the next one.
    if file.metadata().await?.len() > 0 {
        file.write_all(b"\n").await?;
    }
    File::open(folder).await?.sync_all().await?;
    Ok(file)
}

/// Reads dead letters from the text of a file; lines cut short are passed over.
pub fn read(text: &str) -> Vec<DeadLetter> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Header, TopicPartition};

    fn letter(offset: i64) -> DeadLetter {
        let message = Message {
            source: TopicPartition::new("meters", 3),
            offset,
            timestamp_ms: Some(7),
            key: Some(bytes::Bytes::from_static(b"\xffkey")),
            payload: None,
            headers: vec![Header { name: "h".into(), value: None }],
        };
        DeadLetter::new(&message, "bad".into(), None, Vec::new(), 9)
    }

    #[tokio::test]
    async fn letters_are_kept_line_by_line_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let to = DeadLetterTo::File(folder.path().join("new"));
        let mut letters = DeadLetters::new(to.clone(), "one");
        letters.keep(&[letter(1), letter(2)]).await.unwrap();
        letters.keep(&[letter(3)]).await.unwrap();
        let path = folder.path().join("new/one.jsonl");
        std::fs::write(&path, [&std::fs::read(&path).unwrap()[..], b"{\"topic\":\"cut"].concat()).unwrap();
        DeadLetters::new(to, "one").keep(&[letter(4)]).await.unwrap();
        let kept = read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(kept, [letter(1), letter(2), letter(3), letter(4)]);
        assert_eq!(STANDARD.decode(kept[0].key.as_ref().unwrap()).unwrap(), b"\xffkey");
    }

    #[tokio::test]
    async fn without_a_place_the_first_letter_says_where_it_came_from() {
        let refused = DeadLetters::new(DeadLetterTo::None, "x").keep(&[letter(42)]).await.unwrap_err().to_string();
        assert!(refused.contains("meters/3 offset 42: bad") && refused.contains("--dead-letter"), "{refused}");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let to = DeadLetterTo::File(file.path().join("below-a-file"));
        assert!(DeadLetters::new(to, "x").keep(&[letter(1)]).await.is_err());
    }

    #[test]
    fn places_are_read_as_they_are_shown() {
        for text in ["none", "file:/tmp/dead"] {
            assert_eq!(text.parse::<DeadLetterTo>().unwrap().to_string(), text);
        }
        assert!("file:".parse::<DeadLetterTo>().is_err() && "elsewhere".parse::<DeadLetterTo>().is_err());
    }
}
