//! `kafka-taos dead-letter`: what could not be written and why; and once more, through a corrected mapping.

mod place;

pub(super) use place::dead_letter_place;
