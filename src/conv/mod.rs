//! Plain convolution: knows images and one kernel, and never `D`.
//!
//! The functions below are the one seam of the engine: a [`Geometry`] and contiguous slices in,
//! contiguous slices out. Every slice has the length that the geometry gives.
//!
//! | word | what it is |
//! | --- | --- |
//! | tap | one of the kernel's `M·N` places, or of the rows or columns of an axis |
//! | line | a row of output pixels, or what is copied for one of input pixels |
//! | block | a rectangle of output pixels of one or more images that a task computes at a time |
//! | strip | the input pixels that a block reads, copied so that each tap reads neighbours |
//! | segment | a part of a strip's row: its positions are one step of the layer apart |
//! | piece | some pixels of a line, no more than a register tile has rows |
//! | part | some pixels of a piece, which the same taps don't read zeros through |
//! | stretch | what a register tile sums in one go: one tap, through all channels of a strip |
//! | panel | as many rows of the kernel's matrix as a register has lanes, side by side |
//! | phase | the input pixels, a stride apart, that the same taps reach in the gradient of the input |

mod border;
pub mod correlation;
pub mod direct;
pub mod engine;
pub mod gemm;
pub mod input_gradient;
pub mod kernel_view;
pub mod product;
pub mod strip;
mod sum;
#[cfg(test)]
mod tests;
pub mod weights;
pub mod winograd;

use crate::config::geometry::Geometry;
use crate::machine::element::Element;
use crate::machine::memory::{Need, Room, Scratch};
use crate::machine::shared::Shared;
use correlation::{Correlation, Target};
use engine::Engine;
use product::Product;
use strip::axis::TapAxis;
use weights::Weights;
use winograd::points::Family;

/// Writes `y = weight * x + bias`, if there is room for what that needs.
pub fn forward<T: Element>(
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
    let family = Family::of(geometry.algorithm());
    let product = Product::new(engine, family.as_ref(), &correlation, weights, x, bias)?;
    let scratch = Scratch::take(engine.memory, product.need())?;
    product.run(&scratch, &Shared::new(y));
    Ok(())
}

/// How the kernel's gradient reads the rows and columns of `x`.
pub fn kernel_axes(geometry: &Geometry) -> [TapAxis; 2] {
    [&geometry.rows, &geometry.cols].map(|axis| TapAxis::forward(axis, geometry.spec.mode))
}

/// The gradient of the kernel, ready to be computed.
pub enum KernelGradient<'a, T: Element> {
    /// Of no pixels.
    Zero,
    Direct(direct::kernel_gradient::Job<'a, T>),
    Blocked(gemm::kernel_gradient::Job<'a, T>),
    Winograd(Box<winograd::kernel_gradient::Job<'a, T>>),
}

impl<'a, T: Element> KernelGradient<'a, T> {
    /// With the [`kernel_axes`].
    pub fn new(
        engine: &Engine<'a, T>,
        geometry: &'a Geometry,
        axes: &'a [TapAxis; 2],
        x: &'a [T],
        dy: &'a [T],
    ) -> Room<Self> {
        if let (Some(family), false) = (Family::of(geometry.algorithm()), dy.is_empty()) {
            let job = winograd::kernel_gradient::Job::new(engine, family, geometry, axes, x, dy)?;
            return Ok(Self::Winograd(Box::new(job)));
        }
        Ok(match direct::suits(geometry.spec.group_outputs()) {
            _ if dy.is_empty() => Self::Zero,
            true => Self::Direct(direct::kernel_gradient::Job::new(engine, geometry, axes, x, dy)),
            false => Self::Blocked(gemm::kernel_gradient::Job::new(engine, geometry, axes, x, dy)?),
        })
    }

    /// What [`KernelGradient::run`] works in.
    pub fn need(&self) -> Need {
        match self {
            Self::Zero => Need::default(),
            Self::Direct(job) => job.need(),
            Self::Blocked(job) => job.need(),
            Self::Winograd(job) => job.need(),
        }
    }

    /// Writes the gradient to `dw`.
    pub fn run(&self, scratch: &Scratch<T>, dw: &mut [T]) {
        match self {
            Self::Zero => dw.fill(T::zero()),
            Self::Direct(job) => job.run(scratch, dw),
            Self::Blocked(job) => job.run(scratch, dw),
            Self::Winograd(job) => job.run(scratch, dw),
        }
    }
}

/// Writes the gradient of the bias, the sum of `dy` over images and pixels.
pub fn bias_gradient<T: Element>(geometry: &Geometry, dy: &[T], db: &mut [T]) {
    let (channels, pixels) = (geometry.spec.out_channels, geometry.output_pixels());
    for (channel, db) in db.iter_mut().enumerate() {
        let mut sum = sum::Pairwise::default();
        for image in 0..geometry.batch {
            sum.add(&dy[(image * channels + channel) * pixels..][..pixels]);
        }
        *db = sum.total();
    }
}
