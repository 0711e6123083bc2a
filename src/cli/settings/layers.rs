//! Which layer a setting comes from: flag > environment > file > default.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ArgMatches;
use clap::parser::ValueSource;
use kafka_taos::config::Secret;
use serde::Serialize;

use super::Failure;

/// A setting, as `config` shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    pub(crate) setting: &'static str,
    pub(crate) value: String,
    /// `flag`, `environment VARIABLE`, `file PATH`, `default`.
    pub(crate) from: String,
}

/// The layers of a command, and what was taken from them so far.
pub(super) struct Layers<'a> {
    pub(super) matches: &'a ArgMatches,
    pub(super) path: PathBuf,
    pub(super) shown: Vec<Shown>,
}

impl Layers<'_> {
    /// What the file says of `key`, read as the flag is.
    pub(super) fn parsed<T: FromStr>(&self, key: &str, text: Option<String>) -> Result<Option<T>, Failure>
    where
        T::Err: Display,
    {
        self.parsed_by(key, text, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    pub(super) fn parsed_by<T>(
        &self,
        key: &str,
        text: Option<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let read = |text: String| {
            read(&text)
                .map_err(|error| Failure::usage(format!("configuration {}: {key}: {error}", self.path.display())))
        };
        text.map(read).transpose()
    }

    pub(super) fn pick<T: Clone + Display + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<T>,
        default: T,
    ) -> T {
        self.pick_shown(setting, id, file, default, T::to_string)
    }

    pub(super) fn pick_shown<T: Clone + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<T>,
        default: T,
        show: fn(&T) -> String,
    ) -> T {
        let (value, from) = match (self.given::<T>(id), file) {
            (Some(given), _) => given,
            (None, Some(value)) => (value, format!("file {}", self.path.display())),
            (None, None) => (default, "default".to_owned()),
        };
        self.shown.push(Shown { setting, value: show(&value), from });
        value
    }

    pub(super) fn pick_many<T: Clone + Send + Sync + 'static>(
        &mut self,
        setting: &'static str,
        id: &str,
        file: Option<Vec<T>>,
        default: Vec<T>,
        show: fn(&T) -> String,
    ) -> Vec<T> {
        let given = self.matches.try_get_many::<T>(id).ok().flatten().map(|many| many.cloned().collect::<Vec<_>>());
        // Asked only of what was given: clap panics about arguments that the command does not have.
        let given = given.and_then(|values| Some((values, self.origin(id)?)));
        let (value, from) = match (given, file) {
            (Some((values, from)), _) => (values, from),
            (None, Some(values)) if !values.is_empty() => (values, format!("file {}", self.path.display())),
            (None, _) => (default, "default".to_owned()),
        };
        self.shown.push(Shown { setting, value: value.iter().map(show).collect::<Vec<_>>().join(","), from });
        value
    }

    pub(super) fn pick_optional(&mut self, setting: &'static str, id: &str, file: Option<String>) -> Option<String> {
        let text = self.pick_shown(setting, id, file.map(Some), None, |text| text.clone().unwrap_or_default());
        // The flag holds a plain text, not an optional one.
        match self.given::<String>(id) {
            Some((value, from)) => {
                if let Some(shown) = self.shown.last_mut() {
                    *shown = Shown { setting, value: value.clone(), from };
                }
                Some(value)
            }
            None => text,
        }
    }

    pub(super) fn pick_path(&mut self, setting: &'static str, id: &str, file: Option<PathBuf>) -> Option<PathBuf> {
        let (value, from) = match (self.given::<PathBuf>(id), file) {
            (Some((path, from)), _) => (Some(path), from),
            (None, Some(path)) => (Some(path), format!("file {}", self.path.display())),
            (None, None) => (None, "default".to_owned()),
        };
        let text = value.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        self.shown.push(Shown { setting, value: text, from });
        value
    }

    pub(super) fn given<T: Clone + Send + Sync + 'static>(&self, id: &str) -> Option<(T, String)> {
        let value = self.matches.try_get_one::<T>(id).ok().flatten()?.clone();
        Some((value, self.origin(id)?))
    }

    pub(super) fn origin(&self, id: &str) -> Option<String> {
        // An empty variable is as good as none: files of environment variables are full of them.
        let is_empty = || self.matches.get_raw(id).is_none_or(|mut raw| raw.all(std::ffi::OsStr::is_empty));
        match self.matches.value_source(id)? {
            ValueSource::EnvVariable if is_empty() => None,
            ValueSource::CommandLine => Some("flag".into()),
            ValueSource::EnvVariable => Some("environment".into()),
            _ => None,
        }
    }
}

/// An environment variable; an empty one is as good as none.
pub(super) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("password file {}: {error}", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}
