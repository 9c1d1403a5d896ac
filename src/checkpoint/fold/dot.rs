//! Scalar products with the sums of their terms' absolute values.

use crate::machine::element::Element;
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load_part, store_part};

/// `Σ a·b` and `Σ |a|·|absolute|`.
pub fn dot(a: &[f64], b: &[f64], absolute: &[f64]) -> [f64; 2] {
    f64::dispatch(Dot { a, b, absolute })
}

struct Dot<'a> {
    a: &'a [f64],
    b: &'a [f64],
    absolute: &'a [f64],
}

impl WithSimd<f64> for Dot<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd<f64>>(self, simd: S) -> [f64; 2] {
        // Several sums side by side, since each waits for its last addition.
        const SUMS: usize = 4;
        let (mut sums, mut absolutes) = ([simd.zero(); SUMS], [simd.zero(); SUMS]);
        let chunk = SUMS * S::LANES;
        let chunks =
            self.a.chunks(chunk).zip(self.b.chunks(chunk)).zip(self.absolute.chunks(chunk));
        for ((a, b), absolute) in chunks {
            for (sum, range) in (0..a.len()).step_by(S::LANES).enumerate() {
                let range = range..a.len().min(range + S::LANES);
                let a = load_part(simd, &a[range.clone()]);
                let b = load_part(simd, &b[range.clone()]);
                let absolute = simd.abs(load_part(simd, &absolute[range]));
                sums[sum] = simd.fma(a, b, sums[sum]);
                absolutes[sum] = simd.fma(simd.abs(a), absolute, absolutes[sum]);
            }
        }
        let mut totals = [0.0; 2];
        for (total, sums) in totals.iter_mut().zip([sums, absolutes]) {
            let mut lanes = [0.0; MOST_LANES];
            for sum in sums {
                store_part(simd, &mut lanes[..S::LANES], sum);
                *total += lanes[..S::LANES].iter().sum::<f64>();
            }
        }
        totals
    }
}
