//! A convolution by a composed kernel, in one call.

use ndarray::{ArrayView1, ArrayView3, ArrayView4, ArrayViewMut1, ArrayViewMut3, ArrayViewMut4};

use crate::array::Target;
use crate::compose::Composer;
use crate::config::algorithm::Algorithm;
use crate::config::geometry::{Geometry, Spec};
use crate::config::init::DInit;
use crate::config::{Composition, DoConv2dConfig};
use crate::do_conv::{KernelSource, KernelTarget, Targets};
use crate::error::{Operation, Result};
use crate::machine::memory::Memory;
use crate::scalar::Scalar;

/// A [`DoConv2d`](crate::DoConv2d), of parameters that are lent for each call, with the layer's bits under each
/// [`Composition`]. By the kernel it is [`Compose`](crate::operator::Compose) and
/// [`Convolve`](crate::operator::Convolve) at once, with the same bits; where it can, it composes the kernel where
/// it is read, so that the kernel and its gradient never are arrays. Keeps buffers from call to call; a clone
/// starts without.
#[derive(Debug, Clone)]
pub struct DoConvolve<T> {
    spec: Spec,
    composer: Composer,
    composition: Composition,
    memory: Memory<T>,
}

/// Where [`DoConvolve::backward_into`] and [`DoConv2d::backward_into`](crate::DoConv2d::backward_into) write
/// gradients: views of any strides, `None` for what isn't wanted. `W` and `D` have theirs from one
/// computation, which either takes.
#[derive(Debug)]
pub struct DoConv2dGradientsMut<'a, T> {
    /// Gradient of the input, `[B, I, H, W]`.
    pub x: Option<ArrayViewMut4<'a, T>>,
    /// Gradient of `W`, `[O, I/g, S]`.
    pub w: Option<ArrayViewMut3<'a, T>>,
    /// Gradient of the offset of `D`, `[I, M·N, S]`.
    pub d_offset: Option<ArrayViewMut3<'a, T>>,
    /// Gradient of the bias, `[O]`.
    pub bias: Option<ArrayViewMut1<'a, T>>,
}

impl<T: Scalar> DoConvolve<T> {
    /// The layer of that geometry, pairing and composition. How `D` starts and
    /// [`Conv2dConfig::bias`](crate::Conv2dConfig::bias) don't matter: each call says whether there is a bias.
    ///
    /// # Errors
    /// As [`DoConv2dConfig::init`], [`ErrorKind::Memory`](crate::ErrorKind::Memory) aside.
    pub fn new(config: &DoConv2dConfig) -> Result<Self> {
        let config = DoConv2dConfig { d_init: DInit::Identity, ..config.clone() };
        let (spec, d_mul) = config.spec(Operation("DoConvolve::new"))?;
        let composer = Composer::new(&spec, d_mul, config.pairing);
        Ok(Self { spec, composer, composition: config.composition, memory: Memory::default() })
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    ///
    /// # Errors
    /// As [`Convolve::output_shape`](crate::operator::Convolve::output_shape).
    pub fn output_shape(&self, input: [usize; 4]) -> Result<[usize; 4]> {
        Ok(Geometry::new(Operation("DoConvolve::output_shape"), &self.spec, input)?.output_shape())
    }

    /// The algorithm that computes a forward pass for an input `[B, I, H, W]`, as
    /// [`DoConv2d::algorithm`](crate::DoConv2d::algorithm) says; gradients have that of
    /// [`Convolve::algorithm`](crate::operator::Convolve::algorithm).
    ///
    /// # Errors
    /// As [`DoConvolve::output_shape`].
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        let geometry = Geometry::new(Operation("DoConvolve::algorithm"), &self.spec, input)?;
        Ok(self.composition.algorithm(&geometry, &self.composer))
    }

    /// Writes `y = (Dᵀ∘W) * x + bias` for `d_offset`, `[I, M·N, S]`, which a 1×1 kernel has none of, and `w`,
    /// `[O, I/g, S]`, all of any strides; what `y` held before doesn't matter.
    ///
    /// # Errors
    /// As [`DoConvolve::output_shape`]; [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a parameter or
    /// output of another shape, missing or too many; [`ErrorKind::Memory`](crate::ErrorKind::Memory) where
    /// there is no room to put an array in order or for buffers to work in. `y` is not written then.
    pub fn forward_into(
        &self,
        x: ArrayView4<'_, T>,
        d_offset: Option<ArrayView3<'_, T>>,
        w: ArrayView3<'_, T>,
        bias: Option<ArrayView1<'_, T>>,
        y: ArrayViewMut4<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("DoConvolve::forward_into");
        let geometry = Geometry::new(OPERATION, &self.spec, x.dim().into())?;
        self.expect_factors(OPERATION, d_offset.as_ref(), &w)?;
        if let Some(bias) = &bias {
            OPERATION.expect_shape("bias", &[self.spec.out_channels], bias.shape())?;
        }
        OPERATION.expect_shape("y", &geometry.output_shape(), y.shape())?;
        let x = OPERATION.ordered("x", x)?;
        let w = OPERATION.ordered("w", w)?;
        let d_offset = d_offset.map(|d_offset| OPERATION.ordered("d_offset", d_offset));
        let d_offset = d_offset.transpose()?;
        let bias = bias.map(|bias| OPERATION.ordered("bias", bias)).transpose()?;
        let (composition, memory) = (self.composition, &self.memory);
        let kernel = self.composer.kernel(&w, d_offset.as_deref());
        OPERATION.fill("y", y, |y| {
            kernel.convolve(composition, memory, &geometry, &x, bias.as_deref(), y)
        })
    }

    /// Writes the gradients of `Σ dy·y` that are wanted over what `gradients` held before. They are those of the
    /// composed kernel whatever the composition.
    ///
    /// # Errors
    /// As [`DoConvolve::forward_into`], and [`ErrorKind::Shape`](crate::ErrorKind::Shape) for a `dy`,
    /// `[B, O, OH, OW]`, or a gradient of another shape; nothing is written then.
    pub fn backward_into(
        &self,
        x: ArrayView4<'_, T>,
        d_offset: Option<ArrayView3<'_, T>>,
        w: ArrayView3<'_, T>,
        dy: ArrayView4<'_, T>,
        gradients: DoConv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        const OPERATION: Operation = Operation("DoConvolve::backward_into");
        let geometry = &Geometry::new(OPERATION, &self.spec, x.dim().into())?;
        self.expect_factors(OPERATION, d_offset.as_ref(), &w)?;
        OPERATION.expect_shape("dy", &geometry.output_shape(), dy.shape())?;
        let x = &OPERATION.ordered("x", x)?;
        let w = OPERATION.ordered("w", w)?;
        let d_offset = d_offset.map(|d_offset| OPERATION.ordered("d_offset", d_offset));
        let d_offset = d_offset.transpose()?;
        let dy = &OPERATION.ordered("dy", dy)?;
        let (memory, composer) = (&self.memory, &self.composer);
        let kernel = composer.kernel(&w, d_offset.as_deref());
        let pass = FactorGradients { memory, geometry, composer, kernel, x, dy };
        pass.write(OPERATION, Some(&[self.spec.out_channels]), gradients)
    }

    fn expect_factors(
        &self,
        operation: Operation,
        d_offset: Option<&ArrayView3<'_, T>>,
        w: &ArrayView3<'_, T>,
    ) -> Result<()> {
        let shape = self.composer.d_shape();
        let expected = shape.as_ref().map(|shape| &shape[..]);
        let got = d_offset.map(|d_offset| d_offset.shape());
        operation.expect_optional_shape("d_offset", expected, got)?;
        operation.expect_shape("w", &self.composer.w_shape(), w.shape())
    }
}

/// What the gradients of a convolution by a composed kernel are computed from, all in order.
pub(crate) struct FactorGradients<'a, T> {
    pub memory: &'a Memory<T>,
    pub geometry: &'a Geometry,
    pub composer: &'a Composer,
    pub kernel: KernelSource<'a, T>,
    pub x: &'a [T],
    pub dy: &'a [T],
}

impl<T: Scalar> FactorGradients<'_, T> {
    /// Writes those that are wanted, if all have their shape; without a `bias_shape` there is none of a bias.
    pub fn write(
        self,
        operation: Operation,
        bias_shape: Option<&[usize]>,
        gradients: DoConv2dGradientsMut<'_, T>,
    ) -> Result<()> {
        let Self { memory, geometry, composer, kernel, x, dy } = self;
        let DoConv2dGradientsMut { x: dx, w: dw, d_offset: dd_offset, bias: db } = gradients;
        let d_shape = composer.d_shape();
        let d_shape = d_shape.as_ref().map(|shape| &shape[..]);
        let mut dx = operation.wanted("gradients.x", Some(&geometry.input_shape()), dx)?;
        let mut dw = operation.wanted("gradients.w", Some(&composer.w_shape()), dw)?;
        let mut dd_offset = operation.wanted("gradients.d_offset", d_shape, dd_offset)?;
        let mut db = operation.wanted("gradients.bias", bias_shape, db)?;

        let of_kernel = match (kernel, dw.as_mut(), dd_offset.as_mut()) {
            (_, None, None) => None,
            (KernelSource::Plain(_), dw, _) => dw.map(|dw| KernelTarget::Plain(dw.elements())),
            (KernelSource::Composed(_), dw, dd_offset) => Some(KernelTarget::Factors {
                dw: dw.map(Target::elements),
                dd_offset: dd_offset.map(Target::elements),
            }),
        };
        let targets = Targets {
            x: dx.as_mut().map(Target::elements),
            kernel: of_kernel,
            bias: db.as_mut().map(Target::elements),
        };
        operation.buffers(T::differentiate(memory, geometry, kernel, x, dy, targets))?;
        dx.into_iter().for_each(Target::store);
        dw.into_iter().for_each(Target::store);
        dd_offset.into_iter().for_each(Target::store);
        db.into_iter().for_each(Target::store);
        Ok(())
    }
}
