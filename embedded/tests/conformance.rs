//! Plays the recorded answers of a real TDengine against the embedded endpoint.

#[path = "conformance/case.rs"]
mod case;

use std::path::Path;

use case::frame;

fn cases() -> Vec<case::Case> {
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
