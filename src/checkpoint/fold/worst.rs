//! How a check came out.

use std::cmp::Ordering;

/// How near a folded kernel comes to the bound of rounding errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worst {
    /// The difference of an output.
    pub difference: f64,
    /// The bound for that output.
    pub bound: f64,
}

impl Worst {
    pub const NONE: Self = Self { difference: 0.0, bound: 0.0 };

    /// The one nearer to its bound, or further beyond.
    pub fn max(self, other: Self) -> Self {
        let order = self.ratio().total_cmp(&other.ratio());
        match order.then(self.bound.total_cmp(&other.bound)) {
            Ordering::Less => other,
            _ => self,
        }
    }

    /// Infinite where there are infinities or not-a-numbers.
    fn ratio(self) -> f64 {
        match self.bound {
            _ if !(self.difference + self.bound).is_finite() => f64::INFINITY,
            0.0 if self.difference == 0.0 => 0.0,
            bound => self.difference / bound,
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
    fn the_worst_of_several_is_the_one_nearest_to_its_bound() {
        let of = |difference, bound| Worst { difference, bound };
        let infinite = f64::INFINITY;
        let ascending = [
            Worst::NONE,
            of(0.0, 1.0),
            of(3.0, 9.0),
            of(1.0, 2.0),
            of(8.0, 8.0),
            of(1.01, 1.0),
            of(1.0, 0.0),
        ];
        for (index, low) in ascending.iter().enumerate() {
            assert_eq!(low.is_within_bound(), index < 5, "{low:?}");
            for high in &ascending[index..] {
                assert_eq!((low.max(*high), high.max(*low)), (*high, *high));
            }
            for wrong in
                [of(infinite, 1.0), of(1.0, infinite), of(f64::NAN, 1.0), of(0.0, f64::NAN)]
            {
                assert!(!low.max(wrong).is_within_bound() && !wrong.max(*low).is_within_bound());
            }
        }
    }
}
