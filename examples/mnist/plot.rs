//! The learning curves as an SVG.

use std::error::Error;
use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::report::Run;
use crate::train::Epoch;

const PLAIN: RGBColor = RGBColor(0x1f, 0x5f, 0xa8);
const DO_CONV: RGBColor = RGBColor(0xd9, 0x5f, 0x02);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Curve = Vec<f64>;

/// Training loss on the left, test accuracy on the right.
pub fn learning_curves(path: &Path, runs: &[Run]) -> Result<(), Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (960, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let (left, right) = area.split_horizontally(480);
        panel(&left, "training loss", SeriesLabelPosition::UpperRight, runs, |epoch| epoch.loss)?;
        panel(&right, "test accuracy, %", SeriesLabelPosition::LowerRight, runs, |epoch| {
            100.0 * epoch.accuracy
        })?;
        area.present()?;
    }
    let failed = |error| format!("{}: the plot cannot be written: {error}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, svg).map_err(failed)?;
    Ok(())
}

/// Thin lines are the seeds, thick ones their mean.
fn panel(
    area: &Area,
    title: &str,
    legend: SeriesLabelPosition,
    runs: &[Run],
    value: impl Fn(&Epoch) -> f64,
) -> Result<(), Box<dyn Error>> {
    let curves = |of: fn(&Run) -> &[Epoch]| -> Vec<Curve> {
        runs.iter().map(|run| of(run).iter().map(&value).collect()).collect()
    };
    let plain = curves(|run| &run.plain);
    let do_conv = curves(|run| &run.do_conv);

    let epochs = plain.first().map_or(0, Vec::len);
    let (low, high) = range(plain.iter().chain(&do_conv).flatten());
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(1.0..epochs.max(2) as f64, low..high)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .x_labels(epochs.clamp(2, 10))
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.1))
        .draw()?;

    for (name, color, curves) in [("plain", PLAIN, plain), ("DO-Conv", DO_CONV, do_conv)] {
        if curves.len() > 1 {
            for curve in &curves {
                chart.draw_series(LineSeries::new(points(curve), color.mix(0.25)))?;
            }
        }
        let mean = mean(&curves);
        chart.draw_series(points(&mean).map(|point| Circle::new(point, 3, color.filled())))?;
        chart
            .draw_series(LineSeries::new(points(&mean), color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .label_font(("sans-serif", 14))
        .border_style(BLACK.mix(0.3))
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

/// Epochs count from 1. A value that is not finite, as after a diverged training, has no point.
fn points(curve: &[f64]) -> impl Iterator<Item = (f64, f64)> {
    let epochs = (1..).map(f64::from);
    epochs.zip(curve.iter().copied()).filter(|(_, value)| value.is_finite())
}

fn mean(curves: &[Curve]) -> Curve {
    let epochs = curves.first().map_or(0, Vec::len);
    (0..epochs)
        .map(|epoch| curves.iter().map(|curve| curve[epoch]).sum::<f64>() / curves.len() as f64)
        .collect()
}

/// The range of the finite values with a little air; never empty.
fn range<'a>(values: impl Iterator<Item = &'a f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let air = (0.05 * (high - low)).max(1e-3);
    (low - air, high + air)
}
