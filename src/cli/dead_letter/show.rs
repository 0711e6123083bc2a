//! One dead letter, whole.

use std::fmt::Write as _;

use bytes::Bytes;
use kafka_taos::dead_letter::{Archive, DeadLetter};

use super::super::settings::Settings;
use super::super::{Context, Failure};
use super::time;

pub(super) fn show(
    context: &Context<'_>,
    settings: &Settings,
    mut archive: Archive,
    index: usize,
) -> Result<(), Failure> {
    let letter = archive.letter(index)?;
    // Of a letter that says none: as the settings decode it now.
    let decoded = letter.decoded.clone().or_else(|| settings.rows()().decoded(&letter.clone().into_message()));
    let letter = DeadLetter { tries: archive.entries()[index].tries, decoded, ..letter };
    if !context.json {
        print!("{}", text(&letter));
    }
    context.print_json(&letter)
}

/// For people.
fn text(letter: &DeadLetter) -> String {
    let mut lines = Vec::new();
    let mut say = |name: &str, value: String| lines.push((name.to_owned(), value));
    say("message", format!("{}/{}/{}", letter.topic, letter.partition, letter.offset));
    say("time in Kafka", letter.timestamp_ms.map_or_else(|| "none".to_owned(), time));
    say("failed at", time(letter.failed_at_ms));
    say("tries", letter.tries.to_string());
    say("reason", letter.reason.clone());
    if let Some(code) = &letter.code {
        say("code", code.clone());
    }
    for row in &letter.rows {
        let code = row.code.as_ref().map_or(String::new(), |code| format!(" ({code})"));
        say(&format!("row {}", row.element), format!("{}{code}", row.reason));
        if let Some(sql) = &row.sql {
            say("  as SQL", sql.clone());
        }
    }
    say("key", bytes(letter.key.as_ref()));
    for header in &letter.headers {
        say(&format!("header {}", header.name), bytes(header.value.as_ref()));
    }
    match letter.omitted_bytes {
        Some(bytes) => say("payload", format!("{bytes} bytes, too large to be kept here: it is in its topic")),
        None => say("payload", bytes(letter.payload.as_ref())),
    }
    if let Some(decoded) = &letter.decoded {
        say("decoded", format!("{decoded:#}"));
    }
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        let value = value.replace('\n', &format!("\n{:width$}  ", ""));
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

/// As text where it is text that can be printed, otherwise as hexadecimal digits.
fn bytes(bytes: Option<&Bytes>) -> String {
    let Some(bytes) = bytes else { return "none".to_owned() };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(|c: char| c.is_control() && !c.is_ascii_whitespace()) => text.to_owned(),
        _ => bytes.iter().fold("0x".to_owned(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        }),
    }
}

#[cfg(test)]
mod tests {
    use kafka_taos::dead_letter::DeadRow;
    use kafka_taos::message::{Message, TopicPartition};

    use super::*;

    #[test]
    fn a_letter_is_shown_line_by_line() {
        let message = Message {
            source: TopicPartition::new("t", 0),
            offset: 7,
            timestamp_ms: Some(1000),
            key: Some(Bytes::from_static(b"k")),
            payload: Some(Bytes::from_static(b"\xff\x01")),
            headers: Vec::new(),
        };
        let row = DeadRow { element: 2, reason: "no".into(), code: Some("0x1".into()), sql: Some("insert".into()) };
        let letter = DeadLetter::new(&message, "bad".into(), None, vec![row], 2000);
        let text = text(&letter.with_decoded(Some(serde_json::json!({"a": 1}))));
        assert_eq!(
            text,
            "message        t/0/7\ntime in Kafka  1970-01-01T00:00:01Z\nfailed at      1970-01-01T00:00:02Z\ntries          1\n\
             reason         bad\nrow 2          no (0x1)\n  as SQL       insert\nkey            k\npayload        0xff01\n\
             decoded        {\n                 \"a\": 1\n               }\n"
        );
    }
}
