//! Layers of this crate made from the core crate's test problems.

#![allow(dead_code)]

#[path = "../../../../tests/common/mod.rs"]
pub mod core;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::tensor::{Device, Gradients, Shape, Tensor, TensorData};
use do_conv_burn::{DoConv2d, DoConv2dConfig};
use ndarray::{Array, ArrayD, Dimension};

use self::core::{Inputs, Outputs, Problem};

/// burn's CPU backend with autodiff.
pub fn device() -> Device {
    Device::flex().autodiff()
}

pub fn config(problem: &Problem) -> DoConv2dConfig {
    let [[top, bottom], [left, right]] = problem.padding;
    DoConv2dConfig::new([problem.in_channels, problem.out_channels], problem.kernel_size)
        .with_stride(problem.stride)
        .with_dilation(problem.dilation)
        .with_groups(problem.groups)
        .with_padding(PaddingConfig2d::Explicit(top, left, bottom, right))
        .with_bias(problem.bias)
        .with_d_mul((problem.taps() > 1).then_some(problem.d_mul))
        .with_pairing(problem.pairing)
}

/// A tensor with the elements of an array, rounded to `f32`.
pub fn tensor<const N: usize, D: Dimension>(array: &Array<f64, D>) -> Tensor<N> {
    let values: Vec<f32> = array.iter().map(|&value| value as f32).collect();
    let shape = Shape::from(array.shape().to_vec());
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// The elements of a tensor.
pub fn array<const N: usize>(tensor: &Tensor<N>) -> ArrayD<f64> {
    let values: Vec<f32> = tensor.to_data().try_to_vec().unwrap();
    let values = values.into_iter().map(f64::from).collect();
    ArrayD::from_shape_vec(tensor.dims().to_vec(), values).unwrap()
}

/// The problem's layer.
pub fn layer(problem: &Problem, inputs: &Inputs) -> DoConv2d {
    let mut layer = config(problem).init(&device());
    layer.W = Param::from_tensor(tensor(&inputs.w));
    layer.D = inputs.d_offset.as_ref().map(|d_offset| Param::from_tensor(tensor(d_offset)));
    layer.bias = inputs.bias.as_ref().map(|bias| Param::from_tensor(tensor(bias)));
    layer
}

/// What the layer and burn's autodiff compute.
pub fn solve(layer: &DoConv2d, inputs: &Inputs) -> Outputs {
    let x: Tensor<4> = tensor(&inputs.x).require_grad();
    let y = layer.forward(x.clone());
    let gradients = (y.clone() * tensor(&inputs.dy)).sum().backward();
    fn gradient<const N: usize>(of: &Tensor<N>, gradients: &Gradients) -> ArrayD<f64> {
        array(&of.grad(gradients).expect("a gradient"))
    }
    let mut outputs = vec![
        ("kernel", array(&layer.weight())),
        ("y", array(&y)),
        ("dx", gradient(&x, &gradients)),
        ("dw", gradient(&layer.W.val(), &gradients)),
    ];
    if let Some(d_offset) = &layer.D {
        outputs.push(("dd_offset", gradient(&d_offset.val(), &gradients)));
    }
    if let Some(bias) = &layer.bias {
        outputs.push(("dbias", gradient(&bias.val(), &gradients)));
    }
    outputs
}
