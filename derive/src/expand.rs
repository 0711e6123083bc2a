//! From a struct to its `impl TaosEncoder`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::spanned::Spanned as _;
use syn::{Attribute, Data, DeriveInput, Error, Fields, GenericArgument, Ident, LitStr, PathArguments, Result, Type};

/// The longest name of a column or tag, in bytes.
const MAX_NAME_BYTES: usize = 64;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let target = Target::of(input)?;
    let fields = Field::all_of(input)?;
    let timestamp = timestamp(&fields, input)?;
    let tags: Vec<&Field> = fields.iter().filter(|field| field.role == Role::Tag).collect();
    if let (None, Some(tag)) = (&target.super_table, tags.first()) {
        let message =
            "only child tables have tags: name their super table, #[taos(super_table = \"..\")] on the struct";
        return Err(Error::new(tag.ident.span(), message));
    }
    let columns: Vec<&Field> =
        std::iter::once(timestamp).chain(fields.iter().filter(|field| field.role == Role::Column)).collect();

    let table = target.table_name(&fields)?;
    let some = |text: &Option<LitStr>| match text {
        Some(text) => quote!(::std::option::Option::Some(#text)),
        None => quote!(::std::option::Option::None),
    };
    let (database, super_table) = (some(&target.database), some(&target.super_table));
    let names = |fields: &[&Field]| {
        let names = fields.iter().map(|field| &field.name);
        quote!(::std::vec![#(::std::borrow::Cow::Borrowed(#names)),*])
    };
    let (tag_names, column_names) = (names(&tags), names(&columns));
    let (tags, columns) = (tags.iter().map(|tag| tag.value()), columns.iter().map(|column| column.value()));

    let name = &input.ident;
    let (generics, arguments, bounds) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        #[allow(clippy::useless_conversion)] // a unit takes every number that is an i64, the i64 too
        impl #generics ::kafka_taos::row::TaosEncoder for #name #arguments #bounds {
            fn database(&self) -> ::std::option::Option<&str> {
                #database
            }
            fn super_table(&self) -> ::std::option::Option<&str> {
                #super_table
            }
            fn table(&self) -> ::std::borrow::Cow<'_, str> {
                #table
            }
            fn tag_names(&self) -> ::std::vec::Vec<::std::borrow::Cow<'_, str>> {
                #tag_names
            }
            fn tags<'taos>(&'taos self, put: &mut dyn ::std::ops::FnMut(::kafka_taos::row::Value<'taos>)) {
                #(put(#tags);)*
            }
            fn column_names(&self) -> ::std::vec::Vec<::std::borrow::Cow<'_, str>> {
                #column_names
            }
            fn values<'taos>(&'taos self, put: &mut dyn ::std::ops::FnMut(::kafka_taos::row::Value<'taos>)) {
                #(put(#columns);)*
            }
        }
    })
}

/// The one field that is the key.
fn timestamp<'f>(fields: &'f [Field], input: &DeriveInput) -> Result<&'f Field> {
    let mut timestamps = fields.iter().filter(|field| matches!(field.role, Role::Timestamp(_)));
    match (timestamps.next(), timestamps.next()) {
        (Some(timestamp), None) => Ok(timestamp),
        (Some(_), Some(second)) => Err(Error::new(second.ident.span(), "a second timestamp: a row has one key")),
        (None, _) => Err(Error::new(input.ident.span(), "no field is the key: mark one with #[taos(timestamp)]")),
    }
}

/// Where a struct's rows go: its own attributes.
struct Target {
    database: Option<LitStr>,
    super_table: Option<LitStr>,
    table: LitStr,
}

impl Target {
    fn of(input: &DeriveInput) -> Result<Self> {
        let (mut database, mut super_table, mut table) = (None, None, None);
        for attribute in taos(&input.attrs) {
            attribute.parse_nested_meta(|meta| {
                let place = match meta.path.get_ident().map(Ident::to_string).as_deref() {
                    Some("database") => &mut database,
                    Some("super_table") => &mut super_table,
                    Some("table") => &mut table,
                    _ => return Err(meta.error("a struct takes database, super_table and table")),
                };
                let text: LitStr = meta.value()?.parse()?;
                if text.value().is_empty() {
                    return Err(Error::new(text.span(), "is empty"));
                }
                match place.replace(text) {
                    None => Ok(()),
                    Some(_) => Err(meta.error("is said twice")),
                }
            })?;
        }
        let table = table.ok_or_else(|| {
            let message =
                "the table has no name: #[taos(table = \"..\")], a template over fields, as in \"d_{device}\"";
            Error::new(input.ident.span(), message)
        })?;
        Ok(Self { database, super_table, table })
    }

    /// The expression of the table's name.
    fn table_name(&self, fields: &[Field]) -> Result<TokenStream> {
        let template = self.table.value();
        let (format, names) = parse_template(&template).map_err(|message| Error::new(self.table.span(), message))?;
        let mut arguments = Vec::new();
        for name in &names {
            let Some(field) = fields.iter().find(|field| field.ident.unraw() == name) else {
                let all: Vec<_> = fields.iter().map(|field| field.ident.unraw().to_string()).collect();
                let message = format!("there is no field {name:?}; there are {}", all.join(", "));
                return Err(Error::new(self.table.span(), message));
            };
            arguments.push(field);
        }
        Ok(match arguments.as_slice() {
            [] => {
                let name = format.replace("{{", "{").replace("}}", "}");
                quote!(::std::borrow::Cow::Borrowed(#name))
            }
            [field] if format == "{}" && field.is_text() => {
                let ident = &field.ident;
                quote!(::std::borrow::Cow::Borrowed(::std::convert::AsRef::<str>::as_ref(&self.#ident)))
            }
            _ => {
                let fields = arguments.iter().map(|Field { ident, ty, .. }| quote_spanned!(ty.span()=> self.#ident));
                quote!(::std::borrow::Cow::Owned(::std::format!(#format, #(#fields),*)))
            }
        })
    }
}

/// A template as a format string with `{}` for each field, and the fields' names.
fn parse_template(template: &str) -> std::result::Result<(String, Vec<String>), String> {
    let (mut format, mut names) = (String::new(), Vec::new());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}', '.']) {
        format.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('.') {
            return Err("a table's name must not hold a '.'".into());
        } else if let Some(brace) = ["{{", "}}"].into_iter().find(|brace| rest.starts_with(brace)) {
            format.push_str(brace);
            rest = &rest[2..];
        } else if let Some((name, after)) = rest.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            names.push(name.to_owned());
            format.push_str("{}");
            rest = after;
        } else {
            return Err("a brace without its other half; a brace itself is written twice".into());
        }
    }
    format.push_str(rest);
    Ok((format, names))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// The key; with a unit, a number of that many in a second.
    Timestamp(Option<Unit>),
    Tag,
    Column,
    Skip,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Second,
    Milli,
    Micro,
    Nano,
}

struct Field {
    ident: Ident,
    ty: Type,
    name: LitStr,
    role: Role,
}

impl Field {
    fn all_of(input: &DeriveInput) -> Result<Vec<Self>> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.ident.span(), "only a struct can be a row"));
        };
        let Fields::Named(named) = &data.fields else {
            return Err(Error::new(input.ident.span(), "only a struct with named fields can be a row"));
        };
        let mut fields = Vec::new();
        let mut errors: Option<Error> = None;
        for field in &named.named {
            match Self::of(field) {
                Ok(field) => fields.push(field),
                Err(error) => match &mut errors {
                    Some(errors) => errors.combine(error),
                    None => errors = Some(error),
                },
            }
        }
        if let Some(errors) = errors {
            return Err(errors);
        }
        let written: Vec<_> = fields.iter().filter(|field| field.role != Role::Skip).collect();
        for (at, field) in written.iter().enumerate() {
            if written[..at].iter().any(|other| other.name.value() == field.name.value()) {
                return Err(Error::new(field.name.span(), format!("a second field named {:?}", field.name.value())));
            }
        }
        Ok(fields)
    }

    fn of(field: &syn::Field) -> Result<Self> {
        let span = field.span();
        let ident = field.ident.clone().ok_or_else(|| Error::new(span, "only named fields can be columns"))?;
        let (mut name, mut role) = (None, None);
        for attribute in taos(&field.attrs) {
            attribute.parse_nested_meta(|meta| {
                let this = match meta.path.get_ident().map(Ident::to_string).as_deref() {
                    Some("name") => {
                        let text: LitStr = meta.value()?.parse()?;
                        return match name.replace(text) {
                            None => Ok(()),
                            Some(_) => Err(meta.error("is said twice")),
                        };
                    }
                    Some("timestamp") if meta.input.peek(syn::Token![=]) => {
                        Role::Timestamp(Some(unit(&meta.value()?.parse()?)?))
                    }
                    Some("timestamp") => Role::Timestamp(None),
                    Some("tag") => Role::Tag,
                    Some("skip") => Role::Skip,
                    _ => return Err(meta.error("a field takes timestamp, tag, name and skip")),
                };
                match role.replace(this) {
                    None => Ok(()),
                    Some(_) => Err(meta.error("a field is one of timestamp, tag and skip")),
                }
            })?;
        }
        let name = name.unwrap_or_else(|| LitStr::new(&ident.unraw().to_string(), ident.span()));
        if !(1..=MAX_NAME_BYTES).contains(&name.value().len()) {
            return Err(Error::new(name.span(), format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        Ok(Self { ident, ty: field.ty.clone(), name, role: role.unwrap_or(Role::Column) })
    }

    /// The expression of the field's value. Errors about its type point at the type.
    fn value(&self) -> TokenStream {
        let Self { ident, ty, .. } = self;
        let span: Span = ty.span();
        let precision = match self.role {
            Role::Timestamp(Some(Unit::Second)) => {
                return quote_spanned! {span=>
                    ::kafka_taos::row::Value::Timestamp(::kafka_taos::row::Timestamp::new(i64::from(self.#ident), 0))
                };
            }
            Role::Timestamp(Some(Unit::Milli)) => quote!(Milli),
            Role::Timestamp(Some(Unit::Micro)) => quote!(Micro),
            Role::Timestamp(Some(Unit::Nano)) => quote!(Nano),
            _ => return quote_spanned!(span=> ::kafka_taos::row::Value::from(&self.#ident)),
        };
        quote_spanned! {span=>
            ::kafka_taos::row::Value::Timestamp(::kafka_taos::row::Timestamp::from_units(
                i64::from(self.#ident),
                ::kafka_taos::row::Precision::#precision,
            ))
        }
    }

    /// Whether the field's type is plainly a string: then a name need not be copied.
    fn is_text(&self) -> bool {
        match &self.ty {
            Type::Path(path) if path.path.is_ident("String") => true,
            Type::Path(path) => path.path.segments.last().is_some_and(|last| match &last.arguments {
                PathArguments::AngleBracketed(of) if last.ident == "Cow" => of
                    .args
                    .iter()
                    .any(|of| matches!(of, GenericArgument::Type(Type::Path(of)) if of.path.is_ident("str"))),
                _ => false,
            }),
            Type::Reference(reference) => matches!(&*reference.elem, Type::Path(path) if path.path.is_ident("str")),
            _ => false,
        }
    }
}

fn unit(text: &LitStr) -> Result<Unit> {
    match text.value().as_str() {
        "s" => Ok(Unit::Second),
        "ms" => Ok(Unit::Milli),
        "us" => Ok(Unit::Micro),
        "ns" => Ok(Unit::Nano),
        _ => Err(Error::new(text.span(), "a timestamp's unit is s, ms, us or ns")),
    }
}

fn taos(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("taos"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of the errors, and the source text that each points at.
    fn errors(source: &str) -> Vec<(String, String)> {
        let input = syn::parse_str(source).unwrap();
        let error = expand(&input).expect_err("is refused");
        error.into_iter().map(|e| (e.to_string(), e.span().source_text().unwrap_or_default())).collect()
    }

    fn error(source: &str) -> (String, String) {
        let errors = errors(source);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].clone()
    }

    #[test]
    fn what_is_missing_is_asked_for() {
        let (message, at) = error(r#"struct Reading { #[taos(timestamp)] ts: i64 }"#);
        assert!(message.contains("#[taos(table = \"..\")]") && at == "Reading", "{message} at {at}");
        let (message, at) = error(r#"#[taos(table = "t")] struct Reading { ts: i64 }"#);
        assert!(message.contains("mark one with #[taos(timestamp)]") && at == "Reading", "{message} at {at}");
        let (message, at) =
            error(r#"#[taos(table = "t")] struct R { #[taos(timestamp)] ts: i64, #[taos(tag)] site: i32 }"#);
        assert!(message.contains("super_table") && at == "site", "{message} at {at}");
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        for (struct_attribute, fields, message, at) in [
            (r#"table = "d_{device}""#, "", "there is no field \"device\"; there are ts", r#""d_{device}""#),
            (r#"table = "d.1""#, "", "a table's name must not hold a '.'", r#""d.1""#),
            (r#"table = "d_{ts""#, "", "a brace without its other half; a brace itself is written twice", r#""d_{ts""#),
            (r#"table = """#, "", "is empty", r#""""#),
            (r#"table = "t", stable = "s""#, "", "a struct takes database, super_table and table", "stable"),
            (r#"table = "t", table = "s""#, "", "is said twice", r#"table = "s""#),
            (r#"table = "t""#, "#[taos(label)] a: i32", "a field takes timestamp, tag, name and skip", "label"),
            (r#"table = "t""#, "#[taos(tag, skip)] a: i32", "a field is one of timestamp, tag and skip", "skip"),
            (r#"table = "t""#, "#[taos(timestamp)] a: i64", "a second timestamp: a row has one key", "a"),
            (r#"table = "t""#, r#"#[taos(timestamp = "h")] a: i64"#, "a timestamp's unit is s, ms, us or ns", "\"h\""),
            (r#"table = "t""#, r#"#[taos(name = "")] a: i64"#, "a name has 1 to 64 bytes", "\"\""),
            (r#"table = "t""#, r#"#[taos(name = "ts")] a: i64"#, "a second field named \"ts\"", "\"ts\""),
        ] {
            let source = format!("#[taos({struct_attribute})] struct R {{ #[taos(timestamp)] ts: i64, {fields} }}");
            assert_eq!(error(&source), (message.to_owned(), at.to_owned()), "{source}");
        }
        assert!(error("enum E { A }").0.contains("has no name"));
        assert!(error(r#"#[taos(table = "t")] enum E { A }"#).0.contains("only a struct"));
        assert!(error(r#"#[taos(table = "t")] struct E(i64);"#).0.contains("named fields"));
    }

    #[test]
    fn all_fields_are_looked_at_before_the_first_error_stops() {
        let source = r#"#[taos(table = "t")] struct R { #[taos(a)] a: i64, b: i64, #[taos(c)] c: i64 }"#;
        assert_eq!(errors(source).iter().map(|(_, at)| at.as_str()).collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn templates_become_format_strings() {
        let parsed = |template| parse_template(template).unwrap();
        assert_eq!(parsed("d_{device}_{site}"), ("d_{}_{}".into(), vec!["device".into(), "site".into()]));
        assert_eq!(parsed("{{x}}{a}"), ("{{x}}{}".into(), vec!["a".into()]));
        assert!(parse_template("}").is_err());
    }
}
