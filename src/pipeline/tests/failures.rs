//! Messages and answers that no retry helps, and commits that one does.

use super::*;

#[tokio::test(start_paused = true)]
async fn without_a_place_for_it_a_bad_message_ends_all_at_once() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..7).await;
    publish(&queue, 0, None).await;
    publish_rows(&queue, 0, 8..30).await;
    publish_rows(&queue, 1, 0..30).await;
    let (member, began) = (Member::start(&queue, &store, settings()), Instant::now());
    let error = member.ended().await.unwrap_err().to_string();
    assert!(error.contains("t/0 offset 7") && error.contains("tombstone"), "{error}");
    assert_eq!([0, 1].map(|partition| committed(&queue, partition)), [Some(7), Some(30)]);
    assert!(began.elapsed() < SECOND, "ended after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn bad_messages_are_set_aside_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..7).await;
    publish(&queue, 0, None).await;
    publish(&queue, 0, Some("d0 8 -999".to_owned())).await;
    publish_rows(&queue, 0, 9..30).await;
    let to = DeadLetterTo::File(folder.path().into());
    let member = Member::start(&queue, &store, PipelineSettings { dead_letter: to, ..until_end(&[30]) });
    let snapshot = member.ended().await.unwrap();
    assert_eq!((snapshot.rows_written, snapshot.dead_lettered, committed(&queue, 0)), (28, 2, Some(30)));
    let letters = dead_letter::read(&std::fs::read_to_string(folder.path().join("test.jsonl")).unwrap());
    assert_eq!(letters.iter().map(|letter| letter.offset).collect::<Vec<_>>(), [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_for_good_ends_the_pipeline_and_what_is_resolved_is_committed() {
    let denied = |keys: &[Key]| {
        if keys.iter().any(|(table, ts)| table == "d0" && *ts >= 20) { Err(refused(0x0303)) } else { Ok(()) }
    };
    let (queue, store) = (topic(2), FakeStore::new(denied));
    for partition in 0..2 {
        publish_rows(&queue, partition, 0..40).await;
    }
    let (member, began) = (Member::start(&queue, &store, settings()), Instant::now());
    let error = member.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::Worker(WorkerError::Write { .. })), "{error}");
    let first = committed(&queue, 0).unwrap_or(0);
    assert!((0..=20).contains(&first) && committed(&queue, 1) == Some(40), "{first}");
    let written = store.fake().rows.keys().filter(|(table, _)| table == "d0").count() as Offset;
    assert_eq!(written, first);
    assert!(began.elapsed() < SECOND, "ended after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_decoding_is_a_failure() {
    struct Broken;
    impl crate::mapping::OneRow for Broken {
        fn append_one(
            &mut self,
            _: &crate::message::Message,
            _: u32,
            _: &mut crate::block::Block,
        ) -> Result<(), crate::mapping::MessageFault> {
            panic!("as told")
        }
    }
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let error = Member::start_with(&queue, &store, until_end(&[10]), || Broken).ended().await.unwrap_err();
    assert!(matches!(&error, PipelineError::Panicked(why) if why.contains("as told")), "{error}");
    assert_eq!(committed(&queue, 0).unwrap_or(0), 0);
}

#[tokio::test(start_paused = true)]
async fn commits_that_fail_are_tried_again() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let failed = || MqError::Other { action: "commit".into(), reason: "as told".into() };
    let expected = queue.fail(Action::Commit, [failed(), failed(), failed()]);
    let member = Member::start(&queue, &store, until_end(&[10]));
    member.ended().await.unwrap();
    assert_eq!((committed(&queue, 0), expected.remaining()), (Some(10), 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_refuses_for_good_ends_it() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..10).await;
    let member = Member::start(&queue, &store, settings());
    until_committed(&queue, &[10]).await;
    let trouble = MqError::Other { action: "reading".into(), reason: "as told".into() };
    let denied = MqError::Denied { action: "reading".into(), reason: "as told".into() };
    let expected = queue.fail(Action::Read, [trouble, denied]);
    publish_rows(&queue, 0, 10..11).await;
    let error = member.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::Mq(MqError::Denied { .. })), "{error}");
    drop(expected);
}
