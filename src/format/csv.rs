//! CSV (RFC 4180): a line is a record, its fields are text.

use csv::{ByteRecord, ReaderBuilder};
use serde_json::Value as Tree;

use super::finds::{Finds, Shelf};
use super::plan::Places;
use super::{Decoder, FormatError, Found, Plan, Visitor};
use crate::row::Value;

const FORMAT: &str = "CSV";

/// Reads CSV: one record a line.
#[derive(Debug)]
pub struct CsvDecoder {
    delimiter: u8,
    /// The names of the fields; `None`: each payload begins with them.
    fields: Option<Vec<String>>,
    null: String,
    /// Those of the payload; beyond it for their allocations.
    records: Vec<ByteRecord>,
    /// Where each begins, and whether its quotes are in pairs.
    begins: Vec<(usize, bool)>,
    header: Vec<String>,
    shelf: Shelf,
}

impl CsvDecoder {
    /// Fields with these names, or with those of each payload's first line; commas between them, and no value where one
    /// is empty.
    pub fn new(fields: Option<Vec<String>>) -> Self {
        Self {
            delimiter: b',',
            fields,
            null: String::new(),
            records: Vec::new(),
            begins: Vec::new(),
            header: Vec::new(),
            shelf: Shelf::default(),
        }
    }

    /// With another character between fields.
    #[must_use]
    pub fn delimiter(self, delimiter: u8) -> Self {
        Self { delimiter, ..self }
    }

    /// Where a field reads so there is no value.
    #[must_use]
    pub fn null(self, null: String) -> Self {
        Self { null, ..self }
    }

    /// Reads all lines; how many they are.
    fn read(&mut self, payload: &[u8]) -> Result<usize, FormatError> {
        let mut reader =
            ReaderBuilder::new().delimiter(self.delimiter).has_headers(false).flexible(true).from_reader(payload);
        self.begins.clear();
        loop {
            let lines = self.begins.len();
            if lines == self.records.len() {
                self.records.push(ByteRecord::new());
            }
            let is_read = reader.read_byte_record(&mut self.records[lines]);
            if !is_read.map_err(|error| FormatError::new(FORMAT, None, error))? {
                return Ok(lines);
            }
            let begin = self.records[lines].position().map_or(0, |position| position.byte() as usize);
            let line = &payload[begin..reader.position().byte() as usize];
            // The library takes a quote without its end, and with it all lines behind.
            let quotes = line.iter().filter(|byte| **byte == b'"').count();
            self.begins.push((begin, quotes.is_multiple_of(2)));
        }
    }
}

impl Decoder for CsvDecoder {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let lines = self.read(payload)?;
        let Self { records, begins, fields, header, null, shelf, .. } = self;
        let mut first = 0;
        let names = match (fields, records[..lines].first()) {
            (_, None) => return Err(FormatError::new(FORMAT, Some(0), "a payload without a line")),
            (Some(fields), _) => fields,
            (None, Some(names)) => {
                first = 1;
                header.clear();
                header.extend(names.iter().map(|name| String::from_utf8_lossy(name).into_owned()));
                header
            }
        };
        for line in first..lines {
            let (begin, is_quoted_well) = begins[line];
            let record = &records[line];
            let reason = match record.len() {
                _ if !is_quoted_well => "a quote without its end".to_owned(),
                count if count != names.len() => format!("{count} fields, where {} are expected", names.len()),
                _ => match record.iter().find_map(|field| std::str::from_utf8(field).err()) {
                    Some(_) => "text that is not UTF-8".to_owned(),
                    None => {
                        hand_out(names, record, null, plan, shelf, visitor);
                        continue;
                    }
                },
            };
            let error = FormatError::new(FORMAT, Some(begin), reason);
            if lines - first == 1 {
                return Err(error);
            }
            visitor.broken(error);
        }
        Ok(())
    }
}

fn hand_out<'p>(
    names: &[String],
    record: &'p ByteRecord,
    null: &str,
    plan: &Plan,
    shelf: &mut Shelf,
    visitor: &mut dyn Visitor<'p>,
) {
    let fields = || {
        let texts = record.iter().map(|field| std::str::from_utf8(field).unwrap_or_default());
        names.iter().zip(texts).filter(|(_, text)| *text != null)
    };
    let (mut found, element) = shelf.take(plan);
    let mut finds = shelf.record(plan, &mut found);
    let mut before = Finds::first_of(Places::ROOT);
    for (name, text) in fields() {
        let guess = finds.guess(before);
        if let Some((child, node)) = plan.record.child(Places::ROOT, name.as_bytes(), guess) {
            before = finds.followed(before, guess, child, node);
            finds.put_single(node, || Found::Value(Value::Text(text.into())));
        }
    }
    finds.put_object(Places::ROOT, || fields().map(|(name, text)| (name.clone(), Tree::from(text))).collect());
    if visitor.record(&found) {
        visitor.end(&found);
    }
    shelf.keep(found, element);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::collect::{Handed, collect, plan_of, records, value};

    fn headed() -> CsvDecoder {
        CsvDecoder::new(None)
    }

    #[test]
    fn lines_are_records_of_text() {
        let payload = b"ts,\"a \"\"b\"\"\",c\r\n1,\"x,y\",\r\n\r\n2,\"line\nbreak\",\"\"\n";
        let found = records(&mut headed(), payload, &plan_of(&["c", "ts", "a \"b\"", "none", "/ts/x"]));
        let expected = |ts, text| [Found::MISSING, value(ts), value(text), Found::MISSING, Found::MISSING].to_vec();
        assert_eq!(found, [expected("1", "x,y"), expected("2", "line\nbreak")]);
    }

    #[test]
    fn what_python_wrote_is_read() {
        let payload = include_bytes!("../../tests/fixtures/formats/readings-python.csv");
        let plan = plan_of(&["ts", "a;b", "say \"x\"", "empty"]);
        let found = records(&mut headed().delimiter(b';'), payload, &plan);
        let expected = |ts, first, second| [value(ts), value(first), value(second), Found::MISSING];
        let first = expected("1764547200000", "x;y", "he said \"no\"");
        assert_eq!(found, [first, expected("1764547200001", "two\nlines", "Zürich")]);
    }

    #[test]
    fn names_delimiter_and_null_are_settings() {
        let fields = Some(vec!["ts".to_owned(), "v".to_owned()]);
        let mut decoder = CsvDecoder::new(fields).delimiter(b';').null("NA".to_owned());
        let found = records(&mut decoder, b"1;NA\n2;\n", &plan_of(&["ts", "v", ".*"]));
        let tree = |tree| Found::Tree(tree);
        assert_eq!(found[0], [value("1"), Found::MISSING, tree(serde_json::json!({"ts": "1"}))]);
        assert_eq!(found[1], [value("2"), value(""), tree(serde_json::json!({"ts": "2", "v": ""}))]);
    }

    #[test]
    fn a_bad_line_is_one_bad_record() {
        let plan = plan_of(&["b"]);
        let handed = collect(&mut headed(), b"a,b\n1,2\n3\n4,5,6\n7,\xff\n8,9\n", &plan).unwrap();
        let broken = |reason: &str| Handed::Broken(format!("not CSV at byte {reason}"));
        let expected = [
            Handed::Record(vec![value("2")]),
            Handed::End,
            broken("8: 1 fields, where 2 are expected"),
            broken("10: 3 fields, where 2 are expected"),
            broken("16: text that is not UTF-8"),
            Handed::Record(vec![value("9")]),
            Handed::End,
        ];
        assert_eq!(handed, expected);
        let handed = collect(&mut headed(), b"a,b\n1,2\n3,\"4\n5,6\n", &plan).unwrap();
        assert_eq!(handed[2], broken("8: a quote without its end"));
        // The only line: the payload is bad.
        assert!(collect(&mut headed(), b"a,b\n1\n", &plan).is_err());
        assert!(collect(&mut headed(), b"", &plan).is_err());
        // No line is no record, and no fault.
        assert_eq!(collect(&mut headed(), b"a,b\n", &plan), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn what_the_library_writes_is_read_as_it_was(
            rows in prop::collection::vec(prop::collection::vec("[a-z\",\r\n;é]{0,8}", 3), 1..6), delimiter in ",|;|\t",
        ) {
            let delimiter = delimiter.as_bytes()[0];
            let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
            rows.iter().for_each(|row| writer.write_record(row).unwrap());
            let payload = writer.into_inner().unwrap();
            let fields = ["a", "b", "c"].map(str::to_owned).into();
            let mut decoder = CsvDecoder::new(Some(fields)).delimiter(delimiter).null("null".to_owned());
            let found = records(&mut decoder, &payload, &plan_of(&["a", "b", "c"]));
            let expected: Vec<Vec<_>> =
                rows.iter().map(|row| row.iter().map(|text| value(text.as_str())).collect()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, text in "[a,\"\n]{0,30}") {
            for payload in [&bytes, text.as_bytes()] {
                let _ = collect(&mut headed(), payload, &plan_of(&["a"]));
            }
        }
    }
}
