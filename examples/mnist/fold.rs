//! Does the folded net compute what the trained one does, to the last bit?

use std::iter::zip;

use do_conv::{Conv2d, DoConv2d, Error, FoldCheck, Layer};

use crate::data::Set;
use crate::net::{LAYERS, Net};
use crate::train::TEST_BATCH;

/// Two nets side by side on all test images.
pub struct Difference {
    pub logits: usize,
    /// How many of the logits have other bits.
    pub differing: usize,
    pub largest: f32,
}

impl Difference {
    pub fn between<A: Layer<f32>, B: Layer<f32>>(
        a: &Net<A>,
        b: &Net<B>,
        test: &Set,
    ) -> Result<Self, Error> {
        let mut difference = Self { logits: 0, differing: 0, largest: 0.0 };
        for (x, _) in test.batches(TEST_BATCH) {
            for (a, b) in zip(a.logits(&x)?, b.logits(&x)?) {
                difference.logits += 1;
                difference.differing += usize::from(a.to_bits() != b.to_bits());
                difference.largest = difference.largest.max((a - b).abs());
            }
        }
        Ok(difference)
    }
}

/// The trained net beside its fold.
pub struct FoldReport {
    pub net: Difference,
    /// The library's own check of each layer, on what the first test images make of its input.
    pub layers: [FoldCheck; LAYERS],
}

impl FoldReport {
    pub fn new(
        trained: &Net<DoConv2d<f32>>,
        folded: &Net<Conv2d<f32>>,
        test: &Set,
    ) -> Result<Self, Error> {
        let (x, _) = test.batch(0..test.len().min(TEST_BATCH));
        let [a1, a2, _] = trained.activations(&x)?;
        let check = |i: usize, x| trained.layers[i].check_fold(&folded.layers[i], x);
        Ok(Self {
            net: Difference::between(trained, folded, test)?,
            layers: [check(0, &x)?, check(1, &a1)?, check(2, &a2)?],
        })
    }

    pub fn passed(&self) -> bool {
        let good = |check: &FoldCheck| check.same_bits && check.within_bound;
        self.net.differing == 0 && self.layers.iter().all(good)
    }
}
