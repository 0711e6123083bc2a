//! Dead letters as a subscription, so that an ordinary pipeline puts them back in: each as the message it was, at its own
//! partition and offset. What is committed is noted as done with, after its rows are written.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::Event as Bell;

use super::archive::{Archive, Entry};
use super::{DeadLetterError, DeadLetters, LetterId};
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::{Control, Event, MqError, Revocation, Subscription};

/// The most that one event carries.
const MAX_EVENT_MESSAGES: usize = 1000;
const MAX_EVENT_BYTES: usize = 512 << 10;
/// A release comes over a plain channel that wakes nobody: while one is awaited, it is looked for so often.
const RELEASE_CHECK: Duration = Duration::from_millis(10);

type Offsets = Vec<(TopicPartition, Offset)>;

/// The letters of an archive, to be replayed.
pub struct Replay {
    archive: Archive,
    control: ReplayControl,
    began: bool,
    /// The partitions were revoked; their last offsets are awaited.
    leaving: Option<Receiver<Offsets>>,
    turn: usize,
}

/// Steers a [`Replay`].
#[derive(Clone)]
pub struct ReplayControl(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Bell,
    /// Where letters are noted as done with.
    notes: tokio::sync::Mutex<DeadLetters>,
    entries: Arc<[Entry]>,
}

struct State {
    sources: Vec<Source>,
    held: HashSet<TopicPartition>,
    paused: HashSet<TopicPartition>,
    left: bool,
}

/// A partition, and its entries.
struct Source {
    partition: TopicPartition,
    /// Not handed out yet.
    ahead: Range<usize>,
    /// Handed out, and not noted as done with.
    behind: Range<usize>,
    told_end: bool,
}

impl Replay {
    /// Replays all messages of `archive`, and notes them as done with in `notes`.
    pub fn new(archive: Archive, notes: DeadLetters) -> Self {
        let entries: Arc<[Entry]> = archive.entries().into();
        let mut sources = Vec::new();
        let mut at = 0;
        for run in entries.chunk_by(|a, b| a.source == b.source) {
            let ahead = at..at + run.len();
            sources.push(Source { partition: run[0].source.clone(), behind: at..at, ahead, told_end: false });
            at += run.len();
        }
        let state = State { sources, held: HashSet::new(), paused: HashSet::new(), left: false };
        let notes = tokio::sync::Mutex::new(notes);
        let shared = Shared { state: Mutex::new(state), changed: Bell::new(), notes, entries };
        Self { archive, control: ReplayControl(Arc::new(shared)), began: false, leaving: None, turn: 0 }
    }

    /// What is being replayed.
    pub fn entries(&self) -> Arc<[Entry]> {
        self.control.0.entries.clone()
    }

    /// The next event that needs no waiting; `Ok(None)`: there is none now.
    fn look(&mut self) -> Result<Option<Event>, MqError> {
        let mut state = self.control.0.state();
        let sources: Vec<_> = state.sources.iter().map(|source| source.partition.clone()).collect();
        if !std::mem::replace(&mut self.began, true) {
            return Ok(Some(Event::Assigned(sources)));
        }
        if state.left {
            let (reply, released) = sync_channel(1);
            self.leaving = Some(released);
            return Ok(Some(Event::Revoked(Revocation { partitions: sources, lost: false, reply })));
        }
        let State { sources, held, paused, .. } = &mut *state;
        for _ in 0..sources.len() {
            self.turn = (self.turn + 1) % sources.len();
            let source = &mut sources[self.turn];
            if held.contains(&source.partition) || paused.contains(&source.partition) {
                continue;
            }
            if source.ahead.is_empty() {
                if std::mem::replace(&mut source.told_end, true) {
                    continue;
                }
                return Ok(Some(Event::End(source.partition.clone(), self.control.0.position(source))));
            }
            let (messages, read) = read(&mut self.archive, source.ahead.clone())?;
            source.ahead.start += read;
            source.behind.end = source.ahead.start;
            return Ok(Some(Event::Messages(messages)));
        }
        Ok(None)
    }
}

/// Some of the messages of `entries`, from the first on, and how many.
fn read(archive: &mut Archive, entries: Range<usize>) -> Result<(Vec<Message>, usize), MqError> {
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for index in entries {
        let read = archive.letter(index);
        let message = read.map_err(|error| other("reading a dead letter", error.to_string()))?.into_message();
        bytes += message.weight_bytes();
        messages.push(message);
        if messages.len() >= MAX_EVENT_MESSAGES || bytes >= MAX_EVENT_BYTES {
            break;
        }
    }
    let read = messages.len();
    Ok((messages, read))
}

fn other(action: &str, reason: String) -> MqError {
    MqError::Other { action: action.to_owned(), reason }
}

impl Subscription for Replay {
    type Control = ReplayControl;

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(released) = &self.leaving {
                match released.try_recv() {
                    Ok(offsets) => {
                        self.leaving = None;
                        // What is not noted is replayed once more.
                        if let Err(error) = self.control.commit(offsets).await {
                            tracing::warn!(%error, "the last letters are not noted as done with");
                        }
                        return None;
                    }
                    Err(TryRecvError::Disconnected) => return None,
                    Err(TryRecvError::Empty) => tokio::time::sleep(RELEASE_CHECK).await,
                }
                continue;
            }
            let changed = self.control.0.changed.listen();
            match self.look() {
                Ok(Some(event)) => return Some(event),
                Ok(None) => changed.await,
                Err(error) => {
                    // The file will not get better: nothing more is read, what was read is finished.
                    self.control.0.state().sources.iter_mut().for_each(|source| source.ahead.end = source.ahead.start);
                    return Some(Event::Error(MqError::Settings(error.to_string())));
                }
            }
        }
    }

    fn control(&self) -> ReplayControl {
        self.control.clone()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The offset after the last that was handed out.
    fn position(&self, source: &Source) -> Offset {
        source.ahead.start.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(0, |entry| entry.offset + 1)
    }

    /// The letters that an offset says are done with, and up to which entry.
    fn done(&self, partition: &TopicPartition, offset: Offset) -> Option<(usize, Vec<LetterId>)> {
        let state = self.state();
        let source = state.sources.iter().find(|source| source.partition == *partition)?;
        let behind = &self.entries[source.behind.clone()];
        let count = behind.partition_point(|entry| entry.offset < offset);
        Some((source.behind.start + count, behind[..count].iter().flat_map(Entry::ids).collect()))
    }
}

impl Control for ReplayControl {
    /// Notes what is below the offsets as done with.
    async fn commit(&self, offsets: Offsets) -> Result<(), MqError> {
        // One at a time, so that nothing is noted twice.
        let mut notes = self.0.notes.lock().await;
        let done: Vec<_> = offsets
            .into_iter()
            .filter_map(|(partition, offset)| {
                let (up_to, ids) = self.0.done(&partition, offset)?;
                Some((partition, up_to, ids))
            })
            .collect();
        let ids = done.iter().flat_map(|(_, _, ids)| ids.iter().cloned()).collect();
        notes
            .mark(ids)
            .await
            .map_err(|error: DeadLetterError| other("noting letters as done with", error.to_string()))?;
        let mut state = self.0.state();
        for (partition, up_to, _) in done {
            if let Some(source) = state.sources.iter_mut().find(|source| source.partition == partition) {
                source.behind.start = up_to;
            }
        }
        Ok(())
    }

    fn hold(&self, partitions: &[TopicPartition]) {
        self.0.state().held.extend(partitions.iter().cloned());
    }

    fn unhold(&self, partitions: &[TopicPartition]) {
        self.0.state().held.retain(|held| !partitions.contains(held));
        self.0.changed.notify(usize::MAX);
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.0.state().paused.extend(partitions.iter().cloned());
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.0.state().paused.retain(|paused| !partitions.contains(paused));
        self.0.changed.notify(usize::MAX);
    }

    fn unsubscribe(&self) {
        self.0.state().left = true;
        self.0.changed.notify(usize::MAX);
    }
}
