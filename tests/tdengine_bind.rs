//! Every recorded bind, written again byte for byte: by a block where one can hold its rows, else block by block.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../embedded/tests/conformance/case.rs"]
mod case;
#[path = "replay/bind.rs"]
mod bind;

use std::path::Path;

use bind::{Bind, by_block, by_columns};
use case::frame::{encode_bind, from_hex, to_hex};
use serde_json::json;

#[test]
fn every_recorded_bind_is_written_byte_for_byte() {
    let (mut through_blocks, mut through_columns, mut bent) = (0, 0, 0);
    for case in case::load_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("embedded/tests/conformance/cases")) {
        for (at, step) in case.steps.iter().enumerate() {
            let (structure, recorded) = match (step.send.get("bind"), step.send.get("bind_rule")) {
                (Some(bind), _) => (bind, from_hex(step.send["hex"].as_str().unwrap()).unwrap()),
                (None, Some(rule)) => {
                    let mut rule = rule.clone();
                    rule["stmt_id"] = json!(0);
                    (step.send.get("bind_rule").unwrap(), encode_bind(&rule).unwrap())
                }
                (None, None) => continue,
            };
            if let Some(length) = step.send.get("length") {
                assert_eq!(json!(recorded.len()), *length);
            }
            let Some(bind) = Bind::read(structure) else {
                bent += 1;
                continue;
            };
            // The numbers of request and statement, the first 16 bytes, are set when a frame is sent.
            let same = |frame: Vec<u8>| {
                assert_eq!(to_hex(&frame[16..]), to_hex(&recorded[16..]), "{} step {at}", case.name);
            };
            same(by_columns(&bind));
            through_columns += 1;
            if let Some(frame) = by_block(&bind) {
                same(frame);
                through_blocks += 1;
            }
        }
    }
    println!("{through_columns} frames written, {through_blocks} of them through a block; {bent} are bent on purpose");
    assert!(through_columns > 180 && through_blocks > 120, "{through_columns}, {through_blocks}");
}
