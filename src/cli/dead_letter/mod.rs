//! `kafka-taos dead-letter`: what could not be written and why; and once more, through a corrected mapping.

mod place;
mod replay;
mod show;

use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use kafka_taos::dead_letter::{Archive, DeadLetterSetting, Filter};
use kafka_taos::message::{Offset, TopicPartition};
use serde_json::json;

use self::replay::Replayed;
use super::settings::{CommonArgs, DeadLetterArgs, KafkaConnectionArgs, PolicyArgs, QueueArgs, Settings, TdengineArgs};
use super::{Context, Ended, Failure};

pub(super) use place::dead_letter_place;

/// List, show and replay what could not be written
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct DeadLetter {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// A line a message: where it stood, why it failed, how often
    List {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// One message whole: its bytes, headers, what was decoded, the SQL that was refused
    Show {
        /// TOPIC/PARTITION/OFFSET, or the number in the list
        which: String,
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Write the messages once more, through the mapping as it is now; what fails again stays, with one more try
    #[command(after_help = "\
Only rows that failed are written, and none over another value that stands there by now: a later message has put it
there, most likely. Such messages are left where they are; --overwrite writes them all the same. See docs/dead-letters.md.")]
    Replay {
        #[command(flatten)]
        filter: FilterArgs,
        /// Write rows over other values too
        #[arg(long)]
        overwrite: bool,
        /// Super table of the demo record [default: stb]
        #[arg(long)]
        stable: Option<String>,
        #[command(flatten)]
        place: PlaceArgs,
        #[command(flatten)]
        tdengine: Box<TdengineArgs>,
        #[command(flatten)]
        queue: QueueArgs,
        #[command(flatten)]
        policy: PolicyArgs,
    },
}

/// Where the letters are.
#[derive(Args, Debug)]
struct PlaceArgs {
    #[command(flatten)]
    dead_letter: DeadLetterArgs,
    #[command(flatten)]
    kafka: KafkaConnectionArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Which letters are meant.
#[derive(Args, Debug)]
#[command(next_help_heading = "Which")]
struct FilterArgs {
    /// Messages of this topic; repeat it for several
    #[arg(id = "of_topic", long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Messages of this partition
    #[arg(id = "of_partition", long = "partition", value_name = "N")]
    partition: Option<i32>,
    /// The message at this offset, or those from one to another, as in 100..200
    #[arg(id = "at_offset", long = "offset", value_name = "N|FROM..TO", value_parser = offsets)]
    offsets: Option<(Offset, Offset)>,
    /// Whose reason holds this text
    #[arg(long)]
    reason: Option<String>,
    /// Whose code is this, as in 0x060B; repeat it for several
    #[arg(long)]
    code: Vec<String>,
    /// That failed in this time, as in 2h, or since a time as of RFC 3339
    #[arg(long, value_parser = since)]
    since: Option<i64>,
    /// So many at most
    #[arg(long)]
    limit: Option<usize>,
}

impl From<FilterArgs> for Filter {
    fn from(args: FilterArgs) -> Self {
        Self {
            topics: args.topics,
            partition: args.partition,
            from: args.offsets.map(|(from, _)| from),
            to: args.offsets.map(|(_, to)| to),
            reason: args.reason,
            codes: args.code,
            since_ms: args.since,
            limit: args.limit,
        }
    }
}

/// `42`, `100..200` (both counted), `100..`.
fn offsets(text: &str) -> Result<(Offset, Offset), String> {
    let read = |text: &str| text.parse::<Offset>().ok().filter(|offset| *offset >= 0);
    let read = match text.split_once("..") {
        None => read(text).map(|offset| (offset, offset)),
        Some((from, "")) => read(from).map(|from| (from, Offset::MAX)),
        Some((from, to)) => read(from).zip(read(to)).filter(|(from, to)| from <= to),
    };
    read.ok_or_else(|| format!("{text:?} is no offset and no range of them: write 42, 100..200 or 100.."))
}

/// A time, in milliseconds since 1970: so long ago, or a moment.
fn since(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago = super::settings::duration(text).ok().and_then(|ago| i64::try_from(ago.as_millis()).ok());
    ago.map(|ago| jiff::Timestamp::now().as_millisecond().saturating_sub(ago))
        .ok_or_else(|| format!("{text:?} is no length of time and no moment: write 2h, or 2026-01-31T08:00:00Z"))
}

impl DeadLetter {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        match self.action {
            Action::List { filter, .. } => list(context, read(&settings, filter.into()).await?).map(|()| Ended::Done),
            Action::Show { which, filter, .. } => {
                let archive = read(&settings, filter.into()).await?;
                let index = find(&archive, &which)?;
                show::show(context, &settings, archive, index).map(|()| Ended::Done)
            }
            Action::Replay { filter, overwrite, .. } => {
                let archive = read(&settings, filter.into()).await?;
                Replayed::of(context, &settings, archive, overwrite).await?.report(context)
            }
        }
    }
}

/// The letters that are there.
async fn read(settings: &Settings, filter: Filter) -> Result<Archive, Failure> {
    let archive = match &settings.aside.to {
        DeadLetterSetting::None => {
            return Err(Failure::usage(
                "where are the dead letters? Give --dead-letter topic:NAME or file:FOLDER, or [dead_letter] to in the configuration",
            ));
        }
        DeadLetterSetting::File(folder) if !folder.is_dir() => {
            return Err(Failure::failed(format!("there is no folder {}; check --dead-letter", folder.display())));
        }
        DeadLetterSetting::File(folder) => Archive::of_folder(folder, &filter)?,
        DeadLetterSetting::Topic(topic) => Archive::of_topic(&settings.kafka, topic, &filter, settings.timeout).await?,
    };
    if archive.unreadable() > 0 {
        tracing::warn!(
            "{} lines or messages there are no letters: cut short before they counted, or of another program",
            archive.unreadable()
        );
    }
    Ok(archive)
}

fn list(context: &Context<'_>, mut archive: Archive) -> Result<(), Failure> {
    let mut listed = Vec::new();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["", "message", "failed at", "tries", "code", "rows", "reason"]);
    for index in 0..archive.entries().len() {
        let letter = archive.letter(index)?;
        let entry = &archive.entries()[index];
        let failed_at = time(letter.failed_at_ms);
        if !context.json {
            let rows = entry.rows.as_ref().map(|rows| rows.len().to_string());
            table.add_row([
                index.to_string(),
                format!("{}/{}", entry.source, entry.offset),
                failed_at,
                entry.tries.to_string(),
                letter.code.unwrap_or_default(),
                rows.unwrap_or_else(|| "all".to_owned()),
                letter.reason,
            ]);
            continue;
        }
        listed.push(json!({
            "index": index,
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "timestamp_ms": letter.timestamp_ms,
            "reason": letter.reason,
            "code": letter.code,
            "rows": entry.rows,
            "of_rows": letter.of_rows,
            "tries": entry.tries,
            "failed_at_ms": letter.failed_at_ms,
            "failed_at": failed_at,
            "bytes": letter.omitted_bytes.unwrap_or(letter.payload.as_ref().map_or(0, |payload| payload.len() as u64)),
        }));
    }
    match (context.json, archive.entries().is_empty()) {
        (true, _) => {}
        (false, true) => println!("no dead letters"),
        (false, false) => println!("{table}"),
    }
    context.print_json(&listed)
}

/// `TOPIC/PARTITION/OFFSET`, or the number in the list.
fn find(archive: &Archive, which: &str) -> Result<usize, Failure> {
    let by_number = || which.parse::<usize>().ok().filter(|index| *index < archive.entries().len());
    let by_place = || {
        let (source, offset) = which.rsplit_once('/')?;
        let (topic, partition) = source.rsplit_once('/')?;
        archive.find(&TopicPartition::new(topic, partition.parse().ok()?), offset.parse().ok()?)
    };
    by_number().or_else(by_place).ok_or_else(|| {
        Failure::failed(format!(
            "no dead letter {which}: give TOPIC/PARTITION/OFFSET or a number, as `dead-letter list` shows them"
        ))
    })
}

/// In RFC 3339; a time that no calendar holds in milliseconds.
fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_one_or_a_range() {
        assert_eq!(offsets("42"), Ok((42, 42)));
        assert_eq!((offsets("1..3"), offsets("7..")), (Ok((1, 3)), Ok((7, Offset::MAX))));
        for text in ["", "x", "3..1", "-1", "..3"] {
            assert!(offsets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn since_is_a_moment_or_so_long_ago() {
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(1000));
        assert!(since("2h").unwrap() < since("1h").unwrap());
        assert!(since("yesterday").is_err());
    }
}
