//! A queue between a thread that produces and a task that writes in batches.
//!
//! ```sh
//! cargo run --release --example batch_queue
//! ```

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use kafka_taos::queue::{BatchQueue, QueueSettings, Refused, Weigh};

struct Reading(u64);

impl Weigh for Reading {
    fn weight_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue = BatchQueue::new(QueueSettings {
        max_queue_items: 10_000,
        max_batch_items: 1_000,
        min_batch_items: 500,
        linger: Duration::from_millis(50),
        ..QueueSettings::default()
    })?;

    // Three readings are less than a batch: they are handed out when the oldest has lingered.
    queue.put_many(&mut (0..3).map(Reading).collect()).await?;
    println!("{queue}: a batch now? {}", if queue.try_take_batch().is_some() { "yes" } else { "no" });
    let waited = Instant::now();
    let batch = queue.take_batch().await.ok_or("closed")?;
    println!("{} readings after {:?}", batch.len(), waited.elapsed());

    // A paused queue returns what it refuses.
    queue.pause();
    if let Err(Refused::Paused(reading)) = queue.try_put(Reading(3)) {
        println!("{queue}: reading {} is still ours", reading.0);
    }
    queue.resume();

    // A thread produces, this task consumes; each waits for the other, and closing lets the rest through.
    const READINGS: u64 = 10_000_000;
    let started = Instant::now();
    let producer = queue.clone();
    let thread = thread::spawn(move || {
        let mut readings = VecDeque::new();
        for first in (0..READINGS).step_by(1_000) {
            readings.extend((first..first + 1_000).map(Reading));
            producer.put_many_blocking(&mut readings)?;
        }
        producer.close();
        Ok::<(), kafka_taos::queue::Closed>(())
    });
    let (mut sum, mut batches) = (0, 0_u32);
    while let Some(batch) = queue.take_batch().await {
        sum += batch.iter().map(|reading| reading.0).sum::<u64>();
        batches += 1;
    }
    thread.join().map_err(|_| "the producer panicked")??;
    assert_eq!(sum, (0..READINGS).sum::<u64>());
    println!(
        "{queue}: {batches} batches, {:.1} million a second",
        READINGS as f64 / started.elapsed().as_secs_f64() / 1e6
    );
    Ok(())
}
