//! The format of payloads, by their content.

use std::path::Path;

use super::InferError;
use super::profile::records;
use crate::format;
use crate::mapping::config::FormatConfig;

/// The format that reads the most of `payloads`; of equals the one that comes first.
pub(super) fn format(payloads: &[&[u8]]) -> Result<FormatConfig, InferError> {
    let of_all = |test: fn(&[u8]) -> bool| payloads.iter().all(|payload| test(payload));
    if of_all(|payload| payload.starts_with(b"Obj\x01")) {
        return Err(InferError::AvroContainer);
    }
    let candidates = candidates(payloads);
    let reads = |config: &FormatConfig| {
        let mut decoder = format::decoder(config, Path::new("")).ok()?();
        let mut read = |payload: &[u8]| {
            let mut reads = records(&mut *decoder, payload).ok()?;
            reads.retain(|record| record.as_object().is_some_and(|object| !object.is_empty()) || record.is_array());
            (!reads.is_empty()).then_some(())
        };
        Some(payloads.iter().filter_map(|payload| read(payload)).count())
    };
    let mut best: Option<(usize, FormatConfig)> = None;
    for config in candidates {
        let count = reads(&config).unwrap_or(0);
        if count > best.as_ref().map_or(0, |(best, _)| *best) {
            best = Some((count, config));
        }
    }
    match best {
        // A few that cannot be read are what dead letters are for.
        Some((count, config)) if count * 2 > payloads.len() => Ok(config),
        _ if of_all(|payload| payload.len() > 5 && payload[0] == 0) => Err(InferError::Registry),
        _ => {
            let first: String = payloads[0].iter().take(8).map(|byte| format!("{byte:02x} ")).collect();
            Err(InferError::Unknown(format!("the first begins with the bytes {}", first.trim_end())))
        }
    }
}

/// What is tried, in this order: what one reads by accident the ones before have read for good.
fn candidates(payloads: &[&[u8]]) -> Vec<FormatConfig> {
    let of = |kind: &str| FormatConfig { kind: Some(kind.to_owned()), ..FormatConfig::default() };
    let mut all = vec![of("json"), FormatConfig { lines: Some(true), ..of("json") }, of("msgpack")];
    let texts: Vec<&str> = payloads.iter().filter_map(|payload| std::str::from_utf8(payload).ok()).collect();
    if texts.len() * 2 > payloads.len() {
        all.extend(line(&texts).map(|precision| FormatConfig { precision: Some(precision.to_owned()), ..of("line") }));
        all.extend(csv(&texts).map(|csv| FormatConfig { kind: Some("csv".to_owned()), ..csv }));
    }
    all
}

/// The precision of line protocol, by the digits of its times.
fn line(texts: &[&str]) -> Option<&'static str> {
    let first =
        texts.iter().flat_map(|text| text.lines()).find(|line| !line.trim().is_empty() && !line.starts_with('#'))?;
    // At least a measurement and a field.
    let (_, rest) = first.split_once(' ')?;
    rest.contains('=').then_some(())?;
    let digits =
        first.rsplit(' ').next().filter(|last| last.bytes().all(|byte| byte.is_ascii_digit())).map_or(19, str::len);
    Some(match digits {
        ..=11 => "s",
        12..=14 => "ms",
        15..=17 => "us",
        _ => "ns",
    })
}

/// Delimiter, and header or names, of CSV.
fn csv(texts: &[&str]) -> Option<FormatConfig> {
    let lines: Vec<&str> =
        texts.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty()).take(100).collect();
    // What splits all lines alike.
    let counts = |delimiter: char| {
        let mut counts = lines.iter().map(|line| line.matches(delimiter).count());
        let first = counts.next()?;
        (first > 0 && counts.all(|count| count == first)).then_some((first, delimiter))
    };
    let (count, delimiter) = [',', ';', '\t', '|'].into_iter().filter_map(counts).max_by_key(|(count, _)| *count)?;
    let is_number = |field: &str| field.trim().parse::<f64>().is_ok();
    let first_lines: Vec<&str> = texts.iter().filter_map(|text| text.lines().find(|line| !line.is_empty())).collect();
    let is_header = |line: &str| line.split(delimiter).all(|field| !field.trim().is_empty() && !is_number(field));
    // The same names at the beginning of each message, with something below them.
    let has_header = first_lines.windows(2).all(|pair| pair[0] == pair[1])
        && first_lines.first().is_some_and(|line| is_header(line))
        && texts.iter().all(|text| text.lines().filter(|line| !line.is_empty()).count() > 1);
    let delimiter = (delimiter != ',').then(|| delimiter.to_string());
    let fields = (!has_header).then(|| (1..=count + 1).map(|number| format!("c{number}")).collect());
    Some(FormatConfig { delimiter, header: has_header.then_some(true), fields, ..FormatConfig::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(payloads: &[&[u8]]) -> String {
        match format(payloads) {
            Ok(config) => {
                let more = [
                    config.lines.map(|_| "lines".to_owned()),
                    config.header.map(|_| "header".to_owned()),
                    config.delimiter,
                    config.precision,
                    config.fields.map(|fields| fields.join("+")),
                ];
                let more: Vec<_> = more.into_iter().flatten().collect();
                format!("{} {}", config.kind.unwrap(), more.join(" ")).trim_end().to_owned()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn formats_are_told_by_content() {
        assert_eq!(kind(&[b"{\"a\":1}", b"no json", b" {\"a\": 2}"]), "json");
        assert_eq!(kind(&[b"{\"a\":1}\n{\"a\":2}\n"]), "json lines");
        assert_eq!(kind(&[b"\x81\xa1a\x01"]), "msgpack");
        assert_eq!(kind(&[b"m,t=x a=1 1764547200000000000", b"m a=2i,b=\"c d\" 1764547200000000001"]), "line ns");
        assert_eq!(kind(&[b"cpu,h=a v=1 1764547200"]), "line s");
        assert_eq!(kind(&[b"d1,1764547200000,1.5", b"d2,1764547200000,2.5"]), "csv c1+c2+c3");
        assert_eq!(kind(&[b"ts;v\n1;2\n", b"ts;v\n3;4\n5;6"]), "csv header ;");
        let compressed = zstd::encode_all(&b"{\"a\":1}"[..], 1).unwrap();
        assert_eq!(kind(&[&compressed]), "json");
    }

    #[test]
    fn what_needs_a_schema_is_told_what_to_do() {
        assert!(kind(&[b"\0\0\0\0\x07\x02ab", b"\0\0\0\0\x07\x04cd"]).contains("registry"));
        assert!(kind(&[b"Obj\x01abc"]).contains("Avro"));
        assert!(kind(&[b"\xff\xfe\xfd"]).contains("ff fe fd"));
    }
}
