//! A schedule at work: the processes, what befalls them, and what comes of it.

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
use crate::common::process::{Process, Signal, kafka_taos};
use crate::common::proxy::{Proxy, Weather};
use crate::common::{until, until_ok};
use crate::plan::{Event, Plan, Protocol, SESSION, Trouble};
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

    fn take(&mut self, step: Step) {
        match step {
            Step::Thaw(slot) => {
                self.tell(format!("member {slot} goes on"));
                let frozen = self.members.iter().find(|member| member.slot == slot);
                frozen.expect("nobody ends a member that is stopped").process.signal(Signal::CONT);
            }
            Step::ClearTdengine => self.tdengine.set(Weather::Clear),
            Step::ClearKafka => self.clear_kafka(),
            Step::Crash => {
                self.kill_one();
                self.tdengine.cut();
                self.tdengine.set(Weather::Clear);
            }
            Step::StartEndpoint => {
                self.life += 1;
                self.start_endpoint();
                // By the door that is open.
                self.slots += 1 - self.slots % 2;
                self.join(None);
            }
            Step::Event(event) => {
                self.tell(format!("{event:?}"));
                *self.faults.entry(event.kind()).or_default() += 1;
                self.happen(event);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Join if self.members.len() < CROWD => self.join(None),
            Event::Join => {}
            Event::Kill => self.kill_one(),
            Event::KillStalled => {
                self.tdengine.set(Weather::Stalled);
                // Long enough for a commit.
                self.soon(Duration::from_millis(800), Step::Crash);
            }
            Event::Isolate { .. } if self.endpoint.is_none() => {}
            Event::Isolate { away, cut_off } => {
                self.stop_endpoint(Signal::KILL);
                self.doors[0].set(Weather::Stalled);
                self.soon(away, Step::StartEndpoint);
                self.soon(cut_off, Step::ClearKafka);
            }
            Event::Dismiss => {
                if self.members.len() > 1
                    && let Some(member) = self.pick()
                {
                    member.process.signal(Signal::TERM);
                    self.leaving.push(member.process);
                }
            }
            Event::Freeze(time) => {
                if let Some(member) = self.members.iter_mut().find(|member| !member.was_frozen) {
                    member.was_frozen = true;
                    member.process.signal(Signal::STOP);
                    let slot = member.slot;
                    self.soon(time, Step::Thaw(slot));
                }
                // Somebody to take over.
                if self.members.len() < 2 {
                    self.join(None);
                }
            }
            Event::Storm => {
                for turn in 0..6 {
                    let next = if turn % 2 == 0 { Event::Join } else { Event::Dismiss };
                    self.soon(Duration::from_millis(300) * turn, Step::Event(next));
                }
            }
            // It is away already.
            Event::KillEndpoint | Event::RestartEndpoint if self.endpoint.is_none() => {}
            Event::KillEndpoint | Event::RestartEndpoint => {
                let signal = if event == Event::KillEndpoint { Signal::KILL } else { Signal::TERM };
                self.stop_endpoint(signal);
                self.life += 1;
                self.start_endpoint();
            }
            Event::KillBroker | Event::RestartBroker => {
                let mut kafka = self.kafka.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if event == Event::KillBroker {
                    kafka.kill()
                } else {
                    kafka.stop()
                }
                kafka.restart();
            }
            Event::Tdengine(trouble) => {
                if let Some(time) = befall(&self.tdengine, trouble) {
                    self.soon(time, Step::ClearTdengine);
                }
            }
            Event::Kafka(trouble, all) => {
                let doors = self.doors;
                for door in &doors[..if all { 2 } else { 1 }] {
                    if let Some(time) = befall(door, trouble) {
                        self.soon(time, Step::ClearKafka);
                    }
                }
            }
            Event::AddPartitions => {
                let (admin, partitions) = (self.admin(), self.plan.partitions_at_last);
                let grown = || block_on(admin.grow(&self.topic, partitions as usize, PATIENT)).ok();
                // Told by an error if it was done by an attempt that was not answered.
                until("partitions are added", || {
                    grown()
                        .or_else(|| (admin.partitions(&self.topic, PATIENT).ok()? == partitions as usize).then_some(()))
                });
                self.partitions.store(partitions, Ordering::Relaxed);
            }
        }
    }

    fn kill_one(&mut self) {
        if let Some(member) = self.pick() {
            member.process.signal(Signal::KILL);
            let (slot, was_frozen, ended) = (member.slot, member.was_frozen, member.process.wait());
            self.ended(slot, was_frozen, &ended.stderr);
            self.join(Some(slot));
        }
    }

    fn clear_kafka(&self) {
        self.doors.iter().for_each(|door| door.set(Weather::Clear));
    }

    /// A member that may be ended, taken out.
    fn pick(&mut self) -> Option<Member> {
        // One that was stopped stays, so that it tells what it lost.
        let at = self.members.iter().position(|member| !member.was_frozen)?;
        Some(self.members.remove(at))
    }

    fn join(&mut self, slot: Option<usize>) {
        let slot = slot.unwrap_or_else(|| {
            self.slots += 1;
            self.slots
        });
        let session = format!("{}ms", SESSION.as_millis());
        let dead = format!("file:{}", self.folder.path().join("dead").display());
        let brokers = self.doors[(slot + 1) % 2].address.to_string();
        let url = format!("ws://root:taosdata@{}/test", self.tdengine.address);
        let mut arguments =
            vec!["consume", "--json", "--topic", &self.topic, "--brokers", &brokers, "--tdengine", &url];
        arguments.extend(["--dead-letter", &dead, "--timeout", "2s", "--answer-timeout", "2s"]);
        arguments.extend(["--kafka", "topic.metadata.refresh.interval.ms=1000"]);
        arguments.extend(self.plan.flags.iter().map(String::as_str));
        let instance = format!("group.instance.id={}-{slot}", self.topic);
        match self.plan.protocol {
            Protocol::Consumer => arguments.extend(["--kafka", "group.protocol=consumer"]),
            protocol => {
                arguments.extend(["--session-timeout", &session]);
                match protocol {
                    Protocol::Range => arguments.extend(["--kafka", "partition.assignment.strategy=range"]),
                    Protocol::RoundRobin => arguments.extend(["--kafka", "partition.assignment.strategy=roundrobin"]),
                    Protocol::Static => arguments.extend(["--kafka", &instance]),
                    _ => {}
                }
            }
        }
        let process = Process::start(&mut kafka_taos(&arguments));
        self.members.push(Member { slot, process, was_frozen: false });
    }

    fn expect_members_alive(&mut self) {
        if let Some(at) = self.members.iter_mut().position(|member| member.process.status().is_some()) {
            let member = self.members.remove(at);
            let (slot, ended) = (member.slot, member.process.wait());
            self.ended(slot, member.was_frozen, &ended.stderr);
            panic!(
                "member {slot} ended by itself with {:?}: {}",
                ended.code,
                ended.stderr.lines().last().unwrap_or_default()
            );
        }
    }

    /// Takes in what a member said. What it had lost while it was stopped, or its writes were, it may have written late.
    fn ended(&mut self, member: usize, was_frozen: bool, stderr: &str) {
        let stalls = |(_, event): &(_, _)| {
            matches!(event, Event::KillStalled | Event::Tdengine(Trouble::During(Weather::Stalled, _)))
        };
        let was_paused = was_frozen || self.plan.events.iter().any(stalls);
        for line in stderr
            .lines()
            .filter(|line| was_paused && line.contains("partitions revoked") && line.contains("lost=true"))
        {
            let numbers =
                line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
            self.overtaken.extend(numbers.split(' ').filter_map(|number| number.parse::<i32>().ok()));
        }
        self.story.push(format!("--- member {member}\n{stderr}"));
    }

    fn start_endpoint(&mut self) {
        let data = self.folder.path().join("data").display().to_string();
        let faults = &self.plan.faults[self.life % self.plan.faults.len()];
        let mut arguments = vec!["--data-dir", data.as_str()];
        faults.iter().for_each(|fault| arguments.extend(["--fault", fault]));
        let endpoint = Pair::start_with(&arguments);
        self.tdengine.lead_to(endpoint.tdengine.parse().expect("an address"));
        self.endpoint = Some(endpoint);
    }

    fn stop_endpoint(&mut self, signal: Signal) {
        let endpoint = self.endpoint.take().expect("an endpoint");
        endpoint.process.signal(signal);
        let ended = endpoint.process.wait();
        for line in ended.stderr.lines().filter(|line| line.contains("a fault strikes")) {
            let action = line.split("action=").nth(1).unwrap_or_default();
            let kind = action.split([' ', '(', '{']).next().unwrap_or_default();
            let kind = match kind {
                "Answer" => "answer of the endpoint: an error",
                "Delay" => "answer of the endpoint: late",
                "Stall" => "answer of the endpoint: never",
                "DropBefore" => "connection dropped before an operation",
                _ => "connection dropped after an operation",
            };
            *self.faults.entry(kind.to_owned()).or_default() += 1;
        }
        self.story.push(format!("--- endpoint, life {}\n{}", self.life, ended.stderr));
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

/// How long it lasts, if it lasts.
fn befall(proxy: &Proxy, trouble: Trouble) -> Option<Duration> {
    match trouble {
        Trouble::Cut => proxy.cut(),
        Trouble::CutAt(way) => proxy.cut_at(way),
        Trouble::During(weather, time) => {
            proxy.set(weather);
            return Some(time);
        }
    }
    None
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}
