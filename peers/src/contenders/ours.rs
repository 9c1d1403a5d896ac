//! This crate.

use std::hint::black_box;

use anyhow::{Context, Result};
use do_conv::{Conv2d, DoConv2d};
use ndarray::{Array3, Array4, ArrayRef, Dimension};

use crate::data::{D_OFFSET, DY, Element, WEIGHT, X, values};
use crate::layers::Layer;
use crate::race::{Local, Results};

/// `Conv2d::forward_into`, with an output that is there already.
pub fn forward<T: Element>(layer: &Layer) -> Result<Local> {
    let (conv, x) = (plain::<T>(layer)?, array(layer.input_shape(), X)?);
    let mut y = Array4::zeros(layer.output_shape());
    Ok(Local::new(move |results| {
        conv.forward_into(&x, &mut y)?;
        show(results, &y)
    }))
}

/// `Conv2d::forward` and `Conv2d::backward`, after parameters have changed.
pub fn plain_step<T: Element>(layer: &Layer) -> Result<Local> {
    let (mut conv, x) = (plain::<T>(layer)?, array(layer.input_shape(), X)?);
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

/// `DoConv2d::forward` and `DoConv2d::backward`, after parameters have changed, with the default
/// configuration.
pub fn do_step<T: Element>(layer: &Layer) -> Result<Local> {
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
    let mut conv: DoConv2d<T> = DoConv2d::from_parameters(layer.do_config(), d_offset, w, None)?;
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

fn plain<T: Element>(layer: &Layer) -> Result<Conv2d<T>> {
    let weight = array(layer.weight_shape(), WEIGHT)?;
    Ok(Conv2d::from_parameters(layer.plain_config(), weight, None)?)
}

fn array<T: Element>(shape: [usize; 4], content: (u64, f64)) -> Result<Array4<T>> {
    Ok(Array4::from_shape_vec(shape, values(&shape, content))?)
}

fn show<T: Element, D: Dimension>(results: &mut Results, array: &ArrayRef<T, D>) -> Result<()> {
    results.show(array.as_slice().context("an array is not in standard layout")?);
    Ok(())
}
