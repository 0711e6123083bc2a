//! `kafka-taos check`: what stands between a configuration and its rows. All is looked at, whatever fails before.

use std::path::Path;

use clap::Args;
use kafka_taos::check::{
    DatabaseFacts, Findings, GroupFacts, SampleFacts, Severity, TopicFacts, judge_database, judge_group, judge_sample,
    judge_table, judge_topic,
};
use kafka_taos::dead_letter::DeadLetterSetting;
use kafka_taos::message::{Message, TopicPartition};
use kafka_taos::mq::MqError;
use kafka_taos::mq::kafka::{Admin, Reader};
use kafka_taos::preview::Preview;
use kafka_taos::row::{Precision, Timestamp, Value};
use kafka_taos::tdengine::schema::{Create, Database, SuperTable};
use kafka_taos::tdengine::{Class, Sql as _, TdengineError, WriteMode};

use super::produce::Server;
use super::sample::{Which, of_topics};
use super::settings::{
    CommonArgs, DeadLetterArgs, KafkaArgs, PolicyArgs, QueueArgs, SchemaArgs, Settings, TdengineArgs,
};
use super::{Context, Ended, Failure};

/// Look for what will go wrong: settings, servers, schema, time, durability, dead letters; each with its fix
#[derive(Args, Debug)]
#[command(after_help = "Nothing is made or written. Exit code 1 only where there is an error among the findings.")]
pub(super) struct Check {
    /// How many messages of the topics are looked at
    #[arg(long, default_value_t = 200)]
    sample: usize,
    /// Super table of the demo record [default: stb]
    #[arg(long)]
    stable: Option<String>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    schema: SchemaArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    dead_letter: DeadLetterArgs,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Check {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let mut findings = Findings::default();
        match context.settings() {
            Ok(settings) => self.look(&settings, &mut findings).await,
            Err(failure) => {
                findings.error("settings", failure.message, "correct the configuration; see docs/mapping.md")
            }
        }
        // The gravest first, each kind in the order of the data's way.
        findings.0.sort_by_key(|finding| finding.severity);
        if !context.json {
            for finding in &findings.0 {
                println!("{:<8} {:<24} {}", finding.severity, finding.code, finding.message);
                if !finding.fix.is_empty() {
                    println!("{:<33} fix: {}", "", finding.fix);
                }
            }
        }
        context.print_json(&findings.0)?;
        let errors = findings.0.iter().filter(|finding| finding.severity == Severity::Error).count();
        match errors {
            0 => Ok(Ended::Done),
            _ => Err(Failure::failed(format!("{errors} errors among {} findings", findings.0.len()))),
        }
    }

    async fn look(&self, settings: &Settings, findings: &mut Findings) {
        if settings.mapping.is_none() {
            findings.info("mapping-none", "there is no [[table]]: messages are read as demo records");
        }
        let (mut of_kafka, mut of_tdengine) = (Findings::default(), Findings::default());
        let (messages, database) =
            tokio::join!(self.kafka(settings, &mut of_kafka), tdengine(settings, &mut of_tdengine));
        findings.0.append(&mut of_kafka.0);
        findings.0.append(&mut of_tdengine.0);
        if let Some(messages) = messages {
            let schemas = database.schemas.or_else(|| as_made(settings));
            if let Some(schemas) = schemas {
                let facts = sample(settings, &messages, schemas);
                let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
                let sets_aside = settings.aside.to != DeadLetterSetting::None;
                let kept = database.found.map(|database| (database.precision, database.keep));
                judge_sample(&facts, kept, sets_aside, now, findings);
            }
        }
        dead_letters(settings, findings);
    }

    /// Looks at the topics and the group; returns a sample of the messages.
    async fn kafka(&self, settings: &Settings, findings: &mut Findings) -> Option<Vec<Message>> {
        let group = match settings.group() {
            Ok(group) => Some(group),
            Err(failure) => {
                findings.error("group", failure.message, "--group NAME");
                None
            }
        };
        let topics = match topics(settings).await {
            Ok(topics) => topics,
            Err(error) => {
                kafka_error(&error, findings);
                return None;
            }
        };
        if topics.is_empty() {
            let patterns = settings.topics.join(" ");
            findings.warning(
                "topic-none",
                format!("no topic matches {patterns}"),
                "correct the pattern, or make the topic",
            );
        }
        let mut all_there = true;
        for topic in topics {
            let admin = match Admin::new(&settings.kafka) {
                Ok(admin) => admin,
                Err(error) => {
                    kafka_error(&error, findings);
                    return None;
                }
            };
            let info = match admin.describe(&topic, settings.timeout).await {
                Ok(info) => info,
                Err(error) => {
                    all_there = false;
                    kafka_error(&error, findings);
                    if matches!(error, MqError::UnknownTopic { .. }) {
                        continue;
                    }
                    return None;
                }
            };
            let facts = TopicFacts { config: admin.all_settings(&topic, settings.timeout).await, info };
            judge_topic(&facts, settings.workers, findings);
            if let Some(group) = &group {
                match group_facts(settings, group.clone(), &facts).await {
                    Ok(of_group) => judge_group(&facts, &of_group, findings),
                    Err(error) => kafka_error(&error, findings),
                }
            }
        }
        if !all_there {
            return None;
        }
        match of_topics(settings, self.sample, Which::FirstAndLast).await {
            Ok(messages) => Some(messages),
            Err(failure) => {
                findings.error("kafka-read", failure.message, "see what the brokers say of it");
                None
            }
        }
    }
}

fn kafka_error(error: &MqError, findings: &mut Findings) {
    let text = error.to_string();
    match error {
        MqError::UnknownTopic { topic } => findings.error(
            "topic-missing",
            format!("topic {topic} is not there"),
            format!("topic create --topic {topic} --partitions N; a consumer waits for it"),
        ),
        MqError::Unreachable { .. } => {
            findings.error("kafka-unreachable", text, "start the brokers, or correct --brokers");
        }
        MqError::Denied { .. } => findings.error("kafka-denied", text, "correct user, password and rights"),
        _ => findings.error("kafka", text, "see what the brokers say of it"),
    }
}

/// The topics by name, patterns resolved.
async fn topics(settings: &Settings) -> Result<Vec<String>, MqError> {
    let settings = settings.clone();
    let asking = move || {
        let admin = Admin::new(&settings.kafka)?;
        // Asked in any case: without a broker nothing else has an answer either.
        let there = admin.topics(settings.timeout)?;
        let mut topics = Vec::new();
        for wanted in &settings.topics {
            match wanted.starts_with('^').then(|| regex::Regex::new(wanted)) {
                None => topics.push(wanted.clone()),
                Some(Ok(pattern)) => {
                    topics.extend(there.iter().map(|(name, _)| name).filter(|name| pattern.is_match(name)).cloned());
                }
                Some(Err(error)) => return Err(MqError::Settings(format!("--topic {wanted}: {error}"))),
            }
        }
        Ok(topics)
    };
    tokio::task::spawn_blocking(asking).await.unwrap_or(Err(MqError::Stopped))
}

async fn group_facts(settings: &Settings, group: String, topic: &TopicFacts) -> Result<GroupFacts, MqError> {
    let settings = settings.clone();
    let name: std::sync::Arc<str> = topic.info.topic.as_str().into();
    let sources: Vec<_> = topic
        .info
        .partitions
        .iter()
        .map(|partition| TopicPartition { topic: name.clone(), partition: partition.partition })
        .collect();
    let asking = move || {
        let committed = Reader::new(&settings.kafka, &group)?.committed(&sources)?;
        let state = Admin::new(&settings.kafka)?.group(&group, settings.timeout)?;
        Ok(GroupFacts { group, state, committed, start: settings.kafka.start })
    };
    tokio::task::spawn_blocking(asking).await.unwrap_or(Err(MqError::Stopped))
}

/// What is known of the database.
#[derive(Default)]
struct Known {
    found: Option<Database>,
    /// The super tables as they are; as they will be made where they are not there.
    schemas: Option<Vec<SuperTable>>,
}

async fn tdengine(settings: &Settings, findings: &mut Findings) -> Known {
    let mut known = Known::default();
    if let Err(contradiction) = settings.write.check(&settings.tdengine) {
        findings.error("write-mode", contradiction, "write ws:// in the URL, or --write rest");
    }
    let database = match settings.database() {
        Ok(database) => database,
        Err(failure) => {
            findings.error("database-none", failure.message, "ws://USER@HOST:6041/DATABASE");
            return known;
        }
    };
    let server = match Server::connect(&settings.tdengine, settings.timeout).await {
        Ok(server) => server,
        Err(error) => {
            tdengine_error(&error, findings);
            return known;
        }
    };
    if let Server::WebSocket(connection) = &server {
        match connection.require_stmt2() {
            Err(error) if settings.write == WriteMode::Stmt2 => {
                findings.error("tdengine-old", error.to_string(), "--write sql, or a newer server");
            }
            _ => findings.info("tdengine", format!("TDengine {} at {}", connection.version(), connection.address())),
        }
    }
    match Database::read(&server, database).await {
        Ok(found) => {
            known.found = Some(found);
            judge_database(&database_facts(&server, database, found).await, findings);
        }
        Err(TdengineError::NoDatabase { .. }) if settings.schema.create == Create::Database => {
            findings.info("database-will-be-made", format!("database {database} is made at start"));
        }
        Err(error @ TdengineError::NoDatabase { .. }) => {
            let fix = format!("[tdengine] create = \"database,stable\", or: create database `{database}`");
            findings.error("database-missing", error.to_string(), fix);
        }
        Err(error) => {
            tdengine_error(&error, findings);
            return known;
        }
    }
    known.schemas = tables(settings, &server, database, known.found, findings).await;
    known
}

async fn tables(
    settings: &Settings,
    server: &Server,
    database: &str,
    found: Option<Database>,
    findings: &mut Findings,
) -> Option<Vec<SuperTable>> {
    let Some(mapping) = &settings.mapping else {
        let stable = settings.stable.as_deref().unwrap_or("stb");
        return match SuperTable::read(server, database, stable).await {
            Ok(there) => {
                findings.info(
                    "stable",
                    format!("super table {} has {} columns", there.qualified_name(), there.columns.len()),
                );
                Some(vec![there])
            }
            Err(error) => {
                findings.error("stable-missing", error.to_string(), "produce makes it, or name another with --stable");
                None
            }
        };
    };
    let precision = found.map_or(settings.schema.precision, |found| found.precision);
    let mut schemas = Vec::new();
    for wanted in mapping.super_tables(database, precision) {
        let there = match found {
            None => None,
            Some(_) => match SuperTable::read(server, database, &wanted.name).await {
                Ok(there) => Some(there),
                Err(TdengineError::NoSuperTable { .. }) => None,
                Err(error @ TdengineError::Schema { .. }) => {
                    findings.error("stable-is-none", error.to_string(), "name a super table in the mapping");
                    continue;
                }
                Err(error) => {
                    tdengine_error(&error, findings);
                    return None;
                }
            },
        };
        judge_table(&wanted, there.as_ref(), &settings.schema, findings);
        schemas.push(there.unwrap_or(wanted));
    }
    Some(schemas)
}

fn tdengine_error(error: &TdengineError, findings: &mut Findings) {
    match error.class() {
        Class::Network | Class::Cluster => {
            findings.error("tdengine-unreachable", error.to_string(), "start taosAdapter there, or correct --tdengine");
        }
        Class::Fatal => findings.error("tdengine-denied", error.to_string(), "correct user, password and rights"),
        _ => findings.error("tdengine", error.to_string(), "see what the server says of it"),
    }
}

/// What the server tells of a database; not all servers, nor all users' rights, tell all of it.
async fn database_facts(server: &Server, name: &str, found: Database) -> DatabaseFacts {
    let columns = "`replica`, `wal_level`, `wal_fsync_period`";
    let literal = name.replace('\\', "\\\\").replace('\'', "''");
    let sql = format!("select {columns} from information_schema.ins_databases where name='{literal}'");
    let rows = server.sql(&sql).await.unwrap_or_default();
    let number = |column: &str| match rows.first(column) {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    DatabaseFacts {
        name: name.to_owned(),
        precision: found.precision,
        keep: found.keep,
        replica: number("replica"),
        wal_level: number("wal_level"),
        wal_fsync_period: number("wal_fsync_period"),
    }
}

/// The super tables as the mapping would make them.
fn as_made(settings: &Settings) -> Option<Vec<SuperTable>> {
    let database = settings.tdengine.database.as_deref().unwrap_or("database");
    settings.mapping.as_ref().map(|mapping| mapping.super_tables(database, settings.schema.precision))
}

fn sample(settings: &Settings, messages: &[Message], schemas: Vec<SuperTable>) -> SampleFacts {
    // Times are looked at before they are cut to the database's precision.
    let uncut = schemas.into_iter().map(|schema| SuperTable { precision: Precision::Nano, ..schema });
    let mut preview = Preview::new(settings.rows()(), uncut);
    let mut facts = SampleFacts::default();
    for message in messages {
        let previewed = preview.of(message);
        facts.add(message, &previewed);
    }
    facts
}

fn dead_letters(settings: &Settings, findings: &mut Findings) {
    if let Err(failure) = settings.check_dead_letters() {
        findings.error("dead-letter-read", failure.message, "choose another topic for them");
    }
    match &settings.aside.to {
        DeadLetterSetting::None => findings.warning(
            "dead-letter-none",
            "there is no place for dead letters: the first message that cannot be written stops the consumer",
            "--dead-letter topic:NAME or file:FOLDER",
        ),
        DeadLetterSetting::File(folder) => {
            // The nearest folder that is there is the one that others are made in.
            let there = folder.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
            match there.into_iter().find_map(|path| path.metadata().ok()) {
                Some(data) if data.is_dir() && !data.permissions().readonly() => {
                    findings.info("dead-letter", format!("dead letters go to files in {}", folder.display()));
                }
                _ => findings.error(
                    "dead-letter-folder",
                    format!("{} is no folder that files can be made in", folder.display()),
                    "correct its rights, or name another",
                ),
            }
        }
        DeadLetterSetting::Topic(topic) => {
            findings.info("dead-letter", format!("dead letters go to topic {topic}; it is made where it is not there"));
        }
    }
}
