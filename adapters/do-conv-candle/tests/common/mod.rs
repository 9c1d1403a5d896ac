//! Layers of this crate made from the core crate's test problems.

#![allow(dead_code)]

#[path = "../../../../tests/common/mod.rs"]
pub mod core;

use std::collections::HashMap;

use candle_core::{Device, Module, Result, Tensor, Var, WithDType};
use candle_nn::VarBuilder;
use do_conv::Scalar;
use do_conv_candle::{DoConv2d, DoConv2dConfig, do_conv2d, do_conv2d_no_bias};
use ndarray::{Array, ArrayD, Dimension};

use self::core::{Inputs, Outputs, Problem};

pub trait Element: Scalar + WithDType {}
impl<T: Scalar + WithDType> Element for T {}

pub fn config(problem: &Problem) -> DoConv2dConfig {
    DoConv2dConfig {
        padding: problem.padding.map(|[near, far]| {
            assert_eq!(near, far, "candle pads both sides alike");
            near
        }),
        stride: problem.stride,
        dilation: problem.dilation,
        groups: problem.groups,
        d_mul: (problem.taps() > 1).then_some(problem.d_mul),
        pairing: problem.pairing,
        ..Default::default()
    }
}

/// A tensor with the elements of an array, rounded.
pub fn tensor<T: Element, D: Dimension>(array: &Array<f64, D>) -> Result<Tensor> {
    let values: Vec<T> = array.iter().map(|&value| T::round_from(value)).collect();
    Tensor::from_vec(values, array.shape(), &Device::Cpu)
}

/// The elements of a tensor.
pub fn array<T: Element>(tensor: &Tensor) -> Result<ArrayD<f64>> {
    let values: Vec<T> = tensor.flatten_all()?.to_vec1()?;
    let values = values.into_iter().map(T::widen).collect();
    Ok(ArrayD::from_shape_vec(tensor.dims(), values).unwrap())
}

/// The problem's layer, of variables.
pub fn layer<T: Element>(problem: &Problem, inputs: &Inputs) -> Result<DoConv2d> {
    layer_of::<T>(problem, config(problem), inputs)
}

/// The problem's layer of another configuration, of variables.
pub fn layer_of<T: Element>(
    problem: &Problem,
    config: DoConv2dConfig,
    inputs: &Inputs,
) -> Result<DoConv2d> {
    let mut variables = HashMap::new();
    let mut add = |name: &str, tensor: Tensor| -> Result<()> {
        variables.insert(name.to_owned(), Var::from_tensor(&tensor)?.into_inner());
        Ok(())
    };
    add("W", tensor::<T, _>(&inputs.w)?)?;
    if let Some(d_offset) = &inputs.d_offset {
        add("D", tensor::<T, _>(d_offset)?)?;
    }
    if let Some(bias) = &inputs.bias {
        add("bias", tensor::<T, _>(bias)?)?;
    }
    let vb = VarBuilder::from_tensors(variables, T::DTYPE, &Device::Cpu);
    let [rows, columns] = problem.kernel_size;
    let make = if problem.bias { do_conv2d } else { do_conv2d_no_bias };
    make(problem.in_channels, problem.out_channels, (rows, columns), config, vb)
}

/// What the layer and candle's autograd compute.
pub fn solve<T: Element>(layer: &DoConv2d, inputs: &Inputs) -> Result<Outputs> {
    let x = Var::from_tensor(&tensor::<T, _>(&inputs.x)?)?;
    let y = layer.forward(&x)?;
    let gradients = (&y * tensor::<T, _>(&inputs.dy)?)?.sum_all()?.backward()?;
    let gradient = |of: &Tensor| array::<T>(gradients.get(of).expect("a gradient"));
    let mut outputs = vec![
        ("kernel", array::<T>(&layer.weight()?)?),
        ("y", array::<T>(&y)?),
        ("dx", gradient(&x)?),
        ("dw", gradient(layer.w())?),
    ];
    if let Some(d_offset) = layer.d_offset() {
        outputs.push(("dd_offset", gradient(d_offset)?));
    }
    if let Some(bias) = layer.bias() {
        outputs.push(("dbias", gradient(bias)?));
    }
    Ok(outputs)
}
