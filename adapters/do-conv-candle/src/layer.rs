//! The layer.

use candle_core::{Error, Module, Result, Tensor, ToUsize2, Var};
use candle_nn::{Init, VarBuilder};
use do_conv::{Algorithm, Pairing};

use crate::engine::Engine;
use crate::{Conv2d, DoConv2dConfig, fallback};

/// A 2-D convolution with depthwise over-parameterization (Cao et al.,
/// [arXiv 2006.12030](https://arxiv.org/abs/2006.12030)).
///
/// It is the plain convolution by `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]`, where `c` is the input
/// channel that `W[o, i]` reads and `D` is the trainable offset plus the identity, which is
/// recomputed. Made by [`do_conv2d`] and [`do_conv2d_no_bias`]; [`DoConv2d::fold`] keeps `W'`.
///
/// | variable | shape | |
/// | --- | --- | --- |
/// | `W` | `[O, I/g, S]` | |
/// | `D` | `[I, M·N, S]` | the offset from the identity; none for a 1×1 kernel |
/// | `bias` | `[O]` | none for [`do_conv2d_no_bias`] |
///
/// Tensors are `f32`, `f64`, `f16` or `bf16`, all of one type and on one device. On the CPU the core
/// crate's engine computes outputs and gradients; half types are computed with as `f32`. On other
/// devices both are made of candle's own operations, which have but one stride and one dilation for
/// both axes.
#[derive(Debug, Clone)]
pub struct DoConv2d {
    w: Tensor,
    d_offset: Option<Offset>,
    bias: Option<Tensor>,
    kernel_size: [usize; 2],
    config: DoConv2dConfig,
    engine: Engine,
}

/// `D` and what it is the offset from.
#[derive(Debug, Clone)]
struct Offset {
    d_offset: Tensor,
    identity: Tensor,
}

/// Makes a layer of `in_channels` to `out_channels` by a kernel of one size or of `(rows, columns)`,
/// from the variables `W`, `D` and `bias` of `vb`.
///
/// New variables start as the published code's: `W` and the bias as `U(±1/√fan_in)` with
/// `fan_in = I/g·S`, and `D` as the identity, so that the layer starts as the plain convolution by `W`.
///
/// # Errors
/// For a zero size, groups that don't divide the channels, a `d_mul` smaller than `M·N` or one for a
/// 1×1 kernel, and for what `vb` refuses: a variable that is missing or of another shape.
///
/// ```
/// use candle_core::{DType, Device, Module, Tensor};
/// use candle_nn::{VarBuilder, VarMap};
/// use do_conv_candle::{DoConv2dConfig, do_conv2d};
///
/// # fn main() -> candle_core::Result<()> {
/// let variables = VarMap::new();
/// let vb = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
/// let config = DoConv2dConfig { padding: [1, 1], ..Default::default() };
/// let layer = do_conv2d(3, 16, 3, config, vb.pp("conv1"))?;
///
/// let x = Tensor::randn(0f32, 1., (2, 3, 32, 32), &Device::Cpu)?;
/// let loss = layer.forward(&x)?.sqr()?.mean_all()?;
/// let gradients = loss.backward()?;
/// assert_eq!(variables.all_vars().len(), 3); // conv1.W, conv1.D, conv1.bias
/// assert!(variables.all_vars().iter().all(|variable| gradients.get(variable).is_some()));
/// # Ok(())
/// # }
/// ```
pub fn do_conv2d(
    in_channels: usize,
    out_channels: usize,
    kernel_size: impl ToUsize2,
    config: DoConv2dConfig,
    vb: VarBuilder,
) -> Result<DoConv2d> {
    let kernel_size = kernel_size.to_usize2().into();
    build("do_conv2d", [in_channels, out_channels], kernel_size, config, vb, true)
}

/// [`do_conv2d`] without a bias.
///
/// # Errors
/// As [`do_conv2d`].
pub fn do_conv2d_no_bias(
    in_channels: usize,
    out_channels: usize,
    kernel_size: impl ToUsize2,
    config: DoConv2dConfig,
    vb: VarBuilder,
) -> Result<DoConv2d> {
    let kernel_size = kernel_size.to_usize2().into();
    build("do_conv2d_no_bias", [in_channels, out_channels], kernel_size, config, vb, false)
}

fn build(
    operation: &'static str,
    [in_channels, out_channels]: [usize; 2],
    kernel_size: [usize; 2],
    config: DoConv2dConfig,
    vb: VarBuilder,
    has_bias: bool,
) -> Result<DoConv2d> {
    // Refuses what can't be, before any variable is made.
    let core = config.to_core([in_channels, out_channels], kernel_size);
    let engine = Engine::new(operation, &core)?;
    let taps = kernel_size[0] * kernel_size[1];
    let d_mul = config.d_mul.unwrap_or(taps);
    let n = in_channels / config.groups;
    let bound = 1.0 / ((n * d_mul) as f64).sqrt();
    let uniform = Init::Uniform { lo: -bound, up: bound };
    let w = vb.get_with_hints((out_channels, n, d_mul), "W", uniform)?;
    let d_offset = match taps {
        1 => None,
        _ => Some(vb.get_with_hints((in_channels, taps, d_mul), "D", candle_nn::init::ZERO)?),
    };
    let bias = has_bias.then(|| vb.get_with_hints(out_channels, "bias", uniform)).transpose()?;
    DoConv2d::new(operation, w, d_offset, bias, kernel_size, config, engine)
}

impl DoConv2d {
    fn new(
        operation: &str,
        w: Tensor,
        d_offset: Option<Tensor>,
        bias: Option<Tensor>,
        kernel_size: [usize; 2],
        config: DoConv2dConfig,
        engine: Engine,
    ) -> Result<Self> {
        let others = [("D", d_offset.as_ref()), ("bias", bias.as_ref())];
        expect_same_type(operation, ("W", &w), others)?;
        let offset = |d_offset: Tensor| {
            let (_, taps, d_mul) = d_offset.dims3()?;
            let identity = fallback::identity(taps, d_mul, &d_offset)?;
            Ok::<_, Error>(Offset { d_offset, identity })
        };
        let d_offset = d_offset.map(offset).transpose()?;
        Ok(Self { w, d_offset, bias, kernel_size, config, engine })
    }

    /// The over-parameterized form of a plain layer, to go on training from: the same function, with
    /// variables of its own. `W` is the kernel, filled up with zeros to `d_mul` (default `M·N`), and `D`
    /// the identity.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # use candle_nn::{VarBuilder, VarMap};
    /// # fn main() -> candle_core::Result<()> {
    /// # let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    /// let conv = candle_nn::conv2d(3, 16, 3, Default::default(), vb)?; // pretrained
    /// let layer = do_conv_candle::DoConv2d::from_conv2d(&conv, None)?;
    ///
    /// let variables = VarMap::new(); // of the model that the layer becomes a part of
    /// for (name, variable) in layer.variables()? {
    ///     variables.data().lock().unwrap().insert(format!("conv1.{name}"), variable);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A layer of several groups of several inputs and outputs is paired by
    /// [`Pairing::InputChannel`]; [`DoConv2d::from_conv2d_paired`] takes another.
    ///
    /// # Errors
    /// For a `d_mul` smaller than `M·N` or one for a 1×1 kernel.
    pub fn from_conv2d(conv: &candle_nn::Conv2d, d_mul: Option<usize>) -> Result<Self> {
        Self::over("DoConv2d::from_conv2d", conv, d_mul, Pairing::InputChannel)
    }

    /// [`DoConv2d::from_conv2d`] with a pairing, as training on with the published PyTorch code needs for
    /// grouped layers.
    ///
    /// # Errors
    /// As [`DoConv2d::from_conv2d`].
    pub fn from_conv2d_paired(
        conv: &candle_nn::Conv2d,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        Self::over("DoConv2d::from_conv2d_paired", conv, d_mul, pairing)
    }

    fn over(
        operation: &'static str,
        conv: &candle_nn::Conv2d,
        d_mul: Option<usize>,
        pairing: Pairing,
    ) -> Result<Self> {
        let config = DoConv2dConfig { d_mul, pairing, ..(*conv.config()).into() };
        let (outputs, n, rows, columns) = conv.weight().dims4()?;
        // No groups are refused as such, not as no input channels.
        let channels = [n.saturating_mul(config.groups.max(1)), outputs];
        let core = config.to_core(channels, [rows, columns]);
        let engine = Engine::new(operation, &core)?;
        let taps = rows * columns;
        let d_mul = d_mul.unwrap_or(taps);
        let w = conv.weight().detach().flatten_from(2)?.pad_with_zeros(2, 0, d_mul - taps)?;
        let d_offset = match taps {
            1 => None,
            _ => Some(Tensor::zeros((channels[0], taps, d_mul), w.dtype(), w.device())?),
        };
        let variable = |tensor: Tensor| Ok::<_, Error>(own(&tensor)?.into_inner());
        Self::new(
            operation,
            variable(w)?,
            d_offset.map(variable).transpose()?,
            conv.bias().map(|bias| variable(bias.detach())).transpose()?,
            [rows, columns],
            config,
            engine,
        )
    }

    /// The layer with its convolutions computed by that algorithm, on the CPU.
    ///
    /// # Errors
    /// None for a layer that exists.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self> {
        self.config.algorithm = algorithm;
        let (outputs, n, _) = self.w.dims3()?;
        let core = self.config.to_core([n * self.config.groups, outputs], self.kernel_size);
        self.engine = Engine::new("DoConv2d::with_algorithm", &core)?;
        Ok(self)
    }

    /// What the layer was asked to be.
    pub fn config(&self) -> &DoConv2dConfig {
        &self.config
    }

    /// The conventional kernel `W`, `[O, I/g, S]`.
    pub fn w(&self) -> &Tensor {
        &self.w
    }

    /// The offset of `D` from the identity, `[I, M·N, S]`; none for a 1×1 kernel.
    pub fn d_offset(&self) -> Option<&Tensor> {
        self.d_offset.as_ref().map(|offset| &offset.d_offset)
    }

    /// The bias, `[O]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// The layer's variables by name, `W`, `D` and `bias`, those that exist.
    ///
    /// # Errors
    /// For a layer of tensors that aren't variables, such as those of a file.
    pub fn variables(&self) -> Result<Vec<(&'static str, Var)>> {
        let tensors = [("W", Some(&self.w)), ("D", self.d_offset()), ("bias", self.bias())];
        let present = tensors.into_iter().filter_map(|(name, tensor)| Some((name, tensor?)));
        present
            .map(|(name, tensor)| match tensor.is_variable() {
                true => Ok((name, Var::from_tensor(tensor)?)),
                false => candle_core::bail!(
                    "DoConv2d::variables: {name}: expected a variable, got a constant"
                ),
            })
            .collect()
    }

    /// The composed kernel `W'`, `[O, I/g, M, N]`, which the layer convolves by. Gradients flow through
    /// it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weight(&self) -> Result<Tensor> {
        let weight = match &self.d_offset {
            None => self.w.clone(),
            Some(Offset { d_offset, .. }) if self.config.has_engine_for(&self.w) => {
                self.engine.compose(d_offset, &self.w)?
            }
            Some(Offset { d_offset, identity }) => {
                fallback::compose(&self.config, d_offset, identity, &self.w)?
            }
        };
        let (outputs, n, _) = self.w.dims3()?;
        weight.reshape((outputs, n, self.kernel_size[0], self.kernel_size[1]))
    }

    /// candle's plain convolution by the composed kernel: the same function at the cost of a plain
    /// layer. It shares no memory with this layer.
    ///
    /// On the CPU, [`DoConv2d::fold_for_cpu`] is the faster one.
    ///
    /// # Errors
    /// For a stride, padding or dilation that isn't the same for rows and columns, which is all that
    /// candle's layer has.
    pub fn fold(&self) -> Result<candle_nn::Conv2d> {
        let config = self.config.to_candle("DoConv2d::fold")?;
        Ok(candle_nn::Conv2d::new(self.kernel()?, self.own_bias()?, config))
    }

    /// The plain convolution by the composed kernel that the core crate's engine runs on the CPU: there
    /// its output has the same bits as this layer's. The engine keeps the kernel as it packs it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn fold_for_cpu(&self) -> Result<Conv2d> {
        const OPERATION: &str = "DoConv2d::fold_for_cpu";
        Conv2d::new(OPERATION, self.kernel()?, self.own_bias()?, self.config)?.pack()
    }

    /// What a file's metadata says of the layer by that name.
    pub(crate) fn metadata(&self, name: &str) -> Result<[(String, String); 2]> {
        let (outputs, n, _) = self.w.dims3()?;
        let core = self.config.to_core([n * self.config.groups, outputs], self.kernel_size);
        Ok(core.metadata(name))
    }

    /// The composed kernel, in memory of its own.
    fn kernel(&self) -> Result<Tensor> {
        Ok(own(&self.weight()?.detach())?.as_detached_tensor())
    }

    /// The bias, in memory of its own.
    fn own_bias(&self) -> Result<Option<Tensor>> {
        let own = |bias: &Tensor| Ok(own(&bias.detach())?.as_detached_tensor());
        self.bias.as_ref().map(own).transpose()
    }
}

/// A variable with a copy of the elements, and only them.
fn own(tensor: &Tensor) -> Result<Var> {
    Var::from_tensor(&tensor.contiguous()?)
}

impl Module for DoConv2d {
    /// Convolves `x`, `[B, I, H, W]`; gives `[B, O, OH, OW]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        const OPERATION: &str = "DoConv2d::forward";
        if let (Some(Offset { d_offset, .. }), None) = (&self.d_offset, &self.bias)
            && self.config.has_engine_for(x)
            && self.config.has_engine_for(&self.w)
        {
            expect_same_type(OPERATION, ("the kernel", &self.w), [("x", Some(x))])?;
            self.engine.output_shape(OPERATION, x.dims4()?.into())?;
            return self.engine.convolve_composed(x, d_offset, &self.w);
        }
        let weight = self.weight()?;
        convolve(OPERATION, &self.engine, &self.config, x, &weight, self.bias.as_ref())
    }
}

/// `weight * x + bias` by the engine, or by candle where that isn't.
pub(crate) fn convolve(
    operation: &'static str,
    engine: &Engine,
    config: &DoConv2dConfig,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    expect_same_type(operation, ("the kernel", weight), [("x", Some(x))])?;
    let [_, _, rows, columns] = engine.output_shape(operation, x.dims4()?.into())?;
    match config.has_engine_for(x) {
        true => engine.convolve(x, weight, bias),
        false => fallback::convolve(operation, config, [rows, columns], x, weight, bias),
    }
}

/// Refuses tensors of another type than the first.
pub(crate) fn expect_same_type<const N: usize>(
    operation: &str,
    (first_name, first): (&str, &Tensor),
    others: [(&str, Option<&Tensor>); N],
) -> Result<()> {
    let expected = first.dtype();
    for (name, other) in others {
        if let Some(got) = other.map(Tensor::dtype).filter(|&got| got != expected) {
            candle_core::bail!(
                "{operation}: {name}: expected {expected:?}, as {first_name} is, got {got:?}"
            );
        }
    }
    Ok(())
}
