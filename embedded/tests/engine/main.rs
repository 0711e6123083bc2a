//! The engine of the TDengine endpoint by its calls: what the recorded cases cannot show over the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod durability;
mod schema;
mod stmt2;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kafka_taos_embedded::tdengine::engine::{Cell, Engine, Outcome, Session, Storage, TdError};

/// 2025-12-01T00:00:00Z in milliseconds.
const BASE: i64 = 1_764_547_200_000;

/// An engine in memory whose clock stands at [`BASE`], and one session.
struct Db {
    engine: Engine,
    session: Session,
    /// Milliseconds.
    now: Arc<AtomicI64>,
}

impl Db {
    fn new() -> Self {
        Self::open(Storage::Memory)
    }

    fn open(storage: Storage) -> Self {
        let now = Arc::new(AtomicI64::new(BASE));
        let clock = now.clone();
        let clock = Arc::new(move || clock.load(Ordering::Relaxed) * 1_000_000);
        Self { engine: Engine::open_with_clock(storage, clock).unwrap(), session: Session::new("root"), now }
    }

    fn try_run(&mut self, sql: &str) -> Result<Outcome, TdError> {
        self.engine.execute(&mut self.session, sql.as_bytes())
    }

    /// Runs a statement that is no query and returns the affected rows.
    fn run(&mut self, sql: &str) -> u64 {
        match self.try_run(sql) {
            Ok(Outcome::Update { affected }) => affected,
            other => panic!("{sql}: {other:?}"),
        }
    }

    fn code(&mut self, sql: &str) -> u16 {
        self.try_run(sql).map(|outcome| format!("{outcome:?}")).unwrap_err().code
    }

    fn rows(&mut self, sql: &str) -> Vec<Vec<Cell>> {
        let Ok(Outcome::Rows(mut result)) = self.try_run(sql) else { panic!("{sql} is no query") };
        let mut rows = Vec::new();
        loop {
            let block = result.next_block(1000).unwrap();
            if block.is_empty() {
                return rows;
            }
            rows.extend(block.rows().map(<[Cell]>::to_vec));
        }
    }

    /// Rows as text, cells separated by blanks.
    fn text(&mut self, sql: &str) -> Vec<String> {
        let cell = |cell: &Cell| match cell {
            Cell::Null => "null".to_owned(),
            Cell::Bool(value) => value.to_string(),
            Cell::Int(value) | Cell::Timestamp(value) => value.to_string(),
            Cell::UInt(value) => value.to_string(),
            Cell::Float(value) => value.to_string(),
            Cell::Double(value) => value.to_string(),
            Cell::Decimal(value) => value.to_string(),
            Cell::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        };
        self.rows(sql).iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" ")).collect()
    }
}
