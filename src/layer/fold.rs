//! Folding a layer into a plain convolution, and the way back.

use ndarray::Array3;

use super::conv2d::Conv2d;
use super::do_conv2d::DoConv2d;
use crate::array::{contiguous, contiguous_mut};
use crate::compose::Composer;
use crate::config::{DoConv2dConfig, Pairing};
use crate::error::{Operation, Result};
use crate::scalar::Scalar;

impl<T: Scalar> DoConv2d<T> {
    /// The plain convolution by the composed kernel: the same function at the cost of a plain layer.
    /// Its output has the same bits as this layer's under
    /// [`Composition::Kernel`](crate::Composition::Kernel). As for a clone, where there is no room for it
    /// the process ends.
    pub fn fold(&self) -> Conv2d<T> {
        Conv2d {
            config: self.config.conv.clone(),
            spec: self.spec,
            weight: self.weight(),
            bias: self.bias.clone(),
            workspace: Default::default(),
        }
    }

    /// The over-parameterized form of a plain layer: the same function, to go on training from.
    /// `W` is the kernel, filled up with zeros to `d_mul` (default `M·N`), and `D` the identity.
    ///
    /// For finite weights it convolves by the very kernel of `conv` (a zero may lose its sign). A layer of several
    /// groups of several inputs and outputs is paired by [`Pairing::InputChannel`];
    /// [`DoConv2d::from_conv2d_paired`] takes another.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a `d_mul` smaller than `M·N` or one for a 1×1
    /// kernel; [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) and
    /// [`ErrorKind::Memory`](crate::ErrorKind::Memory) for one that is too large.
    pub fn from_conv2d(conv: &Conv2d<T>, d_mul: Option<usize>) -> Result<Self> {
        Self::over(Operation("DoConv2d::from_conv2d"), conv, d_mul, Pairing::InputChannel)
    }

    /// [`DoConv2d::from_conv2d`] with a pairing, as training on with the published PyTorch code needs for
    /// grouped layers.
    ///
    /// # Errors
    /// As [`DoConv2d::from_conv2d`].
    pub fn from_conv2d_paired(
        conv: &Conv2d<T>,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        Self::over(Operation("DoConv2d::from_conv2d_paired"), conv, d_mul, pairing)
    }

    fn over(
        operation: Operation,
        conv: &Conv2d<T>,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        let config = DoConv2dConfig { d_mul, pairing, ..conv.config.clone().into() };
        let (spec, d_mul) = config.spec(operation)?;
        let composer = Composer::new(&spec, d_mul, config.pairing);
        let mut w: Array3<T> = operation.zeros("w", composer.w_shape())?;
        let weight = contiguous(conv.weight.view());
        let rows = contiguous_mut(&mut w).chunks_exact_mut(d_mul);
        rows.zip(weight.chunks_exact(composer.taps))
            .for_each(|(w, kernel)| w[..kernel.len()].copy_from_slice(kernel));
        let d_offset = composer.d_shape().map(|shape| operation.zeros("d_offset", shape));
        Self::from_parameters(config, d_offset.transpose()?, w, conv.bias.clone())
    }
}
