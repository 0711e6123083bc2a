use std::collections::{HashMap, VecDeque};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};

use super::*;

/// An item of a chosen weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    id: usize,
    weight: usize,
}

impl Weigh for Item {
    fn weight_bytes(&self) -> usize {
        self.weight
    }
}

fn light(id: usize) -> Item {
    Item { id, weight: 1 }
}

fn ids(batch: Option<Vec<Item>>) -> Option<Vec<usize>> {
    batch.map(|batch| batch.iter().map(|item| item.id).collect())
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

const LINGER: Duration = Duration::from_millis(50);

/// Ten items and 100 bytes in the queue; batches of 3 to 5 items and up to 50 bytes.
fn settings() -> QueueSettings {
    QueueSettings {
        max_queue_items: 10,
        max_queue_bytes: 100,
        max_batch_items: 5,
        min_batch_items: 3,
        max_batch_bytes: 50,
        linger: LINGER,
    }
}

fn queue() -> BatchQueue<Item> {
    BatchQueue::new(settings()).unwrap()
}

#[test]
fn contradictions_are_refused_by_name() {
    let refused = |settings: QueueSettings| BatchQueue::<Item>::new(settings).unwrap_err().to_string();
    assert_eq!(
        refused(QueueSettings { min_batch_items: 6, ..settings() }),
        "min_batch_items = 6 can never be reached with max_batch_items = 5; lower the one or raise the other"
    );
    assert_eq!(
        refused(QueueSettings { max_queue_items: 4, ..settings() }),
        "max_batch_items = 5 can never be reached with max_queue_items = 4; lower the one or raise the other"
    );
    assert_eq!(
        refused(QueueSettings { max_batch_bytes: 101, ..settings() }),
        "max_batch_bytes = 101 can never be reached with max_queue_bytes = 100; lower the one or raise the other"
    );
    assert_eq!(
        refused(QueueSettings { max_batch_items: 0, min_batch_items: 0, ..settings() }),
        "max_batch_items is 0, with which nothing would ever pass; write 1 or more"
    );
    QueueSettings::default().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_due_at_its_minimum() {
    let queue = queue();
    queue.try_put(light(0)).unwrap();
    queue.try_put(light(1)).unwrap();
    assert_eq!(queue.try_take_batch(), None);
    queue.try_put(light(2)).unwrap();
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_stops_at_its_maximum_of_items_and_of_bytes() {
    let queue = queue();
    assert_eq!(queue.try_put_many(&mut (0..8).map(light).collect()), 8);
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0, 1, 2, 3, 4]));
    assert_eq!(ids(queue.try_take_batch()), Some(vec![5, 6, 7]));

    assert_eq!(queue.try_put_many(&mut (0..3).map(|id| Item { id, weight: 30 }).collect()), 3);
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0]), "a second would be 60 of 50 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_due_at_its_maximum_of_bytes() {
    let queue = queue();
    queue.try_put(Item { id: 0, weight: 50 }).unwrap();
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0]));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_item_lingers_so_long_and_no_longer() {
    let queue = queue();
    let start = Instant::now();
    queue.try_put(light(0)).unwrap();
    advance(LINGER / 2).await;
    queue.try_put(light(1)).unwrap();
    assert_eq!(ids(queue.take_batch().await), Some(vec![0, 1]));
    assert_eq!(start.elapsed(), LINGER);

    queue.try_put(light(2)).unwrap();
    assert_eq!(ids(queue.take_batch().await), Some(vec![2]));
    assert_eq!(start.elapsed(), LINGER * 2, "a new batch lingers anew");
}

#[tokio::test(start_paused = true)]
async fn an_item_left_behind_keeps_its_own_time_of_arrival() {
    let queue = queue();
    let start = Instant::now();
    queue.try_put(light(0)).unwrap();
    advance(LINGER / 2).await;
    queue.try_put(light(1)).unwrap();
    assert_eq!(queue.try_take(), Some(light(0)));
    assert_eq!(ids(queue.take_batch().await), Some(vec![1]));
    assert_eq!(start.elapsed(), LINGER / 2 + LINGER);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_taker_times_the_first_item_that_comes() {
    let queue = queue();
    let mut taker = pin!(queue.take_batch());
    assert!(poll(&mut taker).is_pending());
    advance(LINGER * 3).await;
    let start = Instant::now();
    queue.try_put(light(0)).unwrap();
    assert_eq!(ids(taker.await), Some(vec![0]));
    assert_eq!(start.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn without_linger_what_is_there_goes() {
    let queue = BatchQueue::new(QueueSettings { linger: Duration::ZERO, ..settings() }).unwrap();
    queue.try_put(light(0)).unwrap();
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0]));
}

#[tokio::test(start_paused = true)]
async fn a_linger_without_end_waits_for_the_minimum() {
    let queue = BatchQueue::new(QueueSettings { linger: Duration::MAX, ..settings() }).unwrap();
    queue.try_put(light(0)).unwrap();
    let mut taker = pin!(queue.take_batch());
    assert!(poll(&mut taker).is_pending());
    queue.try_put_many(&mut [light(1), light(2)].into());
    assert_eq!(ids(taker.await), Some(vec![0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_single_item_does_not_wait_for_a_batch() {
    let queue = queue();
    let mut taker = pin!(queue.take());
    assert!(poll(&mut taker).is_pending());
    queue.try_put(light(0)).unwrap();
    assert_eq!(poll(&mut taker), Poll::Ready(Some(light(0))));
}

#[tokio::test(start_paused = true)]
async fn takers_of_items_and_of_batches_do_not_steal_each_others_bell() {
    let queue = queue();
    let mut batch = pin!(queue.take_batch());
    let mut item = pin!(queue.take());
    assert!(poll(&mut batch).is_pending());
    assert!(poll(&mut item).is_pending());
    queue.try_put(light(0)).unwrap();
    assert_eq!(item.await, Some(light(0)));
    queue.try_put(light(1)).unwrap();
    assert_eq!(ids(batch.await), Some(vec![1]));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_returns_what_it_refuses() {
    let queue = queue();
    let mut items: VecDeque<_> = (0..12).map(light).collect();
    assert_eq!(queue.try_put_many(&mut items), 10);
    assert_eq!(items, [light(10), light(11)]);
    assert!(queue.is_full());
    assert_eq!(queue.try_put(light(10)), Err(Refused::Full(light(10))));
    assert_eq!(Refused::Full(7).into_inner(), 7);
}

#[tokio::test(start_paused = true)]
async fn bytes_bound_the_queue_but_for_a_single_item() {
    let queue = queue();
    queue.try_put(Item { id: 0, weight: 60 }).unwrap();
    assert!(queue.try_put(Item { id: 1, weight: 50 }).is_err());
    assert_eq!(ids(queue.try_take_batch()), Some(vec![0]));

    let heavy = Item { id: 2, weight: 1_000 };
    queue.try_put(light(1)).unwrap();
    assert!(queue.try_put(heavy).is_err(), "not beside another");
    assert_eq!(queue.try_take(), Some(light(1)));
    queue.try_put(heavy).unwrap();
    assert!(queue.try_put(light(3)).is_err());
    assert_eq!(ids(queue.try_take_batch()), Some(vec![2]));
    assert_eq!(queue.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_due_when_an_item_found_no_room() {
    let queue = queue();
    queue.try_put(Item { id: 0, weight: 45 }).unwrap();
    assert_eq!(queue.try_take_batch(), None);
    let mut taker = pin!(queue.take_batch());
    assert!(poll(&mut taker).is_pending());
    assert!(queue.try_put(Item { id: 1, weight: 60 }).is_err());
    assert_eq!(poll(&mut taker).map(ids), Poll::Ready(Some(vec![0])));
    queue.try_put(light(1)).unwrap();
    assert_eq!(queue.try_take_batch(), None, "that was for one batch");
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_refuses_and_hands_out_at_once() {
    let queue = queue();
    queue.try_put(light(0)).unwrap();
    let mut taker = pin!(queue.take_batch());
    assert!(poll(&mut taker).is_pending());
    queue.pause();
    assert!(queue.is_paused());
    assert_eq!(queue.try_put(light(1)), Err(Refused::Paused(light(1))));
    assert_eq!(poll(&mut taker).map(ids), Poll::Ready(Some(vec![0])));

    let mut put = pin!(queue.put(light(1)));
    assert!(poll(&mut put).is_pending());
    queue.resume();
    assert_eq!(poll(&mut put), Poll::Ready(Ok(())));
    assert!(!queue.is_paused());
    assert_eq!(queue.try_take_batch(), None, "lingers again");
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_returns_items_and_hands_out_the_rest() {
    let queue = queue();
    queue.try_put_many(&mut (0..10).map(light).collect());
    let mut waiting = pin!(queue.put(light(10)));
    let mut many: VecDeque<_> = [light(11), light(12)].into();
    let mut waiting_many = Box::pin(queue.put_many(&mut many));
    assert!(poll(&mut waiting).is_pending());
    assert!(poll(&mut waiting_many).is_pending());
    queue.close();
    queue.resume();
    assert!(queue.is_closed());
    assert_eq!(waiting.await, Err(Closed(light(10))));
    assert_eq!(waiting_many.await, Err(Closed(())));
    assert_eq!(many, [light(11), light(12)]);
    assert_eq!(queue.try_put(light(13)), Err(Refused::Closed(light(13))));

    assert_eq!(ids(queue.take_batch().await), Some(vec![0, 1, 2, 3, 4]));
    assert_eq!(ids(queue.take_batch().await), Some(vec![5, 6, 7, 8, 9]));
    assert_eq!(queue.take_batch().await, None);
    assert_eq!(queue.take().await, None);
    assert_eq!(queue.take_blocking(), None);
}

#[tokio::test(start_paused = true)]
async fn closing_wakes_every_taker() {
    let queue = queue();
    let mut batches = [Box::pin(queue.take_batch()), Box::pin(queue.take_batch())];
    let mut items = [Box::pin(queue.take()), Box::pin(queue.take())];
    for batch in &mut batches {
        assert!(poll(batch).is_pending());
    }
    for item in &mut items {
        assert!(poll(item).is_pending());
    }
    queue.close();
    for batch in batches {
        assert_eq!(batch.await, None);
    }
    for item in items {
        assert_eq!(item.await, None);
    }
}

/// A future under a waker that counts: it is polled only when it was woken, as an executor does.
struct Woken<F> {
    future: Pin<Box<F>>,
    wakes: Arc<AtomicUsize>,
    seen: usize,
}

struct Count(Arc<AtomicUsize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<F: Future> Woken<F> {
    /// Polls once, and expects it to wait.
    fn waiting(future: F) -> Self {
        let wakes = Arc::default();
        let mut woken = Self { future: Box::pin(future), wakes, seen: 0 };
        assert!(woken.poll().is_pending());
        woken
    }

    fn poll(&mut self) -> Poll<F::Output> {
        let waker = Arc::new(Count(self.wakes.clone())).into();
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    /// Polls if woken since the last time.
    fn run(&mut self) -> Option<F::Output> {
        let wakes = self.wakes.load(Ordering::SeqCst);
        if wakes == self.seen {
            return None;
        }
        self.seen = wakes;
        match self.poll() {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_take_lets_in_all_puts_that_fit() {
    let queue = queue();
    queue.try_put_many(&mut (0..10).map(light).collect());
    let mut puts: Vec<_> = (10..16).map(|id| Woken::waiting(queue.put(light(id)))).collect();
    assert_eq!(ids(queue.try_take_batch()).unwrap().len(), 5);
    let done: Vec<bool> = puts.iter_mut().map(|put| put.run() == Some(Ok(()))).collect();
    assert_eq!(done, [true, true, true, true, true, false], "five places, in line");
    assert_eq!(ids(queue.try_take_batch()), Some(vec![5, 6, 7, 8, 9]));
    assert_eq!(puts[5].run(), Some(Ok(())));
}

#[tokio::test(start_paused = true)]
async fn a_heavy_put_is_not_overtaken_and_its_place_is_given_up_when_dropped() {
    let queue = queue();
    queue.try_put(Item { id: 0, weight: 60 }).unwrap();
    let heavy = Woken::waiting(queue.put(Item { id: 1, weight: 60 }));
    let mut next = Woken::waiting(queue.put(light(2)));
    assert_eq!(queue.try_put(light(3)), Err(Refused::Full(light(3))), "others stand in line");
    drop(heavy);
    assert_eq!(next.run(), Some(Ok(())));
    assert_eq!(queue.try_put(light(3)), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_batch_left_behind_wakes_the_next_taker() {
    let queue = queue();
    let mut first = Woken::waiting(queue.take_batch());
    let mut second = Woken::waiting(queue.take_batch());
    let mut third = Woken::waiting(queue.take_batch());
    queue.try_put_many(&mut (0..8).map(light).collect());
    assert_eq!(first.run().map(ids), Some(Some(vec![0, 1, 2, 3, 4])));
    assert_eq!(second.run().map(ids), Some(Some(vec![5, 6, 7])));
    assert_eq!(third.run(), None);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_take_loses_nothing_and_hands_its_watch_on() {
    let queue = queue();
    let mut first = Woken::waiting(queue.take_batch());
    let mut second = Woken::waiting(queue.take_batch());
    queue.try_put(light(0)).unwrap();
    assert_eq!(first.run(), None, "it times the linger");
    assert_eq!(second.run(), None);
    drop(first);
    assert_eq!(second.run(), None, "it times the linger now");
    sleep(LINGER).await;
    assert_eq!(second.run().map(ids), Some(Some(vec![0])));

    let woken = Woken::waiting(queue.take());
    let mut other = Woken::waiting(queue.take());
    queue.try_put(light(1)).unwrap();
    drop(woken);
    assert_eq!(other.run(), Some(Some(light(1))));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_put_many_leaves_the_rest_with_the_caller() {
    let queue = queue();
    let mut items: VecDeque<_> = (0..12).map(light).collect();
    {
        let mut put = pin!(queue.put_many(&mut items));
        assert!(poll(&mut put).is_pending());
    }
    assert_eq!(items, [light(10), light(11)]);
    assert_eq!(queue.len(), 10);
}

#[test]
fn threads_wait_for_items_room_and_linger() {
    let queue = BatchQueue::new(QueueSettings { linger: Duration::from_millis(1), ..settings() }).unwrap();
    queue.put_blocking(light(0)).unwrap();
    assert_eq!(ids(queue.take_batch_blocking()), Some(vec![0]), "after the linger, with no minimum");
    thread::scope(|scope| {
        scope.spawn(|| queue.put_many_blocking(&mut (0..1_000).map(light).collect()).unwrap());
        let mut next = 0;
        while next < 1_000 {
            for item in queue.take_batch_blocking().unwrap() {
                assert_eq!(item.id, next);
                next += 1;
            }
        }
        let taker = scope.spawn(|| queue.take_blocking());
        queue.close();
        assert_eq!(taker.join().unwrap(), None);
    });
}

#[test]
fn it_shows_what_it_holds() {
    let queue = BatchQueue::new(QueueSettings {
        max_queue_items: 10_000,
        max_queue_bytes: 64 << 20,
        max_batch_items: 100,
        min_batch_items: 1,
        ..QueueSettings::default()
    })
    .unwrap();
    queue.try_put_many(&mut (0..220).map(|id| Item { id, weight: 10 << 10 }).collect());
    assert_eq!(queue.try_take_batch().unwrap().len(), 100);
    assert_eq!(queue.to_string(), "queue 120/10000 items, 1.2/64.0 MiB, 220 in, 100 out");
    queue.pause();
    assert_eq!(queue.to_string(), "queue 120/10000 items, 1.2/64.0 MiB, 220 in, 100 out, paused");
    queue.close();
    assert_eq!(queue.to_string(), "queue 120/10000 items, 1.2/64.0 MiB, 220 in, 100 out, closed");
}

/// Producers and consumers of every kind at once: nothing is lost or doubled, and each consumer sees each producer's
/// items in order.
#[test]
fn many_producers_and_consumers_lose_and_double_nothing() {
    const PER_PRODUCER: usize = 4_000;
    #[derive(Debug)]
    struct From(usize, usize);
    impl Weigh for From {
        fn weight_bytes(&self) -> usize {
            1 + self.1 % 13 // some do not fit where others do
        }
    }
    let settings = QueueSettings {
        max_queue_items: 64,
        max_queue_bytes: 200,
        max_batch_items: 20,
        min_batch_items: 10,
        max_batch_bytes: 100,
        linger: Duration::from_millis(1),
    };
    let queue = BatchQueue::new(settings).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();

    let mut producer_threads = Vec::new();
    let mut producer_tasks = Vec::new();
    for producer in 0..6 {
        let queue = queue.clone();
        let items = (0..PER_PRODUCER).map(move |n| From(producer, n));
        match producer {
            0 | 1 => producer_threads.push(thread::spawn(move || {
                for item in items {
                    queue.put_blocking(item).unwrap();
                }
            })),
            2 => producer_threads.push(thread::spawn(move || {
                let mut items: VecDeque<_> = items.collect();
                while !items.is_empty() {
                    let mut some: VecDeque<_> = items.drain(..items.len().min(37)).collect();
                    queue.put_many_blocking(&mut some).unwrap();
                }
            })),
            3 => producer_tasks.push(runtime.spawn(async move {
                for item in items {
                    queue.put(item).await.unwrap();
                }
            })),
            4 => producer_tasks.push(runtime.spawn(async move {
                let mut items: VecDeque<_> = items.collect();
                queue.put_many(&mut items).await.unwrap();
            })),
            // Gives up and starts again, all the time.
            _ => producer_tasks.push(runtime.spawn(async move {
                let mut items: VecDeque<_> = items.collect();
                while tokio::time::timeout(Duration::from_micros(100), queue.put_many(&mut items)).await.is_err() {}
                assert!(items.is_empty());
            })),
        }
    }
    let mut consumer_threads = Vec::new();
    let mut consumer_tasks = Vec::new();
    for consumer in 0..5 {
        let queue = queue.clone();
        match consumer {
            0 => consumer_threads.push(thread::spawn(move || {
                std::iter::from_fn(|| queue.take_batch_blocking()).flatten().collect::<Vec<_>>()
            })),
            1 => consumer_threads
                .push(thread::spawn(move || std::iter::from_fn(|| queue.take_blocking()).collect::<Vec<_>>())),
            2 => consumer_tasks.push(runtime.spawn(async move {
                let mut all = Vec::new();
                while let Some(batch) = queue.take_batch().await {
                    all.extend(batch);
                }
                all
            })),
            3 => consumer_tasks.push(runtime.spawn(async move {
                let mut all = Vec::new();
                while let Some(item) = queue.take().await {
                    all.push(item);
                }
                all
            })),
            _ => consumer_tasks.push(runtime.spawn(async move {
                let mut all = Vec::new();
                loop {
                    match tokio::time::timeout(Duration::from_micros(100), queue.take_batch()).await {
                        Ok(Some(batch)) => all.extend(batch),
                        Ok(None) => return all,
                        Err(_) => {}
                    }
                }
            })),
        }
    }
    for producer in producer_threads {
        producer.join().unwrap();
    }
    runtime.block_on(async {
        for producer in producer_tasks {
            producer.await.unwrap();
        }
    });
    queue.close();
    let mut outputs: Vec<Vec<From>> = consumer_threads.into_iter().map(|c| c.join().unwrap()).collect();
    runtime.block_on(async {
        for consumer in consumer_tasks {
            outputs.push(consumer.await.unwrap());
        }
    });

    let mut seen: HashMap<(usize, usize), usize> = HashMap::new();
    for output in &outputs {
        let mut last: HashMap<usize, usize> = HashMap::new();
        for From(producer, n) in output {
            *seen.entry((*producer, *n)).or_default() += 1;
            if let Some(before) = last.insert(*producer, *n) {
                assert!(before < *n, "producer {producer}: {n} after {before}");
            }
        }
    }
    assert_eq!(seen.len(), 6 * PER_PRODUCER);
    assert!(seen.values().all(|times| *times == 1));
    let stats = queue.stats();
    assert_eq!((stats.items, stats.bytes), (0, 0));
    assert_eq!((stats.enqueued, stats.dequeued), (6 * PER_PRODUCER as u64, 6 * PER_PRODUCER as u64));
}

/// The rules of the module's table, told as simply as possible.
#[derive(Default)]
struct Model {
    items: VecDeque<(Item, Duration)>,
    cramped: bool,
    paused: bool,
    closed: bool,
}

impl Model {
    fn bytes(&self) -> usize {
        self.items.iter().map(|(item, _)| item.weight).sum()
    }

    fn put(&mut self, item: Item, now: Duration) -> Result<(), Refused<Item>> {
        if self.closed {
            return Err(Refused::Closed(item));
        }
        if self.paused {
            return Err(Refused::Paused(item));
        }
        let fits = self.items.len() < 10 && self.bytes() + item.weight <= 100;
        if !fits && !self.items.is_empty() {
            self.cramped = true;
            return Err(Refused::Full(item));
        }
        self.items.push_back((item, now));
        Ok(())
    }

    fn take(&mut self) -> Option<Item> {
        let (item, _) = self.items.pop_front()?;
        self.cramped = false;
        Some(item)
    }

    fn take_batch(&mut self, now: Duration) -> Option<Vec<Item>> {
        let (_, oldest) = *self.items.front()?;
        let enough = self.items.len() >= 3 || self.bytes() >= 50 || now >= oldest + LINGER;
        if !(enough || self.cramped || self.paused || self.closed) {
            return None;
        }
        let mut batch = vec![self.take()?];
        while batch.len() < 5
            && self
                .items
                .front()
                .is_some_and(|(next, _)| batch.iter().map(|item| item.weight).sum::<usize>() + next.weight <= 50)
        {
            batch.extend(self.take());
        }
        Some(batch)
    }
}

#[derive(Clone, Debug)]
enum Op {
    Put(usize),
    PutMany(Vec<usize>),
    Take,
    TakeBatch,
    Wait(Duration),
    Pause,
    Resume,
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let weight = prop_oneof![8 => 0..20_usize, 3 => 20..70_usize, 1 => 70..200_usize];
    prop_oneof![
        8 => weight.clone().prop_map(Op::Put),
        4 => prop::collection::vec(weight, 0..6).prop_map(Op::PutMany),
        3 => Just(Op::Take),
        6 => Just(Op::TakeBatch),
        4 => (1..40_u64).prop_map(|ms| Op::Wait(Duration::from_millis(ms))),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
    ]
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    (prop::collection::vec(op(), 0..80), prop::collection::vec(op(), 0..10), any::<bool>()).prop_map(
        |(mut ops, after, close)| {
            if close {
                ops.push(Op::Close);
                ops.extend(after);
            }
            ops
        },
    )
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(ops in ops()) {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(
            async {
                let (queue, mut model, start) = (queue(), Model::default(), Instant::now());
                let mut id = 0;
                let mut item = |weight| {
                    id += 1;
                    Item { id, weight }
                };
                for op in ops {
                    let now = start.elapsed();
                    match op {
                        Op::Put(weight) => {
                            let item = item(weight);
                            prop_assert_eq!(queue.try_put(item), model.put(item, now));
                        }
                        Op::PutMany(weights) => {
                            let items: VecDeque<Item> = weights.into_iter().map(&mut item).collect();
                            let expected = items.iter().take_while(|item| model.put(**item, now).is_ok()).count();
                            let mut rest = items.clone();
                            prop_assert_eq!(queue.try_put_many(&mut rest), expected);
                            prop_assert!(rest.iter().eq(items.iter().skip(expected)));
                        }
                        Op::Take => prop_assert_eq!(queue.try_take(), model.take()),
                        Op::TakeBatch => prop_assert_eq!(queue.try_take_batch(), model.take_batch(now)),
                        Op::Wait(time) => advance(time).await,
                        Op::Pause => {
                            queue.pause();
                            model.paused = true;
                        }
                        Op::Resume => {
                            queue.resume();
                            model.paused = false;
                        }
                        Op::Close => {
                            queue.close();
                            model.closed = true;
                        }
                    }
                    let stats = queue.stats();
                    prop_assert_eq!((stats.items, stats.bytes), (model.items.len(), model.bytes()));
                    prop_assert_eq!(stats.enqueued - stats.dequeued, model.items.len() as u64);
                }
                Ok(())
            },
        )?;
    }
}
