//! Whole processes under faults: consumers, an embedded endpoint with its fault switches and a real Apache Kafka, with
//! proxies between that cut, stall and lose what they carry. Nothing may be lost, wrong or doubled.
//!
//! A schedule is made of a seed, which gives its plan and not its timing: see [`plan::Plan`]. Several run at a time, each
//! on a topic and an endpoint of its own; Kafka is everybody's, so a restart of it is felt by all.
//!
//! Ignored by a plain `cargo test`: `./test` runs 40 of them, `./test faults-real --schedules N --seed S` any number.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../common/mod.rs"]
mod common;

mod check;
mod plan;
mod publish;
mod world;

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use check::Findings;
use common::kafka::Kafka;
use common::proxy::Proxy;
use plan::Plan;
use world::{Outcome, World};

/// Schedules at a time: most of a schedule is waiting.
const LANES: usize = 4;

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok().filter(|text| !text.is_empty());
    set.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// A schedule that is over: what was found, and what was wrong.
#[derive(Debug)]
struct Ended {
    outcome: Outcome,
    failure: Option<String>,
}

fn run(plan: &Plan, kafka: &Mutex<Kafka>, doors: [&Proxy; 2]) -> Ended {
    let mut world = World::new(plan, kafka, doors);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let text = |panic: Box<dyn Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| (*text).to_owned()),
    };
    let (outcome, failure) = match ended {
        Ok(outcome) if outcome.findings.is_clean() => (outcome, None),
        Ok(outcome) => (outcome.clone(), Some(format!("{:#?}", outcome.findings))),
        Err(panic) => (Outcome::default(), Some(text(panic))),
    };
    Ended { outcome, failure }.keep(plan, &world.epitaph())
}

impl Ended {
    /// Keeps the story, and says where it is if it did not end well.
    fn keep(mut self, plan: &Plan, story: &str) -> Self {
        let seed = plan.seed;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-real-{seed}.log"));
        let kept = std::fs::write(&path, format!("seed {seed}: {self:#?}\n{plan}\n{story}"));
        let kept = kept.map_or_else(|error| error.to_string(), |()| path.display().to_string());
        self.failure = self.failure.map(|failure| {
            let summary: Vec<_> = failure.lines().take(40).collect();
            format!(
                "seed {seed} FAILED; ./test faults-real --schedules 1 --seed {seed} runs it alone; all that was said: {kept}\n{}\n{plan}",
                summary.join("\n")
            )
        });
        self
    }
}

/// Runs schedules, several at a time.
fn run_all(schedules: u64, first: u64, kafka: Kafka, doors: &[Proxy]) -> Vec<Ended> {
    doors.iter().enumerate().for_each(|(lane, door)| door.lead_to(kafka.door(lane)));
    let (kafka, next, ended) = (Mutex::new(kafka), AtomicU64::new(0), Mutex::new(Vec::new()));
    let lane = |doors| {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= schedules {
                break;
            }
            let (plan, began) = (Plan::of(first + turn), Instant::now());
            let over = run(&plan, &kafka, doors);
            let Outcome { findings, overtaken, .. } = &over.outcome;
            match &over.failure {
                None => println!(
                    "seed {} in {:.1} s: {} checked, {} dead letters, {} stale in {overtaken} partitions lost by paused members",
                    plan.seed,
                    began.elapsed().as_secs_f64(),
                    findings.checked,
                    findings.dead,
                    findings.stale
                ),
                Some(failure) => println!("{failure}"),
            }
            ended.lock().unwrap().push(over);
        }
    };
    std::thread::scope(|scope| {
        doors.chunks_exact(2).for_each(|pair| _ = scope.spawn(|| lane([&pair[0], &pair[1]])));
    });
    ended.into_inner().unwrap()
}

#[test]
#[ignore = "starts Apache Kafka, and takes minutes: run by ./test"]
fn nothing_is_lost_whatever_fails() {
    let (schedules, first) = (number("KAFKA_TAOS_SCHEDULES", 40), number("KAFKA_TAOS_SEED", 0));
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let doors: Vec<_> = (0..2 * LANES.min(schedules as usize)).map(|_| Proxy::start(nowhere)).collect();
    let ports: Vec<_> = doors.iter().map(|door| door.address.port()).collect();
    let Some(kafka) = Kafka::start_behind(&ports) else { return };
    let ended = run_all(schedules, first, kafka, &doors);

    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (kind, count) in ended.iter().flat_map(|one| &one.outcome.faults) {
        *kinds.entry(kind).or_default() += count;
    }
    kinds.iter().for_each(|(kind, count)| println!("{count:6}  {kind}"));
    let sum = |of: fn(&Findings) -> u64| ended.iter().map(|one| of(&one.outcome.findings)).sum::<u64>();
    println!("{:6}  stale values by writers paused past their session", sum(|found| found.stale));
    println!(
        "{schedules} schedules, {} faults, {} rows checked, {} lost, {} wrong, {} doubled",
        kinds.values().sum::<u64>(),
        sum(|found| found.checked),
        sum(|found| found.lost.len() as u64),
        sum(|found| found.wrong.len() as u64),
        sum(|found| found.doubled.len() as u64)
    );
    let failed = ended.iter().filter(|one| one.failure.is_some()).count();
    assert_eq!(failed, 0, "of {schedules} schedules {failed} failed, from seed {first} on");
}
