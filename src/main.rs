//! The `kafka-taos` command.
fn main() {}
