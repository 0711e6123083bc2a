//! Every target on its seeds and on damaged seeds, with a stable compiler: `cargo test --no-default-features`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// The panics of other threads and of spawned tasks end no test by themselves.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// One target at a time, so that a panic can be told apart.
static ALONE: Mutex<()> = Mutex::new(());

fn panics() -> Vec<String> {
    std::mem::take(&mut *PANICS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs `target` on its seeds, and on `rounds` inputs made of them.
fn smoke(name: &str, target: fn(&[u8]), rounds: usize) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    panic::set_hook(Box::new(|panic| PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string())));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let mut random = Xoshiro256PlusPlus::seed_from_u64(99);
    let damaged = (0..rounds).map(|_| damage(&seeds, &mut random));
    for input in [&b""[..], b"\0"].map(<[u8]>::to_vec).into_iter().chain(seeds.clone()).chain(damaged) {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| target(&input)));
        let panics = panics();
        if ended.is_err() || !panics.is_empty() {
            let _ = panic::take_hook();
            panic!("{name}: {panics:#?} by the input b\"{}\"", input.escape_ascii());
        }
    }
    let _ = panic::take_hook();
}

/// One of the seeds with one to eight changes.
fn damage(seeds: &[Vec<u8>], random: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let mut below = |end: usize| (random.next_u64() % end.max(1) as u64) as usize;
    let mut input = seeds[below(seeds.len())].clone();
    for _ in 0..=below(8) {
        let (at, to) = (below(input.len()), below(input.len() + 1));
        let range = at.min(to)..at.max(to).min(at.min(to) + 64);
        let byte = [0, 1, 0x7f, 0x80, 0xfe, 0xff, b'"', b'(', b'\'', below(256) as u8][below(10)];
        match below(7) {
            0 => input.iter_mut().skip(at).take(1).for_each(|there| *there = byte),
            1 => input.iter_mut().skip(at).take(1).for_each(|there| *there ^= 1 << below(8)),
            2 => input[range].fill(byte),
            3 => drop(input.drain(range)),
            4 => input.splice(to..to, input[range].to_vec()).for_each(drop),
            5 => input.splice(at..at, [byte]).for_each(drop),
            _ => {
                let other = &seeds[below(seeds.len())];
                let from = below(other.len());
                input.truncate(at);
                input.extend(other.iter().skip(from).take(256));
            }
        }
    }
    input
}

macro_rules! targets {
    ($($name:ident: $rounds:expr,)+) => {
        $(#[test]
        fn $name() {
            smoke(stringify!($name), kafka_taos_fuzz::$name, $rounds);
        })+

        /// A target that is not run here would be forgotten.
        #[test]
        fn every_target_is_run() {
            let targets = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets")).unwrap();
            let mut names: Vec<_> = targets.map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned()).collect();
            let mut run = [$(stringify!($name)),+];
            names.sort();
            run.sort_unstable();
            assert_eq!(names, run);
        }
    };
}

// As many inputs as take each target about a second in a debug build.
targets! {
    record_msgpack: 100_000,
    record_json: 100_000,
    codec: 50_000,
    format_json: 5_000,
    format_msgpack: 10_000,
    format_csv: 2_000,
    format_line: 5_000,
    format_compressed: 2_000,
    format_avro: 10_000,
    format_protobuf: 2_000,
    format_schema: 2_000,
    dsn: 100_000,
    settings: 50_000,
    raw_block: 50_000,
    dead_letters: 10_000,
    ws_replies: 500,
    rest_replies: 500,
    bind_frame: 100_000,
    bind: 10_000,
    sql: 500,
    endpoint_messages: 500,
    endpoint_http: 500,
    broker_requests: 1_000,
    broker_batch: 1_000,
    broker_folder: 1_000,
}
