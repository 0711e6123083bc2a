//! Queries: FROM, WHERE, grouping and windows, projection, ORDER BY, LIMIT.
//!
//! A query is bound to the catalog as it is when it starts; its rows are then read page by page, so that neither a long
//! query nor a slow client holds up a writer. It may see rows that are written while it runs.

mod aggregate;
mod bind;
mod eval;
mod functions;
mod group;
mod input;
mod join;
mod plan;
mod series;
mod sort;
mod source;
mod value;
mod write;

use std::sync::Arc;
use std::vec;

use self::bind::{Binder, has_aggregate, invalid_column};
use self::eval::{Context, Typed};
use self::input::{Conditions, Input};
use self::plan::Plan;
use self::sort::{Sorter, distinct};
use self::source::{InputColumn, Role, Source};
use super::sql::ast::{Body, Expr, Literal, OrderBy, Query, Select, SelectItem};
use super::{Cell, Column, DataType, Inner, Precision, ResultSet, Session, TdError};

/// The longest name of a result's column, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A whole result: its columns, the unit of its timestamps, its rows.
type Table = (Vec<Column>, Precision, Vec<Vec<Cell>>);

/// Rows of a result, one by one.
#[derive(Debug)]
pub(crate) enum Rows {
    Ready(vec::IntoIter<Vec<Cell>>),
    Stream(Box<Stream>),
}

/// Rows that are projected while they are read.
#[derive(Debug)]
pub(crate) struct Stream {
    source: Source,
    conditions: Conditions,
    items: Vec<Typed>,
    skip: u64,
    take: u64,
    row: Vec<Cell>,
}

impl Rows {
    pub(crate) fn next(&mut self) -> Result<Option<Vec<Cell>>, TdError> {
        match self {
            Self::Ready(rows) => Ok(rows.next()),
            Self::Stream(stream) => stream.next(),
        }
    }
}

impl Stream {
    fn next(&mut self) -> Result<Option<Vec<Cell>>, TdError> {
        while self.take > 0 && self.source.next(&mut self.row)? {
            if !self.conditions.accepts(&self.row)? {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.take -= 1;
            return project(&self.items, &self.row).map(Some);
        }
        Ok(None)
    }
}

fn project(items: &[Typed], row: &[Cell]) -> Result<Vec<Cell>, TdError> {
    items.iter().map(|item| item.eval(row)).collect()
}

impl Inner {
    /// Runs a query; its rows may still have to be read.
    pub(crate) fn query(self: &Arc<Self>, session: &Session, query: &Query) -> Result<ResultSet, TdError> {
        match &query.body {
            Body::Select(select) => self.select(session, select, query),
            body => {
                let (columns, precision, mut rows) = self.body(session, body)?;
                let outer =
                    Input::of_result(ResultSet::new(columns, precision, Rows::Ready(Vec::new().into_iter())), b"")?;
                let context = self.context(session, precision);
                let mut keys = Vec::new();
                for order in &query.order_by {
                    let mut binder = Binder { columns: &outer.columns, context: &context, grouping: None };
                    keys.push(match position(&order.expr, outer.columns.len()) {
                        Some(i) => Typed::input(i, outer.columns[i].data_type),
                        None => binder.bind(&order.expr)?,
                    });
                }
                let mut sorted =
                    Sorter::new(&query.order_by, keys.iter().map(|key| key.data_type).collect(), query.limit);
                for row in rows.drain(..) {
                    sorted.push(project(&keys, &row)?, row);
                }
                let columns =
                    outer.columns.iter().map(|c| Column { name: c.name.clone().into_bytes(), data_type: c.data_type });
                Ok(ResultSet::new(columns.collect(), precision, Rows::Ready(sorted.finish().into_iter())))
            }
        }
    }

    fn body(self: &Arc<Self>, session: &Session, body: &Body) -> Result<Table, TdError> {
        match body {
            Body::Nested(query) => {
                let mut result = self.query(session, query)?;
                let rows = input::collect(&mut result)?;
                Ok((result.columns().to_vec(), result.precision(), rows))
            }
            Body::Select(_) => {
                let query = Query { body: body.clone(), order_by: Vec::new(), slimit: None, limit: None };
                self.body(session, &Body::Nested(Box::new(query)))
            }
            Body::Union { all, left, right } => {
                let (mut columns, precision, mut rows) = self.body(session, left)?;
                let (others, _, more) = self.body(session, right)?;
                if columns.len() != others.len() {
                    return Err(TdError::new(0x2656, "The number of columns in the query is not equal"));
                }
                let context = self.context(session, precision);
                for (column, other) in columns.iter_mut().zip(&others) {
                    column.data_type = bind::common_type(column.data_type, other.data_type);
                }
                rows.extend(more.into_iter().map(|row| {
                    let cast = |(i, cell): (usize, &Cell)| {
                        value::cast(cell, others[i].data_type, columns[i].data_type, precision, &context.zone)
                    };
                    row.iter().enumerate().map(cast).collect::<Vec<_>>()
                }));
                if !all {
                    distinct(&mut rows);
                }
                Ok((columns, precision, rows))
            }
        }
    }

    fn context(&self, session: &Session, precision: Precision) -> Context {
        Context {
            precision,
            zone: session.time_zone.clone(),
            now: (self.clock)(),
            user: session.user.clone(),
            database: session.database.clone(),
        }
    }

    fn select(self: &Arc<Self>, session: &Session, select: &Select, query: &Query) -> Result<ResultSet, TdError> {
        let (mut input, joined) = match &select.from {
            None => (Input::nothing(), None),
            Some(from @ super::sql::ast::From::Join { .. }) => {
                let (input, rest) = self.join(session, from, select.condition.as_ref())?;
                (input, Some(rest))
            }
            Some(from) => (self.input(session, from, select.condition.as_ref())?, None),
        };
        let context = self.context(session, input.precision);
        let columns = input.columns.clone();
        let mut items = expand(&select.items, &columns)?;
        let order_by = substitute(&query.order_by, &items);
        // Without FROM a condition changes nothing.
        let condition = match joined {
            Some(rest) => rest,
            None => select.condition.clone().filter(|_| select.from.is_some()),
        };
        let condition = condition
            .as_ref()
            .map(|e| Binder { columns: &columns, context: &context, grouping: None }.bind(e))
            .transpose()?;
        let conditions = Conditions::split(condition, &columns)?;
        prune(&mut input, &conditions)?;
        if items.iter().any(series::is_series) {
            let input = series::apply(input, &conditions, &context, select, &mut items)?;
            let (columns, conditions) = (input.columns.clone(), Conditions::default());
            let order_by = substitute(&query.order_by, &items);
            let plan = Plan { select, query, context: &context, columns: &columns, items: &items, order_by: &order_by };
            return plan.rows(input, conditions);
        }
        let grouped = !select.group_by.is_empty()
            || select.window.is_some()
            || items.iter().any(|item| has_aggregate(&item.expr))
            || order_by.iter().any(|order| has_aggregate(&order.expr))
            || select.having.as_ref().is_some_and(has_aggregate);
        if query.slimit.is_some() && select.partition_by.is_empty() && select.group_by.is_empty() {
            return Err(TdError::new(0x2638, "slimit/soffset only available for PARTITION/GROUP BY query"));
        }
        let plan = Plan { select, query, context: &context, columns: &columns, items: &items, order_by: &order_by };
        if grouped { plan.grouped(input, conditions) } else { plan.rows(input, conditions) }
    }
}

/// Narrows a scan to the tables and times a condition leaves.
fn prune(input: &mut Input, conditions: &Conditions) -> Result<(), TdError> {
    if let Source::Scan(scan) = &mut input.source {
        scan.range.0 = scan.range.0.max(conditions.first.unwrap_or(i64::MIN));
        scan.range.1 = scan.range.1.min(conditions.last.unwrap_or(i64::MAX));
        for condition in &conditions.tables {
            scan.keep_tables(condition)?;
        }
        return Ok(());
    }
    // Rows at hand have no index: what would narrow a scan is a condition like any other.
    let Source::Rows(rows) = &mut input.source else { return Ok(()) };
    let time = input.columns.iter().position(|column| column.role == Role::Time);
    let mut kept = Vec::new();
    for row in rows {
        let at = match time.and_then(|i| row.get(i)) {
            Some(Cell::Timestamp(at)) => Some(*at),
            _ => None,
        };
        let in_time = conditions.first.is_none_or(|first| at.is_some_and(|at| at >= first))
            && conditions.last.is_none_or(|last| at.is_some_and(|at| at <= last));
        let mut fits = in_time;
        for condition in &conditions.tables {
            fits = fits && condition.truth(&row)? == Some(true);
        }
        if fits {
            kept.push(row);
        }
    }
    input.source = Source::Rows(kept.into_iter());
    Ok(())
}

/// Puts columns in place of `*`, and one call for each column in place of `last(*)` and `last(a, b)`.
fn expand(items: &[SelectItem], columns: &[InputColumn]) -> Result<Vec<SelectItem>, TdError> {
    let mut expanded = Vec::new();
    for item in items {
        let of_table =
            |table: &Option<Vec<u8>>, column: &InputColumn| table.as_ref().is_none_or(|table| **table == *column.table);
        let named =
            |column: &InputColumn| Expr::Column { table: Some(column.table.to_vec()), name: column.name.clone() };
        match &item.expr {
            Expr::Star { table } => {
                let before = expanded.len();
                for column in columns.iter().filter(|column| column.in_star && of_table(table, column)) {
                    expanded.push(SelectItem {
                        expr: named(column),
                        alias: None,
                        text: column.name.clone().into_bytes(),
                    });
                }
                if expanded.len() == before {
                    return Err(invalid_column("*"));
                }
            }
            Expr::Call { name, args } if matches!(name.as_str(), "first" | "last" | "last_row") => {
                let mut each = Vec::new();
                for arg in args {
                    match arg {
                        Expr::Star { table } => each.extend(
                            columns
                                .iter()
                                .filter(|column| column.in_star && column.role != Role::Tag && of_table(table, column))
                                .map(|column| (named(column), column.name.clone())),
                        ),
                        Expr::Column { name, .. } => each.push((arg.clone(), name.clone())),
                        other => each.push((other.clone(), String::new())),
                    }
                }
                if each.len() == 1 && !matches!(args[..], [Expr::Star { .. }]) {
                    expanded.push(item.clone());
                    continue;
                }
                for (arg, column) in each {
                    let text = format!("{name}({column})").into_bytes();
                    expanded.push(SelectItem {
                        expr: Expr::Call { name: name.clone(), args: vec![arg] },
                        alias: None,
                        text,
                    });
                }
            }
            _ => expanded.push(item.clone()),
        }
    }
    Ok(expanded)
}

/// The item that `order by 2` means.
fn position(expr: &Expr, items: usize) -> Option<usize> {
    match expr {
        Expr::Literal(Literal::Int(n)) => usize::try_from(*n).ok()?.checked_sub(1).filter(|i| *i < items),
        _ => None,
    }
}

/// Puts the select list's expressions in place of their aliases and positions.
fn substitute(order_by: &[OrderBy], items: &[SelectItem]) -> Vec<OrderBy> {
    let expr = |order: &OrderBy| {
        if let Some(i) = position(&order.expr, items.len()) {
            return items[i].expr.clone();
        }
        match &order.expr {
            Expr::Column { table: None, name } => items
                .iter()
                .find(|item| item.alias.as_deref() == Some(name.as_bytes()))
                .map_or_else(|| order.expr.clone(), |item| item.expr.clone()),
            other => other.clone(),
        }
    };
    order_by.iter().map(|order| OrderBy { expr: expr(order), ..order.clone() }).collect()
}

fn result_columns(items: &[SelectItem], bound: &[Typed]) -> Vec<Column> {
    let name = |item: &SelectItem| {
        let mut name = match (&item.alias, &item.expr) {
            (Some(alias), _) => alias.clone(),
            (None, Expr::Column { name, .. } | Expr::Pseudo { name, .. }) => name.clone().into_bytes(),
            (None, _) => item.text.clone(),
        };
        name.truncate(MAX_NAME_BYTES);
        name
    };
    items.iter().zip(bound).map(|(item, bound)| Column { name: name(item), data_type: bound.data_type }).collect()
}

/// Whether a text fits a LIKE pattern.
pub(crate) fn like(text: &[u8], pattern: &[u8]) -> bool {
    value::like(text, pattern)
}

/// A value as text.
pub(crate) fn plain_text(cell: &Cell, data_type: DataType) -> Vec<u8> {
    value::text(cell, data_type)
}
