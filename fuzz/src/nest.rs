//! What a layer computes, by its definition: axes are padded as it is said of each mode, then read. Of
//! integers it is exact.

use do_conv::{DoConv2dConfig, Padding, PaddingMode, Pairing};
use ndarray::{Array1, Array3, Array4};

/// What goes in.
pub struct Given {
    /// `[B, I, H, W]`.
    pub x: Array4<f64>,
    /// `[I, M·N, S]`, none for a 1×1 kernel.
    pub offset: Option<Array3<f64>>,
    /// `[O, I/g, S]`.
    pub w: Array3<f64>,
    /// `[O]`.
    pub bias: Option<Array1<f64>>,
    /// `[B, O, OH, OW]`.
    pub dy: Array4<f64>,
}

/// What comes out.
pub struct Found {
    /// `[O, I/g, M, N]`.
    pub weight: Array4<f64>,
    /// `[B, O, OH, OW]`.
    pub y: Array4<f64>,
    /// As `x`.
    pub dx: Array4<f64>,
    /// As `weight`.
    pub dweight: Array4<f64>,
    /// As `w`.
    pub dw: Array3<f64>,
    /// `[I, M·N, S]`.
    pub doffset: Array3<f64>,
    /// `[O]`.
    pub dbias: Array1<f64>,
}

/// By position of a padded axis of `len` pixels, the pixel that stands there; none for a zero.
fn padded(len: usize, [near, far]: [usize; 2], mode: PaddingMode) -> Vec<Option<usize>> {
    let before = (1..=near).rev().map(|distance| match mode {
        PaddingMode::Zeros => None,
        PaddingMode::Reflect => Some(distance),
        PaddingMode::Replicate => Some(0),
        PaddingMode::Circular => Some(len - distance),
    });
    let after = (1..=far).map(|distance| match mode {
        PaddingMode::Zeros => None,
        PaddingMode::Reflect => Some(len - 1 - distance),
        PaddingMode::Replicate => Some(len - 1),
        PaddingMode::Circular => Some(distance - 1),
    });
    before.chain((0..len).map(Some)).chain(after).collect()
}

/// Computes a layer and its gradients.
pub fn solve(config: &DoConv2dConfig, given: &Given) -> Found {
    let conv = &config.conv;
    let (outputs, inputs, depth) = given.w.dim();
    let ([rows, cols], [dilation_rows, dilation_cols]) = (conv.kernel_size, conv.dilation);
    let (taps, groups) = (rows * cols, conv.groups);
    let group_outputs = outputs / groups;
    let sides = match conv.padding {
        Padding::Valid => [[0; 2]; 2],
        Padding::Explicit(sides) => sides,
        Padding::Same => [(rows - 1) * dilation_rows, (cols - 1) * dilation_cols]
            .map(|both| [both / 2, both.div_ceil(2)]),
    };
    let (batch, _, height, width) = given.x.dim();
    let from_rows = padded(height, sides[0], conv.padding_mode);
    let from_cols = padded(width, sides[1], conv.padding_mode);

    // `D[c, m, s]`, of which a 1×1 kernel's is one.
    let d = |c: usize, m: usize, s: usize| match &given.offset {
        None => 1.0,
        Some(offset) => {
            let identity = s % taps == m && s < depth / taps * taps;
            offset[[c, m, s]] + f64::from(u8::from(identity))
        }
    };
    let channel = |o: usize, i: usize| match config.pairing {
        Pairing::InputChannel => o / group_outputs * inputs + i,
        Pairing::PyTorch => o % groups * inputs + i,
        Pairing::TensorFlow => i * groups + o / group_outputs,
    };
    let weight = Array4::from_shape_fn((outputs, inputs, rows, cols), |(o, i, row, col)| {
        let (c, m) = (channel(o, i), row * cols + col);
        (0..depth).map(|s| d(c, m, s) * given.w[[o, i, s]]).sum()
    });

    let mut found = Found {
        y: Array4::zeros(given.dy.dim()),
        dx: Array4::zeros(given.x.dim()),
        dweight: Array4::zeros(weight.dim()),
        dw: Array3::zeros(given.w.dim()),
        doffset: Array3::zeros((inputs * groups, taps, depth)),
        dbias: Array1::zeros(outputs),
        weight,
    };
    let (_, _, out_rows, out_cols) = given.dy.dim();
    for (b, o, row, col) in ndarray::indices((batch, outputs, out_rows, out_cols)) {
        let dy = given.dy[[b, o, row, col]];
        found.dbias[o] += dy;
        let mut sum = given.bias.as_ref().map_or(0.0, |bias| bias[o]);
        for (i, tap_row, tap_col) in ndarray::indices((inputs, rows, cols)) {
            let from_row = from_rows[row * conv.stride[0] + tap_row * dilation_rows];
            let from_col = from_cols[col * conv.stride[1] + tap_col * dilation_cols];
            if let (Some(from_row), Some(from_col)) = (from_row, from_col) {
                let from = [b, o / group_outputs * inputs + i, from_row, from_col];
                let tap = [o, i, tap_row, tap_col];
                sum += found.weight[tap] * given.x[from];
                found.dx[from] += found.weight[tap] * dy;
                found.dweight[tap] += given.x[from] * dy;
            }
        }
        found.y[[b, o, row, col]] = sum;
    }
    for ((o, i, row, col), &dweight) in found.dweight.indexed_iter() {
        let (c, m) = (channel(o, i), row * cols + col);
        for s in 0..depth {
            found.dw[[o, i, s]] += d(c, m, s) * dweight;
            found.doffset[[c, m, s]] += given.w[[o, i, s]] * dweight;
        }
    }
    found
}
