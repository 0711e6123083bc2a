//! Arguments of JSON requests, read as taosAdapter's JSON library reads them: unknown names are ignored, names match in
//! any case, absent and null values are zero or empty, and a value of another type spoils the whole.

use serde_json::{Map, Value};

/// The `args` of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Args(Option<Value>);

/// The arguments do not have the types that the action wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Args {
    pub(super) fn new(args: Option<Value>) -> Self {
        Self(args)
    }

    /// Whether there are none at all; null counts as some.
    pub(super) fn are_missing(&self) -> bool {
        self.0.is_none()
    }

    /// The named values; some actions cannot do without any.
    pub(super) fn fields(&self) -> Result<Fields<'_>, Malformed> {
        match &self.0 {
            Some(Value::Object(fields)) => Ok(Fields(Some(fields))),
            Some(Value::Null) => Ok(Fields(None)),
            _ => Err(Malformed),
        }
    }

    /// `req_id` as far as it can be made out, for replies to malformed requests.
    pub(super) fn req_id(&self) -> u64 {
        self.0.as_ref().and_then(|args| args.get("req_id")).and_then(Value::as_u64).unwrap_or(0)
    }
}

/// Named values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(Option<&'a Map<String, Value>>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, Malformed> {
        value.as_object().map(|fields| Self(Some(fields))).ok_or(Malformed)
    }

    /// A value that is there and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        let fields = self.0?;
        let found = fields
            .get(name)
            .or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
        found.filter(|value| !value.is_null())
    }

    fn read<T>(&self, name: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, Malformed> {
        self.get(name).map(|value| read(value).ok_or(Malformed)).transpose()
    }

    pub(super) fn u64(&self, name: &str) -> Result<u64, Malformed> {
        Ok(self.read(name, Value::as_u64)?.unwrap_or(0))
    }

    pub(super) fn i64(&self, name: &str) -> Result<Option<i64>, Malformed> {
        self.read(name, Value::as_i64)
    }

    pub(super) fn bool(&self, name: &str) -> Result<bool, Malformed> {
        Ok(self.read(name, Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, Malformed> {
        Ok(self.optional_text(name)?.unwrap_or(""))
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, Malformed> {
        self.read(name, Value::as_str)
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value], Malformed> {
        Ok(self.read(name, Value::as_array)?.map_or(&[], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_with_the_patience_of_go() {
        let args = Args::new(Some(json!({"Req_ID": 7, "sql": null, "flag": true, "other": [1]})));
        let fields = args.fields().unwrap();
        assert_eq!(fields.u64("req_id"), Ok(7));
        assert_eq!(fields.text("sql"), Ok(""));
        assert_eq!(fields.bool("flag"), Ok(true));
        assert_eq!(fields.i64("absent"), Ok(None));
        assert_eq!(fields.text("flag"), Err(Malformed));
        assert_eq!(fields.u64("other"), Err(Malformed));
    }

    #[test]
    fn numbers_that_are_no_unsigned_integers_spoil_the_request() {
        for value in [json!(-1), json!(1.5), json!("1"), json!(1e30)] {
            let args = Args::new(Some(json!({ "req_id": value })));
            assert_eq!(args.fields().unwrap().u64("req_id"), Err(Malformed));
        }
    }

    #[test]
    fn arguments_are_an_object_or_null() {
        assert!(Args::new(Some(json!(null))).fields().is_ok());
        assert!(Args::new(Some(json!([]))).fields().is_err());
        assert!(Args::new(None).fields().is_err());
        assert_eq!(Args::new(Some(json!({"req_id": 9, "sql": 5}))).req_id(), 9);
        assert_eq!(Args::new(Some(json!("x"))).req_id(), 0);
    }
}
