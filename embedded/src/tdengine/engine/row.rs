//! The bytes of one stored row (or of a child table's tags).
//!
//! ```text
//! u8 flags (1: the row has "no value" bits) | u16 slots n | n bits: value present | [n bits: no value] | values
//! ```
//! A slot is a column's place in its table, given once and never reused, so that rows written before a column was added
//! or dropped stay readable. Neither bit set means NULL; slots past n are NULL. Fixed-width values are stored
//! little-endian, the others as u16 (BLOB: u32) length and bytes. "No value" occurs only in rows on their way into the
//! store: it leaves what is stored as it is.

/// How one slot's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Fixed(u8),
    /// u16 length, then the bytes.
    Short,
    /// u32 length, then the bytes.
    Long,
}

/// One slot of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    Value(&'a [u8]),
    Null,
    /// Leaves the stored value as it is.
    Absent,
}

/// Appends rows to a buffer, slot by slot.
pub(crate) struct RowWriter<'a> {
    out: &'a mut Vec<u8>,
    bits: usize,
    absent_bits: usize,
    slot: usize,
}

impl<'a> RowWriter<'a> {
    /// Starts a row of `slots` slots; with `partial` slots may be [`Slot::Absent`].
    pub(crate) fn new(out: &'a mut Vec<u8>, slots: usize, partial: bool) -> Self {
        out.push(u8::from(partial));
        out.extend_from_slice(&(slots as u16).to_le_bytes());
        let bits = out.len();
        let bitmap = slots.div_ceil(8);
        out.resize(bits + bitmap * (1 + usize::from(partial)), 0);
        Self { out, bits, absent_bits: bits + bitmap, slot: 0 }
    }

    #[inline]
    pub(crate) fn fixed(&mut self, value: &[u8]) {
        self.mark(self.bits);
        self.out.extend_from_slice(value);
    }

    #[inline]
    pub(crate) fn short(&mut self, value: &[u8]) {
        self.mark(self.bits);
        self.out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.out.extend_from_slice(value);
    }

    #[inline]
    pub(crate) fn null(&mut self) {
        self.slot += 1;
    }

    /// Only in a partial row.
    #[inline]
    pub(crate) fn absent(&mut self) {
        self.mark(self.absent_bits);
    }

    pub(crate) fn push(&mut self, width: Width, slot: Slot<'_>) {
        match (slot, width) {
            (Slot::Null, _) => self.null(),
            (Slot::Absent, _) => self.absent(),
            (Slot::Value(value), Width::Fixed(_)) => self.fixed(value),
            (Slot::Value(value), Width::Short) => self.short(value),
            (Slot::Value(value), Width::Long) => {
                self.mark(self.bits);
                self.out.extend_from_slice(&(value.len() as u32).to_le_bytes());
                self.out.extend_from_slice(value);
            }
        }
    }

    #[inline]
    fn mark(&mut self, bitmap: usize) {
        self.out[bitmap + self.slot / 8] |= 1 << (self.slot % 8);
        self.slot += 1;
    }
}

/// Whether some slot of an encoded row may be [`Slot::Absent`].
pub(crate) fn is_partial(row: &[u8]) -> bool {
    row.first() == Some(&1)
}

/// Reads the slots of a row in order. A row that does not fit its layout (a damaged store) reads as NULLs.
pub(crate) struct RowReader<'a> {
    row: &'a [u8],
    slots: usize,
    bits: usize,
    absent_bits: Option<usize>,
    at: usize,
    slot: usize,
    /// What slots past the row's end read as.
    past: Slot<'a>,
}

impl<'a> RowReader<'a> {
    pub(crate) fn new(row: &'a [u8]) -> Self {
        let slots = match row {
            [_, low, high, ..] => usize::from(u16::from_le_bytes([*low, *high])),
            _ => 0,
        };
        let bitmap = slots.div_ceil(8);
        let partial = is_partial(row);
        Self {
            row,
            slots,
            bits: 3,
            absent_bits: partial.then_some(3 + bitmap),
            at: 3 + bitmap * (1 + usize::from(partial)),
            slot: 0,
            past: Slot::Null,
        }
    }

    fn bit(&self, bitmap: usize) -> bool {
        self.row.get(bitmap + self.slot / 8).is_some_and(|byte| byte & (1 << (self.slot % 8)) != 0)
    }

    #[inline]
    pub(crate) fn next(&mut self, width: Width) -> Slot<'a> {
        if self.slot >= self.slots {
            return self.past;
        }
        let slot = if self.bit(self.bits) {
            let (header, len) = match width {
                Width::Fixed(width) => (0, usize::from(width)),
                Width::Short => {
                    (2, self.row.get(self.at..self.at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]]))))
                }
                Width::Long => (
                    4,
                    self.row
                        .get(self.at..self.at + 4)
                        .map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize),
                ),
            };
            let from = self.at + header;
            self.at = from + len;
            self.row.get(from..from + len).map_or(Slot::Null, Slot::Value)
        } else if self.absent_bits.is_some_and(|bitmap| self.bit(bitmap)) {
            Slot::Absent
        } else {
            Slot::Null
        };
        self.slot += 1;
        slot
    }
}

/// Which row a slot is taken from when two rows have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Onto a stored row: NULL overwrites, "no value" keeps; the result is complete.
    Stored,
    /// Within one statement: a value wins over NULL, NULL over "no value".
    Batch,
}

/// Appends `new` laid over `old`.
pub(crate) fn merge(layout: &[Width], old: Option<&[u8]>, new: &[u8], how: Merge, out: &mut Vec<u8>) {
    let partial = how == Merge::Batch && (is_partial(new) || old.is_some_and(is_partial));
    let (mut old, mut new) = (RowReader::new(old.unwrap_or_default()), RowReader::new(new));
    if how == Merge::Stored {
        // Columns that came after the row was made are not its to overwrite.
        new.past = Slot::Absent;
    }
    let mut writer = RowWriter::new(out, layout.len(), partial);
    for &width in layout {
        let slot = match (old.next(width), new.next(width), how) {
            (_, value @ Slot::Value(_), _) => value,
            (_, Slot::Null, Merge::Stored) => Slot::Null,
            (Slot::Absent, Slot::Absent, Merge::Stored) => Slot::Null,
            (value, Slot::Absent, _) => value,
            (Slot::Absent, Slot::Null, Merge::Batch) => Slot::Null,
            (value, Slot::Null, Merge::Batch) => value,
        };
        writer.push(width, slot);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    enum Owned {
        Value(Vec<u8>),
        Null,
        Absent,
    }

    impl Owned {
        fn slot(&self) -> Slot<'_> {
            match self {
                Self::Value(bytes) => Slot::Value(bytes),
                Self::Null => Slot::Null,
                Self::Absent => Slot::Absent,
            }
        }
    }

    fn encode(layout: &[Width], slots: &[Owned], partial: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = RowWriter::new(&mut out, layout.len(), partial);
        layout.iter().zip(slots).for_each(|(&width, slot)| writer.push(width, slot.slot()));
        out
    }

    fn row() -> impl Strategy<Value = (Vec<Width>, Vec<Owned>)> {
        let cell = prop_oneof![
            Just(Width::Fixed(1)),
            Just(Width::Fixed(4)),
            Just(Width::Fixed(8)),
            Just(Width::Short),
            Just(Width::Long)
        ]
        .prop_flat_map(|width| {
            let len = match width {
                Width::Fixed(width) => usize::from(width)..=usize::from(width),
                _ => 0..=40,
            };
            let value = prop::collection::vec(any::<u8>(), len).prop_map(Owned::Value);
            (Just(width), prop_oneof![3 => value, 1 => Just(Owned::Null), 1 => Just(Owned::Absent)])
        });
        prop::collection::vec(cell, 0..40).prop_map(|cells| cells.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn a_row_reads_back((layout, slots) in row()) {
            let bytes = encode(&layout, &slots, true);
            let mut reader = RowReader::new(&bytes);
            for (&width, slot) in layout.iter().zip(&slots) {
                prop_assert_eq!(reader.next(width), slot.slot());
            }
            prop_assert_eq!(reader.next(Width::Short), Slot::Null);
        }

        #[test]
        fn any_bytes_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut reader = RowReader::new(&bytes);
            for width in [Width::Long, Width::Short, Width::Fixed(16), Width::Long] {
                reader.next(width);
            }
        }
    }

    #[test]
    fn merging_follows_the_place_of_the_rows() {
        let layout = [Width::Fixed(1); 6];
        let value = |byte| Owned::Value(vec![byte]);
        let old = [value(1), value(1), value(1), Owned::Null, Owned::Absent, Owned::Absent];
        let new = [value(2), Owned::Null, Owned::Absent, Owned::Absent, Owned::Null, Owned::Absent];
        let (old, new) = (encode(&layout, &old, true), encode(&layout, &new, true));
        let merged = |old, how| {
            let mut out = Vec::new();
            merge(&layout, old, &new, how, &mut out);
            let mut reader = RowReader::new(&out);
            layout.map(|width| match reader.next(width) {
                Slot::Value(bytes) => i32::from(bytes[0]),
                Slot::Null => 0,
                Slot::Absent => -1,
            })
        };
        assert_eq!(merged(Some(&old[..]), Merge::Batch), [2, 1, 1, 0, 0, -1]);
        assert_eq!(merged(Some(&old[..]), Merge::Stored), [2, 0, 1, 0, 0, 0]);
        assert_eq!(merged(None, Merge::Stored), [2, 0, 0, 0, 0, 0]);
    }
}
