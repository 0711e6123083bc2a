//! The embedded broker as its clients see it: librdkafka, and hostile ones that speak bytes.

mod administration;
mod faults;
mod folder;
mod groups;
mod hostile;
mod records;
mod support;
