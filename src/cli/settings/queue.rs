//! `[queue]` and its flags.

use kafka_taos::config::file;
use kafka_taos::queue::QueueSettings;

use super::Failure;
use super::layers::Layers;
use super::units::{bytes, duration, human};

impl Layers<'_> {
    /// The workers' queues.
    pub(super) fn queue(&mut self, file: file::Queue) -> Result<QueueSettings, Failure> {
        let default = QueueSettings::default();
        let max_bytes_in_file = self.parsed_by("queue.max_bytes", file.max_bytes.map(|b| b.to_string()), bytes)?;
        let batch_bytes_in_file =
            self.parsed_by("queue.batch_max_bytes", file.batch_max_bytes.map(|b| b.to_string()), bytes)?;
        let linger_in_file = self.parsed_by("queue.linger", file.linger, duration)?;
        let max_queue_items = self.pick("queue-max-size", "queue_max_size", file.max_size, default.max_queue_items);
        let max_queue_bytes =
            self.pick("queue-max-bytes", "queue_max_bytes", max_bytes_in_file, default.max_queue_bytes);
        let max_batch_items =
            self.pick("batch-max-size", "batch_max_size", file.batch_max_size, default.max_batch_items);
        // A small maximum alone is no contradiction: the minimum that nobody set goes along.
        let min_default = default.min_batch_items.min(max_batch_items);
        let min_batch_items = self.pick("batch-min-size", "batch_min_size", file.batch_min_size, min_default);
        let max_batch_bytes =
            self.pick("batch-max-bytes", "batch_max_bytes", batch_bytes_in_file, default.max_batch_bytes);
        let linger = self.pick_shown("linger", "linger", linger_in_file, default.linger, human);
        let settings = QueueSettings {
            max_queue_items,
            max_queue_bytes,
            max_batch_items,
            min_batch_items,
            max_batch_bytes,
            linger,
        };
        settings.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(settings)
    }
}
