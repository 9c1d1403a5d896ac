//! What isn't finite reaches the outputs whose tiles may read it, and no bit of any other.

use do_conv::Composition;
use ndarray::Array4;

use crate::common::Problem;
use crate::oracle::Case;
use crate::{WINOGRAD, inputs, layer, problems};

fn case(problem: &Problem) -> Case {
    Case {
        batch: problem.batch,
        groups: problem.groups,
        channels: [problem.group_inputs(), problem.group_outputs()],
        image: problem.image,
        dilation: problem.dilation,
        padding: problem.padding,
        mode: problem.mode,
    }
}

/// Which outputs may read a pixel of an axis: those of tiles of `outputs` outputs, wherever they begin, and of
/// the definition.
fn readers(case: &Case, axis: usize, pixel: usize, outputs: usize) -> Vec<[bool; 2]> {
    let (places, step) = (case.places(axis), case.dilation[axis] as i64);
    let reads = |output: usize, from: i64, to: i64| {
        (from..=to).any(|k| {
            let place = usize::try_from(output as i64 + k * step).ok();
            place.and_then(|place| places.get(place)).is_some_and(|at| *at == Some(pixel))
        })
    };
    let m = outputs as i64;
    (0..case.output()[axis]).map(|o| [reads(o, 1 - m, m + 1), reads(o, 0, 2)]).collect()
}

/// Asserts that `got` is `clean` but where it may be changed, and isn't finite where it must not be.
fn compare(
    what: &str,
    got: &Array4<f32>,
    clean: &Array4<f32>,
    changes: impl Fn([usize; 4]) -> [bool; 2],
) {
    for ((index, got), clean) in got.indexed_iter().zip(clean) {
        let [may, must] = changes(index.into());
        assert!(may || got.to_bits() == clean.to_bits(), "{what}: {index:?} is {got}, not {clean}");
        assert!(!must || !got.is_finite(), "{what}: {index:?} is {got}");
    }
}

#[test]
fn outputs_of_tiles_that_read_only_finite_pixels_keep_their_bits() {
    for (name, problem) in problems() {
        let (inputs, case) = (inputs(&problem), case(&problem));
        let [n, r] = case.channels;
        let x = inputs.x.mapv(|x| x as f32);
        for (algorithm, outputs) in WINOGRAD.into_iter().zip([2, 4]) {
            let conv = layer::<f32>(&problem, &inputs, algorithm, Composition::Kernel).fold();
            let clean = conv.forward(&x).unwrap();
            let [height, width] = problem.image;
            for (bad, [row, col]) in [
                (f32::NAN, [height / 2, width / 2]),
                (f32::INFINITY, [0, width - 1]),
                (f32::NEG_INFINITY, [height - 1, 1]),
            ] {
                let (image, channel) = (problem.batch - 1, problem.in_channels / 2);
                let mut x = x.clone();
                x[[image, channel, row, col]] = bad;
                let y = conv.forward(&x).unwrap();
                let rows = readers(&case, 0, row, outputs);
                let cols = readers(&case, 1, col, outputs);
                compare(&format!("{name}, {algorithm}, {bad}"), &y, &clean, |[b, o, row, col]| {
                    let concerns = b == image && o / r == channel / n;
                    [0, 1].map(|which| concerns && rows[row][which] && cols[col][which])
                });
                assert!(y.iter().any(|y| !y.is_finite()), "{name}");
            }
        }
    }
}

#[test]
fn gradients_of_pixels_whose_tiles_read_only_finite_gradients_keep_their_bits() {
    for (name, problem) in problems() {
        let (inputs, case) = (inputs(&problem), case(&problem));
        let [n, r] = case.channels;
        let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
        let places = [case.places(0), case.places(1)];
        for (algorithm, outputs) in WINOGRAD.into_iter().zip([2i64, 4]) {
            let conv = layer::<f32>(&problem, &inputs, algorithm, Composition::Kernel).fold();
            let clean = conv.backward(&x, &dy).unwrap().x.unwrap();
            let [height, width] = case.output();
            for (bad, at) in [(f32::NAN, [height / 2, width / 2]), (f32::INFINITY, [0, width - 1])]
            {
                let (image, channel) = (problem.batch - 1, problem.out_channels / 2);
                let mut dy = dy.clone();
                dy[[image, channel, at[0], at[1]]] = bad;
                let dx = conv.backward(&x, &dy).unwrap().x.unwrap();
                // The pixels that tiles of the gradient may give the bad one to, and that padding does.
                let near = |axis: usize, pixel: usize| {
                    let (place, step) = (pixel + case.padding[axis][0], case.dilation[axis]);
                    let is_at = |k: i64| place as i64 + k * step as i64 == at[axis] as i64;
                    let by_taps =
                        (0..3).any(|tap| places[axis][at[axis] + tap * step] == Some(pixel));
                    [(-outputs - 1..=outputs - 1).any(is_at) || by_taps, by_taps]
                };
                compare(&format!("{name}, {algorithm}, {bad}"), &dx, &clean, |[b, i, row, col]| {
                    let concerns = b == image && i / n == channel / r;
                    let (rows, cols) = (near(0, row), near(1, col));
                    [0, 1].map(|which| concerns && rows[which] && cols[which])
                });
            }
        }
    }
}

#[test]
fn weights_that_are_not_finite_change_no_other_channel() {
    for (name, problem) in problems() {
        let inputs = inputs(&problem);
        let x = inputs.x.mapv(|x| x as f32);
        for algorithm in WINOGRAD {
            let mut conv = layer::<f32>(&problem, &inputs, algorithm, Composition::Kernel).fold();
            let clean = conv.forward(&x).unwrap();
            let channel = problem.out_channels / 2;
            let (_, weights) = conv.parameters_mut().next().unwrap();
            weights[(channel * problem.group_inputs() + 3) * 9 + 4] = f32::INFINITY;
            let y = conv.forward(&x).unwrap();
            compare(&format!("{name}, {algorithm}"), &y, &clean, |[_, o, ..]| [o == channel; 2]);
        }
    }
}
