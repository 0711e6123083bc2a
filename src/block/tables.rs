//! The child tables of a block: their names, end to end, and each one's number by its name.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

/// Names by number, and numbers by name: a hash table of numbers alone, so that a name costs no allocation of its own.
#[derive(Debug, Default)]
pub(super) struct Tables {
    names: String,
    tables: Vec<Table>,
    /// A number + 1 each, or 0; as many as a power of two, at most half of them taken.
    slots: Vec<u32>,
    /// The table that was asked for last.
    last: u32,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Table {
    /// Where the name ends in `names`; it begins where the one before ends.
    end: u32,
    hash: u32,
    /// The table that was asked for after this one, the last time: devices mostly report in turn.
    next: u32,
}

impl Tables {
    pub(super) fn len(&self) -> usize {
        self.tables.len()
    }

    pub(super) fn name(&self, table: usize) -> &str {
        let start = table.checked_sub(1).map_or(0, |before| self.tables[before].end);
        &self.names[start as usize..self.tables[table].end as usize]
    }

    /// The number of the table `name`, if there is one.
    #[inline]
    pub(super) fn find(&mut self, name: &str) -> Option<u32> {
        let last = self.last as usize;
        let guess = self.tables.get(last)?.next;
        if (guess as usize) < self.tables.len() && self.name(guess as usize) == name {
            self.last = guess;
            return Some(guess);
        }
        let table = self.look_up(name, self.hash(name))?;
        self.tables[last].next = table;
        self.last = table;
        Some(table)
    }

    /// Adds the table `name`, which is not there yet.
    pub(super) fn add(&mut self, name: &str) -> u32 {
        let table = self.tables.len() as u32;
        let hash = self.hash(name);
        self.names.push_str(name);
        self.tables.push(Table { end: self.names.len() as u32, hash, next: table + 1 });
        if self.tables.len() * 2 > self.slots.len() {
            let slots = (self.slots.len() * 2).max(64);
            self.slots.clear();
            self.slots.resize(slots, 0);
            (0..table).for_each(|table| self.take_slot(table));
        }
        self.take_slot(table);
        self.last = table;
        table
    }

    /// Takes the last table away again.
    pub(super) fn pop(&mut self) {
        let table = self.tables.len() as u32;
        let Some(Table { hash, .. }) = self.tables.pop() else { return };
        self.names.truncate(self.tables.last().map_or(0, |before| before.end as usize));
        // No other was put in later and had to pass its slot.
        let taken = self.probe(hash).find(|&slot| self.slots[slot] == table);
        if let Some(slot) = taken {
            self.slots[slot] = 0;
        }
        self.last = 0;
    }

    /// Forgets all tables and keeps the buffers.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.tables.clear();
        self.slots.fill(0);
        self.last = 0;
    }

    fn hash(&self, name: &str) -> u32 {
        self.hasher.hash_one(name) as u32
    }

    /// The slots that a table of that hash may be in, from the likeliest on.
    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        (0..self.slots.len()).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }

    fn look_up(&self, name: &str, hash: u32) -> Option<u32> {
        for slot in self.probe(hash) {
            let table = self.slots[slot].checked_sub(1)?;
            if self.tables[table as usize].hash == hash && self.name(table as usize) == name {
                return Some(table);
            }
        }
        None
    }

    fn take_slot(&mut self, table: u32) {
        let free = self.probe(self.tables[table as usize].hash).find(|&slot| self.slots[slot] == 0);
        if let Some(slot) = free {
            self.slots[slot] = table + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against the plain model: a map, and the list of names.
        #[test]
        fn tables_are_found_by_their_names(steps in proptest::collection::vec((0u16..300, 0u8..20), 0..600)) {
            let mut tables = Tables::default();
            let (mut numbers, mut names) = (HashMap::new(), Vec::new());
            for (name, chance) in steps {
                let name = format!("d{name}");
                prop_assert_eq!(tables.find(&name), numbers.get(&name).copied());
                if !numbers.contains_key(&name) {
                    numbers.insert(name.clone(), names.len() as u32);
                    prop_assert_eq!(tables.add(&name), names.len() as u32);
                    names.push(name);
                }
                match chance {
                    0 => {
                        tables.clear();
                        numbers.clear();
                        names.clear();
                    }
                    1 | 2 => {
                        tables.pop();
                        numbers.remove(&names.pop().unwrap());
                    }
                    _ => {}
                }
                prop_assert_eq!(tables.len(), names.len());
                prop_assert!((0..names.len()).all(|table| tables.name(table) == names[table]));
            }
        }
    }
}
