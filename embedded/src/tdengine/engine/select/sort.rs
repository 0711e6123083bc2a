//! ORDER BY, DISTINCT and LIMIT over rows at hand.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::value;
use crate::tdengine::engine::sql::ast::OrderBy;
use crate::tdengine::engine::{Cell, DataType};

/// Leaves the first of equal rows.
pub(super) fn distinct(rows: &mut Vec<Vec<Cell>>) {
    let mut seen = HashSet::new();
    rows.retain(|row| {
        let mut key = Vec::new();
        row.iter().for_each(|cell| value::key_bytes(cell, &mut key));
        seen.insert(key)
    });
}

/// The rows that a limit leaves: so many, after so many.
pub(super) fn limited(rows: Vec<Vec<Cell>>, limit: Option<(u64, u64)>) -> Vec<Vec<Cell>> {
    let (take, skip) = limit.unwrap_or((u64::MAX, 0));
    let bounded = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    rows.into_iter().skip(bounded(skip)).take(bounded(take)).collect()
}

/// Collects rows with the keys they are sorted by; with a limit it holds only as many as that needs.
pub(super) struct Sorter<'a> {
    order_by: &'a [OrderBy],
    types: Vec<DataType>,
    limit: Option<(u64, u64)>,
    rows: Vec<(Vec<Cell>, Vec<Cell>)>,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(order_by: &'a [OrderBy], types: Vec<DataType>, limit: Option<(u64, u64)>) -> Self {
        Self { order_by, types, limit, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, key: Vec<Cell>, row: Vec<Cell>) {
        self.rows.push((key, row));
        if let Some((take, skip)) = self.limit {
            let most = usize::try_from(take.saturating_add(skip)).unwrap_or(usize::MAX);
            if self.rows.len() > most.saturating_mul(2).saturating_add(4096) {
                self.sort();
                self.rows.truncate(most);
            }
        }
    }

    fn sort(&mut self) {
        if self.order_by.is_empty() {
            return;
        }
        let (order_by, types) = (self.order_by, &self.types);
        self.rows.sort_by(|(a, _), (b, _)| {
            let mut ordering = Ordering::Equal;
            for (i, order) in order_by.iter().enumerate() {
                let nulls = (a[i] == Cell::Null).cmp(&(b[i] == Cell::Null));
                ordering = match order.nulls_first {
                    Some(true) if nulls.is_ne() => nulls.reverse(),
                    Some(false) if nulls.is_ne() => nulls,
                    _ => {
                        let ascending = value::order(&a[i], &b[i], types[i]);
                        if order.descending { ascending.reverse() } else { ascending }
                    }
                };
                if ordering.is_ne() {
                    break;
                }
            }
            ordering
        });
    }

    pub(super) fn finish(mut self) -> Vec<Vec<Cell>> {
        self.sort();
        limited(self.rows.into_iter().map(|(_, row)| row).collect(), self.limit)
    }
}
