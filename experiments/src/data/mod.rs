//! Images of one object from IDX files, and scenes that are composed of them.

// The reader of the MNIST example.
#[allow(
    missing_docs,
    clippy::len_without_is_empty,
    reason = "written as an example, not as a library"
)]
#[path = "../../../examples/mnist/data.rs"]
pub mod idx;
mod loader;
pub mod scene;
mod targets;

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::tensor::{Device, Int, Tensor, TensorData};

pub use idx::CLASSES;
use idx::{PIXELS, Set};
pub use loader::{Loaders, TEST_BATCH};
pub use scene::{Object, SIDE, Scene};
pub use targets::TARGET_STRIDE;
use targets::Targets;

/// Classes of a mask: the background, which is 0, and those of objects, which are `1 + class`.
pub const MASK_CLASSES: usize = 1 + CLASSES;
/// What scenes of the training and of the test follow from, beside the images, which are of the training and of the test.
pub const SCENE_SEEDS: [u64; 2] = [2020, 2021];
/// Scenes of a training without a number of its own, and of every test.
pub const SCENES: [usize; 2] = [4_000, 1_000];

/// A batch of images of one object.
#[derive(Clone, Debug)]
pub struct Pictures {
    /// `[B, 1, H, W]`, from 0 to 1.
    pub images: Tensor<4>,
    /// `[B]`
    pub labels: Tensor<1, Int>,
}

/// A batch of scenes with the class of every pixel.
#[derive(Clone, Debug)]
pub struct ScenesWithMasks {
    /// `[B, 1, SIDE, SIDE]`, from 0 to 1.
    pub images: Tensor<4>,
    /// `[B, SIDE, SIDE]`, below [`MASK_CLASSES`].
    pub masks: Tensor<3, Int>,
}

/// A batch of scenes with their objects.
#[derive(Clone, Debug)]
pub struct ScenesWithObjects {
    /// `[B, 1, SIDE, SIDE]`, from 0 to 1.
    pub images: Tensor<4>,
    /// `[B, CLASSES, h, w]`: 1 at the centre of an object of the class, and less around it.
    pub heat: Tensor<4>,
    /// `[B, CLASSES, h, w]`: 1 at centres, else 0.
    pub centres: Tensor<4>,
    /// `[B, 2, h, w]`: rows and columns of the object whose centre is there, in pixels of the canvas.
    pub sizes: Tensor<4>,
    /// Those of each scene.
    pub objects: Vec<Vec<Object>>,
}

/// Makes batches of [`Pictures`].
#[derive(Clone)]
pub struct PictureBatcher(pub Arc<Set>);

/// Makes batches of [`ScenesWithMasks`].
#[derive(Clone)]
pub struct MaskBatcher(pub Arc<Vec<Scene>>);

/// Makes batches of [`ScenesWithObjects`].
#[derive(Clone)]
pub struct ObjectBatcher(pub Arc<Vec<Scene>>);

impl scene::Images for Set {
    fn count(&self) -> usize {
        self.len()
    }

    fn image(&self, index: usize) -> (&[u8; PIXELS], u8) {
        Set::image(self, index)
    }
}

/// The first scenes of the images, those of the training and of the test.
pub fn scenes(images: [&Set; 2], counts: [usize; 2]) -> [Arc<Vec<Scene>>; 2] {
    [0, 1].map(|i| {
        let indices = 0..counts[i] as u64;
        let scene = |index| scene::compose(SCENE_SEEDS[i], index, images[i]);
        Arc::new(indices.map(scene).collect())
    })
}

impl Batcher<usize, Pictures> for PictureBatcher {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> Pictures {
        let (images, labels) = self.0.batch(indices.into_iter());
        let shape = images.shape().to_vec();
        let labels: Vec<i32> = labels.into_iter().map(i32::from).collect();
        let images = TensorData::new(images.into_iter().collect::<Vec<_>>(), shape);
        Pictures {
            images: Tensor::from_data(images, device),
            labels: Tensor::from_data(labels.as_slice(), device),
        }
    }
}

impl Batcher<usize, ScenesWithMasks> for MaskBatcher {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> ScenesWithMasks {
        let scenes = || indices.iter().map(|&index| &self.0[index]);
        let masks: Vec<i32> =
            scenes().flat_map(|scene| &scene.mask).map(|&class| class.into()).collect();
        let masks = TensorData::new(masks, [indices.len(), SIDE, SIDE]);
        let masks = Tensor::from_data(masks, device);
        ScenesWithMasks { images: canvases(scenes(), device), masks }
    }
}

impl Batcher<usize, ScenesWithObjects> for ObjectBatcher {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> ScenesWithObjects {
        let scenes = || indices.iter().map(|&index| &self.0[index]);
        let targets = Targets::of(scenes());
        ScenesWithObjects {
            images: canvases(scenes(), device),
            heat: Tensor::from_data(targets.heat, device),
            centres: Tensor::from_data(targets.centres, device),
            sizes: Tensor::from_data(targets.sizes, device),
            objects: scenes().map(|scene| scene.objects.clone()).collect(),
        }
    }
}

fn canvases<'a>(scenes: impl Iterator<Item = &'a Scene> + Clone, device: &Device) -> Tensor<4> {
    let count = scenes.clone().count();
    let pixels = scenes.flat_map(|scene| &scene.pixels).map(|&pixel| f32::from(pixel) / 255.0);
    Tensor::from_data(TensorData::new(pixels.collect::<Vec<_>>(), [count, 1, SIDE, SIDE]), device)
}
