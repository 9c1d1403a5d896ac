//! What a layer is asked to be.

use burn::config::Config;
use burn::nn::{Initializer, PaddingConfig2d, conv};
use do_conv::{Algorithm, Composition, Error, ErrorKind, Pairing};

/// Configuration of a [`Conv2d`](crate::Conv2d): that of
/// [burn's](burn::nn::conv::Conv2dConfig) and an algorithm.
///
/// ```
/// use do_conv_burn::{Algorithm, Conv2dConfig};
///
/// let config = Conv2dConfig::new([64, 64], [3, 3]).with_algorithm(Algorithm::Winograd4);
/// let layer = config.init(&Default::default());
/// ```
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// `[I, O]`, input and output channels.
    pub channels: [usize; 2],
    /// `[M, N]`, rows and columns of the kernel.
    pub kernel_size: [usize; 2],
    /// Step of the output over rows and columns. Default: `[1, 1]`.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel taps over rows and columns. Default: `[1, 1]`.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// `g`, groups of channels; divides the input and the output channels. Default: 1.
    #[config(default = "1")]
    pub groups: usize,
    /// Padding, with burn's meaning of `Same`. Default: `Valid`.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Whether a bias is added to each output channel. Default: true.
    #[config(default = true)]
    pub bias: bool,
    /// How the kernel and the bias start, with `fan_in = I/g·M·N`. Default: burn's, `U(±1/√fan_in)`.
    #[config(
        default = "Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }"
    )]
    pub initializer: Initializer,
    /// Whether the core crate's engine computes on burn's CPU backend `flex`; otherwise burn's own operations do,
    /// as on every other. Default: true.
    #[config(default = true)]
    pub cpu_engine: bool,
    /// How that engine computes convolutions and their gradients. Default: [`Algorithm::Direct`].
    #[config(default = "Algorithm::Direct")]
    pub algorithm: Algorithm,
}

impl Conv2dConfig {
    /// Checks, in the name of `operation`, everything that doesn't depend on an input.
    pub(crate) fn validate(&self, operation: &'static str) -> Result<(), Error> {
        let [in_channels, out_channels] = self.channels;
        let core = do_conv::Conv2dConfig::new(in_channels, out_channels, self.kernel_size)
            .stride(self.stride)
            .dilation(self.dilation)
            .groups(self.groups);
        core.validate().map_err(|error| of(operation, error))?;
        expect_drawable(operation, self.bias, &self.initializer)
    }

    /// burn's, which has no algorithm.
    pub(crate) fn to_burn(&self) -> conv::Conv2dConfig {
        conv::Conv2dConfig::new(self.channels, self.kernel_size)
            .with_stride(self.stride)
            .with_dilation(self.dilation)
            .with_groups(self.groups)
            .with_padding(self.padding.clone())
            .with_bias(self.bias)
            .with_initializer(self.initializer.clone())
    }
}

/// Configuration of a [`DoConv2d`](crate::DoConv2d), in the manner of
/// [`Conv2dConfig`](burn::nn::conv::Conv2dConfig).
///
/// ```
/// use do_conv_burn::DoConv2dConfig;
///
/// let layer = DoConv2dConfig::new([3, 16], [3, 3]).with_stride([2, 2]).init(&Default::default());
/// ```
#[derive(Config, Debug)]
pub struct DoConv2dConfig {
    /// `[I, O]`, input and output channels.
    pub channels: [usize; 2],
    /// `[M, N]`, rows and columns of the kernel.
    pub kernel_size: [usize; 2],
    /// Step of the output over rows and columns. Default: `[1, 1]`.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel taps over rows and columns. Default: `[1, 1]`.
    #[config(default = "[1, 1]")]
    pub dilation: [usize; 2],
    /// `g`, groups of channels; divides the input and the output channels. Default: 1.
    #[config(default = "1")]
    pub groups: usize,
    /// Padding, with burn's meaning of `Same`. Default: `Valid`.
    #[config(default = "PaddingConfig2d::Valid")]
    pub padding: PaddingConfig2d,
    /// Whether a bias is added to each output channel. Default: true.
    #[config(default = true)]
    pub bias: bool,
    /// `S`, the depth multiplier of `D`, at least `M·N`, which is the default. A 1×1 kernel has no `D`
    /// and takes none.
    #[config(default = "None")]
    pub d_mul: Option<usize>,
    /// Which slice of `D` goes with which slice of `W`. Default: [`Pairing::InputChannel`]. Grouped
    /// layers that the published PyTorch code trained need [`Pairing::PyTorch`].
    #[config(default = "Pairing::InputChannel")]
    pub pairing: Pairing,
    /// How `W` and the bias start, with `fan_in = I/g·S`; `D` starts as the identity. Default: as the
    /// published code's and burn's own, `U(±1/√fan_in)`.
    #[config(
        default = "Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }"
    )]
    pub initializer: Initializer,
    /// Whether the core crate's engine computes on burn's CPU backend `flex`; otherwise burn's own operations do,
    /// as on every other. Default: true.
    #[config(default = true)]
    pub cpu_engine: bool,
    /// How that engine computes convolutions and their gradients. Default: [`Algorithm::Direct`].
    #[config(default = "Algorithm::Direct")]
    pub algorithm: Algorithm,
    /// In which order that engine applies `D` and `W` to images of `f32` and `f64`. Half types, and burn's own
    /// operations, take the composed kernel, which is the same function; so do all gradients. Default:
    /// [`Composition::Kernel`].
    #[config(default = "Composition::Kernel")]
    pub composition: Composition,
}

impl DoConv2dConfig {
    /// The layer in the terms of the core crate, without its padding, if everything is right that doesn't depend
    /// on an input; else the error in the name of `operation`.
    pub(crate) fn to_core(
        &self,
        operation: &'static str,
    ) -> Result<do_conv::DoConv2dConfig, Error> {
        let [in_channels, out_channels] = self.channels;
        // A padding is checked with each image.
        let mut core = do_conv::DoConv2dConfig::new(in_channels, out_channels, self.kernel_size)
            .stride(self.stride)
            .dilation(self.dilation)
            .groups(self.groups)
            .pairing(self.pairing)
            .composition(self.composition)
            .algorithm(self.algorithm);
        core.d_mul = self.d_mul;
        core.validate().map_err(|error| of(operation, error))?;
        expect_drawable(operation, self.bias, &self.initializer)?;
        Ok(core)
    }

    /// `MN`, taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }
}

/// Refuses an initializer that can't draw a bias.
fn expect_drawable(
    operation: &'static str,
    bias: bool,
    initializer: &Initializer,
) -> Result<(), Error> {
    if bias && matches!(initializer, Initializer::Orthogonal { .. }) {
        let expected = "one that can draw a bias, or no bias";
        let got = "Orthogonal";
        return Err(Error::new(ErrorKind::Config, operation, "initializer", expected, got));
    }
    Ok(())
}

/// The error in the name of the caller's operation.
pub(crate) fn of(operation: &'static str, mut error: Error) -> Error {
    error.operation = operation;
    error
}
