//! A store that is slow, away, or takes little at once.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::block::Block;
use crate::format::FormatError;
use crate::mapping::{MessageFault, OneRow, Policed, Policies, Policy};
use crate::message::Message;

#[tokio::test(start_paused = true)]
async fn an_outage_of_minutes_loses_nothing_and_takes_in_little() {
    let (queue, store) = (topic(4), FakeStore::new(|_| Err(gone())));
    for partition in 0..4 {
        publish_rows(&queue, partition, 0..500).await;
    }
    let member = Member::start(&queue, &store, settings());
    let mut most = 0;
    for _ in 0..300 {
        sleep(SECOND).await;
        most = most.max(member.consumed());
    }
    assert!(most > 0 && most <= MOST_TAKEN_IN, "{most}");
    assert_eq!((committed(&queue, 0).unwrap_or(0), store.fake().rows.len()), (0, 0));
    publish_rows(&queue, 3, 500..510).await;
    store.answer(|_| Ok(()));
    until_committed(&queue, &[500, 500, 500, 510]).await;
    assert_eq!(member.stopped().await.unwrap().redelivered, 0);
    assert_in_order(&store, &[(0, 500), (1, 500), (2, 500), (3, 510)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_more_is_read_in_an_outage() {
    let (queue, store) = (topic(2), FakeStore::new(|_| Err(gone())));
    let member = Member::start(&queue, &store, settings());
    publish_rows(&queue, 0, 0..3).await;
    sleep(60 * SECOND).await;
    publish_rows(&queue, 0, 3..6).await;
    publish_rows(&queue, 1, 0..3).await;
    sleep(60 * SECOND).await;
    assert_eq!(member.consumed(), 3);
    store.answer(|_| Ok(()));
    until_committed(&queue, &[6, 3]).await;
    member.stopped().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_little_at_once_gets_it_in_order() {
    let few = |keys: &[Key]| if keys.len() > 2 { Err(refused(0x0102)) } else { Ok(()) };
    let (queue, store) = (topic(1), FakeStore::new(few));
    publish_rows(&queue, 0, 0..100).await;
    Member::start(&queue, &store, until_end(&[100])).ended().await.unwrap();
    assert_in_order(&store, &[(0, 100)]);
}

#[tokio::test(start_paused = true)]
async fn partitions_go_on_after_an_outage_whatever_the_server_says_first() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(1), FakeStore::new(|_| Err(gone())));
    publish_rows(&queue, 0, 0..3).await;
    let to = DeadLetterTo::File(folder.path().into());
    let member = Member::start(&queue, &store, PipelineSettings { dead_letter: to, ..settings() });
    sleep(60 * SECOND).await;
    store.answer(|_| Err(refused(0x060B)));
    until_committed(&queue, &[3]).await;
    store.answer(|_| Ok(()));
    publish_rows(&queue, 0, 3..10).await;
    until_committed(&queue, &[10]).await;
    assert_eq!(member.stopped().await.unwrap().dead_lettered, 3);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_holds_partitions_and_reorders_nothing() {
    let (queue, store) = (topic(6), FakeStore::new(slowly(SECOND / 5)));
    for partition in 0..6 {
        publish_rows(&queue, partition, 0..300).await;
    }
    let member = Member::start(&queue, &store, settings());
    let mut written = 0;
    while committed(&queue, 5) != Some(300) || written < 1800 {
        sleep(SECOND).await;
        written = store.fake().rows.len() as u64;
        let taken_in = member.consumed() - written;
        assert!(taken_in <= MOST_TAKEN_IN, "{taken_in}");
    }
    until_committed(&queue, &[300; 6]).await;
    member.stopped().await.unwrap();
    assert_in_order(&store, &[(0, 300), (1, 300), (2, 300), (3, 300), (4, 300), (5, 300)]);
}

/// Rows that cannot be read until a schema is there.
struct Unread(Arc<AtomicBool>);

impl OneRow for Unread {
    fn append_one(&mut self, message: &Message, origin: u32, block: &mut Block) -> Result<(), MessageFault> {
        if !self.0.load(Relaxed) {
            return Err(FormatError::transient("Avro", "the schema registry does not answer").into());
        }
        Lines.append_one(message, origin, block)
    }
}

#[tokio::test(start_paused = true)]
async fn messages_wait_for_the_schema_that_they_are_read_by() {
    let folder = tempfile::tempdir().unwrap();
    let (queue, store) = (topic(2), FakeStore::new(|_| Ok(())));
    publish_rows(&queue, 0, 0..100).await;
    publish_rows(&queue, 1, 0..30).await;
    let is_there = Arc::new(AtomicBool::new(false));
    let policies = Policies { undecodable: Policy::Drop, ..Policies::default() };
    let rows = {
        let is_there = Arc::clone(&is_there);
        move || Policed::new(policies, Unread(Arc::clone(&is_there)))
    };
    let to = DeadLetterTo::File(folder.path().into());
    let member = Member::start_with(&queue, &store, PipelineSettings { dead_letter: to, ..settings() }, rows);
    sleep(600 * SECOND).await;
    let committed = [0, 1].map(|partition| committed(&queue, partition).unwrap_or(0));
    assert_eq!((committed, store.fake().rows.len()), ([0, 0], 0));
    is_there.store(true, Relaxed);
    until_committed(&queue, &[100, 30]).await;
    let counted = member.stopped().await.unwrap();
    assert_eq!((counted.dead_lettered, counted.filtered), (0, 0));
    assert_in_order(&store, &[(0, 100), (1, 30)]);
}
