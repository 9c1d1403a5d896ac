//! Which images of a batch are a rank's.

use crate::error::{Error, Result};

/// A batch of images, cut into leaves, of which a rank has those next to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    batch: usize,
    leaf: usize,
    rank: usize,
    size: usize,
}

impl Shard {
    /// The part of rank `rank` of `size` in batches of `batch` images, `leaf` of which are differentiated at once.
    ///
    /// # Errors
    /// For a batch that isn't a power of two of leaves, or has fewer of them than there are ranks, on all ranks.
    pub fn new(batch: usize, leaf: usize, rank: usize, size: usize) -> Result<Self> {
        let leaves = batch.checked_div(leaf).unwrap_or(0);
        if leaf == 0 || !batch.is_multiple_of(leaf) || !leaves.is_power_of_two() {
            return Err(Error::common(format!(
                "batch: expected 1, 2, 4 or another power of two of leaves of {leaf} images, got {batch} images"
            )));
        }
        if leaves < size {
            return Err(Error::common(format!(
                "batch: expected at least {} images, a leaf of {leaf} for each of {size} ranks, got {batch}",
                leaf.saturating_mul(size)
            )));
        }
        Ok(Self { batch, leaf, rank, size })
    }

    /// Images of a batch, of all ranks.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Leaves of a batch that this rank has.
    pub fn leaves(&self) -> usize {
        self.batch / self.leaf / self.size
    }

    /// This rank's leaves of a step, where an epoch's order of images is `order`, and its steps begin at 0.
    ///
    /// # Panics
    /// For a step beyond the last whole batch.
    pub fn of_step<'a>(
        &self,
        order: &'a [usize],
        step: usize,
    ) -> impl Iterator<Item = &'a [usize]> + use<'a> {
        let images = self.leaves() * self.leaf;
        let start = step * self.batch + self.rank * images;
        order[start..start + images].chunks_exact(self.leaf)
    }

    /// This rank's part of `count` things that are looked at one by one.
    pub fn part(&self, count: usize) -> std::ops::Range<usize> {
        self.rank * count / self.size..(self.rank + 1) * count / self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_a_batch_in_its_order() -> Result<()> {
        let order: Vec<_> = (0..70).rev().collect();
        let one: Vec<_> = Shard::new(32, 4, 0, 1)?.of_step(&order, 1).collect();
        assert_eq!(one.concat(), order[32..64]);
        for size in [2, 4, 8] {
            let mut all = Vec::new();
            for rank in 0..size {
                all.extend(Shard::new(32, 4, rank, size)?.of_step(&order, 1));
            }
            assert_eq!(all, one, "{size} ranks");
        }
        Ok(())
    }

    #[test]
    fn parts_are_all_there_is() -> Result<()> {
        let parts = [0, 1, 2, 3].map(|rank| Ok::<_, Error>(Shard::new(4, 1, rank, 4)?.part(10)));
        let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
        assert_eq!(parts, [0..2, 2..5, 5..7, 7..10]);
        Ok(())
    }

    #[test]
    fn other_batches_are_refused() {
        for (batch, leaf, size, expected) in [
            (24, 8, 1, "expected 1, 2, 4 or another power of two of leaves of 8 images, got 24"),
            (32, 3, 1, "power of two of leaves of 3 images"),
            (0, 8, 1, "got 0"),
            (32, 0, 1, "leaves of 0 images"),
            (32, 8, 8, "expected at least 64 images, a leaf of 8 for each of 8 ranks, got 32"),
        ] {
            let error = Shard::new(batch, leaf, 0, size).expect_err("refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
