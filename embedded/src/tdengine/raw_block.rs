//! Rows of a result as TDengine's raw block, the payload of the fetch replies.
//!
//! ```text
//! i32 version = 1   i32 length   i32 rows   i32 columns   u32 flags = 0x80000000   u64 group
//! per column: u8 type, i32 bytes      per column: i32 bytes of its data
//! per column: fixed width: bitmap of ceil(rows / 8) bytes, most significant bit first, 1 = NULL; then rows x width
//!             variable:    i32 offset per row, -1 = NULL; then u16 length (BLOB: u32) and bytes of each value
//! u8 0
//! ```
//! NCHAR stands in it as UCS-4LE. `length` counts everything, the last byte included.

use super::engine::{Block, Cell, Column, DataType};

/// What a taosd hands out at a time.
pub(super) const MAX_ROWS: usize = 4096;

/// Appends the rows of a result.
pub(super) fn encode(out: &mut Vec<u8>, columns: &[Column], block: &Block) {
    let (start, rows) = (out.len(), block.len());
    out.reserve(29 + columns.len() * (9 + rows * 12));
    for number in [1, 0, rows as u32, columns.len() as u32, 0x8000_0000, 0, 0] {
        out.extend(number.to_le_bytes());
    }
    for column in columns {
        out.push(column.data_type.code());
        out.extend(described_bytes(column.data_type).to_le_bytes());
    }
    let lengths_at = out.len();
    out.resize(lengths_at + 4 * columns.len(), 0);
    for (index, column) in columns.iter().enumerate() {
        let cells = block.rows().map(|row| &row[index]);
        let data_bytes = match column.data_type.fixed_width() {
            Some(width) => fixed(out, width, rows, cells),
            None => variable(out, column.data_type, rows, cells),
        };
        out[lengths_at + 4 * index..][..4].copy_from_slice(&(data_bytes as u32).to_le_bytes());
    }
    out.push(0);
    let length = (out.len() - start) as u32;
    out[start + 4..][..4].copy_from_slice(&length.to_le_bytes());
}

/// The bytes of a value; for DECIMAL its width, precision and scale in one number.
fn described_bytes(data_type: DataType) -> u32 {
    match data_type {
        DataType::Decimal { precision, scale } => {
            data_type.length() << 24 | u32::from(precision) << 8 | u32::from(scale)
        }
        other => other.bytes(),
    }
}

fn fixed<'a>(out: &mut Vec<u8>, width: usize, rows: usize, cells: impl Iterator<Item = &'a Cell>) -> usize {
    let bitmap_at = out.len();
    let data_at = bitmap_at + rows.div_ceil(8);
    out.resize(data_at + rows * width, 0);
    for (row, cell) in cells.enumerate() {
        let wide = match cell {
            Cell::Bool(value) => i128::from(*value),
            Cell::Int(value) | Cell::Timestamp(value) => i128::from(*value),
            Cell::UInt(value) => i128::from(*value),
            Cell::Float(value) => i128::from(value.to_bits()),
            Cell::Double(value) => i128::from(value.to_bits()),
            Cell::Decimal(value) => *value,
            Cell::Null | Cell::Bytes(_) => {
                out[bitmap_at + row / 8] |= 0x80 >> (row % 8);
                continue;
            }
        };
        out[data_at + row * width..][..width].copy_from_slice(&wide.to_le_bytes()[..width]);
    }
    rows * width
}

fn variable<'a>(out: &mut Vec<u8>, data_type: DataType, rows: usize, cells: impl Iterator<Item = &'a Cell>) -> usize {
    let offsets_at = out.len();
    let data_at = offsets_at + 4 * rows;
    out.resize(data_at, 0xff);
    for (row, cell) in cells.enumerate() {
        let Cell::Bytes(value) = cell else { continue };
        let offset = (out.len() - data_at) as u32;
        out[offsets_at + 4 * row..][..4].copy_from_slice(&offset.to_le_bytes());
        match data_type {
            DataType::NChar(_) => {
                let text = String::from_utf8_lossy(value);
                out.extend((4 * text.chars().count() as u16).to_le_bytes());
                out.extend(text.chars().flat_map(|c| u32::from(c).to_le_bytes()));
            }
            DataType::Blob => {
                out.extend((value.len() as u32).to_le_bytes());
                out.extend(&value[..]);
            }
            _ => {
                out.extend((value.len() as u16).to_le_bytes());
                out.extend(&value[..]);
            }
        }
    }
    out.len() - data_at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_byte_for_byte_what_a_real_server_sent() {
        // select ts, i, s, t (NCHAR) of three rows, as recorded.
        let recorded = "0100000093000000030000000400000000000080000000000000000009080000000404000000080a0000000a22000000\
            180000000c000000060000000e00000000008435d79a010000018435d79a010000008435d79a0100006005000000000000000000\
            000000000000ffffffff0400000002007879000000000000060000000c00000004002d4e000004002d4e0000000000";
        let recorded: String = recorded.split_whitespace().collect();
        let column = |data_type| Column { name: Default::default(), data_type };
        let columns = [
            column(DataType::Timestamp),
            column(DataType::Int),
            column(DataType::VarChar(8)),
            column(DataType::NChar(8)),
        ];
        let text = |text: &str| Cell::Bytes(text.as_bytes().into());
        let base = 1_764_547_200_000;
        let cells = vec![
            Cell::Timestamp(base),
            Cell::Int(5),
            text("xy"),
            text("中"),
            Cell::Timestamp(base + 1),
            Cell::Null,
            Cell::Null,
            text("中"),
            Cell::Timestamp(base),
            Cell::Null,
            text(""),
            text(""),
        ];
        let mut encoded = b"before".to_vec();
        encode(&mut encoded, &columns, &Block { width: 4, cells });
        let encoded = encoded.strip_prefix(b"before").unwrap();
        let hex: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, recorded);
    }

    #[test]
    fn decimal_columns_describe_precision_and_scale() {
        assert_eq!(described_bytes(DataType::Decimal { precision: 10, scale: 2 }), 134_220_290);
        assert_eq!(described_bytes(DataType::Decimal { precision: 30, scale: 5 }), 268_443_141);
    }
}
