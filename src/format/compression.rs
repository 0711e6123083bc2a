//! Payloads that were compressed by themselves, inside of what Kafka compresses.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use zstd::zstd_safe::DCtx;

use super::{Decoder, FormatError, Plan, Visitor};

/// A payload that unpacks to more is refused.
pub const MAX_UNPACKED_BYTES: usize = 64 << 20;

/// As much of the buffer is kept between payloads.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// Two to this many bytes are held back of what zstd has unpacked: all that a payload may have.
const MAX_WINDOW_LOG: u32 = 26;

/// How payloads are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// By gzip or zstd, or not: recognised by a payload's first bytes.
    Auto,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// Of a payload that may be anything.
    fn recognise(payload: &[u8]) -> Option<Self> {
        match payload {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Unpacks payloads for another decoder.
pub struct Unpacking {
    compression: Compression,
    inner: Box<dyn Decoder>,
    buffer: Vec<u8>,
    zstd: DCtx<'static>,
    max_bytes: usize,
}

impl Unpacking {
    /// Of payloads that `inner` reads when they are unpacked.
    pub fn new(compression: Compression, inner: Box<dyn Decoder>) -> Self {
        Self { compression, inner, buffer: Vec::new(), zstd: DCtx::create(), max_bytes: MAX_UNPACKED_BYTES }
    }

    fn unpack(&mut self, compression: Compression, payload: &[u8]) -> Result<(), FormatError> {
        self.buffer.clear();
        self.buffer.shrink_to(MAX_KEPT_BYTES);
        let limit = self.max_bytes as u64 + 1;
        let (format, read) = match compression {
            Compression::Zstd => {
                let mut reader = zstd::Decoder::with_context(payload, &mut self.zstd);
                let is_set = reader.window_log_max(MAX_WINDOW_LOG);
                ("zstd", is_set.and_then(|()| reader.take(limit).read_to_end(&mut self.buffer)))
            }
            _ => ("gzip", MultiGzDecoder::new(payload).take(limit).read_to_end(&mut self.buffer)),
        };
        match read {
            Err(error) => Err(FormatError::new(format, None, error)),
            Ok(bytes) if bytes > self.max_bytes => Err(FormatError::new(
                format,
                None,
                format_args!("more than {} bytes when it is unpacked", self.max_bytes),
            )),
            Ok(_) => Ok(()),
        }
    }
}

impl Decoder for Unpacking {
    fn decode<'p>(
        &'p mut self,
        payload: &'p [u8],
        plan: &Plan,
        visitor: &mut dyn Visitor<'p>,
    ) -> Result<(), FormatError> {
        let is_certain = self.compression != Compression::Auto;
        let compression = if is_certain { Some(self.compression) } else { Compression::recognise(payload) };
        match compression.map(|compression| self.unpack(compression, payload)) {
            None => self.inner.decode(payload, plan, visitor),
            Some(Ok(())) => self.inner.decode(&self.buffer, plan, visitor),
            // A binary format may begin so by chance.
            Some(Err(error)) if !is_certain => self.inner.decode(payload, plan, visitor).map_err(|_| error),
            Some(Err(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::format::collect::{collect, plan_of, records, value};
    use crate::format::{JsonDecoder, MsgPackDecoder};

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    /// As a producer that streams does it: the size is not told ahead.
    fn zstd_of_unknown_size(bytes: &[u8]) -> Vec<u8> {
        let mut writer = zstd::Encoder::new(Vec::new(), 3).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn json(compression: Compression) -> Unpacking {
        Unpacking::new(compression, Box::new(JsonDecoder::new()))
    }

    #[test]
    fn a_payload_is_recognised_by_its_first_bytes() {
        let plain = br#"{"a":"some text"}"#;
        let (head, tail) = plain.split_at(7);
        let payloads = [
            plain.to_vec(),
            gzip(plain),
            zstd::encode_all(&plain[..], 3).unwrap(),
            zstd_of_unknown_size(plain),
            [gzip(head), gzip(tail)].concat(),
            [zstd_of_unknown_size(head), zstd_of_unknown_size(tail)].concat(),
        ];
        let mut decoder = json(Compression::Auto);
        for payload in payloads.iter().chain(payloads.iter().rev()) {
            assert_eq!(records(&mut decoder, payload, &plan_of(&["a"])), [[value("some text")]]);
        }
        for (compression, payload) in [(Compression::Gzip, 1), (Compression::Zstd, 2)] {
            let mut decoder = json(compression);
            assert_eq!(records(&mut decoder, &payloads[payload], &plan_of(&["a"])), [[value("some text")]]);
            assert!(collect(&mut decoder, plain, &plan_of(&["a"])).is_err());
        }
    }

    #[test]
    fn what_python_compressed_is_read() {
        let gzip = &include_bytes!("../../tests/fixtures/formats/reading-python.json.gz")[..];
        let zstd = &include_bytes!("../../tests/fixtures/formats/reading-python.json.zst")[..];
        for payload in [gzip, zstd] {
            let found = records(&mut json(Compression::Auto), payload, &plan_of(&["/site/name"]));
            assert_eq!(found, [[value("Zürich")]]);
        }
    }

    #[test]
    fn what_only_looks_compressed_is_read_as_it_is() {
        let fields = Some(vec!["a".to_owned()]);
        let mut decoder = Unpacking::new(Compression::Auto, Box::new(crate::format::CsvDecoder::new(fields)));
        assert!(collect(&mut decoder, b"\x28\xb5\x2f\xfd", &plan_of(&["a"])).unwrap_err().to_string().contains("zstd"));
        let mut decoder = Unpacking::new(Compression::Auto, Box::new(MsgPackDecoder::new()));
        let error = collect(&mut decoder, b"\x1f\x8b\x08", &plan_of(&["a"])).unwrap_err().to_string();
        assert!(error.starts_with("not gzip"), "{error}");
    }

    #[test]
    fn a_bomb_is_refused() {
        let plain = format!("\"{}\"", "x".repeat(5000));
        for payload in [gzip(plain.as_bytes()), zstd_of_unknown_size(plain.as_bytes())] {
            let mut decoder = json(Compression::Auto);
            decoder.max_bytes = 5001;
            let error = collect(&mut decoder, &payload, &plan_of(&["."])).unwrap_err().to_string();
            assert!(error.contains("more than 5001 bytes"), "{error}");
            assert!(decoder.buffer.len() <= 5002);
            decoder.max_bytes = 5002;
            assert!(collect(&mut decoder, &payload, &plan_of(&["."])).is_ok());
        }
    }

    proptest! {
        #[test]
        fn damaged_payloads_are_errors_or_survived(text in "[a-z]{0,60}", at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
            let plain = format!("{{\"a\":\"{text}\"}}");
            for whole in [gzip(plain.as_bytes()), zstd_of_unknown_size(plain.as_bytes())] {
                let mut decoder = json(Compression::Auto);
                prop_assert!(collect(&mut decoder, &whole[..cut.index(whole.len())], &plan_of(&["a"])).is_err());
                let mut changed = whole.clone();
                let at = at.index(changed.len());
                changed[at] = byte;
                let _ = collect(&mut decoder, &changed, &plan_of(&["a"]));
                prop_assert_eq!(records(&mut decoder, &whole, &plan_of(&["a"])), [[value(text.as_str())]]);
            }
        }
    }
}
