//! The net: three 3×3 convolutions of stride 2, a ReLU after each, then the mean over the pixels.

use burn::module::{Module, ModuleDisplay};
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};
use do_conv_burn::{DoConv2d, Error};

use crate::data::CLASSES;
use crate::dataset::Batch;

/// What the net asks of a layer, so that it is written once for plain and DO-Conv layers.
pub trait Layer: Module + ModuleDisplay + 'static {
    fn forward(&self, x: Tensor<4>) -> Tensor<4>;
}

impl Layer for Conv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

impl Layer for DoConv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

impl Layer for do_conv_burn::Conv2d {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward(x)
    }
}

#[derive(Module, Debug)]
pub struct Net<L: Module> {
    layers: [L; 3],
}

impl Net<Conv2d> {
    pub fn plain(seed: u64, device: &Device) -> Self {
        device.seed(seed);
        let layer = |channels| {
            Conv2dConfig::new(channels, [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        Self { layers: [layer([1, 16]), layer([16, 16]), layer([16, CLASSES])] }
    }

    /// The same function, with parameters of its own.
    pub fn over_parameterize(&self) -> Result<Net<DoConv2d>, Error> {
        let layer = |i: usize| DoConv2d::from_conv2d(&self.layers[i], None);
        Ok(Net { layers: [layer(0)?, layer(1)?, layer(2)?] })
    }
}

impl Net<DoConv2d> {
    /// The net to ship: plain convolutions, the same function.
    pub fn fold(&self) -> Net<do_conv_burn::Conv2d> {
        Net { layers: self.layers.each_ref().map(DoConv2d::fold_for_cpu) }
    }
}

impl<L: Layer> Net<L> {
    /// `[B, 1, H, W]` to `[B, CLASSES]`.
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.layers.iter().fold(images, |x, layer| relu(layer.forward(x)));
        let pixels: Tensor<3> = x.flatten(2, 3);
        pixels.mean_dim(2).squeeze_dim(2)
    }

    fn classify(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.logits(batch.images);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = cross_entropy.forward(logits.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, logits, batch.labels)
    }
}

impl<L: Layer> TrainStep for Net<L> {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<L: Layer> InferenceStep for Net<L> {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}
