//! What a sample holds: its rows, and what every field of them is like.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path as FilePath;

use serde_json::Value as Tree;

use super::InferError;
use crate::format::{self, Decoder, FormatError, Found, Path, Plan, Visitor};
use crate::mapping::config::FormatConfig;
use crate::message::Message;

/// Bounds of what is held: cells, fields, and how deep objects are looked into.
const MOST_CELLS: usize = 1_000_000;
const MOST_FIELDS: usize = 3000;
const MOST_DEPTH: usize = 16;

/// A single value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// An object or array where other messages have a single value.
    Nested,
}

/// Where a field stands: its keys, within the element or in the record around it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) in_element: bool,
    pub(super) keys: Vec<String>,
}

impl Place {
    /// As a mapping writes it; `None` where it cannot.
    pub(super) fn path(&self) -> Option<String> {
        let is_plain = |key: &String| !key.starts_with('/') && key != ".";
        let text = match self.keys.as_slice() {
            [key] if is_plain(key) => key.clone(),
            keys => Path::of(keys).to_string(),
        };
        (!self.keys.iter().any(String::is_empty) && text.parse::<Path>().is_ok()).then_some(text)
    }
}

/// A field, with its value in each row.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) place: Place,
    /// A row each; `None`: it is not there.
    pub(super) values: Vec<Option<Scalar>>,
}

/// Rows of one kind: records, or elements of one array of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    /// The array whose elements are rows.
    pub(super) rows: Option<Vec<String>>,
    /// In the order in which they came.
    pub(super) fields: Vec<Field>,
    pub(super) count: usize,
    /// Of each row its message's key, where it is text, and its time.
    pub(super) keys: Vec<Option<String>>,
    pub(super) times: Vec<Option<i64>>,
    /// What is not looked into, and why.
    pub(super) skipped: BTreeMap<String, &'static str>,
    /// The keys of elements: an expression finds these first.
    pub(super) element_keys: HashSet<String>,
    index: HashMap<Place, usize>,
    /// Arrays whose elements are not looked into.
    arrays: HashSet<Place>,
}

/// The records of a payload, whole.
pub(super) fn records(decoder: &mut dyn Decoder, payload: &[u8]) -> Result<Vec<Tree>, FormatError> {
    struct All(Vec<Tree>);
    impl Visitor<'_> for All {
        fn record(&mut self, places: &[Found<'_>]) -> bool {
            if let Some(Found::Tree(tree)) = places.first() {
                self.0.push(tree.clone());
            }
            false
        }
        fn element(&mut self, _: usize, _: &[Found<'_>], _: &[Found<'_>]) {}
        fn end(&mut self, _: &[Found<'_>]) {}
        fn broken(&mut self, _: FormatError) {}
    }
    let mut plan = Plan::default();
    plan.record.want(&Path::default(), true);
    let mut all = All(Vec::new());
    decoder.decode(payload, &plan, &mut all)?;
    Ok(all.0)
}

/// The rows of a sample, by their kinds: those of arrays, if they are wanted, first.
pub(super) fn profiles(
    messages: &[Message],
    format: &FormatConfig,
    with_arrays: bool,
) -> Result<Vec<Profile>, InferError> {
    let mut decoder = format::decoder(format, FilePath::new("")).map_err(InferError::Unknown)?();
    let mut found: Vec<(Tree, &Message)> = Vec::new();
    for message in messages {
        let Some(payload) = &message.payload else { continue };
        let read = records(&mut *decoder, payload).unwrap_or_default();
        found.extend(read.into_iter().map(|record| (record, message)));
    }
    let array = rows_array(found.iter().map(|(record, _)| record)).filter(|_| with_arrays);
    let mut of_elements = Profile { rows: array.clone(), ..Profile::default() };
    let mut of_records = Profile::default();
    for (record, message) in &found {
        match array.as_ref().and_then(|array| at(record, array)) {
            // One without elements is a row by itself, if anything.
            Some(Tree::Array(elements)) if !elements.is_empty() => of_elements.add(record, Some(elements), message),
            _ => of_records.add(record, None, message),
        }
    }
    let kinds = [of_elements, of_records].into_iter().filter(|profile| profile.count > 0);
    Ok(kinds.map(Profile::without_objects).collect())
}

fn at<'t>(record: &'t Tree, keys: &[String]) -> Option<&'t Tree> {
    keys.iter().try_fold(record, |tree, key| tree.get(key))
}

/// The array that holds the most objects.
fn rows_array<'t>(records: impl Iterator<Item = &'t Tree>) -> Option<Vec<String>> {
    fn walk(tree: &Tree, keys: &mut Vec<String>, counts: &mut BTreeMap<Vec<String>, usize>) {
        match tree {
            Tree::Array(elements) if !elements.is_empty() && elements.iter().all(Tree::is_object) => {
                *counts.entry(keys.clone()).or_default() += elements.len();
            }
            Tree::Object(object) if keys.len() < MOST_DEPTH => {
                for (key, value) in object {
                    keys.push(key.clone());
                    walk(value, keys, counts);
                    keys.pop();
                }
            }
            _ => {}
        }
    }
    let mut counts = BTreeMap::new();
    records.for_each(|record| walk(record, &mut Vec::new(), &mut counts));
    let can_be_written = |keys: &Vec<String>| Path::of(keys).to_string().parse::<Path>().is_ok();
    counts.into_iter().filter(|(keys, _)| can_be_written(keys)).max_by_key(|(_, count)| *count).map(|(keys, _)| keys)
}

impl Profile {
    fn add(&mut self, record: &Tree, elements: Option<&Vec<Tree>>, message: &Message) {
        let key = message.key.as_ref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let rows: Vec<Option<&Tree>> = match elements {
            Some(elements) => elements.iter().map(Some).collect(),
            None => vec![None],
        };
        for element in rows {
            if self.count * self.fields.len().max(1) > MOST_CELLS {
                return;
            }
            let row = self.count;
            self.count += 1;
            self.keys.push(key.clone());
            self.times.push(message.timestamp_ms);
            self.fields.iter_mut().for_each(|field| field.values.push(None));
            if let Some(element) = element {
                self.element_keys.extend(element.as_object().into_iter().flat_map(|object| object.keys().cloned()));
                self.walk(element, &mut Place { in_element: true, keys: Vec::new() }, row);
            }
            // An array at the top has nothing around it.
            if !record.is_array() || element.is_none() {
                self.walk(record, &mut Place { in_element: false, keys: Vec::new() }, row);
            }
        }
    }

    fn walk(&mut self, tree: &Tree, place: &mut Place, row: usize) {
        let scalar = match tree {
            Tree::Null => Scalar::Null,
            Tree::Bool(truth) => Scalar::Bool(*truth),
            Tree::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), ..) => Scalar::Int(number.into()),
                (_, Some(number), _) => Scalar::Int(number.into()),
                (.., float) => Scalar::Float(float.unwrap_or(f64::NAN)),
            },
            Tree::String(text) => Scalar::Text(text.clone()),
            Tree::Object(object) => {
                if place.keys.len() >= MOST_DEPTH {
                    return self.skip(place, "nested too deeply");
                }
                self.put(place, row, Scalar::Nested);
                for (key, value) in object {
                    place.keys.push(key.clone());
                    self.walk(value, place, row);
                    place.keys.pop();
                }
                return;
            }
            Tree::Array(elements) => {
                let is_rows = !place.in_element && self.rows.as_ref() == Some(&place.keys);
                self.put(place, row, Scalar::Nested);
                if is_rows {
                    return;
                }
                let is_nested = |element: &Tree| element.is_object() || element.is_array();
                if elements.iter().any(is_nested) {
                    self.skip(place, "an array of objects or arrays; [[table]] rows could point to it");
                    self.arrays.insert(place.clone());
                }
                for (at, element) in elements.iter().enumerate() {
                    place.keys.push(at.to_string());
                    match is_nested(element) {
                        true => self.put(place, row, Scalar::Nested),
                        false => self.walk(element, place, row),
                    }
                    place.keys.pop();
                }
                return;
            }
        };
        self.put(place, row, scalar);
    }

    fn put(&mut self, place: &Place, row: usize, scalar: Scalar) {
        if place.keys.is_empty() {
            return;
        }
        let at = match self.index.get(place) {
            Some(&at) => at,
            None if place.path().is_none() => return self.skip(place, "no path can be written to it"),
            None if self.fields.len() >= MOST_FIELDS => return self.skip(place, "there are too many fields"),
            None => {
                self.index.insert(place.clone(), self.fields.len());
                self.fields.push(Field { place: place.clone(), values: vec![None; row + 1] });
                self.fields.len() - 1
            }
        };
        self.fields[at].values[row] = Some(scalar);
    }

    /// Where element and message have a field at one place, a mapping finds one of them: of a name the element's first, of a
    /// path the message's.
    fn merge_places(&mut self) {
        let mut gone = HashSet::new();
        for at in 0..self.fields.len() {
            let place = &self.fields[at].place;
            let around = Place { in_element: false, keys: place.keys.clone() };
            let Some(&of_record) = self.index.get(&around).filter(|_| place.in_element) else { continue };
            let is_name = place.path().is_some_and(|path| !path.starts_with('/'));
            let (kept, other) = if is_name { (at, of_record) } else { (of_record, at) };
            let others = std::mem::take(&mut self.fields[other].values);
            for (value, other) in self.fields[kept].values.iter_mut().zip(others) {
                if value.is_none() {
                    *value = other;
                }
            }
            gone.insert(other);
        }
        let mut number = 0..;
        self.fields.retain(|_| number.next().is_none_or(|at| !gone.contains(&at)));
    }

    /// Without what is never a single value, and what may be within an element that was not looked into.
    fn without_objects(mut self) -> Self {
        self.merge_places();
        let arrays = std::mem::take(&mut self.arrays);
        let is_within_array = |Place { in_element, keys }: &Place| {
            let around = |end| Place { in_element: *in_element, keys: keys[..end].to_vec() };
            (1..keys.len().saturating_sub(1)).any(|end| arrays.contains(&around(end)))
        };
        self.fields.retain(|field| {
            if is_within_array(&field.place) {
                return false;
            }
            let mut values = field.values.iter().flatten();
            let is_nested = values.clone().any(|value| *value == Scalar::Nested);
            !is_nested || values.any(|value| !matches!(value, Scalar::Nested | Scalar::Null))
        });
        self
    }

    fn skip(&mut self, place: &Place, why: &'static str) {
        if self.skipped.len() < 20 && !place.keys.is_empty() {
            self.skipped.insert(Path::of(&place.keys).to_string(), why);
        }
    }
}
