//! The order of images.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// A fresh order of `len` training images for every epoch, which follows from the seed.
pub fn shuffled(len: usize, seed: u32, epoch: u32) -> Vec<usize> {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(u64::from(seed) << 32 | u64::from(epoch));
    let mut order: Vec<_> = (0..len).collect();
    for i in (1..len).rev() {
        order.swap(i, (random.next_u64() % (i as u64 + 1)) as usize);
    }
    order
}
