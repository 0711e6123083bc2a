//! What the simulator generates, by flag.

use std::time::Duration;

use clap::Args;
use kafka_taos::row::Timestamp;
use kafka_taos::simulate::Simulator;

use super::Failure;
use super::settings::{Settings, duration};

/// What is generated.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Simulator")]
pub(super) struct SimulatorArgs {
    /// Database [default: the one in the URL]
    #[arg(long)]
    database: Option<String>,
    /// Super table
    #[arg(long, default_value = "stb")]
    stable: String,
    /// Tables are called this and their number
    #[arg(long, default_value = "tb")]
    table_prefix: String,
    /// How many tables
    #[arg(long, default_value_t = 100)]
    tables: u64,
    /// How many records for each table
    #[arg(long, default_value_t = 1000)]
    records: u64,
    /// How many columns beside the timestamp
    #[arg(long, default_value_t = 100)]
    columns: usize,
    /// How many letters a column has
    #[arg(long, default_value_t = 10)]
    column_bytes: u16,
    /// The same seed gives the same values
    #[arg(long, default_value_t = 99)]
    seed: u64,
    /// When each table's first record is, as of RFC 3339 or @MILLISECONDS [default: now]
    #[arg(long, value_parser = start)]
    start: Option<Timestamp>,
    /// From one record of a table to its next
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,
}

fn start(text: &str) -> Result<Timestamp, String> {
    if let Some(millis) = text.strip_prefix('@').and_then(|millis| millis.parse().ok()) {
        return Ok(Timestamp::from_millis(millis));
    }
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| format!("{text:?} is neither @MILLISECONDS nor a time such as 2026-01-31T08:00:00Z"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

impl SimulatorArgs {
    pub(super) fn simulator(&self, settings: &Settings) -> Result<Simulator, Failure> {
        let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
        let database = self.database.clone().or(settings.tdengine.database.clone());
        let database =
            database.ok_or_else(|| Failure::usage("no database: give --database NAME, or one in the URL"))?;
        let simulator = Simulator {
            database,
            super_table: self.stable.clone(),
            table_prefix: self.table_prefix.clone(),
            tables: self.tables,
            columns: self.columns,
            column_bytes: self.column_bytes,
            records: self.records,
            seed: self.seed,
            start: self.start.unwrap_or(now),
            interval: self.interval,
        };
        simulator.check().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(simulator)
    }
}
