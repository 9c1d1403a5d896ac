//! Makes cases, and makes them smaller.

use do_conv::{Algorithm, Composition, PaddingMode, Pairing};

use crate::case::{Case, THREADS};
use crate::draw::Draw;

/// Multiply-accumulates that a case may have.
pub const MOST_PRODUCTS: usize = 2_000_000;

/// Any layer on any input of few enough products. Once in twenty the image may be too small for it.
pub fn case(draw: &mut Draw) -> Case {
    let (groups, inputs, outputs) = match draw.below(8) {
        0 | 1 => (1, draw.within(1..=8), draw.within(1..=12)),
        2 => (1, draw.within(1..=70), draw.within(1..=70)),
        3 | 4 => (draw.within(2..=4), draw.within(1..=5), draw.within(1..=9)),
        5 => (draw.within(1..=40), 1, 1),
        _ => (draw.within(1..=20), 1, draw.within(2..=4)),
    };
    let long = draw.once_in(30);
    let side =
        |draw: &mut Draw| if draw.once_in(4) { draw.within(0..=4) } else { draw.within(0..=40) };
    let mut image = [side(draw), side(draw)];
    if long {
        image = [draw.within(1..=3), draw.within(1..=200_000)];
    }
    let kernel_side = |draw: &mut Draw| match draw.below(8) {
        0..=3 => draw.pick(&[1, 3, 3, 5]),
        4..=6 => draw.within(1..=7),
        _ => draw.within(1..=31),
    };
    let step = |draw: &mut Draw, most: usize| match draw.below(5) {
        0 | 1 => 1,
        2 => 2,
        _ => draw.within(1..=most),
    };
    let side_padding = |draw: &mut Draw| match draw.below(6) {
        0 | 1 => 0,
        2..=4 => draw.within(0..=5),
        _ => draw.within(0..=60),
    };
    let mut case = Case {
        batch: draw.pick(&[0, 1, 1, 1, 2, 2, 3, 4, 7]),
        groups,
        inputs,
        outputs,
        image,
        kernel: [kernel_side(draw), kernel_side(draw)],
        stride: [step(draw, 9), step(draw, 9)],
        dilation: [step(draw, 5), step(draw, 5)],
        padding: [0, 1].map(|_| [side_padding(draw), side_padding(draw)]),
        mode: draw.pick(&[
            PaddingMode::Zeros,
            PaddingMode::Zeros,
            PaddingMode::Reflect,
            PaddingMode::Replicate,
            PaddingMode::Circular,
        ]),
        extra: 0,
        pairing: draw.pick(&Pairing::ALL),
        composition: draw.pick(&[Composition::Kernel, Composition::Feature, Composition::Auto]),
        algorithm: Algorithm::Direct,
        bias: !draw.once_in(4),
        double: draw.once_in(3),
        threads: draw.pick(&THREADS),
        layout: if draw.once_in(3) { 0 } else { draw.next() | 1 },
        values: draw.next() >> 32,
    };
    if long && draw.once_in(2) {
        case.image.reverse();
    }
    if draw.once_in(3) {
        // What the kernels for stride 1 and whole rows are chosen for.
        (case.stride, case.dilation) = ([1, 1], [1, 1]);
    }
    case.algorithm = draw.pick(&Algorithm::ALL);
    let winograd = case.algorithm != Algorithm::Direct && !draw.once_in(3);
    if winograd {
        // What Winograd's algorithms are for.
        (case.kernel, case.stride, case.composition) = ([3, 3], [1, 1], Composition::Kernel);
        (case.groups, case.batch) = (draw.pick(&[1, 1, 2]), draw.within(1..=2));
        (case.inputs, case.outputs) = (draw.within(1..=40), draw.within(1..=40));
        case.image = [draw.within(1..=20), draw.within(1..=20)];
    }
    if draw.once_in(2) {
        case.extra = draw.within(0..=2 * case.taps());
    }
    if !draw.once_in(20) {
        fit(&mut case);
    }
    let most = if winograd || draw.once_in(4) { MOST_PRODUCTS } else { MOST_PRODUCTS / 10 };
    limit(&mut case, most);
    if !case.is_layer() && !draw.once_in(20) {
        case.composition = Composition::Auto;
    }
    case
}

/// Less padding, and then a smaller kernel, until the image is large enough.
fn fit(case: &mut Case) {
    for axis in 0..2 {
        let image = case.image[axis];
        let most = match case.mode {
            PaddingMode::Zeros => usize::MAX,
            PaddingMode::Reflect => image.saturating_sub(1),
            PaddingMode::Circular => image,
            PaddingMode::Replicate if image == 0 => 0,
            PaddingMode::Replicate => usize::MAX,
        };
        case.padding[axis] = case.padding[axis].map(|side| side.min(most));
        let padded = case.padding[axis].iter().sum::<usize>() + image;
        if padded == 0 {
            case.image[axis] = 1;
        }
        let padded = padded.max(1);
        if (case.kernel[axis] - 1) * case.dilation[axis] + 1 > padded {
            case.dilation[axis] = 1;
            case.kernel[axis] = case.kernel[axis].min(padded);
        }
    }
}

/// Halves the largest size until there are few enough products.
fn limit(case: &mut Case, most: usize) {
    while case.products() > most {
        let fits = case.output().is_some();
        let [rows, cols] = case.y_shape()[2..] else { unreachable!("an image has two sides") };
        // A kernel is as many products as it has taps, squared with its depth.
        let sizes = [
            case.batch,
            case.inputs,
            case.outputs,
            case.groups,
            case.image[0].max(rows),
            case.image[1].max(cols),
            3 * case.kernel[0],
            3 * case.kernel[1],
        ];
        let largest = (0..sizes.len()).max_by_key(|&index| sizes[index]).unwrap_or(0);
        let halve = |size: &mut usize| *size = size.div_ceil(2);
        match largest {
            0 => halve(&mut case.batch),
            1 => halve(&mut case.inputs),
            2 => halve(&mut case.outputs),
            3 => halve(&mut case.groups),
            4 | 5 => {
                let axis = largest - 4;
                let [near, far] = case.padding[axis];
                if case.image[axis] > near.max(far) {
                    halve(&mut case.image[axis]);
                } else {
                    case.padding[axis] = [near / 2, far / 2];
                }
            }
            _ => halve(&mut case.kernel[largest - 6]),
        }
        case.extra = case.extra.min(2 * case.taps());
        if fits {
            fit(case);
        }
    }
}

/// Cases a step smaller than this one, the largest steps first.
pub fn smaller(case: &Case) -> Vec<Case> {
    let plain = Case::default();
    let mut found = Vec::new();
    let mut add = |smaller: Case| {
        if smaller != *case {
            found.push(smaller);
        }
    };
    add(Case { layout: 0, ..case.clone() });
    add(Case { threads: 1, ..case.clone() });
    add(Case { double: false, ..case.clone() });
    add(Case { bias: false, ..case.clone() });
    add(Case { mode: plain.mode, ..case.clone() });
    add(Case { pairing: plain.pairing, ..case.clone() });
    add(Case { composition: plain.composition, ..case.clone() });
    add(Case { algorithm: plain.algorithm, ..case.clone() });
    add(Case { values: 0, ..case.clone() });
    // Each size, and the least it may be.
    type Size = (usize, fn(&mut Case) -> &mut usize);
    let sizes: [Size; 18] = [
        (0, |case| &mut case.batch),
        (1, |case| &mut case.groups),
        (1, |case| &mut case.inputs),
        (1, |case| &mut case.outputs),
        (0, |case| &mut case.extra),
        (0, |case| &mut case.image[0]),
        (0, |case| &mut case.image[1]),
        (1, |case| &mut case.kernel[0]),
        (1, |case| &mut case.kernel[1]),
        (1, |case| &mut case.dilation[0]),
        (1, |case| &mut case.dilation[1]),
        (1, |case| &mut case.stride[0]),
        (1, |case| &mut case.stride[1]),
        (0, |case| &mut case.padding[0][0]),
        (0, |case| &mut case.padding[0][1]),
        (0, |case| &mut case.padding[1][0]),
        (0, |case| &mut case.padding[1][1]),
        (1, |case| &mut case.threads),
    ];
    for (least, size) in sizes {
        let present = *size(&mut case.clone());
        for next in [least, present / 2, present.saturating_sub(1)] {
            if next >= least && next < present {
                let mut smaller = case.clone();
                *size(&mut smaller) = next;
                add(smaller);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_varied_and_small() {
        let cases: Vec<Case> =
            (0..2000).map(|index| case(&mut Draw::new(3, "test", index))).collect();
        assert!(cases.iter().all(|case| case.products() <= MOST_PRODUCTS));
        let fitting = cases.iter().filter(|case| case.output().is_some()).count();
        assert!((1700..2000).contains(&fitting), "{fitting} cases have an output");
        assert!(cases.iter().any(|case| case.image[1] > 20_000));
        assert!(cases.iter().any(|case| case.kernel[0] > 20));
        let winograd = cases.iter().filter(|case| {
            case.algorithm != Algorithm::Direct && case.kernel == [3, 3] && case.inputs > 16
        });
        assert!(winograd.count() > 100);
        assert!(cases.iter().any(|case| case.image[0] == 0 && case.output().is_some()));
    }

    #[test]
    fn smaller_cases_are_smaller() {
        let case = case(&mut Draw::new(3, "test", 5));
        let smaller = smaller(&case);
        assert!(smaller.iter().all(|smaller| *smaller != case));
        assert!(
            super::smaller(&Case { batch: 0, image: [0, 0], bias: false, ..Case::default() })
                .is_empty()
        );
    }
}
