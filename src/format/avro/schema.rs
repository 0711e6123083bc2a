//! A schema, flat: types by their numbers, so that a walk looks up no names.

use std::collections::HashMap;

use apache_avro::Schema as Parsed;
use apache_avro::schema::{InnerDecimalSchema, NamespaceRef, UuidSchema};

use crate::row::Precision;

/// A type's number.
pub(super) type TypeId = usize;

/// What a type's values are, and how they lie in the payload.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Bool,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    Enum(Vec<String>),
    Union(Vec<TypeId>),
    Array(TypeId),
    Map(TypeId),
    Record(Vec<(String, TypeId)>),
    Date,
    Timestamp(Precision),
    /// With so many digits behind the point; of fixed size, or with its size before it.
    Decimal(usize, Option<usize>),
    /// With the number of digits behind the point in the value.
    BigDecimal,
    /// The sixteen bytes, of fixed size or with their size before them.
    Uuid(Option<usize>),
}

/// A writer's schema.
#[derive(Clone, Debug, PartialEq)]
pub struct AvroSchema {
    pub(super) types: Vec<Type>,
    pub(super) root: TypeId,
}

impl AvroSchema {
    /// Reads a schema as JSON has it, and those that it refers to.
    ///
    /// # Errors
    /// It is none, or it refers to what is not there.
    pub fn parse(schema: &str, references: &[String]) -> Result<Self, String> {
        let (schema, others) =
            Parsed::parse_str_with_list(schema, references).map_err(|error| format!("is no Avro schema: {error}"))?;
        let others = others.iter().filter_map(|other| Some((other.name()?.fullname(None), other))).collect();
        let mut flattening = Flattening { others, ..Flattening::default() };
        let root = flattening.add(&schema, None)?;
        Ok(Self { types: flattening.types, root })
    }
}

#[derive(Default)]
struct Flattening<'s> {
    types: Vec<Type>,
    named: HashMap<String, TypeId>,
    /// Named types of other schemas.
    others: HashMap<String, &'s Parsed>,
}

impl Flattening<'_> {
    fn add(&mut self, schema: &Parsed, namespace: NamespaceRef<'_>) -> Result<TypeId, String> {
        let name = schema.name().map(|name| name.fully_qualified_name(namespace).into_owned());
        let full_name = name.as_ref().map(|name| name.fullname(None));
        if let (Parsed::Ref { .. }, Some(name)) = (schema, &full_name) {
            return match (self.named.get(name), self.others.get(name).copied()) {
                (Some(known), _) => Ok(*known),
                (None, Some(other)) => self.add(other, None),
                (None, None) => Err(format!("refers to {name}, which is not there")),
            };
        }
        let this = self.types.len();
        // Until it is known; a type may refer to itself.
        self.types.push(Type::Null);
        if let Some(full_name) = full_name {
            self.named.insert(full_name, this);
        }
        let within = name.as_ref().map_or(namespace, |name| name.namespace());
        self.types[this] = match schema {
            Parsed::Null | Parsed::Ref { .. } => Type::Null,
            Parsed::Boolean => Type::Bool,
            Parsed::Int | Parsed::TimeMillis => Type::Int,
            Parsed::Long | Parsed::TimeMicros => Type::Long,
            Parsed::Float => Type::Float,
            Parsed::Double => Type::Double,
            Parsed::Bytes => Type::Bytes,
            Parsed::String | Parsed::Uuid(UuidSchema::String) => Type::Text,
            Parsed::Fixed(fixed) | Parsed::Duration(fixed) => Type::Fixed(fixed.size),
            Parsed::Enum(choice) => Type::Enum(choice.symbols.clone()),
            Parsed::Array(array) => Type::Array(self.add(&array.items, within)?),
            Parsed::Map(map) => Type::Map(self.add(&map.types, within)?),
            Parsed::Union(union) => {
                Type::Union(union.variants().iter().map(|variant| self.add(variant, within)).collect::<Result<_, _>>()?)
            }
            Parsed::Record(record) => {
                let fields =
                    record.fields.iter().map(|field| Ok((field.name.clone(), self.add(&field.schema, within)?)));
                Type::Record(fields.collect::<Result<_, String>>()?)
            }
            Parsed::Date => Type::Date,
            Parsed::TimestampMillis | Parsed::LocalTimestampMillis => Type::Timestamp(Precision::Milli),
            Parsed::TimestampMicros | Parsed::LocalTimestampMicros => Type::Timestamp(Precision::Micro),
            Parsed::TimestampNanos | Parsed::LocalTimestampNanos => Type::Timestamp(Precision::Nano),
            Parsed::Decimal(decimal) => Type::Decimal(
                decimal.scale,
                match &decimal.inner {
                    InnerDecimalSchema::Bytes => None,
                    InnerDecimalSchema::Fixed(fixed) => Some(fixed.size),
                },
            ),
            Parsed::BigDecimal => Type::BigDecimal,
            Parsed::Uuid(UuidSchema::Bytes) => Type::Uuid(None),
            Parsed::Uuid(UuidSchema::Fixed(fixed)) => Type::Uuid(Some(fixed.size)),
        };
        Ok(this)
    }
}
