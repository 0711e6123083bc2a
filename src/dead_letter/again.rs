//! Rows of messages that failed before: only those that did.

use std::sync::Arc;

use super::archive::{Entry, find};
use crate::block::Block;
use crate::mapping::{FaultyRow, MessageFault, Outcome, RowSource};
use crate::message::Message;

/// Rows of another source: of a message with letters, those that its letters name. The others were written when it failed,
/// and later messages may have overwritten them since.
///
/// A mapping that makes another number of rows of the message than there were is another one: it makes all rows.
pub struct FaultyRows<R> {
    letters: Arc<[Entry]>,
    rows: R,
}

impl<R: RowSource> FaultyRows<R> {
    /// The rows of `rows` that `letters` name.
    pub fn new(letters: Arc<[Entry]>, rows: R) -> Self {
        Self { letters, rows }
    }
}

impl<R: RowSource> RowSource for FaultyRows<R> {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        let before: Vec<usize> = blocks.iter().map(Block::rows).collect();
        let outcome = self.rows.append(message, origin, blocks, faulty)?;
        let letter = find(&self.letters, &message.source, message.offset).map(|letter| &self.letters[letter]);
        let Some(Entry { rows: Some(named), of_rows, .. }) = letter else { return Ok(outcome) };
        let good = blocks.iter().zip(&before).flat_map(|(block, &before)| block.origins().skip(before));
        let elements = good.map(|origin| origin.element).chain(faulty.iter().map(|row| row.element));
        if elements.max().map(|last| last.saturating_add(1)) != *of_rows {
            return Ok(outcome);
        }
        for (block, before) in blocks.iter_mut().zip(before) {
            block.retain_from(before, |origin| named.binary_search(&origin.element).is_ok());
        }
        faulty.retain(|row| named.binary_search(&row.element).is_ok());
        Ok(outcome)
    }

    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        self.rows.decoded(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Archive, DeadLetterTo, DeadLetters, DeadRow, Filter};
    use super::*;
    use crate::block::Origin;
    use crate::message::TopicPartition;
    use crate::row::Value;
    use crate::worker::fake::schema;

    /// A byte of the payload a row; `x` is at fault.
    struct Bytes;

    impl RowSource for Bytes {
        fn append(
            &mut self,
            message: &Message,
            origin: u32,
            blocks: &mut [Block],
            faulty: &mut Vec<FaultyRow>,
        ) -> Result<Outcome, MessageFault> {
            for (element, byte) in (0..).zip(message.payload.as_deref().unwrap_or_default()) {
                if *byte == b'x' {
                    faulty.push(FaultyRow { element, fault: MessageFault::Tombstone });
                    continue;
                }
                let mut row = blocks[0].row(&format!("d{}", *byte as char), Origin { message: origin, element })?;
                row.set(0, &Value::Int(i64::from(*byte)))?;
                row.set(1, &Value::Int(i64::from(element)))?;
                row.finish()?;
            }
            Ok(Outcome::Rows)
        }
    }

    fn message(offset: i64, payload: &'static str) -> Message {
        Message {
            source: TopicPartition::new("t", 0),
            offset,
            timestamp_ms: None,
            key: None,
            payload: Some(payload.into()),
            headers: Vec::new(),
        }
    }

    #[tokio::test]
    async fn of_a_message_that_failed_in_part_only_that_part_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let row = |element| DeadRow { element, reason: String::new(), code: None, sql: None };
        let letter = |offset, rows: &[u32], of_rows| super::super::DeadLetter {
            of_rows,
            ..super::super::DeadLetter::new(
                &message(offset, ""),
                String::new(),
                None,
                rows.iter().map(|&element| row(element)).collect(),
                1,
            )
        };
        let mut letters = DeadLetters::new(DeadLetterTo::File(folder.path().into()), "1");
        letters
            .keep(&mut vec![letter(1, &[1, 3], Some(4)), letter(2, &[1], Some(2)), letter(3, &[], None)])
            .await
            .unwrap();
        let archive = Archive::of_folder(folder.path(), &Filter::default()).unwrap();
        let mut rows = FaultyRows::new(archive.entries().into(), Bytes);
        let mut blocks = [Block::new(Arc::new(schema(2)))];
        let mut faulty = Vec::new();
        for (origin, offset, payload) in
            [(0, 9, "ab"), (1, 1, "cdef"), (2, 1, "gxhx"), (3, 2, "ijk"), (4, 3, "lm"), (5, 1, "nopq")]
        {
            rows.append(&message(offset, payload), origin, &mut blocks, &mut faulty).unwrap();
        }
        let [block] = &mut blocks;
        let made: String = (0..block.rows())
            .map(|row| {
                let byte = block.columns()[0].bytes(row)[0] as char;
                assert_eq!(block.table_name(block.table_of(row as u32)), format!("d{byte}"));
                byte
            })
            .collect();
        assert_eq!(made, "abdfijklmoq", "no letter; two of four; none good; another mapping; as a whole");
        assert_eq!(faulty.iter().map(|row| row.element).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(block.order().rows.len(), 11);
    }
}
