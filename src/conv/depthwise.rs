//! Depthwise convolution, one input channel a group, straight from the images: there is no sum over
//! channels that a matrix product could reuse data for.
//!
//! Each plane belongs to one thread, and taps are summed in the kernel's order.

use std::ops::Range;

use super::for_each_chunk;
use super::gemm::Engine;
use super::gemm::source::TapAxis;
use super::simd::{Kernel, Simd};
use crate::Scalar;
use crate::geometry::Geometry;

/// Outputs that are computed side by side: a whole number of vector registers of every instruction
/// set.
const BLOCK: usize = 16;

/// How planes of one channel are read.
struct Plane {
    rows: TapAxis,
    cols: TapAxis,
    /// Outputs of a row whose taps all lie inside the image.
    interior: Range<usize>,
}

/// The taps that one output row reads: the image row and the kernel row, in order.
type RowTaps<'a> = &'a [(usize, usize)];

impl Plane {
    fn new(geometry: &Geometry) -> Self {
        let mode = geometry.spec.mode;
        let cols = TapAxis::forward(&geometry.cols, mode);
        let outputs = 0..cols.output;
        let interior =
            (0..cols.offsets.len()).fold(outputs, |outputs, tap| cols.interior(outputs, tap));
        Self { rows: TapAxis::forward(&geometry.rows, mode), cols, interior }
    }

    /// Lists the image row and kernel row of each tap row that doesn't read zeros.
    fn row_taps(&self, output: usize, taps: &mut Vec<(usize, usize)>) {
        taps.clear();
        let source = |tap| self.rows.source(output, tap).map(|row| (row, tap));
        taps.extend((0..self.rows.offsets.len()).filter_map(source));
    }

    /// The image columns that outputs from `first` read through `tap`, all of them inside.
    #[inline(always)]
    fn inside<'a, T>(&self, x: &'a [T], row: usize, first: usize, tap: usize) -> &'a [T] {
        let col = (first * self.cols.step) as isize + self.cols.offsets[tap];
        &x[row * self.cols.input + col as usize..]
    }

    /// The outputs outside the interior.
    fn border(&self) -> impl Iterator<Item = usize> {
        (0..self.interior.start).chain(self.interior.end..self.cols.output)
    }
}

/// Writes `y`, `[B, O, OH, OW]`.
pub fn forward<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let plane = &Plane::new(geometry);
    let spec = &geometry.spec;
    let threads = engine.threads(geometry.maccs());
    for_each_chunk(threads, y, geometry.output_pixels(), |index, y| {
        let (image, channel) = (index / spec.out_channels, index % spec.out_channels);
        let source = image * spec.in_channels + channel / spec.group_outputs();
        let kernel = Forward {
            plane,
            x: &x[source * geometry.input_pixels()..][..geometry.input_pixels()],
            weight: &weight[channel * spec.taps()..][..spec.taps()],
            bias: bias.map_or(T::zero(), |bias| bias[channel]),
            y,
        };
        T::dispatch_to(engine.isa, kernel);
    });
}

struct Forward<'a, T> {
    plane: &'a Plane,
    x: &'a [T],
    weight: &'a [T],
    bias: T,
    y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { plane, x, weight, bias, y } = self;
        let mut row_taps = Vec::with_capacity(plane.rows.offsets.len());
        let kernel_cols = plane.cols.offsets.len();
        let (input_cols, interior) = (plane.cols.input, &plane.interior);
        let whole = interior.start..interior.end - interior.len() % BLOCK;
        for (row, y) in y.chunks_exact_mut(plane.cols.output).enumerate() {
            plane.row_taps(row, &mut row_taps);
            let pixel = |output: usize| {
                let mut sum = bias;
                for &(row, row_tap) in &row_taps {
                    for tap in 0..kernel_cols {
                        if let Some(col) = plane.cols.source(output, tap) {
                            let weight = weight[row_tap * kernel_cols + tap];
                            sum = simd.fma_scalar(weight, x[row * input_cols + col], sum);
                        }
                    }
                }
                sum
            };
            for output in plane.border().chain(whole.end..interior.end) {
                y[output] = pixel(output);
            }
            for first in whole.clone().step_by(BLOCK) {
                let mut sums = [bias; BLOCK];
                for &(row, row_tap) in row_taps.as_slice() as RowTaps {
                    for tap in 0..kernel_cols {
                        let weight = weight[row_tap * kernel_cols + tap];
                        let line = plane.inside(x, row, first, tap);
                        if plane.cols.step == 1 {
                            for (sum, &pixel) in sums.iter_mut().zip(&line[..BLOCK]) {
                                *sum = simd.fma_scalar(weight, pixel, *sum);
                            }
                        } else {
                            for (sum, &pixel) in
                                sums.iter_mut().zip(line.iter().step_by(plane.cols.step))
                            {
                                *sum = simd.fma_scalar(weight, pixel, *sum);
                            }
                        }
                    }
                }
                y[first..first + BLOCK].copy_from_slice(&sums);
            }
        }
    }
}

/// Writes `dx`, `[B, I, H, W]`.
pub fn input_gradient<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    let plane = &Plane::new(geometry);
    let spec = &geometry.spec;
    let threads = engine.threads(geometry.maccs());
    let pixels = geometry.output_pixels();
    let outputs = spec.group_outputs();
    for_each_chunk(threads, dx, geometry.input_pixels(), |index, dx| {
        let (image, channel) = (index / spec.in_channels, index % spec.in_channels);
        let first = image * spec.out_channels + channel * outputs;
        let kernel = InputGradient {
            plane,
            weight: &weight[channel * outputs * spec.taps()..][..outputs * spec.taps()],
            dy: &dy[first * pixels..][..outputs * pixels],
            dx,
        };
        T::dispatch_to(engine.isa, kernel);
    });
}

struct InputGradient<'a, T> {
    plane: &'a Plane,
    /// `[r, M, N]`.
    weight: &'a [T],
    /// `[r, OH, OW]`.
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for InputGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { plane, weight, dy, dx } = self;
        let (kernel_cols, interior) = (plane.cols.offsets.len(), &plane.interior);
        let taps = plane.rows.offsets.len() * kernel_cols;
        let (input_cols, step) = (plane.cols.input, plane.cols.step);
        let mut row_taps = Vec::with_capacity(plane.rows.offsets.len());
        dx.fill(T::zero());
        let planes = dy.chunks_exact(plane.rows.output * plane.cols.output);
        for (weight, dy) in weight.chunks_exact(taps).zip(planes) {
            for (row, dy) in dy.chunks_exact(plane.cols.output).enumerate() {
                plane.row_taps(row, &mut row_taps);
                for &(row, row_tap) in row_taps.as_slice() as RowTaps {
                    let dx = &mut dx[row * input_cols..][..input_cols];
                    for tap in 0..kernel_cols {
                        let weight = weight[row_tap * kernel_cols + tap];
                        for output in plane.border() {
                            if let Some(col) = plane.cols.source(output, tap) {
                                dx[col] = simd.fma_scalar(weight, dy[output], dx[col]);
                            }
                        }
                        if interior.is_empty() {
                            continue;
                        }
                        let first = (interior.start * step) as isize + plane.cols.offsets[tap];
                        let dx = &mut dx[first as usize..];
                        let dy = &dy[interior.clone()];
                        if step == 1 {
                            for (dx, &dy) in dx.iter_mut().zip(dy) {
                                *dx = simd.fma_scalar(weight, dy, *dx);
                            }
                        } else {
                            for (dx, &dy) in dx.iter_mut().step_by(step).zip(dy) {
                                *dx = simd.fma_scalar(weight, dy, *dx);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Writes `dw`, `[O, 1, M, N]`.
pub fn kernel_gradient<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let plane = &Plane::new(geometry);
    let threads = engine.threads(geometry.maccs());
    for_each_chunk(threads, dw, geometry.spec.taps(), |channel, dw| {
        let kernel = KernelGradient { geometry, plane, channel, x, dy, dw };
        T::dispatch_to(engine.isa, kernel);
    });
}

struct KernelGradient<'a, T> {
    geometry: &'a Geometry,
    plane: &'a Plane,
    channel: usize,
    x: &'a [T],
    dy: &'a [T],
    dw: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for KernelGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { geometry, plane, channel, x, dy, dw } = self;
        let spec = &geometry.spec;
        let (pixels, outputs) = (geometry.input_pixels(), geometry.output_pixels());
        let (kernel_cols, interior) = (plane.cols.offsets.len(), &plane.interior);
        let (input_cols, step) = (plane.cols.input, plane.cols.step);
        let mut row_taps = Vec::with_capacity(plane.rows.offsets.len());
        // BLOCK partial sums a tap, by position in the row.
        let mut sums = vec![[T::zero(); BLOCK]; dw.len()];
        for image in 0..geometry.batch {
            let source = image * spec.in_channels + channel / spec.group_outputs();
            let x = &x[source * pixels..][..pixels];
            let dy = &dy[(image * spec.out_channels + channel) * outputs..][..outputs];
            for (row, dy) in dy.chunks_exact(plane.cols.output).enumerate() {
                plane.row_taps(row, &mut row_taps);
                for &(row, row_tap) in row_taps.as_slice() as RowTaps {
                    for tap in 0..kernel_cols {
                        let sums = &mut sums[row_tap * kernel_cols + tap];
                        for output in plane.border() {
                            if let Some(col) = plane.cols.source(output, tap) {
                                let pixel = x[row * input_cols + col];
                                sums[0] = simd.fma_scalar(dy[output], pixel, sums[0]);
                            }
                        }
                        if interior.is_empty() {
                            continue;
                        }
                        let line = plane.inside(x, row, interior.start, tap);
                        let dy = &dy[interior.clone()];
                        if step == 1 {
                            let blocks = dy.chunks(BLOCK).zip(line[..dy.len()].chunks(BLOCK));
                            for (dy, line) in blocks {
                                for ((sum, &dy), &pixel) in sums.iter_mut().zip(dy).zip(line) {
                                    *sum = simd.fma_scalar(dy, pixel, *sum);
                                }
                            }
                        } else {
                            for (index, (&dy, &pixel)) in
                                dy.iter().zip(line.iter().step_by(step)).enumerate()
                            {
                                let sum = &mut sums[index % BLOCK];
                                *sum = simd.fma_scalar(dy, pixel, *sum);
                            }
                        }
                    }
                }
            }
        }
        for (value, sums) in dw.iter_mut().zip(&sums) {
            *value = sums.iter().fold(T::zero(), |total, &sum| total + sum);
        }
    }
}
