//! Long sums whose rounding errors stay small.
//!
//! A sum of `N` terms, one after the other, is off by up to `N·u` of their sizes (Higham, *Accuracy and
//! Stability of Numerical Algorithms*, 4.2). Here no term goes through more additions than grow with
//! `log N`, or `√N` where a sum is an array whose copies would take room. The order follows from the
//! lengths alone, so bits depend on nothing else.

use crate::machine::element::Element;

/// A sum whose parts are added in pairs, and pairs of those: a part goes through `log₂` of their number
/// of additions.
#[derive(Default)]
pub struct Pairwise<T> {
    /// Sums of as many parts as a power of two says, the largest first: the binary digits of `parts`.
    sums: Vec<T>,
    parts: usize,
}

/// Elements of a part: 64 additions in each of its lanes.
const PART: usize = 64 * LANES;
/// Independent sums, so that additions needn't wait for each other.
const LANES: usize = 32;

impl<T: Element> Pairwise<T> {
    /// Adds values.
    pub fn add(&mut self, values: &[T]) {
        for part in values.chunks(PART) {
            let mut lanes = [T::zero(); LANES];
            for values in part.chunks(LANES) {
                lanes.iter_mut().zip(values).for_each(|(sum, &value)| *sum += value);
            }
            let mut sum = halved(lanes);
            self.parts += 1;
            // As many carries as counting has.
            for _ in 0..self.parts.trailing_zeros() {
                sum = self.sums.pop().map_or(sum, |before| before + sum);
            }
            self.sums.push(sum);
        }
    }

    /// The sum of all values.
    pub fn total(&self) -> T {
        let smallest_first = self.sums.iter().rev();
        smallest_first.fold(T::zero(), |total, &sum| sum + total)
    }
}

/// The sum of all lanes: of those that are left, the later half is added to the earlier.
fn halved<T: Element>(mut lanes: [T; LANES]) -> T {
    let mut left = LANES;
    while left > 1 {
        left /= 2;
        let (earlier, later) = lanes.split_at_mut(left);
        earlier.iter_mut().zip(&*later).for_each(|(sum, &later)| *sum += later);
    }
    lanes[0]
}

/// Adds an array to another.
pub fn add_to<T: Element>(sums: &mut [T], part: &[T]) {
    sums.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
}

/// Of `blocks` blocks, those whose sums are added one after the other; then these sums are: about the root of
/// their number at each stage.
pub fn blocks_together(blocks: usize) -> usize {
    blocks.isqrt().max(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_added_once() {
        for len in [0, 1, 31, 32, 33, PART - 1, PART, PART + 1, 7 * PART + 5, 64 * PART] {
            let values: Vec<f64> = (0..len).map(|index| index as f64).collect();
            for cut in [1, 100, PART, usize::MAX] {
                let mut sum = Pairwise::default();
                values.chunks(cut).take(4000).for_each(|values| sum.add(values));
                let count = values.len().min(cut.saturating_mul(4000)) as f64;
                assert_eq!(sum.total(), count * (count - 1.0).max(0.0) / 2.0, "{len}, {cut}");
            }
        }
    }

    #[test]
    fn errors_grow_with_the_logarithm() {
        let values = vec![0.1f32; 1 << 25];
        let mut sum = Pairwise::default();
        sum.add(&values);
        let exact = f64::from(0.1f32) * values.len() as f64;
        // 64 additions in a lane, 5 of lanes, 14 of pairs, and as many to add up what is left.
        let bound = (64 + 5 + 2 * 14) as f64 * (f64::from(f32::EPSILON) / 2.0) * exact;
        let error = (f64::from(sum.total()) - exact).abs();
        assert!(error <= bound, "{error} > {bound}");
    }
}
