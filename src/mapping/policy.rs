//! What becomes of messages that cannot be rows: by default they go to the dead letters; on request they are dropped, and
//! counted, or the consumer stops at the first.

use std::fmt;
use std::str::FromStr;

use super::{FaultyRow, MessageFault, Outcome, RowSource};
use crate::block::{Block, CellError, RowFault};
use crate::message::Message;

/// What becomes of such messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// They are set aside, with what was wrong.
    #[default]
    DeadLetter,
    /// They are dropped, and count as filtered.
    Drop,
    /// The consumer stops at the first, whether there is a place for dead letters or not.
    Stop,
}

/// `dead-letter`, `drop`, `stop`.
impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dead-letter" => Ok(Self::DeadLetter),
            "drop" => Ok(Self::Drop),
            "stop" => Ok(Self::Stop),
            _ => Err(format!("{text:?} is none of dead-letter, drop, stop")),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeadLetter => "dead-letter",
            Self::Drop => "drop",
            Self::Stop => "stop",
        })
    }
}

/// A policy for each kind of message that no mapping can make rows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The payload is not what the format says.
    pub undecodable: Policy,
    /// Key and payload together are larger than [`Self::max_message_bytes`].
    pub too_large: Policy,
    /// There is no payload.
    pub tombstone: Policy,
    /// There is no time for the row.
    pub no_timestamp: Policy,
    /// The largest message that is decoded; `None`: any, Kafka has limits of its own.
    pub max_message_bytes: Option<usize>,
}

impl Policies {
    fn of(&self, fault: &MessageFault) -> Policy {
        match fault {
            // No policy's: the message is read again.
            _ if fault.is_transient() => Policy::DeadLetter,
            MessageFault::Codec(_) | MessageFault::Format(_) => self.undecodable,
            MessageFault::TooLarge { .. } => self.too_large,
            MessageFault::Tombstone => self.tombstone,
            MessageFault::NoTimestamp(_) | MessageFault::Row(RowFault::Cell { reason: CellError::MissingKey, .. }) => {
                self.no_timestamp
            }
            _ => Policy::DeadLetter,
        }
    }

    fn check_size(&self, message: &Message) -> Result<(), MessageFault> {
        let Some(most) = self.max_message_bytes else { return Ok(()) };
        let bytes = [&message.key, &message.payload].into_iter().flatten().map(bytes::Bytes::len).sum();
        if bytes > most { Err(MessageFault::TooLarge { bytes, most }) } else { Ok(()) }
    }
}

/// Rows of another source, under policies.
#[derive(Debug)]
pub struct Policed<R> {
    policies: Policies,
    rows: R,
}

impl<R: RowSource> Policed<R> {
    /// The rows of `rows`.
    pub fn new(policies: Policies, rows: R) -> Self {
        Self { policies, rows }
    }
}

impl<R: RowSource> RowSource for Policed<R> {
    fn append(
        &mut self,
        message: &Message,
        origin: u32,
        blocks: &mut [Block],
        faulty: &mut Vec<FaultyRow>,
    ) -> Result<Outcome, MessageFault> {
        let rows_in = |blocks: &[Block]| blocks.iter().map(Block::rows).sum::<usize>();
        let before = rows_in(blocks);
        let appended =
            self.policies.check_size(message).and_then(|()| self.rows.append(message, origin, blocks, faulty));
        let outcome = match appended {
            Ok(outcome) => outcome,
            Err(fault) => {
                return match self.policies.of(&fault) {
                    Policy::DeadLetter => Err(fault),
                    Policy::Drop => Ok(Outcome::Filtered),
                    Policy::Stop => Err(MessageFault::Stop(Box::new(fault))),
                };
            }
        };
        if faulty.is_empty() {
            return Ok(outcome);
        }
        faulty.retain(|row| self.policies.of(&row.fault) != Policy::Drop);
        for row in faulty.iter_mut().filter(|row| self.policies.of(&row.fault) == Policy::Stop) {
            let fault = std::mem::replace(&mut row.fault, MessageFault::NoTable);
            row.fault = MessageFault::Stop(Box::new(fault));
        }
        let nothing_left = faulty.is_empty() && rows_in(blocks) == before;
        Ok(if nothing_left { Outcome::Filtered } else { outcome })
    }

    fn decoded(&mut self, message: &Message) -> Option<serde_json::Value> {
        self.policies.check_size(message).ok()?;
        self.rows.decoded(message)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::codec::{CodecError, Format};
    use crate::message::TopicPartition;
    use crate::row::Value;
    use crate::worker::fake::schema;

    /// A letter a row: a good one, one without time; as a whole: undecodable, too many columns.
    struct Letters;

    impl RowSource for Letters {
        fn append(
            &mut self,
            message: &Message,
            origin: u32,
            blocks: &mut [Block],
            faulty: &mut Vec<FaultyRow>,
        ) -> Result<Outcome, MessageFault> {
            let payload = message.payload.as_deref().ok_or(MessageFault::Tombstone)?;
            for (element, letter) in (0..).zip(payload) {
                let ts = match letter {
                    b'g' => Value::Int(1),
                    b't' => Value::Null,
                    b'u' => return Err(CodecError::decode(Format::Json, None, "bad").into()),
                    _ => return Err(RowFault::TooManyValues { stable: "s".into(), columns: 1 }.into()),
                };
                let mut row = blocks[0].row("d", origin)?;
                if let Err(fault) = row.set(0, &ts).and_then(|()| row.finish()) {
                    faulty.push(FaultyRow { element, fault: fault.into() });
                }
            }
            Ok(Outcome::Rows)
        }

        fn decoded(&mut self, _: &Message) -> Option<serde_json::Value> {
            Some(1.into())
        }
    }

    fn append(policies: Policies, payload: Option<&'static str>) -> (String, Vec<u32>) {
        let message = Message {
            source: TopicPartition::new("t", 0),
            offset: 0,
            timestamp_ms: None,
            key: Some(Bytes::from_static(b"k")),
            payload: payload.map(Bytes::from),
            headers: Vec::new(),
        };
        let mut blocks = [Block::new(Arc::new(schema(2)))];
        let mut faulty = Vec::new();
        let outcome = Policed::new(policies, Letters).append(&message, 0, &mut blocks, &mut faulty);
        let outcome = match outcome {
            Ok(outcome) => format!("{outcome:?} {}", blocks[0].rows()),
            Err(MessageFault::Stop(fault)) => format!("stop: {fault}"),
            Err(fault) => format!("{fault}"),
        };
        let stop = faulty.iter().filter(|row| matches!(row.fault, MessageFault::Stop(_)));
        (outcome, stop.chain(&faulty).map(|row| row.element).collect())
    }

    #[test]
    fn each_kind_has_its_policy() {
        use Policy::{Drop, Stop};
        let none = Policies::default();
        let is = |policies: Policies, payload: Option<&'static str>, outcome: &str, faulty: &[u32]| {
            let (found, elements) = append(policies, payload);
            assert!(found.contains(outcome) && elements == faulty, "{payload:?} {policies:?}: {found} {elements:?}");
        };
        is(none, Some("gg"), "Rows 2", &[]);
        is(none, Some("u"), "cannot be decoded", &[]);
        is(Policies { undecodable: Drop, ..none }, Some("u"), "Filtered 0", &[]);
        is(Policies { undecodable: Stop, ..none }, Some("u"), "stop: cannot be decoded", &[]);
        is(Policies { tombstone: Drop, ..none }, None, "Filtered 0", &[]);
        is(Policies { tombstone: Drop, ..none }, Some("u"), "cannot be decoded", &[]);
        is(Policies { max_message_bytes: Some(3), ..none }, Some("gg"), "Rows 2", &[]);
        is(Policies { max_message_bytes: Some(2), ..none }, Some("gg"), "has 3 bytes, more than", &[]);
        is(Policies { max_message_bytes: Some(2), too_large: Drop, ..none }, Some("gg"), "Filtered 0", &[]);
        is(none, Some("gtg"), "Rows 2", &[1]);
        is(Policies { no_timestamp: Drop, ..none }, Some("gtg"), "Rows 2", &[]);
        is(Policies { no_timestamp: Drop, ..none }, Some("tt"), "Filtered 0", &[]);
        // Once as it is to stop, once as it is at fault.
        is(Policies { no_timestamp: Stop, ..none }, Some("gt"), "Rows 1", &[1, 1]);
        let all = Policies { undecodable: Drop, tombstone: Drop, no_timestamp: Drop, too_large: Drop, ..none };
        is(all, Some("x"), "more values than", &[]);
    }

    #[test]
    fn policies_are_read_as_they_are_shown() {
        for text in ["dead-letter", "drop", "stop"] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        assert!("ignore".parse::<Policy>().is_err());
    }
}
