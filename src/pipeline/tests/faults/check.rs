//! Whether the store and the dead letters have what was published, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::messages::{Drafts, id_of, number_of};
use super::schedule::{Body, Cell, Poison};
use super::store::{Key, Stored};
use super::world::World;
use crate::message::{Message, Offset};
use crate::pipeline::tests::committed;

/// What was found after a schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) rows: u64,
    pub(super) lost: u64,
    pub(super) wrong: u64,
    pub(super) doubled: u64,
    /// Values overwritten by a write that landed when its sender had lost the partition: the stated exception.
    pub(super) stale: u64,
    pub(super) late: u64,
    /// Dead letters of messages that are good, and share no key with a bad one.
    pub(super) innocent: u64,
    pub(super) dead: u64,
    pub(super) struck: BTreeMap<String, u64>,
    pub(super) codes: BTreeSet<u16>,
    pub(super) examples: Vec<String>,
}

impl Found {
    pub(super) fn plus(&mut self, other: Self) {
        self.rows += other.rows;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.doubled += other.doubled;
        self.stale += other.stale;
        self.late += other.late;
        self.innocent += other.innocent;
        self.dead += other.dead;
        other.struck.into_iter().for_each(|(kind, count)| *self.struck.entry(kind).or_default() += count);
        self.codes.extend(other.codes);
        self.examples.extend(other.examples);
    }

    fn is(&mut self, what: fn(&mut Self) -> &mut u64, example: String) {
        *what(self) += 1;
        if self.examples.len() < 5 {
            self.examples.push(example);
        }
    }
}

/// A row of a message, as it is published.
struct Published<'d> {
    key: Key,
    id: i64,
    cells: &'d [Cell; 2],
    poison: Poison,
}

fn rows<'d>(drafts: &'d Drafts, message: &Message) -> Vec<Published<'d>> {
    let Some(number) = message.payload.as_deref().and_then(number_of) else { return Vec::new() };
    let row = |(element, row): (usize, &'d super::schedule::Row)| Published {
        key: (row.stable, format!("d{}", row.table), row.ts),
        id: id_of(number, element),
        cells: &row.cells,
        poison: row.poison,
    };
    drafts.rows(number).iter().enumerate().map(row).collect()
}

/// Nothing is committed that is neither in the store nor set aside. Each message is looked at once, when it is passed.
pub(super) fn check_committed(world: &mut World) -> Result<(), String> {
    if let Some(trespass) = world.store.database().trespasses.first() {
        return Err(trespass.clone());
    }
    let logs = world.queue.messages("t");
    world.seen.resize(logs.len(), 0);
    let mut dead = None;
    for (partition, log) in (0..).zip(&logs) {
        let seen = world.seen[partition as usize];
        let now = committed(&world.queue, partition).unwrap_or(0);
        if now <= seen {
            continue;
        }
        let dead: &HashSet<(i32, Offset)> = dead.get_or_insert_with(|| world.dead());
        let database = world.store.database();
        for message in &log[seen as usize..now as usize] {
            if dead.contains(&(partition, message.offset)) {
                continue;
            }
            let at = format!("{} offset {} is committed", message.source, message.offset);
            let number = message.payload.as_deref().and_then(number_of);
            let is_filtered =
                number.and_then(|number| world.drafts.get(number)).is_some_and(|d| matches!(d.body, Body::Filtered));
            let rows = rows(&world.drafts, message);
            if number.is_none() {
                return Err(format!("{at} and nowhere: {message:?}"));
            }
            for row in rows.iter().filter(|_| !is_filtered) {
                let Some(stored) = database.rows.get(&row.key) else {
                    return Err(format!("{at} and its row {:?} is nowhere", row.key));
                };
                for (cell, stored) in row.cells.iter().zip(stored) {
                    let is_there =
                        *cell == Cell::Unset || stored.is_some_and(|stored| stored.by >= row.id || stored.late);
                    if !is_there {
                        return Err(format!("{at} and its row {:?} number {} is {stored:?}", row.key, row.id));
                    }
                }
            }
        }
        drop(database);
        world.seen[partition as usize] = now;
    }
    Ok(())
}

/// What may stand in a cell: the value of the last message that is not set aside, or of one that is, after it.
#[derive(Default)]
struct Expected {
    must: Option<Option<i64>>,
    may: Vec<Option<i64>>,
    /// Every value that it ever had.
    ever: Vec<Option<i64>>,
}

#[derive(Default)]
struct ExpectedRow {
    must_be: bool,
    is_shared_with_bad: bool,
    cells: [Expected; 2],
}

pub(super) fn compare(world: &World) -> Result<Found, String> {
    if let Some(trespass) = world.store.database().trespasses.first() {
        return Err(trespass.clone());
    }
    let (dead, mut found) = (world.dead(), Found::default());
    let mut expected: HashMap<Key, ExpectedRow> = HashMap::new();
    let logs = world.queue.messages("t");
    for message in logs.iter().flatten() {
        let is_dead = dead.contains(&(message.source.partition, message.offset));
        let at = format!("{} offset {}", message.source, message.offset);
        let rows = rows(&world.drafts, message);
        let number = message.payload.as_deref().and_then(number_of);
        if !is_dead && (number.is_none() || rows.iter().any(|row| row.poison == Poison::Map)) {
            found.is(|found| &mut found.lost, format!("{at} is not set aside"));
        }
        for row in rows {
            let known = expected.entry(row.key).or_default();
            known.must_be |= !is_dead;
            known.is_shared_with_bad |= row.poison != Poison::None;
            for (column, (cell, expected)) in row.cells.iter().zip(&mut known.cells).enumerate() {
                // What is wrong with a row is its first cell: once that is overwritten, the second may be stored.
                let is_storable = row.poison == Poison::None || row.poison != Poison::Map && column > 0;
                let value = match cell {
                    Cell::Unset => continue,
                    Cell::Null => None,
                    Cell::Value => Some(row.id),
                };
                expected.ever.push(value);
                match is_dead {
                    true if is_storable => expected.may.push(value),
                    true => {}
                    false => (expected.must, expected.may) = (Some(value), Vec::new()),
                }
            }
        }
    }
    for message in logs.iter().flatten().filter(|message| dead.contains(&(message.source.partition, message.offset))) {
        found.dead += 1;
        let rows = rows(&world.drafts, message);
        let is_bad = |row: &Published<'_>| expected.get(&row.key).is_none_or(|row| row.is_shared_with_bad);
        if message.payload.as_deref().and_then(number_of).is_some() && !rows.iter().any(is_bad) {
            found.innocent += 1;
        }
    }
    let database = world.store.database();
    for key in database.rows.keys().filter(|key| !expected.contains_key(key)) {
        found.is(|found| &mut found.doubled, format!("{key:?} is stored, and nobody made it"));
    }
    for (key, expected) in &expected {
        found.rows += 1;
        let stored = database.rows.get(key);
        if stored.is_none() && expected.must_be {
            found.is(|found| &mut found.lost, format!("{key:?} is not in the store"));
            continue;
        }
        let nothing = [None, None];
        for (cell, stored) in expected.cells.iter().zip(stored.unwrap_or(&nothing)) {
            cell.compare(key, stored.as_ref(), &mut found);
        }
    }
    Ok(found)
}

impl Expected {
    fn compare(&self, key: &Key, stored: Option<&Stored>, found: &mut Found) {
        let Some(stored) = stored else {
            if let Some(value) = self.must {
                found.is(|found| &mut found.lost, format!("{key:?} has no {value:?}"));
            }
            return;
        };
        if self.must == Some(stored.value) || self.may.contains(&stored.value) {
            return;
        }
        let text = format!("{key:?} is {stored:?}, not {:?} or {:?}", self.must, self.may);
        if stored.late && self.ever.contains(&stored.value) {
            found.stale += 1;
        } else {
            found.is(|found| &mut found.wrong, text);
        }
    }
}
