//! The DO-Conv layer: where `D`, `W` and images meet.

use std::fmt;

use ndarray::{
    Array1, Array3, Array4, ArrayRef, ArrayView1, ArrayView3, ArrayViewMut1, ArrayViewMut3,
    ArrayViewMut4, Dimension,
};

use super::gradients::{Beside, DoConv2dGradients, beside};
use super::images::{Pass, output, output_into, resolve};
use super::sampler::{Fans, Sampler};
use crate::array::{contiguous, contiguous_mut};
use crate::compose::Composer;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::init::DInit;
use crate::config::{Composition, Conv2dConfig, DoConv2dConfig};
use crate::do_conv::KernelSource;
use crate::error::{Operation, Result};
use crate::machine::memory::Memory;
use crate::operator::{DoConv2dGradientsMut, FactorGradients};
use crate::scalar::Scalar;

/// A 2-D convolution with depthwise over-parameterization (Cao et al., arXiv 2006.12030).
///
/// It is the plain convolution by `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]`, where `c` is the input
/// channel that `W[o, i]` reads, `D = d_offset + E`, and `E[c, m, s] = 1` where `s mod MN = m` and
/// `s < MN·⌊S/MN⌋`, else 0. Training changes `d_offset` and `W`; [`DoConv2d::fold`] keeps `W'`.
///
/// | array | shape |
/// | --- | --- |
/// | `x` | `[B, I, H, W]` |
/// | `d_offset` | `[I, M·N, S]`; none for a 1×1 kernel |
/// | `w` | `[O, I/g, S]` |
/// | `bias` | `[O]` |
/// | `y` | `[B, O, OH, OW]`, as for [`Conv2d`](crate::Conv2d) |
///
/// Results have the same bits for any number of threads, and under [`Composition::Kernel`] and
/// [`Composition::Feature`] an image's output doesn't depend on the rest of its batch.
#[derive(Clone)]
pub struct DoConv2d<T> {
    pub(crate) config: DoConv2dConfig,
    pub(crate) spec: Spec,
    pub(crate) composer: Composer,
    pub(crate) w: Array3<T>,
    pub(crate) d_offset: Option<Array3<T>>,
    pub(crate) bias: Option<Array1<T>>,
    pub(crate) memory: Memory<T>,
}

impl<T> fmt::Debug for DoConv2d<T> {
    /// Configuration and shapes: a layer may have millions of weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoConv2d")
            .field("config", &self.config)
            .field("w", &self.w.shape())
            .field("d_offset", &self.d_offset.as_ref().map(|d_offset| d_offset.shape()))
            .field("bias", &self.bias.as_ref().map(|bias| bias.shape()))
            .finish_non_exhaustive()
    }
}

impl<T: PartialEq> PartialEq for DoConv2d<T> {
    /// Whether configuration and parameters are equal.
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config
            && self.w == other.w
            && self.d_offset == other.d_offset
            && self.bias == other.bias
    }
}

impl DoConv2dConfig {
    /// Makes a layer with parameters drawn from `seed`: first `W`, then the bias, then `D` if it is
    /// random. With the default `d_mul` and [`DInit::Identity`], the layer starts as the very function
    /// of the plain layer that its `conv` configuration makes from the same seed.
    ///
    /// # Errors
    /// As [`Conv2dConfig::init`](crate::Conv2dConfig::init), and
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a `d_mul` smaller than `M·N`, a `d_mul` for
    /// a 1×1 kernel, or [`Composition::Feature`] with a pairing that has none.
    pub fn init<T: Scalar>(self, seed: u64) -> Result<DoConv2d<T>> {
        const OPERATION: Operation = Operation("DoConv2dConfig::init");
        let (spec, d_mul) = self.spec(OPERATION)?;
        let composer = Composer::new(&spec, d_mul, self.pairing);
        let taps = composer.taps;
        let mut w = OPERATION.zeros("w", composer.w_shape())?;
        let d_offset = composer.d_shape().map(|shape| OPERATION.zeros("d_offset", shape));
        let mut d_offset = d_offset.transpose()?;
        let [inputs, outputs] = [composer.group_inputs, composer.group_outputs];
        let fans = Fans { inputs: inputs * d_mul, outputs: outputs * d_mul };
        let Conv2dConfig { w_init, bias_init, .. } = self.conv;
        let mut sampler = Sampler::new(seed);
        sampler.draw(OPERATION, "w_init", w_init, fans, contiguous_mut(&mut w))?;
        let mut bias = match self.conv.bias {
            true => Some(OPERATION.zeros("bias", [spec.out_channels])?),
            false => None,
        };
        if let Some(bias) = &mut bias {
            sampler.draw(OPERATION, "bias_init", bias_init, fans, contiguous_mut(bias))?;
        }
        if let (Some(d_offset), DInit::Random(init)) = (&mut d_offset, self.d_init) {
            let d_offset = contiguous_mut(d_offset);
            let fans = Fans { inputs: taps, outputs: taps * d_mul };
            sampler.draw(OPERATION, "d_init", init, fans, d_offset)?;
            composer.at_identity(d_offset).for_each(|value| *value -= T::one());
        }
        Ok(DoConv2d { config: self, spec, composer, w, d_offset, bias, memory: Memory::default() })
    }
}

impl<T: Scalar> DoConv2d<T> {
    /// Makes a layer of given parameters: `d_offset` `[I, M·N, S]` unless the kernel is 1×1, `w`
    /// `[O, I/g, S]` and, if the configuration has one, `bias` `[O]`.
    ///
    /// # Errors
    /// As [`DoConv2dConfig::init`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a parameter
    /// of another shape, missing, or not in the configuration.
    pub fn from_parameters(
        config: DoConv2dConfig,
        d_offset: Option<Array3<T>>,
        w: Array3<T>,
        bias: Option<Array1<T>>,
    ) -> Result<Self> {
        const OPERATION: Operation = Operation("DoConv2d::from_parameters");
        let (spec, d_mul) = config.spec(OPERATION)?;
        let composer = Composer::new(&spec, d_mul, config.pairing);
        OPERATION.expect_shape("w", &composer.w_shape(), w.shape())?;
        let d_shape = composer.d_shape();
        let expected = d_shape.as_ref().map(|shape| &shape[..]);
        let got = d_offset.as_ref().map(|d_offset| d_offset.shape());
        OPERATION.expect_optional_shape("d_offset", expected, got)?;
        let bias_shape = [spec.out_channels];
        let expected = config.conv.bias.then_some(&bias_shape[..]);
        let got = bias.as_ref().map(|bias| bias.shape());
        OPERATION.expect_optional_shape("bias", expected, got)?;
        Ok(Self {
            config,
            spec,
            composer,
            w: w.as_standard_layout().into_owned(),
            d_offset: d_offset.map(|d_offset| d_offset.as_standard_layout().into_owned()),
            bias: bias.map(|bias| bias.as_standard_layout().into_owned()),
            memory: Memory::default(),
        })
    }

    /// What the layer was asked to be.
    pub fn config(&self) -> &DoConv2dConfig {
        &self.config
    }

    /// `S`, the depth multiplier of `D`; 1 for a 1×1 kernel.
    pub fn d_mul(&self) -> usize {
        self.composer.d_mul
    }

    /// The conventional kernel `W`, `[O, I/g, S]`.
    pub fn w(&self) -> ArrayView3<'_, T> {
        self.w.view()
    }

    /// The offset of `D` from the identity, `[I, M·N, S]`; none for a 1×1 kernel.
    pub fn d_offset(&self) -> Option<ArrayView3<'_, T>> {
        self.d_offset.as_ref().map(|d_offset| d_offset.view())
    }

    /// The bias, `[O]`, if there is one.
    pub fn bias(&self) -> Option<ArrayView1<'_, T>> {
        self.bias.as_ref().map(|bias| bias.view())
    }

    /// `W` to write to.
    pub fn w_mut(&mut self) -> ArrayViewMut3<'_, T> {
        self.w.view_mut()
    }

    /// The offset of `D` to write to.
    pub fn d_offset_mut(&mut self) -> Option<ArrayViewMut3<'_, T>> {
        self.d_offset.as_mut().map(|d_offset| d_offset.view_mut())
    }

    /// The bias to write to.
    pub fn bias_mut(&mut self) -> Option<ArrayViewMut1<'_, T>> {
        self.bias.as_mut().map(|bias| bias.view_mut())
    }

    /// The parameters in standard layout, by name: `"w"`, then `"d_offset"` and `"bias"` if there
    /// are.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &[T])> {
        let w = self.w.as_slice().map(|w| ("w", w));
        let d_offset = self.d_offset.as_ref().and_then(|d| Some(("d_offset", d.as_slice()?)));
        let bias = self.bias.as_ref().and_then(|bias| Some(("bias", bias.as_slice()?)));
        w.into_iter().chain(d_offset).chain(bias)
    }

    /// The parameters to write to, as [`DoConv2d::parameters`].
    pub fn parameters_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut [T])> {
        let w = self.w.as_slice_mut().map(|w| ("w", w));
        let d_offset = self.d_offset.as_mut().and_then(|d| Some(("d_offset", d.as_slice_mut()?)));
        let bias = self.bias.as_mut().and_then(|bias| Some(("bias", bias.as_slice_mut()?)));
        w.into_iter().chain(d_offset).chain(bias)
    }

    /// The parameters to write to, as [`DoConv2d::parameters`], each beside its gradient: what an
    /// optimizer goes through.
    ///
    /// ```
    /// # use do_conv::{DoConv2d, DoConv2dConfig};
    /// # let mut layer: DoConv2d<f32> = DoConv2dConfig::new(1, 2, [3, 3]).init(0)?;
    /// # let x = ndarray::Array4::ones((1, 1, 5, 5));
    /// # let dy = layer.forward(&x)?;
    /// let gradients = layer.backward(&x, &dy)?;
    /// for (_, parameters, gradients) in layer.parameters_with_gradients(&gradients)? {
    ///     for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
    ///         *parameter -= 0.01 * gradient;
    ///     }
    /// }
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a gradient of another shape, missing, not of
    /// this layer, or not in standard layout.
    pub fn parameters_with_gradients<'a>(
        &'a mut self,
        gradients: &'a DoConv2dGradients<T>,
    ) -> Result<impl Iterator<Item = (&'static str, &'a mut [T], &'a [T])>> {
        const OPERATION: Operation = Operation("DoConv2d::parameters_with_gradients");
        let Self { w, d_offset, bias, .. } = self;
        let DoConv2dGradients { w: dw, d_offset: dd_offset, bias: db, .. } = gradients;
        let d_field = "gradients.d_offset";
        let all: [Beside<T>; 3] = [
            beside(OPERATION, "w", "gradients.w", Some(w), Some(dw))?,
            beside(OPERATION, "d_offset", d_field, d_offset.as_mut(), dd_offset.as_ref())?,
            beside(OPERATION, "bias", "gradients.bias", bias.as_mut(), db.as_ref())?,
        ];
        Ok(all.into_iter().flatten())
    }

    /// Changes the order in which `D` and `W` are applied.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for [`Composition::Feature`] with a pairing that
    /// has none.
    pub fn set_composition(&mut self, composition: Composition) -> Result<()> {
        let config = self.config.clone().composition(composition);
        config.spec(Operation("DoConv2d::set_composition"))?;
        self.config = config;
        Ok(())
    }

    /// The composed kernel `W'`, `[O, I/g, M, N]`, which the layer convolves by. As for a clone, where
    /// there is no room for it the process ends.
    pub fn weight(&self) -> Array4<T> {
        let mut weight = Array4::zeros(self.spec.weight_shape());
        let elements = contiguous_mut(&mut weight);
        let w = contiguous(self.w.view());
        match self
            .composer
            .kernel(&w, self.d_offset.as_ref().map(|d| contiguous(d.view())).as_deref())
        {
            // That of a 1×1 layer is `W` itself.
            KernelSource::Plain(w) => elements.copy_from_slice(w),
            KernelSource::Composed(factors) => {
                T::compose(&self.memory, factors, elements)
                    .unwrap_or_else(|none| none.abort::<T>());
            }
        }
        weight
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// As [`DoConv2d::forward`].
    pub fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
        let geometry = Geometry::new(Operation("DoConv2d::output_shape"), &self.spec, input)?;
        Ok(geometry.output_shape())
    }

    /// The algorithm that computes a forward pass for an input `[B, I, H, W]`: by kernel composition the one
    /// that was [chosen](Conv2dConfig::algorithm), where [`Algorithm`] says that it applies, else
    /// [`Algorithm::Direct`]. Gradients are those of the composed kernel whatever the composition, by the
    /// algorithm that [`Conv2d::algorithm`](crate::Conv2d::algorithm) gives for a fold of the layer.
    ///
    /// ```
    /// use do_conv::{Algorithm, Composition, DoConv2d, DoConv2dConfig};
    ///
    /// let config = DoConv2dConfig::new(64, 64, [3, 3]).padding(1).algorithm(Algorithm::Winograd4);
    /// let mut layer: DoConv2d<f32> = config.composition(Composition::Kernel).init(0)?;
    /// assert_eq!(layer.algorithm([8, 64, 56, 56])?, Algorithm::Winograd4);
    /// layer.set_composition(Composition::Feature)?;
    /// assert_eq!(layer.algorithm([8, 64, 56, 56])?, Algorithm::Direct);
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`DoConv2d::output_shape`].
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        let geometry = Geometry::new(Operation("DoConv2d::algorithm"), &self.spec, input)?;
        Ok(self.config.composition.algorithm(&geometry, &self.composer))
    }

    /// Convolves `x`, `[B, I, H, W]` with any strides; gives `[B, O, OH, OW]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) for another rank or number of channels;
    /// [`ErrorKind::InputSize`](crate::ErrorKind::InputSize) for an image that is too small for the
    /// kernel or for its padding mode; [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) and
    /// [`ErrorKind::Memory`](crate::ErrorKind::Memory) for an output that is too large.
    pub fn forward<D: Dimension>(&self, x: &ArrayRef<T, D>) -> Result<Array4<T>> {
        const OPERATION: Operation = Operation("DoConv2d::forward");
        output(OPERATION, &self.spec, x, |geometry, x, y| self.convolve(OPERATION, geometry, x, y))
    }

    /// Convolves `x` into `y`, both of any strides; what `y` held before doesn't matter.
    ///
    /// # Errors
    /// As [`DoConv2d::forward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `y` of
    /// another shape; `y` is not written then.
    pub fn forward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        y: &mut ArrayRef<T, E>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("DoConv2d::forward_into");
        output_into(OPERATION, &self.spec, x, y, |geometry, x, y| {
            self.convolve(OPERATION, geometry, x, y)
        })
    }

    /// The gradients of `Σ dy·y` for the input `x`, `[B, I, H, W]`, and `dy`, `[B, O, OH, OW]`, both with
    /// any strides. They are those of the present parameters.
    ///
    /// # Errors
    /// As [`DoConv2d::forward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `dy` of another
    /// shape.
    pub fn backward<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
    ) -> Result<DoConv2dGradients<T>> {
        const OPERATION: Operation = Operation("DoConv2d::backward");
        let pass = resolve(OPERATION, &self.spec, x, dy)?;
        let mut gradients = self.zeros(OPERATION, Some(pass.geometry.input_shape()))?;
        self.differentiate(OPERATION, &pass, gradients.view_mut())?;
        Ok(gradients)
    }

    /// Buffers for [`DoConv2d::backward_into`], all zeros: with the gradient of an input of that
    /// shape, or without.
    ///
    /// # Errors
    /// [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) and
    /// [`ErrorKind::Memory`](crate::ErrorKind::Memory) for gradients that there is no room for.
    pub fn gradients(&self, input: Option<[usize; 4]>) -> Result<DoConv2dGradients<T>> {
        self.zeros(Operation("DoConv2d::gradients"), input)
    }

    /// Writes the gradients of `Σ dy·y` that are wanted over what `gradients` held before.
    ///
    /// # Errors
    /// As [`DoConv2d::backward`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a gradient of
    /// another shape or of what the layer doesn't have; nothing is written then.
    pub fn backward_into<D: Dimension, E: Dimension>(
        &self,
        x: &ArrayRef<T, D>,
        dy: &ArrayRef<T, E>,
        gradients: DoConv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("DoConv2d::backward_into");
        let pass = resolve(OPERATION, &self.spec, x, dy)?;
        self.differentiate(OPERATION, &pass, gradients)
    }

    fn zeros(
        &self,
        operation: Operation,
        input: Option<[usize; 4]>,
    ) -> Result<DoConv2dGradients<T>> {
        let d_offset = self.d_offset.as_ref();
        let d_offset = d_offset.map(|d| operation.zeros("d_offset", d.raw_dim()));
        let bias = self.bias.as_ref().map(|bias| operation.zeros("bias", bias.raw_dim()));
        Ok(DoConv2dGradients {
            x: input.map(|shape| operation.zeros("x", shape)).transpose()?,
            w: operation.zeros("w", self.w.raw_dim())?,
            d_offset: d_offset.transpose()?,
            bias: bias.transpose()?,
        })
    }

    /// Writes `y`.
    fn convolve(
        &self,
        operation: Operation,
        geometry: &Geometry,
        x: &[T],
        y: ArrayViewMut4<T>,
    ) -> Result<()> {
        let bias = self.bias.as_ref().map(|bias| contiguous(bias.view()));
        let bias = bias.as_deref();
        let w = contiguous(self.w.view());
        let d_offset = self.d_offset.as_ref().map(|d_offset| contiguous(d_offset.view()));
        let kernel = self.composer.kernel(&w, d_offset.as_deref());
        let (composition, memory) = (self.config.composition, &self.memory);
        operation.fill("y", y, |y| kernel.convolve(composition, memory, geometry, x, bias, y))
    }

    /// Writes gradients, which are the same for both compositions.
    fn differentiate(
        &self,
        operation: Operation,
        pass: &Pass<'_, T>,
        gradients: DoConv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        let Pass { geometry, x, dy } = pass;
        let w = contiguous(self.w.view());
        let d_offset = self.d_offset.as_ref().map(|d_offset| contiguous(d_offset.view()));
        let kernel = self.composer.kernel(&w, d_offset.as_deref());
        let (memory, composer) = (&self.memory, &self.composer);
        let gradients_of = FactorGradients { memory, geometry, composer, kernel, x, dy };
        gradients_of.write(operation, self.bias.as_ref().map(|bias| bias.shape()), gradients)
    }
}
