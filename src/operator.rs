//! What layers compute, without parameters of their own: for frameworks that keep parameters, images
//! and gradients in tensors of theirs and lend them for a call.
//!
//! A DO-Conv layer is [`Compose`], then [`Convolve`] by the kernel that comes out; the adapter for candle
//! is made of the two. Each has gradients of its own, so a framework's autodiff can chain them.
//!
//! ```
//! use do_conv::DoConv2dConfig;
//! use do_conv::operator::{Compose, Convolve};
//! use ndarray::{Array3, Array4};
//!
//! let config = DoConv2dConfig::new(2, 4, [3, 3]).padding(1);
//! let (compose, convolve) = (Compose::new(&config)?, Convolve::new(&config.conv)?);
//! let (w, d_offset): (Array3<f32>, Array3<f32>) = (Array3::ones((4, 2, 9)), Array3::zeros((2, 9, 9)));
//! let mut weight = Array4::zeros((4, 2, 3, 3));
//! compose.forward_into(d_offset.view(), w.view(), weight.view_mut())?;
//!
//! let x = Array4::ones((1, 2, 8, 8));
//! let mut y = Array4::zeros(convolve.output_shape(x.dim().into())?);
//! convolve.forward_into(x.view(), weight.view(), None, y.view_mut())?;
//! assert_eq!(y[[0, 0, 4, 4]], 18.0);
//! # Ok::<(), do_conv::Error>(())
//! ```

use ndarray::{ArrayView1, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut3, ArrayViewMut4};

use crate::array::Target;
use crate::compose::{Composer, Factors};
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::{Conv2dConfig, DoConv2dConfig};
use crate::do_conv::{KernelSource, KernelTarget, Targets};
use crate::error::{ErrorKind, Operation, Result};
use crate::machine::memory::Memory;
use crate::scalar::Scalar;

/// The convolution of a [`Conv2d`](crate::Conv2d), by a kernel and a bias that are lent for each call.
/// Keeps buffers from call to call; a clone starts without.
#[derive(Debug, Clone)]
pub struct Convolve<T> {
    spec: Spec,
    memory: Memory<T>,
}

/// Where [`Convolve::backward_into`] and [`Conv2d::backward_into`](crate::Conv2d::backward_into) write
/// gradients: views of any strides, `None` for what isn't wanted and won't be computed.
#[derive(Debug)]
pub struct Conv2dGradientsMut<'a, T> {
    /// Gradient of the input, `[B, I, H, W]`.
    pub x: Option<ArrayViewMut4<'a, T>>,
    /// Gradient of the kernel, `[O, I/g, M, N]`.
    pub weight: Option<ArrayViewMut4<'a, T>>,
    /// Gradient of the bias, `[O]`.
    pub bias: Option<ArrayViewMut1<'a, T>>,
}

impl<T: Scalar> Convolve<T> {
    /// The convolution of that geometry. Initialisers and [`Conv2dConfig::bias`] don't matter: each
    /// call says whether there is a bias.
    ///
    /// # Errors
    /// As [`Conv2dConfig::init`], [`ErrorKind::Memory`] aside.
    pub fn new(config: &Conv2dConfig) -> Result<Self> {
        Ok(Self { spec: config.spec(Operation("Convolve::new"))?, memory: Memory::default() })
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for another number of channels; [`ErrorKind::InputSize`] for an image that
    /// is too small for the kernel or for its padding mode; [`ErrorKind::Overflow`] for an output that
    /// can't be addressed.
    pub fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
        Ok(Geometry::new(Operation("Convolve::output_shape"), &self.spec, input)?.output_shape())
    }

    /// The algorithm that computes the convolution and its gradients for an input `[B, I, H, W]`: the one that was
    /// [chosen](Conv2dConfig::algorithm), where [`Algorithm`] says that it applies, else
    /// [`Algorithm::Direct`].
    ///
    /// ```
    /// use do_conv::operator::Convolve;
    /// use do_conv::{Algorithm, Conv2dConfig};
    ///
    /// let config = Conv2dConfig::new(8, 64, [3, 3]).algorithm(Algorithm::Winograd2);
    /// // Too few channels.
    /// assert_eq!(Convolve::<f32>::new(&config)?.algorithm([1, 8, 32, 32])?, Algorithm::Direct);
    /// # Ok::<(), do_conv::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Convolve::output_shape`].
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        Ok(Geometry::new(Operation("Convolve::algorithm"), &self.spec, input)?.algorithm())
    }

    /// Writes `y = weight * x + bias`, all of any strides; what `y` held before doesn't matter.
    ///
    /// # Errors
    /// As [`Convolve::output_shape`]; [`ErrorKind::Shape`] for a kernel, bias or output of another
    /// shape; [`ErrorKind::Memory`] where there is no room to put `x` in order or for buffers to
    /// work in. `y` is not written then.
    pub fn forward_into(
        &self,
        x: ArrayView4<'_, T>,
        weight: ArrayView4<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
        y: ArrayViewMut4<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Convolve::forward_into");
        let geometry = self.resolve(OPERATION, &x, &weight)?;
        if let Some(bias) = &bias {
            OPERATION.expect_shape("bias", &[self.spec.out_channels], bias.shape())?;
        }
        OPERATION.expect_shape("y", &geometry.output_shape(), y.shape())?;
        let x = OPERATION.ordered("x", x)?;
        let weight = OPERATION.ordered("weight", weight)?;
        let bias = bias.map(|bias| OPERATION.ordered("bias", bias)).transpose()?;
        let (memory, kernel) = (&self.memory, KernelSource::Plain(&weight));
        OPERATION
            .fill("y", y, |y| T::convolve(memory, &geometry, &x, kernel, None, bias.as_deref(), y))
    }

    /// Writes the gradients of `Σ dy·y` that are wanted over what `gradients` held before.
    ///
    /// # Errors
    /// As [`Convolve::forward_into`], and [`ErrorKind::Shape`] for a `dy`, `[B, O, OH, OW]`, or a
    /// gradient of another shape; nothing is written then.
    pub fn backward_into(
        &self,
        x: ArrayView4<'_, T>,
        weight: ArrayView4<'_, T>,
        dy: ArrayView4<'_, T>,
        gradients: Conv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Convolve::backward_into");
        let geometry = self.resolve(OPERATION, &x, &weight)?;
        OPERATION.expect_shape("dy", &geometry.output_shape(), dy.shape())?;
        let x = OPERATION.ordered("x", x)?;
        let weight = OPERATION.ordered("weight", weight)?;
        let dy = OPERATION.ordered("dy", dy)?;
        differentiate(OPERATION, &self.memory, &geometry, &weight, &x, &dy, gradients)
    }

    fn resolve(
        &self,
        operation: Operation,
        x: &ArrayView4<'_, T>,
        weight: &ArrayView4<'_, T>,
    ) -> Result<Geometry> {
        let geometry = Geometry::new(operation, &self.spec, x.dim().into())?;
        operation.expect_shape("weight", &self.spec.weight_shape(), weight.shape())?;
        Ok(geometry)
    }
}

/// Writes the gradients of a convolution by `weight` that are wanted, if all have their shape.
pub(crate) fn differentiate<T: Scalar>(
    operation: Operation,
    memory: &Memory<T>,
    geometry: &Geometry,
    weight: &[T],
    x: &[T],
    dy: &[T],
    gradients: Conv2dGradientsMut<T>,
) -> Result<()> {
    let Conv2dGradientsMut { x: dx, weight: dweight, bias: db } = gradients;
    let (shape, channels) = (geometry.spec.weight_shape(), [geometry.spec.out_channels]);
    let mut dx = operation.wanted("gradients.x", Some(&geometry.input_shape()), dx)?;
    let mut dweight = operation.wanted("gradients.weight", Some(&shape), dweight)?;
    let mut db = operation.wanted("gradients.bias", Some(&channels), db)?;
    let targets = Targets {
        x: dx.as_mut().map(Target::elements),
        kernel: dweight.as_mut().map(|dweight| KernelTarget::Plain(dweight.elements())),
        bias: db.as_mut().map(Target::elements),
    };
    let kernel = KernelSource::Plain(weight);
    operation.buffers(T::differentiate(memory, geometry, kernel, x, dy, targets))?;
    dx.into_iter().for_each(Target::store);
    dweight.into_iter().for_each(Target::store);
    db.into_iter().for_each(Target::store);
    Ok(())
}

/// The composition of a [`DoConv2d`](crate::DoConv2d), `W' = Dᵀ∘W` with `D = d_offset + E`, of factors
/// that are lent for each call. Keeps buffers from call to call; a clone starts without.
#[derive(Debug, Clone)]
pub struct Compose<T> {
    composer: Composer,
    weight_shape: [usize; 4],
    memory: Memory<T>,
}

impl<T: Scalar> Compose<T> {
    /// The composition of that geometry and pairing. Initialisers and the order of composition don't
    /// matter.
    ///
    /// # Errors
    /// As [`DoConv2dConfig::init`], [`ErrorKind::Memory`] aside, and [`ErrorKind::Config`] for a 1×1
    /// kernel, which has no `D`.
    pub fn new(config: &DoConv2dConfig) -> Result<Self> {
        const OPERATION: Operation = Operation("Compose::new");
        let (spec, d_mul) = config.spec(OPERATION)?;
        if spec.taps() == 1 {
            let expected = "more than one tap: a 1×1 kernel has no D";
            return Err(OPERATION.error(
                ErrorKind::Config,
                "kernel_size",
                expected,
                format!("{:?}", spec.kernel_size),
            ));
        }
        Ok(Self {
            composer: Composer::new(&spec, d_mul, config.pairing),
            weight_shape: spec.weight_shape(),
            memory: Memory::default(),
        })
    }

    /// `[O, I/g, M, N]`, the shape of the kernel.
    pub fn weight_shape(&self) -> [usize; 4] {
        self.weight_shape
    }

    /// Writes the kernel `weight`, `[O, I/g, M, N]`, for `d_offset`, `[I, M·N, S]`, and `w`,
    /// `[O, I/g, S]`, all of any strides.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for an array of another shape; [`ErrorKind::Memory`] where there is no room
    /// to put one in order or for buffers to work in. `weight` is not written then.
    pub fn forward_into(
        &self,
        d_offset: ArrayView3<'_, T>,
        w: ArrayView3<'_, T>,
        weight: ArrayViewMut4<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Compose::forward_into");
        self.expect_factors(OPERATION, &d_offset, &w)?;
        OPERATION.expect_shape("weight", &self.weight_shape, weight.shape())?;
        let d_offset = &OPERATION.ordered("d_offset", d_offset)?;
        let w = &OPERATION.ordered("w", w)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        OPERATION.fill("weight", weight, |weight| T::compose(&self.memory, factors, weight))
    }

    /// Writes the gradients of `Σ dweight·weight` over what `dd_offset` and `dw` held before.
    ///
    /// # Errors
    /// As [`Compose::forward_into`]; nothing is written then.
    pub fn backward_into(
        &self,
        d_offset: ArrayView3<'_, T>,
        w: ArrayView3<'_, T>,
        dweight: ArrayView4<'_, T>,
        dd_offset: ArrayViewMut3<'_, T>,
        dw: ArrayViewMut3<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("Compose::backward_into");
        self.expect_factors(OPERATION, &d_offset, &w)?;
        OPERATION.expect_shape("dweight", &self.weight_shape, dweight.shape())?;
        self.expect_d(OPERATION, "dd_offset", dd_offset.shape())?;
        OPERATION.expect_shape("dw", &self.composer.w_shape(), dw.shape())?;
        let d_offset = &OPERATION.ordered("d_offset", d_offset)?;
        let w = &OPERATION.ordered("w", w)?;
        let dweight = &OPERATION.ordered("dweight", dweight)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        let mut dd_offset = OPERATION.target("dd_offset", dd_offset)?;
        OPERATION.fill("dw", dw, |dw| {
            T::compose_gradients(&self.memory, factors, dweight, dw, dd_offset.elements())
        })?;
        dd_offset.store();
        Ok(())
    }

    fn expect_factors(
        &self,
        operation: Operation,
        d_offset: &ArrayView3<'_, T>,
        w: &ArrayView3<'_, T>,
    ) -> Result<()> {
        self.expect_d(operation, "d_offset", d_offset.shape())?;
        operation.expect_shape("w", &self.composer.w_shape(), w.shape())
    }

    fn expect_d(&self, operation: Operation, field: &'static str, got: &[usize]) -> Result<()> {
        let shape = self.composer.d_shape();
        operation.expect_optional_shape(field, shape.as_ref().map(|shape| &shape[..]), Some(got))
    }
}
