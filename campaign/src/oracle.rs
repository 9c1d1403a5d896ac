//! What a layer must compute, by its definition: a direct loop nest that shares nothing with the crate.
//! Over `i64` it is exact.

use std::ops::{Add, AddAssign, Mul};

use do_conv::{PaddingMode, Pairing};

use crate::case::Case;

/// What the oracle computes with.
pub trait Number:
    Copy + Default + Add<Output = Self> + AddAssign + Mul<Output = Self> + From<i8>
{
}

impl Number for i64 {}
impl Number for f64 {}

/// The arrays that go into a case, in row-major order. `offset` is empty for a 1×1 kernel, `bias` for a
/// layer without.
#[derive(Debug, Clone)]
pub struct Inputs<N> {
    /// `[B, I, H, W]`.
    pub x: Vec<N>,
    /// `[I, M·N, S]`.
    pub offset: Vec<N>,
    /// `[O, I/g, S]`.
    pub w: Vec<N>,
    /// `[O]`.
    pub bias: Vec<N>,
    /// `[B, O, OH, OW]`.
    pub dy: Vec<N>,
}

impl Inputs<i64> {
    /// The same as real numbers.
    pub fn widen(&self) -> Inputs<f64> {
        let wide = |values: &[i64]| values.iter().map(|&value| value as f64).collect();
        let Self { x, offset, w, bias, dy } = self;
        Inputs { x: wide(x), offset: wide(offset), w: wide(w), bias: wide(bias), dy: wide(dy) }
    }
}

/// What comes out, in row-major order.
#[derive(Debug, Clone)]
pub struct Solution<N> {
    /// `[O, I/g, M, N]`.
    pub kernel: Vec<N>,
    /// `[B, O, OH, OW]`.
    pub y: Vec<N>,
    /// As `x`.
    pub dx: Vec<N>,
    /// As `kernel`.
    pub dkernel: Vec<N>,
    /// As `w`.
    pub dw: Vec<N>,
    /// As `offset`.
    pub doffset: Vec<N>,
    /// As `bias`.
    pub dbias: Vec<N>,
}

/// The pixel at `position` of an axis of `len` pixels, none for a zero.
pub fn pixel(position: i64, len: i64, mode: PaddingMode) -> Option<usize> {
    let mut position = position;
    match mode {
        PaddingMode::Zeros if position < 0 || position >= len => return None,
        PaddingMode::Zeros => {}
        PaddingMode::Replicate => position = position.max(0).min(len - 1),
        PaddingMode::Circular => position = position.rem_euclid(len),
        PaddingMode::Reflect => {
            while position < 0 || position >= len {
                position = if position < 0 { -position } else { 2 * (len - 1) - position };
            }
        }
    }
    Some(position as usize)
}

/// For each tap of an axis the pixel that each output position reads.
fn reads(case: &Case, axis: usize, outputs: usize) -> Vec<Vec<Option<usize>>> {
    let position = |tap: usize, output: usize| {
        (output * case.stride[axis] + tap * case.dilation[axis]) as i64
            - case.padding[axis][0] as i64
    };
    let len = case.image[axis] as i64;
    (0..case.kernel[axis])
        .map(|tap| (0..outputs).map(|out| pixel(position(tap, out), len, case.mode)).collect())
        .collect()
}

/// The channel of `D` that goes with `W[o, i]`.
pub fn paired_channel(case: &Case, o: usize, i: usize) -> usize {
    let (g, n, r) = (case.groups, case.inputs, case.outputs);
    match case.pairing {
        Pairing::InputChannel => o / r * n + i,
        Pairing::PyTorch => o % g * n + i,
        Pairing::TensorFlow => i * g + o / r,
    }
}

/// `D = d_offset + E`; ones for a 1×1 kernel, which has none.
pub fn depthwise<N: Number>(case: &Case, offset: &[N]) -> Vec<N> {
    let (taps, s) = (case.taps(), case.depth());
    if taps == 1 {
        return vec![N::from(1); case.in_channels()];
    }
    let mut d = offset.to_vec();
    for (index, value) in d.iter_mut().enumerate() {
        let (column, tap) = (index % s, index / s % taps);
        if column % taps == tap && column < s / taps * taps {
            *value += N::from(1);
        }
    }
    d
}

/// Solves a case whose kernel fits its image.
pub fn solve<N: Number>(case: &Case, inputs: &Inputs<N>) -> Solution<N> {
    evaluate(case, inputs, &depthwise(case, &inputs.offset))
}

/// Solves a case for a `D` that is given, in place of `inputs.offset`.
pub fn evaluate<N: Number>(case: &Case, inputs: &Inputs<N>, d: &[N]) -> Solution<N> {
    let zeros = |len: usize| vec![N::default(); len];
    let (taps, s, n) = (case.taps(), case.depth(), case.inputs);
    let mut kernel = zeros(case.out_channels() * n * taps);
    for o in 0..case.out_channels() {
        for i in 0..n {
            let c = paired_channel(case, o, i);
            for tap in 0..taps {
                for k in 0..s {
                    kernel[(o * n + i) * taps + tap] +=
                        d[(c * taps + tap) * s + k] * inputs.w[(o * n + i) * s + k];
                }
            }
        }
    }
    let mut solution = convolve(case, &inputs.x, &kernel, &inputs.bias, &inputs.dy);
    (solution.dw, solution.doffset) = adjoint(case, &inputs.w, d, &solution.dkernel);
    solution
}

/// The gradients of `W` and of `d_offset` that follow from the kernel's.
pub fn adjoint<N: Number>(case: &Case, w: &[N], d: &[N], dkernel: &[N]) -> (Vec<N>, Vec<N>) {
    let (taps, s, n) = (case.taps(), case.depth(), case.inputs);
    let mut dw = vec![N::default(); w.len()];
    let offsets = if taps == 1 { 0 } else { case.in_channels() * taps * s };
    let mut doffset = vec![N::default(); offsets];
    for o in 0..case.out_channels() {
        for i in 0..n {
            let c = paired_channel(case, o, i);
            for tap in 0..taps {
                let gradient = dkernel[(o * n + i) * taps + tap];
                for k in 0..s {
                    dw[(o * n + i) * s + k] += d[(c * taps + tap) * s + k] * gradient;
                    if taps > 1 {
                        doffset[(c * taps + tap) * s + k] += w[(o * n + i) * s + k] * gradient;
                    }
                }
            }
        }
    }
    (dw, doffset)
}

/// The plain convolution by a kernel; leaves the gradients of `W` and `D` empty.
pub fn convolve<N: Number>(
    case: &Case,
    x: &[N],
    kernel: &[N],
    bias: &[N],
    dy: &[N],
) -> Solution<N> {
    let zeros = |len: usize| vec![N::default(); len];
    let [out_rows, out_cols] = case.output().expect("the kernel fits");
    let (rows, cols) = (reads(case, 0, out_rows), reads(case, 1, out_cols));
    let [height, width] = case.image;
    let (n, taps) = (case.inputs, case.taps());
    let mut solution = Solution {
        kernel: kernel.to_vec(),
        y: zeros(case.batch * case.out_channels() * out_rows * out_cols),
        dx: zeros(case.batch * case.in_channels() * height * width),
        dkernel: zeros(kernel.len()),
        dw: Vec::new(),
        doffset: Vec::new(),
        dbias: zeros(bias.len()),
    };
    for image in 0..case.batch {
        for o in 0..case.out_channels() {
            let plane = (image * case.out_channels() + o) * out_rows * out_cols;
            if let Some(&bias) = bias.get(o) {
                let plane = plane..plane + out_rows * out_cols;
                solution.y[plane.clone()].iter_mut().for_each(|y| *y += bias);
                dy[plane].iter().for_each(|&dy| solution.dbias[o] += dy);
            }
            for i in 0..n {
                let channel = image * case.in_channels() + o / case.outputs * n + i;
                for tap in 0..taps {
                    let weight = (o * n + i) * taps + tap;
                    let (tap_row, tap_col) = (tap / case.kernel[1], tap % case.kernel[1]);
                    for (row, from_row) in rows[tap_row].iter().enumerate() {
                        let Some(from_row) = *from_row else { continue };
                        for (col, from_col) in cols[tap_col].iter().enumerate() {
                            let Some(from_col) = *from_col else { continue };
                            let from = (channel * height + from_row) * width + from_col;
                            let to = plane + row * out_cols + col;
                            solution.y[to] += kernel[weight] * x[from];
                            solution.dx[from] += kernel[weight] * dy[to];
                            solution.dkernel[weight] += dy[to] * x[from];
                        }
                    }
                }
            }
        }
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_row(width: usize, kernel: usize) -> Case {
        Case { image: [1, width], kernel: [1, kernel], bias: false, ..Case::default() }
    }

    fn row(case: &Case, x: &[i64], kernel: &[i64], dy: &[i64]) -> Solution<i64> {
        convolve(case, x, kernel, &[], dy)
    }

    #[test]
    fn a_row_is_correlated() {
        let got = row(&one_row(4, 2), &[1, 2, 3, 4], &[10, 1], &[1, 0, 2]);
        assert_eq!(got.y, [12, 23, 34]);
        assert_eq!(got.dx, [10, 1, 20, 2]);
        assert_eq!(got.dkernel, [1 + 2 * 3, 2 + 2 * 4]);
    }

    #[test]
    fn each_mode_continues_a_row() {
        for (mode, expected) in [
            (PaddingMode::Zeros, [0, 0, 1, 2, 3, 0]),
            (PaddingMode::Replicate, [1, 1, 1, 2, 3, 3]),
            (PaddingMode::Reflect, [3, 2, 1, 2, 3, 2]),
            (PaddingMode::Circular, [2, 3, 1, 2, 3, 1]),
        ] {
            let case = Case { padding: [[0, 0], [2, 1]], mode, ..one_row(3, 1) };
            assert_eq!(row(&case, &[1, 2, 3], &[1], &[0; 6]).y, expected, "{mode:?}");
        }
    }

    #[test]
    fn steps_and_distances_of_taps() {
        let case = Case { stride: [1, 3], dilation: [1, 2], ..one_row(6, 2) };
        assert_eq!(row(&case, &[1, 2, 3, 4, 5, 6], &[1, 100], &[1, 1]).y, [301, 604]);
        // Rows come before columns in a kernel.
        let case = Case { image: [2, 2], kernel: [2, 2], bias: true, ..Case::default() };
        let got = convolve(&case, &[1, 2, 3, 4], &[1000, 100, 10, 1], &[5], &[2]);
        assert_eq!((got.y, got.dbias), (vec![1239], vec![2]));
    }

    #[test]
    fn groups_read_their_channels() {
        let case =
            Case { groups: 2, image: [1, 1], kernel: [1, 1], bias: false, ..Case::default() };
        let case = Case { outputs: 2, ..case };
        let got = convolve(&case, &[1, 10], &[1, 2, 3, 4], &[], &[1, 1, 1, 1]);
        assert_eq!(got.y, [1, 2, 30, 40]);
        assert_eq!(got.dx, [3, 7]);
    }

    #[test]
    fn the_identity_repeats_and_stops() {
        let case = Case { kernel: [1, 2], extra: 3, ..Case::default() };
        assert_eq!(depthwise(&case, &[0i64; 10]), [1, 0, 1, 0, 0, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn depth_is_composed() {
        // D = [[1 + 1, 2], [3, 1]], W = [5, 7]: W' = [24, 22], by hand.
        let case = one_row(2, 2);
        let inputs = Inputs {
            x: vec![1, 1],
            offset: vec![1, 2, 3, 0],
            w: vec![5, 7],
            bias: vec![],
            dy: vec![2],
        };
        let got = solve(&case, &inputs);
        assert_eq!((got.kernel, got.y), (vec![24, 22], vec![46]));
        assert_eq!(got.dkernel, [2, 2]);
        assert_eq!(got.dw, [2 * 2 + 3 * 2, 2 * 2 + 2]);
        assert_eq!(got.doffset, [10, 14, 10, 14]);
    }

    #[test]
    fn pairings_differ() {
        let case = Case { groups: 2, inputs: 2, outputs: 2, ..Case::default() };
        let channels = |pairing| {
            let case = Case { pairing, ..case.clone() };
            let pairs = (0..4).flat_map(|o| [(o, 0), (o, 1)]);
            pairs.map(|(o, i)| paired_channel(&case, o, i)).collect::<Vec<_>>()
        };
        assert_eq!(channels(Pairing::InputChannel), [0, 1, 0, 1, 2, 3, 2, 3]);
        assert_eq!(channels(Pairing::PyTorch), [0, 1, 2, 3, 0, 1, 2, 3]);
        assert_eq!(channels(Pairing::TensorFlow), [0, 2, 0, 2, 1, 3, 1, 3]);
    }
}
