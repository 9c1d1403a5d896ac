//! Problems for property tests.

use do_conv::{PaddingMode, Pairing};
use proptest::prelude::*;

use super::Problem;

fn modes() -> impl Strategy<Value = PaddingMode> {
    prop_oneof![
        3 => Just(PaddingMode::Zeros),
        1 => Just(PaddingMode::Reflect),
        1 => Just(PaddingMode::Replicate),
        1 => Just(PaddingMode::Circular),
    ]
}

fn pairings() -> impl Strategy<Value = Pairing> {
    prop_oneof![
        2 => Just(Pairing::InputChannel),
        1 => Just(Pairing::PyTorch),
        1 => Just(Pairing::TensorFlow),
    ]
}

fn pair(range: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = [usize; 2]> {
    [range.clone(), range]
}

/// Any kind of layer on a small input. Images grow until the kernel and the padding fit.
pub fn problem() -> impl Strategy<Value = Problem> {
    let channels = (1..=4usize, 1..=4usize, 1..=4usize);
    let shape = (pair(1..=4), pair(1..=3), pair(1..=3), [pair(0..=3), pair(0..=3)]);
    let rest = (1..=3usize, pair(1..=9), modes(), pairings(), 0..=20usize, any::<bool>());
    (channels, shape, rest).prop_map(|(channels, shape, rest)| {
        let (groups, group_inputs, group_outputs) = channels;
        let (kernel_size, stride, dilation, padding) = shape;
        let (batch, mut image, mode, pairing, more_d_mul, bias) = rest;
        for axis in 0..2 {
            let extent = (kernel_size[axis] - 1) * dilation[axis] + 1;
            let [near, far] = padding[axis];
            let smallest = match mode {
                PaddingMode::Zeros | PaddingMode::Replicate => 1,
                PaddingMode::Reflect => near.max(far) + 1,
                PaddingMode::Circular => near.max(far).max(1),
            };
            image[axis] = image[axis].max(smallest).max(extent.saturating_sub(near + far));
        }
        let taps = kernel_size[0] * kernel_size[1];
        Problem {
            batch,
            in_channels: groups * group_inputs,
            out_channels: groups * group_outputs,
            groups,
            image,
            kernel_size,
            stride,
            dilation,
            padding,
            mode,
            d_mul: if taps == 1 { 1 } else { taps + more_d_mul },
            bias,
            pairing,
        }
    })
}
