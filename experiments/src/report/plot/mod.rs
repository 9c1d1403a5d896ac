//! Plots as SVG.

mod curves;
mod forest;

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub use curves::curves;
pub use forest::differences;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Okabe and Ito's colours, which colour-blind people can tell apart; grey stands for their yellow, which
/// hardly shows on white.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0x00, 0x00, 0x00),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x99, 0x99, 0x99),
];

/// How many cells a plot has different colours for.
pub const COLORS: usize = PALETTE.len();

const TITLE: i32 = 18;
const TEXT: i32 = 14;

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

fn anchored(size: i32, horizontal: HPos) -> TextStyle<'static> {
    font(size).pos(Pos::new(horizontal, VPos::Center))
}

/// Pixels that the longest of some texts takes at most; the fonts of viewers differ.
fn width(texts: &[String]) -> u32 {
    let longest = texts.iter().map(|text| text.chars().count()).max();
    (0.5 * f64::from(TEXT) * longest.unwrap_or(0) as f64).ceil() as u32
}

/// The range of the finite values with a little air; never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return (0.0, 1.0);
    }
    let air = (0.05 * (high - low)).max(1e-3).max(1e-6 * high.abs());
    (low - air, high + air)
}

/// What `draw` draws on white.
fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area) -> Result<(), Box<dyn Error>>,
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(svg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Kind, RunConfig, RunResult};
    use crate::report::cells::group;
    use crate::report::labels::labels;
    use crate::report::sample::{config, diverged, do_conv, run};
    use crate::report::stats::Difference;

    fn drawn(runs: &[RunResult]) -> Result<String, Box<dyn Error>> {
        let cells = group(runs);
        curves(&cells, &labels(&cells))
    }

    #[test]
    fn curves_have_a_band_from_two_seeds_on() -> Result<(), Box<dyn Error>> {
        let separable = RunConfig { kind: Kind::Separable, ..config() };
        let mut runs = vec![
            run(&config(), 1, &[50.0, 60.0, 70.0]),
            run(&config(), 2, &[51.0, 61.0, 71.0]),
            run(&do_conv(), 1, &[52.0, 62.0, 72.0]),
            run(&separable, 1, &[52.0, f64::NAN, 72.0]),
        ];
        let svg = drawn(&runs)?;
        let edges = |svg: &str| {
            let all = svg.split("<polygon").skip(1);
            all.filter(|tag| !tag.contains("points=\"\"")).count()
        };
        // One in each panel.
        assert_eq!(edges(&svg), 2);
        assert!(
            [">\nplain\n<", ">\ndo-conv\n<", ">\nseparable\n<"]
                .iter()
                .all(|text| svg.contains(text))
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"));

        runs.push(diverged(&do_conv(), 2));
        assert_eq!(drawn(&runs)?, svg);
        Ok(())
    }

    #[test]
    fn odd_runs_are_drawn() -> Result<(), Box<dyn Error>> {
        let data = RunConfig { data: "<a&b>".into(), ..config() };
        let svg = drawn(&[run(&data, 1, &[70.0]), run(&config(), 1, &[70.0])])?;
        assert!(svg.contains("<circle") && svg.contains("&lt;a&amp;b&gt;, plain"));

        let mut huge = [run(&config(), 1, &[0.0; 3]), run(&config(), 2, &[0.0; 3])];
        huge[0].epochs[1].train_loss = f32::MAX.into();
        for runs in [&huge[..], &[run(&config(), 1, &[])], &[diverged(&config(), 1)], &[]] {
            assert!(drawn(runs)?.contains("training loss"));
        }
        Ok(())
    }

    #[test]
    fn forests() -> Result<(), Box<dyn Error>> {
        let of = |mean, interval| Difference { pairs: 2, mean, interval };
        let rows = [
            ("a".to_owned(), of(1.0, Some((0.5, 1.5)))),
            ("b".to_owned(), of(1.0, Some((-0.5, 2.5)))),
            ("c".to_owned(), of(1.0, None)),
        ];
        let svg = differences(&rows)?;
        assert_eq!(svg.matches("<circle").count(), 3);
        // The dot and the bar of the only one whose interval excludes zero.
        assert_eq!(svg.matches("#0072B2").count(), 2);
        Ok(())
    }
}
