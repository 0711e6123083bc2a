//! A prepared SELECT: the bound values are written into the text as literals and the text is executed.

use crate::tdengine::engine::{BindColumn, BindTable, ResultSet, TdError};

/// A SELECT with `?` in it.
#[derive(Debug)]
pub(super) struct PreparedQuery {
    /// The text around each `?`; one more than there are of them.
    pieces: Vec<Vec<u8>>,
    literals: Vec<Vec<u8>>,
    result: Option<ResultSet>,
}

impl PreparedQuery {
    pub(super) fn new(sql: &[u8], parameters: usize) -> Self {
        let mut pieces = split(sql);
        // The engine's count is the better one: what it does not take for a parameter stays in the text.
        while pieces.len() > parameters + 1 {
            let last = pieces.pop().unwrap_or_default();
            if let Some(piece) = pieces.last_mut() {
                piece.push(b'?');
                piece.extend(last);
            }
        }
        Self { pieces, literals: Vec::new(), result: None }
    }

    pub(super) fn parameters(&self) -> usize {
        self.pieces.len() - 1
    }

    pub(super) fn bind(&mut self, tables: &[BindTable<'_>]) -> Result<(), TdError> {
        let columns = tables.first().map_or(&[][..], |table| table.columns.as_slice());
        if columns.len() < self.parameters() {
            return Err(TdError::new(0x0200, "bind number out of range or not match"));
        }
        self.literals = columns[..self.parameters()].iter().map(literal).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The text with the bound values in place.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut pieces = self.pieces.iter();
        let mut text = pieces.next().cloned().unwrap_or_default();
        for (literal, piece) in self.literals.iter().zip(pieces) {
            text.extend(literal);
            text.extend(piece);
        }
        text
    }

    pub(super) fn keep(&mut self, result: ResultSet) {
        self.result = Some(result);
    }

    pub(super) fn take_result(&mut self) -> Option<ResultSet> {
        self.result.take()
    }
}

/// Splits a text at each `?` that is not within quotes.
fn split(sql: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = vec![Vec::new()];
    let mut quote = None;
    let mut escaped = false;
    for &byte in sql {
        match quote {
            None if byte == b'?' => {
                pieces.push(Vec::new());
                continue;
            }
            None if matches!(byte, b'\'' | b'"' | b'`') => quote = Some(byte),
            Some(_) if escaped => escaped = false,
            Some(open) if byte == b'\\' && open != b'`' => escaped = true,
            Some(open) if byte == open => quote = None,
            _ => {}
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(byte);
        }
    }
    pieces
}

/// The one value of a bound column as a literal.
fn literal(column: &BindColumn<'_>) -> Result<Vec<u8>, TdError> {
    let unsuitable = || TdError::new(0x0200, format!("no parameter of a query: type {}", column.type_code));
    if column.is_null.len() != 1 {
        return Err(TdError::new(0x0236, "bind number out of range or not match"));
    }
    if column.is_null != [0] {
        return Ok(b"null".to_vec());
    }
    let data = column.data;
    fn number<const N: usize>(data: &[u8]) -> Option<[u8; N]> {
        data.first_chunk().copied()
    }
    let text = match column.type_code {
        1 => number::<1>(data).map(|[byte]| (byte != 0).to_string()),
        2 => number(data).map(|bytes| i8::from_le_bytes(bytes).to_string()),
        3 => number(data).map(|bytes| i16::from_le_bytes(bytes).to_string()),
        4 => number(data).map(|bytes| i32::from_le_bytes(bytes).to_string()),
        5 | 9 => number(data).map(|bytes| i64::from_le_bytes(bytes).to_string()),
        6 => number(data).map(|bytes| f32::from_le_bytes(bytes).to_string()),
        7 => number(data).map(|bytes| f64::from_le_bytes(bytes).to_string()),
        11 => number(data).map(|bytes| u8::from_le_bytes(bytes).to_string()),
        12 => number(data).map(|bytes| u16::from_le_bytes(bytes).to_string()),
        13 => number(data).map(|bytes| u32::from_le_bytes(bytes).to_string()),
        14 => number(data).map(|bytes| u64::from_le_bytes(bytes).to_string()),
        8 | 10 => return Ok(quoted(data)),
        _ => None,
    };
    text.map(String::into_bytes).ok_or_else(unsuitable)
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'\''];
    for &byte in text {
        if matches!(byte, b'\'' | b'\\') {
            out.push(byte);
        }
        out.push(byte);
    }
    out.push(b'\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column<'a>(type_code: i32, is_null: &'a [u8], data: &'a [u8]) -> BindColumn<'a> {
        BindColumn { type_code, is_null, lengths: None, data }
    }

    #[test]
    fn values_stand_in_place_of_question_marks_outside_quotes() {
        let mut query = PreparedQuery::new(br"select '?\'?', `?`, i from t where i > ? and s = ?", 2);
        assert_eq!(query.parameters(), 2);
        let columns = vec![column(4, &[0], &[7, 0, 0, 0]), column(8, &[0], br"it's \ ")];
        query.bind(&[BindTable { columns, ..BindTable::default() }]).unwrap();
        let text = String::from_utf8(query.text()).unwrap();
        assert_eq!(text, r"select '?\'?', `?`, i from t where i > 7 and s = 'it''s \\ '");
    }

    #[test]
    fn only_single_values_of_plain_types_can_be_bound() {
        assert_eq!(literal(&column(7, &[0], &1.5f64.to_le_bytes())).unwrap(), b"1.5");
        assert_eq!(literal(&column(4, &[1], &[])).unwrap(), b"null");
        assert!(literal(&column(4, &[0], &[1])).is_err());
        assert!(literal(&column(4, &[0, 0], &[0; 8])).is_err());
        assert!(literal(&column(20, &[0], &[0; 8])).is_err());
    }
}
