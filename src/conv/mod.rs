//! Plain convolution: knows images and one kernel, and never `D`.
//!
//! The functions below are the one seam of the engine: a [`Geometry`] and contiguous slices in,
//! contiguous slices out. Every slice has the length that the geometry gives.

pub(crate) mod axis;
mod direct;
mod direct_gradient;
pub(crate) mod gemm;
mod layer;
mod line;
mod queue;
pub(crate) mod shared;
pub(crate) mod simd;
#[cfg(test)]
mod tests;

pub(crate) use layer::resolve_gradient;
pub use layer::{Conv2d, Conv2dGradients, Conv2dGradientsMut};

use rayon::prelude::*;

use crate::Scalar;
use crate::geometry::Geometry;
use axis::TapAxis;
use gemm::Engine;
use gemm::correlate::{Correlation, Images, Target};
use gemm::kernel::{KernelView, PackedKernel};
use shared::Shared;

/// Writes `y = weight * x + bias`.
pub(crate) fn forward<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    // An empty batch says nothing of how large its images claim to be.
    if y.is_empty() {
        return;
    }
    let spec = &geometry.spec;
    let correlation = Correlation {
        batch: geometry.batch,
        groups: spec.groups,
        group_channels: [spec.group_inputs(), spec.group_outputs()],
        rows: TapAxis::forward(&geometry.rows, spec.mode),
        cols: TapAxis::forward(&geometry.cols, spec.mode),
        taps: (0..spec.taps()).collect(),
        target: Target {
            plane: [geometry.rows.output, geometry.cols.output],
            origin: [0, 0],
            step: [1, 1],
        },
    };
    let depth = spec.group_inputs() * spec.taps();
    let view = KernelView {
        data: weight,
        groups: spec.groups,
        size: [spec.group_outputs(), spec.group_inputs(), spec.taps()],
        group: spec.group_outputs() * depth,
        row_stride: depth,
        channel_stride: spec.taps(),
    };
    Weights::new(engine, &view).correlate(engine, &correlation, x, bias, &Shared::new(y));
}

/// A kernel in the form of the path that suits its channels.
enum Weights<'a, T> {
    Direct(KernelView<'a, T>),
    Packed(PackedKernel<T>),
}

impl<'a, T: Scalar> Weights<'a, T> {
    fn new(engine: &Engine, view: &KernelView<'a, T>) -> Self {
        match direct::suits(view.size[0]) {
            true => Self::Direct(*view),
            false => Self::Packed(PackedKernel::new(engine, view)),
        }
    }

    /// Computes a correlation.
    fn correlate(
        &self,
        engine: &Engine,
        correlation: &Correlation,
        x: &[T],
        bias: Option<&[T]>,
        y: &Shared<T>,
    ) {
        let flat = correlation.flattened();
        let correlation = flat.as_ref().unwrap_or(correlation);
        match self {
            Self::Direct(view) => direct::correlate(engine, correlation, view, x, bias, y),
            Self::Packed(kernel) => {
                let Correlation { rows, cols, taps, group_channels, .. } = correlation;
                let depths = engine.blocking.depths(group_channels[0], taps.len());
                let x = Images { x, plane: rows.input * cols.input };
                gemm::correlate::run(engine, correlation, depths, kernel, &x, bias, y);
            }
        }
    }
}

/// Writes the gradient of `x`.
pub(crate) fn input_gradient<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    if dx.is_empty() {
        return;
    }
    gemm::input_gradient::run(engine, geometry, weight, dy, dx);
}

/// Writes the gradient of the kernel.
pub(crate) fn kernel_gradient<T: Scalar>(
    engine: &Engine,
    geometry: &Geometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    if dy.is_empty() {
        return dw.fill(T::zero());
    }
    if direct::suits(geometry.spec.group_outputs()) {
        return direct_gradient::run(engine, geometry, x, dy, dw);
    }
    gemm::kernel_gradient::run(engine, geometry, x, dy, dw);
}

/// Writes the gradient of the bias, the sum of `dy` over images and pixels.
pub(crate) fn bias_gradient<T: Scalar>(geometry: &Geometry, dy: &[T], db: &mut [T]) {
    // Independent partial sums by lane, so that additions needn't wait for each other.
    const LANES: usize = 32;
    let (channels, pixels) = (geometry.spec.out_channels, geometry.output_pixels());
    for (channel, db) in db.iter_mut().enumerate() {
        let mut sums = [T::zero(); LANES];
        for image in 0..geometry.batch {
            let plane = &dy[(image * channels + channel) * pixels..][..pixels];
            for block in plane.chunks(LANES) {
                sums.iter_mut().zip(block).for_each(|(sum, &value)| *sum += value);
            }
        }
        *db = sums.iter().fold(T::zero(), |total, &sum| total + sum);
    }
}

/// Calls `f` with the index and the elements of each chunk, the last of which may be shorter, on one
/// thread or on all.
pub(crate) fn for_each_chunk<T: Send>(
    threads: usize,
    data: &mut [T],
    size: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if size == 0 {
        return;
    }
    if threads == 1 {
        let chunks = data.chunks_mut(size).enumerate();
        chunks.for_each(|(index, chunk)| f(index, chunk));
    } else {
        let chunks = data.par_chunks_mut(size).enumerate();
        chunks.for_each(|(index, chunk)| f(index, chunk));
    }
}
