//! burn's loaders, in an order that follows from a seed and an epoch.

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder, DataLoaderIterator};
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::Device;

/// Images of a step without gradients.
pub const TEST_BATCH: usize = 250;

/// The loaders of a run.
pub struct Loaders<B> {
    /// In another order in every epoch.
    pub train: Arc<dyn DataLoader<B>>,
    /// In the order of the set.
    pub test: Arc<dyn DataLoader<B>>,
}

/// To burn's loader an item is an index, so that it shuffles numbers and a batch is made at once.
struct Indices(usize);

impl Dataset<usize> for Indices {
    fn get(&self, index: usize) -> Result<usize, DatasetError> {
        Ok(index)
    }

    fn len(&self) -> usize {
        self.0
    }
}

impl<B: Clone + Send + Sync + std::fmt::Debug + 'static> Loaders<B> {
    /// For the first `count` items of the training and of the test; the order of the former is that of the epochs
    /// behind the first `done`.
    pub fn new(
        batchers: [impl Batcher<usize, B> + 'static; 2],
        counts: [usize; 2],
        batch: usize,
        seed: u64,
        done: usize,
    ) -> Self {
        let [train, test] = batchers;
        // Without workers, which would hand in batches as they get ready.
        let shuffled = DataLoaderBuilder::new(train).batch_size(batch).shuffle(seed);
        let inner = shuffled.build(Indices(counts[0]));
        let test = DataLoaderBuilder::new(test).batch_size(TEST_BATCH).build(Indices(counts[1]));
        Self { train: Arc::new(Later { inner, done }), test }
    }
}

/// A loader that has been through some epochs, for a training that is taken up again: burn shuffles anew, from the
/// seed, each time that one starts.
struct Later<B> {
    inner: Arc<dyn DataLoader<B>>,
    done: usize,
}

impl<B: Send + 'static> DataLoader<B> for Later<B> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<B> + 'a> {
        self.inner.iter()
    }

    fn num_items(&self) -> usize {
        self.inner.num_items()
    }

    /// What a training does once, before its first epoch.
    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<B>> {
        let inner = self.inner.to_device(device);
        for _ in 0..self.done {
            drop(inner.iter());
        }
        Arc::new(Self { inner, done: 0 })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<B>> {
        Arc::new(Self { inner: self.inner.slice(start, end), done: self.done })
    }
}
