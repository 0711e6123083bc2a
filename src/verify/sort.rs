//! Entries in order, however many: sorted in memory up to a bound, beyond it in runs on disk that are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write as _};

/// So many runs are merged into one before there are more: each takes an open file and a buffer.
const MOST_RUNS: usize = 64;
const RUN_BUFFER_BYTES: usize = 64 << 10;

/// What is sorted: by the bytes of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) body: Vec<u8>,
}

/// Takes entries in any order.
pub(super) struct Sorter {
    max_bytes: usize,
    entries: Vec<Entry>,
    bytes: usize,
    runs: Vec<File>,
}

impl Sorter {
    /// Holds up to `max_bytes` in memory.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, entries: Vec::new(), bytes: 0, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.bytes += size_of::<Entry>() + entry.key.capacity() + entry.body.capacity();
        self.entries.push(entry);
        if self.bytes > self.max_bytes { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.entries.sort_unstable();
        let run = write_run(self.entries.drain(..).map(Ok))?;
        self.bytes = 0;
        self.runs.push(run);
        if self.runs.len() >= MOST_RUNS {
            let runs = std::mem::take(&mut self.runs);
            self.runs.push(write_run(Merge::of(runs)?)?);
        }
        Ok(())
    }

    /// All entries, in order.
    pub(super) fn sorted(mut self) -> io::Result<Box<dyn Iterator<Item = io::Result<Entry>> + Send>> {
        if self.runs.is_empty() {
            self.entries.sort_unstable();
            return Ok(Box::new(self.entries.into_iter().map(Ok)));
        }
        if !self.entries.is_empty() {
            self.spill()?;
        }
        drop(self.entries);
        Ok(Box::new(Merge::of(self.runs)?))
    }
}

/// In a file that has no name: it is gone with the process, however that ends.
fn write_run(entries: impl Iterator<Item = io::Result<Entry>>) -> io::Result<File> {
    let mut run = BufWriter::with_capacity(RUN_BUFFER_BYTES, tempfile::tempfile()?);
    for entry in entries {
        let Entry { key, body } = entry?;
        for part in [key, body] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            run.write_all(&length.to_le_bytes())?;
            run.write_all(&part)?;
        }
    }
    let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
    run.rewind()?;
    Ok(run)
}

fn read_entry(run: &mut BufReader<File>) -> io::Result<Option<Entry>> {
    let mut part = || -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        run.read_exact(&mut length)?;
        let mut part = vec![0; u32::from_le_bytes(length) as usize];
        run.read_exact(&mut part)?;
        Ok(part)
    };
    match part() {
        Ok(key) => Ok(Some(Entry { key, body: part()? })),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The runs' entries in one order.
struct Merge {
    runs: Vec<BufReader<File>>,
    /// The first entry of each run that has any left.
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

impl Merge {
    fn of(runs: Vec<File>) -> io::Result<Self> {
        let mut runs: Vec<_> = runs.into_iter().map(|run| BufReader::with_capacity(RUN_BUFFER_BYTES, run)).collect();
        let mut heads = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            heads.extend(read_entry(run)?.map(|entry| Reverse((entry, number))));
        }
        Ok(Self { runs, heads })
    }
}

impl Iterator for Merge {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        let mut head = self.heads.peek_mut()?;
        let number = head.0.1;
        match read_entry(&mut self.runs[number]) {
            Ok(Some(next)) => Some(Ok(std::mem::replace(&mut head.0.0, next))),
            Ok(None) => Some(Ok(PeekMut::pop(head).0.0)),
            Err(error) => {
                PeekMut::pop(head);
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_bound_all_come_in_order(
            keys in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..300),
            max_bytes in 0usize..2000,
        ) {
            let mut sorter = Sorter::new(max_bytes);
            let mut model = Vec::new();
            for (number, key) in keys.into_iter().enumerate() {
                let entry = Entry { key, body: number.to_le_bytes().to_vec() };
                model.push(entry.clone());
                sorter.push(entry).unwrap();
            }
            model.sort();
            prop_assert!(sorter.runs.len() < MOST_RUNS);
            let sorted: Vec<_> = sorter.sorted().unwrap().map(Result::unwrap).collect();
            prop_assert_eq!(sorted, model);
        }
    }
}
