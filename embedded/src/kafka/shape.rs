//! Checks that the lengths in a request are true, before anything is allocated for them.
//!
//! The decoder of `kafka-protocol` reserves room for as many elements as an array claims. A frame of thirty bytes could so
//! ask for hundreds of gigabytes, and the process would be ended for it. This walk over the same fields reserves nothing.
//! The layouts are those of the
//! [message definitions](https://github.com/apache/kafka/tree/trunk/clients/src/main/resources/common/message).

use bytes::Buf;
use kafka_protocol::messages::ApiKey;

/// Array elements in one request. Real requests have a few per partition.
const MAX_ELEMENTS: usize = 1_000_000;

#[derive(Debug, Clone, Copy)]
enum Shape {
    /// So many bytes.
    Fixed(usize),
    /// A string, null or not.
    Text,
    /// Bytes, null or not.
    Blob,
    /// An array, null or not, of plain values.
    List(&'static Shape),
    /// An array, null or not, of structures with these fields.
    Array(&'static [Field]),
}

/// A field and the versions that have it.
#[derive(Debug, Clone, Copy)]
enum Field {
    All(Shape),
    Since(i16, Shape),
    Until(i16, Shape),
}

use Field::{All, Since, Until};
use Shape::{Array, Blob, List, Text};
const I8: Shape = Shape::Fixed(1);
const I16: Shape = Shape::Fixed(2);
const I32: Shape = Shape::Fixed(4);
const I64: Shape = Shape::Fixed(8);
const TEXTS: Shape = List(&Text);
const INTS: Shape = List(&I32);
const PARTITION_INDEXES: Shape = Array(&[All(Text), All(INTS)]);

/// Topics, each a name and an array of these partitions.
macro_rules! topics {
    ($($partition:expr),+) => { Array(&[All(Text), All(Array(&[$($partition),+]))]) };
}

const CONFIG_RESOURCES: Shape = Array(&[All(I8), All(Text), All(Array(&[All(Text), All(Text)]))]);
const CONFIG_CHANGES: Shape = Array(&[All(I8), All(Text), All(Array(&[All(Text), All(I8), All(Text)]))]);

/// The fields of a request, in the versions that [`super::api`] takes.
fn fields(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::ApiVersions => &[Since(3, Text), Since(3, Text)],
        ApiKey::Metadata => &[All(Array(&[All(Text)])), Since(4, I8), Since(8, I8), Since(8, I8)],
        ApiKey::Produce => &[All(Text), All(I16), All(I32), All(topics![All(I32), All(Blob)])],
        ApiKey::Fetch => &[
            All(I32),
            All(I32),
            All(I32),
            All(I32),
            All(I8),
            Since(7, I32),
            Since(7, I32),
            All(topics![All(I32), Since(9, I32), All(I64), Since(5, I64), All(I32)]),
            Since(7, PARTITION_INDEXES),
            Since(11, Text),
        ],
        ApiKey::ListOffsets => &[All(I32), Since(2, I8), All(topics![All(I32), Since(4, I32), All(I64)])],
        ApiKey::OffsetForLeaderEpoch => &[Since(3, I32), All(topics![All(I32), All(I32), All(I32)])],
        ApiKey::FindCoordinator => &[Until(3, Text), Since(1, I8), Since(4, TEXTS)],
        ApiKey::JoinGroup => &[
            All(Text),
            All(I32),
            Since(1, I32),
            All(Text),
            Since(5, Text),
            All(Text),
            All(Array(&[All(Text), All(Blob)])),
            Since(8, Text),
        ],
        ApiKey::SyncGroup => &[
            All(Text),
            All(I32),
            All(Text),
            Since(3, Text),
            Since(5, Text),
            Since(5, Text),
            All(Array(&[All(Text), All(Blob)])),
        ],
        ApiKey::Heartbeat => &[All(Text), All(I32), All(Text), Since(3, Text)],
        ApiKey::LeaveGroup => &[All(Text), Until(2, Text), Since(3, Array(&[All(Text), All(Text), Since(5, Text)]))],
        ApiKey::OffsetCommit => &[
            All(Text),
            All(I32),
            All(Text),
            Since(7, Text),
            Until(4, I64),
            All(topics![All(I32), All(I64), Since(6, I32), All(Text)]),
        ],
        ApiKey::OffsetFetch => &[
            Until(7, Text),
            Until(7, PARTITION_INDEXES),
            Since(8, Array(&[All(Text), Since(9, Text), Since(9, I32), All(PARTITION_INDEXES)])),
            Since(7, I8),
        ],
        ApiKey::OffsetDelete => &[All(Text), All(topics![All(I32)])],
        ApiKey::InitProducerId => &[All(Text), All(I32), Since(3, I64), Since(3, I16)],
        ApiKey::CreateTopics => &[
            All(Array(&[
                All(Text),
                All(I32),
                All(I16),
                All(Array(&[All(I32), All(INTS)])),
                All(Array(&[All(Text), All(Text)])),
            ])),
            All(I32),
            All(I8),
        ],
        ApiKey::DeleteTopics => &[All(TEXTS), All(I32)],
        ApiKey::CreatePartitions => &[All(Array(&[All(Text), All(I32), All(Array(&[All(INTS)]))])), All(I32), All(I8)],
        ApiKey::DeleteRecords => &[All(topics![All(I32), All(I64)]), All(I32)],
        ApiKey::DescribeConfigs => &[All(Array(&[All(I8), All(Text), All(TEXTS)])), All(I8), Since(3, I8)],
        ApiKey::AlterConfigs => &[All(CONFIG_RESOURCES), All(I8)],
        ApiKey::IncrementalAlterConfigs => &[All(CONFIG_CHANGES), All(I8)],
        ApiKey::DescribeGroups => &[All(TEXTS), Since(3, I8)],
        ApiKey::ListGroups => &[Since(4, TEXTS), Since(5, TEXTS)],
        ApiKey::DeleteGroups => &[All(TEXTS)],
        ApiKey::DescribeCluster => &[All(I8), Since(1, I8)],
        ApiKey::ListPartitionReassignments => &[All(I32), All(PARTITION_INDEXES)],
        ApiKey::SaslHandshake => &[All(Text)],
        _ => return None,
    })
}

/// The request lies about a length, or ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Untrue;

/// Checks a request without its header.
///
/// # Errors
/// [`Untrue`], and for requests whose layout is not known here.
pub(crate) fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<(), Untrue> {
    let flexible = api.request_header_version(version) >= 2;
    let mut walk = Walk { rest: body, version, flexible, seen: 0 };
    walk.structure(fields(api).ok_or(Untrue)?)
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    /// Compact lengths and tagged fields (KIP-482).
    flexible: bool,
    seen: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &[Field]) -> Result<(), Untrue> {
        for field in fields {
            match *field {
                Since(version, _) if self.version < version => {}
                Until(version, _) if self.version > version => {}
                All(shape) | Since(_, shape) | Until(_, shape) => self.value(shape)?,
            }
        }
        if self.flexible { self.tags() } else { Ok(()) }
    }

    fn value(&mut self, shape: Shape) -> Result<(), Untrue> {
        match shape {
            Shape::Fixed(bytes) => self.skip(bytes),
            Text => {
                let bytes = if self.flexible { self.compact_length()? } else { self.short_length()? };
                self.skip(bytes)
            }
            Blob => {
                let bytes = if self.flexible { self.compact_length()? } else { self.length()? };
                self.skip(bytes)
            }
            List(shape) => {
                let count = self.elements()?;
                (0..count).try_for_each(|_| self.value(*shape))
            }
            Array(fields) => {
                let count = self.elements()?;
                (0..count).try_for_each(|_| self.structure(fields))
            }
        }
    }

    fn elements(&mut self) -> Result<usize, Untrue> {
        let count = if self.flexible { self.compact_length()? } else { self.length()? };
        self.count(count)?;
        Ok(count)
    }

    fn tags(&mut self) -> Result<(), Untrue> {
        let count = self.varint()?;
        self.count(count)?;
        (0..count).try_for_each(|_| {
            self.varint()?;
            let bytes = self.varint()?;
            self.skip(bytes)
        })
    }

    fn count(&mut self, count: usize) -> Result<(), Untrue> {
        self.seen = self.seen.saturating_add(count);
        if count > self.rest.len() || self.seen > MAX_ELEMENTS { Err(Untrue) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Untrue> {
        self.rest = self.rest.get(bytes..).ok_or(Untrue)?;
        Ok(())
    }

    fn length(&mut self) -> Result<usize, Untrue> {
        let length = self.rest.try_get_i32().map_err(|_| Untrue)?;
        if length == -1 { Ok(0) } else { usize::try_from(length).map_err(|_| Untrue) }
    }

    fn short_length(&mut self) -> Result<usize, Untrue> {
        let length = self.rest.try_get_i16().map_err(|_| Untrue)?;
        if length == -1 { Ok(0) } else { usize::try_from(length).map_err(|_| Untrue) }
    }

    fn compact_length(&mut self) -> Result<usize, Untrue> {
        Ok(self.varint()?.saturating_sub(1))
    }

    fn varint(&mut self) -> Result<usize, Untrue> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8().map_err(|_| Untrue)?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Untrue)
    }
}

#[cfg(test)]
mod tests;
