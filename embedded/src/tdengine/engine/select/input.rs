//! FROM: the columns a query can name, and the rows behind them.

use std::sync::Arc;

use super::eval::{Node, Typed};
use super::source::{InputColumn, Role, Scan, Source};
use super::value::{self, Number};
use crate::tdengine::engine::batch::accepted_range;
use crate::tdengine::engine::catalog::{Relation, Schema, Table, TableKind, tag_cells};
use crate::tdengine::engine::exec::system::Wanted;
use crate::tdengine::engine::exec::{database_name, database_of, is_system};
use crate::tdengine::engine::sql::ast::{BinaryOp, Expr, From, Literal, ObjectName};
use crate::tdengine::engine::{Cell, DataType, Inner, Precision, ResultSet, Session, TdError};

/// The length of `tbname` in results.
const TBNAME_LENGTH: u32 = 270;

/// What FROM stands for.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) columns: Vec<InputColumn>,
    pub(super) precision: Precision,
    pub(super) source: Source,
    /// One table, whose rows come in time order.
    pub(super) single: bool,
}

impl Input {
    /// No FROM: one row of nothing.
    pub(super) fn nothing() -> Self {
        let source = Source::Rows(vec![Vec::new()].into_iter());
        Self { columns: Vec::new(), precision: Precision::Milli, source, single: true }
    }

    /// All rows at hand, in their order.
    pub(super) fn of_result(mut result: ResultSet, alias: &[u8]) -> Result<Self, TdError> {
        let table: Arc<[u8]> = alias.into();
        let mut has_time = false;
        let columns = result.columns().iter().map(|column| {
            let time = column.data_type == DataType::Timestamp && !has_time;
            has_time |= time;
            InputColumn {
                table: table.clone(),
                name: String::from_utf8_lossy(&column.name).into_owned(),
                data_type: column.data_type,
                role: if time { Role::Time } else { Role::Column },
                in_star: true,
            }
        });
        let (columns, precision) = (columns.collect(), result.precision());
        let rows = collect(&mut result)?;
        Ok(Self { columns, precision, source: Source::Rows(rows.into_iter()), single: false })
    }

    pub(super) fn time(&self) -> Option<usize> {
        self.columns.iter().position(|column| column.role == Role::Time)
    }
}

/// Reads a result to its end.
pub(super) fn collect(result: &mut ResultSet) -> Result<Vec<Vec<Cell>>, TdError> {
    let mut rows = Vec::new();
    loop {
        let block = result.next_block(4096)?;
        if block.is_empty() {
            return Ok(rows);
        }
        rows.extend(block.rows().map(<[Cell]>::to_vec));
    }
}

impl Inner {
    pub(super) fn input(
        self: &Arc<Self>,
        session: &Session,
        from: &From,
        condition: Option<&Expr>,
    ) -> Result<Input, TdError> {
        match from {
            From::Table { table, alias } => self.table_input(session, table, alias.as_deref(), condition),
            From::Query { query, alias } => {
                Input::of_result(self.query(session, query)?, alias.as_deref().unwrap_or_default())
            }
            From::Join { .. } => Err(TdError::unsupported("JOIN")),
        }
    }

    fn table_input(
        self: &Arc<Self>,
        session: &Session,
        table: &ObjectName,
        alias: Option<&[u8]>,
        condition: Option<&Expr>,
    ) -> Result<Input, TdError> {
        let database = database_name(session, table)?;
        let qualifier = alias.unwrap_or(&table.name);
        if is_system(&database) {
            return Input::of_result(self.system_table(&database, &table.name, &wanted(condition))?, qualifier);
        }
        let relation = self.relation(session, table)?;
        let catalog = self.catalog();
        let database = database_of(&catalog, session, table)?;
        let precision = database.options.precision;
        let range = (accepted_range(database, (self.clock)()).0, i64::MAX);
        let none = Arc::new(Schema::default());
        let (tables, schema, tags, single) = match relation {
            Relation::Super(stable) => {
                let tables = database.children_of(stable.id);
                (tables, stable.columns.clone(), stable.tags.clone(), false)
            }
            Relation::Child(table, stable) => (vec![table], stable.columns.clone(), stable.tags.clone(), true),
            Relation::Normal(table, schema) => (vec![table], schema, none, true),
        };
        drop(catalog);
        let columns = columns(&qualifier.into(), &schema, &tags, !single);
        // The scan takes its tables from the end.
        let tables = tables.into_iter().rev().map(|table| (table.clone(), fixed_cells(&table, &tags))).collect();
        let source = Source::Scan(Box::new(Scan::new(self.clone(), tables, schema, range)));
        Ok(Input { columns, precision, source, single })
    }
}

/// Names that a condition fixes by `=`, in the columns that all system tables call alike.
fn wanted(condition: Option<&Expr>) -> Wanted {
    let mut wanted = Wanted::default();
    let mut open: Vec<&Expr> = condition.into_iter().collect();
    while let Some(part) = open.pop() {
        match part {
            Expr::Binary(BinaryOp::And, left, right) => open.extend([&**left, &**right]),
            Expr::Binary(BinaryOp::Eq, left, right) => {
                if let (Expr::Column { name, .. }, Expr::Literal(Literal::Text(text))) = (&**left, &**right) {
                    match name.as_str() {
                        "db_name" => wanted.database = Some(text.clone()),
                        "table_name" => wanted.table = Some(text.clone()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    wanted
}

fn columns(table: &Arc<[u8]>, schema: &Schema, tags: &Schema, tags_in_star: bool) -> Vec<InputColumn> {
    let column = |name: &str, data_type, role, in_star| InputColumn {
        table: table.clone(),
        name: name.to_owned(),
        data_type,
        role,
        in_star,
    };
    let mut columns = Vec::new();
    for (slot, def) in schema.live() {
        let role = if slot == 0 { Role::Time } else { Role::Column };
        columns.push(column(&def.name, def.data_type, role, true));
    }
    columns.extend(tags.live().map(|(_, def)| column(&def.name, def.data_type, Role::Tag, tags_in_star)));
    columns.push(column("tbname", DataType::VarChar(TBNAME_LENGTH), Role::TableName, false));
    columns
}

/// Tags and name of a table as they end each of its rows.
fn fixed_cells(table: &Table, tags: &Schema) -> Vec<Cell> {
    let mut cells: Vec<Cell> = match &table.kind {
        TableKind::Normal(_) => Vec::new(),
        TableKind::Child { tags: stored, .. } => {
            let all = tag_cells(tags, stored);
            tags.live().filter_map(|(slot, _)| all.get(slot).cloned()).collect()
        }
    };
    cells.push(Cell::Bytes(table.name[..].into()));
    cells
}

/// A condition in parts: what bounds the time, what chooses tables, and the rest.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    pub(super) tables: Vec<Typed>,
    pub(super) rest: Vec<Typed>,
}

impl Conditions {
    pub(super) fn split(condition: Option<Typed>, columns: &[InputColumn]) -> Result<Self, TdError> {
        let mut parts = Self::default();
        let mut open: Vec<Typed> = condition.into_iter().collect();
        while let Some(part) = open.pop() {
            match part.node {
                Node::Binary(BinaryOp::And, left, right) => open.extend([*right, *left]),
                _ => parts.put(part, columns)?,
            }
        }
        Ok(parts)
    }

    fn put(&mut self, part: Typed, columns: &[InputColumn]) -> Result<(), TdError> {
        if let Some((op, ticks)) = time_bound(&part, columns)? {
            let (first, last) = match op {
                BinaryOp::Eq => (ticks, ticks),
                BinaryOp::Lt => (i64::MIN, ticks.saturating_sub(1)),
                BinaryOp::Le => (i64::MIN, ticks),
                BinaryOp::Gt => (ticks.saturating_add(1), i64::MAX),
                _ => (ticks, i64::MAX),
            };
            if first != i64::MIN {
                self.first = Some(self.first.map_or(first, |old| old.max(first)));
            }
            if last != i64::MAX {
                self.last = Some(self.last.map_or(last, |old| old.min(last)));
            }
            return Ok(());
        }
        let (mut any, mut only_tags) = (false, true);
        part.inputs(&mut |i| {
            any = true;
            only_tags &= columns.get(i).is_some_and(|column| matches!(column.role, Role::Tag | Role::TableName));
        });
        if any && only_tags {
            self.tables.push(part)
        } else {
            self.rest.push(part)
        }
        Ok(())
    }

    pub(super) fn accepts(&self, row: &[Cell]) -> Result<bool, TdError> {
        for part in &self.rest {
            if part.truth(row)? != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `time < constant` and its kin, turned so that the time stands left.
fn time_bound(part: &Typed, columns: &[InputColumn]) -> Result<Option<(BinaryOp, i64)>, TdError> {
    let Node::Binary(op, left, right) = &part.node else { return Ok(None) };
    let is_time =
        |side: &Typed| matches!(side.node, Node::Input(i) if columns.get(i).is_some_and(|c| c.role == Role::Time));
    let is_constant = |side: &Typed| {
        let mut constant = true;
        side.inputs(&mut |_| constant = false);
        constant
    };
    let (op, constant) = if is_time(left) && is_constant(right) {
        (*op, right)
    } else if is_time(right) && is_constant(left) {
        let turned = match op {
            BinaryOp::Lt => BinaryOp::Gt,
            BinaryOp::Le => BinaryOp::Ge,
            BinaryOp::Gt => BinaryOp::Lt,
            BinaryOp::Ge => BinaryOp::Le,
            other => *other,
        };
        (turned, left)
    } else {
        return Ok(None);
    };
    if !matches!(op, BinaryOp::Eq | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge) {
        return Ok(None);
    }
    Ok(match value::number(&constant.eval(&[])?, constant.data_type) {
        Some(Number::Int(ticks)) => i64::try_from(ticks).ok().map(|ticks| (op, ticks)),
        _ => None,
    })
}
