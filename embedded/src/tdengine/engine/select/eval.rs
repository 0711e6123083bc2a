//! Expressions with their types, ready to be evaluated on a row.

use std::cmp::Ordering;
use std::collections::HashSet;

use jiff::tz::TimeZone;
use regex::bytes::Regex;

use super::functions::Function;
use super::value::{self, Number};
use crate::tdengine::engine::sql::ast::BinaryOp;
use crate::tdengine::engine::{Cell, DataType, Precision, TdError};

/// What functions of time and the session depend on.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) precision: Precision,
    pub(super) zone: TimeZone,
    /// Nanoseconds; the same throughout a statement.
    pub(super) now: i64,
    pub(super) user: String,
    pub(super) database: Option<String>,
}

/// An expression and the type of its value.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) node: Node,
    pub(super) data_type: DataType,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Const(Cell),
    /// A cell of the row.
    Input(usize),
    Negate(Box<Typed>),
    Not(Box<Typed>),
    Binary(BinaryOp, Box<Typed>, Box<Typed>),
    In(Box<Typed>, Vec<Typed>, bool),
    /// Whether a text is one of many, or is none of them.
    InTexts(Box<Typed>, HashSet<Box<[u8]>>, bool),
    IsNull(Box<Typed>, bool),
    /// Whether a text has a match of the expression, or has none.
    Match(Box<Typed>, Regex, bool),
    Call(Function, Vec<Typed>, Box<Context>),
    Cast(Box<Typed>, Box<Context>),
    /// Conditions with values, and the value otherwise.
    Case(Vec<(Typed, Typed)>, Option<Box<Typed>>),
}

impl Typed {
    pub(super) fn new(node: Node, data_type: DataType) -> Self {
        Self { node, data_type }
    }

    pub(super) fn input(index: usize, data_type: DataType) -> Self {
        Self::new(Node::Input(index), data_type)
    }

    pub(super) fn eval(&self, row: &[Cell]) -> Result<Cell, TdError> {
        Ok(match &self.node {
            Node::Const(cell) => cell.clone(),
            Node::Input(index) => row.get(*index).cloned().unwrap_or(Cell::Null),
            Node::Negate(expr) => match expr.number(row)? {
                Some(number) => Cell::Double(-number.as_f64()),
                None => Cell::Null,
            },
            Node::Not(expr) => truth(expr.truth(row)?.map(|value| !value)),
            Node::Binary(BinaryOp::And, left, right) => truth(match left.truth(row)? {
                Some(false) => Some(false),
                left => match right.truth(row)? {
                    Some(false) => Some(false),
                    right => left.and(right),
                },
            }),
            Node::Binary(BinaryOp::Or, left, right) => truth(match left.truth(row)? {
                Some(true) => Some(true),
                left => match right.truth(row)? {
                    Some(true) => Some(true),
                    right => left.and(right),
                },
            }),
            Node::Binary(op, left, right) => {
                binary(*op, self.data_type, (&left.eval(row)?, left.data_type), (&right.eval(row)?, right.data_type))?
            }
            Node::In(expr, list, negated) => {
                let value = expr.eval(row)?;
                let (mut found, mut unknown) = (false, value == Cell::Null);
                for item in list {
                    match value::compare((&value, expr.data_type), (&item.eval(row)?, item.data_type)) {
                        Some(order) => found |= order.is_eq(),
                        None => unknown = true,
                    }
                }
                truth((found || !unknown).then_some(found != *negated))
            }
            Node::InTexts(expr, texts, negated) => match expr.eval(row)? {
                Cell::Bytes(text) => Cell::Bool(texts.contains(&text) != *negated),
                _ => Cell::Null,
            },
            Node::IsNull(expr, negated) => Cell::Bool((expr.eval(row)? == Cell::Null) != *negated),
            Node::Match(expr, regex, negated) => match expr.eval(row)? {
                Cell::Null => Cell::Null,
                text => Cell::Bool(regex.is_match(&value::text(&text, expr.data_type)) != *negated),
            },
            Node::Call(function, args, context) => function.eval(args, row, self.data_type, context)?,
            Node::Cast(expr, context) => {
                value::cast(&expr.eval(row)?, expr.data_type, self.data_type, context.precision, &context.zone)
            }
            Node::Case(branches, otherwise) => {
                for (when, then) in branches {
                    if when.truth(row)? == Some(true) {
                        return then.eval(row);
                    }
                }
                otherwise.as_ref().map_or(Ok(Cell::Null), |otherwise| otherwise.eval(row))?
            }
        })
    }

    /// NULL is `None`.
    pub(super) fn truth(&self, row: &[Cell]) -> Result<Option<bool>, TdError> {
        Ok(match self.eval(row)? {
            Cell::Bool(value) => Some(value),
            other => value::number(&other, self.data_type).map(|number| number.as_f64() != 0.0),
        })
    }

    pub(super) fn number(&self, row: &[Cell]) -> Result<Option<Number>, TdError> {
        Ok(value::number(&self.eval(row)?, self.data_type))
    }

    /// Calls `visit` with every cell of the row that the expression reads.
    pub(super) fn inputs(&self, visit: &mut impl FnMut(usize)) {
        match &self.node {
            Node::Const(_) => {}
            Node::Input(index) => visit(*index),
            Node::Negate(expr)
            | Node::Not(expr)
            | Node::IsNull(expr, _)
            | Node::Match(expr, ..)
            | Node::InTexts(expr, ..)
            | Node::Cast(expr, _) => {
                expr.inputs(visit);
            }
            Node::Binary(_, left, right) => {
                left.inputs(visit);
                right.inputs(visit);
            }
            Node::In(expr, list, _) => {
                expr.inputs(visit);
                list.iter().for_each(|item| item.inputs(visit));
            }
            Node::Call(_, args, _) => args.iter().for_each(|arg| arg.inputs(visit)),
            Node::Case(branches, otherwise) => {
                for (when, then) in branches {
                    when.inputs(visit);
                    then.inputs(visit);
                }
                if let Some(otherwise) = otherwise {
                    otherwise.inputs(visit);
                }
            }
        }
    }
}

fn truth(value: Option<bool>) -> Cell {
    value.map_or(Cell::Null, Cell::Bool)
}

fn binary(op: BinaryOp, result: DataType, left: (&Cell, DataType), right: (&Cell, DataType)) -> Result<Cell, TdError> {
    use BinaryOp::*;
    if *left.0 == Cell::Null || *right.0 == Cell::Null {
        return Ok(Cell::Null);
    }
    let ordered = |holds: fn(Ordering) -> bool| truth(value::compare(left, right).map(holds));
    let numbers = || value::number(left.0, left.1).zip(value::number(right.0, right.1));
    Ok(match op {
        // NaN is equal to nothing and in no order.
        Eq => ordered(Ordering::is_eq),
        Ne => ordered(Ordering::is_ne),
        Lt => ordered(Ordering::is_lt),
        Le => ordered(Ordering::is_le),
        Gt => ordered(Ordering::is_gt),
        Ge => ordered(Ordering::is_ge),
        Add | Sub | Mul | Div | Rem => match numbers() {
            Some((a, b)) => arithmetic(op, result, a, b),
            None => Cell::Null,
        },
        BitAnd | BitOr => match numbers() {
            Some((a, b)) => {
                let bits = |number: Number| match number {
                    Number::Int(value) => value as i64,
                    Number::Float(value) => value as i64,
                };
                Cell::Int(if op == BitAnd { bits(a) & bits(b) } else { bits(a) | bits(b) })
            }
            None => Cell::Null,
        },
        Like | NotLike => {
            let matches = value::like(&value::text(left.0, left.1), &value::text(right.0, right.1));
            Cell::Bool(matches == (op == Like))
        }
        JsonGet => json_member(left.0, right.0),
        JsonContains => Cell::Bool(json_member(left.0, right.0) != Cell::Null),
        // Bound as nodes of their own.
        Match | NotMatch | And | Or => Cell::Null,
    })
}

fn arithmetic(op: BinaryOp, result: DataType, a: Number, b: Number) -> Cell {
    if matches!(result, DataType::Timestamp | DataType::BigInt)
        && let (Number::Int(a), Number::Int(b)) = (a, b)
    {
        let ticks = if op == BinaryOp::Sub { a - b } else { a + b };
        let ticks = i64::try_from(ticks).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX });
        return if result == DataType::Timestamp { Cell::Timestamp(ticks) } else { Cell::Int(ticks) };
    }
    let (a, b) = (a.as_f64(), b.as_f64());
    let value = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div | BinaryOp::Rem if b == 0.0 => return Cell::Null,
        BinaryOp::Div => a / b,
        _ => a % b,
    };
    match result {
        DataType::Timestamp => Cell::Timestamp(value as i64),
        _ if value.is_finite() => Cell::Double(value),
        _ => Cell::Null,
    }
}

fn json_member(object: &Cell, key: &Cell) -> Cell {
    let (Cell::Bytes(object), Cell::Bytes(key)) = (object, key) else { return Cell::Null };
    let member = serde_json::from_slice::<serde_json::Value>(object)
        .ok()
        .and_then(|object| object.get(String::from_utf8_lossy(key).as_ref()).cloned());
    match member {
        None => Cell::Null,
        Some(member) => Cell::Bytes(member.to_string().into_bytes().into()),
    }
}
