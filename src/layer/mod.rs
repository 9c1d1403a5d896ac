//! What a user holds: the two layers, their gradients, and what can be done with a layer.

pub mod batch_norm;
pub mod check;
pub mod conv2d;
pub mod cost;
mod display;
pub mod do_conv2d;
mod fold;
pub mod gradients;
mod images;
pub mod sampler;
#[cfg(feature = "serde")]
mod serialize;
mod windows;

use ndarray::{Array4, ArrayRef, Dimension};

use crate::error::Result;
use crate::scalar::Scalar;
use conv2d::Conv2d;
use do_conv2d::DoConv2d;
use gradients::{Conv2dGradients, DoConv2dGradients};

/// What plain and over-parameterized layers have in common, so that a net and its training are written
/// once for both. Each method is as the layer's own of that name.
///
/// ```
/// use do_conv::{Conv2d, DoConv2d, DoConv2dConfig, Layer, Result};
/// use ndarray::Array4;
///
/// /// One step towards outputs of zero.
/// fn step<L: Layer<f32>>(layer: &mut L, x: &Array4<f32>) -> Result<()> {
///     let y = layer.forward(x)?;
///     let gradients = layer.backward(x, &y)?;
///     for (_, parameters, gradients) in layer.parameters_with_gradients(&gradients)? {
///         parameters.iter_mut().zip(gradients).for_each(|(p, g)| *p -= 0.01 * g);
///     }
///     Ok(())
/// }
///
/// let config = DoConv2dConfig::new(1, 2, [3, 3]);
/// let mut plain: Conv2d<f32> = config.conv.clone().init(0)?;
/// let mut over: DoConv2d<f32> = config.init(0)?;
/// let x = Array4::ones((1, 1, 5, 5));
/// step(&mut plain, &x)?;
/// step(&mut over, &x)?;
/// # Ok::<(), do_conv::Error>(())
/// ```
pub trait Layer<T: Scalar>: Send + Sync {
    /// The gradients of a layer, which own their arrays.
    type Gradients: Send + Sync;

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// As [`Conv2d::output_shape`].
    fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]>;

    /// Convolves `x`, `[B, I, H, W]` with any strides; gives `[B, O, OH, OW]`.
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    fn forward<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<Array4<T>>;

    /// Convolves `x` into `y`, both of any strides; what `y` held before doesn't matter.
    ///
    /// # Errors
    /// As [`Conv2d::forward_into`].
    fn forward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<()>;

    /// The gradients of `Σ dy·y` for the input `x`, `[B, I, H, W]`, and `dy`, `[B, O, OH, OW]`.
    ///
    /// # Errors
    /// As [`Conv2d::backward`].
    fn backward<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
    ) -> Result<Self::Gradients>;

    /// Writes the gradients of `Σ dy·y` over what `gradients` held before; that of `x` if there is one.
    ///
    /// # Errors
    /// As [`Conv2d::backward_into`].
    fn backward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
        gradients: &mut Self::Gradients,
    ) -> Result<()>;

    /// Buffers for [`Layer::backward_into`], all zeros: with the gradient of an input of that shape, or
    /// without.
    ///
    /// # Errors
    /// As [`Conv2d::gradients`].
    fn gradients(&self, input: Option<[usize; 4]>) -> Result<Self::Gradients>;

    /// The gradient of the input, if it was wanted: the `dy` of the layer before.
    fn x_gradient(gradients: &mut Self::Gradients) -> Option<&mut Array4<T>>;

    /// The parameters to write to, by name, each beside its gradient.
    ///
    /// # Errors
    /// As [`Conv2d::parameters_with_gradients`].
    fn parameters_with_gradients<'a>(
        &'a mut self,
        gradients: &'a Self::Gradients,
    ) -> Result<impl Iterator<Item = (&'static str, &'a mut [T], &'a [T])>>;
}

macro_rules! layer {
    ($layer:ident, $gradients:ident) => {
        impl<T: Scalar> Layer<T> for $layer<T> {
            type Gradients = $gradients<T>;

            fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
                self.output_shape(input)
            }

            fn forward<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<Array4<T>> {
                self.forward(x)
            }

            fn forward_into<D: Dimension, E: Dimension>(
                &self,
                x: &ArrayRef<T, D>,
                y: &mut ArrayRef<T, E>,
            ) -> Result<()> {
                self.forward_into(x, y)
            }

            fn backward<D: Dimension, E: Dimension>(
                &self,
                x: &ArrayRef<T, D>,
                dy: &ArrayRef<T, E>,
            ) -> Result<$gradients<T>> {
                self.backward(x, dy)
            }

            fn backward_into<D: Dimension, E: Dimension>(
                &self,
                x: &ArrayRef<T, D>,
                dy: &ArrayRef<T, E>,
                gradients: &mut $gradients<T>,
            ) -> Result<()> {
                self.backward_into(x, dy, gradients.view_mut())
            }

            fn gradients(&self, input: Option<[usize; 4]>) -> Result<$gradients<T>> {
                self.gradients(input)
            }

            fn x_gradient(gradients: &mut $gradients<T>) -> Option<&mut Array4<T>> {
                gradients.x.as_mut()
            }

            fn parameters_with_gradients<'a>(
                &'a mut self,
                gradients: &'a $gradients<T>,
            ) -> Result<impl Iterator<Item = (&'static str, &'a mut [T], &'a [T])>> {
                self.parameters_with_gradients(gradients)
            }
        }
    };
}
layer!(Conv2d, Conv2dGradients);
layer!(DoConv2d, DoConv2dGradients);
