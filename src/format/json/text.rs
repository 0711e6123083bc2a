//! Text: where it ends, and what its escapes stand for.

/// The high bit of each byte that is a quote, a backslash or a control character; right up to the first such.
#[inline]
pub(super) fn special(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    const QUOTES: u64 = EACH * b'"' as u64;
    const BACKSLASHES: u64 = EACH * b'\\' as u64;
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word;
    (below(word ^ QUOTES, 1) | below(word ^ BACKSLASHES, 1) | below(word, 0x20)) & (EACH << 7)
}

/// Of four hexadecimal digits.
pub(super) fn hex4(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)? as u16))
}

/// The text that `escaped`, whose escapes are well formed, stands for; `None` if half of a surrogate pair is in it.
#[cold]
pub(super) fn unescape(escaped: &str) -> Option<String> {
    let mut text = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let (letter, behind) = escape.split_at_checked(1)?;
        rest = behind;
        text.push(match letter {
            "b" => '\u{8}',
            "f" => '\u{c}',
            "n" => '\n',
            "r" => '\r',
            "t" => '\t',
            "u" => {
                let (digits, behind) = rest.split_at_checked(4)?;
                rest = behind;
                let mut unit = u32::from(hex4(digits.as_bytes())?);
                if let 0xd800..0xdc00 = unit {
                    let low = u32::from(hex4(rest.strip_prefix("\\u")?.as_bytes().get(..4)?)?);
                    if !(0xdc00..0xe000).contains(&low) {
                        return None;
                    }
                    (unit, rest) = (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), &rest[6..]);
                }
                char::from_u32(unit)?
            }
            _ => letter.chars().next()?,
        });
    }
    text.push_str(rest);
    Some(text)
}
