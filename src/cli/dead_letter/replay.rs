//! Dead letters once more into TDengine, by an ordinary pipeline.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use kafka_taos::block::Block;
use kafka_taos::dead_letter::{Archive, DeadLetters, FaultyRows, Replay};
use kafka_taos::mapping::RowSource;
use kafka_taos::message::{Offset, TopicPartition};
use kafka_taos::pipeline::{Pipeline, Stop};
use kafka_taos::tdengine::schema::SuperTable;
use kafka_taos::tdengine::{ConnectOptions, Connection, RestClient, Sql, Transport, WriteMode};
use kafka_taos::verify::overwriting;
use serde::Serialize;

use super::super::consume::{pipeline_settings, store, super_tables};
use super::super::settings::Settings;
use super::super::signals::Signals;
use super::super::{Context, Ended, Failure};
use super::place::dead_letter_place;

/// Messages that are compared with what is stored at once.
const AT_ONCE: usize = 500;

/// The result of a replay.
#[derive(Debug, Default, Serialize)]
pub(super) struct Replayed {
    /// Messages that were asked for.
    letters: u64,
    /// Done with: their rows are written, or a rule drops them.
    replayed: u64,
    rows_written: u64,
    filtered: u64,
    /// Failed again.
    dead_lettered: u64,
    /// Left where they are: they would overwrite another value.
    overwriting: u64,
    /// Left where they are: their payload was too large to be kept, and is gone from its topic.
    gone: u64,
    retries: u64,
    seconds: f64,
    #[serde(skip)]
    signal: Option<u8>,
}

impl Replayed {
    pub(super) async fn of(
        context: &Context<'_>,
        settings: &Settings,
        mut archive: Archive,
        overwrite: bool,
    ) -> Result<Self, Failure> {
        let mut result = Self { letters: archive.entries().len() as u64, ..Self::default() };
        if archive.entries().is_empty() {
            return Ok(result);
        }
        let began = Instant::now();
        let store = store(settings)?;
        let place = dead_letter_place(settings, true).await?;
        let schemas = super_tables(settings, &store, true).await?;
        let gone;
        (archive, gone) = archive.complete(&settings.kafka).await?;
        result.gone = gone as u64;
        if !overwrite {
            result.overwriting = leave_out_overwriting(settings, &mut archive, &schemas).await?;
        }

        let mut wanted = pipeline_settings(settings, place.clone(), None);
        let replay = Replay::new(archive, DeadLetters::new(place, &format!("{}-done", wanted.instance)));
        let letters = replay.entries();
        let last =
            |entries: &[kafka_taos::dead_letter::Entry]| Some((entries[0].source.clone(), entries.last()?.offset + 1));
        let ends: Vec<(TopicPartition, Offset)> =
            letters.chunk_by(|a, b| a.source == b.source).filter_map(last).collect();
        wanted.until_end = Some(ends.into_iter().collect());
        wanted.replayed = letters.clone();
        let pipeline = Pipeline::new(wanted, replay, store, schemas);
        let watch = pipeline.watch();
        let rows = settings.rows();
        let source = letters.clone();
        // Until here nothing is half done, and a signal may end it at once.
        let signals = Signals::watch()?;
        let stop = Stop { graceful: signals.first(), abort: signals.second() };
        let ended = match letters.is_empty() {
            true => Ok(watch.snapshot()),
            false => pipeline.run(move || FaultyRows::new(source.clone(), rows()), stop).await,
        };
        let snapshot = watch.snapshot();
        let committed: Vec<_> = snapshot.partitions.iter().map(|(source, stats)| (source, stats.committed)).collect();
        let is_done = |entry: &&kafka_taos::dead_letter::Entry| {
            committed.iter().any(|(source, committed)| **source == entry.source && *committed > Some(entry.offset))
        };
        let done = letters.iter().filter(is_done).count() as u64;
        result.dead_lettered = snapshot.dead_lettered;
        result.replayed = done.saturating_sub(snapshot.dead_lettered);
        result.rows_written = snapshot.rows_written;
        result.filtered = snapshot.filtered;
        result.retries = snapshot.retries;
        result.seconds = began.elapsed().as_secs_f64();
        result.signal = signals.exit_code();
        if let Err(error) = ended {
            context.print_json(&result)?;
            return Err(error.into());
        }
        Ok(result)
    }

    pub(super) fn report(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let Self { letters, replayed, rows_written, filtered, dead_lettered, overwriting, gone, .. } = self;
        if !context.json {
            println!(
                "of {letters} dead letters {replayed} are done with ({rows_written} rows written, {filtered} dropped by a rule), \
                 {dead_lettered} failed again, {} are left",
                overwriting + gone
            );
        }
        context.print_json(&self)?;
        Ok(match self.signal {
            Some(code) => Ended::Signal(code),
            None if dead_lettered + overwriting + gone > 0 => Ended::DeadLetters,
            None => Ended::Done,
        })
    }
}

/// Leaves out messages whose rows stand in the database with other values; how many that are.
async fn leave_out_overwriting(
    settings: &Settings,
    archive: &mut Archive,
    schemas: &[SuperTable],
) -> Result<u64, Failure> {
    let options = ConnectOptions { connect_timeout: settings.timeout, ..ConnectOptions::default() };
    let by_rest = settings.write == WriteMode::Rest || settings.tdengine.transport == Transport::Rest;
    let found = if by_rest {
        find_overwriting(settings, &RestClient::new(&settings.tdengine, None, &options)?, archive, schemas).await?
    } else {
        let connection = Connection::connect(&settings.tdengine, None, 0, &options).await?;
        find_overwriting(settings, &connection, archive, schemas).await?
    };
    let first = archive.entries().iter().find(|entry| found.contains(&(entry.source.clone(), entry.offset)));
    if let Some(first) = first {
        tracing::warn!(
            messages = found.len(),
            first = %format!("{}/{}", first.source, first.offset),
            "rows of these messages stand in TDengine with other values, of later messages most likely: they are left in the \
             dead letters; --overwrite writes them all the same"
        );
    }
    archive.retain(|entry| !found.contains(&(entry.source.clone(), entry.offset)));
    Ok(found.len() as u64)
}

async fn find_overwriting(
    settings: &Settings,
    sql: &impl Sql,
    archive: &mut Archive,
    schemas: &[SuperTable],
) -> Result<HashSet<(TopicPartition, Offset)>, Failure> {
    let mut rows = FaultyRows::new(archive.entries().into(), settings.rows()());
    let mut blocks: Vec<Block> = schemas.iter().map(|schema| Block::new(Arc::new(schema.clone()))).collect();
    let (mut found, count) = (HashSet::new(), archive.entries().len());
    for start in (0..count).step_by(AT_ONCE) {
        blocks.iter_mut().for_each(Block::clear);
        for index in start..count.min(start + AT_ONCE) {
            let message = archive.letter(index)?.into_message();
            // What fails again says so when it is written.
            let _ = rows.append(&message, (index - start) as u32, &mut blocks, &mut Vec::new());
        }
        for block in &blocks {
            for row in overwriting(sql, block).await? {
                let entry = &archive.entries()[start + block.origin_of(row).message as usize];
                found.insert((entry.source.clone(), entry.offset));
            }
        }
    }
    Ok(found)
}
