//! The configuration file: TOML, every key optional, unknown ones refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::mapping::config::{FormatConfig, TableConfig, TestConfig, UnmatchedConfig};

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It cannot be read.
    #[error("configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not say what a configuration can.
    #[error("configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, what is wrong and what could stand there.
        reason: String,
    },
}

/// One value, or several in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum OneOrMany {
    /// A single value.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// A number, a text or a truth value, as librdkafka's properties have them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Property {
    Text(String),
    Number(i64),
    Truth(bool),
}

impl std::fmt::Display for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
        }
    }
}

/// The whole file. The names are those of the settings; see `kafka-taos config`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct FileConfig {
    #[serde(default)]
    pub kafka: Kafka,
    #[serde(default)]
    pub format: FormatConfig,
    #[serde(default)]
    pub tdengine: Tdengine,
    #[serde(default)]
    pub queue: Queue,
    #[serde(default)]
    pub dead_letter: DeadLetter,
    #[serde(default)]
    pub policy: PolicyConfig,
    #[serde(default)]
    pub admin: Admin,
    /// A mapping: the tables that messages become rows of. None: the demo record.
    #[serde(default)]
    pub table: Vec<TableConfig>,
    #[serde(default)]
    pub unmatched: UnmatchedConfig,
    /// Tests of the mapping.
    #[serde(default)]
    pub test: Vec<TestConfig>,
    pub workers: Option<usize>,
    pub timeout: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Kafka {
    pub brokers: Option<OneOrMany>,
    pub topics: Option<OneOrMany>,
    pub group: Option<String>,
    pub offset: Option<Property>,
    pub session_timeout: Option<String>,
    pub sasl_mechanism: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls_ca: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Tdengine {
    pub url: Option<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub stable: Option<String>,
    pub write: Option<String>,
    pub answer_timeout: Option<String>,
    /// What is made where it is missing: `none` (the default), `stable`, `database,stable`.
    pub create: Option<String>,
    /// The precision of a database that is made: `ms` (the default), `us`, `ns`.
    pub precision: Option<String>,
    /// Further options of a database that is made, as `create database` has them: `keep 365d vgroups 4`.
    pub database_options: Option<String>,
    /// What is changed where the mapping wants more: `none` (the default), `add-column`, `widen`, `add-column,widen`.
    pub evolve: Option<String>,
    /// Where a message's tags differ from its table's: `log` (the default), `ignore`, `alter`.
    pub tag_drift: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Queue {
    pub max_size: Option<usize>,
    pub max_bytes: Option<Property>,
    pub batch_max_size: Option<usize>,
    pub batch_min_size: Option<usize>,
    pub batch_max_bytes: Option<Property>,
    pub linger: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct DeadLetter {
    pub to: Option<String>,
    /// So many within a time, as `1000/1m`, or `none`.
    pub limit: Option<String>,
}

/// What becomes of messages that cannot be rows: `dead-letter` (the default), `drop`, `stop`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PolicyConfig {
    pub undecodable: Option<String>,
    pub too_large: Option<String>,
    pub tombstone: Option<String>,
    pub no_timestamp: Option<String>,
    pub max_message_bytes: Option<Property>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Admin {
    pub listen: Option<String>,
}

impl FileConfig {
    /// Reads `path`.
    ///
    /// # Errors
    /// The file is not there, or says what no configuration can: with line and column.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|reason| FileError::Parse { path: path.to_owned(), reason })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong, with line and column.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_what_could_stand_there() {
        let refused = FileConfig::parse("[kafka]\nbrokers = \"a:1\"\ntopic = \"t\"\n").unwrap_err();
        assert!(
            refused.contains("line 3") && refused.contains("unknown field `topic`") && refused.contains("`topics`"),
            "{refused}"
        );
    }

    #[test]
    fn a_wrong_type_is_refused_with_its_line() {
        let refused = FileConfig::parse("workers = \"four\"\n").unwrap_err();
        assert!(refused.contains("line 1") && refused.contains("expected"), "{refused}");
    }

    #[test]
    fn lists_and_single_values_are_both_taken() {
        let one = FileConfig::parse("[kafka]\ntopics = \"a\"").unwrap().kafka.topics.unwrap().into_vec();
        let many = FileConfig::parse("[kafka]\ntopics = [\"a\", \"b\"]").unwrap().kafka.topics.unwrap().into_vec();
        assert_eq!((one, many), (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
    }
}
