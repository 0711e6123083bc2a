//! A real Apache Kafka with our binary, and the embedded broker with Kafka's own tools.
//!
//! Ignored by a plain `cargo test`, since Java and Maven are needed: `./test` runs it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../common/mod.rs"]
mod common;

mod embedded_broker;
mod groups;
mod restart;

use common::kafka::Kafka;
use common::pair::Pair;
use common::{mappings, scenario};

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn nothing_is_lost_when_a_consumer_is_killed_half_way() {
    let Some(kafka) = Kafka::start() else { return };
    scenario::a_consumer_is_killed_half_way(&kafka.brokers(), &Pair::start());
}

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn the_examples_of_mappings_load_what_their_tests_expect() {
    let Some(kafka) = Kafka::start() else { return };
    mappings::load_all(&kafka.brokers(), &Pair::start());
}

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn topics_are_made_shown_changed_and_dropped() {
    let Some(kafka) = Kafka::start() else { return };
    scenario::a_topic_is_made_shown_changed_and_dropped(&kafka.brokers());
}

#[test]
#[ignore = "starts Apache Kafka: run by ./test"]
fn letters_go_to_a_topic_that_is_made_and_come_back_through_a_wider_table() {
    let Some(kafka) = Kafka::start() else { return };
    scenario::letters_go_to_a_topic_and_come_back(&kafka.brokers(), &Pair::start());
}
