//! The core crate's operators as candle's custom operators, for the CPU.

mod both;
mod kept;
mod memory;

use std::fmt;
use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp2, CustomOp3, DType, Error, Layout, Result, Shape, Tensor, WithDType,
};
use do_conv::operator::{Compose, Conv2dGradientsMut, Convolve, DoConvolve};
use do_conv::{Conv2dConfig, DoConv2dConfig, Scalar};

use both::Both;
pub use kept::Kept;
use memory::{on_cpu, output, room, tensor, view, wanted};

/// What a layer computes on the CPU, for both element types that the core has. Clones share buffers.
#[derive(Clone)]
pub struct Engine {
    single: Operators<f32>,
    double: Operators<f64>,
}

impl fmt::Debug for Engine {
    /// Nothing: the layer around it says what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct Operators<T> {
    convolution: Convolution<T>,
    /// None without a `D`: of a plain layer, or of a 1×1 kernel.
    composed: Option<Composed<T>>,
}

#[derive(Debug, Clone)]
struct Composed<T> {
    composition: Composition<T>,
    both: Both<T>,
}

impl Engine {
    /// Of a DO-Conv layer. Refuses, in the name of `operation`, one that can't be.
    pub fn new(operation: &'static str, config: &DoConv2dConfig) -> Result<Self> {
        config.validate().map_err(of(operation))?;
        let composed = Some(config).filter(|config| config.conv.kernel_size != [1, 1]);
        let (single, double) =
            (Operators::new(&config.conv, composed), Operators::new(&config.conv, composed));
        Ok(Self { single: single?, double: double? })
    }

    /// Of a plain layer, which isn't asked for what a `D` needs.
    pub fn plain(operation: &'static str, config: &Conv2dConfig) -> Result<Self> {
        config.validate().map_err(of(operation))?;
        Ok(Self { single: Operators::new(config, None)?, double: Operators::new(config, None)? })
    }

    /// The shape `[B, O, OH, OW]` of the output for an input `[B, I, H, W]`.
    pub fn output_shape(&self, operation: &'static str, input: [usize; 4]) -> Result<[usize; 4]> {
        self.single.convolution.0.output_shape(input).map_err(of(operation))
    }

    /// `weight * x + bias`. Numbers of half the size are computed with as `f32` and rounded once.
    pub fn convolve(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match x.dtype() {
            DType::F32 => self.single.convolution.apply(x, weight, bias),
            DType::F64 => self.double.convolution.apply(x, weight, bias),
            half => {
                let bias = bias.map(single).transpose()?;
                let y =
                    self.single.convolution.apply(&single(x)?, &single(weight)?, bias.as_ref())?;
                y.to_dtype(half)
            }
        }
    }

    /// `((d_offset + E)ᵀ∘w) * x`, with the bits of the one after the other. There is no room for a bias in
    /// candle's custom operators of three tensors.
    pub fn convolve_composed(&self, x: &Tensor, d_offset: &Tensor, w: &Tensor) -> Result<Tensor> {
        match x.dtype() {
            DType::F32 => x.apply_op3(d_offset, w, self.single.composed()?.both.clone()),
            DType::F64 => x.apply_op3(d_offset, w, self.double.composed()?.both.clone()),
            // The kernel is rounded, as a fold's is.
            _ => self.convolve(x, &self.compose(d_offset, w)?, None),
        }
    }

    /// `(d_offset + E)ᵀ∘w`, `[O, I/g, M, N]`.
    pub fn compose(&self, d_offset: &Tensor, w: &Tensor) -> Result<Tensor> {
        match w.dtype() {
            DType::F32 => self.single.composed()?.composition.apply(d_offset, w),
            DType::F64 => self.double.composed()?.composition.apply(d_offset, w),
            half => {
                let weight =
                    self.single.composed()?.composition.apply(&single(d_offset)?, &single(w)?)?;
                weight.to_dtype(half)
            }
        }
    }
}

/// Turns an error of the core into candle's, in the name of the caller's operation.
fn of(operation: &'static str) -> impl Fn(do_conv::Error) -> Error {
    move |mut error| {
        error.operation = operation;
        Error::wrap(error)
    }
}

/// The tensor as `f32`, which every half type fits.
fn single(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 => tensor.to_dtype(DType::F32),
        dtype => {
            candle_core::bail!("do-conv: expected tensors of f16, bf16, f32 or f64, got {dtype:?}")
        }
    }
}

impl<T: Scalar + WithDType> Operators<T> {
    fn new(config: &Conv2dConfig, composed: Option<&DoConv2dConfig>) -> Result<Self> {
        let convolution = Convolution(Arc::new(Convolve::new(config).map_err(Error::wrap)?));
        let composed = composed.map(|config| {
            Ok::<_, Error>(Composed {
                composition: Composition(Arc::new(Compose::new(config).map_err(Error::wrap)?)),
                both: Both(Arc::new(DoConvolve::new(config).map_err(Error::wrap)?)),
            })
        });
        Ok(Self { convolution, composed: composed.transpose()? })
    }

    fn composed(&self) -> Result<&Composed<T>> {
        let none = || Error::msg("do-conv composition: expected a layer with a D, got one without");
        self.composed.as_ref().ok_or_else(none)
    }
}

/// `weight * x + bias`, by the core's engine in both directions.
#[derive(Debug, Clone)]
struct Convolution<T>(Arc<Convolve<T>>);

impl<T: Scalar + WithDType> Convolution<T> {
    fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        match bias {
            Some(bias) => x.apply_op3(weight, bias, self.clone()),
            None => x.apply_op2(weight, self.clone()),
        }
    }

    fn forward(
        &self,
        x: (&CpuStorage, &Layout),
        weight: (&CpuStorage, &Layout),
        bias: Option<(&CpuStorage, &Layout)>,
    ) -> Result<(CpuStorage, Shape)> {
        let x = view::<T, 4>("x", x)?;
        let weight = view::<T, 4>("weight", weight)?;
        let bias = bias.map(|bias| view::<T, 1>("bias", bias)).transpose()?;
        let shape = self.0.output_shape(x.dim().into()).map_err(Error::wrap)?;
        output(shape, |y| self.0.forward_into(x, weight, bias, y.view_mut()))
    }

    /// Gradients of `x`, `weight` and `bias`, those that autograd follows.
    fn backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        dy: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let mut dx = wanted::<T, 4>(x)?;
        let mut dweight = wanted::<T, 4>(weight)?;
        let mut db = bias.map(wanted::<T, 1>).transpose()?.flatten();
        let gradients = Conv2dGradientsMut {
            x: dx.as_mut().map(|dx| dx.view_mut()),
            weight: dweight.as_mut().map(|dweight| dweight.view_mut()),
            bias: db.as_mut().map(|db| db.view_mut()),
        };
        let [x, weight, dy] = [x, weight, dy].map(|tensor| tensor.storage_and_layout());
        self.0
            .backward_into(
                view("x", on_cpu(&x)?)?,
                view("weight", on_cpu(&weight)?)?,
                view("dy", on_cpu(&dy)?)?,
                gradients,
            )
            .map_err(Error::wrap)?;
        Ok([
            dx.map(tensor).transpose()?,
            dweight.map(tensor).transpose()?,
            db.map(tensor).transpose()?,
        ])
    }
}

impl<T: Scalar + WithDType> CustomOp2 for Convolution<T> {
    fn name(&self) -> &'static str {
        "do-conv convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (weight, weight_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [dx, dweight, _] = self.backward(x, weight, None, dy)?;
        Ok((dx, dweight))
    }
}

impl<T: Scalar + WithDType> CustomOp3 for Convolution<T> {
    fn name(&self) -> &'static str {
        "do-conv convolution"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (weight, weight_layout), Some((bias, bias_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dx, dweight, db] = self.backward(x, weight, Some(bias), dy)?;
        Ok((dx, dweight, db))
    }
}

/// `(d_offset + E)ᵀ∘w`, by the core in both directions.
#[derive(Debug, Clone)]
struct Composition<T>(Arc<Compose<T>>);

impl<T: Scalar + WithDType> Composition<T> {
    fn apply(&self, d_offset: &Tensor, w: &Tensor) -> Result<Tensor> {
        d_offset.apply_op2(w, self.clone())
    }
}

impl<T: Scalar + WithDType> CustomOp2 for Composition<T> {
    fn name(&self) -> &'static str {
        "do-conv composition"
    }

    fn cpu_fwd(
        &self,
        d_offset: &CpuStorage,
        d_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = self.0.weight_shape();
        let d_offset = view("D", (d_offset, d_layout))?;
        let w = view("W", (w, w_layout))?;
        output(shape, |weight| self.0.forward_into(d_offset, w, weight.view_mut()))
    }

    fn bwd(
        &self,
        d_offset: &Tensor,
        w: &Tensor,
        _weight: &Tensor,
        dweight: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [d_is_wanted, w_is_wanted] = [d_offset, w].map(Tensor::track_op);
        let (mut dd_offset, mut dw) = (room::<T, 3>(d_offset.dims())?, room::<T, 3>(w.dims())?);
        let [d_offset, w, dweight] =
            [d_offset, w, dweight].map(|tensor| tensor.storage_and_layout());
        self.0
            .backward_into(
                view("D", on_cpu(&d_offset)?)?,
                view("W", on_cpu(&w)?)?,
                view("the kernel's gradient", on_cpu(&dweight)?)?,
                dd_offset.view_mut(),
                dw.view_mut(),
            )
            .map_err(Error::wrap)?;
        // Both come out of one pass.
        let wanted = |is_wanted: bool, gradient| is_wanted.then(|| tensor(gradient)).transpose();
        Ok((wanted(d_is_wanted, dd_offset)?, wanted(w_is_wanted, dw)?))
    }
}
