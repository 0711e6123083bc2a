//! The records inside a batch, decompressed as far as needed: only lookups by time come here.

use std::io::{self, BufReader, Cursor, Read};

use super::batch::{BatchHeader, HEADER_BYTES};

/// What one batch may hold decompressed; beyond it the batch is taken for broken.
const MAX_BYTES: u64 = 256 << 20;
/// Snappy as Java clients frame it: this, two version numbers, then blocks with their lengths.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;

/// Offset and timestamp of the first record of `batch` at or after `time` (milliseconds since 1970). `None`: not a batch. If the
/// records cannot be read it is the batch's first: a reader that starts there misses nothing.
pub(crate) fn offset_at_time(batch: &[u8], time: i64) -> Option<(i64, i64)> {
    let header = BatchHeader::read(batch)?;
    let first = (header.base_offset, header.base_timestamp);
    if time <= header.base_timestamp {
        return Some(first);
    }
    let Ok(records) = decompressed(header.compression(), batch.get(HEADER_BYTES..)?) else { return Some(first) };
    let found = Records { records: BufReader::new(records.take(MAX_BYTES)), left: header.record_count }
        .map(|(offset, timestamp)| {
            (header.base_offset.saturating_add(offset), header.base_timestamp.saturating_add(timestamp))
        })
        .find(|(_, timestamp)| *timestamp >= time);
    Some(found.unwrap_or(first))
}

/// Offset and timestamp of the first record of `batch` that has the largest timestamp.
pub(crate) fn offset_of_max_time(batch: &[u8]) -> Option<(i64, i64)> {
    offset_at_time(batch, BatchHeader::read(batch)?.max_timestamp)
}

fn decompressed(compression: i16, records: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match compression {
        0 => Box::new(records),
        1 => Box::new(flate2::read::GzDecoder::new(records)),
        2 => Box::new(Cursor::new(unsnap(records)?)),
        3 => Box::new(lz4_flex::frame::FrameDecoder::new(records)),
        4 => Box::new(ruzstd::decoding::StreamingDecoder::new(records).map_err(io::Error::other)?),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    })
}

fn unsnap(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut append = |block: &[u8]| -> io::Result<()> {
        let bytes = out.len() + snap::raw::decompress_len(block)?;
        if bytes as u64 > MAX_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        out.append(&mut snap::raw::Decoder::new().decompress_vec(block)?);
        Ok(())
    };
    if !records.starts_with(XERIAL_MAGIC) {
        append(records)?;
        return Ok(out);
    }
    let mut rest = records.get(XERIAL_HEADER_BYTES..).unwrap_or_default();
    while let Some((length, blocks)) = rest.split_first_chunk() {
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(io::Error::other)?;
        let (block, following) = blocks.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        append(block)?;
        rest = following;
    }
    Ok(out)
}

/// Offset and timestamp of each record, relative to those of its batch.
struct Records<R> {
    records: R,
    left: i32,
}

impl<R: Read> Iterator for Records<R> {
    type Item = (i64, i64);

    fn next(&mut self) -> Option<(i64, i64)> {
        self.left = self.left.checked_sub(1).filter(|left| *left >= 0)?;
        let length = u64::try_from(varint(&mut self.records)?).ok()?;
        let mut record = self.records.by_ref().take(length);
        let _attributes = byte(&mut record)?;
        let timestamp = varint(&mut record)?;
        let offset = varint(&mut record)?;
        io::copy(&mut record, &mut io::sink()).ok()?;
        Some((offset, timestamp))
    }
}

fn byte(reader: &mut impl Read) -> Option<u8> {
    let mut byte = [0];
    reader.read_exact(&mut byte).ok()?;
    Some(byte[0])
}

/// A zigzag number of at most ten bytes.
fn varint(reader: &mut impl Read) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(reader)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn put_varint(out: &mut Vec<u8>, value: i64) {
        let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while zigzag >= 0x80 {
            out.push(u8::try_from(zigzag & 0x7f).unwrap() | 0x80);
            zigzag >>= 7;
        }
        out.push(u8::try_from(zigzag).unwrap());
    }

    /// A batch at offset 100 whose records have these timestamps.
    fn batch(compression: i16, timestamps: &[i64]) -> Vec<u8> {
        let mut records = Vec::new();
        for (offset, timestamp) in timestamps.iter().enumerate() {
            let mut record = vec![0];
            put_varint(&mut record, timestamp - timestamps[0]);
            put_varint(&mut record, i64::try_from(offset).unwrap());
            record.extend([1, 10, b'v', b'a', b'l', b'u', b'e', 0]);
            put_varint(&mut records, i64::try_from(record.len()).unwrap());
            records.append(&mut record);
        }
        let records = match compression {
            0 => records,
            1 => {
                let mut gzip = flate2::read::GzEncoder::new(&records[..], flate2::Compression::fast());
                let mut out = Vec::new();
                gzip.read_to_end(&mut out).unwrap();
                out
            }
            2 => snap::raw::Encoder::new().compress_vec(&records).unwrap(),
            3 => {
                let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
                io::Write::write_all(&mut lz4, &records).unwrap();
                lz4.finish().unwrap()
            }
            _ => ruzstd::encoding::compress_to_vec(&records[..], ruzstd::encoding::CompressionLevel::Fastest),
        };
        let mut out = Vec::new();
        out.put_i64(100);
        out.put_i32(i32::try_from(HEADER_BYTES - 12 + records.len()).unwrap());
        out.put_i32(0);
        out.put_i8(2);
        out.put_u32(0);
        out.put_i16(compression);
        out.put_i32(i32::try_from(timestamps.len()).unwrap() - 1);
        out.put_i64(timestamps[0]);
        out.put_i64(*timestamps.iter().max().unwrap());
        out.put_i64(-1);
        out.put_i16(-1);
        out.put_i32(-1);
        out.put_i32(i32::try_from(timestamps.len()).unwrap());
        out.extend(records);
        out
    }

    proptest! {
        #[test]
        fn the_first_record_at_or_after_a_time_is_found(
            timestamps in proptest::collection::vec(0..1_000_000_000_000_i64, 1..50),
            compression in 0..5_i16,
        ) {
            let batch = batch(compression, &timestamps);
            for time in &timestamps {
                let expected = timestamps.iter().position(|timestamp| timestamp >= time).unwrap();
                let expected = (100 + i64::try_from(expected).unwrap(), timestamps[expected]);
                prop_assert_eq!(offset_at_time(&batch, *time), Some(expected));
            }
            let latest = *timestamps.iter().max().unwrap();
            prop_assert_eq!(offset_of_max_time(&batch).unwrap().1, latest);
        }

        #[test]
        fn damaged_records_lead_to_some_offset_of_the_batch_or_before(
            compression in 0..5_i16,
            at in HEADER_BYTES..200,
            byte in any::<u8>(),
        ) {
            let mut batch = batch(compression, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            let at = at.min(batch.len() - 1);
            batch[at] = byte;
            prop_assert!(offset_at_time(&batch, 10).is_some());
        }
    }

    #[test]
    fn snappy_framed_by_java_is_read() {
        let plain = batch(0, &[5, 6, 7]);
        let (head, records) = plain.split_at(HEADER_BYTES);
        let mut framed = head.to_vec();
        framed[22] = 2;
        framed.extend([XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat());
        for half in [&records[..20], &records[20..]] {
            let block = snap::raw::Encoder::new().compress_vec(half).unwrap();
            framed.put_u32(u32::try_from(block.len()).unwrap());
            framed.extend(block);
        }
        assert_eq!(offset_at_time(&framed, 7), Some((102, 7)));
    }
}
