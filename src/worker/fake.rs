//! A store that does as it is told, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::{Part, Store, Writer};
use crate::block::Block;
use crate::mapping::{MessageFault, OneRow};
use crate::message::Message;
use crate::row::{Precision, Value};
use crate::tdengine::error::{Code, TdengineError};
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// Table and timestamp of a row.
pub(crate) type Key = (String, i64);

/// What becomes of a write.
pub(crate) struct Answer {
    /// How long it takes until the rows are in the store.
    pub(crate) before: Duration,
    /// How many of its rows then are, whatever is answered.
    pub(crate) written: usize,
    /// How long the answer takes from there.
    pub(crate) after: Duration,
    pub(crate) outcome: Result<(), TdengineError>,
}

impl From<Result<(), TdengineError>> for Answer {
    fn from(outcome: Result<(), TdengineError>) -> Self {
        let written = if outcome.is_ok() { usize::MAX } else { 0 };
        Self { before: Duration::ZERO, written, after: Duration::ZERO, outcome }
    }
}

type AnswerTo = Box<dyn FnMut(&[Key]) -> Answer + Send>;

/// Keeps rows by table and timestamp; each write is first put to `answer`.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Mutex<Fake>>);

pub(crate) struct Fake {
    pub(crate) schema: SuperTable,
    answer: AnswerTo,
    pub(crate) rows: BTreeMap<Key, i32>,
    /// Every row that was ever written, in order.
    pub(crate) history: Vec<(Key, i32)>,
    pub(crate) writes: usize,
    /// How often the super table was read.
    pub(crate) reads: usize,
    /// How often it is not there yet when it is read.
    pub(crate) gone: usize,
    pub(crate) reconnects: usize,
}

/// A timestamp and so many columns, less one.
pub(crate) fn schema(columns: usize) -> SuperTable {
    let numbers = (1..columns).map(|column| Field::new(format!("v{column}"), DataType::Int));
    SuperTable {
        database: "power".into(),
        name: "meters".into(),
        precision: Precision::Milli,
        columns: std::iter::once(Field::new("ts", DataType::Timestamp)).chain(numbers).collect(),
        composite_key: false,
        tags: vec![Field::new("site", DataType::Int)],
    }
}

/// The server's answer with an error.
pub(crate) fn refused(code: i64) -> TdengineError {
    TdengineError::Server { code: Code::new(code), message: "as told".into(), action: "write".into() }
}

/// The server is away.
pub(crate) fn gone() -> TdengineError {
    TdengineError::Closed { address: "h:1".into(), reason: "gone".into() }
}

impl FakeStore {
    pub(crate) fn new<A: Into<Answer>>(mut answer: impl FnMut(&[Key]) -> A + Send + 'static) -> Self {
        let answer = Box::new(move |keys: &[Key]| answer(keys).into());
        let (rows, history) = (BTreeMap::new(), Vec::new());
        Self(Arc::new(Mutex::new(Fake {
            schema: schema(2),
            answer,
            rows,
            history,
            writes: 0,
            reads: 0,
            gone: 0,
            reconnects: 0,
        })))
    }

    pub(crate) fn fake(&self) -> MutexGuard<'_, Fake> {
        self.0.lock().unwrap()
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer<A: Into<Answer>>(&self, mut answer: impl FnMut(&[Key]) -> A + Send + 'static) {
        self.fake().answer = Box::new(move |keys: &[Key]| answer(keys).into());
    }
}

impl Store for FakeStore {
    type Writer = FakeStore;

    fn writer(&self) -> FakeStore {
        self.clone()
    }

    fn encode(&self, block: &Block, rows: &[u32], _: &mut Vec<Vec<u8>>, parts: &mut Vec<Part>) -> Vec<(u32, String)> {
        let cells = |row: u32| {
            let ts = i64::from_le_bytes(block.columns()[0].bytes(row as usize).try_into().unwrap());
            let value = i32::from_le_bytes(block.columns()[1].bytes(row as usize).try_into().unwrap());
            (block.table_name(block.table_of(row)).to_owned(), ts, value)
        };
        // What SQL cannot say, say.
        let (unwritable, writable): (Vec<u32>, Vec<u32>) = rows.iter().partition(|&&row| cells(row).2 == -999);
        if !writable.is_empty() {
            let payload = serde_json::to_vec(&writable.iter().map(|&row| cells(row)).collect::<Vec<_>>()).unwrap();
            parts.push(Part { rows: writable, payload, makes_tables: true });
        }
        unwritable.into_iter().map(|row| (row, "cannot be encoded".to_owned())).collect()
    }
}

impl Writer for FakeStore {
    async fn read_schema(&mut self, known: &SuperTable) -> Result<SuperTable, TdengineError> {
        let mut fake = self.fake();
        fake.reads += 1;
        match fake.gone.checked_sub(1) {
            Some(left) => {
                fake.gone = left;
                Err(TdengineError::NoSuperTable { name: known.qualified_name() })
            }
            None => Ok(fake.schema.clone()),
        }
    }

    async fn write(&mut self, schema: &Arc<SuperTable>, part: &mut Part) -> Result<(), TdengineError> {
        let rows: Vec<(String, i64, i32)> = serde_json::from_slice(&part.payload).unwrap();
        let keys: Vec<_> = rows.iter().map(|(table, ts, _)| (table.clone(), *ts)).collect();
        let answer = {
            let mut fake = self.fake();
            fake.writes += 1;
            if **schema != fake.schema {
                return Err(refused(0x061B));
            }
            (fake.answer)(&keys)
        };
        pause(answer.before).await;
        {
            let landed = keys.into_iter().zip(rows.iter().map(|(.., value)| *value)).take(answer.written);
            let mut fake = self.fake();
            fake.history.extend(landed.clone());
            fake.rows.extend(landed);
        }
        pause(answer.after).await;
        answer.outcome
    }

    fn reconnect(&mut self) {
        self.fake().reconnects += 1;
    }
}

/// No time is no pause: a sleep would let others go first.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Payloads are `TABLE TS VALUE`.
pub(crate) struct Lines;

impl OneRow for Lines {
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault> {
        let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
        let text = std::str::from_utf8(payload).unwrap();
        let [table, ts, value] = text.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let mut row = block.row(table, origin)?;
        row.set(0, &Value::Int(ts.parse().unwrap()))?;
        row.set(1, &Value::Int(value.parse().unwrap()))?;
        Ok(row.finish()?)
    }
}
