//! What comes of each event: messages dealt to the workers, partitions taken over and let go.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::PipelineSettings;
use crate::ack::Epoch;
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::{Control, Event, MqError, Revocation};
use crate::stats::Stats;
use crate::worker::{Delivery, Shared, Store, Worker, of_member};

type Offsets = Vec<(TopicPartition, Offset)>;

/// A worker, seen from the intake.
struct Lane {
    worker: Worker,
    /// What found no room in the worker's queue; its partitions are held meanwhile.
    waiting: VecDeque<Delivery>,
    held: bool,
}

/// Where a partition of ours goes.
#[derive(Clone, Copy)]
struct Owned {
    epoch: Epoch,
    lane: usize,
    /// The offset after the last message that was read.
    position: Offset,
    at_end: bool,
}

/// Takes events in, and deals messages to the workers.
pub(super) struct Intake<S: Store, C> {
    pub(super) control: C,
    shared: Arc<Shared<S>>,
    lanes: Vec<Lane>,
    owned: HashMap<TopicPartition, Owned>,
    /// When partitions were last given to us or taken away; `None`: the group has not answered yet.
    settled_since: Option<Instant>,
    /// When to say that the group has not answered yet.
    remind_at: Option<Instant>,
    /// Held while offsets are committed, so that no older ones arrive after those of a release.
    committing: Arc<Mutex<()>>,
    ends: HashMap<TopicPartition, Offset>,
    drain_timeout: Duration,
    paused: bool,
}

/// A member that owns nothing for so long will get nothing.
const NOTHING_FOR_US: Duration = Duration::from_secs(5);

/// A group that is silent for so long may not know this member's language: librdkafka does not tell.
const NO_ANSWER: Duration = Duration::from_secs(15);

impl<S: Store, C: Control> Intake<S, C> {
    pub(super) fn new(settings: &PipelineSettings, shared: Arc<Shared<S>>, control: C, workers: Vec<Worker>) -> Self {
        let lane = |worker| Lane { worker, waiting: VecDeque::new(), held: false };
        Self {
            control,
            shared,
            lanes: workers.into_iter().map(lane).collect(),
            owned: HashMap::new(),
            settled_since: None,
            remind_at: Some(Instant::now() + NO_ANSWER),
            committing: Arc::default(),
            ends: settings.until_end.clone().unwrap_or_default(),
            drain_timeout: settings.drain_timeout,
            paused: false,
        }
    }

    pub(super) fn take(&mut self, event: Event, ending: bool) {
        match event {
            Event::Messages(_) if ending => {} // not resolved, so they are read again
            Event::Messages(messages) => self.deal(messages),
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked(revocation) => self.revoked(revocation),
            Event::End(source, _) => {
                if let Some(owned) = self.owned.get_mut(&source) {
                    owned.at_end = true;
                }
            }
            Event::Error(_) => {} // told apart by the caller
        }
        // What waited may be gone: put in just now, or revoked.
        self.unhold();
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        if !partitions.is_empty() {
            tracing::info!(partitions = %names(&partitions), "partitions assigned");
        }
        self.settled_since = Some(Instant::now());
        if self.paused {
            self.control.pause(&partitions);
        }
        for source in partitions {
            let epoch = self.shared.progress().acks.assign(source.clone());
            let load = |lane: usize| self.owned.values().filter(|owned| owned.lane == lane).count();
            let lane = (0..self.lanes.len()).min_by_key(|&lane| load(lane)).unwrap_or(0);
            if self.lanes[lane].held {
                self.control.hold(std::slice::from_ref(&source));
            }
            self.shared.progress().lanes.insert(source.clone(), lane);
            self.owned.insert(source, Owned { epoch, lane, position: 0, at_end: false });
        }
    }

    /// Says once that the group has not answered.
    pub(super) fn remind(&mut self) {
        if self.settled_since.is_none() && self.remind_at.take_if(|at| *at <= Instant::now()).is_some() {
            tracing::warn!(
                "no partitions for {NO_ANSWER:?}: the group has not answered yet; \
                 with group.protocol=consumer the broker must have KIP-848 (Apache Kafka 4.0)"
            );
        }
    }

    /// Nothing new of the partitions is begun; when what is in flight is answered, they are let go.
    fn revoked(&mut self, revocation: Revocation) {
        tracing::info!(partitions = %names(&revocation.partitions), lost = revocation.lost, "partitions revoked");
        self.settled_since = Some(Instant::now());
        let epoch = |source: &TopicPartition| Some((source.clone(), self.owned.remove(source)?.epoch));
        let leaving: Vec<(TopicPartition, Epoch)> = revocation.partitions.iter().filter_map(epoch).collect();
        {
            let mut progress = self.shared.progress();
            revocation.partitions.iter().for_each(|source| _ = progress.lanes.remove(source));
            if revocation.lost {
                // They are another's already, who may have written later values: not even what is begun is tried again.
                leaving.iter().for_each(|(source, _)| _ = progress.acks.revoke(source));
            } else {
                progress.leaving.extend(leaving.iter().map(|(_, epoch)| *epoch));
            }
        }
        if revocation.lost {
            self.shared.session.doubt();
        }
        for lane in &mut self.lanes {
            lane.waiting.retain(|delivery| leaving.iter().all(|(_, epoch)| *epoch != delivery.epoch));
        }
        let batches: Vec<_> = self.lanes.iter().map(|lane| lane.worker.batches.clone()).collect();
        let (shared, committing) = (self.shared.clone(), self.committing.clone());
        let deadline = Instant::now() + self.drain_timeout.mul_f32(0.9);
        // Its owner is the revocation: the task ends when that is released, or with its deadline.
        tokio::spawn(of_member(async move {
            for batches in batches {
                if timeout_at(deadline, batches.settled()).await.is_err() {
                    Stats::add(&shared.stats.undrained, 1);
                    tracing::warn!(
                        "revoked partitions are let go with writes unanswered; their rows are written again"
                    );
                    break;
                }
            }
            let committing = timeout_at(deadline, committing.lock()).await;
            let offsets = {
                let mut progress = shared.progress();
                let finals = leaving.into_iter().filter_map(|(source, epoch)| {
                    progress.leaving.remove(&epoch);
                    // The partition may be ours again by now.
                    let is_over = progress.acks.epoch(&source) != Some(epoch);
                    let offset = if is_over { None } else { progress.acks.revoke(&source) };
                    Some((source, offset?))
                });
                finals.collect::<Vec<_>>()
            };
            drop(committing);
            // Who waits for the group's word on them waits in vain.
            shared.session.wake();
            if !revocation.lost {
                offsets.iter().for_each(|(source, offset)| shared.stats.committed(source, *offset));
            }
            revocation.release(offsets);
        }));
    }

    fn deal(&mut self, messages: Vec<Message>) {
        let lengths: Vec<usize> = messages.chunk_by(|a, b| a.source == b.source).map(<[Message]>::len).collect();
        let mut messages = messages.into_iter();
        for length in lengths {
            let (run, source) = (&messages.as_slice()[..length], messages.as_slice()[0].source.clone());
            let taken = self.owned.get_mut(&source).and_then(|owned| deliver(&self.shared, &source, owned, run));
            let run = messages.by_ref().take(length);
            let (Some(from), Some(owned)) = (taken, self.owned.get(&source)) else {
                run.for_each(drop);
                continue;
            };
            let (epoch, lane) = (owned.epoch, &mut self.lanes[owned.lane]);
            let run = run.filter(|message| message.offset >= from);
            lane.waiting.extend(run.map(|message| Delivery { message, epoch }));
            lane.worker.queue.try_put_many(&mut lane.waiting);
            if !lane.waiting.is_empty() && !lane.held {
                lane.held = true;
                let held = self.of_lane(self.owned[&source].lane);
                self.control.hold(&held);
            }
        }
    }

    fn of_lane(&self, lane: usize) -> Vec<TopicPartition> {
        self.owned.iter().filter(|(_, owned)| owned.lane == lane).map(|(source, _)| source.clone()).collect()
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.waiting.is_empty())
    }

    /// Ends when one of the lanes has put all that waited into its queue. Cancel-safe: the rest stays here.
    pub(super) async fn refill(&mut self) {
        let waiting = self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty());
        let mut puts: FuturesUnordered<_> =
            waiting.map(|lane| async { lane.worker.queue.put_many(&mut lane.waiting).await }).collect();
        // A closed queue takes nothing more; then all of this is over.
        let _ = puts.next().await;
    }

    pub(super) fn unhold(&mut self) {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].held && self.lanes[lane].waiting.is_empty() {
                self.lanes[lane].held = false;
                self.control.unhold(&self.of_lane(lane));
            }
        }
    }

    pub(super) fn pause(&mut self, pause: bool) {
        if self.paused == pause {
            return;
        }
        self.paused = pause;
        let all: Vec<_> = self.owned.keys().cloned().collect();
        if pause {
            tracing::warn!("nothing can be written; all partitions are paused until it can, nothing is lost");
            self.control.pause(&all);
        } else {
            tracing::info!("what is read can be written again; all partitions go on");
            self.control.resume(&all);
        }
    }

    /// Nothing more is taken in; what the queues hold is still written.
    pub(super) fn close(&mut self) {
        for lane in &mut self.lanes {
            lane.waiting.clear();
            lane.worker.queue.pause();
            lane.worker.queue.close();
        }
    }

    /// Whether something waits to be written, and the group should be asked whether it is still ours.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.shared.session.is_due() && self.shared.progress().acks.unresolved() > 0
    }

    /// Commits what is resolved, if anything is; and where all stands, if the group is to be asked.
    pub(super) fn commit(&self) -> Option<impl Future<Output = (Offsets, Result<(), MqError>)> + use<S, C>> {
        let due = |shared: &Shared<S>| {
            let (is_due, progress) = (shared.session.is_due(), shared.progress());
            if is_due && progress.acks.unresolved() > 0 {
                progress.acks.positions()
            } else {
                progress.acks.committable()
            }
        };
        if due(&self.shared).is_empty() {
            return None;
        }
        let (control, shared, committing) = (self.control.clone(), self.shared.clone(), self.committing.clone());
        Some(async move {
            let _committing = committing.lock().await;
            let (offsets, asked) = (due(&shared), shared.session.moment());
            let outcome = control.commit(offsets.clone()).await;
            if outcome.is_ok() && !offsets.is_empty() {
                shared.session.confirm(asked);
            }
            (offsets, outcome)
        })
    }

    /// Whether the commit went through.
    pub(super) fn committed(&self, offsets: Offsets, outcome: Result<(), MqError>) -> bool {
        let mut failing = self.shared.commit_error.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Err(error) = outcome {
            let (since, failures) =
                failing.take().map_or((Instant::now(), 0), |(since, failures, _)| (since, failures));
            *failing = Some((since, failures + 1, error.to_string()));
            drop(failing);
            tracing::warn!(%error, "commit failed; it is tried again, nothing is lost");
            return false;
        }
        *failing = None;
        drop(failing);
        let mut progress = self.shared.progress();
        for (source, offset) in offsets {
            progress.acks.committed(&source, offset);
            self.shared.stats.committed(&source, offset);
        }
        true
    }

    pub(super) fn is_at_end(&self) -> bool {
        let done = |(source, owned): (&TopicPartition, &Owned)| {
            owned.at_end || self.ends.get(source).is_some_and(|end| owned.position >= *end)
        };
        match self.settled_since {
            None => false,
            Some(since) if self.owned.is_empty() => since.elapsed() >= NOTHING_FOR_US,
            // What waits for room in a queue is read, and not yet taken in.
            Some(_) => !self.is_waiting() && self.owned.iter().all(done),
        }
    }
}

/// Notes messages of a partition, in order, as delivered. Returns the offset from which on they are taken; `None` for none
/// of them.
fn deliver<S: Store>(
    shared: &Shared<S>,
    source: &TopicPartition,
    owned: &mut Owned,
    run: &[Message],
) -> Option<Offset> {
    let mut progress = shared.progress();
    let mut from = run.first()?.offset;
    if from < owned.position {
        // Read again from further back.
        if progress.acks.first_unresolved(source).is_some_and(|first| first < from) {
            // Not all of what is in hand comes again, so that goes on, and nothing is taken twice.
            from = owned.position;
        } else {
            // An assignment anew: its start is committed before its older values are written again, so that the later
            // ones follow, whatever happens.
            owned.epoch = progress.acks.assign(source.clone());
            shared.session.doubt();
        }
    }
    let offsets = || run.iter().map(|message| message.offset).filter(|offset| *offset >= from);
    let (first, last) = (offsets().next()?, offsets().next_back()?);
    if !progress.acks.deliver(source, owned.epoch, crate::ack::runs(offsets()), Instant::now()) {
        return None;
    }
    shared.stats.redelivered.store(progress.acks.counts().redelivered, Ordering::Relaxed);
    drop(progress);
    shared.stats.read(source, first, last, offsets().count() as u64);
    owned.position = last + 1;
    Some(from)
}

/// `TOPIC [0 1 2] OTHER [0]`
fn names(partitions: &[TopicPartition]) -> String {
    let mut topics: std::collections::BTreeMap<&str, Vec<i32>> = std::collections::BTreeMap::new();
    for source in partitions {
        topics.entry(&source.topic).or_default().push(source.partition);
    }
    let name = |(topic, mut numbers): (&str, Vec<i32>)| {
        numbers.sort_unstable();
        format!("{topic} [{}]", numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(" "))
    };
    topics.into_iter().map(name).collect::<Vec<_>>().join(" ")
}
