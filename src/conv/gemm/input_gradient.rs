//! The gradient of the input: `dx[i, h] = Σ_{o, m : h = oh·s + m·d − p} W[o, i, m] · dy[o, oh]`.
//!
//! For stride `s`, input positions fall into `s` phases an axis, and each phase reads only the taps
//! that reach it. So each pair of phases is a correlation of `dy` by a part of the kernel with stride
//! 1, and writes every `s`-th pixel of `dx`: nothing is scattered and no zero is multiplied.

use super::Engine;
use super::correlate::{Correlation, KernelView, Target};
use super::source::TapAxis;
use crate::conv::{self, shared::Shared};
use crate::geometry::{Axis, Geometry};
use crate::{PaddingMode, Scalar};

/// One phase of an axis: the input positions `origin`, `origin + stride`, …, that the same taps
/// reach.
struct Phase {
    origin: usize,
    taps: Vec<usize>,
    axis: TapAxis,
}

/// The phases of an axis of `extent` input positions, with `padding` before them, that any tap
/// reaches.
fn phases(axis: &Axis, extent: usize, padding: usize) -> impl Iterator<Item = Phase> {
    let &Axis { stride, dilation, kernel, output, .. } = axis;
    (0..stride.min(extent)).filter_map(move |origin| {
        let offset = |tap: usize| (origin + padding) as isize - (tap * dilation) as isize;
        let reaching = |&tap: &usize| offset(tap) % stride as isize == 0;
        let taps: Vec<_> = (0..kernel).filter(reaching).collect();
        let axis = TapAxis {
            input: output,
            output: (extent - origin).div_ceil(stride),
            step: 1,
            offsets: taps.iter().map(|&tap| offset(tap) / stride as isize).collect(),
            mode: PaddingMode::Zeros,
        };
        (!taps.is_empty()).then_some(Phase { origin, taps, axis })
    })
}

/// Writes the gradient of `batch` images of `plane` pixels, `padding` of which lie before the
/// first pixel of the input on each axis.
fn write_phases<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    [batch, height, width]: [usize; 3],
    padding: [usize; 2],
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let (spec, cols) = (&geometry.spec, geometry.cols);
    let (group_in, taps) = (spec.group_inputs(), spec.taps());
    let [stride_rows, stride_cols] = [geometry.rows.stride, cols.stride];
    // Pixels that no tap reaches: the remainder of a stride, or the gaps of a stride larger than
    // the kernel.
    dx.fill(T::zero());
    let dx = Shared::new(dx);
    let col_phases: Vec<_> = phases(&cols, width, padding[1]).collect();
    for row_phase in phases(&geometry.rows, height, padding[0]) {
        for col_phase in &col_phases {
            let correlation = Correlation {
                batch,
                groups: spec.groups,
                group_channels: [spec.group_outputs(), group_in],
                rows: row_phase.axis.clone(),
                cols: col_phase.axis.clone(),
                target: Target {
                    plane: [height, width],
                    origin: [row_phase.origin, col_phase.origin],
                    step: [stride_rows, stride_cols],
                },
            };
            let col_taps = |row: &usize| {
                let start = row * cols.kernel;
                col_phase.taps.iter().map(move |col| start + col)
            };
            let view = KernelView {
                data: weight,
                group: spec.group_outputs() * group_in * taps,
                row_stride: taps,
                channel_stride: group_in * taps,
                taps: row_phase.taps.iter().flat_map(col_taps).collect(),
            };
            conv::correlate(engine, &correlation, &view, dy, None, &dx);
        }
    }
}

/// Writes `dx`, `[B, I, H, W]`.
pub fn run<T: Scalar>(engine: &Engine, geometry: &Geometry, weight: &[T], dy: &[T], dx: &mut [T]) {
    let Geometry { rows, cols, .. } = geometry;
    let padding = [rows.padding[0], cols.padding[0]];
    if geometry.spec.mode == PaddingMode::Zeros
        || (rows.padding == [0; 2] && cols.padding == [0; 2])
    {
        let images = [geometry.batch, rows.input, cols.input];
        return write_phases(engine, geometry, images, padding, weight, dy, dx);
    }
    // The padding is made of pixels of the image: the gradient of the padded image, folded back
    // onto them, one image at a time.
    let channels = geometry.spec.in_channels;
    let padded = [1, rows.padded(), cols.padded()];
    let mut image = vec![T::zero(); channels * padded[1] * padded[2]];
    let dy_len = geometry.spec.out_channels * geometry.output_pixels();
    for (index, dx) in dx.chunks_exact_mut(channels * geometry.input_pixels()).enumerate() {
        let dy = &dy[index * dy_len..][..dy_len];
        write_phases(engine, geometry, padded, [0, 0], weight, dy, &mut image);
        fold_padding(geometry, &image, dx);
    }
}

/// Adds each pixel of a padded image's gradient to that of the pixel it was read from.
fn fold_padding<T: Scalar>(geometry: &Geometry, padded: &[T], dx: &mut [T]) {
    let Geometry { rows, cols, spec, .. } = geometry;
    let source = |axis: &Axis, position: usize| {
        spec.mode.source(position as isize - axis.padding[0] as isize, axis.input)
    };
    dx.fill(T::zero());
    let planes = padded.chunks_exact(rows.padded() * cols.padded());
    for (dx, padded) in dx.chunks_exact_mut(geometry.input_pixels()).zip(planes) {
        for (row, line) in padded.chunks_exact(cols.padded()).enumerate() {
            let Some(row) = source(rows, row) else { continue };
            let target = &mut dx[row * cols.input..][..cols.input];
            for (col, &value) in line.iter().enumerate() {
                if let Some(col) = source(cols, col) {
                    target[col] += value;
                }
            }
        }
    }
}
