//! From the parser's expressions to typed ones: names become cells of a row, types are checked, times in text are read.

use regex::bytes::Regex;

use super::aggregate::{Aggregate, Kind, is_aggregate};
use super::eval::{Context, Node, Typed};
use super::functions::{self, Function};
use super::source::{InputColumn, Role};
use super::value::{is_numeric, is_text};
use crate::tdengine::engine::sql::ast::{BinaryOp, Expr, Literal};
use crate::tdengine::engine::{Cell, DataType, TdError, time};

/// Cells of a group's row after its keys: start, end and duration of the window.
pub(super) const WINDOW_CELLS: usize = 3;

/// The groups that aggregates are made over.
#[derive(Debug)]
pub(super) struct Grouping<'a> {
    /// PARTITION BY and GROUP BY, in the order of the group row's first cells.
    pub(super) keys: Vec<(&'a Expr, DataType)>,
    pub(super) group_by: bool,
    pub(super) window: bool,
    /// Collected while expressions are bound; after the window's cells in a group's row.
    pub(super) aggregates: Vec<Aggregate>,
}

impl Grouping<'_> {
    fn first_aggregate(&self) -> usize {
        self.keys.len() + WINDOW_CELLS
    }

    fn push(&mut self, aggregate: Aggregate) -> Typed {
        let data_type = aggregate.data_type;
        self.aggregates.push(aggregate);
        Typed::input(self.first_aggregate() + self.aggregates.len() - 1, data_type)
    }
}

pub(super) struct Binder<'a, 'g> {
    pub(super) columns: &'a [InputColumn],
    pub(super) context: &'a Context,
    /// Where aggregates may stand.
    pub(super) grouping: Option<&'g mut Grouping<'a>>,
}

pub(super) fn invalid_column(name: &str) -> TdError {
    TdError::new(0x2602, format!("Invalid column name: {name}"))
}

impl<'a> Binder<'a, '_> {
    pub(super) fn bind(&mut self, expr: &'a Expr) -> Result<Typed, TdError> {
        if let Some(grouping) = &self.grouping
            && let Some(key) = grouping.keys.iter().position(|(key, _)| same(key, expr))
        {
            return Ok(Typed::input(key, grouping.keys[key].1));
        }
        match expr {
            Expr::Literal(literal) => literal_of(literal, self.context),
            Expr::Column { table, name } => self.column(table.as_deref(), name),
            Expr::Pseudo { table, name } => self.pseudo(table.as_deref(), name),
            Expr::Star { .. } => Err(invalid_column("*")),
            Expr::Call { name, args } if is_aggregate(name) => self.aggregate(name, args),
            Expr::Call { name, args } => {
                let args = args.iter().map(|arg| self.bind(arg)).collect::<Result<Vec<_>, _>>()?;
                let function = functions::find(name, args.len())?;
                self.call(name, function, args)
            }
            Expr::Cast(inner, to) => {
                let inner = self.bind(inner)?;
                let to = *to;
                if matches!(to, DataType::VarChar(n) | DataType::NChar(n) if n == 0 || n > 65_517) {
                    return Err(TdError::new(
                        0x2800,
                        "CAST function converted length should be in range (0, 65517] bytes",
                    ));
                }
                Ok(Typed::new(Node::Cast(Box::new(inner), Box::new(self.context.clone())), to))
            }
            Expr::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref())
            }
            Expr::Negate(inner) => {
                let inner = self.bind(inner)?;
                Ok(Typed::new(Node::Negate(Box::new(inner)), DataType::Double))
            }
            Expr::Not(inner) => Ok(Typed::new(Node::Not(Box::new(self.bind(inner)?)), DataType::Bool)),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::In { expr, list, negated } => {
                let expr = self.bind(expr)?;
                let list = list
                    .iter()
                    .map(|item| self.bind(item).and_then(|item| self.as_time(&expr, item)))
                    .collect::<Result<Vec<_>, _>>()?;
                let text = |item: &Typed| match (&item.node, item.data_type) {
                    (Node::Const(Cell::Bytes(text)), DataType::VarChar(_)) => Some(text.clone()),
                    _ => None,
                };
                let is_text = matches!(expr.data_type, DataType::VarChar(_));
                let texts = if is_text { list.iter().map(text).collect() } else { None };
                let node = match texts {
                    Some(texts) => Node::InTexts(Box::new(expr), texts, *negated),
                    None => Node::In(Box::new(expr), list, *negated),
                };
                Ok(Typed::new(node, DataType::Bool))
            }
            Expr::Between { expr, low, high, negated } => {
                let low = self.binary(BinaryOp::Ge, expr, low)?;
                let high = self.binary(BinaryOp::Le, expr, high)?;
                let both = Typed::new(Node::Binary(BinaryOp::And, Box::new(low), Box::new(high)), DataType::Bool);
                Ok(if *negated { Typed::new(Node::Not(Box::new(both)), DataType::Bool) } else { both })
            }
            Expr::IsNull { expr, negated } => {
                Ok(Typed::new(Node::IsNull(Box::new(self.bind(expr)?), *negated), DataType::Bool))
            }
        }
    }

    fn call(&self, name: &str, function: Function, mut args: Vec<Typed>) -> Result<Typed, TdError> {
        if function == Function::TimeDiff && args.len() >= 2 {
            let (first, second) = (args[0].clone(), args[1].clone());
            args[1] = self.as_time(&first, second)?;
        }
        let data_type = function.data_type(name, &args, self.context)?;
        Ok(Typed::new(Node::Call(function, args, Box::new(self.context.clone())), data_type))
    }

    /// The column of a name in the input; two tables with one make it ambiguous.
    fn find(&self, table: Option<&[u8]>, wanted: impl Fn(&InputColumn) -> bool, name: &str) -> Result<usize, TdError> {
        let fits = |column: &InputColumn| wanted(column) && table.is_none_or(|table| *column.table == *table);
        let mut found = self.columns.iter().enumerate().filter(|(_, column)| fits(column));
        let first = found.next().map(|(i, _)| i).ok_or_else(|| invalid_column(name))?;
        match found.next() {
            Some(_) => Err(TdError::new(0x2604, format!("Column ambiguously defined: {name}"))),
            None => Ok(first),
        }
    }

    fn column(&mut self, table: Option<&[u8]>, name: &str) -> Result<Typed, TdError> {
        let named = |column: &InputColumn| column.role != Role::TableName && column.name == name;
        let index = self.find(table, named, name)?;
        self.input(index)
    }

    fn pseudo(&mut self, table: Option<&[u8]>, name: &str) -> Result<Typed, TdError> {
        let window = ["_wstart", "_wend", "_wduration"].iter().position(|known| *known == name);
        match (name, window, &self.grouping) {
            (_, Some(cell), Some(grouping)) if grouping.window => {
                let data_type = if cell == 2 { DataType::BigInt } else { DataType::Timestamp };
                Ok(Typed::input(grouping.keys.len() + cell, data_type))
            }
            (_, Some(_), _) => {
                Err(TdError::new(0x2658, "_WSTART, _WEND and _WDURATION can only be used in window query"))
            }
            ("tbname", ..) => {
                let index = self.find(table, |column| column.role == Role::TableName, "tbname")?;
                self.input(index)
            }
            ("_rowts" | "_c0", ..) => {
                let index = self.find(table, |column| column.role == Role::Time, name)?;
                self.input(index)
            }
            _ => Err(TdError::unsupported(name)),
        }
    }

    /// A column's cell; beside aggregates only where it has one value in the group, or one row is chosen.
    fn input(&mut self, index: usize) -> Result<Typed, TdError> {
        let column = &self.columns[index];
        let plain = Typed::input(index, column.data_type);
        let Some(grouping) = &mut self.grouping else { return Ok(plain) };
        let by_table =
            grouping.keys.iter().any(|(key, _)| matches!(key, Expr::Pseudo { name, .. } if name == "tbname"));
        let kind = if by_table && matches!(column.role, Role::Tag | Role::TableName) {
            Kind::Any
        } else {
            let mut choosing =
                grouping.aggregates.iter().enumerate().filter(|(_, a)| !matches!(a.kind, Kind::Any | Kind::With(_)));
            match (choosing.next(), choosing.next()) {
                (Some((i, aggregate)), None) if aggregate.selects_row() => Kind::With(i),
                _ if grouping.group_by => return Err(TdError::new(0x260a, "Not a GROUP BY expression")),
                (None, _) if grouping.window => {
                    return Err(TdError::new(0x2667, format!("Invalid usage of expr: {}", column.name)));
                }
                _ => return Err(TdError::new(0x260c, "Not a single-group group function")),
            }
        };
        Ok(grouping.push(Aggregate { kind, arg: plain, data_type: column.data_type }))
    }

    fn aggregate(&mut self, name: &str, args: &'a [Expr]) -> Result<Typed, TdError> {
        if self.grouping.is_none() {
            return Err(TdError::new(0x2608, "There mustn't be aggregation"));
        }
        if args.iter().any(has_aggregate) {
            return Err(TdError::new(0x2627, "Aggregate functions do not support nesting"));
        }
        let mut rows = Binder { columns: self.columns, context: self.context, grouping: None };
        let mut bound = Vec::with_capacity(args.len());
        for arg in args {
            bound.push(match arg {
                Expr::Star { .. } => Typed::new(Node::Const(Cell::Int(1)), DataType::BigInt),
                arg => rows.bind(arg)?,
            });
        }
        let aggregate = Aggregate::new(name, bound)?;
        match &mut self.grouping {
            Some(grouping) => Ok(grouping.push(aggregate)),
            None => Err(TdError::new(0x2608, "There mustn't be aggregation")),
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &'a Expr, right: &'a Expr) -> Result<Typed, TdError> {
        use BinaryOp::*;
        let durations = [left, right].map(|side| matches!(side, Expr::Literal(Literal::Duration(_))));
        let (mut bound_left, mut bound_right) = (self.bind(left)?, self.bind(right)?);
        let (a, b) = (bound_left.data_type, bound_right.data_type);
        let invalid = || TdError::new(0x0200, "Invalid operation");
        let data_type = match op {
            Add | Sub | Mul | Div | Rem => {
                let time = a == DataType::Timestamp || b == DataType::Timestamp;
                if time && (is_text(a) || is_text(b)) {
                    return Err(invalid());
                }
                if matches!(a, DataType::Decimal { .. }) || matches!(b, DataType::Decimal { .. }) {
                    return Err(TdError::unsupported("arithmetic with DECIMAL"));
                }
                match op {
                    Sub if a == DataType::Timestamp && b == DataType::Timestamp => DataType::BigInt,
                    Add | Sub if time || durations.contains(&true) => DataType::Timestamp,
                    _ => DataType::Double,
                }
            }
            BitAnd | BitOr => DataType::BigInt,
            Eq | Ne | Lt | Le | Gt | Ge => {
                bound_right = self.as_time(&bound_left, bound_right)?;
                bound_left = self.as_time(&bound_right, bound_left)?;
                DataType::Bool
            }
            Match | NotMatch => {
                let Node::Const(Cell::Bytes(pattern)) = &bound_right.node else { return Err(invalid()) };
                let regex = std::str::from_utf8(pattern).ok().and_then(|pattern| Regex::new(pattern).ok());
                let regex = regex.ok_or_else(|| TdError::new(0x2681, "Syntax error in regular expression"))?;
                return Ok(Typed::new(Node::Match(Box::new(bound_left), regex, op == NotMatch), DataType::Bool));
            }
            JsonGet => DataType::Json,
            And | Or | Like | NotLike | JsonContains => DataType::Bool,
        };
        Ok(Typed::new(Node::Binary(op, Box::new(bound_left), Box::new(bound_right)), data_type))
    }

    /// A text that is compared with a time, as a time.
    fn as_time(&self, other: &Typed, expr: Typed) -> Result<Typed, TdError> {
        match &expr.node {
            Node::Const(Cell::Bytes(text)) if other.data_type == DataType::Timestamp => {
                let ticks = time::parse_timestamp(text, self.context.precision, &self.context.zone);
                let ticks = ticks.ok_or_else(|| TdError::new(0x0127, "Invalid timestamp format"))?;
                Ok(Typed::new(Node::Const(Cell::Timestamp(ticks)), DataType::Timestamp))
            }
            _ => Ok(expr),
        }
    }

    fn case(
        &mut self,
        operand: Option<&'a Expr>,
        branches: &'a [(Expr, Expr)],
        otherwise: Option<&'a Expr>,
    ) -> Result<Typed, TdError> {
        let mut bound = Vec::new();
        for (when, then) in branches {
            let when = match operand {
                Some(operand) => self.binary(BinaryOp::Eq, operand, when)?,
                None => self.bind(when)?,
            };
            bound.push((when, self.bind(then)?));
        }
        let otherwise = otherwise.map(|otherwise| self.bind(otherwise)).transpose()?;
        let types = bound.iter().map(|(_, then)| then.data_type).chain(otherwise.as_ref().map(|expr| expr.data_type));
        let data_type = types.reduce(common_type).unwrap_or(DataType::VarChar(0));
        let cast = |expr: Typed| match expr.data_type == data_type {
            true => expr,
            false => Typed::new(Node::Cast(Box::new(expr), Box::new(self.context.clone())), data_type),
        };
        let bound = bound.into_iter().map(|(when, then)| (when, cast(then))).collect();
        let otherwise = otherwise.map(|expr| Box::new(cast(expr)));
        Ok(Typed::new(Node::Case(bound, otherwise), data_type))
    }
}

/// The type that holds values of both; NULL (VARCHAR of length 0) fits any.
pub(super) fn common_type(a: DataType, b: DataType) -> DataType {
    use DataType::*;
    match (a, b) {
        (a, b) if a == b => a,
        (VarChar(0) | Null, other) | (other, VarChar(0) | Null) => other,
        (VarChar(x), VarChar(y)) => VarChar(x.max(y)),
        (NChar(x), NChar(y) | VarChar(y)) | (VarChar(x), NChar(y)) => NChar(x.max(y)),
        (VarChar(x), _) | (_, VarChar(x)) => VarChar(x.max(40)),
        (NChar(x), _) | (_, NChar(x)) => NChar(x.max(40)),
        (Double | Float, x) | (x, Double | Float) if is_numeric(x) => Double,
        (UBigInt, _) | (_, UBigInt) => UBigInt,
        _ => BigInt,
    }
}

fn literal_of(literal: &Literal, context: &Context) -> Result<Typed, TdError> {
    Ok(match literal {
        Literal::Null => Typed::new(Node::Const(Cell::Null), DataType::VarChar(0)),
        Literal::Bool(value) => Typed::new(Node::Const(Cell::Bool(*value)), DataType::Bool),
        Literal::Int(value) => match (i64::try_from(*value), u64::try_from(*value)) {
            (Ok(value), _) => Typed::new(Node::Const(Cell::Int(value)), DataType::BigInt),
            (_, Ok(value)) => Typed::new(Node::Const(Cell::UInt(value)), DataType::UBigInt),
            _ => Typed::new(Node::Const(Cell::Double(*value as f64)), DataType::Double),
        },
        Literal::Float(value) => Typed::new(Node::Const(Cell::Double(*value)), DataType::Double),
        Literal::Text(text) => {
            Typed::new(Node::Const(Cell::Bytes(text[..].into())), DataType::VarChar(text.len() as u32))
        }
        Literal::Duration(text) => {
            let ticks = time::parse_duration(text, context.precision)
                .ok_or_else(|| TdError::unsupported(String::from_utf8_lossy(text)))?;
            Typed::new(Node::Const(Cell::Int(ticks)), DataType::BigInt)
        }
    })
}

/// Whether two expressions mean the same; a table's name before a column does not matter.
pub(super) fn same(a: &Expr, b: &Expr) -> bool {
    match (a, b) {
        (Expr::Column { name: a, table: x }, Expr::Column { name: b, table: y })
        | (Expr::Pseudo { name: a, table: x }, Expr::Pseudo { name: b, table: y }) => {
            a == b && (x == y || x.is_none() || y.is_none())
        }
        _ => a == b,
    }
}

/// Calls `visit` with an expression and all those within it.
pub(super) fn walk<'a>(expr: &'a Expr, visit: &mut impl FnMut(&'a Expr)) {
    visit(expr);
    match expr {
        Expr::Literal(_) | Expr::Column { .. } | Expr::Pseudo { .. } | Expr::Star { .. } => {}
        Expr::Call { args, .. } => args.iter().for_each(|arg| walk(arg, visit)),
        Expr::Cast(inner, _) | Expr::Negate(inner) | Expr::Not(inner) | Expr::IsNull { expr: inner, .. } => {
            walk(inner, visit)
        }
        Expr::Binary(_, left, right) => {
            walk(left, visit);
            walk(right, visit);
        }
        Expr::In { expr, list, .. } => {
            walk(expr, visit);
            list.iter().for_each(|item| walk(item, visit));
        }
        Expr::Between { expr, low, high, .. } => [expr, low, high].into_iter().for_each(|part| walk(part, visit)),
        Expr::Case { operand, branches, otherwise } => {
            operand.iter().chain(otherwise).for_each(|part| walk(part, visit));
            for (when, then) in branches {
                walk(when, visit);
                walk(then, visit);
            }
        }
    }
}

pub(super) fn has_aggregate(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |expr| found |= matches!(expr, Expr::Call { name, .. } if is_aggregate(name)));
    found
}

/// The value of a literal.
pub(super) fn constant(literal: &Literal, context: &Context) -> Result<Cell, TdError> {
    literal_of(literal, context)?.eval(&[])
}

/// The type of a constant's value.
pub(super) fn type_of(cell: &Cell) -> DataType {
    match cell {
        Cell::Null => DataType::Null,
        Cell::Bool(_) => DataType::Bool,
        Cell::Int(_) => DataType::BigInt,
        Cell::UInt(_) => DataType::UBigInt,
        Cell::Float(_) => DataType::Float,
        Cell::Double(_) => DataType::Double,
        Cell::Timestamp(_) => DataType::Timestamp,
        Cell::Bytes(bytes) => DataType::VarChar(bytes.len() as u32),
        Cell::Decimal(_) => DataType::Decimal { precision: 38, scale: 0 },
    }
}
