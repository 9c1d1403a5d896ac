//! The same layers as the core crate's: outputs, gradients through candle's autograd, and folds.

mod common;

use candle_core::{Module, Result};
use common::core::{Problem, assert_within, gamma, oracle, table};
use common::{Element, array, config, layer, layer_of, solve, tensor};
use do_conv::Composition;
use do_conv_candle::DoConv2dConfig;

fn equals_the_core<T: Element>() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let got = solve::<T>(&layer::<T>(&problem, &inputs)?, &inputs)?;
        let expected = problem.solve::<T>(&inputs, Composition::Kernel);
        assert_eq!(got.len(), expected.len(), "{name}");
        for (output, expected) in expected {
            let (_, got) = got.iter().find(|(found, _)| *found == output).unwrap();
            assert_eq!(got.mapv(f64::to_bits), expected.mapv(f64::to_bits), "{name}: {output}");
        }
    }
    Ok(())
}

#[test]
fn outputs_and_gradients_have_the_bits_of_the_core_in_f32() -> Result<()> {
    equals_the_core::<f32>()
}

#[test]
fn outputs_and_gradients_have_the_bits_of_the_core_in_f64() -> Result<()> {
    equals_the_core::<f64>()
}

/// The engine is the core's, so this is what shows that both are right.
#[test]
fn outputs_and_gradients_are_within_the_bounds_of_rounding() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let got = solve::<f32>(&layer::<f32>(&problem, &inputs)?, &inputs)?;
        let expected = oracle::solve(&problem, &inputs);
        let sums = oracle::absolute_sums(&problem, &inputs);
        let bound = |output: &str| gamma::<f32>(problem.roundings(output));
        assert_within(name, &got, &expected, &sums, bound);
    }
    Ok(())
}

#[test]
fn the_fold_for_the_cpu_has_the_bits_of_the_layer() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let layer = layer::<f32>(&problem, &inputs)?;
        let x = tensor::<f32, _>(&inputs.x)?;
        let folded = layer.fold_for_cpu()?;
        let (y, expected) = (folded.forward(&x)?, layer.forward(&x)?);
        assert_eq!(array::<f32>(&y)?, array::<f32>(&expected)?, "{name}");
        let core = problem.layer::<f32>(&inputs, Composition::Kernel).fold();
        let kernel = core.weight().mapv(f64::from).into_dyn();
        assert_eq!(array::<f32>(folded.weight())?, kernel, "{name}");
    }
    Ok(())
}

/// Whether candle's own layer has such a stride and dilation.
fn candle_has(problem: &Problem) -> bool {
    [problem.stride, problem.dilation].into_iter().all(|[rows, columns]| rows == columns)
}

/// What runs on other devices than the CPU, on the CPU.
fn candle_operations_are_within_bounds<T: Element>() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let config = DoConv2dConfig { cpu_engine: false, ..config(&problem) };
        let layer = layer_of::<T>(&problem, config, &inputs)?;
        if !candle_has(&problem) {
            let error = layer.forward(&tensor::<T, _>(&inputs.x)?).unwrap_err().to_string();
            assert!(error.starts_with("DoConv2d::forward: "), "{name}: {error}");
            assert!(error.contains("the same number for rows and columns"), "{name}: {error}");
            continue;
        }
        let got = solve::<T>(&layer, &inputs)?;
        let expected = oracle::solve(&problem, &inputs);
        let sums = oracle::absolute_sums(&problem, &inputs);
        let bound = |output: &str| {
            let roundings = problem.roundings(output);
            gamma::<T>(roundings) + gamma::<f64>(roundings)
        };
        assert_within(name, &got, &expected, &sums, bound);
    }
    Ok(())
}

#[test]
fn candle_operations_are_within_the_bounds_of_rounding_in_f32() -> Result<()> {
    candle_operations_are_within_bounds::<f32>()
}

#[test]
fn candle_operations_are_within_the_bounds_of_rounding_in_f64() -> Result<()> {
    candle_operations_are_within_bounds::<f64>()
}

/// candle's own convolution by the folded kernel has the bits of the layer in candle's operations,
/// where those call it with the same input.
#[test]
fn the_fold_is_the_layer_in_candle_operations() -> Result<()> {
    for (name, problem, inputs) in table::cases() {
        let config = DoConv2dConfig { cpu_engine: false, ..config(&problem) };
        let layer = layer_of::<f32>(&problem, config, &inputs)?;
        if !candle_has(&problem) || problem.padding[0] != problem.padding[1] {
            let error = layer.fold().unwrap_err().to_string();
            assert!(error.contains("DoConv2d::fold: "), "{name}: {error}");
            continue;
        }
        let folded = layer.fold()?;
        assert_eq!(array::<f32>(folded.weight())?, array::<f32>(&layer.weight()?)?, "{name}");
        let x = tensor::<f32, _>(&inputs.x)?;
        let (y, expected) = (folded.forward(&x)?, layer.forward(&x)?);
        assert_eq!(array::<f32>(&y)?, array::<f32>(&expected)?, "{name}");
    }
    Ok(())
}
