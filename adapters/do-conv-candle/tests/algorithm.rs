//! The algorithm that a configuration names is the one that the core's engine computes by.

mod common;

use candle_core::{Module, Result};
use common::core::{Inputs, Numbers, Outputs, Problem};
use common::{array, config, layer_of, solve, tensor};
use do_conv::{Composition, DoConv2d};
use do_conv_candle::{Algorithm, DoConv2dConfig};

/// With channels enough for any algorithm.
const PROBLEM: Problem =
    Problem { in_channels: 32, out_channels: 40, image: [13, 18], ..Problem::DENSE };

/// What the core's layer gives by an algorithm.
fn core_layer(inputs: &Inputs, algorithm: Algorithm) -> do_conv::Result<DoConv2d<f32>> {
    DoConv2d::from_parameters(
        PROBLEM.config(Composition::Kernel).algorithm(algorithm),
        inputs.d_offset.as_ref().map(|d_offset| d_offset.mapv(|value| value as f32)),
        inputs.w.mapv(|value| value as f32),
        inputs.bias.as_ref().map(|bias| bias.mapv(|value| value as f32)),
    )
}

#[test]
fn every_algorithm_agrees_with_the_direct_sum_and_has_the_bits_of_the_core() -> Result<()> {
    let mut numbers = Numbers::new(7);
    let inputs = PROBLEM.inputs(|| numbers.real());
    assert_eq!(DoConv2dConfig::default().algorithm, Algorithm::Direct);
    let mut direct: Option<Outputs> = None;
    for algorithm in Algorithm::ALL {
        let config = DoConv2dConfig { algorithm, ..config(&PROBLEM) };
        let layer = layer_of::<f32>(&PROBLEM, config, &inputs)?;
        assert_eq!(layer.config().algorithm, algorithm);
        let got = solve::<f32>(&layer, &inputs)?;
        let direct = direct.get_or_insert_with(|| got.clone());
        for ((name, got), (_, direct)) in got.iter().zip(&*direct) {
            let largest = direct.fold(0.0f64, |largest, value| largest.max(value.abs()));
            let apart = (got - direct).fold(0.0f64, |largest, value| largest.max(value.abs()));
            assert!(apart <= 1e-4 * largest, "{algorithm}: {name} is off by {apart} of {largest}");
        }

        let core = core_layer(&inputs, algorithm).expect("a valid problem");
        let (x, dy) = (inputs.x.mapv(|x| x as f32), inputs.dy.mapv(|dy| dy as f32));
        let y = core.forward(&x).expect("an output").mapv(f64::from).into_dyn();
        let gradients = core.backward(&x, &dy).expect("gradients");
        let dx = gradients.x.expect("the gradient of x").mapv(f64::from).into_dyn();
        let dw = gradients.w.mapv(f64::from).into_dyn();
        for (name, expected) in [("y", &y), ("dx", &dx), ("dw", &dw)] {
            let (_, got) = got.iter().find(|(found, _)| *found == name).expect("an output");
            assert_eq!(got, expected, "{algorithm}: {name}");
        }
        let folded = layer.fold_for_cpu()?.forward(&tensor::<f32, _>(&inputs.x)?)?;
        assert_eq!(array::<f32>(&folded)?, y, "{algorithm}: y of the folded layer");
    }
    Ok(())
}
