//! Batch normalisations of a checkpoint, which are folded into the layers before them.

use crate::checkpoint::layers::layer_info::LayerInfo;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};
use crate::layer::batch_norm::BatchNorm;

use super::finite::expect_finite;

/// A batch normalisation's numbers, checked against the layer before it.
pub struct NormValues<'a> {
    operation: Operation,
    /// The names of its tensors.
    pub keys: Vec<&'a str>,
    weight: Option<Vec<f64>>,
    bias: Option<Vec<f64>>,
    running_mean: Vec<f64>,
    running_var: Vec<f64>,
    eps: f64,
}

impl<'a> NormValues<'a> {
    /// Reads the batch normalisation `name` after `layer`.
    pub fn read(
        operation: Operation,
        checkpoint: &'a Checkpoint,
        layer: &LayerInfo,
        name: &str,
        eps: f64,
    ) -> Result<Self> {
        let tensors = &checkpoint.tensors;
        let channels = layer.out_channels();
        // As PyTorch, Keras and MXNet name them.
        let find_in = |separator: char, parts: &[&str]| {
            let keys = parts
                .iter()
                .flat_map(|part| ["", ":0"].map(|end| format!("{name}{separator}{part}{end}")));
            keys.into_iter().find_map(|key| tensors.get_key_value(&key)).map(|(key, _)| &**key)
        };
        let mean = ["running_mean", "moving_mean"];
        let separator = ['.', '/', '_'].into_iter().find(|&at| find_in(at, &mean).is_some());
        let find = |parts: &[&str]| find_in(separator.unwrap_or('.'), parts);
        let mut keys = Vec::new();
        let mut values = |parts: &[&str]| -> Result<Option<Vec<f64>>> {
            let Some(key) = find(parts) else { return Ok(None) };
            keys.push(key);
            let shape = tensors[key].shape();
            if shape != [channels] {
                let expected = format!("shape [{channels}], a number a channel");
                let got = format!("{shape:?}");
                return Err(operation.error(ErrorKind::Format, shown(key), expected, got));
            }
            let values = checkpoint.values_of(operation, key)?;
            expect_finite(operation, key, &values, 0)?;
            Ok(Some(values))
        };
        let weight = values(&["weight", "gamma"])?;
        let bias = values(&["bias", "beta"])?;
        let mean = values(&mean)?;
        let var = values(&["running_var", "moving_variance", "moving_var"])?;
        keys.extend(find(&["num_batches_tracked"]));
        let (Some(running_mean), Some(running_var)) = (mean, var) else {
            let expected = "a batch normalisation with running_mean and running_var";
            let got = shown(name);
            return Err(operation.error(ErrorKind::Config, "batch_norms", expected, got));
        };
        let values = Self { operation, keys, weight, bias, running_mean, running_var, eps };
        values.view().validate(operation, channels)?;
        Ok(values)
    }

    /// What each output channel of the layer's kernel is multiplied by.
    pub fn scale(&self) -> Vec<f64> {
        let norm = self.view();
        (0..self.running_mean.len()).map(|channel| norm.scale(channel)).collect()
    }

    /// The layer's bias with the batch normalisation folded in.
    pub fn folded_bias(&self, checkpoint: &Checkpoint, layer: &LayerInfo) -> Result<Tensor> {
        let own = match &layer.keys().bias {
            Some(key) => checkpoint.values_of(self.operation, key)?,
            None => vec![0.0; layer.out_channels()],
        };
        let norm = self.view();
        let mut values: Vec<_> =
            own.iter().enumerate().map(|(channel, &own)| norm.apply(channel, own)).collect();
        let float = layer.float();
        let mut bytes = vec![0; values.len() * float.size()];
        float.round(&mut values, &mut bytes);
        expect_finite(self.operation, &format!("{}bias", layer.keys().prefix), &values, 0)?;
        Tensor::new(layer.dtype(), &[values.len()], &bytes)
    }

    fn view(&self) -> BatchNorm<'_, f64> {
        BatchNorm {
            weight: self.weight.as_deref(),
            bias: self.bias.as_deref(),
            running_mean: &self.running_mean,
            running_var: &self.running_var,
            eps: self.eps,
        }
    }
}
