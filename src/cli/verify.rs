//! `kafka-taos verify`: the proof that all arrived.

use std::sync::Arc;

use clap::Args;
use kafka_taos::dead_letter::{Archive, ArchiveError, DeadLetterSetting, Filter};
use kafka_taos::message::TopicPartition;
use kafka_taos::mq::MqError;
use kafka_taos::mq::kafka::{Admin, Reader, StartOffset};
use kafka_taos::tdengine::schema::{Database, SuperTable};
use kafka_taos::tdengine::{ConnectOptions, Connection, TdengineError};
use kafka_taos::verify::{self, DeadSet, Progress, Report, Span, Target};

use super::consume::ends;
use super::settings::{CommonArgs, DeadLetterArgs, KafkaArgs, PolicyArgs, Settings, TdengineArgs};
use super::{Context, Ended, Failure, every_second};

/// Prove that nothing is missing: read topic, database and dead letters, and hold every row against the other
#[derive(Args, Debug)]
#[command(after_help = "\
What is proven: every message from the first that is still there (or --from) up to what the group has committed is
in TDengine with its values, or in the dead letters. Nothing is written or committed. See docs/verify.md.")]
pub(super) struct Verify {
    /// Begin at this offset in every partition, at @MILLISECONDS, or at a time as of RFC 3339 [default: earliest]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true)]
    from: Option<StartOffset>,
    /// Count an older value in place of the last one as a failure, too
    #[arg(long)]
    strict: bool,
    /// Super table of the demo record [default: stb]
    #[arg(long)]
    stable: Option<String>,
    #[command(flatten)]
    dead_letter: DeadLetterArgs,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Verify {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let group = settings.group()?;
        let options = ConnectOptions { connect_timeout: settings.timeout, ..ConnectOptions::default() };
        // Both protocols are served on one port, and only this one gives results by parts.
        let connection = Connection::connect(&settings.tdengine, None, 0, &options).await?;
        let targets = targets(&settings, &connection).await?;
        let (from, asked) = (self.from, settings.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let mut reader = Reader::new(&asked.kafka, &asked.group()?)?;
            let spans = spans(&asked, &reader, from)?;
            reader.read(spans.iter().map(|span| (span.source.clone(), span.read())));
            Ok::<_, Failure>((reader, spans))
        });
        let (reader, spans) = looking.await.map_err(|error| Failure::failed(error.to_string()))??;
        tell_range(&spans, &group);
        // After the group's offsets: what counts as resolved by then is in them by now.
        let dead = dead_letters(&settings).await?;
        let progress = Arc::new(Progress::default());
        let rows = settings.rows()();
        let judging = verify::Settings { progress: progress.clone(), ..verify::Settings::default() };
        let verified = verify::verify(judging, spans, reader, rows, targets, dead, &connection);
        let lines = every_second(context.quiet, |_| {
            let (read, compared) = progress.now();
            format!("read {read} messages, compared {compared} keys")
        });
        let report = tokio::select! {
            verified = verified => verified?,
            () = lines => return Err(Failure::failed("the line a second ended")),
        };
        self.conclude(context, &report)
    }

    fn conclude(&self, context: &Context<'_>, report: &Report) -> Result<Ended, Failure> {
        let counts = &report.counts;
        if !context.json {
            println!(
                "{} messages ({} filtered, {} in the dead letters), {} rows: {} present, {} merged, {} superseded, \
                 {} in the dead letters, {} stale, {} missing",
                counts.messages,
                counts.messages_filtered,
                counts.messages_dead,
                counts.rows,
                counts.rows_present,
                counts.merged,
                counts.superseded,
                counts.rows_dead,
                counts.stale,
                counts.missing
            );
        }
        report.findings.iter().for_each(|finding| eprintln!("{finding}"));
        let told = report.findings.iter().filter(|finding| !finding.is_stale).count() as u64;
        if counts.missing > told && told > 0 {
            eprintln!("and {} more that are missing", counts.missing - told);
        }
        context.print_json(report)?;
        if counts.stale > 0 {
            tracing::warn!(
                "{} keys hold an older value than their last: a writer that was paused past its session wrote late, or \
                 somebody else writes these tables; consume those offsets again in a group of their own (--group NEW --offset N)",
                counts.stale
            );
        }
        match (counts.missing, self.strict && counts.stale > 0) {
            (0, false) => Ok(Ended::Done),
            (0, true) => Err(Failure::failed(format!("{} keys hold an older value than their last", counts.stale))),
            (missing, _) => Err(Failure::failed(format!(
                "{missing} rows are missing: consume their offsets again in a group of its own (--group NEW --offset N); \
                 what is there already is written again without effect"
            ))),
        }
    }
}

/// The super tables that rows are for, as they are; as the mapping would make them where they are not there.
async fn targets(settings: &Settings, connection: &Connection) -> Result<Vec<Target>, Failure> {
    let database = settings.database()?;
    let Some(mapping) = &settings.mapping else {
        let schema = SuperTable::read(connection, database, settings.stable.as_deref().unwrap_or("stb")).await?;
        return Ok(vec![Target { schema: Arc::new(schema), exists: true }]);
    };
    let precision = Database::read(connection, database).await?.precision;
    let mut targets = Vec::new();
    for wanted in mapping.super_tables(database, precision) {
        let (schema, exists) = match SuperTable::read(connection, database, &wanted.name).await {
            Ok(schema) => (schema, true),
            Err(TdengineError::NoSuperTable { .. }) => (wanted, false),
            Err(error) => return Err(error.into()),
        };
        targets.push(Target { schema: Arc::new(schema), exists });
    }
    Ok(targets)
}

/// What of each partition is to be looked at.
fn spans(settings: &Settings, reader: &Reader, from: Option<StartOffset>) -> Result<Vec<Span>, Failure> {
    let admin = Admin::new(&settings.kafka)?;
    let mut ends: Vec<_> = ends(settings)?.into_iter().collect();
    ends.sort_unstable();
    let sources: Vec<TopicPartition> = ends.iter().map(|(source, _)| source.clone()).collect();
    let committed = reader.committed(&sources)?;
    let starts = match from {
        Some(StartOffset::Time(time_ms)) => reader.at_time(&sources, time_ms)?,
        Some(StartOffset::At(offset)) => vec![Some(offset); sources.len()],
        Some(StartOffset::Latest) => vec![None; sources.len()],
        None | Some(StartOffset::Earliest) => vec![Some(0); sources.len()],
    };
    let mut spans = Vec::new();
    for (((source, end), committed), start) in ends.into_iter().zip(committed).zip(starts) {
        let (first, _) = admin.watermarks(&source, settings.timeout)?;
        let from = start.map_or(end, |start| start.clamp(first, end));
        if let Some(beyond) = committed.filter(|committed| *committed > end) {
            return Err(Failure::failed(format!(
                "{source}: the group has committed offset {beyond}, and the partition ends at {end}: the topic was made anew \
                 since; what was in it cannot be proven any more. Use a new group, or set this one's offsets back"
            )));
        }
        let to = committed.unwrap_or(from).max(from);
        spans.push(Span { source, first, from, to, end });
    }
    Ok(spans)
}

/// Says what is not looked at.
fn tell_range(spans: &[Span], group: &str) {
    for Span { source, first, from, to, end } in spans {
        if *first > 0 && from == first {
            tracing::warn!(
                "{source}: the messages before offset {first} are gone from the topic (retention), so nothing is known of them"
            );
        }
        if from == to && end > first {
            tracing::warn!("{source}: group {group} has committed nothing past offset {from}: nothing is looked at");
        }
    }
}

/// All that is in the dead letters.
async fn dead_letters(settings: &Settings) -> Result<DeadSet, Failure> {
    let all = Filter::default();
    let archive = match &settings.aside.to {
        DeadLetterSetting::None => return Ok(DeadSet::default()),
        DeadLetterSetting::File(folder) => Archive::of_folder(folder, &all)?,
        DeadLetterSetting::Topic(topic) => {
            match Archive::of_topic(&settings.kafka, topic, &all, settings.timeout).await {
                // Made with the first consumer that needs it.
                Err(ArchiveError::Mq(MqError::UnknownTopic { .. })) => return Ok(DeadSet::default()),
                archive => archive?,
            }
        }
    };
    Ok(DeadSet::of(&archive))
}
