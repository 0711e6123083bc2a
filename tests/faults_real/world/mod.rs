//! A schedule at work: the processes, what befalls them, and what comes of it.

mod events;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kafka_taos::message::TopicPartition;
use kafka_taos::mq::kafka::{Admin, KafkaSettings};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tempfile::TempDir;

use crate::check::{Expected, Findings, sql};
use crate::common::kafka::Kafka;
use crate::common::pair::Pair;
use crate::common::process::{Process, Signal};
use crate::common::proxy::{Proxy, Weather};
use crate::common::{until, until_ok};
use crate::plan::{Event, Plan};
use crate::publish;

/// Longer than a broker is away.
const PATIENT: Duration = Duration::from_secs(20);
/// Members at once, at most.
const CROWD: usize = 4;

/// What came of a schedule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) findings: Findings,
    /// Partitions that a paused member had lost.
    pub(crate) overtaken: usize,
}

struct Member {
    slot: usize,
    process: Process,
    was_frozen: bool,
}

enum Step {
    Event(Event),
    Thaw(usize),
    ClearTdengine,
    ClearKafka,
    Crash,
    StartEndpoint,
}

pub(crate) struct World<'a> {
    plan: &'a Plan,
    kafka: &'a Mutex<Kafka>,
    /// In front of Kafka: every member uses one of them.
    doors: [&'a Proxy; 2],
    /// Kafka itself, for the one that publishes and checks.
    brokers: String,
    topic: String,
    folder: TempDir,
    endpoint: Option<Pair>,
    life: usize,
    tdengine: Proxy,
    members: Vec<Member>,
    /// Told to end.
    leaving: Vec<Process>,
    slots: usize,
    partitions: Arc<AtomicI32>,
    began: Instant,
    agenda: BTreeMap<(Duration, usize), Step>,
    overtaken: BTreeSet<i32>,
    faults: BTreeMap<String, u64>,
    /// What happened when, and what ended processes said: for a schedule that fails.
    pub(crate) story: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a Plan, kafka: &'a Mutex<Kafka>, doors: [&'a Proxy; 2]) -> Self {
        let brokers = kafka.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).brokers();
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let mut world = Self {
            plan,
            kafka,
            doors,
            brokers,
            topic: format!("faults-{}", plan.seed),
            folder: tempfile::tempdir().expect("a folder"),
            endpoint: None,
            life: 0,
            tdengine: Proxy::start(nowhere),
            members: Vec::new(),
            leaving: Vec::new(),
            slots: 0,
            partitions: Arc::new(AtomicI32::new(plan.partitions)),
            began: Instant::now(),
            agenda: BTreeMap::new(),
            overtaken: BTreeSet::new(),
            faults: BTreeMap::new(),
            story: Vec::new(),
        };
        for (at, event) in &plan.events {
            world.at(*at, Step::Event(*event));
        }
        world
    }

    /// From the first process to the last check.
    pub(crate) fn run(&mut self) -> Outcome {
        self.clear_kafka();
        self.start_endpoint();
        sql(&self.url(), "create database if not exists test vgroups 2");
        let stable = "(ts timestamp, col0 binary(10), col1 binary(10)) tags (device binary(10))";
        sql(&self.url(), &format!("create stable if not exists test.stb {stable}"));
        self.create_topic();
        let publishing = publish::start(self.plan, &self.brokers, &self.topic, self.partitions.clone());
        (0..self.plan.members).for_each(|_| self.join(None));
        self.began = Instant::now();
        while let Some(((at, _), step)) = self.agenda.pop_first() {
            while self.began.elapsed() < at {
                self.expect_members_alive();
                std::thread::sleep(Duration::from_millis(20).min(at.saturating_sub(self.began.elapsed())));
            }
            self.take(step);
        }
        self.settle(publishing)
    }

    fn at(&mut self, at: Duration, step: Step) {
        let number = self.agenda.len();
        let free = (number..).find(|number| !self.agenda.contains_key(&(at, *number))).unwrap_or(number);
        self.agenda.insert((at, free), step);
    }

    fn soon(&mut self, after: Duration, step: Step) {
        self.at(self.began.elapsed() + after, step);
    }

    fn tell(&mut self, what: impl std::fmt::Display) {
        self.story.push(format!("{:6.2} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    fn url(&self) -> String {
        self.endpoint.as_ref().expect("an endpoint").url()
    }

    fn admin(&self) -> Admin {
        Admin::new(&KafkaSettings { brokers: self.brokers.clone(), ..KafkaSettings::default() })
            .expect("an admin client")
    }

    fn create_topic(&self) {
        let admin = self.admin();
        let create = || block_on(admin.create(&self.topic, self.plan.partitions, 1, &[], PATIENT)).ok();
        until("the topic is made", || create().or_else(|| admin.partitions(&self.topic, PATIENT).ok().map(drop)));
    }

    /// All goes well from now on; when all is committed, it is looked at.
    fn settle(&mut self, publishing: JoinHandle<()>) -> Outcome {
        self.tell("nothing more befalls them");
        self.clear_kafka();
        self.tdengine.set(Weather::Clear);
        if self.members.is_empty() {
            self.join(None);
        }
        publishing.join().expect("all is published");
        let admin = self.admin();
        let end = |partition| {
            let source = TopicPartition::new(self.topic.as_str(), partition);
            until_ok("the end is known", || admin.watermarks(&source, PATIENT)).1
        };
        let ends: Vec<_> = (0..self.partitions.load(Ordering::Relaxed)).map(end).collect();
        let group: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", &self.topic)
            .create()
            .expect("a client");
        let deadline = Instant::now() + crate::common::PATIENCE;
        while let Some(committed) = self.behind(&group, &ends) {
            self.expect_members_alive();
            assert!(Instant::now() < deadline, "stuck: committed {committed:?} of {ends:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.tell(format!("all is committed: {ends:?}"));
        for member in std::mem::take(&mut self.members) {
            member.process.signal(Signal::TERM);
            let ended = member.process.wait();
            self.ended(member.slot, member.was_frozen, &ended.stderr);
            assert_eq!(ended.code, Some(143), "member {} had nothing left to do", member.slot);
        }
        for process in std::mem::take(&mut self.leaving) {
            let ended = process.wait();
            self.ended(0, false, &ended.stderr);
            let undrained = ended.code == Some(1) && ended.stderr.contains("not committed");
            assert!(ended.code == Some(143) || undrained, "a member that was told to end ended with {:?}", ended.code);
        }
        let expected = Expected::read(&self.brokers, &self.topic, &ends);
        let dead = self.folder.path().join("dead");
        let findings = expected.check(&self.url(), &dead, &self.overtaken);
        self.stop_endpoint(Signal::TERM);
        *self.faults.entry("poison".into()).or_default() += expected.poison.len() as u64;
        Outcome { faults: std::mem::take(&mut self.faults), findings, overtaken: self.overtaken.len() }
    }

    /// What is committed, unless it is all.
    fn behind(&self, group: &BaseConsumer, ends: &[i64]) -> Option<Vec<i64>> {
        let mut list = TopicPartitionList::new();
        (0..ends.len()).for_each(|partition| _ = list.add_partition(&self.topic, partition as i32));
        let committed = group.committed_offsets(list, Duration::from_secs(5)).ok();
        let offset = |partition| match committed.as_ref()?.find_partition(&self.topic, partition)?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        let offsets: Vec<_> = (0..ends.len() as i32).map(|partition| offset(partition).unwrap_or(0)).collect();
        (offsets != ends).then_some(offsets)
    }

    /// What the processes said that still run, for a schedule that fails.
    pub(crate) fn epitaph(&mut self) -> String {
        for member in &self.members {
            self.story.push(format!("--- member {}, still there\n{}", member.slot, member.process.said()));
        }
        for process in &self.leaving {
            self.story.push(format!("--- a member that was told to end\n{}", process.said()));
        }
        if let Some(endpoint) = &self.endpoint {
            self.story.push(format!("--- endpoint\n{}", endpoint.process.said()));
        }
        self.story.join("\n")
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // The next schedule goes through the same door.
        self.clear_kafka();
        for member in &self.members {
            member.process.signal(Signal::CONT);
        }
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
