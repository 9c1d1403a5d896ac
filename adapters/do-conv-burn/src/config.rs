//! What a layer is asked to be.

use burn::config::Config;
use burn::nn::{Initializer, PaddingConfig2d};
use do_conv::{Error, ErrorKind, Pairing};

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
}

impl DoConv2dConfig {
    /// Checks, in the name of `operation`, everything that doesn't depend on an input.
    pub(crate) fn validate(&self, operation: &'static str) -> Result<(), Error> {
        let [in_channels, out_channels] = self.channels;
        // burn's padding needs no check: it adds up to any image.
        let mut core = do_conv::DoConv2dConfig::new(in_channels, out_channels, self.kernel_size)
            .stride(self.stride)
            .dilation(self.dilation)
            .groups(self.groups)
            .pairing(self.pairing);
        core.d_mul = self.d_mul;
        core.validate().map_err(|error| of(operation, error))?;
        if self.bias && matches!(self.initializer, Initializer::Orthogonal { .. }) {
            return Err(Error::new(
                ErrorKind::Config,
                operation,
                "initializer",
                "one that can draw a bias, or no bias",
                "Orthogonal",
            ));
        }
        Ok(())
    }

    /// `MN`, taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel_size[0] * self.kernel_size[1]
    }
}

/// The error in the name of the caller's operation.
pub(crate) fn of(operation: &'static str, mut error: Error) -> Error {
    error.operation = operation;
    error
}
