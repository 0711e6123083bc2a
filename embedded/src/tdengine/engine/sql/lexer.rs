//! Tokens of TDengine's SQL, over bytes: a statement need not be UTF-8.
//!
//! [`Text`] holds the statement as the server's parser sees it: up to the first NUL and in lower case outside quotes,
//! so that names, error texts and result column names come out as the server's do.

use crate::tdengine::engine::TdError;

/// A statement, ready to be cut into tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// Cuts at the first NUL and folds everything outside quotes to lower case.
    pub(crate) fn new(sql: &[u8]) -> Self {
        let end = sql.iter().position(|&b| b == 0).unwrap_or(sql.len());
        let mut text = sql[..end].to_vec();
        let (mut quote, mut i) = (0u8, 0);
        while i < text.len() {
            let byte = text[i];
            if quote != 0 {
                if byte == b'\\' && quote != b'`' {
                    i += 1;
                } else if byte == quote {
                    quote = 0;
                }
            } else if matches!(byte, b'\'' | b'"' | b'`') {
                quote = byte;
            } else {
                text[i] = byte.to_ascii_lowercase();
            }
            i += 1;
        }
        Self(text)
    }

    /// The text's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare word; may be a keyword.
    Word,
    /// A bare word with bytes past ASCII: good for an alias and nothing else.
    Alias,
    /// A name in backquotes.
    Quoted,
    /// A string in '..' or "..".
    Str,
    Int,
    Float,
    /// 0x.. or 0b..
    Radix,
    /// A number with a unit of time, such as 1h.
    Duration,
    /// Punctuation: one byte, or two of `<= >= != <> || && << >> ->`.
    Punct(u8, u8),
    /// A byte no token starts with, or a quote that is never closed.
    Illegal,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Token {
    pub(crate) fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        &sql[self.start..self.end]
    }

    pub(crate) fn is(&self, byte: u8) -> bool {
        self.kind == Kind::Punct(byte, 0)
    }
}

/// How comments are taken: INSERT ... VALUES knows none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comments {
    Skip,
    Refuse,
}

/// The token that starts at or after `at`.
pub(crate) fn next(sql: &[u8], at: usize, comments: Comments) -> Token {
    let mut start = at;
    while let Some(&byte) = sql.get(start) {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => start += 1,
            b'-' if comments == Comments::Skip && sql.get(start + 1) == Some(&b'-') => {
                start += sql[start..].iter().position(|&b| b == b'\n').unwrap_or(sql.len() - start);
            }
            b'/' if comments == Comments::Skip && sql.get(start + 1) == Some(&b'*') => {
                match sql[start + 2..].windows(2).position(|w| w == b"*/") {
                    Some(close) => start += close + 4,
                    None => start = sql.len(),
                }
            }
            _ => break,
        }
    }
    let Some(&byte) = sql.get(start) else {
        return Token { kind: Kind::End, start, end: start };
    };
    let (kind, end) = match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
            let end = word_end(sql, start);
            (if sql[start..end].is_ascii() { Kind::Word } else { Kind::Alias }, end)
        }
        b'0'..=b'9' => number(sql, start),
        b'.' if sql.get(start + 1).is_some_and(u8::is_ascii_digit) => number(sql, start),
        b'\'' | b'"' => match string_end(sql, start) {
            Some(end) => (Kind::Str, end),
            None => (Kind::Illegal, sql.len()),
        },
        b'`' => match quoted_end(sql, start) {
            Some(end) => (Kind::Quoted, end),
            None => (Kind::Illegal, sql.len()),
        },
        _ => punctuation(sql, start, byte),
    };
    Token { kind, start, end }
}

fn word_end(sql: &[u8], start: usize) -> usize {
    start + sql[start..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_' || **b >= 0x80).count()
}

fn is_word_byte(byte: Option<&u8>) -> bool {
    byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn number(sql: &[u8], start: usize) -> (Kind, usize) {
    let digits = |from: usize| from + sql[from.min(sql.len())..].iter().take_while(|b| b.is_ascii_digit()).count();
    if sql[start] == b'0' {
        let radix_digit: Option<fn(&u8) -> bool> = match sql.get(start + 1) {
            Some(b'x' | b'X') => Some(u8::is_ascii_hexdigit),
            Some(b'b' | b'B') => Some(|b| matches!(b, b'0' | b'1')),
            _ => None,
        };
        if let Some(is_digit) = radix_digit {
            let count = sql[start + 2..].iter().take_while(|b| is_digit(b)).count();
            let end = start + 2 + count;
            if count > 0 && matches!(sql.get(end), Some(b'p' | b'P')) {
                // C's hexadecimal floats are read as one token and then refused.
                return (Kind::Radix, word_end(sql, end));
            }
            if count > 0 {
                return (Kind::Radix, end);
            }
        }
    }
    let mut end = digits(start);
    let unit = |b: &u8| b"buasmhdnywBUASMHDNYW".contains(b);
    if sql.get(end).is_some_and(unit) && !is_word_byte(sql.get(end + 1)) {
        return (Kind::Duration, end + 1);
    }
    let mut kind = Kind::Int;
    if sql.get(end) == Some(&b'.') {
        kind = Kind::Float;
        end = digits(end + 1);
        if sql.get(end) == Some(&b'.') && sql.get(end + 1).is_some_and(u8::is_ascii_digit) {
            return (Kind::Illegal, digits(end + 1));
        }
    }
    if matches!(sql.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(sql.get(end + 1), Some(b'+' | b'-')));
        if sql.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            return (Kind::Float, digits(end + 1 + sign));
        }
    }
    (kind, end)
}

/// The end of the string that opens at `start`; a doubled quote and a backslash with its byte belong to it.
fn string_end(sql: &[u8], start: usize) -> Option<usize> {
    let quote = sql[start];
    let mut i = start + 1;
    while let Some(&byte) = sql.get(i) {
        if byte == b'\\' {
            i += 2;
        } else if byte != quote {
            i += 1;
        } else if sql.get(i + 1) == Some(&quote) {
            i += 2;
        } else {
            return Some(i + 1);
        }
    }
    None
}

fn quoted_end(sql: &[u8], start: usize) -> Option<usize> {
    let mut i = start + 1;
    while let Some(&byte) = sql.get(i) {
        if byte != b'`' {
            i += 1;
        } else if sql.get(i + 1) == Some(&b'`') && i > start + 1 {
            i += 2;
        } else {
            return Some(i + 1);
        }
    }
    None
}

fn punctuation(sql: &[u8], start: usize, byte: u8) -> (Kind, usize) {
    let second = sql.get(start + 1).copied().unwrap_or(0);
    match (byte, second) {
        (b'<' | b'>' | b'!', b'=')
        | (b'<', b'>' | b'<')
        | (b'>', b'>')
        | (b'|', b'|')
        | (b'&', b'&')
        | (b'-', b'>') => (Kind::Punct(byte, second), start + 2),
        (
            b'(' | b')' | b',' | b'.' | b';' | b'*' | b'+' | b'-' | b'/' | b'%' | b'=' | b'<' | b'>' | b'?' | b'&'
            | b'|' | b'~' | b':',
            _,
        ) => (Kind::Punct(byte, 0), start + 1),
        _ => (Kind::Illegal, start + 1),
    }
}

/// The value of a string literal, quotes included in `literal`.
///
/// A doubled quote is one quote; `\n \r \t \b \f` are control characters; `\%`, `\_` and `\x` keep their backslash;
/// before anything else the backslash goes.
pub(crate) fn unescape(literal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(literal.len());
    unescape_into(literal, &mut out);
    out
}

/// Appends the value of a string literal; see [`unescape`].
pub(crate) fn unescape_into(literal: &[u8], out: &mut Vec<u8>) {
    let quote = literal[0];
    let inner = &literal[1..literal.len() - 1];
    if !inner.iter().any(|&b| b == b'\\' || b == quote) {
        out.extend_from_slice(inner);
        return;
    }
    let mut i = 0;
    while i < inner.len() {
        let byte = inner[i];
        if byte == quote {
            out.push(quote);
            i += 2;
        } else if byte == b'\\' && i + 1 < inner.len() {
            match inner[i + 1] {
                b'n' => out.push(b'\n'),
                b'r' => out.push(b'\r'),
                b't' => out.push(b'\t'),
                b'b' => out.push(8),
                b'f' => out.push(12),
                kept @ (b'%' | b'_' | b'x') => out.extend([b'\\', kept]),
                other => out.push(other),
            }
            i += 2;
        } else {
            out.push(byte);
            i += 1;
        }
    }
}

/// The name in a backquoted token, doubled backquotes undone.
pub(crate) fn unquote_name(token: &[u8]) -> Vec<u8> {
    let inner = &token[1..token.len() - 1];
    let mut name = Vec::with_capacity(inner.len());
    let mut i = 0;
    while i < inner.len() {
        name.push(inner[i]);
        i += if inner[i] == b'`' { 2 } else { 1 };
    }
    name
}

/// `syntax error near ".."` of the general parser, or that the text ends too early.
pub(crate) fn syntax_error(sql: &[u8], token: Token) -> TdError {
    let rest = String::from_utf8_lossy(&sql[token.start..]);
    match token.kind {
        Kind::End => TdError::new(0x2601, "Incomplete SQL statement"),
        Kind::Illegal if sql[token.start].is_ascii() => TdError::new(0x2600, format!("unrecognized token: \"{rest}\"")),
        _ => TdError::new(0x2600, format!("syntax error near \"{rest}\"")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(sql: &str) -> Vec<(Kind, &str)> {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let token = next(sql.as_bytes(), at, Comments::Skip);
            if token.kind == Kind::End {
                return out;
            }
            out.push((token.kind, &sql[token.start..token.end]));
            at = token.end;
        }
    }

    #[test]
    fn numbers_units_and_radixes() {
        use Kind::*;
        assert_eq!(
            kinds("1 1.5 .5 5. 1e2 1h 0x1F 0b101 0o17 1f"),
            [
                (Int, "1"),
                (Float, "1.5"),
                (Float, ".5"),
                (Float, "5."),
                (Float, "1e2"),
                (Duration, "1h"),
                (Radix, "0x1F"),
                (Radix, "0b101"),
                (Int, "0"),
                (Word, "o17"),
                (Int, "1"),
                (Word, "f")
            ]
        );
        assert_eq!(kinds("1.5.5")[0].0, Illegal);
    }

    #[test]
    fn comments_are_blanks_unless_refused() {
        assert_eq!(kinds("1 -- x\n/* y */ 2"), [(Kind::Int, "1"), (Kind::Int, "2")]);
        assert_eq!(next(b"/* */", 0, Comments::Refuse).kind, Kind::Punct(b'/', 0));
    }

    #[test]
    fn escapes_of_the_server() {
        for (literal, value) in [
            (r"'it''s'", "it's"),
            (r"'it\'s'", "it's"),
            (r#""a""b""#, "a\"b"),
            (r"'hex\x41x'", r"hex\x41x"),
            (r"'pct\%x'", r"pct\%x"),
            (r"'und\_x'", r"und\_x"),
            (r"'unk\qx'", "unkqx"),
            (r"'zero\0x'", "zero0x"),
            (r"'\n\r\t\b\f'", "\n\r\t\u{8}\u{c}"),
            (r"'\\''x'", r"\'x"),
            (r"'u\u0041x'", "uu0041x"),
        ] {
            assert_eq!(unescape(literal.as_bytes()), value.as_bytes(), "{literal}");
        }
    }

    #[test]
    fn a_name_keeps_its_backquotes_once() {
        assert_eq!(unquote_name(b"`a``b`"), b"a`b");
        assert_eq!(next(b"`` x", 0, Comments::Skip).end, 2);
    }

    #[test]
    fn folding_stops_at_quotes_and_nul() {
        assert_eq!(Text::new(b"SELECT 'A\\'B' `C` D\0E").bytes(), b"select 'A\\'B' `C` d");
    }

    proptest! {
        #[test]
        fn a_quoted_string_reads_back(value in "\\PC*") {
            let quoted = format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"));
            let token = next(quoted.as_bytes(), 0, Comments::Refuse);
            prop_assert_eq!(token.kind, Kind::Str);
            prop_assert_eq!(token.end, quoted.len());
            prop_assert_eq!(unescape(quoted.as_bytes()), value.as_bytes());
        }
    }
}
