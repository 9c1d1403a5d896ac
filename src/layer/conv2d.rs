//! The plain convolution layer: what a folded DO-Conv layer becomes, and the baseline it is
//! compared with.

use std::fmt;

use ndarray::{Array1, Array4, ArrayRef, ArrayView1, ArrayView4, ArrayViewMut4, Dimension};

use super::gradients::{Beside, Conv2dGradients, beside};
use super::images::{Pass, output, output_into, resolve};
use super::sampler::{Fans, Sampler};
use crate::array::{contiguous, contiguous_mut};
use crate::config::Conv2dConfig;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::do_conv::{KernelSource, Packed};
use crate::error::{Operation, Result};
use crate::machine::memory::Memory;
use crate::operator::{Conv2dGradientsMut, differentiate};
use crate::scalar::Scalar;

/// A plain 2-D convolution, `y[b, o] = Σ_i weight[o, i] * x[b, c(o, i)] + bias[o]`, where `*` is the
/// cross-correlation of a plane and output channel `o` reads the channels `c` of its group.
///
/// | array | shape |
/// | --- | --- |
/// | `x` | `[B, I, H, W]` |
/// | `weight` | `[O, I/g, M, N]` |
/// | `bias` | `[O]` |
/// | `y` | `[B, O, OH, OW]`, `OH = (H + top + bottom − dilation·(M−1) − 1) div stride + 1`, likewise `OW` |
///
/// Results have the same bits for any number of threads, and an image's output doesn't depend on
/// the rest of its batch.
#[derive(Clone, PartialEq)]
pub struct Conv2d<T> {
    pub(crate) config: Conv2dConfig,
    pub(crate) spec: Spec,
    pub(crate) weight: Array4<T>,
    pub(crate) bias: Option<Array1<T>>,
    pub(crate) workspace: Workspace<T>,
}

impl<T> fmt::Debug for Conv2d<T> {
    /// Configuration and shapes: a layer may have millions of weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bias = self.bias.as_ref().map(|bias| bias.shape());
        f.debug_struct("Conv2d")
            .field("config", &self.config)
            .field("weight", &self.weight.shape())
            .field("bias", &bias)
            .finish_non_exhaustive()
    }
}

impl Conv2dConfig {
    /// Makes a layer with parameters drawn from `seed`: first the kernel, then the bias.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a zero size, groups that don't divide the
    /// channels or `Same` padding with a stride; [`ErrorKind::Overflow`](crate::ErrorKind::Overflow)
    /// for a kernel that can't be addressed; [`ErrorKind::Value`](crate::ErrorKind::Value) for an
    /// initialiser that is no distribution; [`ErrorKind::Memory`](crate::ErrorKind::Memory).
    pub fn init<T: Scalar>(self, seed: u64) -> Result<Conv2d<T>> {
        const OPERATION: Operation = Operation("Conv2dConfig::init");
        let spec = self.spec(OPERATION)?;
        let mut weight = OPERATION.zeros("weight", spec.weight_shape())?;
        let [inputs, outputs] = [spec.group_inputs(), spec.group_outputs()];
        let fans = Fans { inputs: inputs * spec.taps(), outputs: outputs * spec.taps() };
        let mut sampler = Sampler::new(seed);
        sampler.draw(OPERATION, "w_init", self.w_init, fans, contiguous_mut(&mut weight))?;
        let mut bias = match self.bias {
            true => Some(OPERATION.zeros("bias", [spec.out_channels])?),
            false => None,
        };
        if let Some(bias) = &mut bias {
            sampler.draw(OPERATION, "bias_init", self.bias_init, fans, contiguous_mut(bias))?;
        }
        Ok(Conv2d { config: self, spec, weight, bias, workspace: Workspace::default() })
    }
}

impl<T: Scalar> Conv2d<T> {
    /// Makes a layer of given parameters: `weight` `[O, I/g, M, N]` and, if the configuration has
    /// one, `bias` `[O]`.
    ///
    /// # Errors
    /// As [`Conv2dConfig::init`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a parameter
    /// of another shape, missing, or not in the configuration.
    pub fn from_parameters(
        config: Conv2dConfig,
        weight: Array4<T>,
        bias: Option<Array1<T>>,
    ) -> Result<Self> {
        const OPERATION: Operation = Operation("Conv2d::from_parameters");
        let spec = config.spec(OPERATION)?;
        OPERATION.expect_shape("weight", &spec.weight_shape(), weight.shape())?;
        let bias_shape = [spec.out_channels];
        let expected = config.bias.then_some(&bias_shape[..]);
        let got = bias.as_ref().map(|bias| bias.shape());
        OPERATION.expect_optional_shape("bias", expected, got)?;
        Ok(Self {
            config,
            spec,
            weight: weight.as_standard_layout().into_owned(),
            bias: bias.map(|bias| bias.as_standard_layout().into_owned()),
            workspace: Workspace::default(),
        })
    }

    /// What the layer was asked to be.
    pub fn config(&self) -> &Conv2dConfig {
        &self.config
    }

    /// The kernel, `[O, I/g, M, N]`.
    pub fn weight(&self) -> ArrayView4<'_, T> {
        self.weight.view()
    }

    /// The bias, `[O]`, if there is one.
    pub fn bias(&self) -> Option<ArrayView1<'_, T>> {
        self.bias.as_ref().map(|bias| bias.view())
    }

    /// The parameters in standard layout, by name: `"weight"`, then `"bias"` if there is one.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &[T])> {
        let bias = self.bias.as_ref().and_then(|bias| Some(("bias", bias.as_slice()?)));
        let weight = self.weight.as_slice().map(|weight| ("weight", weight));
        weight.into_iter().chain(bias)
    }

    /// The parameters to write to, as [`Conv2d::parameters`].
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut [T])> {
        self.workspace.forget();
        let bias = self.bias.as_mut().and_then(|bias| Some(("bias", bias.as_slice_mut()?)));
        let weight = self.weight.as_slice_mut().map(|weight| ("weight", weight));
        weight.into_iter().chain(bias)
    }

    /// The parameters to write to, as [`Conv2d::parameters`], each beside its gradient: what an optimizer
    /// goes through.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a gradient of another shape, missing, not of
    /// this layer, or not in standard layout.
    pub fn parameters_with_gradients<'a>(
        &'a mut self,
        gradients: &'a Conv2dGradients<T>,
    ) -> Result<impl Iterator<Item = (&'static str, &'a mut [T], &'a [T])>> {
        const OPERATION: Operation = Operation("Conv2d::parameters_with_gradients");
        self.workspace.forget();
        let Self { weight, bias, .. } = self;
        let all: [Beside<T>; 2] = [
            beside(OPERATION, "weight", "gradients.weight", Some(weight), Some(&gradients.weight))?,
            beside(OPERATION, "bias", "gradients.bias", bias.as_mut(), gradients.bias.as_ref())?,
        ];
        Ok(all.into_iter().flatten())
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    pub fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
        let geometry = Geometry::new(Operation("Conv2d::output_shape"), &self.spec, input)?;
        Ok(geometry.output_shape())
    }

    /// The algorithm that computes the layer, forward and backward, for an input `[B, I, H, W]`: the one that was
    /// [chosen](Conv2dConfig::algorithm), where [`Algorithm`] says that it applies, else
    /// [`Algorithm::Direct`].
    ///
    /// ```
    /// use do_conv::{Algorithm, Conv2d, Conv2dConfig};
    ///
    /// let config = Conv2dConfig::new(64, 64, [3, 3]).padding(1).algorithm(Algorithm::Winograd4);
    /// let layer: Conv2d<f32> = config.init(0)?;
    /// assert_eq!(layer.algorithm([8, 64, 56, 56])?, Algorithm::Winograd4);
    /// // Of one output there is nothing to save.
    /// assert_eq!(layer.algorithm([8, 64, 1, 1])?, Algorithm::Direct);
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Conv2d::output_shape`].
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        Ok(Geometry::new(Operation("Conv2d::algorithm"), &self.spec, input)?.algorithm())
    }

    /// Convolves `x`, `[B, I, H, W]` with any strides; gives `[B, O, OH, OW]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) for another rank or number of channels;
    /// [`ErrorKind::InputSize`](crate::ErrorKind::InputSize) for an image that is too small for the
    /// kernel or for its padding mode; [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) and
    /// [`ErrorKind::Memory`](crate::ErrorKind::Memory) for an output that is too large.
    pub fn forward<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<Array4<T>> {
        const OPERATION: Operation = Operation("Conv2d::forward");
        output(OPERATION, &self.spec, x, |geometry, x, y| self.convolve(OPERATION, geometry, x, y))
    }

    /// Convolves `x` into `y`, both of any strides; what `y` held before doesn't matter.
    ///
    /// # Errors
    /// As [`Conv2d::forward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `y` of
    /// another shape; `y` is not written then.
    pub fn forward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Conv2d::forward_into");
        output_into(OPERATION, &self.spec, x, y, |geometry, x, y| {
            self.convolve(OPERATION, geometry, x, y)
        })
    }

    /// The gradients of `Σ dy·y` for the input `x`, `[B, I, H, W]`, and `dy`, `[B, O, OH, OW]`, both with
    /// any strides.
    ///
    /// # Errors
    /// As [`Conv2d::forward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `dy` of
    /// another shape.
    pub fn backward<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
    ) -> Result<Conv2dGradients<T>> {
        const OPERATION: Operation = Operation("Conv2d::backward");
        let pass = resolve(OPERATION, &self.spec, x, dy)?;
        let mut gradients = self.zeros(OPERATION, Some(pass.geometry.input_shape()))?;
        self.differentiate(OPERATION, &pass, gradients.view_mut())?;
        Ok(gradients)
    }

    /// Buffers for [`Conv2d::backward_into`], all zeros: with the gradient of an input of that shape,
    /// or without.
    ///
    /// # Errors
    /// [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) and
    /// [`ErrorKind::Memory`](crate::ErrorKind::Memory) for gradients that there is no room for.
    pub fn gradients(&self, input: Option<[usize; 4]>) -> Result<Conv2dGradients<T>> {
        self.zeros(Operation("Conv2d::gradients"), input)
    }

    /// Writes the gradients of `Σ dy·y` that are wanted over what `gradients` held before.
    ///
    /// # Errors
    /// As [`Conv2d::backward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a gradient of
    /// another shape or of a bias that isn't there; nothing is written then.
    pub fn backward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
        gradients: Conv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Conv2d::backward_into");
        let pass = resolve(OPERATION, &self.spec, x, dy)?;
        self.differentiate(OPERATION, &pass, gradients)
    }

    fn zeros(&self, operation: Operation, input: Option<[usize; 4]>) -> Result<Conv2dGradients<T>> {
        let bias = self.bias.as_ref().map(|bias| operation.zeros("bias", bias.raw_dim()));
        Ok(Conv2dGradients {
            x: input.map(|shape| operation.zeros("x", shape)).transpose()?,
            weight: operation.zeros("weight", self.weight.raw_dim())?,
            bias: bias.transpose()?,
        })
    }

    fn convolve(
        &self,
        operation: Operation,
        geometry: &Geometry,
        x: &[T],
        y: ArrayViewMut4<T>,
    ) -> Result<()> {
        let weight = contiguous(self.weight.view());
        let bias = self.bias.as_ref().map(|bias| contiguous(bias.view()));
        let Workspace { memory, packed } = &self.workspace;
        let kernel = KernelSource::Plain(&weight);
        operation.fill("y", y, |y| {
            T::convolve(memory, geometry, x, kernel, Some(packed), bias.as_deref(), y)
        })
    }

    fn differentiate(
        &self,
        operation: Operation,
        pass: &Pass<'_, T>,
        gradients: Conv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        if let (None, Some(bias)) = (&self.bias, &gradients.bias) {
            operation.expect_optional_shape("gradients.bias", None, Some(bias.shape()))?;
        }
        let weight = contiguous(self.weight.view());
        let memory = &self.workspace.memory;
        differentiate(operation, memory, &pass.geometry, &weight, &pass.x, &pass.dy, gradients)
    }
}

/// What a layer keeps: its kernel as the product reads it, and buffers.
pub struct Workspace<T> {
    pub memory: Memory<T>,
    /// Until parameters change.
    pub packed: Packed<T>,
}

impl<T: Scalar> Workspace<T> {
    /// Forgets the packed kernel.
    pub fn forget(&mut self) {
        if let Some(kernel) = self.packed.take() {
            self.memory.give(kernel.into_elements());
        }
    }
}

impl<T> Default for Workspace<T> {
    fn default() -> Self {
        Self { memory: Memory::default(), packed: Packed::new() }
    }
}

impl<T> Clone for Workspace<T> {
    /// A clone packs and makes room for itself.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T> PartialEq for Workspace<T> {
    /// It follows from what a layer is, and isn't part of it.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> fmt::Debug for Workspace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}
