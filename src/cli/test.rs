//! `kafka-taos test FILE`: the tests that a configuration brings along.

use std::path::{Path, PathBuf};

use clap::Args;
use kafka_taos::config::file::FileConfig;
use kafka_taos::mapping::{Mapping, finest_precision, run_tests};

use super::{Context, Ended, Failure};

/// Run the [[test]] sections of a configuration; no server is needed
#[derive(Args, Debug)]
pub(super) struct Test {
    /// The configuration
    file: PathBuf,
}

impl Test {
    pub(super) fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let place = self.file.display();
        let config = FileConfig::read(&self.file).map_err(|error| Failure::usage(error.to_string()))?;
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let mapping = Mapping::compile(&config.format, &config.table, &config.unmatched, folder)
            .map_err(|errors| Failure::usage(format!("configuration {place}:\n{errors}")))?;
        if config.test.is_empty() {
            return Err(Failure::failed(format!("{place} has no [[test]]: nothing was tested; see docs/mapping.md")));
        }
        let topics = config.kafka.topics.map(|topics| topics.into_vec()).unwrap_or_default();
        let topic = topics.first().map_or("test", String::as_str);
        let results = run_tests(&mapping, &config.test, finest_precision(&config.table), topic, folder);
        if !context.json {
            for result in &results {
                println!("{:<4}  {}", if result.failures.is_empty() { "ok" } else { "FAIL" }, result.name);
                result.failures.iter().for_each(|failure| println!("      {failure}"));
            }
        }
        context.print_json(&results)?;
        match results.iter().filter(|result| !result.failures.is_empty()).count() {
            0 => Ok(Ended::Done),
            failed => Err(Failure::failed(format!("{failed} of {} tests of {place} failed", results.len()))),
        }
    }
}
