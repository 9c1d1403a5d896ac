//! `candle-core`.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};

use crate::data::{Element, WEIGHT, X, values};
use crate::layers::Layer;
use crate::race::Local;

/// `Tensor::conv2d`, in the context that candle gives to models on a CPU: its own thread pool.
pub fn forward<T: Element>(layer: &Layer) -> Result<Local> {
    let layer = *layer;
    let x = tensor::<T>(layer.input_shape(), X)?;
    let weight = tensor::<T>(layer.weight_shape(), WEIGHT)?;
    Ok(Local::new(move |results| {
        let y = Device::Cpu.with_context(|| {
            x.conv2d(&weight, layer.padding, layer.stride, layer.dilation, layer.groups)
        })?;
        let (storage, layout) = y.storage_and_layout();
        let candle_core::Storage::Cpu(storage) = &*storage else {
            anyhow::bail!("candle's output is not in memory");
        };
        let (start, end) =
            layout.contiguous_offsets().context("candle's output is not contiguous")?;
        results.show(&storage.as_slice::<T>()?[start..end]);
        Ok(())
    }))
}

fn tensor<T: Element>(shape: [usize; 4], content: (u64, f64)) -> Result<Tensor> {
    Ok(Tensor::from_vec(values::<T>(&shape, content), shape.as_slice(), &Device::Cpu)?)
}
