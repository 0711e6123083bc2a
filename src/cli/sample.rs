//! A few messages to look at: of topics, spread over their partitions, or of a file.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use kafka_taos::message::{Message, Offset, TopicPartition};
use kafka_taos::mq::MqError;
use kafka_taos::mq::kafka::{Admin, Reader};

use super::Failure;
use super::consume::ends;
use super::settings::Settings;

/// Messages are held in memory: so much of them at most, however many were asked for.
const MOST_BYTES: usize = 64 << 20;

/// Which messages of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The first that are still there.
    First,
    /// Half of them the first, half the last: what has changed in between shows.
    FirstAndLast,
}

/// Reads about `count` messages of the settings' topics, spread over the partitions; fewer where there are fewer.
pub(super) async fn of_topics(settings: &Settings, count: usize, which: Which) -> Result<Vec<Message>, Failure> {
    let settings = settings.clone();
    let reading = tokio::task::spawn_blocking(move || read(&settings, count, which));
    reading.await.map_err(|error| Failure::failed(error.to_string()))?
}

fn read(settings: &Settings, count: usize, which: Which) -> Result<Vec<Message>, Failure> {
    let admin = Admin::new(&settings.kafka)?;
    let mut there = Vec::new();
    for (source, _) in ends(settings)? {
        let (first, end) = admin.watermarks(&source, settings.timeout)?;
        there.push((source, first..end));
    }
    there.sort_by(|a, b| a.0.cmp(&b.0));
    let sizes: Vec<_> = there.iter().map(|(_, range)| range.end - range.start).collect();
    let shares = spread(&sizes, i64::try_from(count).unwrap_or(i64::MAX));
    let mut reader = Reader::new(&settings.kafka, settings.group.as_deref().unwrap_or("kafka-taos"))?;
    let mut messages = Vec::new();
    let (firsts, lasts): (Vec<_>, Vec<_>) =
        there.into_iter().zip(shares).map(|(one, share)| part(one, share, which)).unzip();
    take(&mut reader, firsts, &mut messages)?;
    take(&mut reader, lasts, &mut messages)?;
    Ok(messages)
}

type Part = (TopicPartition, Range<Offset>);

/// The ranges at the beginning and at the end of a partition that come to `share` messages.
fn part((source, there): Part, share: i64, which: Which) -> (Part, Part) {
    let late = if which == Which::FirstAndLast { share / 2 } else { 0 };
    let early = there.start..there.start + share - late;
    ((source.clone(), early), (source, there.end - late..there.end))
}

fn take(reader: &mut Reader, parts: Vec<Part>, messages: &mut Vec<Message>) -> Result<(), MqError> {
    let mut bytes: usize = messages.iter().map(Message::weight_bytes).sum();
    reader.read(parts);
    while bytes < MOST_BYTES {
        let Some(message) = reader.read_next()? else { break };
        bytes += message.weight_bytes();
        messages.push(message);
    }
    messages.sort_by(|a, b| (&a.source, a.offset).cmp(&(&b.source, b.offset)));
    Ok(())
}

/// Deals `count` out as evenly as what is there allows.
fn spread(sizes: &[i64], count: i64) -> Vec<i64> {
    let mut shares = vec![0; sizes.len()];
    let mut left = count;
    while left > 0 {
        let open: Vec<usize> = (0..sizes.len()).filter(|&at| shares[at] < sizes[at]).collect();
        if open.is_empty() {
            break;
        }
        let each = (left / open.len() as i64).max(1);
        for at in open {
            let more = each.min(sizes[at] - shares[at]).min(left);
            shares[at] += more;
            left -= more;
        }
    }
    shares
}

/// The first `count` lines of a file, or of standard input where it is `-`: a message each.
pub(super) fn of_lines(path: &Path, count: usize) -> Result<Vec<Message>, Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let input: Box<dyn BufRead> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(BufReader::new(std::fs::File::open(path).map_err(failed)?)),
    };
    let (mut messages, mut bytes) = (Vec::new(), 0);
    for (line, offset) in input.split(b'\n').zip(0..) {
        let mut line = line.map_err(failed)?;
        line.pop_if(|last| *last == b'\r');
        if messages.len() >= count || bytes > MOST_BYTES {
            break;
        }
        if line.is_empty() {
            continue;
        }
        let message = Message {
            source: TopicPartition::new("input", 0),
            offset,
            timestamp_ms: None,
            key: None,
            payload: Some(Bytes::from(line)),
            headers: Vec::new(),
        };
        bytes += message.weight_bytes();
        messages.push(message);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even_where_there_is_enough() {
        assert_eq!(spread(&[100, 100, 100], 10), [4, 3, 3]);
        assert_eq!(spread(&[100, 2, 0], 10), [8, 2, 0]);
        assert_eq!(spread(&[1, 1], 10), [1, 1]);
        assert_eq!(spread(&[], 10), Vec::<i64>::new());
    }

    #[test]
    fn early_and_late_messages_do_not_overlap() {
        let source = TopicPartition::new("t", 0);
        let ranges = |share, which| {
            let ((_, early), (_, late)) = part((source.clone(), 5..25), share, which);
            (early, late)
        };
        assert_eq!(ranges(7, Which::FirstAndLast), (5..9, 22..25));
        assert_eq!(ranges(20, Which::FirstAndLast), (5..15, 15..25));
        assert_eq!(ranges(7, Which::First), (5..12, 25..25));
    }
}
