//! By which algorithm a convolution is computed.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Operation, Result};

/// How a convolution and its gradients are computed.
///
/// Winograd's minimal filtering algorithms `F(m×m, 3×3)` (Lavin and Gray, arXiv 1509.09308) compute `m×m`
/// outputs of a 3×3 kernel from a transformed tile of `(m+2)×(m+2)` inputs by as many multiplications,
/// where the direct sum takes `9·m²`: 2.25 times fewer for `m = 2`, 4 times fewer for `m = 4`.
///
/// **Where they apply**: kernels of 3×3 taps and stride 1, of 16 to 2048 input and output channels a group, of
/// a dilation whose rows times columns are at most 36, for images whose inputs and outputs are more than the
/// dilation along each axis. Anything else is computed directly, whatever was chosen;
/// [`Conv2d::algorithm`](crate::Conv2d::algorithm) tells which. Feature composition
/// ([`Composition`](crate::Composition)) is direct, too; its gradients are those of the composed kernel.
///
/// **Rounding**: an output of the direct sum is off by a part of the sum of the sizes of its products. One of
/// Winograd's is off by at most
///
/// ```text
/// γ_k · (κ · Σ_c max|x_c| · Σ_taps |w_c| + |bias|),   k = I/g + 40,   γ_k = k·u / (1 − k·u),
/// ```
///
/// where the maximum is over the pixels, padding included, that a tile which the output may be in reads: from
/// `m − 1` steps of the dilation before the output's first tap to as many past its last. `κ` is 16 for
/// `m = 2` and 205 for `m = 4`, and `u` the unit roundoff. So a large pixel costs its neighbours' outputs digits, too.
/// On random numbers errors are far smaller; `docs/engine.md` has a table, and the derivation. Numbers near the
/// largest or the smallest of their type may overflow or vanish in between where the direct sum wouldn't.
///
/// **What isn't finite** reaches the outputs of all tiles that read it, and no other: an output whose pixels, by
/// the window above, are finite has the bits that it would have without. The same goes for gradients of the
/// input. An infinite weight gives not-a-numbers in all of its output channel, and the gradient of the kernel
/// sums over all tiles.
///
/// **Memory**: scratch is bounded for any image: in `f32` by 6 MiB and 4 MiB a thread, with a dilation by 24 MiB and
/// 10 MiB a thread (`tests/memory.rs`). The packed kernel comes on top: of up to 2²⁰
/// elements once it is transformed it takes 16/9 (`m = 2`) or 4 times (`m = 4`) its size, and plain and folded
/// layers keep it; a larger one is never transformed as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Algorithm {
    /// Every product is summed as the definition says.
    #[default]
    Direct,
    /// Winograd's `F(2×2, 3×3)`: about as exact as the direct sum.
    Winograd2,
    /// Winograd's `F(4×4, 3×3)`: the fastest, with a rounding error a few times larger.
    Winograd4,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Winograd2, Self::Winograd4];

    /// The name that [`Algorithm::from_str`] reads: `direct`, `winograd2` or `winograd4`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Winograd2 => "winograd2",
            Self::Winograd4 => "winograd4",
        }
    }

    /// How its rounding errors are bounded; none for the direct sum, whose are by the sizes of products.
    pub(crate) fn tile_errors(self) -> Option<TileErrors> {
        match self {
            Self::Direct => None,
            Self::Winograd2 => Some(TileErrors { outputs: 2, amplification: 16.0 }),
            Self::Winograd4 => Some(TileErrors { outputs: 4, amplification: 205.0 }),
        }
    }
}

/// How the rounding errors of one of Winograd's algorithms are bounded: by [`TileErrors::ROUNDINGS`] and one for
/// each term of the sum, of products whose sizes sum up to at most `amplification` times those of weights
/// times the largest pixel that a tile reads (`docs/engine.md`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TileErrors {
    /// `m`, the most outputs of a tile along an axis.
    pub outputs: usize,
    /// `κ`, for both axes, rounded up.
    pub amplification: f64,
}

impl TileErrors {
    /// Roundings that a product goes through in transforms, in whatever tiles and with or without fused
    /// multiplications, and in adding the bias, rounded up.
    pub const ROUNDINGS: usize = 40;
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    /// The algorithm of that [name](Self::name).
    ///
    /// # Errors
    /// [`ErrorKind::Value`] for any other text.
    fn from_str(name: &str) -> Result<Self> {
        let algorithm = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name);
        algorithm.ok_or_else(|| {
            let expected = Self::ALL.map(Self::name).join(", ");
            Operation("Algorithm::from_str").error(ErrorKind::Value, "name", expected, name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::winograd::points::{Family, MOST_POINTS, kernel_matrix};

    type Matrix = [[f64; MOST_POINTS]; MOST_POINTS];

    /// `Bᵀ` and `Aᵀ` of tiles of `outputs` outputs.
    fn matrices(family: &Family<f64>, outputs: usize) -> (Matrix, Matrix) {
        if outputs < family.outputs {
            let smaller = &family.smaller[outputs - 1];
            return (smaller.bt, smaller.at);
        }
        let &Family { a, b, aa, bb, aaa, bbb, product, minus_sum, .. } = family;
        let mut at = [[0.0; MOST_POINTS]; MOST_POINTS];
        at[..4].copy_from_slice(&[
            [1.0, 0.0, 1.0, 1.0, 1.0, 1.0],
            [0.0, 0.0, a, -a, b, -b],
            [0.0, 0.0, aa, aa, bb, bb],
            [0.0, 1.0, aaa, -aaa, bbb, -bbb],
        ]);
        let mut bt = [
            [product, 0.0, minus_sum, 0.0, 1.0, 0.0],
            [0.0, product, 0.0, minus_sum, 0.0, 1.0],
            [0.0, -a * bb, -bb, a, 1.0, 0.0],
            [0.0, a * bb, -bb, -a, 1.0, 0.0],
            [0.0, -b * aa, -aa, b, 1.0, 0.0],
            [0.0, b * aa, -aa, -b, 1.0, 0.0],
        ];
        if outputs == 2 {
            at = [[0.0; MOST_POINTS]; MOST_POINTS];
            at[..2].copy_from_slice(&[[1.0, 0.0, 1.0, 1.0, 0.0, 0.0], [0.0, 1.0, a, -a, 0.0, 0.0]]);
            bt = [[0.0; MOST_POINTS]; MOST_POINTS];
            bt[..4].copy_from_slice(&[
                [-aa, 0.0, 1.0, 0.0, 0.0, 0.0],
                [0.0, -aa, 0.0, 1.0, 0.0, 0.0],
                [0.0, a, 1.0, 0.0, 0.0, 0.0],
                [0.0, -a, 1.0, 0.0, 0.0, 0.0],
            ]);
        }
        (bt, at)
    }

    /// What each point's product of a tap is multiplied by for an output.
    fn way(at: &[f64], g: &[[f64; 3]], tap: usize) -> Vec<f64> {
        at.iter().zip(g).map(|(at, g)| at * g[tap]).collect()
    }

    #[test]
    fn amplifications_are_those_of_the_engines_matrices() {
        for algorithm in Algorithm::ALL {
            let Some(errors) = algorithm.tile_errors() else { continue };
            let family: Family<f64> = Family::of(algorithm).unwrap();
            assert_eq!(errors.outputs, family.outputs);
            let g = kernel_matrix(&family);
            let of_tiles = |outputs: usize| {
                let (bt, at) = matrices(&family, outputs);
                let points = outputs + 2;
                let mut largest = 0.0f64;
                for (output, at) in at.iter().enumerate().take(outputs) {
                    // What each point is multiplied by on its way to the output.
                    for (tap, way) in [0, 1, 2].map(|tap| (tap, way(at, &g, tap))) {
                        let mut size = 0.0;
                        let mut found = [0.0; MOST_POINTS];
                        for (way, row) in way.iter().zip(&bt).take(points) {
                            found.iter_mut().zip(row).for_each(|(sum, value)| *sum += way * value);
                            size += way.abs() * row.iter().map(|value| value.abs()).sum::<f64>();
                        }
                        largest = largest.max(size);
                        // All but the pixel that the tap reads cancel.
                        for (input, sum) in found.iter().enumerate() {
                            let expected = f64::from(u8::from(output + tap == input));
                            assert!((sum - expected).abs() < 1e-12, "{algorithm}, {outputs}");
                        }
                    }
                }
                largest.powi(2)
            };
            let found = (1..=family.outputs).map(of_tiles).fold(0.0, f64::max);
            let kappa = errors.amplification;
            assert!(found <= kappa && kappa < found + 1.0, "{algorithm}: {found}");
        }
    }
}
