//! Learning curves.

use std::error::Error;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{Area, COLORS, PALETTE, TEXT, TITLE, anchored, font, range, svg, width};
use crate::record::Epoch;
use crate::report::cells::Cell;
use crate::report::stats::{mean, standard_deviation};

const WIDTH: u32 = 960;
const PANELS: u32 = 400;
const ROW: u32 = 20;
const MARGIN: u32 = 14;
const LINE: u32 = 24;
const Y_AXIS: u32 = 50;
/// Of the key, which begins below the left axis.
const KEY: u32 = WIDTH - 2 * MARGIN - Y_AXIS;

/// Over the runs of one cell after one epoch.
struct Point {
    epoch: f64,
    mean: f64,
    deviation: Option<f64>,
}

/// Training loss on the left, the test metric on the right: a line is the mean over a cell's seeds, and its
/// band one standard deviation to both sides. From [`COLORS`] cells on, colours repeat.
///
/// # Errors
/// The drawing library's.
pub fn curves(cells: &[Cell], labels: &[String]) -> Result<String, Box<dyn Error>> {
    let columns = (KEY / (width(labels) + 2 * LINE)).max(1);
    let rows = (labels.len() as u32).div_ceil(columns);
    svg((WIDTH, PANELS + rows * ROW + MARGIN), |area| {
        let (panels, legend) = area.split_vertically(PANELS);
        let (left, right) = panels.split_horizontally(WIDTH / 2);
        let metric = cells.first().map_or("metric", |cell| cell.config.task.metric());
        panel(&left, "training loss", &of_cells(cells, |epoch| epoch.train_loss))?;
        panel(&right, &format!("test {metric}, %"), &of_cells(cells, |epoch| epoch.test_metric))?;
        key(&legend, labels, columns)
    })
}

fn of_cells(cells: &[Cell], value: fn(&Epoch) -> f64) -> Vec<Vec<Point>> {
    cells.iter().map(|cell| points(cell, value)).collect()
}

/// An epoch without a finite value has no point.
fn points(cell: &Cell, value: fn(&Epoch) -> f64) -> Vec<Point> {
    let epochs = cell.finished().map(|run| run.epochs.len()).max().unwrap_or(0);
    let of_epoch = |at: usize| {
        let values = cell.values(|run| run.epochs.get(at).map_or(f64::NAN, value));
        let deviation = standard_deviation(&values);
        Some(Point { epoch: (at + 1) as f64, mean: mean(&values)?, deviation })
    };
    (0..epochs).filter_map(of_epoch).collect()
}

fn panel(area: &Area, title: &str, curves: &[Vec<Point>]) -> Result<(), Box<dyn Error>> {
    let all = || curves.iter().flatten();
    let last = all().map(|point| point.epoch).fold(2.0, f64::max);
    let (low, high) = range(all().flat_map(|point| {
        let deviation = point.deviation.unwrap_or(0.0);
        [point.mean - deviation, point.mean + deviation]
    }));
    let mut chart = ChartBuilder::on(area)
        .caption(title, font(TITLE))
        .margin(MARGIN)
        .x_label_area_size(38)
        .y_label_area_size(Y_AXIS)
        .build_cartesian_2d(1.0..last, low..high)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels((last as usize).min(10))
        .x_label_formatter(&whole)
        .label_style(font(TEXT))
        .axis_desc_style(font(TEXT))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .draw()?;

    let colored = || PALETTE.iter().cycle().zip(curves);
    for (color, curve) in colored() {
        chart.draw_series([Polygon::new(band(curve), color.mix(0.13))])?;
    }
    for (color, curve) in colored() {
        let line = curve.iter().map(|point| (point.epoch, point.mean));
        if curve.len() == 1 {
            chart.draw_series(line.clone().map(|point| Circle::new(point, 3, color.filled())))?;
        }
        chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
    }
    Ok(())
}

/// No label for what lies between two epochs.
fn whole(epoch: &f64) -> String {
    if (epoch - epoch.round()).abs() < 1e-6 { format!("{epoch:.0}") } else { String::new() }
}

/// There along the upper edge and back along the lower one.
fn band(curve: &[Point]) -> Vec<(f64, f64)> {
    let edge = |sign: f64| {
        let at = move |point: &Point| Some((point.epoch, point.mean + sign * point.deviation?));
        curve.iter().filter_map(at)
    };
    edge(1.0).chain(edge(-1.0).rev()).collect()
}

fn key(area: &Area, labels: &[String], columns: u32) -> Result<(), Box<dyn Error>> {
    for (at, label) in (0..).zip(labels) {
        let color = PALETTE[at as usize % COLORS];
        let x = (MARGIN + Y_AXIS + at % columns * (KEY / columns)) as i32;
        let y = (at / columns * ROW + ROW / 2) as i32;
        let end = x + LINE as i32;
        area.draw(&PathElement::new([(x, y), (end, y)], color.stroke_width(3)))?;
        area.draw(&Text::new(label.as_str(), (end + 8, y), anchored(TEXT, HPos::Left)))?;
    }
    Ok(())
}
