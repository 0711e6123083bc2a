//! What a user types: one file a command.

mod bench;
mod check;
mod config;
mod console;
mod consume;
mod dead_letter;
mod demo;
mod embedded;
mod infer;
mod preview;
mod produce;
mod sample;
mod settings;
mod signals;
mod simulator;
mod sql;
mod test;
mod topic;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use settings::Settings;

/// The fastest and safest way from Kafka into TDengine.
#[derive(Parser, Debug)]
#[command(name = "kafka-taos", version, propagate_version = true, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  kafka-taos demo                                  the whole way, on an embedded Kafka and an embedded TDengine
  kafka-taos embedded                              the two embedded servers alone, to try the rest on
  kafka-taos topic create --topic test --partitions 10
  kafka-taos produce --topic test --tables 100 --records 1000
  kafka-taos consume --topic test --until-end
  kafka-taos sql 'select count(*) from test.stb'
  kafka-taos dead-letter list --dead-letter topic:test.dead

Settings come from flags, then the environment, then kafka-taos.toml, then defaults; `kafka-taos config` shows them.
Exit codes: 0 done; 1 failed; 2 wrong usage or settings; 3 done, with dead letters; 130 and 143 after a signal.";

#[derive(Args, Debug)]
struct Global {
    /// Configuration file [default: kafka-taos.toml, if there is one here]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// Print the result as JSON, one line, last on standard output
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// What is logged to standard error: error, warn, info, debug, trace
    #[arg(long, global = true, default_value = "info", help_heading = "Everywhere")]
    log_level: tracing::level_filters::LevelFilter,
    /// How it is logged
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, help_heading = "Everywhere")]
    log_format: LogFormat,
    /// Log errors only, and no line a second
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Demo),
    Embedded(embedded::Embedded),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Topic(topic::Topic),
    Console(console::Console),
    Sql(sql::Sql),
    DeadLetter(dead_letter::DeadLetter),
    Config(config::Config),
    Check(check::Check),
    Infer(infer::Infer),
    Preview(preview::Preview),
    Test(test::Test),
    Verify(verify::Verify),
    Bench(bench::Bench),
    /// Print completions for a shell, to be sourced by it
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All is done.
    Done,
    /// Done, but records went to the dead letters.
    DeadLetters,
    /// A signal ended it, cleanly.
    Signal(u8),
}

/// Why a command failed, for a person; with what exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// It was used wrongly, or its settings contradict each other.
    fn usage(message: impl Into<String>) -> Self {
        Self { code: 2, message: message.into() }
    }

    /// It could not do what was asked.
    fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::failed(error.to_string())
    }
}

/// What a command is given besides its own arguments.
struct Context<'a> {
    matches: &'a ArgMatches,
    config: Option<PathBuf>,
    json: bool,
    quiet: bool,
}

impl Context<'_> {
    fn settings(&self) -> Result<Settings, Failure> {
        Settings::resolve(self.matches, self.config.as_deref())
    }

    /// The result for programs, last on standard output.
    fn print_json(&self, result: &impl Serialize) -> Result<(), Failure> {
        if self.json {
            println!("{}", serde_json::to_string(result)?);
        }
        Ok(())
    }
}

pub(crate) fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    start_logging(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(Failure::failed(format!("starting the runtime: {error}")))),
    };
    let mut leaf = &matches;
    while let Some((_, deeper)) = leaf.subcommand() {
        leaf = deeper;
    }
    let Global { config, json, quiet, .. } = cli.global;
    let context = Context { matches: leaf, config, json, quiet };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Demo(command) => command.run(&context).await,
            Command::Embedded(command) => command.run(&context).await,
            Command::Produce(command) => command.run(&context).await,
            Command::Consume(command) => command.run(&context).await,
            Command::Topic(command) => command.run(&context).await,
            Command::Console(command) => command.run(&context).await,
            Command::Sql(command) => command.run(&context).await,
            Command::DeadLetter(command) => command.run(&context).await,
            Command::Config(command) => command.run(&context),
            Command::Check(command) => command.run(&context).await,
            Command::Infer(command) => command.run(&context).await,
            Command::Preview(command) => command.run(&context).await,
            Command::Test(command) => command.run(&context),
            Command::Verify(command) => command.run(&context).await,
            Command::Bench(command) => command.run(&context).await,
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "kafka-taos", &mut std::io::stdout());
                Ok(Ended::Done)
            }
        }
    });
    // Threads that still wait for a server must not keep the process from ending.
    runtime.shutdown_background();
    report(ended)
}

fn report(ended: Result<Ended, Failure>) -> ExitCode {
    match ended {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::DeadLetters) => ExitCode::from(3),
        Ok(Ended::Signal(code)) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn start_logging(global: &Global) {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let level = if global.quiet { tracing::level_filters::LevelFilter::ERROR } else { global.log_level };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(is_terminal);
    let registry = tracing_subscriber::registry().with(Targets::new().with_default(level));
    match global.log_format {
        LogFormat::Text => registry.with(layer).init(),
        LogFormat::Json => registry.with(layer.json()).init(),
    }
}

/// Prints a line a second for people until `stop`.
async fn every_second(quiet: bool, mut line: impl FnMut(f64) -> String) {
    if quiet {
        return std::future::pending().await;
    }
    let mut before = tokio::time::Instant::now();
    loop {
        tokio::time::sleep_until(before + std::time::Duration::from_secs(1)).await;
        let now = tokio::time::Instant::now();
        eprintln!("{}", line((now - before).as_secs_f64()));
        before = now;
    }
}
