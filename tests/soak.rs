//! Minutes of work under disturbances, on embedded servers: nothing is lost, and memory does not grow.
//!
//! Run by `./test long`. `SOAK_SECONDS` says how long; 120 by default.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::pair::{Pair, START};
use common::process::{Process, Signal};
use common::until;
use kafka_taos::simulate::Simulator;

const RATE: u64 = 3000;

fn resident_kilobytes(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    resident.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "takes minutes: run by ./test long"]
fn consumers_come_and_go_and_nothing_is_lost() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let simulator = Simulator { records: RATE * seconds / 100, ..common::pair::simulator(100, 20, 0) };
    let pair = Pair::start();
    pair.create_topic("soak", 8);
    let (columns, records, rate) = ("20", simulator.records.to_string(), RATE.to_string());
    let producer = pair.start_command(&[
        "produce",
        "--topic",
        "soak",
        "--start",
        START,
        "--tables",
        "100",
        "--columns",
        columns,
        "--records",
        &records,
        "--rate",
        &rate,
        "--json",
    ]);
    let start = || pair.start_command(&["consume", "--topic", "soak", "--session-timeout", "2s", "--json"]);
    let steady = start();
    steady.stderr_line("partitions assigned");

    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let (mut settled, mut most, mut rounds) = (0, 0, 0);
    while began.elapsed() < length {
        let guest = start();
        guest.stderr_line("partitions assigned");
        std::thread::sleep(Duration::from_secs(3));
        // Every other one crashes.
        if rounds % 2 == 0 {
            guest.kill();
        } else {
            guest.signal(Signal::TERM);
            guest.wait().expect(143);
        }
        std::thread::sleep(Duration::from_secs(2));
        rounds += 1;
        let now = resident_kilobytes(&steady);
        if began.elapsed() < length / 3 {
            settled = settled.max(now);
        }
        most = most.max(now);
    }
    assert_eq!(producer.wait().expect(0).json()["produced"], simulator.total());
    let count = || pair.count_if_there("select count(*) from test.stb");
    until("all is written", || (count() >= simulator.total()).then_some(()));
    steady.signal(Signal::TERM);
    let result = steady.wait().expect(143).json();
    pair.assert_stored(&simulator);
    println!(
        "{rounds} consumers came and went; resident memory {settled} KB in the first third, {most} KB at most; {result}"
    );
    assert!(settled > 0, "memory was measured");
    assert!(most < settled + settled / 2, "memory grew from {settled} to {most} KB");
}

/// Open files and sockets.
fn descriptors(process: &Process) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.id())).map_or(0, Iterator::count)
}

/// A backlog far larger than what a consumer may hold, and a database that takes it slowly: memory stays below the bound
/// of `docs/guarantees.md`, and neither memory nor descriptors grow.
#[test]
#[ignore = "takes minutes: run by ./test long"]
fn a_backlog_on_a_slow_database_keeps_memory_and_descriptors_flat() {
    const BOUND_KILOBYTES: u64 = 150_000_000 / 1024;
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(120);
    let records = std::env::var("SOAK_RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let simulator = Simulator { records, ..common::pair::simulator(100, 4, 0) };
    let pair = Pair::start_with(&["--fault", "tdengine:exec:delay=3s"]);
    pair.create_topic("backlog", 8);
    pair.produce("backlog", &simulator, &[]);
    let consumer = pair.start_command(&["consume", "--topic", "backlog", "--json"]);
    consumer.stderr_line("partitions assigned");
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let (mut settled, mut most, mut files) = (0, 0, (0, 0));
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_millis(200));
        let now = resident_kilobytes(&consumer);
        if began.elapsed() < length / 3 {
            settled = settled.max(now);
            files.0 = files.0.max(descriptors(&consumer));
        }
        most = most.max(now);
        files.1 = files.1.max(descriptors(&consumer));
    }
    let written = pair.count_if_there("select count(*) from test.stb");
    println!(
        "{written} of {} written; resident memory {settled} KB in the first third, {most} KB at most; descriptors {} and {}",
        simulator.total(),
        files.0,
        files.1
    );
    consumer.kill();
    assert!(written > 0 && written < simulator.total(), "the backlog lasts: {written} of {}", simulator.total());
    assert!(most < BOUND_KILOBYTES, "{most} KB resident, the bound is {BOUND_KILOBYTES} KB");
    assert!(most < settled + settled / 4, "memory grew from {settled} to {most} KB");
    assert!(files.1 <= files.0 + 2, "descriptors grew from {} to {}", files.0, files.1);
}
