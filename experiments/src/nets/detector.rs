//! The net that finds objects: for each pixel of its features a score that an object of each class has its centre
//! there, and the object's size (Zhou et al., arXiv 1904.07850).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::block::{Backbone, Stage};
use super::builder::{Builder, Place};
use super::conv::{Conv, Shape, Unit};
use super::{Net, Options};
use crate::data::{CLASSES, SIDE, ScenesWithObjects, TARGET_STRIDE};
use crate::metric::Detections;

/// Of [`TARGET_STRIDE`] in all, the stem's included.
const STAGES: [Stage; 3] = [
    Stage { width: 16, stride: 1, dilation: 1 },
    Stage { width: 32, stride: 2, dilation: 1 },
    Stage { width: 64, stride: 1, dilation: 2 },
];
const _: () = assert!(2 * STAGES[0].stride * STAGES[1].stride * STAGES[2].stride == TARGET_STRIDE);

/// Channels of the head.
const WIDTH: usize = 64;
/// What the sizes' loss counts for, in pixels of the canvas, beside the scores'.
const SIZE_WEIGHT: f64 = 0.1;
/// The mean of the scores at the start is about one in ten, as of rare objects.
const FIRST_LOGIT: f64 = -2.19;

/// A net that finds objects.
#[derive(Module, Debug)]
pub struct Detector {
    backbone: Backbone,
    neck: Unit,
    centres: Unit,
    sizes: Unit,
}

impl Detector {
    /// Logits of centres, `[B, CLASSES, h, w]`, and sizes, `[B, 2, h, w]`, in pixels of the canvas.
    fn maps(&self, images: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let x = self.neck.activate(self.backbone.forward(images));
        let centres = self.centres.convolve(x.clone()) + FIRST_LOGIT;
        // So that an output of 1 is a fair size.
        let sizes = self.sizes.convolve(x) * (SIDE as f64 / 2.0);
        (centres, sizes)
    }

    fn detect(&self, batch: ScenesWithObjects) -> Detections {
        let (centres, sizes) = self.maps(batch.images);
        let objects = batch.centres.clone().sum().clamp_min(1.0);
        let of_centres = focal_loss(centres.clone(), batch.heat, batch.centres.clone());
        let at_centres = batch.centres.sum_dim(1);
        let of_sizes = ((sizes.clone() - batch.sizes).abs() * at_centres).sum();
        let loss = (of_centres + of_sizes * SIZE_WEIGHT) / objects;
        Detections { loss, scores: sigmoid(centres), sizes, objects: batch.objects }
    }
}

/// The sum of CornerNet's focal loss, where `heat` is 1 at centres and falls off around them.
fn focal_loss(logits: Tensor<4>, heat: Tensor<4>, centres: Tensor<4>) -> Tensor<1> {
    let score = sigmoid(logits.clone());
    let missed = (score.clone() * -1.0 + 1.0).powi_scalar(2) * log_sigmoid(logits.clone());
    let falloff = (heat * -1.0 + 1.0).powi_scalar(4);
    let wrong = falloff * score.powi_scalar(2) * log_sigmoid(logits * -1.0);
    let elsewhere = centres.clone() * -1.0 + 1.0;
    (missed * centres + wrong * elsewhere).sum() * -1.0
}

impl Net for Detector {
    const SIDE: usize = SIDE;

    fn build(builder: &mut Builder<'_>, options: &Options) -> super::Result<Self> {
        let (backbone, features) =
            Backbone::new(builder, options.net, &STAGES, options.blocks, SIDE)?;
        let side = features.side;
        builder.enter(Place::Head);
        let neck = Unit::new(builder, Shape::new([features.channels, WIDTH], 3), side)?;
        let centres = Unit::bare(builder, Shape::new([WIDTH, CLASSES], 1).biased(), side)?;
        let sizes = Unit::bare(builder, Shape::new([WIDTH, 2], 1).biased(), side)?;
        Ok(Self { backbone, neck, centres, sizes })
    }

    fn try_map<E>(&self, change: &impl Fn(&Conv) -> Result<Conv, E>) -> Result<Self, E> {
        Ok(Self {
            backbone: self.backbone.try_map(change)?,
            neck: self.neck.try_map(change)?,
            centres: self.centres.try_map(change)?,
            sizes: self.sizes.try_map(change)?,
        })
    }

    fn outputs(&self, images: Tensor<4>) -> Tensor<2> {
        let (centres, sizes) = self.maps(images);
        Tensor::cat(vec![centres, sizes], 1).flatten(1, 3)
    }
}

impl TrainStep for Detector {
    type Input = ScenesWithObjects;
    type Output = Detections;

    fn step(&self, batch: ScenesWithObjects) -> TrainOutput<Detections> {
        let output = self.detect(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Detector {
    type Input = ScenesWithObjects;
    type Output = Detections;

    fn step(&self, batch: ScenesWithObjects) -> Detections {
        self.detect(batch)
    }
}
