//! How a pipeline ends: by a signal, at the end, at a deadline, at once, dropped.

use super::*;

#[tokio::test(start_paused = true)]
async fn all_is_written_and_committed_and_a_stop_ends_it() {
    let (queue, store) = (topic(4), FakeStore::new(|_| Ok(())));
    for partition in 0..4 {
        publish_rows(&queue, partition, 0..100).await;
    }
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[100; 4]).await;
    publish_rows(&queue, 2, 100..103).await;
    until("the rest is read", || member.consumed() == 403).await;
    let snapshot = member.stopped().await.unwrap();
    assert_eq!((snapshot.consumed, snapshot.rows_written, snapshot.redelivered), (403, 403, 0));
    assert_eq!(committed(&queue, 2), Some(103), "what was taken in is committed before the end");
    assert_eq!(snapshot.partitions[&tp(2)].committed, Some(103));
    assert_in_order(&store, &[(0, 100), (1, 100), (2, 103), (3, 100)]);
}

#[tokio::test(start_paused = true)]
async fn until_the_end_of_full_empty_and_partly_committed_partitions() {
    let (queue, store) = (topic(3), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..50).await;
    publish_rows(&queue, 2, 0..30).await;
    let first = Member::start(&queue, &store, until_end(&[50, 0, 30])).ended().await.unwrap();
    assert_eq!((first.consumed, store.fake().rows.len()), (80, 80));
    publish_rows(&queue, 2, 30..60).await;
    let second = Member::start(&queue, &store, until_end(&[50, 0, 60])).ended().await.unwrap();
    assert_eq!((second.consumed, store.fake().rows.len()), (30, 110), "what is committed is not read again");
    let third = Member::start(&queue, &store, until_end(&[50, 0, 60])).ended().await.unwrap();
    assert_eq!(third.consumed, 0);
    assert_eq!([0, 1, 2].map(|partition| committed(&queue, partition)), [Some(50), None, Some(60)]);
}

#[tokio::test(start_paused = true)]
async fn until_the_end_with_more_members_than_partitions() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(SECOND / 10)));
    publish_rows(&queue, 0, 0..200).await;
    publish_rows(&queue, 1, 0..20).await;
    let members: Vec<_> = (0..5).map(|_| Member::start(&queue, &store, until_end(&[200, 20]))).collect();
    for member in members {
        member.ended().await.unwrap();
    }
    assert_eq!([0, 1].map(|partition| committed(&queue, partition)), [Some(200), Some(20)]);
    assert_in_order(&store, &[(0, 200), (1, 20)]);
}

#[tokio::test(start_paused = true)]
async fn until_the_end_waits_for_what_found_no_room_in_a_queue() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(SECOND)));
    publish_rows(&queue, 0, 0..100).await;
    let small = QueueSettings { max_queue_items: 3, max_batch_items: 3, min_batch_items: 1, ..settings().queue };
    let member = Member::start(&queue, &store, PipelineSettings { queue: small, ..until_end(&[100]) });
    let snapshot = member.ended().await.unwrap();
    assert_eq!((snapshot.rows_written, committed(&queue, 0)), (100, Some(100)));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_dropped_writes_nothing_more() {
    let (queue, store) = (topic(1), FakeStore::new(slowly(SECOND)));
    publish_rows(&queue, 0, 0..100).await;
    let member = Member::start(&queue, &store, settings());
    until("something is written", || !store.fake().history.is_empty()).await;
    member.running.abort();
    sleep(SECOND / 100).await;
    let writes = store.fake().writes;
    sleep(60 * SECOND).await;
    assert_eq!(store.fake().writes, writes);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_committed_before_the_end_is_told() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 1, 0..10).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[0, 10]).await;
    queue.lose_connection("as told");
    sleep(SECOND).await;
    queue.restore_connection();
    publish_rows(&queue, 1, 10..15).await;
    until("it is written", || store.fake().rows.len() == 15).await;
    queue.lose_connection("as told");
    let error = member.stopped().await.unwrap_err();
    assert!(
        matches!(&error, PipelineError::Undrained { uncommitted, .. } if *uncommitted == [(tp(1), 10, 5)]),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stuck_store_ends_at_the_deadline_with_a_list() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(9999 * SECOND)));
    publish_rows(&queue, 1, 0..7).await;
    let mut member = Member::start(&queue, &store, settings());
    until("it is read", || member.consumed() == 7).await;
    let began = Instant::now();
    member.stop();
    let error = member.ended().await.unwrap_err();
    assert!(
        matches!(&error, PipelineError::Undrained { uncommitted, .. } if *uncommitted == [(tp(1), 0, 7)]),
        "{error}"
    );
    assert!(error.to_string().contains("t/1 7 from offset 0"), "{error}");
    assert!(began.elapsed() < 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_ends_it_at_once_with_a_list() {
    let (queue, store) = (topic(2), FakeStore::new(slowly(9999 * SECOND)));
    publish_rows(&queue, 0, 0..7).await;
    let mut member = Member::start(&queue, &store, settings());
    until("it is read", || member.consumed() == 7).await;
    let began = Instant::now();
    member.stop();
    sleep(SECOND).await;
    let _ = member.abort.take().unwrap().send(());
    let error = member.ended().await.unwrap_err();
    assert!(matches!(&error, PipelineError::Aborted { uncommitted } if *uncommitted == [(tp(0), 0, 7)]), "{error}");
    assert!(began.elapsed() < 2 * SECOND);
}

/// Reaching the end is no shutdown: nobody waits for the process to be gone.
#[tokio::test(start_paused = true)]
async fn until_the_end_waits_out_an_outage_longer_than_a_drain() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(gone())));
    publish_rows(&queue, 0, 0..30).await;
    let member = Member::start(&queue, &store, until_end(&[30]));
    until("all is read", || member.consumed() == 30).await;
    sleep(60 * SECOND).await;
    store.answer(|_| Ok(()));
    member.ended().await.unwrap();
    assert_eq!(committed(&queue, 0), Some(30));
    // A signal sets a limit to that too.
    store.answer(|_| Err(gone()));
    publish_rows(&queue, 0, 30..60).await;
    let mut member = Member::start(&queue, &store, until_end(&[60]));
    until("all is read", || member.consumed() == 30).await;
    sleep(60 * SECOND).await;
    member.stop();
    assert!(matches!(member.ended().await, Err(PipelineError::Undrained { .. })));
}
