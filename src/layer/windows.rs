//! What bounds the rounding errors of Winograd's algorithms: the weights' sizes, each times the largest pixel that
//! a tile may read.

use ndarray::{Array4, Axis as ArrayAxis};

use super::conv2d::Conv2d;
use crate::array::{contiguous, contiguous_mut};
use crate::config::Conv2dConfig;
use crate::config::algorithm::TileErrors;
use crate::config::geometry::{Axis, Geometry};
use crate::config::padding::PaddingMode;
use crate::error::{Operation, Result};

/// For each output `Σ_c max|x_c| · Σ_taps |w_c|` over the pixels of all tiles that it may be in, wherever those
/// begin, `[B, O, OH, OW]`; of `x`, `[B, I, H, W]`, and `weight`, `[O, I/g, 3, 3]`, that aren't negative.
///
/// # Errors
/// [`ErrorKind::Memory`](crate::ErrorKind::Memory).
pub fn window_sums(
    operation: Operation,
    geometry: &Geometry,
    errors: TileErrors,
    x: &Array4<f64>,
    weight: &Array4<f64>,
) -> Result<Array4<f64>> {
    let Geometry { batch, spec, rows, cols } = geometry;
    let [row_pixels, col_pixels] = [rows, cols].map(|axis| read(axis, spec.mode, errors.outputs));
    let mut largest: Array4<f64> =
        operation.zeros("x", [*batch, spec.in_channels, rows.output, cols.output])?;
    let mut lines = vec![0.0; rows.input * cols.output];
    let planes = contiguous_mut(&mut largest).chunks_exact_mut(rows.output * cols.output);
    let x = contiguous(x.view());
    for (plane, x) in planes.zip(x.chunks_exact(rows.input * cols.input)) {
        for (line, x) in lines.chunks_exact_mut(cols.output).zip(x.chunks_exact(cols.input)) {
            for (to, pixels) in line.iter_mut().zip(&col_pixels) {
                *to = pixels.iter().fold(0.0, |most: f64, &pixel| most.max(x[pixel]));
            }
        }
        for (to, pixels) in plane.chunks_exact_mut(cols.output).zip(&row_pixels) {
            for &pixel in pixels {
                let line = &lines[pixel * cols.output..][..cols.output];
                to.iter_mut().zip(line).for_each(|(to, &from)| *to = to.max(from));
            }
        }
    }
    let taps = weight.sum_axis(ArrayAxis(3)).sum_axis(ArrayAxis(2));
    let weights = taps.insert_axis(ArrayAxis(2)).insert_axis(ArrayAxis(3));
    let sum = Conv2dConfig::new(spec.in_channels, spec.out_channels, [1, 1]);
    let sum = sum.groups(spec.groups).bias(false);
    Conv2d::from_parameters(sum, weights, None)?.forward(&largest)
}

/// For each output of an axis the pixels that tiles of up to `outputs` outputs which it may be in read.
fn read(axis: &Axis, mode: PaddingMode, outputs: usize) -> Vec<Vec<usize>> {
    let of = |output: usize| {
        // From as many steps before the output's first tap as a tile may begin before it, to as many past
        // its last.
        let steps = 0..2 * outputs + 1;
        let places = steps.filter_map(|step| {
            (output + step * axis.dilation).checked_sub((outputs - 1) * axis.dilation)
        });
        let places = places.filter(|&place| place < axis.padded());
        let pixels = places
            .filter_map(|place| mode.source(place as isize - axis.padding[0] as isize, axis.input));
        pixels.collect()
    };
    (0..axis.output).map(of).collect()
}
