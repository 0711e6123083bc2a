//! Whatever fails, in whatever order: every message is in the store or set aside, and nothing else is there.
//!
//! A run is decided by its seed. `./test faults --schedules N --seed S` runs more of them; one that fails is cut down to
//! what it needs to fail, and printed.

mod check;
mod messages;
mod schedule;
mod shrink;
mod store;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::check::Found;
use self::schedule::{CODES, Schedule};

/// As many as there is time for in every run of the tests.
const SCHEDULES: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// The schedule's verdict: what was found, or how it failed.
fn judge(schedule: &Schedule) -> Result<Found, String> {
    let found = world::run(schedule)?;
    if found.innocent > 0 {
        return Err(format!("{} good messages are set aside, and none of their keys has a bad one", found.innocent));
    }
    match found.lost + found.wrong + found.doubled {
        0 => Ok(found),
        _ => Err(format!(
            "{} lost, {} wrong, {} doubled: {}",
            found.lost,
            found.wrong,
            found.doubled,
            found.examples.join("; ")
        )),
    }
}

#[test]
fn nothing_is_lost_or_wrong_or_doubled_whatever_happens() {
    let first = number("KAFKA_TAOS_SEED").unwrap_or(0);
    let schedules = number("KAFKA_TAOS_SCHEDULES").unwrap_or(SCHEDULES);
    let is_counting = number("KAFKA_TAOS_COUNT_FAILURES").is_some();
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let total = Mutex::new(Found::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A panic is a verdict here, and told once, by its seed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let seed = first + next.fetch_add(1, Ordering::Relaxed)
                    && seed < first + schedules
                    && (is_counting || failed.lock().unwrap().is_empty())
                {
                    let schedule = Schedule::new(seed);
                    match judge(&schedule) {
                        Ok(found) => total.lock().unwrap().plus(found),
                        Err(why) => failed.lock().unwrap().push((schedule, why)),
                    }
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let (total, failed) = (total.into_inner().unwrap(), failed.into_inner().unwrap());
    let ran = next.into_inner().min(schedules);
    let faults: u64 = total.struck.values().sum();
    let codes: Vec<u16> = CODES.iter().flat_map(|(_, codes)| codes.clone()).collect();
    let struck = codes.iter().filter(|code| total.codes.contains(code)).count();
    for (kind, count) in &total.struck {
        println!("{count:>9}  {kind}");
    }
    let Found { dead, late, stale, .. } = total;
    println!("{struck} of {} codes struck; {dead} dead letters", codes.len());
    println!(
        "{late} rows landed after their sender had lost the partition or given up; {stale} values are stale by that"
    );
    if is_counting {
        println!("{} of {ran} schedules failed", failed.len());
        let mut seeds: Vec<_> = failed.iter().map(|(schedule, why)| (schedule.seed, why)).collect();
        seeds.sort();
        seeds.iter().take(5).for_each(|(seed, why)| println!("  seed {seed}: {why:.300}"));
    } else if let Some((schedule, why)) = failed.iter().min_by_key(|(schedule, _)| schedule.seed) {
        println!("seed {} failed: {why}", schedule.seed);
        let (smaller, why) = shrink::shrink(schedule.clone(), why.clone());
        println!("cut down to what it needs to fail: {why}\n{smaller}");
    }
    // Those that failed are not in the total; one lost message each is the least.
    println!(
        "{ran} schedules, {faults} faults, {} rows checked, {} lost, {} wrong, {} doubled",
        total.rows,
        failed.len(),
        total.wrong,
        total.doubled
    );
    assert!(failed.is_empty(), "{} of {ran} schedules failed; the first is printed above", failed.len());
}
