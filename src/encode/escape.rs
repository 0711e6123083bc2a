//! Names and strings as TDengine's SQL takes them.

use std::borrow::Cow;

/// A name in backquotes, so that its letter case and every character stay: `` ` `` is doubled.
pub fn quote_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Why a table's name cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name has no characters.
    #[error("the table's name is empty")]
    Empty,
    /// The name is longer than the server takes.
    #[error("the table's name has {0} bytes, the limit is {MAX_TABLE_NAME_BYTES}")]
    TooLong(usize),
    /// The name holds a character that means something else to the server.
    #[error("the table's name holds a {0:?}, which no table name may")]
    Forbidden(char),
}

/// The longest table name, in bytes.
pub const MAX_TABLE_NAME_BYTES: usize = 192;

/// Checks a table's name before anything is bound: over stmt2 a dot would address another database, and a NUL
/// ends the name. A refused name is a row fault; it is never altered.
pub fn check_table_name(name: &str) -> Result<(), NameError> {
    match name {
        "" => Err(NameError::Empty),
        _ if name.len() > MAX_TABLE_NAME_BYTES => Err(NameError::TooLong(name.len())),
        _ => match name.chars().find(|c| matches!(c, '.' | '\0')) {
            Some(c) => Err(NameError::Forbidden(c)),
            None => Ok(()),
        },
    }
}

/// The inside of a string literal in single quotes: `'` and `\` are doubled. `None` if it holds a NUL, which would
/// end the statement there: such a value can only be bound, not written as SQL.
pub fn escape_string(text: &[u8]) -> Option<Cow<'_, [u8]>> {
    let special = |b: &u8| matches!(b, b'\'' | b'\\' | 0);
    let Some(first) = text.iter().position(special) else { return Some(Cow::Borrowed(text)) };
    let mut escaped = Vec::with_capacity(text.len() + 8);
    escaped.extend_from_slice(&text[..first]);
    for &byte in &text[first..] {
        match byte {
            0 => return None,
            b'\'' | b'\\' => escaped.extend_from_slice(&[byte, byte]),
            _ => escaped.push(byte),
        }
    }
    Some(Cow::Owned(escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_are_doubled() {
        assert_eq!(escape_string(br"it's a \ here").as_deref(), Some(&br"it''s a \\ here"[..]));
        assert_eq!(escape_string(b"plain").as_deref(), Some(&b"plain"[..]));
        assert_eq!(escape_string(b"nul\0"), None);
        assert_eq!(quote_identifier("we`ird"), "`we``ird`");
    }

    #[test]
    fn names_that_would_go_astray_are_refused() {
        assert_eq!(check_table_name("d1001"), Ok(()));
        assert_eq!(check_table_name(""), Err(NameError::Empty));
        assert_eq!(check_table_name("d.7"), Err(NameError::Forbidden('.')));
        assert_eq!(check_table_name(&"x".repeat(193)), Err(NameError::TooLong(193)));
    }
}
