//! Sums in the order of a binary tree whose shape doesn't depend on who adds.

use std::iter::zip;

/// Adds vectors in pairs of neighbours, then these sums in pairs, and so on; keeps one sum for each level.
///
/// ```
/// use do_conv_distributed::tree::TreeSum;
///
/// let mut sum = TreeSum::default();
/// for leaf in [1e8, 1.0, -1e8, 1.0] {
///     sum.push(vec![leaf]);
/// }
/// assert_eq!(sum.take(), Some(vec![0.0])); // (1e8 + 1) + (−1e8 + 1), not 1
/// ```
#[derive(Debug, Default, Clone)]
pub struct TreeSum {
    /// At `k` the sum of `2^k` leaves that waits for the `2^k` leaves right of it.
    waiting: Vec<Option<Vec<f32>>>,
}

impl TreeSum {
    /// Adds the next leaf.
    ///
    /// # Panics
    /// For a leaf of another length than those before.
    pub fn push(&mut self, leaf: Vec<f32>) {
        let mut sum = leaf;
        for level in &mut self.waiting {
            match level.take() {
                Some(mut left) => {
                    add(&mut left, &sum);
                    sum = left;
                }
                None => {
                    *level = Some(sum);
                    return;
                }
            }
        }
        self.waiting.push(Some(sum));
    }

    /// The sum of all leaves, if they are a power of two; the next leaf begins another.
    pub fn take(&mut self) -> Option<Vec<f32>> {
        let (whole, lower) = self.waiting.split_last_mut()?;
        if lower.iter().any(Option::is_some) { None } else { whole.take() }
    }
}

/// `sum ← sum + values`
///
/// # Panics
/// For values of another number.
pub fn add(sum: &mut [f32], values: &[f32]) {
    assert_eq!(sum.len(), values.len(), "what is added has one length");
    for (sum, value) in zip(sum, values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the definition has it: the sum of the left half and that of the right half.
    fn by_halves(leaves: &[f32]) -> f32 {
        match leaves {
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len() / 2);
                by_halves(left) + by_halves(right)
            }
        }
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_both_halves(
            leaves in (0_u32..7)
                .prop_flat_map(|levels| prop::collection::vec(any::<f32>(), 1 << levels)),
        ) {
            let mut sum = TreeSum::default();
            for (count, &leaf) in leaves.iter().enumerate() {
                prop_assert_eq!(sum.clone().take().is_some(), count.is_power_of_two());
                sum.push(vec![leaf]);
            }
            let whole = sum.take().map(|whole| whole[0].to_bits());
            let expected = by_halves(&leaves);
            if !expected.is_nan() {
                prop_assert_eq!(whole, Some(expected.to_bits()));
            }
            prop_assert_eq!(sum.take(), None);
        }
    }
}
