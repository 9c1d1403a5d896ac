//! The tasks: which data a net sees, and which metric tells how good it is.

use std::sync::Arc;

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
    type Metric: Metric + Numeric + 'static;

    /// The metric, before any batch.
    fn metric() -> Self::Metric;

    /// The images of a batch.
    fn images(batch: &Self::Batch) -> Tensor<4>;

    /// How many items of the training and of the test a run has, of `found` images of the training and of the test.
    ///
    /// # Errors
    /// For fewer images than one batch, and for more than there are.
    fn counts(config: &RunConfig, found: [usize; 2]) -> Result<[usize; 2], String>;

    /// Loaders for a run of which `done` epochs are done.
    ///
    /// # Errors
    /// As [`Learnt::counts`].
    fn loaders(config: &RunConfig, data: Data, done: usize)
    -> Result<Loaders<Self::Batch>, String>;
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

    fn metric() -> AccuracyMetric {
        AccuracyMetric::new()
    }

    fn images(batch: &Pictures) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, [train, test]: [usize; 2]) -> Result<[usize; 2], String> {
        Ok([items(config, train, train)?, test])
    }

    fn loaders(config: &RunConfig, data: Data, done: usize) -> Result<Loaders<Pictures>, String> {
        let counts = Self::counts(config, [data.train.len(), data.test.len()])?;
        let batchers = [data.train, data.test].map(|set| PictureBatcher(Arc::new(set)));
        Ok(Loaders::new(batchers, counts, config.batch, config.seed, done))
    }
}

impl Learnt for Segmenter {
    type Batch = ScenesWithMasks;
    type Outcome = Segmentation;
    type Metric = MeanIou;

    fn metric() -> MeanIou {
        MeanIou::default()
    }

    fn images(batch: &ScenesWithMasks) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, _: [usize; 2]) -> Result<[usize; 2], String> {
        scene_counts(config)
    }

    fn loaders(
        config: &RunConfig,
        data: Data,
        done: usize,
    ) -> Result<Loaders<ScenesWithMasks>, String> {
        let counts = Self::counts(config, [data.train.len(), data.test.len()])?;
        let batchers = scenes([&data.train, &data.test], counts).map(MaskBatcher);
        Ok(Loaders::new(batchers, counts, config.batch, config.seed, done))
    }
}

impl Learnt for Detector {
    type Batch = ScenesWithObjects;
    type Outcome = Detections;
    type Metric = Ap50;

    fn metric() -> Ap50 {
        Ap50::default()
    }

    fn images(batch: &ScenesWithObjects) -> Tensor<4> {
        batch.images.clone()
    }

    fn counts(config: &RunConfig, _: [usize; 2]) -> Result<[usize; 2], String> {
        scene_counts(config)
    }

    fn loaders(
        config: &RunConfig,
        data: Data,
        done: usize,
    ) -> Result<Loaders<ScenesWithObjects>, String> {
        let counts = Self::counts(config, [data.train.len(), data.test.len()])?;
        let batchers = scenes([&data.train, &data.test], counts).map(ObjectBatcher);
        Ok(Loaders::new(batchers, counts, config.batch, config.seed, done))
    }
}
