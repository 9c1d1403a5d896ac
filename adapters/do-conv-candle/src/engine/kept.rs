//! Plain layers whose kernel doesn't change.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, DType, Error, Layout, Result, Shape, Tensor, WithDType};
use do_conv::{Conv2d, Conv2dConfig, Conv2dGradientsMut, Scalar};

use super::memory::{on_cpu, output, tensor, view, wanted};
use super::single;

/// A plain layer whose kernel the engine keeps as it packs it.
#[derive(Debug, Clone)]
pub enum Kept {
    Single(KeptLayer<f32>),
    Double(KeptLayer<f64>),
}

impl Kept {
    /// A layer with a copy of the kernel, `[O, I/g, M, N]`, and of the bias, if they are on the CPU.
    pub fn new(config: &Conv2dConfig, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        match weight.dtype() {
            DType::F64 => Ok(Self::Double(KeptLayer::new(config, weight, bias)?)),
            DType::F32 => Ok(Self::Single(KeptLayer::new(config, weight, bias)?)),
            _ => {
                let bias = bias.map(single).transpose()?;
                Ok(Self::Single(KeptLayer::new(config, &single(weight)?, bias.as_ref())?))
            }
        }
    }

    /// `weight * x + bias`, for an `x` of the kernel's type.
    pub fn convolve(&self, x: &Tensor) -> Result<Tensor> {
        match (self, x.dtype()) {
            (Self::Double(layer), _) => x.apply_op1(layer.clone()),
            (Self::Single(layer), DType::F32) => x.apply_op1(layer.clone()),
            (Self::Single(layer), half) => single(x)?.apply_op1(layer.clone())?.to_dtype(half),
        }
    }
}

/// A layer of the core's, of which `x` is the only input.
#[derive(Debug, Clone)]
pub struct KeptLayer<T>(Arc<Conv2d<T>>);

impl<T: Scalar + WithDType> KeptLayer<T> {
    fn new(config: &Conv2dConfig, weight: &Tensor, bias: Option<&Tensor>) -> Result<Self> {
        let config = config.clone().bias(bias.is_some());
        let weight = weight.storage_and_layout();
        let bias = bias.map(Tensor::storage_and_layout);
        let bias = bias.as_ref().map(on_cpu).transpose()?;
        let bias = bias.map(|bias| view::<T, 1>("bias", bias)).transpose()?;
        let weight = view::<T, 4>("weight", on_cpu(&weight)?)?;
        let (weight, bias) = (weight.to_owned(), bias.map(|bias| bias.to_owned()));
        let layer = Conv2d::from_parameters(config, weight, bias).map_err(Error::wrap)?;
        Ok(Self(Arc::new(layer)))
    }
}

impl<T: Scalar + WithDType> CustomOp1 for KeptLayer<T> {
    fn name(&self) -> &'static str {
        "do-conv convolution by a kept kernel"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = view::<T, 4>("x", (x, layout))?;
        let shape = self.0.output_shape(x.dim().into()).map_err(Error::wrap)?;
        output(shape, |y| self.0.forward_into(&x, y))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Some(mut dx) = wanted::<T, 4>(x)? else { return Ok(None) };
        let gradients = Conv2dGradientsMut { x: Some(dx.view_mut()), weight: None, bias: None };
        let [x, dy] = [x, dy].map(|tensor| tensor.storage_and_layout());
        let (x, dy) = (view::<T, 4>("x", on_cpu(&x)?)?, view::<T, 4>("dy", on_cpu(&dy)?)?);
        self.0.backward_into(&x, &dy, gradients).map_err(Error::wrap)?;
        tensor(dx).map(Some)
    }
}
