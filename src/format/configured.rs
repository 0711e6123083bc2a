//! Decoders as a configuration asks for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::registry::{Compile, Registry, RegistrySettings, Source};
use super::{
    AvroDecoder, AvroSchema, Compression, CsvDecoder, Decoder, JsonDecoder, LineDecoder, MsgPackDecoder,
    ProtobufDecoder, ProtobufSchema, Unpacking,
};
use crate::config::Secret;
use crate::mapping::config::FormatConfig;
use crate::row::Precision;

/// Makes a decoder for each worker.
pub type DecoderFactory = Arc<dyn Fn() -> Box<dyn Decoder> + Send + Sync>;

/// What reads payloads as `config` says; files that it names are looked for in `folder`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn decoder(config: &FormatConfig, folder: &Path) -> Result<DecoderFactory, String> {
    let kind = config.kind.as_deref().ok_or_else(|| format!("type is missing: write one of {KINDS}"))?;
    only_for(kind, config)?;
    let inner = match kind {
        "json" if config.lines == Some(true) => factory(JsonDecoder::of_lines),
        "json" => factory(JsonDecoder::new),
        "msgpack" => factory(MsgPackDecoder::new),
        "csv" => csv(config)?,
        "line" => line(config)?,
        "avro" => avro(config, folder)?,
        "protobuf" => protobuf(config, folder)?,
        other => return Err(format!("type {other:?} is none of {KINDS}")),
    };
    let compression = match config.compression.as_deref() {
        None | Some("auto") => Compression::Auto,
        Some("gzip") => Compression::Gzip,
        Some("zstd") => Compression::Zstd,
        Some("none") => return Ok(inner),
        Some(other) => return Err(format!("compression {other:?} is none of auto, gzip, zstd, none")),
    };
    Ok(Arc::new(move || Box::new(Unpacking::new(compression, inner()))))
}

const KINDS: &str = "json, msgpack, csv, line, avro, protobuf";

fn factory<D: Decoder + 'static>(make: impl Fn() -> D + Send + Sync + 'static) -> DecoderFactory {
    Arc::new(move || Box::new(make()))
}

/// A key that the format does not have would be a mistake without a word.
fn only_for(kind: &str, config: &FormatConfig) -> Result<(), String> {
    let of_schemas = "avro and protobuf";
    let keys = [
        ("lines", config.lines.is_some(), "json"),
        ("delimiter", config.delimiter.is_some(), "csv"),
        ("header", config.header.is_some(), "csv"),
        ("fields", config.fields.is_some(), "csv"),
        ("null", config.null.is_some(), "csv"),
        ("precision", config.precision.is_some(), "line"),
        ("schema", config.schema.is_some(), of_schemas),
        ("registry", config.registry.is_some(), of_schemas),
        ("registry_user", config.registry_user.is_some(), of_schemas),
        ("registry_password_file", config.registry_password_file.is_some(), of_schemas),
        ("message", config.message.is_some(), "protobuf"),
    ];
    let stranger = keys.into_iter().find(|(_, is_there, of)| *is_there && !of.split(" and ").any(|of| of == kind));
    stranger
        .map_or(Ok(()), |(key, _, of)| Err(format!("{key} is a key of {of}, and type is {kind:?}: remove one of them")))
}

fn csv(config: &FormatConfig) -> Result<DecoderFactory, String> {
    let fields = match (config.header, &config.fields) {
        (Some(true), None) => None,
        (None | Some(false), Some(fields)) if fields.is_empty() => return Err("fields has no name in it".to_owned()),
        (None | Some(false), Some(fields)) => Some(fields.clone()),
        (Some(true), Some(_)) => {
            return Err("header = true and fields both name the fields of csv: remove one of them".to_owned());
        }
        (_, None) => {
            return Err("csv needs the names of its fields: write header = true if each message begins with them, \
                        or fields = [\"ts\", ..]"
                .to_owned());
        }
    };
    let delimiter = match config.delimiter.as_deref().unwrap_or(",").as_bytes() {
        [delimiter] if !matches!(delimiter, b'"' | b'\n' | b'\r') => *delimiter,
        _ => {
            return Err("delimiter is one character, as in \",\", \";\" or \"\\t\", and no quote and no end of a line"
                .to_owned());
        }
    };
    let null = config.null.clone().unwrap_or_default();
    Ok(factory(move || CsvDecoder::new(fields.clone()).delimiter(delimiter).null(null.clone())))
}

fn line(config: &FormatConfig) -> Result<DecoderFactory, String> {
    let precision = match config.precision.as_deref() {
        None | Some("ns") => Some(Precision::Nano),
        Some("us") => Some(Precision::Micro),
        Some("ms") => Some(Precision::Milli),
        Some("s") => None,
        Some(other) => return Err(format!("precision {other:?} is none of s, ms, us, ns")),
    };
    Ok(factory(move || LineDecoder::new(precision)))
}

fn avro(config: &FormatConfig, folder: &Path) -> Result<DecoderFactory, String> {
    let (format, compile) = (super::avro::FORMAT, super::avro::compile);
    match schemas(config, folder, format, compile)? {
        Schemas::Registry(registry) => Ok(factory(move || AvroDecoder::of(Source::registry(Arc::clone(&registry))))),
        Schemas::File(path) => {
            let schema = String::from_utf8(read(&path)?).map_err(|_| format!("{} is no text", path.display()))?;
            let schema = AvroSchema::parse(&schema, &[]).map_err(|reason| format!("{} {reason}", path.display()))?;
            let schema = Arc::new(schema);
            Ok(factory(move || AvroDecoder::new(Arc::clone(&schema))))
        }
    }
}

fn protobuf(config: &FormatConfig, folder: &Path) -> Result<DecoderFactory, String> {
    let (format, compile) = (super::protobuf::FORMAT, super::protobuf::compile);
    let message = config.message.clone();
    match schemas(config, folder, format, compile)? {
        Schemas::Registry(registry) => {
            Ok(factory(move || ProtobufDecoder::of(Source::registry(Arc::clone(&registry)), message.clone())))
        }
        Schemas::File(path) => {
            let message =
                message.ok_or("message is missing: write the full name of the type, as in \"package.Reading\"")?;
            let schema = ProtobufSchema::read(&path, &message)?;
            Ok(factory(move || ProtobufDecoder::new(schema.clone())))
        }
    }
}

enum Schemas<S> {
    File(PathBuf),
    Registry(Arc<Registry<S>>),
}

fn schemas<S: Send + Sync + 'static>(
    config: &FormatConfig,
    folder: &Path,
    format: &'static str,
    compile: Compile<S>,
) -> Result<Schemas<S>, String> {
    let url = match (&config.schema, &config.registry) {
        (Some(_), Some(_)) => {
            return Err("schema and registry both say what the schema is: remove one of them".to_owned());
        }
        (None, None) => {
            return Err(
                "the schema is missing: write registry = \"http://HOST:8081\" if messages carry the number of \
                        their schema, or schema = \"FILE\""
                    .to_owned(),
            );
        }
        (Some(schema), None) if config.registry_user.is_none() && config.registry_password_file.is_none() => {
            return Ok(Schemas::File(folder.join(schema)));
        }
        (Some(_), None) => return Err("registry_user and registry_password_file are for a registry".to_owned()),
        (None, Some(url)) => url,
    };
    let user = match (&config.registry_user, &config.registry_password_file) {
        (None, None) => None,
        (Some(user), Some(path)) => {
            let path = folder.join(path);
            let password = String::from_utf8(read(&path)?).map_err(|_| format!("{} is no text", path.display()))?;
            Some((user.clone(), Secret::new(password.trim_end_matches(['\r', '\n']))))
        }
        _ => return Err("registry_user and registry_password_file belong together: write both".to_owned()),
    };
    Ok(Schemas::Registry(Arc::new(Registry::new(RegistrySettings::new(url, user)?, format, compile)?)))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::collect::{plan_of, records, value};

    fn made(text: &str) -> Result<DecoderFactory, String> {
        decoder(&toml::from_str(text).unwrap(), Path::new("."))
    }

    #[test]
    fn each_kind_reads_its_payloads() {
        let cases: [(&str, &[u8]); 7] = [
            ("type = 'json'", br#"{"a":"x"}"#),
            ("type = 'json'\nlines = true\ncompression = 'none'", b"{\"a\":\"x\"}\n"),
            ("type = 'msgpack'", b"\x81\xa1a\xa1x"),
            ("type = 'csv'\nheader = true\ndelimiter = \"\\t\"", b"a\tb\nx\ty"),
            ("type = 'csv'\nfields = ['b', 'a']\nnull = 'NA'", b"NA,x"),
            ("type = 'line'\nprecision = 's'", b"m a=\"x\" 5"),
            ("type = 'json'\ncompression = 'auto'", b"\"not an object\""),
        ];
        for (config, payload) in cases {
            let mut decoder = made(config).unwrap()();
            let found = records(&mut *decoder, payload, &plan_of(&["a"])).remove(0).remove(0);
            assert!(found == value("x") || !found.is_there() && config.contains("auto"), "{config}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_to_write() {
        for (config, told) in [
            ("", "type is missing: write one of json, msgpack"),
            ("type = 'xml'", "\"xml\" is none of json"),
            ("type = 'json'\ncompression = 'lz4'", "\"lz4\" is none of auto, gzip, zstd, none"),
            ("type = 'json'\ndelimiter = ';'", "delimiter is a key of csv, and type is \"json\""),
            ("type = 'csv'", "write header = true"),
            ("type = 'csv'\nheader = false", "or fields = [\"ts\", ..]"),
            ("type = 'csv'\nheader = true\nfields = ['a']", "remove one of them"),
            ("type = 'csv'\nfields = []", "fields has no name"),
            ("type = 'csv'\nheader = true\ndelimiter = ';;'", "delimiter is one character"),
            ("type = 'line'\nprecision = 'm'", "\"m\" is none of s, ms, us, ns"),
            ("type = 'line'\nschema = 'x.avsc'", "schema is a key of avro and protobuf"),
            ("type = 'avro'\nmessage = 'x'", "message is a key of protobuf"),
            ("type = 'avro'", "write registry = "),
            ("type = 'avro'\nschema = 'a'\nregistry = 'http://h'", "remove one of them"),
            ("type = 'avro'\nschema = 'no-such.avsc'", "no-such.avsc cannot be read"),
            ("type = 'avro'\nschema = 'Cargo.toml'", "Cargo.toml is no Avro schema"),
            ("type = 'avro'\nschema = 'a'\nregistry_user = 'u'", "are for a registry"),
            ("type = 'avro'\nregistry = 'http://h'\nregistry_user = 'u'", "belong together"),
            ("type = 'avro'\nregistry = 'h:8081'", "write it as http://HOST:8081"),
            ("type = 'avro'\nregistry = 'http://u:p@h'", "write registry_user"),
            ("type = 'protobuf'\nschema = 'Cargo.toml'", "message is missing"),
            ("type = 'protobuf'\nschema = 'Cargo.toml'\nmessage = 'a.B'", "Cargo.toml is no descriptor set"),
            ("type = 'protobuf'\nschema = 'x.proto'\nmessage = 'a.B'", "x.proto cannot be compiled"),
        ] {
            let error = made(config).err().unwrap_or_default();
            assert!(error.contains(told), "{config}: {error}");
        }
    }
}
