//! What scenes' nets answer, and burn's metrics of it.

pub mod counts;
mod decode;
pub mod detections;
mod percent;

use burn::tensor::{ExecutionError, Int, Tensor, TensorReadError};
use burn::train::ItemLazy;
use burn::train::metric::{Adaptor, LossInput};

use crate::data::{MASK_CLASSES, Object};
use counts::Confusion;
use detections::AveragePrecision;
pub use percent::{Accumulate, Percent};

/// What a segmenter answers to a batch.
pub struct Segmentation {
    /// The mean over all pixels.
    pub loss: Tensor<1>,
    /// `[B, MASK_CLASSES, H, W]`
    pub logits: Tensor<4>,
    /// `[B, H, W]`
    pub masks: Tensor<3, Int>,
}

/// What a detector answers to a batch.
pub struct Detections {
    /// The mean over all objects.
    pub loss: Tensor<1>,
    /// `[B, CLASSES, h, w]`, from 0 to 1.
    pub scores: Tensor<4>,
    /// `[B, 2, h, w]`
    pub sizes: Tensor<4>,
    /// Those that there are in each scene.
    pub objects: Vec<Vec<Object>>,
}

impl ItemLazy for Segmentation {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(Self {
            loss: self.loss.without_autodiff(),
            logits: self.logits.without_autodiff(),
            masks: self.masks.without_autodiff(),
        })
    }
}

impl ItemLazy for Detections {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(Self {
            loss: self.loss.without_autodiff(),
            scores: self.scores.without_autodiff(),
            sizes: self.sizes.without_autodiff(),
            objects: self.objects,
        })
    }
}

impl Adaptor<LossInput> for Segmentation {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

impl Adaptor<LossInput> for Detections {
    fn adapt(&self) -> LossInput {
        LossInput::new(self.loss.clone())
    }
}

/// The metric of a segmenter: mean intersection over union.
pub type MeanIou = Percent<Confusion<MASK_CLASSES>>;
/// The metric of a detector: mean average precision at an overlap of one half.
pub type Ap50 = Percent<AveragePrecision>;

/// What [`MeanIou`] takes of a batch.
pub struct Pixels {
    logits: Tensor<4>,
    masks: Tensor<3, Int>,
}

impl Adaptor<Pixels> for Segmentation {
    fn adapt(&self) -> Pixels {
        Pixels { logits: self.logits.clone(), masks: self.masks.clone() }
    }
}

/// What [`Ap50`] takes of a batch.
pub struct Boxes {
    scores: Tensor<4>,
    sizes: Tensor<4>,
    objects: Vec<Vec<Object>>,
}

impl Adaptor<Boxes> for Detections {
    fn adapt(&self) -> Boxes {
        let Self { scores, sizes, objects, .. } = self;
        Boxes { scores: scores.clone(), sizes: sizes.clone(), objects: objects.clone() }
    }
}

impl Accumulate for Confusion<MASK_CLASSES> {
    type Input = Pixels;
    const NAME: &'static str = "mean IoU";

    fn add(&mut self, input: &Pixels) -> Result<(), TensorReadError> {
        let answers: Vec<u8> = input.logits.clone().argmax(1).try_into_vec_as()?;
        let targets: Vec<u8> = input.masks.clone().try_into_vec_as()?;
        // Both are of this crate's shapes and classes.
        Confusion::add(self, &answers, &targets).unwrap_or_else(|error| unreachable!("{error}"));
        Ok(())
    }

    fn percent(&self) -> f64 {
        self.mean_iou()
    }
}

impl Accumulate for AveragePrecision {
    type Input = Boxes;
    const NAME: &'static str = "AP50";

    fn add(&mut self, input: &Boxes) -> Result<(), TensorReadError> {
        let found = decode::decode(input.scores.clone(), input.sizes.clone())?;
        for (detections, objects) in found.iter().zip(&input.objects) {
            AveragePrecision::add(self, detections, objects);
        }
        Ok(())
    }

    fn percent(&self) -> f64 {
        AveragePrecision::percent(self)
    }
}
