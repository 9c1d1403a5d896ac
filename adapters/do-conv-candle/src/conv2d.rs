//! The plain layer.

use candle_core::{Module, Result, Tensor};
use do_conv::Algorithm;

use crate::DoConv2dConfig;
use crate::engine::{Engine, Kept};
use crate::layer::{convolve, expect_same_type};

/// A plain 2-D convolution like candle's own, run on the CPU by the core crate's engine: what
/// [`DoConv2d::fold_for_cpu`](crate::DoConv2d::fold_for_cpu) gives. On other devices candle runs it.
///
/// ```
/// # use candle_core::{DType, Device, Module, Tensor};
/// # use candle_nn::{VarBuilder, VarMap};
/// use do_conv_candle::Conv2d;
/// # fn main() -> candle_core::Result<()> {
/// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
///
/// let conv = candle_nn::conv2d(3, 16, 3, Default::default(), vb)?;
/// let fast = Conv2d::from_candle(&conv)?; // the same function, the same tensors
/// let x = Tensor::randn(0f32, 1., (1, 3, 32, 32), &Device::Cpu)?;
/// let difference = (fast.forward(&x)? - conv.forward(&x)?)?.abs()?.max_all()?;
/// assert!(difference.to_scalar::<f32>()? < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    config: DoConv2dConfig,
    engine: Engine,
    /// The kernel and the bias as the engine packs them, if they are to stay as they are.
    kept: Option<Kept>,
}

impl Conv2d {
    /// candle's layer, of the same tensors: gradients flow to its variables.
    ///
    /// # Errors
    /// For a zero size, groups that don't divide the channels, a bias of another length, and tensors of different
    /// types.
    pub fn from_candle(conv: &candle_nn::Conv2d) -> Result<Self> {
        const OPERATION: &str = "Conv2d::from_candle";
        let config = (*conv.config()).into();
        Self::new(OPERATION, conv.weight().clone(), conv.bias().cloned(), config)
    }

    /// A layer by `weight`, `[O, I/g, M, N]`, without `d_mul` and pairing.
    pub(crate) fn new(
        operation: &'static str,
        weight: Tensor,
        bias: Option<Tensor>,
        config: DoConv2dConfig,
    ) -> Result<Self> {
        let (outputs, n, rows, columns) = weight.dims4()?;
        let config = DoConv2dConfig { d_mul: None, pairing: Default::default(), ..config };
        // No groups are refused as such, not as no input channels.
        let channels = [n.saturating_mul(config.groups.max(1)), outputs];
        let engine = Engine::plain(operation, &config.to_core(channels, [rows, columns]).conv)?;
        expect_same_type(operation, ("weight", &weight), [("bias", bias.as_ref())])?;
        if let Some(bias) = bias.as_ref().filter(|bias| bias.dims() != [outputs]) {
            let got = bias.dims();
            candle_core::bail!("{operation}: bias: expected [{outputs}], got {got:?}");
        }
        Ok(Self { weight, bias, config, engine, kept: None })
    }

    /// The layer for inference: with a copy of the kernel and the bias that the engine keeps as it packs them,
    /// which saves that work in every call. They aren't trained; gradients flow to the input.
    /// On other devices than the CPU it is the layer with tensors of its own.
    ///
    /// # Errors
    /// Those of the device.
    pub fn keep(&self) -> Result<Self> {
        let own = |tensor: &Tensor| tensor.detach().force_contiguous();
        let weight = own(&self.weight)?;
        let bias = self.bias.as_ref().map(own).transpose()?;
        Self { weight, bias, ..self.clone() }.pack()
    }

    /// The layer with its kernel packed, whose tensors nobody else has.
    pub(crate) fn pack(mut self) -> Result<Self> {
        let has_engine = self.config.has_engine_for(&self.weight);
        let pack = || Kept::new(&self.core_config()?, &self.weight, self.bias.as_ref());
        self.kept = has_engine.then(pack).transpose()?;
        Ok(self)
    }

    /// The layer with its convolutions computed by that algorithm, on the CPU. Default:
    /// [`Algorithm::Direct`]. What was [kept](Conv2d::keep) is kept for it.
    ///
    /// # Errors
    /// None for a layer that exists.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self> {
        self.config.algorithm = algorithm;
        self.engine = Engine::plain("Conv2d::with_algorithm", &self.core_config()?)?;
        match self.kept {
            Some(_) => self.pack(),
            None => Ok(self),
        }
    }

    /// The layer in the terms of the core crate.
    fn core_config(&self) -> Result<do_conv::Conv2dConfig> {
        let (outputs, n, rows, columns) = self.weight.dims4()?;
        Ok(self.config.to_core([n * self.config.groups, outputs], [rows, columns]).conv)
    }

    /// The kernel, `[O, I/g, M, N]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias, `[O]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// candle's layer, of the same tensors.
    ///
    /// # Errors
    /// For a stride, padding or dilation that isn't the same for rows and columns, which is all that
    /// candle's layer has.
    pub fn to_candle(&self) -> Result<candle_nn::Conv2d> {
        let config = self.config.to_candle("Conv2d::to_candle")?;
        Ok(candle_nn::Conv2d::new(self.weight.clone(), self.bias.clone(), config))
    }
}

impl Module for Conv2d {
    /// Convolves `x`, `[B, I, H, W]`; gives `[B, O, OH, OW]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        const OPERATION: &str = "Conv2d::forward";
        let (weight, bias) = (&self.weight, self.bias.as_ref());
        if let Some(kept) = self.kept.as_ref().filter(|_| x.device().is_cpu()) {
            expect_same_type(OPERATION, ("the kernel", weight), [("x", Some(x))])?;
            self.engine.output_shape(OPERATION, x.dims4()?.into())?;
            return kept.convolve(x);
        }
        convolve(OPERATION, &self.engine, &self.config, x, weight, bias)
    }
}
