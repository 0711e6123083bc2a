//! GROUP BY, PARTITION BY and windows: from rows of the input to one row a group (and window).

use std::collections::{BTreeMap, HashMap};

use super::aggregate::{Aggregate, Kind, State};
use super::eval::{Context, Typed};
use super::functions::offset_ticks;
use super::input::{Conditions, Input};
use super::source::{Role, Source};
use super::value::key_bytes;
use crate::tdengine::engine::sql::ast::{Expr, Fill, Window};
use crate::tdengine::engine::{Cell, TdError, time};

/// A window, ready to be applied.
#[derive(Debug)]
pub(super) enum Frame {
    None,
    Interval { length: i64, sliding: i64, offset: i64, local_days: bool, fill: Option<FillWith> },
    Session { gap: i64 },
    State(Typed),
}

#[derive(Debug)]
pub(super) enum FillWith {
    Null,
    Prev,
    Next,
    Linear,
    Values(Vec<Cell>),
}

impl Frame {
    pub(super) fn new(
        window: Option<&Window>,
        context: &Context,
        bind: impl FnOnce(&Expr) -> Result<Typed, TdError>,
        is_time: impl FnOnce(&Expr) -> bool,
    ) -> Result<Self, TdError> {
        let ticks = |text: &[u8]| {
            time::parse_duration(text, context.precision)
                .ok_or_else(|| TdError::unsupported(format!("an interval of {}", String::from_utf8_lossy(text))))
        };
        Ok(match window {
            None => Self::None,
            Some(Window::Interval { interval, offset, sliding, fill }) => {
                if sliding.as_ref().is_some_and(|text| matches!(text.last(), Some(b'n' | b'y'))) {
                    return Err(TdError::new(0x2630, "Does not support sliding when interval is natural month/year"));
                }
                let length = ticks(interval)?;
                if length < 1 {
                    return Err(TdError::new(0x2615, "Interval cannot be less than 1 ms"));
                }
                let sliding = sliding.as_ref().map_or(Ok(length), |text| ticks(text))?;
                if sliding > length {
                    return Err(TdError::new(0x2631, "sliding value no larger than the interval value"));
                }
                if sliding < 1 {
                    return Err(TdError::new(0x2615, "Interval cannot be less than 1 ms"));
                }
                let offset = offset.as_ref().map_or(Ok(0), |text| ticks(text))?;
                let local_days = matches!(interval.last(), Some(b'd' | b'w'));
                let fill = match fill {
                    None | Some(Fill::None) => None,
                    Some(Fill::Null) => Some(FillWith::Null),
                    Some(Fill::Prev) => Some(FillWith::Prev),
                    Some(Fill::Next) => Some(FillWith::Next),
                    Some(Fill::Linear) => Some(FillWith::Linear),
                    Some(Fill::Value(values)) => {
                        let value = |value: &Expr| match value {
                            Expr::Literal(literal) => super::bind::constant(literal, context),
                            _ => Err(TdError::unsupported("FILL with an expression")),
                        };
                        Some(FillWith::Values(values.iter().map(value).collect::<Result<_, _>>()?))
                    }
                };
                Self::Interval { length, sliding, offset, local_days, fill }
            }
            Some(Window::Session { column, gap }) => {
                if !is_time(column) {
                    return Err(TdError::new(0x262c, "Only support SESSION on primary timestamp column"));
                }
                let gap = ticks(gap)?;
                if gap < 1 {
                    return Err(TdError::new(0x262b, "SESSION gap should be fixed time window, and greater than 0"));
                }
                Self::Session { gap }
            }
            Some(Window::State(state)) => {
                let state = bind(state)?;
                use crate::tdengine::engine::DataType;
                if !(super::value::is_integer(state.data_type)
                    || matches!(state.data_type, DataType::Bool | DataType::VarChar(_)))
                {
                    return Err(TdError::new(0x2628, "Only support STATE_WINDOW on integer/bool/varchar column"));
                }
                Self::State(state)
            }
        })
    }
}

/// The aggregates of one group (in one window).
#[derive(Debug, Clone)]
struct Totals {
    states: Vec<State>,
    /// Values of [`Kind::With`].
    chosen: Vec<Cell>,
}

impl Totals {
    fn new(aggregates: &[Aggregate]) -> Self {
        Self { states: aggregates.iter().map(State::new).collect(), chosen: vec![Cell::Null; aggregates.len()] }
    }

    fn add(&mut self, aggregates: &[Aggregate], row: &[Cell], now: i64) -> Result<(), TdError> {
        for (i, aggregate) in aggregates.iter().enumerate() {
            if !matches!(aggregate.kind, Kind::With(_)) && self.states[i].add(aggregate, row, now)? {
                for (k, with) in aggregates.iter().enumerate() {
                    if with.kind == Kind::With(i) {
                        self.chosen[k] = with.arg.eval(row)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn has_result(&self, aggregates: &[Aggregate]) -> bool {
        let counted = |(state, aggregate): (&State, &Aggregate)| {
            !matches!(aggregate.kind, Kind::With(_)) && (state.has_result() || aggregate.counts())
        };
        self.states.iter().zip(aggregates).any(counted)
    }

    fn finish(&self, aggregates: &[Aggregate]) -> Vec<Cell> {
        let cell = |(i, aggregate): (usize, &Aggregate)| match aggregate.kind {
            Kind::With(_) => self.chosen[i].clone(),
            _ => self.states[i].finish(aggregate),
        };
        aggregates.iter().enumerate().map(cell).collect()
    }
}

#[derive(Debug)]
struct Group {
    keys: Vec<Cell>,
    totals: Option<Totals>,
    windows: BTreeMap<i64, Totals>,
    /// Rows with their times, for windows that depend on their order.
    rows: Vec<(i64, Vec<Cell>)>,
}

/// Makes the groups' rows: keys, then start, end and duration of the window, then the aggregates.
pub(super) struct Grouper<'a> {
    pub(super) keys: &'a [Typed],
    pub(super) aggregates: &'a [Aggregate],
    pub(super) frame: &'a Frame,
    pub(super) conditions: &'a Conditions,
    pub(super) context: &'a Context,
    /// Whether keys or the window's times are asked for: then a group gives a row whatever its aggregates.
    pub(super) keyed: bool,
}

impl Grouper<'_> {
    /// One list of rows a group.
    pub(super) fn run(&self, mut input: Input) -> Result<Vec<Vec<Vec<Cell>>>, TdError> {
        let time = input.time();
        let mut groups: Vec<Group> = Vec::new();
        let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
        if self.keys.is_empty() {
            if let (Some(count), true) = (self.plain_count(&input)?, matches!(self.frame, Frame::None)) {
                let cells = vec![Cell::Int(count as i64); self.aggregates.len()];
                return Ok(vec![vec![window_row(Vec::new(), None, cells)]]);
            }
            groups.push(Group { keys: Vec::new(), totals: None, windows: BTreeMap::new(), rows: Vec::new() });
        } else {
            self.empty_tables(&input, &mut groups, &mut by_key)?;
        }
        let (mut row, mut key, mut arrival) = (Vec::new(), Vec::new(), 0);
        while input.source.next(&mut row)? {
            if !self.conditions.accepts(&row)? {
                continue;
            }
            let at = match time.and_then(|i| row.get(i)) {
                Some(Cell::Timestamp(ticks)) => *ticks,
                _ => {
                    arrival += 1;
                    arrival
                }
            };
            let group = if self.keys.is_empty() { 0 } else { self.group(&row, &mut key, &mut groups, &mut by_key)? };
            let Some(group) = groups.get_mut(group) else { continue };
            match self.frame {
                Frame::None => {
                    group.totals.get_or_insert_with(|| Totals::new(self.aggregates)).add(self.aggregates, &row, at)?;
                }
                Frame::Interval { length, sliding, .. } => {
                    let mut start = self.window_start(at);
                    while start.saturating_add(*length) > at {
                        let totals = group.windows.entry(start).or_insert_with(|| Totals::new(self.aggregates));
                        totals.add(self.aggregates, &row, at)?;
                        start -= sliding;
                    }
                }
                Frame::Session { .. } | Frame::State(_) => group.rows.push((at, row.clone())),
            }
        }
        groups.into_iter().map(|group| self.finish(group)).collect()
    }

    fn group(
        &self,
        row: &[Cell],
        key: &mut Vec<u8>,
        groups: &mut Vec<Group>,
        by_key: &mut HashMap<Vec<u8>, usize>,
    ) -> Result<usize, TdError> {
        key.clear();
        for expr in self.keys {
            key_bytes(&expr.eval(row)?, key);
        }
        if let Some(&group) = by_key.get(key.as_slice()) {
            return Ok(group);
        }
        let keys = self.keys.iter().map(|expr| expr.eval(row)).collect::<Result<_, _>>()?;
        groups.push(Group { keys, totals: None, windows: BTreeMap::new(), rows: Vec::new() });
        by_key.insert(key.clone(), groups.len() - 1);
        Ok(groups.len() - 1)
    }

    /// `count(*)` alone over a whole table or super table is counted in the store.
    fn plain_count(&self, input: &Input) -> Result<Option<u64>, TdError> {
        let Source::Scan(scan) = &input.source else { return Ok(None) };
        let counts_rows = |aggregate: &Aggregate| {
            let mut reads = false;
            aggregate.arg.inputs(&mut |i| reads |= input.columns.get(i).is_none_or(|column| column.role != Role::Time));
            aggregate.kind == Kind::Count
                && !reads
                && !matches!(aggregate.arg.node, super::eval::Node::Const(Cell::Null))
        };
        if self.aggregates.iter().all(counts_rows) && self.conditions.rest.is_empty() {
            return scan.count().map(Some);
        }
        Ok(None)
    }

    /// Where tables are counted by their tags or names, those without rows count 0.
    fn empty_tables(
        &self,
        input: &Input,
        groups: &mut Vec<Group>,
        by_key: &mut HashMap<Vec<u8>, usize>,
    ) -> Result<(), TdError> {
        let Source::Scan(scan) = &input.source else { return Ok(()) };
        let mut by_table = matches!(self.frame, Frame::None) && self.aggregates.iter().any(Aggregate::counts);
        for key in self.keys {
            key.inputs(&mut |i| {
                by_table &=
                    input.columns.get(i).is_some_and(|column| matches!(column.role, Role::Tag | Role::TableName));
            });
        }
        if !by_table {
            return Ok(());
        }
        let mut key = Vec::new();
        for (_, fixed) in &scan.tables {
            let mut row = vec![Cell::Null; scan.columns];
            row.extend(fixed.iter().cloned());
            let group = self.group(&row, &mut key, groups, by_key)?;
            let totals = groups[group].totals.get_or_insert_with(|| Totals::new(self.aggregates));
            for (i, aggregate) in self.aggregates.iter().enumerate() {
                if aggregate.kind == Kind::Any {
                    totals.states[i].add(aggregate, &row, 0)?;
                }
            }
        }
        Ok(())
    }

    /// The last window that begins at or before a time.
    fn window_start(&self, at: i64) -> i64 {
        let Frame::Interval { sliding, offset, local_days, .. } = self.frame else { return at };
        let zone = if *local_days { offset_ticks(at, self.context) } else { 0 };
        let shift = zone - offset;
        (at + shift).div_euclid(*sliding) * sliding - shift
    }

    fn finish(&self, group: Group) -> Result<Vec<Vec<Cell>>, TdError> {
        match self.frame {
            Frame::None => {
                let totals = match group.totals {
                    Some(totals) => totals,
                    None if self.keys.is_empty() && self.aggregates.iter().any(Aggregate::counts) => {
                        Totals::new(self.aggregates)
                    }
                    None => return Ok(Vec::new()),
                };
                if !self.shows(&totals) {
                    return Ok(Vec::new());
                }
                Ok(vec![window_row(group.keys, None, totals.finish(self.aggregates))])
            }
            Frame::Interval { length, fill, .. } => {
                let rows = group.windows.iter().filter(|(_, totals)| self.shows(totals)).map(|(start, totals)| {
                    (
                        *start,
                        window_row(group.keys.clone(), Some((*start, start + length)), totals.finish(self.aggregates)),
                    )
                });
                match fill {
                    None => Ok(rows.map(|(_, row)| row).collect()),
                    Some(with) => self.fill(&group.keys, rows.collect(), with),
                }
            }
            Frame::Session { .. } | Frame::State(_) => self.ordered_windows(group),
        }
    }

    fn shows(&self, totals: &Totals) -> bool {
        self.keyed || totals.has_result(self.aggregates)
    }

    /// Windows that begin where the time jumps or the state changes.
    fn ordered_windows(&self, mut group: Group) -> Result<Vec<Vec<Cell>>, TdError> {
        group.rows.sort_by_key(|(at, _)| *at);
        let mut windows: Vec<(i64, i64, Cell, Totals)> = Vec::new();
        for (at, row) in &group.rows {
            let state = match self.frame {
                Frame::State(state) => match state.eval(row)? {
                    Cell::Null => continue,
                    state => state,
                },
                _ => Cell::Null,
            };
            let goes_on = windows.last().is_some_and(|(_, end, of, _)| match self.frame {
                Frame::Session { gap } => at - end <= *gap,
                _ => *of == state,
            });
            if !goes_on {
                windows.push((*at, *at, state, Totals::new(self.aggregates)));
            }
            if let Some((_, end, _, totals)) = windows.last_mut() {
                *end = *at;
                totals.add(self.aggregates, row, *at)?;
            }
        }
        windows.retain(|(_, _, _, totals)| self.shows(totals));
        let row = |(start, end, _, totals): (i64, i64, Cell, Totals)| {
            window_row(group.keys.clone(), Some((start, end)), totals.finish(self.aggregates))
        };
        Ok(windows.into_iter().map(row).collect())
    }

    /// Adds the windows of the asked time that have no rows.
    fn fill(
        &self,
        keys: &[Cell],
        mut rows: BTreeMap<i64, Vec<Cell>>,
        with: &FillWith,
    ) -> Result<Vec<Vec<Cell>>, TdError> {
        const MAX_WINDOWS: i64 = 10_000_000;
        let problem = || TdError::new(0x263b, "Start(end) time of query range required or time range too large");
        let Frame::Interval { length, sliding, .. } = self.frame else { return Ok(Vec::new()) };
        let (Some(first), Some(last)) = (self.conditions.first, self.conditions.last) else { return Err(problem()) };
        if last.saturating_sub(first) / sliding > MAX_WINDOWS {
            return Err(problem());
        }
        let cells = keys.len() + super::bind::WINDOW_CELLS;
        let present: Vec<i64> = rows.keys().copied().collect();
        let mut start = self.window_start(first);
        while start <= last {
            if !rows.contains_key(&start) {
                let before = present.partition_point(|at| *at < start).checked_sub(1).map(|i| present[i]);
                let after = present.get(present.partition_point(|at| *at <= start)).copied();
                let values = |at: Option<i64>| at.and_then(|at| rows.get(&at)).map(|row| row[cells..].to_vec());
                let nulls = vec![Cell::Null; self.aggregates.len()];
                let filled = match with {
                    FillWith::Null => nulls,
                    FillWith::Prev => values(before).unwrap_or(nulls),
                    FillWith::Next => values(after).unwrap_or(nulls),
                    FillWith::Values(values) => self.values(values),
                    FillWith::Linear => match (before, after, values(before), values(after)) {
                        (Some(t0), Some(t1), Some(v0), Some(v1)) => {
                            let share = (start - t0) as f64 / (t1 - t0) as f64;
                            v0.iter()
                                .zip(&v1)
                                .zip(self.aggregates)
                                .map(|((a, b), of)| between(a, b, share, of))
                                .collect()
                        }
                        _ => nulls,
                    },
                };
                rows.insert(start, window_row(keys.to_vec(), Some((start, start + length)), filled));
            }
            start += sliding;
        }
        Ok(rows.into_values().collect())
    }

    /// FILL's values, as the aggregates' types; too few are taken as NULL, one stands for all.
    fn values(&self, values: &[Cell]) -> Vec<Cell> {
        let value = |(i, aggregate): (usize, &Aggregate)| {
            let cell = values.get(i).or(values.first().filter(|_| values.len() == 1)).unwrap_or(&Cell::Null);
            let from = super::bind::type_of(cell);
            super::value::cast(cell, from, aggregate.data_type, self.context.precision, &self.context.zone)
        };
        self.aggregates.iter().enumerate().map(value).collect()
    }
}

fn between(a: &Cell, b: &Cell, share: f64, of: &Aggregate) -> Cell {
    match (super::value::number(a, of.data_type), super::value::number(b, of.data_type)) {
        (Some(a), Some(b)) => {
            let value = a.as_f64() + (b.as_f64() - a.as_f64()) * share;
            match of.data_type {
                crate::tdengine::engine::DataType::Double => Cell::Double(value),
                crate::tdengine::engine::DataType::Float => Cell::Float(value as f32),
                _ => Cell::Int(value as i64),
            }
        }
        _ => Cell::Null,
    }
}

fn window_row(keys: Vec<Cell>, window: Option<(i64, i64)>, cells: Vec<Cell>) -> Vec<Cell> {
    let mut row = keys;
    match window {
        None => row.extend([Cell::Null, Cell::Null, Cell::Null]),
        Some((start, end)) => row.extend([Cell::Timestamp(start), Cell::Timestamp(end), Cell::Int(end - start)]),
    }
    row.extend(cells);
    row
}
