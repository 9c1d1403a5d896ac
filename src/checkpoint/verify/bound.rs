//! What two numbers that should be the same may differ by.
//!
//! Rounding to an element type gives a number within `max(u·|x|, h)` of `x`, whether `x` is the number
//! before or after: `u` is the type's unit roundoff and `h` half the distance of its subnormal numbers.
//!
//! *Tensors* of one type must be equal. Of two types, each may be a rounding of the same number, so the
//! two may differ by one rounding to each.
//!
//! *Kernels* of one type may differ by one rounding to it: one of them is rounded, as by a fold, and
//! the other is what it was rounded from; of two types by one rounding to each. A composed kernel is a sum
//! of `S` products, each by a rounded `D = d_offset + E`. In `f64`, by whatever order, that is within
//! `γ·Σ (|d_offset| + E)·|W|` of the exact sum, where `γ = (S + 1)·v / (1 − (S + 1)·v) < (S + 2)·v` with
//! `v = 2⁻⁵³`, and within as many of the smallest numbers. The bound has that twice: for the sum made
//! here, and for that of whoever made the other kernel from the same `D` and `W`.

use std::cmp::Ordering;

use crate::checkpoint::float::Float;

/// What rounding may make.
#[derive(Debug, Clone, Copy)]
pub struct Rounding([Option<Float>; 2]);

impl Rounding {
    /// Of tensors of these types.
    pub fn of_tensors([here, there]: [Float; 2]) -> Self {
        if here == there { Self([None; 2]) } else { Self([Some(here), Some(there)]) }
    }

    /// Of kernels of these types.
    pub fn of_kernels([here, there]: [Float; 2]) -> Self {
        Self([Some(here), (here != there).then_some(there)])
    }

    /// What two numbers may differ by, beyond `sums`, the errors of the sums that they are.
    fn bound(self, here: f64, there: f64, sums: f64) -> f64 {
        let size = here.abs().max(there.abs());
        let of_type = |float: Float| (float.unit_roundoff() * size).max(float.subnormal_roundoff());
        let roundings: f64 = self.0.into_iter().flatten().map(of_type).sum();
        // The last factor is for the bound's own roundings and the difference's.
        (roundings + sums) * (1.0 + 8.0 * f64::EPSILON)
    }

    /// How two numbers compare, element number `element` on either side.
    pub fn compare(self, here: f64, there: f64, sums: f64, element: usize) -> Nearest {
        let bound = self.bound(here, there, sums);
        let is_equal = here == there || (here.is_nan() && there.is_nan());
        let difference = (here - there).abs();
        let difference = match is_equal {
            true => 0.0,
            false if difference.is_nan() => f64::INFINITY,
            false => difference,
        };
        Nearest { difference, bound, element }
    }
}

/// What a sum of `d_mul` products may be wrong by, twice, for the sum of their absolute values.
pub fn error_of_sum(d_mul: usize, absolute: f64) -> f64 {
    let terms = d_mul as f64 + 2.0;
    terms * f64::EPSILON * absolute + terms * f64::from_bits(1)
}

/// The element nearest to its bound, or furthest beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    pub difference: f64,
    pub bound: f64,
    /// The element's number in row-major order.
    pub element: usize,
}

impl Nearest {
    /// The nearer one; of two alike the one that differs by more, then the first.
    pub fn max(self, other: Self) -> Self {
        let order = self.ratio().total_cmp(&other.ratio());
        let order = order.then(self.difference.total_cmp(&other.difference));
        match order.then(other.element.cmp(&self.element)) {
            Ordering::Less => other,
            _ => self,
        }
    }

    /// Infinite where a difference isn't finite, or the bound, which says nothing then.
    fn ratio(self) -> f64 {
        match self.difference {
            0.0 => 0.0,
            difference if (difference + self.bound).is_finite() => difference / self.bound,
            _ => f64::INFINITY,
        }
    }

    pub fn is_within_bound(self) -> bool {
        self.ratio() <= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_the_same_or_beyond_any_bound() {
        let rounding = Rounding::of_kernels([Float::F32; 2]);
        let [nan, inf] = [f64::NAN, f64::INFINITY];
        for (here, there, same) in [
            (nan, nan, true),
            (inf, inf, true),
            (inf, -inf, false),
            (nan, 1.0, false),
            (inf, f64::MAX, false),
            (0.0, -0.0, true),
        ] {
            let nearest = rounding.compare(here, there, 0.0, 0);
            assert_eq!(nearest.is_within_bound(), same, "{here} {there}");
        }
        // A bound that isn't finite says nothing.
        assert!(!rounding.compare(1.0, 2.0, inf, 0).is_within_bound());
        assert!(!rounding.compare(1.0, 2.0, nan, 0).is_within_bound());
    }

    #[test]
    fn the_nearest_does_not_depend_on_the_order() {
        let nearest = |difference, bound, element| Nearest { difference, bound, element };
        let all = [
            nearest(0.0, 1.0, 0),
            nearest(0.0, 1.0, 3),
            nearest(0.5, 1.0, 1),
            nearest(1.0, 2.0, 4),
            nearest(1.0, 2.0, 2),
        ];
        for a in all {
            for b in all {
                assert_eq!(a.max(b), b.max(a));
            }
        }
        assert_eq!(all.into_iter().reduce(Nearest::max).map(|nearest| nearest.element), Some(2));
        assert_eq!(all[0].max(all[1]).element, 0);
    }
}
