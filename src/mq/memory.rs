//! A queue in memory, for tests.
