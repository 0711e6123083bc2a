//! Where messages go that cannot be written: kept whole, with the reason, before their offset counts as resolved.

mod again;
mod archive;
mod file;
mod letter;
mod limit;
mod replay;
mod topic;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tokio::time::Instant;

pub use self::again::FaultyRows;
pub use self::archive::{Archive, ArchiveError, Entry, Filter};
use self::file::FilePlace;
use self::letter::Line;
pub use self::letter::{DeadLetter, DeadRow, LetterId};
pub use self::limit::Limit;
use self::limit::Window;
pub use self::replay::{Replay, ReplayControl};
pub use self::topic::{Publish, Publishing, TopicPlace};
use crate::message::TopicPartition;
use crate::mq::MqError;

/// The place for dead letters, as a user writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterSetting {
    /// Nowhere: the first bad message stops the consumer.
    #[default]
    None,
    /// A file in this folder.
    File(PathBuf),
    /// A topic.
    Topic(String),
}

/// `none`, `file:FOLDER` or `topic:NAME`.
impl FromStr for DeadLetterSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            Some(("file", folder)) if !folder.is_empty() => Ok(Self::File(folder.into())),
            Some(("topic", topic)) if !topic.is_empty() => Ok(Self::Topic(topic.to_owned())),
            _ => Err(format!("{text:?} is none of none, file:FOLDER, topic:NAME")),
        }
    }
}

impl fmt::Display for DeadLetterSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::File(folder) => write!(f, "file:{}", folder.display()),
            Self::Topic(topic) => write!(f, "topic:{topic}"),
        }
    }
}

/// The place for dead letters.
#[derive(Clone, Debug, Default)]
pub enum DeadLetterTo {
    /// Nowhere: the first bad message stops the consumer.
    #[default]
    None,
    /// A file in this folder, a line of JSON each; every process writes its own.
    File(PathBuf),
    /// A topic; every letter is the message as it was, with what was wrong in headers.
    Topic(TopicPlace),
}

/// Why dead letters cannot be kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There is no place for them.
    #[error(
        "{topic}/{partition} offset {offset}: {reason}. No place for dead letters is set, so the consumer stops here; \
         correct the message's producer, or set --dead-letter topic:NAME or file:FOLDER to set such messages aside"
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
    /// The user wants no such message set aside, or dropped.
    #[error(
        "{topic}/{partition} offset {offset}: {reason}. The policy for such messages is to stop; correct the message's \
         producer, or set the policy to dead-letter or drop"
    )]
    Stop {
        /// The message's topic.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What was wrong with it.
        reason: String,
    },
    /// There are so many that no message is at fault, but the settings.
    #[error(
        "{topic}/{partition} offset {offset}: {reason}. More than {limit} such messages: the consumer stops here, and \
         nothing is lost. Correct the mapping or the super table and start again, or raise --dead-letter-limit"
    )]
    Flood {
        /// The topic of the first that is too much.
        topic: String,
        /// Its partition.
        partition: i32,
        /// Its offset.
        offset: i64,
        /// What was wrong with it.
        reason: String,
        /// What was set.
        limit: Limit,
    },
    /// The file cannot be written.
    #[error("dead letters to {path}: {source}; free space there, or correct the folder's rights")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The topic takes nothing.
    #[error("dead letters to topic {topic}: {source}")]
    Publish {
        /// The topic.
        topic: String,
        /// What was said.
        source: MqError,
    },
}

impl DeadLetterError {
    /// Whether it may heal: then the letters are to be kept again, however long that takes, and nothing is resolved until
    /// they are. All else is for a person to decide.
    pub fn is_transient(&self) -> bool {
        use std::io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::NoPlace { .. } | Self::Stop { .. } | Self::Flood { .. } => false,
            Self::Write { source, .. } => !matches!(
                source.kind(),
                InvalidInput | IsADirectory | NotADirectory | PermissionDenied | ReadOnlyFilesystem
            ),
            Self::Publish { source, .. } => !matches!(
                source,
                MqError::Denied { .. } | MqError::Settings(_) | MqError::TooLarge { .. } | MqError::Stopped
            ),
        }
    }
}

/// Keeps dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    place: Place,
    window: Option<Window>,
    /// What is being replayed.
    before: Arc<[Entry]>,
}

#[derive(Debug)]
enum Place {
    None,
    File(FilePlace),
    Topic(TopicPlace),
}

impl DeadLetters {
    /// Keeps them at `to`; in a folder under the file name `name`, which no other process must use.
    pub fn new(to: DeadLetterTo, name: &str) -> Self {
        let place = match to {
            DeadLetterTo::None => Place::None,
            DeadLetterTo::File(folder) => Place::File(FilePlace::new(folder, name)),
            DeadLetterTo::Topic(topic) => Place::Topic(topic),
        };
        Self { place, window: None, before: Arc::default() }
    }

    /// Counts on the tries of what is among `replayed`.
    pub fn replaying(mut self, replayed: Arc<[Entry]>) -> Self {
        self.before = replayed;
        self
    }

    /// Refuses more than `limit`.
    pub fn with_limit(mut self, limit: Option<Limit>) -> Self {
        self.window = limit.map(Window::new);
        self
    }

    /// Keeps letters, and takes them out of `letters`: when this returns those are on disk, or acknowledged by all in-sync
    /// replicas. What is kept twice, after a crash, counts once.
    ///
    /// # Errors
    /// Those that are left are not kept, and their messages must not be resolved. See [`DeadLetterError::is_transient`].
    pub async fn keep(&mut self, letters: &mut Vec<DeadLetter>) -> Result<(), DeadLetterError> {
        let Some(first) = letters.first() else { return Ok(()) };
        let (DeadLetter { topic, partition, offset, reason, .. }, now) = (first.clone(), Instant::now());
        if let Some(window) = &mut self.window
            && !window.admits(letters.len() as u64, now)
        {
            return Err(DeadLetterError::Flood { topic, partition, offset, reason, limit: window.limit });
        }
        if !self.before.is_empty() {
            letters.iter_mut().for_each(|letter| count_on(&self.before, letter));
        }
        let count = letters.len();
        let kept = match &mut self.place {
            Place::None => Err(DeadLetterError::NoPlace { topic, partition, offset, reason }),
            Place::File(file) => append(file, letters).await.map(|()| letters.clear()),
            Place::Topic(place) => {
                let topic = place.topic().to_owned();
                place.keep(letters).await.map_err(|source| DeadLetterError::Publish { topic, source })
            }
        };
        if let Some(window) = &mut self.window {
            window.count((count - letters.len()) as u64, now);
        }
        kept
    }

    /// Notes letters as done with; when this returns the note is as durable as they are.
    ///
    /// # Errors
    /// Not all of it is.
    pub async fn mark(&mut self, done: Vec<LetterId>) -> Result<(), DeadLetterError> {
        match &mut self.place {
            _ if done.is_empty() => Ok(()),
            Place::None => Ok(()),
            Place::File(file) => append(file, &[Line::Done { done }]).await,
            Place::Topic(place) => {
                let topic = place.topic().to_owned();
                place.mark(done).await.map_err(|source| DeadLetterError::Publish { topic, source })
            }
        }
    }
}

/// A letter of what is being replayed is one more try.
fn count_on(replayed: &[Entry], letter: &mut DeadLetter) {
    let source = TopicPartition::new(letter.topic.as_str(), letter.partition);
    if let Some(before) = archive::find(replayed, &source, letter.offset) {
        let before = &replayed[before];
        letter.tries = before.tries.saturating_add(1);
        // Of a message that failed in part only that part was made this time.
        letter.of_rows = letter.of_rows.max(before.of_rows);
    }
}

async fn append(file: &mut FilePlace, lines: &[impl serde::Serialize]) -> Result<(), DeadLetterError> {
    let path = file.path.clone();
    let failed = |source| DeadLetterError::Write { path: path.clone(), source };
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
    }
    file.append(&text).await.map_err(failed)
}

/// Reads dead letters from the text of a file; lines cut short are passed over.
pub fn read(text: &str) -> Vec<DeadLetter> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::message::{Header, Message, TopicPartition};

    pub(super) fn letter(offset: i64) -> DeadLetter {
        let message = Message {
            source: TopicPartition::new("meters", 3),
            offset,
            timestamp_ms: Some(7),
            key: Some(Bytes::from_static(b"\xffkey")),
            payload: None,
            headers: vec![
                Header { name: "h".into(), value: None },
                Header { name: "i".into(), value: Some(Bytes::from_static(b"x")) },
            ],
        };
        DeadLetter::new(&message, "bad".into(), None, Vec::new(), 9)
    }

    #[tokio::test]
    async fn letters_are_kept_line_by_line_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let to = DeadLetterTo::File(folder.path().join("new"));
        let mut letters = DeadLetters::new(to.clone(), "one");
        letters.keep(&mut vec![letter(1), letter(2)]).await.unwrap();
        letters.keep(&mut vec![letter(3)]).await.unwrap();
        let path = folder.path().join("new/one.jsonl");
        std::fs::write(&path, [&std::fs::read(&path).unwrap()[..], b"{\"topic\":\"cut"].concat()).unwrap();
        DeadLetters::new(to, "one").keep(&mut vec![letter(4)]).await.unwrap();
        let kept = read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(kept, [letter(1), letter(2), letter(3), letter(4)]);
    }

    #[tokio::test]
    async fn without_a_place_the_first_letter_says_where_it_came_from() {
        let refused = DeadLetters::new(DeadLetterTo::None, "x").keep(&mut vec![letter(42)]).await.unwrap_err();
        assert!(!refused.is_transient());
        let refused = refused.to_string();
        assert!(refused.contains("meters/3 offset 42: bad") && refused.contains("--dead-letter"), "{refused}");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_for_a_person_to_mend() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let to = DeadLetterTo::File(file.path().join("below-a-file"));
        let refused = DeadLetters::new(to, "x").keep(&mut vec![letter(1)]).await.unwrap_err();
        assert!(!refused.is_transient(), "{refused}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_heals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.jsonl");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut letters = DeadLetters::new(DeadLetterTo::File(folder.path().into()), "one");
        for _again in 0..2 {
            let full = letters.keep(&mut vec![letter(1)]).await.unwrap_err();
            assert!(full.is_transient() && full.to_string().contains("one.jsonl"), "{full}");
        }
        std::fs::remove_file(&path).unwrap();
        letters.keep(&mut vec![letter(1)]).await.unwrap();
        assert_eq!(read(&std::fs::read_to_string(&path).unwrap()), [letter(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_refused_and_what_was_refused_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let to = DeadLetterTo::File(folder.path().into());
        let mut letters = DeadLetters::new(to, "one").with_limit(Some("3/1m".parse().unwrap()));
        letters.keep(&mut vec![letter(1), letter(2)]).await.unwrap();
        let flood = letters.keep(&mut vec![letter(3), letter(4)]).await.unwrap_err();
        assert!(!flood.is_transient());
        let flood = flood.to_string();
        assert!(flood.contains("meters/3 offset 3") && flood.contains("3/1m"), "{flood}");
        letters.keep(&mut vec![letter(3)]).await.unwrap();
        letters.keep(&mut vec![letter(4)]).await.unwrap_err();
        tokio::time::advance(std::time::Duration::from_secs(61)).await;
        letters.keep(&mut vec![letter(4)]).await.unwrap();
    }

    #[test]
    fn places_are_read_as_they_are_shown() {
        for text in ["none", "file:/tmp/dead", "topic:meters.dead"] {
            assert_eq!(text.parse::<DeadLetterSetting>().unwrap().to_string(), text);
        }
        for text in ["file:", "topic:", "elsewhere"] {
            assert!(text.parse::<DeadLetterSetting>().is_err(), "{text}");
        }
    }
}
