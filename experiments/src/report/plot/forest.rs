//! Differences with their intervals.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{PALETTE, TEXT, TITLE, anchored, font, range, svg, width};
use crate::report::stats::Difference;

const PLOT: u32 = 560;
const ROW: u32 = 24;
const CAPTION: u32 = 44;
const AXIS: u32 = 40;
const MARGIN: u32 = 14;

/// A row for each difference: a dot at its mean and a bar along its interval, coloured where that excludes
/// zero. A dot without a bar is hollow.
///
/// # Errors
/// The drawing library's.
pub fn differences(rows: &[(String, Difference)]) -> Result<String, Box<dyn Error>> {
    let labels: Vec<_> = rows.iter().map(|(label, _)| label.clone()).collect();
    let left = width(&labels) + 2 * MARGIN;
    let height = CAPTION + ROW * rows.len() as u32 + AXIS + MARGIN;
    svg((left + PLOT, height), |area| {
        let title = "difference to plain: mean over seeds with 95 % interval";
        let middle = ((left + PLOT) / 2) as i32;
        area.draw(&Text::new(title, (middle, MARGIN as i32 + 8), anchored(TITLE, HPos::Center)))?;

        let ends = rows.iter().flat_map(|(_, found)| {
            let (low, high) = found.interval.unwrap_or((found.mean, found.mean));
            [0.0, low, found.mean, high]
        });
        let (low, high) = range(ends);
        let count = rows.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin_top(CAPTION)
            .margin_left(left)
            .margin_right(2 * MARGIN)
            .margin_bottom(MARGIN)
            .x_label_area_size(AXIS)
            .build_cartesian_2d(low..high, count..0.0)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_desc("percentage points against plain")
            .x_labels(8)
            .label_style(font(TEXT))
            .axis_desc_style(font(TEXT))
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.1))
            .draw()?;
        let zero = [(0.0, 0.0), (0.0, count)];
        chart.draw_series([PathElement::new(zero, BLACK.mix(0.6).stroke_width(1))])?;

        for (row, (label, found)) in (0..).map(|row| f64::from(row) + 0.5).zip(rows) {
            let guide = [(low, row), (high, row)];
            chart.draw_series([PathElement::new(guide, BLACK.mix(0.06))])?;
            let color = if found.excludes_zero() { PALETTE[2] } else { RGBColor(0x70, 0x70, 0x70) };
            if let Some((low, high)) = found.interval {
                let bar = [(low, row), (high, row)];
                chart.draw_series([PathElement::new(bar, color.stroke_width(2))])?;
            }
            let filled = found.interval.is_some();
            let dot = if filled { color.filled() } else { color.stroke_width(2) };
            chart.draw_series([Circle::new((found.mean, row), 4, dot)])?;

            let (_, y) = chart.plotting_area().map_coordinate(&(low, row));
            let right = (left - MARGIN) as i32;
            area.draw(&Text::new(label.as_str(), (right, y), anchored(TEXT, HPos::Right)))?;
        }
        Ok(())
    })
}
