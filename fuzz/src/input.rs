//! Input taken apart.

/// Splits the input into messages: two bytes of length, little-endian, before each. The last may be cut short.
pub(crate) fn messages(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let (message, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        input = rest;
        Some(message)
    })
}
