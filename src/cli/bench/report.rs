//! What was measured: medians, a table for people, JSON for programs.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::step::{Measure, Measured};
use super::workload::{Axis, Scene, Workload};

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) rounds: u32,
    pub(super) results: Vec<Sample>,
}

/// A measure of a workload: of each figure the median over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    pub(super) name: Measure,
    pub(super) workload: Workload,
    #[serde(flatten)]
    pub(super) point: Option<Point>,
    rows: u64,
    rows_per_second: f64,
    mb_per_second: f64,
    pub(super) cpu_us_per_row: f64,
    allocations_per_row: Option<f64>,
    pub(super) peak_memory_bytes: Option<u64>,
}

/// Where a sample stands among those that show how a cost grows.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    pub(super) grows: Axis,
    pub(super) at: u64,
}

impl Sample {
    pub(super) fn median(name: Measure, scene: Scene, grows: Option<Axis>, measured: Vec<Measured>) -> Self {
        let of = |figure: &dyn Fn(&Measured) -> f64| median(measured.iter().map(figure).collect());
        let per_row = |part: f64, one: &Measured| part / one.rows.max(1) as f64;
        let allocations = |one: &Measured| one.cost.allocations.map_or(0.0, |count| per_row(count as f64, one));
        let peak = |one: &Measured| one.peak_memory_bytes.unwrap_or(0) as f64;
        let knows = |is_known: fn(&Measured) -> bool| measured.iter().all(is_known);
        Self {
            name,
            workload: scene.workload,
            point: grows.map(|grows| Point { grows, at: grows.of(scene) }),
            rows: of(&|one| one.rows as f64) as u64,
            rows_per_second: of(&|one| one.rows as f64 / one.cost.seconds.max(f64::EPSILON)),
            mb_per_second: of(&|one| one.bytes as f64 / 1e6 / one.cost.seconds.max(f64::EPSILON)),
            cpu_us_per_row: of(&|one| per_row(one.cost.cpu_seconds * 1e6, one)),
            allocations_per_row: knows(|one| one.cost.allocations.is_some()).then(|| of(&allocations)),
            peak_memory_bytes: knows(|one| one.peak_memory_bytes.is_some()).then(|| of(&peak) as u64),
        }
    }

    /// What it is, for people.
    pub(super) fn title(&self) -> String {
        match self.point {
            Some(Point { grows, at }) => format!("{} {at} {grows}", self.workload),
            None => format!("{} {}", self.workload, self.name),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        even if even % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

impl Report {
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["", "rows/s", "MB/s", "CPU us/row", "allocations/row", "peak MB"]);
        for sample in &self.results {
            let or_none = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
            table.add_row([
                sample.title(),
                format!("{:.0}", sample.rows_per_second),
                format!("{:.1}", sample.mb_per_second),
                format!("{:.3}", sample.cpu_us_per_row),
                or_none(sample.allocations_per_row, 3),
                or_none(sample.peak_memory_bytes.map(|bytes| bytes as f64 / 1e6), 1),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
