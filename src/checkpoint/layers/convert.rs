//! From a checkpoint to a layer and back.

use ndarray::{Array1, Array3, ArrayD, ArrayView, Dimension};
use safetensors::Dtype;

use super::layer_info::LayerInfo;
use crate::checkpoint::axes::stored_shape;
use crate::checkpoint::float::Float;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::compose::Composer;
use crate::config::{DoConv2dConfig, Pairing};
use crate::error::{ErrorKind, Operation, Result};
use crate::layer::do_conv2d::DoConv2d;
use crate::scalar::Scalar;

impl Checkpoint {
    /// A layer as it is in the checkpoint, its numbers rounded to `T`; `config` is what
    /// [`LayerInfo::config`] gives, with stride, dilation and padding.
    ///
    /// # Errors
    /// As [`DoConv2d::from_parameters`]; [`ErrorKind::Config`] if this isn't the checkpoint with the
    /// layer; [`ErrorKind::File`] and [`ErrorKind::Format`] for tensors that can't be read.
    pub fn layer<T: Scalar>(
        &self,
        layer: &LayerInfo,
        config: DoConv2dConfig,
    ) -> Result<DoConv2d<T>> {
        const OPERATION: Operation = Operation("Checkpoint::layer");
        let array = |key: &str, shape: [usize; 3], axes: [usize; 3]| -> Result<Array3<T>> {
            let values = self.values_of(OPERATION, key)?.into_iter().map(T::round_from).collect();
            let array = ArrayD::from_shape_vec(&stored_shape(shape, axes)[..], values);
            let array =
                array.and_then(|array| array.permuted_axes(&axes[..]).into_dimensionality());
            array.map_err(|error| {
                let expected = format!("a tensor of the elements of {shape:?}");
                OPERATION.error(ErrorKind::Config, shown(key), expected, error)
            })
        };
        let framework = layer.framework;
        let w = array(&layer.keys.w, layer.w_shape, framework.w_axes())?;
        let mut d_offset = match (&layer.keys.d, layer.d_shape) {
            (Some(key), Some(shape)) => Some(array(key, shape, framework.d_axes())?),
            _ => None,
        };
        if let (Some(key), Some(d_offset)) = (layer.inexact_identity(), &mut d_offset) {
            // As differences from the exact one, which the layer adds.
            let mut own = self.values_of(OPERATION, key)?;
            layer.composer().at_identity(&mut own).for_each(|value| *value -= 1.0);
            d_offset.iter_mut().zip(own).for_each(|(value, own)| {
                *value = T::round_from(value.widen() + own);
            });
        }
        let bias = match &layer.keys.bias {
            Some(key) => {
                let values = self.values_of(OPERATION, key)?;
                Some(values.into_iter().map(T::round_from).collect::<Array1<T>>())
            }
            None => None,
        };
        DoConv2d::from_parameters(config, d_offset, w, bias)
    }

    /// Puts in a layer by the keys of the published PyTorch code, which then loads it if the layer's
    /// pairing is its own or doesn't matter: `NAME.W`, `NAME.D`, `NAME.d_diag` and `NAME.bias`, those
    /// that the layer has. Kernel size and pairing go into the metadata, where
    /// [`Checkpoint::layers`] finds them. Tensors of these names are replaced.
    ///
    /// # Errors
    /// [`ErrorKind::Overflow`] for a layer too large for a tensor.
    pub fn insert_layer<T: Scalar>(&mut self, name: &str, layer: &DoConv2d<T>) -> Result<()> {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}.") };
        let mut tensors = vec![("W", tensor(layer.w())?)];
        if let Some(d_offset) = layer.d_offset() {
            let Composer { taps, d_mul, .. } = layer.composer;
            let mut identity = Array3::<T>::zeros(d_offset.raw_dim());
            for mut channel in identity.outer_iter_mut() {
                for s in 0..d_mul / taps * taps {
                    channel[[s % taps, s]] = T::one();
                }
            }
            tensors.push(("D", tensor(d_offset)?));
            tensors.push(("d_diag", tensor(identity.view())?));
        }
        if let Some(bias) = layer.bias() {
            tensors.push(("bias", tensor(bias)?));
        }
        for key in ["W", "D", "d_diag", "D_diag", "bias"] {
            self.remove(&format!("{prefix}{key}"));
        }
        for (key, tensor) in tensors {
            self.insert(format!("{prefix}{key}"), tensor);
        }
        let [kernel_size, (key, text)] = layer.config().metadata(name);
        self.metadata.extend([kernel_size]);
        // Where it doesn't matter, a reader may as well take its own; not that of the file's others.
        let is_told = layer.spec.groups > 1
            || layer.config().pairing != Pairing::default()
            || self.metadata.contains_key(Pairing::METADATA_KEY);
        match is_told {
            true => self.metadata.insert(key, text),
            false => self.metadata.remove(&key),
        };
        Ok(())
    }
}

fn tensor<T: Scalar, D: Dimension>(array: ArrayView<'_, T, D>) -> Result<Tensor> {
    let (float, dtype) = match size_of::<T>() {
        4 => (Float::F32, Dtype::F32),
        _ => (Float::F64, Dtype::F64),
    };
    let mut values: Vec<f64> = array.iter().map(|value| value.widen()).collect();
    let mut bytes = vec![0; values.len() * float.size()];
    float.round(&mut values, &mut bytes);
    Tensor::new(dtype, array.shape(), &bytes)
}
