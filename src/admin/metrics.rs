//! Counters and gauges in the text format of OpenMetrics. Their names are a promise, and say their units.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::message::TopicPartition;
use crate::pipeline::{Gap, Health, Watch};
use crate::stats::Snapshot;

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything of a moment.
#[derive(Debug)]
struct Moment {
    is_ready: bool,
    shown: Option<(Snapshot, Health, Vec<Gap>)>,
}

pub(super) fn encode(watch: Option<&Watch>, is_ready: bool) -> Result<String, fmt::Error> {
    let shown = watch.map(|watch| (watch.snapshot(), watch.health(), watch.gaps()));
    let mut registry = Registry::with_prefix("kafka_taos");
    registry.register_collector(Box::new(Moment { is_ready, shown }));
    let mut encoded = String::new();
    text::encode(&mut encoded, &registry)?;
    Ok(encoded)
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPartition {
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

impl OfPartition {
    fn new(source: &TopicPartition) -> Self {
        Self { topic: source.topic.to_string(), partition: source.partition }
    }
}

impl prometheus_client::collector::Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut put = Put(&mut encoder);
        put.gauge("ready", "1 while it can do its work, see /readyz", i64::from(self.is_ready))?;
        let Some((snapshot, health, gaps)) = &self.shown else { return Ok(()) };
        put.counter("messages_consumed", "Messages read", snapshot.consumed)?;
        put.counter("rows_written", "Rows that TDengine took", snapshot.rows_written)?;
        put.counter(
            "rows_merged",
            "Rows merged into a later one of the same key before they were written",
            snapshot.merged,
        )?;
        put.counter("messages_filtered", "Messages dropped by a rule of the mapping", snapshot.filtered)?;
        put.counter("messages_dead_lettered", "Messages in the dead-letter place", snapshot.dead_lettered)?;
        put.counter("messages_redelivered", "Messages that this process had read before", snapshot.redelivered)?;
        put.counter("batches_written", "Batches written", snapshot.batches)?;
        put.counter("revocations_undrained", "Revocations that ended with writes unanswered", snapshot.undrained)?;
        let retries = snapshot.retries_by_class.iter().map(|(class, count)| (OfClass { class }, *count));
        put.counters("write_retries", "Writes tried again, by the class of the error", retries)?;

        put.gauge("partitions_assigned", "Partitions that are ours", health.assigned as i64)?;
        let paused = i64::from(health.paused);
        put.gauge("paused", "1 while partitions are paused, because nothing can be written", paused)?;
        put.gauge("messages_unresolved", "Messages read and not done with", health.unresolved as i64)?;
        put.gauge("queue_messages", "Messages in the queues of the workers", health.queued.0 as i64)?;
        put.gauge("queue_bytes", "Bytes in the queues of the workers", health.queued.1 as i64)?;
        put.gauge("queue_limit_messages", "Most messages in these queues", health.queue_limits.0 as i64)?;
        put.gauge("queue_limit_bytes", "Most bytes in these queues", health.queue_limits.1 as i64)?;
        let seconds = |age: Option<std::time::Duration>| age.map_or(0.0, |age| age.as_secs_f64());
        put.gauge("commit_overdue_seconds", "For how long commits have failed", seconds(health.commit_age))?;
        put.gauge(
            "group_silent_seconds",
            "Since when the group has confirmed nothing, while there is something to write",
            seconds(health.session_age),
        )?;

        let partitions = || snapshot.partitions.iter().map(|(source, stats)| (OfPartition::new(source), stats));
        let read = partitions().map(|(source, stats)| (source, stats.last + 1));
        put.gauges("partition_read_offset", "The next offset to be read of a partition", read)?;
        let committed = partitions().filter_map(|(source, stats)| Some((source, stats.committed?)));
        put.gauges("partition_committed_offset", "The offset that is committed of a partition", committed)?;
        let of_gap = |gap: &Gap| OfPartition { topic: gap.topic.clone(), partition: gap.partition };
        let held = gaps.iter().map(|gap| (of_gap(gap), gap.seconds));
        put.gauges("partition_held_seconds", "For how long a partition's offset has been held, see /gaps", held)
    }
}

struct Put<'e, 'd>(&'e mut DescriptorEncoder<'d>);

impl Put<'_, '_> {
    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &'s str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.begin(name, help, MetricType::Counter)?)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue + Clone) -> fmt::Result {
        ConstGauge::new(value).encode(self.begin(name, help, MetricType::Gauge)?)
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, MetricType::Counter)?;
        for (labels, value) in values {
            ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue + Clone>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (L, V)>,
    ) -> fmt::Result {
        let mut encoder = self.begin(name, help, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
