//! TDengine's SQL.
//!
//! Written by hand: the dialect (durations such as `1h`, USING and TAGS, INTERVAL, PARTITION BY, lower-cased texts that
//! come back as column names and in errors) is far from what general SQL parsers take, INSERT must be read in one fast
//! pass, and a statement need not be UTF-8.

pub(crate) mod ast;
pub(crate) mod insert;
pub(crate) mod lexer;
pub(crate) mod literal;
pub(crate) mod parser;
