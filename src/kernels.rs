//! The numeric work of the crate for one element type, behind functions that aren't generic: so it is
//! compiled once and optimised as this crate is, not again in every crate that uses a layer.

use crate::compose::Composer;
use crate::conv::{self, gemm::Engine};
use crate::feature;
use crate::geometry::Geometry;

/// What layers compute, on contiguous slices of the lengths that the geometry gives. Written for each
/// [`crate::Scalar`].
pub trait Kernels: Sized {
    /// Writes `y = weight * x + bias`.
    fn convolve(
        geometry: &Geometry,
        x: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
    );

    /// Writes the gradient of a convolution's input.
    fn input_gradient(geometry: &Geometry, weight: &[Self], dy: &[Self], dx: &mut [Self]);

    /// Writes the gradient of a convolution's kernel.
    fn kernel_gradient(geometry: &Geometry, x: &[Self], dy: &[Self], dweight: &mut [Self]);

    /// Writes the gradient of a convolution's bias.
    fn bias_gradient(geometry: &Geometry, dy: &[Self], db: &mut [Self]);

    /// Writes the composed kernel.
    fn compose(composer: &Composer, d_offset: &[Self], w: &[Self], weight: &mut [Self]);

    /// Writes the gradients of `W` and of the offset of `D` for that of the composed kernel.
    fn compose_gradients(
        composer: &Composer,
        d_offset: &[Self],
        w: &[Self],
        dweight: &[Self],
        dw: &mut [Self],
        dd_offset: &mut [Self],
    );

    /// Writes `y = W * (D∘x) + bias`.
    fn convolve_features(
        geometry: &Geometry,
        composer: &Composer,
        d_offset_and_w: [&[Self]; 2],
        x: &[Self],
        bias: Option<&[Self]>,
        y: &mut [Self],
    );
}

macro_rules! kernels {
    ($t:ty) => {
        impl Kernels for $t {
            fn convolve(
                geometry: &Geometry,
                x: &[Self],
                weight: &[Self],
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) {
                conv::forward(&Engine::new(), geometry, x, weight, bias, y);
            }

            fn input_gradient(geometry: &Geometry, weight: &[Self], dy: &[Self], dx: &mut [Self]) {
                conv::input_gradient(&Engine::new(), geometry, weight, dy, dx);
            }

            fn kernel_gradient(geometry: &Geometry, x: &[Self], dy: &[Self], dweight: &mut [Self]) {
                conv::kernel_gradient(&Engine::new(), geometry, x, dy, dweight);
            }

            fn bias_gradient(geometry: &Geometry, dy: &[Self], db: &mut [Self]) {
                conv::bias_gradient(geometry, dy, db);
            }

            fn compose(composer: &Composer, d_offset: &[Self], w: &[Self], weight: &mut [Self]) {
                composer.compose(&Engine::new(), d_offset, w, weight);
            }

            fn compose_gradients(
                composer: &Composer,
                d_offset: &[Self],
                w: &[Self],
                dweight: &[Self],
                dw: &mut [Self],
                dd_offset: &mut [Self],
            ) {
                composer.adjoint(&Engine::new(), d_offset, w, dweight, dw, dd_offset);
            }

            fn convolve_features(
                geometry: &Geometry,
                composer: &Composer,
                [d_offset, w]: [&[Self]; 2],
                x: &[Self],
                bias: Option<&[Self]>,
                y: &mut [Self],
            ) {
                let engine = Engine::new();
                feature::forward(&engine, geometry, composer, [d_offset, w], x, bias, y);
            }
        }
    };
}
kernels!(f32);
kernels!(f64);
