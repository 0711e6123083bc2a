//! Which vgroup a table is in.
//!
//! A server spreads the tables of a database over its vgroups by the MurmurHash3 (32 bit, seed 0x12345678) of
//! `1.database.table`, each vgroup taking an equal range of hashes. A write that one vgroup refuses is still done in the
//! others, and so it is here.

const SEED: u32 = 0x1234_5678;

/// The number of a table's vgroup in its database, from 0.
pub(crate) fn of_table(database: &str, table: &[u8], vgroups: u32) -> u32 {
    let name = [b"1.", database.as_bytes(), b".", table].concat();
    let last = vgroups.max(1) - 1;
    (murmur3(&name, SEED) / (u32::MAX / vgroups.max(1))).min(last)
}

fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = seed;
    for block in blocks {
        hash ^= mix(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        hash ^= mix(tail.iter().rev().fold(0, |block, &byte| block << 8 | u32::from(byte)));
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_the_reference() {
        assert_eq!(murmur3(b"", 0), 0);
        assert_eq!(murmur3(b"test", 0), 0xba6b_d213);
        assert_eq!(murmur3(b"Hello, world!", 0), 0xc036_3e43);
    }

    #[test]
    fn tables_spread_over_all_vgroups() {
        let seen: std::collections::HashSet<u32> =
            (0..100).map(|i| of_table("db", format!("t{i}").as_bytes(), 4)).collect();
        assert_eq!(seen.len(), 4);
    }
}
