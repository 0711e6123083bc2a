//! Rows as the server takes them: SQL text ([`sql`]) and binary binds ([`stmt2`]).

pub mod escape;
pub mod sql;
pub mod stmt2;
