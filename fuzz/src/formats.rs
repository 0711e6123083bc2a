//! Payloads of every format that a mapping reads, and the schemas of those that have some.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kafka_taos::format::{
    AvroDecoder, AvroSchema, Compression, CsvDecoder, Decoder, FormatError, Found, JsonDecoder, LineDecoder,
    MsgPackDecoder, Plan, ProtobufDecoder, ProtobufSchema, Unpacking, Visitor,
};

/// Looks at all that is handed out, in the order that is promised.
#[derive(Default)]
struct Look {
    records: usize,
    broken: usize,
    is_open: bool,
}

impl<'p> Visitor<'p> for Look {
    fn record(&mut self, places: &[Found<'p>]) -> bool {
        assert!(!self.is_open, "a record within a record");
        assert_eq!(places.len(), plan().record.len());
        self.records += 1;
        self.is_open = true;
        let _ = format!("{places:?}");
        true
    }

    fn element(&mut self, array: usize, record: &[Found<'p>], places: &[Found<'p>]) {
        assert!(self.is_open, "an element of no record");
        assert_eq!((record.len(), places.len()), (plan().record.len(), plan().elements[array].len()));
        let _ = format!("{places:?}");
    }

    fn end(&mut self, _: &[Found<'p>]) {
        assert!(self.is_open);
        self.is_open = false;
    }

    fn broken(&mut self, reason: FormatError) {
        assert!(!self.is_open);
        assert!(reason.to_string().len() < 1000);
        self.broken += 1;
    }
}

fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| {
        let mut plan = Plan::default();
        let path = |text: &str| text.parse().expect("a path");
        for (text, whole) in
            [("a", false), ("device", false), ("/site/parent/name", false), ("/rows/0/a", false), (".", true)]
        {
            plan.record.want(&path(text), whole);
        }
        for array in ["rows", "samples"] {
            let (array, _) = plan.want_array(&path(array));
            plan.elements[array].want(&path("v"), false);
            plan.elements[array].want(&path("."), true);
        }
        plan
    })
}

/// Twice: what a decoder has learned changes nothing.
fn read(decoder: &mut dyn Decoder, payload: &[u8]) -> bool {
    let mut looks = [Look::default(), Look::default()];
    let results = looks.each_mut().map(|look| decoder.decode(payload, plan(), look));
    assert_eq!(results[0], results[1]);
    assert_eq!((looks[0].records, looks[0].broken), (looks[1].records, looks[1].broken));
    assert!(!looks[0].is_open);
    if let Err(error) = &results[0] {
        assert_eq!((looks[0].records, looks[0].broken), (0, 0), "handed out before an error");
        assert!(!error.is_transient && error.to_string().len() < 1000);
    }
    results[0].is_ok()
}

/// JSON, alone and by lines. What serde_json reads is read, and what it does not find well formed is not.
pub fn format_json(input: &[u8]) {
    let is_read = read(&mut JsonDecoder::new(), input);
    assert!(is_read || serde_json::from_slice::<serde_json::Value>(input).is_err());
    assert!(!is_read || serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok());
    read(&mut JsonDecoder::of_lines(), input);
}

/// MessagePack.
pub fn format_msgpack(input: &[u8]) {
    read(&mut MsgPackDecoder::new(), input);
}

/// CSV, with a header and without.
pub fn format_csv(input: &[u8]) {
    read(&mut CsvDecoder::new(None), input);
    read(&mut CsvDecoder::new(Some(vec!["a".to_owned(), "b".to_owned()])).delimiter(b';'), input);
}

/// InfluxDB line protocol.
pub fn format_line(input: &[u8]) {
    read(&mut LineDecoder::new(None), input);
}

/// JSON that may be compressed.
pub fn format_compressed(input: &[u8]) {
    read(&mut Unpacking::new(Compression::Auto, Box::new(JsonDecoder::new())), input);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/formats").join(name)
}

/// Avro under a schema with a field of every type.
pub fn format_avro(input: &[u8]) {
    static SCHEMA: OnceLock<std::sync::Arc<AvroSchema>> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let schema = std::fs::read_to_string(fixture("reading.avsc")).expect("a fixture");
        AvroSchema::parse(&schema, &[]).expect("a schema").into()
    });
    read(&mut AvroDecoder::new(schema.clone()), input);
}

/// Protobuf of a type with a field of every type.
pub fn format_protobuf(input: &[u8]) {
    static SCHEMA: OnceLock<ProtobufSchema> = OnceLock::new();
    let schema = SCHEMA
        .get_or_init(|| ProtobufSchema::read(&fixture("reading.desc"), "plant.Reading").expect("a descriptor set"));
    read(&mut ProtobufDecoder::new(schema.clone()), input);
}

/// A schema of Avro, and the first bytes of the schema as a record of it.
pub fn format_schema(input: &[u8]) {
    let Ok(schema) = AvroSchema::parse(&String::from_utf8_lossy(input), &[]) else { return };
    for payload in [&input[..input.len().min(64)], &[0; 32], &[2; 32]] {
        read(&mut AvroDecoder::new(schema.clone().into()), payload);
    }
}
