//! What the general parser makes of a statement.

use crate::tdengine::engine::DataType;
use crate::tdengine::engine::catalog::ColumnDef;

/// `[database.]table`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObjectName {
    pub(crate) database: Option<String>,
    pub(crate) name: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Statement {
    CreateDatabase {
        name: String,
        if_not_exists: bool,
        options: Vec<DatabaseOption>,
    },
    AlterDatabase {
        name: String,
        options: Vec<DatabaseOption>,
    },
    DropDatabase {
        name: String,
        if_exists: bool,
    },
    Use(String),
    CreateTable(CreateTable),
    CreateChildren(Vec<CreateChild>),
    DropTables {
        tables: Vec<(ObjectName, bool)>,
        stable: bool,
    },
    AlterTable {
        table: ObjectName,
        action: AlterTable,
    },
    Describe(ObjectName),
    Show(Show),
    Query(Query),
    InsertQuery {
        table: ObjectName,
        columns: Option<Vec<String>>,
        query: Query,
    },
    Delete {
        table: ObjectName,
        condition: Option<Expr>,
    },
    CreateUser {
        name: String,
        password: Vec<u8>,
    },
    AlterUser {
        name: String,
        password: Vec<u8>,
    },
    DropUser(String),
    /// The database must exist; nothing else is to do.
    Flush(String),
    /// Changes nothing here (`reset query cache`).
    Nothing,
}

/// An option of a database as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DatabaseOption {
    pub(crate) name: String,
    /// Where the value starts in the text, for errors.
    pub(crate) at: usize,
    pub(crate) values: Vec<OptionValue>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OptionValue {
    Int(i64),
    /// A number and its unit.
    Duration(i64, u8),
    Text(Vec<u8>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateTable {
    pub(crate) table: ObjectName,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) tags: Option<Vec<ColumnDef>>,
    pub(crate) options: TableOptions,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TableOptions {
    pub(crate) comment: Option<String>,
    pub(crate) ttl_days: Option<i64>,
    pub(crate) rollup: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateChild {
    pub(crate) table: ObjectName,
    pub(crate) if_not_exists: bool,
    pub(crate) stable: ObjectName,
    pub(crate) tag_names: Option<Vec<String>>,
    /// Where the first tag value stands: its type is known only with the catalog.
    pub(crate) values_at: usize,
    pub(crate) options: TableOptions,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AlterTable {
    AddColumn(ColumnDef),
    DropColumn(String),
    ModifyColumn(String, DataType),
    CompressColumn(String, [Option<String>; 3]),
    RenameColumn(String, String),
    AddTag(ColumnDef),
    DropTag(String),
    ModifyTag(String, DataType),
    RenameTag(String, String),
    /// Names, and where each value stands.
    SetTags(Vec<(String, usize)>),
    Options(TableOptions),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Show {
    Databases,
    Tables {
        database: Option<String>,
        like: Option<Vec<u8>>,
    },
    Stables {
        database: Option<String>,
        like: Option<Vec<u8>>,
    },
    CreateDatabase(String),
    CreateTable {
        table: ObjectName,
        stable: bool,
    },
    Tags {
        table: ObjectName,
    },
    TableTags {
        table: ObjectName,
    },
    TableDistributed(ObjectName),
    Users,
    Functions,
    Alive,
    Variables,
    Grants,
    /// Other lists of the server, by name.
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Vec<u8>),
    /// Such as `1h`, as written.
    Duration(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    BitAnd,
    BitOr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Like,
    NotLike,
    Match,
    NotMatch,
    JsonGet,
    JsonContains,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    Literal(Literal),
    Column {
        table: Option<Vec<u8>>,
        name: String,
    },
    /// `tbname`, `_wstart` and the like.
    Pseudo {
        table: Option<Vec<u8>>,
        name: String,
    },
    Star {
        table: Option<Vec<u8>>,
    },
    Call {
        name: String,
        args: Vec<Expr>,
    },
    Cast(Box<Expr>, DataType),
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    Negate(Box<Expr>),
    Not(Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    In {
        expr: Box<Expr>,
        list: Vec<Expr>,
        negated: bool,
    },
    Between {
        expr: Box<Expr>,
        low: Box<Expr>,
        high: Box<Expr>,
        negated: bool,
    },
    IsNull {
        expr: Box<Expr>,
        negated: bool,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SelectItem {
    pub(crate) expr: Expr,
    pub(crate) alias: Option<Vec<u8>>,
    /// The expression as written.
    pub(crate) text: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Query {
    pub(crate) body: Body,
    pub(crate) order_by: Vec<OrderBy>,
    pub(crate) slimit: Option<(u64, u64)>,
    /// Rows and rows skipped.
    pub(crate) limit: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    Select(Box<Select>),
    Union { all: bool, left: Box<Body>, right: Box<Body> },
    Nested(Box<Query>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Select {
    pub(crate) distinct: bool,
    /// `select tags ..`
    pub(crate) tags: bool,
    pub(crate) items: Vec<SelectItem>,
    pub(crate) from: Option<From>,
    pub(crate) condition: Option<Expr>,
    pub(crate) partition_by: Vec<Expr>,
    pub(crate) window: Option<Window>,
    pub(crate) group_by: Vec<Expr>,
    pub(crate) having: Option<Expr>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    Table { table: ObjectName, alias: Option<Vec<u8>> },
    Query { query: Box<Query>, alias: Option<Vec<u8>> },
    Join { left: Box<From>, right: Box<From>, outer: bool, on: Option<Expr> },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Window {
    /// Durations as written.
    Interval {
        interval: Vec<u8>,
        offset: Option<Vec<u8>>,
        sliding: Option<Vec<u8>>,
        fill: Option<Fill>,
    },
    Session {
        column: Expr,
        gap: Vec<u8>,
    },
    State(Expr),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fill {
    None,
    Null,
    Prev,
    Next,
    Linear,
    Value(Vec<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrderBy {
    pub(crate) expr: Expr,
    pub(crate) descending: bool,
    pub(crate) nulls_first: Option<bool>,
}
