//! One SELECT, bound and run: rows that stay rows, and groups.

use std::collections::HashMap;

use super::bind::{self, Binder, Grouping, has_aggregate, same};
use super::eval::{Context, Node, Typed};
use super::group::{Frame, Grouper};
use super::input::{Conditions, Input};
use super::sort::{Sorter, distinct, limited};
use super::source::{InputColumn, Role, Source};
use super::{Rows, Stream, position, project, result_columns, value};
use crate::tdengine::engine::sql::ast::{Expr, OrderBy, Query, Select, SelectItem};
use crate::tdengine::engine::{Cell, ResultSet, TdError};

/// One SELECT, its names looked up.
pub(super) struct Plan<'a> {
    pub(super) select: &'a Select,
    pub(super) query: &'a Query,
    pub(super) context: &'a Context,
    pub(super) columns: &'a [InputColumn],
    pub(super) items: &'a [SelectItem],
    pub(super) order_by: &'a [OrderBy],
}

impl Plan<'_> {
    /// A query whose rows stay rows.
    pub(super) fn rows(&self, mut input: Input, conditions: Conditions) -> Result<ResultSet, TdError> {
        let mut binder = Binder { columns: self.columns, context: self.context, grouping: None };
        let items = self.items.iter().map(|item| binder.bind(&item.expr)).collect::<Result<Vec<_>, _>>()?;
        let keys = self.order_by.iter().map(|order| binder.bind(&order.expr)).collect::<Result<Vec<_>, _>>()?;
        let partitions =
            self.select.partition_by.iter().map(|expr| binder.bind(expr)).collect::<Result<Vec<_>, _>>()?;
        if self.select.having.is_some() {
            return Err(TdError::new(0x260c, "Not a single-group group function"));
        }
        let columns = result_columns(self.items, &items);
        let precision = input.precision;
        if self.of_tables(&items) {
            list_tables(&mut input);
        }
        let by_time = match (&keys[..], self.order_by) {
            ([Typed { node: Node::Input(i), .. }], [order]) => {
                (input.single && self.columns[*i].role == Role::Time).then_some(order.descending)
            }
            _ => None,
        };
        if let (Some(descending), Source::Scan(scan)) = (by_time, &mut input.source) {
            scan.descending = descending;
        }
        if let Source::Scan(scan) = &mut input.source {
            let mut needed = vec![false; self.columns.len()];
            let all = items.iter().chain(&keys).chain(&partitions).chain(&conditions.rest);
            all.for_each(|expr| expr.inputs(&mut |i| needed[i] = true));
            scan.only(&needed);
        }
        let in_order = keys.is_empty() || (by_time.is_some() && matches!(input.source, Source::Scan(_)));
        if in_order && !self.select.distinct && partitions.is_empty() {
            let (take, skip) = self.query.limit.unwrap_or((u64::MAX, 0));
            let stream = Stream { source: input.source, conditions, items, skip, take, row: Vec::new() };
            return Ok(ResultSet::new(columns, precision, Rows::Stream(Box::new(stream))));
        }
        let each_partition = self.order_by.is_empty() && !partitions.is_empty();
        let limit = self.query.limit.filter(|_| !self.select.distinct && !each_partition);
        let mut sorted = Sorter::new(self.order_by, keys.iter().map(|key| key.data_type).collect(), limit);
        let mut row = Vec::new();
        let mut counted: HashMap<Vec<u8>, u64> = HashMap::new();
        while input.source.next(&mut row)? {
            if !conditions.accepts(&row)? {
                continue;
            }
            if let (true, Some((take, skip))) = (each_partition, self.query.limit) {
                let mut key = Vec::new();
                for expr in &partitions {
                    value::key_bytes(&expr.eval(&row)?, &mut key);
                }
                let count = counted.entry(key).or_default();
                *count += 1;
                if *count <= skip || *count - skip > take {
                    continue;
                }
            }
            sorted.push(project(&keys, &row)?, project(&items, &row)?);
        }
        let mut rows = sorted.finish();
        if self.select.distinct {
            distinct(&mut rows);
            rows = limited(rows, self.query.limit);
        }
        Ok(ResultSet::new(columns, precision, Rows::Ready(rows.into_iter())))
    }

    /// `select tags ..` and `select distinct` of tags and names are answered from the tables, with rows or without.
    fn of_tables(&self, items: &[Typed]) -> bool {
        let mut only_tags = true;
        for item in items {
            item.inputs(&mut |i| only_tags &= matches!(self.columns[i].role, Role::Tag | Role::TableName));
        }
        only_tags && (self.select.tags || self.select.distinct)
    }

    /// A query with aggregates, groups or a window.
    pub(super) fn grouped(&self, mut input: Input, conditions: Conditions) -> Result<ResultSet, TdError> {
        let mut binder = Binder { columns: self.columns, context: self.context, grouping: None };
        let key_exprs: Vec<&Expr> =
            self.select.partition_by.iter().chain(&self.select.group_by).map(|e| self.aliased(e)).collect();
        let keys = key_exprs.iter().map(|expr| binder.bind(expr)).collect::<Result<Vec<_>, _>>()?;
        let is_time = |expr: &Expr| {
            let bound = Binder { columns: self.columns, context: self.context, grouping: None }.bind(expr);
            matches!(bound, Ok(Typed { node: Node::Input(i), .. }) if self.columns[i].role == Role::Time)
        };
        let bind = |expr: &Expr| Binder { columns: self.columns, context: self.context, grouping: None }.bind(expr);
        let frame = Frame::new(self.select.window.as_ref(), self.context, bind, is_time)?;
        let mut grouping = Grouping {
            keys: key_exprs.iter().zip(&keys).map(|(expr, key)| (*expr, key.data_type)).collect(),
            group_by: !self.select.group_by.is_empty(),
            window: self.select.window.is_some(),
            aggregates: Vec::new(),
        };
        let mut binder = Binder { columns: self.columns, context: self.context, grouping: Some(&mut grouping) };
        // Aggregates first: whether a plain column may stand beside them depends on them.
        let mut items: Vec<Option<Typed>> = vec![None; self.items.len()];
        for aggregates in [true, false] {
            for (item, bound) in self.items.iter().zip(&mut items) {
                if has_aggregate(&item.expr) == aggregates {
                    *bound = Some(binder.bind(&item.expr)?);
                }
            }
        }
        let items: Vec<Typed> = items.into_iter().flatten().collect();
        let having = self.select.having.as_ref().map(|having| binder.bind(having)).transpose()?;
        let mut order_keys = Vec::new();
        for order in self.order_by {
            // What the select list has is taken from there, so that its choice of a row counts.
            let listed = self.items.iter().position(|item| same(&item.expr, &order.expr));
            order_keys.push(match listed {
                Some(i) => items[i].clone(),
                None => binder.bind(&order.expr)?,
            });
        }
        self.check(&input, &grouping)?;
        let columns = result_columns(self.items, &items);
        let precision = input.precision;
        if let Source::Scan(scan) = &mut input.source {
            let mut needed = vec![false; self.columns.len()];
            let aggregates = grouping.aggregates.iter().map(|aggregate| &aggregate.arg);
            keys.iter()
                .chain(aggregates)
                .chain(&conditions.rest)
                .for_each(|expr| expr.inputs(&mut |i| needed[i] = true));
            if let Frame::State(state) = &frame {
                state.inputs(&mut |i| needed[i] = true);
            }
            scan.only(&needed);
        }
        let mut keyed = false;
        let named = keys.len() + bind::WINDOW_CELLS;
        items.iter().chain(&having).for_each(|expr| expr.inputs(&mut |i| keyed |= i < named));
        let grouper = Grouper {
            keys: &keys,
            aggregates: &grouping.aggregates,
            frame: &frame,
            conditions: &conditions,
            context: self.context,
            keyed,
        };
        let mut groups = grouper.run(input)?;
        if let Some((take, skip)) = self.query.slimit {
            groups.retain(|rows| !rows.is_empty());
            groups = groups.into_iter().skip(skip as usize).take(take as usize).collect();
        }
        let each_partition = self.order_by.is_empty() && !self.select.partition_by.is_empty();
        let limit = self.query.limit.filter(|_| !self.select.distinct && !each_partition);
        let mut sorted = Sorter::new(self.order_by, order_keys.iter().map(|key| key.data_type).collect(), limit);
        for rows in groups {
            let mut kept = Vec::new();
            for row in rows {
                if having.as_ref().map_or(Ok(Some(true)), |having| having.truth(&row))? == Some(true) {
                    kept.push((project(&order_keys, &row)?, project(&items, &row)?));
                }
            }
            let (take, skip) = self.query.limit.filter(|_| each_partition).unwrap_or((u64::MAX, 0));
            for (key, row) in kept.into_iter().skip(skip as usize).take(usize::try_from(take).unwrap_or(usize::MAX)) {
                sorted.push(key, row);
            }
        }
        let mut rows = sorted.finish();
        if self.select.distinct {
            distinct(&mut rows);
            rows = limited(rows, self.query.limit);
        }
        Ok(ResultSet::new(columns, precision, Rows::Ready(rows.into_iter())))
    }

    /// A group's expression, or the item whose alias or place it is.
    fn aliased<'e>(&'e self, expr: &'e Expr) -> &'e Expr {
        if let Some(i) = position(expr, self.items.len()) {
            return &self.items[i].expr;
        }
        match expr {
            Expr::Column { table: None, name } if !self.columns.iter().any(|column| column.name == *name) => {
                let item = self.items.iter().find(|item| item.alias.as_deref() == Some(name.as_bytes()));
                item.map_or(expr, |item| &item.expr)
            }
            _ => expr,
        }
    }

    fn check(&self, input: &Input, grouping: &Grouping<'_>) -> Result<(), TdError> {
        let percentile = |name: &str| {
            self.items.iter().any(|item| {
                let mut found = false;
                bind::walk(&item.expr, &mut |expr| found |= matches!(expr, Expr::Call { name: of, .. } if of == name));
                found
            })
        };
        if percentile("percentile") && !input.single && matches!(input.source, Source::Scan(_)) {
            return Err(TdError::new(0x265f, "percentile is only supported in single table query"));
        }
        if grouping.aggregates.is_empty() && grouping.window && !grouping.group_by {
            return Err(TdError::new(0x260c, "Not a single-group group function"));
        }
        Ok(())
    }
}

/// One row a table: its columns NULL, its tags and name.
fn list_tables(input: &mut Input) {
    if let Source::Scan(scan) = &mut input.source {
        let columns = scan.columns;
        let row = |(_, fixed): (_, Vec<Cell>)| {
            let mut row = vec![Cell::Null; columns];
            row.extend(fixed);
            row
        };
        let rows: Vec<_> = std::mem::take(&mut scan.tables).into_iter().rev().map(row).collect();
        input.source = Source::Rows(rows.into_iter());
    }
}
