//! Layers of this crate made from the core crate's test problems.

#![allow(dead_code)]

#[path = "../../../../../tests/common/mod.rs"]
pub mod core;

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::tensor::{DType, Device, Gradients, Shape, Tensor, TensorData};
use do_conv::Scalar;
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

/// An element type of the core's.
pub trait Element: Scalar + burn::tensor::Element {
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for f64 {
    const DTYPE: DType = DType::F64;
}

/// A tensor with the elements of an array, rounded to `T`.
pub fn tensor_of<T: Element, const N: usize, D: Dimension>(array: &Array<f64, D>) -> Tensor<N> {
    let values: Vec<T> = array.iter().map(|&value| T::round_from(value)).collect();
    let shape = Shape::from(array.shape().to_vec());
    Tensor::from_data(TensorData::new(values, shape), (&device(), T::DTYPE))
}

/// A tensor with the elements of an array, rounded to `f32`.
pub fn tensor<const N: usize, D: Dimension>(array: &Array<f64, D>) -> Tensor<N> {
    tensor_of::<f32, N, D>(array)
}

/// The elements of a tensor.
pub fn array<const N: usize>(tensor: &Tensor<N>) -> ArrayD<f64> {
    let values: Vec<f64> = tensor.to_data().convert::<f64>().try_to_vec().unwrap();
    ArrayD::from_shape_vec(tensor.dims().to_vec(), values).unwrap()
}

/// The problem's layer.
pub fn layer(problem: &Problem, inputs: &Inputs) -> DoConv2d {
    layer_of::<f32>(config(problem), inputs)
}

/// A layer of that configuration with the inputs' parameters.
pub fn layer_of<T: Element>(config: DoConv2dConfig, inputs: &Inputs) -> DoConv2d {
    let mut layer = config.init(&device());
    layer.W = Param::from_tensor(tensor_of::<T, 3, _>(&inputs.w));
    let d_offset = inputs.d_offset.as_ref().map(tensor_of::<T, 3, _>);
    layer.D = d_offset.map(Param::from_tensor);
    layer.bias = inputs.bias.as_ref().map(tensor_of::<T, 1, _>).map(Param::from_tensor);
    layer
}

/// What the layer and burn's autodiff compute in `f32`.
pub fn solve(layer: &DoConv2d, inputs: &Inputs) -> Outputs {
    solve_of::<f32>(layer, inputs)
}

/// The same in `T`.
pub fn solve_of<T: Element>(layer: &DoConv2d, inputs: &Inputs) -> Outputs {
    let x: Tensor<4> = tensor_of::<T, 4, _>(&inputs.x).require_grad();
    let y = layer.forward(x.clone());
    let gradients = (y.clone() * tensor_of::<T, 4, _>(&inputs.dy)).sum().backward();
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
