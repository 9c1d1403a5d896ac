//! Feature composition: `y = W * (D∘x) + b`, a depthwise convolution by `D` followed by a 1×1
//! convolution by `W`, and its gradients.
//!
//! The features `F[i·S + s, p] = Σ_m D[c, m, s] · X[c, m, p]`, with the column matrix `X` of the image,
//! exist for a strip of [`LANES`] pixels at a time, never for a whole image:
//!
//! ```text
//! forward                                    backward, for each channel c
//!   F  = Dᵀ · X      for each channel          dF = Wᵀ · dy           of this channel
//!   y  = W · F + b                             dW += dy · Fᵀ          F recomputed
//!                                              dD += X · dFᵀ
//!                                              dx += D · dF           each row where X was read
//! ```

use rayon::prelude::*;

use crate::Scalar;
use crate::compose::{Composer, LANES};
use crate::conv::for_each_chunk;
use crate::conv::gemm::Engine;
use crate::conv::gemm::source::{Columns, PanelPlan, TapAxis, runs};
use crate::conv::simd::{Kernel, Simd};
use crate::geometry::Geometry;

/// One value for each pixel of a strip.
type Strip<T> = [T; LANES];

/// A layer's sizes and parameters.
pub(crate) struct Feature<'a, T> {
    engine: &'a Engine,
    geometry: &'a Geometry,
    composer: &'a Composer,
    /// `D`, `[I, MN, S]`.
    d: Vec<T>,
    /// `[O, n, S]`.
    w: &'a [T],
    rows: TapAxis,
    cols: TapAxis,
}

impl<'a, T: Scalar> Feature<'a, T> {
    /// `composer` must pair by input channel.
    pub fn new(
        engine: &'a Engine,
        geometry: &'a Geometry,
        composer: &'a Composer,
        d_offset: &[T],
        w: &'a [T],
    ) -> Self {
        let mode = geometry.spec.mode;
        Self {
            engine,
            geometry,
            composer,
            d: composer.depthwise(d_offset),
            w,
            rows: TapAxis::forward(&geometry.rows, mode),
            cols: TapAxis::forward(&geometry.cols, mode),
        }
    }

    /// Multiply-accumulates of the forward pass; saturates.
    fn maccs(&self) -> usize {
        let features = self.geometry.spec.in_channels * self.composer.d_mul;
        let each = self.composer.taps + self.composer.group_outputs;
        let pixels = self.geometry.batch * self.geometry.output_pixels();
        pixels.saturating_mul(features).saturating_mul(each)
    }

    /// The column matrix of channel `channel`, or of channels from it on.
    fn columns<'x>(&'x self, x: &'x [T], channel: usize, channels: usize) -> Columns<'x, T> {
        Columns {
            x,
            channels: self.geometry.spec.in_channels,
            first_channel: channel,
            group_channels: channels,
            rows: &self.rows,
            cols: &self.cols,
        }
    }

    /// `D` of one channel, `[MN, S]`.
    fn depthwise(&self, channel: usize) -> &[T] {
        let len = self.composer.taps * self.composer.d_mul;
        &self.d[channel * len..][..len]
    }

    /// Writes `y`, `[B, O, OH, OW]`.
    pub fn forward(&self, x: &[T], bias: Option<&[T]>, y: &mut [T]) {
        if y.is_empty() {
            return;
        }
        let pixels = self.geometry.output_pixels();
        let outputs = self.composer.group_outputs;
        let threads = self.engine.threads(self.maccs());
        for_each_chunk(threads, y, outputs * pixels, |index, y| {
            let (image, group) = (index / self.composer.groups, index % self.composer.groups);
            let bias = bias.map(|bias| &bias[group * outputs..][..outputs]);
            let forward = Forward {
                feature: self,
                columns: self.columns(
                    x,
                    group * self.composer.group_inputs,
                    self.composer.group_inputs,
                ),
                image,
                w: &self.w[group * outputs * self.composer.group_inputs * self.composer.d_mul..],
                bias,
                y,
            };
            T::dispatch_to(self.engine.isa, forward);
        });
    }

    /// Writes the gradients for `x` and `dy`: `dw`, `[O, n, S]`, `dd_offset`, `[I, MN, S]`, and `dx`,
    /// `[B, I, H, W]`, if wanted.
    pub fn backward(
        &self,
        x: &[T],
        dy: &[T],
        dw: &mut [T],
        dd_offset: &mut [T],
        dx: Option<&mut [T]>,
    ) {
        let Composer { d_mul, taps, .. } = *self.composer;
        let channels = self.geometry.spec.in_channels;
        // What each channel owns: its slice of dd_offset, a row of dw for each output channel of its
        // group, and a plane of dx for each image.
        let mut tasks: Vec<_> = dd_offset
            .chunks_exact_mut(taps * d_mul)
            .enumerate()
            .map(|(channel, dd_offset)| Backward {
                feature: self,
                columns: self.columns(x, channel, 1),
                channel,
                dy,
                dd_offset,
                dw: Vec::with_capacity(self.composer.group_outputs),
                dx: Vec::new(),
            })
            .collect();
        let rows = dw.chunks_exact_mut(self.composer.group_inputs * d_mul).enumerate();
        for (output, rows) in rows {
            for (row, channel) in rows.chunks_exact_mut(d_mul).zip(self.composer.channels(output)) {
                tasks[channel].dw.push(row);
            }
        }
        let plane = self.geometry.input_pixels();
        if let (Some(dx), true) = (dx, plane > 0) {
            for (index, plane) in dx.chunks_exact_mut(plane).enumerate() {
                plane.fill(T::zero());
                tasks[index % channels].dx.push(plane);
            }
        }
        let run = |task| T::dispatch_to(self.engine.isa, task);
        if self.engine.threads(self.maccs()) == 1 {
            tasks.into_iter().for_each(run);
        } else {
            tasks.into_par_iter().for_each(run);
        }
    }
}

/// `target[j] = Σ_k matrix[k, j] · strips[k]`, the product of a transposed `[K, J]` matrix.
#[inline(always)]
fn transposed_product<T: Scalar, S: Simd<T>>(
    simd: S,
    matrix: &[T],
    strips: &[Strip<T>],
    targets: &mut [Strip<T>],
) {
    let columns = targets.len();
    for (column, target) in targets.iter_mut().enumerate() {
        let mut sums = [T::zero(); LANES];
        for (row, strip) in matrix.chunks_exact(columns).zip(strips) {
            multiply_add(simd, row[column], strip, &mut sums);
        }
        *target = sums;
    }
}

/// `sums += factor · strip`.
#[inline(always)]
fn multiply_add<T: Scalar, S: Simd<T>>(simd: S, factor: T, strip: &Strip<T>, sums: &mut Strip<T>) {
    for (sum, &value) in sums.iter_mut().zip(strip) {
        *sum = simd.fma_scalar(factor, value, *sum);
    }
}

/// `sums += a · b`, lane by lane.
#[inline(always)]
fn multiply_add_lanes<T: Scalar, S: Simd<T>>(
    simd: S,
    a: &Strip<T>,
    b: &Strip<T>,
    sums: &mut Strip<T>,
) {
    for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
        *sum = simd.fma_scalar(a, b, *sum);
    }
}

/// The forward pass of one group of one image.
struct Forward<'a, T> {
    feature: &'a Feature<'a, T>,
    columns: Columns<'a, T>,
    image: usize,
    w: &'a [T],
    bias: Option<&'a [T]>,
    y: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { feature, y, .. } = self;
        let Composer { taps, d_mul, group_inputs, .. } = *feature.composer;
        let pixels = feature.geometry.output_pixels();
        let mut plan = PanelPlan::default();
        let mut patch = vec![[T::zero(); LANES]; taps];
        let mut features = vec![[T::zero(); LANES]; group_inputs * d_mul];
        for start in (0..pixels).step_by(LANES) {
            let strip = start..pixels.min(start + LANES);
            let image_start = self.image * pixels;
            let image_pixels = image_start + strip.start..image_start + strip.end;
            self.columns.plan(simd, image_pixels, LANES, &mut plan);
            for (input, features) in features.chunks_exact_mut(d_mul).enumerate() {
                let depth = input * taps..(input + 1) * taps;
                let flat = patch.as_flattened_mut();
                self.columns.pack(simd, &plan, depth, LANES, flat);
                let channel = self.columns.first_channel + input;
                transposed_product(simd, feature.depthwise(channel), &patch, features);
            }
            let rows = self.w.chunks_exact(features.len());
            for (output, (y, row)) in y.chunks_exact_mut(pixels).zip(rows).enumerate() {
                let bias = self.bias.map_or(T::zero(), |bias| bias[output]);
                let mut sums = [bias; LANES];
                for (&w, features) in row.iter().zip(&features) {
                    multiply_add(simd, w, features, &mut sums);
                }
                y[strip.clone()].copy_from_slice(&sums[..strip.len()]);
            }
        }
    }
}

/// The gradients that belong to one channel.
struct Backward<'a, 'g, T> {
    feature: &'a Feature<'a, T>,
    columns: Columns<'a, T>,
    channel: usize,
    dy: &'a [T],
    /// `[MN, S]`.
    dd_offset: &'g mut [T],
    /// `[S]` for each output channel of the group.
    dw: Vec<&'g mut [T]>,
    /// `[H, W]` for each image, or empty.
    dx: Vec<&'g mut [T]>,
}

impl<T: Scalar> Kernel<T> for Backward<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let feature = self.feature;
        let geometry = feature.geometry;
        let Composer { taps, d_mul, group_inputs, group_outputs, .. } = *feature.composer;
        let pixels = geometry.output_pixels();
        let d = feature.depthwise(self.channel);
        let (group, input) = (self.channel / group_inputs, self.channel % group_inputs);
        let first_output = group * group_outputs;
        let zero = [T::zero(); LANES];
        let mut plan = PanelPlan::default();
        let mut patch = vec![zero; taps];
        let mut features = vec![zero; d_mul];
        let mut dfeatures = vec![zero; d_mul];
        let mut dpatch = vec![zero; taps];
        let mut dd_sums = vec![zero; taps * d_mul];
        let mut dw_sums = vec![zero; group_outputs * d_mul];
        for image in 0..geometry.batch {
            for start in (0..pixels).step_by(LANES) {
                let strip = start..pixels.min(start + LANES);
                let image_pixels = image * pixels + strip.start..image * pixels + strip.end;
                let flat = patch.as_flattened_mut();
                self.columns.plan(simd, image_pixels, LANES, &mut plan);
                self.columns.pack(simd, &plan, 0..taps, LANES, flat);
                transposed_product(simd, d, &patch, &mut features);
                dfeatures.fill(zero);
                for (index, sums) in dw_sums.chunks_exact_mut(d_mul).enumerate() {
                    let output = first_output + index;
                    let plane = (image * geometry.spec.out_channels + output) * pixels;
                    let mut dy = zero;
                    dy[..strip.len()]
                        .copy_from_slice(&self.dy[plane + strip.start..plane + strip.end]);
                    let w = &feature.w[(output * group_inputs + input) * d_mul..][..d_mul];
                    for (&w, dfeature) in w.iter().zip(&mut dfeatures) {
                        multiply_add(simd, w, &dy, dfeature);
                    }
                    for (features, sums) in features.iter().zip(sums) {
                        multiply_add_lanes(simd, &dy, features, sums);
                    }
                }
                let rows = patch.iter().zip(dd_sums.chunks_exact_mut(d_mul));
                for (patch, sums) in rows {
                    for (dfeature, sums) in dfeatures.iter().zip(sums) {
                        multiply_add_lanes(simd, patch, dfeature, sums);
                    }
                }
                if let Some(dx) = self.dx.get_mut(image) {
                    for (row, dpatch) in d.chunks_exact(d_mul).zip(&mut dpatch) {
                        *dpatch = zero;
                        for (&d, dfeature) in row.iter().zip(&dfeatures) {
                            multiply_add(simd, d, dfeature, dpatch);
                        }
                    }
                    scatter(feature, strip, &dpatch, dx);
                }
            }
        }
        let total = |sums: &Strip<T>| sums.iter().fold(T::zero(), |total, &sum| total + sum);
        for (value, sums) in self.dd_offset.iter_mut().zip(&dd_sums) {
            *value = total(sums);
        }
        for (row, sums) in self.dw.iter_mut().zip(dw_sums.chunks_exact(d_mul)) {
            row.iter_mut().zip(sums).for_each(|(value, sums)| *value = total(sums));
        }
    }
}

/// Adds the gradient of a strip of the column matrix to the pixels that it was read from.
fn scatter<T: Scalar>(
    feature: &Feature<T>,
    pixels: std::ops::Range<usize>,
    dpatch: &[Strip<T>],
    dx: &mut [T],
) {
    let (rows, cols) = (&feature.rows, &feature.cols);
    let kernel_cols = cols.offsets.len();
    for run in runs(pixels, rows.output, cols.output) {
        for (tap, gradients) in dpatch.iter().enumerate() {
            let Some(row) = rows.source(run.row, tap / kernel_cols) else {
                continue;
            };
            let line = &mut dx[row * cols.input..][..cols.input];
            for (index, &gradient) in gradients[run.lane..][..run.len].iter().enumerate() {
                if let Some(col) = cols.source(run.col + index, tap % kernel_cols) {
                    line[col] += gradient;
                }
            }
        }
    }
}
