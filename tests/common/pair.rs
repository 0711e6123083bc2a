//! A pair of embedded servers in a process of its own, and our commands on it.

use std::process::Command;

use kafka_taos::row::Timestamp;
use kafka_taos::simulate::{Comparison, Simulator};
use kafka_taos::tdengine::{ConnectOptions, Connection};
use serde_json::Value;

use super::process::{Ended, Process, kafka_taos, run, run_with_input};

/// `kafka-taos embedded`, and where it listens. Dropped, it is killed.
pub(crate) struct Pair {
    pub(crate) process: Process,
    pub(crate) brokers: String,
    pub(crate) tdengine: String,
}

impl Pair {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(more: &[&str]) -> Self {
        Self::start_at("0", "0", more)
    }

    /// On these ports; `0` takes a free one.
    pub(crate) fn start_at(kafka_port: &str, tdengine_port: &str, more: &[&str]) -> Self {
        let arguments = [&["embedded", "--kafka-port", kafka_port, "--tdengine-port", tdengine_port], more].concat();
        let process = Process::start(&mut kafka_taos(&arguments));
        let ready = process.stdout_line("ready");
        let after = |name: &str| {
            let at = ready.find(name).unwrap_or_else(|| panic!("no {name} in {ready:?}")) + name.len();
            ready[at..].split_whitespace().next().expect("an address").to_owned()
        };
        let (brokers, tdengine) = (after("kafka="), after("tdengine="));
        assert_eq!(ready, format!("ready kafka={brokers} tdengine={tdengine}"));
        Self { process, brokers, tdengine }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://root:taosdata@{}/test", self.tdengine)
    }

    /// A command of ours that knows where the pair is.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = kafka_taos(arguments);
        command.env("KAFKA_BROKERS", &self.brokers).env("TDENGINE_URL", self.url());
        command
    }

    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    #[track_caller]
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Ended {
        run_with_input(&mut self.command(arguments), input)
    }

    pub(crate) fn start_command(&self, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(arguments))
    }

    /// The result of a command that succeeds, with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).expect(0).json()
    }

    pub(crate) fn create_topic(&self, topic: &str, partitions: u32) {
        self.run(&["topic", "create", "--topic", topic, "--partitions", &partitions.to_string()]).expect(0);
    }

    /// The only cell of a query's only row.
    #[track_caller]
    pub(crate) fn scalar(&self, sql: &str) -> u64 {
        let result = self.json(&["sql", sql]);
        result.pointer("/rows/0/0").and_then(Value::as_u64).unwrap_or_else(|| panic!("{sql}: {result}"))
    }

    /// As [`Self::scalar`]; 0 where there is no such table yet.
    pub(crate) fn count_if_there(&self, sql: &str) -> u64 {
        let counted = self.run(&["sql", sql, "--json"]);
        if counted.code == Some(0) {
            counted.json().pointer("/rows/0/0").and_then(Value::as_u64).unwrap_or(0)
        } else {
            0
        }
    }

    /// `produce` of what `simulator` makes, with `more` arguments.
    #[track_caller]
    pub(crate) fn produce(&self, topic: &str, simulator: &Simulator, more: &[&str]) {
        let generated = produce_arguments(simulator);
        let generated = generated.iter().map(String::as_str);
        let arguments: Vec<_> =
            ["produce", "--topic", topic].into_iter().chain(more.iter().copied()).chain(generated).collect();
        assert_eq!(self.json(&arguments)["produced"], simulator.total());
    }

    /// [`Self::produce`] into a Kafka elsewhere.
    #[track_caller]
    pub(crate) fn produce_to(&self, brokers: &str, topic: &str, simulator: &Simulator) {
        self.produce(topic, simulator, &["--brokers", brokers]);
    }

    /// `consume` up to the end, with `more` arguments.
    #[track_caller]
    pub(crate) fn consume(&self, topic: &str, more: &[&str]) -> Value {
        self.json(&[&["consume", "--until-end", "--topic", topic], more].concat())
    }

    /// Holds every stored row against the record it was made of.
    #[track_caller]
    pub(crate) fn assert_stored(&self, simulator: &Simulator) {
        let comparison = self.compare(simulator);
        assert!(comparison.is_clean() && comparison.rows_in_store == simulator.total(), "{comparison:?}");
    }

    pub(crate) fn compare(&self, simulator: &Simulator) -> Comparison {
        compare(simulator, &self.url())
    }
}

/// The first timestamp of what tests generate, as `--start` has it.
pub(crate) const START: &str = "@1764547200000";

/// What `produce --start START` makes with these numbers and defaults otherwise.
pub(crate) fn simulator(tables: u64, columns: usize, records: u64) -> Simulator {
    Simulator { tables, columns, records, ..Simulator::new(Timestamp::from_millis(1_764_547_200_000)) }
}

/// Arguments that make `produce` generate what `simulator` does.
pub(crate) fn produce_arguments(simulator: &Simulator) -> Vec<String> {
    [
        ("--tables", simulator.tables.to_string()),
        ("--columns", simulator.columns.to_string()),
        ("--records", simulator.records.to_string()),
        ("--table-prefix", simulator.table_prefix.clone()),
        ("--start", START.to_owned()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// Every stored row against the record it was made of.
pub(crate) fn compare(simulator: &Simulator, url: &str) -> Comparison {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let dsn = url.parse().expect("a URL");
        let connection = Connection::connect(&dsn, None, 0, &ConnectOptions::default()).await.expect("connect");
        simulator.compare(&connection).await.expect("compare")
    })
}
