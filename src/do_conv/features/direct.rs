//! Features of groups with few output channels, a register of pixels at a time: a few features are summed
//! in registers and multiplied by `W` there, and never stored.
//!
//! ```text
//! for each input channel of the group, for each few features s         two vectors of pixels p
//!     f[s, p] = Σ_m D[m, s] · x[p + m]                                 in registers
//!     y[o, p] += Σ_s W[o, s] · f[s, p]
//! ```

use std::ops::Range;

use super::depthwise::{Depthwise, Receiver};
use crate::compose::Factors;
use crate::config::geometry::Geometry;
use crate::conv::direct::pixels::{Job, PixelSums, Source};
use crate::conv::engine::Engine;
use crate::conv::kernel_axes;
use crate::do_conv::counts::Counts;
use crate::machine::element::Element;
use crate::machine::memory::{Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::Simd;

/// Writes `y`, `[B, O, OH, OW]`.
pub(super) fn forward<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    factors: Factors<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    let Factors { composer, w, .. } = factors;
    let d = Depthwise::new(engine, &factors)?;
    let axes = kernel_axes(geometry);
    let parts = engine.blocking.depths(composer.group_inputs, composer.d_mul);
    let maccs = Counts::new(geometry, composer, false).feature_maccs;
    let maccs = maccs.0.and_then(|maccs| usize::try_from(maccs).ok()).unwrap_or(usize::MAX);
    let products =
        Products { group_inputs: composer.group_inputs, d_mul: composer.d_mul, d: &d, w };
    let job = Job::new(engine, geometry, &axes, parts, (products, maccs), x, bias);
    let scratch = Scratch::take(engine.memory, job.need())?;
    job.run(&scratch, &Shared::new(y));
    Ok(())
}

/// The features of pixels, multiplied by `W`.
struct Products<'a, T: Element> {
    group_inputs: usize,
    d_mul: usize,
    d: &'a Depthwise<'a, T>,
    /// `[O, n, S]`.
    w: &'a [T],
}

impl<T: Element> PixelSums<T> for Products<'_, T> {
    #[inline(always)]
    fn add<S: Simd<T>, const V: usize>(
        &self,
        simd: S,
        source: &Source<T, S::Mask, S::EvenMask>,
        inputs: Range<usize>,
        places: [[usize; 2]; V],
        sums: &mut [[S::Vector; V]],
    ) {
        let &Self { group_inputs, d_mul, d, w } = self;
        let &Source { group, strip, data } = source;
        let (distance, group_len) = (group_inputs * d_mul, sums.len() * group_inputs * d_mul);
        let w = &w[group * group_len..][..group_len];
        for input in inputs {
            let x = &data[input * strip.channel_len..];
            let mut multiply = Multiply { w: &w[input * d_mul..], distance, sums };
            d.features(simd, group * group_inputs + input, (strip, x), places, &mut multiply);
        }
    }
}

/// Multiplies features of a channel by their weights.
struct Multiply<'a, T, Vectors> {
    /// From the channel's on.
    w: &'a [T],
    /// From one output channel to the next.
    distance: usize,
    /// By output channel.
    sums: &'a mut [Vectors],
}

impl<T: Element, S: Simd<T>, const V: usize> Receiver<T, S, V> for Multiply<'_, T, [S::Vector; V]> {
    #[inline(always)]
    fn take<const Q: usize>(&mut self, simd: S, s: usize, features: &[[S::Vector; V]; Q]) {
        let weights = self.w[s..].chunks(self.distance);
        for (target, w) in self.sums.iter_mut().zip(weights) {
            // In memory, each product would be written.
            let mut sums = *target;
            for (feature, &w) in features.iter().zip(&w[..Q]) {
                let w = simd.splat(w);
                for (sum, &feature) in sums.iter_mut().zip(feature) {
                    *sum = simd.fma(w, feature, *sum);
                }
            }
            *target = sums;
        }
    }
}
