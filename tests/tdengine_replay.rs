//! The client against what a real TDengine was recorded to answer: it makes the recorded requests, sends the recorded
//! bytes, and reads the recorded replies.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../embedded/tests/conformance/case.rs"]
mod case;
#[path = "replay/bind.rs"]
mod bind;
#[path = "replay/player.rs"]
mod player;
#[path = "replay/server.rs"]
mod server;

use std::path::Path;

use player::Played;
use server::Replay;

async fn replay(area: &str) -> Played {
    let mut total = Played::default();
    let mut failures = Vec::new();
    let file = format!("embedded/tests/conformance/cases/{area}.jsonl");
    for case in case::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)) {
        let server = Replay::start(&case).await;
        match player::play(&case, &server).await {
            Ok(played) => {
                total.steps += played.steps;
                for (reason, count) in played.left_out {
                    *total.left_out.entry(reason).or_default() += count;
                }
            }
            Err(failure) => failures.push(failure),
        }
        failures
            .extend(server.surprises().into_iter().map(|request| format!("{}: never recorded: {request}", case.name)));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    println!("{area}: {} steps played; left out: {:#?}", total.steps, total.left_out);
    total
}

#[tokio::test]
async fn binary_binds() {
    assert!(replay("stmt2").await.steps > 600);
}

#[tokio::test]
async fn websocket() {
    assert!(replay("ws").await.steps > 100);
}

#[tokio::test]
async fn rest() {
    assert!(replay("rest").await.steps > 80);
}

#[tokio::test]
async fn statements() {
    for area in ["ddl", "insert", "select"] {
        assert!(replay(area).await.steps > 150);
    }
}
