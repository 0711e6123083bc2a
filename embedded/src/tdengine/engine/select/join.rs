//! Joins on the primary timestamp, inner and left.

use std::collections::HashMap;
use std::sync::Arc;

use super::input::Input;
use super::source::{InputColumn, Role, Source};
use crate::tdengine::engine::sql::ast::{BinaryOp, Expr, From};
use crate::tdengine::engine::{Cell, Inner, Session, TdError};

impl Inner {
    /// The rows of a join, and what remains of the query's condition.
    pub(super) fn join(
        self: &Arc<Self>,
        session: &Session,
        from: &From,
        condition: Option<&Expr>,
    ) -> Result<(Input, Option<Expr>), TdError> {
        let From::Join { left, right, outer, on } = from else {
            return Ok((self.input(session, from, None)?, condition.cloned()));
        };
        let side = |from: &From| match from {
            From::Join { .. } => self.join(session, from, condition).map(|(input, _)| input),
            _ => self.input(session, from, None),
        };
        let (mut left, mut right) = (side(left)?, side(right)?);
        let mut columns = left.columns.clone();
        columns.extend(right.columns.iter().cloned());
        let mut parts = Vec::new();
        split(on.as_ref().or(condition), &mut parts);
        let (time, rest): (Vec<&Expr>, Vec<&Expr>) =
            parts.into_iter().partition(|part| is_time_equality(part, &columns));
        if time.is_empty() {
            return Err(TdError::new(0x2702, "not support cross join"));
        }
        if *outer && !rest.is_empty() && on.is_some() {
            return Err(TdError::unsupported("LEFT JOIN with more than the timestamps' equality"));
        }
        let (Some(left_time), Some(right_time)) = (left.time(), right.time()) else {
            return Err(TdError::new(0x2702, "not support cross join"));
        };
        let mut by_time: HashMap<i64, Vec<Vec<Cell>>> = HashMap::new();
        let mut row = Vec::new();
        while right.source.next(&mut row)? {
            if let Some(Cell::Timestamp(at)) = row.get(right_time) {
                by_time.entry(*at).or_default().push(row.clone());
            }
        }
        let nulls = vec![Cell::Null; right.columns.len()];
        let mut rows = Vec::new();
        while left.source.next(&mut row)? {
            let matches = match row.get(left_time) {
                Some(Cell::Timestamp(at)) => by_time.get(at),
                _ => None,
            };
            match matches {
                Some(matches) => rows.extend(matches.iter().map(|right| [&row[..], &right[..]].concat())),
                None if *outer => rows.push([&row[..], &nulls[..]].concat()),
                None => {}
            }
        }
        let rest = if on.is_some() {
            rest.into_iter().chain(condition).cloned().reduce(and)
        } else {
            rest.into_iter().cloned().reduce(and)
        };
        // Only the left side's timestamp is the primary one of the joined rows.
        for column in columns.iter_mut().skip(left.columns.len()).filter(|column| column.role == Role::Time) {
            column.role = Role::Column;
        }
        let source = Source::Rows(rows.into_iter());
        Ok((Input { columns, precision: left.precision, source, single: false }, rest))
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::Binary(BinaryOp::And, Box::new(left), Box::new(right))
}

fn split<'a>(condition: Option<&'a Expr>, parts: &mut Vec<&'a Expr>) {
    match condition {
        Some(Expr::Binary(BinaryOp::And, left, right)) => {
            split(Some(left), parts);
            split(Some(right), parts);
        }
        Some(part) => parts.push(part),
        None => {}
    }
}

/// `a.ts = b.ts`
fn is_time_equality(part: &Expr, columns: &[InputColumn]) -> bool {
    let time_of = |side: &Expr| match side {
        Expr::Column { table: Some(table), name } => columns
            .iter()
            .find(|column| *column.table == table[..] && column.name == *name && column.role == Role::Time)
            .map(|column| column.table.clone()),
        Expr::Pseudo { table: Some(table), name } if matches!(name.as_str(), "_rowts" | "_c0") => {
            Some(table[..].into())
        }
        _ => None,
    };
    match part {
        Expr::Binary(BinaryOp::Eq, left, right) => match (time_of(left), time_of(right)) {
            (Some(left), Some(right)) => left != right,
            _ => false,
        },
        _ => false,
    }
}
