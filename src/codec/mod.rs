//! Bytes to records and back.

/// FNV-1a, 32 bits: the hash by which records find their partition.
///
/// <https://datatracker.ietf.org/doc/html/draft-eastlake-fnv>
pub const fn fnv1a_32(bytes: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}
