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

use ndarray::{
    ArrayView1, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut3, ArrayViewMut4, Dimension,
};

use crate::array::{Target, expect_shape, fill, ordered};
use crate::compose::{Composer, Factors};
use crate::config::geometry::{Geometry, Spec};
use crate::config::{Conv2dConfig, DoConv2dConfig};
use crate::do_conv::{KernelSource, KernelTarget, Targets};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::memory::{Memory, NoRoom};
use crate::scalar::Scalar;

/// The convolution of a [`Conv2d`](crate::Conv2d), by a kernel and a bias that are lent for each call.
/// Keeps buffers from call to call; a clone starts without.
#[derive(Debug, Clone)]
pub struct Convolve<T> {
    spec: Spec,
    memory: Memory<T>,
}

/// Where [`Convolve::backward_into`] writes gradients: views of any strides, `None` for what isn't
/// wanted and won't be computed.
#[derive(Debug)]
pub struct ConvolveGradientsMut<'a, T> {
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
        Ok(Self { spec: config.spec("Convolve::new")?, memory: Memory::default() })
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for another number of channels; [`ErrorKind::InputSize`] for an image that
    /// is too small for the kernel or for its padding mode; [`ErrorKind::Overflow`] for an output that
    /// can't be addressed.
    pub fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
        Ok(Geometry::new("Convolve::output_shape", &self.spec, input)?.output_shape())
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
        const OPERATION: &str = "Convolve::forward_into";
        let geometry = self.resolve(OPERATION, &x, &weight)?;
        if let Some(bias) = &bias {
            expect_shape(OPERATION, "bias", &[self.spec.out_channels], bias.shape())?;
        }
        expect_shape(OPERATION, "y", &geometry.output_shape(), y.shape())?;
        let x = ordered(OPERATION, "x", x)?;
        let weight = ordered(OPERATION, "weight", weight)?;
        let bias = bias.map(|bias| ordered(OPERATION, "bias", bias)).transpose()?;
        let (memory, kernel) = (&self.memory, KernelSource::Plain(&weight));
        fill(OPERATION, "y", y, |y| {
            T::convolve(memory, &geometry, &x, kernel, None, bias.as_deref(), y)
        })
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
        gradients: ConvolveGradientsMut<'_, T>,
    ) -> Result<()> {
        const OPERATION: &str = "Convolve::backward_into";
        let geometry = self.resolve(OPERATION, &x, &weight)?;
        expect_shape(OPERATION, "dy", &geometry.output_shape(), dy.shape())?;
        expect_wanted(OPERATION, "gradients.x", &geometry.input_shape(), &gradients.x)?;
        expect_wanted(OPERATION, "gradients.weight", &self.spec.weight_shape(), &gradients.weight)?;
        expect_wanted(OPERATION, "gradients.bias", &[self.spec.out_channels], &gradients.bias)?;
        let x = ordered(OPERATION, "x", x)?;
        let weight = ordered(OPERATION, "weight", weight)?;
        let dy = ordered(OPERATION, "dy", dy)?;
        differentiate(OPERATION, &self.memory, &geometry, [&x, &weight, &dy], gradients)
    }

    fn resolve(
        &self,
        operation: &'static str,
        x: &ArrayView4<'_, T>,
        weight: &ArrayView4<'_, T>,
    ) -> Result<Geometry> {
        let geometry = Geometry::new(operation, &self.spec, x.dim().into())?;
        expect_shape(operation, "weight", &self.spec.weight_shape(), weight.shape())?;
        Ok(geometry)
    }
}

/// Writes the gradients of a convolution by `weight` that are wanted.
pub(crate) fn differentiate<T: Scalar>(
    operation: &'static str,
    memory: &Memory<T>,
    geometry: &Geometry,
    [x, weight, dy]: [&[T]; 3],
    gradients: ConvolveGradientsMut<T>,
) -> Result<()> {
    let mut dx = Target::optional(operation, "gradients.x", gradients.x)?;
    let mut dweight = Target::optional(operation, "gradients.weight", gradients.weight)?;
    let mut db = Target::optional(operation, "gradients.bias", gradients.bias)?;
    let targets = Targets {
        x: dx.as_mut().map(Target::elements),
        kernel: dweight.as_mut().map(|dweight| KernelTarget::Plain(dweight.elements())),
        bias: db.as_mut().map(Target::elements),
    };
    let written = T::differentiate(memory, geometry, KernelSource::Plain(weight), x, dy, targets);
    written.map_err(|none| none.refuse(operation, NoRoom::BUFFERS))?;
    dx.into_iter().for_each(Target::store);
    dweight.into_iter().for_each(Target::store);
    db.into_iter().for_each(Target::store);
    Ok(())
}

/// Refuses an array that is wanted in another shape.
fn expect_wanted<T, D: Dimension>(
    operation: &'static str,
    field: &'static str,
    expected: &[usize],
    got: &Option<ndarray::ArrayViewMut<'_, T, D>>,
) -> Result<()> {
    got.as_ref().map_or(Ok(()), |got| expect_shape(operation, field, expected, got.shape()))
}

/// The composition of a [`DoConv2d`](crate::DoConv2d), `W' = Dᵀ∘W` with `D = d_offset + E`, of factors
/// that are lent for each call. Keeps buffers from call to call; a clone starts without.
#[derive(Debug, Clone)]
pub struct Compose<T> {
    composer: Composer,
    /// Of `d_offset`, `w` and `weight`.
    shapes: ([usize; 3], [usize; 3], [usize; 4]),
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
        const OPERATION: &str = "Compose::new";
        let (spec, d_mul) = config.spec(OPERATION)?;
        if spec.taps() == 1 {
            let expected = "more than one tap: a 1×1 kernel has no D";
            return Err(Error::new(
                ErrorKind::Config,
                OPERATION,
                "kernel_size",
                expected,
                format!("{:?}", spec.kernel_size),
            ));
        }
        Ok(Self {
            composer: Composer::new(&spec, d_mul, config.pairing),
            shapes: (
                [spec.in_channels, spec.taps(), d_mul],
                [spec.out_channels, spec.group_inputs(), d_mul],
                spec.weight_shape(),
            ),
            memory: Memory::default(),
        })
    }

    /// `[O, I/g, M, N]`, the shape of the kernel.
    pub fn weight_shape(&self) -> [usize; 4] {
        self.shapes.2
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
        const OPERATION: &str = "Compose::forward_into";
        self.expect_factors(OPERATION, &d_offset, &w)?;
        expect_shape(OPERATION, "weight", &self.shapes.2, weight.shape())?;
        let d_offset = &ordered(OPERATION, "d_offset", d_offset)?;
        let w = &ordered(OPERATION, "w", w)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        fill(OPERATION, "weight", weight, |weight| T::compose(&self.memory, factors, weight))
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
        const OPERATION: &str = "Compose::backward_into";
        self.expect_factors(OPERATION, &d_offset, &w)?;
        expect_shape(OPERATION, "dweight", &self.shapes.2, dweight.shape())?;
        expect_shape(OPERATION, "dd_offset", &self.shapes.0, dd_offset.shape())?;
        expect_shape(OPERATION, "dw", &self.shapes.1, dw.shape())?;
        let d_offset = &ordered(OPERATION, "d_offset", d_offset)?;
        let w = &ordered(OPERATION, "w", w)?;
        let dweight = &ordered(OPERATION, "dweight", dweight)?;
        let factors = Factors { composer: &self.composer, d_offset, w };
        let mut dd_offset = Target::new(OPERATION, "dd_offset", dd_offset)?;
        fill(OPERATION, "dw", dw, |dw| {
            T::compose_gradients(&self.memory, factors, dweight, dw, dd_offset.elements())
        })?;
        dd_offset.store();
        Ok(())
    }

    fn expect_factors(
        &self,
        operation: &'static str,
        d_offset: &ArrayView3<'_, T>,
        w: &ArrayView3<'_, T>,
    ) -> Result<()> {
        expect_shape(operation, "d_offset", &self.shapes.0, d_offset.shape())?;
        expect_shape(operation, "w", &self.shapes.1, w.shape())
    }
}
