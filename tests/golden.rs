//! Outputs and gradients that PyTorch's autograd computed, and layers and nets of checkpoints that
//! the published PyTorch code trained.

mod common;

use common::golden::{Case, cases};
use common::{assert_within, gamma, oracle};
use do_conv::Scalar;

/// How far apart two exact `f64` computations may lie, relative to the sum of absolute products.
const F64_TOLERANCE: f64 = 1e-12;

fn all_cases() -> impl Iterator<Item = Case> {
    let files = ["reference_layers.safetensors", "torch_layers.safetensors"];
    let cases: Vec<_> = files.into_iter().flat_map(cases).collect();
    assert_eq!(cases.len(), 12 + 26);
    cases.into_iter()
}

#[test]
fn the_oracle_agrees_with_pytorch() {
    for Case { name, problem, inputs, expected } in all_cases() {
        let got = oracle::solve(&problem, &inputs);
        let sums = oracle::absolute_sums(&problem, &inputs);
        assert_within(&name, &got, &expected, &sums, |_| F64_TOLERANCE);
    }
}

#[test]
fn every_case_in_f64() {
    for Case { name, problem, inputs, expected } in all_cases() {
        let sums = oracle::absolute_sums(&problem, &inputs);
        for composition in problem.compositions() {
            let got = problem.solve::<f64>(&inputs, composition);
            let what = format!("{name}, {composition:?}");
            assert_within(&what, &got, &expected, &sums, |_| F64_TOLERANCE);
        }
    }
}

#[test]
fn every_case_in_f32() {
    for Case { name, problem, inputs, expected } in all_cases() {
        let sums = oracle::absolute_sums(&problem, &inputs);
        for composition in problem.compositions() {
            let got = problem.solve::<f32>(&inputs, composition);
            let what = format!("{name}, {composition:?}");
            // Each product has at most four factors, which are rounded to f32 on the way in.
            let bound =
                |output: &str| gamma::<f32>(problem.roundings(output) + 4) + f64::UNIT_ROUNDOFF;
            assert_within(&what, &got, &expected, &sums, bound);
        }
    }
}
