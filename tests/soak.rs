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
