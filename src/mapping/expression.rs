//! Small expressions in CEL, the Common Expression Language: conditions, and values that are computed.
//!
//! An expression sees the fields of the message (or element) by their names, and `kafka` with `topic`, `partition`,
//! `offset`, `timestamp` (milliseconds), `key` and `headers`. What is not there is `null`.
//!
//! <https://github.com/google/cel-spec>

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::extensions;
use cel::objects::Key;
use cel::{Context, Env, Program};

use crate::format::Found;
use crate::message::Message;
use crate::row::Value;

/// The name by which expressions see where a message stood.
pub(super) const KAFKA: &str = "kafka";

/// The language: standard functions, and those for strings, lists and mathematics.
#[derive(Clone)]
pub(super) struct Language(Arc<Env>);

impl Language {
    pub(super) fn new() -> Self {
        let mut env = Env::stdlib();
        for extension in [extensions::strings, extensions::math, extensions::lists] {
            // Each is added once, to a fresh environment, which is the only thing that it could object to.
            let _ = env.add_extension(extension);
        }
        Self(Arc::new(env))
    }

    /// Compiles `source`.
    ///
    /// # Errors
    /// Where it is wrong, and how.
    pub(super) fn compile(&self, source: &str) -> Result<Expression, String> {
        let program = self.0.compile(source).map_err(|errors| errors.to_string().trim().to_owned())?;
        let references = program.references();
        let mut variables: Vec<String> = references.variables().iter().map(ToString::to_string).collect();
        variables.sort();
        Ok(Expression { source: source.to_owned(), program, variables, env: self.0.clone() })
    }
}

/// A compiled expression.
pub(super) struct Expression {
    source: String,
    program: Program,
    variables: Vec<String>,
    env: Arc<Env>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

impl Expression {
    /// The names that it refers to, [`KAFKA`] among them if it does.
    pub(super) fn variables(&self) -> &[String] {
        &self.variables
    }

    fn evaluate<'v>(&self, value_of: impl Fn(&str) -> cel::Value + 'v) -> Result<cel::Value, String> {
        let mut context = Context::with_env(self.env.clone());
        for name in &self.variables {
            context.add_variable_from_value(name.as_str(), value_of(name));
        }
        self.program.execute(&context).map_err(|error| format!("{:?}: {error}{}", self.source, hint(&error)))
    }

    /// Whether the condition holds. `value_of` gives what stands behind each of [`Self::variables`].
    ///
    /// # Errors
    /// It cannot be evaluated, or is neither true nor false.
    pub(super) fn holds(&self, value_of: impl Fn(&str) -> cel::Value) -> Result<bool, String> {
        match self.evaluate(value_of)? {
            cel::Value::Bool(truth) => Ok(truth),
            other => Err(format!("{:?} is {}, where true or false is wanted", self.source, other.type_of())),
        }
    }

    /// What it comes to.
    ///
    /// # Errors
    /// It cannot be evaluated, or is no single value.
    pub(super) fn value(&self, value_of: impl Fn(&str) -> cel::Value) -> Result<Value<'static>, String> {
        Ok(match self.evaluate(value_of)? {
            cel::Value::Null => Value::Null,
            cel::Value::Bool(truth) => Value::Bool(truth),
            cel::Value::Int(number) => Value::Int(number),
            cel::Value::UInt(number) => Value::UInt(number),
            cel::Value::Float(number) => Value::Float(number),
            cel::Value::String(text) => Value::Text(text.to_string().into()),
            cel::Value::Bytes(bytes) => Value::Bytes(bytes.to_vec().into()),
            other => return Err(format!("{:?} is {}, which is no single value", self.source, other.type_of())),
        })
    }
}

/// CEL computes with numbers of one kind only, which JSON does not tell apart.
fn hint(error: &cel::ExecutionError) -> &'static str {
    use cel::ExecutionError::{NoSuchOverload, UnsupportedBinaryOperator};
    match error {
        NoSuchOverload(_) | UnsupportedBinaryOperator(..) => {
            "; numbers of one kind only are computed with, and null with nothing: write double(x), int(x), \
             x == null ? 0.0 : double(x)"
        }
        _ => "",
    }
}

/// A value of a message as CEL has it.
pub(super) fn cel_value(found: &Found<'_>) -> cel::Value {
    match found {
        Found::Value(value) => match value {
            Value::Unset | Value::Null => cel::Value::Null,
            Value::Bool(truth) => cel::Value::Bool(*truth),
            Value::Int(number) => cel::Value::Int(*number),
            Value::UInt(number) => cel::Value::UInt(*number),
            Value::Float(number) => cel::Value::Float(*number),
            // Milliseconds, as of `kafka.timestamp`: comparisons and differences work.
            Value::Timestamp(moment) => {
                moment.in_units(crate::row::Precision::Milli).map_or(cel::Value::Null, cel::Value::Int)
            }
            Value::Text(text) => cel::Value::String(Arc::new(text.to_string())),
            Value::Bytes(bytes) => cel::Value::Bytes(Arc::new(bytes.to_vec())),
        },
        Found::Tree(tree) => tree_value(tree),
        Found::Nested(_) => cel::Value::Null,
    }
}

fn tree_value(tree: &serde_json::Value) -> cel::Value {
    use serde_json::Value as Tree;
    match tree {
        Tree::Null => cel::Value::Null,
        Tree::Bool(truth) => cel::Value::Bool(*truth),
        Tree::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => cel::Value::Int(number),
            (_, Some(number)) => cel::Value::UInt(number),
            _ => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Tree::String(text) => cel::Value::String(Arc::new(text.clone())),
        Tree::Array(items) => cel::Value::List(Arc::new(items.iter().map(tree_value).collect())),
        Tree::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (Key::from(key.as_str()), tree_value(value)));
            cel::Value::Map(fields.collect::<HashMap<Key, cel::Value>>().into())
        }
    }
}

/// What expressions see as [`KAFKA`].
pub(super) fn kafka_value(message: &Message) -> cel::Value {
    let text = |bytes: &[u8]| cel::Value::String(Arc::new(String::from_utf8_lossy(bytes).into_owned()));
    let headers: HashMap<Key, cel::Value> = message
        .headers
        .iter()
        .map(|header| (Key::from(header.name.as_str()), header.value.as_deref().map_or(cel::Value::Null, text)))
        .collect();
    let fields = [
        ("topic", cel::Value::String(Arc::new(message.source.topic.to_string()))),
        ("partition", cel::Value::Int(message.source.partition.into())),
        ("offset", cel::Value::Int(message.offset)),
        ("timestamp", message.timestamp_ms.map_or(cel::Value::Null, cel::Value::Int)),
        ("key", message.key.as_deref().map_or(cel::Value::Null, text)),
        ("headers", cel::Value::Map(headers.into())),
    ];
    let fields = fields.into_iter().map(|(name, value)| (Key::from(name), value));
    cel::Value::Map(fields.collect::<HashMap<Key, cel::Value>>().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(source: &str, fields: &serde_json::Value) -> Result<Value<'static>, String> {
        let expression = Language::new().compile(source).map_err(|error| format!("compile: {error}"))?;
        expression.value(|name| fields.get(name).map_or(cel::Value::Null, tree_value))
    }

    #[test]
    fn arithmetic_strings_and_conditions() {
        let fields = serde_json::json!({"v": 220, "i": 1.5, "name": "Pump-7", "site": {"floor": 2}, "list": [1, 2, 3]});
        let of = |source: &str| value(source, &fields);
        assert_eq!(of("double(v) * i"), Ok(Value::Float(330.0)));
        assert_eq!(of("name.lowerAscii().replace('-', '_')"), Ok(Value::Text("pump_7".into())));
        assert_eq!(of("v > 200 ? 'high' : 'low'"), Ok(Value::Text("high".into())));
        assert_eq!(of("site.floor + 1"), Ok(Value::Int(3)));
        assert_eq!(of("missing == null"), Ok(Value::Bool(true)));
        assert_eq!(of("list.exists(x, x > 2)"), Ok(Value::Bool(true)));
        assert_eq!(of("size(list)"), Ok(Value::Int(3)));
    }

    #[test]
    fn what_cannot_be_evaluated_says_why() {
        let fields = serde_json::json!({"v": 220});
        assert!(value("v *", &fields).unwrap_err().starts_with("compile:"));
        assert!(value("v * 1.5", &fields).unwrap_err().contains("double(x)"));
        assert!(value("[v]", &fields).unwrap_err().contains("no single value"));
        let condition = Language::new().compile("v").unwrap();
        assert!(condition.holds(|_| cel::Value::Int(1)).unwrap_err().contains("true or false"));
    }
}
