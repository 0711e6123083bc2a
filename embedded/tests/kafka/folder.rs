//! The data folder: what was acknowledged is there after a restart, whatever ended the broker.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use kafka_taos_embedded::kafka::{Broker, BrokerConfig, BrokerError};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::{PATIENCE, Server, numbers, payload, poll};

fn config(folder: &Path) -> BrokerConfig {
    BrokerConfig { data_dir: Some(folder.to_owned()), ..BrokerConfig::default() }
}

fn logs(folder: &Path) -> Vec<PathBuf> {
    let topics = fs::read_dir(folder.join("topics")).unwrap().map(|entry| entry.unwrap().path());
    topics.flat_map(|topic| fs::read_dir(topic).unwrap().map(|entry| entry.unwrap().path())).collect()
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(config(folder.path()));
    server.create_topic("t", 1);
    server.create_topic("gone", 1);
    let values = numbers(0..1000);
    server.write_with(&[("compression.type", "lz4")], "t", 0, values.iter().map(String::as_str));
    server.write("gone", 0, ["x"]);
    let admin = server.admin();
    let run = |work| server.runtime.block_on(work);
    run(Box::pin(async {
        admin.create_partitions([&NewPartitions::new("t", 2)], &AdminOptions::new()).await.unwrap();
        admin.delete_topics(&["gone"], &AdminOptions::new()).await.unwrap();
        let mut before = TopicPartitionList::new();
        before.add_partition_offset("t", 0, Offset::Offset(10)).unwrap();
        admin.delete_records(&before, &AdminOptions::new()).await.unwrap();
    }));
    server.write("t", 1, ["second"]);
    let consumer = server.consumer("g", &[]);
    let mut position = TopicPartitionList::new();
    position.add_partition_offset("t", 0, Offset::Offset(777)).unwrap();
    consumer.commit(&position, CommitMode::Sync).unwrap();
    drop(consumer);
    server.stop();

    let server = Server::with(config(folder.path()));
    assert_eq!(server.read("t", 0, 10), values[10..]);
    assert_eq!(server.read("t", 1, 0), ["second"]);
    let consumer = server.consumer("g", &[]);
    assert_eq!(consumer.fetch_watermarks("t", 0, PATIENCE).unwrap(), (10, 1000));
    consumer.subscribe(&["t"]).unwrap();
    let mut offsets = [poll(&consumer), poll(&consumer)].map(|message| (message.partition(), message.offset()));
    offsets.sort_unstable();
    assert!(offsets.contains(&(0, 777)), "{offsets:?}");
    assert_eq!(consumer.fetch_metadata(None, PATIENCE).unwrap().topics().len(), 1);
    server.write("t", 0, ["more"]);
    assert_eq!(server.read("t", 0, 1000), ["more"]);
    assert_eq!(logs(folder.path()).len(), 2, "the deleted topic's files are gone");
}

#[test]
fn an_idempotent_producer_lives_through_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(config(folder.path()));
    server.create_topic("t", 1);
    let address = server.address();
    let settings = [("enable.idempotence", "true"), ("batch.num.messages", "10"), ("reconnect.backoff.max.ms", "100")];
    let producer = server.producer(&settings);
    let send =
        |range| numbers(range).iter().for_each(|n| producer.send(BaseRecord::<(), str>::to("t").payload(n)).unwrap());
    send(0..500);
    producer.flush(PATIENCE).unwrap();
    send(500..1000);
    server.stop();
    let server = Server::with(BrokerConfig { listen: address, ..config(folder.path()) });
    send(1000..1500);
    producer.flush(PATIENCE).unwrap();
    assert_eq!(server.read("t", 0, 0), numbers(0..1500));
}

#[test]
fn a_torn_end_is_cut_off_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(config(folder.path()));
    server.create_topic("t", 1);
    server.write("t", 0, ["a"]);
    server.write("t", 0, ["b"]);
    server.stop();
    let log = &logs(folder.path())[0];
    let whole = fs::read(log).unwrap();
    let batch = whole.len() / 2;
    for (damage, left) in [
        (whole[..whole.len() - 1].to_vec(), vec!["a"]),
        (whole[..batch + 30].to_vec(), vec!["a"]),
        ([&whole[..], &[0; 100]].concat(), vec!["a", "b"]),
        ([&whole[..], &[0xff; 100]].concat(), vec!["a", "b"]),
        ([&whole[..whole.len() - 1], b"!"].concat(), vec!["a"]),
        ([&whole[..], &whole[..batch]].concat(), vec!["a", "b"]),
    ] {
        fs::write(log, &damage).unwrap();
        let server = Server::with(config(folder.path()));
        assert_eq!(server.read("t", 0, 0), left);
        server.write("t", 0, ["next"]);
        assert_eq!(server.read("t", 0, left.len() as i64), ["next"]);
        server.stop();
        assert!(log.with_extension("cut").exists());
    }
}

#[test]
fn a_folder_has_one_broker_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(config(folder.path()));
    let second = server.runtime.block_on(Broker::start(config(folder.path())));
    assert!(matches!(second, Err(BrokerError::DataDir { .. })), "{second:?}");
    server.stop();
    Server::with(config(folder.path())).stop();
}

/// A broker in a process of its own, and its address.
fn spawn(folder: &Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "folder::broker_of_its_own_process", "--ignored", "--nocapture"])
        .env("KAFKA_TEST_FOLDER", folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("listens ")?.1.to_owned())).unwrap();
    (child, address)
}

/// Started, and killed, by the test below.
#[test]
#[ignore = "a part of another test"]
fn broker_of_its_own_process() {
    let server = Server::with(config(&PathBuf::from(std::env::var_os("KAFKA_TEST_FOLDER").unwrap())));
    println!("\nlistens {}", server.address());
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..3 {
        let (mut child, address) = spawn(folder.path());
        let mut client = rdkafka::ClientConfig::new();
        client.set("bootstrap.servers", &address).set("enable.idempotence", "true").set("linger.ms", "0");
        let producer: rdkafka::producer::BaseProducer = client.create().unwrap();
        let values = numbers(acknowledged..acknowledged + 2000);
        values.iter().for_each(|value| producer.send(BaseRecord::<(), str>::to("t").payload(value)).unwrap());
        producer.flush(PATIENCE).unwrap();
        acknowledged += values.len();
        let consumer: rdkafka::consumer::BaseConsumer = client.clone().set("group.id", "g").create().unwrap();
        let mut position = TopicPartitionList::new();
        position.add_partition_offset("t", 0, Offset::Offset(acknowledged as i64 - 5)).unwrap();
        consumer.commit(&position, CommitMode::Sync).unwrap();
        // More is on its way when the process dies: it may be there or not, but whole.
        (0..1000).for_each(|_| drop(producer.send(BaseRecord::<(), str>::to(&format!("late{round}")).payload("late"))));
        producer.poll(std::time::Duration::from_millis(10));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let server = Server::with(config(folder.path()));
    assert_eq!(server.read("t", 0, 0), numbers(0..acknowledged));
    let consumer = server.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(payload(&poll(&consumer)), (acknowledged - 5).to_string());
}
