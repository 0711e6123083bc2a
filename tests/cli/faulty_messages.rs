//! Messages that cannot be written: never passed over in silence.

use bytes::Bytes;
use kafka_taos::codec::Codec as _;
use kafka_taos::dead_letter::{self, DeadLetter};
use kafka_taos::message::Outgoing;
use kafka_taos::mq::kafka::{KafkaSettings, Producer};
use kafka_taos::record::{Cell, Record};
use kafka_taos::row::Timestamp;

use crate::common::PATIENCE;
use crate::common::pair::{Pair, simulator};

pub(crate) fn publish(pair: &Pair, topic: &str, messages: Vec<Outgoing>) {
    let producer = Producer::new(&KafkaSettings { brokers: pair.brokers.clone(), ..Default::default() }).unwrap();
    messages.into_iter().for_each(|message| producer.enqueue(topic, message).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(producer.flush(PATIENCE)).unwrap();
    assert_eq!(producer.delivered().failed, 0);
}

/// A record of `device` at `ts`.
pub(crate) fn record(device: &str, ts: Timestamp, columns: Vec<Cell<'static>>) -> Outgoing {
    let payload = Record::new(device.to_owned(), ts, columns).encode().unwrap();
    Outgoing { key: Some(device.to_owned().into()), payload: Some(payload.into()), ..Outgoing::default() }
}

fn garbage() -> Outgoing {
    Outgoing {
        key: Some(Bytes::from_static(b"tb0")),
        payload: Some(Bytes::from_static(b"\xffno record")),
        ..Outgoing::default()
    }
}

/// Ten good records, a bad message, a tombstone, ten good records with the same keys.
fn with_bad_messages(pair: &Pair) -> kafka_taos::simulate::Simulator {
    let simulator = simulator(2, 2, 5);
    pair.create_topic("t", 1);
    pair.produce("t", &simulator, &[]);
    publish(pair, "t", vec![garbage(), Outgoing { key: Some(Bytes::from_static(b"tb0")), ..Outgoing::default() }]);
    pair.produce("t", &simulator, &[]);
    simulator
}

#[test]
fn without_a_place_for_dead_letters_the_first_bad_message_stops_the_consumer() {
    let pair = Pair::start();
    let simulator = with_bad_messages(&pair);
    for _again in 0..2 {
        let stopped = pair.run(&["consume", "--until-end", "--topic", "t", "--json"]).expect(1);
        assert!(stopped.stderr.contains("t/0 offset 10"), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("--dead-letter"), "{}", stopped.stderr);
    }
    // What came before it is written and committed, and nothing else.
    pair.assert_stored(&simulator);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let rest = pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to, "--json"]).expect(3).json();
    assert_eq!((&rest["partitions"]["t/0"]["first"], &rest["dead_lettered"]), (&10.into(), &2.into()), "{rest}");
}

#[test]
fn dead_letters_are_kept_with_their_bytes_and_the_rest_is_written() {
    let pair = Pair::start();
    let simulator = with_bad_messages(&pair);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().join("dead").display());
    let consume = ["consume", "--until-end", "--topic", "t", "--dead-letter", &to, "--json"];
    let result = pair.run(&consume).expect(3).json();
    assert_eq!((&result["consumed"], &result["dead_lettered"]), (&22.into(), &2.into()), "{result}");
    assert_eq!(result["partitions"]["t/0"]["committed"], 22, "{result}");
    pair.assert_stored(&simulator);

    let files: Vec<_> =
        std::fs::read_dir(folder.path().join("dead")).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("one file, not {files:?}") };
    let letters = dead_letter::read(&std::fs::read_to_string(file).unwrap());
    let [bad, tombstone] = letters.as_slice() else { panic!("two letters, not {letters:?}") };
    let place = |letter: &DeadLetter| (letter.topic.clone(), letter.partition, letter.offset);
    assert_eq!((place(bad), place(tombstone)), (("t".into(), 0, 10), ("t".into(), 0, 11)));
    assert_eq!((bad.payload.as_deref(), bad.key.as_deref()), (Some(&b"\xffno record"[..]), Some(&b"tb0"[..])));
    assert_eq!((tombstone.payload.as_deref(), tombstone.key.as_deref()), (None, Some(&b"tb0"[..])));
    assert!(tombstone.reason.contains("tombstone") && !bad.reason.is_empty());

    // They are behind us: the next consumer finds nothing more.
    assert_eq!(pair.consume("t", &[])["consumed"], 0);
}

#[test]
fn a_record_that_does_not_fit_its_table_is_a_dead_letter_alone() {
    let pair = Pair::start();
    let (narrow, wide) =
        (simulator(2, 2, 5), kafka_taos::simulate::Simulator { column_bytes: 40, ..simulator(2, 2, 6) });
    pair.create_topic("t", 1);
    pair.produce("t", &narrow, &[]);
    // The same tables, with values too long for their columns, into a super table of another database.
    let other = pair.url().replace("/test", "/other");
    pair.produce("t", &wide, &["--column-bytes", "40", "--tdengine", &other]);
    let folder = tempfile::tempdir().unwrap();
    let to = format!("file:{}", folder.path().display());
    let result = pair.run(&["consume", "--until-end", "--topic", "t", "--dead-letter", &to, "--json"]).expect(3).json();
    assert_eq!((&result["consumed"], &result["dead_lettered"]), (&22.into(), &12.into()), "{result}");
    pair.assert_stored(&narrow);
}
