//! A worker on a store that does as it is told.

use std::collections::VecDeque;

use bytes::Bytes;

use super::fake::{FakeStore, Lines, refused, schema};
use super::*;
use crate::ack::Resolution;
use crate::dead_letter::{self, DeadLetterTo};
use crate::queue::QueueSettings;

struct Run {
    shared: Arc<Shared<FakeStore>>,
    source: TopicPartition,
    ended: Result<(), WorkerError>,
}

impl Run {
    fn committable(&self) -> Vec<(TopicPartition, Offset)> {
        self.shared.progress().acks.committable()
    }

    fn rows(&self) -> usize {
        self.shared.store.fake().rows.len()
    }
}

/// Puts all messages through one worker.
async fn run(store: &FakeStore, to: DeadLetterTo, payloads: Vec<Option<String>>) -> Run {
    run_knowing(schema(2), store, to, payloads).await
}

/// The same, by a worker that knows the super table so.
async fn run_knowing(known: SuperTable, store: &FakeStore, to: DeadLetterTo, payloads: Vec<Option<String>>) -> Run {
    let shared = Arc::new(Shared {
        store: store.clone(),
        schemas: watch::Sender::new([Arc::new(known)].into()),
        progress: Mutex::default(),
        workers: OnceLock::new(),
        commit_error: Mutex::default(),
        session: Session::new(Duration::MAX, || 7),
        stats: Stats::default(),
        dead_letters: tokio::sync::Mutex::new(DeadLetters::new(to, "test")),
        outage: watch::Sender::new(0),
        now_ms: || 7,
        jitter: 7,
    });
    shared.session.confirm(shared.session.moment());
    let source = TopicPartition::new("lines", 0);
    let epoch = shared.progress().acks.assign(source.clone());
    let all = 0..=payloads.len() as Offset - 1;
    assert!(shared.progress().acks.deliver(&source, epoch, [all], Instant::now()));
    let message = |(offset, payload): (usize, Option<String>)| Message {
        source: source.clone(),
        offset: offset as Offset,
        timestamp_ms: None,
        key: None,
        payload: payload.map(Bytes::from),
        headers: Vec::new(),
    };
    let queue = BatchQueue::new(QueueSettings::default()).unwrap();
    let mut deliveries: VecDeque<_> =
        payloads.into_iter().enumerate().map(message).map(|message| Delivery { message, epoch }).collect();
    queue.try_put_many(&mut deliveries);
    queue.close();
    let ended = Worker::new(queue).run(shared.clone(), || Lines).await;
    Run { shared, source, ended }
}

fn lines(count: i64) -> Vec<Option<String>> {
    (0..count).map(|n| Some(format!("d{} {n} {n}", n % 3))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_written_is_resolved() {
    let store = FakeStore::new(|_| Ok(()));
    let run = run(&store, DeadLetterTo::None, lines(10)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (10, vec![(run.source.clone(), 10)]));
    assert_eq!(run.shared.stats.snapshot().rows_written, 10);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_nothing_is_resolved_meanwhile() {
    let mut tries = 0;
    let store = FakeStore::new(move |_| {
        tries += 1;
        if tries <= 200 { Err(TdengineError::Closed { address: "h:1".into(), reason: "gone".into() }) } else { Ok(()) }
    });
    let began = Instant::now();
    let run = run(&store, DeadLetterTo::None, lines(10)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (10, vec![(run.source.clone(), 10)]));
    let (writes, reconnects) = {
        let fake = store.fake();
        (fake.writes, fake.reconnects)
    };
    assert_eq!((writes, reconnects), (201, 200));
    assert!(began.elapsed() > Duration::from_secs(600), "pauses grow, so 200 tries take long");
    assert_eq!(*run.shared.outage.borrow(), 0, "and in the end it is told to be over");
}

#[tokio::test(start_paused = true)]
async fn faulty_rows_are_found_and_the_rest_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let bad = |key: &(String, i64)| key.1 == 17 || key.1 == 600;
    let store = FakeStore::new(move |keys| if keys.iter().any(bad) { Err(refused(0x060B)) } else { Ok(()) });
    let run = run(&store, DeadLetterTo::File(folder.path().into()), lines(1000)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (998, vec![(run.source.clone(), 1000)]));
    let letters = dead_letter::read(&std::fs::read_to_string(folder.path().join("test.jsonl")).unwrap());
    let kept: Vec<_> =
        letters.iter().map(|letter| (letter.offset, letter.code.as_deref(), letter.failed_at_ms)).collect();
    assert_eq!(kept, [(17, Some("0x060B"), 7), (600, Some("0x060B"), 7)]);
    let writes = store.fake().writes;
    assert!(writes <= 1 + 2 * 2 * 10, "{writes} writes for 2 bad rows in 1000");
    assert_eq!(run.shared.stats.snapshot().dead_lettered, 2);
}

#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_encoded_and_tombstones_are_set_aside_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::new(|_| Ok(()));
    let mut payloads = lines(4);
    payloads.extend([None, Some("d1 9 -999".to_owned())]);
    let run = run(&store, DeadLetterTo::File(folder.path().into()), payloads).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (4, vec![(run.source.clone(), 6)]));
    assert_eq!(run.shared.stats.snapshot().dead_lettered, 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_place_the_worker_stops_at_the_first_bad_message_and_what_came_before_counts() {
    let store = FakeStore::new(|_| Ok(()));
    let mut payloads = lines(6);
    payloads[4] = None;
    let run = run(&store, DeadLetterTo::None, payloads).await;
    let error = run.ended.as_ref().unwrap_err().to_string();
    assert!(error.contains("lines/0 offset 4") && error.contains("tombstone"), "{error}");
    assert_eq!(run.committable(), vec![(run.source.clone(), 4)]);
}

#[tokio::test(start_paused = true)]
async fn a_super_table_that_changed_is_read_again() {
    let store = FakeStore::new(|_| Ok(()));
    store.fake().schema = schema(3);
    let run = run(&store, DeadLetterTo::None, lines(10)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (10, vec![(run.source.clone(), 10)]));
    assert_eq!(run.shared.schemas.borrow()[0].columns.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn rows_at_fault_for_an_old_definition_are_made_anew() {
    let store = FakeStore::new(|_| Ok(()));
    // It has got a column since, which the rows have a value for.
    let run = run_knowing(schema(1), &store, DeadLetterTo::None, lines(10)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable(), store.fake().reads), (10, vec![(run.source.clone(), 10)], 1));
}

#[tokio::test(start_paused = true)]
async fn rows_at_fault_for_themselves_do_not_have_it_read_all_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::new(|_| Ok(()));
    store.fake().schema = schema(1);
    let run = run_knowing(schema(1), &store, DeadLetterTo::File(folder.path().into()), lines(5000)).await;
    run.ended.as_ref().unwrap();
    assert_eq!((run.rows(), run.committable()), (0, vec![(run.source.clone(), 5000)]));
    assert_eq!(store.fake().reads, 1, "in less than ten seconds");
}

#[tokio::test(start_paused = true)]
async fn a_super_table_that_is_made_anew_is_waited_for() {
    let store = FakeStore::new(|_| Ok(()));
    (store.fake().schema, store.fake().gone) = (schema(3), 5);
    let back = run(&store, DeadLetterTo::None, lines(10)).await;
    back.ended.as_ref().unwrap();
    assert_eq!((back.rows(), back.committable()), (10, vec![(back.source.clone(), 10)]));
    let store = FakeStore::new(|_| Ok(()));
    (store.fake().schema, store.fake().gone) = (schema(3), usize::MAX);
    let run = run(&store, DeadLetterTo::None, lines(10)).await;
    let error = run.ended.as_ref().unwrap_err().to_string();
    assert!(error.contains("super table `power`.`meters` does not exist"), "{error}");
    assert_eq!(run.committable(), vec![], "and nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn what_no_retry_helps_ends_the_worker_and_resolves_nothing() {
    for (code, word) in [(0x0357, "wrong password"), (0x0388, "database")] {
        let store = FakeStore::new(move |_| Err(refused(code)));
        let run = run(&store, DeadLetterTo::None, lines(10)).await;
        let error = run.ended.as_ref().unwrap_err().to_string();
        assert!(error.contains("meters") && error.contains(word), "{error}");
        assert_eq!((run.committable(), store.fake().writes), (vec![], 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_unknown_meaning_is_tried_a_few_times_and_never_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let store = FakeStore::new(|_| Err(refused(0x7777)));
    let run = run(&store, DeadLetterTo::File(folder.path().into()), lines(10)).await;
    assert!(run.ended.is_err() && run.committable().is_empty());
    assert_eq!((store.fake().writes, std::fs::read_dir(folder.path()).unwrap().count()), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_older_assignment_are_not_written() {
    let store = FakeStore::new(|_| Ok(()));
    let run = run(&store, DeadLetterTo::None, lines(3)).await;
    let old = run.shared.progress().acks.assign(run.source.clone());
    let current = run.shared.progress().acks.assign(run.source.clone());
    let message = |offset| Message {
        source: run.source.clone(),
        offset,
        timestamp_ms: None,
        key: None,
        payload: None,
        headers: Vec::new(),
    };
    let deliveries = || {
        let of = |offset, epoch| Delivery { message: message(offset), epoch };
        vec![of(1, old), of(1, current), of(2, current), of(2, old)]
    };
    let left = |retain: fn(&Shared<FakeStore>, &mut Vec<Delivery>)| {
        let mut left = deliveries();
        retain(&run.shared, &mut left);
        left.iter().map(|delivery| delivery.message.offset).collect::<Vec<_>>()
    };
    assert!(!run.shared.holds(&deliveries()) && run.shared.holds(&deliveries()[1..3]));
    assert_eq!((left(Shared::retain_ours), left(Shared::retain_held)), (vec![1, 2], vec![1, 2]));
    run.shared.progress().leaving.insert(current);
    assert_eq!((left(Shared::retain_ours), left(Shared::retain_held)), (vec![], vec![1, 2]));
    run.shared.progress().acks.resolve(&run.source, old, [0..=9], Resolution::Written);
    assert_eq!(run.committable(), vec![], "nor is what they resolve counted");
}
