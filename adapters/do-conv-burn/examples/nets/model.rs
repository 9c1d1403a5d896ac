//! Two nets for images of 28×28 pixels, each written once for every kind of layer: blocks of two 3×3
//! convolutions with a shortcut (He et al., arXiv 1512.03385), and blocks of a depthwise and a pointwise one
//! (Howard et al., arXiv 1704.04861).

use burn::module::{Module, ModuleDisplay};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use do_conv_burn::{DoConv2d, DoConv2dConfig};

use crate::data::CLASSES;
use crate::dataset::Batch;

/// What the nets ask of a convolution.
pub trait Layer: Module + ModuleDisplay + 'static {
    fn forward(&self, x: Tensor<4>) -> Tensor<4>;
}

/// A kind of layer that nets are trained with.
pub trait Trained: Layer {
    /// A new layer without a bias, since a batch norm follows.
    fn new(shape: Shape, device: &Device) -> Self;
}

/// Of a convolution that keeps the size of its images, divided by the stride.
pub struct Shape {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
}

impl Shape {
    fn padding(&self) -> PaddingConfig2d {
        let side = self.kernel / 2;
        PaddingConfig2d::Explicit(side, side, side, side)
    }
}

impl Layer for Conv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

impl Trained for Conv2d {
    fn new(shape: Shape, device: &Device) -> Self {
        Conv2dConfig::new(shape.channels, [shape.kernel; 2])
            .with_stride([shape.stride; 2])
            .with_groups(shape.groups)
            .with_padding(shape.padding())
            .with_bias(false)
            .init(device)
    }
}

impl Layer for DoConv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

impl Trained for DoConv2d {
    fn new(shape: Shape, device: &Device) -> Self {
        DoConv2dConfig::new(shape.channels, [shape.kernel; 2])
            .with_stride([shape.stride; 2])
            .with_groups(shape.groups)
            .with_padding(shape.padding())
            .with_bias(false)
            .init(device)
    }
}

/// What a folded net is made of.
impl Layer for do_conv_burn::Conv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

/// A convolution and its batch norm.
#[derive(Module, Debug)]
pub struct Unit<C: Module> {
    conv: C,
    norm: BatchNorm,
}

impl<C: Layer> Unit<C> {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }

    fn convert<D: Layer>(&self, change: impl Fn(&C) -> D) -> Unit<D> {
        Unit { conv: change(&self.conv), norm: self.norm.clone() }
    }
}

impl<C: Trained> Unit<C> {
    fn new(shape: Shape, device: &Device) -> Self {
        let norm = BatchNormConfig::new(shape.channels[1]).init(device);
        Self { conv: C::new(shape, device), norm }
    }
}

/// Two units, the first of which may be of a stride, and what goes around them.
#[derive(Module, Debug)]
pub struct Block<C: Module> {
    first: Unit<C>,
    second: Unit<C>,
    /// None where a block ends without what it began with.
    shortcut: Option<Shortcut<C>>,
}

#[derive(Module, Debug)]
pub struct Shortcut<C: Module> {
    /// None where the block leaves shapes as they are.
    projection: Option<Unit<C>>,
}

impl<C: Layer> Block<C> {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        relu(match &self.shortcut {
            Some(Shortcut { projection: Some(projection) }) => y + projection.forward(x),
            Some(Shortcut { projection: None }) => y + x,
            None => y,
        })
    }

    fn convert<D: Layer>(&self, change: impl Fn(&C) -> D + Copy) -> Block<D> {
        let shortcut = self.shortcut.as_ref().map(|shortcut| Shortcut {
            projection: shortcut.projection.as_ref().map(|projection| projection.convert(change)),
        });
        Block { first: self.first.convert(change), second: self.second.convert(change), shortcut }
    }
}

impl<C: Trained> Block<C> {
    fn residual(channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let [inputs, outputs] = channels;
        let first = Shape { channels, kernel: 3, stride, groups: 1 };
        let second = Shape { channels: [outputs; 2], kernel: 3, stride: 1, groups: 1 };
        let projection = (stride > 1 || inputs != outputs)
            .then(|| Unit::new(Shape { channels, kernel: 1, stride, groups: 1 }, device));
        Self {
            first: Unit::new(first, device),
            second: Unit::new(second, device),
            shortcut: Some(Shortcut { projection }),
        }
    }

    fn separable(channels: [usize; 2], stride: usize, device: &Device) -> Self {
        let [inputs, _] = channels;
        let depthwise = Shape { channels: [inputs; 2], kernel: 3, stride, groups: inputs };
        let pointwise = Shape { channels, kernel: 1, stride: 1, groups: 1 };
        Self {
            first: Unit::new(depthwise, device),
            second: Unit::new(pointwise, device),
            shortcut: None,
        }
    }
}

#[derive(Module, Debug)]
pub struct Net<C: Module> {
    stem: Unit<C>,
    blocks: Vec<Block<C>>,
    head: Linear,
}

impl<C: Trained> Net<C> {
    pub fn resnet(device: &Device) -> Self {
        let blocks = [([16, 16], 1), ([16, 32], 2), ([32, 64], 2)];
        let blocks =
            blocks.map(|(channels, stride)| Block::residual(channels, stride, device)).into();
        Self::new(16, blocks, 64, device)
    }

    pub fn mobilenet(device: &Device) -> Self {
        let blocks = [([16, 32], 1), ([32, 64], 2), ([64, 64], 1), ([64, 128], 2)];
        let blocks =
            blocks.map(|(channels, stride)| Block::separable(channels, stride, device)).into();
        Self::new(16, blocks, 128, device)
    }

    fn new(stem: usize, blocks: Vec<Block<C>>, features: usize, device: &Device) -> Self {
        let shape = Shape { channels: [1, stem], kernel: 3, stride: 1, groups: 1 };
        Self {
            stem: Unit::new(shape, device),
            blocks,
            head: LinearConfig::new(features, CLASSES).init(device),
        }
    }
}

impl<C: Layer> Net<C> {
    /// `[B, 1, H, W]` to `[B, CLASSES]`.
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(images));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let pixels: Tensor<3> = x.flatten(2, 3);
        self.head.forward(pixels.mean_dim(2).squeeze_dim(2))
    }

    /// The net with other convolutions.
    pub fn convert<D: Layer>(&self, change: impl Fn(&C) -> D + Copy) -> Net<D> {
        Net {
            stem: self.stem.convert(change),
            blocks: self.blocks.iter().map(|block| block.convert(change)).collect(),
            head: self.head.clone(),
        }
    }

    fn classify(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.logits(batch.images);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = cross_entropy.forward(logits.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, logits, batch.labels)
    }
}

impl<C: Layer> TrainStep for Net<C> {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<C: Layer> InferenceStep for Net<C> {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}
