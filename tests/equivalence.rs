//! Every path computes the same function: kernel composition, feature composition, the folded layer
//! and the definitions. On real numbers within the bounds of rounding errors, element by element; on
//! small integers, where every sum is exact in any order, bit for bit.

mod common;

use common::{Inputs, Numbers, Outputs, Problem, assert_within, gamma, oracle, strategy};
use do_conv::{Composition, Scalar};
use ndarray::{Array, Dimension};
use proptest::prelude::*;

fn agree_within_bounds<T: Scalar>(problem: &Problem, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let inputs = problem.inputs(|| numbers.real());
    let expected = oracle::solve(problem, &inputs);
    let sums = oracle::absolute_sums(problem, &inputs);
    // The oracle rounds too, in f64.
    let bound = |name: &str| {
        let roundings = problem.roundings(name);
        gamma::<T>(roundings) + gamma::<f64>(roundings)
    };
    for composition in problem.compositions() {
        let got = problem.solve::<T>(&inputs, composition);
        assert_within(&format!("{composition:?}"), &got, &expected, &sums, bound);
    }
    let layer = problem.layer::<T>(&inputs, Composition::Kernel);
    let x = inputs.x.mapv(T::round_from);
    let y = layer.fold().forward(&x).unwrap();
    let output = |outputs: Outputs| outputs.into_iter().filter(|(name, _)| *name == "y").collect();
    let folded = vec![("y", y.mapv(T::widen).into_dyn())];
    assert_within("folded", &folded, &output(expected), &output(sums), bound);
}

/// Asserts that every output has the bits that are expected.
fn assert_equal(what: &str, got: &Outputs, expected: &Outputs) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (name, expected) in expected {
        let (_, got) = got.iter().find(|(found, _)| found == name).unwrap();
        assert_eq!(got.mapv(f64::to_bits), expected.mapv(f64::to_bits), "{what}: {name}");
    }
}

fn agree_exactly<T: Scalar>(problem: &Problem, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let inputs = problem.inputs(|| numbers.integer(2));
    let expected = oracle::solve(problem, &inputs);
    let largest = oracle::absolute_sums(problem, &inputs)
        .iter()
        .flat_map(|(_, sums)| sums.iter().copied().collect::<Vec<_>>())
        .fold(0.0, f64::max);
    assert!(largest <= 1.0 / T::UNIT_ROUNDOFF, "{largest} has no exact {}", T::zero());
    for composition in problem.compositions() {
        let got = problem.solve::<T>(&inputs, composition);
        assert_equal(&format!("{composition:?}"), &got, &expected);
    }
    let folded = problem.layer::<T>(&inputs, Composition::Kernel).fold();
    let y = folded.forward(&inputs.x.mapv(T::round_from)).unwrap();
    let got = vec![("y", y.mapv(T::widen).into_dyn())];
    let y = expected.into_iter().filter(|(name, _)| *name == "y").collect();
    assert_equal("folded", &got, &y);
}

/// `Σ dy·y`, computed by a forward pass.
fn loss(problem: &Problem, inputs: &Inputs) -> f64 {
    let layer = problem.layer::<f64>(inputs, Composition::Kernel);
    (layer.forward(&inputs.x).unwrap() * &inputs.dy).sum()
}

/// `(L(p + 1) − L(p − 1)) / 2` for up to `count` elements `p` of an array of the inputs. `L` is affine
/// in each of them, so this is its derivative, and exact for integers.
fn central_differences<D: Dimension>(
    problem: &Problem,
    inputs: &Inputs,
    count: usize,
    numbers: &mut Numbers,
    array: impl Fn(&mut Inputs) -> &mut Array<f64, D>,
) -> Vec<(usize, f64)> {
    let len = array(&mut inputs.clone()).len();
    let indices: Vec<_> = if len <= count {
        (0..len).collect()
    } else {
        (0..count).map(|_| numbers.next() as usize % len).collect()
    };
    let shifted = |index: usize, by: f64| {
        let mut inputs = inputs.clone();
        array(&mut inputs).as_slice_mut().unwrap()[index] += by;
        loss(problem, &inputs)
    };
    let difference = |index| (shifted(index, 1.0) - shifted(index, -1.0)) / 2.0;
    indices.into_iter().map(|index| (index, difference(index))).collect()
}

fn check_central_differences(problem: &Problem, seed: u64) {
    const COUNT: usize = 12;
    let mut numbers = Numbers::new(seed);
    let inputs = problem.inputs(|| numbers.integer(2));
    let numbers = &mut numbers;
    let mut expected = vec![
        ("dx", central_differences(problem, &inputs, COUNT, numbers, |inputs| &mut inputs.x)),
        ("dw", central_differences(problem, &inputs, COUNT, numbers, |inputs| &mut inputs.w)),
    ];
    if inputs.d_offset.is_some() {
        let differences = central_differences(problem, &inputs, COUNT, numbers, |inputs| {
            inputs.d_offset.as_mut().unwrap()
        });
        expected.push(("dd_offset", differences));
    }
    if inputs.bias.is_some() {
        let differences = central_differences(problem, &inputs, COUNT, numbers, |inputs| {
            inputs.bias.as_mut().unwrap()
        });
        expected.push(("dbias", differences));
    }
    for composition in problem.compositions() {
        let got = problem.solve::<f32>(&inputs, composition);
        for (name, differences) in &expected {
            let (_, gradient) = got.iter().find(|(found, _)| found == name).unwrap();
            for &(index, difference) in differences {
                let gradient = gradient.as_slice().unwrap()[index];
                assert_eq!(gradient, difference, "{composition:?}: {name}, element {index}");
            }
        }
    }
}

/// `y` without its bias is linear in `x`, in `W` and in `D`, so each of them times its gradient sums
/// to `Σ dy·y`.
fn check_adjoints(problem: &Problem, seed: u64) {
    let mut numbers = Numbers::new(seed);
    let problem = Problem { bias: false, ..problem.clone() };
    let inputs = problem.inputs(|| numbers.integer(2));
    let loss = loss(&problem, &inputs);
    let taps = problem.taps();
    for composition in problem.compositions() {
        let got = problem.solve::<f64>(&inputs, composition);
        let dot = |name: &str, array: &[f64]| {
            let (_, gradient) = got.iter().find(|(found, _)| *found == name).unwrap();
            gradient.iter().zip(array).map(|(gradient, value)| gradient * value).sum::<f64>()
        };
        assert_eq!(dot("dx", inputs.x.as_slice().unwrap()), loss, "{composition:?}: x");
        assert_eq!(dot("dw", inputs.w.as_slice().unwrap()), loss, "{composition:?}: W");
        if let Some(d_offset) = &inputs.d_offset {
            let mut d = d_offset.clone();
            for ((_, tap, s), value) in d.indexed_iter_mut() {
                let copies = problem.d_mul / taps;
                *value += f64::from(u8::from(s % taps == tap && s / taps < copies));
            }
            assert_eq!(dot("dd_offset", d.as_slice().unwrap()), loss, "{composition:?}: D");
        }
    }
}

#[test]
fn the_table_within_bounds() {
    for (seed, (name, problem)) in common::table::problems().into_iter().enumerate() {
        println!("{name}");
        agree_within_bounds::<f32>(&problem, seed as u64);
        agree_within_bounds::<f64>(&problem, seed as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn real_numbers_agree_within_bounds(problem in strategy::problem(), seed: u64) {
        agree_within_bounds::<f32>(&problem, seed);
        agree_within_bounds::<f64>(&problem, seed);
    }

    #[test]
    fn small_integers_agree_exactly(problem in strategy::problem(), seed: u64) {
        agree_exactly::<f32>(&problem, seed);
        agree_exactly::<f64>(&problem, seed);
    }

    #[test]
    fn gradients_are_central_differences(problem in strategy::problem(), seed: u64) {
        check_central_differences(&problem, seed);
    }

    #[test]
    fn gradients_are_adjoints(problem in strategy::problem(), seed: u64) {
        check_adjoints(&problem, seed);
    }
}

#[test]
fn padding_of_one_tap_continues_the_image() {
    use do_conv::{Conv2d, Conv2dConfig, PaddingMode};
    for channels in [[1, 5], [16, 32]] {
        for (mode, source) in
            [(PaddingMode::Replicate, 23), (PaddingMode::Reflect, 22), (PaddingMode::Circular, 0)]
        {
            let config = Conv2dConfig::new(channels[0], channels[1], [1, 1]);
            let plain: Conv2d<f32> = config.clone().init(1).unwrap();
            let padded: Conv2d<f32> =
                config.padding([[0, 1], [0, 0]]).padding_mode(mode).init(1).unwrap();
            let x = ndarray::Array4::from_shape_fn((2, channels[0], 24, 16), |(b, c, h, w)| {
                ((b * 7 + c * 5 + h * 3 + w) % 11) as f32 - 5.0
            });
            let (y, expected) = (padded.forward(&x).unwrap(), plain.forward(&x).unwrap());
            for row in 0..25 {
                let from = if row < 24 { row } else { source };
                let (got, expected) = (
                    y.slice(ndarray::s![.., .., row, ..]),
                    expected.slice(ndarray::s![.., .., from, ..]),
                );
                assert_eq!(got, expected, "{mode:?}, row {row}");
            }
        }
    }
}
