//! `kafka-taos preview`: what messages become; nothing is written.

use std::path::PathBuf;

use clap::Args;
use kafka_taos::message::Message;
use kafka_taos::preview::{Preview as Shown, PreviewRow, Previewed};
use kafka_taos::tdengine::TdengineError;
use kafka_taos::tdengine::schema::{Database, SuperTable};
use serde_json::{Value, json};

use super::produce::Server;
use super::sample::{Which, of_lines, of_topics};
use super::settings::{CommonArgs, KafkaArgs, Settings, TdengineArgs};
use super::{Context, Ended, Failure};

/// Show what the first messages become: table, tags, columns, SQL, dead letters; nothing is written
#[derive(Args, Debug)]
pub(super) struct Preview {
    /// How many messages, spread over the partitions
    #[arg(long, short = 'n', default_value_t = 10)]
    messages: usize,
    /// Read lines of this file in place of a topic, a message each; - is standard input
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Super table of the demo record [default: stb]
    #[arg(long)]
    stable: Option<String>,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    tdengine: TdengineArgs,
    #[command(flatten)]
    common: CommonArgs,
}

impl Preview {
    pub(super) async fn run(self, context: &Context<'_>) -> Result<Ended, Failure> {
        let settings = context.settings()?;
        let messages = match &self.input {
            Some(path) => of_lines(path, self.messages)?,
            None => of_topics(&settings, self.messages, Which::First).await?,
        };
        let schemas = schemas(&settings).await?;
        let mut preview = Shown::new(settings.rows()(), schemas);
        let mut objects = Vec::new();
        for message in &messages {
            let previewed = preview.of(message);
            if context.json {
                objects.push(object(message, &previewed));
            } else {
                print(message, &previewed);
            }
        }
        if messages.is_empty() && !context.json {
            println!("there are no messages");
        }
        context.print_json(&objects)?;
        Ok(Ended::Done)
    }
}

/// The super tables as they are; as the mapping would make them where they, or the server, are not there.
async fn schemas(settings: &Settings) -> Result<Vec<SuperTable>, Failure> {
    let server = Server::connect(&settings.tdengine, settings.timeout).await;
    let Some(mapping) = &settings.mapping else {
        let stable = settings.stable.as_deref().unwrap_or("stb");
        return Ok(vec![SuperTable::read(&server?, settings.database()?, stable).await?]);
    };
    let database = settings.tdengine.database.as_deref().unwrap_or("database");
    let as_made = || mapping.super_tables(database, settings.schema.precision);
    let not_there = |error: &TdengineError| {
        tracing::warn!("{error}; shown as the mapping would make it");
    };
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            not_there(&error);
            return Ok(as_made());
        }
    };
    let precision = match Database::read(&server, database).await {
        Ok(database) => database.precision,
        Err(error) => {
            not_there(&error);
            return Ok(as_made());
        }
    };
    let mut schemas = Vec::new();
    for wanted in mapping.super_tables(database, precision) {
        schemas.push(match SuperTable::read(&server, database, &wanted.name).await {
            Ok(schema) => schema,
            Err(error @ TdengineError::NoSuperTable { .. }) => {
                not_there(&error);
                wanted
            }
            Err(error) => return Err(error.into()),
        });
    }
    Ok(schemas)
}

fn key_of(message: &Message) -> Option<String> {
    message.key.as_ref().map(|key| String::from_utf8_lossy(key).into_owned())
}

fn print(message: &Message, previewed: &Previewed) {
    let key = key_of(message).map(|key| format!(", key {key:?}")).unwrap_or_default();
    println!("{} offset {}{key}", message.source, message.offset);
    for PreviewRow { stable, table, tags, columns, sql, .. } in &previewed.rows {
        println!("  table {table} of {stable}");
        println!("    tags     {tags}");
        println!("    columns  {columns}");
        match sql {
            Ok(sql) => println!("    sql      {sql}"),
            Err(reason) => println!("    no sql   {reason}; written by --write stmt2 only"),
        }
    }
    for (row, reason) in &previewed.faults {
        let row = row.map(|row| format!(", row {row}")).unwrap_or_default();
        println!("  dead letter{row}: {reason}");
    }
    if previewed.dropped {
        println!("  dropped by a rule");
    } else if previewed.rows.is_empty() && previewed.faults.is_empty() {
        println!("  no rows");
    }
}

fn object(message: &Message, previewed: &Previewed) -> Value {
    let row = |row: &PreviewRow| {
        json!({
            "stable": row.stable,
            "table": row.table,
            "tags": row.tags,
            "columns": row.columns,
            "sql": row.sql.as_ref().ok(),
        })
    };
    let fault = |(row, reason): &(Option<u32>, String)| json!({"row": row, "reason": reason});
    json!({
        "partition": message.source.to_string(),
        "offset": message.offset,
        "key": key_of(message),
        "rows": previewed.rows.iter().map(row).collect::<Vec<_>>(),
        "dead_letters": previewed.faults.iter().map(fault).collect::<Vec<_>>(),
        "dropped": previewed.dropped,
    })
}
