//! Winograd's algorithms: how far off they may be, and what else they promise.

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod errors;
mod fold;
mod infinite;
mod oracle;
mod promises;
mod setting;

use common::{Inputs, Numbers, Problem};
use do_conv::{Algorithm, Composition, DoConv2d, PaddingMode, Scalar};

/// Winograd's algorithms.
const WINOGRAD: [Algorithm; 2] = [Algorithm::Winograd2, Algorithm::Winograd4];

/// Layers of every kind that the algorithms apply to, large enough to be spread over threads.
fn problems() -> Vec<(&'static str, Problem)> {
    let dense = Problem {
        batch: 3,
        in_channels: 40,
        out_channels: 27,
        image: [15, 14],
        padding: [[1, 1], [1, 1]],
        ..Problem::DENSE
    };
    let with = |mode| Problem { mode, padding: [[2, 1], [0, 3]], ..dense.clone() };
    vec![
        // The transformed kernel never exists as a whole.
        (
            "many channels",
            Problem {
                batch: 2,
                in_channels: 190,
                out_channels: 201,
                image: [9, 7],
                ..dense.clone()
            },
        ),
        (
            "many pixels",
            Problem {
                batch: 2,
                in_channels: 16,
                out_channels: 17,
                image: [61, 70],
                ..dense.clone()
            },
        ),
        ("dilated", Problem { dilation: [2, 3], padding: [[2, 1], [3, 0]], ..dense.clone() }),
        (
            "far dilated",
            Problem {
                dilation: [6, 6],
                padding: [[6, 6], [5, 7]],
                image: [20, 17],
                ..dense.clone()
            },
        ),
        ("small maps", Problem { batch: 30, image: [4, 3], in_channels: 64, ..dense.clone() }),
        ("grouped", Problem { groups: 2, out_channels: 54, ..dense.clone() }),
        ("over-complete", Problem { d_mul: 19, ..dense.clone() }),
        ("unpadded", Problem { padding: [[0, 0], [0, 0]], ..dense.clone() }),
        ("padded far", Problem { padding: [[4, 0], [1, 6]], ..dense.clone() }),
        ("reflected", with(PaddingMode::Reflect)),
        ("replicated", with(PaddingMode::Replicate)),
        ("circular", with(PaddingMode::Circular)),
        ("dense", dense),
    ]
}

fn inputs(problem: &Problem) -> Inputs {
    let mut numbers = Numbers::new(17);
    problem.inputs(|| numbers.real())
}

/// The layer of that algorithm, which applies.
fn layer<T: Scalar>(
    problem: &Problem,
    inputs: &Inputs,
    algorithm: Algorithm,
    composition: Composition,
) -> DoConv2d<T> {
    let layer = DoConv2d::from_parameters(
        problem.config(composition).algorithm(algorithm),
        inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::round_from)),
        inputs.w.mapv(T::round_from),
        inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from)),
    )
    .unwrap();
    assert_eq!(layer.fold().algorithm(inputs.x.dim().into()).unwrap(), algorithm, "{problem:?}");
    layer
}
