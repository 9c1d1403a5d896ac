//! The points that Winograd's algorithms interpolate at, and the matrices that follow from them.
//!
//! `F(k, 3)` computes `k` outputs of a line from `k + 2` inputs `d` as `y = Aᵀ[(G·g) ⊙ (Bᵀ·d)]`: Toom and
//! Cook's multiplication of polynomials at `k + 1` points and at infinity, transposed (Lavin and Gray,
//! arXiv 1509.09308; Barabasz et al., arXiv 1803.10986). With finite points `p`, and
//! `N_p = Π_{q≠p} (p − q)`:
//!
//! * `G` has the row `(1, p, p²) / N_p`, and `(0, 0, 1)` at infinity;
//! * `Bᵀ` has the coefficients of `Π_{q≠p} (x − q)`, and of `Π_q (x − q)` at infinity;
//! * `Aᵀ` has the column `(1, p, …, p^{k−1})`, and `(0, …, 0, 1)` at infinity.
//!
//! The points of every `F(k, 3)` are the first `k + 2` of one list. So tiles of fewer outputs, at the end of
//! a line, are multiplied by some rows of the same transformed kernel: `G` has the `N_p` of the largest `k`
//! alone, and the others' `Bᵀ` makes up for the ratio.

use crate::config::algorithm::Algorithm;
use crate::machine::element::Element;

/// Most outputs of a tile along an axis.
pub const MOST_OUTPUTS: usize = 4;
/// Most points along an axis.
pub const MOST_POINTS: usize = MOST_OUTPUTS + 2;
/// Taps of the kernel along an axis.
pub const TAPS: usize = 3;

/// The points `0`, `∞`, `±a` and `±b`, in this order.
#[derive(Debug, Clone, Copy)]
pub struct Points {
    pub a: f64,
    pub b: f64,
}

/// Of `F(2, 3)`, which has no `b`: all its numbers are halves at most.
const TWO: Points = Points { a: 1.0, b: 0.0 };
/// Of `F(4, 3)`: the products of these are exact in binary, and of all such pairs that were tried their smaller
/// tiles amplify errors least. (2/3, 3/2) and (5/8, 3/2) have 7 % smaller errors in whole tiles.
const FOUR: Points = Points { a: 0.75, b: 1.5 };

/// Of tiles with fewer outputs than the largest: rows are points (of `bt`), or outputs (of `at`).
#[derive(Debug, Clone, Copy)]
pub struct Matrices<T> {
    pub bt: [[T; MOST_POINTS]; MOST_POINTS],
    pub at: [[T; MOST_POINTS]; MOST_POINTS],
    /// `A`, the other way round.
    pub a: [[T; MOST_POINTS]; MOST_POINTS],
}

/// An algorithm `F(m×m, 3×3)` and those of fewer outputs at the same points.
#[derive(Debug, Clone, Copy)]
pub struct Family<T> {
    /// `m`, outputs of a tile along an axis: 2 or 4.
    pub outputs: usize,
    /// Of the tiles of `k` outputs, at `k − 1`, for `k < m`.
    pub smaller: [Matrices<T>; MOST_OUTPUTS - 1],
    pub a: T,
    pub b: T,
    pub aa: T,
    pub bb: T,
    pub aaa: T,
    pub bbb: T,
    /// `a²·b²` and `−(a² + b²)`.
    pub product: T,
    pub minus_sum: T,
    /// `1/N` of the point 0.
    pub zero_weight: T,
    /// `(1, p, p²)/N` of the points `a` and `b`.
    pub weights: [[T; TAPS]; 2],
}

impl<T: Element> Family<T> {
    /// Of an algorithm; none of the direct sum.
    pub fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Direct => None,
            Algorithm::Winograd2 => Some(Self::new(2)),
            Algorithm::Winograd4 => Some(Self::new(4)),
        }
    }

    /// Of `F(2×2, 3×3)` or `F(4×4, 3×3)`.
    pub fn new(outputs: usize) -> Self {
        let points = if outputs == MOST_OUTPUTS { FOUR } else { TWO };
        Self::at(outputs, points)
    }

    fn at(outputs: usize, points: Points) -> Self {
        let number = |value: f64| T::from(value).expect("a float has any number, rounded");
        let Points { a, b } = points;
        let smaller = [1, 2, 3].map(|fewer| {
            let Matrices { bt, at, a } = matrices(points, fewer.min(outputs));
            let ratio = |row: usize| scale(points, outputs, row) / scale(points, fewer, row);
            let mut scaled = bt;
            for (row, values) in scaled.iter_mut().enumerate().take(fewer + 2) {
                values.iter_mut().for_each(|value| *value *= ratio(row));
            }
            let rounded =
                |matrix: [[f64; MOST_POINTS]; MOST_POINTS]| matrix.map(|row| row.map(number));
            Matrices { bt: rounded(scaled), at: rounded(at), a: rounded(a) }
        });
        Self {
            outputs,
            smaller,
            a: number(a),
            b: number(b),
            aa: number(a * a),
            bb: number(b * b),
            aaa: number(a * a * a),
            bbb: number(b * b * b),
            product: number(a * a * b * b),
            minus_sum: number(-(a * a + b * b)),
            zero_weight: number(1.0 / scale(points, outputs, 0)),
            weights: [(a, 2), (b, 4)].map(|(p, row)| {
                let exists = row < outputs + 2;
                let weight = if exists { 1.0 / scale(points, outputs, row) } else { 0.0 };
                [weight, p * weight, p * p * weight].map(number)
            }),
        }
    }
}

impl<T> Family<T> {
    /// Points along an axis.
    pub fn points(&self) -> usize {
        self.outputs + 2
    }
}

/// The finite points of `F(outputs, 3)` and the row of each; infinity's row is 1.
fn finite(points: Points, outputs: usize) -> impl Iterator<Item = (usize, f64)> + Clone {
    let Points { a, b } = points;
    let all = [(0, 0.0), (2, a), (3, -a), (4, b), (5, -b)];
    all.into_iter().filter(move |&(row, _)| row < outputs + 2)
}

/// `N_p` of the point of that row.
fn scale(points: Points, outputs: usize, row: usize) -> f64 {
    let all = finite(points, outputs);
    let own = all.clone().find(|&(other, _)| other == row);
    own.map_or(1.0, |(_, p)| all.filter(|&(other, _)| other != row).map(|(_, q)| p - q).product())
}

/// `Bᵀ`, `Aᵀ` and `A` of `F(outputs, 3)`, filled up with zeros.
fn matrices(points: Points, outputs: usize) -> Matrices<f64> {
    let mut bt = [[0.0; MOST_POINTS]; MOST_POINTS];
    let mut at = [[0.0; MOST_POINTS]; MOST_POINTS];
    let mut a = [[0.0; MOST_POINTS]; MOST_POINTS];
    let rows = finite(points, outputs).map(|(row, p)| (row, Some(p))).chain([(1, None)]);
    for (row, point) in rows {
        let others = finite(points, outputs).filter(|&(other, _)| point.is_none() || other != row);
        let coefficients = &mut bt[row];
        coefficients[0] = 1.0;
        for (degree, (_, q)) in others.enumerate() {
            // Times `x − q`.
            for power in (0..=degree + 1).rev() {
                let below = if power == 0 { 0.0 } else { coefficients[power - 1] };
                coefficients[power] = below - q * coefficients[power];
            }
        }
        for output in 0..outputs {
            let value = match point {
                Some(p) => p.powi(output as i32),
                None => f64::from(u8::from(output + 1 == outputs)),
            };
            at[output][row] = value;
            a[row][output] = value;
        }
    }
    Matrices { bt, at, a }
}

/// `G` of the family, whose rows are points.
#[cfg(test)]
pub fn kernel_matrix(family: &Family<f64>) -> [[f64; TAPS]; MOST_POINTS] {
    let &Family { zero_weight, weights: [of_a, of_b], .. } = family;
    let opposite = |[even, odd, square]: [f64; TAPS]| [even, -odd, square];
    [[zero_weight, 0.0, 0.0], [0.0, 0.0, 1.0], of_a, opposite(of_a), of_b, opposite(of_b)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_outputs_is_the_correlation() {
        for outputs in [2, 4] {
            let family: Family<f64> = Family::new(outputs);
            let g = kernel_matrix(&family);
            for fewer in 1..outputs {
                let Matrices { bt, at, a } = family.smaller[fewer - 1];
                let of_output = |output| (0..fewer + 2).map(move |input| [output, input]);
                let of_tap =
                    |[output, input]: [usize; 2]| (0..TAPS).map(move |tap| [output, input, tap]);
                for [output, input, tap] in (0..fewer).flat_map(of_output).flat_map(of_tap) {
                    let sum: f64 =
                        (0..fewer + 2).map(|p| at[output][p] * g[p][tap] * bt[p][input]).sum();
                    let expected = f64::from(u8::from(output + tap == input));
                    assert!((sum - expected).abs() < 1e-12, "{outputs} {fewer}: {sum}");
                }
                for (output, row) in at.iter().enumerate().take(fewer) {
                    assert!(a.iter().zip(row).all(|(column, value)| column[output] == *value));
                }
            }
        }
    }
}
