//! The seeded generator of demo records.
//!
//! A value depends on nothing but the seed, the table, the record's number and the column: any record can be made
//! again, without those before it, to be held against what was stored.
//!
//! ```
//! use kafka_taos::row::{Precision, Timestamp};
//! use kafka_taos::simulate::Simulator;
//!
//! let simulator = Simulator { tables: 2, columns: 3, ..Simulator::new(Timestamp::from_millis(1_626_424_457_000)) };
//! simulator.check()?;
//! let stable = simulator.super_table(Precision::Milli);
//! assert!(stable.create_statement().starts_with("create stable if not exists `test`.`stb` (`ts` TIMESTAMP, `col0`"));
//!
//! // All tables, then the next interval.
//! let first: Vec<_> = (0..3).map(|index| simulator.at(index)).collect();
//! assert_eq!(first, [(0, 0), (1, 0), (0, 1)]);
//! let record = simulator.record(1, 0);
//! assert_eq!((record.device_id.as_ref(), record.cols.len()), ("tb1", 3));
//! # Ok::<(), kafka_taos::simulate::SimulatorError>(())
//! ```

mod compare;

use std::fmt::Write as _;
use std::time::Duration;

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::record::{Cell, DEFAULT_SUPER_TABLE, Record, RecordRef};
pub use compare::Comparison;

use crate::row::{Precision, Timestamp};
use crate::tdengine::schema::{DataType, Field, SuperTable};

/// What is generated. Two with the same fields generate the same bytes, on every machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulator {
    /// The database of the super table; default `test`.
    pub database: String,
    /// The super table; default `stb`.
    pub super_table: String,
    /// A table is called this and its number, from 0; default `tb`.
    pub table_prefix: String,
    /// How many tables; default 100.
    pub tables: u64,
    /// How many columns a record has, beside its timestamp; default 100.
    pub columns: usize,
    /// How many letters and digits a column has, a byte each; default 10.
    pub column_bytes: u16,
    /// How many records each table gets; default 1000.
    pub records: u64,
    /// What makes this run differ from another; default 99.
    pub seed: u64,
    /// The timestamp of each table's first record.
    pub start: Timestamp,
    /// From one record of a table to its next; default 1 s.
    pub interval: Duration,
}

/// Why a simulator's fields do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimulatorError {
    /// A number that the server's limits do not leave room for.
    #[error("{name} is {value}; it must be {allowed}")]
    OutOfRange {
        /// Which field.
        name: &'static str,
        /// Its value.
        value: usize,
        /// What it may be.
        allowed: &'static str,
    },
    /// A row would be longer than the server takes.
    #[error("{columns} columns of {column_bytes} bytes make rows beyond the server's {MAX_ROW_BYTES} bytes")]
    RowTooLong {
        /// How many columns.
        columns: usize,
        /// Of how many bytes each.
        column_bytes: u16,
    },
    /// All records of a table would have the same key.
    #[error("an interval of 0 gives all records of a table the same timestamp, so that only one would stay")]
    NoInterval,
}

/// The longest row, in bytes.
const MAX_ROW_BYTES: usize = 65_531;

impl Simulator {
    /// The default workload, its first records at `start`: 100 tables with 1000 records of 100 columns with 10 bytes.
    pub fn new(start: Timestamp) -> Self {
        Self {
            database: "test".into(),
            super_table: DEFAULT_SUPER_TABLE.into(),
            table_prefix: "tb".into(),
            tables: 100,
            columns: 100,
            column_bytes: 10,
            records: 1000,
            seed: 99,
            start,
            interval: Duration::from_secs(1),
        }
    }

    /// Whether TDengine can store what would be generated.
    ///
    /// # Errors
    /// What cannot be stored, and what could be.
    pub fn check(&self) -> Result<(), SimulatorError> {
        let range = |name, value, allowed, fits: bool| match fits {
            true => Ok(()),
            false => Err(SimulatorError::OutOfRange { name, value, allowed }),
        };
        range("columns", self.columns, "1 to 4094", (1..=4094).contains(&self.columns))?;
        range("column_bytes", self.column_bytes.into(), "1 to 65517", (1..=65_517).contains(&self.column_bytes))?;
        let longest_name = self.tag_bytes();
        range("the longest table name, in bytes,", longest_name, "1 to 192", (1..=192).contains(&longest_name))?;
        // A timestamp, and two bytes of length before each column.
        if 8 + self.columns * (2 + usize::from(self.column_bytes)) > MAX_ROW_BYTES {
            return Err(SimulatorError::RowTooLong { columns: self.columns, column_bytes: self.column_bytes });
        }
        if self.interval.is_zero() && self.records > 1 {
            return Err(SimulatorError::NoInterval);
        }
        Ok(())
    }

    /// The super table that the records are for, in a database of `precision`.
    pub fn super_table(&self, precision: Precision) -> SuperTable {
        let column_type = DataType::Varchar(self.column_bytes);
        let columns = (0..self.columns).map(|column| Field::new(format!("col{column}"), column_type));
        SuperTable {
            database: self.database.clone(),
            name: self.super_table.clone(),
            precision,
            columns: std::iter::once(Field::new("ts", DataType::Timestamp)).chain(columns).collect(),
            composite_key: false,
            // As narrow as in the original, unless the tables have longer names.
            tags: vec![Field::new("device", DataType::Varchar(self.tag_bytes().max(10) as u16))],
        }
    }

    fn tag_bytes(&self) -> usize {
        self.device_id(self.tables.saturating_sub(1)).len()
    }

    /// How many records there are in all.
    pub fn total(&self) -> u64 {
        self.tables.saturating_mul(self.records)
    }

    /// Table and number of the record that is generated as number `index`, below [`Self::total`].
    pub fn at(&self, index: u64) -> (u64, u64) {
        let tables = self.tables.max(1);
        (index % tables, index / tables)
    }

    /// The name of the table number `table`.
    pub fn device_id(&self, table: u64) -> String {
        format!("{}{table}", self.table_prefix)
    }

    /// The timestamp of record number `number` of any table.
    pub fn timestamp(&self, number: u64) -> Timestamp {
        let after = self.interval.as_nanos().saturating_mul(number.into()) + u128::from(self.start.subsec_nanos());
        let seconds = i64::try_from(after / 1_000_000_000).unwrap_or(i64::MAX);
        Timestamp::new(self.start.seconds().saturating_add(seconds), (after % 1_000_000_000) as u32)
    }

    /// Record number `number` of the table number `table`.
    pub fn record(&self, table: u64, number: u64) -> Record {
        self.record_in(&mut String::new(), table, number).into_owned()
    }

    /// As [`Self::record`], its text in `buffer`: for many records, without allocating for each column.
    pub fn record_in<'b>(&self, buffer: &'b mut String, table: u64, number: u64) -> RecordRef<'b> {
        buffer.clear();
        // Writing into a String does not fail.
        let _ = write!(buffer, "{}{table}", self.table_prefix);
        let (id_bytes, column_bytes) = (buffer.len(), usize::from(self.column_bytes));
        let mut bytes = std::mem::take(buffer).into_bytes();
        bytes.resize(id_bytes + self.columns * column_bytes, 0);
        self.stream(table, number).fill_bytes(&mut bytes[id_bytes..]);
        bytes[id_bytes..].iter_mut().for_each(|byte| *byte = letter(*byte));
        *buffer = String::from_utf8(bytes).unwrap_or_default();

        let (device_id, mut rest) = buffer.split_at(id_bytes.min(buffer.len()));
        let mut cols = Vec::with_capacity(self.columns);
        while let Some((col, after)) = rest.split_at_checked(column_bytes).filter(|_| cols.len() < self.columns) {
            cols.push(Cell::from(col));
            rest = after;
        }
        RecordRef::new(device_id, self.timestamp(number), cols)
    }

    /// The random bytes of a record: its columns, one after another.
    fn stream(&self, table: u64, number: u64) -> SplitMix64 {
        [table, number].iter().fold(SplitMix64::seed_from_u64(self.seed), |mut outer, place| {
            SplitMix64::seed_from_u64(outer.next_u64() ^ place)
        })
    }
}

/// One of the 62 letters and digits, as evenly as 256 values allow. Without branches, so that many go at once.
const fn letter(random: u8) -> u8 {
    let index = ((random as u16 * 62) >> 8) as u8;
    match index {
        0..26 => b'a' + index,
        26..52 => b'A' + (index - 26),
        _ => b'0' + (index - 52),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Format};
    use proptest::prelude::*;

    fn simulator() -> Simulator {
        Simulator::new(Timestamp::from_millis(1_626_424_457_000))
    }

    /// What was generated once stays what is generated: stored data is checked against it.
    #[test]
    fn seed_99_gives_these_bytes() {
        let simulator = Simulator { columns: 3, ..simulator() };
        let mut payload = Vec::new();
        simulator.record(7, 5).write(Format::Json, &mut payload).unwrap();
        let text = String::from_utf8(payload).unwrap();
        assert_eq!(
            text,
            r#"{"deviceID":"tb7","timestamp":"2021-07-16T08:34:22Z","cols":["kbGTqDvEWy","7sFCx5W30i","yUy4hPdxXI"]}"#
        );
        let bytes = simulator.record(0, 0).encode().unwrap();
        assert_eq!(
            bytes,
            b"\x83\xa8DeviceID\xa3tb0\xa9Timestamp\xd6\xff\x60\xf1\x44\x89\xa4Cols\x93\xaabd3aE2oBbz\xaag2gd2d0njo\xaaHLwYY6tLKu"
        );
    }

    #[test]
    fn values_are_letters_and_digits_and_differ() {
        let simulator = simulator();
        let mut seen = std::collections::HashSet::new();
        for index in 0..200 {
            let (table, number) = simulator.at(index);
            for cell in simulator.record(table, number).cols {
                let Cell::Text(text) = cell else { panic!("{cell:?}") };
                assert!(text.len() == 10 && text.bytes().all(|b| b.is_ascii_alphanumeric()), "{text}");
                assert!(seen.insert(text));
            }
        }
        let letters: std::collections::BTreeSet<u8> = (0..=255).map(letter).collect();
        assert_eq!(letters.len(), 62);
    }

    #[test]
    fn a_column_is_the_same_however_many_follow_it() {
        let narrow = Simulator { columns: 2, ..simulator() }.record(3, 4);
        assert_eq!(narrow.cols[..], simulator().record(3, 4).cols[..2]);
        assert_ne!(narrow.cols, Simulator { seed: 100, columns: 2, ..simulator() }.record(3, 4).cols);
    }

    #[test]
    fn the_tag_holds_the_longest_name() {
        let tag = |tables| {
            Simulator { tables, table_prefix: "sensor_".into(), ..simulator() }.super_table(Precision::Milli).tags[0]
                .data_type
        };
        assert_eq!((tag(1000), tag(1001)), (DataType::Varchar(10), DataType::Varchar(11)));
        let stable = Simulator { columns: 1, ..simulator() }.super_table(Precision::Milli);
        assert_eq!(
            stable.create_statement(),
            "create stable if not exists `test`.`stb` (`ts` TIMESTAMP, `col0` VARCHAR(10)) tags (`device` VARCHAR(10))"
        );
        assert_eq!(stable.drop_statement(), "drop stable if exists `test`.`stb`");
    }

    #[test]
    fn what_cannot_be_stored_is_refused() {
        assert_eq!(simulator().check(), Ok(()));
        let fault = |simulator: Simulator| simulator.check().unwrap_err().to_string();
        assert_eq!(fault(Simulator { columns: 4095, ..simulator() }), "columns is 4095; it must be 1 to 4094");
        assert!(fault(Simulator { column_bytes: 0, ..simulator() }).starts_with("column_bytes is 0"));
        assert!(fault(Simulator { columns: 1000, column_bytes: 64, ..simulator() }).contains("65531 bytes"));
        assert!(fault(Simulator { table_prefix: "x".repeat(192), ..simulator() }).contains("194; it must be 1 to 192"));
        assert!(fault(Simulator { interval: Duration::ZERO, ..simulator() }).contains("interval of 0"));
    }

    proptest! {
        #[test]
        fn times_go_on_by_the_interval(
            start in -4_000_000_000_000i64..4_000_000_000_000, millis in 1u64..100_000, number in 0u64..1_000_000,
        ) {
            let interval = Duration::from_millis(millis);
            let simulator = Simulator { interval, ..Simulator::new(Timestamp::from_millis(start)) };
            let expected = start + (millis * number).cast_signed();
            prop_assert_eq!(simulator.timestamp(number).in_units(Precision::Milli), Some(expected));
        }
    }

    /// `cargo test --release -p kafka-taos --lib speed -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn speed_of_generating() {
        let simulator = simulator();
        let (mut buffer, mut payload, mut bytes) = (String::new(), Vec::new(), 0);
        let begin = std::time::Instant::now();
        for index in 0..1_000_000 {
            let (table, number) = simulator.at(index);
            payload.clear();
            simulator.record_in(&mut buffer, table, number).write(Format::MsgPack, &mut payload).unwrap();
            bytes += payload.len();
        }
        println!("generate and encode: {:.0} ns a record, {bytes} bytes", begin.elapsed().as_nanos() as f64 / 1e6);
    }
}
