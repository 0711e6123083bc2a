//! Messages of any shape into tables, by configuration.

use crate::common::mappings;
use crate::common::pair::Pair;

#[test]
fn the_examples_load_what_their_tests_expect() {
    let pair = Pair::start();
    mappings::load_all(&pair.brokers, &pair);
}
