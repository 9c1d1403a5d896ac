//! Folding: batch norm into the convolution before it, the check that a fold is its source, and
//! what each form of a layer costs and prints.

mod batch_norm;
mod check;
#[path = "../common/mod.rs"]
mod common;
mod cost;

use common::{Inputs, Numbers, Outputs, Problem};
use do_conv::{PaddingMode, Pairing};
use ndarray::Array4;

/// 2 images of 6 channels to 12 channels, stride 2 by 1, in `groups` groups.
fn problem(groups: usize, pairing: Pairing) -> Problem {
    Problem {
        in_channels: 6,
        out_channels: 12,
        groups,
        image: [7, 6],
        kernel_size: [3, 2],
        stride: [2, 1],
        dilation: [1, 2],
        padding: [[1, 0], [2, 1]],
        d_mul: 8,
        pairing,
        ..Problem::DENSE
    }
}

/// Every variant with every pairing: one group, grouped, depthwise with and without a multiplier,
/// and 1×1.
fn problems() -> Vec<Problem> {
    let mut problems = Vec::new();
    for pairing in Pairing::ALL {
        for groups in [1, 2, 3, 6] {
            problems.push(problem(groups, pairing));
        }
        problems.push(Problem { out_channels: 6, ..problem(6, pairing) });
        problems.push(Problem { bias: false, d_mul: 13, ..problem(2, pairing) });
        problems.push(Problem { mode: PaddingMode::Reflect, ..problem(3, pairing) });
        problems.push(Problem { kernel_size: [1, 1], d_mul: 1, ..problem(2, pairing) });
    }
    problems
}

/// Inputs whose every number is exact in `f32`.
fn inputs(problem: &Problem) -> Inputs {
    let mut numbers = Numbers::new(problem.groups as u64);
    problem.inputs(|| numbers.real())
}

/// One of the four-dimensional outputs.
fn output(outputs: Outputs, name: &str) -> Array4<f64> {
    let (_, array) = outputs.into_iter().find(|(found, _)| *found == name).unwrap();
    array.into_dimensionality().unwrap()
}
