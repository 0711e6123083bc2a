//! Messages out of librdkafka's memory into ours.

use bytes::{Bytes, BytesMut};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::message::{Header, Message, TopicPartition};

/// The message, of `source`, owning what `copy` makes of its key and payload.
pub(super) fn owned(
    message: &BorrowedMessage<'_>,
    source: TopicPartition,
    mut copy: impl FnMut(&[u8]) -> Bytes,
) -> Message {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| Header { name: header.key.to_owned(), value: header.value.map(Bytes::copy_from_slice) })
            .collect()
    });
    Message {
        source,
        offset: message.offset(),
        timestamp_ms: message.timestamp().to_millis(),
        key: message.key().map(&mut copy),
        payload: message.payload().map(&mut copy),
        headers,
    }
}

/// Memory that many messages are copied to: they share an allocation, which is gone with the last of them.
#[derive(Default)]
pub(super) struct Pages(BytesMut);

impl Pages {
    /// Bytes allocated at once.
    const SIZE: usize = 64 << 10;

    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        // What fills much of a page would leave much of it empty, and is one allocation for many bytes anyway.
        if bytes.len() > Self::SIZE / 4 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(Self::SIZE);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_share_pages_and_large_ones_stand_alone() {
        let mut pages = Pages::default();
        let small: Vec<Bytes> = (0..20_000u32).map(|number| pages.copy(&number.to_le_bytes())).collect();
        let large = pages.copy(&vec![7; Pages::SIZE]);
        assert!(small.iter().zip(0u32..).all(|(copy, number)| **copy == number.to_le_bytes()));
        assert_eq!((large.len(), large[Pages::SIZE - 1], pages.copy(b"").len()), (Pages::SIZE, 7, 0));
        let distance = |a: &Bytes, b: &Bytes| b.as_ptr() as usize - a.as_ptr() as usize;
        assert_eq!(distance(&small[0], &small[1000]), 4000);
    }
}
