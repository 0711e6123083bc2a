//! Reading from Kafka: one thread polls, and never stops; all it finds becomes [`Event`]s on a bounded channel.
//!
//! Every partition has a queue of its own in librdkafka, split off before it is assigned, so that its messages can
//! stay there (prefetched, bounded) while the group's own events are served. The thread sleeps until one of the
//! queues, or a command, wakes it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset as Position;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::mpsc;

use super::admin::Admin;
use super::copy::{Pages, owned};
use super::{Hooks, KafkaSettings, StartOffset, translate};
use crate::message::{Offset, TopicPartition};
use crate::mq::{Control, Event, MqError, Revocation, Subscription};

/// Events that wait between the polling thread and its reader.
const EVENTS_IN_CHANNEL: usize = 4;
/// The most that one event carries.
const MAX_EVENT_MESSAGES: usize = 1000;
const MAX_EVENT_BYTES: usize = 512 << 10;
/// The longest sleep of the polling thread; every queue wakes it earlier.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// How long the group is left alone after taking over partitions failed.
const REJOIN_AFTER: Duration = Duration::from_secs(1);
/// How often a lost connection is looked at.
const RECONNECT_CHECK: Duration = Duration::from_secs(1);

type Offsets = Vec<(TopicPartition, Offset)>;

/// What was asked of the polling thread since it last looked. Of a partition only the latest wish counts, so however
/// many are made, no more wait than there are partitions.
#[derive(Default)]
struct Orders {
    /// To be left alone, or served again.
    hold: HashMap<TopicPartition, bool>,
    /// To be fetched no more, or again.
    pause: HashMap<TopicPartition, bool>,
    unsubscribe: bool,
}

/// What librdkafka calls back into, on the polling thread (errors and logs: on any).
struct Context {
    hooks: Hooks,
    settings: KafkaSettings,
    topics: Vec<String>,
    /// Whether offsets are committed at all.
    shared: bool,
    /// `None` once the group is left: the end of the stream.
    events: Mutex<Option<mpsc::Sender<Event>>>,
    consumer: OnceLock<Weak<BaseConsumer<Context>>>,
    poller: OnceLock<Thread>,
    /// Partitions that were assigned and not yet taken over by the polling thread.
    assigned: Mutex<Vec<Source>>,
    revoked: Mutex<Vec<TopicPartition>>,
    orders: Mutex<Orders>,
    /// What found no room in the channel yet.
    unsent: Mutex<VecDeque<Event>>,
    denied: Mutex<Option<MqError>>,
    /// When to leave the group and join it anew.
    rejoin: Mutex<Option<Instant>>,
    /// The reader waits for nothing, the polling thread for room in the channel.
    wants_room: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Context {
    fn wake(&self) {
        if let Some(thread) = self.poller.get() {
            thread.unpark();
        }
    }

    /// Sends an event that must arrive; a reader that is gone has given its partitions up.
    fn send(&self, event: Event) {
        let events = locked(&self.events).clone();
        if events.is_none_or(|events| events.blocking_send(event).is_err()) {
            tracing::debug!("an event of the group found no reader");
        }
    }

    fn on_assigned(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let partitions = partitions_of(list);
        if let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) {
            let mut assigned = locked(&self.assigned);
            for source in &partitions {
                // Split before it is assigned: then no message of it ever reaches the common queue.
                if let Some(mut queue) = consumer.split_partition_queue(&source.topic, source.partition) {
                    let poller = self.poller.get().cloned();
                    let filled = Arc::new(AtomicBool::new(true));
                    let fill = filled.clone();
                    queue.set_nonempty_callback(move || {
                        fill.store(true, Ordering::SeqCst);
                        if let Some(thread) = &poller {
                            thread.unpark();
                        }
                    });
                    assigned.push(Source { partition: source.clone(), queue, filled, position: 0 });
                }
            }
        }
        if let StartOffset::At(_) | StartOffset::Time(_) = self.settings.start {
            self.set_start(consumer, list)?;
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(list)?,
            _ => consumer.assign(list)?,
        }
        // librdkafka remembers a pause beyond the assignment that it was meant for.
        consumer.resume(list)?;
        // No message comes before: they are taken by this thread, afterwards.
        self.hooks.connected();
        self.send(Event::Assigned(partitions));
        Ok(())
    }

    /// Ends a rebalance whose partitions could not be taken over, with none of them.
    fn take_none(&self, consumer: &BaseConsumer<Self>) -> KafkaResult<()> {
        locked(&self.assigned).clear();
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&TopicPartitionList::new()),
            _ => consumer.unassign(),
        }
    }

    /// Sets where partitions begin for which the group has committed nothing.
    fn set_start(&self, consumer: &BaseConsumer<Self>, list: &mut TopicPartitionList) -> KafkaResult<()> {
        let timeout = self.settings.request_timeout;
        let committed = consumer.committed_offsets(list.clone(), timeout)?;
        let mut fresh = TopicPartitionList::new();
        for element in committed.elements() {
            if element.offset() == Position::Invalid {
                let start = match self.settings.start {
                    StartOffset::At(offset) | StartOffset::Time(offset) => offset,
                    _ => continue,
                };
                fresh.add_partition_offset(element.topic(), element.partition(), Position::Offset(start))?;
            }
        }
        if matches!(self.settings.start, StartOffset::Time(_)) && fresh.count() > 0 {
            fresh = consumer.offsets_for_times(fresh, timeout)?;
        }
        for element in fresh.elements() {
            // No message that late: begin at the end.
            let position = if let Position::Offset(_) = element.offset() { element.offset() } else { Position::End };
            list.set_partition_offset(element.topic(), element.partition(), position)?;
        }
        Ok(())
    }

    fn on_revoked(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> KafkaResult<()> {
        // What could not be taken over is revoked too, and refused where it is given back.
        let assigned = consumer.assignment().unwrap_or_else(|_| list.clone());
        let mut taken = TopicPartitionList::new();
        for element in list.elements() {
            if assigned.find_partition(element.topic(), element.partition()).is_some() {
                taken.add_partition(element.topic(), element.partition());
            }
        }
        let partitions = partitions_of(&taken);
        if !partitions.is_empty() {
            // What waits to be handed out must not come after the revocation: the partition may soon be ours again.
            locked(&self.unsent).retain_mut(|event| match event {
                Event::Messages(messages) => {
                    messages.retain(|message| !partitions.contains(&message.source));
                    !messages.is_empty()
                }
                Event::End(source, _) => !partitions.contains(source),
                _ => true,
            });
            let lost = consumer.assignment_lost();
            let (reply, released) = blocking::sync_channel(1);
            self.send(Event::Revoked(Revocation { partitions: partitions.clone(), lost, reply }));
            match released.recv_timeout(self.settings.drain_timeout) {
                Ok(offsets) if !lost && self.shared && !offsets.is_empty() => {
                    let mine = offsets.into_iter().filter(|(source, _)| partitions.contains(source)).collect();
                    if let Err(error) = list_of(&mine).and_then(|list| consumer.commit(&list, CommitMode::Sync)) {
                        tracing::warn!(%error, "last commit of revoked partitions failed; their next owner reads some messages again");
                    }
                }
                Ok(_) => {}
                Err(_) => tracing::warn!(
                    ?partitions, timeout = ?self.settings.drain_timeout,
                    "revoked partitions were not drained in time; their next owner reads some messages again"
                ),
            }
            locked(&self.revoked).extend(partitions);
        }
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&taken),
            _ => consumer.unassign(),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        super::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.hooks.lost(reason),
            Some(code) if super::is_denied(code) => {
                *locked(&self.denied) = Some(MqError::Denied { action: "reading".into(), reason: reason.into() });
                self.wake();
            }
            _ => tracing::debug!(target: "librdkafka", %error, reason),
        }
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let done = match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.on_assigned(consumer, list).or_else(|error| self.take_none(consumer).and(Err(error)))
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.on_revoked(consumer, list),
            other => {
                tracing::warn!(error = ?other, "rebalance failed; giving all partitions back");
                consumer.unassign()
            }
        };
        if let Err(error) = done {
            // Leaving the partitions unassigned in silence would stop them for ever.
            tracing::warn!(%error, "taking over partitions failed; the group is joined anew");
            *locked(&self.rejoin) = Some(Instant::now() + REJOIN_AFTER);
            self.send(Event::Error(translate("rebalance", &error)));
        }
    }
}

fn partitions_of(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let mut topics: HashMap<String, Arc<str>> = HashMap::new();
    list.elements()
        .iter()
        .map(|element| {
            let topic = topics.entry(element.topic().to_owned()).or_insert_with(|| element.topic().into());
            TopicPartition { topic: topic.clone(), partition: element.partition() }
        })
        .collect()
}

fn list_of(offsets: &Offsets) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (source, offset) in offsets {
        list.add_partition_offset(&source.topic, source.partition, Position::Offset(*offset))?;
    }
    Ok(list)
}

/// What is known of a partition by the thread that polls it.
struct Source {
    partition: TopicPartition,
    queue: PartitionQueue<Context>,
    /// Set by librdkafka when messages come into a queue that was empty; cleared before it is emptied.
    filled: Arc<AtomicBool>,
    /// The offset after the last message handed out.
    position: Offset,
}

struct Poller {
    consumer: Arc<BaseConsumer<Context>>,
    events: mpsc::Sender<Event>,
    context: Arc<Context>,
    sources: Vec<Source>,
    held: HashSet<TopicPartition>,
    pages: Pages,
    next_source: usize,
    /// Messages in the event before: about as many will come again.
    last_count: usize,
    checked_connection: Instant,
    leaving: bool,
}

impl Poller {
    fn run(mut self) {
        loop {
            let orders = std::mem::take(&mut *locked(&self.context.orders));
            self.obey(orders);
            self.serve_group();
            if self.events.is_closed() && !self.leaving {
                self.leaving = true;
                self.consumer.unsubscribe();
            }
            self.rejoin_if_due();
            if self.leaving && self.consumer.assignment().map_or(0, |assignment| assignment.count()) == 0 {
                break;
            }
            let busy = locked(&self.context.unsent).is_empty() && self.poll_partitions();
            let sent = self.flush();
            if !busy || !sent {
                let asleep = Instant::now();
                thread::park_timeout(LONGEST_SLEEP);
                if asleep.elapsed() >= LONGEST_SLEEP {
                    // Nothing has to be missed for that; it is looked at all the same.
                    self.sources.iter().for_each(|source| source.filled.store(true, Ordering::SeqCst));
                }
            }
        }
        // The queues hold the consumer; only when the last is gone is it closed and its thread of librdkafka ended.
        self.sources.clear();
        locked(&self.context.assigned).clear();
        drop(self.consumer);
        *locked(&self.context.events) = None;
    }

    fn rejoin_if_due(&self) {
        let is_due = locked(&self.context.rejoin).take_if(|due| *due <= Instant::now()).is_some();
        if !is_due || self.leaving {
            return;
        }
        self.consumer.unsubscribe();
        let names: Vec<&str> = self.context.topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.subscribe(&names) {
            self.report(&error, None);
        }
    }

    fn obey(&mut self, orders: Orders) {
        for (partition, hold) in orders.hold {
            match hold {
                true => self.held.insert(partition),
                false => self.held.remove(&partition),
            };
        }
        for pause in [true, false] {
            let wanted = orders.pause.iter().filter(|(_, wanted)| **wanted == pause);
            let offsets: Offsets = wanted.map(|(partition, _)| (partition.clone(), 0)).collect();
            if offsets.is_empty() {
                continue;
            }
            let done = list_of(&offsets).and_then(|list| match pause {
                true => self.consumer.pause(&list),
                false => self.consumer.resume(&list),
            });
            if let Err(error) = done {
                tracing::warn!(%error, pause, "pausing or resuming partitions failed");
            }
        }
        if orders.unsubscribe {
            self.leaving = true;
            self.consumer.unsubscribe();
        }
    }

    /// Serves rebalances, commits and errors, then takes over what they changed.
    fn serve_group(&mut self) {
        while let Some(event) = self.consumer.poll(Duration::ZERO) {
            match event {
                // Partitions are split off before they are assigned, so this one was not (its split failed).
                Ok(message) => {
                    let source = TopicPartition::new(message.topic(), message.partition());
                    let message = owned(&message, source, |bytes| self.pages.copy(bytes));
                    self.later(Event::Messages(vec![message]));
                    break;
                }
                Err(error) => self.report(&error, None),
            }
        }
        let revoked = std::mem::take(&mut *locked(&self.context.revoked));
        if !revoked.is_empty() {
            self.sources.retain(|source| !revoked.contains(&source.partition));
            self.held.retain(|partition| !revoked.contains(partition));
        }
        self.sources.append(&mut locked(&self.context.assigned));
        if let Some(denied) = locked(&self.context.denied).take() {
            self.later(Event::Error(denied));
        }
        if !self.context.hooks.is_connected() && self.checked_connection.elapsed() > RECONNECT_CHECK {
            self.checked_connection = Instant::now();
            if self.consumer.fetch_metadata(Some(""), Duration::from_millis(200)).is_ok() {
                self.context.hooks.connected();
            }
        }
    }

    /// Takes messages of the partitions that have any, from where it last ended; whether there may be more.
    fn poll_partitions(&mut self) -> bool {
        let (mut messages, mut bytes, mut ends) = (Vec::new(), 0, Vec::new());
        let count = self.sources.len();
        for _ in 0..count {
            self.next_source = (self.next_source + 1) % count;
            let source = &mut self.sources[self.next_source];
            if !source.filled.load(Ordering::SeqCst) || self.held.contains(&source.partition) {
                continue;
            }
            source.filled.store(false, Ordering::SeqCst);
            // A name of its own for each event: counting it up and down then disturbs no other thread.
            let partition = TopicPartition::new(&*source.partition.topic, source.partition.partition);
            loop {
                if messages.len() >= MAX_EVENT_MESSAGES || bytes >= MAX_EVENT_BYTES {
                    source.filled.store(true, Ordering::SeqCst);
                    break;
                }
                match source.queue.poll(Duration::ZERO) {
                    Some(Ok(message)) => {
                        if messages.is_empty() {
                            messages.reserve(self.last_count);
                        }
                        let message = owned(&message, partition.clone(), |bytes| self.pages.copy(bytes));
                        bytes += message.weight_bytes();
                        source.position = message.offset + 1;
                        messages.push(message);
                    }
                    Some(Err(error)) => {
                        ends.push((partition, source.position, error));
                        source.filled.store(true, Ordering::SeqCst);
                        break;
                    }
                    None => break,
                }
            }
            if messages.len() >= MAX_EVENT_MESSAGES || bytes >= MAX_EVENT_BYTES {
                break;
            }
        }
        let found = !messages.is_empty() || !ends.is_empty();
        if !messages.is_empty() {
            self.last_count = messages.len();
            self.context.hooks.connected();
            self.later(Event::Messages(messages));
        }
        for (partition, position, error) in ends {
            match error {
                KafkaError::PartitionEOF(_) => self.later(Event::End(partition, position)),
                error => self.report(&error, Some(&partition)),
            }
        }
        found
    }

    fn report(&self, error: &KafkaError, partition: Option<&TopicPartition>) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return; // told by the hook
        }
        // From here on librdkafka does nothing more, and says nothing more.
        if let Some((code, reason)) = self.consumer.client().fatal_error() {
            return self.later(Event::Error(super::fatal(code, reason)));
        }
        let action = match partition {
            None if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                let missing = self.missing_topics();
                return missing.into_iter().for_each(|topic| self.later(Event::Error(MqError::UnknownTopic { topic })));
            }
            Some(partition) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                let (partition, reason) = (partition.clone(), error.to_string());
                return self.later(Event::Error(MqError::NoSuchOffset { partition, reason }));
            }
            Some(partition) => format!("reading {partition}"),
            None => "reading".to_owned(),
        };
        self.later(Event::Error(translate(&action, error)));
    }

    fn later(&self, event: Event) {
        locked(&self.context.unsent).push_back(event);
    }

    /// The topics subscribed by name that are not there. The client's own error does not say.
    fn missing_topics(&self) -> Vec<String> {
        let there = self.consumer.fetch_metadata(None, Duration::from_millis(200));
        let there: HashSet<&str> =
            there.iter().flat_map(|all| all.topics()).map(rdkafka::metadata::MetadataTopic::name).collect();
        let is_missing = |topic: &&String| !topic.starts_with('^') && !there.contains(topic.as_str());
        self.context.topics.iter().filter(is_missing).cloned().collect()
    }

    /// Hands out what there is room for; whether nothing is left.
    fn flush(&mut self) -> bool {
        let mut unsent = locked(&self.context.unsent);
        while let Some(event) = unsent.pop_front() {
            match self.events.try_reserve() {
                Ok(room) => room.send(event),
                Err(mpsc::error::TrySendError::Closed(())) => unsent.clear(),
                Err(mpsc::error::TrySendError::Full(())) => {
                    unsent.push_front(event);
                    // Say so first, then look again: a reader that made room in between has not seen it said.
                    if self.context.wants_room.swap(true, Ordering::SeqCst) || self.events.capacity() == 0 {
                        return false;
                    }
                }
            }
        }
        true
    }
}

pub(super) fn subscribe(
    settings: &KafkaSettings,
    hooks: Hooks,
    topics: &[String],
    group: &str,
    shared: bool,
) -> Result<KafkaSubscription, MqError> {
    let (events, receiver) = mpsc::channel(EVENTS_IN_CHANNEL);
    let context = Context {
        hooks,
        settings: settings.clone(),
        topics: topics.to_vec(),
        shared,
        events: Mutex::new(Some(events.clone())),
        consumer: OnceLock::new(),
        poller: OnceLock::new(),
        assigned: Mutex::default(),
        revoked: Mutex::default(),
        orders: Mutex::default(),
        unsent: Mutex::default(),
        denied: Mutex::default(),
        rejoin: Mutex::default(),
        wants_room: AtomicBool::new(false),
    };
    let config = settings.consumer(group, expected_partitions(settings, topics))?;
    let mut consumer: BaseConsumer<Context> =
        config.create_with_context(context).map_err(|error| translate("making a consumer", &error))?;
    let context = consumer.context().clone();
    let waker = context.clone();
    consumer.set_nonempty_callback(move || waker.wake());
    let consumer = Arc::new(consumer);
    // Set once, here.
    let _ = context.consumer.set(Arc::downgrade(&consumer));
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(|error| translate("subscribe", &error))?;
    let poller = Poller {
        consumer,
        events,
        context: context.clone(),
        sources: Vec::new(),
        held: HashSet::new(),
        pages: Pages::default(),
        next_source: 0,
        last_count: 0,
        checked_connection: Instant::now(),
        leaving: false,
    };
    let started = thread::Builder::new().name("kafka-poll".into()).spawn(move || {
        let _ = poller.context.poller.set(thread::current());
        poller.run();
    });
    started
        .map_err(|error| MqError::Other { action: "starting the polling thread".into(), reason: error.to_string() })?;
    Ok(KafkaSubscription { events: receiver, control: KafkaControl { context } })
}

/// For dividing the prefetch: the partitions there are now, or a guess where nobody answers at once.
fn expected_partitions(settings: &KafkaSettings, topics: &[String]) -> usize {
    const GUESS: usize = 16;
    let Ok(admin) = Admin::new(settings) else { return GUESS };
    let Ok(all) = admin.topics(Duration::from_millis(500)) else { return GUESS };
    let wanted = |name: &str| {
        topics.iter().any(|topic| {
            topic == name || topic.starts_with('^') && regex::Regex::new(topic).is_ok_and(|r| r.is_match(name))
        })
    };
    all.iter().filter(|(name, _)| wanted(name)).map(|(_, partitions)| partitions).sum::<usize>().max(1)
}

/// A subscription to Kafka. Dropping it leaves the group.
pub struct KafkaSubscription {
    events: mpsc::Receiver<Event>,
    control: KafkaControl,
}

impl Subscription for KafkaSubscription {
    type Control = KafkaControl;

    async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        if self.control.context.wants_room.swap(false, Ordering::SeqCst) {
            self.control.context.wake();
        }
        event
    }

    fn control(&self) -> KafkaControl {
        self.control.clone()
    }
}

impl Drop for KafkaSubscription {
    fn drop(&mut self) {
        self.control.unsubscribe();
    }
}

/// Steers a [`KafkaSubscription`].
#[derive(Clone)]
pub struct KafkaControl {
    context: Arc<Context>,
}

impl KafkaControl {
    /// Leaves an order. The thread that obeys ends with the subscription; then there is nothing left to steer.
    fn order(&self, order: impl FnOnce(&mut Orders)) {
        order(&mut locked(&self.context.orders));
        self.context.wake();
    }
}

impl Control for KafkaControl {
    async fn commit(&self, offsets: Offsets) -> Result<(), MqError> {
        if !self.context.shared || offsets.is_empty() {
            return Ok(());
        }
        let consumer = self.context.consumer.get().and_then(Weak::upgrade).ok_or(MqError::Stopped)?;
        // librdkafka tells of an asynchronous commit only through a callback that rdkafka does not set, so a thread waits.
        let committing = move || list_of(&offsets).and_then(|list| consumer.commit(&list, CommitMode::Sync));
        let committed = tokio::task::spawn_blocking(committing).await;
        committed.map_err(|_| MqError::Stopped)?.map_err(|error| translate("commit", &error))
    }

    fn hold(&self, partitions: &[TopicPartition]) {
        self.order(|orders| orders.hold.extend(partitions.iter().map(|partition| (partition.clone(), true))));
    }

    fn unhold(&self, partitions: &[TopicPartition]) {
        self.order(|orders| orders.hold.extend(partitions.iter().map(|partition| (partition.clone(), false))));
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.order(|orders| orders.pause.extend(partitions.iter().map(|partition| (partition.clone(), true))));
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        self.order(|orders| orders.pause.extend(partitions.iter().map(|partition| (partition.clone(), false))));
    }

    fn unsubscribe(&self) {
        self.order(|orders| orders.unsubscribe = true);
    }
}
