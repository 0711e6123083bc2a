//! The result of a run as a drawing.

use std::path::Path;

use plotters::prelude::*;

use super::report::{Point, Report, Sample};
use super::workload::{Axis, Workload};
use crate::cli::Failure;

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

const STEEL: RGBColor = RGBColor(66, 133, 190);
const ORANGE: RGBColor = RGBColor(222, 130, 60);

impl Report {
    /// Draws the CPU time a row: bars of each measure, or a line of how it grows.
    pub(super) fn plot(&self, file: &Path) -> Result<(), Failure> {
        let drawn = match self.results.first().and_then(|sample| sample.point) {
            Some(point) => self.line(file, point.grows),
            None => self.bars(file),
        };
        drawn.map_err(|error| Failure::failed(format!("plot {}: {error}", file.display())))
    }

    fn bars(&self, file: &Path) -> Drawn {
        let (row, left, top) = (26, 210, 40);
        let height = top + row * self.results.len() as i32 + 20;
        let root = SVGBackend::new(file, (760, height.unsigned_abs())).into_drawing_area();
        let most = self.results.iter().map(|sample| sample.cpu_us_per_row).fold(f64::EPSILON, f64::max);
        root.fill(&WHITE)?;
        let text = ("sans-serif", 14).into_font();
        let title = format!("CPU microseconds a row, median of {}", self.rounds);
        root.draw(&Text::new(title, (10, 12), ("sans-serif", 16).into_font()))?;
        for (at, sample) in self.results.iter().enumerate() {
            let y = top + row * at as i32;
            let width = (sample.cpu_us_per_row / most * 430.0) as i32;
            let color = if sample.workload == Workload::W1 { STEEL } else { ORANGE };
            root.draw(&Text::new(sample.title(), (10, y + 4), text.clone()))?;
            root.draw(&Rectangle::new([(left, y), (left + width.max(1), y + row - 6)], color.filled()))?;
            let label = format!("{:.2}", sample.cpu_us_per_row);
            root.draw(&Text::new(label, (left + width + 6, y + 4), text.clone()))?;
        }
        root.present()
    }

    /// Of columns, the cost of a cell: a row of more of them costs more by its nature.
    fn line(&self, file: &Path, axis: Axis) -> Drawn {
        let root = SVGBackend::new(file, (640, 360)).into_drawing_area();
        root.fill(&WHITE)?;
        let cost = |sample: &Sample, at: u64| match axis {
            Axis::Columns => sample.cpu_us_per_row / at.max(1) as f64,
            _ => sample.cpu_us_per_row,
        };
        let point = |sample: &Sample| sample.point.map(|Point { at, .. }| (at as f64, cost(sample, at)));
        let points: Vec<(f64, f64)> = self.results.iter().filter_map(point).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return root.present() };
        let most = points.iter().map(|point| point.1).fold(f64::EPSILON, f64::max) * 1.2;
        let of = if axis == Axis::Columns { "cell" } else { "row" };
        let mut chart = ChartBuilder::on(&root)
            .caption(format!("CPU microseconds a {of}, by {axis}"), ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d((first.0 * 0.8..last.0 * 1.25).log_scale(), 0.0..most)?;
        chart.configure_mesh().x_desc(axis.to_string()).x_label_formatter(&|x| format!("{x}")).draw()?;
        chart.draw_series(LineSeries::new(points.iter().copied(), STEEL.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, STEEL.filled())))?;
        let memory =
            self.results.iter().zip(&points).filter_map(|(sample, &point)| Some((sample.peak_memory_bytes?, point)));
        let label = |(bytes, (x, y)): (u64, (f64, f64))| {
            let text = format!("{y:.2}, {:.0} MB", bytes as f64 / 1e6);
            EmptyElement::at((x, y)) + Text::new(text, (-30, -18), ("sans-serif", 13).into_font())
        };
        chart.draw_series(memory.map(label))?;
        root.present()
    }
}
