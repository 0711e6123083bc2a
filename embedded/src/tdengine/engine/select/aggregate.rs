//! Aggregate functions: what a group of rows comes to.

use super::eval::Typed;
use super::functions::{wrong_count, wrong_type};
use super::value::{self, is_integer, is_numeric, is_unsigned, order};
use crate::tdengine::engine::{Cell, DataType, TdError};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    First,
    Last,
    /// The newest row, NULL or not.
    LastRow,
    Spread,
    Stddev,
    StddevSamp,
    VarPop,
    VarSamp,
    Percentile(f64),
    Elapsed {
        unit_ticks: i64,
    },
    Mode,
    HyperLogLog,
    /// Any row's value: of a column that is the same throughout the group.
    Any,
    /// The value in the row that another aggregate of the list chose.
    With(usize),
}

const NAMES: &[(&str, Kind)] = &[
    ("count", Kind::Count),
    ("sum", Kind::Sum),
    ("avg", Kind::Avg),
    ("min", Kind::Min),
    ("max", Kind::Max),
    ("first", Kind::First),
    ("last", Kind::Last),
    ("last_row", Kind::LastRow),
    ("spread", Kind::Spread),
    ("stddev", Kind::Stddev),
    ("stddev_pop", Kind::Stddev),
    ("stddev_samp", Kind::StddevSamp),
    ("var_pop", Kind::VarPop),
    ("var_samp", Kind::VarSamp),
    ("variance", Kind::VarPop),
    ("percentile", Kind::Percentile(0.0)),
    ("apercentile", Kind::Percentile(0.0)),
    ("elapsed", Kind::Elapsed { unit_ticks: 1 }),
    ("mode", Kind::Mode),
    ("hyperloglog", Kind::HyperLogLog),
];

pub(super) fn is_aggregate(name: &str) -> bool {
    NAMES.iter().any(|(known, _)| *known == name)
}

/// One aggregate of a query.
#[derive(Debug, Clone)]
pub(super) struct Aggregate {
    pub(super) kind: Kind,
    /// On the rows of the input.
    pub(super) arg: Typed,
    pub(super) data_type: DataType,
}

impl Aggregate {
    /// The aggregate of a name on its bound arguments.
    pub(super) fn new(name: &str, mut args: Vec<Typed>) -> Result<Self, TdError> {
        let Some(&(_, kind)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(TdError::new(0x0374, "Func not exists"));
        };
        let counts = match kind {
            Kind::Percentile(_) if name == "apercentile" => 2..=3,
            Kind::Percentile(_) => 2..=2,
            Kind::Elapsed { .. } => 1..=2,
            _ => 1..=1,
        };
        if !counts.contains(&args.len()) {
            return Err(wrong_count(name));
        }
        let parameter = args.get(1).cloned();
        let arg = args.swap_remove(0);
        let data_type = arg.data_type;
        let need = |fits: bool| if fits { Ok(()) } else { Err(wrong_type(name)) };
        let (kind, result) = match kind {
            Kind::Count | Kind::HyperLogLog => (kind, DataType::BigInt),
            Kind::Sum => {
                need(is_numeric(data_type))?;
                let result = match data_type {
                    DataType::Float | DataType::Double => DataType::Double,
                    DataType::Decimal { scale, .. } => DataType::Decimal { precision: 38, scale },
                    unsigned if is_unsigned(unsigned) => DataType::UBigInt,
                    _ => DataType::BigInt,
                };
                (kind, result)
            }
            Kind::Avg | Kind::Stddev | Kind::StddevSamp | Kind::VarPop | Kind::VarSamp => {
                need(is_numeric(data_type))?;
                (kind, DataType::Double)
            }
            Kind::Spread => {
                need(is_numeric(data_type) || data_type == DataType::Timestamp)?;
                (kind, DataType::Double)
            }
            Kind::Min | Kind::Max => {
                need(is_numeric(data_type) || value::is_text(data_type))?;
                (kind, data_type)
            }
            Kind::Percentile(_) => {
                need(is_numeric(data_type))?;
                let p = parameter.map(|p| p.number(&[])).transpose()?.flatten().map_or(-1.0, value::Number::as_f64);
                if !(0.0..=100.0).contains(&p) {
                    return Err(TdError::new(0x2811, format!("Invalid parameter range : {name}")));
                }
                (Kind::Percentile(p), DataType::Double)
            }
            Kind::Elapsed { .. } => {
                need(data_type == DataType::Timestamp)?;
                let unit = parameter.map(|unit| unit.number(&[])).transpose()?.flatten();
                let unit_ticks = unit.map_or(1, |unit| unit.as_f64() as i64).max(1);
                (Kind::Elapsed { unit_ticks }, DataType::Double)
            }
            other => (other, data_type),
        };
        Ok(Self { kind, arg, data_type: result })
    }

    /// Whether the aggregate chooses one row, whose other columns may be asked for beside it.
    pub(super) fn selects_row(&self) -> bool {
        matches!(self.kind, Kind::Min | Kind::Max | Kind::First | Kind::Last | Kind::LastRow | Kind::Mode)
    }

    /// Whether it has a value where there are no rows: 0.
    pub(super) fn counts(&self) -> bool {
        matches!(self.kind, Kind::Count | Kind::HyperLogLog)
    }
}

/// The state of one aggregate over the rows of a group so far.
#[derive(Debug, Clone)]
pub(super) enum State {
    Count(u64),
    SumInt(Option<i128>),
    SumFloat(Option<f64>),
    /// Count, mean and sum of squared distances from it.
    Moments(u64, f64, f64),
    /// The sum and number of integers.
    Mean(i128, f64, u64),
    /// The chosen value, the time it has, and whether there is one.
    Chosen {
        value: Cell,
        time: i64,
        some: bool,
    },
    Range(Option<(f64, f64)>),
    Values(Vec<f64>),
    Times(Option<(i64, i64)>),
    Tally(std::collections::HashMap<Vec<u8>, (u64, Cell)>),
}

impl State {
    pub(super) fn new(aggregate: &Aggregate) -> Self {
        match aggregate.kind {
            Kind::Count => Self::Count(0),
            Kind::Sum if aggregate.data_type == DataType::Double => Self::SumFloat(None),
            Kind::Sum => Self::SumInt(None),
            Kind::Avg => Self::Mean(0, 0.0, 0),
            Kind::Stddev | Kind::StddevSamp | Kind::VarPop | Kind::VarSamp => Self::Moments(0, 0.0, 0.0),
            Kind::Spread => Self::Range(None),
            Kind::Percentile(_) => Self::Values(Vec::new()),
            Kind::Elapsed { .. } => Self::Times(None),
            Kind::Mode | Kind::HyperLogLog => Self::Tally(std::collections::HashMap::new()),
            _ => Self::Chosen { value: Cell::Null, time: 0, some: false },
        }
    }

    /// Takes in a row. True: the row is now the chosen one.
    pub(super) fn add(&mut self, aggregate: &Aggregate, row: &[Cell], now: i64) -> Result<bool, TdError> {
        let cell = aggregate.arg.eval(row)?;
        let arg_type = aggregate.arg.data_type;
        if cell == Cell::Null && !matches!(aggregate.kind, Kind::LastRow | Kind::Any) {
            return Ok(false);
        }
        let number = || value::number(&cell, arg_type);
        match self {
            Self::Count(count) => *count += 1,
            Self::SumInt(sum) => {
                let value = match (&cell, number()) {
                    (Cell::Decimal(value), _) => *value,
                    (_, Some(value::Number::Int(value))) => value,
                    _ => 0,
                };
                *sum = Some(sum.unwrap_or(0).saturating_add(value));
            }
            Self::SumFloat(sum) => *sum = Some(sum.unwrap_or(0.0) + number().map_or(0.0, value::Number::as_f64)),
            Self::Mean(ints, floats, count) => {
                match number() {
                    Some(value::Number::Int(value)) if is_integer(arg_type) => *ints += value,
                    Some(value) => *floats += value.as_f64(),
                    None => {}
                }
                *count += 1;
            }
            Self::Moments(count, mean, squares) => {
                let value = number().map_or(0.0, value::Number::as_f64);
                *count += 1;
                let distance = value - *mean;
                *mean += distance / *count as f64;
                *squares += distance * (value - *mean);
            }
            Self::Range(range) => {
                let value = number().map_or(0.0, value::Number::as_f64);
                *range = Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
            }
            Self::Values(values) => values.push(number().map_or(0.0, value::Number::as_f64)),
            Self::Times(times) => {
                if let Cell::Timestamp(at) = cell {
                    *times = Some(times.map_or((at, at), |(first, last)| (first.min(at), last.max(at))));
                }
            }
            Self::Tally(tally) => {
                let mut key = Vec::new();
                value::key_bytes(&cell, &mut key);
                tally.entry(key).or_insert((0, cell)).0 += 1;
            }
            Self::Chosen { value, time, some } => {
                let better = !*some
                    || match aggregate.kind {
                        Kind::Min => order(&cell, value, arg_type).is_lt(),
                        Kind::Max => order(&cell, value, arg_type).is_gt(),
                        Kind::First => now < *time,
                        Kind::Last | Kind::LastRow => now >= *time,
                        _ => false,
                    };
                if better {
                    (*value, *time, *some) = (cell, now, true);
                }
                return Ok(better);
            }
        }
        Ok(false)
    }

    /// Whether there is a result: without one in any aggregate a group without keys gives no row.
    pub(super) fn has_result(&self) -> bool {
        match self {
            Self::Count(_) => true,
            Self::SumInt(sum) => sum.is_some(),
            Self::SumFloat(sum) => sum.is_some(),
            Self::Moments(count, ..) | Self::Mean(.., count) => *count > 0,
            Self::Chosen { some, .. } => *some,
            Self::Range(range) => range.is_some(),
            Self::Values(values) => !values.is_empty(),
            Self::Times(times) => times.is_some(),
            Self::Tally(tally) => !tally.is_empty(),
        }
    }

    pub(super) fn finish(&self, aggregate: &Aggregate) -> Cell {
        let double = |value: f64| if value.is_finite() { Cell::Double(value) } else { Cell::Null };
        match self {
            Self::Count(count) => Cell::Int(*count as i64),
            Self::SumInt(None) | Self::SumFloat(None) | Self::Range(None) | Self::Times(None) => Cell::Null,
            Self::SumInt(Some(sum)) => match aggregate.data_type {
                DataType::Decimal { .. } => Cell::Decimal(*sum),
                DataType::UBigInt => Cell::UInt(*sum as u64),
                _ => Cell::Int(*sum as i64),
            },
            Self::SumFloat(Some(sum)) => double(*sum),
            Self::Mean(.., 0) | Self::Moments(0, ..) => Cell::Null,
            Self::Mean(ints, floats, count) => double((*ints as f64 + floats) / *count as f64),
            Self::Moments(count, _, squares) => {
                let population = *count as f64;
                match aggregate.kind {
                    Kind::Stddev => double((squares / population).sqrt()),
                    Kind::StddevSamp => double((squares / (population - 1.0)).sqrt()),
                    Kind::VarSamp => double(squares / (population - 1.0)),
                    _ => double(squares / population),
                }
            }
            Self::Range(Some((low, high))) => double(high - low),
            Self::Times(Some((first, last))) => match aggregate.kind {
                Kind::Elapsed { unit_ticks } => double((last - first) as f64 / unit_ticks as f64),
                _ => Cell::Null,
            },
            Self::Values(values) => match aggregate.kind {
                Kind::Percentile(p) => percentile(values, p),
                _ => Cell::Null,
            },
            Self::Tally(tally) => match aggregate.kind {
                Kind::HyperLogLog => Cell::Int(tally.len() as i64),
                _ => tally.values().max_by_key(|(count, _)| *count).map_or(Cell::Null, |(_, value)| value.clone()),
            },
            Self::Chosen { value, .. } => value.clone(),
        }
    }
}

fn percentile(values: &[f64], p: f64) -> Cell {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return Cell::Null };
    let at = p / 100.0 * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Cell::Double(low + (high - low) * at.fract())
}
