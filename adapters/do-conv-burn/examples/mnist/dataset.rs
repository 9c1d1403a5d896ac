//! The images as burn's loader wants them.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::{Device, Int, Tensor, TensorData};
use ndarray::Array4;

use crate::data::Set;

#[derive(Clone, Debug)]
pub struct Batch {
    /// `[B, 1, H, W]`
    pub images: Tensor<4>,
    /// `[B]`
    pub labels: Tensor<1, Int>,
}

/// Images and their labels. To burn's loader an item is an index, so that it shuffles numbers and the
/// pixels of a batch are unpacked at once.
#[derive(Clone)]
pub struct Images(Arc<Set>);

impl Images {
    pub fn new(set: Set) -> Self {
        Self(Arc::new(set))
    }

    /// Batches in order, or in another order in every epoch, which follows from the seed.
    pub fn loader(&self, batch: usize, shuffle: Option<u64>) -> Arc<dyn DataLoader<Batch>> {
        // One worker unpacks ahead of the training. More would hand in batches as they get ready, in
        // another order in every run.
        let loader = DataLoaderBuilder::new(self.clone()).batch_size(batch).num_workers(1);
        match shuffle {
            Some(seed) => loader.shuffle(seed).build(self.clone()),
            None => loader.build(self.clone()),
        }
    }

    /// All of the images in order, `size` at a time, with their labels.
    pub fn batches(
        &self,
        size: usize,
        device: &Device,
    ) -> impl Iterator<Item = (Tensor<4>, Vec<u8>)> {
        self.0.batches(size).map(move |(x, labels)| (tensor(x, device), labels))
    }
}

impl Dataset<usize> for Images {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        Ok(index)
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl Batcher<usize, Batch> for Images {
    fn batch(&self, indices: Vec<usize>, device: &Device) -> Batch {
        let (images, labels) = self.0.batch(indices.into_iter());
        let labels: Vec<i32> = labels.into_iter().map(i32::from).collect();
        Batch {
            images: tensor(images, device),
            labels: Tensor::from_data(labels.as_slice(), device),
        }
    }
}

fn tensor(x: Array4<f32>, device: &Device) -> Tensor<4> {
    let shape = x.shape().to_vec();
    Tensor::from_data(TensorData::new(x.into_iter().collect(), shape), device)
}
