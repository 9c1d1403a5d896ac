//! Composition: `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]` with `D = d_offset + E`, and its adjoint
//! `dW[o, i, s] = Σ_m D[c, m, s] · dW'[o, i, m]`, `dd_offset[c, m, s] = Σ_(o,i) W[o, i, s] · dW'[o, i, m]`
//! over the `(o, i)` paired with channel `c`.
//!
//! Knows `D` and `W`, and no image. Sums run in the order of their index, so results don't depend on
//! the number of threads.

use crate::conv::for_each_chunk;
use crate::conv::gemm::Engine;
use crate::conv::simd::{Kernel, Simd};
use crate::geometry::Spec;
use crate::{Pairing, Scalar};

/// Elements of a sum's row that are computed side by side; rows of `D` are filled up to a multiple.
pub(crate) const LANES: usize = 16;

/// The sizes of a composition and which slice of `D` goes with which slice of `W`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Composer {
    pub pairing: Pairing,
    pub groups: usize,
    /// `n`, input channels of a group.
    pub group_inputs: usize,
    /// `r`, output channels of a group.
    pub group_outputs: usize,
    /// `MN`.
    pub taps: usize,
    /// `S`.
    pub d_mul: usize,
}

impl Composer {
    pub fn new(spec: &Spec, d_mul: usize, pairing: Pairing) -> Self {
        Self {
            pairing,
            groups: spec.groups,
            group_inputs: spec.group_inputs(),
            group_outputs: spec.group_outputs(),
            taps: spec.taps(),
            d_mul,
        }
    }

    /// `c(o, i)`, the channels of `D` that go with `W[o, i]` for each `i`.
    pub fn channels(&self, output: usize) -> impl Iterator<Item = usize> {
        let [first, step] = self.first_channel(output);
        (0..self.group_inputs).map(move |input| first + input * step)
    }

    /// `c(o, 0)`, and how far apart `c(o, i)` and `c(o, i + 1)` are.
    fn first_channel(&self, output: usize) -> [usize; 2] {
        match self.pairing {
            Pairing::InputChannel => [output / self.group_outputs * self.group_inputs, 1],
            Pairing::PyTorch => [output % self.groups * self.group_inputs, 1],
            Pairing::TensorFlow => [output / self.group_outputs, self.groups],
        }
    }

    /// The inverse of [`Composer::channels`]: the `i`, and the first and the step of the `r` output
    /// channels `o`, with `c(o, i) = channel`.
    fn paired_with(&self, channel: usize) -> [usize; 3] {
        let (group, input) = match self.pairing {
            Pairing::TensorFlow => (channel % self.groups, channel / self.groups),
            _ => (channel / self.group_inputs, channel % self.group_inputs),
        };
        match self.pairing {
            Pairing::PyTorch => [input, group, self.groups],
            _ => [input, group * self.group_outputs, 1],
        }
    }

    /// `E[m, s]`: the identity, repeated as often as it fits into `S`; the same for every channel.
    pub fn identity<T: Scalar>(&self, tap: usize, s: usize) -> T {
        let repeated = self.taps * (self.d_mul / self.taps);
        if s % self.taps == tap && s < repeated { T::one() } else { T::zero() }
    }

    /// `D = d_offset + E`, `[I, MN, S]`.
    pub fn depthwise<T: Scalar>(&self, d_offset: &[T]) -> Vec<T> {
        let mut d = d_offset.to_vec();
        for channel in d.chunks_exact_mut(self.taps * self.d_mul) {
            for (tap, row) in channel.chunks_exact_mut(self.d_mul).enumerate() {
                for (s, value) in row.iter_mut().enumerate() {
                    *value += self.identity::<T>(tap, s);
                }
            }
        }
        d
    }

    /// Multiply-accumulates of one composition; saturates.
    pub fn maccs(&self) -> usize {
        [self.groups, self.group_outputs, self.group_inputs, self.taps, self.d_mul]
            .into_iter()
            .fold(1, usize::saturating_mul)
    }

    /// Writes `W'`, `[O, n, MN]`.
    pub fn compose<T: Scalar>(
        &self,
        engine: &Engine<T>,
        d_offset: &[T],
        w: &[T],
        weight: &mut [T],
    ) {
        let (taps, d_mul) = (self.taps, self.d_mul);
        // Dᵀ, so that the taps of one s lie side by side.
        let width = taps.next_multiple_of(LANES);
        let d = self.depthwise(d_offset);
        let mut transposed = vec![T::zero(); d.len() / taps * width];
        for (d, transposed) in
            d.chunks_exact(taps * d_mul).zip(transposed.chunks_exact_mut(d_mul * width))
        {
            for (tap, row) in d.chunks_exact(d_mul).enumerate() {
                let column = transposed[tap..].iter_mut().step_by(width);
                column.zip(row).for_each(|(target, &value)| *target = value);
            }
        }
        self.row_products(engine, [d_mul, taps], width, &transposed, w, weight);
    }

    /// Writes the adjoint at `dweight`, `[O, n, MN]`: `dw`, `[O, n, S]`, and `dd_offset`,
    /// `[I, MN, S]`.
    pub fn adjoint<T: Scalar>(
        &self,
        engine: &Engine<T>,
        d_offset: &[T],
        w: &[T],
        dweight: &[T],
        dw: &mut [T],
        dd_offset: &mut [T],
    ) {
        let (taps, d_mul) = (self.taps, self.d_mul);
        let width = d_mul.next_multiple_of(LANES);
        let d = self.depthwise(d_offset);
        let mut padded = vec![T::zero(); d.len() / d_mul * width];
        for (row, target) in d.chunks_exact(d_mul).zip(padded.chunks_exact_mut(width)) {
            target[..d_mul].copy_from_slice(row);
        }
        self.row_products(engine, [taps, d_mul], width, &padded, dweight, dw);
        let len = taps * d_mul;
        // As many channels as have their sums in L1 together, and neighbours in W.
        let block = (SUMS_IN_L1 / (taps * width)).clamp(1, 16);
        let threads = engine.threads(self.maccs());
        for_each_chunk(threads, dd_offset, block * len, |index, dd_offset| {
            let product =
                OuterProduct { composer: self, first: index * block, w, dweight, dd_offset };
            T::dispatch_to(engine.isa, product);
        });
    }

    /// For each output channel `o`: `sums[o, i, j] = Σ_t factors[o, i, t] · rows[c(o, i), t, j]` with
    /// `t < steps` and `j < len ≤ width`.
    fn row_products<T: Scalar>(
        &self,
        engine: &Engine<T>,
        [steps, len]: [usize; 2],
        width: usize,
        rows: &[T],
        factors: &[T],
        sums: &mut [T],
    ) {
        // A few output channels together, which read the same rows one after the other.
        let block = self.group_outputs.min(8);
        let threads = engine.threads(self.maccs());
        for_each_chunk(threads, sums, block * self.group_inputs * len, |index, sums| {
            let factors = &factors[index * block * self.group_inputs * steps..];
            let first = index * block;
            let product =
                RowProducts { composer: self, first, rows, width, factors, sums, steps, len };
            T::dispatch_to(engine.isa, product);
        });
    }
}

/// Elements that take half of L1.
const SUMS_IN_L1: usize = 4096;

/// Sums of a few output channels from `first` on.
struct RowProducts<'a, T> {
    composer: &'a Composer,
    first: usize,
    /// `[I, steps, width]`.
    rows: &'a [T],
    width: usize,
    /// `[outputs, n, steps]`.
    factors: &'a [T],
    /// `[outputs, n, len]`.
    sums: &'a mut [T],
    steps: usize,
    len: usize,
}

impl<T: Scalar> Kernel<T> for RowProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let inputs = self.composer.group_inputs;
        let outputs = self.sums.len() / (inputs * self.len);
        let mut output = 0;
        while output < outputs {
            // Output channels of one channel of D at a time read its rows together.
            let [first, step] = self.composer.first_channel(self.first + output);
            let alike = |o: &usize| self.composer.first_channel(self.first + o) == [first, step];
            let together = (output..outputs).take_while(alike).count();
            for input in 0..inputs {
                let channel = first + input * step;
                let mut at = output;
                while at + 4 <= output + together {
                    self.sum::<S, 4>(simd, at, input, channel);
                    at += 4;
                }
                while at < output + together {
                    self.sum::<S, 1>(simd, at, input, channel);
                    at += 1;
                }
            }
            output += together;
        }
    }
}

impl<T: Scalar> RowProducts<'_, T> {
    /// Sums for `Q` output channels from `output` on.
    #[inline(always)]
    fn sum<S: Simd<T>, const Q: usize>(
        &mut self,
        simd: S,
        output: usize,
        input: usize,
        channel: usize,
    ) {
        let Self { width, steps, len, rows, factors, .. } = *self;
        let inputs = self.composer.group_inputs;
        let rows = &rows[channel * steps * width..][..steps * width];
        let mut by_output: [&[T]; Q] = [&[]; Q];
        for (q, part) in by_output.iter_mut().enumerate() {
            *part = &factors[((output + q) * inputs + input) * steps..][..steps];
        }
        for block in (0..len).step_by(LANES) {
            let mut sums = [[T::zero(); LANES]; Q];
            for (t, row) in rows.chunks_exact(width).enumerate() {
                let row = &row[block..block + LANES];
                for (sums, factors) in sums.iter_mut().zip(&by_output) {
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum = simd.fma_scalar(factors[t], value, *sum);
                    }
                }
            }
            for (q, sums) in sums.into_iter().enumerate() {
                // All lanes, where what the last ones overwrite comes later.
                let start = ((output + q) * inputs + input) * len + block;
                let targets = &mut self.sums[start..(output + q + 1) * inputs * len];
                if let Some(targets) = targets.first_chunk_mut() {
                    *targets = sums;
                } else {
                    targets.iter_mut().zip(sums).for_each(|(target, sum)| *target = sum);
                }
            }
        }
    }
}

/// For a few channels of `D` from `first` on: `dd_offset[m, s] = Σ_(o,i) dweight[o, i, m] · w[o, i, s]`.
struct OuterProduct<'a, T> {
    composer: &'a Composer,
    first: usize,
    w: &'a [T],
    dweight: &'a [T],
    dd_offset: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for OuterProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Composer { taps, d_mul, group_inputs, group_outputs, .. } = *self.composer;
        let width = d_mul.next_multiple_of(LANES);
        let channels = self.dd_offset.len() / (taps * d_mul);
        let pairs = (self.first..self.first + channels).map(|c| self.composer.paired_with(c));
        let pairs: Vec<_> = pairs.collect();
        let mut sums = vec![T::zero(); channels * taps * width];
        for index in 0..group_outputs {
            for (sums, [input, first, step]) in sums.chunks_exact_mut(taps * width).zip(&pairs) {
                let row = (first + index * step) * group_inputs + input;
                let dweight = &self.dweight[row * taps..][..taps];
                for block in (0..d_mul).step_by(LANES) {
                    // All lanes, where there are as many; the sums of the last ones aren't kept.
                    let w = &self.w[row * d_mul + block..];
                    let w = w.first_chunk().copied().unwrap_or_else(|| {
                        let mut padded = [T::zero(); LANES];
                        padded.iter_mut().zip(w).for_each(|(to, &from)| *to = from);
                        padded
                    });
                    for (sums, &dweight) in sums.chunks_exact_mut(width).zip(dweight) {
                        let sums = &mut sums[block..block + LANES];
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = simd.fma_scalar(dweight, w, *sum);
                        }
                    }
                }
            }
        }
        let rows = self.dd_offset.chunks_exact_mut(d_mul);
        for (row, sums) in rows.zip(sums.chunks_exact(width)) {
            row.copy_from_slice(&sums[..d_mul]);
        }
    }
}
