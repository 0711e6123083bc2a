//! `kafka-taos config`: the settings in force, and where each came from.

use clap::Args;
use comfy_table::{Table, presets};

use super::settings::{
    AdminArgs, CommonArgs, DeadLetterArgs, KafkaArgs, PolicyArgs, QueueArgs, SchemaArgs, TdengineArgs,
};
use super::{Context, Ended, Failure};

/// Print the settings in force and where each came from; secrets as ***
#[derive(Args, Debug)]
pub(super) struct Config {
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    schema: SchemaArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    dead_letter: DeadLetterArgs,
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Config {
    pub(super) fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let shown = context.settings()?.shown;
        if context.json {
            context.print_json(&shown)?;
            return Ok(Ended::Done);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["setting", "value", "from"]);
        for setting in shown {
            table.add_row([setting.setting.to_owned(), setting.value, setting.from]);
        }
        println!("{table}");
        Ok(Ended::Done)
    }
}
