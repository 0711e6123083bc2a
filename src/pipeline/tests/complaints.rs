//! What users of other programs for the same purpose lost rows, or nights, to: each as a test that it does not happen
//! here. `docs/guarantees.md` says what is shown where.

use super::*;
use crate::worker::Cause;

fn set_aside(folder: &tempfile::TempDir) -> PipelineSettings {
    PipelineSettings { dead_letter: DeadLetterTo::File(folder.path().into()), ..settings() }
}

fn letters(folder: &tempfile::TempDir) -> Vec<dead_letter::DeadLetter> {
    let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    files.flat_map(|path| dead_letter::read(&std::fs::read_to_string(path).unwrap())).collect()
}

#[tokio::test(start_paused = true)]
async fn an_offset_is_not_committed_before_its_insert_is_answered() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(30 * SECOND)));
    publish_rows(&queue, 0, 0..5).await;
    let member = Member::start(&queue, &store, settings());
    until("it is sent", || store.fake().rows.len() == 5).await;
    sleep(29 * SECOND).await;
    assert_eq!(committed(&queue, 0).unwrap_or(0), 0, "sent, stored even, and not answered");
    until_committed(&queue, &[5]).await;
    member.stopped().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bad_message_is_not_committed_before_it_is_set_aside() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..3).await;
    publish(&queue, 0, None).await;
    publish_rows(&queue, 0, 4..9).await;
    let kept = Arc::new(Mutex::new((false, Vec::new())));
    let to = Place::of({
        let kept = kept.clone();
        move |_, offset| {
            let mut kept = kept.lock().unwrap();
            if !kept.0 {
                return Err(not_kept());
            }
            kept.1.push(offset);
            Ok(())
        }
    });
    let member = Member::start(&queue, &store, PipelineSettings { workers: 1, dead_letter: to, ..settings() });
    until_committed(&queue, &[3]).await;
    // The place fails for ten minutes: consuming pauses, says why, and goes on by itself.
    sleep(600 * SECOND).await;
    publish_rows(&queue, 0, 9..12).await;
    sleep(SECOND).await;
    assert_eq!((committed(&queue, 0), member.consumed()), (Some(3), 9), "paused");
    let gaps = member.watch.gaps();
    assert!(matches!(gaps.as_slice(), [gap] if gap.waits_for == Cause::DeadLetters && gap.offset == 3), "{gaps:?}");
    assert!(gaps[0].reason.contains("no space left") && member.watch.health().not_ready.is_some(), "{gaps:?}");
    kept.lock().unwrap().0 = true;
    until_committed(&queue, &[12]).await;
    assert_eq!((member.stopped().await.unwrap().dead_lettered, &kept.lock().unwrap().1[..]), (1, &[3][..]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_insert_is_tried_again_until_it_is_answered() {
    let mut tries = 0;
    let failing = move |_: &[Key]| {
        tries += 1;
        if tries <= 50 { Err(refused(0x0903)) } else { Ok(()) }
    };
    let (queue, store) = (topic(1), FakeStore::new(failing));
    publish_rows(&queue, 0, 0..5).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[5]).await;
    let snapshot = member.stopped().await.unwrap();
    assert_eq!((snapshot.rows_written, snapshot.retries, store.fake().rows.len()), (5, 50, 5));
    assert_eq!(snapshot.retries_by_class["cluster"], 50);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_the_insert_under_way_and_not_for_an_empty_queue_alone() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(3 * SECOND)));
    publish_rows(&queue, 0, 0..5).await;
    let member = Member::start(&queue, &store, settings());
    until("it is under way", || !store.fake().history.is_empty()).await;
    member.stopped().await.unwrap();
    assert_eq!(committed(&queue, 0), Some(5));
}

#[tokio::test(start_paused = true)]
async fn a_topic_may_have_any_number_of_partitions() {
    let (queue, store) = (topic(300), FakeStore::new(|_| Ok(())));
    for partition in 0..300 {
        publish_rows(&queue, partition, 0..2).await;
    }
    let snapshot = Member::start(&queue, &store, until_end(&[2; 300])).ended().await.unwrap();
    assert_eq!((snapshot.rows_written, snapshot.partitions.len()), (600, 300));
}

#[tokio::test(start_paused = true)]
async fn one_bad_row_costs_no_other_and_has_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let bad = |keys: &[Key]| if keys.iter().any(|(_, ts)| *ts == 13) { Err(refused(0x060B)) } else { Ok(()) };
    let (queue, store) = (topic(1), FakeStore::new(bad));
    publish_rows(&queue, 0, 0..40).await;
    let member = Member::start(&queue, &store, set_aside(&folder));
    until_committed(&queue, &[40]).await;
    member.stopped().await.unwrap();
    let letters = letters(&folder);
    assert_eq!((store.fake().rows.len(), letters.len()), (39, 1));
    assert_eq!((letters[0].offset, letters[0].code.as_deref()), (13, Some("0x060B")));
    assert!(letters[0].reason.contains("KEEP"), "{}", letters[0].reason);
}

#[tokio::test(start_paused = true)]
async fn a_retry_budget_begins_anew_after_a_success() {
    // Of every six tries five fail, in a way that is borne five times in a row.
    let mut tries = 0;
    let failing = move |_: &[Key]| {
        tries += 1;
        if tries % 6 == 0 { Ok(()) } else { Err(refused(0x7777)) }
    };
    let (queue, store) = (topic(1), FakeStore::new(failing));
    publish_rows(&queue, 0, 0..200).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[200]).await;
    let snapshot = member.stopped().await.unwrap();
    assert_eq!(snapshot.rows_written, 200);
    assert!(snapshot.retries >= 100, "{}", snapshot.retries);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_is_not_passed_over_by_a_later_success() {
    let rejected = |keys: &[Key]| if keys.iter().any(|(_, ts)| *ts == 7) { Err(refused(0x012E)) } else { Ok(()) };
    let (queue, store) = (topic(2), FakeStore::new(rejected));
    publish_rows(&queue, 0, 0..100).await;
    publish_rows(&queue, 1, 20..120).await;
    let member = Member::start(&queue, &store, PipelineSettings { workers: 2, ..settings() });
    until_committed(&queue, &[0, 100]).await;
    sleep(600 * SECOND).await;
    let first = committed(&queue, 0).unwrap_or(0);
    assert!(first <= 7, "others were written meanwhile, and {first} is committed");
    store.answer(|_| Ok(()));
    until_committed(&queue, &[100, 100]).await;
    member.stopped().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_sends_nothing_to_the_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(refused(0x012E))));
    publish_rows(&queue, 0, 0..50).await;
    let member = Member::start(&queue, &store, set_aside(&folder));
    sleep(3600 * SECOND).await;
    assert_eq!(letters(&folder).len(), 0);
    store.answer(|_| Ok(()));
    until_committed(&queue, &[50]).await;
    assert_eq!(member.stopped().await.unwrap().dead_lettered, 0);
    assert_eq!(store.fake().rows.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_written_again_reorders_nothing() {
    // A part of each write is stored before it fails; then the same key comes with later values.
    let mut tries = 0;
    let partly = move |keys: &[Key]| {
        tries += 1;
        if tries % 3 == 0 {
            Answer::from(Ok(()))
        } else {
            Answer { written: keys.len() / 2, ..Answer::from(Err(gone())) }
        }
    };
    let (queue, store) = (topic(1), FakeStore::new(partly));
    for value in 0..100 {
        publish(&queue, 0, Some(format!("d0 {} {value}", value % 10))).await;
    }
    Member::start(&queue, &store, until_end(&[100])).ended().await.unwrap();
    let fake = store.fake();
    let last: Vec<_> = fake.rows.values().copied().collect();
    assert_eq!(last, (90..100).collect::<Vec<_>>());
    for ts in 0..10 {
        let values: Vec<_> = fake.history.iter().filter(|((_, at), _)| *at == ts).map(|(_, value)| *value).collect();
        assert!(values.is_sorted(), "key {ts} had {values:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_stalls_when_members_are_added() {
    for eager in [false, true] {
        let queue = MemoryQueue::new(MemorySettings { max_event_messages: 10, eager, ..MemorySettings::default() });
        queue.create_topic("t", 8);
        let store = FakeStore::new(slowly(SECOND / 50));
        let mut members = Vec::new();
        for round in 0..8_i64 {
            members.push(Member::start(&queue, &store, settings()));
            for partition in 0..8 {
                publish_rows(&queue, partition, round * 20..(round + 1) * 20).await;
            }
            sleep(SECOND).await;
        }
        until_committed(&queue, &[160; 8]).await;
        assert!(members.iter().all(|member| !member.running.is_finished()), "eager: {eager}");
        for member in members {
            member.stopped().await.unwrap();
        }
        assert_eq!(store.fake().rows.len(), 8 * 160);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_of_ten_minutes_costs_no_partition() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(600 * SECOND)));
    publish_rows(&queue, 0, 0..5).await;
    let member = Member::start(&queue, &store, settings());
    until("it is under way", || !store.fake().history.is_empty()).await;
    store.answer(|_| Ok(()));
    until_committed(&queue, &[5]).await;
    publish_rows(&queue, 1, 0..5).await;
    until_committed(&queue, &[5, 5]).await;
    let snapshot = member.stopped().await.unwrap();
    assert_eq!((snapshot.consumed, snapshot.redelivered, store.fake().writes), (10, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn after_a_bad_message_the_next_has_its_own_timestamp() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    // A row is begun, its timestamp set, and then its value does not fit.
    for (ts, value) in [(10, 1), (20, i64::MAX), (30, 3)] {
        publish(&queue, 0, Some(format!("d0 {ts} {value}"))).await;
    }
    let member = Member::start(&queue, &store, set_aside(&folder));
    until_committed(&queue, &[3]).await;
    member.stopped().await.unwrap();
    let rows: Vec<_> = store.fake().rows.iter().map(|((_, ts), value)| (*ts, *value)).collect();
    assert_eq!((rows, letters(&folder).len()), (vec![(10, 1), (30, 3)], 1));
}

#[tokio::test(start_paused = true)]
async fn who_has_stopped_consuming_says_so_and_why() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    let member = Member::start(&queue, &store, settings());
    until("it has partitions", || member.watch.health().assigned == 2).await;
    assert_eq!((member.watch.health().not_ready, member.watch.gaps()), (None, vec![]));
    store.answer(|_| Err(refused(0x0408)));
    publish_rows(&queue, 1, 0..30).await;
    sleep(60 * SECOND).await;
    let health = member.watch.health();
    assert!(health.not_ready.as_ref().is_some_and(|why| why.contains("0x0408")) && health.paused, "{health:?}");
    let old = member.watch.old_gaps();
    let [gap] = old.as_slice() else { panic!("{old:?}") };
    assert_eq!((gap.partition, gap.offset, gap.waits_for), (1, 0, Cause::Retry));
    assert!(gap.failures > 5 && gap.seconds > 50.0 && gap.waiting_seconds > 50.0, "{gap:?}");
    store.answer(|_| Ok(()));
    until_committed(&queue, &[0, 30]).await;
    assert_eq!((member.watch.health().not_ready, member.watch.gaps()), (None, vec![]));
    let failed = || MqError::Other { action: "commit".into(), reason: "no coordinator".into() };
    let failures = queue.fail(Action::Commit, (0..600).map(|_| failed()));
    publish_rows(&queue, 0, 0..3).await;
    sleep(20 * SECOND).await;
    let gaps = member.watch.gaps();
    assert!(
        matches!(gaps.as_slice(), [gap] if gap.waits_for == Cause::Commit && gap.reason.contains("no coordinator")),
        "{gaps:?}"
    );
    until_committed(&queue, &[3, 30]).await;
    drop(failures);
    member.stopped().await.unwrap();
}

/// The session: a member that was stopped for longer than it sends nothing on top of its successor's values.
#[tokio::test(start_paused = true)]
async fn who_was_stopped_past_his_session_sends_nothing_more() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(gone())));
    publish_rows(&queue, 0, 0..5).await;
    let process = Process::default();
    let first = Member::start_as(&process, &queue, &store, settings());
    until("it is tried", || store.fake().writes > 3).await;
    process.stop();
    sleep(settings().session_timeout).await;
    queue.expire_session("g", 1);
    store.answer(|_| Ok(()));
    let second = Member::start(&queue, &store, settings());
    for n in 0..5 {
        publish(&queue, 0, Some(format!("d0 {n} {}", n + 100))).await;
    }
    until_committed(&queue, &[10]).await;
    let writes = store.fake().writes;
    process.go_on();
    sleep(60 * SECOND).await;
    assert_eq!(store.fake().writes, writes, "what it had in hand is another's");
    assert_eq!(store.fake().rows.values().copied().collect::<Vec<_>>(), [100, 101, 102, 103, 104]);
    // It is a member again, and takes its part.
    drop(second);
    publish_rows(&queue, 0, 50..60).await;
    until_committed(&queue, &[20]).await;
    first.stopped().await.unwrap();
}

/// The group's word is all that counts: a clock that says a session is over, and is wrong, costs a question.
#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_stops_nobody() {
    use std::sync::atomic::{AtomicI64, Ordering};
    static WALL: AtomicI64 = AtomicI64::new(0);
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    let jumping = PipelineSettings { now_ms: || WALL.load(Ordering::Relaxed), ..settings() };
    let member = Member::start(&queue, &store, jumping);
    for n in 0..10_i64 {
        WALL.fetch_add(if n % 2 == 0 { 86_400_000 } else { -90_000_000 }, Ordering::Relaxed);
        publish_rows(&queue, 0, n..n + 1).await;
        until_committed(&queue, &[n + 1]).await;
    }
    assert_eq!(member.stopped().await.unwrap().redelivered, 0);
}

/// While Kafka cannot be reached nobody knows whose a partition is, so past a session nothing is written.
#[tokio::test(start_paused = true)]
async fn without_kafka_nothing_is_written_past_the_session() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(gone())));
    publish_rows(&queue, 0, 0..5).await;
    let member = Member::start(&queue, &store, settings());
    until("it is tried", || store.fake().writes > 3).await;
    queue.lose_connection("as told");
    sleep(settings().session_timeout + SECOND).await;
    let writes = store.fake().writes;
    store.answer(|_| Ok(()));
    sleep(60 * SECOND).await;
    assert_eq!(store.fake().writes, writes);
    let gaps = member.watch.gaps();
    assert!(matches!(gaps.as_slice(), [gap] if gap.waits_for == Cause::Session), "{gaps:?}");
    queue.restore_connection();
    until_committed(&queue, &[5]).await;
    member.stopped().await.unwrap();
}

/// What is read again from further back is written again before its end is committed again.
#[tokio::test(start_paused = true)]
async fn what_is_read_again_is_committed_again_from_there() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    for value in 0..20 {
        publish(&queue, 0, Some(format!("d0 {} {value}", value % 2))).await;
    }
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[20]).await;
    store.answer(|_| Err(gone()));
    queue.seek_back("g", &tp(0), 15);
    until("it is committed from there", || committed(&queue, 0) == Some(5)).await;
    member.running.abort();
    store.answer(|_| Ok(()));
    let second = Member::start(&queue, &store, settings());
    until_committed(&queue, &[20]).await;
    assert_eq!(store.fake().rows.values().copied().collect::<Vec<_>>(), [18, 19]);
    second.stopped().await.unwrap();
}
