//! Which field is the time, which name the table, which are tags, and of what type all are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::About;
use super::profile::{Field, Profile, Scalar};
use crate::mapping::TimeFormat;
use crate::row::{Precision, Timestamp, Value};
use crate::tdengine::schema::{DataType, SuperTable};

/// A `[[table]]`, chosen.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) stable: String,
    pub(super) rows: Option<String>,
    pub(super) name: NameOf,
    pub(super) time: Time,
    pub(super) tags: Vec<Chosen>,
    pub(super) columns: Vec<Chosen>,
    /// What is not in it, and why.
    pub(super) left_out: Vec<String>,
    /// How many rows were looked at.
    pub(super) count: usize,
}

/// How child tables are named.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NameOf {
    Template(String),
    Expression(String),
}

/// Where the time stands, and how it is written there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Time {
    /// `None`: the message's own time.
    pub(super) field: Option<String>,
    pub(super) unit: &'static str,
    pub(super) column: String,
    /// Some rows have none.
    pub(super) is_missing: bool,
}

/// A column or tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) name: String,
    pub(super) source: SourceOf,
    pub(super) data_type: DataType,
    /// Some values are objects or arrays, which no type takes.
    pub(super) is_nested: bool,
    /// What was seen.
    pub(super) note: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum SourceOf {
    Field(String),
    Kafka(&'static str),
}

/// Tags, of which TDengine takes 128 in 16 KiB; columns, of which it takes 4096 with them.
const MOST_TAGS: usize = 30;
const MOST_NAME_FIELDS: usize = 3;
/// The longest value that a part of a table's name may have.
const MOST_NAME_PART_BYTES: usize = 60;

/// Chooses for the rows of `profile`; `None` where they hold nothing that could be a column. With `is_text` numbers are
/// written as text.
pub(super) fn table(mut profile: Profile, is_text: bool, about: &About) -> Option<Table> {
    if is_text {
        profile.fields.iter_mut().for_each(read_numbers);
    }
    let left_out: Vec<String> = profile.skipped.iter().map(|(path, why)| format!("{path}: {why}")).collect();
    let (time_at, time) = time(&profile);
    let named_by = name_fields(&profile, time_at);
    let mut names = HashSet::from([time.column.to_ascii_lowercase()]);
    let (mut tags, mut columns) = (Vec::new(), Vec::new());
    let tables = table_of_rows(&profile, &named_by);
    for (at, field) in profile.fields.iter().enumerate().filter(|(at, _)| Some(*at) != time_at) {
        let Some(path) = field.place.path() else { continue };
        let summary = Summary::of(field);
        let chosen = Chosen {
            name: unique_name(&field.place.keys, &mut names),
            source: SourceOf::Field(path),
            data_type: summary.data_type(),
            is_nested: summary.nested > 0,
            note: summary.note(),
        };
        let is_tag = named_by.contains(&Part::Field(at)) || is_tag(field, &summary, &tables);
        if is_tag && tags.len() < MOST_TAGS { tags.push(chosen) } else { columns.push(chosen) }
    }
    if named_by.contains(&Part::Key) || (tags.is_empty() && profile.keys.iter().all(Option::is_some)) {
        let longest = profile.keys.iter().flatten().map(String::len).max().unwrap_or(0);
        let all_ascii = profile.keys.iter().flatten().all(|key| key.is_ascii());
        tags.insert(
            0,
            Chosen {
                name: unique_name(&["device".to_owned()], &mut names),
                source: SourceOf::Kafka("key"),
                data_type: text_type(longest, longest, all_ascii),
                is_nested: false,
                note: "the message's key".to_owned(),
            },
        );
    }
    if tags.is_empty() {
        tags.push(of_kafka("partition", DataType::Int, &mut names));
    }
    if columns.is_empty() {
        // What is not in the name may as well be a column; something must be.
        let named: HashSet<String> = named_by.iter().filter_map(|part| part.path(&profile)).collect();
        let movable = |tag: &Chosen| matches!(&tag.source, SourceOf::Field(path) if !named.contains(path));
        match tags.iter().rposition(movable).filter(|_| tags.len() > 1) {
            Some(at) => columns.push(tags.remove(at)),
            None if time_at.is_none() && named_by.is_empty() => return None,
            None => columns.push(of_kafka("offset", DataType::BigInt, &mut names)),
        }
    }
    let mut table = Table {
        stable: stable_name(about, profile.rows.as_deref()),
        rows: profile.rows.as_ref().map(|keys| crate::format::Path::of(keys).to_string()),
        name: name(&profile, &named_by),
        time,
        tags,
        columns,
        left_out,
        count: profile.count,
    };
    fit(&mut table);
    Some(table)
}

/// Super tables need names of their own.
pub(super) fn distinct_names(mut tables: Vec<Table>) -> Vec<Table> {
    let mut seen = HashSet::new();
    for table in &mut tables {
        while !seen.insert(table.stable.clone()) {
            table.stable.push_str("_messages");
        }
    }
    tables
}

fn of_kafka(from: &'static str, data_type: DataType, names: &mut HashSet<String>) -> Chosen {
    let name = unique_name(&[from.to_owned()], names);
    Chosen { name, source: SourceOf::Kafka(from), data_type, is_nested: false, note: "of Kafka's".to_owned() }
}

/// Numbers of formats that have text only.
fn read_numbers(field: &mut Field) {
    for value in field.values.iter_mut().flatten() {
        if let Scalar::Text(text) = value {
            if let Ok(number) = text.parse::<i64>() {
                *value = Scalar::Int(number.into());
            } else if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
                *value = Scalar::Float(number);
            }
        }
    }
}

// ---- time

/// Numbers between 2000 and 2100, by their unit.
fn unit_of_count(count: f64) -> Option<&'static str> {
    const FIRST: f64 = 946_684_800.0;
    const LAST: f64 = 4_102_444_800.0;
    [("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)]
        .into_iter()
        .find(|(_, factor)| (FIRST * factor..LAST * factor).contains(&count))
        .map(|(unit, _)| unit)
}

const PATTERNS: [&str; 7] = [
    "rfc3339",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%d.%m.%Y %H:%M:%S%.f",
    "%d/%b/%Y:%H:%M:%S %z",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d",
];

/// The unit in which all values of a field are times.
fn unit_of(field: &Field) -> Option<&'static str> {
    let values: Vec<&Scalar> = field.values.iter().flatten().filter(|value| **value != Scalar::Null).collect();
    let counts = values.iter().map(|value| match value {
        Scalar::Int(number) => Some(*number as f64),
        Scalar::Float(number) => Some(*number),
        Scalar::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    });
    if values.is_empty() {
        return None;
    }
    if let Some(counts) = counts.collect::<Option<Vec<f64>>>() {
        // Text that is both is rather a count: a pattern of digits alone would be a guess.
        let units: HashSet<_> = counts.into_iter().map(unit_of_count).collect();
        if let [Some(unit)] = units.into_iter().collect::<Vec<_>>()[..] {
            return Some(unit);
        }
    }
    let texts: Vec<&str> = values
        .iter()
        .map(|value| if let Scalar::Text(text) = value { Some(text.as_str()) } else { None })
        .collect::<Option<_>>()?;
    let in_range = |time: Timestamp| (0..4_102_444_800).contains(&time.seconds());
    let reads = |pattern: &&&str| {
        let Ok(format) = TimeFormat::new(pattern, None) else { return false };
        texts.iter().all(|text| format.read(&Value::from(*text)).is_ok_and(in_range))
    };
    PATTERNS.iter().find(reads).copied()
}

fn time(profile: &Profile) -> (Option<usize>, Time) {
    let mut best: Option<(i32, usize, &'static str)> = None;
    for (at, field) in profile.fields.iter().enumerate() {
        let Some(unit) = unit_of(field) else { continue };
        let name = field.place.keys.last().map(|key| key.to_ascii_lowercase()).unwrap_or_default();
        let hint = match name.trim_matches(|c: char| !c.is_ascii_alphanumeric()) {
            "ts" | "time" | "timestamp" | "datetime" | "date_time" | "eventtime" | "event_time" | "at" | "t" => 4,
            name if name.contains("time")
                || name.starts_with("ts")
                || name.ends_with("ts")
                || name.contains("date") =>
            {
                3
            }
            name if name.ends_with("at") => 2,
            _ => 0,
        };
        // Ten digits may be anything; thirteen, sixteen and nineteen of the right size, or a written date, hardly are.
        if hint == 0 && unit == "s" {
            continue;
        }
        let there = present(field);
        let is_full = 3 * i32::from(there == profile.count) + i32::from(there * 2 > profile.count);
        let is_coarse = unit == "%Y-%m-%d";
        let score = hint + is_full + 2 * i32::from(field.place.in_element)
            - 3 * i32::from(is_coarse)
            - i32::try_from(field.place.keys.len()).unwrap_or(16);
        if best.is_none_or(|(best, ..)| score > best) {
            best = Some((score, at, unit));
        }
    }
    match best {
        Some((_, at, unit)) => {
            let field = &profile.fields[at];
            let column = column_name(&field.place.keys[field.place.keys.len() - 1..]);
            let is_missing = present(field) < profile.count;
            (Some(at), Time { field: field.place.path(), unit, column, is_missing })
        }
        None => (None, Time { field: None, unit: "ms", column: "ts".to_owned(), is_missing: false }),
    }
}

fn present(field: &Field) -> usize {
    field.values.iter().flatten().filter(|value| **value != Scalar::Null).count()
}

/// The precision in which times of `unit` lose nothing.
pub(super) fn precision_of(unit: &str) -> Precision {
    match unit {
        "us" => Precision::Micro,
        "ns" => Precision::Nano,
        _ => Precision::Milli,
    }
}

// ---- device

/// A part of a child table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key,
    Field(usize),
}

impl Part {
    fn path(self, profile: &Profile) -> Option<String> {
        match self {
            Self::Key => None,
            Self::Field(at) => profile.fields[at].place.path(),
        }
    }

    fn value(self, profile: &Profile, row: usize) -> Option<String> {
        match self {
            Self::Key => profile.keys[row].clone(),
            Self::Field(at) => profile.fields[at].values.get(row).and_then(Option::as_ref).and_then(name_part),
        }
    }
}

fn name_part(value: &Scalar) -> Option<String> {
    match value {
        Scalar::Text(text) => Some(text.clone()),
        Scalar::Int(number) => Some(number.to_string()),
        _ => None,
    }
    .filter(|text| !text.is_empty() && text.len() <= MOST_NAME_PART_BYTES && !text.contains('\0'))
}

/// How likely a field says which device, or series, a row is of; `None`: it cannot.
fn score(profile: &Profile, at: usize) -> Option<i32> {
    let field = &profile.fields[at];
    if field.place.path()?.contains(['{', '}']) {
        return None;
    }
    let values: Vec<String> =
        (0..profile.count).map(|row| Part::Field(at).value(profile, row)).collect::<Option<_>>()?;
    let distinct: HashSet<&String> = values.iter().collect();
    let name = field.place.keys.last()?.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let mut score = 0;
    if has(&[
        "device",
        "sensor",
        "meter",
        "machine",
        "vehicle",
        "imei",
        "serial",
        "gateway",
        "equipment",
        "asset",
        "plc",
        "tag",
    ]) {
        score += 4;
    }
    if name == "id"
        || has(&["_id", "uid", "mac", "host", "node", "station", "measurement", "series"])
        || name.ends_with("id")
    {
        score += 3;
    }
    if has(&["name", "metric", "channel", "point", "code"]) {
        score += 2;
    }
    if has(&["group", "type", "site", "location", "region", "model", "version", "status", "state", "message", "seq"]) {
        score -= 3;
    }
    let is_text = matches!(field.values.first(), Some(Some(Scalar::Text(_))));
    score += i32::from(is_text);
    let is_key = profile.keys.iter().zip(&values).all(|(key, value)| key.as_ref() == Some(value));
    score += 6 * i32::from(is_key);
    if distinct.len() > 1 && distinct.len() * 2 <= profile.count {
        score += 2;
    }
    if profile.count > 20 && distinct.len() * 10 > profile.count * 9 {
        // Another one in every row: the number of an event, or a value.
        score -= 6;
    }
    Some(score)
}

fn name_fields(profile: &Profile, time: Option<usize>) -> Vec<Part> {
    let mut scored: Vec<(i32, usize)> = (0..profile.fields.len())
        .filter(|at| Some(*at) != time)
        .filter_map(|at| Some((score(profile, at)?, at)))
        .filter(|&(_, at)| can_name(profile, &[Part::Field(at)]))
        .collect();
    scored.sort_by_key(|&(score, at)| (std::cmp::Reverse(score), at));
    let key_serves = profile.keys.iter().all(|key| {
        key.as_ref().is_some_and(|key| !key.is_empty() && key.len() <= 2 * MOST_NAME_PART_BYTES && !key.contains('\0'))
    });
    let distinct_keys = profile.keys.iter().flatten().collect::<HashSet<_>>().len();
    let key_repeats = profile.count <= 20 || distinct_keys * 10 <= profile.count * 9;
    let mut parts = match scored.first() {
        Some(&(score, at)) if score >= 3 => vec![Part::Field(at)],
        _ if key_serves && key_repeats => vec![Part::Key],
        Some(&(score, at)) if score >= 2 => vec![Part::Field(at)],
        _ => return Vec::new(),
    };
    // Rows of one table and moment overwrite each other: what tells them apart belongs to the name.
    let mut collisions = collide(profile, &parts, time);
    while collisions > 0 && parts.len() < MOST_NAME_FIELDS {
        let rest = scored.iter().filter(|(score, at)| *score >= 0 && !parts.contains(&Part::Field(*at)));
        let tried = rest.filter_map(|&(_, at)| {
            let parts = [&parts[..], &[Part::Field(at)]].concat();
            can_name(profile, &parts).then(|| (collide(profile, &parts, time), at))
        });
        match tried.min_by_key(|&(left, _)| left) {
            Some((left, at)) if left * 2 <= collisions => {
                parts.push(Part::Field(at));
                collisions = left;
            }
            _ => break,
        }
    }
    parts
}

/// How many rows have the table and the time of another.
fn collide(profile: &Profile, parts: &[Part], time: Option<usize>) -> usize {
    let mut seen = HashSet::new();
    let is_new = |row: &usize| {
        let names: Vec<_> = parts.iter().map(|part| part.value(profile, *row)).collect();
        let time = match time {
            Some(at) => format!("{:?}", profile.fields[at].values.get(*row)),
            None => format!("{:?}", profile.times[*row]),
        };
        seen.insert((names, time))
    };
    profile.count - (0..profile.count).filter(is_new).count()
}

/// A number for the table of each row.
fn table_of_rows(profile: &Profile, parts: &[Part]) -> Vec<usize> {
    let mut numbers = HashMap::new();
    let mut number = |row| {
        let names: Vec<_> = parts.iter().map(|part| part.value(profile, row)).collect();
        let next = numbers.len();
        *numbers.entry(names).or_insert(next)
    };
    (0..profile.count).map(&mut number).collect()
}

fn name(profile: &Profile, parts: &[Part]) -> NameOf {
    if parts.is_empty() {
        return NameOf::Template("d_{partition}".to_owned());
    }
    let expressions: Option<Vec<String>> = parts.iter().map(|part| expression(profile, *part)).collect();
    if let Some(expressions) = expressions.filter(|_| have_dots(profile, parts)) {
        return NameOf::Expression(format!("('d_' + {}).replace('.', '_')", expressions.join(" + '_' + ")));
    }
    let braces = |part: &Part| match (part, part.path(profile)) {
        (Part::Field(_), Some(path)) if ["key", "topic", "partition"].contains(&path.as_str()) => {
            format!("{{/{path}}}")
        }
        (Part::Field(_), Some(path)) => format!("{{{path}}}"),
        _ => "{key}".to_owned(),
    };
    let parts: Vec<_> = parts.iter().map(braces).collect();
    NameOf::Template(format!("d_{}", parts.join("_")))
}

/// A table's name has no dot in it: then another character takes its place.
fn have_dots(profile: &Profile, parts: &[Part]) -> bool {
    let has_dot = |part: &Part, row| part.value(profile, row).is_some_and(|text| text.contains('.'));
    parts.iter().any(|part| (0..profile.count).any(|row| has_dot(part, row)))
}

/// Whether a name can be made of these.
fn can_name(profile: &Profile, parts: &[Part]) -> bool {
    parts.iter().all(|part| expression(profile, *part).is_some()) || !have_dots(profile, parts)
}

/// A part as CEL has it; `None` where it has no word for it.
fn expression(profile: &Profile, part: Part) -> Option<String> {
    let Part::Field(at) = part else { return Some("kafka.key".to_owned()) };
    let place = &profile.fields[at].place;
    let (first, rest) = place.keys.split_first()?;
    if !place.in_element && !rest.is_empty() && profile.element_keys.contains(first) {
        return None;
    }
    const RESERVED: [&str; 8] = ["kafka", "true", "false", "null", "in", "as", "if", "for"];
    let is_name = |key: &str| {
        key.chars().enumerate().all(|(at, c)| c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit()))
            && !RESERVED.contains(&key)
    };
    let is_safe =
        |key: &str| !key.contains(['\'', '\\']) && !key.chars().any(char::is_control) && key.parse::<u64>().is_err();
    if !is_name(first) || !rest.iter().all(|key| is_safe(key)) {
        return None;
    }
    let path = rest.iter().fold(first.clone(), |path, key| match is_name(key) {
        true => format!("{path}.{key}"),
        false => format!("{path}['{key}']"),
    });
    Some(format!("string({path})"))
}

// ---- tags and types

/// A tag is what a table has once: the same in all its rows, and not in all tables.
fn is_tag(field: &Field, summary: &Summary, tables: &[usize]) -> bool {
    let is_kind = summary.floats == 0 && summary.nested == 0 && summary.ints + summary.bools + summary.texts > 0;
    let name = field.place.keys.last().map(|key| key.to_ascii_lowercase()).unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_hinted = has(&[
        "group", "site", "location", "region", "model", "type", "vendor", "firmware", "unit", "area", "line", "city",
        "name",
    ]) || name.ends_with("id");
    let changes =
        has(&["status", "state", "value", "count", "seq", "msg", "message", "level", "error", "alarm", "mode"]);
    if !is_kind || changes || summary.present * 2 < tables.len() {
        return false;
    }
    let mut of_table: HashMap<usize, (String, usize)> = HashMap::new();
    for (value, table) in field.values.iter().zip(tables) {
        let Some(value) = value.as_ref().filter(|value| **value != Scalar::Null) else { continue };
        let text = format!("{value:?}");
        match of_table.get_mut(table) {
            Some((known, _)) if *known != text => return false,
            Some((_, count)) => *count += 1,
            None => {
                of_table.insert(*table, (text, 1));
            }
        }
    }
    let distinct = of_table.values().map(|(text, _)| text).collect::<HashSet<_>>().len();
    let repeated = of_table.values().filter(|(_, count)| *count >= 2).count();
    // Seen twice in most tables, it has had the chance to vary.
    let has_proof = repeated * 2 > of_table.len();
    is_hinted || (distinct > 1 && has_proof && summary.texts > 0)
}

/// What a field was seen to hold.
#[derive(Clone, Debug, Default)]
struct Summary {
    present: usize,
    bools: usize,
    ints: usize,
    floats: usize,
    texts: usize,
    nested: usize,
    min: f64,
    max: f64,
    min_int: i128,
    max_int: i128,
    most_bytes: usize,
    most_chars: usize,
    is_ascii: bool,
}

impl Summary {
    fn of(field: &Field) -> Self {
        let mut summary = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, is_ascii: true, ..Self::default() };
        for value in field.values.iter().flatten() {
            match value {
                Scalar::Null => continue,
                Scalar::Bool(_) => {
                    summary.bools += 1;
                    summary.most_bytes = summary.most_bytes.max(5);
                }
                Scalar::Int(number) => {
                    summary.ints += 1;
                    summary.number(*number as f64, &number.to_string());
                    (summary.min_int, summary.max_int) = (summary.min_int.min(*number), summary.max_int.max(*number));
                }
                Scalar::Float(number) => {
                    summary.floats += 1;
                    summary.number(*number, &number.to_string());
                }
                Scalar::Text(text) => {
                    summary.texts += 1;
                    summary.text(text);
                }
                Scalar::Nested => summary.nested += 1,
            }
            summary.present += 1;
        }
        summary
    }

    fn number(&mut self, number: f64, text: &str) {
        (self.min, self.max) = (self.min.min(number), self.max.max(number));
        self.text(text);
    }

    fn text(&mut self, text: &str) {
        self.most_bytes = self.most_bytes.max(text.len());
        self.most_chars = self.most_chars.max(text.chars().count());
        self.is_ascii &= text.is_ascii();
    }

    fn data_type(&self) -> DataType {
        let kinds = [self.bools, self.ints + self.floats, self.texts].iter().filter(|count| **count > 0).count();
        match self {
            // Text takes numbers and truth values too.
            _ if kinds != 1 || self.texts > 0 => text_type(self.most_bytes, self.most_chars, self.is_ascii),
            _ if self.bools > 0 => DataType::Bool,
            _ if self.floats > 0 => DataType::Double,
            _ if self.max_int.max(-self.min_int) <= i128::from(i32::MAX / 10) => DataType::Int,
            _ if self.min_int >= i64::MIN.into() && self.max_int <= i64::MAX.into() => DataType::BigInt,
            _ if self.min_int >= 0 => DataType::BigIntUnsigned,
            _ => DataType::Double,
        }
    }

    fn note(&self) -> String {
        let nested =
            if self.nested > 0 { format!("; {} objects or arrays, as NULL", self.nested) } else { String::new() };
        let text = match self.data_type() {
            _ if self.present == self.nested => "never a single value".to_owned(),
            DataType::Bool => "true or false".to_owned(),
            DataType::Varchar(_) | DataType::NChar(_) => {
                format!("text, up to {} characters", self.most_chars.max(self.most_bytes.min(5)))
            }
            _ if self.min == self.max => format!("always {}", self.min),
            _ => format!("{} to {}", self.min, self.max),
        };
        text + &nested
    }
}

/// Twice as long as the longest, and 16 at least.
fn text_type(bytes: usize, chars: usize, is_ascii: bool) -> DataType {
    let double = |length: usize, most: usize| (length * 2).clamp(16, most) as u16;
    match is_ascii {
        true => DataType::Varchar(double(bytes, 16_000)),
        false => DataType::NChar(double(chars, 4_000)),
    }
}

// ---- names and limits

/// Letters, digits and underscores of the keys; never a name that the server gives a meaning.
fn column_name(keys: &[String]) -> String {
    let mut name: String =
        keys.join("_").chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(56).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'f');
    }
    if ["tbname", "qstart", "qend", "wstart", "wend"].contains(&name.to_ascii_lowercase().as_str()) {
        name.push('_');
    }
    name
}

fn unique_name(keys: &[String], names: &mut HashSet<String>) -> String {
    let name = column_name(keys);
    let mut unique = name.clone();
    let mut number = 2;
    while !names.insert(unique.to_ascii_lowercase()) {
        unique = format!("{name}_{number}");
        number += 1;
    }
    unique
}

fn stable_name(about: &About, rows: Option<&[String]>) -> String {
    let topic = about.topics.first().map_or("messages", |topic| topic.trim_start_matches('^'));
    let keys = rows.and_then(<[String]>::last).filter(|_| about.topics.is_empty());
    let name = column_name(&[keys.map_or(topic, String::as_str).to_owned()]);
    let name = name.trim_matches('_').to_ascii_lowercase();
    if name.is_empty() { "messages".to_owned() } else { name }
}

/// Makes it fit into what the server takes: long texts are given less room, and what is still too much is left out.
fn fit(table: &mut Table) {
    let wrong = |table: &Table| !super_table(table, "d", Precision::Milli).check().is_empty();
    if wrong(table) {
        let shorten = |chosen: &mut Chosen| {
            chosen.data_type = match chosen.data_type {
                DataType::Varchar(length) if length > 16 => DataType::Varchar((length / 2 + length / 8).max(16)),
                DataType::NChar(length) if length > 16 => DataType::NChar((length / 2 + length / 8).max(16)),
                other => other,
            }
        };
        table.columns.iter_mut().chain(&mut table.tags).for_each(shorten);
    }
    let room = |chosen: &Chosen| match chosen.data_type {
        DataType::Varchar(length) => usize::from(length),
        DataType::NChar(length) => 4 * usize::from(length),
        _ => 8,
    };
    while wrong(table) && table.columns.len() > 1 {
        let Some(at) = (0..table.columns.len()).max_by_key(|&at| room(&table.columns[at])) else { return };
        let gone = table.columns.remove(at);
        table.left_out.push(format!("{}: a row has no room for it", gone.name));
    }
}

/// The super table that the mapping of `table` makes.
pub(super) fn super_table(table: &Table, database: &str, precision: Precision) -> SuperTable {
    use crate::tdengine::schema::Field;
    let fields =
        |list: &[Chosen]| list.iter().map(|one| Field::new(one.name.as_str(), one.data_type)).collect::<Vec<_>>();
    SuperTable {
        database: database.to_owned(),
        name: table.stable.clone(),
        precision,
        columns: [vec![Field::new(table.time.column.as_str(), DataType::Timestamp)], fields(&table.columns)].concat(),
        composite_key: false,
        tags: fields(&table.tags),
    }
}

/// How often each unit was chosen, the finest last: what decides the database's precision.
pub(super) fn finest<'t>(tables: impl IntoIterator<Item = &'t Table>) -> Precision {
    let all: BTreeMap<i64, Precision> = tables
        .into_iter()
        .map(|table| precision_of(table.time.unit))
        .map(|precision| (precision.per_second(), precision))
        .collect();
    all.into_values().next_back().unwrap_or_default()
}
