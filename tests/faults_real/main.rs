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

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// A schedule's outcome, or what was wrong with it.
fn run(plan: &Plan, kafka: &Mutex<Kafka>, door: &Proxy) -> Result<Outcome, String> {
    let mut world = World::new(plan, kafka, door);
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let text = |panic: Box<dyn std::any::Any + Send>| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast::<&str>().map_or_else(|_| "a panic".to_owned(), |text| (*text).to_owned()),
    };
    let wrong = match ended {
        Ok(outcome) if outcome.findings.is_clean() => Ok(outcome),
        Ok(outcome) => Err(format!("{:#?}", outcome.findings)),
        Err(panic) => Err(text(panic)),
    };
    let seed = plan.seed;
    let story = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-real-{seed}.log"));
    let told = format!("seed {seed}: {wrong:#?}\n{plan}\n{}", world.epitaph());
    let at = std::fs::write(&story, told).map_or_else(|error| error.to_string(), |()| story.display().to_string());
    wrong.map_err(|wrong| {
        let summary: Vec<_> = wrong.lines().take(40).collect();
        format!(
            "seed {seed} FAILED (./test faults-real --schedules 1 --seed {seed}; the whole story is in {at})\n{}\n{plan}",
            summary.join("\n")
        )
    })
}

#[test]
#[ignore = "starts Apache Kafka, and takes minutes: run by ./test"]
fn nothing_is_lost_whatever_fails() {
    let (schedules, first) = (number("KAFKA_TAOS_SCHEDULES", 40), number("KAFKA_TAOS_SEED", 0));
    let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let doors: Vec<_> = (0..LANES.min(schedules as usize)).map(|_| Proxy::start(nowhere)).collect();
    let ports: Vec<_> = doors.iter().map(|door| door.address.port()).collect();
    let Some(kafka) = Kafka::start_behind(&ports) else { return };
    doors.iter().enumerate().for_each(|(lane, door)| door.lead_to(kafka.door(lane)));
    let (kafka, next, ended) = (Mutex::new(kafka), AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for door in &doors {
            scope.spawn(|| {
                loop {
                    let turn = next.fetch_add(1, Ordering::Relaxed);
                    if turn >= schedules {
                        break;
                    }
                    let began = std::time::Instant::now();
                    let plan = Plan::of(first + turn);
                    let outcome = run(&plan, &kafka, door);
                    let seconds = began.elapsed().as_secs_f64();
                    match &outcome {
                        Ok(outcome) => println!(
                            "seed {} in {seconds:.1} s: {} checked, {} dead letters, {} stale in {} partitions lost by paused members",
                            plan.seed, outcome.findings.checked, outcome.findings.dead, outcome.findings.stale, outcome.overtaken
                        ),
                        Err(wrong) => println!("{wrong}"),
                    }
                    ended.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let ended = ended.into_inner().unwrap();
    let (mut kinds, mut stale, mut rows): (BTreeMap<String, u64>, u64, u64) = Default::default();
    for outcome in ended.iter().flatten() {
        outcome.faults.iter().for_each(|(kind, count)| *kinds.entry(kind.clone()).or_default() += count);
        stale += outcome.findings.stale;
        rows += outcome.findings.checked;
    }
    kinds.iter().for_each(|(kind, count)| println!("{count:6}  {kind}"));
    println!("{stale:6}  stale values by writers paused past their session");
    let failed = ended.iter().filter(|outcome| outcome.is_err()).count();
    let faults: u64 = kinds.values().sum();
    if failed == 0 {
        println!("{schedules} schedules, {faults} faults, {rows} rows checked, 0 lost, 0 wrong, 0 doubled");
    }
    assert_eq!(failed, 0, "of {schedules} schedules {failed} failed, from seed {first} on");
}
