//! What stands in a place for dead letters: the letters that nobody has noted as done with.
//!
//! A message may have several, of a consumer that was killed before it could commit, or of replays that failed again. They
//! count as one: the last that was put there, of all rows that any of them names. The letters themselves stay where they
//! are, on disk (of a topic: in a temporary file); in memory are some 100 bytes each.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use super::letter::Line;
use super::{DeadLetter, LetterId, topic};
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::MqError;
use crate::mq::kafka::{Admin, KafkaSettings, Reader};

/// Which letters are meant.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these topics; empty: of all.
    pub topics: Vec<String>,
    /// Of this partition.
    pub partition: Option<i32>,
    /// From this offset on.
    pub from: Option<Offset>,
    /// Up to this offset.
    pub to: Option<Offset>,
    /// Whose reason, or that of a row, holds this text, in small or capital letters.
    pub reason: Option<String>,
    /// Whose code, or that of a row, is one of these; empty: all.
    pub codes: Vec<String>,
    /// That failed then or later, in milliseconds since 1970-01-01T00:00:00Z.
    pub since_ms: Option<i64>,
    /// So many at most: the first, in the order of their partitions and offsets.
    pub limit: Option<usize>,
}

impl Filter {
    fn takes(&self, letter: &DeadLetter) -> bool {
        let reasons = || std::iter::once(&letter.reason).chain(letter.rows.iter().map(|row| &row.reason));
        let codes = || letter.code.iter().chain(letter.rows.iter().filter_map(|row| row.code.as_ref()));
        (self.topics.is_empty() || self.topics.contains(&letter.topic))
            && self.partition.is_none_or(|partition| partition == letter.partition)
            && self.from.is_none_or(|from| from <= letter.offset)
            && self.to.is_none_or(|to| letter.offset <= to)
            && self.since_ms.is_none_or(|since| since <= letter.failed_at_ms)
            && (self.codes.is_empty() || codes().any(|code| self.codes.iter().any(|c| c.eq_ignore_ascii_case(code))))
            && self.reason.as_ref().is_none_or(|part| {
                let part = part.to_lowercase();
                reasons().any(|reason| reason.to_lowercase().contains(&part))
            })
    }
}

/// Why a place for dead letters cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file.
    #[error("reading dead letters in {path}: {source}")]
    Read {
        /// The file, or the folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The topic.
    #[error(transparent)]
    Mq(#[from] MqError),
}

/// A message whose letters are not done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stood.
    pub source: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// When its letters were put here, and how often it had failed by then; the last one last.
    letters: Vec<(i64, u32)>,
    /// How often it has failed.
    pub tries: u32,
    /// The rows at fault, by their places in the message, ascending; `None`: all of it.
    pub rows: Option<Vec<u32>>,
    /// How many rows the message had when they were.
    pub of_rows: Option<u32>,
    /// Where its last letter stands: which file, from where, how long.
    file: usize,
    start: u64,
    length: usize,
}

impl Entry {
    /// All letters of the message.
    pub fn ids(&self) -> impl Iterator<Item = LetterId> {
        self.letters.iter().map(|&(failed_at_ms, tries)| LetterId {
            topic: self.source.topic.to_string(),
            partition: self.source.partition,
            offset: self.offset,
            failed_at_ms,
            tries,
        })
    }
}

/// A place for dead letters, read.
#[derive(Debug)]
pub struct Archive {
    files: Vec<File>,
    /// In the order of their partitions and offsets.
    entries: Vec<Entry>,
    done: HashSet<LetterId>,
    unreadable: u64,
}

impl Archive {
    /// Reads the files of a folder. Where there is none there are no letters.
    ///
    /// # Errors
    /// A file, or the folder, cannot be read.
    pub fn of_folder(folder: &Path, filter: &Filter) -> Result<Self, ArchiveError> {
        let failed = |path: &Path, source| ArchiveError::Read { path: path.to_owned(), source };
        let mut paths = Vec::new();
        match std::fs::read_dir(folder) {
            Ok(found) => {
                for file in found {
                    let path = file.map_err(|source| failed(folder, source))?.path();
                    if path.extension().is_some_and(|extension| extension == "jsonl") {
                        paths.push(path);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(folder, source)),
        }
        paths.sort();
        let mut reading = Reading::new(filter);
        for path in paths {
            File::open(&path).and_then(|file| reading.file(file)).map_err(|source| failed(&path, source))?;
        }
        Ok(reading.end())
    }

    /// Reads a topic up to where it ends now.
    ///
    /// # Errors
    /// No broker, or nothing more, within `timeout`; a missing right; no room for temporary files.
    pub async fn of_topic(
        settings: &KafkaSettings,
        topic: &str,
        filter: &Filter,
        timeout: Duration,
    ) -> Result<Self, ArchiveError> {
        let settings = KafkaSettings { request_timeout: timeout, ..settings.clone() };
        let (topic, filter) = (topic.to_owned(), filter.clone());
        off_the_runtime(move || Self::read_topic(&settings, &topic, &filter)).await
    }

    fn read_topic(settings: &KafkaSettings, topic: &str, filter: &Filter) -> Result<Self, ArchiveError> {
        let mut reading = Reading::new(filter);
        let mut spool = Spool::new()?;
        let mut reader = Reader::new(settings, READER)?;
        reader.read(ranges(settings, topic)?);
        while let Some(message) = reader.read_next()? {
            match topic::read(message) {
                Some(line @ Line::Letter(_)) => {
                    let (start, length) = spool.put(&line)?;
                    reading.line(line, 0, start, length);
                }
                Some(note) => reading.line(note, 0, 0, 0),
                None => reading.archive.unreadable += 1,
            }
        }
        reading.archive.files.push(spool.end()?);
        Ok(reading.end())
    }

    /// Reads the payloads that were too large for a topic of dead letters where they came from, and leaves out what is not
    /// there any more; how many that are.
    ///
    /// # Errors
    /// As for [`Self::of_topic`].
    pub async fn complete(mut self, settings: &KafkaSettings) -> Result<(Self, usize), ArchiveError> {
        let settings = settings.clone();
        off_the_runtime(move || {
            let gone = self.read_omitted(&settings)?;
            Ok((self, gone))
        })
        .await
    }

    fn read_omitted(&mut self, settings: &KafkaSettings) -> Result<usize, ArchiveError> {
        let mut spool = Spool::new()?;
        let (file, mut reader) = (self.files.len(), Reader::new(settings, READER)?);
        let mut gone = Vec::new();
        for index in 0..self.entries.len() {
            let mut letter = self.letter(index).map_err(Spool::failed)?;
            if letter.omitted_bytes.take().is_none() {
                continue;
            }
            let Entry { source, offset, .. } = &self.entries[index];
            reader.read([(source.clone(), *offset..offset + 1)]);
            match reader.read_next() {
                Ok(Some(message)) => {
                    let Message { key, payload, headers, .. } = message;
                    let whole = DeadLetter { key, payload, headers, ..letter };
                    let (start, length) = spool.put(&Line::Letter(Box::new(whole)))?;
                    let entry = &mut self.entries[index];
                    (entry.file, entry.start, entry.length) = (file, start, length);
                }
                Ok(None) | Err(MqError::NoSuchOffset { .. } | MqError::UnknownTopic { .. }) => gone.push(index),
                Err(error) => return Err(error.into()),
            }
        }
        self.files.push(spool.end()?);
        gone.iter().rev().for_each(|&index| _ = self.entries.remove(index));
        Ok(gone.len())
    }

    /// The messages whose letters are not done with, in the order of their partitions and offsets.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The letters that are noted as done with: what they hold was put back in.
    pub fn done(&self) -> impl Iterator<Item = &LetterId> {
        self.done.iter()
    }

    /// Lines, or messages, that are no letters: cut short before they counted, or of another program.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The last letter of the message number `index`.
    ///
    /// # Errors
    /// It can no longer be read.
    pub fn letter(&mut self, index: usize) -> std::io::Result<DeadLetter> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let entry = self.entries.get(index).ok_or_else(gone)?;
        let file = self.files.get_mut(entry.file).ok_or_else(gone)?;
        let mut text = vec![0; entry.length];
        file.seek(SeekFrom::Start(entry.start))?;
        file.read_exact(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The message at `offset` of `source`, by its number.
    pub fn find(&self, source: &TopicPartition, offset: Offset) -> Option<usize> {
        find(&self.entries, source, offset)
    }

    /// Leaves out the messages for which `keep` is false.
    pub fn retain(&mut self, keep: impl FnMut(&Entry) -> bool) {
        self.entries.retain(keep);
    }
}

pub(super) fn find(entries: &[Entry], source: &TopicPartition, offset: Offset) -> Option<usize> {
    entries.binary_search_by(|entry| (&entry.source, entry.offset).cmp(&(source, offset))).ok()
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(MqError::Stopped.into()),
    }
}

/// In whose name topics are read; nothing is committed.
const READER: &str = "kafka-taos-dead-letters";

/// All of a topic that there is now.
fn ranges(settings: &KafkaSettings, topic: &str) -> Result<Vec<(TopicPartition, Range<Offset>)>, MqError> {
    let (admin, timeout) = (Admin::new(settings)?, settings.request_timeout);
    let mut ranges = Vec::new();
    for partition in 0..i32::try_from(admin.partitions(topic, timeout)?).unwrap_or(i32::MAX) {
        let source = TopicPartition::new(topic, partition);
        let (first, end) = admin.watermarks(&source, timeout)?;
        ranges.push((source, first..end));
    }
    Ok(ranges)
}

/// Letters on disk that stand in no file.
struct Spool {
    file: BufWriter<File>,
    length: u64,
}

impl Spool {
    fn failed(source: std::io::Error) -> ArchiveError {
        ArchiveError::Read { path: std::env::temp_dir(), source }
    }

    fn new() -> Result<Self, ArchiveError> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile().map_err(Self::failed)?), length: 0 })
    }

    /// Where it stands, and how long it is.
    fn put(&mut self, line: &Line) -> Result<(u64, usize), ArchiveError> {
        let text = serde_json::to_vec(line).map_err(|error| Self::failed(error.into()))?;
        self.file.write_all(&text).map_err(Self::failed)?;
        let start = self.length;
        self.length += text.len() as u64;
        Ok((start, text.len()))
    }

    fn end(self) -> Result<File, ArchiveError> {
        self.file.into_inner().map_err(|error| Self::failed(error.into_error()))
    }
}

/// An archive on its way.
struct Reading<'f> {
    filter: &'f Filter,
    /// An entry a letter; whether the filter takes it.
    found: Vec<(Entry, bool)>,
    done: HashSet<LetterId>,
    topics: HashSet<std::sync::Arc<str>>,
    archive: Archive,
}

impl<'f> Reading<'f> {
    fn new(filter: &'f Filter) -> Self {
        let archive = Archive { files: Vec::new(), entries: Vec::new(), done: HashSet::new(), unreadable: 0 };
        Self { filter, found: Vec::new(), done: HashSet::new(), topics: HashSet::new(), archive }
    }

    fn file(&mut self, file: File) -> std::io::Result<()> {
        let number = self.archive.files.len();
        let mut reader = BufReader::new(file);
        let (mut start, mut text) = (0, Vec::new());
        loop {
            text.clear();
            let length = reader.read_until(b'\n', &mut text)?;
            match serde_json::from_slice::<Line>(&text) {
                Ok(line) => self.line(line, number, start, length),
                Err(_) if text.trim_ascii().is_empty() => {}
                Err(_) => self.archive.unreadable += 1,
            }
            if length == 0 {
                break;
            }
            start += length as u64;
        }
        self.archive.files.push(reader.into_inner());
        Ok(())
    }

    fn line(&mut self, line: Line, file: usize, start: u64, length: usize) {
        let letter = match line {
            Line::Done { done } => return self.done.extend(done),
            Line::Letter(letter) => letter,
        };
        let is_meant = self.filter.takes(&letter);
        let topic = match self.topics.get(letter.topic.as_str()) {
            Some(topic) => topic.clone(),
            None => {
                let topic: std::sync::Arc<str> = letter.topic.as_str().into();
                self.topics.insert(topic.clone());
                topic
            }
        };
        let entry = Entry {
            source: TopicPartition::new(topic, letter.partition),
            offset: letter.offset,
            letters: vec![(letter.failed_at_ms, letter.tries)],
            tries: letter.tries,
            rows: (!letter.rows.is_empty()).then(|| letter.rows.iter().map(|row| row.element).collect()),
            of_rows: letter.of_rows,
            file,
            start,
            length,
        };
        self.found.push((entry, is_meant));
    }

    fn end(mut self) -> Archive {
        let done = self.done;
        let mut found = self.found;
        found.retain(|(entry, _)| entry.ids().all(|id| !done.contains(&id)));
        found.sort_by(|(a, _), (b, _)| (&a.source, a.offset, &a.letters).cmp(&(&b.source, b.offset, &b.letters)));
        let limit = self.filter.limit.unwrap_or(usize::MAX);
        let same = |(a, _): &(Entry, bool), (b, _): &(Entry, bool)| a.source == b.source && a.offset == b.offset;
        let meant = found.chunk_by(same).filter(|copies| copies.last().is_some_and(|(_, is_meant)| *is_meant));
        self.archive.entries.extend(meant.take(limit).filter_map(as_one));
        self.archive.done = done;
        self.archive
    }
}

/// All letters of a message as one.
fn as_one(copies: &[(Entry, bool)]) -> Option<Entry> {
    let mut one = copies.last()?.0.clone();
    one.letters = copies.iter().flat_map(|(entry, _)| entry.letters.clone()).collect();
    one.letters.dedup();
    one.tries = copies.iter().map(|(entry, _)| entry.tries).max()?;
    let rows: Option<Vec<_>> = copies.iter().map(|(entry, _)| entry.rows.as_deref()).collect();
    let alike = copies.iter().all(|(entry, _)| entry.of_rows == one.of_rows);
    one.rows = rows.filter(|_| alike).map(|rows| rows.concat()).map(|mut rows| {
        rows.sort_unstable();
        rows.dedup();
        rows
    });
    Some(one)
}

#[cfg(test)]
mod tests {
    use super::super::tests::letter;
    use super::super::{DeadLetterTo, DeadLetters, DeadRow};
    use super::*;

    fn at(offset: Offset, failed_at_ms: i64) -> DeadLetter {
        DeadLetter { failed_at_ms, ..letter(offset) }
    }

    fn row(element: u32, reason: &str, code: &str) -> DeadRow {
        DeadRow { element, reason: reason.into(), code: Some(code.into()), sql: None }
    }

    fn offsets(archive: &Archive) -> Vec<Offset> {
        archive.entries().iter().map(|entry| entry.offset).collect()
    }

    #[tokio::test]
    async fn letters_of_all_files_come_in_the_order_of_their_offsets_but_those_done_with() {
        let folder = tempfile::tempdir().unwrap();
        let to = || DeadLetterTo::File(folder.path().into());
        let other = DeadLetter { topic: "a".into(), ..at(7, 1) };
        DeadLetters::new(to(), "1").keep(&mut vec![at(1, 1), at(5, 1), at(3, 1)]).await.unwrap();
        DeadLetters::new(to(), "2").keep(&mut vec![at(4, 2), at(2, 2), other]).await.unwrap();
        // A note may stand before its letter, and is of one letter alone, not of a later one of the same message.
        let mut notes = DeadLetters::new(to(), "0");
        notes.mark(vec![at(5, 1).id(), at(4, 1).id()]).await.unwrap();
        std::fs::write(folder.path().join("3.jsonl"), "\n{\"topic\":\"cut").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "no letters").unwrap();
        let mut archive = Archive::of_folder(folder.path(), &Filter::default()).unwrap();
        assert_eq!((offsets(&archive), archive.unreadable()), (vec![7, 1, 2, 3, 4], 1));
        assert_eq!(archive.letter(4).unwrap(), at(4, 2));
        assert_eq!(archive.find(&TopicPartition::new("meters", 3), 3), Some(3));
        assert_eq!(archive.find(&TopicPartition::new("meters", 3), 5), None);
        assert!(archive.letter(5).is_err());
        assert_eq!(
            offsets(&Archive::of_folder(&folder.path().join("none"), &Filter::default()).unwrap()),
            Vec::<Offset>::new()
        );
    }

    #[tokio::test]
    async fn several_letters_of_a_message_count_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut letters = DeadLetters::new(DeadLetterTo::File(folder.path().into()), "1");
        let first = DeadLetter { rows: vec![row(2, "a", "0x1")], ..at(1, 1) };
        let again = DeadLetter { rows: vec![row(0, "b", "0x2"), row(2, "b", "0x2")], tries: 2, ..at(1, 5) };
        let whole = [DeadLetter { rows: vec![row(2, "a", "0x1")], ..at(2, 1) }, at(2, 4)];
        letters.keep(&mut vec![first.clone(), again.clone(), again.clone()]).await.unwrap();
        letters.keep(&mut whole.to_vec()).await.unwrap();
        let mut archive = Archive::of_folder(folder.path(), &Filter::default()).unwrap();
        let [one, two] = archive.entries() else { panic!("{archive:?}") };
        assert_eq!((&one.letters, one.tries, &one.rows), (&vec![(1, 1), (5, 2)], 2, &Some(vec![0, 2])));
        assert_eq!((&two.letters, &two.rows), (&vec![(1, 1), (4, 1)], &None), "all rows of all of them");
        let done: Vec<_> = one.ids().collect();
        assert_eq!(done, [first.id(), again.id()]);
        assert_eq!(archive.letter(0).unwrap(), again, "the last one");
        letters.mark(done).await.unwrap();
        assert_eq!(offsets(&Archive::of_folder(folder.path(), &Filter::default()).unwrap()), [2]);
    }

    #[test]
    fn a_filter_takes_what_all_of_it_fits() {
        let letter = DeadLetter {
            reason: "Value too long".into(),
            code: Some("0x060B".into()),
            rows: vec![row(1, "no such tag", "0x2616")],
            ..at(10, 1000)
        };
        let all = Filter::default();
        for fits in [
            all.clone(),
            Filter { topics: vec!["x".into(), "meters".into()], ..all.clone() },
            Filter { partition: Some(3), from: Some(10), to: Some(10), ..all.clone() },
            Filter { reason: Some("TOO LONG".into()), ..all.clone() },
            Filter { reason: Some("such tag".into()), codes: vec!["0x060b".into()], ..all.clone() },
            Filter { codes: vec!["0x2616".into()], since_ms: Some(1000), ..all.clone() },
        ] {
            assert!(fits.takes(&letter), "{fits:?}");
        }
        for not in [
            Filter { topics: vec!["x".into()], ..all.clone() },
            Filter { partition: Some(2), ..all.clone() },
            Filter { from: Some(11), ..all.clone() },
            Filter { to: Some(9), ..all.clone() },
            Filter { reason: Some("short".into()), ..all.clone() },
            Filter { codes: vec!["0x0".into()], ..all.clone() },
            Filter { since_ms: Some(1001), ..all.clone() },
        ] {
            assert!(!not.takes(&letter), "{not:?}");
        }
    }
}
