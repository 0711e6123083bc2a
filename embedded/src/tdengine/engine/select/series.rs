//! Functions that turn a series of rows into another one: `diff`, `derivative`, `csum`, `mavg`, `top`, `bottom`, `tail`
//! and `unique`. They are computed first; what remains is a query over rows with one column more.

use std::collections::{HashMap, HashSet};

use super::bind::{Binder, has_aggregate, walk};
use super::eval::{Context, Typed};
use super::functions::{wrong_count, wrong_type};
use super::input::{Conditions, Input};
use super::source::{InputColumn, Role, Source};
use super::value::{self, is_integer, is_numeric, key_bytes};
use crate::tdengine::engine::sql::ast::{Expr, Select, SelectItem};
use crate::tdengine::engine::{Cell, DataType, TdError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Diff,
    Derivative,
    CumulativeSum,
    MovingAverage,
    Top,
    Bottom,
    Tail,
    Unique,
}

/// Name, kind, and how many arguments it takes.
const FUNCTIONS: &[(&str, Kind, usize, usize)] = &[
    ("diff", Kind::Diff, 1, 2),
    ("derivative", Kind::Derivative, 3, 3),
    ("csum", Kind::CumulativeSum, 1, 1),
    ("mavg", Kind::MovingAverage, 2, 2),
    ("top", Kind::Top, 2, 2),
    ("bottom", Kind::Bottom, 2, 2),
    ("tail", Kind::Tail, 2, 3),
    ("unique", Kind::Unique, 1, 1),
];

fn find(name: &str) -> Option<(Kind, usize, usize)> {
    FUNCTIONS.iter().find(|(known, ..)| *known == name).map(|(_, kind, min, max)| (*kind, *min, *max))
}

/// Whether an item is (or has within it) such a function.
pub(super) fn is_series(item: &SelectItem) -> bool {
    let mut found = false;
    walk(&item.expr, &mut |expr| found |= matches!(expr, Expr::Call { name, .. } if find(name).is_some()));
    found
}

/// The input with the function's values as a further column, which stands in its place in the items.
pub(super) fn apply(
    mut input: Input,
    conditions: &Conditions,
    context: &Context,
    select: &Select,
    items: &mut [SelectItem],
) -> Result<Input, TdError> {
    let mixed = "Some functions are allowed only in the SELECT list of a query. And, cannot be mixed with other non scalar \
                 functions or columns.";
    let mut series = items.iter_mut().filter(|item| is_series(item));
    let (Some(item), None) = (series.next(), series.next()) else { return Err(TdError::new(0x264f, mixed)) };
    let Expr::Call { name, args } = item.expr.clone() else {
        return Err(TdError::unsupported("an expression over a series"));
    };
    if select.window.is_some()
        || !select.group_by.is_empty()
        || select.items.iter().any(|item| has_aggregate(&item.expr))
    {
        return Err(TdError::new(0x264f, mixed));
    }
    let Some((kind, min, max)) = find(&name) else { return Err(TdError::new(0x0374, "Func not exists")) };
    if !(min..=max).contains(&args.len()) {
        return Err(wrong_count(&name));
    }
    let columns = input.columns.clone();
    let mut binder = Binder { columns: &columns, context, grouping: None };
    let args = args.iter().map(|arg| binder.bind(arg)).collect::<Result<Vec<_>, _>>()?;
    let keys = select.partition_by.iter().map(|expr| binder.bind(expr)).collect::<Result<Vec<_>, _>>()?;
    let series = Series::new(&name, kind, &args)?;
    let time = input.time();
    let mut partitions: Vec<Vec<(i64, Vec<Cell>)>> = Vec::new();
    let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut row = Vec::new();
    while input.source.next(&mut row)? {
        if !conditions.accepts(&row)? {
            continue;
        }
        let mut key = Vec::new();
        for expr in &keys {
            key_bytes(&expr.eval(&row)?, &mut key);
        }
        let partition = *by_key.entry(key).or_insert_with(|| {
            partitions.push(Vec::new());
            partitions.len() - 1
        });
        let at = match time.and_then(|i| row.get(i)) {
            Some(Cell::Timestamp(at)) => *at,
            _ => partitions[partition].len() as i64,
        };
        partitions[partition].push((at, row.clone()));
    }
    let mut rows = Vec::new();
    for mut partition in partitions {
        partition.sort_by_key(|(at, _)| *at);
        rows.extend(series.run(partition, context)?);
    }
    let column = "\u{0}series".to_owned();
    item.alias = Some(item.alias.take().unwrap_or_else(|| item.text.clone()));
    item.expr = Expr::Column { table: None, name: column.clone() };
    let table = columns.first().map_or_else(|| b""[..].into(), |column| column.table.clone());
    input.columns.push(InputColumn {
        table,
        name: column,
        data_type: series.data_type,
        role: Role::Column,
        in_star: false,
    });
    input.source = Source::Rows(rows.into_iter());
    Ok(input)
}

struct Series {
    kind: Kind,
    arg: Typed,
    /// The further arguments: a count, an interval in ticks, a flag.
    first: i64,
    second: i64,
    data_type: DataType,
}

impl Series {
    fn new(name: &str, kind: Kind, args: &[Typed]) -> Result<Self, TdError> {
        let arg = args[0].clone();
        let parameter = |i: usize| -> Result<i64, TdError> {
            let number = args.get(i).map(|arg| arg.number(&[])).transpose()?.flatten();
            Ok(number.map_or(0, |number| number.as_f64() as i64))
        };
        let (first, second) = (parameter(1)?, parameter(2)?);
        if !is_numeric(arg.data_type) && !matches!(kind, Kind::Tail | Kind::Unique) {
            return Err(wrong_type(name));
        }
        let limits = match kind {
            Kind::Top | Kind::Bottom | Kind::Tail => 1..=100,
            Kind::MovingAverage => 1..=1000,
            Kind::Derivative => 1..=i64::MAX,
            _ => i64::MIN..=i64::MAX,
        };
        if !limits.contains(&first) {
            return Err(TdError::new(0x2811, format!("Invalid parameter range : {name}")));
        }
        let data_type = match kind {
            Kind::Diff | Kind::CumulativeSum if is_integer(arg.data_type) => DataType::BigInt,
            Kind::Diff | Kind::CumulativeSum | Kind::Derivative | Kind::MovingAverage => DataType::Double,
            _ => arg.data_type,
        };
        Ok(Self { kind, arg, first, second, data_type })
    }

    /// The rows of one partition, in time order, each with its value at the end.
    fn run(&self, rows: Vec<(i64, Vec<Cell>)>, context: &Context) -> Result<Vec<Vec<Cell>>, TdError> {
        let cells = rows.iter().map(|(_, row)| self.arg.eval(row)).collect::<Result<Vec<_>, _>>()?;
        let number = |i: usize| value::number(&cells[i], self.arg.data_type).map(value::Number::as_f64);
        let result = |value: f64| {
            value::cast(&Cell::Double(value), DataType::Double, self.data_type, context.precision, &context.zone)
        };
        let some = || (0..cells.len()).filter(|&i| cells[i] != Cell::Null);
        let mut picked: Vec<(usize, Cell)> = Vec::new();
        match self.kind {
            Kind::Diff => {
                let mut before = None;
                for i in 0..cells.len() {
                    match (number(i), before) {
                        (Some(now), Some(last)) => picked.push((i, result(now - last))),
                        (None, Some(_)) => picked.push((i, Cell::Null)),
                        (_, None) => {}
                    }
                    before = number(i).or(before);
                }
            }
            Kind::Derivative => {
                let mut before: Option<(i64, f64)> = None;
                for i in some() {
                    let (at, now) = (rows[i].0, number(i).unwrap_or(0.0));
                    if let Some((then, last)) = before.filter(|(then, _)| *then != at) {
                        let slope = (now - last) * self.first as f64 / (at - then) as f64;
                        if slope >= 0.0 || self.second == 0 {
                            picked.push((i, Cell::Double(slope)));
                        }
                    }
                    before = Some((at, now));
                }
            }
            Kind::CumulativeSum => {
                let mut sum = 0.0;
                for i in some() {
                    sum += number(i).unwrap_or(0.0);
                    picked.push((i, result(sum)));
                }
            }
            Kind::MovingAverage => {
                let (present, width): (Vec<usize>, usize) = (some().collect(), self.first as usize);
                for window in present.windows(width) {
                    let sum: f64 = window.iter().filter_map(|&i| number(i)).sum();
                    picked.push((window[width - 1], Cell::Double(sum / width as f64)));
                }
            }
            Kind::Top | Kind::Bottom => {
                let mut present: Vec<usize> = some().collect();
                present.sort_by(|&a, &b| {
                    let order = value::order(&cells[a], &cells[b], self.arg.data_type);
                    if self.kind == Kind::Top { order.reverse() } else { order }
                });
                present.truncate(self.first as usize);
                present.sort_unstable();
                picked.extend(present.into_iter().map(|i| (i, cells[i].clone())));
            }
            Kind::Tail => {
                let end = cells.len().saturating_sub(self.second.max(0) as usize);
                let start = end.saturating_sub(self.first as usize);
                picked.extend((start..end).map(|i| (i, cells[i].clone())));
            }
            Kind::Unique => {
                let mut seen = HashSet::new();
                for (i, cell) in cells.iter().enumerate() {
                    let mut key = Vec::new();
                    key_bytes(cell, &mut key);
                    if seen.insert(key) {
                        picked.push((i, cell.clone()));
                    }
                }
            }
        }
        let row = |(i, cell): (usize, Cell)| {
            let mut row = rows[i].1.clone();
            row.push(cell);
            row
        };
        Ok(picked.into_iter().map(row).collect())
    }
}
