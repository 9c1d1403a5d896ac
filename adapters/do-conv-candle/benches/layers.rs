//! Eleven layers on the CPU: candle's own plain convolution beside the DO-Conv layer and its fold, each
//! through candle's tensors and autograd, in candle's own pool of threads.
//!
//! A training step is a forward pass and every gradient, of the input too, where the output's is ones. Before
//! anything is timed, all contenders must have computed the same.
//!
//! ```text
//! cargo bench -p do-conv-candle -- --rounds 9
//! ```

#[path = "../../../benches/cases/layers.rs"]
mod layers;
#[path = "../../../benches/cases/race.rs"]
mod race;

use std::error::Error;

use candle_core::{Device, Module, Result, Tensor, Var};
use do_conv_candle::DoConv2d;
use layers::{LAYERS, Layer, image};
use race::{Plan, table};

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let plan = Plan::from_arguments()?;
    let (mut steps, mut forwards) = (Vec::new(), Vec::new());
    for case in LAYERS {
        let (step, forward) = Device::Cpu.with_context(|| time(&plan, &case))?;
        steps.push((case.name.to_owned(), step));
        forwards.push((case.name.to_owned(), forward));
    }
    let header = ["training step", "candle plain, ms", "DO-Conv, ms", "candle / DO-Conv"];
    println!("{}\n", table(&header, &steps));
    let header = ["forward", "candle plain, ms", "folded for the CPU, ms", "candle / folded"];
    println!("{}", table(&header, &forwards));
    Ok(())
}

/// Times and their ratio, of a training step and of a forward pass.
fn time(plan: &Plan, case: &Layer) -> Result<(Vec<f64>, Vec<f64>)> {
    let folded = case.do_config().init::<f32>(1).expect("a valid layer").fold();
    let plain = candle_nn::Conv2d::new(
        Var::from_tensor(&tensor(&folded.weight().to_owned())?)?.into_inner(),
        None,
        candle_nn::Conv2dConfig {
            padding: case.padding,
            stride: case.stride,
            dilation: case.dilation,
            groups: case.groups,
            cudnn_fwd_algo: None,
        },
    );
    let layer = DoConv2d::from_conv2d(&plain, None)?;
    let x = Var::from_tensor(&tensor(&image(case.input_shape()))?)?;
    let dy = tensor(&image(case.output_shape()))?;

    let differentiate = |layer: &dyn Module| {
        let y = layer.forward(&x)?;
        let gradients = y.mul(&dy)?.sum_all()?.backward()?;
        Ok::<_, candle_core::Error>((y, gradients.get(&x).expect("a gradient of x").clone()))
    };
    let ((y, dx), (our_y, our_dx)) = (differentiate(&plain)?, differentiate(&layer)?);
    expect_same(case.name, &y, &our_y)?;
    expect_same(case.name, &dx, &our_dx)?;
    let [candle, ours] = plan.race([
        Box::new(|| plain.forward(&x)?.backward().map(drop)),
        Box::new(|| layer.forward(&x)?.backward().map(drop)),
    ])?;
    let steps = vec![candle, ours, candle / ours];

    let (plain, folded, x) = (layer.fold()?, layer.fold_for_cpu()?, x.as_detached_tensor());
    expect_same(case.name, &plain.forward(&x)?, &folded.forward(&x)?)?;
    let [candle, ours] = plan.race([
        Box::new(|| plain.forward(&x).map(drop)),
        Box::new(|| folded.forward(&x).map(drop)),
    ])?;
    Ok((steps, vec![candle, ours, candle / ours]))
}

fn tensor(array: &ndarray::Array4<f32>) -> Result<Tensor> {
    let values = array.as_slice().expect("standard layout");
    Tensor::from_slice(values, array.shape(), &Device::Cpu)
}

fn expect_same(layer: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f32>();
    let (difference, size) = (largest(&(a - b)?)?, largest(a)?);

    if difference.is_nan() || difference > 1e-4 * size {
        candle_core::bail!("{layer}: the contenders differ by {difference} of {size}");
    }
    Ok(())
}
