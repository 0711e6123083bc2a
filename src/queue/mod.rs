//! A queue bounded by items and by bytes that hands out batches.
//!
//! Many may put and many may take, from async tasks and from plain threads. A batch is handed out as soon as one of
//! these holds; until then takers wait, and nothing polls or ticks:
//!
//! | a batch is due when | so that |
//! |---|---|
//! | `min_batch_items` are there, or `max_batch_bytes` | a busy queue hands out full batches without delay |
//! | the oldest item has lingered long enough | a lone item does not wait for others for ever |
//! | an item found no room | a queue full of few heavy items moves on |
//! | the queue is paused or closed | what is left goes out |
//!
//! Puts that wait stand in line: none overtakes another, so a heavy item is not starved by light ones, and what one
//! producer puts comes out in its order. A put that does not wait is refused while others stand in line.

mod buffer;
mod settings;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_listener::{Event, EventListener, Listener};
use tokio::time::{Instant, sleep_until};

use self::buffer::{Buffer, Door, Look, Supply};
pub use self::settings::{QueueSettings, QueueSettingsError};
pub use self::stats::QueueStats;
use crate::message::Message;

/// What an item weighs in a queue bounded by bytes.
pub trait Weigh {
    /// Its weight in bytes: what it holds in memory, about.
    fn weight_bytes(&self) -> usize;
}

impl Weigh for Message {
    fn weight_bytes(&self) -> usize {
        self.weight_bytes()
    }
}

/// A put that cannot wait was refused; the item is inside.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused<T> {
    /// No room, or others wait for it.
    #[error("the queue is full")]
    Full(T),
    /// Paused: see [`BatchQueue::pause`].
    #[error("the queue is paused")]
    Paused(T),
    /// Closed for good.
    #[error("the queue is closed")]
    Closed(T),
}

impl<T> Refused<T> {
    /// The item.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(item) | Self::Paused(item) | Self::Closed(item) => item,
        }
    }
}

/// The queue was closed before the item was in; it is inside.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is closed")]
pub struct Closed<T = ()>(pub T);

/// A handle to a queue; its clones share it.
///
/// The blocking operations must not be called from async tasks. The async ones are cancel-safe as each says, and
/// `take_batch` needs tokio's timer.
pub struct BatchQueue<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Takers of single items. Rung for one; who leaves something behind rings for the next.
    items: Event,
    /// Takers of batches, likewise; rung when a batch is due, and for the first item, whose linger one of them times.
    batches: Event,
}

struct State<T> {
    buffer: Buffer<T>,
    /// Puts that wait, each with its bell. Only the first may go in; when it leaves, the next is rung.
    line: VecDeque<Arc<Event>>,
}

impl<T: Weigh> BatchQueue<T> {
    /// An empty queue.
    ///
    /// # Errors
    /// Settings that contradict each other.
    pub fn new(settings: QueueSettings) -> Result<Self, QueueSettingsError> {
        settings.check()?;
        let state = State { buffer: Buffer::new(settings), line: VecDeque::new() };
        Ok(Self(Arc::new(Shared { state: Mutex::new(state), items: Event::new(), batches: Event::new() })))
    }

    /// Puts an item in, waiting for room and for the end of a pause.
    ///
    /// Dropped before it is done, it has not put the item, which is dropped with it; [`put_many`](Self::put_many)
    /// leaves it with the caller.
    ///
    /// # Errors
    /// The item, if the queue is closed.
    pub async fn put(&self, item: T) -> Result<(), Closed<T>> {
        let mut one = Some(item);
        let put = self.put_all(&mut one).await;
        put.or_else(|_| one.map_or(Ok(()), |item| Err(Closed(item))))
    }

    /// As [`put`](Self::put), blocking the thread.
    ///
    /// # Errors
    /// The item, if the queue is closed.
    pub fn put_blocking(&self, item: T) -> Result<(), Closed<T>> {
        let mut one = Some(item);
        let put = self.put_all_blocking(&mut one);
        put.or_else(|_| one.map_or(Ok(()), |item| Err(Closed(item))))
    }

    /// Puts an item in if there is room now.
    ///
    /// # Errors
    /// The item, and why it was refused.
    pub fn try_put(&self, item: T) -> Result<(), Refused<T>> {
        let mut one = Some(item);
        let door = self.try_offer(&mut one);
        match (one, door) {
            (None, _) => Ok(()),
            (Some(item), Door::Open) => Err(Refused::Full(item)),
            (Some(item), Door::Paused) => Err(Refused::Paused(item)),
            (Some(item), Door::Closed) => Err(Refused::Closed(item)),
        }
    }

    /// Puts all of `items` in, front first, waiting for room and for the end of a pause.
    ///
    /// Cancel-safe: dropped before it is done, what is not in the queue is still in `items`.
    ///
    /// # Errors
    /// The queue is closed; what did not go in is left in `items`.
    pub async fn put_many(&self, items: &mut VecDeque<T>) -> Result<(), Closed> {
        self.put_all(items).await
    }

    /// As [`put_many`](Self::put_many), blocking the thread.
    ///
    /// # Errors
    /// The queue is closed; what did not go in is left in `items`.
    pub fn put_many_blocking(&self, items: &mut VecDeque<T>) -> Result<(), Closed> {
        self.put_all_blocking(items)
    }

    /// Puts in as many of `items`, front first, as there is room for now, and leaves the rest. Returns how many.
    pub fn try_put_many(&self, items: &mut VecDeque<T>) -> usize {
        let before = items.len();
        self.try_offer(items);
        before - items.len()
    }

    /// The next item, as soon as there is one; `None` once the queue is closed and empty. Cancel-safe.
    pub async fn take(&self) -> Option<T> {
        loop {
            match self.look_for_item() {
                Next::Found(item) => return Some(item),
                Next::Wait(bell, _) => bell.await,
                Next::Closed => return None,
            }
        }
    }

    /// As [`take`](Self::take), blocking the thread.
    pub fn take_blocking(&self) -> Option<T> {
        loop {
            match self.look_for_item() {
                Next::Found(item) => return Some(item),
                Next::Wait(bell, _) => bell.wait(),
                Next::Closed => return None,
            }
        }
    }

    /// The next item, if there is one now.
    pub fn try_take(&self) -> Option<T> {
        match self.look_for_item() {
            Next::Found(item) => Some(item),
            _ => None,
        }
    }

    /// The next batch, of at least one item, as soon as it is due; `None` once the queue is closed and empty.
    /// Cancel-safe.
    pub async fn take_batch(&self) -> Option<Vec<T>> {
        let mut watch = None;
        loop {
            match self.look_for_batch() {
                Next::Found(batch) => return Some(batch),
                Next::Wait(bell, until) => {
                    watch.get_or_insert_with(|| Watch(self));
                    match until {
                        None => bell.await,
                        Some(until) => tokio::select! { () = bell => {}, () = sleep_until(until) => {} },
                    }
                }
                Next::Closed => return None,
            }
        }
    }

    /// As [`take_batch`](Self::take_batch), blocking the thread.
    pub fn take_batch_blocking(&self) -> Option<Vec<T>> {
        loop {
            match self.look_for_batch() {
                Next::Found(batch) => return Some(batch),
                Next::Wait(bell, None) => bell.wait(),
                Next::Wait(bell, Some(until)) => _ = bell.wait_deadline(until.into_std()),
                Next::Closed => return None,
            }
        }
    }

    /// The next batch, if one is due now.
    pub fn try_take_batch(&self) -> Option<Vec<T>> {
        match self.look_for_batch() {
            Next::Found(batch) => Some(batch),
            _ => None,
        }
    }

    /// Lets batches linger, and grow, no further than this, and never beyond the settings. A taker that waits already
    /// keeps to what held when it began.
    pub fn pace(&self, linger: Duration, max_batch_items: usize) {
        self.lock().buffer.pace(linger, max_batch_items);
    }

    /// What the queue was made with.
    pub fn settings(&self) -> QueueSettings {
        self.lock().buffer.settings().clone()
    }

    /// Lets nothing in until [`resume`](Self::resume); what is in can be taken at once.
    pub fn pause(&self) {
        self.lock().buffer.set_door(Door::Paused);
        self.0.batches.notify(1);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        let mut state = self.lock();
        state.buffer.set_door(Door::Open);
        let first = state.line.front().cloned();
        drop(state);
        ring(first);
    }

    /// Lets nothing in any more: puts fail, takers get what is left, then `None`.
    pub fn close(&self) {
        let mut state = self.lock();
        state.buffer.set_door(Door::Closed);
        let line = state.line.clone();
        drop(state);
        line.into_iter().for_each(|bell| ring(Some(bell)));
        self.0.items.notify(usize::MAX);
        self.0.batches.notify(usize::MAX);
    }

    /// How many items are in the queue.
    pub fn len(&self) -> usize {
        self.stats().items
    }

    /// Whether nothing is in the queue.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a bound is reached, so that not even an item of no weight gets in.
    pub fn is_full(&self) -> bool {
        self.stats().is_full()
    }

    /// What the items in the queue weigh.
    pub fn bytes(&self) -> usize {
        self.stats().bytes
    }

    /// Whether the queue is paused.
    pub fn is_paused(&self) -> bool {
        self.stats().paused
    }

    /// Whether the queue is closed; it may still hold items.
    pub fn is_closed(&self) -> bool {
        self.stats().closed
    }

    /// All figures of one moment.
    pub fn stats(&self) -> QueueStats {
        self.lock().buffer.stats()
    }

    async fn put_all(&self, items: &mut impl Supply<T>) -> Result<(), Closed> {
        let mut place = None;
        while let Some(bell) = self.offer(items, &mut place)? {
            bell.await;
        }
        Ok(())
    }

    fn put_all_blocking(&self, items: &mut impl Supply<T>) -> Result<(), Closed> {
        let mut place = None;
        while let Some(bell) = self.offer(items, &mut place)? {
            bell.wait();
        }
        Ok(())
    }

    /// Puts in what fits, unless others stand in line.
    fn try_offer(&self, items: &mut impl Supply<T>) -> Door {
        let mut state = self.lock();
        let empty = state.buffer.is_empty();
        let now = Instant::now();
        if state.line.is_empty() {
            state.buffer.offer(items, now);
        }
        let door = state.buffer.door();
        self.ring_takers(state, empty, now);
        door
    }

    /// Puts in what fits, if it is this put's turn. With items left over it takes a place in line, and returns the
    /// bell to wait for.
    fn offer<'a>(
        &'a self,
        items: &mut impl Supply<T>,
        place: &mut Option<Place<'a, T>>,
    ) -> Result<Option<EventListener>, Closed> {
        let mut state = self.lock();
        if state.buffer.door() == Door::Closed {
            return Err(Closed(()));
        }
        let empty = state.buffer.is_empty();
        let now = Instant::now();
        let first = match place {
            Some(place) => state.line.front().is_some_and(|bell| Arc::ptr_eq(bell, &place.bell)),
            None => state.line.is_empty(),
        };
        if first {
            state.buffer.offer(items, now);
        }
        let bell = items.first().is_some().then(|| {
            let place = place.get_or_insert_with(|| {
                let bell = Arc::new(Event::new());
                state.line.push_back(Arc::clone(&bell));
                Place { queue: self, bell }
            });
            place.bell.listen()
        });
        self.ring_takers(state, empty, now);
        Ok(bell)
    }

    fn ring_takers(&self, state: MutexGuard<'_, State<T>>, was_empty: bool, now: Instant) {
        let some = !state.buffer.is_empty();
        let look = some && (was_empty || state.buffer.is_due(now));
        drop(state);
        if some {
            self.0.items.notify(1);
        }
        if look {
            self.0.batches.notify(1);
        }
    }

    fn look_for_item(&self) -> Next<T> {
        self.look(&self.0.items, Buffer::take)
    }

    fn look_for_batch(&self) -> Next<Vec<T>> {
        self.look(&self.0.batches, |buffer| buffer.take_batch(Instant::now()))
    }

    /// Takes what is there, or hangs up a bell: under the lock, so that no change goes unheard.
    fn look<B>(&self, event: &Event, take: impl FnOnce(&mut Buffer<T>) -> Look<B>) -> Next<B> {
        let mut state = self.lock();
        let found = match take(&mut state.buffer) {
            Look::Found(found) => found,
            Look::Wait(until) => return Next::Wait(event.listen(), until),
            Look::Closed => return Next::Closed,
        };
        // The first put in line may have room now, and the next taker something left to take.
        let first = state.line.front().cloned();
        let some = !state.buffer.is_empty();
        drop(state);
        ring(first);
        if some {
            self.0.items.notify(1);
            self.0.batches.notify(1);
        }
        Next::Found(found)
    }
}

/// The answer to a taker, with the bell to wait for.
enum Next<B> {
    Found(B),
    Wait(EventListener, Option<Instant>),
    Closed,
}

impl<T> BatchQueue<T> {
    /// A panic in an item's `weight_bytes` leaves the state whole, so a poisoned lock is used on.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ring(bell: Option<Arc<Event>>) {
    if let Some(bell) = bell {
        bell.notify(1);
    }
}

/// A put's place in line, given up when it is done or dropped.
struct Place<'a, T> {
    queue: &'a BatchQueue<T>,
    bell: Arc<Event>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.line.retain(|bell| !Arc::ptr_eq(bell, &self.bell));
        let first = state.line.front().cloned();
        drop(state);
        ring(first);
    }
}

/// A taker of batches that waits: it may be the one that times the linger. When it goes, the next looks.
struct Watch<'a, T: Weigh>(&'a BatchQueue<T>);

impl<T: Weigh> Drop for Watch<'_, T> {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            self.0.0.batches.notify(1);
        }
    }
}

impl<T> Clone for BatchQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Weigh> fmt::Debug for BatchQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BatchQueue").field(&self.stats()).finish()
    }
}

impl<T: Weigh> fmt::Display for BatchQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}
