//! One convolution of a net, of any kind.

use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use do_conv::Composition;
use do_conv_burn::{Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig};

use super::builder::Builder;
use super::{Options, Result};

/// A convolution of whichever kind a net has there.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "a net has a few dozen of them")]
pub enum Conv {
    /// Plain, from the start or by a fold.
    Plain(Conv2d),
    /// DO-Conv.
    DoConv(DoConv2d),
    /// Depthwise, then pointwise.
    Separable(Separable),
}

/// A depthwise convolution, which has the geometry, and a pointwise one, which has the channels.
#[derive(Module, Debug)]
pub struct Separable {
    pub(super) depthwise: Conv2d,
    pub(super) pointwise: Conv2d,
}

impl Conv {
    /// `[B, I, H, W]` to `[B, O, OH, OW]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Plain(conv) => conv.forward(x),
            Self::DoConv(conv) => conv.forward(x),
            Self::Separable(Separable { depthwise, pointwise }) => {
                pointwise.forward(depthwise.forward(x))
            }
        }
    }

    /// The layer for inference: DO-Conv as a plain convolution, and packed kernels kept.
    pub fn fold(&self) -> Self {
        match self {
            Self::Plain(conv) => Self::Plain(conv.clone().keep()),
            Self::DoConv(conv) => Self::Plain(conv.fold_for_cpu()),
            Self::Separable(Separable { depthwise, pointwise }) => Self::Separable(Separable {
                depthwise: depthwise.clone().keep(),
                pointwise: pointwise.clone().keep(),
            }),
        }
    }

    /// The layer by another order of composition, if it is DO-Conv.
    ///
    /// # Errors
    /// For a layer whose pairing has no features.
    pub fn composing(&self, composition: Composition) -> Result<Self> {
        match self {
            Self::DoConv(conv) => conv.clone().with_composition(composition).map(Self::DoConv),
            other => Ok(other.clone()),
        }
    }
}

/// What a net asks of a convolution. It keeps the size of images, divided by the stride.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// `[I, O]`.
    pub channels: [usize; 2],
    /// Rows and columns of the kernel.
    pub kernel: usize,
    /// Step over rows and columns.
    pub stride: usize,
    /// Distance of neighbouring taps.
    pub dilation: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Whether it has a bias; where a batch norm follows it needs none.
    pub bias: bool,
}

impl Shape {
    /// A dense convolution of stride 1 and without a bias.
    pub fn new(channels: [usize; 2], kernel: usize) -> Self {
        Self { channels, kernel, stride: 1, dilation: 1, groups: 1, bias: false }
    }

    /// The same with a stride.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The same with a dilation.
    pub fn dilation(self, dilation: usize) -> Self {
        Self { dilation, ..self }
    }

    /// The same with groups.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with a bias.
    pub fn biased(self) -> Self {
        Self { bias: true, ..self }
    }

    fn padding(&self) -> PaddingConfig2d {
        let side = self.dilation * (self.kernel / 2);
        PaddingConfig2d::Explicit(side, side, side, side)
    }

    pub(super) fn config(&self, options: &Options) -> Conv2dConfig {
        Conv2dConfig::new(self.channels, [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_padding(self.padding())
            .with_bias(self.bias)
            .with_algorithm(options.algorithm)
    }

    pub(super) fn do_config(&self, options: &Options) -> DoConv2dConfig {
        DoConv2dConfig::new(self.channels, [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_padding(self.padding())
            .with_bias(self.bias)
            .with_algorithm(options.algorithm)
            // No number is refused by the layer, as a multiplier too large.
            .with_d_mul(Some(options.d_mul.of(self.kernel * self.kernel).unwrap_or(usize::MAX)))
    }

    /// Rows and columns of the output for that many of the input.
    pub fn output_side(&self, side: usize) -> usize {
        side.div_ceil(self.stride)
    }

    /// Multiply-accumulates of the plain convolution for one image.
    pub(super) fn maccs(&self, side: usize) -> u64 {
        let [inputs, outputs] = self.channels;
        let taps = self.kernel * self.kernel;
        (outputs * (inputs / self.groups) * taps * self.output_side(side).pow(2)) as u64
    }
}

/// A convolution and its batch norm.
#[derive(Module, Debug)]
pub struct Unit {
    conv: Conv,
    norm: Option<BatchNorm>,
}

impl Unit {
    /// A convolution, and a batch norm behind it, for images of `side` rows and columns.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    pub fn new(builder: &mut Builder<'_>, shape: Shape, side: usize) -> Result<Self> {
        let norm = BatchNormConfig::new(shape.channels[1]).init(builder.device());
        Ok(Self { conv: builder.conv(shape, side)?, norm: Some(norm) })
    }

    /// A convolution, and a batch norm in front of it.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    pub fn after_norm(builder: &mut Builder<'_>, shape: Shape, side: usize) -> Result<Self> {
        let norm = BatchNormConfig::new(shape.channels[0]).init(builder.device());
        Ok(Self { conv: builder.conv(shape, side)?, norm: Some(norm) })
    }

    /// A convolution alone.
    ///
    /// # Errors
    /// As [`Builder::conv`].
    pub fn bare(builder: &mut Builder<'_>, shape: Shape, side: usize) -> Result<Self> {
        Ok(Self { conv: builder.conv(shape, side)?, norm: None })
    }

    /// The convolution.
    pub fn convolve(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(x)
    }

    /// The batch norm.
    pub fn normalize(&self, x: Tensor<4>) -> Tensor<4> {
        match &self.norm {
            Some(norm) => norm.forward(x),
            None => x,
        }
    }

    /// The convolution, then the batch norm.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.normalize(self.convolve(x))
    }

    /// The convolution, the batch norm, then a ReLU.
    pub fn activate(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.forward(x))
    }

    /// The unit with another convolution.
    ///
    /// # Errors
    /// Where `change` gives one.
    pub fn try_map<E>(
        &self,
        change: &impl Fn(&Conv) -> std::result::Result<Conv, E>,
    ) -> std::result::Result<Self, E> {
        Ok(Self { conv: change(&self.conv)?, norm: self.norm.clone() })
    }
}
