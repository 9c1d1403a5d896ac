//! Where `D`, `W` and images meet: the numeric work of layers for one element type, behind functions
//! that aren't generic. So it is compiled once and optimised as this crate is, not again in every crate
//! that uses a layer.

pub mod counts;
mod features;
mod panels;

use std::sync::OnceLock;

use crate::compose::{Composer, Factors};
use crate::config::Composition;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::padding::PaddingMode;
use crate::conv::engine::Engine;
use crate::conv::gemm::panels::PackedKernel;
use crate::conv::input_gradient::{self, InputGradient};
use crate::conv::weights::{Direction, Weights, packed_taps};
use crate::conv::winograd::points::Family;
use crate::conv::{self, KernelGradient};
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Memory, Need, Room, Scratch};
use counts::feature_is_cheaper;
use panels::ComposedPanels;

/// The kernel of a convolution.
#[derive(Debug, Clone, Copy)]
pub enum KernelSource<'a, T> {
    /// `[O, n, M, N]`.
    Plain(&'a [T]),
    /// Composed where it is needed.
    Composed(Factors<'a, T>),
}

/// Where gradients go, contiguous; none that isn't wanted.
#[derive(Debug)]
pub struct Targets<'a, T> {
    pub x: Option<&'a mut [T]>,
    pub kernel: Option<KernelTarget<'a, T>>,
    pub bias: Option<&'a mut [T]>,
}

/// Where the gradient of a kernel goes.
#[derive(Debug)]
pub enum KernelTarget<'a, T> {
    /// `[O, n, M, N]`.
    Plain(&'a mut [T]),
    /// To those of `W` and of the offset of `D`, which it is composed of; none that isn't wanted.
    Factors { dw: Option<&'a mut [T]>, dd_offset: Option<&'a mut [T]> },
}

/// A plain layer's kernel as it was packed first, until parameters change.
pub type Packed<T> = OnceLock<PackedKernel<Vec<T>>>;

/// What layers compute, on contiguous slices of the lengths that the geometry gives. Written for each
/// [`Element`]. Where there is no room for what a call works in, nothing is written.
pub trait Ops: Sized {
    /// Writes `y = kernel * x + bias`. Packs the kernel into `packed`, if that is given and empty.
    fn convolve(
        memory: &Memory<Self>,
        geometry: &Geometry,
        x: &[Self],
        kernel: KernelSource<Self>,
        packed: Option<&Packed<Self>>,
        bias: Option<&[Self]>,
        y: &mut [Self],
    ) -> Room<()>;

    /// Writes `y = W * (D∘x) + bias`.
    fn convolve_features(
        memory: &Memory<Self>,
        geometry: &Geometry,
        factors: Factors<Self>,
        x: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
    ) -> Room<()>;

    /// Writes the gradients of a convolution that are wanted, of which those of factors need a kernel
    /// that is composed of such.
    fn differentiate(
        memory: &Memory<Self>,
        geometry: &Geometry,
        kernel: KernelSource<Self>,
        x: &[Self],
        dy: &[Self],
        targets: Targets<Self>,
    ) -> Room<()>;

    /// Writes the composed kernel.
    fn compose(memory: &Memory<Self>, factors: Factors<Self>, weight: &mut [Self]) -> Room<()>;

    /// Writes the gradients of `W` and of the offset of `D` for that of the composed kernel.
    fn compose_gradients(
        memory: &Memory<Self>,
        factors: Factors<Self>,
        dweight: &[Self],
        dw: &mut [Self],
        dd_offset: &mut [Self],
    ) -> Room<()>;
}

/// The kernel in `packed`, packed if it isn't there yet; none if it is there in the form of another
/// algorithm, of images of another size. That runs outside of the cell's own initialisation: it shares its
/// work with threads that may themselves wait for the cell.
fn keep<'a, T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    packed: &'a Packed<T>,
    weight: &[T],
) -> Room<Option<&'a PackedKernel<Vec<T>>>> {
    let kept = match packed.get() {
        Some(kernel) => kernel,
        None => {
            let mut made = Some(Direction::Forward.pack_array(engine, geometry, weight)?);
            packed.get_or_init(|| made.take().expect("just made").into_kept())
        }
    };
    Ok(Some(kept).filter(|kept| kept.taps() == packed_taps(engine, geometry)))
}

impl Composer {
    /// The kernel of a layer of that composition: `w` itself where there is no `D`, as for a 1×1 kernel.
    pub fn kernel<'a, T>(&'a self, w: &'a [T], d_offset: Option<&'a [T]>) -> KernelSource<'a, T> {
        match d_offset {
            Some(d_offset) => KernelSource::Composed(Factors { composer: self, d_offset, w }),
            None => KernelSource::Plain(w),
        }
    }
}

impl Composition {
    /// Whether an image is computed by features, which there are none of without a `D`.
    fn is_by_feature(self, geometry: &Geometry, composer: &Composer) -> bool {
        let chosen = match self {
            Self::Kernel => false,
            Self::Feature => true,
            Self::Auto => {
                composer.pairing.is_by_input_channel(&geometry.spec)
                    && feature_is_cheaper(geometry, composer)
            }
        };
        chosen && composer.taps > 1
    }

    /// The algorithm of a forward pass: by features there is only the direct sum.
    pub(crate) fn algorithm(self, geometry: &Geometry, composer: &Composer) -> Algorithm {
        match self.is_by_feature(geometry, composer) {
            true => Algorithm::Direct,
            false => geometry.algorithm(),
        }
    }
}

impl<T: Ops> KernelSource<'_, T> {
    /// Writes `y = kernel * x + bias`, in the order of `D` and `W` that the composition chooses.
    pub fn convolve(
        self,
        composition: Composition,
        memory: &Memory<T>,
        geometry: &Geometry,
        x: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
    ) -> Room<()> {
        match self {
            Self::Composed(factors) if composition.is_by_feature(geometry, factors.composer) => {
                T::convolve_features(memory, geometry, factors, x, bias, y)
            }
            kernel => T::convolve(memory, geometry, x, kernel, None, bias, y),
        }
    }
}

impl<'a, T: Element> KernelSource<'a, T> {
    /// The factors, if their kernel is composed into packed panels and never exists as an array.
    fn packed_as_composed(self, spec: &Spec, direction: Direction) -> Option<Factors<'a, T>> {
        match self {
            Self::Composed(factors)
                if !direction.is_direct(spec)
                    && factors.composer.pairing.is_by_input_channel(spec) =>
            {
                Some(factors)
            }
            _ => None,
        }
    }

    /// The composed kernel, if `wanted` and not there yet.
    fn composed<'m>(self, engine: &Engine<'m, T>, wanted: bool) -> Room<Option<Buffer<'m, T>>> {
        let Self::Composed(Factors { composer, d_offset, w }) = self else { return Ok(None) };
        if !wanted {
            return Ok(None);
        }
        let mut weight = engine.memory.buffer(composer.weight_len())?;
        composer.compose(engine, d_offset, w, &mut weight)?;
        Ok(Some(weight))
    }

    /// The kernel as an array, `[O, n, M, N]`: the given one, or `composed`.
    fn plain(self, composed: &'a Option<Buffer<'_, T>>) -> Option<&'a [T]> {
        match self {
            Self::Plain(weight) => Some(weight),
            Self::Composed(_) => composed.as_deref(),
        }
    }

    /// The kernel in its path's form: composed straight into that, or made of the array `plain`.
    fn weights(
        self,
        engine: &Engine<'a, T>,
        geometry: &Geometry,
        direction: Direction,
        plain: Option<&'a [T]>,
    ) -> Room<Weights<'a, T>> {
        match self.packed_as_composed(&geometry.spec, direction) {
            Some(factors) => {
                let panels = ComposedPanels::new(engine, factors, direction)?;
                direction.weights(engine, geometry, panels)
            }
            None => Weights::new(engine, geometry, direction, plain.unwrap_or_default()),
        }
    }
}

/// Calls `work` with the engine, on a thread of the pool if the call is worth sharing.
fn enter<T: Element, R: Send>(
    memory: &Memory<T>,
    geometry: &Geometry,
    kernel: KernelSource<T>,
    work: impl FnOnce(&Engine<T>) -> R + Send,
) -> R {
    let Engine { machine, blocking } = Engine::new(memory);
    let of_kernel = match kernel {
        KernelSource::Plain(_) => 0,
        KernelSource::Composed(Factors { composer, .. }) => composer.maccs(),
    };
    let maccs = geometry.maccs().max(of_kernel);
    machine.enter(maccs, |machine| work(&Engine { machine, blocking }))
}

fn convolve<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    x: &[T],
    kernel: KernelSource<T>,
    packed: Option<&Packed<T>>,
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    let (spec, direction) = (&geometry.spec, Direction::Forward);
    if let (Some(packed), KernelSource::Plain(weight), false) =
        (packed, kernel, direction.is_direct(spec))
        && let Some(kept) = keep(engine, geometry, packed, weight)?
    {
        return conv::forward(engine, geometry, x, &Weights::Kept(kept), bias, y);
    }
    let composed = kernel.composed(engine, kernel.packed_as_composed(spec, direction).is_none())?;
    let weights = kernel.weights(engine, geometry, direction, kernel.plain(&composed))?;
    conv::forward(engine, geometry, x, &weights, bias, y)
}

fn differentiate<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    kernel: KernelSource<T>,
    x: &[T],
    dy: &[T],
    targets: Targets<T>,
) -> Room<()> {
    let (spec, direction) = (&geometry.spec, Direction::Transposed);
    // First whatever needs room.
    let as_it_is =
        spec.mode != PaddingMode::Zeros || kernel.packed_as_composed(spec, direction).is_none();
    let composed = kernel.composed(engine, targets.x.is_some() && as_it_is)?;
    let plain = kernel.plain(&composed);
    let correlations = targets.x.as_ref().map(|_| input_gradient::correlations(geometry));
    let weights = targets.x.as_ref().map(|_| kernel.weights(engine, geometry, direction, plain));
    let weights = weights.transpose()?;
    let family = Family::of(geometry.algorithm());
    let input = match (&correlations, &weights) {
        (Some(correlations), Some(weights)) => Some(InputGradient::new(
            engine,
            geometry,
            family.as_ref(),
            correlations,
            weights,
            plain,
            dy,
        )?),
        _ => None,
    };
    let axes = conv::kernel_axes(geometry);
    let of_kernel = targets.kernel.as_ref();
    let of_kernel = of_kernel.map(|_| KernelGradient::new(engine, geometry, &axes, x, dy));
    let of_kernel = of_kernel.transpose()?;
    let mut need = Need::default();
    let needs =
        [input.as_ref().map(InputGradient::need), of_kernel.as_ref().map(KernelGradient::need)];
    needs.into_iter().flatten().for_each(|stage| need = need.or(stage));
    // The gradient of the composed kernel, and that factor's which isn't wanted: both come together.
    let (mut dweight, mut spare) = (None, None);
    if let (Some(KernelTarget::Factors { dw, dd_offset }), KernelSource::Composed(factors)) =
        (&targets.kernel, kernel)
    {
        let Factors { composer, d_offset, w } = factors;
        need = need.or(composer.adjoint_need(engine));
        if composer.d_mul != composer.taps {
            dweight = Some(engine.memory.buffer(composer.weight_len())?);
        }
        spare = match (dw, dd_offset) {
            (Some(_), Some(_)) => None,
            (None, _) => Some(engine.memory.buffer(w.len())?),
            (_, None) => Some(engine.memory.buffer(d_offset.len())?),
        };
    }
    let scratch = Scratch::take(engine.memory, need)?;

    if let Some((input, dx)) = input.zip(targets.x) {
        input.run(&scratch, dx);
    }
    match (of_kernel.zip(targets.kernel), kernel) {
        (
            Some((gradient, KernelTarget::Factors { dw, dd_offset })),
            KernelSource::Composed(factors),
        ) => {
            let spare = spare.as_deref_mut().unwrap_or_default();
            let (dw, dd_offset) = match (dw, dd_offset) {
                (Some(dw), Some(dd_offset)) => (dw, dd_offset),
                (Some(dw), None) => (dw, spare),
                (None, dd_offset) => (spare, dd_offset.unwrap_or_default()),
            };
            // Where both have the same size, `dw` holds the gradient of the composed kernel first.
            gradient.run(&scratch, dweight.as_deref_mut().unwrap_or(&mut *dw));
            let composer = factors.composer;
            composer.adjoint(engine, &scratch, factors, dweight.as_deref(), dw, dd_offset);
        }
        (Some((gradient, KernelTarget::Plain(dw))), _) => gradient.run(&scratch, dw),
        (Some((gradient, KernelTarget::Factors { dw: Some(dw), .. })), _) => {
            gradient.run(&scratch, dw);
        }
        (Some((_, KernelTarget::Factors { dw: None, .. })) | None, _) => {}
    }
    if let Some(db) = targets.bias {
        conv::bias_gradient(geometry, dy, db);
    }
    Ok(())
}

macro_rules! ops {
    ($t:ty) => {
        impl Ops for $t {
            fn convolve(
                memory: &Memory<Self>,
                geometry: &Geometry,
                x: &[Self],
                kernel: KernelSource<Self>,
                packed: Option<&Packed<Self>>,
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) -> Room<()> {
                enter(memory, geometry, kernel, |engine| {
                    convolve(engine, geometry, x, kernel, packed, bias, y)
                })
            }

            fn convolve_features(
                memory: &Memory<Self>,
                geometry: &Geometry,
                factors: Factors<Self>,
                x: &[Self],
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) -> Room<()> {
                enter(memory, geometry, KernelSource::Composed(factors), |engine| {
                    features::forward(engine, geometry, factors, x, bias, y)
                })
            }

            fn differentiate(
                memory: &Memory<Self>,
                geometry: &Geometry,
                kernel: KernelSource<Self>,
                x: &[Self],
                dy: &[Self],
                targets: Targets<Self>,
            ) -> Room<()> {
                enter(memory, geometry, kernel, |engine| {
                    differentiate(engine, geometry, kernel, x, dy, targets)
                })
            }

            fn compose(
                memory: &Memory<Self>,
                Factors { composer, d_offset, w }: Factors<Self>,
                weight: &mut [Self],
            ) -> Room<()> {
                composer.compose(&Machine::new(memory), d_offset, w, weight)
            }

            fn compose_gradients(
                memory: &Memory<Self>,
                factors: Factors<Self>,
                dweight: &[Self],
                dw: &mut [Self],
                dd_offset: &mut [Self],
            ) -> Room<()> {
                let (machine, composer) = (Machine::new(memory), factors.composer);
                let scratch = Scratch::take(memory, composer.adjoint_need(&machine))?;
                composer.adjoint(&machine, &scratch, factors, Some(dweight), dw, dd_offset);
                Ok(())
            }
        }
    };
}
ops!(f32);
ops!(f64);
