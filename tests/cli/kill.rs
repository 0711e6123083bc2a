//! SIGKILL of the servers at any time: every row that was answered with success is there when they run again.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kafka_taos::block::Block;
use kafka_taos::encode::stmt2::bind_frame;
use kafka_taos::row::Value;
use kafka_taos::tdengine::schema::SuperTable;
use kafka_taos::tdengine::{BindMode, Class, ConnectOptions, Connection, Sql as _, TdengineError};

use crate::common::pair::Pair;
use crate::common::until;

/// 2025-12-01T00:00:00Z in milliseconds.
const BASE: i64 = 1_764_547_200_000;
/// Rows of one bind, which are written together or not at all.
const BATCH: i64 = 7;
const WRITERS: usize = 3;

/// A writer's table and how many of its rows were answered: row N has the timestamp `BASE + N` and the value N.
#[derive(Debug, Default)]
struct Progress(AtomicI64);

fn wait_for<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn connect(url: &str) -> Result<Connection, TdengineError> {
    Connection::connect(&url.parse().unwrap(), None, 0, &ConnectOptions::default()).await
}

/// Writes batch after batch until an error, which is the lost connection.
async fn write(url: &str, table: &str, answered: &Progress) -> Result<Infallible, TdengineError> {
    let connection = connect(url).await?;
    let stable = Arc::new(SuperTable::read(&connection, "d", "st").await?);
    let mut statement = connection.prepare_insert(&stable, true, BindMode::Many).await?;
    loop {
        let first = answered.0.load(Ordering::SeqCst);
        let mut block = Block::new(stable.clone());
        for number in first..first + BATCH {
            let mut row = block.row(table, 0).unwrap();
            row.set(0, &Value::Int(BASE + number)).unwrap();
            row.set(1, &Value::Int(number)).unwrap();
            row.finish().unwrap();
        }
        let mut frame = Vec::new();
        bind_frame(&mut frame, &block, &(0..BATCH as u32).collect::<Vec<_>>(), true);
        statement.insert(frame.into()).await?;
        answered.0.store(first + BATCH, Ordering::SeqCst);
    }
}

/// All that was answered is there in order, and of what was not answered only whole batches.
async fn check(url: &str, table: &str, answered: i64) {
    let rows = connect(url).await.unwrap().sql(&format!("select v from d.`{table}` order by ts")).await.unwrap().rows;
    let stored = rows.len() as i64;
    assert!(stored == answered || stored == answered + BATCH, "{table}: {answered} answered, {stored} stored");
    for (number, row) in (0..).zip(&rows) {
        assert_eq!(row[..], [Value::Int(number)], "{table}");
    }
}

#[test]
fn rows_that_were_answered_outlive_a_kill_of_the_servers() {
    let folder = tempfile::tempdir().unwrap();
    let keep = ["--data-dir", folder.path().to_str().unwrap()];
    let writers: Vec<_> = (0..WRITERS).map(|number| (format!("w{number}"), Progress::default())).collect();
    let answered = || writers.iter().map(|(_, progress)| progress.0.load(Ordering::SeqCst)).sum::<i64>();
    for (round, more) in [1, 500, 50, 3000, 200, 20_000, 5000].into_iter().enumerate() {
        let pair = Pair::start_with(&keep);
        let url = pair.url();
        if round == 0 {
            pair.run(&["sql", "create database d vgroups 2"]).expect(0);
            pair.run(&["sql", "create stable d.st (ts timestamp, v bigint) tags (g int)"]).expect(0);
        } else {
            writers
                .iter()
                .for_each(|(table, progress)| wait_for(check(&url, table, progress.0.load(Ordering::SeqCst))));
        }
        let wanted = answered() + more;
        std::thread::scope(|scope| {
            for (table, progress) in &writers {
                scope.spawn(|| {
                    let Err(error) = wait_for(write(&url, table, progress));
                    assert_eq!(error.class(), Class::Network, "{error}");
                });
            }
            until("enough rows are answered", || (answered() >= wanted).then_some(()));
            pair.process.kill();
        });
    }
    let pair = Pair::start_with(&keep);
    writers.iter().for_each(|(table, progress)| {
        wait_for(check(&pair.url(), table, progress.0.load(Ordering::SeqCst)));
    });
}
