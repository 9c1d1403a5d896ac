//! This crate.

use std::hint::black_box;

use anyhow::{Context, Result};
use do_conv::{Algorithm, Conv2d, DoConv2d};
use ndarray::{Array3, Array4, ArrayRef, Dimension};

use crate::data::{D_OFFSET, DY, Element, Exact, WEIGHT, X, values};
use crate::layers::Layer;
use crate::race::{Local, Results};

/// `Conv2d::forward_into`, with an output that is there already.
pub fn forward<T: Element>(layer: &Layer, algorithm: Algorithm) -> Result<Local> {
    let (conv, x) = (plain::<T>(layer, algorithm)?, array(layer.input_shape(), X)?);
    let mut y = Array4::zeros(layer.output_shape());
    Ok(Local::new(move |results| {
        conv.forward_into(&x, &mut y)?;
        show(results, &y)
    }))
}

/// `Conv2d::forward` and `Conv2d::backward`, after parameters have changed.
pub fn plain_step<T: Element>(layer: &Layer, algorithm: Algorithm) -> Result<Local> {
    let (mut conv, x) = (plain::<T>(layer, algorithm)?, array(layer.input_shape(), X)?);
    let dy = array(layer.output_shape(), DY)?;
    Ok(Local::new(move |results| {
        black_box(conv.parameters_mut().count());
        let y = conv.forward(&x)?;
        let gradients = conv.backward(&x, &dy)?;
        show(results, &y)?;
        show(results, &gradients.x.context("no gradient of x")?)?;
        show(results, &gradients.weight)
    }))
}

/// `DoConv2d::forward` and `DoConv2d::backward`, after parameters have changed; all but the algorithm is
/// as the default configuration has it.
pub fn do_step<T: Element>(layer: &Layer, algorithm: Algorithm) -> Result<Local> {
    let taps = layer.taps();
    let w_shape = (layer.outputs, layer.inputs / layer.groups, taps);
    let w = Array3::from_shape_vec(w_shape, values(&layer.weight_shape(), WEIGHT))?;
    let d_offset = match taps {
        1 => None,
        _ => {
            let shape = [layer.inputs, taps, taps];
            Some(Array3::from_shape_vec(shape, values(&shape, D_OFFSET))?)
        }
    };
    let config = layer.do_config().algorithm(algorithm);
    let mut conv: DoConv2d<T> = DoConv2d::from_parameters(config, d_offset, w, None)?;
    let (x, dy) = (array(layer.input_shape(), X)?, array(layer.output_shape(), DY)?);
    Ok(Local::new(move |results| {
        black_box(conv.parameters_mut().count());
        let y = conv.forward(&x)?;
        let gradients = conv.backward(&x, &dy)?;
        show(results, &y)?;
        show(results, &gradients.x.context("no gradient of x")?)?;
        show(results, &gradients.w)?;
        gradients.d_offset.map_or(Ok(()), |d_offset| show(results, &d_offset))
    }))
}

/// What a forward pass of `T`s should give, by sums of `f64`.
pub fn exact<T: Element>(layer: &Layer) -> Result<Exact> {
    let wide = |shape: [usize; 4], content| -> Result<Array4<f64>> {
        Ok(array::<T>(shape, content)?.mapv(T::widen))
    };
    let (x, weight) = (wide(layer.input_shape(), X)?, wide(layer.weight_shape(), WEIGHT)?);
    let forward = |x: &Array4<f64>, weight| -> Result<Vec<f64>> {
        let conv = Conv2d::from_parameters(layer.plain_config(), weight, None)?;
        Ok(conv.forward(x)?.into_raw_vec_and_offset().0)
    };
    let sizes = forward(&x.mapv(f64::abs), weight.mapv(f64::abs))?;
    Ok(Exact { y: forward(&x, weight)?, sizes })
}

fn plain<T: Element>(layer: &Layer, algorithm: Algorithm) -> Result<Conv2d<T>> {
    let weight = array(layer.weight_shape(), WEIGHT)?;
    Ok(Conv2d::from_parameters(layer.plain_config().algorithm(algorithm), weight, None)?)
}

fn array<T: Element>(shape: [usize; 4], content: (u64, f64)) -> Result<Array4<T>> {
    Ok(Array4::from_shape_vec(shape, values(&shape, content))?)
}

fn show<T: Element, D: Dimension>(results: &mut Results, array: &ArrayRef<T, D>) -> Result<()> {
    results.show(array.as_slice().context("an array is not in standard layout")?);
    Ok(())
}
