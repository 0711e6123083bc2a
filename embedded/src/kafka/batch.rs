//! A record batch as it travels: header fields, checks, and the two fields a broker sets.
//!
//! Layout: [record batch, magic 2](https://kafka.apache.org/documentation/#recordbatch). The records themselves stay as the
//! producer made them; only lookups by time look inside, in [`super::records`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Base offset and batch length: what stands before the bytes that the length counts.
pub(crate) const PREFIX_BYTES: usize = 12;
/// The checksum covers everything from here on.
const CRC_START: usize = 21;
const COMPRESSION_MASK: i16 = 0b111;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The only leader epoch there is: this broker always leads.
pub(crate) const LEADER_EPOCH: i32 = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub base_offset: i64,
    pub size: usize,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begins with. `None`: not a whole header of magic 2, or a length that cannot be.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<BatchHeader> {
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        let base_offset = bytes.get_i64();
        let size = usize::try_from(bytes.get_i32()).ok()? + PREFIX_BYTES;
        let _leader_epoch = bytes.get_i32();
        let magic = bytes.get_i8();
        let _crc = bytes.get_u32();
        if magic != 2 || size < HEADER_BYTES {
            return None;
        }
        Some(BatchHeader {
            base_offset,
            size,
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            record_count: bytes.get_i32(),
        })
    }

    /// Compression as the attributes name it: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) fn compression(&self) -> i16 {
        self.attributes & COMPRESSION_MASK
    }

    /// Whether the producer numbered its batches.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }
}

/// Whether the checksum of a whole batch holds.
pub(crate) fn crc_holds(batch: &[u8]) -> bool {
    batch.get(17..21).zip(batch.get(CRC_START..)).is_some_and(|(mut crc, body)| crc.get_u32() == crc32c::crc32c(body))
}

/// Checks what a producer sent for one partition: exactly one sound batch of at most `max_bytes`.
///
/// # Errors
/// The protocol's error with a sentence for the producer.
pub(crate) fn check(records: &[u8], max_bytes: usize) -> Result<BatchHeader, (ResponseError, &'static str)> {
    use ResponseError as E;
    if records.get(16).is_some_and(|magic| *magic < 2) {
        return Err((E::UnsupportedForMessageFormat, "only record batches of magic 2 are taken"));
    }
    let header = BatchHeader::read(records).ok_or((E::CorruptMessage, "not a record batch"))?;
    if header.size > records.len() {
        return Err((E::CorruptMessage, "the batch is shorter than its length field says"));
    }
    if header.size < records.len() {
        return Err((E::InvalidRecord, "a produce request holds exactly one batch per partition"));
    }
    if header.size > max_bytes {
        return Err((E::MessageTooLarge, "the batch is larger than max.message.bytes of the topic"));
    }
    if !crc_holds(records) {
        return Err((E::CorruptMessage, "the checksum of the batch does not hold"));
    }
    if header.record_count < 1 || header.last_offset_delta != header.record_count - 1 {
        return Err((E::InvalidRecord, "record count and last offset delta of the batch disagree"));
    }
    if header.attributes & CONTROL != 0 {
        return Err((E::InvalidRecord, "producers may not write control batches"));
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err((E::InvalidTxnState, "transactions are not supported by this broker"));
    }
    if header.compression() > 4 {
        return Err((E::UnsupportedCompressionType, "unknown compression type"));
    }
    if header.is_idempotent() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err((E::InvalidRecord, "a batch with a producer id needs an epoch and a sequence"));
    }
    Ok(header)
}

/// A copy of `batch` with the leader epoch set; [`set_base_offset`] completes it.
pub(crate) fn copy_for_log(batch: &[u8]) -> BytesMut {
    let mut copy = BytesMut::with_capacity(batch.len());
    copy.put_slice(batch);
    if let Some(mut epoch) = copy.get_mut(12..16) {
        epoch.put_i32(LEADER_EPOCH);
    }
    copy
}

/// Sets the offset of the batch's first record; the checksum does not cover it.
pub(crate) fn set_base_offset(mut batch: BytesMut, offset: i64) -> Bytes {
    if let Some(mut field) = batch.get_mut(0..8) {
        field.put_i64(offset);
    }
    batch.freeze()
}
