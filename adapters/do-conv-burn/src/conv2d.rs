//! The plain layer.

use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::PaddingConfig2d;
use burn::nn::conv;
use burn::tensor::{Device, Tensor};
use do_conv::{Algorithm, Error, ErrorKind, Result};

use crate::config::of;
use crate::engine::{Engine, Kernel, expect_shape};
use crate::{Conv2dConfig, DepthwiseKernel};

/// burn's [`Conv2d`](burn::nn::conv::Conv2d), run by the core crate's engine on burn's CPU backend `flex`,
/// forward and backward, and by burn elsewhere: for inference, as the fold of a
/// [`DoConv2d`](crate::DoConv2d), and for training.
///
/// It has the parameters of burn's layer, by the same names, so records and checkpoints of models with one load
/// into models with the other: to run a model of burn's layers on the engine, import this `Conv2d` where it
/// imported burn's, and [`Conv2dConfig`](crate::Conv2dConfig) for burn's (whose files lack two fields of this
/// one's). [`Conv2d::from_burn`] and [`Conv2d::to_burn`] convert a layer.
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use do_conv_burn::Conv2d;
///
/// let device = Device::default();
/// let conv = Conv2dConfig::new([3, 16], [3, 3]).init(&device);
/// let fast = Conv2d::from_burn(&conv)?; // the same function, the same parameters
/// let x = Tensor::<4>::ones([1, 3, 32, 32], &device);
/// let difference = (fast.forward(x.clone()) - conv.forward(x)).abs().max();
/// assert!(difference.into_scalar::<f32>() < 1e-5);
/// # Ok::<(), do_conv_burn::Error>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Conv2d {
    /// The kernel, `[O, I/g, M, N]`.
    pub weight: Param<Tensor<4>>,
    /// The bias, `[O]`, if there is one.
    pub bias: Option<Param<Tensor<1>>>,
    stride: [usize; 2],
    kernel_size: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    #[module(skip)]
    padding: PaddingConfig2d,
    #[module(skip)]
    engine: Engine,
}

impl Conv2dConfig {
    /// Makes a layer.
    ///
    /// # Panics
    /// Where [`Conv2dConfig::try_init`] gives an error.
    pub fn init(&self, device: &Device) -> Conv2d {
        self.try_init(device).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a layer that starts as burn's does.
    ///
    /// # Errors
    /// For a zero size, groups that don't divide the channels, parameters that there is no room for, and the
    /// initializer `Orthogonal` with a bias, which it can't draw.
    pub fn try_init(&self, device: &Device) -> Result<Conv2d> {
        const OPERATION: &str = "Conv2dConfig::try_init";
        self.validate(OPERATION)?;
        Conv2d::of_burn(OPERATION, self.to_burn().init(device), self.algorithm, self.cpu_engine)
    }
}

impl Conv2d {
    /// burn's layer, with its parameters: same ids, same tensors, trained or frozen as they are.
    ///
    /// # Errors
    /// For a zero size, groups that don't divide the channels, and fields that don't go with the kernel.
    pub fn from_burn(conv: &conv::Conv2d) -> Result<Self> {
        Self::of_burn("Conv2d::from_burn", conv.clone(), Algorithm::Direct, true)
    }

    /// The same, in the name of `operation`.
    pub(crate) fn of_burn(
        operation: &'static str,
        conv: conv::Conv2d,
        algorithm: Algorithm,
        cpu_engine: bool,
    ) -> Result<Self> {
        let conv::Conv2d { weight, bias, stride, kernel_size, dilation, groups, padding } = conv;
        let [outputs, n, rows, columns] = shape_of(&weight);
        expect_kernel_size(operation, [rows, columns], kernel_size)?;
        // No groups are refused as such, not as no input channels.
        let inputs = n.saturating_mul(groups.max(1));
        let core = do_conv::Conv2dConfig::new(inputs, outputs, kernel_size)
            .stride(stride)
            .dilation(dilation)
            .groups(groups)
            .algorithm(algorithm);
        core.validate().map_err(|error| of(operation, error))?;
        if let Some(bias) = &bias {
            expect_shape(operation, "bias", &[outputs], bias.lazy_shape().dims())?;
        }
        let engine = Engine::new(core.into(), padding.clone(), cpu_engine);
        Ok(Self { weight, bias, stride, kernel_size, dilation, groups, padding, engine })
    }

    /// burn's layer, with this one's parameters.
    pub fn to_burn(&self) -> conv::Conv2d {
        conv::Conv2d {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
            stride: self.stride,
            kernel_size: self.kernel_size,
            dilation: self.dilation,
            groups: self.groups,
            padding: self.padding.clone(),
        }
    }

    /// The layer for inference: on `flex` the engine keeps a kernel of `f32` or `f64` as it packs it, as long as the
    /// layer's parameters stay the same, which saves that work in every call and takes memory for it. A layer whose
    /// parameters change, by training or a record, gives the same results as without.
    pub fn keep(mut self) -> Self {
        self.engine = self.engine.keeping();
        self
    }

    /// The layer with its convolutions computed by that algorithm, on `flex`. Default:
    /// [`Algorithm::Direct`].
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.engine = self.engine.with_algorithm(algorithm);
        self
    }

    /// The algorithm that computes an image `[B, I, H, W]` on `flex`: the one that was chosen, where
    /// [`Algorithm`] says that it applies, else [`Algorithm::Direct`].
    ///
    /// # Errors
    /// For another number of channels and an image too small for the kernel.
    pub fn algorithm(&self, input: [usize; 4]) -> Result<Algorithm> {
        self.engine.algorithm("Conv2d::algorithm", input, None)
    }

    /// Convolves `x`, `[B, I, H, W]`; gives `[B, O, OH, OW]`, as burn's layer does.
    ///
    /// # Panics
    /// Where [`Conv2d::try_forward`] gives an error.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.convolve("Conv2d::forward", x).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Conv2d::forward`], with errors.
    ///
    /// # Errors
    /// For another number of channels, an image too small for the kernel, an output that there is no room for, and
    /// tensors of different types; for parameters that were given another shape.
    ///
    /// # Panics
    /// Where there is no room for what the computation works in, and for tensors on different devices.
    pub fn try_forward(&self, x: Tensor<4>) -> Result<Tensor<4>> {
        self.convolve("Conv2d::try_forward", x)
    }

    fn convolve(&self, operation: &'static str, x: Tensor<4>) -> Result<Tensor<4>> {
        let kernel = match self.weight.reparameterization::<DepthwiseKernel>() {
            Some(depthwise) => Kernel::Composed(depthwise.factors(operation, self.weight.base())?),
            None => Kernel::Plain(self.weight.val()),
        };
        let bias = self.bias.as_ref().map(|bias| bias.val());
        self.engine.convolve(operation, x, kernel, bias)
    }
}

/// The shape of a kernel, whether it is composed or not.
fn shape_of(weight: &Param<Tensor<4>>) -> [usize; 4] {
    match weight.reparameterization::<DepthwiseKernel>() {
        Some(depthwise) => depthwise.weight_shape(),
        None => weight.lazy_shape().dims(),
    }
}

/// Refuses a layer whose field says another size than its kernel has.
pub(crate) fn expect_kernel_size(
    operation: &'static str,
    of_weight: [usize; 2],
    got: [usize; 2],
) -> Result<()> {
    if got == of_weight {
        return Ok(());
    }
    let (expected, got) = (format!("{of_weight:?}, as weight has"), format!("{got:?}"));
    Err(Error::new(ErrorKind::Config, operation, "kernel_size", expected, got))
}

impl ModuleDisplay for Conv2d {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let conv = &self.engine.config().conv;
        content
            .add("ch_in", &conv.in_channels)
            .add("ch_out", &conv.out_channels)
            .add_debug_attribute("stride", &self.stride)
            .add_debug_attribute("kernel_size", &self.kernel_size)
            .add_debug_attribute("dilation", &self.dilation)
            .add("groups", &self.groups)
            .add_debug_attribute("padding", &self.padding)
            .add_debug_attribute("algorithm", &conv.algorithm)
            .optional()
    }
}
