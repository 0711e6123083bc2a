//! Tables that are not, or do not stay, as a mapping wants them: made, evolved, changed under running consumers. On the
//! embedded endpoint, and a queue in memory.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use kafka_taos::config::file::FileConfig;
use kafka_taos::dead_letter::DeadLetterTo;
use kafka_taos::mapping::Mapping;
use kafka_taos::message::Outgoing;
use kafka_taos::mq::MessageQueue as _;
use kafka_taos::mq::memory::{MemoryQueue, MemorySettings};
use kafka_taos::pipeline::{Pipeline, PipelineError, PipelineSettings, Stop, Watch};
use kafka_taos::queue::QueueSettings;
use kafka_taos::row::{Precision, Value};
use kafka_taos::stats::Snapshot;
use kafka_taos::tdengine::schema::{SchemaPolicy, SuperTable, differences};
use kafka_taos::tdengine::{ConnectOptions, Connection, Dsn, Sql as _, TaosStore, WriteMode};
use kafka_taos_embedded::tdengine::{Endpoint, EndpointConfig};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const BASE_MS: i64 = 1_764_547_200_000;
const PATIENCE: Duration = Duration::from_secs(60);

fn mapping(columns: &str, tags: &str) -> Mapping {
    let text = format!(
        "[format]\ntype = 'json'\n[[table]]\nstable = 's'\nname = 'd_{{d}}'\ntimestamp = 'ts'\n\
         tags = {{ {tags} }}\ncolumns = {{ {columns} }}\n"
    );
    let FileConfig { format, table, unmatched, .. } = FileConfig::parse(&text).unwrap();
    Mapping::compile(&format, &table, &unmatched, Path::new("")).unwrap()
}

fn policy(create: &str, evolve: &str, tag_drift: &str) -> SchemaPolicy {
    let (create, evolve) = (create.parse().unwrap(), evolve.parse().unwrap());
    SchemaPolicy { create, evolve, tag_drift: tag_drift.parse().unwrap(), ..SchemaPolicy::default() }
}

/// An endpoint, a queue with messages, and what is needed to run pipelines between them.
struct World {
    endpoint: Endpoint,
    sql: Connection,
    queue: MemoryQueue,
    published: i64,
}

impl World {
    async fn new() -> Self {
        let endpoint = Endpoint::start(EndpointConfig::default()).await.unwrap();
        let dsn: Dsn = format!("ws://root:taosdata@{}", endpoint.address()).parse().unwrap();
        let sql = Connection::connect(&dsn, None, 0, &ConnectOptions::default()).await.unwrap();
        let queue = MemoryQueue::new(MemorySettings::default());
        queue.create_topic("t", 4);
        Self { endpoint, sql, queue, published: 0 }
    }

    fn store(&self, mode: WriteMode, policy: SchemaPolicy) -> TaosStore {
        let dsn = format!("ws://root:taosdata@{}", self.endpoint.address()).parse().unwrap();
        TaosStore::new(dsn, mode, ConnectOptions::default()).with_policy(policy)
    }

    /// What `consume` does: makes and reads what the mapping wants, then runs.
    async fn consumer(&self, mode: WriteMode, policy: SchemaPolicy, mapping: &Mapping, dead: &Path) -> Consumer {
        let store = self.store(mode, policy);
        let precision = store.database("w").await.unwrap().precision;
        let wanted = mapping.super_tables("w", precision);
        store.keep(wanted.clone());
        let schema = store.read_schema("w", &wanted[0].name).await.unwrap();
        let settings = PipelineSettings {
            workers: 2,
            queue: QueueSettings {
                max_batch_items: 50,
                min_batch_items: 1,
                linger: Duration::from_millis(5),
                ..QueueSettings::default()
            },
            dead_letter: DeadLetterTo::File(dead.to_owned()),
            ..PipelineSettings::default()
        };
        let subscription = self.queue.queue_subscribe(&["t".to_owned()], "g").unwrap();
        let pipeline = Pipeline::new(settings, subscription, store, vec![schema]);
        let watch = pipeline.watch();
        let (graceful, stopped) = oneshot::channel::<()>();
        let stop = Stop {
            graceful: async move {
                let _ = stopped.await;
            },
            abort: std::future::pending(),
        };
        let mapping = mapping.clone();
        let running = tokio::spawn(pipeline.run(move || mapping.rows(), stop));
        Consumer { watch, graceful: Some(graceful), running }
    }

    /// Publishes so many messages of ten devices; `more` is what each says besides.
    async fn publish(&mut self, count: i64, more: &str) {
        for n in self.published..self.published + count {
            let payload = format!(r#"{{"d":{},"ts":{},"v":{n},"g":{}{more}}}"#, n % 10, BASE_MS + n, n % 10);
            let message =
                Outgoing { partition: Some((n % 10 % 4) as i32), payload: Some(payload.into()), ..Outgoing::default() };
            self.queue.publish("t", message).await.unwrap();
        }
        self.published += count;
    }

    async fn run(&self, sql: &str) {
        self.sql.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// The first cell of what `sql` answers; `None` if it cannot be asked.
    async fn ask(&self, sql: &str) -> Option<Value<'static>> {
        self.sql.sql(sql).await.ok()?.rows.first()?.first().cloned()
    }

    async fn count(&self, condition: &str) -> i64 {
        match self.ask(&format!("select count(*) from w.s where {condition}")).await {
            Some(Value::Int(count)) => count,
            _ => 0,
        }
    }

    /// Waits until so many rows meet `condition`.
    async fn until(&self, count: i64, condition: &str) {
        let began = Instant::now();
        while self.count(condition).await < count {
            assert!(began.elapsed() < PATIENCE, "{} of {count} rows: {condition}", self.count(condition).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.count(condition).await, count, "{condition}");
    }

    async fn stable(&self) -> SuperTable {
        SuperTable::read(&self.sql, "w", "s").await.unwrap()
    }
}

struct Consumer {
    watch: Watch,
    graceful: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<Snapshot, PipelineError>>,
}

impl Consumer {
    async fn stop(mut self) -> Result<Snapshot, PipelineError> {
        let _ = self.graceful.take().unwrap().send(());
        self.ended().await
    }

    async fn ended(self) -> Result<Snapshot, PipelineError> {
        tokio::time::timeout(PATIENCE, self.running).await.expect("the pipeline ends").unwrap()
    }
}

const ALL: &str = "ts >= 0";

/// Each wants something else of the same table.
fn wishes() -> [Mapping; 4] {
    [
        mapping("v = 'bigint'", "g = 'int'"),
        mapping("v = 'bigint', a = 'double'", "g = 'int', site = 'varchar(8)'"),
        mapping("v = 'bigint', b = 'varchar(8)'", "g = 'int', site = 'varchar(24)'"),
        mapping("v = 'bigint', b = 'varchar(40)'", "g = 'int', line = 'nchar(4)'"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn many_make_and_evolve_one_table_at_once() {
    for _ in 0..5 {
        let world = World::new().await;
        let wishes: Vec<SuperTable> =
            wishes().iter().flat_map(|mapping| mapping.super_tables("w", Precision::Milli)).collect();
        let all: Vec<_> = (0..3)
            .flat_map(|_| &wishes)
            .map(|wanted| {
                let store = world.store(WriteMode::Stmt2, policy("database,stable", "add-column,widen", "log"));
                store.keep(vec![wanted.clone()]);
                tokio::spawn(async move { store.read_schema("w", "s").await })
            })
            .collect();
        for made in all {
            made.await.unwrap().unwrap();
        }
        let stable = world.stable().await;
        for wanted in &wishes {
            assert_eq!(differences(wanted, &stable), [], "{stable:?}");
        }
        assert_eq!((stable.columns.len(), stable.tags.len()), (4, 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_of_a_group_that_want_different_things_lose_nothing() {
    for mode in [WriteMode::Stmt2, WriteMode::Sql] {
        let dead = tempfile::tempdir().unwrap();
        let mut world = World::new().await;
        world.publish(500, r#","a":1.5,"b":"text","site":"north","line":"l1""#).await;
        let mut consumers = Vec::new();
        let policy = || policy("database,stable", "add-column,widen", "log");
        for mapping in wishes() {
            // The table changes under those that run already.
            consumers.push(world.consumer(mode, policy(), &mapping, dead.path()).await);
            world.publish(300, r#","a":1.5,"b":"text","site":"north","line":"l1""#).await;
        }
        world.until(1700, ALL).await;
        let mut retries = 0;
        for consumer in consumers {
            let snapshot = consumer.stop().await.unwrap();
            assert_eq!(snapshot.dead_lettered, 0, "{mode}");
            retries += snapshot.retries;
        }
        println!("{mode}: {retries} retries");
    }
}

/// What happens to the table while rows are written to it all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_under_a_consumer_loses_nothing() {
    const CHANGES: [&str; 6] = [
        "alter stable w.s add column x double",
        "alter stable w.s modify column note varchar(80)",
        "alter stable w.s add tag extra int",
        "alter stable w.s drop column x",
        // Both come back: the mapping wants them.
        "alter stable w.s drop column note",
        "alter stable w.s drop tag site",
    ];
    for mode in [WriteMode::Stmt2, WriteMode::Sql, WriteMode::Rest] {
        let dead = tempfile::tempdir().unwrap();
        let mut world = World::new().await;
        let mapping = mapping("v = 'bigint', note = 'varchar(8)'", "g = 'int', site = 'varchar(8)'");
        let policy = policy("database,stable", "add-column,widen", "log");
        let consumer = world.consumer(mode, policy, &mapping, dead.path()).await;
        for change in CHANGES {
            world.publish(200, r#","note":"abc","site":"s""#).await;
            world.run(change).await;
            world.publish(200, r#","note":"abc","site":"s""#).await;
        }
        world.until(2400, ALL).await;
        let snapshot = consumer.stop().await.unwrap();
        assert_eq!((snapshot.dead_lettered, snapshot.consumed), (0, 2400), "{mode}");
        let wanted = &mapping.super_tables("w", Precision::Milli)[0];
        assert_eq!(differences(wanted, &world.stable().await), [], "{mode}");
        assert_eq!(world.count("note = 'abc' and v >= 2200").await, 200, "{mode}: the column that came back is filled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_dropped_and_made_anew_is_written_to_again() {
    let dead = tempfile::tempdir().unwrap();
    for create in ["none", "stable"] {
        let mut world = World::new().await;
        world.run("create database w").await;
        let stable = "create stable w.s (ts timestamp, v bigint) tags (g int)";
        world.run(stable).await;
        let mapping = mapping("v = 'bigint'", "g = 'int'");
        let consumer = world.consumer(WriteMode::Stmt2, policy(create, "none", "log"), &mapping, dead.path()).await;
        world.publish(100, "").await;
        world.until(100, ALL).await;
        world.run("drop stable w.s").await;
        world.publish(100, "").await;
        if create == "none" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            // With another column first, so that places change too.
            world.run("create stable w.s (ts timestamp, other int, v bigint) tags (more int, g int)").await;
        }
        world.until(100, "v >= 100").await;
        assert_eq!(world.count("g = 7").await, 10);
        assert_eq!(consumer.stop().await.unwrap().dead_lettered, 0);
    }
}

/// Without evolve a narrower column is put up with; one that is widened by hand takes what it takes from then on.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_another_widens_is_used_at_its_new_width() {
    let dead = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    world.run("create database w").await;
    world.run("create stable w.s (ts timestamp, v bigint, note varchar(8)) tags (g int)").await;
    let mapping = mapping("v = 'bigint', note = 'varchar(20)'", "g = 'int'");
    let consumer = world.consumer(WriteMode::Stmt2, policy("none", "none", "log"), &mapping, dead.path()).await;
    world.publish(10, r#","note":"short""#).await;
    world.until(10, ALL).await;
    world.run("alter stable w.s modify column note varchar(20)").await;
    world.publish(10, r#","note":"longer than eight""#).await;
    world.until(20, ALL).await;
    assert_eq!(consumer.stop().await.unwrap().dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_for_good_stops_the_consumer_and_nothing_is_lost() {
    let dead = tempfile::tempdir().unwrap();
    let mut world = World::new().await;
    let mapping = mapping("v = 'bigint', note = 'varchar(20)'", "g = 'int'");
    let policy = || policy("database,stable", "none", "log");
    let consumer = world.consumer(WriteMode::Stmt2, policy(), &mapping, dead.path()).await;
    world.publish(20, r#","note":"a""#).await;
    world.until(20, ALL).await;
    world.run("alter stable w.s drop column note").await;
    world.publish(20, r#","note":"b""#).await;
    let error = consumer.ended().await.unwrap_err().to_string();
    assert!(error.contains("it has no column note (VARCHAR(20)): add it, or write evolve"), "{error}");
    world.run("alter stable w.s add column note varchar(20)").await;
    let again = world.consumer(WriteMode::Stmt2, policy(), &mapping, dead.path()).await;
    world.until(20, "note = 'b'").await;
    assert_eq!(again.stop().await.unwrap().dead_lettered, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_what_does() {
    let world = World::new().await;
    world.run("create database w precision 'us'").await;
    world.run("create stable w.s (ts timestamp, v int, `Note` varchar(8)) tags (g varchar(8))").await;
    let store = world.store(WriteMode::Stmt2, policy("database,stable", "add-column,widen", "log"));
    assert_eq!(store.database("w").await.unwrap().precision, Precision::Micro);
    store.keep(mapping("v = 'bigint', note = 'varchar(8)'", "g = 'int'").super_tables("w", Precision::Micro));
    let error = store.read_schema("w", "s").await.unwrap_err().to_string();
    for part in ["v is INT, and the mapping wants BIGINT", "\"Note\": letter case counts", "g is VARCHAR(8)"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(world.stable().await.columns.len(), 3, "and nothing was changed");
}

async fn tags_of(world: &World, table: &str) -> String {
    let rows = world.sql.sql(&format!("select tags g, site, b from w.s where tbname='{table}'")).await.unwrap();
    (0..3).map(|column| rows.text(0, column).into_owned()).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_that_differ_are_told_or_altered_or_passed_over() {
    for (mode, drift) in [
        (WriteMode::Stmt2, "log"),
        (WriteMode::Stmt2, "ignore"),
        (WriteMode::Stmt2, "alter"),
        (WriteMode::Sql, "alter"),
        (WriteMode::Rest, "alter"),
    ] {
        let dead = tempfile::tempdir().unwrap();
        let mut world = World::new().await;
        let mapping = mapping("v = 'bigint'", "g = 'int', site = 'nchar(8)', b = 'bool'");
        let policy = || policy("database,stable", "none", drift);
        let consumer = world.consumer(mode, policy(), &mapping, dead.path()).await;
        world.publish(100, r#","site":"Bern","b":true"#).await;
        world.until(100, ALL).await;
        // Without the tags, and with one of them null: that says nothing.
        world.publish(100, r#","b":null"#).await;
        world.until(200, ALL).await;
        assert_eq!(consumer.watch.snapshot().tag_drift, 0, "{drift}");
        world.publish(100, r#","site":"Zürich","b":true"#).await;
        world.until(300, ALL).await;
        let snapshot = consumer.stop().await.unwrap();
        let site = if drift == "alter" { "Zürich" } else { "Bern" };
        assert_eq!(snapshot.tag_drift, if drift == "ignore" { 0 } else { 10 }, "{mode} {drift}");
        assert_eq!(tags_of(&world, "d_7").await, format!("7 {site} true"), "{mode} {drift}");
        // Another consumer knows nothing of what the first one saw; of two changes at once the later counts.
        world.publish(10, r#","site":"Basel","b":false"#).await;
        world.publish(10, r#","site":"O'Hara","b":false"#).await;
        let consumer = world.consumer(mode, policy(), &mapping, dead.path()).await;
        world.until(320, ALL).await;
        let snapshot = consumer.stop().await.unwrap();
        assert_eq!(snapshot.dead_lettered, 0);
        assert_eq!(snapshot.tag_drift > 0, drift != "ignore", "{mode} {drift}");
        let tags = if drift == "alter" { "7 O'Hara false" } else { "7 Bern true" };
        assert_eq!(tags_of(&world, "d_7").await, tags, "{mode} {drift}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_made_with_its_options() {
    let world = World::new().await;
    let options = "keep 30d duration 3d vgroups 1".to_owned();
    let policy = SchemaPolicy {
        precision: Precision::Nano,
        database_options: options,
        ..policy("database,stable", "none", "log")
    };
    let database = world.store(WriteMode::Sql, policy).database("w").await.unwrap();
    assert_eq!((database.precision, database.keep), (Precision::Nano, Some(Duration::from_secs(30 * 86_400))));
    let vgroups = world.ask("select `vgroups` from information_schema.ins_databases where name = 'w'").await;
    assert_eq!(vgroups, Some(Value::Int(1)));
}
