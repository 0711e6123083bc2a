//! Reading ranges of partitions outside of any group's work: nothing is joined, nothing is committed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::Offset as Position;

use super::admin::Quiet;
use super::copy::owned;
use super::{KafkaSettings, StartOffset, translate};
use crate::message::{Message, Offset, TopicPartition};
use crate::mq::MqError;

/// Offsets of a partition: from the first, up to and without the end.
pub type Offsets = (TopicPartition, Range<Offset>);

/// Reads ranges of partitions, for commands that look and leave no trace. Calls block: keep them off the runtime's
/// threads.
pub struct Reader {
    consumer: BaseConsumer<Quiet>,
    timeout: Duration,
    /// Ranges of topics that were not begun. An end of a partition is told without its topic, so topics come one by one.
    waiting: VecDeque<Vec<Offsets>>,
    /// Of the topic at hand, by partition: where each range ends.
    open: HashMap<i32, (TopicPartition, Offset)>,
}

impl Reader {
    /// A reader that asks in the name of `group`, which it does not join; nothing is connected yet.
    ///
    /// # Errors
    /// [`MqError::Settings`].
    pub fn new(settings: &KafkaSettings, group: &str) -> Result<Self, MqError> {
        // An offset that is not there (any more) must show.
        let settings = KafkaSettings { start: StartOffset::At(0), ..settings.clone() };
        let config = settings.consumer(group, 1)?;
        let consumer = config.create_with_context(Quiet).map_err(|error| translate("making a reader", &error))?;
        Ok(Self { consumer, timeout: settings.request_timeout, waiting: VecDeque::new(), open: HashMap::new() })
    }

    /// What the group has committed of each of `sources`: the next offset that it would read.
    ///
    /// # Errors
    /// The broker did not answer in time, or access was denied.
    pub fn committed(&self, sources: &[TopicPartition]) -> Result<Vec<Option<Offset>>, MqError> {
        self.ask("reading the group's offsets", sources, |list| self.consumer.committed_offsets(list, self.timeout))
    }

    /// Of each of `sources` the offset of the first message at or after `time_ms` (milliseconds since
    /// 1970-01-01T00:00:00Z); `None` where there is none that late.
    ///
    /// # Errors
    /// As [`Self::committed`].
    pub fn at_time(&self, sources: &[TopicPartition], time_ms: i64) -> Result<Vec<Option<Offset>>, MqError> {
        self.ask("looking offsets up by time", sources, |mut list| {
            list.set_all_offsets(Position::Offset(time_ms))?;
            self.consumer.offsets_for_times(list, self.timeout)
        })
    }

    /// Asks with a list of `sources`, and takes the offsets out of the answer.
    fn ask(
        &self,
        action: &str,
        sources: &[TopicPartition],
        question: impl FnOnce(TopicPartitionList) -> KafkaResult<TopicPartitionList>,
    ) -> Result<Vec<Option<Offset>>, MqError> {
        let mut list = TopicPartitionList::with_capacity(sources.len());
        for source in sources {
            list.add_partition(&source.topic, source.partition);
        }
        // The list must be gone before the consumer is: librdkafka waits for it otherwise, for ever.
        let answer = question(list).map_err(|error| translate(action, &error))?;
        let of = |source: &TopicPartition| {
            let found = answer.find_partition(&source.topic, source.partition)?;
            if let Position::Offset(offset) = found.offset() { Some(offset) } else { None }
        };
        Ok(sources.iter().map(of).collect())
    }

    /// Begins to read `ranges`, in place of any before; [`Self::read_next`] hands their messages out.
    pub fn read(&mut self, ranges: impl IntoIterator<Item = Offsets>) {
        let mut topics: BTreeMap<Arc<str>, Vec<Offsets>> = BTreeMap::new();
        for (source, range) in ranges.into_iter().filter(|(_, range)| !range.is_empty()) {
            topics.entry(source.topic.clone()).or_default().push((source, range));
        }
        self.open.clear();
        self.waiting = topics.into_values().collect();
    }

    /// The next message of the ranges, in order within each partition; `None` when all were read. Where a range ends
    /// in what is no message (compacted away, a transaction's marker), the position counts.
    ///
    /// # Errors
    /// A broker that gave nothing for the request timeout, an offset that is not there, denied access.
    pub fn read_next(&mut self) -> Result<Option<Message>, MqError> {
        let mut since = Instant::now();
        loop {
            if self.open.is_empty() && !self.begin_topic()? {
                return Ok(None);
            }
            let (polled, partition) = match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => self.take(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => (None, Some(partition)),
                // All else may heal, until the time is over.
                Some(Err(error)) => match self.told(&error) {
                    told @ (MqError::Denied { .. } | MqError::NoSuchOffset { .. }) => return Err(told),
                    told if since.elapsed() >= self.timeout => return Err(told),
                    _ => continue,
                },
                None if since.elapsed() < self.timeout => continue,
                None => return Err(self.silent()),
            };
            if let Some((source, _)) = partition.and_then(|partition| self.open.remove(&partition)) {
                self.stop(&source)?;
            }
            if polled.is_some() {
                return Ok(polled);
            }
            since = Instant::now();
        }
    }

    /// A message if it is in its partition's range, and the partition if this was the last of it.
    fn take(&self, message: &BorrowedMessage<'_>) -> (Option<Message>, Option<i32>) {
        // What was on its way when its partition was done with, or its topic.
        let range = self.open.get(&message.partition()).filter(|(source, _)| *source.topic == *message.topic());
        let Some((source, end)) = range else { return (None, None) };
        let is_in_range = message.offset() < *end;
        let is_last = message.offset() + 1 >= *end;
        (
            is_in_range.then(|| owned(message, source.clone(), Bytes::copy_from_slice)),
            is_last.then_some(message.partition()),
        )
    }

    /// Turns to the next topic; false where there is none.
    fn begin_topic(&mut self) -> Result<bool, MqError> {
        let Some(ranges) = self.waiting.pop_front() else { return Ok(false) };
        let assigned = || -> KafkaResult<()> {
            let mut list = TopicPartitionList::with_capacity(ranges.len());
            for (source, range) in &ranges {
                list.add_partition_offset(&source.topic, source.partition, Position::Offset(range.start))?;
            }
            self.consumer.assign(&list)?;
            // A partition that was paused stays so when it is assigned again.
            self.consumer.resume(&list)
        };
        assigned().map_err(|error| translate("assigning partitions to read", &error))?;
        self.open = ranges.into_iter().map(|(source, range)| (source.partition, (source, range.end))).collect();
        Ok(true)
    }

    /// What comes after a range is not fetched for nothing.
    fn stop(&self, source: &TopicPartition) -> Result<(), MqError> {
        let mut list = TopicPartitionList::new();
        list.add_partition(&source.topic, source.partition);
        self.consumer.pause(&list).map_err(|error| translate(&format!("ending to read {source}"), &error))
    }

    fn reading(&self) -> String {
        let mut sources: Vec<_> = self.open.values().map(|(source, _)| source.to_string()).collect();
        sources.sort_unstable();
        sources.join(" ")
    }

    fn silent(&self) -> MqError {
        let reason = format!("nothing came for {:?}; is the broker up?", self.timeout);
        MqError::Other { action: format!("reading {}", self.reading()), reason }
    }

    fn told(&self, error: &KafkaError) -> MqError {
        match (error.rdkafka_error_code(), self.open.values().next()) {
            (Some(RDKafkaErrorCode::AutoOffsetReset), Some((source, _))) => {
                MqError::NoSuchOffset { partition: source.clone(), reason: error.to_string() }
            }
            _ => translate(&format!("reading {}", self.reading()), error),
        }
    }
}
