//! JSON tags: an object of numbers, texts, truths and nulls. The server refuses anything else, and with it the batch.

use serde_json::Value as Tree;

use crate::block::CellError;

/// The most bytes of a key.
const MAX_KEY_BYTES: usize = 256;
/// The most bytes of a tag as text: what is kept is at least as long, and may have 16,384.
const MAX_BYTES: usize = 16_384;

/// `text`, if the server takes it.
pub(super) fn tag(text: &str) -> Result<&str, CellError> {
    if text.len() > MAX_BYTES {
        return Err(CellError::TooLong { length: text.len(), limit: MAX_BYTES, unit: "bytes" });
    }
    let tree = serde_json::from_str(text).map_err(|_| CellError::WrongType("text that is no JSON"))?;
    check(&tree)?;
    Ok(text)
}

fn check(tree: &Tree) -> Result<(), CellError> {
    let Tree::Object(members) = tree else {
        return Err(CellError::WrongType("JSON that is no object"));
    };
    if members.values().any(|value| value.is_object() || value.is_array()) {
        return Err(CellError::WrongType("JSON with an object or array in it"));
    }
    let is_key = |key: &String| key.len() <= MAX_KEY_BYTES && key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match members.keys().all(is_key) {
        true => Ok(()),
        false => Err(CellError::WrongType("JSON with a key that is not ASCII, or over 256 bytes")),
    }
}
