//! Plays the recorded answers of a real TDengine against the embedded endpoint.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/player.rs"]
mod player;

use std::collections::BTreeMap;
use std::path::Path;

use case::{Case, frame};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use player::Player;

fn cases() -> Vec<Case> {
    case::load_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases"))
}

/// The encoder of the cases writes, for every bind it can describe, exactly the recorded frame.
#[test]
fn bind_frames_are_encoded_as_recorded() {
    let mut compared = 0;
    for case in cases() {
        for step in &case.steps {
            let (Some(bind), Some(hex)) = (step.send.get("bind"), step.send.get("hex")) else { continue };
            let encoded = frame::encode_bind(bind).unwrap();
            // The statement's id, at offset 8, is known only when the case is played.
            let (encoded, hex) = (frame::to_hex(&encoded), hex.as_str().unwrap());
            assert_eq!((&encoded[..16], &encoded[32..]), (&hex[..16], &hex[32..]), "{}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} frames compared");
}

/// Every recorded block decodes to the rows recorded beside it.
#[test]
fn recorded_blocks_decode_to_their_rows() {
    let mut compared = 0;
    for case in cases() {
        for step in &case.steps {
            let Some(fetch) = step.expect.get("fetch").filter(|fetch| fetch.get("block").is_some()) else { continue };
            let decoded = frame::decode_block(&frame::from_hex(fetch["block"].as_str().unwrap()).unwrap()).unwrap();
            assert_eq!(serde_json::json!(decoded.rows), fetch["data"], "{}", case.name);
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} blocks decoded");
}

#[derive(serde::Deserialize)]
struct OutOfScope {
    case: Vec<OutOfScopeCase>,
}

#[derive(serde::Deserialize)]
struct OutOfScopeCase {
    area: String,
    name: String,
    reason: String,
}

/// Cases played, as recorded, and by design not done.
#[derive(Default, Clone, Copy)]
struct Count {
    played: usize,
    passed: usize,
    out_of_scope: usize,
}

/// Plays every case. Set `CONFORMANCE_ONLY` to a part of `area/name` to play only some of them.
#[tokio::test(flavor = "multi_thread")]
async fn the_endpoint_answers_as_recorded() {
    let out_of_scope: OutOfScope = toml::from_str(include_str!("conformance/out_of_scope.toml")).unwrap();
    let only = std::env::var("CONFORMANCE_ONLY").unwrap_or_default();
    let endpoint = Endpoint::start(EndpointConfig::default()).await.unwrap();
    let mut player = Player::new(endpoint.address());
    let mut counts: BTreeMap<(u8, String), Count> = BTreeMap::new();
    let mut lesser: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut stale = Vec::new();
    for case in cases().iter().filter(|case| format!("{}/{}", case.area, case.name).contains(&only)) {
        let excused = out_of_scope.case.iter().find(|listed| (&listed.area, &listed.name) == (&case.area, &case.name));
        let outcome = player.play(case).await;
        let count = counts.entry((case.tier, case.area.clone())).or_default();
        count.played += 1;
        let Case { area, name, tier, .. } = case;
        match (&outcome.failure, excused) {
            (None, None) => count.passed += 1,
            (Some(failure), Some(excused)) if failure.unsupported && *tier > 1 => {
                count.out_of_scope += 1;
                println!("out of scope: {area}/{name} (tier {tier}): {}", excused.reason);
            }
            (Some(failure), excused) => {
                let step = failure.step.map_or_else(|| "setup".to_owned(), |step| format!("step {step}"));
                println!("FAILED {area}/{name} (tier {tier}) {step}: {}\n    {}", failure.sent, failure.problem);
                if excused.is_some() {
                    stale.push(format!("{area}/{name} is listed as out of scope but does not say so"));
                }
            }
            (None, Some(_)) => stale.push(format!("{area}/{name} is listed as out of scope but passes")),
        }
        for difference in &outcome.lesser {
            let kind = if difference.kind == case::Kind::Text { "error texts" } else { "block bytes" };
            *lesser.entry(kind).or_default() += 1;
            println!("{kind}: {area}/{name} {difference}");
        }
    }
    endpoint.shutdown().await;

    println!("{:<8} {:>5} {:>8} {:>8} {:>13}", "area", "tier", "played", "passed", "out of scope");
    for ((tier, area), count) in &counts {
        println!("{area:<8} {tier:>5} {:>8} {:>8} {:>13}", count.played, count.passed, count.out_of_scope);
    }
    let total = |tier: u8| {
        let of_tier = counts.iter().filter(|((t, _), _)| *t == tier).map(|(_, count)| *count);
        of_tier.fold((0, 0), |(played, passed), count| (played + count.played, passed + count.passed))
    };
    for tier in 1..=3 {
        let (played, passed) = total(tier);
        println!("tier {tier}: {passed} of {played} passed");
    }
    println!("not as recorded, beside values: {lesser:?}");
    assert!(stale.is_empty(), "{stale:?}");
    let (played, passed) = total(1);
    assert_eq!(passed, played, "a case of tier 1 failed");
    let (played, passed) = total(2);
    assert!(passed * 10 >= played * 9, "of tier 2 only {passed} of {played} cases passed");
}
