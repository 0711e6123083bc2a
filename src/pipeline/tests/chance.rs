//! Whatever happens, in whatever order: all that was published is in the store, or set aside.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use super::*;
use crate::message::Message;
use crate::tdengine::error::TdengineError;

const SEEDS: u64 = 300;

#[derive(Clone)]
struct Chance(Xoshiro256PlusPlus);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, bound: u64) -> Duration {
        Duration::from_millis(self.below(bound))
    }
}

/// Rows of this timestamp are refused always.
const REFUSED: i64 = 7;

/// A store that fails now and then, in every way there is, and always while `away`.
fn fickle(mut chance: Chance, away: Arc<AtomicBool>) -> FakeStore {
    let (faults, slowness) = ([0, 5, 30][chance.below(3) as usize], [1, 20, 200][chance.below(3) as usize]);
    FakeStore::new(move |keys| {
        let some = |chance: &mut Chance| chance.below(keys.len() as u64 + 1) as usize;
        if away.load(Ordering::Relaxed) {
            return Answer::from(Err(gone()));
        }
        if chance.percent(faults) {
            let lost = TdengineError::Timeout { action: "write".into(), after: SECOND };
            let outcome = match chance.below(11) {
                0 => gone(),
                1 => lost,
                2 => refused(0x0102),
                3 => refused(0x012E),
                4 => refused(0x061B),
                5 => refused(0x022A),
                6 => refused(0x7777),
                7 if keys.len() > 1 => refused(0x0219),
                8 if chance.percent(5) => refused(0x0303),
                _ => refused(0x0903),
            };
            return Answer { written: some(&mut chance), ..Answer::from(Err(outcome)) };
        }
        if let Some(first) = keys.iter().position(|(_, ts)| *ts == REFUSED) {
            let written = some(&mut chance).min(first);
            return Answer { written, ..Answer::from(Err(refused(0x060B))) };
        }
        // Answered late, but never landing after the answer to another: that the server has no fence against it is known.
        Answer { after: chance.millis(slowness), ..Answer::from(Ok(())) }
    })
}

/// Settings of every sort, that set bad messages aside in `folder` under a name of their own.
fn some_settings(chance: &mut Chance, folder: &std::path::Path, number: usize) -> PipelineSettings {
    let max_batch_items = 1 + chance.below(40) as usize;
    let queue = QueueSettings {
        max_queue_items: max_batch_items + chance.below(60) as usize,
        max_batch_items,
        min_batch_items: 1 + chance.below(max_batch_items as u64) as usize,
        linger: chance.millis(100),
        ..QueueSettings::default()
    };
    PipelineSettings {
        workers: 1 + chance.below(3) as usize,
        queue,
        dead_letter: DeadLetterTo::File(folder.into()),
        instance: number.to_string(),
        commit_interval: SECOND / 50 + chance.millis(1000),
        drain_timeout: SECOND + chance.millis(4000),
        ..settings()
    }
}

struct World {
    chance: Chance,
    queue: MemoryQueue,
    store: FakeStore,
    away: Arc<AtomicBool>,
    connected: bool,
    folder: tempfile::TempDir,
    partitions: u64,
    published: i32,
    bad: u64,
    members: Vec<Member>,
    joined: usize,
    bystanders: Vec<MemorySubscription>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let away = Arc::new(AtomicBool::new(false));
        let partitions = 1 + chance.below(6);
        let queue = MemoryQueue::new(MemorySettings {
            max_event_messages: 1 + chance.below(30) as usize,
            max_events: 1 + chance.below(6) as usize,
            ..MemorySettings::default()
        });
        queue.create_topic("t", partitions as usize);
        Self {
            queue,
            store: fickle(Chance::new(!seed), away.clone()),
            away,
            connected: true,
            folder: tempfile::tempdir().unwrap(),
            partitions,
            published: 0,
            // Every letter is waited for until it is on disk, so only some runs have any.
            bad: if seed.is_multiple_of(8) { 5 } else { 0 },
            members: Vec::new(),
            joined: 0,
            bystanders: Vec::new(),
            chance,
        }
    }

    async fn publish(&mut self) {
        for _ in 0..self.chance.below(120) {
            let (partition, ts) = (self.chance.below(self.partitions), self.chance.below(20) as i64);
            let ts = if self.bad == 0 && ts == REFUSED { 0 } else { ts };
            let table = format!("d{partition}x{}", self.chance.below(3));
            self.published += 1;
            let payload = match self.chance.below(200) {
                n if n >= self.bad => Some(format!("{table} {ts} {}", self.published)),
                0 => None,
                _ => Some(format!("{table} {ts} -999")),
            };
            publish(&self.queue, partition as i32, payload).await;
        }
    }

    fn join(&mut self) {
        self.joined += 1;
        let settings = some_settings(&mut self.chance, self.folder.path(), self.joined);
        self.members.push(Member::start(&self.queue, &self.store, settings));
    }

    fn any_member(&mut self) -> Option<Member> {
        let count = self.members.len() as u64;
        (count > 0).then(|| self.members.swap_remove(self.chance.below(count) as usize))
    }

    async fn happen(&mut self) {
        match self.chance.below(12) {
            0 | 1 if self.connected => self.publish().await,
            2 | 3 if self.members.len() < 4 => self.join(),
            4 => {
                // It may end while other things happen.
                if let Some(mut member) = self.any_member() {
                    member.stop();
                    tokio::spawn(member.ended());
                }
            }
            5 => {
                if let Some(mut member) = self.any_member() {
                    let _ = member.abort.take().unwrap().send(());
                    let _ = member.ended().await;
                }
            }
            6 => {
                if let Some(member) = self.any_member() {
                    member.running.abort();
                    let _ = member.running.await;
                    self.check_committed();
                }
            }
            7 => self.bystanders.push(self.queue.queue_subscribe(&topics(), "g").unwrap()),
            8 => self.bystanders.clear(),
            9 => self.away.store(self.chance.percent(50), Ordering::Relaxed),
            10 => {
                self.connected = false;
                self.queue.lose_connection("as told");
            }
            _ => {
                self.connected = true;
                self.queue.restore_connection();
            }
        }
    }

    fn dead(&self) -> BTreeSet<(i32, Offset)> {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let letters = texts.flat_map(|text| dead_letter::read(&text));
        letters.map(|letter| (letter.partition, letter.offset)).collect()
    }

    /// Nothing is committed that is neither in the store nor set aside.
    fn check_committed(&self) {
        let logs = self.queue.messages("t");
        let resolved =
            (0..).zip(&logs).map(|(partition, log)| &log[..committed(&self.queue, partition).unwrap_or(0) as usize]);
        self.check(resolved, false);
    }

    /// The store has of every key one of `messages`: the last that is not set aside, or a later one; any later one where
    /// more may be written than was committed.
    fn check<'a>(&self, logs: impl Iterator<Item = &'a [Message]>, is_all: bool) {
        let (dead, fake) = (self.dead(), self.store.fake());
        let mut last: BTreeMap<Key, Vec<(i32, bool)>> = BTreeMap::new();
        for message in logs.flatten() {
            let dead = dead.contains(&(message.source.partition, message.offset));
            let Some(payload) = &message.payload else {
                assert!(dead, "a tombstone at {} {} is nowhere", message.source, message.offset);
                continue;
            };
            let text = std::str::from_utf8(payload).unwrap();
            let [table, ts, value] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let key = (table.to_owned(), ts.parse().unwrap());
            last.entry(key).or_default().push((value.parse().unwrap(), dead));
        }
        for (key, values) in last {
            let Some(good) = values.iter().rposition(|(_, dead)| !dead) else { continue };
            let stored = fake.rows.get(&key).unwrap_or_else(|| panic!("{key:?} is not in the store: {values:?}"));
            let is_known = values[good..].iter().any(|(value, _)| value == stored);
            assert!(is_known || !is_all && *stored > values[good].0, "{key:?} is {stored}, not the last of {values:?}");
        }
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed);
    world.publish().await;
    world.join();
    for _ in 0..30 {
        let pause = world.chance.millis(3000);
        sleep(pause).await;
        world.happen().await;
    }
    world.away.store(false, Ordering::Relaxed);
    world.queue.restore_connection();
    world.bystanders.clear();
    world.publish().await;
    let ends: Vec<_> = world.queue.messages("t").iter().map(|log| log.len() as Offset).collect();
    // What a supervisor does: a member that failed is started again.
    let mut tries = 0;
    while (0..).zip(&ends).any(|(partition, end)| committed(&world.queue, partition).unwrap_or(0) != *end) {
        world.members.retain(|member| !member.running.is_finished());
        if world.members.is_empty() {
            world.join();
        }
        tries += 1;
        assert!(tries < 10_000, "stuck before {ends:?}");
        sleep(SECOND / 10).await;
    }
    while let Some(mut member) = world.members.pop() {
        member.stop();
        let _ = member.ended().await;
    }
    let logs = world.queue.messages("t");
    world.check(logs.iter().map(Vec::as_slice), true);
}

/// Says which seed it was.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}: KAFKA_TAOS_SEED={0} runs it alone", self.0);
        }
    }
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let one = std::env::var("KAFKA_TAOS_SEED").ok().map(|seed| seed.parse().unwrap());
    for seed in one.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let _seed = Seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(seed));
    }
}
