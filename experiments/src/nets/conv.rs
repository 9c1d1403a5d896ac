//! One convolution of a net, of any kind, and what it costs.

use burn::module::{Module, Param};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use do_conv::{Composition, DInit, Init};
use do_conv_burn::{Conv2d, Conv2dConfig, DoConv2d, DoConv2dConfig};

use super::Options;
use crate::record::{DStart, Kind, Replaced};

type Result<T> = std::result::Result<T, do_conv::Error>;

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
    depthwise: Conv2d,
    pointwise: Conv2d,
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

    fn config(&self, options: &Options) -> Conv2dConfig {
        Conv2dConfig::new(self.channels, [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_dilation([self.dilation; 2])
            .with_groups(self.groups)
            .with_padding(self.padding())
            .with_bias(self.bias)
            .with_algorithm(options.algorithm)
    }

    fn do_config(&self, options: &Options) -> DoConv2dConfig {
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
    fn maccs(&self, side: usize) -> u64 {
        let [inputs, outputs] = self.channels;
        let taps = self.kernel * self.kernel;
        (outputs * (inputs / self.groups) * taps * self.output_side(side).pow(2)) as u64
    }
}

/// Where a layer stands in its net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first layer.
    Stem,
    /// A stage, counted from 0, of how many.
    Stage(usize, usize),
    /// Behind the last stage.
    Head,
}

impl Place {
    fn is_in(self, replaced: Replaced) -> bool {
        match (replaced, self) {
            (Replaced::All, _)
            | (Replaced::Stem, Self::Stem)
            | (Replaced::Head, Self::Head)
            | (Replaced::First, Self::Stage(0, _))
            | (Replaced::Backbone, Self::Stem | Self::Stage(..)) => true,
            (Replaced::Middle, Self::Stage(stage, of)) => 0 < stage && stage + 1 < of,
            (Replaced::Last, Self::Stage(stage, of)) => stage + 1 == of,
            _ => false,
        }
    }
}

/// Multiply-accumulates of a net's convolutions for one image, forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maccs {
    /// In training, by kernel composition.
    pub training: u64,
    /// After the fold.
    pub folded: u64,
}

/// Makes the layers of a net, one after the other.
pub struct Builder<'a> {
    options: &'a Options,
    device: &'a Device,
    place: Place,
    layers: u64,
    maccs: Maccs,
    /// Of the DO-Conv or separable ones.
    replaced: usize,
}

impl<'a> Builder<'a> {
    /// For parameters on that device.
    pub fn new(options: &'a Options, device: &'a Device) -> Self {
        let maccs = Maccs::default();
        Self { options, device, place: Place::Stem, layers: 0, maccs, replaced: 0 }
    }

    /// Where the layers that come next stand.
    pub fn enter(&mut self, place: Place) {
        self.place = place;
    }

    /// The device of the parameters.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// What the layers so far cost.
    pub fn maccs(&self) -> Maccs {
        self.maccs
    }

    /// Whether another kind than plain was asked for and no layer so far is of it.
    pub fn is_as_plain(&self) -> bool {
        self.options.kind != Kind::Plain && self.replaced == 0
    }

    /// A convolution for images of `side` rows and columns.
    ///
    /// # Errors
    /// For a `D` of a multiplier that there is no room for.
    pub fn conv(&mut self, shape: Shape, side: usize) -> Result<Conv> {
        self.layers += 1;
        let Shape { channels: [inputs, outputs], kernel, groups, .. } = shape;
        let maccs = shape.maccs(side);
        // A 1×1 kernel has no `D`, and what is depthwise or pointwise needs no separation.
        let kind = match self.options.kind {
            _ if kernel == 1 || !self.place.is_in(self.options.replaced) => Kind::Plain,
            Kind::Separable if groups == inputs && groups > 1 => Kind::Plain,
            kind => kind,
        };
        if kind != Kind::Plain {
            self.replaced += 1;
        }
        match kind {
            Kind::Plain => {
                self.count(maccs, maccs);
                self.plain(shape).map(Conv::Plain)
            }
            Kind::DoConv => {
                let config = shape.do_config(self.options);
                let layer = config.try_init(self.device)?;
                // Drawn in the order of the layers, whoever reads them first.
                let [_, _, d_mul] = layer.W.val().dims();
                drop(layer.bias.as_ref().map(Param::val));
                let layer = self.start(layer, &config)?;
                let compose = outputs * (inputs / groups) * kernel * kernel * d_mul;
                self.count(maccs + compose as u64, maccs);
                Ok(Conv::DoConv(layer))
            }
            Kind::Separable => {
                let depthwise = Shape { channels: [inputs; 2], groups: inputs, ..shape };
                let depthwise = Shape { bias: false, ..depthwise };
                let pointwise = Shape { stride: 1, dilation: 1, kernel: 1, ..shape };
                let both = depthwise.maccs(side) + pointwise.maccs(shape.output_side(side));
                self.count(both, both);
                Ok(Conv::Separable(Separable {
                    depthwise: self.plain(depthwise)?,
                    pointwise: self.plain(pointwise)?,
                }))
            }
        }
    }

    fn plain(&self, shape: Shape) -> Result<Conv2d> {
        let conv = shape.config(self.options).try_init(self.device)?;
        drop((conv.weight.val(), conv.bias.as_ref().map(Param::val)));
        Ok(conv)
    }

    fn count(&mut self, training: u64, folded: u64) {
        self.maccs.training += training;
        self.maccs.folded += folded;
    }

    /// The layer with its `D` as the options say. A random one is the core crate's.
    fn start(&self, mut layer: DoConv2d, config: &DoConv2dConfig) -> Result<DoConv2d> {
        if self.options.d_init == DStart::Identity {
            return Ok(layer);
        }
        let [inputs, outputs] = config.channels;
        let mut core = do_conv::DoConv2dConfig::new(inputs, outputs, config.kernel_size)
            .groups(config.groups)
            .d_init(DInit::Random(Init::default()));
        core.d_mul = config.d_mul;
        // Another seed for each layer of each run.
        let core = core.init::<f32>(self.options.seed << 16 | self.layers)?;
        if let Some(random) = core.d_offset() {
            let shape = random.shape().to_vec();
            let random = TensorData::new(random.iter().copied().collect::<Vec<_>>(), shape);
            layer.D = Some(Param::from_tensor(Tensor::from_data(random, self.device)));
        }
        Ok(layer)
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
