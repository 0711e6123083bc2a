//! A schedule, carried out: a group of pipelines on a queue in memory, each a process that can be stopped and killed.

use std::cell::Cell as Slot;
use std::collections::HashSet;

use super::check::{Found, check_committed, compare};
use super::messages::{Drafts, Source, payload};
use super::schedule::{Act, Chance, Fault, Schedule};
use super::store::SimStore;
use crate::pipeline::tests::*;

thread_local! {
    /// The clock on the wall, beyond the one that the runtime pauses.
    static WALL: Slot<i64> = const { Slot::new(0) };
    static BEGAN: Slot<Option<Instant>> = const { Slot::new(None) };
}

fn now_ms() -> i64 {
    let elapsed = BEGAN.get().map_or(0, |began| began.elapsed().as_millis() as i64);
    1_764_547_200_000 + elapsed + WALL.get()
}

/// A process of the group.
struct Running {
    process: Process,
    number: u64,
    watch: Watch,
    graceful: Option<oneshot::Sender<()>>,
    abort: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<Snapshot, PipelineError>>,
}

/// The dead-letter place.
#[derive(Default)]
pub(super) struct Letters {
    /// By partition and offset.
    pub(super) kept: Vec<(i32, Offset)>,
    fails_until: Option<Instant>,
    failed: u64,
}

pub(super) struct World {
    pub(super) drafts: Arc<Drafts>,
    pub(super) queue: MemoryQueue,
    pub(super) store: SimStore,
    pub(super) letters: Arc<Mutex<Letters>>,
    /// Up to where each partition's commits have been looked at.
    pub(super) seen: Vec<Offset>,
    session: Duration,
    chance: Chance,
    partitions: usize,
    cut_until: Option<Instant>,
    published: usize,
    joined: usize,
    members: Vec<Running>,
    bystanders: Vec<MemorySubscription>,
    faults: u64,
    expected_failures: Vec<crate::mq::memory::Expectation>,
}

/// Carries a schedule out, on a clock that jumps.
pub(super) fn run(schedule: &Schedule) -> Result<Found, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ran = std::panic::AssertUnwindSafe(|| runtime.block_on(World::run(schedule)));
    std::panic::catch_unwind(ran).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", text.unwrap_or("?")))
    })
}

impl World {
    async fn run(schedule: &Schedule) -> Result<Found, String> {
        WALL.set(0);
        BEGAN.set(Some(Instant::now()));
        let chance = Chance::new(!schedule.seed);
        let mut world = Self::new(schedule, chance);
        for step in &schedule.steps {
            if !step.after.is_zero() {
                sleep(step.after).await;
            }
            world.act(&step.act).await;
            check_committed(&mut world)?;
            world.members.iter().for_each(|member| _ = (member.watch.gaps(), member.watch.health()));
        }
        world.calm().await?;
        let mut found = compare(&world)?;
        let database = world.store.database();
        found.struck = database.struck.clone();
        found.codes = database.codes.clone();
        found.late = database.late;
        let kinds =
            [("other faults", world.faults), ("dead-letter place failed", world.letters.lock().unwrap().failed)];
        kinds.into_iter().for_each(|(kind, count)| *found.struck.entry(kind.to_owned()).or_default() += count);
        Ok(found)
    }

    fn new(schedule: &Schedule, mut chance: Chance) -> Self {
        let queue = MemoryQueue::new(MemorySettings {
            max_event_messages: 1 + chance.below(30),
            max_events: 1 + chance.below(6),
            // As in Kafka, longer than a session.
            release_timeout: 300 * SECOND,
            session_timeout: schedule.session,
            eager: schedule.eager,
            ..MemorySettings::default()
        });
        queue.create_topic("t", schedule.partitions);
        let drafts = Arc::new(Drafts::new(schedule));
        Self {
            store: SimStore::new(queue.clone(), drafts.clone(), chance.clone()),
            drafts,
            queue,
            letters: Arc::default(),
            seen: Vec::new(),
            session: schedule.session,
            chance,
            partitions: schedule.partitions,
            cut_until: None,
            published: 0,
            joined: 0,
            members: Vec::new(),
            bystanders: Vec::new(),
            faults: 0,
            expected_failures: Vec::new(),
        }
    }

    async fn act(&mut self, act: &Act) {
        let faults = self.faults;
        self.faults += 1;
        match act {
            Act::Publish(drafts) => {
                self.faults = faults;
                for draft in drafts {
                    let number = self.published;
                    self.published += 1;
                    if draft.partition >= self.partitions {
                        continue;
                    }
                    let payload = payload(number, draft).map(bytes::Bytes::from);
                    let message = Outgoing { partition: Some(draft.partition as i32), payload, ..Outgoing::default() };
                    // What cannot be published is the producer's to repeat.
                    let _ = self.queue.publish("t", message).await;
                }
            }
            Act::Join if self.members.len() < 4 => self.join(),
            Act::Join => self.faults = faults,
            Act::Stop(who) => {
                if let Some(mut member) = self.take(*who) {
                    self.store.database().excuse(member.number);
                    let _ = member.graceful.take().unwrap().send(());
                    // It may end while other things happen.
                    tokio::spawn(member.task);
                }
            }
            Act::Abort(who) => {
                if let Some(mut member) = self.take(*who) {
                    self.store.database().excuse(member.number);
                    let _ = member.abort.take().unwrap().send(());
                    tokio::spawn(member.task);
                }
            }
            Act::Kill(who) => {
                if let Some(member) = self.take(*who) {
                    self.store.database().excuse(member.number);
                    member.process.kill();
                    member.task.abort();
                    self.store.database().strike("SIGKILL");
                }
            }
            Act::Freeze(who, time) => self.freeze(*who, *time),
            Act::FreezeInWrite(who, time) => {
                self.store.database().arm(Fault::Slow(*time, Duration::ZERO));
                sleep(Duration::from_millis(60)).await;
                self.freeze(*who, *time);
            }
            Act::Bystander => self.bystanders.push(self.queue.queue_subscribe(&topics(), "g").unwrap()),
            Act::BystandersLeave => self.bystanders.clear(),
            Act::Write(fault) => {
                // Counted when it strikes.
                self.faults = faults;
                self.store.database().arm(*fault);
            }
            Act::Away(time) => self.store.database().away = Some(Instant::now() + *time),
            Act::Strain(most, time) => self.store.database().strain = Some((*most, Instant::now() + *time)),
            Act::Alter => self.store.database().alter(),
            Act::CutKafka(time) => self.cut_kafka(*time),
            Act::FailCommits(count) => {
                let failed = || MqError::Other { action: "commit".into(), reason: "as told".into() };
                self.expected_failures.push(self.queue.fail(Action::Commit, (0..*count).map(|_| failed())));
            }
            Act::FailDeadLetters(time) => self.letters.lock().unwrap().fails_until = Some(Instant::now() + *time),
            Act::AddPartition => {
                self.partitions += 1;
                self.queue.create_topic("t", self.partitions);
            }
            Act::SetClock(millis) => WALL.set(WALL.get() + millis),
            Act::SeekBack(partition, offsets) => self.queue.seek_back("g", &tp(*partition as i32), *offsets),
        }
    }

    fn take(&mut self, who: usize) -> Option<Running> {
        let count = self.members.len();
        (count > 0).then(|| self.members.swap_remove(who % count))
    }

    /// SIGSTOP, and the end of its session if it lasts as long.
    fn freeze(&mut self, who: usize, time: Duration) {
        let Some(member) = self.members.get(who % self.members.len().max(1)) else { return };
        let (process, number, queue, session) =
            (member.process.clone(), member.number, self.queue.clone(), self.session);
        if process.is_stopped() {
            return;
        }
        process.stop();
        if time >= session {
            self.store.database().excuse(number);
        }
        self.store.database().strike(if time > session { "SIGSTOP past the session" } else { "SIGSTOP" });
        tokio::spawn(async move {
            sleep(time.min(session)).await;
            if time >= session && process.is_stopped() {
                queue.expire_session("g", number);
                sleep(time - session).await;
            }
            process.go_on();
        });
    }

    /// Kafka cannot be reached; past their session the members are out, and do not know.
    fn cut_kafka(&mut self, time: Duration) {
        if self.cut_until.is_some_and(|until| Instant::now() <= until) {
            return;
        }
        self.cut_until = Some(Instant::now() + time);
        self.queue.lose_connection("as told");
        self.store.database().strike(if time > self.session { "Kafka away past the session" } else { "Kafka away" });
        let (queue, session) = (self.queue.clone(), self.session);
        let numbers: Vec<u64> = self.members.iter().map(|member| member.number).collect();
        if time >= session {
            numbers.iter().for_each(|number| self.store.database().excuse(*number));
        }
        tokio::spawn(async move {
            sleep(time.min(session)).await;
            if time >= session {
                numbers.into_iter().for_each(|number| queue.expire_session("g", number));
                sleep(time - session).await;
            }
            queue.restore_connection();
        });
    }

    fn join(&mut self) {
        self.joined += 1;
        let (chance, process) = (&mut self.chance, Process::default());
        let max_batch_items = 1 + chance.below(40);
        let letters = self.letters.clone();
        let dead_letter = Place::of(move |partition, offset| {
            let mut letters = letters.lock().unwrap();
            let fails = letters.fails_until.is_some_and(|until| Instant::now() < until);
            // Half of the time they are there all the same.
            letters.failed += u64::from(fails);
            if !fails || letters.failed.is_multiple_of(2) {
                letters.kept.push((partition, offset));
            }
            if fails { Err(not_kept()) } else { Ok(()) }
        });
        let settings = PipelineSettings {
            workers: 1 + chance.below(3),
            queue: QueueSettings {
                max_queue_items: max_batch_items + chance.below(60),
                max_batch_items,
                min_batch_items: 1 + chance.below(max_batch_items),
                linger: chance.millis(0, 100),
                ..QueueSettings::default()
            },
            dead_letter,
            dead_letter_limit: None,
            replayed: Arc::default(),
            instance: format!("process-{}", self.joined),
            commit_interval: chance.millis(20, 1_000),
            session_timeout: self.session,
            // Half of them wait for whatever there is.
            drain_timeout: if chance.percent(50) { chance.millis(1_000, 5_000) } else { 60 * SECOND },
            until_end: None,
            now_ms,
        };
        let subscription = self.queue.queue_subscribe(&topics(), "g").unwrap();
        let number = subscription.member();
        let pipeline = Pipeline::new(settings, subscription, self.store.of(number), self.store.schemas());
        let watch = pipeline.watch();
        let (graceful, stopped) = oneshot::channel::<()>();
        let (abort, aborted) = oneshot::channel::<()>();
        let when = |told: oneshot::Receiver<()>| async move {
            if told.await.is_err() {
                std::future::pending().await
            }
        };
        let drafts = self.drafts.clone();
        let stop = Stop { graceful: when(stopped), abort: when(aborted) };
        self.store.database().watch(number, watch.clone());
        let (running, store) = (pipeline.run(move || Source(drafts.clone()), stop), self.store.clone());
        let task = tokio::spawn(process.run(async move {
            let ended = running.await;
            store.database().excuse(number);
            ended
        }));
        self.members.push(Running { process, number, watch, graceful: Some(graceful), abort: Some(abort), task });
    }

    /// All faults are over; what a supervisor does is done until all is committed.
    async fn calm(&mut self) -> Result<(), String> {
        self.store.database().heal();
        self.letters.lock().unwrap().fails_until = None;
        self.queue.restore_connection();
        self.queue.forgive(Action::Commit);
        self.expected_failures.clear();
        self.bystanders.clear();
        self.members.iter().for_each(|member| member.process.go_on());
        let ends: Vec<_> = self.queue.messages("t").iter().map(|log| log.len() as Offset).collect();
        let mut tries = 0;
        loop {
            self.members.retain(|member| !member.task.is_finished());
            if self.members.is_empty() {
                self.join();
            }
            let left: Vec<_> =
                (0..).zip(&ends).filter(|(p, end)| committed(&self.queue, *p).unwrap_or(0) != **end).collect();
            if left.is_empty() {
                break;
            }
            tries += 1;
            if tries > 6_000 {
                let gaps: Vec<_> = self.members.iter().flat_map(|member| member.watch.gaps()).collect();
                return Err(format!("stuck: of {ends:?} these are not committed: {left:?}; {gaps:?}"));
            }
            sleep(SECOND / 10).await;
        }
        while let Some(mut member) = self.members.pop() {
            let _ = member.graceful.take().unwrap().send(());
            let _ = tokio::time::timeout(60 * SECOND, member.task).await.map_err(|_| "a member does not end")?;
        }
        // What strays may land yet.
        sleep(60 * SECOND).await;
        Ok(())
    }

    /// Messages that are in the dead-letter place, by partition and offset.
    pub(super) fn dead(&self) -> HashSet<(i32, Offset)> {
        self.letters.lock().unwrap().kept.iter().copied().collect()
    }
}
