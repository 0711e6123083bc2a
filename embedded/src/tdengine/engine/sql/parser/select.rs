//! SELECT.

use super::{MAX_PARTS, Parse, Parser, keywords};
use crate::tdengine::engine::TdError;
use crate::tdengine::engine::catalog::{MAX_COLUMN_NAME, MAX_TABLE_NAME};
use crate::tdengine::engine::sql::ast::{Body, Expr, Fill, From, OrderBy, Query, Select, SelectItem, Window};
use crate::tdengine::engine::sql::lexer::Kind;

impl Parser<'_> {
    pub(super) fn query(&mut self) -> Parse<Query> {
        self.nested(|parser| {
            let body = parser.union()?;
            let order_by = parser.order_by()?;
            let slimit = parser.limit("slimit", "soffset")?;
            let limit = parser.limit("limit", "offset")?;
            Ok(Query { body, order_by, slimit, limit })
        })
    }

    fn union(&mut self) -> Parse<Body> {
        let mut left = self.body()?;
        let mut parts = 1;
        while self.take_word("union") {
            parts += 1;
            if parts > MAX_PARTS {
                return Err(TdError::unsupported(format!("a UNION of more than {MAX_PARTS} queries")));
            }
            let all = self.take_word("all");
            let right = self.body()?;
            left = Body::Union { all, left: Box::new(left), right: Box::new(right) };
        }
        Ok(left)
    }

    fn body(&mut self) -> Parse<Body> {
        if self.take(b'(') {
            let query = self.query()?;
            self.expect(b')')?;
            return Ok(Body::Nested(Box::new(query)));
        }
        self.select().map(|select| Body::Select(Box::new(select)))
    }

    fn select(&mut self) -> Parse<Select> {
        self.expect_word("select")?;
        let distinct = self.take_word("distinct");
        let tags = self.take_word("tags");
        if !distinct && !tags {
            let _ = self.take_word("all");
        }
        let mut items = vec![self.item()?];
        while self.take(b',') {
            items.push(self.item()?);
        }
        let from = if self.take_word("from") { Some(self.tables()?) } else { None };
        let condition = if self.take_word("where") { Some(self.expr()?) } else { None };
        let partition_by = if self.take_words(&["partition", "by"]) { self.partition_list()? } else { Vec::new() };
        let window = self.window()?;
        let group_by = if self.take_words(&["group", "by"]) { self.partition_list()? } else { Vec::new() };
        let having = if self.take_word("having") { Some(self.expr()?) } else { None };
        Ok(Select { distinct, tags, items, from, condition, partition_by, window, group_by, having })
    }

    fn item(&mut self) -> Parse<SelectItem> {
        let start = self.token.start;
        let expr = if self.take(b'*') { Expr::Star { table: None } } else { self.expr()? };
        let text = self.sql[start..self.end].to_vec();
        let alias = if self.take_word("as") || self.starts_name() { Some(self.alias()?) } else { None };
        Ok(SelectItem { expr, alias, text })
    }

    /// An alias: any name, and a bare word past ASCII.
    fn alias(&mut self) -> Parse<Vec<u8>> {
        if self.token.kind == Kind::Alias {
            let token = self.advance();
            return Ok(token.text(self.sql).to_vec());
        }
        self.name(MAX_COLUMN_NAME)
    }

    /// Whether an alias without AS follows.
    fn starts_name(&self) -> bool {
        match self.token.kind {
            Kind::Quoted | Kind::Alias => true,
            Kind::Word => !keywords::is_keyword(self.token.text(self.sql)),
            _ => false,
        }
    }

    /// Expressions, each with an alias that means nothing here.
    fn partition_list(&mut self) -> Parse<Vec<Expr>> {
        let mut list = Vec::new();
        loop {
            list.push(self.expr()?);
            if self.take_word("as") || self.starts_name() {
                self.name(MAX_COLUMN_NAME)?;
            }
            if !self.take(b',') {
                return Ok(list);
            }
        }
    }

    fn tables(&mut self) -> Parse<From> {
        let mut left = self.one_table()?;
        for _ in 0..MAX_PARTS {
            if self.take(b',') {
                let right = self.one_table()?;
                left = From::Join { left: Box::new(left), right: Box::new(right), outer: false, on: None };
                continue;
            }
            let outer = self.is_word("left");
            for kind in ["right", "full", "asof", "window"] {
                if self.is_word(kind) {
                    return Err(TdError::unsupported(format!("{} JOIN", kind.to_uppercase())));
                }
            }
            if outer || self.is_word("inner") {
                self.advance();
                let _ = self.take_word("outer");
                for kind in ["asof", "window", "semi", "anti"] {
                    if self.is_word(kind) {
                        return Err(TdError::unsupported(format!("{} JOIN", kind.to_uppercase())));
                    }
                }
                if !self.is_word("join") {
                    return Err(self.unexpected());
                }
            }
            if !self.take_word("join") {
                return Ok(left);
            }
            let right = self.one_table()?;
            let on = if self.take_word("on") { Some(self.expr()?) } else { None };
            left = From::Join { left: Box::new(left), right: Box::new(right), outer, on };
        }
        Err(TdError::unsupported(format!("a join of more than {MAX_PARTS} tables")))
    }

    fn one_table(&mut self) -> Parse<From> {
        if self.take(b'(') {
            let query = Box::new(self.query()?);
            self.expect(b')')?;
            return Ok(From::Query { query, alias: self.table_alias()? });
        }
        let table = self.object_name()?;
        Ok(From::Table { table, alias: self.table_alias()? })
    }

    fn table_alias(&mut self) -> Parse<Option<Vec<u8>>> {
        if self.take_word("as") || self.starts_name() { self.name(MAX_TABLE_NAME).map(Some) } else { Ok(None) }
    }

    fn window(&mut self) -> Parse<Option<Window>> {
        if self.take_word("interval") {
            self.expect(b'(')?;
            let interval = self.duration()?;
            let offset = if self.take(b',') { Some(self.duration()?) } else { None };
            self.expect(b')')?;
            let mut sliding = None;
            if self.take_word("sliding") {
                self.expect(b'(')?;
                sliding = Some(self.duration()?);
                self.expect(b')')?;
            }
            let fill = self.fill()?;
            return Ok(Some(Window::Interval { interval, offset, sliding, fill }));
        }
        if self.take_word("session") {
            self.expect(b'(')?;
            let column = self.expr()?;
            self.expect(b',')?;
            let gap = self.duration()?;
            self.expect(b')')?;
            return Ok(Some(Window::Session { column, gap }));
        }
        if self.take_word("state_window") {
            self.expect(b'(')?;
            let state = self.expr()?;
            self.expect(b')')?;
            return Ok(Some(Window::State(state)));
        }
        if self.fill()?.is_some() {
            return Err(TdError::new(0x265d, "Invalid usage of RANGE clause, EVERY clause or FILL clause"));
        }
        for kind in ["event_window", "count_window", "anomaly_window", "range"] {
            if self.is_word(kind) {
                return Err(TdError::unsupported(kind.to_uppercase()));
            }
        }
        Ok(None)
    }

    fn fill(&mut self) -> Parse<Option<Fill>> {
        if !self.take_word("fill") {
            return Ok(None);
        }
        self.expect(b'(')?;
        let fill = match self.word() {
            Some(b"none") => Fill::None,
            Some(b"null" | b"null_f") => Fill::Null,
            Some(b"prev") => Fill::Prev,
            Some(b"next") => Fill::Next,
            Some(b"linear") => Fill::Linear,
            Some(b"value" | b"value_f") => Fill::Value(Vec::new()),
            _ => return Err(self.unexpected()),
        };
        self.advance();
        let fill = match fill {
            Fill::Value(mut values) => {
                while self.take(b',') {
                    values.push(self.expr()?);
                }
                Fill::Value(values)
            }
            other => other,
        };
        self.expect(b')')?;
        Ok(Some(fill))
    }

    fn order_by(&mut self) -> Parse<Vec<OrderBy>> {
        let mut order_by = Vec::new();
        if !self.take_words(&["order", "by"]) {
            return Ok(order_by);
        }
        loop {
            let expr = self.expr()?;
            let descending = self.take_word("desc") || {
                let _ = self.take_word("asc");
                false
            };
            let mut nulls_first = None;
            if self.take_word("nulls") {
                let first = self.take_word("first");
                if !first {
                    self.expect_word("last")?;
                }
                nulls_first = Some(first);
            }
            order_by.push(OrderBy { expr, descending, nulls_first });
            if !self.take(b',') {
                return Ok(order_by);
            }
        }
    }

    /// `limit n [offset m]` or `limit m, n`: rows, and rows skipped.
    fn limit(&mut self, limit: &str, offset: &str) -> Parse<Option<(u64, u64)>> {
        if !self.take_word(limit) {
            return Ok(None);
        }
        let first = self.unsigned()?;
        if self.take_word(offset) {
            return Ok(Some((first, self.unsigned()?)));
        }
        if self.take(b',') {
            return Ok(Some((self.unsigned()?, first)));
        }
        Ok(Some((first, 0)))
    }
}
