//! Child tables that are known to be there: their rows are bound without tags, and the server has nothing to make.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::{FixedState, RandomState};

use crate::block::Block;

/// Tables by a hash of their names. One taken for another costs a refusal, upon which it is made.
#[derive(Debug)]
pub(super) struct KnownTables {
    hashes: RwLock<HashSet<u64, FixedState>>,
    of: RandomState,
    most: usize,
}

/// As many fit into about 10 MB.
const MOST: usize = 900_000;

impl Default for KnownTables {
    fn default() -> Self {
        Self::of_at_most(MOST)
    }
}

impl KnownTables {
    fn of_at_most(most: usize) -> Self {
        Self { hashes: RwLock::default(), of: RandomState::default(), most }
    }

    /// Whether all tables of `rows` are known.
    pub(super) fn all(&self, block: &Block, rows: &[u32]) -> bool {
        let known = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty() && self.hashes_of(block, rows).all(|hash| known.contains(&hash))
    }

    /// The tables of `rows` are there. With too many all others are forgotten, and found again as they are written.
    pub(super) fn add(&self, block: &Block, rows: &[u32]) {
        let mut known = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        for hash in self.hashes_of(block, rows) {
            if known.len() >= self.most {
                known.clear();
            }
            known.insert(hash);
        }
    }

    /// One of the tables of `rows`, at least, is not there.
    pub(super) fn remove(&self, block: &Block, rows: &[u32]) {
        let mut known = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        self.hashes_of(block, rows).for_each(|hash| {
            known.remove(&hash);
        });
    }

    fn hashes_of(&self, block: &Block, rows: &[u32]) -> impl Iterator<Item = u64> {
        let (schema, tables) = (block.schema(), rows.chunk_by(|&a, &b| block.table_of(a) == block.table_of(b)));
        tables.map(move |rows| {
            self.of.hash_one((&*schema.database, &*schema.name, block.table_name(block.table_of(rows[0]))))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Value;
    use crate::tdengine::schema::SuperTable;
    use crate::worker::fake::schema;

    fn block(stable: &str, tables: std::ops::Range<u32>) -> (Block, Vec<u32>) {
        let mut block = Block::new(SuperTable { name: stable.into(), ..schema(2) }.into());
        for table in tables {
            let mut row = block.row(&format!("d{table}"), 0).unwrap();
            row.set(0, &Value::Int(1)).unwrap();
            row.finish().unwrap();
        }
        let rows = block.order().rows;
        (block, rows)
    }

    #[test]
    fn a_table_is_known_by_its_name_and_super_table() {
        let known = KnownTables::of_at_most(10);
        let ((few, few_rows), (more, more_rows)) = (block("meters", 0..3), block("meters", 2..5));
        assert!(!known.all(&few, &few_rows));
        known.add(&few, &few_rows);
        assert!(known.all(&few, &few_rows) && known.all(&more, &more_rows[..1]));
        assert!(!known.all(&more, &more_rows));
        let (other, rows) = block("others", 0..3);
        assert!(!known.all(&other, &rows));
        known.remove(&more, &more_rows[..1]);
        assert!(known.all(&few, &few_rows[..2]) && !known.all(&few, &few_rows));
    }

    #[test]
    fn no_more_are_kept_than_there_is_room_for() {
        let known = KnownTables::of_at_most(10);
        let (many, rows) = block("meters", 0..25);
        known.add(&many, &rows);
        assert!(known.hashes.read().unwrap().len() <= 10);
        assert!(known.all(&many, &rows[24..]) && !known.all(&many, &rows));
    }
}
