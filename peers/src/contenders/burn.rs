//! `burn-flex`, burn's CPU backend: the functions behind `burn`'s convolution and its derivative.

use std::hint::black_box;

use burn_backend::TensorData;
use burn_backend::ops::{ConvOptions, ModuleOps};
use burn_flex::{Flex, FlexTensor};

use crate::data::{DY, Element, WEIGHT, X, values};
use crate::layers::Layer;
use crate::race::Local;

pub fn forward<T: Element>(layer: &Layer) -> Local {
    let (x, weight) =
        (tensor::<T>(layer.input_shape(), X), tensor::<T>(layer.weight_shape(), WEIGHT));
    let options = options(layer);
    Local::new(move |results| {
        // A clone counts one reference more; it copies nothing.
        let y = Flex::conv2d(x.clone(), weight.clone(), None, options.clone());
        results.show::<T>(y.storage());
        Ok(())
    })
}

/// What its autodiff calls for a plain convolution.
pub fn step<T: Element>(layer: &Layer) -> Local {
    let (x, weight) =
        (tensor::<T>(layer.input_shape(), X), tensor::<T>(layer.weight_shape(), WEIGHT));
    let dy = tensor::<T>(layer.output_shape(), DY);
    let options = options(layer);
    Local::new(move |results| {
        let y = Flex::conv2d(x.clone(), weight.clone(), None, options.clone());
        let dx = Flex::conv2d_x_backward(x.clone(), weight.clone(), dy.clone(), options.clone());
        let dw =
            Flex::conv2d_weight_backward(x.clone(), weight.clone(), dy.clone(), options.clone());
        // Gradients may be transposed views; the copy is no part of the step.
        for result in [y, dx, dw] {
            if results.wanted() {
                results.show::<T>(result.to_contiguous().storage());
            } else {
                black_box(result);
            }
        }
        Ok(())
    })
}

fn tensor<T: Element>(shape: [usize; 4], content: (u64, f64)) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values::<T>(&shape, content), shape))
}

fn options(layer: &Layer) -> ConvOptions<2> {
    ConvOptions::new([layer.stride; 2], [layer.padding; 2], [layer.dilation; 2], layer.groups)
}
