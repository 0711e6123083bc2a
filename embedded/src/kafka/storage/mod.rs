//! The data folder.

mod append_file;

pub(crate) use append_file::AppendFile;
