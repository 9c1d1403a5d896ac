//! Batch normalisations of a checkpoint, which are folded into the convolutions before them.

use super::finite::{expect_finite, finite_values};
use super::unfused::Unfused;
use crate::checkpoint::float::Float;
use crate::checkpoint::state::Checkpoint;
use crate::checkpoint::tensor::Tensor;
use crate::checkpoint::text::shown;
use crate::error::{ErrorKind, Operation, Result};
use crate::layer::batch_norm::BatchNorm;

/// What a batch normalisation's name is followed by in its keys.
const SEPARATORS: [char; 3] = ['.', '/', '_'];

// As PyTorch, burn, Keras and MXNet name them.
const WEIGHT: &[&str] = &["weight", "gamma"];
const BIAS: &[&str] = &["bias", "beta"];
const MEAN: &[&str] = &["running_mean", "moving_mean"];
const VAR: &[&str] = &["running_var", "moving_variance", "moving_var"];

/// The batch normalisations of a checkpoint with their channels, by name.
pub fn batch_norms(checkpoint: &Checkpoint) -> impl Iterator<Item = (&str, usize)> {
    checkpoint.tensors().filter_map(|(key, tensor)| {
        let end = key.strip_suffix(":0").unwrap_or(key);
        let prefix = MEAN.iter().find_map(|mean| end.strip_suffix(mean))?;
        let name = prefix.strip_suffix(SEPARATORS)?;
        let separator = prefix.chars().next_back()?;
        let var = checkpoint.get(find(checkpoint, name, separator, VAR)?)?;
        let &[channels] = tensor.shape() else { return None };
        (var.shape() == [channels]).then_some((name, channels))
    })
}

/// The key of the tensor of a batch normalisation that has one of those last parts.
fn find<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
    separator: char,
    parts: &[&str],
) -> Option<&'a str> {
    let ends = parts.iter().flat_map(|part| ["", ":0"].map(|end| (*part, end)));
    let mut keys = ends.map(|(part, end)| format!("{name}{separator}{part}{end}"));
    keys.find_map(|key| checkpoint.tensors.get_key_value(&key)).map(|(key, _)| key.as_str())
}

/// A batch normalisation's numbers, checked against the convolution before it.
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

/// What a batch normalisation makes of the convolution before it.
pub struct Folded {
    /// What each output channel of the kernel is multiplied by.
    pub scale: Vec<f64>,
    pub bias: Tensor,
    /// What the check compares with.
    pub unfused: Vec<Unfused>,
}

impl<'a> NormValues<'a> {
    /// Reads the batch normalisation `name` after a convolution of so many output channels.
    pub fn read(
        operation: Operation,
        checkpoint: &'a Checkpoint,
        channels: usize,
        name: &str,
        eps: f64,
    ) -> Result<Self> {
        let has_mean = |at: &char| find(checkpoint, name, *at, MEAN).is_some();
        let separator = SEPARATORS.into_iter().find(has_mean).unwrap_or('.');
        let find = |parts: &[&str]| find(checkpoint, name, separator, parts);
        let mut keys = Vec::new();
        let mut values = |parts: &[&str]| -> Result<Option<Vec<f64>>> {
            let Some(key) = find(parts) else { return Ok(None) };
            keys.push(key);
            let shape = checkpoint.tensors[key].shape();
            if shape != [channels] {
                let expected = format!("shape [{channels}], a number a channel");
                let got = format!("{shape:?}");
                return Err(operation.error(ErrorKind::Format, shown(key), expected, got));
            }
            finite_values(operation, checkpoint, key).map(Some)
        };
        let weight = values(WEIGHT)?;
        let bias = values(BIAS)?;
        let mean = values(MEAN)?;
        let var = values(VAR)?;
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

    /// Folds it into a convolution of that bias of its own, if any; the folded one is to be `key`.
    pub fn fold(&self, own: Option<Vec<f64>>, float: Float, key: &str) -> Result<Folded> {
        let norm = self.view();
        let channels = self.running_mean.len();
        let own = own.unwrap_or_else(|| vec![0.0; channels]);
        let mut bias: Vec<_> =
            own.iter().enumerate().map(|(channel, &own)| norm.apply(channel, own)).collect();
        let mut bytes = vec![0; bias.len() * float.size()];
        float.round(&mut bias, &mut bytes);
        expect_finite(self.operation, key, &bias, 0)?;
        Ok(Folded {
            scale: (0..channels).map(|channel| norm.scale(channel)).collect(),
            unfused: self.unfused(&own, &bias),
            bias: Tensor::new(float.dtype(), &[channels], &bytes)?,
        })
    }

    /// What the check compares with, for the convolution's own bias and the folded one.
    fn unfused(&self, own: &[f64], bias: &[f64]) -> Vec<Unfused> {
        let of = |values: &Option<Vec<f64>>, channel: usize, default| {
            values.as_ref().map_or(default, |values| values[channel])
        };
        let channels = own.iter().zip(bias).enumerate();
        channels
            .map(|(channel, (&own, &bias))| Unfused {
                own,
                mean: self.running_mean[channel],
                var: self.running_var[channel] + self.eps,
                weight: of(&self.weight, channel, 1.0),
                shift: of(&self.bias, channel, 0.0),
                bias,
            })
            .collect()
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
