//! From a configuration to what every message is put through: places numbered, types read, expressions compiled.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;

use super::config::{FieldConfig, Fields, FormatConfig, NameConfig, TableConfig, TimestampConfig, UnmatchedConfig};
use super::expression::{KAFKA, Language};
use super::name::Name;
use super::rows::MappedRows;
use super::source::{Meta, Source, Spot};
use super::time::TimeFormat;
use super::{Condition, Mapping};
use crate::format::{self, DecoderFactory, Path, Plan};
use crate::row::{Precision, Value};
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// The name of the first column where a mapping gives none.
const TIMESTAMP_COLUMN: &str = "ts";

/// Everything that is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct MappingErrors(pub Vec<MappingError>);

/// Something that is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingError {
    /// Where: as `table 1 (meters), columns.voltage`.
    pub place: String,
    /// What, and what to write instead.
    pub reason: String,
}

impl fmt::Display for MappingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// What becomes of a cell without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Keep,
    Null,
    DeadLetter,
    /// A timestamp only: the message's own.
    Kafka,
}

/// What becomes of a cell whose value does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    DeadLetter,
    Null,
    Truncate,
}

/// How a column or tag is filled.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) default: Option<Value<'static>>,
    pub(super) missing: Missing,
    pub(super) invalid: Misfit,
    pub(super) too_long: Misfit,
    /// Of a timestamp.
    pub(super) time: Option<TimeFormat>,
}

/// A compiled `[[table]]`.
#[derive(Debug)]
pub(super) struct Table {
    /// The number of its super table among those of the mapping.
    pub(super) stable: usize,
    /// The number of the array whose elements are its rows, and its place in the record.
    pub(super) array: Option<(usize, usize)>,
    pub(super) when: Option<Condition>,
    pub(super) name: Name,
    pub(super) tags: Vec<Cell>,
    /// The timestamp first.
    pub(super) columns: Vec<Cell>,
}

/// A super table as the mapping wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedTable {
    name: String,
    columns: Vec<Field>,
    composite_key: bool,
    tags: Vec<Field>,
}

pub(super) struct Compiled {
    pub(super) decoder: DecoderFactory,
    pub(super) plan: Plan,
    pub(super) tables: Vec<Table>,
    pub(super) stables: Vec<WantedTable>,
    pub(super) drops_unmatched: bool,
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("tables", &self.0.tables).finish_non_exhaustive()
    }
}

impl Mapping {
    /// Compiles a configuration. Files that it names are looked for in `folder`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(
        format: &FormatConfig,
        tables: &[TableConfig],
        unmatched: &UnmatchedConfig,
        folder: &FilePath,
    ) -> Result<Self, MappingErrors> {
        let mut compiler =
            Compiler { language: Language::new(), plan: Plan::default(), stables: Vec::new(), errors: Vec::new() };
        let decoder = match format::decoder(format, folder) {
            Ok(decoder) => Some(decoder),
            Err(reason) => {
                compiler.error("format", reason);
                None
            }
        };
        let drops_unmatched = match unmatched.to.as_deref() {
            None | Some("dead-letter") => false,
            Some("drop") => true,
            Some(other) => {
                compiler.error("unmatched.to", format!("{other:?} is neither dead-letter nor drop"));
                false
            }
        };
        if tables.is_empty() {
            compiler.error("table", "there is no [[table]]: say into which super table messages go");
        }
        let tables = tables.iter().enumerate().filter_map(|(at, table)| compiler.table(at, table)).collect();
        let Compiler { plan, stables, errors, .. } = compiler;
        match decoder {
            Some(decoder) if errors.is_empty() => {
                Ok(Self(Arc::new(Compiled { decoder, plan, tables, stables, drops_unmatched })))
            }
            _ => Err(MappingErrors(errors)),
        }
    }

    /// The super tables that it writes to, as it would make them, in the order of the blocks that its rows go to.
    pub fn super_tables(&self, database: &str, precision: Precision) -> Vec<SuperTable> {
        let stable = |wanted: &WantedTable| SuperTable {
            database: database.to_owned(),
            name: wanted.name.clone(),
            precision,
            columns: wanted.columns.clone(),
            composite_key: wanted.composite_key,
            tags: wanted.tags.clone(),
        };
        self.0.stables.iter().map(stable).collect()
    }

    /// What makes rows of messages.
    pub fn rows(&self) -> MappedRows {
        MappedRows::new(self.0.clone())
    }
}

struct Compiler {
    language: Language,
    plan: Plan,
    stables: Vec<WantedTable>,
    errors: Vec<MappingError>,
}

/// Where a table's fields are looked up.
#[derive(Clone, Copy)]
struct Scope {
    array: Option<usize>,
}

impl Compiler {
    fn error(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(MappingError { place: place.into(), reason: reason.into() });
    }

    /// What `result` holds; its error is noted.
    fn noted<T>(&mut self, place: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|reason| self.error(place, reason)).ok()
    }

    fn table(&mut self, at: usize, config: &TableConfig) -> Option<Table> {
        let place = format!("table {} ({})", at + 1, config.stable);
        let errors_before = self.errors.len();
        if config.stable.is_empty() {
            self.error(format!("{place}, stable"), "the name is empty");
        }
        let array = config.rows.as_deref().and_then(|rows| {
            let path =
                self.noted(&format!("{place}, rows"), rows.parse::<Path>().map_err(|error| error.to_string()))?;
            Some(self.plan.want_array(&path))
        });
        let scope = Scope { array: array.map(|(array, _)| array) };
        let when = config.when.as_deref().and_then(|when| {
            let (expression, spots) = self.expression(&format!("{place}, when"), scope, when)?;
            Some(Condition { expression, spots })
        });
        let name = self.name(&format!("{place}, name"), scope, &config.name);
        let (timestamp, column) = self.timestamp(&format!("{place}, timestamp"), scope, &config.timestamp);
        let mut columns: Vec<Cell> = timestamp.into_iter().collect();
        let mut column_fields = vec![Field::new(column, DataType::Timestamp)];
        if config.columns.0.is_empty() {
            self.error(
                format!("{place}, columns"),
                "there are none: a super table has a timestamp and a column at least",
            );
        }
        self.cells(&format!("{place}, columns"), scope, &config.columns, &mut columns, &mut column_fields);
        let (mut tags, mut tag_fields) = (Vec::new(), Vec::new());
        if config.tags.0.is_empty() {
            self.error(format!("{place}, tags"), "there are none: a super table has a tag at least");
        }
        self.cells(&format!("{place}, tags"), scope, &config.tags, &mut tags, &mut tag_fields);
        for (name, field) in &config.tags.0 {
            if field.key.is_some() {
                self.error(format!("{place}, tags.{name}"), "a tag is no part of the key: leave key out");
            }
        }
        let mut composite_key = false;
        for (at, (name, field)) in config.columns.0.iter().enumerate() {
            match (field.key, at) {
                (Some(true), 0) => composite_key = true,
                (Some(true), _) => {
                    let reason = "only the first column after the timestamp can be part of the key: put it first";
                    self.error(format!("{place}, columns.{name}"), reason);
                }
                _ => {}
            }
        }
        let mut names: Vec<&str> = column_fields.iter().chain(&tag_fields).map(|field| field.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0].eq_ignore_ascii_case(pair[1])) {
            self.error(&place, format!("two columns or tags have the name {:?}", pair[1]));
        }
        let wanted =
            WantedTable { name: config.stable.clone(), columns: column_fields, composite_key, tags: tag_fields };
        let stable = self.stable(&place, wanted);
        let name = name?;
        (self.errors.len() == errors_before).then_some(Table { stable, array, when, name, tags, columns })
    }

    /// The number of the super table; several tables of the configuration may share one, and add to it.
    fn stable(&mut self, place: &str, wanted: WantedTable) -> usize {
        let Some(at) = self.stables.iter().position(|known| known.name == wanted.name) else {
            self.stables.push(wanted);
            return self.stables.len() - 1;
        };
        let known = &mut self.stables[at];
        let mut contradictions = Vec::new();
        if known.columns[0] != wanted.columns[0] || known.composite_key != wanted.composite_key {
            contradictions.push("the key is another one than in the table before".to_owned());
        }
        for (known, wanted) in [(&mut known.columns, wanted.columns), (&mut known.tags, wanted.tags)] {
            for field in wanted {
                match known.iter().find(|other| other.name == field.name) {
                    None => known.push(field),
                    Some(other) if other.data_type == field.data_type => {}
                    Some(other) => contradictions.push(format!(
                        "{} is {} here and {} in the table before; write the same type",
                        field.name, field.data_type, other.data_type
                    )),
                }
            }
        }
        contradictions.into_iter().for_each(|reason| self.error(place, reason));
        at
    }

    /// A name is looked up in the element first, a path in the record.
    fn spot(&mut self, scope: Scope, path: &Path, whole: bool) -> Spot {
        let is_itself = path.keys().is_empty();
        let record = match scope.array {
            Some(_) if is_itself => None,
            _ => Some(self.plan.record.want(path, whole)),
        };
        let element = scope.array.map(|array| self.plan.elements[array].want(path, whole));
        Spot { element, record, record_first: path.is_absolute() && !is_itself }
    }

    fn expression(
        &mut self,
        place: &str,
        scope: Scope,
        source: &str,
    ) -> Option<(super::expression::Expression, Vec<Option<Spot>>)> {
        let compiled = self.language.compile(source);
        let expression = self.noted(place, compiled)?;
        let spot = |name: &String| {
            if name == KAFKA { None } else { Some(self.spot(scope, &Path::name(name), true)) }
        };
        let spots = expression.variables().iter().map(spot).collect();
        Some((expression, spots))
    }

    fn name(&mut self, place: &str, scope: Scope, config: &NameConfig) -> Option<Name> {
        if let Some(expr) = &config.expr {
            if !config.template.is_empty() {
                self.error(place, "has both template and expr: leave one");
            }
            let (expression, spots) = self.expression(place, scope, expr)?;
            return Some(Name::computed(expr, Source::Computed(expression, spots)));
        }
        let name = Name::compile(&config.template, |path| Source::Place(self.spot(scope, path, false)));
        self.noted(place, name)
    }

    /// What one of `field`, `from`, `value` and `expr` says; `name` is the field where none does.
    fn source(
        &mut self,
        place: &str,
        scope: Scope,
        name: Option<&str>,
        config: &FieldConfig,
        whole: bool,
    ) -> Option<Source> {
        let given = [config.field.is_some(), config.from.is_some(), config.value.is_some(), config.expr.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            self.error(place, "has more than one of field, from, value, expr: leave one");
            return None;
        }
        if let Some(expr) = &config.expr {
            return self.expression(place, scope, expr).map(|(expression, spots)| Source::Computed(expression, spots));
        }
        if let Some(from) = &config.from {
            return self.noted(place, Meta::parse(from)).map(Source::Kafka);
        }
        if let Some(value) = &config.value {
            return self.noted(place, constant(value)).map(Source::Constant);
        }
        let path = match (&config.field, name) {
            (Some(field), _) => self.noted(place, field.parse::<Path>().map_err(|error| error.to_string()))?,
            (None, Some(name)) => Path::name(name),
            (None, None) => {
                self.error(place, "says nothing of where it comes from: write field = \"ts\", or from = \"timestamp\"");
                return None;
            }
        };
        Some(Source::Place(self.spot(scope, &path, whole)))
    }

    fn timestamp(&mut self, place: &str, scope: Scope, config: &TimestampConfig) -> (Option<Cell>, String) {
        let column = config.column.clone().unwrap_or_else(|| TIMESTAMP_COLUMN.to_owned());
        let field = FieldConfig {
            field: config.field.clone(),
            from: config.from.clone(),
            expr: config.expr.clone(),
            ..FieldConfig::default()
        };
        let source = self.source(place, scope, None, &field, false);
        let time = TimeFormat::new(config.unit.as_deref().unwrap_or("ms"), config.timezone.as_deref());
        let time = self.noted(place, time);
        let missing = match config.missing.as_deref() {
            None | Some("dead-letter") => Missing::DeadLetter,
            Some("kafka") => Missing::Kafka,
            Some(other) => {
                self.error(place, format!("missing = {other:?} is neither dead-letter nor kafka"));
                Missing::DeadLetter
            }
        };
        let cell = source.map(|source| Cell {
            name: column.clone(),
            source,
            default: None,
            missing,
            invalid: Misfit::DeadLetter,
            too_long: Misfit::DeadLetter,
            time,
        });
        (cell, column)
    }

    fn cells(&mut self, place: &str, scope: Scope, config: &Fields, cells: &mut Vec<Cell>, fields: &mut Vec<Field>) {
        for (name, config) in &config.0 {
            let place = format!("{place}.{name}");
            if config.data_type.is_empty() {
                self.error(&place, "has no type: write type = \"int\", say");
                continue;
            }
            let Some(data_type) = self.noted(&place, config.data_type.parse::<DataType>()) else { continue };
            fields.push(Field::new(name.as_str(), data_type));
            cells.extend(self.cell(&place, scope, name, config, data_type));
        }
    }

    fn cell(
        &mut self,
        place: &str,
        scope: Scope,
        name: &str,
        config: &FieldConfig,
        data_type: DataType,
    ) -> Option<Cell> {
        let source = self.source(place, scope, Some(name), config, data_type == DataType::Json);
        let default = match &config.default {
            Some(value) => self.noted(place, constant(value)),
            None => None,
        };
        let mut choose = |key: &str, value: &Option<String>, choices: &[(&str, Misfit)]| match value {
            None => Misfit::DeadLetter,
            Some(text) => match choices.iter().find(|(name, _)| name == text) {
                Some((_, choice)) => *choice,
                None => {
                    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                    self.error(place, format!("{key} = {text:?} is none of {}", names.join(", ")));
                    Misfit::DeadLetter
                }
            },
        };
        const MISFITS: [(&str, Misfit); 3] =
            [("dead-letter", Misfit::DeadLetter), ("null", Misfit::Null), ("truncate", Misfit::Truncate)];
        let invalid = choose("invalid", &config.invalid, &MISFITS[..2]);
        let too_long = choose("too_long", &config.too_long, &MISFITS);
        let missing = match config.missing.as_deref() {
            None | Some("keep") => Missing::Keep,
            Some("null") => Missing::Null,
            Some("dead-letter") => Missing::DeadLetter,
            Some(other) => {
                self.error(place, format!("missing = {other:?} is none of keep, null, dead-letter"));
                Missing::Keep
            }
        };
        let is_time = data_type == DataType::Timestamp;
        if !is_time && (config.unit.is_some() || config.timezone.is_some()) {
            self.error(place, format!("unit and timezone are for timestamps, not for {data_type}: leave them out"));
        }
        let sized = matches!(data_type, DataType::Varchar(_) | DataType::NChar(_));
        if too_long == Misfit::Truncate && !sized {
            self.error(place, format!("too_long = \"truncate\" is for varchar and nchar, not for {data_type}"));
        }
        let time = match is_time {
            true => {
                let time = TimeFormat::new(config.unit.as_deref().unwrap_or("ms"), config.timezone.as_deref());
                Some(self.noted(place, time)?)
            }
            false => None,
        };
        Some(Cell { name: name.to_owned(), source: source?, default, missing, invalid, too_long, time })
    }
}

/// A constant of the configuration.
fn constant(value: &toml::Value) -> Result<Value<'static>, String> {
    Ok(match value {
        toml::Value::String(text) => Value::Text(text.clone().into()),
        toml::Value::Integer(number) => Value::Int(*number),
        toml::Value::Float(number) => Value::Float(*number),
        toml::Value::Boolean(truth) => Value::Bool(*truth),
        toml::Value::Datetime(moment) => Value::Text(moment.to_string().into()),
        toml::Value::Array(_) | toml::Value::Table(_) => {
            return Err("a constant is a text, a number, or true or false".to_owned());
        }
    })
}
