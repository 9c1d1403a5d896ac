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
mod sum;
#[cfg(test)]
mod tests;

pub(crate) use layer::resolve_gradient;
pub use layer::{Conv2d, Conv2dGradients, Conv2dGradientsMut};

use rayon::prelude::*;

use crate::compose::Composer;
use crate::geometry::{Geometry, Spec};
use crate::memory::Memory;
use crate::{PaddingMode, Scalar};
use axis::TapAxis;
use gemm::Engine;
use gemm::correlate::{Correlation, Images, Target};
use gemm::kernel::{Depthwise, KernelView, PackedKernel};
use shared::Shared;

/// A kernel in the form of the path that suits its channels.
#[derive(Debug)]
pub(crate) enum Weights<'a, T> {
    /// As it is.
    Direct(KernelView<'a, T>),
    Packed(PackedKernel<T>),
    /// As [`Weights::Packed`], kept elsewhere.
    Kept(&'a PackedKernel<T>),
}

/// Which way a kernel maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the input to the output.
    Forward,
    /// From the gradient of the output to that of the input.
    Transposed,
}

impl Way {
    /// Whether kernels stay as they are this way.
    pub(crate) fn is_direct(self, spec: &Spec) -> bool {
        direct::suits(match self {
            Self::Forward => spec.group_outputs(),
            Self::Transposed => spec.group_inputs(),
        })
    }

    /// Packs the kernel `weight`, `[O, n, M, N]`. It must not stay as it is.
    pub(crate) fn pack<T: Scalar>(
        self,
        engine: &Engine<T>,
        spec: &Spec,
        weight: &[T],
    ) -> PackedKernel<T> {
        PackedKernel::new(engine, &self.view(spec, weight, spec.taps()), None)
    }

    /// A view of `data`, `[O, n, taps]`.
    fn view<'a, T>(self, spec: &Spec, data: &'a [T], taps: usize) -> KernelView<'a, T> {
        let size = [spec.group_outputs(), spec.group_inputs(), taps];
        match self {
            Self::Forward => KernelView::forward(data, spec.groups, size),
            Self::Transposed => KernelView::transposed(data, spec.groups, size),
        }
    }
}

impl<'a, T: Scalar> Weights<'a, T> {
    /// Of the kernel `weight`, `[O, n, M, N]`.
    pub(crate) fn new(engine: &Engine<T>, spec: &Spec, way: Way, weight: &'a [T]) -> Self {
        match way.is_direct(spec) {
            true => Self::Direct(way.view(spec, weight, spec.taps())),
            false => Self::Packed(way.pack(engine, spec, weight)),
        }
    }

    /// Of the kernel composed of `D` and `W`, which never exists in another form. The composer must pair
    /// by input channel, and the way not be direct.
    pub(crate) fn composed(
        engine: &Engine<T>,
        spec: &Spec,
        way: Way,
        composer: &Composer,
        [d_offset, w]: [&[T]; 2],
    ) -> Self {
        let depthwise = Depthwise::new(engine, composer, d_offset, way == Way::Transposed);
        let view = way.view(spec, w, composer.d_mul);
        Self::Packed(PackedKernel::new(engine, &view, Some(&depthwise)))
    }

    /// Gives buffers back.
    pub(crate) fn give_to(self, memory: &Memory<T>) {
        if let Self::Packed(kernel) = self {
            memory.give(kernel.into_buffer());
        }
    }

    /// Computes a correlation.
    fn correlate(
        &self,
        engine: &Engine<T>,
        correlation: &Correlation,
        x: &[T],
        bias: Option<&[T]>,
        y: &Shared<T>,
    ) {
        let flat = correlation.flattened();
        let correlation = flat.as_ref().unwrap_or(correlation);
        match self {
            Self::Direct(view) => direct::correlate(engine, correlation, view, x, bias, y),
            Self::Packed(kernel) | &Self::Kept(kernel) => {
                let Correlation { rows, cols, taps, group_channels, .. } = correlation;
                let depths = engine.blocking.depths(group_channels[0], taps.len());
                let channels = correlation.groups * group_channels[0];
                let x = Images { x, channels, plane: rows.input * cols.input };
                gemm::correlate::run(engine, correlation, depths, kernel, &x, bias, y);
            }
        }
    }
}

/// Writes `y = weight * x + bias`.
pub(crate) fn forward<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    x: &[T],
    weights: &Weights<T>,
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
    weights.correlate(engine, &correlation, x, bias, &Shared::new(y));
}

/// Writes the gradient of `x` as if padding were zeros, for weights the other way.
pub(crate) fn input_gradient<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    weights: &Weights<T>,
    dy: &[T],
    dx: &mut [T],
) {
    if !dx.is_empty() {
        gemm::input_gradient::run(engine, geometry, weights, dy, dx);
    }
}

/// Adds to the gradient of `x` what comes through padding that isn't zeros.
pub(crate) fn add_padding_gradient<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
) {
    if !dx.is_empty() && geometry.spec.mode != PaddingMode::Zeros {
        gemm::input_gradient::add_padding(engine, geometry, weight, dy, dx);
    }
}

/// Writes the gradient of the kernel.
pub(crate) fn kernel_gradient<T: Scalar>(
    engine: &Engine<T>,
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
    let (channels, pixels) = (geometry.spec.out_channels, geometry.output_pixels());
    for (channel, db) in db.iter_mut().enumerate() {
        let mut sum = sum::Pairwise::default();
        for image in 0..geometry.batch {
            sum.add(&dy[(image * channels + channel) * pixels..][..pixels]);
        }
        *db = sum.total();
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
