//! Expressions, from OR down to literals.

use super::{Parse, Parser, keywords, text};
use crate::tdengine::engine::TdError;
use crate::tdengine::engine::catalog::MAX_TABLE_NAME;
use crate::tdengine::engine::sql::ast::{BinaryOp, Expr, Literal};
use crate::tdengine::engine::sql::lexer::{self, Comments, Kind};
use crate::tdengine::engine::sql::literal::{parse_float, parse_number};

/// Columns that every table or window has.
const PSEUDO: &[&str] = &[
    "tbname",
    "_c0",
    "_rowts",
    "_wstart",
    "_wend",
    "_wduration",
    "_qstart",
    "_qend",
    "_qduration",
    "_irowts",
    "_isfilled",
];
/// Functions that may stand without parentheses.
const BARE_FUNCTIONS: &[&str] = &["now", "today"];
/// Keywords that are functions before a parenthesis.
const KEYWORD_FUNCTIONS: &[&str] = &[
    "count",
    "first",
    "last",
    "last_row",
    "concat",
    "hex",
    "replace",
    "position",
    "substr",
    "substring",
    "trim",
    "timezone",
    "now",
    "today",
    "server_version",
    "client_version",
    "server_status",
    "current_user",
    "database",
    "pi",
    "rand",
    "user",
    "if",
    "char",
    "cols",
    "aggregate",
    "left",
    "right",
];

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

/// The most operators of one level in a row, such as `1 + 1 + ..`.
const MAX_CHAIN: usize = 100;

fn too_long() -> TdError {
    TdError::unsupported(format!("more than {MAX_CHAIN} operators in a row"))
}

/// Joins the parts of a chain to a tree of little depth, however long the chain is.
fn balanced(op: BinaryOp, mut parts: Vec<Expr>) -> Expr {
    while parts.len() > 1 {
        let mut pairs = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            pairs.push(match rest.next() {
                Some(right) => binary(op, left, right),
                None => left,
            });
        }
        parts = pairs;
    }
    parts.pop().unwrap_or(Expr::Literal(Literal::Null))
}

impl Parser<'_> {
    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.nested(Self::or)
    }

    fn or(&mut self) -> Parse<Expr> {
        let mut parts = vec![self.and()?];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        Ok(balanced(BinaryOp::Or, parts))
    }

    fn and(&mut self) -> Parse<Expr> {
        let mut parts = vec![self.not()?];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Ok(balanced(BinaryOp::And, parts))
    }

    fn not(&mut self) -> Parse<Expr> {
        if self.take_word("not") {
            return self.nested(|parser| Ok(Expr::Not(Box::new(parser.not()?))));
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Parse<Expr> {
        let left = self.bits()?;
        let comparison = match self.token.kind {
            Kind::Punct(b'=', 0) => Some(BinaryOp::Eq),
            Kind::Punct(b'<' | b'!', b'>' | b'=') if self.token.text(self.sql) != b"<=" => Some(BinaryOp::Ne),
            Kind::Punct(b'<', 0) => Some(BinaryOp::Lt),
            Kind::Punct(b'<', b'=') => Some(BinaryOp::Le),
            Kind::Punct(b'>', 0) => Some(BinaryOp::Gt),
            Kind::Punct(b'>', b'=') => Some(BinaryOp::Ge),
            _ => None,
        };
        if let Some(op) = comparison {
            self.advance();
            return Ok(binary(op, left, self.bits()?));
        }
        if self.take_word("is") {
            let negated = self.take_word("not");
            self.expect_word("null")?;
            return Ok(Expr::IsNull { expr: Box::new(left), negated });
        }
        for (word, op) in [
            ("like", BinaryOp::Like),
            ("match", BinaryOp::Match),
            ("regexp", BinaryOp::Match),
            ("nmatch", BinaryOp::NotMatch),
            ("contains", BinaryOp::JsonContains),
        ] {
            if self.take_word(word) {
                return Ok(binary(op, left, self.bits()?));
            }
        }
        let negated = self.take_word("not");
        if negated && self.take_word("like") {
            return Ok(binary(BinaryOp::NotLike, left, self.bits()?));
        }
        if self.take_word("between") {
            let low = self.bits()?;
            self.expect_word("and")?;
            let high = self.bits()?;
            return Ok(Expr::Between { expr: Box::new(left), low: Box::new(low), high: Box::new(high), negated });
        }
        if self.take_word("in") {
            self.expect(b'(')?;
            let mut list = vec![self.bits()?];
            while self.take(b',') {
                list.push(self.bits()?);
            }
            self.expect(b')')?;
            return Ok(Expr::In { expr: Box::new(left), list, negated });
        }
        if negated { Err(self.unexpected()) } else { Ok(left) }
    }

    fn bits(&mut self) -> Parse<Expr> {
        let mut left = self.sum()?;
        for _ in 0..=MAX_CHAIN {
            let op = match self.token.kind {
                Kind::Punct(b'&', 0) => BinaryOp::BitAnd,
                Kind::Punct(b'|', 0) => BinaryOp::BitOr,
                _ => return Ok(left),
            };
            self.advance();
            left = binary(op, left, self.sum()?);
        }
        Err(too_long())
    }

    fn sum(&mut self) -> Parse<Expr> {
        let mut left = self.product()?;
        for _ in 0..=MAX_CHAIN {
            let op = match self.token.kind {
                Kind::Punct(b'+', 0) => BinaryOp::Add,
                Kind::Punct(b'-', 0) => BinaryOp::Sub,
                _ => return Ok(left),
            };
            self.advance();
            left = binary(op, left, self.product()?);
        }
        Err(too_long())
    }

    fn product(&mut self) -> Parse<Expr> {
        let mut left = self.unary()?;
        for _ in 0..=MAX_CHAIN {
            let op = match self.token.kind {
                Kind::Punct(b'*', 0) => BinaryOp::Mul,
                Kind::Punct(b'/', 0) => BinaryOp::Div,
                Kind::Punct(b'%', 0) => BinaryOp::Rem,
                Kind::Punct(b'-', b'>') => BinaryOp::JsonGet,
                _ => return Ok(left),
            };
            self.advance();
            left = binary(op, left, self.unary()?);
        }
        Err(too_long())
    }

    fn unary(&mut self) -> Parse<Expr> {
        if self.take(b'+') {
            return self.nested(Self::unary);
        }
        if self.take(b'-') {
            return self.nested(|parser| {
                Ok(match parser.unary()? {
                    Expr::Literal(Literal::Int(value)) => Expr::Literal(Literal::Int(-value)),
                    Expr::Literal(Literal::Float(value)) => Expr::Literal(Literal::Float(-value)),
                    expr => Expr::Negate(Box::new(expr)),
                })
            });
        }
        self.primary()
    }

    fn primary(&mut self) -> Parse<Expr> {
        let raw = self.token.text(self.sql);
        let literal = match self.token.kind {
            Kind::Int | Kind::Radix => parse_number(raw).map(Literal::Int),
            Kind::Float => parse_float(raw).map(Literal::Float),
            Kind::Str => Some(Literal::Text(lexer::unescape(raw))),
            Kind::Duration => Some(Literal::Duration(raw.to_vec())),
            Kind::Word => match raw {
                b"null" => Some(Literal::Null),
                b"true" => Some(Literal::Bool(true)),
                b"false" => Some(Literal::Bool(false)),
                _ => None,
            },
            _ => None,
        };
        if let Some(literal) = literal {
            self.advance();
            return Ok(Expr::Literal(literal));
        }
        if self.take(b'(') {
            let expr = self.expr()?;
            self.expect(b')')?;
            return Ok(expr);
        }
        match self.word() {
            Some(b"case") => self.case(),
            Some(b"cast") => self.cast(),
            _ => self.reference(),
        }
    }

    /// A column, a pseudo column, or a call.
    fn reference(&mut self) -> Parse<Expr> {
        let next = lexer::next(self.sql, self.token.end, Comments::Skip);
        if let Some(word) = self.word().map(|word| text(word.to_vec())) {
            let callable = !keywords::is_keyword(word.as_bytes()) || KEYWORD_FUNCTIONS.contains(&word.as_str());
            if next.is(b'(') && callable {
                self.advance();
                return self.call(word);
            }
            if BARE_FUNCTIONS.contains(&word.as_str()) {
                self.advance();
                return Ok(Expr::Call { name: word, args: Vec::new() });
            }
            if PSEUDO.contains(&word.as_str()) {
                self.advance();
                return Ok(Expr::Pseudo { table: None, name: word });
            }
        }
        let first = self.name(MAX_TABLE_NAME)?;
        if !self.take(b'.') {
            return Ok(Expr::Column { table: None, name: text(first) });
        }
        if self.take(b'*') {
            return Ok(Expr::Star { table: Some(first) });
        }
        let pseudo = self.word().map(|word| text(word.to_vec())).filter(|word| PSEUDO.contains(&word.as_str()));
        if let Some(name) = pseudo {
            self.advance();
            return Ok(Expr::Pseudo { table: Some(first), name });
        }
        Ok(Expr::Column { table: Some(first), name: self.column_name()? })
    }

    fn call(&mut self, name: String) -> Parse<Expr> {
        self.expect(b'(')?;
        let mut args = Vec::new();
        let takes_star = matches!(name.as_str(), "count" | "first" | "last" | "last_row");
        while !self.token.is(b')') || !args.is_empty() {
            if self.token.is(b'*') && takes_star {
                self.advance();
                args.push(Expr::Star { table: None });
            } else {
                args.push(self.expr()?);
            }
            if !self.take(b',') {
                break;
            }
        }
        self.expect(b')')?;
        Ok(Expr::Call { name, args })
    }

    fn cast(&mut self) -> Parse<Expr> {
        self.advance();
        self.expect(b'(')?;
        let expr = self.expr()?;
        self.expect_word("as")?;
        let data_type = match self.word() {
            // A length may be left out in a cast.
            Some(word @ (b"varchar" | b"binary" | b"nchar"))
                if !lexer::next(self.sql, self.token.end, Comments::Skip).is(b'(') =>
            {
                let data_type = if word == b"nchar" {
                    crate::tdengine::engine::DataType::NChar(64)
                } else {
                    crate::tdengine::engine::DataType::VarChar(64)
                };
                self.advance();
                data_type
            }
            _ => self.data_type()?,
        };
        self.expect(b')')?;
        Ok(Expr::Cast(Box::new(expr), data_type))
    }

    fn case(&mut self) -> Parse<Expr> {
        self.advance();
        let operand = if self.is_word("when") { None } else { Some(Box::new(self.expr()?)) };
        let mut branches = Vec::new();
        while self.take_word("when") {
            let when = self.expr()?;
            self.expect_word("then")?;
            branches.push((when, self.expr()?));
        }
        if branches.is_empty() {
            return Err(self.unexpected());
        }
        let otherwise = if self.take_word("else") { Some(Box::new(self.expr()?)) } else { None };
        self.expect_word("end")?;
        Ok(Expr::Case { operand, branches, otherwise })
    }
}
