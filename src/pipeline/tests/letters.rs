//! Dead letters: a topic as their place, a place that takes nothing, and replay.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::dead_letter::{Archive, DeadLetters, Filter, Publish, Publishing, Replay, TopicPlace};

/// Nothing about `-1` can be written.
fn poison(keys: &[Key]) -> Result<(), crate::tdengine::TdengineError> {
    if keys.iter().any(|(_, ts)| *ts < 0) { Err(refused(0x060B)) } else { Ok(()) }
}

async fn with_poison(queue: &MemoryQueue) {
    publish_rows(queue, 0, 0..5).await;
    publish(queue, 0, Some("d0 -1 1".to_owned())).await;
    publish_rows(queue, 0, 5..10).await;
}

fn place(queue: &MemoryQueue) -> DeadLetterTo {
    DeadLetterTo::Topic(TopicPlace::new("dead", 1, Arc::new(queue.clone())))
}

#[tokio::test(start_paused = true)]
async fn a_letter_in_a_topic_is_the_message_as_it_was() {
    let (queue, store) = (topic(1), FakeStore::new(poison));
    with_poison(&queue).await;
    let settings = PipelineSettings { dead_letter: place(&queue), ..until_end(&[11]) };
    let snapshot = Member::start(&queue, &store, settings).ended().await.unwrap();
    assert_eq!((snapshot.dead_lettered, committed(&queue, 0)), (1, Some(11)));
    let letters = queue.messages("dead").concat();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(letter.payload.as_deref(), Some(&b"d0 -1 1"[..]));
    let header = |name: &str| {
        let found = letter.headers.iter().find(|header| header.name == name)?;
        std::str::from_utf8(found.value.as_deref()?).ok()
    };
    assert_eq!((header("kafka-taos-topic"), header("kafka-taos-offset")), (Some("t"), Some("5")));
    assert_eq!(header("kafka-taos-code"), Some("0x060B"));
    let rows = header("kafka-taos-rows").unwrap();
    assert!(rows.contains("insert into") && rows.contains("-1"), "{rows}");
}

#[tokio::test(start_paused = true)]
async fn while_a_topic_takes_no_letters_consuming_pauses_and_nothing_is_committed() {
    let (queue, dead) = (topic(1), topic(0));
    let store = FakeStore::new(poison);
    with_poison(&queue).await;
    dead.lose_connection("gone");
    let settings = PipelineSettings { dead_letter: place(&dead), ..settings() };
    let member = Member::start(&queue, &store, settings);
    sleep(300 * SECOND).await;
    publish_rows(&queue, 0, 10..20).await;
    sleep(60 * SECOND).await;
    assert_eq!((committed(&queue, 0), member.consumed()), (Some(5), 11), "paused");
    dead.restore_connection();
    until_committed(&queue, &[21]).await;
    assert_eq!((member.stopped().await.unwrap().dead_lettered, dead.messages("dead").concat().len()), (1, 1));
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn while_the_disk_is_full_consuming_pauses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let (queue, store) = (topic(1), FakeStore::new(poison));
    with_poison(&queue).await;
    let settings = PipelineSettings { dead_letter: DeadLetterTo::File(folder.path().into()), ..settings() };
    let member = Member::start(&queue, &store, settings);
    until_committed(&queue, &[5]).await;
    sleep(60 * SECOND).await;
    publish_rows(&queue, 0, 10..20).await;
    sleep(60 * SECOND).await;
    assert_eq!((committed(&queue, 0), member.consumed()), (Some(5), 11), "paused");
    std::fs::remove_file(&path).unwrap();
    until_committed(&queue, &[21]).await;
    assert_eq!(member.stopped().await.unwrap().dead_lettered, 1);
    assert_eq!(Archive::of_folder(folder.path(), &Filter::default()).unwrap().entries()[0].offset, 5);
}

#[tokio::test(start_paused = true)]
async fn a_flood_stops_the_consumer_and_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(refused(0x060B))));
    publish_rows(&queue, 0, 0..100).await;
    let to = || PipelineSettings {
        dead_letter: DeadLetterTo::File(folder.path().into()),
        dead_letter_limit: Some("25/1m".parse().unwrap()),
        ..until_end(&[100])
    };
    let flood = Member::start(&queue, &store, to()).ended().await.unwrap_err();
    assert!(flood.to_string().contains("25/1m"), "{flood}");
    let stopped = committed(&queue, 0).unwrap();
    assert!((1..=25).contains(&stopped), "{stopped}");
    store.answer(|_| Ok(()));
    Member::start(&queue, &store, to()).ended().await.unwrap();
    let letters = Archive::of_folder(folder.path(), &Filter::default()).unwrap().entries().len();
    assert_eq!((letters as i64, store.fake().rows.len() as i64), (stopped, 100 - stopped), "each once");
}

/// Replays what is in `folder`.
async fn replay(folder: &std::path::Path, store: &FakeStore, name: &str) -> Snapshot {
    let to = || DeadLetterTo::File(folder.into());
    let archive = Archive::of_folder(folder, &Filter::default()).unwrap();
    let replay = Replay::new(archive, DeadLetters::new(to(), &format!("{name}-done")));
    let replayed = replay.entries();
    let until_end = replayed.iter().map(|entry| (entry.source.clone(), entry.offset + 1)).collect();
    let settings = PipelineSettings {
        dead_letter: to(),
        instance: name.to_owned(),
        replayed,
        until_end: Some(until_end),
        ..settings()
    };
    let stop = Stop { graceful: std::future::pending(), abort: std::future::pending() };
    let pipeline = Pipeline::new(settings, replay, store.clone(), vec![schema(2)]);
    tokio::time::timeout(3600 * SECOND, pipeline.run(|| Lines, stop)).await.expect("the replay ends").unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_replayed_is_done_with_and_what_fails_again_has_one_more_try() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(3), FakeStore::new(|_| Err(refused(0x060B))));
    for partition in 0..3 {
        publish_rows(&queue, partition, 0..100).await;
    }
    let settings =
        PipelineSettings { dead_letter: DeadLetterTo::File(folder.path().into()), ..until_end(&[100, 100, 100]) };
    assert_eq!(Member::start(&queue, &store, settings).ended().await.unwrap().dead_lettered, 300);

    store.answer(|keys| if keys.iter().any(|(_, ts)| ts % 10 == 3) { Err(refused(0x060B)) } else { Ok(()) });
    let first = replay(folder.path(), &store, "1").await;
    assert_eq!((first.consumed, first.dead_lettered, store.fake().rows.len()), (300, 30, 270));
    let archive = Archive::of_folder(folder.path(), &Filter::default()).unwrap();
    assert_eq!(archive.entries().len(), 30);
    assert!(archive.entries().iter().all(|entry| entry.tries == 2 && entry.offset % 10 == 3), "{archive:?}");

    store.answer(|_| Ok(()));
    let second = replay(folder.path(), &store, "2").await;
    assert_eq!((second.consumed, second.dead_lettered, store.fake().rows.len()), (30, 0, 300));
    assert!(Archive::of_folder(folder.path(), &Filter::default()).unwrap().entries().is_empty());
    let history: std::collections::BTreeSet<_> = store.fake().history.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(history.len(), store.fake().history.len(), "no row was written twice");
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_is_killed_leaves_what_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(refused(0x060B))));
    publish_rows(&queue, 0, 0..100).await;
    let settings = PipelineSettings { dead_letter: DeadLetterTo::File(folder.path().into()), ..until_end(&[100]) };
    Member::start(&queue, &store, settings).ended().await.unwrap();

    store.answer(slowly(SECOND));
    let killed = tokio::time::timeout(4 * SECOND, replay(folder.path(), &store, "1")).await;
    assert!(killed.is_err() && !store.fake().rows.is_empty());
    let left = Archive::of_folder(folder.path(), &Filter::default()).unwrap().entries().len();
    assert!(left < 100 && left + store.fake().rows.len() >= 100, "{left} letters, {} rows", store.fake().rows.len());
    store.answer(|_| Ok(()));
    replay(folder.path(), &store, "2").await;
    assert_eq!(store.fake().rows.len(), 100);
    assert!(Archive::of_folder(folder.path(), &Filter::default()).unwrap().entries().is_empty());
}

/// Refuses every third message.
struct Moody(MemoryQueue, AtomicUsize);

impl Publish for Moody {
    fn publish<'p>(&'p self, topic: &'p str, message: Outgoing) -> Publishing<'p> {
        let refuse = self.1.fetch_add(1, Ordering::Relaxed) % 3 == 1;
        Box::pin(async move {
            if refuse {
                return Err(MqError::Publish { topic: topic.to_owned(), reason: "not now".to_owned() });
            }
            Publish::publish(&self.0, topic, message).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn letters_that_found_no_room_are_tried_again_and_the_others_are_not() {
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(refused(0x060B))));
    publish_rows(&queue, 0, 0..50).await;
    let moody = Arc::new(Moody(queue.clone(), AtomicUsize::new(0)));
    let to = DeadLetterTo::Topic(TopicPlace::new("dead", 1, moody));
    Member::start(&queue, &store, PipelineSettings { dead_letter: to, ..until_end(&[50]) }).ended().await.unwrap();
    let letters: Vec<_> = queue.messages("dead").concat().into_iter().map(|message| message.payload).collect();
    assert_eq!((letters.len(), letters.iter().collect::<std::collections::HashSet<_>>().len()), (50, 50));
}
