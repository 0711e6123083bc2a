//! Our binary, as a user runs it: whole processes on a pair of embedded servers.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../common/mod.rs"]
mod common;

mod admin;
mod bench;
mod check;
mod console;
mod dead_letters;
mod delivery;
mod demo;
mod documents;
mod elsewhere;
mod embedded;
mod failures;
mod faulty_messages;
mod infer;
mod kill;
mod mapping;
mod mappings;
mod original;
mod settings;
mod stop;
mod topics;
mod verify;
mod wrong_config;
