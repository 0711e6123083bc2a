//! What must be in the store and in the dead letters, by what is in the topic; and what is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use kafka_taos::codec::Codec as _;
use kafka_taos::dead_letter;
use kafka_taos::record::{Cell, Record};
use kafka_taos::row::{Precision, Value};
use kafka_taos::tdengine::{ConnectOptions, Connection, Sql as _};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::common::{until, until_ok};

/// The key of messages that cannot be written.
pub(crate) const POISON: &[u8] = b"poison";

type Place = (i32, i64);
/// Table and timestamp.
type Key = (String, i64);
/// `col0`, which tells the versions of a key apart, and `col1`.
type Columns = (String, Option<String>);

/// What a topic must come to.
#[derive(Default)]
pub(crate) struct Expected {
    pub(crate) poison: BTreeSet<Place>,
    /// In their partition's order; what stands is the last.
    versions: BTreeMap<Key, (i32, Vec<Columns>)>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) checked: u64,
    pub(crate) lost: Vec<String>,
    pub(crate) wrong: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Earlier values, in partitions that a paused writer had lost.
    pub(crate) stale: u64,
    pub(crate) dead: u64,
}

impl Findings {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty() && self.doubled.is_empty()
    }
}

impl Expected {
    /// Reads all of `topic`, up to `ends`.
    pub(crate) fn read(brokers: &str, topic: &str, ends: &[i64]) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", format!("{topic}-check"))
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        for partition in 0..ends.len() as i32 {
            list.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        let mut expected = Self::default();
        let mut left: i64 = ends.iter().sum();
        until("the topic is read again", || {
            while left > 0 {
                // Errors are those of a broker that another schedule has restarted.
                let message = consumer.poll(Duration::from_millis(200))?.ok()?;
                expected.add((message.partition(), message.offset()), message.key(), message.payload());
                left -= 1;
            }
            Some(())
        });
        expected
    }

    fn add(&mut self, place: Place, key: Option<&[u8]>, payload: Option<&[u8]>) {
        if key == Some(POISON) {
            self.poison.insert(place);
            return;
        }
        let record = Record::decode(payload.expect("a payload")).expect("a record");
        let key = (record.device_id.to_string(), record.timestamp.in_units(Precision::Milli).expect("in range"));
        let text = |cell: &Cell<'_>| match cell {
            Cell::Text(text) => Some(text.to_string()),
            _ => None,
        };
        let (_, versions) = self.versions.entry(key).or_insert_with(|| (place.0, Vec::new()));
        let second = match record.cols.get(1) {
            Some(cell) => text(cell),
            // Not there, so what stood there stays.
            None => versions.last().and_then(|(_, second): &Columns| second.clone()),
        };
        versions.push((text(&record.cols[0]).expect("text"), second));
    }

    /// Holds the rows of `url`'s store and the dead letters in `folder` against it; in the partitions `overtaken` a
    /// paused writer may have put earlier values on top.
    pub(crate) fn check(&self, url: &str, folder: &Path, overtaken: &BTreeSet<i32>) -> Findings {
        let mut found = Findings::default();
        let mut stored = rows(url);
        for (key, (partition, versions)) in &self.versions {
            found.checked += 1;
            match stored.remove(key) {
                None => found.lost.push(format!("{key:?} of partition {partition}: {versions:?}")),
                Some(columns) if Some(&columns) == versions.last() => {}
                Some((first, _))
                    if overtaken.contains(partition) && versions.iter().any(|(version, _)| *version == first) =>
                {
                    found.stale += 1;
                }
                Some(columns) => found
                    .wrong
                    .push(format!("{key:?} of partition {partition} is {columns:?}, not the last of {versions:?}")),
            }
        }
        found.doubled = stored.into_keys().map(|key| format!("{key:?} was never published")).collect();
        let dead = letters(folder);
        found.checked += self.poison.len() as u64;
        found.dead = dead.len() as u64;
        found.lost.extend(self.poison.difference(&dead).map(|place| format!("{place:?} is no dead letter")));
        found.wrong.extend(dead.difference(&self.poison).map(|place| format!("{place:?} is a dead letter")));
        found
    }
}

fn letters(folder: &Path) -> BTreeSet<Place> {
    let files = std::fs::read_dir(folder).into_iter().flatten();
    let texts = files.map(|file| std::fs::read_to_string(file.expect("a file").path()).expect("dead letters"));
    texts.flat_map(|text| dead_letter::read(&text)).map(|letter| (letter.partition, letter.offset)).collect()
}

fn rows(url: &str) -> BTreeMap<Key, Columns> {
    let rows = sql(url, "select tbname, ts, col0, col1 from test.stb");
    let text = |value: &Value<'_>| match value {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    };
    let key = |row: &[Value<'static>]| match &row[1] {
        Value::Timestamp(ts) => (text(&row[0]).expect("a name"), ts.in_units(Precision::Milli).expect("in range")),
        other => panic!("{other:?} is no timestamp"),
    };
    rows.rows.iter().map(|row| (key(row), (text(&row[2]).unwrap_or_default(), text(&row[3])))).collect()
}

/// Runs a statement; tried until it works, since the endpoint fails on purpose.
pub(crate) fn sql(url: &str, statement: &str) -> kafka_taos::tdengine::Rows {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let dsn = url.parse().expect("a URL");
    let short = Duration::from_secs(5);
    let options = ConnectOptions { connect_timeout: short, read_timeout: short, ..ConnectOptions::default() };
    let attempt = || async {
        let connection = Connection::connect(&dsn, None, 0, &options).await?;
        connection.sql(statement).await
    };
    until_ok(statement, || runtime.block_on(attempt()))
}
