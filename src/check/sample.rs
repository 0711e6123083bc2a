//! A few messages, and what the mapping makes of them: times, dead letters, the order of a table's rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Findings;
use crate::message::{Message, TopicPartition};
use crate::preview::Previewed;
use crate::row::{Precision, Timestamp, Value};

/// Messages, and what each becomes where times are kept in nanoseconds.
#[derive(Debug, Default)]
pub struct SampleFacts {
    messages: u64,
    rows: u64,
    dropped: u64,
    dead: Vec<String>,
    times: Option<(Timestamp, Timestamp)>,
    /// The first with digits beyond milliseconds, and beyond microseconds.
    beyond_milli: Option<Timestamp>,
    beyond_micro: Option<Timestamp>,
    /// Where the rows of each table come from.
    tables: BTreeMap<String, BTreeSet<TopicPartition>>,
}

/// A bound for what is held of the sample.
const MOST_TABLES: usize = 100_000;

impl SampleFacts {
    /// Takes a message in, and what it becomes.
    pub fn add(&mut self, message: &Message, previewed: &Previewed) {
        self.messages += 1;
        self.dropped += u64::from(previewed.dropped);
        let place = || format!("{} offset {}", message.source, message.offset);
        self.dead.extend(previewed.faults.iter().map(|(_, reason)| format!("{}: {reason}", place())));
        for row in &previewed.rows {
            self.rows += 1;
            if self.tables.len() < MOST_TABLES || self.tables.contains_key(&row.table) {
                self.tables.entry(row.table.clone()).or_default().insert(message.source.clone());
            }
            let Some(Value::Timestamp(time)) = row.columns.iter().next().map(|cell| &cell.value) else { continue };
            let (first, last) = self.times.unwrap_or((*time, *time));
            self.times = Some((first.min(*time), last.max(*time)));
            if time.subsec_nanos() % 1_000_000 != 0 {
                self.beyond_milli.get_or_insert(*time);
            }
            if time.subsec_nanos() % 1_000 != 0 {
                self.beyond_micro.get_or_insert(*time);
            }
        }
    }
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Judges a sample at `now`. `database` is the precision of the database and its KEEP, if it is known; `sets_aside`
/// whether there is a place for dead letters.
pub fn judge_sample(
    facts: &SampleFacts,
    database: Option<(Precision, Option<Duration>)>,
    sets_aside: bool,
    now: Timestamp,
    findings: &mut Findings,
) {
    if facts.messages == 0 {
        return findings.info("sample-empty", "there are no messages to look at");
    }
    let text =
        format!("of {} messages come {} rows, {} are dropped by a rule", facts.messages, facts.rows, facts.dropped);
    findings.info("sample", text);
    if let Some(first) = facts.dead.first() {
        let message = format!("{} of them or of their rows cannot be written; the first: {first}", facts.dead.len());
        let fix = "correct the mapping: preview shows each of them";
        match facts.rows {
            0 => findings.error("sample-dead-letters", message, fix),
            _ => findings.warning("sample-dead-letters", message, fix),
        }
    }
    if let Some((table, sources)) = facts.tables.iter().find(|(_, sources)| sources.len() > 1) {
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        findings.warning(
            "table-in-partitions",
            format!(
                "rows of one table come from several partitions ({table}: {}): rows of one timestamp may overwrite each other in any order",
                sources.join(" ")
            ),
            "let producers send the messages of a device with one key",
        );
    }
    let Some((first, last)) = facts.times else { return };
    let apart = |later: Timestamp, earlier: Timestamp| {
        Duration::from_secs(u64::try_from(later.seconds().saturating_sub(earlier.seconds())).unwrap_or(0))
    };
    if apart(now, first) > 40 * YEAR || apart(last, now) > 40 * YEAR {
        findings.error(
            "timestamp-unit",
            format!("times reach from {} to {}: their unit is another one", shown(first), shown(last)),
            "set unit of the timestamp: s for 10 digits, ms for 13, us for 16, ns for 19",
        );
        return;
    }
    let Some((precision, keep)) = database else { return };
    let beyond = match precision {
        Precision::Milli => facts.beyond_milli,
        Precision::Micro => facts.beyond_micro,
        Precision::Nano => None,
    };
    if let Some(time) = beyond {
        findings.warning(
            "precision",
            format!("times have digits beyond {precision} (the first: {}): they are cut, and rows that differ in them alone overwrite each other", shown(time)),
            format!("a database with precision 'us' or 'ns' keeps them; {precision} cannot be changed afterwards"),
        );
    }
    if let Some(keep) = keep.filter(|keep| apart(now, first) > *keep) {
        let days = keep.as_secs() / 86_400;
        let what = if sets_aside { "goes to the dead letters" } else { "stops the consumer" };
        findings.error(
            "keep",
            format!("the oldest row is of {}, and the database keeps {days} days: TDengine refuses it (0x060B), and it {what}", shown(first)),
            format!("alter database .. keep {}, or begin later (--offset)", apart(now, first).as_secs() / 86_400 + 31),
        );
    }
}

fn shown(time: Timestamp) -> String {
    crate::tdengine::rows::cell_text(&Value::Timestamp(time), None, Precision::Nano).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::Severity::{self, Error, Info, Warning};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

    fn facts(times: &[Timestamp]) -> SampleFacts {
        let mut facts = SampleFacts { messages: 1, rows: times.len() as u64, ..SampleFacts::default() };
        facts.times = times.iter().min().copied().zip(times.iter().max().copied());
        facts.beyond_milli = times.iter().find(|time| time.subsec_nanos() % 1_000_000 != 0).copied();
        facts
    }

    fn judged(facts: &SampleFacts, keep_days: u64) -> Vec<(&'static str, Severity)> {
        let mut findings = Findings::default();
        let keep = Some(Duration::from_secs(keep_days * 86_400));
        judge_sample(facts, Some((Precision::Milli, keep)), true, NOW, &mut findings);
        findings.codes()
    }

    #[test]
    fn times_are_held_against_the_database() {
        let old = Timestamp::new(NOW.seconds() - 20 * 86_400, 0);
        assert_eq!(judged(&facts(&[old]), 30), [("sample", Info)]);
        assert_eq!(judged(&facts(&[old]), 10), [("sample", Info), ("keep", Error)]);
        let fine = Timestamp::new(NOW.seconds(), 1_000);
        assert_eq!(judged(&facts(&[fine]), 10), [("sample", Info), ("precision", Warning)]);
        // Seconds read as milliseconds, and the other way round.
        for wrong in [Timestamp::from_millis(1_764_547_200), Timestamp::new(1_764_547_200_000, 0)] {
            assert_eq!(judged(&facts(&[wrong]), 10), [("sample", Info), ("timestamp-unit", Error)]);
        }
        assert_eq!(judged(&SampleFacts::default(), 10), [("sample-empty", Info)]);
    }

    #[test]
    fn dead_letters_and_scattered_tables_are_told() {
        let mut sample = facts(&[NOW]);
        sample.dead.push("t/0 offset 3: bad".into());
        let of = |partition| TopicPartition::new("t", partition);
        sample.tables.insert("d1".into(), [of(0), of(1)].into());
        let codes = [("sample", Info), ("sample-dead-letters", Warning), ("table-in-partitions", Warning)];
        assert_eq!(judged(&sample, 10), codes);
        sample.rows = 0;
        assert_eq!(judged(&sample, 10)[1], ("sample-dead-letters", Error));
    }
}
