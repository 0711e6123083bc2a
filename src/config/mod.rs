//! All settings, their defaults and their checks.

pub mod file;
mod secret;

pub use secret::Secret;
