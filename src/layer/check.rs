//! A check that a folded layer is its source.

use ndarray::{Array4, ArrayRef, ArrayView4, Axis, Dimension};

use super::conv2d::Conv2d;
use super::do_conv2d::DoConv2d;
use super::sampler::Sampler;
use super::windows::window_sums;
use crate::array::contiguous_mut;
use crate::config::Composition;
use crate::config::algorithm::{Algorithm, TileErrors};
use crate::config::geometry::Geometry;
use crate::error::{ErrorKind, Operation, Result};
use crate::scalar::Scalar;

/// What a comparison of a folded layer with its source found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FoldCheck {
    /// The largest difference of an output element of the folded layer from the same element computed
    /// in `f64` by the source's parameters; infinite if any is not a number.
    pub largest_difference: f64,
    /// The rounding-error bound of the element with the largest difference, `γ_k · (A + |bias|)` with
    /// `γ_k = k·u / (1 − k·u)`, `k = n·MN + S + 2` and `A = Σ |x||D||W|`, and the same of the `f64`
    /// reference, which matters for `f64` layers only.
    ///
    /// Of a layer that one of Winograd's algorithms computes
    /// ([`Conv2d::algorithm`](crate::Conv2d::algorithm)), `γ_k · (κ·A + |bias|)` with `k = n + S + 40` and
    /// `A = Σ_c max|x_c| · Σ_taps |D||W|`, as [`Algorithm`] has it.
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
    /// where the pairing has none, by kernel composition in `f64`. Both are direct sums, whatever the layer's
    /// [`Algorithm`].
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if `folded` has another geometry or bias setting than this layer; else as
    /// [`DoConv2d::forward`].
    pub fn check_fold<D: Dimension>(
        &self,
        folded: &Conv2d<T>,
        x: &ArrayRef<T, D>,
    ) -> Result<FoldCheck> {
        const OPERATION: Operation = Operation("DoConv2d::check_fold");
        let x: ArrayView4<T> = OPERATION.view("x", x)?;
        let geometry = Geometry::new(OPERATION, &self.spec, x.dim().into())?;
        if folded.spec != self.spec || folded.bias.is_some() != self.bias.is_some() {
            let (expected, got) = (self.fold().to_string(), folded.to_string());
            return Err(OPERATION.error(ErrorKind::Config, "folded", expected, got));
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
        reference.spec.algorithm = Algorithm::Direct;
        if has_feature {
            reference.config.composition = Composition::Feature;
        }
        let mut wide: Array4<f64> = OPERATION.zeros("x", x.raw_dim())?;
        wide.zip_mut_with(&x, |wide, x| *wide = x.widen());
        let exact = reference.forward(&wide)?;
        wide.mapv_inplace(f64::abs);
        let absolute = reference.absolute();
        let sums = absolute.forward(&wide)?;

        let (n, taps, d_mul) = (self.composer.group_inputs, self.composer.taps, self.d_mul());
        let gamma = |terms: usize, roundoff: f64| {
            let error = terms as f64 * roundoff;
            error / (1.0 - error)
        };
        let reference_terms = (n * d_mul + taps).max(n * taps + d_mul) + 2;
        let reference_gamma = gamma(reference_terms, f64::UNIT_ROUNDOFF);
        // What the layer's own roundings count, and how often.
        let (sizes, terms) = match geometry.algorithm().tile_errors() {
            None => (None, n * taps + d_mul + 2),
            Some(errors) => {
                let windows = window_sums(OPERATION, &geometry, errors, &wide, &absolute.weight())?;
                let mut sizes = windows * errors.amplification;
                if let Some(bias) = &absolute.bias {
                    sizes += &bias.view().insert_axis(Axis(1)).insert_axis(Axis(1));
                }
                (Some(sizes), n + d_mul + TileErrors::ROUNDINGS)
            }
        };
        let gamma = gamma(terms, T::UNIT_ROUNDOFF);
        let bound_of =
            |size: f64, sum: f64| (gamma * size + reference_gamma * sum) * (1.0 + reference_gamma);

        let mut check =
            FoldCheck { largest_difference: 0.0, bound: 0.0, within_bound: true, same_bits };
        let sizes = sizes.as_ref().unwrap_or(&sums);
        for (((y, exact), &sum), &size) in y.iter().zip(&exact).zip(&sums).zip(sizes) {
            let difference = (y.widen() - exact).abs();
            let difference = if difference.is_nan() { f64::INFINITY } else { difference };
            let bound = bound_of(size, sum);
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
        const OPERATION: Operation = Operation("DoConv2d::check_fold_random");
        Geometry::new(OPERATION, &self.spec, input)?;
        let mut x: Array4<T> = OPERATION.zeros("x", input)?;
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
