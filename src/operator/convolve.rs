//! A plain convolution.

use ndarray::{ArrayView1, ArrayView4, ArrayViewMut1, ArrayViewMut4};

use crate::array::Target;
use crate::config::Conv2dConfig;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::do_conv::{KernelSource, KernelTarget, Targets};
use crate::error::{Operation, Result};
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
    /// As [`Conv2dConfig::init`], [`ErrorKind::Memory`](crate::ErrorKind::Memory) aside.
    pub fn new(config: &Conv2dConfig) -> Result<Self> {
        Ok(Self { spec: config.spec(Operation("Convolve::new"))?, memory: Memory::default() })
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`](crate::ErrorKind::Shape) for another number of channels; [`ErrorKind::InputSize`](crate::ErrorKind::InputSize) for an image that
    /// is too small for the kernel or for its padding mode; [`ErrorKind::Overflow`](crate::ErrorKind::Overflow) for an output that
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
    /// As [`Convolve::output_shape`]; [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a kernel, bias or output of another
    /// shape; [`ErrorKind::Memory`](crate::ErrorKind::Memory) where there is no room to put `x` in order or for buffers to
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
    /// As [`Convolve::forward_into`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `dy`, `[B, O, OH, OW]`, or a
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
