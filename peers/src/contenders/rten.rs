//! `rten`: the function behind its ONNX `Conv` operator.

use anyhow::{Context, Result, anyhow};
use rten::{BufferPool, ExtractBuffer, ThreadPool};
use rten_tensor::Tensor;
use rten_tensor::prelude::*;

use crate::data::{Element, WEIGHT, X, values};
use crate::layers::Layer;
use crate::race::{Contender, Local};

/// As its model executor calls it: in its own thread pool, and with a buffer pool that gives the
/// output of the call before to the next. There is none but for `f32`.
pub fn forward<T: Element>(layer: &Layer, threads: usize) -> Result<Option<Box<dyn Contender>>> {
    if T::NAME != f32::NAME {
        return Ok(None);
    }
    let layer = *layer;
    let x = Tensor::from_data(&layer.input_shape(), values::<f32>(&layer.input_shape(), X));
    let weight = values::<f32>(&layer.weight_shape(), WEIGHT);
    let weight = Tensor::from_data(&layer.weight_shape(), weight);
    let (threads, buffers) = (ThreadPool::with_num_threads(threads), BufferPool::new());
    let (strides, dilations) = ([layer.stride; 2], [layer.dilation; 2]);
    Ok(Some(Box::new(Local::new(move |results| {
        let y = threads.run(|| {
            rten::ops::conv::<f32, f32, f32>(
                &buffers,
                x.view(),
                weight.view(),
                None,
                [layer.padding; 4].into(),
                layer.groups,
                &strides,
                &dilations,
            )
        });
        let y = y.map_err(|error| anyhow!("rten: {error:?}"))?;
        results.show(y.data().context("rten's output is not contiguous")?);
        y.extract_buffer().into_iter().for_each(|buffer| buffers.add(buffer));
        Ok(())
    }))))
}
