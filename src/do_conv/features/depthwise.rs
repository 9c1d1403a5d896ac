//! The features of a channel: a few for two vectors of pixels at a time, in registers.

use crate::compose::{Composer, Factors};
use crate::conv::engine::Engine;
use crate::conv::strip::Strip;
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Room};
use crate::machine::simd::{Simd, WithSimd, load};

/// What features go to as soon as they are summed.
pub trait Receiver<T: Copy, S: Simd<T>, const V: usize> {
    /// Takes `Q` features of a channel from `s` on.
    fn take<const Q: usize>(&mut self, simd: S, s: usize, features: &[[S::Vector; V]; Q]);
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

/// `D = d_offset + E`.
pub struct Depthwise<'m, T: Element> {
    taps: usize,
    d_mul: usize,
    /// By channel, by features that are summed together, by tap.
    d: Buffer<'m, T>,
}

impl<'m, T: Element> Depthwise<'m, T> {
    pub fn new(engine: &Engine<'m, T>, factors: &Factors<T>) -> Room<Self> {
        let &Factors { composer, d_offset, .. } = factors;
        let mut d = engine.memory.buffer(d_offset.len())?;
        engine.run(Pack { composer, d_offset, d: &mut d });
        Ok(Self { taps: composer.taps, d_mul: composer.d_mul, d })
    }

    /// Sums the features of `V` vectors of pixels, which start at a line and column of the block, of a
    /// channel whose strip is `x`. All lines read zeros through the same rows of the kernel.
    #[inline(always)]
    pub fn features<S: Simd<T>, const V: usize>(
        &self,
        simd: S,
        channel: usize,
        (strip, x): (&Strip<S::Mask, S::EvenMask>, &[T]),
        places: [[usize; 2]; V],
        receiver: &mut impl Receiver<T, S, V>,
    ) {
        let Self { taps, d_mul, .. } = *self;
        let mut d = &self.d[channel * taps * d_mul..][..taps * d_mul];
        let mut s = 0;
        while s < d_mul {
            let some = together::<T, S>(d_mul - s);
            let (now, rest) = d.split_at(taps * some);
            let sums = Sums { strip, x, d: now };
            match some {
                9 => receiver.take::<9>(simd, s, &sums.compute(simd, places)),
                4 => receiver.take::<4>(simd, s, &sums.compute(simd, places)),
                2 => receiver.take::<2>(simd, s, &sums.compute(simd, places)),
                _ => receiver.take::<1>(simd, s, &sums.compute(simd, places)),
            }
            d = rest;
            s += some;
        }
    }
}

/// Writes `D` as [`Depthwise`] has it.
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

/// What some features of a channel are summed from.
struct Sums<'a, T, M, E> {
    strip: &'a Strip<M, E>,
    x: &'a [T],
    /// By tap, the column of `D` of each feature.
    d: &'a [T],
}

impl<T: Element, M: Copy, E: Copy> Sums<'_, T, M, E> {
    /// `Σ_m D[m, q] · x[m, v]` for `Q` features of `V` vectors. Rows of zeros are left out.
    #[inline(always)]
    fn compute<S: Simd<T, Mask = M, EvenMask = E>, const V: usize, const Q: usize>(
        &self,
        simd: S,
        places: [[usize; 2]; V],
    ) -> [[S::Vector; V]; Q] {
        let &Self { strip, x, d } = self;
        let tap_starts = strip.tap_starts();
        let mut features = [[simd.zero(); V]; Q];
        for (row_tap, d) in d.chunks_exact(tap_starts.len() * Q).enumerate() {
            if strip.row(places[0][0], row_tap).is_none() {
                continue;
            }
            let mut rows = [x; V];
            for (row, [line, col]) in rows.iter_mut().zip(places) {
                *row = &x[strip.row_start(line, row_tap) + col..];
            }
            for (d, &start) in d.chunks_exact(Q).zip(tap_starts) {
                let mut pixels = [simd.zero(); V];
                for (pixels, row) in pixels.iter_mut().zip(rows) {
                    *pixels = load(simd, &row[start..]);
                }
                for (sums, &d) in features.iter_mut().zip(d) {
                    let d = simd.splat(d);
                    for (sum, &pixels) in sums.iter_mut().zip(&pixels) {
                        *sum = simd.fma(d, pixels, *sum);
                    }
                }
            }
        }
        features
    }
}
