//! The examples of mappings, loaded whole: the messages of their tests through Kafka, and what then stands in the
//! database.

use std::path::{Path, PathBuf};

use kafka_taos::config::file::FileConfig;
use kafka_taos::encode::escape::quote_identifier;
use kafka_taos::mapping::config::{ExpectedRow, TestConfig};
use kafka_taos::message::{Header, Outgoing};
use kafka_taos::mq::MessageQueue as _;
use kafka_taos::mq::kafka::{KafkaQueue, KafkaSettings};
use serde_json::Value;

use super::pair::Pair;
use super::process::{kafka_taos, run};

/// Every example in `examples/mappings`.
pub(crate) fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mappings");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    files
}

/// Publishes the messages of an example's tests, in order, to partition 0.
pub(crate) fn publish(brokers: &str, topic: &str, tests: &[TestConfig]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = KafkaSettings { brokers: brokers.to_owned(), ..KafkaSettings::default() };
        let queue = KafkaQueue::new(settings).unwrap();
        for test in tests {
            let header =
                |(name, value): (&String, &String)| Header { name: name.clone(), value: Some(value.clone().into()) };
            let message = Outgoing {
                partition: Some(0),
                timestamp_ms: test.timestamp,
                key: test.key.clone().map(Into::into),
                payload: test.input.clone().map(Into::into),
                headers: test.headers.iter().map(header).collect(),
            };
            queue.publish(topic, message).await.unwrap();
        }
        queue.stop().await;
    });
}

/// Loads the example at `path` from `brokers` into the pair's database, and finds every row that its tests expect.
pub(crate) fn load(path: &Path, brokers: &str, pair: &Pair) {
    let config = FileConfig::read(path).unwrap();
    let topic = config.kafka.topics.clone().unwrap().into_vec().remove(0);
    let database = config.tdengine.url.as_deref().and_then(|url| url.rsplit('/').next()).unwrap().to_owned();
    let url = format!("ws://root:taosdata@{}/{database}", pair.tdengine);
    let ours = |arguments: &[&str]| {
        let mut command = kafka_taos(arguments);
        command.env("KAFKA_BROKERS", brokers).env("TDENGINE_URL", &url);
        command
    };
    run(&mut ours(&["topic", "create", "--topic", &topic, "--partitions", "2"])).expect(0);
    publish(brokers, &topic, &config.test);
    let dead = tempfile::tempdir().unwrap();
    let dead = format!("file:{}", dead.path().display());
    let path = path.to_str().unwrap();
    let consumed = run(&mut ours(&[
        "consume",
        "--config",
        path,
        "--until-end",
        "--json",
        "--dead-letter",
        &dead,
        "--linger",
        "5ms",
    ]));
    let faulty = config.test.iter().filter(|test| !test.faults.is_empty()).count();
    let consumed = consumed.expect(if faulty > 0 { 3 } else { 0 }).json();
    let dropped = config.test.iter().filter(|test| test.dropped).count();
    let counts = ["consumed", "dead_lettered", "filtered"].map(|name| consumed[name].as_u64().unwrap() as usize);
    assert_eq!(counts, [config.test.len(), faulty, dropped], "{path}: {consumed}");
    for test in &config.test {
        for row in &test.rows {
            let result = run(&mut ours(&["sql", "--json", &select(&database, row)])).expect(0).json();
            let rows = result["rows"].as_array().unwrap();
            assert_eq!(rows.len(), 1, "{path}, {:?}: {row:?} in {result}", test.name);
            let cells = rows[0].as_array().unwrap();
            for ((name, wanted), found) in fields(row).zip(cells) {
                assert!(is(found, wanted), "{path}, {:?}: {name} of {} is {found}, not {wanted}", test.name, row.table);
            }
        }
    }
}

fn fields(row: &ExpectedRow) -> impl Iterator<Item = (&String, &toml::Value)> {
    row.columns.iter().chain(&row.tags)
}

fn select(database: &str, row: &ExpectedRow) -> String {
    let names: Vec<_> = fields(row).map(|(name, _)| quote_identifier(name)).collect();
    let key = row.columns.get("ts").map(|ts| format!(" where ts = {}", millis(ts).unwrap())).unwrap_or_default();
    let table = format!("{}.{}", quote_identifier(database), quote_identifier(&row.table));
    format!("select {} from {table}{key}", names.join(", "))
}

fn millis(value: &toml::Value) -> Option<i64> {
    match value {
        toml::Value::Integer(millis) => Some(*millis),
        toml::Value::Datetime(moment) => Some(moment.to_string().parse::<jiff::Timestamp>().unwrap().as_millisecond()),
        _ => None,
    }
}

fn is(found: &Value, wanted: &toml::Value) -> bool {
    match (found, wanted) {
        (Value::String(found), toml::Value::String(wanted)) => found == wanted,
        (Value::Bool(found), toml::Value::Boolean(wanted)) => found == wanted,
        (Value::String(found), wanted) => {
            found.parse::<jiff::Timestamp>().ok().map(|moment| moment.as_millisecond()) == millis(wanted)
        }
        (Value::Number(found), toml::Value::Integer(wanted)) => found.as_i64() == Some(*wanted),
        // A FLOAT has seven digits.
        (Value::Number(found), toml::Value::Float(wanted)) => {
            found.as_f64().is_some_and(|found| (found - wanted).abs() <= wanted.abs() * 1e-6)
        }
        _ => false,
    }
}

/// [`load`] of all [`examples`].
pub(crate) fn load_all(brokers: &str, pair: &Pair) {
    examples().iter().for_each(|path| load(path, brokers, pair));
}
