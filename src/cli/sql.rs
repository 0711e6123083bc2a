//! `kafka-taos sql`: one statement to TDengine.

use clap::Args;
use comfy_table::{Table, presets};
use kafka_taos::tdengine::Sql as _;

use super::produce::Server;
use super::settings::{CommonArgs, TdengineArgs};
use super::{Context, Ended, Failure};

/// Run one statement on TDengine and print its result
#[derive(Args, Debug)]
pub(super) struct Sql {
    /// The statement; tables are best named with their database
    statement: String,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Sql {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let rows = Server::connect(&settings.tdengine, settings.timeout).await?.sql(&self.statement).await?;
        if context.json {
            context.print_json(&rows)?;
        } else if rows.columns.is_empty() {
            println!("ok, {} rows affected", rows.affected_rows);
        } else {
            let mut table = Table::new();
            table.load_style(presets::NOTHING).set_header(rows.columns.iter().map(|column| &column.name));
            for row in 0..rows.rows.len() {
                table.add_row((0..rows.columns.len()).map(|column| rows.text(row, column).into_owned()));
            }
            println!("{table}");
            println!("{} rows", rows.rows.len());
        }
        Ok(Ended::Done)
    }
}
