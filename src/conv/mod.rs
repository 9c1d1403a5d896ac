//! Plain convolution: knows images and one kernel, and never `D`.
//!
//! The functions below are the one seam of the engine: a [`Geometry`] and contiguous slices in,
//! contiguous slices out. Every slice has the length that the geometry gives.

pub(crate) mod axis;
mod border;
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

use crate::geometry::{Geometry, Spec};
use crate::kernels::Factors;
use crate::memory::{Buffer, Need, Room, Scratch};
use crate::{PaddingMode, Scalar};
use axis::TapAxis;
use gemm::Engine;
use gemm::correlate::{self, Correlation, Images, Target};
use gemm::input_gradient::{self, Padding};
use gemm::kernel::{Depthwise, KernelView, PackedKernel};
use gemm::kernel_gradient;
use shared::Shared;

/// A kernel in the form of the path that suits its channels.
#[derive(Debug)]
pub(crate) enum Weights<'a, T: Scalar> {
    /// As it is; packed besides if it isn't finite.
    Direct(KernelView<'a, T>, Option<PackedKernel<Buffer<'a, T>>>),
    Packed(PackedKernel<Buffer<'a, T>>),
    /// As [`Weights::Packed`], kept elsewhere.
    Kept(&'a PackedKernel<Vec<T>>),
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
    pub(crate) fn pack<'m, T: Scalar>(
        self,
        engine: &Engine<'m, T>,
        spec: &Spec,
        weight: &[T],
    ) -> Room<PackedKernel<Buffer<'m, T>>> {
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
    pub(crate) fn new(
        engine: &Engine<'a, T>,
        spec: &Spec,
        way: Way,
        weight: &'a [T],
    ) -> Room<Self> {
        if !way.is_direct(spec) {
            return Ok(Self::Packed(way.pack(engine, spec, weight)?));
        }
        let is_finite = weight.iter().all(|weight| weight.is_finite());
        let packed = (!is_finite).then(|| way.pack(engine, spec, weight)).transpose()?;
        Ok(Self::Direct(way.view(spec, weight, spec.taps()), packed))
    }

    /// Of the kernel composed of `D` and `W`, which never exists in another form. The composer must pair
    /// by input channel, and the way not be direct.
    pub(crate) fn composed(
        engine: &Engine<'a, T>,
        spec: &Spec,
        way: Way,
        Factors { composer, d_offset, w }: Factors<T>,
    ) -> Room<Self> {
        let depthwise = Depthwise::new(engine, composer, d_offset, way == Way::Transposed)?;
        let view = way.view(spec, w, composer.d_mul);
        Ok(Self::Packed(PackedKernel::new(engine, &view, Some(&depthwise))?))
    }

    /// A correlation by the kernel.
    fn product(
        &'a self,
        engine: &Engine<'a, T>,
        correlation: &'a Correlation,
        x: &'a [T],
        bias: Option<&'a [T]>,
    ) -> Room<Product<'a, T>> {
        let blocked = |panels| {
            let Correlation { rows, cols, taps, group_channels, .. } = correlation;
            let depths = engine.blocking.depths(group_channels[0], taps.len());
            let channels = correlation.groups * group_channels[0];
            let x = Images { x, channels, plane: rows.input * cols.input };
            Path::Blocked(correlate::Job::new(engine, correlation, depths, panels, x, bias))
        };
        let (path, panels) = match self {
            Self::Direct(view, packed) => {
                let job = direct::Job::new(engine, correlation, view, x, bias)?;
                (Path::Direct(job), packed.as_ref().map(PackedKernel::view))
            }
            Self::Packed(kernel) => (blocked(kernel.view()), Some(kernel.view())),
            Self::Kept(kernel) => (blocked(kernel.view()), Some(kernel.view())),
        };
        let border =
            panels.and_then(|panels| border::Job::new(engine, correlation, panels, x, bias));
        Ok(Product { path, border })
    }
}

/// A correlation, ready to be computed.
struct Product<'a, T: Scalar> {
    path: Path<'a, T>,
    /// What is computed again since weights aren't finite.
    border: Option<border::Job<'a, T>>,
}

/// The path that suits a correlation's channels.
enum Path<'a, T: Scalar> {
    Direct(direct::Job<'a, T>),
    Blocked(correlate::Job<'a, T, Images<'a, T>>),
}

impl<T: Scalar> Product<'_, T> {
    fn need(&self) -> Need {
        match &self.path {
            Path::Direct(job) => job.need(),
            Path::Blocked(job) => job.need(),
        }
    }

    fn run(&self, scratch: &Scratch<T>, y: &Shared<T>) {
        match &self.path {
            Path::Direct(job) => job.run(scratch, y),
            Path::Blocked(job) => job.run(scratch, y),
        }
        if let Some(border) = &self.border {
            border.run(y);
        }
    }
}

/// Writes `y = weight * x + bias`, if there is room for what that needs.
pub(crate) fn forward<T: Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    x: &[T],
    weights: &Weights<T>,
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    // An empty batch says nothing of how large its images claim to be.
    if y.is_empty() {
        return Ok(());
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
    }
    .flattened();
    let product = weights.product(engine, &correlation, x, bias)?;
    let scratch = Scratch::take(engine.memory, product.need())?;
    product.run(&scratch, &Shared::new(y));
    Ok(())
}

/// The correlations of `dy` that make the gradient of the input.
pub(crate) fn input_correlations(geometry: &Geometry) -> Vec<Correlation> {
    match geometry.input_shape().contains(&0) {
        true => Vec::new(),
        false => input_gradient::correlations(geometry),
    }
}

/// The gradient of the input, ready to be computed.
pub(crate) struct InputGradient<'a, T: Scalar> {
    products: Vec<Product<'a, T>>,
    has_gaps: bool,
    /// What comes through padding that isn't zeros.
    padding: Option<Padding<'a, T>>,
}

impl<'a, T: Scalar> InputGradient<'a, T> {
    /// By the [`input_correlations`] and weights the other way; where padding isn't zeros, by the kernel
    /// `weight`, `[O, n, M, N]`, too.
    pub(crate) fn new(
        engine: &Engine<'a, T>,
        geometry: &'a Geometry,
        correlations: &'a [Correlation],
        weights: &'a Weights<'a, T>,
        weight: Option<&[T]>,
        dy: &'a [T],
    ) -> Room<Self> {
        let products =
            correlations.iter().map(|correlation| weights.product(engine, correlation, dy, None));
        let products: Vec<_> = products.collect::<Room<_>>()?;
        let has_gaps = input_gradient::has_gaps(geometry, correlations);
        let is_empty = geometry.input_shape().contains(&0);
        let padded = geometry.spec.mode != PaddingMode::Zeros && !is_empty;
        let padding = weight.filter(|_| padded);
        let padding =
            padding.map(|weight| Padding::new(engine, geometry, weight, dy)).transpose()?;
        Ok(Self { products, has_gaps, padding })
    }

    /// What [`InputGradient::run`] works in.
    pub(crate) fn need(&self) -> Need {
        let of_products = self.products.iter().map(Product::need);
        of_products.chain(self.padding.as_ref().map(Padding::need)).fold(Need::default(), Need::or)
    }

    /// Writes the gradient to `dx`.
    pub(crate) fn run(&self, scratch: &Scratch<T>, dx: &mut [T]) {
        if self.has_gaps {
            dx.fill(T::zero());
        }
        let shared = Shared::new(dx);
        self.products.iter().for_each(|product| product.run(scratch, &shared));
        if let Some(padding) = &self.padding {
            padding.add(scratch, dx);
        }
    }
}

/// How the kernel's gradient reads the rows and columns of `x`.
pub(crate) fn kernel_axes(geometry: &Geometry) -> [TapAxis; 2] {
    [&geometry.rows, &geometry.cols].map(|axis| TapAxis::forward(axis, geometry.spec.mode))
}

/// The gradient of the kernel, ready to be computed.
pub(crate) enum KernelGradient<'a, T> {
    /// Of no pixels.
    Zero,
    Direct(direct_gradient::Job<'a, T>),
    Blocked(kernel_gradient::Job<'a, T>),
}

impl<'a, T: Scalar> KernelGradient<'a, T> {
    /// With the [`kernel_axes`].
    pub(crate) fn new(
        engine: &Engine<T>,
        geometry: &'a Geometry,
        axes: &'a [TapAxis; 2],
        x: &'a [T],
        dy: &'a [T],
    ) -> Room<Self> {
        Ok(match direct::suits(geometry.spec.group_outputs()) {
            _ if dy.is_empty() => Self::Zero,
            true => Self::Direct(direct_gradient::Job::new(engine, geometry, axes, x, dy)),
            false => Self::Blocked(kernel_gradient::Job::new(engine, geometry, axes, x, dy)?),
        })
    }

    /// What [`KernelGradient::run`] works in.
    pub(crate) fn need(&self) -> Need {
        match self {
            Self::Zero => Need::default(),
            Self::Direct(job) => job.need(),
            Self::Blocked(job) => job.need(),
        }
    }

    /// Writes the gradient to `dw`.
    pub(crate) fn run(&self, scratch: &Scratch<T>, dw: &mut [T]) {
        match self {
            Self::Zero => dw.fill(T::zero()),
            Self::Direct(job) => job.run(scratch, dw),
            Self::Blocked(job) => job.run(scratch, dw),
        }
    }
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
