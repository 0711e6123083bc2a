//! Rows as a binary bind: what stmt2 takes over WebSocket.
//!
//! ```text
//!  0 u64 request | 8 u64 statement | 16 u64 action = 9 | 24 u16 version = 1 | 26 i32 column = -1 (all)
//! 30 u32 length of all that follows, itself included | u32 tables | u32 tags | u32 columns
//! 46 u32 offset of the names | u32 of the tags | u32 of the columns       (from byte 30 on; 0: there are none)
//! 58 names:   tables x u16 length with the NUL, then the names, each with its NUL
//!    tags:    tables x u32 bytes of the table's tags, then its tags, a block each
//!    columns: tables x u32 bytes of the table's columns, then its columns, a block each
//! block: u32 length, itself included | i32 type | i32 rows | rows x u8 flag (0 value, 1 NULL, 2 no value)
//!        u8 1 if lengths follow | rows x i32 length | i32 bytes of the values | the values
//! ```
//! All numbers are little-endian. Values of fixed width stand at their row's place, zeros where there is none, and are
//! left out where no row has one; those of types without stand end to end. NCHAR is UTF-8, DECIMAL its unscaled number.

use crate::block::{Block, Cells, Column, VALUE};
use crate::encode::escape::quote_identifier;
use crate::tdengine::schema::{DataType, SuperTable};

/// The most rows of one table in a bind; the server refuses more (0x0236).
pub const MAX_ROWS_PER_TABLE: usize = 32_767;

/// Bytes before the part whose length and offsets are given in the frame.
const PAYLOAD: usize = 30;
/// Bytes of the payload's own head.
const PAYLOAD_HEAD: usize = 28;
const ACTION_BIND: u64 = 9;

/// The insert that [`bind_frame`]'s frames are for: the table's name, all columns, then all tags, if they are wanted.
/// Without its tags, a table that does not exist is refused.
pub fn insert_statement(stable: &SuperTable, with_tags: bool) -> String {
    let tags = stable.tags.iter().filter(|_| with_tags);
    let names: String =
        stable.columns.iter().chain(tags).map(|field| format!(",{}", quote_identifier(&field.name))).collect();
    let places = ",?".repeat(names_in(stable, with_tags));
    format!("insert into {} (tbname{names}) values (?{places})", stable.qualified_name())
}

fn names_in(stable: &SuperTable, with_tags: bool) -> usize {
    stable.columns.len() + if with_tags { stable.tags.len() } else { 0 }
}

/// Writes `rows` of `block` as a bind, in place of what `out` held; those of a child table must stand together, as they
/// do in [`crate::block::Order`] and its [`split`] parts. The numbers of request and statement are left 0: they are known, and set, when the
/// frame is sent.
pub fn bind_frame(out: &mut Vec<u8>, block: &Block, rows: &[u32], with_tags: bool) {
    let tables: Vec<&[u32]> = rows.chunk_by(|&a, &b| block.table_of(a) == block.table_of(b)).collect();
    let table_of = |at: usize| block.table_of(tables[at][0]);
    let tags = if with_tags { block.tags() } else { &[] };
    let shape = Shape { tables: tables.len(), tags: tags.len(), columns: block.columns().len() };
    out.clear();
    out.reserve(tables.len() * table_bytes(block) + rows.len() * fixed_bytes(block) + PAYLOAD + PAYLOAD_HEAD);
    write_frame(
        out,
        shape,
        |at| Some(block.table_name(table_of(at)).as_bytes()),
        |out, at| tags.iter().for_each(|tag| write_column(out, tag, &[table_of(at) as u32])),
        |out, at| block.columns().iter().for_each(|column| write_column(out, column, tables[at])),
    );
}

/// Cuts an order of rows into parts that a bind can take: at most [`MAX_ROWS_PER_TABLE`] rows of a table, and about
/// `max_bytes` a frame, though at least one row.
pub fn split<'o>(block: &Block, rows: &'o [u32], max_bytes: usize) -> Vec<&'o [u32]> {
    let (per_table, per_row) = (table_bytes(block), fixed_bytes(block));
    let variable: Vec<&[(u32, u32)]> = block
        .columns()
        .iter()
        .filter_map(|column| match &column.cells {
            Cells::Variable { spans, .. } => Some(spans.as_slice()),
            Cells::Fixed { .. } => None,
        })
        .collect();
    let row_bytes = |row: u32| per_row + variable.iter().map(|spans| spans[row as usize].1 as usize).sum::<usize>();
    let mut parts = Vec::new();
    let (mut start, mut bytes, mut table, mut table_rows) = (0, 0, None, 0);
    for (at, &row) in rows.iter().enumerate() {
        let same_table = table == Some(block.table_of(row));
        let mut added = row_bytes(row) + if same_table { 0 } else { per_table };
        let table_full = same_table && table_rows == MAX_ROWS_PER_TABLE;
        if at > start && (table_full || bytes + added > max_bytes) {
            parts.push(&rows[start..at]);
            added = row_bytes(row) + per_table;
            (start, bytes, table_rows) = (at, 0, 0);
        } else if !same_table {
            table_rows = 0;
        }
        table = Some(block.table_of(row));
        (bytes, table_rows) = (bytes + added, table_rows + 1);
    }
    if start < rows.len() {
        parts.push(&rows[start..]);
    }
    parts
}

/// What a table adds to a frame, names and tags taken as long as they mostly are.
fn table_bytes(block: &Block) -> usize {
    const NAME: usize = 24;
    const BLOCK_HEAD: usize = 17;
    let tag = |tag: &Column| BLOCK_HEAD + 1 + tag.data_type.fixed_width().unwrap_or(4 + NAME);
    NAME + 8 + block.columns().len() * BLOCK_HEAD + block.tags().iter().map(tag).sum::<usize>()
}

/// What a row adds to a frame, values without a fixed width left out.
fn fixed_bytes(block: &Block) -> usize {
    block.columns().iter().map(|column| 1 + column.data_type.fixed_width().unwrap_or(4)).sum()
}

/// How much there is in a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tables.
    pub tables: usize,
    /// Tags of each table.
    pub tags: usize,
    /// Columns of each table.
    pub columns: usize,
}

impl Shape {
    /// That of `frame`; `None` if it is no bind, or is cut short.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let number = |at: usize| frame.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let length = number(PAYLOAD)? as usize;
        let whole = length >= PAYLOAD_HEAD && length == frame.len() - PAYLOAD && number(16)? == ACTION_BIND as u32;
        let at = |field: usize| number(PAYLOAD + 4 * field).map(|n| n as usize);
        Some(Self { tables: at(1)?, tags: at(2)?, columns: at(3)? }).filter(|_| whole)
    }
}

/// Appends a bind of any content: `name` gives a table's name (none at all where the first has none), `tags` and
/// `columns` append a table's blocks, as many as `shape` says, each with [`write_column`].
pub fn write_frame<'n>(
    out: &mut Vec<u8>,
    shape: Shape,
    name: impl Fn(usize) -> Option<&'n [u8]>,
    tags: impl Fn(&mut Vec<u8>, usize),
    columns: impl Fn(&mut Vec<u8>, usize),
) {
    let frame = out.len();
    for number in [0, 0, ACTION_BIND] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&(-1i32).to_le_bytes());
    let payload = out.len();
    for count in [0, shape.tables, shape.tags, shape.columns, 0, 0, 0] {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    if shape.tables > 0 && name(0).is_some() {
        set_distance(out, frame + 46, payload);
        let names = || (0..shape.tables).map(|table| name(table).unwrap_or_default());
        for name in names() {
            out.extend_from_slice(&(name.len() as u16 + 1).to_le_bytes());
        }
        for name in names() {
            out.extend_from_slice(name);
            out.push(0);
        }
    }
    if shape.tags > 0 {
        set_distance(out, frame + 50, payload);
        write_section(out, shape.tables, tags);
    }
    if shape.columns > 0 {
        set_distance(out, frame + 54, payload);
        write_section(out, shape.tables, columns);
    }
    set_distance(out, payload, payload);
}

fn write_section(out: &mut Vec<u8>, tables: usize, write: impl Fn(&mut Vec<u8>, usize)) {
    let lengths = out.len();
    out.resize(lengths + 4 * tables, 0);
    for table in 0..tables {
        let start = out.len();
        write(out, table);
        set_distance(out, lengths + 4 * table, start);
    }
}

/// Writes at `at` how many bytes there are from `start` to the end.
fn set_distance(out: &mut [u8], at: usize, start: usize) {
    let bytes = out.len() - start;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&(bytes as u32).to_le_bytes());
    }
}

/// Appends the block of `rows` of `column`.
pub fn write_column(out: &mut Vec<u8>, column: &Column, rows: &[u32]) {
    let start = out.len();
    let mut head = [0; 12];
    head[4] = column.data_type.code();
    head[8..].copy_from_slice(&(rows.len() as u32).to_le_bytes());
    out.extend_from_slice(&head);
    let flags = out.len();
    out.extend(rows.iter().map(|&row| column.flags[row as usize]));
    let no_value = out[flags..].iter().all(|&flag| flag != VALUE);
    match &column.cells {
        Cells::Fixed { width, bytes } => {
            let rows = if no_value { &[] } else { rows };
            out.push(0);
            out.extend_from_slice(&((rows.len() * width) as u32).to_le_bytes());
            match width {
                1 => gather::<1>(out, bytes, rows),
                2 => gather::<2>(out, bytes, rows),
                4 => gather::<4>(out, bytes, rows),
                _ => gather::<8>(out, bytes, rows),
            }
        }
        Cells::Variable { .. } if let DataType::Decimal { scale, .. } = column.data_type => {
            let rows = if no_value { &[] } else { rows };
            let width = if column.data_type.code() == 21 { 8 } else { 16 };
            out.push(0);
            out.extend_from_slice(&((rows.len() * width) as u32).to_le_bytes());
            for &row in rows {
                out.extend_from_slice(&unscaled(column.bytes(row as usize), scale).to_le_bytes()[..width]);
            }
        }
        Cells::Variable { spans, bytes } => {
            out.push(1);
            let lengths = out.len();
            out.resize(lengths + rows.len() * 4, 0);
            let (places, _) = out[lengths..].as_chunks_mut();
            for (place, &row) in places.iter_mut().zip(rows) {
                *place = spans[row as usize].1.to_le_bytes();
            }
            let length = out.len();
            out.extend_from_slice(&[0; 4]);
            for &row in rows {
                let (start, length) = spans[row as usize];
                out.extend_from_slice(&bytes[start as usize..][..length as usize]);
            }
            set_distance(out, length, length + 4);
        }
    }
    set_distance(out, start, start);
}

/// Appends the values of `rows`, `WIDTH` bytes each.
fn gather<const WIDTH: usize>(out: &mut Vec<u8>, bytes: &[u8], rows: &[u32]) {
    let (values, _) = bytes.as_chunks::<WIDTH>();
    let start = out.len();
    out.resize(start + rows.len() * WIDTH, 0);
    let (places, _) = out[start..].as_chunks_mut::<WIDTH>();
    for (place, &row) in places.iter_mut().zip(rows) {
        *place = values[row as usize];
    }
}

/// Digits as the number of 10^-`scale`, rounded half away from zero as the server does. What the block has let pass is
/// a decimal number; no digits (NULL) are 0.
fn unscaled(digits: &[u8], scale: u8) -> i128 {
    let point = digits.iter().position(|&b| b == b'.').unwrap_or(digits.len());
    let (whole, fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
    let places = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(scale.into());
    let value = |byte: u8| i128::from(byte.wrapping_sub(b'0'));
    let kept = whole.iter().copied().filter(u8::is_ascii_digit).chain(places);
    let number = kept.fold(0i128, |number, byte| number.saturating_mul(10).saturating_add(value(byte)));
    let round_up = fraction.get(usize::from(scale)).is_some_and(|&next| next >= b'5');
    let number = number.saturating_add(round_up.into());
    if digits.first() == Some(&b'-') { -number } else { number }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::{Precision, Value};
    use crate::tdengine::schema::Field;
    use proptest::prelude::*;

    fn stable(columns: &[DataType], tags: &[DataType]) -> Arc<SuperTable> {
        let fields = |prefix: &str, types: &[DataType]| {
            types.iter().enumerate().map(|(i, data_type)| Field::new(format!("{prefix}{i}"), *data_type)).collect()
        };
        Arc::new(SuperTable {
            database: "power".into(),
            name: "me`ters".into(),
            precision: Precision::Milli,
            columns: fields("c", columns),
            composite_key: false,
            tags: fields("t", tags),
        })
    }

    #[test]
    fn the_statement_names_all_it_binds() {
        let stable = stable(&[DataType::Timestamp, DataType::Int], &[DataType::Json]);
        assert_eq!(
            insert_statement(&stable, true),
            "insert into `power`.`me``ters` (tbname,`c0`,`c1`,`t0`) values (?,?,?,?)"
        );
        assert_eq!(
            insert_statement(&stable, false),
            "insert into `power`.`me``ters` (tbname,`c0`,`c1`) values (?,?,?)"
        );
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        let cases = [
            ("12.34", 2, 1234),
            ("-1.5", 5, -150_000),
            ("1.005", 2, 101),
            ("-.995", 2, -100),
            ("+7", 0, 7),
            ("", 3, 0),
        ];
        for (digits, scale, number) in cases {
            assert_eq!(unscaled(digits.as_bytes(), scale), number, "{digits}");
        }
    }

    #[test]
    fn a_frame_tells_its_shape_and_nothing_else_does() {
        let mut block = Block::new(stable(&[DataType::Timestamp], &[DataType::Int]));
        for table in ["a", "b"] {
            let mut row = block.row(table, 0).unwrap();
            row.set(0, &Value::Int(1)).unwrap();
            row.finish().unwrap();
        }
        let mut frame = Vec::new();
        bind_frame(&mut frame, &block, &[0, 1], true);
        assert_eq!(Shape::of(&frame), Some(Shape { tables: 2, tags: 1, columns: 1 }));
        bind_frame(&mut frame, &block, &[1], false);
        assert_eq!(Shape::of(&frame), Some(Shape { tables: 1, tags: 0, columns: 1 }));
        bind_frame(&mut frame, &block, &[], true);
        assert_eq!(Shape::of(&frame), Some(Shape { tables: 0, tags: 1, columns: 1 }));
        assert_eq!(Shape::of(&frame[..frame.len() - 1]), None);
        assert_eq!(Shape::of(&[]), None);
    }

    #[test]
    fn parts_keep_to_the_limits_and_lose_no_row() {
        let mut block = Block::new(stable(&[DataType::Timestamp, DataType::Varchar(100)], &[DataType::Int]));
        for at in 0..70_000u32 {
            let mut row = block.row(if at < 69_000 { "a" } else { "b" }, at).unwrap();
            row.set(0, &Value::Int(at.into())).unwrap();
            row.set(1, &Value::from("x".repeat(if at < 69_990 { 0 } else { 100 }))).unwrap();
            row.finish().unwrap();
        }
        let rows = block.order().rows;
        let lengths = |max_bytes| split(&block, &rows, max_bytes).iter().map(|part| part.len()).collect::<Vec<_>>();
        assert_eq!(lengths(usize::MAX), [32_767, 32_767, 4_466]);
        assert_eq!(split(&block, &rows, 20_000).concat(), rows);
        let mut frame = Vec::new();
        for part in split(&block, &rows, 20_000) {
            bind_frame(&mut frame, &block, part, true);
            assert!(frame.len() <= 20_200, "{}", frame.len());
        }
        assert_eq!(lengths(1).len(), 70_000);
        assert_eq!(split(&block, &[], 1), Vec::<&[u32]>::new());
    }

    /// A frame taken apart by the layout alone: names, and of each table's tags and columns type, flags and values.
    type Blocks = Vec<(i32, Vec<u8>, Vec<Vec<u8>>)>;

    fn decode(frame: &[u8]) -> Vec<(String, Blocks, Blocks)> {
        let u32_at = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!((&frame[16..24], &frame[24..30]), (&9u64.to_le_bytes()[..], &[1, 0, 255, 255, 255, 255][..]));
        assert_eq!(u32_at(30), frame.len() - 30);
        let [tables, tags, columns] = [34, 38, 42].map(u32_at);
        let [names_at, tags_at, columns_at] = [46, 50, 54].map(|at| 30 + u32_at(at));
        let blocks_at = |section: usize, table: usize, count: usize| {
            let before: usize = (0..table).map(|t| u32_at(section + 4 * t)).sum();
            let mut at = section + 4 * tables + before;
            let blocks: Blocks = (0..if section > 30 { count } else { 0 })
                .map(|_| {
                    let (length, kind, rows) = (u32_at(at), u32_at(at + 4) as i32, u32_at(at + 8));
                    let flags = frame[at + 12..at + 12 + rows].to_vec();
                    let mut place = at + 13 + rows;
                    let has_lengths = frame[place - 1] == 1;
                    let lengths: Option<Vec<usize>> =
                        has_lengths.then(|| (0..rows).map(|r| u32_at(place + 4 * r)).collect());
                    place += if has_lengths { 4 * rows } else { 0 };
                    let bytes = u32_at(place);
                    place += 4;
                    assert_eq!(place + bytes, at + length);
                    let lengths = lengths.unwrap_or_else(|| vec![bytes / rows; rows]);
                    let values = lengths.iter().map(|n| {
                        place += n;
                        frame[place - n..place].to_vec()
                    });
                    let values = values.collect();
                    assert_eq!(place, at + length);
                    at = place;
                    (kind, flags, values)
                })
                .collect();
            blocks
        };
        let mut name_at = names_at + 2 * tables;
        (0..tables)
            .map(|table| {
                let length = usize::from(u16::from_le_bytes(frame[names_at + 2 * table..][..2].try_into().unwrap()));
                name_at += length;
                assert_eq!(frame[name_at - 1], 0);
                let name = String::from_utf8(frame[name_at - length..name_at - 1].to_vec()).unwrap();
                (name, blocks_at(tags_at, table, tags), blocks_at(columns_at, table, columns))
            })
            .collect()
    }

    fn cell(data_type: DataType) -> impl Strategy<Value = Value<'static>> {
        let value = match data_type {
            DataType::Bool => any::<bool>().prop_map(Value::from).boxed(),
            DataType::TinyInt => any::<i8>().prop_map(Value::from).boxed(),
            DataType::SmallInt => any::<i16>().prop_map(Value::from).boxed(),
            DataType::Double => any::<f64>().prop_map(Value::from).boxed(),
            DataType::BigIntUnsigned => any::<u64>().prop_map(Value::from).boxed(),
            DataType::NChar(_) => "\\PC{0,5}".prop_map(Value::from).boxed(),
            DataType::VarBinary(_) => {
                proptest::collection::vec(any::<u8>(), 0..9).prop_map(|v| Value::Bytes(v.into())).boxed()
            }
            _ => any::<i32>().prop_map(Value::from).boxed(),
        };
        prop_oneof![3 => value, 1 => Just(Value::Null), 1 => Just(Value::Unset)]
    }

    const TYPES: [DataType; 8] = [
        DataType::Bool,
        DataType::TinyInt,
        DataType::SmallInt,
        DataType::Int,
        DataType::Double,
        DataType::BigIntUnsigned,
        DataType::NChar(5),
        DataType::VarBinary(8),
    ];

    fn row() -> impl Strategy<Value = (u8, i64, Vec<Value<'static>>)> {
        (0u8..4, 0i64..50, Vec::from(TYPES.map(cell)))
    }

    proptest! {
        #[test]
        fn a_frame_holds_the_blocks_rows(pushed in proptest::collection::vec(row(), 1..60), with_tags: bool, max_bytes in 1usize..4000) {
            let types: Vec<_> = std::iter::once(DataType::Timestamp).chain(TYPES).collect();
            let mut block = Block::new(stable(&types, &[DataType::Int, DataType::NChar(5)]));
            for (at, (table, ts, cells)) in pushed.iter().enumerate() {
                let mut row = block.row(&format!("d{table}"), at as u32).unwrap();
                row.set_tag(0, &Value::Int((*table).into())).unwrap();
                row.set_tag(1, &if *table == 0 { Value::Null } else { Value::from("tag") }).unwrap();
                row.set(0, &Value::Int(*ts)).unwrap();
                for (column, cell) in cells.iter().enumerate() {
                    row.set(column + 1, cell).unwrap();
                }
                row.finish().unwrap();
            }
            let rows = block.order().rows;
            let mut frame = vec![7; 3];
            let mut written = Vec::new();
            for part in split(&block, &rows, max_bytes) {
                bind_frame(&mut frame, &block, part, with_tags);
                let mut expected = part.iter();
                for (name, tags, columns) in decode(&frame) {
                    let rows = columns[0].1.len();
                    let rows: Vec<u32> = expected.by_ref().take(rows).copied().collect();
                    let table = block.table_of(rows[0]);
                    prop_assert_eq!(&name, block.table_name(table));
                    prop_assert_eq!(tags.len(), if with_tags { 2 } else { 0 });
                    let same = |blocks: &Blocks, columns: &[Column], rows: &[u32]| {
                        for ((kind, flags, values), column) in blocks.iter().zip(columns) {
                            assert_eq!(*kind, i32::from(column.data_type.code()));
                            for ((flag, value), &row) in flags.iter().zip(values).zip(rows) {
                                assert_eq!(*flag, column.flags[row as usize]);
                                let no_value = flags.iter().all(|&flag| flag != VALUE);
                                assert_eq!(value.as_slice(), if no_value { &[] } else { column.bytes(row as usize) });
                            }
                        }
                    };
                    same(&tags, block.tags(), &[table as u32]);
                    same(&columns, block.columns(), &rows);
                    prop_assert_eq!(columns.len(), 9);
                    written.extend(rows);
                }
                prop_assert_eq!(expected.next(), None);
            }
            prop_assert_eq!(written, rows);
        }
    }
}
