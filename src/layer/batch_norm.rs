//! Batch normalisation folded into the convolution before it.

use super::conv2d::Conv2d;
use crate::error::{ErrorKind, Operation, Result};
use crate::scalar::Scalar;

/// A batch normalisation at inference: `y = weight · (x − running_mean) / √(running_var + eps) + bias`
/// for each channel. Each slice has one element an output channel of the convolution before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm<'a, T> {
    /// Scale; one if absent.
    pub weight: Option<&'a [T]>,
    /// Shift; zero if absent.
    pub bias: Option<&'a [T]>,
    /// Mean of each channel.
    pub running_mean: &'a [T],
    /// Variance of each channel.
    pub running_var: &'a [T],
    /// Added to the variance; 1e-5 in most frameworks.
    pub eps: f64,
}

impl<T: Scalar> BatchNorm<'_, T> {
    /// Refuses slices that aren't one element a channel, and variances that can't be divided by.
    pub(crate) fn validate(&self, operation: Operation, channels: usize) -> Result<()> {
        let &Self { weight, bias, running_mean, running_var, eps } = self;
        for (field, slice) in [
            ("batch_norm.weight", weight),
            ("batch_norm.bias", bias),
            ("batch_norm.running_mean", Some(running_mean)),
            ("batch_norm.running_var", Some(running_var)),
        ] {
            if let Some(slice) = slice {
                operation.expect_shape(field, &[channels], &[slice.len()])?;
            }
        }
        for &var in running_var {
            let sum = var.widen() + eps;
            if !(sum > 0.0 && sum.is_finite()) {
                let field = "batch_norm.running_var";
                let expected = "a variance that is positive and finite with eps added";
                let got = format!("{var} + {eps}");
                return Err(operation.error(ErrorKind::Value, field, expected, got));
            }
        }
        Ok(())
    }

    /// What a channel is multiplied by.
    pub(crate) fn scale(&self, channel: usize) -> f64 {
        let deviation = (self.running_var[channel].widen() + self.eps).sqrt();
        self.weight.map_or(1.0, |weight| weight[channel].widen()) / deviation
    }

    /// What the value `own` of a channel becomes.
    pub(crate) fn apply(&self, channel: usize, own: f64) -> f64 {
        let centred = own - self.running_mean[channel].widen();
        centred * self.scale(channel) + self.bias.map_or(0.0, |bias| bias[channel].widen())
    }
}

impl<T: Scalar> Conv2d<T> {
    /// The convolution followed by a batch normalisation as one convolution, which has a bias:
    /// `weight[o] · s`, `(bias[o] − running_mean[o]) · s + shift[o]` with
    /// `s = scale[o] / √(running_var[o] + eps)`. Computed in `f64` and rounded once.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] for a slice that isn't one element a channel; [`ErrorKind::Value`] for a
    /// `running_var[o] + eps` that isn't positive and finite.
    pub fn fold_batch_norm(&self, batch_norm: &BatchNorm<'_, T>) -> Result<Self> {
        const OPERATION: Operation = Operation("Conv2d::fold_batch_norm");
        let channels = self.spec.out_channels;
        batch_norm.validate(OPERATION, channels)?;
        let mut folded = self.clone();
        folded.config.bias = true;
        for (channel, mut kernel) in folded.weight.outer_iter_mut().enumerate() {
            let scale = batch_norm.scale(channel);
            kernel.mapv_inplace(|value| T::round_from(value.widen() * scale));
        }
        let shifted = |channel: usize| {
            let own = self.bias.as_ref().map_or(0.0, |bias| bias[channel].widen());
            T::round_from(batch_norm.apply(channel, own))
        };
        folded.bias = Some((0..channels).map(shifted).collect());
        Ok(folded)
    }
}
