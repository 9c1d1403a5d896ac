//! The net that names the class of each pixel: a backbone of stride 8 whose last stage is dilated instead of
//! strided, and a head of parallel dilated convolutions (Chen et al., arXiv 1706.05587).

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{Device, Tensor, TensorData};
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::block::{Backbone, Stage};
use super::builder::{Builder, Place};
use super::conv::{Conv, Shape, Unit};
use super::{Net, Options};
use crate::data::{MASK_CLASSES, SIDE, ScenesWithMasks};
use crate::metric::Segmentation;

const STAGES: [Stage; 4] = [
    Stage { width: 16, stride: 1, dilation: 1 },
    Stage { width: 32, stride: 2, dilation: 1 },
    Stage { width: 64, stride: 2, dilation: 1 },
    Stage { width: 64, stride: 1, dilation: 2 },
];

/// Channels of each branch of the head.
const BRANCH: usize = 32;
/// Dilations of the head's 3×3 branches, on features of 8×8 pixels.
const DILATIONS: [usize; 2] = [2, 3];

/// A net that names the class of each pixel.
#[derive(Module, Debug)]
pub struct Segmenter {
    backbone: Backbone,
    /// On the mean over all pixels.
    pooled: Unit,
    pointwise: Unit,
    dilated: Vec<Unit>,
    joined: Unit,
    classes: Unit,
}

impl Segmenter {
    /// `[B, MASK_CLASSES, SIDE, SIDE]`.
    fn logits(&self, images: Tensor<4>) -> Tensor<4> {
        let x = self.backbone.forward(images);
        let [_, _, rows, columns] = x.dims();
        let pooled = x.clone().mean_dim(2).mean_dim(3);
        let pooled = self.pooled.activate(pooled).repeat(&[1, 1, rows, columns]);
        let mut branches = vec![pooled, self.pointwise.activate(x.clone())];
        branches.extend(self.dilated.iter().map(|unit| unit.activate(x.clone())));
        let x = self.joined.activate(Tensor::cat(branches, 1));
        enlarge(self.classes.convolve(x), SIDE)
    }

    fn segment(&self, batch: ScenesWithMasks) -> Segmentation {
        let logits = self.logits(batch.images);
        let [images, classes, rows, columns] = logits.dims();
        let pixels = images * rows * columns;
        let cross_entropy = CrossEntropyLossConfig::new().init(&logits.device());
        let of_pixels = logits.clone().permute([0, 2, 3, 1]).reshape([pixels, classes]);
        let loss = cross_entropy.forward(of_pixels, batch.masks.clone().reshape([pixels]));
        Segmentation { loss, logits, masks: batch.masks }
    }
}

/// Images `[B, C, H, H]` at `side` rows and columns, bilinear between the pixels' centres. Products with matrices, since
/// burn's interpolation has no gradient on `flex`.
fn enlarge(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [images, channels, rows, columns] = x.dims();
    let weights = bilinear(rows, side, &x.device());
    let wide: Tensor<2> = x.reshape([images * channels * rows, columns]).matmul(weights.clone());
    let tall = wide.reshape([images * channels, rows, side]).swap_dims(1, 2);
    let both: Tensor<2> = tall.reshape([images * channels * side, rows]).matmul(weights);
    both.reshape([images * channels, side, side])
        .swap_dims(1, 2)
        .reshape([images, channels, side, side])
}

/// `[from, to]`: what each of `from` samples adds to each of `to`.
fn bilinear(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut weights = vec![0f32; from * to];
    for target in 0..to {
        let centre = (target as f32 + 0.5) * from as f32 / to as f32 - 0.5;
        let place = centre.clamp(0.0, from as f32 - 1.0);
        let below = place.floor() as usize;
        let above = (below + 1).min(from - 1);
        weights[below * to + target] += 1.0 - place.fract();
        weights[above * to + target] += place.fract();
    }
    Tensor::from_data(TensorData::new(weights, [from, to]), device)
}

impl Net for Segmenter {
    const SIDE: usize = SIDE;

    fn build(builder: &mut Builder<'_>, options: &Options) -> super::Result<Self> {
        let (backbone, features) =
            Backbone::new(builder, options.net, &STAGES, options.blocks, SIDE)?;
        let (inputs, side) = (features.channels, features.side);
        builder.enter(Place::Head);
        let point = Shape::new([inputs, BRANCH], 1);
        let pooled = Unit::new(builder, point, 1)?;
        let pointwise = Unit::new(builder, point, side)?;
        let dilated = DILATIONS.map(|dilation| {
            Unit::new(builder, Shape::new([inputs, BRANCH], 3).dilation(dilation), side)
        });
        let dilated = dilated.into_iter().collect::<super::Result<Vec<_>>>()?;
        let branches = 2 + DILATIONS.len();
        let joined = Unit::new(builder, Shape::new([branches * BRANCH, 2 * BRANCH], 1), side)?;
        let classes = Shape::new([2 * BRANCH, MASK_CLASSES], 1).biased();
        let classes = Unit::bare(builder, classes, side)?;
        Ok(Self { backbone, pooled, pointwise, dilated, joined, classes })
    }

    fn try_map<E>(&self, change: &impl Fn(&Conv) -> Result<Conv, E>) -> Result<Self, E> {
        let dilated = self.dilated.iter().map(|unit| unit.try_map(change));
        Ok(Self {
            backbone: self.backbone.try_map(change)?,
            pooled: self.pooled.try_map(change)?,
            pointwise: self.pointwise.try_map(change)?,
            dilated: dilated.collect::<Result<_, E>>()?,
            joined: self.joined.try_map(change)?,
            classes: self.classes.try_map(change)?,
        })
    }

    fn outputs(&self, images: Tensor<4>) -> Tensor<2> {
        self.logits(images).flatten(1, 3)
    }
}

impl TrainStep for Segmenter {
    type Input = ScenesWithMasks;
    type Output = Segmentation;

    fn step(&self, batch: ScenesWithMasks) -> TrainOutput<Segmentation> {
        let output = self.segment(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Segmenter {
    type Input = ScenesWithMasks;
    type Output = Segmentation;

    fn step(&self, batch: ScenesWithMasks) -> Segmentation {
        self.segment(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The middle of two pixels is their mean, and what lies outside of all centres is the nearest.
    #[test]
    fn enlarging_is_linear_between_centres() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[0.0, 4.0], [8.0, 12.0]]]], &device);
        let y: Vec<f32> = enlarge(x, 4).into_data().try_to_vec().unwrap();
        let row = [0.0, 1.0, 3.0, 4.0];
        let down = [0.0, 2.0, 6.0, 8.0];
        let expected: Vec<f32> = down.iter().flat_map(|d| row.map(|r| d + r)).collect();
        assert_eq!(y, expected);
    }
}
