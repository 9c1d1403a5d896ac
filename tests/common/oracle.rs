//! The definitions, as loops over `f64`. Nothing here is taken from the crate.

use do_conv::{PaddingMode, Pairing};
use ndarray::{Array1, Array3, Array4, ArrayD};

use super::{Inputs, Outputs, Problem};

/// The pixel at each position of a padded axis; none for a zero. Built by laying pixels side by side.
fn padded_axis(len: usize, [near, far]: [usize; 2], mode: PaddingMode) -> Vec<Option<usize>> {
    let mut line: Vec<Option<usize>> = (0..len).map(Some).collect();
    match mode {
        PaddingMode::Zeros => {
            line.splice(0..0, vec![None; near]);
            line.extend(vec![None; far]);
        }
        PaddingMode::Replicate => {
            let (first, last) = (line.first().copied(), line.last().copied());
            line.splice(0..0, vec![first.flatten(); near]);
            line.extend(vec![last.flatten(); far]);
        }
        PaddingMode::Reflect => {
            let before: Vec<_> = (1..=near).rev().map(Some).collect();
            let after: Vec<_> = (0..far).map(|step| Some(len - 2 - step)).collect();
            line.splice(0..0, before);
            line.extend(after);
        }
        PaddingMode::Circular => {
            let before: Vec<_> = (len - near..len).map(Some).collect();
            let after: Vec<_> = (0..far).map(Some).collect();
            line.splice(0..0, before);
            line.extend(after);
        }
    }
    line
}

/// The channel of `D` that goes with `W[o, i]`.
pub fn paired_channel(problem: &Problem, o: usize, i: usize) -> usize {
    let (g, n, r) = (problem.groups, problem.group_inputs(), problem.group_outputs());
    match problem.pairing {
        Pairing::InputChannel => (o / r) * n + i,
        Pairing::PyTorch => (o % g) * n + i,
        Pairing::TensorFlow => i * g + o / r,
    }
}

/// `D` itself.
fn depthwise(problem: &Problem, inputs: &Inputs) -> Array3<f64> {
    let (taps, s) = (problem.taps(), problem.d_mul);
    match &inputs.d_offset {
        // A 1×1 kernel: D is the number 1.
        None => Array3::ones((problem.in_channels, 1, 1)),
        Some(offset) => {
            let mut d = offset.clone();
            for copy in 0..s / taps {
                for tap in 0..taps {
                    for c in 0..problem.in_channels {
                        d[[c, tap, copy * taps + tap]] += 1.0;
                    }
                }
            }
            d
        }
    }
}

/// Solves the problem.
pub fn solve(problem: &Problem, inputs: &Inputs) -> Outputs {
    evaluate(problem, inputs, &depthwise(problem, inputs))
}

/// For each output the sum of the absolute values of the products that it is the sum of.
pub fn absolute_sums(problem: &Problem, inputs: &Inputs) -> Outputs {
    let absolute = Inputs {
        x: inputs.x.mapv(f64::abs),
        d_offset: None,
        w: inputs.w.mapv(f64::abs),
        bias: inputs.bias.as_ref().map(|bias| bias.mapv(f64::abs)),
        dy: inputs.dy.mapv(f64::abs),
    };
    evaluate(problem, &absolute, &depthwise(problem, inputs).mapv(f64::abs))
}

fn evaluate(problem: &Problem, inputs: &Inputs, d: &Array3<f64>) -> Outputs {
    let Problem {
        batch,
        in_channels,
        out_channels,
        kernel_size: [kernel_rows, kernel_cols],
        stride,
        dilation,
        padding,
        mode,
        d_mul,
        image,
        ..
    } = *problem;
    let (n, r, taps) = (problem.group_inputs(), problem.group_outputs(), problem.taps());
    let [out_rows, out_cols] = problem.output().expect("the kernel fits");
    let rows = padded_axis(image[0], padding[0], mode);
    let cols = padded_axis(image[1], padding[1], mode);

    let mut kernel = Array4::<f64>::zeros((out_channels, n, kernel_rows, kernel_cols));
    for ((o, i, m, k), value) in kernel.indexed_iter_mut() {
        for s in 0..d_mul {
            let c = paired_channel(problem, o, i);
            *value += d[[c, m * kernel_cols + k, s]] * inputs.w[[o, i, s]];
        }
    }

    let mut y = Array4::<f64>::zeros((batch, out_channels, out_rows, out_cols));
    let mut dx = Array4::<f64>::zeros((batch, in_channels, image[0], image[1]));
    let mut dkernel = Array4::<f64>::zeros(kernel.raw_dim());
    for ((b, o, row, col), y) in y.indexed_iter_mut() {
        let dy = inputs.dy[[b, o, row, col]];
        *y = inputs.bias.as_ref().map_or(0.0, |bias| bias[o]);
        for i in 0..n {
            let channel = o / r * n + i;
            for m in 0..kernel_rows {
                for k in 0..kernel_cols {
                    let source_row = rows[row * stride[0] + m * dilation[0]];
                    let source_col = cols[col * stride[1] + k * dilation[1]];
                    if let (Some(source_row), Some(source_col)) = (source_row, source_col) {
                        let pixel = [b, channel, source_row, source_col];
                        *y += kernel[[o, i, m, k]] * inputs.x[pixel];
                        dx[pixel] += kernel[[o, i, m, k]] * dy;
                        dkernel[[o, i, m, k]] += dy * inputs.x[pixel];
                    }
                }
            }
        }
    }

    let mut dw = Array3::<f64>::zeros(inputs.w.raw_dim());
    let mut dd = Array3::<f64>::zeros(d.raw_dim());
    for o in 0..out_channels {
        for i in 0..n {
            let c = paired_channel(problem, o, i);
            for tap in 0..taps {
                let gradient = dkernel[[o, i, tap / kernel_cols, tap % kernel_cols]];
                for s in 0..d_mul {
                    dw[[o, i, s]] += d[[c, tap, s]] * gradient;
                    dd[[c, tap, s]] += inputs.w[[o, i, s]] * gradient;
                }
            }
        }
    }

    let mut outputs = vec![
        ("kernel", kernel.into_dyn()),
        ("y", y.into_dyn()),
        ("dx", dx.into_dyn()),
        ("dw", dw.into_dyn()),
    ];
    if taps > 1 {
        outputs.push(("dd_offset", dd.into_dyn()));
    }
    if inputs.bias.is_some() {
        let mut dbias = Array1::<f64>::zeros(out_channels);
        for ((_, o, _, _), &dy) in inputs.dy.indexed_iter() {
            dbias[o] += dy;
        }
        outputs.push(("dbias", dbias.into_dyn()));
    }
    outputs
}

/// The composed kernel, `[O, n, M, N]`.
pub fn kernel(problem: &Problem, inputs: &Inputs) -> ArrayD<f64> {
    let outputs = solve(problem, inputs);
    outputs.into_iter().find(|(name, _)| *name == "kernel").unwrap().1
}
