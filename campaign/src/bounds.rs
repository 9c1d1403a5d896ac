//! Every result is within the bound of rounding errors, `γ_k · Σ |products|`, of its definition; by Winograd's
//! algorithms within a bound of tiles, on top of that.

use do_conv::{PaddingMode, Scalar};
use ndarray::ArrayD;

use crate::case::Case;
use crate::draw::Draw;
use crate::layers::{LayerPromise, arrays};
use crate::oracle::{self, Inputs};
use crate::runner::{Outcome, pool};
use crate::window;

/// The promise.
#[derive(Debug)]
pub struct Bounds;

impl LayerPromise for Bounds {
    const NAME: &str = "bounds";
    const MEASURE: &str = "largest part of the bound";

    fn check<T: Scalar>(&self, case: &Case) -> Outcome {
        pool(case.threads).install(|| run::<T>(case))
    }
}

/// The numbers of roundings that a product in each of `kernel`, `y`, `dx`, `dw`, `dd_offset` and `dbias`
/// goes through at most: the lengths of the sums it lies in, whatever the composition.
fn roundings(case: &Case) -> [usize; 6] {
    let (n, r, taps, s) = (case.inputs, case.outputs, case.taps(), case.depth());
    let [rows, cols] = case.output().unwrap_or([0, 0]);
    let pixels = case.batch * rows * cols;
    let reads = if case.mode == PaddingMode::Zeros { taps } else { taps * rows * cols };
    let dx = r * reads + s;
    [s, (n * taps + s).max(n * s + taps) + 1, dx, pixels + taps, pixels + r, pixels]
        .map(|sums| sums + 2)
}

/// `γ_k = k·u / (1 − k·u)` (Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1).
fn gamma(roundings: usize, unit: f64) -> f64 {
    let error = roundings as f64 * unit;
    error / (1.0 - error)
}

/// What Winograd's algorithms may be off by in `y`, `dx`, `dw` and `dd_offset`; nothing for other layers.
fn of_tiles(
    case: &Case,
    sizes: &Inputs<f64>,
    depthwise: &[f64],
    kernel: &[f64],
) -> [Option<Vec<f64>>; 4] {
    let Some((outputs, kappa)) = window::tile(case) else { return [const { None }; 4] };
    let windows = window::windows(case, outputs, &sizes.x, kernel, &sizes.dy);
    let [rows, cols] = case.output().unwrap_or([0, 0]);
    let scaled = |values: Vec<f64>, terms: usize| {
        let factor = window::factor(kappa, terms);
        Some(values.into_iter().map(|value| factor * value).collect())
    };
    let pixels = case.batch * rows * cols;
    let (dw, doffset) = oracle::adjoint(case, &sizes.w, depthwise, &windows.dkernel);
    [
        scaled(windows.y, case.inputs),
        scaled(windows.dx, case.outputs),
        scaled(dw, pixels),
        scaled(doffset, pixels),
    ]
}

/// A real number, of very different sizes in one case in two.
fn real(case: &Case, draw: &mut Draw) -> f64 {
    let value = draw.real();
    if case.values.is_multiple_of(2) { value } else { value * (draw.below(16) as f64 - 8.0).exp2() }
}

fn run<T: Scalar>(case: &Case) -> Outcome {
    if case.output().is_none() || !case.is_layer() {
        return Ok(0.0);
    }
    let text = |error: do_conv::Error| error.to_string();
    let inputs = case.inputs(|draw| T::round_from(real(case, draw)).widen());
    let absolute = |values: &[f64]| values.iter().map(|value| value.abs()).collect::<Vec<f64>>();
    let expected = oracle::solve(case, &inputs);
    let depthwise = absolute(&oracle::depthwise(case, &inputs.offset));
    let sizes = Inputs {
        x: absolute(&inputs.x),
        offset: Vec::new(),
        w: absolute(&inputs.w),
        bias: absolute(&inputs.bias),
        dy: absolute(&inputs.dy),
    };
    let sums = oracle::evaluate(case, &sizes, &depthwise);
    let [y_tiles, dx_tiles, dw_tiles, doffset_tiles] =
        &of_tiles(case, &sizes, &depthwise, &sums.kernel);

    let (layer, x, dy) = arrays::<T>(case, &inputs)?;
    let y = layer.forward(&x).map_err(text)?;
    let got = layer.backward(&x, &dy).map_err(text)?;
    let plain = layer.fold();
    let folded = plain.forward(&x).map_err(text)?.into_dyn();
    let empty = || ArrayD::from_elem(vec![0], T::zero());

    let [kernel, forward, dx, dw, doffset, dbias] = roundings(case);
    let mut worst = 0.0f64;
    for (name, roundings, got, expected, sums, tiles) in [
        ("weight", kernel, layer.weight().into_dyn(), &expected.kernel, &sums.kernel, &None),
        ("y", forward, y.into_dyn(), &expected.y, &sums.y, y_tiles),
        ("folded y", forward, folded, &expected.y, &sums.y, y_tiles),
        ("dx", dx, got.x.map_or_else(empty, |dx| dx.into_dyn()), &expected.dx, &sums.dx, dx_tiles),
        ("dw", dw, got.w.into_dyn(), &expected.dw, &sums.dw, dw_tiles),
        (
            "dd_offset",
            doffset,
            got.d_offset.map_or_else(empty, |dd| dd.into_dyn()),
            &expected.doffset,
            &sums.doffset,
            doffset_tiles,
        ),
        (
            "dbias",
            dbias,
            got.bias.map_or_else(empty, |db| db.into_dyn()),
            &expected.dbias,
            &sums.dbias,
            &None,
        ),
    ] {
        if got.len() != expected.len() {
            return Err(format!("{name} has {} elements", got.len()));
        }
        // The oracle's own roundings as well.
        let allowed = gamma(roundings, T::UNIT_ROUNDOFF) + gamma(roundings, f64::UNIT_ROUNDOFF);
        for (index, ((got, expected), sum)) in got.iter().zip(expected).zip(sums).enumerate() {
            let tiles = tiles.as_ref().map_or(0.0, |tiles| tiles[index] * T::UNIT_ROUNDOFF);
            let part = within(got.widen(), *expected, allowed * sum + tiles)
                .map_err(|reason| format!("{name}, element {index}: {reason}"))?;
            worst = worst.max(part);
        }
    }
    Ok(worst)
}

/// The part of what is allowed that a number is off by.
fn within(got: f64, expected: f64, allowed: f64) -> Outcome {
    let off = (got - expected).abs();
    if off == 0.0 {
        Ok(0.0)
    } else if off <= allowed {
        Ok(off / allowed)
    } else {
        Err(format!("{got}, expected {expected}: off by {off:e}, allowed {allowed:e}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_noticed() {
        assert_eq!(within(1.0, 1.0, 0.0), Ok(0.0));
        assert_eq!(within(1.5, 1.0, 1.0), Ok(0.5));
        assert!(within(3.0, 1.0, 1.0).is_err());
        assert!(within(f64::NAN, 1.0, 1.0).is_err());
    }
}
