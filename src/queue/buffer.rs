//! What a queue holds, and when a batch of it is due. Knows neither clock nor waiting: time is passed in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::{QueueSettings, QueueStats, Weigh};

/// Whether items may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Open,
    Paused,
    Closed,
}

/// Items to be put in, one or many; refused ones stay here.
pub(super) trait Supply<T> {
    fn first(&self) -> Option<&T>;
    fn pop(&mut self) -> Option<T>;
}

impl<T> Supply<T> for VecDeque<T> {
    fn first(&self) -> Option<&T> {
        self.front()
    }
    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }
}

impl<T> Supply<T> for Option<T> {
    fn first(&self) -> Option<&T> {
        self.as_ref()
    }
    fn pop(&mut self) -> Option<T> {
        self.take()
    }
}

/// The answer to a taker.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look<B> {
    Found(B),
    /// Nothing yet: look again when something changes, or at that time.
    Wait(Option<Instant>),
    /// Nothing, and nothing will come.
    Closed,
}

#[derive(Debug)]
pub(super) struct Buffer<T> {
    settings: QueueSettings,
    /// Within the settings, what holds now.
    linger: Duration,
    max_batch_items: usize,
    /// Each with its weight, so that what came in is what goes out.
    items: VecDeque<(T, usize)>,
    /// When the items came, one entry for all that came at once: the time, and the number of items ever in by then.
    arrivals: VecDeque<(Instant, u64)>,
    bytes: usize,
    enqueued: u64,
    dequeued: u64,
    /// An item found no room since the last was taken: waiting for a fuller batch would be waiting for nothing.
    cramped: bool,
    door: Door,
}

impl<T: Weigh> Buffer<T> {
    pub(super) fn new(settings: QueueSettings) -> Self {
        Self {
            linger: settings.linger,
            max_batch_items: settings.max_batch_items,
            settings,
            items: VecDeque::new(),
            arrivals: VecDeque::new(),
            bytes: 0,
            enqueued: 0,
            dequeued: 0,
            cramped: false,
            door: Door::Open,
        }
    }

    /// Moves items in, first to last, as long as they fit.
    pub(super) fn offer(&mut self, items: &mut impl Supply<T>, now: Instant) {
        if self.door != Door::Open {
            return;
        }
        let before = self.enqueued;
        while let Some(weight) = items.first().map(Weigh::weight_bytes) {
            if !self.fits(weight) {
                self.cramped = true;
                break;
            }
            self.items.extend(items.pop().map(|item| (item, weight)));
            self.bytes += weight;
            self.enqueued += 1;
        }
        if self.enqueued > before {
            self.arrivals.push_back((now, self.enqueued));
        }
    }

    fn fits(&self, weight: usize) -> bool {
        self.items.is_empty()
            || (self.items.len() < self.settings.max_queue_items
                && self.bytes.saturating_add(weight) <= self.settings.max_queue_bytes)
    }

    pub(super) fn take(&mut self) -> Look<T> {
        match self.pop() {
            Some(item) => Look::Found(item),
            None if self.door == Door::Closed => Look::Closed,
            None => Look::Wait(None),
        }
    }

    pub(super) fn take_batch(&mut self, now: Instant) -> Look<Vec<T>> {
        if self.items.is_empty() {
            return if self.door == Door::Closed { Look::Closed } else { Look::Wait(None) };
        }
        if !self.is_due(now) {
            return Look::Wait(self.lingers_until());
        }
        let mut bytes = 0_usize;
        let fitting = self.items.iter().take(self.max_batch_items).take_while(|(_, weight)| {
            bytes = bytes.saturating_add(*weight);
            bytes <= self.settings.max_batch_bytes
        });
        let count = fitting.count().max(1);
        let mut batch = Vec::with_capacity(count);
        batch.extend((0..count).map_while(|_| self.pop()));
        Look::Found(batch)
    }

    /// Whether a batch would be handed out now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.items.is_empty()
            && (self.items.len() >= self.settings.min_batch_items.min(self.max_batch_items)
                || self.bytes >= self.settings.max_batch_bytes
                || self.cramped
                || self.door != Door::Open
                || self.lingers_until().is_some_and(|until| until <= now))
    }

    /// When the oldest item has waited long enough; `None` where that is never.
    fn lingers_until(&self) -> Option<Instant> {
        self.arrivals.front().and_then(|(at, _)| at.checked_add(self.linger))
    }

    fn pop(&mut self) -> Option<T> {
        let (item, weight) = self.items.pop_front()?;
        self.bytes -= weight;
        self.dequeued += 1;
        self.cramped = false;
        if self.arrivals.front().is_some_and(|(_, last)| *last <= self.dequeued) {
            self.arrivals.pop_front();
        }
        Some(item)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn door(&self) -> Door {
        self.door
    }

    pub(super) fn pace(&mut self, linger: Duration, max_batch_items: usize) {
        self.linger = linger.min(self.settings.linger);
        self.max_batch_items = max_batch_items.clamp(1, self.settings.max_batch_items);
    }

    pub(super) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// Opens, pauses or closes; what is closed stays closed.
    pub(super) fn set_door(&mut self, door: Door) {
        if self.door != Door::Closed {
            self.door = door;
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            items: self.items.len(),
            max_items: self.settings.max_queue_items,
            bytes: self.bytes,
            max_bytes: self.settings.max_queue_bytes,
            enqueued: self.enqueued,
            dequeued: self.dequeued,
            paused: self.door == Door::Paused,
            closed: self.door == Door::Closed,
        }
    }
}
