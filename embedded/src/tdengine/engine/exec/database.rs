//! Databases.

use std::sync::Arc;

use super::is_system;
use crate::tdengine::engine::catalog::{Database, DatabaseOptions, NUMBER_OPTIONS};
use crate::tdengine::engine::sql::ast::{DatabaseOption, OptionValue};
use crate::tdengine::engine::{Inner, Precision, TdError, storage};

const MINUTES_PER_DAY: i64 = 1440;

impl Inner {
    pub(super) fn create_database(
        &self,
        sql: &[u8],
        name: &str,
        if_not_exists: bool,
        options: &[DatabaseOption],
    ) -> Result<u64, TdError> {
        if is_system(name) {
            return Err(TdError::new(0x0200, format!("Cannot create system database: `{name}`")));
        }
        let mut chosen = DatabaseOptions::default();
        apply(&mut chosen, sql, options)?;
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        if catalog.databases.contains_key(name) {
            return if if_not_exists { Ok(0) } else { Err(TdError::new(0x0381, "Database already exists")) };
        }
        let database = Database::new(catalog.next_id(), name, chosen, self.now_ms());
        storage::save_database(&writer, &database)?;
        catalog.databases.insert(name.to_owned(), database);
        Ok(0)
    }

    pub(super) fn alter_database(&self, sql: &[u8], name: &str, options: &[DatabaseOption]) -> Result<u64, TdError> {
        let writer = self.store.writer();
        let mut catalog = self.catalog_mut();
        let database = catalog.databases.get_mut(name).ok_or_else(TdError::no_database)?;
        let mut changed = (*database.options).clone();
        apply(&mut changed, sql, options)?;
        let before = std::mem::replace(&mut database.options, Arc::new(changed));
        if let Err(error) = storage::save_database(&writer, database) {
            database.options = before;
            return Err(error);
        }
        Ok(0)
    }

    pub(super) fn drop_database(&self, name: &str, if_exists: bool) -> Result<u64, TdError> {
        if is_system(name) {
            return Err(TdError::new(0x0200, format!("Cannot drop system database: `{name}`")));
        }
        let mut writer = self.store.writer();
        let id = match self.catalog().databases.get(name) {
            Some(database) => database.id,
            None if if_exists => return Ok(0),
            None => return Err(TdError::no_database()),
        };
        let transaction = writer.transaction()?;
        storage::delete_database(&transaction, id)?;
        transaction.commit()?;
        self.catalog_mut().databases.remove(name);
        Ok(0)
    }
}

fn invalid(problem: impl Into<String>) -> TdError {
    TdError::new(0x2619, problem)
}

/// Sets the options of a statement and checks them as a whole.
fn apply(options: &mut DatabaseOptions, sql: &[u8], given: &[DatabaseOption]) -> Result<(), TdError> {
    let near = |option: &DatabaseOption| {
        TdError::new(0x2600, format!("syntax error near \"{}\"", String::from_utf8_lossy(&sql[option.at..])))
    };
    for option in given {
        let [first, ..] = &option.values[..] else { return Err(near(option)) };
        match (option.name.as_str(), first) {
            ("precision", OptionValue::Text(text)) => {
                options.precision = match text.to_ascii_lowercase().as_slice() {
                    b"ms" => Precision::Milli,
                    b"us" => Precision::Micro,
                    b"ns" => Precision::Nano,
                    _ => return Err(invalid(format!("Invalid option precision: {}", String::from_utf8_lossy(text)))),
                }
            }
            ("cachemodel", OptionValue::Text(text)) => {
                let model = String::from_utf8_lossy(text).to_ascii_lowercase();
                if !matches!(model.as_str(), "none" | "last_row" | "last_value" | "both") {
                    return Err(invalid(format!("Invalid option cachemodel: {model}")));
                }
                options.cachemodel = model;
            }
            ("keep", OptionValue::Int(_) | OptionValue::Duration(..)) => options.keep_minutes = keep(option)?,
            ("duration", value @ (OptionValue::Int(_) | OptionValue::Duration(..))) => {
                options.duration_minutes = minutes("duration", value)?;
                if !(60..=3650 * MINUTES_PER_DAY).contains(&options.duration_minutes) {
                    let minutes = options.duration_minutes;
                    return Err(invalid(format!("Invalid option duration: {minutes}m, valid range: [60m, 5256000m]")));
                }
            }
            ("retentions", _) => return Err(TdError::unsupported("RETENTIONS")),
            ("precision" | "cachemodel" | "keep" | "duration", _) => return Err(near(option)),
            (name, OptionValue::Int(value)) => number(options, name, *value)?,
            (
                "strict"
                | "encrypt_algorithm"
                | "ss_keeplocal"
                | "compact_interval"
                | "compact_time_range"
                | "compact_time_offset",
                _,
            ) => {}
            _ => return Err(near(option)),
        }
    }
    let [keep0, keep1, keep2] = options.keep_minutes;
    if keep0 > keep1 || keep1 > keep2 {
        return Err(invalid("Invalid keep value, should be keep0 <= keep1 <= keep2"));
    }
    if options.duration_minutes * 3 > keep0 {
        return Err(invalid("Invalid duration value, should be keep2 >= keep1 >= keep0 >= 3 * duration"));
    }
    Ok(())
}

fn number(options: &mut DatabaseOptions, name: &str, value: i64) -> Result<(), TdError> {
    let Some(&(_, min, max, ..)) = NUMBER_OPTIONS.iter().find(|(option, ..)| *option == name) else { return Ok(()) };
    let shown = match name {
        "comp" => "compression",
        "replica" => "replications",
        "maxrows" => "maxRowsPerBlock",
        "minrows" => "minRowsPerBlock",
        "wal_fsync_period" => "fsyncPeriod",
        "wal_level" => "walLevel",
        other => other,
    };
    if !(min..=max).contains(&value) {
        return Err(invalid(format!("Invalid option {shown}: {value}, valid range: [{min}, {max}]")));
    }
    match (name, value) {
        ("replica", 2) => return Err(TdError::new(0x0382, "Invalid database options")),
        ("replica", 3) => return Err(TdError::new(0x0334, "Out of dnodes")),
        _ => {}
    }
    options.numbers.insert(name.to_owned(), value);
    Ok(())
}

/// A number of days, or a number of minutes, hours or days with its unit.
fn minutes(name: &str, value: &OptionValue) -> Result<i64, TdError> {
    match value {
        OptionValue::Int(days) => Ok(days.saturating_mul(MINUTES_PER_DAY)),
        OptionValue::Duration(number, unit) => match unit {
            b'm' => Ok(*number),
            b'h' => Ok(number.saturating_mul(60)),
            b'd' => Ok(number.saturating_mul(MINUTES_PER_DAY)),
            other => Err(invalid(format!("Invalid option {name} unit: {}, only m, h, d allowed", char::from(*other)))),
        },
        OptionValue::Text(_) => Err(invalid(format!("Invalid option {name}"))),
    }
}

fn keep(option: &DatabaseOption) -> Result<[i64; 3], TdError> {
    let given: Vec<i64> = option.values.iter().map(|value| minutes("keep", value)).collect::<Result<_, _>>()?;
    let keep = match given[..] {
        [all] => [all; 3],
        [first, rest] => [first, rest, rest],
        [first, second, third] => [first, second, third],
        _ => return Err(invalid("Invalid number of keep options")),
    };
    if keep.iter().any(|minutes| !(MINUTES_PER_DAY..=365_000 * MINUTES_PER_DAY).contains(minutes)) {
        let [first, second, third] = keep;
        return Err(invalid(format!(
            "Invalid option keep: {first}, {second}, {third} valid range: [1440m, 525600000m]"
        )));
    }
    Ok(keep)
}
