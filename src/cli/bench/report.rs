//! What was measured: medians, a table for people, JSON for programs, a plot.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use plotters::prelude::*;
use serde::Serialize;

use super::step::{Measure, Measured};
use super::workload::Workload;
use crate::cli::Failure;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) rounds: u32,
    pub(super) results: Vec<Sample>,
}

/// A measure of a workload: of each figure the median over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    name: Measure,
    workload: Workload,
    rows: u64,
    rows_per_second: f64,
    mb_per_second: f64,
    cpu_us_per_row: f64,
    allocations_per_row: Option<f64>,
    peak_memory_bytes: Option<u64>,
}

impl Sample {
    pub(super) fn median(name: Measure, workload: Workload, measured: Vec<Measured>) -> Self {
        let of = |figure: &dyn Fn(&Measured) -> f64| median(measured.iter().map(figure).collect());
        let per_row = |part: f64, one: &Measured| part / one.rows.max(1) as f64;
        let allocations = |one: &Measured| one.cost.allocations.map_or(0.0, |count| per_row(count as f64, one));
        let peak = |one: &Measured| one.peak_memory_bytes.unwrap_or(0) as f64;
        let knows = |is_known: fn(&Measured) -> bool| measured.iter().all(is_known);
        Self {
            name,
            workload,
            rows: of(&|one| one.rows as f64) as u64,
            rows_per_second: of(&|one| one.rows as f64 / one.cost.seconds.max(f64::EPSILON)),
            mb_per_second: of(&|one| one.bytes as f64 / 1e6 / one.cost.seconds.max(f64::EPSILON)),
            cpu_us_per_row: of(&|one| per_row(one.cost.cpu_seconds * 1e6, one)),
            allocations_per_row: knows(|one| one.cost.allocations.is_some()).then(|| of(&allocations)),
            peak_memory_bytes: knows(|one| one.peak_memory_bytes.is_some()).then(|| of(&peak) as u64),
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
        table.set_header(["", "", "rows/s", "MB/s", "CPU us/row", "allocations/row", "peak MB"]);
        for sample in &self.results {
            let or_none = |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |v| format!("{v:.digits$}"));
            table.add_row([
                sample.workload.to_string(),
                sample.name.to_string(),
                format!("{:.0}", sample.rows_per_second),
                format!("{:.1}", sample.mb_per_second),
                format!("{:.3}", sample.cpu_us_per_row),
                or_none(sample.allocations_per_row, 3),
                or_none(sample.peak_memory_bytes.map(|bytes| bytes as f64 / 1e6), 1),
            ]);
        }
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }

    /// Draws the CPU time a row of each measure as bars.
    pub(super) fn plot(&self, file: &Path) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("plot {}: {error}", file.display()));
        let (row, left, top) = (26, 210, 40);
        let height = top + row * self.results.len() as i32 + 20;
        let root = SVGBackend::new(file, (760, height.unsigned_abs())).into_drawing_area();
        let most = self.results.iter().map(|sample| sample.cpu_us_per_row).fold(f64::EPSILON, f64::max);
        let draw = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
            root.fill(&WHITE)?;
            let text = ("sans-serif", 14).into_font();
            let title = format!("CPU microseconds a row, median of {} rounds", self.rounds);
            root.draw(&Text::new(title, (10, 12), ("sans-serif", 16).into_font()))?;
            for (at, sample) in self.results.iter().enumerate() {
                let y = top + row * at as i32;
                let width = (sample.cpu_us_per_row / most * 430.0) as i32;
                let color =
                    if sample.workload == Workload::W1 { RGBColor(66, 133, 190) } else { RGBColor(222, 130, 60) };
                root.draw(&Text::new(format!("{} {}", sample.workload, sample.name), (10, y + 4), text.clone()))?;
                root.draw(&Rectangle::new([(left, y), (left + width.max(1), y + row - 6)], color.filled()))?;
                let label = format!("{:.2}", sample.cpu_us_per_row);
                root.draw(&Text::new(label, (left + width + 6, y + 4), text.clone()))?;
            }
            root.present()
        };
        draw().map_err(|error| failed(&error))
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
