//! A block as statements: every cell as its column's type wants it.

use super::literal::push_cell;
use super::{SqlFault, Statement, StatementWriter, Unwritable, close, push_names};
use crate::block::{Block, Column, UNSET};
use crate::encode::escape::quote_identifier;
use crate::tdengine::schema::Field;

/// Appends to `statements` those, of at most `max_bytes` each, that insert `rows` of `block`, as [`Block::order`] gave
/// them or a part of that. Rows of a table that follow each other and have values in the same columns stand under one
/// head. Every column is named, so that one that was added meanwhile does no harm.
///
/// Returns the rows that cannot be written in SQL; they are in no statement.
pub fn block_statements(
    block: &Block,
    rows: &[u32],
    max_bytes: usize,
    statements: &mut Vec<Statement>,
) -> Vec<(u32, SqlFault)> {
    let mut faults = Vec::new();
    let mut writer = StatementWriter::new(max_bytes, statements);
    let mut text = Vec::new();
    let mut last = None;
    for &row in rows {
        let table = block.table_of(row);
        let same_head = last.is_some_and(|last| block.table_of(last) == table && same_columns(block, last, row));
        last = Some(row);
        let written = if same_head { Ok(()) } else { block_head(block, row).map(|head| writer.head(head)) };
        let written = written.and_then(|()| {
            push_row(&mut text, block, row)?;
            writer.row(row, &text).map_err(|bytes| SqlFault::RowTooLong {
                table: block.table_name(table).to_owned(),
                bytes,
                max_bytes,
            })
        });
        if let Err(fault) = written {
            faults.push((row, fault));
            last = None;
        }
    }
    writer.end();
    faults
}

/// Whether the two rows have values, or NULL, in the same columns.
fn same_columns(block: &Block, a: u32, b: u32) -> bool {
    let unset = |column: &Column, row: u32| column.flags.get(row as usize) == Some(&UNSET);
    block.columns().iter().all(|column| unset(column, a) == unset(column, b))
}

fn block_head(block: &Block, row: u32) -> Result<Vec<u8>, SqlFault> {
    let schema = block.schema();
    let table = block.table_of(row);
    let mut head =
        format!("{}.{}", quote_identifier(&schema.database), quote_identifier(block.table_name(table))).into_bytes();
    if !schema.tags.is_empty() {
        head.extend_from_slice(b" using ");
        head.extend_from_slice(schema.qualified_name().as_bytes());
        push_names(&mut head, &schema.tags.iter().map(|field| field.name.as_str()).collect::<Vec<_>>());
        head.extend_from_slice(b" tags (");
        for (field, tag) in schema.tags.iter().zip(block.tags()) {
            push_cell(&mut head, tag, table).map_err(|reason| value_fault(block, table, field, reason))?;
            head.push(b',');
        }
        close(&mut head);
    }
    let set = schema.columns.iter().zip(block.columns()).filter(|(_, column)| column.flags[row as usize] != UNSET);
    push_names(&mut head, &set.map(|(field, _)| field.name.as_str()).collect::<Vec<_>>());
    Ok(head)
}

fn push_row(text: &mut Vec<u8>, block: &Block, row: u32) -> Result<(), SqlFault> {
    text.clear();
    text.push(b'(');
    for (field, column) in block.schema().columns.iter().zip(block.columns()) {
        if column.flags[row as usize] != UNSET {
            push_cell(text, column, row as usize)
                .map_err(|reason| value_fault(block, block.table_of(row), field, reason))?;
            text.push(b',');
        }
    }
    close(text);
    Ok(())
}

fn value_fault(block: &Block, table: usize, field: &Field, reason: Unwritable) -> SqlFault {
    SqlFault::Value { table: block.table_name(table).to_owned(), field: field.name.clone(), reason }
}
