//! Eleven layers on burn's CPU backend: burn's own plain convolution beside the DO-Conv layer, each
//! through burn's tensors and autodiff. What DO-Conv costs more is its composition, since burn runs both
//! convolutions.
//!
//! A training step is a forward pass and every gradient, of the input too. Before anything is timed, both
//! must have computed the same.
//!
//! ```text
//! cargo bench -p do-conv-burn -- --rounds 9
//! ```

#[path = "../../../benches/cases/layers.rs"]
mod layers;
#[path = "../../../benches/cases/race.rs"]
mod race;

use std::convert::Infallible;
use std::error::Error;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::tensor::{Device, Gradients, Shape, Tensor, TensorData};
use do_conv_burn::DoConv2d;
use layers::{LAYERS, Layer, image};
use ndarray::Array4;
use race::{Plan, table};

fn main() -> Result<(), Box<dyn Error>> {
    let plan = Plan::from_arguments()?;
    let mut steps = Vec::new();
    for case in LAYERS {
        steps.push((case.name.to_owned(), time(&plan, &case)?));
    }
    let header = ["training step", "burn plain, ms", "DO-Conv, ms", "DO-Conv / plain"];
    println!("{}", table(&header, &steps));
    Ok(())
}

/// Times of a training step and their ratio.
fn time(plan: &Plan, case: &Layer) -> Result<Vec<f64>, Box<dyn Error>> {
    let folded = case.do_config().init::<f32>(1)?.fold();
    let padding = case.padding;
    let plain = Conv2dConfig::new([case.inputs, case.outputs], [case.kernel; 2])
        .with_stride([case.stride; 2])
        .with_dilation([case.dilation; 2])
        .with_groups(case.groups)
        .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
        .with_bias(false)
        .init(&Device::flex().autodiff());
    let weight = Param::from_tensor(tensor(&folded.weight().to_owned()));
    let plain = Conv2d { weight, ..plain };
    let layer = DoConv2d::from_conv2d(&plain, None)?;
    let x = tensor(&image(case.input_shape())).require_grad();
    let dy = tensor(&image(case.output_shape()));

    let (y, gradients) = step(|x| plain.forward(x), &x, &dy);
    let (our_y, our_gradients) = step(|x| layer.forward(x), &x, &dy);
    expect_same(case.name, y, our_y)?;
    let dx = |gradients| x.grad(gradients).ok_or("no gradient of the input");
    expect_same(case.name, dx(&gradients)?, dx(&our_gradients)?)?;
    let Ok([burn, ours]) = plan.race::<Infallible, 2>([
        Box::new(|| {
            step(|x| plain.forward(x), &x, &dy);
            Ok(())
        }),
        Box::new(|| {
            step(|x| layer.forward(x), &x, &dy);
            Ok(())
        }),
    ]);
    Ok(vec![burn, ours, ours / burn])
}

/// The output and every gradient.
fn step(
    forward: impl Fn(Tensor<4>) -> Tensor<4>,
    x: &Tensor<4>,
    dy: &Tensor<4>,
) -> (Tensor<4>, Gradients) {
    let y = forward(x.clone());
    let gradients = (y.clone() * dy.clone()).sum().backward();
    (y, gradients)
}

fn tensor(array: &Array4<f32>) -> Tensor<4> {
    let values: Vec<f32> = array.iter().copied().collect();
    let data = TensorData::new(values, Shape::from(array.shape().to_vec()));
    Tensor::from_data(data, &Device::flex().autodiff())
}

fn expect_same(layer: &str, a: Tensor<4>, b: Tensor<4>) -> Result<(), String> {
    let size: f32 = a.clone().abs().max().into_scalar();
    let difference: f32 = (a - b).abs().max().into_scalar();
    if difference > 1e-4 * size {
        return Err(format!("{layer}: the contenders differ by {difference} of {size}"));
    }
    Ok(())
}
