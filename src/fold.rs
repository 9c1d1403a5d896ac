//! Folding a layer into a plain convolution, the way back, batch normalisation folded in, and a
//! check that a folded layer is its source.

use ndarray::{Array3, Array4, ArrayRef, ArrayView4, Dimension};

use crate::array::{self, contiguous, contiguous_mut};
use crate::config::{Composition, DoConv2dConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::geometry::Geometry;
use crate::init::Sampler;
use crate::{Conv2d, DoConv2d, Scalar};

impl<T: Scalar> DoConv2d<T> {
    /// The plain convolution by the composed kernel: the same function at the cost of a plain layer.
    /// Its output has the same bits as this layer's under [`Composition::Kernel`]. As for a clone, where
    /// there is no room for it the process ends.
    pub fn fold(&self) -> Conv2d<T> {
        Conv2d {
            config: self.config.conv.clone(),
            spec: self.spec,
            weight: self.weight(),
            bias: self.bias.clone(),
            workspace: Default::default(),
        }
    }

    /// The over-parameterized form of a plain layer: the same function, to go on training from.
    /// `W` is the kernel, filled up with zeros to `d_mul` (default `M·N`), and `D` the identity.
    ///
    /// For finite weights it convolves by the very kernel of `conv` (a zero may lose its sign).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a `d_mul` smaller than `M·N` or one for a 1×1 kernel;
    /// [`ErrorKind::Overflow`] and [`ErrorKind::Memory`] for one that is too large.
    pub fn from_conv2d(conv: &Conv2d<T>, d_mul: Option<usize>) -> Result<Self> {
        const OPERATION: &str = "DoConv2d::from_conv2d";
        let config = DoConv2dConfig { d_mul, ..conv.config.clone().into() };
        let (spec, d_mul) = config.spec(OPERATION)?;
        let taps = spec.taps();
        let w_shape = [spec.out_channels, spec.group_inputs(), d_mul];
        let mut w: Array3<T> = array::zeros(OPERATION, "w", w_shape)?;
        let weight = contiguous(conv.weight.view());
        let rows = contiguous_mut(&mut w).chunks_exact_mut(d_mul);
        rows.zip(weight.chunks_exact(taps))
            .for_each(|(w, kernel)| w[..taps].copy_from_slice(kernel));
        let d_offset = match taps {
            1 => None,
            _ => Some(array::zeros(OPERATION, "d_offset", [spec.in_channels, taps, d_mul])?),
        };
        Self::from_parameters(config, d_offset, w, conv.bias.clone())
    }
}

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
    pub(crate) fn validate(&self, operation: &'static str, channels: usize) -> Result<()> {
        let &Self { weight, bias, running_mean, running_var, eps } = self;
        for (field, slice) in [
            ("batch_norm.weight", weight),
            ("batch_norm.bias", bias),
            ("batch_norm.running_mean", Some(running_mean)),
            ("batch_norm.running_var", Some(running_var)),
        ] {
            if let Some(slice) = slice {
                array::expect_shape(operation, field, &[channels], &[slice.len()])?;
            }
        }
        for &var in running_var {
            let sum = var.widen() + eps;
            if !(sum > 0.0 && sum.is_finite()) {
                let field = "batch_norm.running_var";
                let expected = "a variance that is positive and finite with eps added";
                let got = format!("{var} + {eps}");
                return Err(Error::new(ErrorKind::Value, operation, field, expected, got));
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
        const OPERATION: &str = "Conv2d::fold_batch_norm";
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

/// What a comparison of a folded layer with its source found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldCheck {
    /// The largest difference of an output element of the folded layer from the same element computed
    /// in `f64` by the source's parameters; infinite if any is not a number.
    pub largest_difference: f64,
    /// The rounding-error bound of the element with the largest difference, `γ_k · (A + |bias|)` with
    /// `γ_k = k·u / (1 − k·u)`, `k = n·MN + S + 2` and `A = Σ |x||D||W|`, and the same of the `f64`
    /// reference, which matters for `f64` layers only.
    pub bound: f64,
    /// Whether every element is within its own bound.
    pub within_bound: bool,
    /// Whether every element has the same bits as the source's own output under
    /// [`Composition::Kernel`].
    pub same_bits: bool,
}

impl<T: Scalar> DoConv2d<T> {
    /// Compares `folded` with this layer on the input `x`, `[B, I, H, W]`.
    ///
    /// The reference is computed in `f64` by feature composition, which shares no step with the fold;
    /// where the pairing has none, by kernel composition in `f64`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if `folded` has another geometry or bias setting than this layer; else as
    /// [`DoConv2d::forward`].
    pub fn check_fold<D: Dimension>(
        &self,
        folded: &Conv2d<T>,
        x: &ArrayRef<T, D>,
    ) -> Result<FoldCheck> {
        const OPERATION: &str = "DoConv2d::check_fold";
        let x: ArrayView4<T> = array::view(OPERATION, "x", x)?;
        Geometry::new(OPERATION, &self.spec, x.dim().into())?;
        if folded.spec != self.spec || folded.bias.is_some() != self.bias.is_some() {
            let (expected, got) = (self.fold().to_string(), folded.to_string());
            return Err(Error::new(ErrorKind::Config, OPERATION, "folded", expected, got));
        }
        let y = folded.forward(&x)?;

        let mut source = self.clone();
        source.config.composition = Composition::Kernel;
        let bits = |value: &T| value.widen().to_bits();
        let same_bits = source.forward(&x)?.iter().map(bits).eq(y.iter().map(bits));

        // The reference, and by the same computation on absolute values the sum that bounds its
        // rounding.
        let has_feature = self.config.pairing.is_by_input_channel(&self.spec);
        let mut reference = self.to_f64();
        if has_feature {
            reference.config.composition = Composition::Feature;
        }
        let mut wide: Array4<f64> = array::zeros(OPERATION, "x", x.raw_dim())?;
        wide.zip_mut_with(&x, |wide, x| *wide = x.widen());
        let exact = reference.forward(&wide)?;
        wide.mapv_inplace(f64::abs);
        let sums = reference.absolute().forward(&wide)?;

        let (n, taps, d_mul) = (self.composer.group_inputs, self.composer.taps, self.d_mul());
        let gamma = |terms: usize, roundoff: f64| {
            let error = terms as f64 * roundoff;
            error / (1.0 - error)
        };
        let reference_terms = (n * d_mul + taps).max(n * taps + d_mul) + 2;
        let reference_gamma = gamma(reference_terms, f64::UNIT_ROUNDOFF);
        let gamma = gamma(n * taps + d_mul + 2, T::UNIT_ROUNDOFF);
        let bound_of = |sum: f64| (gamma + reference_gamma) * sum * (1.0 + reference_gamma);

        let mut check =
            FoldCheck { largest_difference: 0.0, bound: 0.0, within_bound: true, same_bits };
        for ((y, exact), &sum) in y.iter().zip(&exact).zip(&sums) {
            let difference = (y.widen() - exact).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            let bound = bound_of(sum);
            check.within_bound &= difference <= bound;
            if difference >= check.largest_difference {
                check.largest_difference = difference;
                check.bound = bound;
            }
        }
        Ok(check)
    }

    /// Compares `folded` with this layer on an input of that shape, drawn from `U(−1, 1)`.
    ///
    /// # Errors
    /// As [`DoConv2d::check_fold`].
    pub fn check_fold_random(
        &self,
        folded: &Conv2d<T>,
        input: [usize; 4],
        seed: u64,
    ) -> Result<FoldCheck> {
        const OPERATION: &str = "DoConv2d::check_fold_random";
        Geometry::new(OPERATION, &self.spec, input)?;
        let mut x: Array4<T> = array::zeros(OPERATION, "x", input)?;
        Sampler::new(seed).uniform(1.0, contiguous_mut(&mut x));
        self.check_fold(folded, &x)
    }

    /// The layer with its parameters as `f64`, exactly.
    fn to_f64(&self) -> DoConv2d<f64> {
        DoConv2d {
            config: self.config.clone(),
            spec: self.spec,
            composer: self.composer,
            w: self.w.mapv(T::widen),
            d_offset: self.d_offset.as_ref().map(|d_offset| d_offset.mapv(T::widen)),
            bias: self.bias.as_ref().map(|bias| bias.mapv(T::widen)),
            revision: Default::default(),
            memory: Default::default(),
        }
    }
}

impl DoConv2d<f64> {
    /// The layer with the absolute values of `D`, `W` and the bias.
    fn absolute(&self) -> Self {
        let mut absolute = self.clone();
        absolute.w.mapv_inplace(f64::abs);
        if let Some(bias) = &mut absolute.bias {
            bias.mapv_inplace(f64::abs);
        }
        if let Some(d_offset) = &mut absolute.d_offset {
            let d_offset = contiguous_mut(d_offset);
            self.composer.at_identity(d_offset).for_each(|value| *value += 1.0);
            d_offset.iter_mut().for_each(|value| *value = value.abs());
            self.composer.at_identity(d_offset).for_each(|value| *value -= 1.0);
        }
        absolute
    }
}
