//! The payload of a stmt2 bind (binary action 9): a pure parser that borrows from the frame.
//!
//! All numbers are little-endian, all offsets count from the start of the payload:
//!
//! ```text
//! u32 total length   u32 tables   u32 tags per table   u32 columns per table
//! u32 offset of the names   u32 offset of the tags   u32 offset of the columns        (0: absent)
//! names:   u16 length per table, NUL included; then the names
//! tags:    u32 bytes per table; then the blocks of each table
//! columns: the same
//! block:   u32 length   i32 type   i32 rows   u8 is_null per row   u8 have_length   [i32 length per row]   i32 n   n bytes
//! ```
//!
//! A frame whose numbers do not fit is refused with the text that taosAdapter answers; nothing is allocated by a number
//! that the bytes present do not bear out.

use super::engine::{BindColumn, BindTable};

/// Bytes of the fixed part, up to the first section.
const HEADER_BYTES: usize = 28;
/// The smallest block: no rows, no lengths, an empty buffer.
const SMALLEST_BLOCK_BYTES: usize = 17;

/// Why a payload is refused, in the words of taosAdapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FrameError(String);

/// Reads the tables of a bind payload.
pub fn parse(payload: &[u8]) -> Result<Vec<BindTable<'_>>, FrameError> {
    if payload.len() < HEADER_BYTES {
        return refuse("data length is less than 28");
    }
    let field = |index: usize| u32_at(payload, index * 4).unwrap_or_default();
    let [total, tables, tag_count, column_count, names_at, tags_at, columns_at] = std::array::from_fn(field);
    if total as usize != payload.len() {
        return refuse(format!("total length not match, expect {}, but get {total}", payload.len()));
    }
    let tables = tables as usize;
    let names = match names_at {
        0 => None,
        at => Some(names(payload, at as usize, tables)?),
    };
    let tags = Section { name: "tag", at: tags_at as usize, blocks_per_table: tag_count as usize };
    let columns = Section { name: "col", at: columns_at as usize, blocks_per_table: column_count as usize };
    let mut tags = tags.check(payload, tables)?;
    let mut columns = columns.check(payload, tables)?;
    let mut names = names.into_iter().flatten();
    if tags.is_none() && columns.is_none() {
        // Nothing vouches for the number of tables: one without values says all there is to say.
        return Ok((tables > 0)
            .then(|| BindTable { name: names.next(), ..BindTable::default() })
            .into_iter()
            .collect());
    }
    let mut bound = Vec::with_capacity(tables);
    for index in 0..tables {
        bound.push(BindTable {
            name: names.next(),
            tags: tags.as_mut().map(|blocks| blocks.table(index)).transpose()?,
            columns: columns.as_mut().map(|blocks| blocks.table(index)).transpose()?.unwrap_or_default(),
        });
    }
    Ok(bound)
}

/// The names as the server's client library reads them: up to the first NUL, wherever that is.
fn names(payload: &[u8], at: usize, tables: usize) -> Result<Vec<&[u8]>, FrameError> {
    let total = payload.len();
    let lengths_end = at as u64 + 2 * tables as u64;
    if lengths_end > total as u64 {
        return refuse(format!(
            "table name lengths out of range, total length: {total}, tableNamesLengthEnd: {lengths_end}"
        ));
    }
    let mut start = at + 2 * tables;
    let lengths = payload[at..start].chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]) as usize);
    if let Some(index) = lengths.clone().position(|length| length == 0) {
        return refuse(format!("table name length is 0, tableIndex: {index}"));
    }
    let end = start + lengths.clone().sum::<usize>();
    if end > total {
        return refuse(format!("table names out of range, total length: {total}, tableNameTotalLength: {end}"));
    }
    let mut names = Vec::with_capacity(tables);
    for length in lengths {
        let rest = &payload[start..];
        names.push(rest.split(|byte| *byte == 0).next().unwrap_or(rest));
        start += length;
    }
    Ok(names)
}

/// Where the tags or the columns are said to be.
struct Section {
    name: &'static str,
    at: usize,
    blocks_per_table: usize,
}

impl Section {
    fn check<'a>(&self, payload: &'a [u8], tables: usize) -> Result<Option<Blocks<'a>>, FrameError> {
        let Self { name, at, blocks_per_table } = *self;
        if at == 0 {
            return Ok(None);
        }
        if blocks_per_table == 0 {
            return refuse(format!("{name} count is 0, but {name}s offset is not 0"));
        }
        let total = payload.len();
        let lengths_end = at as u64 + 4 * tables as u64;
        if lengths_end > total as u64 {
            return refuse(format!("{name}s out of range, total length: {total}, {name}End: {lengths_end}"));
        }
        let start = at + 4 * tables;
        let lengths = payload[at..start].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if let Some(index) = lengths.clone().position(|length| length == 0) {
            return refuse(format!("{name} length is 0, tableIndex: {index}"));
        }
        let end = start as u64 + lengths.map(u64::from).sum::<u64>();
        if end > total as u64 {
            return refuse(format!("{name}s out of range, total length: {total}, {name}sTotalLength: {end}"));
        }
        Ok(Some(Blocks { rest: &payload[start..], blocks_per_table }))
    }
}

/// The blocks of one section, in order.
struct Blocks<'a> {
    rest: &'a [u8],
    blocks_per_table: usize,
}

impl<'a> Blocks<'a> {
    fn table(&mut self, table: usize) -> Result<Vec<BindColumn<'a>>, FrameError> {
        let mut blocks = Vec::with_capacity(self.blocks_per_table.min(self.rest.len() / SMALLEST_BLOCK_BYTES));
        for field in 0..self.blocks_per_table {
            match split_block(self.rest) {
                Some((block, rest)) => {
                    blocks.push(block);
                    self.rest = rest;
                }
                None => {
                    return refuse(format!("bind data length error, tableIndex: {table}, fieldIndex: {field}"));
                }
            }
        }
        Ok(blocks)
    }
}

/// The first block and what follows it; `None` if its length is not what its parts add up to.
fn split_block(bytes: &[u8]) -> Option<(BindColumn<'_>, &[u8])> {
    let length = u32_at(bytes, 0)? as usize;
    let type_code = u32_at(bytes, 4)? as i32;
    let rows = usize::try_from(u32_at(bytes, 8)? as i32).ok()?;
    let (is_null, rest) = bytes.get(12..)?.split_at_checked(rows)?;
    let (&have_length, rest) = rest.split_first()?;
    let (lengths, rest) = match have_length {
        0 => (None, rest),
        _ => {
            let (lengths, rest) = rest.split_at_checked(rows.checked_mul(4)?)?;
            (Some(lengths), rest)
        }
    };
    let data_bytes = (u32_at(rest, 0)? as i32).max(0) as usize;
    let (data, rest) = rest.get(4..)?.split_at_checked(data_bytes)?;
    (bytes.len() - rest.len() == length).then_some((BindColumn { type_code, is_null, lengths, data }, rest))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|number| u32::from_le_bytes(*number))
}

fn refuse<T>(text: impl Into<String>) -> Result<T, FrameError> {
    Err(FrameError(text.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two tables (tags INT and NCHAR; columns TIMESTAMP, INT, VARCHAR) as a real server accepted them.
    const ACCEPTED: &str = "2a0100000200000002000000030000001c000000260000008500000003000300613100623100\
        2f000000280000001600000004000000010000000000040000000700\
        0000190000000a0000000100000000010300000003000000e4b8ad120000000400000001000000010000000000160000\
        000a00000001000000000100000000000000005b00000042000000230000000900000002000000000000100000000084\
        35d79a010000018435d79a0100001b00000004000000020000000001000800000005000000000000001d000000080000\
        000200000000010102000000000000000200000078791a0000000900000001000000000008000000008435d79a010000\
        12000000040000000100000001000000000016000000080000000100000000010000000000000000";

    fn accepted() -> Vec<u8> {
        let digits: Vec<u8> = ACCEPTED.bytes().filter(u8::is_ascii_hexdigit).collect();
        let text = String::from_utf8(digits).unwrap();
        let mut payload: Vec<u8> =
            (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect();
        payload.truncate(298);
        payload
    }

    #[test]
    fn reads_what_a_real_server_accepted() {
        let payload = accepted();
        let tables = parse(&payload).unwrap();
        assert_eq!(tables.len(), 2);
        assert_eq!(tables[0].name, Some(&b"a1"[..]));
        assert_eq!(tables[1].name, Some(&b"b1"[..]));
        let tags = tables[0].tags.as_ref().unwrap();
        assert_eq!((tags[0].type_code, tags[0].data), (4, &7i32.to_le_bytes()[..]));
        assert_eq!((tags[1].type_code, tags[1].data), (10, "中".as_bytes()));
        let columns = &tables[0].columns;
        assert_eq!(columns.iter().map(|c| c.type_code).collect::<Vec<_>>(), [9, 4, 8]);
        assert_eq!(columns[2].is_null, [0, 1]);
        assert_eq!(columns[2].lengths, Some(&[2u8, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(columns[2].data, b"xy");
        assert_eq!(tables[1].columns[1].data, b"");
    }

    #[test]
    fn lengths_that_lie_are_named() {
        let text = |change: fn(&mut Vec<u8>)| {
            let mut payload = accepted();
            change(&mut payload);
            parse(&payload).unwrap_err().to_string()
        };
        assert_eq!(text(|p| p.truncate(27)), "data length is less than 28");
        assert_eq!(text(|p| p.truncate(297)), "total length not match, expect 297, but get 298");
        assert_eq!(text(|p| p[8] = 0), "tag count is 0, but tags offset is not 0");
        assert_eq!(text(|p| p[12] = 0), "col count is 0, but cols offset is not 0");
        assert_eq!(
            text(|p| p[16..20].copy_from_slice(&100_000u32.to_le_bytes())),
            "table name lengths out of range, total length: 298, tableNamesLengthEnd: 100004"
        );
        assert_eq!(
            text(|p| p[20..24].copy_from_slice(&5_000u32.to_le_bytes())),
            "tags out of range, total length: 298, tagEnd: 5008"
        );
        assert_eq!(
            text(|p| p[4..8].fill(0xff)),
            "table name lengths out of range, total length: 298, tableNamesLengthEnd: 8589934618"
        );
        assert_eq!(text(|p| p[46] += 1), "bind data length error, tableIndex: 0, fieldIndex: 0");
    }

    #[test]
    fn a_number_of_tables_without_anything_is_not_believed() {
        let mut payload = vec![0; HEADER_BYTES];
        payload[0] = HEADER_BYTES as u8;
        payload[4..8].fill(0xff);
        assert_eq!(parse(&payload).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_changed_frame_is_parsed_or_refused(at in 0usize..298, value: u8, also in 0usize..298, second: u8) {
            let mut payload = accepted();
            payload[at] = value;
            payload[also] = second;
            if let Ok(tables) = parse(&payload) {
                let blocks: usize = tables.iter().map(|t| t.columns.len() + t.tags.as_ref().map_or(0, Vec::len)).sum();
                prop_assert!(blocks * SMALLEST_BLOCK_BYTES <= payload.len());
            }
        }
    }
}
