//! A kernel in the form that suits its channels.

use super::direct;
use super::engine::Engine;
use super::gemm::panels::PackedKernel;
use super::kernel_view::KernelView;
use crate::config::geometry::Spec;
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Room};

/// A kernel in the form of the path that suits its channels.
#[derive(Debug)]
pub enum Weights<'a, T: Element> {
    /// As it is; packed besides if it isn't finite.
    Direct(KernelView<'a, T>, Option<PackedKernel<Buffer<'a, T>>>),
    Packed(PackedKernel<Buffer<'a, T>>),
    /// As [`Weights::Packed`], kept elsewhere.
    Kept(&'a PackedKernel<Vec<T>>),
}

/// Which way a kernel maps images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the input to the output.
    Forward,
    /// From the gradient of the output to that of the input.
    Transposed,
}

impl Direction {
    /// Whether kernels stay as they are this direction.
    pub fn is_direct(self, spec: &Spec) -> bool {
        direct::suits(match self {
            Self::Forward => spec.group_outputs(),
            Self::Transposed => spec.group_inputs(),
        })
    }

    /// Packs the kernel `weight`, `[O, n, M, N]`. Not of a direct path, which reads it as an array.
    pub fn pack<'m, T: Element>(
        self,
        engine: &Engine<'m, T>,
        spec: &Spec,
        weight: &[T],
    ) -> Room<PackedKernel<Buffer<'m, T>>> {
        PackedKernel::new(engine, &self.view(spec, weight))
    }

    /// A view of the kernel `weight`, `[O, n, M, N]`.
    fn view<'a, T: Element>(self, spec: &Spec, weight: &'a [T]) -> KernelView<'a, T> {
        let size = [spec.group_outputs(), spec.group_inputs(), spec.taps()];
        match self {
            Self::Forward => KernelView::forward(weight, spec.groups, size),
            Self::Transposed => KernelView::transposed(weight, spec.groups, size),
        }
    }
}

impl<'a, T: Element> Weights<'a, T> {
    /// Of the kernel `weight`, `[O, n, M, N]`.
    pub fn new(
        engine: &Engine<'a, T>,
        spec: &Spec,
        direction: Direction,
        weight: &'a [T],
    ) -> Room<Self> {
        if !direction.is_direct(spec) {
            return Ok(Self::Packed(direction.pack(engine, spec, weight)?));
        }
        let is_finite = weight.iter().all(|weight| weight.is_finite());
        let packed = (!is_finite).then(|| direction.pack(engine, spec, weight)).transpose()?;
        Ok(Self::Direct(direction.view(spec, weight), packed))
    }
}
