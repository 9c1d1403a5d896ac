//! The transforms of one line of a tile, for the lanes of a register at a time.

use super::points::{Family, MOST_POINTS, TAPS};
use crate::machine::element::Element;
use crate::machine::simd::Simd;

/// A linear map of `IN` numbers to `OUT`, in each lane.
pub trait Line<T: Element, const IN: usize, const OUT: usize>: Copy {
    fn map<S: Simd<T>>(self, simd: S, input: [S::Vector; IN]) -> [S::Vector; OUT];
}

/// By a matrix, whose rows are outputs.
#[derive(Clone, Copy)]
pub struct Dense<'a, T>(pub &'a [[T; MOST_POINTS]; MOST_POINTS]);

impl<T: Element, const IN: usize, const OUT: usize> Line<T, IN, OUT> for Dense<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, input: [S::Vector; IN]) -> [S::Vector; OUT] {
        let mut output = [simd.zero(); OUT];
        for (row, output) in output.iter_mut().enumerate() {
            for (column, &input) in input.iter().enumerate() {
                *output = simd.fma(simd.splat(self.0[row][column]), input, *output);
            }
        }
        output
    }
}

/// `Bᵀ`, of inputs.
#[derive(Clone, Copy)]
pub struct Input<'a, T>(pub &'a Family<T>);

/// `A`, of gradients of outputs.
#[derive(Clone, Copy)]
pub struct Gradient<'a, T>(pub &'a Family<T>);

/// `Aᵀ`, to outputs.
#[derive(Clone, Copy)]
pub struct Output<'a, T>(pub &'a Family<T>);

/// `G`, of taps.
#[derive(Clone, Copy)]
pub struct Kernel<'a, T>(pub &'a Family<T>);

/// `Gᵀ`, to gradients of taps.
#[derive(Clone, Copy)]
pub struct KernelGradient<'a, T>(pub &'a Family<T>);

/// `x + y` and `x − y`.
#[inline(always)]
fn sum_and_difference<T: Element, S: Simd<T>>(
    simd: S,
    x: S::Vector,
    y: S::Vector,
) -> [S::Vector; 2] {
    [simd.add(x, y), simd.fma(simd.splat(-T::one()), y, x)]
}

/// `even ± point·odd`.
#[inline(always)]
fn at_both<T: Element, S: Simd<T>>(
    simd: S,
    point: T,
    even: S::Vector,
    odd: S::Vector,
) -> [S::Vector; 2] {
    [simd.fma(simd.splat(point), odd, even), simd.fma(simd.splat(-point), odd, even)]
}

impl<T: Element> Line<T, 6, 6> for Input<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [d0, d1, d2, d3, d4, d5]: [S::Vector; 6]) -> [S::Vector; 6] {
        let &Family { a, b, aa, bb, product, minus_sum, .. } = self.0;
        let [product, minus_sum] = [product, minus_sum].map(|value| simd.splat(value));
        let [minus_aa, minus_bb] = [simd.splat(-aa), simd.splat(-bb)];
        let zero = simd.fma(d0, product, simd.fma(d2, minus_sum, d4));
        let infinity = simd.fma(d1, product, simd.fma(d3, minus_sum, d5));
        let (even, odd) = (simd.fma(d2, minus_bb, d4), simd.fma(d1, minus_bb, d3));
        let [plus_a, minus_a] = at_both(simd, a, even, odd);
        let (even, odd) = (simd.fma(d2, minus_aa, d4), simd.fma(d1, minus_aa, d3));
        let [plus_b, minus_b] = at_both(simd, b, even, odd);
        [zero, infinity, plus_a, minus_a, plus_b, minus_b]
    }
}

impl<T: Element> Line<T, 4, 4> for Input<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [d0, d1, d2, d3]: [S::Vector; 4]) -> [S::Vector; 4] {
        let &Family { a, aa, .. } = self.0;
        let minus_aa = simd.splat(-aa);
        let [plus_a, minus_a] = at_both(simd, a, d2, d1);
        [simd.fma(d0, minus_aa, d2), simd.fma(d1, minus_aa, d3), plus_a, minus_a]
    }
}

impl<T: Element> Line<T, 4, 6> for Gradient<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [y0, y1, y2, y3]: [S::Vector; 4]) -> [S::Vector; 6] {
        let &Family { a, b, aa, bb, .. } = self.0;
        let [aa, bb] = [simd.splat(aa), simd.splat(bb)];
        let [plus_a, minus_a] = at_both(simd, a, simd.fma(y2, aa, y0), simd.fma(y3, aa, y1));
        let [plus_b, minus_b] = at_both(simd, b, simd.fma(y2, bb, y0), simd.fma(y3, bb, y1));
        [y0, y3, plus_a, minus_a, plus_b, minus_b]
    }
}

impl<T: Element> Line<T, 2, 4> for Gradient<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [y0, y1]: [S::Vector; 2]) -> [S::Vector; 4] {
        let [plus_a, minus_a] = at_both(simd, self.0.a, y0, y1);
        [y0, y1, plus_a, minus_a]
    }
}

impl<T: Element> Line<T, 6, 4> for Output<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(
        self,
        simd: S,
        [m0, infinity, pa, ma, pb, mb]: [S::Vector; 6],
    ) -> [S::Vector; 4] {
        let &Family { a, b, aa, bb, aaa, bbb, .. } = self.0;
        let zero = simd.zero();
        let ([sa, da], [sb, db]) =
            (sum_and_difference(simd, pa, ma), sum_and_difference(simd, pb, mb));
        let two = |x: T, y: T, [from_a, from_b]: [S::Vector; 2], more: S::Vector| {
            simd.fma(simd.splat(x), from_a, simd.fma(simd.splat(y), from_b, more))
        };
        [
            simd.add(m0, simd.add(sa, sb)),
            two(a, b, [da, db], zero),
            two(aa, bb, [sa, sb], zero),
            two(aaa, bbb, [da, db], infinity),
        ]
    }
}

impl<T: Element> Line<T, 4, 2> for Output<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [m0, infinity, pa, ma]: [S::Vector; 4]) -> [S::Vector; 2] {
        let [sum, difference] = sum_and_difference(simd, pa, ma);
        [simd.add(m0, sum), simd.fma(simd.splat(self.0.a), difference, infinity)]
    }
}

/// The values at two opposite points.
#[inline(always)]
fn kernel_at<T: Element, S: Simd<T>>(
    simd: S,
    [weight, point, square]: [T; TAPS],
    [g0, g1, g2]: [S::Vector; TAPS],
) -> [S::Vector; 2] {
    let zero = simd.zero();
    let even = simd.fma(g2, simd.splat(square), simd.fma(g0, simd.splat(weight), zero));
    at_both(simd, point, even, g1)
}

impl<T: Element> Line<T, TAPS, 6> for Kernel<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, taps: [S::Vector; TAPS]) -> [S::Vector; 6] {
        let &Family { zero_weight: zero, weights: [of_a, of_b], .. } = self.0;
        let [pa, ma] = kernel_at(simd, of_a, taps);
        let [pb, mb] = kernel_at(simd, of_b, taps);
        [simd.fma(taps[0], simd.splat(zero), simd.zero()), taps[2], pa, ma, pb, mb]
    }
}

impl<T: Element> Line<T, TAPS, 4> for Kernel<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, taps: [S::Vector; TAPS]) -> [S::Vector; 4] {
        let &Family { zero_weight: zero, weights: [of_a, _], .. } = self.0;
        let [pa, ma] = kernel_at(simd, of_a, taps);
        [simd.fma(taps[0], simd.splat(zero), simd.zero()), taps[2], pa, ma]
    }
}

/// What two opposite points give to each tap, added to `taps`.
#[inline(always)]
fn taps_of<T: Element, S: Simd<T>>(
    simd: S,
    [weight, point, square]: [T; TAPS],
    [plus, minus]: [S::Vector; 2],
    [t0, t1, t2]: [S::Vector; TAPS],
) -> [S::Vector; TAPS] {
    let [sum, difference] = sum_and_difference(simd, plus, minus);
    [
        simd.fma(sum, simd.splat(weight), t0),
        simd.fma(difference, simd.splat(point), t1),
        simd.fma(sum, simd.splat(square), t2),
    ]
}

impl<T: Element> Line<T, 6, TAPS> for KernelGradient<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(
        self,
        simd: S,
        [m0, infinity, pa, ma, pb, mb]: [S::Vector; 6],
    ) -> [S::Vector; TAPS] {
        let &Family { zero_weight: zero, weights: [of_a, of_b], .. } = self.0;
        let taps = [simd.fma(m0, simd.splat(zero), simd.zero()), simd.zero(), infinity];
        let taps = taps_of(simd, of_a, [pa, ma], taps);
        taps_of(simd, of_b, [pb, mb], taps)
    }
}

impl<T: Element> Line<T, 4, TAPS> for KernelGradient<'_, T> {
    #[inline(always)]
    fn map<S: Simd<T>>(self, simd: S, [m0, infinity, pa, ma]: [S::Vector; 4]) -> [S::Vector; TAPS] {
        let &Family { zero_weight: zero, weights: [of_a, _], .. } = self.0;
        let taps = [simd.fma(m0, simd.splat(zero), simd.zero()), simd.zero(), infinity];
        taps_of(simd, of_a, [pa, ma], taps)
    }
}
