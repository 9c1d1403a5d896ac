//! The check that a fold is its source: what it must pass, and what it must find.

use do_conv::{Composition, Conv2d, DoConv2d, FoldCheck, Pairing, Scalar};
use ndarray::Array4;

use super::{inputs, output, problem, problems};
use crate::common::{Inputs, Problem, gamma, oracle};

/// Checks a layer's fold on given and on random inputs.
fn passes<T: Scalar>(problem: &Problem, composition: Composition) {
    let inputs = inputs(problem);
    let layer: DoConv2d<T> = problem.layer(&inputs, composition);
    let x = inputs.x.mapv(T::round_from);
    let folded = layer.fold();
    let shape = x.dim().into();
    for check in [
        layer.check_fold(&folded, &x).unwrap(),
        layer.check_fold_random(&folded, shape, 3).unwrap(),
    ] {
        assert!(check.within_bound && check.same_bits, "{problem:?}: {check:?}");
        assert!(check.largest_difference <= check.bound);
    }
}

#[test]
fn passes_every_variant() {
    for problem in problems() {
        for composition in problem.compositions().into_iter().chain([Composition::Auto]) {
            passes::<f32>(&problem, composition);
            passes::<f64>(&problem, composition);
        }
    }
}

#[test]
fn reports_the_largest_difference_and_its_bound() {
    for problem in problems() {
        let inputs = inputs(&problem);
        let layer: DoConv2d<f32> = problem.layer(&inputs, Composition::Kernel);
        let x = inputs.x.mapv(|x| x as f32);
        let folded = layer.fold();
        let check = layer.check_fold(&folded, &x).unwrap();

        let y = folded.forward(&x).unwrap();
        let exact = output(oracle::solve(&problem, &inputs), "y");
        let sums = output(oracle::absolute_sums(&problem, &inputs), "y");
        let differences = y.iter().zip(&exact).map(|(&y, exact)| (f64::from(y) - exact).abs());
        let (largest, sum) =
            differences.zip(&sums).max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap();
        // The two references in f64 differ by their own rounding, 2⁻²⁹ of the bound.
        let n = problem.group_inputs();
        let bound = gamma::<f32>(n * problem.taps() + problem.d_mul + 2) * sum;
        assert!((check.largest_difference - largest).abs() <= 1e-6 * bound, "{problem:?}");
        assert!((check.bound - bound).abs() <= 1e-6 * bound, "{problem:?}");
    }
}

/// A fold of nothing but a bias, whose every output is then a difference of exactly that much from a layer
/// of outputs that are zero.
fn off_by<T: Scalar>(layer: &DoConv2d<T>, difference: f64) -> Conv2d<T> {
    let mut folded = layer.fold();
    for (name, values) in folded.parameters_mut() {
        values.fill(if name == "bias" { T::round_from(difference) } else { T::zero() });
    }
    folded
}

fn holds_from_both_sides<T: Scalar>(problem: &Problem, resolution: f64) {
    // Two pixels of opposite sign under equal weights.
    let ones = problem.inputs(|| 1.0);
    let inputs = Inputs {
        x: Array4::from_shape_fn(
            ones.x.raw_dim(),
            |(_, _, _, col)| if col % 2 == 0 { 3.0 } else { -3.0 },
        ),
        d_offset: ones.d_offset.map(|d_offset| d_offset * 0.0),
        bias: ones.bias.map(|bias| bias * 0.0),
        ..ones
    };
    let layer: DoConv2d<T> = problem.layer(&inputs, Composition::Kernel);
    assert!(output(oracle::solve(problem, &inputs), "y").iter().all(|&y| y == 0.0));
    let sum = output(oracle::absolute_sums(problem, &inputs), "y")[[0, 0, 0, 0]];

    let (n, taps, s) = (problem.group_inputs(), problem.taps(), problem.d_mul);
    let reference = gamma::<f64>((n * s + taps).max(n * taps + s) + 2);
    let bound = (gamma::<T>(n * taps + s + 2) + reference) * sum;
    let x = inputs.x.mapv(T::round_from);
    for sign in [1.0, -1.0] {
        for (part, is_within) in [(1.0 - resolution, true), (1.0 + resolution, false)] {
            let difference = T::round_from(sign * part * bound).widen();
            let check = layer.check_fold(&off_by(&layer, difference), &x).unwrap();
            assert_eq!(check.largest_difference, difference.abs(), "{problem:?}");
            assert!((check.bound / bound - 1.0).abs() <= 1e-12, "{problem:?} {check:?} {bound:e}");
            assert_eq!(check.within_bound, is_within, "{problem:?} {part} {check:?} {bound:e}");
        }
    }
}

#[test]
fn its_bound_is_that_of_its_definition_and_holds_from_both_sides() {
    for (groups, kernel_size, d_mul) in
        [(1, [1, 2], 2), (2, [3, 4], 17), (6, [1, 2], 30), (3, [5, 6], 30)]
    {
        for pairing in Pairing::ALL {
            let problem = Problem {
                kernel_size,
                d_mul,
                stride: [1, 1],
                dilation: [1, 1],
                padding: [[0; 2]; 2],
                ..problem(groups, pairing)
            };
            // What f32 and f64 can tell apart.
            holds_from_both_sides::<f32>(&problem, 1e-6);
            holds_from_both_sides::<f64>(&problem, 1e-12);
        }
    }
}

/// The check of a layer's fold with other parameters, on an image of ones.
fn tampered<T: Scalar>(layer: &DoConv2d<T>, tamper: impl Fn(&mut [T], &mut [T])) -> FoldCheck {
    let mut folded = layer.fold();
    let mut parameters: Vec<_> = folded.parameters_mut().map(|(_, values)| values).collect();
    let [weight, bias] = &mut parameters[..] else { panic!("a layer with a bias") };
    tamper(weight, bias);
    layer.check_fold(&folded, &Array4::ones((2, layer.config().conv.in_channels, 6, 6))).unwrap()
}

fn finds_what_was_tampered_with<T: Scalar>(problem: &Problem) {
    let layer: DoConv2d<T> = problem.layer(&inputs(problem), Composition::Kernel);
    let honest = tampered(&layer, |_, _| {});
    assert!(honest.within_bound && honest.same_bits, "{problem:?}: {honest:?}");
    let last = problem.out_channels - 1;

    // A few ulps are rounding, though other bits.
    let few_ulps = tampered(&layer, |weight, _| {
        weight.iter_mut().for_each(|weight| *weight *= T::one() + T::epsilon());
    });
    assert!(few_ulps.within_bound && !few_ulps.same_bits, "{problem:?}: {few_ulps:?}");

    // Pixels are 1, so an output changes by as much as a weight that it reads: by more than
    // the widest bound and all honest rounding.
    let change = T::round_from(3.0 * gamma::<T>(problem.roundings("y")) * widest_sum(problem));
    for channel in 0..problem.out_channels {
        let check = tampered(&layer, |weight, _| {
            weight[channel * problem.group_inputs() * problem.taps()] += change;
        });
        assert!(!check.within_bound && !check.same_bits, "{problem:?}: {check:?}");
        assert!(check.largest_difference > check.bound, "{problem:?}: {check:?}");
    }

    for not_a_number in [T::nan(), T::infinity()] {
        for field in ["weight", "bias"] {
            let check = tampered(&layer, |weight, bias| {
                *if field == "bias" { bias } else { weight }.last_mut().unwrap() = not_a_number;
            });
            assert_eq!(check.largest_difference, f64::INFINITY, "{problem:?}, {field}");
            assert!(!check.within_bound && !check.same_bits, "{problem:?}, {field}");
        }
    }

    let swapped = tampered(&layer, |_, bias| bias.swap(0, last));
    assert!(!swapped.within_bound && !swapped.same_bits, "{problem:?}: {swapped:?}");
    let zeroed = tampered(&layer, |_, bias| bias.fill(T::zero()));
    assert!(!zeroed.within_bound && !zeroed.same_bits, "{problem:?}: {zeroed:?}");
}

/// More than the sum of absolute products of any output for an image of ones.
fn widest_sum(problem: &Problem) -> f64 {
    let ones = Inputs { x: Array4::ones((2, problem.in_channels, 6, 6)), ..inputs(problem) };
    let problem = Problem { image: [6, 6], ..problem.clone() };
    let dy = Array4::zeros(problem.inputs(|| 0.0).dy.raw_dim());
    let sums = oracle::absolute_sums(&problem, &Inputs { dy, ..ones });
    output(sums, "y").iter().copied().fold(0.0, f64::max)
}

#[test]
fn finds_a_tampered_fold_of_every_variant() {
    for problem in problems() {
        let problem = Problem { bias: true, ..problem };
        finds_what_was_tampered_with::<f32>(&problem);
        finds_what_was_tampered_with::<f64>(&problem);
    }
}

#[test]
fn finds_the_fold_of_another_pairing() {
    let by = |pairing| {
        let problem = problem(2, pairing);
        problem.layer::<f32>(&inputs(&problem), Composition::Kernel)
    };
    let folded = by(Pairing::PyTorch).fold();
    for pairing in [Pairing::InputChannel, Pairing::TensorFlow] {
        let check = by(pairing).check_fold_random(&folded, [1, 6, 7, 6], 0).unwrap();
        assert!(!check.within_bound && !check.same_bits, "{pairing:?}: {check:?}");
    }
}

#[test]
fn draws_another_input_for_each_seed() {
    let problem = problem(2, Pairing::InputChannel);
    let layer: DoConv2d<f32> = problem.layer(&inputs(&problem), Composition::Kernel);
    let check = |seed| layer.check_fold_random(&layer.fold(), [1, 6, 7, 6], seed).unwrap();
    assert_eq!(check(3), check(3));
    assert_ne!(check(3).largest_difference, check(4).largest_difference);
}

#[test]
fn of_an_empty_batch_finds_nothing() {
    let problem = problem(2, Pairing::InputChannel);
    let layer: DoConv2d<f32> = problem.layer(&inputs(&problem), Composition::Kernel);
    let check = layer.check_fold_random(&layer.fold(), [0, 6, 7, 6], 0).unwrap();
    let nothing = FoldCheck { largest_difference: 0.0, bound: 0.0, ..check };
    assert_eq!(check, nothing);
    assert!(check.within_bound && check.same_bits);
}
