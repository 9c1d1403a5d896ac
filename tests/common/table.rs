//! Layers of every kind that each framework has, small: this crate and its adapters are compared on
//! the same ones.

use do_conv::Pairing;

use super::{Inputs, Numbers, Problem};

const DENSE: Problem = Problem::DENSE;

const ONE: [[usize; 2]; 2] = [[1, 1], [1, 1]];

/// Layers by name. Padding is of zeros and the same on both sides of an axis.
pub fn problems() -> Vec<(&'static str, Problem)> {
    let grouped = Problem { in_channels: 6, out_channels: 12, groups: 3, padding: ONE, ..DENSE };
    let depthwise =
        Problem { in_channels: 5, out_channels: 5, groups: 5, padding: ONE, batch: 3, ..DENSE };
    let strided = Problem { stride: [2, 2], padding: ONE, ..DENSE };
    vec![
        ("dense", DENSE),
        ("dense padded, no bias", Problem { padding: ONE, bias: false, ..DENSE }),
        ("one image, one channel", Problem { batch: 1, in_channels: 1, padding: ONE, ..DENSE }),
        ("1×1", Problem { kernel_size: [1, 1], d_mul: 1, ..DENSE }),
        ("1×1 strided", Problem { kernel_size: [1, 1], d_mul: 1, stride: [2, 2], ..DENSE }),
        ("grouped", grouped.clone()),
        ("grouped, PyTorch's pairing", Problem { pairing: Pairing::PyTorch, ..grouped.clone() }),
        (
            "grouped, TensorFlow's pairing, d_mul 13",
            Problem { pairing: Pairing::TensorFlow, d_mul: 13, ..grouped.clone() },
        ),
        ("grouped 1×1", Problem { kernel_size: [1, 1], d_mul: 1, padding: [[0; 2]; 2], ..grouped }),
        ("depthwise", depthwise.clone()),
        ("depthwise, no bias", Problem { bias: false, stride: [2, 2], ..depthwise.clone() }),
        ("depthwise, multiplier 3", Problem { out_channels: 15, ..depthwise.clone() }),
        (
            "depthwise, multiplier 2, PyTorch's pairing",
            Problem { out_channels: 10, pairing: Pairing::PyTorch, ..depthwise },
        ),
        ("dilated", Problem { dilation: [2, 2], padding: [[2, 2], [2, 2]], ..DENSE }),
        ("strided, all rows read", strided.clone()),
        ("strided, one row and one column over", Problem { image: [10, 10], ..strided.clone() }),
        ("strided, one row over", Problem { image: [10, 9], ..strided.clone() }),
        ("strided, one column over", Problem { image: [9, 10], ..strided.clone() }),
        (
            "stride 3, two rows and one column over",
            Problem { stride: [3, 3], image: [12, 11], ..strided.clone() },
        ),
        ("stride longer than the kernel", Problem { stride: [4, 4], image: [11, 14], ..DENSE }),
        ("strided and dilated", Problem { dilation: [2, 2], image: [12, 9], ..strided }),
        ("image not square", Problem { image: [5, 13], padding: ONE, ..DENSE }),
        (
            "kernel not square",
            Problem { kernel_size: [3, 5], d_mul: 15, padding: [[1, 1], [2, 2]], ..DENSE },
        ),
        ("kernel of one row", Problem { kernel_size: [1, 4], d_mul: 4, ..DENSE }),
        ("even kernel", Problem { kernel_size: [2, 2], d_mul: 4, padding: ONE, ..DENSE }),
        ("d_mul 10", Problem { d_mul: 10, ..DENSE }),
        ("d_mul 3·MN + 1", Problem { kernel_size: [2, 2], d_mul: 13, ..DENSE }),
        ("padding wider than the kernel", Problem { padding: [[4, 4], [3, 3]], ..DENSE }),
        (
            "every axis on its own",
            Problem {
                stride: [2, 1],
                dilation: [1, 2],
                padding: [[0, 0], [2, 2]],
                image: [8, 7],
                ..DENSE
            },
        ),
    ]
}

/// The same layers, with inputs of their own.
pub fn cases() -> impl Iterator<Item = (&'static str, Problem, Inputs)> {
    problems().into_iter().enumerate().map(|(seed, (name, problem))| {
        let mut numbers = Numbers::new(seed as u64);
        let inputs = problem.inputs(|| numbers.real());
        (name, problem, inputs)
    })
}

/// Grouped layers of every pairing by names for a file, with whole numbers for parameters, whose sums are
/// exact in any order and any type.
pub fn paired() -> impl Iterator<Item = (String, Problem, Inputs)> {
    let sizes = [
        // Several outputs a group, a depthwise multiplier, one output a group.
        (16, 4, [3, 3], 9),
        (16, 8, [3, 3], 11),
        (4, 4, [2, 3], 7),
    ];
    let mut numbers = Numbers::new(31);
    Pairing::ALL.into_iter().flat_map(move |pairing| sizes.map(|size| (pairing, size))).map(
        move |(pairing, (out_channels, groups, kernel_size, d_mul))| {
            let problem = Problem {
                in_channels: 8,
                out_channels,
                groups,
                kernel_size,
                d_mul,
                pairing,
                ..DENSE
            };
            let inputs = problem.inputs(|| numbers.integer(3));
            (format!("{}.{groups}to{out_channels}", pairing.name()), problem, inputs)
        },
    )
}
