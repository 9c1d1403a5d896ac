//! What a convolution and its batch normalisation give one after the other, which the check compares
//! the folded convolution with.

use super::worst::Worst;
use crate::checkpoint::float::Float;

/// What comes after a convolution's sum in an output channel: `y ↦ (y + own − mean) / √var · weight + shift`,
/// and what the folded convolution adds to its sum.
#[derive(Debug, Clone, Copy)]
pub struct Unfused {
    /// The convolution's bias.
    pub own: f64,
    pub mean: f64,
    /// With `eps` added.
    pub var: f64,
    pub weight: f64,
    pub shift: f64,
    /// The folded bias, rounded.
    pub bias: f64,
}

/// Sums of an output pixel, each with that of its terms' absolute values, or a bound of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Output {
    /// By the convolution as it was.
    pub exact: f64,
    pub absolute: f64,
    /// By the folded kernel.
    pub folded: f64,
    pub size: f64,
}

impl Unfused {
    /// Nothing comes after.
    pub const NONE: Self =
        Self { own: 0.0, mean: 0.0, var: 1.0, weight: 1.0, shift: 0.0, bias: 0.0 };

    /// How near an output of the folded convolution comes to that of the pair, for sums of `terms` terms,
    /// a folded kernel rounded to `float` and pixels of absolute sum `pixels`.
    pub fn compare(&self, float: Float, output: Output, terms: usize, pixels: f64) -> Worst {
        let &Self { own, mean, var, weight, shift, bias } = self;
        let Output { exact, absolute, folded, size } = output;
        let gamma = terms as f64 * f64::EPSILON;
        // What is lost among subnormal numbers.
        let smallest = terms as f64 * f64::from_bits(1);
        let deviation = var.sqrt();
        let scale = (weight / deviation).abs();
        let centred = absolute + own.abs() + mean.abs();
        let bias_roundoff = match bias {
            0.0 => 0.0,
            bias => float.unit_roundoff() * bias.abs() + float.subnormal_roundoff(),
        };
        let rounding =
            float.unit_roundoff() * size + float.subnormal_roundoff() * pixels + bias_roundoff;
        let sums = gamma * (centred * scale + size + shift.abs() + bias.abs())
            + smallest * (2.0 + scale + weight.abs() + centred);
        let bound = (rounding + sums) * (1.0 + gamma);
        let expected = (exact + own - mean) / deviation * weight + shift;
        Worst { difference: (folded + bias - expected).abs(), bound }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_is_normalised_and_a_wrong_bias_or_scale_shows() {
        let after =
            Unfused { own: 0.5, mean: 2.0, var: 4.0, weight: 3.0, shift: -1.0, bias: -3.25 };
        // (5 + 0.5 − 2) / 2 · 3 − 1 = 4.25 = 7.5 − 3.25
        let output = Output { exact: 5.0, absolute: 5.0, folded: 7.5, size: 7.5 };
        for float in [Float::F16, Float::F32, Float::F64] {
            let compare = |after: Unfused, output| after.compare(float, output, 20, 1.0);
            let worst = compare(after, output);
            assert_eq!(worst.difference, 0.0);
            // One rounding each of the kernel and of the bias, and sums of f64.
            let bound = float.unit_roundoff() * (7.5 + 3.25) + float.subnormal_roundoff() * 2.0;
            assert!(worst.bound >= bound && worst.bound < bound * 1.001 + 2e-13, "{worst:?}");
            let wrong = 2.0 * worst.bound;
            for after in [
                Unfused { own: after.own + wrong, ..after },
                Unfused { mean: after.mean - wrong, ..after },
                Unfused { var: after.var + 4.0 * wrong, ..after },
                Unfused { weight: after.weight - wrong, ..after },
                Unfused { shift: after.shift + wrong, ..after },
                Unfused { bias: after.bias + wrong, ..after },
            ] {
                assert!(!compare(after, output).is_within_bound(), "{float:?} {after:?}");
            }
            let output = Output { folded: 7.5 + wrong, ..output };
            assert!(!compare(after, output).is_within_bound());
        }
    }
}
