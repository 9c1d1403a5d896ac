//! The numeric work of the crate for one element type, behind functions that aren't generic: so it is
//! compiled once and optimised as this crate is, not again in every crate that uses a layer.

use std::sync::OnceLock;

use crate::compose::Composer;
use crate::conv::gemm::{Engine, kernel::PackedKernel};
use crate::conv::{self, Way, Weights};
use crate::feature;
use crate::geometry::Geometry;
use crate::memory::Memory;

/// `D` and `W` of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a, T> {
    pub composer: &'a Composer,
    pub d_offset: &'a [T],
    pub w: &'a [T],
}

/// The kernel of a convolution.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a, T> {
    /// `[O, n, M, N]`.
    Plain(&'a [T]),
    /// Composed where it is needed.
    Composed(Factors<'a, T>),
}

/// A plain layer's kernel as it was packed first, until parameters change.
pub type Packed<T> = OnceLock<PackedKernel<T>>;

/// What layers compute, on contiguous slices of the lengths that the geometry gives. Written for each
/// [`crate::Scalar`].
pub trait Kernels: Sized {
    /// Writes `y = kernel * x + bias`. Packs the kernel into `packed`, if that is given and empty, or
    /// else into `memory`.
    fn convolve(
        memory: &Memory<Self>,
        geometry: &Geometry,
        x: &[Self],
        kernel: Source<Self>,
        packed: Option<&Packed<Self>>,
        bias: Option<&[Self]>,
        y: &mut [Self],
    );

    /// Writes the gradient of a convolution's input.
    fn input_gradient(
        memory: &Memory<Self>,
        geometry: &Geometry,
        kernel: Source<Self>,
        dy: &[Self],
        dx: &mut [Self],
    );

    /// Writes the gradient of a convolution's kernel.
    fn kernel_gradient(
        memory: &Memory<Self>,
        geometry: &Geometry,
        x: &[Self],
        dy: &[Self],
        dweight: &mut [Self],
    );

    /// Writes the gradient of a convolution's bias.
    fn bias_gradient(geometry: &Geometry, dy: &[Self], db: &mut [Self]);

    /// Writes the composed kernel.
    fn compose(memory: &Memory<Self>, factors: Factors<Self>, weight: &mut [Self]);

    /// Writes the gradients of `W` and of the offset of `D` for that of the composed kernel, which `dw`
    /// holds if it isn't given.
    fn compose_gradients(
        memory: &Memory<Self>,
        factors: Factors<Self>,
        dweight: Option<&[Self]>,
        dw: &mut [Self],
        dd_offset: &mut [Self],
    );

    /// Writes `y = W * (D∘x) + bias`.
    fn convolve_features(
        memory: &Memory<Self>,
        geometry: &Geometry,
        factors: Factors<Self>,
        x: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
    );
}

/// The kernel in `packed`, or what `pack` makes. That runs outside of the cell's own initialisation: it
/// shares its work with threads that may themselves wait for the cell.
fn keep<'a, T: crate::Scalar>(
    memory: &Memory<T>,
    packed: &'a Packed<T>,
    pack: impl FnOnce() -> PackedKernel<T>,
) -> &'a PackedKernel<T> {
    if let Some(kernel) = packed.get() {
        return kernel;
    }
    let mut made = Some(pack());
    let kernel = packed.get_or_init(|| made.take().expect("just made"));
    if let Some(second) = made {
        memory.give(second.into_buffer());
    }
    kernel
}

/// Calls `run` with a kernel in its path's form, composed straight into that where it can be.
fn with_weights<T: crate::Scalar>(
    engine: &Engine<T>,
    geometry: &Geometry,
    way: Way,
    kernel: Source<T>,
    run: impl FnOnce(&Weights<T>),
) {
    let spec = &geometry.spec;
    match kernel {
        Source::Plain(weight) => {
            let weights = Weights::new(engine, spec, way, weight);
            run(&weights);
            weights.give_to(engine.memory);
        }
        Source::Composed(Factors { composer, d_offset, w })
            if !way.is_direct(spec) && composer.pairing.is_by_input_channel(spec) =>
        {
            let weights = Weights::composed(engine, spec, way, composer, [d_offset, w]);
            run(&weights);
            weights.give_to(engine.memory);
        }
        Source::Composed(factors) => with_composed(engine, factors, |weight| {
            with_weights(engine, geometry, way, Source::Plain(weight), run);
        }),
    }
}

/// Calls `run` with the composed kernel.
fn with_composed<T: crate::Scalar>(
    engine: &Engine<T>,
    Factors { composer, d_offset, w }: Factors<T>,
    run: impl FnOnce(&[T]),
) {
    let len = w.len() / composer.d_mul * composer.taps;
    let mut weight = engine.memory.take(len);
    composer.compose(engine, d_offset, w, &mut weight[..len]);
    run(&weight[..len]);
    engine.memory.give(weight);
}

macro_rules! kernels {
    ($t:ty) => {
        impl Kernels for $t {
            fn convolve(
                memory: &Memory<Self>,
                geometry: &Geometry,
                x: &[Self],
                kernel: Source<Self>,
                packed: Option<&Packed<Self>>,
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) {
                let engine = Engine::new(memory);
                if let (Some(packed), Source::Plain(weight), false) =
                    (packed, kernel, Way::Forward.is_direct(&geometry.spec))
                {
                    let kernel =
                        keep(memory, packed, || Way::Forward.pack(&engine, &geometry.spec, weight));
                    let weights = Weights::Kept(kernel);
                    return conv::forward(&engine, geometry, x, &weights, bias, y);
                }
                with_weights(&engine, geometry, Way::Forward, kernel, |weights| {
                    conv::forward(&engine, geometry, x, weights, bias, y);
                });
            }

            fn input_gradient(
                memory: &Memory<Self>,
                geometry: &Geometry,
                kernel: Source<Self>,
                dy: &[Self],
                dx: &mut [Self],
            ) {
                let engine = Engine::new(memory);
                with_weights(&engine, geometry, Way::Transposed, kernel, |weights| {
                    conv::input_gradient(&engine, geometry, weights, dy, dx);
                });
                if geometry.spec.mode != crate::PaddingMode::Zeros {
                    let mut add = |weight: &[Self]| {
                        conv::add_padding_gradient(&engine, geometry, weight, dy, dx);
                    };
                    match kernel {
                        Source::Plain(weight) => add(weight),
                        Source::Composed(factors) => with_composed(&engine, factors, add),
                    }
                }
            }

            fn kernel_gradient(
                memory: &Memory<Self>,
                geometry: &Geometry,
                x: &[Self],
                dy: &[Self],
                dweight: &mut [Self],
            ) {
                conv::kernel_gradient(&Engine::new(memory), geometry, x, dy, dweight);
            }

            fn bias_gradient(geometry: &Geometry, dy: &[Self], db: &mut [Self]) {
                conv::bias_gradient(geometry, dy, db);
            }

            fn compose(memory: &Memory<Self>, factors: Factors<Self>, weight: &mut [Self]) {
                let Factors { composer, d_offset, w } = factors;
                composer.compose(&Engine::new(memory), d_offset, w, weight);
            }

            fn compose_gradients(
                memory: &Memory<Self>,
                Factors { composer, d_offset, w }: Factors<Self>,
                dweight: Option<&[Self]>,
                dw: &mut [Self],
                dd_offset: &mut [Self],
            ) {
                let engine = Engine::new(memory);
                composer.adjoint(&engine, d_offset, w, dweight, dw, dd_offset);
            }

            fn convolve_features(
                memory: &Memory<Self>,
                geometry: &Geometry,
                Factors { composer, d_offset, w }: Factors<Self>,
                x: &[Self],
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) {
                let engine = Engine::new(memory);
                feature::forward(&engine, geometry, composer, [d_offset, w], x, bias, y);
            }
        }
    };
}
kernels!(f32);
kernels!(f64);
