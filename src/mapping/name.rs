//! Names of child tables: text with fields of the message in it.

use std::fmt::Write as _;

use super::source::{Meta, Seen, Source};
use super::{FieldFault, FieldReason};
use crate::format::{Found, Path};
use crate::row::Value;

/// A piece of a name's template, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<T> {
    Text(String),
    /// What stands in braces.
    Field(T),
}

/// Splits `d_{device}` at its braces; `{{` and `}}` are braces themselves.
///
/// # Errors
/// What is wrong with it.
pub(super) fn pieces(template: &str) -> Result<Vec<Piece<String>>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
                text.push(c);
            }
            '{' => {
                let mut is_closed = false;
                let field: String = rest
                    .by_ref()
                    .take_while(|&c| {
                        is_closed = c == '}';
                        !is_closed
                    })
                    .collect();
                if field.is_empty() || field.contains('{') || !is_closed {
                    return Err(format!(
                        "{template:?} has a brace without a field, or without its other brace: write {{field}}, or {{{{ for a brace"
                    ));
                }
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Field(field));
            }
            '}' => return Err(format!("{template:?} has a closing brace too many: write }}}} for a brace")),
            _ => text.push(c),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

/// What stands in braces: one of Kafka's, or a field.
pub(super) fn meta_in_braces(field: &str) -> Option<Meta> {
    match field {
        "key" => Some(Meta::Key),
        "topic" => Some(Meta::Topic),
        "partition" => Some(Meta::Partition),
        _ => None,
    }
}

/// A compiled template, its fields with what they are called; an expression is a field of its own.
#[derive(Debug)]
pub(super) struct Name(Vec<Piece<(String, Source)>>);

impl Name {
    /// `source` gives what each field in braces is.
    pub(super) fn compile(template: &str, mut source: impl FnMut(&Path) -> Source) -> Result<Self, String> {
        let compile = |piece: Piece<String>| {
            Ok(match piece {
                Piece::Text(text) => Piece::Text(text),
                Piece::Field(field) => {
                    let source = match meta_in_braces(&field) {
                        Some(meta) => Source::Kafka(meta),
                        None => source(&field.parse().map_err(|error: crate::format::PathError| error.to_string())?),
                    };
                    Piece::Field((field, source))
                }
            })
        };
        pieces(template)?.into_iter().map(compile).collect::<Result<_, String>>().map(Self)
    }

    /// The name is what `source`, written as `expression`, comes to.
    pub(super) fn computed(expression: &str, source: Source) -> Self {
        Self(vec![Piece::Field((expression.to_owned(), source))])
    }

    /// Writes the name that a row's table has into `name`.
    pub(super) fn write(&self, name: &mut String, seen: &Seen<'_, '_>) -> Result<(), FieldFault> {
        name.clear();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => name.push_str(text),
                Piece::Field((field, source)) => {
                    let fault = |reason| FieldFault { field: format!("table name, {{{field}}}"), reason };
                    let put = |name: &mut String, value: &Value<'_>| {
                        match value {
                            Value::Text(text) => name.push_str(text),
                            Value::Bytes(bytes) => name.push_str(std::str::from_utf8(bytes).ok()?),
                            Value::Int(number) => write!(name, "{number}").ok()?,
                            Value::UInt(number) => write!(name, "{number}").ok()?,
                            Value::Bool(truth) => write!(name, "{truth}").ok()?,
                            // A whole number that a format has as a double; one with a fraction names nothing.
                            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                                write!(name, "{number:.0}").ok()?
                            }
                            _ => return None,
                        }
                        Some(())
                    };
                    let done = match source {
                        Source::Place(spot) => match seen.at(*spot) {
                            Found::Value(Value::Unset | Value::Null) => return Err(fault(FieldReason::Missing)),
                            Found::Value(value) => put(name, value).ok_or_else(|| value.kind()),
                            Found::Tree(_) | Found::Nested(_) => Err("an object or array"),
                        },
                        source => match seen.read(source).map_err(&fault)? {
                            Value::Unset | Value::Null => return Err(fault(FieldReason::Missing)),
                            value => put(name, &value).ok_or_else(|| value.kind()),
                        },
                    };
                    done.map_err(|kind| fault(FieldReason::Wrong(kind)))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_at_its_braces() {
        let split = |template| pieces(template).unwrap();
        let (text, field) = (|t: &str| Piece::Text(t.to_owned()), |t: &str| Piece::Field(t.to_owned()));
        assert_eq!(split("d_{device}"), [text("d_"), field("device")]);
        assert_eq!(split("{/a/b}{topic}"), [field("/a/b"), field("topic")]);
        assert_eq!(split("{{x}}_{y}"), [text("{x}_"), field("y")]);
        for wrong in ["{", "{}", "a}", "{a{b}}"] {
            assert!(pieces(wrong).is_err(), "{wrong}");
        }
    }
}
