//! A whole tree in memory, walked for the wanted places.
use super::*;

pub(super) struct JsonTree;

impl Decoder for JsonTree {
    fn decode<'p>(&mut self, payload: &'p [u8], plan: &Plan, visitor: &mut dyn Visitor<'p>) -> Result<(), FormatError> {
        let tree: Tree = serde_json::from_slice(payload).map_err(|error| FormatError {
            format: "json",
            position: None,
            reason: error.to_string(),
        })?;
        let mut record = vec![Found::MISSING; plan.record.len()];
        let mut arrays = Vec::new();
        walk(&tree, &plan.record, Places::ROOT, &mut record, &mut arrays);
        if !visitor.record(&record) {
            return Ok(());
        }
        for (array, items) in arrays {
            for item in items {
                let mut places = vec![Found::MISSING; plan.elements[array].len()];
                walk(item, &plan.elements[array], Places::ROOT, &mut places, &mut Vec::new());
                visitor.element(array, &record, &places);
            }
        }
        visitor.end(&record);
        Ok(())
    }
}

fn walk<'t>(
    tree: &'t Tree,
    places: &Places,
    node: NodeId,
    found: &mut [Found<'_>],
    arrays: &mut Vec<(usize, &'t [Tree])>,
) {
    if let Some(place) = places.place(node) {
        found[place] = match tree {
            Tree::Null => Found::Value(Value::Null),
            Tree::Bool(b) => Found::Value(Value::Bool(*b)),
            Tree::Number(n) => Found::Value(match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Value::Int(n),
                (_, Some(n)) => Value::UInt(n),
                _ => Value::Float(n.as_f64().unwrap_or(0.0)),
            }),
            Tree::String(s) => Found::Value(Value::Text(s.clone().into())),
            whole if places.is_whole(node) => Found::Tree(whole.clone()),
            Tree::Array(_) => Found::Nested("an array"),
            Tree::Object(_) => Found::Nested("an object"),
        };
    }
    match tree {
        Tree::Array(items) => {
            if let Some(array) = places.array(node) {
                arrays.push((array, items));
            }
            for (at, item) in items.iter().enumerate() {
                if let Some((_, child)) = places.child(node, at.to_string().as_bytes(), 0) {
                    walk(item, places, child, found, arrays);
                }
            }
        }
        Tree::Object(fields) => {
            for (key, value) in fields {
                if let Some((_, child)) = places.child(node, key.as_bytes(), 0) {
                    walk(value, places, child, found, arrays);
                }
            }
        }
        _ => {}
    }
}
