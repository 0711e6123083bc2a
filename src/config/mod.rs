//! All settings, their defaults and their checks.

mod secret;

pub use secret::Secret;
