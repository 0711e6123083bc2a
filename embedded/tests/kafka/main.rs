//! The embedded broker as librdkafka sees it.

mod groups;
mod support;
