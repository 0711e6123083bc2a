//! From a seed to a plan: how the members work, what is published, and what goes wrong when.

use std::fmt;
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::common::proxy::{Way, Weather};

/// A member that is silent for so long loses its partitions.
pub(crate) const SESSION: Duration = Duration::from_secs(3);
/// What is published, and what goes wrong, does so within this time.
pub(crate) const LENGTH: Duration = Duration::from_secs(7);

/// Codes that a writer must get over by itself: of the network, the cluster, pressure, an operator's matter, a stale
/// schema, a statement to be made anew, and one that nobody knows.
const RETRYABLE: &[u16] = &[
    0x000B, 0x0018, 0x0019, 0x0020, 0x0021, 0x0022, 0x0023, 0x0024, 0x020B, 0x0213, 0x0215, // network
    0x0130, 0x0131, 0x032C, 0x032D, 0x0396, 0x03AE, 0x03D3, 0x0408, 0x040A, 0x0503, 0x0520, 0x0522, 0x0528, 0x0529,
    0x0538, 0x0541, 0x03D4, 0x03D5, 0x0903, 0x090C, 0x0911, 0x0914, 0x0918, 0x09FF, 0x2402, 0x2405, 0x2406,
    0x2504, // cluster
    0x0102, 0x0125, 0x0126, 0x6000, 0x012C, 0x0808, 0x0916, 0x0917, // pressure
    0x0129, 0x0613, 0x2208, 0x012B, 0x012E, // operator
    0x0362, 0x036C, 0x03C6, 0x061B, 0x0600, 0x0618, 0x2603, 0x2602, 0x260D, 0x263F, 0x2653, // stale schema
    0x0117, 0x022A, 0x070F, 0x7777,
];

pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    fn among<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.below(some.len() as u64) as usize].clone()
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.below(range.end - range.start))
    }
}

/// How the members of the group divide its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Cooperative,
    Range,
    RoundRobin,
    /// Cooperative, with a `group.instance.id` each.
    Static,
    /// KIP-848.
    Consumer,
}

/// A failing network, in front of either server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// All connections end.
    Cut,
    /// The next bytes this way are lost with their connection: requests before, answers after they are carried out.
    CutAt(Way),
    During(Weather, Duration),
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// SIGKILL of a member, and another in its stead.
    Kill,
    /// The same while its writes are stalled, which then never arrive: what is under way is lost with the member.
    KillStalled,
    /// The endpoint is away, and half of the members are cut off from Kafka for longer than their session: while they wait
    /// to try again what they have, it is given to one that has not waited.
    Isolate {
        away: Duration,
        cut_off: Duration,
    },
    /// SIGSTOP of a member, for longer than its session.
    Freeze(Duration),
    /// SIGTERM of a member.
    Dismiss,
    Join,
    /// Members come and go faster than the group settles.
    Storm,
    KillEndpoint,
    RestartEndpoint,
    KillBroker,
    RestartBroker,
    Tdengine(Trouble),
    /// For half of the members, or for all.
    Kafka(Trouble, bool),
    AddPartitions,
}

impl Event {
    /// The kind, to be counted by.
    pub(crate) fn kind(self) -> String {
        let trouble = |at: &str, trouble| match trouble {
            Trouble::Cut => format!("connections to {at} cut"),
            Trouble::CutAt(Way::ToServer) => format!("a request to {at} cut off"),
            Trouble::CutAt(Way::ToClient) => format!("an answer of {at} cut off"),
            Trouble::During(Weather::Stalled, _) => format!("connections to {at} stalled"),
            Trouble::During(Weather::HalfOpen(_), _) => format!("connections to {at} half open"),
            Trouble::During(..) => format!("connections to {at} slow"),
        };
        match self {
            Self::Kill => "consumer killed".into(),
            Self::Freeze(_) => "consumer stopped past its session".into(),
            Self::Dismiss => "consumer ended".into(),
            Self::Join => "consumer added".into(),
            Self::Storm => "rebalance storm".into(),
            Self::KillEndpoint => "endpoint killed".into(),
            Self::RestartEndpoint => "endpoint restarted".into(),
            Self::KillBroker => "broker killed".into(),
            Self::RestartBroker => "broker restarted".into(),
            Self::Tdengine(what) => trouble("TDengine", what),
            Self::Kafka(what, _) => trouble("Kafka", what),
            Self::KillStalled => "consumer killed while its writes were stalled".into(),
            Self::Isolate { .. } => "consumers cut off from Kafka in an outage of TDengine".into(),
            Self::AddPartitions => "partitions added".into(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) protocol: Protocol,
    pub(crate) partitions: i32,
    /// After [`Event::AddPartitions`].
    pub(crate) partitions_at_last: i32,
    pub(crate) members: usize,
    /// Flags of every member.
    pub(crate) flags: Vec<String>,
    /// Faults of the endpoint, a list for each of its lives.
    pub(crate) faults: Vec<Vec<String>>,
    pub(crate) events: Vec<(Duration, Event)>,
    pub(crate) records: u64,
    /// In ten thousand.
    pub(crate) poison: u64,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let write = chance.among(&["stmt2", "stmt2", "stmt2", "sql", "rest"]);
        let batch = chance.among(&[20, 100, 1000]);
        let flags = [
            ("--write", write.to_owned()),
            ("--workers", (1 + chance.below(3)).to_string()),
            ("--batch-max-size", batch.to_string()),
            ("--batch-min-size", (1 + chance.below(batch)).to_string()),
            ("--queue-max-size", (batch * (1 + chance.below(4))).to_string()),
            ("--linger", format!("{}ms", 1 + chance.below(80))),
        ];
        let partitions = 1 + chance.below(6) as i32;
        let events = events(seed, &mut chance);
        let grows = events.iter().any(|(_, event)| *event == Event::AddPartitions);
        Self {
            seed,
            protocol: chance.among(&[
                Protocol::Cooperative,
                Protocol::Cooperative,
                Protocol::Range,
                Protocol::RoundRobin,
                Protocol::Static,
                Protocol::Consumer,
            ]),
            partitions,
            partitions_at_last: partitions + if grows { 1 + chance.below(3) as i32 } else { 0 },
            members: 1 + chance.below(3) as usize,
            flags: flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
            faults: (0..4).map(|life| faults(seed, life, write, &mut chance)).collect(),
            events,
            records: 1000 + chance.below(2000),
            poison: chance.among(&[0, 20, 20, 200]),
        }
    }
}

/// Every kind of event has its turn among consecutive seeds; others are thrown in.
fn events(seed: u64, chance: &mut Chance) -> Vec<(Duration, Event)> {
    // In every other schedule no writer is paused, so that no stale value is excused.
    let pauses = seed.is_multiple_of(2);
    let mut numbers = vec![seed % EVENTS, if pauses { KILL_STALLED } else { ISOLATE }];
    while numbers.len() < 4 + (seed % 4) as usize {
        // The broker is every schedule's that runs at the time, so it is left alone otherwise.
        let number = chance.below(EVENTS - 2);
        if pauses || ![KILL_STALLED, FREEZE, STALL].contains(&number) {
            numbers.push(number);
        }
    }
    let mut at = |number| {
        let event = event(number, chance);
        let latest = match event {
            // Later, nothing comes that the others could write meanwhile.
            Event::Isolate { .. } => 2000,
            _ => LENGTH.as_millis() as u64 - 500,
        };
        (chance.millis(900..latest), event)
    };
    let mut all: Vec<_> = numbers.into_iter().map(&mut at).collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

const EVENTS: u64 = 21;
const KILL_STALLED: u64 = 1;
const STALL: u64 = 10;
const ISOLATE: u64 = 17;
const FREEZE: u64 = 18;

fn event(number: u64, chance: &mut Chance) -> Event {
    let way = chance.among(&[Way::ToServer, Way::ToClient]);
    match number {
        0 => Event::Kill,
        KILL_STALLED => Event::KillStalled,
        FREEZE => Event::Freeze(SESSION + chance.millis(1000..2500)),
        ISOLATE => Event::Isolate { away: chance.millis(3000..4200), cut_off: SESSION + chance.millis(500..2500) },
        2 => Event::Tdengine(Trouble::CutAt(Way::ToServer)),
        3 => Event::KillEndpoint,
        4 => Event::Storm,
        5 => Event::AddPartitions,
        6 => Event::Tdengine(Trouble::CutAt(Way::ToClient)),
        7 => Event::RestartEndpoint,
        8 => Event::Kafka(Trouble::During(Weather::Stalled, chance.millis(500..5000)), chance.percent(30)),
        9 => Event::Tdengine(Trouble::During(Weather::HalfOpen(way), chance.millis(500..3500))),
        STALL => Event::Tdengine(Trouble::During(Weather::Stalled, chance.millis(300..3500))),
        11 => Event::Kafka(Trouble::Cut, chance.percent(50)),
        12 => Event::Kafka(Trouble::During(Weather::HalfOpen(way), chance.millis(500..4000)), chance.percent(30)),
        13 => Event::Tdengine(Trouble::During(Weather::Slow(1000), chance.millis(500..2000))),
        14 => Event::Dismiss,
        15 => Event::Join,
        16 => Event::Tdengine(Trouble::Cut),
        19 => Event::KillBroker,
        _ => Event::RestartBroker,
    }
}

/// Faults of one life of the endpoint. All of them end, or let most operations through.
fn faults(seed: u64, life: u64, write: &str, chance: &mut Chance) -> Vec<String> {
    let operation = |chance: &mut Chance| match write {
        "stmt2" => chance.among(&["exec", "exec", "exec", "bind", "prepare"]),
        _ => "statement",
    };
    let turn = seed * 2 + life * 17;
    let codes = (turn..turn + 2).map(|turn| RETRYABLE[turn as usize % RETRYABLE.len()]);
    let mut faults = Vec::new();
    for code in codes {
        // A fresh statement that fails like an old one, or a schema that keeps changing, is no accident.
        let once = matches!(code, 0x0117 | 0x022A | 0x070F | 0x0362..=0x03C6 | 0x0600..=0x061B | 0x2602..=0x2653);
        let when = match once {
            true => format!("nth={}", 2 + chance.below(6)),
            false => chance.among(&["first=2", "first=3", "every=7", "nth=3"]).to_owned(),
        };
        faults.push(format!("tdengine:{}:{when}:code=0x{code:04X}", operation(chance)));
    }
    let what = chance.among(&["drop-before", "drop-after", "drop-after", "delay=200ms", "stall", "disk-full"]);
    faults.push(format!("tdengine:{}:nth={}:{what}", operation(chance), 2 + chance.below(12)));
    faults
}

/// As it is shown where a schedule has failed.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} records in {} (at last {}) partitions, {} in ten thousand are poison; {} members, {:?}, {}",
            self.records,
            self.partitions,
            self.partitions_at_last,
            self.poison,
            self.members,
            self.protocol,
            self.flags.join(" ")
        )?;
        self.faults
            .iter()
            .enumerate()
            .try_for_each(|(life, faults)| writeln!(f, "  life {life} of the endpoint: {}", faults.join(" ")))?;
        self.events.iter().try_for_each(|(at, event)| writeln!(f, "  {:5.2} s  {event:?}", at.as_secs_f64()))
    }
}
