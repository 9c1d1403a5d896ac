//! A kernel in the form that suits its channels.

use super::direct;
use super::engine::Engine;
use super::gemm::panels::{AnyPanels, PackedKernel, PackedPanels, Panels};
use super::kernel_view::KernelView;
use super::winograd::{self, kernel::KernelForm, points::Family};
use crate::config::geometry::{Geometry, Spec};
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Room};

/// A kernel in the form of the path that suits its channels.
pub enum Weights<'a, T: Element> {
    /// As it is; packed besides if it isn't finite.
    Direct(KernelView<'a, T>, Option<PackedKernel<Buffer<'a, T>>>),
    Packed(PackedKernel<Buffer<'a, T>>),
    /// As [`Weights::Packed`], kept elsewhere.
    Kept(&'a PackedKernel<Vec<T>>),
    /// Packed and transformed piece by piece, while they are multiplied.
    Panels(Box<dyn AnyPanels<T> + 'a>),
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

    /// Packs a kernel in the form that the geometry's algorithm reads. Not of a direct path, which reads
    /// it as an array.
    pub fn pack<'m, T: Element>(
        self,
        engine: &Engine<'m, T>,
        geometry: &Geometry,
        kernel: &impl Panels<T>,
    ) -> Room<PackedKernel<Buffer<'m, T>>> {
        match Family::of(geometry.algorithm()) {
            Some(family) if packed_taps(engine, geometry) > geometry.spec.taps() => {
                let turned = self == Self::Transposed;
                PackedKernel::new(engine, &winograd::transformed(&family, kernel, turned))
            }
            _ => PackedKernel::new(engine, kernel),
        }
    }

    /// As [`Direction::pack`], the kernel `weight`, `[O, n, M, N]`.
    pub fn pack_array<'m, T: Element>(
        self,
        engine: &Engine<'m, T>,
        geometry: &Geometry,
        weight: &[T],
    ) -> Room<PackedKernel<Buffer<'m, T>>> {
        self.pack(engine, geometry, &self.view(&geometry.spec, weight))
    }

    /// The weights of a kernel on a path that isn't direct.
    pub fn weights<'a, T: Element>(
        self,
        engine: &Engine<'a, T>,
        geometry: &Geometry,
        kernel: impl Panels<T> + 'a,
    ) -> Room<Weights<'a, T>> {
        let is_transformed = Family::<T>::of(geometry.algorithm()).is_some();
        if is_transformed && packed_taps(engine, geometry) == geometry.spec.taps() {
            return Ok(Weights::Panels(Box::new(kernel)));
        }
        Ok(Weights::Packed(self.pack(engine, geometry, &kernel)?))
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

/// Taps of the packed kernel of a geometry, or points where that is transformed as a whole.
pub fn packed_taps<T: Element>(engine: &Engine<T>, geometry: &Geometry) -> usize {
    let spec = &geometry.spec;
    let points = Family::<T>::of(geometry.algorithm()).map(|family| family.points().pow(2));
    let is_whole = |points: &usize| {
        points * spec.out_channels * spec.group_inputs() <= engine.blocking.whole_kernel
    };
    points.filter(is_whole).unwrap_or(spec.taps())
}

impl<'a, T: Element> Weights<'a, T> {
    /// Of the kernel `weight`, `[O, n, M, N]`.
    pub fn new(
        engine: &Engine<'a, T>,
        geometry: &Geometry,
        direction: Direction,
        weight: &'a [T],
    ) -> Room<Self> {
        let spec = &geometry.spec;
        if !direction.is_direct(spec) {
            return direction.weights(engine, geometry, direction.view(spec, weight));
        }
        let is_finite = weight.iter().all(|weight| weight.is_finite());
        let packed =
            (!is_finite).then(|| direction.pack_array(engine, geometry, weight)).transpose()?;
        Ok(Self::Direct(direction.view(spec, weight), packed))
    }

    /// The kernel as Winograd's algorithms take it, unless it is read as it is and finite.
    pub fn form(&self) -> Option<KernelForm<'_, T>> {
        match self {
            Self::Panels(kernel) => Some(KernelForm::Panels(&**kernel)),
            _ => self.panels().map(KernelForm::Packed),
        }
    }

    /// The panels, if the kernel is packed.
    pub fn panels(&self) -> Option<PackedPanels<'_, T>> {
        match self {
            Self::Panels(_) => None,
            Self::Direct(_, packed) => packed.as_ref().map(PackedKernel::view),
            Self::Packed(kernel) => Some(kernel.view()),
            Self::Kept(kernel) => Some(kernel.view()),
        }
    }
}
