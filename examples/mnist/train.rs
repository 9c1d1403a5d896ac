//! Epochs of training, and what is measured of them.

use std::time::{Duration, Instant};

use do_conv::{Error, Layer};

use crate::data::Set;
use crate::net::Net;
use crate::ops;
use crate::trainer::{BATCH, Trainer};

/// Test images are looked at in larger batches.
pub const TEST_BATCH: usize = 250;

/// What one epoch came to.
#[derive(Clone, Copy)]
pub struct Epoch {
    /// Mean over the training images, while training.
    pub loss: f64,
    /// Share of the test images classified correctly after the epoch.
    pub accuracy: f64,
    /// Time of the training steps alone.
    pub time: Duration,
}

impl<L: Layer<f32>> Trainer<L> {
    /// Trains on the batches of `order`, calling `stepped` after each, then tests.
    pub fn epoch(
        &mut self,
        train: &Set,
        order: &[usize],
        test: &Set,
        stepped: impl Fn(),
    ) -> Result<Epoch, Error> {
        let start = Instant::now();
        let mut loss = 0.0;
        // Whole batches only, because the buffers have that shape. The order changes every epoch,
        // and so do the images that sit out.
        let (batches, _) = order.as_chunks::<BATCH>();
        for indices in batches {
            let (x, labels) = train.batch(indices.iter().copied());
            loss += f64::from(self.step(&x, &labels)?);
            stepped();
        }
        let time = start.elapsed();
        Ok(Epoch { loss: loss / batches.len() as f64, accuracy: accuracy(&self.net, test)?, time })
    }
}

fn accuracy<L: Layer<f32>>(net: &Net<L>, test: &Set) -> Result<f64, Error> {
    let mut correct = 0;
    for (x, labels) in test.batches(TEST_BATCH) {
        correct += ops::correct(&net.logits(&x)?, &labels);
    }
    Ok(correct as f64 / test.len() as f64)
}
