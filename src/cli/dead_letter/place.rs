//! The place for dead letters, found or made before anything is consumed: to find out later is to stop half way.

use std::path::Path;
use std::time::Duration;

use kafka_taos::dead_letter::{DeadLetterSetting, DeadLetterTo, TopicPlace};
use kafka_taos::mq::MqError;

use super::super::Failure;
use super::super::settings::Settings;

/// The place that `settings` name. A consumer that runs waits for brokers that are away; with `at_once` that is a failure.
pub(crate) async fn dead_letter_place(settings: &Settings, at_once: bool) -> Result<DeadLetterTo, Failure> {
    settings.check_dead_letters()?;
    match &settings.aside.to {
        DeadLetterSetting::None => Ok(DeadLetterTo::None),
        DeadLetterSetting::File(folder) => {
            let failed = |error| Failure::failed(format!("dead letters to {}: {error}", folder.display()));
            check_folder(folder).map_err(failed)?;
            Ok(DeadLetterTo::File(folder.clone()))
        }
        DeadLetterSetting::Topic(topic) => loop {
            match TopicPlace::open(&settings.kafka, topic, settings.timeout).await {
                Ok(place) => return Ok(DeadLetterTo::Topic(place)),
                Err(error @ MqError::Unreachable { .. }) if !at_once => {
                    tracing::warn!(%error, topic, "the topic for dead letters is not found; trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(error) => return Err(Failure::failed(format!("dead letters to topic {topic}: {error}"))),
            }
        },
    }
}

/// Whether files can be made in `folder`; it is made if it is not there.
fn check_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::Builder::new().prefix(".kafka-taos-").tempfile_in(folder).map(drop)
}
