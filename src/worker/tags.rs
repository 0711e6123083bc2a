//! Tags of child tables that exist: noticed where a message has others, and told, or altered.
//!
//! `using .. tags (..)` makes a table with its first message's tags, and passes over those of all later ones. So the stored
//! tags of a table are read once, many tables at a time, and a hash of them is kept; a table whose rows come with the same
//! tags costs that hash a batch. A tag that a message lacks, or has as null, says nothing.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::decide::Pauses;
use super::write::{BatchWriter, fatal};
use super::{Batch, Delivery, Store, WorkerError, Writer};
use crate::block::{Column, VALUE};
use crate::mapping::RowSource;
use crate::row::{Precision, Value};
use crate::stats::Stats;
use crate::tdengine::error::{Class, TdengineError};
use crate::tdengine::schema::{DataType, SuperTable, TagDrift};

/// The tables whose tags are known are forgotten from the oldest on, beyond twice as many.
const MAX_KNOWN: usize = 50_000;
/// So many tables' tags are read at once.
const AT_ONCE: usize = 500;
/// What is only told is looked at no more often than so, and no more of it at once; the rest comes up again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
const MOST_LOOKED_AT: usize = 5_000;
/// So many differences are told one by one in [`TELL_AGAIN_AFTER`].
const MOST_TOLD: usize = 10;
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What a worker knows of its tables' tags.
pub(super) struct Tags {
    drift: TagDrift,
    hasher: RandomState,
    known: HashMap<u64, Known, RandomState>,
    older: HashMap<u64, Known, RandomState>,
    /// Tables whose tags are to be held against the stored ones.
    suspects: Vec<Suspect>,
    looked: Option<Instant>,
    told: Told,
}

/// Hashes of a table's tags.
#[derive(Clone, Copy)]
struct Known {
    stored: u64,
    /// Those that were last held against the stored ones: told, if they differ.
    told: u64,
}

/// A table with tags that are not known to be the stored ones.
struct Suspect {
    schema: Arc<SuperTable>,
    table: String,
    /// A column of one cell each.
    tags: Vec<Column>,
}

/// A tag of a table that is another one in a message.
struct Difference<'s> {
    tag: usize,
    wanted: &'s Column,
    stored: String,
}

impl Tags {
    pub(super) fn new(drift: TagDrift) -> Self {
        Self {
            drift,
            hasher: RandomState::default(),
            known: HashMap::default(),
            older: HashMap::default(),
            suspects: Vec::new(),
            looked: None,
            told: Told::default(),
        }
    }

    /// Takes in the tables of a batch whose tags are not known to be stored so.
    fn take(&mut self, batch: &Batch) {
        for block in &batch.blocks {
            for table in 0..block.tables() {
                if self.drift == TagDrift::Log && self.suspects.len() >= MOST_LOOKED_AT {
                    return;
                }
                let (tags, row) = block.last_tags(table);
                let name = block.table_name(table);
                let (key, hash) = (self.hasher.hash_one(name), self.hash(tags, row));
                if self.get(key).is_some_and(|known| known.stored == hash || known.told == hash) {
                    continue;
                }
                let tags = tags.iter().map(|tag| tag.only(row)).collect();
                self.suspects.push(Suspect { schema: block.schema().clone(), table: name.to_owned(), tags });
            }
        }
    }

    fn hash(&self, tags: &[Column], row: usize) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for tag in tags {
            let cell = tag.bytes(row);
            hasher.write_u8(tag.flags[row]);
            hasher.write_usize(cell.len());
            hasher.write(cell);
        }
        hasher.finish()
    }

    fn get(&mut self, key: u64) -> Option<Known> {
        match self.known.get(&key) {
            Some(known) => Some(*known),
            None => {
                let known = self.older.remove(&key)?;
                self.set(key, known);
                Some(known)
            }
        }
    }

    fn set(&mut self, key: u64, known: Known) {
        if self.known.len() >= MAX_KNOWN {
            self.older = std::mem::take(&mut self.known);
        }
        self.known.insert(key, known);
    }

    /// Whether it is time to look at the suspects.
    fn is_due(&self) -> bool {
        let is_late = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_AGAIN_AFTER);
        !self.suspects.is_empty() && (self.drift == TagDrift::Alter || is_late)
    }

    fn is_settled(&mut self, suspect: &Suspect) -> bool {
        let own = self.hash(&suspect.tags, 0);
        let key = self.hasher.hash_one(suspect.table.as_str());
        self.get(key).is_some_and(|known| known.stored == own || known.told == own)
    }

    /// Notes what is stored, and that it was held against the suspect's.
    fn settle(&mut self, suspect: &Suspect, stored: &[Column]) {
        let known = Known { stored: self.hash(stored, 0), told: self.hash(&suspect.tags, 0) };
        self.set(self.hasher.hash_one(suspect.table.as_str()), known);
    }
}

impl<S: Store, R: RowSource> BatchWriter<S, R> {
    /// Holds the tags of a written batch against those of its tables.
    pub(super) async fn check_tags(&mut self, batch: &Batch) -> Result<(), WorkerError> {
        if self.tags.drift == TagDrift::Ignore {
            return Ok(());
        }
        self.tags.take(batch);
        if self.tags.is_due() { self.look_at_tags(&batch.deliveries).await } else { Ok(()) }
    }

    /// The same for what is left over at the end; it is told, if the server answers soon.
    pub(super) async fn check_last_tags(&mut self) -> Result<(), WorkerError> {
        const AT_MOST: Duration = Duration::from_secs(5);
        let checked = tokio::time::timeout(AT_MOST, self.look_at_tags(&[])).await;
        self.tags.told.end();
        checked.unwrap_or(Ok(()))
    }

    async fn look_at_tags(&mut self, deliveries: &[Delivery]) -> Result<(), WorkerError> {
        let suspects = std::mem::take(&mut self.tags.suspects);
        self.tags.looked = Some(Instant::now());
        for alike in suspects.chunk_by(|a, b| Arc::ptr_eq(&a.schema, &b.schema)) {
            for some in alike.chunks(AT_ONCE) {
                self.look_at(some, deliveries).await?;
            }
        }
        Ok(())
    }

    /// Looks at tables of one super table.
    async fn look_at(&mut self, suspects: &[Suspect], deliveries: &[Delivery]) -> Result<(), WorkerError> {
        let [Suspect { schema, .. }, ..] = suspects else { return Ok(()) };
        let tables: Vec<&str> = suspects.iter().map(|suspect| suspect.table.as_str()).collect();
        let mut pauses = Pauses::new(self.shared.jitter_seed());
        let read = loop {
            match self.writer.read_tags(schema, &tables).await {
                Ok(read) => break read,
                Err(error) => {
                    if !self.goes_on_after(schema, error, deliveries, &mut pauses).await? {
                        return Ok(());
                    }
                }
            }
        };
        let stored: HashMap<String, Vec<Value<'static>>> = read.into_iter().collect();
        for suspect in suspects {
            // Not there: dropped meanwhile, or none of its rows was written. Of another shape: the super table has changed.
            let stored = stored.get(&suspect.table).and_then(|values| columns(schema, values));
            let Some(mut stored) = stored else { continue };
            if self.tags.is_settled(suspect) {
                continue;
            }
            let differences = differences(&suspect.tags, &stored);
            if !differences.is_empty() {
                Stats::add(&self.shared.stats.tag_drift, 1);
                self.tags.told.tell(self.tags.drift, suspect, &differences);
                if self.tags.drift == TagDrift::Alter {
                    if !self.alter(suspect, &differences, deliveries).await? {
                        continue;
                    }
                    differences.iter().for_each(|difference| stored[difference.tag] = difference.wanted.clone());
                }
            }
            self.tags.settle(suspect, &stored);
        }
        Ok(())
    }

    /// Gives a table the tags that it should have; whether it has them.
    async fn alter(
        &mut self,
        Suspect { schema, table, .. }: &Suspect,
        differences: &[Difference<'_>],
        deliveries: &[Delivery],
    ) -> Result<bool, WorkerError> {
        let tags: Vec<_> = differences.iter().map(|difference| (difference.tag, difference.wanted)).collect();
        let mut pauses = Pauses::new(self.shared.jitter_seed());
        loop {
            match self.writer.set_tags(schema, table, &tags).await {
                Ok(()) => return Ok(true),
                Err(error) => {
                    if !self.goes_on_after(schema, error, deliveries, &mut pauses).await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Whether to try again after an error, which was waited for. What is only told is not worth a second try; what is to be
    /// altered is tried until the server answers, or the partitions are let go.
    async fn goes_on_after(
        &mut self,
        schema: &SuperTable,
        error: TdengineError,
        deliveries: &[Delivery],
        pauses: &mut Pauses,
    ) -> Result<bool, WorkerError> {
        let class = error.class();
        let is_passing = matches!(class, Class::Network | Class::Cluster | Class::Pressure | Class::Operator);
        if self.tags.drift != TagDrift::Alter {
            tracing::warn!(%error, "the tags of tables are not compared with those of messages");
        } else if class == Class::Fatal {
            return Err(fatal(schema, error));
        } else if !is_passing {
            tracing::error!(%error, stable = %schema.qualified_name(), "tags are not altered; rows are written");
        } else {
            tracing::warn!(%error, "tags are not altered yet; trying again");
        }
        if class == Class::Network {
            self.writer.reconnect();
        }
        if self.tags.drift != TagDrift::Alter || !is_passing || !self.shared.holds(deliveries) {
            return Ok(false);
        }
        self.outage.begun();
        tokio::time::sleep(pauses.next()).await;
        Ok(true)
    }
}

/// Stored tags as cells, if they are those of `schema`.
fn columns(schema: &SuperTable, values: &[Value<'_>]) -> Option<Vec<Column>> {
    let cell = |(value, tag): (&Value<'_>, &crate::tdengine::schema::Field)| {
        Column::of_one(tag.data_type, value, schema.precision).ok()
    };
    (values.len() == schema.tags.len()).then(|| values.iter().zip(&schema.tags).map(cell).collect())?
}

fn differences<'s>(wanted: &'s [Column], stored: &[Column]) -> Vec<Difference<'s>> {
    let differs = |(tag, (wanted, stored)): (usize, (&'s Column, &Column))| {
        let is_same = wanted.flags[0] != VALUE || (stored.flags[0] == VALUE && is_same(wanted, stored));
        (!is_same).then(|| Difference { tag, wanted, stored: shown(stored) })
    };
    wanted.iter().zip(stored).enumerate().filter_map(differs).collect()
}

fn is_same(a: &Column, b: &Column) -> bool {
    let tree = |column: &Column| serde_json::from_slice::<serde_json::Value>(column.bytes(0)).ok();
    a.bytes(0) == b.bytes(0) || (a.data_type == DataType::Json && tree(a) == tree(b))
}

/// A cell for people.
fn shown(column: &Column) -> String {
    crate::tdengine::rows::cell_text(&column.value(0, Precision::Milli), Some(column.data_type), Precision::Milli)
        .into_owned()
}

/// Tells of differences, not too many at once.
#[derive(Default)]
struct Told {
    since: Option<Instant>,
    told: usize,
    passed_over: usize,
}

impl Told {
    fn tell(&mut self, drift: TagDrift, suspect: &Suspect, differences: &[Difference<'_>]) {
        if self.since.is_none_or(|since| since.elapsed() >= TELL_AGAIN_AFTER) {
            self.end();
            self.since = Some(Instant::now());
        }
        if self.told >= MOST_TOLD {
            self.passed_over += 1;
            return;
        }
        self.told += 1;
        let Suspect { schema, table, .. } = suspect;
        let each = |difference: &Difference<'_>| {
            let (name, wanted) = (&schema.tags[difference.tag].name, shown(difference.wanted));
            format!("{name} is {}, the message says {wanted}", difference.stored)
        };
        let tags = differences.iter().map(each).collect::<Vec<_>>().join("; ");
        match drift {
            TagDrift::Alter => tracing::info!(%table, "tags are altered: {tags}"),
            _ => tracing::warn!(%table, "tags differ: {tags}; tag_drift = \"alter\" changes the table"),
        }
    }

    fn end(&mut self) {
        if self.passed_over > 0 {
            tracing::warn!("the tags of {} more tables differ from those of messages", self.passed_over);
        }
        *self = Self::default();
    }
}
