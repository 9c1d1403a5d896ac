//! The same layers as the core crate's: outputs, gradients through burn's autodiff, and folds.

mod common;

use common::core::{assert_within, gamma, oracle, table};
use common::{array, layer, solve, tensor};
use do_conv::Composition;

#[test]
fn outputs_and_gradients_are_within_the_bounds_of_rounding() {
    for (name, problem, inputs) in table::cases() {
        let got = solve(&layer(&problem, &inputs), &inputs);
        let expected = oracle::solve(&problem, &inputs);
        let sums = oracle::absolute_sums(&problem, &inputs);
        let bound = |output: &str| gamma::<f32>(problem.roundings(output));
        assert_within(name, &got, &expected, &sums, bound);
    }
}

/// Both have rounded, so they may be twice the bound apart.
#[test]
fn outputs_and_gradients_equal_the_core() {
    for (name, problem, inputs) in table::cases() {
        let got = solve(&layer(&problem, &inputs), &inputs);
        let expected = problem.solve::<f32>(&inputs, Composition::Kernel);
        let sums = oracle::absolute_sums(&problem, &inputs);
        let bound = |output: &str| 2.0 * gamma::<f32>(problem.roundings(output));
        assert_within(name, &got, &expected, &sums, bound);
    }
}

#[test]
fn the_fold_has_the_bits_of_the_layer() {
    for (name, problem, inputs) in table::cases() {
        let layer = layer(&problem, &inputs);
        let folded = layer.fold();
        assert_eq!(array(&folded.weight.val()), array(&layer.weight()), "{name}");
        let x = tensor(&inputs.x);
        assert_eq!(array(&folded.forward(x.clone())), array(&layer.forward(x)), "{name}");
    }
}
