//! What a layer is asked to be.

use candle_core::conv::CudnnFwdAlgo;
use candle_core::{Error, Result, Tensor};
use do_conv::{Algorithm, Pairing};

/// Configuration of a [`DoConv2d`](crate::DoConv2d), in the manner of [`candle_nn::Conv2dConfig`], with
/// rows and columns on their own.
///
/// ```
/// use do_conv_candle::DoConv2dConfig;
///
/// let config = DoConv2dConfig { padding: [1, 1], stride: [2, 2], ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DoConv2dConfig {
    /// Zeros on both sides of rows and of columns. Default: `[0, 0]`.
    pub padding: [usize; 2],
    /// Step of the output over rows and columns. Default: `[1, 1]`.
    pub stride: [usize; 2],
    /// Distance of neighbouring kernel taps over rows and columns. Default: `[1, 1]`.
    pub dilation: [usize; 2],
    /// `g`, groups of channels; divides the input and the output channels. Default: 1.
    pub groups: usize,
    /// `S`, the depth multiplier of `D`, at least `M·N`, which is the default. A 1×1 kernel has no `D`
    /// and takes none.
    pub d_mul: Option<usize>,
    /// Which slice of `D` goes with which slice of `W`. Default: [`Pairing::InputChannel`]. Grouped
    /// layers that the published PyTorch code trained need [`Pairing::PyTorch`].
    pub pairing: Pairing,
    /// Whether the core crate's engine computes on the CPU; otherwise candle's own operations do, as on
    /// every other device. Default: true.
    pub cpu_engine: bool,
    /// How that engine computes the convolution and its gradients. Default: [`Algorithm::Direct`].
    pub algorithm: Algorithm,
    /// For cuDNN, as in [`candle_nn::Conv2dConfig`]. Default: none, its own choice.
    pub cudnn_fwd_algo: Option<CudnnFwdAlgo>,
}

impl Default for DoConv2dConfig {
    fn default() -> Self {
        candle_nn::Conv2dConfig::default().into()
    }
}

impl From<candle_nn::Conv2dConfig> for DoConv2dConfig {
    /// The over-parameterized form of a plain convolution, with every other setting its default.
    fn from(conv: candle_nn::Conv2dConfig) -> Self {
        let candle_nn::Conv2dConfig { padding, stride, dilation, groups, cudnn_fwd_algo } = conv;
        Self {
            padding: [padding; 2],
            stride: [stride; 2],
            dilation: [dilation; 2],
            groups,
            d_mul: None,
            pairing: Pairing::InputChannel,
            cpu_engine: true,
            algorithm: Algorithm::Direct,
            cudnn_fwd_algo,
        }
    }
}

impl DoConv2dConfig {
    /// Whether the engine computes with that tensor.
    pub(crate) fn has_engine_for(&self, tensor: &Tensor) -> bool {
        self.cpu_engine && tensor.device().is_cpu()
    }

    /// The plain convolution's configuration, if candle has one: it knows but one stride, padding and
    /// dilation for both axes.
    pub(crate) fn to_candle(self, operation: &str) -> Result<candle_nn::Conv2dConfig> {
        let both = |field: &str, [rows, columns]: [usize; 2]| match rows == columns {
            true => Ok(rows),
            false => Err(Error::msg(format!(
                "{operation}: {field}: expected the same number for rows and columns, which is all \
                 that candle's Conv2d has, got [{rows}, {columns}]"
            ))),
        };
        Ok(candle_nn::Conv2dConfig {
            padding: both("padding", self.padding)?,
            stride: both("stride", self.stride)?,
            dilation: both("dilation", self.dilation)?,
            groups: self.groups,
            cudnn_fwd_algo: self.cudnn_fwd_algo,
        })
    }

    /// The layer of that many channels and that kernel in the terms of the core crate.
    pub(crate) fn to_core(
        self,
        [in_channels, out_channels]: [usize; 2],
        kernel_size: [usize; 2],
    ) -> do_conv::DoConv2dConfig {
        let mut core = do_conv::DoConv2dConfig::new(in_channels, out_channels, kernel_size)
            .stride(self.stride)
            .dilation(self.dilation)
            .padding(self.padding)
            .groups(self.groups)
            .pairing(self.pairing)
            .algorithm(self.algorithm);
        core.d_mul = self.d_mul;
        core
    }
}
