//! Features of groups with few output channels, a register of pixels at a time: a few features are summed
//! in registers and multiplied by `W` there, and never stored.
//!
//! ```text
//! for each input channel of the group, for each few features s         two vectors of pixels p
//!     f[s, p] = Σ_m D[m, s] · x[p + m]                                 in registers
//!     y[o, p] += Σ_s W[o, s] · f[s, p]
//! ```

use std::ops::Range;

use crate::compose::{Composer, Factors};
use crate::config::geometry::Geometry;
use crate::conv::direct::pixels::{Job, PixelSums, Source};
use crate::conv::engine::Engine;
use crate::conv::kernel_axes;
use crate::do_conv::counts::Counts;
use crate::machine::element::Element;
use crate::machine::memory::{Room, Scratch};
use crate::machine::shared::Shared;
use crate::machine::simd::{Simd, WithSimd, load};

/// Writes `y`, `[B, O, OH, OW]`.
pub(super) fn forward<T: Element>(
    engine: &Engine<T>,
    geometry: &Geometry,
    Factors { composer, d_offset, w }: Factors<T>,
    x: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) -> Room<()> {
    let mut d = engine.memory.buffer(d_offset.len())?;
    engine.run(Pack { composer, d_offset, d: &mut d });
    let axes = kernel_axes(geometry);
    let parts = engine.blocking.depths(composer.group_inputs, composer.d_mul);
    let maccs = Counts::new(geometry, composer, false).feature_maccs;
    let maccs = maccs.0.and_then(|maccs| usize::try_from(maccs).ok()).unwrap_or(usize::MAX);
    let products = Products { composer, d: &d, w };
    let job = Job::new(engine, geometry, &axes, parts, (products, maccs), x, bias);
    let scratch = Scratch::take(engine.memory, job.need())?;
    job.run(&scratch, &Shared::new(y));
    Ok(())
}

/// How many of the features that are left are summed together: with two vectors of pixels, as many as
/// there are registers for.
const fn together<T: Copy, S: Simd<T>>(left: usize) -> usize {
    match (left, S::REGISTERS) {
        (9.., 32..) => 9,
        (4.., 16..) => 4,
        (2.., _) => 2,
        _ => 1,
    }
}

/// Writes `D = d_offset + E` by channel, by features that are summed together, by tap.
struct Pack<'a, T> {
    composer: &'a Composer,
    /// `[I, MN, S]`.
    d_offset: &'a [T],
    d: &'a mut [T],
}

impl<T: Element> WithSimd<T> for Pack<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        let Self { composer, d_offset, d } = self;
        let &Composer { taps, d_mul, .. } = composer;
        let mut targets = d.iter_mut();
        for channel in d_offset.chunks_exact(taps * d_mul) {
            let mut s = 0;
            while s < d_mul {
                let some = s..s + together::<T, S>(d_mul - s);
                s = some.end;
                for (tap, row) in channel.chunks_exact(d_mul).enumerate() {
                    for (s, target) in some.clone().zip(&mut targets) {
                        *target = match composer.identity_tap(s) == Some(tap) {
                            true => row[s] + T::one(),
                            false => row[s],
                        };
                    }
                }
            }
        }
    }
}

/// The features of pixels, multiplied by `W`.
struct Products<'a, T> {
    composer: &'a Composer,
    /// As [`Pack`] writes it.
    d: &'a [T],
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
        let &Composer { group_inputs, taps, d_mul, .. } = self.composer;
        for input in inputs {
            let channel = source.group * group_inputs + input;
            let mut d = &self.d[channel * taps * d_mul..][..taps * d_mul];
            let mut s = 0;
            while s < d_mul {
                let some = together::<T, S>(d_mul - s);
                let (rows, rest) = d.split_at(taps * some);
                let features = Features { source, input, rows };
                let w = &self.w[(source.group * sums.len() * group_inputs + input) * d_mul + s..];
                let w = (w, group_inputs * d_mul);
                match some {
                    9 => features.multiply::<S, V, 9>(simd, places, w, sums),
                    4 => features.multiply::<S, V, 4>(simd, places, w, sums),
                    2 => features.multiply::<S, V, 2>(simd, places, w, sums),
                    _ => features.multiply::<S, V, 1>(simd, places, w, sums),
                }
                d = rest;
                s += some;
            }
        }
    }
}

/// Some features of one channel.
struct Features<'a, 's, T, M, E> {
    source: &'a Source<'s, T, M, E>,
    /// Of the group.
    input: usize,
    /// By tap, the column of `D` of each.
    rows: &'a [T],
}

impl<T: Element, M: Copy, E: Copy> Features<'_, '_, T, M, E> {
    /// Adds `Q` features, multiplied by their weights of each output channel, which are a distance
    /// apart.
    #[inline(always)]
    fn multiply<S: Simd<T, Mask = M, EvenMask = E>, const V: usize, const Q: usize>(
        &self,
        simd: S,
        places: [[usize; 2]; V],
        (w, distance): (&[T], usize),
        sums: &mut [[S::Vector; V]],
    ) {
        let Source { strip, data, .. } = self.source;
        let x = &data[self.input * strip.channel_len..];
        let tap_starts = strip.tap_starts();
        let mut features = [[simd.zero(); V]; Q];
        for (row_tap, rows) in self.rows.chunks_exact(tap_starts.len() * Q).enumerate() {
            if strip.row(places[0][0], row_tap).is_none() {
                continue;
            }
            let mut pixels = [x; V];
            for (pixels, [line, col]) in pixels.iter_mut().zip(places) {
                *pixels = &x[strip.row_start(line, row_tap) + col..];
            }
            for (d, &start) in rows.chunks_exact(Q).zip(tap_starts) {
                let mut vectors = [simd.zero(); V];
                for (vector, pixels) in vectors.iter_mut().zip(pixels) {
                    *vector = load(simd, &pixels[start..]);
                }
                for (sums, &d) in features.iter_mut().zip(d) {
                    let d = simd.splat(d);
                    for (sum, &vector) in sums.iter_mut().zip(&vectors) {
                        *sum = simd.fma(d, vector, *sum);
                    }
                }
            }
        }
        for (sums, w) in sums.iter_mut().zip(w.chunks(distance)) {
            for (feature, &w) in features.iter().zip(&w[..Q]) {
                let w = simd.splat(w);
                for (sum, &feature) in sums.iter_mut().zip(feature) {
                    *sum = simd.fma(w, feature, *sum);
                }
            }
        }
    }
}
