//! The nets for images of one object.

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use super::block::{Backbone, Stage};
use super::builder::{Builder, Place};
use super::conv::{Conv, Shape, Unit};
use super::{Net, Options};
use crate::data::{CLASSES, Pictures};
use crate::record::NetKind;

/// Channels of the tutorial's net.
const TUTORIAL_WIDTH: usize = 16;

/// A small residual net's stages, halved in width for images of half the size: of 14, 7 and 4 rows.
const STAGES: [Stage; 3] = [
    Stage { width: 16, stride: 1, dilation: 1 },
    Stage { width: 32, stride: 2, dilation: 1 },
    Stage { width: 64, stride: 2, dilation: 1 },
];

/// A net that tells classes apart.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub enum Classifier {
    /// Convolutions of stride 2, a ReLU after each, then the mean over the pixels.
    Tutorial(Vec<Unit>),
    /// A backbone, the mean over the pixels, and a linear layer.
    Staged(Staged),
}

/// A net of stages.
#[derive(Module, Debug)]
pub struct Staged {
    backbone: Backbone,
    head: Linear,
}

impl Classifier {
    fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let mean = |x: Tensor<4>| x.flatten::<3>(2, 3).mean_dim(2).squeeze_dim(2);
        match self {
            Self::Tutorial(units) => {
                mean(units.iter().fold(images, |x, unit| relu(unit.convolve(x))))
            }
            Self::Staged(Staged { backbone, head }) => head.forward(mean(backbone.forward(images))),
        }
    }

    fn classify(&self, batch: Pictures) -> ClassificationOutput {
        let logits = self.logits(batch.images);
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = cross_entropy.forward(logits.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, logits, batch.labels)
    }
}

impl Net for Classifier {
    const SIDE: usize = 28;

    fn build(builder: &mut Builder<'_>, options: &Options) -> super::Result<Self> {
        if options.net != NetKind::Tutorial {
            let (backbone, features) =
                Backbone::new(builder, options.net, &STAGES, options.blocks, Self::SIDE)?;
            let head = LinearConfig::new(features.channels, CLASSES).init(builder.device());
            return Ok(Self::Staged(Staged { backbone, head }));
        }
        let mut side = Self::SIDE;
        let mut unit = |channels, place| {
            builder.enter(place);
            let shape = Shape::new(channels, 3).stride(2).biased();
            let unit = Unit::bare(builder, shape, side)?;
            side = shape.output_side(side);
            Ok(unit)
        };
        Ok(Self::Tutorial(vec![
            unit([1, TUTORIAL_WIDTH], Place::Stem)?,
            unit([TUTORIAL_WIDTH; 2], Place::Stage(0, 2))?,
            unit([TUTORIAL_WIDTH, CLASSES], Place::Stage(1, 2))?,
        ]))
    }

    fn try_map<E>(&self, change: &impl Fn(&Conv) -> Result<Conv, E>) -> Result<Self, E> {
        Ok(match self {
            Self::Tutorial(units) => {
                let units = units.iter().map(|unit| unit.try_map(change));
                Self::Tutorial(units.collect::<Result<_, E>>()?)
            }
            Self::Staged(Staged { backbone, head }) => {
                Self::Staged(Staged { backbone: backbone.try_map(change)?, head: head.clone() })
            }
        })
    }

    fn outputs(&self, images: Tensor<4>) -> Tensor<2> {
        self.logits(images)
    }
}

impl TrainStep for Classifier {
    type Input = Pictures;
    type Output = ClassificationOutput;

    fn step(&self, batch: Pictures) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Classifier {
    type Input = Pictures;
    type Output = ClassificationOutput;

    fn step(&self, batch: Pictures) -> ClassificationOutput {
        self.classify(batch)
    }
}
