//! Consumer groups.

use rdkafka::Message;
use rdkafka::consumer::{CommitMode, Consumer};

use crate::support::{Server, numbers, poll};

#[test]
fn a_group_resumes_where_it_committed() {
    let server = Server::start();
    server.create_topic("t", 1);
    let values = numbers(0..1000);
    server.write("t", 0, values.iter().map(String::as_str));
    let consumer = server.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    for offset in 0..300 {
        assert_eq!(poll(&consumer).offset(), offset);
    }
    let last = poll(&consumer);
    consumer.commit_message(&last, CommitMode::Sync).unwrap();
    drop(last);
    drop(consumer);
    let consumer = server.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    for offset in 301..1000 {
        assert_eq!(poll(&consumer).offset(), offset);
    }
}
