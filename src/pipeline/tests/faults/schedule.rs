//! What happens in a run, decided by its seed alone: messages, members, and everything that goes wrong.

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

use crate::tdengine::error::{Class, Code};

#[derive(Clone)]
pub(super) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.0.next_u64() % bound.max(1) as u64) as usize
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn millis(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis((from + self.below(to - from)) as u64)
    }

    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Every code that is tried again, and every one of a row, by class: a schedule draws the class first, so that those of
/// few codes come as often.
pub(super) static CODES: LazyLock<Vec<(Class, Vec<u16>)>> = LazyLock::new(|| {
    use Class::{BatchFault, Cluster, Network, Operator, Pressure, ReInit, RowFault, StaleSchema};
    let all = [Network, Cluster, Pressure, Operator, StaleSchema, ReInit, BatchFault, RowFault];
    let of = |class| (1..=u16::MAX).filter(move |code| Code::new((*code).into()).class() == class).collect();
    all.map(|class| (class, of(class))).to_vec()
});

/// A cell of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Value,
    Null,
    Unset,
}

/// What is wrong with a row, wherever its first cell goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Poison {
    None,
    /// The server refuses it with this code.
    Code(u16),
    /// It cannot be encoded.
    Encode,
    /// It is found out before it is in a block.
    Map,
}

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) stable: usize,
    pub(super) table: usize,
    pub(super) ts: i64,
    pub(super) cells: [Cell; 2],
    pub(super) poison: Poison,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Rows(Vec<Row>),
    Tombstone,
    Garbage,
    Filtered,
}

#[derive(Clone)]
pub(super) struct Draft {
    pub(super) partition: usize,
    pub(super) body: Body,
}

/// What becomes of the next write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// An answer with a code, after a part of the rows in percent was stored.
    Code(u16, usize),
    /// HTTP says so.
    Http(u16),
    /// The connection breaks; the rows are stored all the same, or not.
    Cut(bool),
    /// No answer ever; the rows are stored all the same, or not.
    NoAnswer(bool),
    /// It takes so long until the rows are stored, and until the answer is there.
    Slow(Duration, Duration),
    /// No answer, and the rows are stored after the client has given up: nothing can fence that.
    Stray(Duration),
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Publish(Vec<Draft>),
    Join,
    /// The member, among those there are, drains and leaves.
    Stop(usize),
    /// A second signal.
    Abort(usize),
    /// SIGKILL.
    Kill(usize),
    /// SIGSTOP, and SIGCONT after so long.
    Freeze(usize, Duration),
    /// SIGSTOP while a write is on its way that lands after the session: the stated exception, on purpose.
    FreezeInWrite(usize, Duration),
    Bystander,
    BystandersLeave,
    Write(Fault),
    /// TDengine is away for so long.
    Away(Duration),
    /// It takes no more rows at once than these for so long.
    Strain(usize, Duration),
    /// The super table gets a column.
    Alter,
    CutKafka(Duration),
    FailCommits(usize),
    /// The dead-letter place takes nothing for so long.
    FailDeadLetters(Duration),
    AddPartition,
    /// The clock on the wall jumps, in milliseconds.
    SetClock(i64),
    /// A partition is read again from so much further back.
    SeekBack(usize, i64),
}

#[derive(Clone)]
pub(super) struct Step {
    pub(super) after: Duration,
    pub(super) act: Act,
}

#[derive(Clone)]
pub(super) struct Schedule {
    pub(super) seed: u64,
    pub(super) partitions: usize,
    pub(super) eager: bool,
    pub(super) session: Duration,
    pub(super) steps: Vec<Step>,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stable, table, ts, cells: [first, second], poison } = self;
        write!(f, "{stable}.d{table}@{ts} {first:?} {second:?}")?;
        if *poison == Poison::None { Ok(()) } else { write!(f, " {poison:?}") }
    }
}

impl fmt::Debug for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "to {}: {:?}", self.partition, self.body)
    }
}

/// A line a step.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, partitions, eager, session, steps } = self;
        writeln!(f, "seed {seed}, {partitions} partitions, eager: {eager}, session {session:?}")?;
        steps.iter().try_for_each(|step| writeln!(f, "  after {:?}: {:?}", step.after, step.act))
    }
}

/// Rows whose key comes once have timestamps from here on.
const ONCE: i64 = 1000;

struct Drafting {
    drafted: usize,
    partitions: usize,
    poison: usize,
    tables: usize,
    keys: usize,
}

impl Schedule {
    pub(super) fn new(seed: u64) -> Self {
        let chance = &mut Chance::new(seed);
        let partitions = 1 + chance.below(5);
        let mut drafting = Drafting {
            drafted: 0,
            partitions,
            poison: chance.one_of(&[0, 0, 2, 10]),
            tables: 1 + chance.below(3),
            keys: chance.one_of(&[3, 20, 100]),
        };
        let session = chance.millis(3_000, 12_000);
        let act = |after, act| Step { after, act };
        let mut steps = vec![act(Duration::ZERO, drafting.publish(chance)), act(Duration::ZERO, Act::Join)];
        // Some runs are quiet, some are nothing but trouble; in some it comes all at once.
        let (count, trouble) = (5 + chance.below(26), chance.one_of(&[20, 50, 80]));
        let longest = chance.one_of(&[50, 500, 3_000]);
        for _ in 0..count {
            let after = chance.millis(0, longest);
            let next = if chance.percent(trouble) {
                trouble_of(chance, &mut drafting, session)
            } else {
                ordinary(chance, &mut drafting)
            };
            steps.push(act(after, next));
        }
        steps.push(act(chance.millis(0, longest), drafting.publish(chance)));
        Self { seed, partitions, eager: chance.percent(30), session, steps }
    }
}

fn ordinary(chance: &mut Chance, drafting: &mut Drafting) -> Act {
    match chance.below(10) {
        0..5 => drafting.publish(chance),
        5..8 => Act::Join,
        8 => Act::Stop(chance.below(4)),
        _ if chance.percent(30) => {
            drafting.partitions += 1;
            Act::AddPartition
        }
        _ => Act::Alter,
    }
}

fn trouble_of(chance: &mut Chance, drafting: &mut Drafting, session: Duration) -> Act {
    let who = chance.below(4);
    match chance.below(42) {
        0..3 => Act::Kill(who),
        3 => Act::Abort(who),
        4 | 5 => Act::Freeze(who, chance.millis(10, 3_000)),
        6 | 7 => Act::Freeze(who, session + chance.millis(1, 9_000)),
        8 => Act::FreezeInWrite(who, session + chance.millis(2_000, 9_000)),
        9 => Act::Bystander,
        10 => Act::BystandersLeave,
        11 | 12 => Act::Away(chance.millis(100, 30_000)),
        13 => Act::Strain(1 + chance.below(6), chance.millis(1_000, 20_000)),
        14 | 15 => Act::CutKafka(chance.millis(100, 4_000)),
        16 => Act::CutKafka(session + chance.millis(1, 9_000)),
        17 => Act::FailCommits(1 + chance.below(9)),
        18 | 19 => Act::FailDeadLetters(chance.millis(100, 20_000)),
        20 => Act::SetClock(chance.one_of(&[-86_400_000, -5_000, 1_000, 30_000, 86_400_000])),
        21 | 40 | 41 => Act::SeekBack(chance.below(drafting.partitions), 1 + chance.below(40) as i64),
        22..26 => Act::Write(Fault::Cut(chance.percent(50))),
        26..29 => Act::Write(Fault::NoAnswer(chance.percent(50))),
        29..31 => Act::Write(Fault::Slow(chance.millis(0, 1_500), chance.millis(0, 4_000))),
        31 if chance.percent(30) => Act::Write(Fault::Stray(chance.millis(0, 8_000))),
        31 | 32 => Act::Write(Fault::Http(chance.one_of(&[429, 502, 503, 413, 500]))),
        33 if chance.percent(20) => Act::Write(Fault::Code(chance.one_of(&[0x0303, 0x0357, 0x7777, 0x0999]), 0)),
        _ => {
            let (_, codes) = &CODES[chance.below(CODES.len())];
            Act::Write(Fault::Code(chance.one_of(codes), chance.one_of(&[0, 0, 50, 100])))
        }
    }
}

impl Drafting {
    fn publish(&mut self, chance: &mut Chance) -> Act {
        let count = chance.one_of(&[1, 10, 60]);
        Act::Publish((0..chance.below(count) + 1).map(|_| self.draft(chance)).collect())
    }

    fn draft(&mut self, chance: &mut Chance) -> Draft {
        self.drafted += 1;
        let partition = chance.below(self.partitions);
        let is_bad = chance.percent(self.poison);
        let body = match chance.below(100) {
            0..3 => Body::Filtered,
            3..20 if is_bad => Body::Tombstone,
            20..40 if is_bad => Body::Garbage,
            _ => {
                let count = if chance.percent(20) { chance.below(5) } else { 1 };
                Body::Rows((0..count).map(|number| self.row(chance, partition, number, is_bad)).collect())
            }
        };
        Draft { partition, body }
    }

    fn row(&self, chance: &mut Chance, partition: usize, number: usize, is_bad: bool) -> Row {
        let once = chance.percent(40);
        let ts = if once { ONCE + (self.drafted * 10 + number) as i64 } else { chance.below(self.keys) as i64 };
        let cell = |chance: &mut Chance| match chance.below(10) {
            0..2 => Cell::Null,
            2..4 => Cell::Unset,
            _ => Cell::Value,
        };
        let poison = match chance.below(5) {
            _ if !is_bad || number > 0 && chance.percent(50) => Poison::None,
            0 => Poison::Encode,
            1 => Poison::Map,
            _ => Poison::Code(CODES.last().map_or(0x060B, |(_, codes)| chance.one_of(codes))),
        };
        let first = if poison == Poison::None { cell(chance) } else { Cell::Value };
        // A table belongs to a partition, so that its order is that of the partition.
        let table = partition * 10 + chance.below(self.tables);
        Row { stable: usize::from(chance.percent(25)), table, ts, cells: [first, cell(chance)], poison }
    }
}
