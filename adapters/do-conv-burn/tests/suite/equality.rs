//! The same layers as the core crate's: outputs, gradients through burn's autodiff, and folds.

use crate::common::core::{Inputs, Numbers, Outputs, Problem, assert_within, gamma, oracle, table};
use crate::common::{
    Element, array, config, device, layer, layer_of, solve, solve_of, tensor, tensor_of,
};
use burn::tensor::Tensor;
use burn::tensor::cast::ToElement;
use do_conv::{Algorithm, Composition, DoConv2d};

fn assert_bits(what: &str, got: &Outputs, expected: Outputs) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (output, expected) in expected {
        let (_, got) = got.iter().find(|(found, _)| *found == output).unwrap();
        assert_eq!(got.mapv(f64::to_bits), expected.mapv(f64::to_bits), "{what}: {output}");
    }
}

fn equals_the_core<T: Element>() {
    for (name, problem, inputs) in table::cases() {
        for composition in problem.compositions().into_iter().chain([Composition::Auto]) {
            let layer = layer_of::<T>(config(&problem).with_composition(composition), &inputs);
            let expected = problem.solve::<T>(&inputs, composition);
            let what = format!("{name}, {composition:?}");
            assert_bits(&what, &solve_of::<T>(&layer, &inputs), expected);
        }
    }
}

#[test]
fn outputs_and_gradients_have_the_bits_of_the_core_in_f32() {
    equals_the_core::<f32>();
}

#[test]
fn outputs_and_gradients_have_the_bits_of_the_core_in_f64() {
    equals_the_core::<f64>();
}

/// The engine is the core's, so this is what shows that both are right.
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

/// What runs on other backends than `flex`, on `flex`.
fn burns_operations_are_within_bounds<T: Element>() {
    for (name, problem, inputs) in table::cases() {
        let layer = layer_of::<T>(config(&problem).with_cpu_engine(false), &inputs);
        let got = solve_of::<T>(&layer, &inputs);
        let expected = oracle::solve(&problem, &inputs);
        let sums = oracle::absolute_sums(&problem, &inputs);
        let bound = |output: &str| {
            let roundings = problem.roundings(output);
            gamma::<T>(roundings) + gamma::<f64>(roundings)
        };
        assert_within(name, &got, &expected, &sums, bound);
    }
}

#[test]
fn burns_operations_are_within_the_bounds_of_rounding_in_f32() {
    burns_operations_are_within_bounds::<f32>();
}

#[test]
fn burns_operations_are_within_the_bounds_of_rounding_in_f64() {
    burns_operations_are_within_bounds::<f64>();
}

/// Also in the third call, when the engine has kept the kernel.
fn the_fold_for_the_cpu_has_the_bits_of_the_layer<T: Element>() {
    for (name, problem, inputs) in table::cases() {
        for engine in [true, false] {
            let layer = layer_of::<T>(config(&problem).with_cpu_engine(engine), &inputs);
            let folded = layer.fold_for_cpu();
            assert_eq!(array(&folded.weight.val()), array(&layer.weight()), "{name}");
            let x: Tensor<4> = tensor_of::<T, 4, _>(&inputs.x);
            let y = array(&layer.forward(x.clone()));
            for call in 1..=3 {
                let got = array(&folded.forward(x.clone()));
                assert_eq!(got, y, "{name}, engine: {engine}, call {call}");
            }
        }
    }
}

#[test]
fn the_fold_for_the_cpu_has_the_bits_of_the_layer_in_f32() {
    the_fold_for_the_cpu_has_the_bits_of_the_layer::<f32>();
}

#[test]
fn the_fold_for_the_cpu_has_the_bits_of_the_layer_in_f64() {
    the_fold_for_the_cpu_has_the_bits_of_the_layer::<f64>();
}

/// Where burn runs both.
#[test]
fn the_fold_is_the_layer_in_burns_operations() {
    for (name, problem, inputs) in table::cases() {
        let layer = layer_of::<f32>(config(&problem).with_cpu_engine(false), &inputs);
        let folded = layer.fold();
        assert_eq!(array(&folded.weight.val()), array(&layer.weight()), "{name}");
        let x: Tensor<4> = tensor(&inputs.x);
        assert_eq!(array(&folded.forward(x.clone())), array(&layer.forward(x)), "{name}");
    }
}

/// What the core's layer gives by an algorithm.
fn core_layer<T: Element>(problem: &Problem, inputs: &Inputs, algorithm: Algorithm) -> DoConv2d<T> {
    DoConv2d::from_parameters(
        problem.config(Composition::Kernel).algorithm(algorithm),
        inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::round_from)),
        inputs.w.mapv(T::round_from),
        inputs.bias.as_ref().map(|bias| bias.mapv(T::round_from)),
    )
    .unwrap()
}

fn every_algorithm_has_the_bits_of_the_core<T: Element>() {
    // Channels enough for any algorithm.
    let problem = Problem { in_channels: 32, out_channels: 40, image: [13, 18], ..Problem::DENSE };
    let mut numbers = Numbers::new(7);
    let inputs = problem.inputs(|| numbers.real());
    for algorithm in Algorithm::ALL {
        let layer = layer_of::<T>(config(&problem).with_algorithm(algorithm), &inputs);
        assert_eq!(layer.algorithm(inputs.x.dim().into()).unwrap(), algorithm);
        let got = solve_of::<T>(&layer, &inputs);
        let core = core_layer::<T>(&problem, &inputs, algorithm);
        let y = core.forward(&inputs.x.mapv(T::round_from)).unwrap();
        let gradients =
            core.backward(&inputs.x.mapv(T::round_from), &inputs.dy.mapv(T::round_from)).unwrap();
        let wide = |values: &[T]| values.iter().map(ToElement::to_f64).collect::<Vec<_>>();
        for (output, expected) in [
            ("y", y.as_slice()),
            ("dx", gradients.x.as_ref().unwrap().as_slice()),
            ("dw", gradients.w.as_slice()),
            ("dd_offset", gradients.d_offset.as_ref().unwrap().as_slice()),
            ("dbias", gradients.bias.as_ref().unwrap().as_slice()),
        ] {
            let (_, got) = got.iter().find(|(found, _)| *found == output).unwrap();
            let got: Vec<f64> = got.iter().copied().collect();
            assert_eq!(got, wide(expected.unwrap()), "{algorithm}: {output}");
        }
        let folded = layer.fold_for_cpu();
        assert_eq!(folded.algorithm(inputs.x.dim().into()).unwrap(), algorithm);
        let x = tensor_of::<T, 4, _>(&inputs.x);
        assert_eq!(array(&folded.forward(x.clone())), array(&layer.forward(x)), "{algorithm}");
    }
}

#[test]
fn every_algorithm_has_the_bits_of_the_core_in_f32() {
    every_algorithm_has_the_bits_of_the_core::<f32>();
}

#[test]
fn every_algorithm_has_the_bits_of_the_core_in_f64() {
    every_algorithm_has_the_bits_of_the_core::<f64>();
}

/// Features round differently, so outputs tell what ran: the engine heeds the composition, forward; gradients, and
/// burn's operations, are those of the kernel.
fn features_are_of_the_engines_forward_pass<T: Element>() {
    let problem = Problem { in_channels: 32, out_channels: 40, image: [13, 18], ..Problem::DENSE };
    let mut numbers = Numbers::new(7);
    let inputs = problem.inputs(|| numbers.real());
    for engine in [true, false] {
        let config = config(&problem).with_cpu_engine(engine);
        let by_kernel = layer_of::<T>(config.clone(), &inputs);
        let kernels = solve_of::<T>(&by_kernel, &inputs);
        // However it was chosen, and after another.
        let chosen = by_kernel.with_composition(Composition::Feature).unwrap();
        let made = layer_of::<T>(config.with_composition(Composition::Feature), &inputs);
        for layer in [chosen, made] {
            let got = solve_of::<T>(&layer, &inputs);
            for ((output, got), (_, by_kernel)) in got.iter().zip(&kernels) {
                let same = got.mapv(f64::to_bits) == by_kernel.mapv(f64::to_bits);
                assert_eq!(same, !engine || *output != "y", "engine: {engine}, {output}");
            }
            let again = layer.with_composition(Composition::Kernel).unwrap();
            assert_bits("by kernel again", &solve_of::<T>(&again, &inputs), kernels.clone());
        }
    }
}

#[test]
fn features_are_of_the_engines_forward_pass_in_f32() {
    features_are_of_the_engines_forward_pass::<f32>();
}

#[test]
fn features_are_of_the_engines_forward_pass_in_f64() {
    features_are_of_the_engines_forward_pass::<f64>();
}

/// Winograd's are of the kernel; `Auto` takes features for few pixels.
#[test]
fn the_algorithm_is_that_of_the_composition() {
    let problem = Problem { in_channels: 32, out_channels: 32, ..Problem::DENSE };
    let config = config(&problem).with_algorithm(Algorithm::Winograd4);
    for (size, by_auto) in [(5, Algorithm::Direct), (12, Algorithm::Winograd4)] {
        for (composition, expected) in [
            (Composition::Kernel, Algorithm::Winograd4),
            (Composition::Feature, Algorithm::Direct),
            (Composition::Auto, by_auto),
        ] {
            let layer = config.clone().with_composition(composition).init(&device());
            let algorithm = layer.algorithm([1, 32, size, size]).unwrap();
            assert_eq!(algorithm, expected, "{composition:?}, {size}");
            let folded = layer.fold_for_cpu().algorithm([1, 32, size, size]).unwrap();
            assert_eq!(folded, Algorithm::Winograd4);
        }
    }
}
