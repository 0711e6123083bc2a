//! A database that fails in every way there is. What is sent to it happens there, whatever becomes of the sender: each
//! vnode carries writes out in the order they came.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::messages::{Drafts, ID, row_of};
use super::schedule::{Chance, Fault, Poison};
use crate::block::{Block, NULL, UNSET};
use crate::message::TopicPartition;
use crate::mq::memory::MemoryQueue;
use crate::pipeline::Watch;
use crate::row::Precision;
use crate::tdengine::error::{Class, Code, TdengineError};
use crate::tdengine::schema::{DataType, Field, SuperTable};
use crate::worker::{Part, Store, Writer};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
const VNODES: usize = 3;
/// Rows that one write takes.
const MOST_ROWS: usize = 15;

/// Super table, table, timestamp.
pub(super) type Key = (usize, String, i64);

/// A cell in the store: its value, if it has one, by which row it was written, and whether that came late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) value: Option<i64>,
    pub(super) by: i64,
    pub(super) late: bool,
}

struct SentRow {
    key: Key,
    id: i64,
    cells: [(u8, i64); 2],
}

pub(super) struct Database {
    pub(super) rows: HashMap<Key, [Option<Stored>; 2]>,
    schemas: Vec<SuperTable>,
    armed: VecDeque<Fault>,
    /// Until when nobody answers.
    pub(super) away: Option<Instant>,
    pub(super) strain: Option<(usize, Instant)>,
    busy: [Option<Instant>; VNODES],
    chance: Chance,
    latency_ms: usize,
    drafts: Arc<Drafts>,
    /// Faults that struck, by kind.
    pub(super) struck: BTreeMap<String, u64>,
    pub(super) codes: BTreeSet<u16>,
    /// Writes that were sent by one who was no owner any more.
    pub(super) trespasses: Vec<String>,
    pub(super) late: u64,
    /// Members that were stopped, killed or shut out: what they have under way may land when it will.
    excused: HashSet<u64>,
    watches: HashMap<u64, Watch>,
}

/// The database, as one member sees it.
#[derive(Clone)]
pub(super) struct SimStore {
    database: Arc<Mutex<Database>>,
    queue: MemoryQueue,
    member: u64,
}

pub(super) fn schema(stable: usize, columns: usize) -> SuperTable {
    let numbers = ["id", "v0", "v1"].into_iter().map(|name| Field::new(name, DataType::BigInt));
    let more = (0..columns).map(|column| Field::new(format!("more{column}"), DataType::Int));
    SuperTable {
        database: "power".into(),
        name: ["meters", "events"][stable].into(),
        precision: Precision::Milli,
        columns: std::iter::once(Field::new("ts", DataType::Timestamp)).chain(numbers).chain(more).collect(),
        composite_key: false,
        tags: vec![Field::new("site", DataType::Int)],
    }
}

fn refused(code: u16) -> TdengineError {
    TdengineError::Server { code: Code::new(code.into()), message: "as told".into(), action: "write".into() }
}

fn closed() -> TdengineError {
    TdengineError::Closed { address: "h:1".into(), reason: "as told".into() }
}

/// What becomes of a write: which rows are stored, when, and what is answered, if anything.
struct Plan {
    rows: Vec<SentRow>,
    landing: [Option<Instant>; VNODES],
    stray: bool,
    after: Duration,
    outcome: Option<Result<(), TdengineError>>,
    cut: bool,
}

impl SimStore {
    pub(super) fn new(queue: MemoryQueue, drafts: Arc<Drafts>, mut chance: Chance) -> Self {
        let latency_ms = chance.one_of(&[1, 20, 300]);
        let database = Database {
            rows: HashMap::new(),
            schemas: vec![schema(0, 0), schema(1, 0)],
            armed: VecDeque::new(),
            away: None,
            strain: None,
            busy: [None; VNODES],
            chance,
            latency_ms,
            drafts,
            struck: BTreeMap::new(),
            codes: BTreeSet::new(),
            trespasses: Vec::new(),
            late: 0,
            excused: HashSet::new(),
            watches: HashMap::new(),
        };
        Self { database: Arc::new(Mutex::new(database)), queue, member: 0 }
    }

    pub(super) fn of(&self, member: u64) -> Self {
        Self { member, ..self.clone() }
    }

    pub(super) fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap()
    }

    pub(super) fn schemas(&self) -> Vec<SuperTable> {
        self.database().schemas.clone()
    }

    fn is_owner(&self, row: &SentRow) -> bool {
        let partition = self.database().drafts.partition_of(row.id);
        self.queue.owner("g", &TopicPartition::new("t", partition)) == Some(self.member)
    }

    fn land(&self, rows: Vec<SentRow>, vnode: usize, stray: bool) {
        let rows: Vec<_> = rows.into_iter().filter(|row| vnode_of(&row.key) == vnode).collect();
        let late: Vec<bool> = rows.iter().map(|row| stray || !self.is_owner(row)).collect();
        let mut database = self.database();
        let is_excused = stray || database.is_excused(self.member);
        if let Some((row, _)) = rows.iter().zip(&late).find(|(_, late)| **late && !is_excused) {
            let text =
                format!("a write of member {} landed after it had let go the partition: {:?}", self.member, row.key);
            database.trespasses.push(text);
        }
        for (row, late) in rows.into_iter().zip(late) {
            database.late += u64::from(late);
            let stored = database.rows.entry(row.key).or_default();
            for (cell, (flag, value)) in stored.iter_mut().zip(row.cells) {
                if flag != UNSET {
                    *cell = Some(Stored { value: (flag != NULL).then_some(value), by: row.id, late });
                }
            }
        }
    }
}

fn vnode_of((stable, table, _): &Key) -> usize {
    let number: usize = table[1..].parse().unwrap_or(0);
    (stable + number) % VNODES
}

impl Database {
    pub(super) fn strike(&mut self, kind: impl Into<String>) {
        *self.struck.entry(kind.into()).or_default() += 1;
    }

    pub(super) fn excuse(&mut self, member: u64) {
        self.excused.insert(member);
    }

    pub(super) fn watch(&mut self, member: u64, watch: Watch) {
        self.watches.insert(member, watch);
    }

    fn is_excused(&self, member: u64) -> bool {
        self.excused.contains(&member) || self.watches.get(&member).is_none_or(|watch| watch.snapshot().undrained > 0)
    }

    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push_back(fault);
    }

    pub(super) fn heal(&mut self) {
        (self.away, self.strain) = (None, None);
        self.armed.clear();
    }

    pub(super) fn alter(&mut self) {
        let columns = self.schemas[0].columns.len() - 3;
        self.schemas[0] = schema(0, columns);
        self.strike("super table altered");
    }

    fn is_away(&self) -> bool {
        self.away.is_some_and(|until| Instant::now() < until)
    }

    fn plan(&mut self, schema: &SuperTable, rows: Vec<SentRow>) -> Plan {
        let now = Instant::now();
        let nothing = |outcome| Plan {
            rows: Vec::new(),
            landing: [None; VNODES],
            stray: false,
            after: Duration::ZERO,
            outcome,
            cut: false,
        };
        if self.is_away() {
            self.strike("away");
            return nothing(Some(Err(closed())));
        }
        if !self.schemas.contains(schema) {
            return nothing(Some(Err(refused(0x061B))));
        }
        if let Some((most, until)) = self.strain
            && now < until
            && rows.len() > most
        {
            self.strike("strain");
            return nothing(Some(Err(refused(0x0102))));
        }
        let latency = self.chance.millis(0, self.latency_ms);
        let mut plan =
            Plan { landing: [None; VNODES], stray: false, after: latency, outcome: Some(Ok(())), cut: false, rows };
        let mut slow = Duration::ZERO;
        match self.armed.pop_front() {
            None => {}
            // On one row it would be our own fault, and it stops for that.
            Some(Fault::Code(code, _))
                if plan.rows.len() == 1 && Code::new(code.into()).class() == Class::BatchFault => {}
            // A row fault is a poison row's: see below.
            Some(Fault::Code(code, _)) if Code::new(code.into()).class() == Class::RowFault => {}
            Some(Fault::Code(code, percent)) => {
                self.strike(format!("code {}", Code::new(code.into()).class().name()));
                self.codes.insert(code);
                let part = plan.rows.len() * percent / 100;
                plan.rows.truncate(part);
                plan.outcome = Some(Err(refused(code)));
            }
            Some(Fault::Http(status)) if status != 413 || plan.rows.len() > 1 => {
                self.strike("http");
                let body = String::new();
                return nothing(Some(Err(TdengineError::Http { address: "h:1".into(), status, body })));
            }
            Some(Fault::Http(_)) => {}
            Some(Fault::Cut(stored)) => {
                self.strike("connection cut");
                (plan.outcome, plan.cut) = (None, true);
                if !stored {
                    plan.rows.clear();
                }
            }
            Some(Fault::NoAnswer(stored)) => {
                self.strike("no answer");
                plan.outcome = None;
                if !stored {
                    plan.rows.clear();
                }
            }
            Some(Fault::Slow(before, after)) => {
                self.strike("slow");
                (slow, plan.after) = (before, after);
            }
            Some(Fault::Stray(delay)) => {
                self.strike("stray write");
                (plan.outcome, plan.stray, slow) = (None, true, PATIENCE + delay);
            }
        }
        // What is refused is refused for its vnode; others may have stored their part.
        let poison = plan.rows.iter().find_map(|row| match self.drafts.poison_of(row.cells[0]) {
            Poison::Code(code) => Some((code, vnode_of(&row.key))),
            _ => None,
        });
        if let (Some((code, vnode)), Some(Ok(()))) = (poison, &plan.outcome) {
            self.strike("row fault");
            self.codes.insert(code);
            let others = code == 0x060B;
            plan.rows.retain(|row| others && vnode_of(&row.key) != vnode);
            let drafts = &self.drafts;
            let is_bad = |row: &SentRow| matches!(drafts.poison_of(row.cells[0]), Poison::Code(_));
            let bad: BTreeSet<usize> =
                plan.rows.iter().filter(|row| is_bad(row)).map(|row| vnode_of(&row.key)).collect();
            plan.rows.retain(|row| !bad.contains(&vnode_of(&row.key)));
            plan.outcome = Some(Err(refused(code)));
        } else if poison.is_some() {
            // Whatever else goes wrong, a bad row is never stored, nor what shares its vnode.
            let drafts = &self.drafts;
            let is_bad = |row: &SentRow| matches!(drafts.poison_of(row.cells[0]), Poison::Code(_));
            let bad: BTreeSet<usize> =
                plan.rows.iter().filter(|row| is_bad(row)).map(|row| vnode_of(&row.key)).collect();
            plan.rows.retain(|row| !bad.contains(&vnode_of(&row.key)));
        }
        for row in &plan.rows {
            plan.landing[vnode_of(&row.key)] = Some(now);
        }
        for (vnode, landing) in plan.landing.iter_mut().enumerate().filter(|(_, landing)| landing.is_some()) {
            let latency = self.chance.millis(0, self.latency_ms);
            if plan.stray {
                *landing = Some(now + slow);
            } else {
                // One after the other, to the millisecond of the clock.
                let free = self.busy[vnode].map_or(now, |busy| (busy + Duration::from_millis(1)).max(now));
                let at = free + latency + slow;
                (*landing, self.busy[vnode]) = (Some(at), Some(at));
            }
        }
        plan
    }
}

impl Store for SimStore {
    type Writer = SimStore;

    fn writer(&self) -> SimStore {
        self.clone()
    }

    fn encode(
        &self,
        block: &Block,
        rows: &[u32],
        spare: &mut Vec<Vec<u8>>,
        parts: &mut Vec<Part>,
    ) -> Vec<(u32, String)> {
        let drafts = self.database().drafts.clone();
        let cell = |column: usize, row: u32| {
            let column = &block.columns()[column];
            (column.flags[row as usize], i64::from_le_bytes(column.bytes(row as usize).try_into().unwrap()))
        };
        let is_bad = |row: &&u32| drafts.poison_of(cell(2, **row)) == Poison::Encode;
        let (bad, good): (Vec<&u32>, Vec<&u32>) = rows.iter().partition(is_bad);
        let stable = usize::from(block.schema().name == "events");
        for rows in good.chunks(MOST_ROWS) {
            let mut payload = spare.pop().unwrap_or_default();
            payload.clear();
            for &&row in rows {
                let table = block.table_name(block.table_of(row));
                let mut put = |number: i64| payload.extend(number.to_le_bytes());
                put(stable as i64);
                put(table[1..].parse().unwrap());
                [0, ID, 2, 3].map(|column| cell(column, row)).into_iter().for_each(|(flag, value)| {
                    put(flag.into());
                    put(value);
                });
            }
            parts.push(Part { rows: rows.iter().map(|row| **row).collect(), payload, makes_tables: true });
        }
        bad.into_iter().map(|&row| (row, "cannot be encoded".to_owned())).collect()
    }
}

fn decode(payload: &[u8]) -> Vec<SentRow> {
    let numbers: Vec<i64> = payload.chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let row = |numbers: &[i64]| {
        let [stable, table, _, ts, _, id, flag0, value0, flag1, value1] = numbers.try_into().unwrap();
        let key = (stable as usize, format!("d{table}"), ts);
        SentRow { key, id, cells: [(flag0 as u8, value0), (flag1 as u8, value1)] }
    };
    numbers.chunks(10).map(row).collect()
}

impl Writer for SimStore {
    async fn read_schema(&mut self, known: &SuperTable) -> Result<SuperTable, TdengineError> {
        let away = self.database().is_away();
        sleep(Duration::from_millis(1)).await;
        if away {
            return Err(closed());
        }
        let schemas = self.schemas();
        Ok(schemas.into_iter().find(|schema| schema.name == known.name).unwrap())
    }

    async fn write(&mut self, schema: &Arc<SuperTable>, part: &mut Part) -> Result<(), TdengineError> {
        let rows = decode(&part.payload);
        let foreign = rows.iter().find(|row| !self.is_owner(row)).map(|row| row_of(row.id));
        if let Some(row) = foreign {
            let text = format!("member {} sent message {} after it had lost the partition", self.member, row.0);
            self.database().trespasses.push(text);
        }
        let plan = self.database().plan(schema, rows);
        let cut = plan.cut;
        let (answer, answered) = oneshot::channel();
        tokio::spawn(carry_out(self.clone(), plan, answer));
        if cut {
            sleep(Duration::from_millis(1)).await;
            return Err(closed());
        }
        match timeout(PATIENCE, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(TdengineError::Timeout { action: "write".into(), after: PATIENCE }),
        }
    }

    fn reconnect(&mut self) {}
}

/// The server's side: it goes on whatever the client does.
async fn carry_out(store: SimStore, plan: Plan, answer: oneshot::Sender<Result<(), TdengineError>>) {
    let Plan { mut rows, landing, stray, after, outcome, .. } = plan;
    let mut landings: Vec<_> = landing.iter().enumerate().filter_map(|(vnode, at)| Some(((*at)?, vnode))).collect();
    landings.sort_unstable();
    for (at, vnode) in landings {
        if at > Instant::now() {
            sleep_until(at).await;
        }
        let (now, later) = rows.into_iter().partition(|row| vnode_of(&row.key) == vnode);
        store.land(now, vnode, stray);
        rows = later;
    }
    if !after.is_zero() {
        sleep(after).await;
    }
    match outcome {
        Some(outcome) => _ = answer.send(outcome),
        // No answer: the client's patience ends it.
        None => sleep(PATIENCE * 2).await,
    }
}
