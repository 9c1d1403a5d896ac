//! The gradient of the input: `dx[i, h] = Σ_{o, m : h = oh·s + m·d − p} W[o, i, m] · dy[o, oh]`.
//!
//! For stride `s`, input positions fall into `s` phases an axis, and each phase reads only the taps
//! that reach it. So each pair of phases is a correlation of `dy` by a part of the kernel with stride
//! 1, and writes every `s`-th pixel of `dx`: nothing is scattered and no zero is multiplied.

use super::Engine;
use super::correlate::{Correlation, Target};
use crate::conv::{self, Weights, axis::TapAxis, shared::Shared};
use crate::geometry::{Axis, Geometry};
use crate::{PaddingMode, Scalar};

/// One phase of an axis: the input positions `origin`, `origin + stride`, …, that the same taps
/// reach.
struct Phase {
    origin: usize,
    taps: Vec<usize>,
    axis: TapAxis,
}

/// The phases of an axis that any tap reaches.
fn phases(axis: &Axis) -> impl Iterator<Item = Phase> {
    let &Axis { stride, kernel, output, input, .. } = axis;
    (0..stride.min(input)).filter_map(move |origin| {
        let offset = |tap: usize| origin as isize - axis.tap_offset(tap);
        let reaching = |&tap: &usize| offset(tap) % stride as isize == 0;
        // The last reads first.
        let taps: Vec<_> = (0..kernel).rev().filter(reaching).collect();
        let axis = TapAxis {
            input: output,
            output: (input - origin).div_ceil(stride),
            step: 1,
            offsets: taps.iter().map(|&tap| offset(tap) / stride as isize).collect(),
            mode: PaddingMode::Zeros,
        };
        (!taps.is_empty()).then_some(Phase { origin, taps, axis })
    })
}

/// Writes `dx`, `[B, I, H, W]`, as if the padding were zeros.
pub fn run<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    weights: &Weights<T>,
    dy: &[T],
    dx: &mut [T],
) {
    let Geometry { spec, rows, cols, .. } = geometry;
    let group_in = spec.group_inputs();
    let row_phases: Vec<_> = phases(rows).collect();
    let col_phases: Vec<_> = phases(cols).collect();
    let all = [rows, cols].map(|axis| axis.stride.min(axis.input));
    if [row_phases.len(), col_phases.len()] != all {
        // Pixels that no tap reaches: the gaps of a stride larger than the kernel.
        dx.fill(T::zero());
    }
    let dx = Shared::new(dx);
    for row_phase in &row_phases {
        for col_phase in &col_phases {
            let col_taps = |row: &usize| {
                let start = row * cols.kernel;
                col_phase.taps.iter().map(move |col| start + col)
            };
            let correlation = Correlation {
                batch: geometry.batch,
                groups: spec.groups,
                group_channels: [spec.group_outputs(), group_in],
                rows: row_phase.axis.clone(),
                cols: col_phase.axis.clone(),
                taps: row_phase.taps.iter().flat_map(col_taps).collect(),
                target: Target {
                    plane: [rows.input, cols.input],
                    origin: [row_phase.origin, col_phase.origin],
                    step: [rows.stride, cols.stride],
                },
            };
            weights.correlate(engine, &correlation, dy, None, &dx);
        }
    }
}

/// Adds what pixels get through the padding that they continue: for each output pixel near the border
/// and each tap that reads padding there, `Wᵀ·dy` goes to the pixel that was read.
pub fn add_padding<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let Geometry { spec, rows, cols, .. } = geometry;
    let (n, r, taps) = (spec.group_inputs(), spec.group_outputs(), spec.taps());
    let (pixels, plane) = (geometry.output_pixels(), geometry.input_pixels());
    // By group, tap and input channel, the weights of the output channels side by side.
    let mut columns = vec![T::zero(); weight.len()];
    for (index, &value) in weight.iter().enumerate() {
        let (output, input, tap) = (index / taps / n, index / taps % n, index % taps);
        columns[((output / r * taps + tap) * n + input) * r + output % r] = value;
    }
    // The output positions none of whose taps reads padding.
    let interior = |axis: &Axis| {
        let outputs = TapAxis::forward(axis, PaddingMode::Zeros);
        let first = outputs.interior(0..axis.output, 0);
        let last = outputs.interior(0..axis.output, axis.kernel - 1);
        first.start.max(last.start)..first.end.min(last.end)
    };
    // Where a tap of an output position reads, and whether that is inside the image.
    let source = |axis: &Axis, output: usize, tap: usize| {
        let position = (output * axis.stride) as isize + axis.tap_offset(tap);
        let inside = (0..axis.input as isize).contains(&position);
        (spec.mode.source(position, axis.input), inside)
    };
    let (inner_rows, inner_cols) = (interior(rows), interior(cols));
    let threads = engine.threads(geometry.maccs());
    conv::for_each_chunk(threads, dx, n * plane, |index, dx| {
        let (image, group) = (index / spec.groups, index % spec.groups);
        let dy = &dy[(image * spec.out_channels + group * r) * pixels..][..r * pixels];
        let columns = &columns[group * taps * n * r..][..taps * n * r];
        let mut gradients = vec![T::zero(); r];
        let (mut row_sources, mut col_sources) = (Vec::new(), Vec::new());
        for row in 0..rows.output {
            row_sources.clear();
            row_sources.extend((0..rows.kernel).map(|tap| source(rows, row, tap)));
            for col in 0..cols.output {
                if inner_rows.contains(&row) && inner_cols.contains(&col) {
                    continue;
                }
                col_sources.clear();
                col_sources.extend((0..cols.kernel).map(|tap| source(cols, col, tap)));
                let gradient = dy[row * cols.output + col..].iter().step_by(pixels);
                gradients.iter_mut().zip(gradient).for_each(|(to, &from)| *to = from);
                for tap in 0..taps {
                    let (row, row_inside) = row_sources[tap / cols.kernel];
                    let (col, col_inside) = col_sources[tap % cols.kernel];
                    let (Some(row), Some(col)) = (row, col) else { continue };
                    if row_inside && col_inside {
                        continue;
                    }
                    let columns = columns[tap * n * r..][..n * r].chunks_exact(r);
                    for (column, dx) in columns.zip(dx.chunks_exact_mut(plane)) {
                        let products = column.iter().zip(&gradients).map(|(&w, &dy)| w * dy);
                        dx[row * cols.input + col] += products.fold(T::zero(), |sum, p| sum + p);
                    }
                }
            }
        }
    });
}
