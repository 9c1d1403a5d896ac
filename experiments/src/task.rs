//! The tasks: which data a net sees, and which metric tells how good it is.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::Tensor;
use burn::train::metric::{AccuracyMetric, Adaptor, LossInput, Metric, Numeric};
use burn::train::{ClassificationOutput, InferenceStep, ItemLazy, TrainStep};

use crate::data::idx::Data;
use crate::data::{
    Loaders, MaskBatcher, ObjectBatcher, PictureBatcher, Pictures, SCENES, ScenesWithMasks,
    ScenesWithObjects, scenes,
};
use crate::metric::{Ap50, Detections, MeanIou, Segmentation};
use crate::nets::{Classifier, Detector, Net, Segmenter};
use crate::record::RunConfig;

/// A net with its data and its metric.
pub trait Learnt:
    Net
    + TrainStep<Input = Self::Batch, Output = Self::Outcome>
    + InferenceStep<Input = Self::Batch, Output = Self::Outcome>
{
    /// What it is trained with.
    type Batch: Clone + Send + Sync + std::fmt::Debug + 'static;
    /// What a step gives.
    type Outcome: ItemLazy + Adaptor<LossInput> + Adaptor<<Self::Metric as Metric>::Input> + 'static;
    /// How good that is, in percent.
    type Metric: Metric + Numeric + Default + 'static;
    /// What makes its batches.
    type Batcher: Batcher<usize, Self::Batch> + 'static;

    /// The images of a batch.
    fn images(batch: &Self::Batch) -> Tensor<4>;

    /// How many items of the training and of the test a run has, of `found` images of the training and of the test.
    ///
    /// # Errors
    /// For fewer images than one batch, and for more than there are.
    fn counts(config: &RunConfig, found: [usize; 2]) -> Result<[usize; 2], String>;

    /// What makes batches of that many items of the training and of the test.
    fn batchers(data: Data, counts: [usize; 2]) -> [Self::Batcher; 2];

    /// Loaders for a run of which `done` epochs are done.
    ///
    /// # Errors
    /// As [`Learnt::counts`].
    fn loaders(
        config: &RunConfig,
        data: Data,
        done: usize,
    ) -> Result<Loaders<Self::Batch>, String> {
        let counts = Self::counts(config, [data.train.len(), data.test.len()])?;
        let batchers = Self::batchers(data, counts);
        Ok(Loaders::new(batchers, counts, config.batch, config.seed, done))
    }
}

/// How many items of the `found` a run asks for.
fn items(config: &RunConfig, default: usize, found: usize) -> Result<usize, String> {
    let wanted = config.images.unwrap_or(default);
    if wanted > found {
        return Err(format!(
            "expected at most {found} images, as {} has, got {wanted}",
            config.data
        ));
    }
    if wanted < config.batch {
        return Err(format!("expected a batch of at most {wanted} images, got {}", config.batch));
    }
    Ok(wanted)
}

fn scene_counts(config: &RunConfig) -> Result<[usize; 2], String> {
    let [train, test] = SCENES;
    Ok([items(config, train, usize::MAX)?, test])
}

impl Learnt for Classifier {
    type Batch = Pictures;
    type Outcome = ClassificationOutput;
    type Metric = AccuracyMetric;
    type Batcher = PictureBatcher;

    fn images(batch: &Pictures) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, [train, test]: [usize; 2]) -> Result<[usize; 2], String> {
        Ok([items(config, train, train)?, test])
    }

    fn batchers(data: Data, _: [usize; 2]) -> [PictureBatcher; 2] {
        [data.train, data.test].map(|set| PictureBatcher(Arc::new(set)))
    }
}

impl Learnt for Segmenter {
    type Batch = ScenesWithMasks;
    type Outcome = Segmentation;
    type Metric = MeanIou;
    type Batcher = MaskBatcher;

    fn images(batch: &ScenesWithMasks) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, _: [usize; 2]) -> Result<[usize; 2], String> {
        scene_counts(config)
    }

    fn batchers(data: Data, counts: [usize; 2]) -> [MaskBatcher; 2] {
        scenes([&data.train, &data.test], counts).map(MaskBatcher)
    }
}

impl Learnt for Detector {
    type Batch = ScenesWithObjects;
    type Outcome = Detections;
    type Metric = Ap50;
    type Batcher = ObjectBatcher;

    fn images(batch: &ScenesWithObjects) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, _: [usize; 2]) -> Result<[usize; 2], String> {
        scene_counts(config)
    }

    fn batchers(data: Data, counts: [usize; 2]) -> [ObjectBatcher; 2] {
        scenes([&data.train, &data.test], counts).map(ObjectBatcher)
    }
}
