//! Epochs of training, and what is measured of them.

use std::iter::zip;
use std::time::{Duration, Instant};

use do_conv::{Error, Layer};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

use crate::data::Set;
use crate::net::Net;
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
        for (logits, &label) in zip(net.logits(&x)?.outer_iter(), &labels) {
            let of_label = logits[usize::from(label)];
            let rivals = logits.iter().enumerate().filter(|&(i, _)| i != usize::from(label));
            // A tie, or a NaN, is no answer.
            correct += usize::from(rivals.map(|(_, &rival)| rival).all(|rival| of_label > rival));
        }
    }
    Ok(correct as f64 / test.len() as f64)
}

/// A fresh order of the training images for every epoch, the same for both nets.
pub fn shuffled(len: usize, seed: u32, epoch: u32) -> Vec<usize> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(seed) << 32 | u64::from(epoch));
    let mut order: Vec<_> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
    order
}
