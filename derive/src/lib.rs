//! `#[derive(TaosEncoder)]` for `kafka-taos`; documented there, at `kafka_taos::row::TaosEncoder`.

mod expand;

/// Makes a struct say what it is in TDengine.
///
/// On the struct, `#[taos(..)]` takes:
///
/// | attribute | means | without it |
/// |---|---|---|
/// | `table = "d_{device}"` | the table's name, a template over the fields; `{{` and `}}` are braces | an error |
/// | `super_table = "meters"` | the super table | the table is a normal one |
/// | `database = "power"` | the database | the one that the connection is set to |
///
/// On a field:
///
/// | attribute | means | without it |
/// |---|---|---|
/// | `timestamp` | the key; a `Timestamp`, or a whole number in the database's precision | one field must have it |
/// | `timestamp = "ms"` | the key; an `i64` in `s`, `ms`, `us` or `ns` | |
/// | `tag` | a tag | a column |
/// | `name = "phase"` | its name in TDengine | the field's own |
/// | `skip` | is not written | |
///
/// Fields are of any type `T` with `Value: From<&T>`: numbers, `bool`, `String`, `&str`, `Vec<u8>`, `Timestamp`,
/// `Value` itself, and an `Option` of these, where `None` is NULL.
#[proc_macro_derive(TaosEncoder, attributes(taos))]
pub fn derive_taos_encoder(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    expand::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
