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

    /// `c(o, i)`, the channel of `D` that goes with `W[o, i]`.
    pub fn channel(&self, output: usize, input: usize) -> usize {
        match self.pairing {
            Pairing::InputChannel => output / self.group_outputs * self.group_inputs + input,
            Pairing::PyTorch => output % self.groups * self.group_inputs + input,
            Pairing::TensorFlow => input * self.groups + output / self.group_outputs,
        }
    }

    /// The inverse of [`Composer::channel`]: the `i`, and the `r` output channels `o`, with
    /// `c(o, i) = channel`.
    pub fn paired_with(&self, channel: usize) -> (usize, impl Iterator<Item = usize> + Clone) {
        let (group, input) = match self.pairing {
            Pairing::TensorFlow => (channel % self.groups, channel / self.groups),
            _ => (channel / self.group_inputs, channel % self.group_inputs),
        };
        let (first, step) = match self.pairing {
            Pairing::PyTorch => (group, self.groups),
            _ => (group * self.group_outputs, 1),
        };
        (input, (0..self.group_outputs).map(move |index| first + index * step))
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
    pub fn compose<T: Scalar>(&self, engine: &Engine, d_offset: &[T], w: &[T], weight: &mut [T]) {
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
        self.for_each_output(engine, weight, taps, |output, weight| {
            let product = RowProduct {
                composer: self,
                output,
                width,
                rows: &transposed,
                factors: &w[output * self.group_inputs * d_mul..],
                sums: weight,
                steps: d_mul,
                len: taps,
            };
            T::dispatch_to(engine.isa, product);
        });
    }

    /// Writes the adjoint at `dweight`, `[O, n, MN]`: `dw`, `[O, n, S]`, and `dd_offset`,
    /// `[I, MN, S]`.
    pub fn adjoint<T: Scalar>(
        &self,
        engine: &Engine,
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
        self.for_each_output(engine, dw, d_mul, |output, dw| {
            let product = RowProduct {
                composer: self,
                output,
                width,
                rows: &padded,
                factors: &dweight[output * self.group_inputs * taps..],
                sums: dw,
                steps: taps,
                len: d_mul,
            };
            T::dispatch_to(engine.isa, product);
        });
        let threads = engine.threads(self.maccs());
        for_each_chunk(threads, dd_offset, taps * d_mul, |channel, dd_offset| {
            let product = OuterProduct { composer: self, channel, w, dweight, dd_offset };
            T::dispatch_to(engine.isa, product);
        });
    }

    /// Calls `f` with each output channel and its `[n, len]` part of `target`.
    fn for_each_output<T: Scalar>(
        &self,
        engine: &Engine,
        target: &mut [T],
        len: usize,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let threads = engine.threads(self.maccs());
        for_each_chunk(threads, target, self.group_inputs * len, f);
    }
}

/// For one output channel: `sums[i, j] = Σ_t factors[i, t] · rows[c(o, i), t, j]` with `t < steps`
/// and `j < len ≤ width`.
struct RowProduct<'a, T> {
    composer: &'a Composer,
    output: usize,
    /// `[I, steps, width]`.
    rows: &'a [T],
    width: usize,
    /// `[n, steps]`.
    factors: &'a [T],
    /// `[n, len]`.
    sums: &'a mut [T],
    steps: usize,
    len: usize,
}

impl<T: Scalar> Kernel<T> for RowProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { width, steps, .. } = self;
        let factors = self.factors.chunks_exact(steps);
        let targets = self.sums.chunks_exact_mut(self.len);
        for (input, (factors, targets)) in factors.zip(targets).enumerate() {
            let channel = self.composer.channel(self.output, input);
            let rows = &self.rows[channel * steps * width..][..steps * width];
            for (block, targets) in targets.chunks_mut(LANES).enumerate() {
                let mut sums = [T::zero(); LANES];
                for (&factor, row) in factors.iter().zip(rows.chunks_exact(width)) {
                    let row = &row[block * LANES..][..LANES];
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum = simd.fma_scalar(factor, value, *sum);
                    }
                }
                targets.copy_from_slice(&sums[..targets.len()]);
            }
        }
    }
}

/// For one channel of `D`: `dd_offset[m, s] = Σ_(o,i) dweight[o, i, m] · w[o, i, s]`.
struct OuterProduct<'a, T> {
    composer: &'a Composer,
    channel: usize,
    w: &'a [T],
    dweight: &'a [T],
    dd_offset: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for OuterProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        /// Taps whose sums stay in registers together.
        const TAPS: usize = 9;
        let Composer { taps, d_mul, group_inputs, .. } = *self.composer;
        let (input, outputs) = self.composer.paired_with(self.channel);
        for first in (0..taps).step_by(TAPS) {
            let block_taps = TAPS.min(taps - first);
            for block in (0..d_mul).step_by(LANES) {
                let len = LANES.min(d_mul - block);
                let mut sums = [[T::zero(); LANES]; TAPS];
                for output in outputs.clone() {
                    let index = output * group_inputs + input;
                    let mut w = [T::zero(); LANES];
                    w[..len].copy_from_slice(&self.w[index * d_mul + block..][..len]);
                    let dweight = &self.dweight[index * taps + first..][..block_taps];
                    for (sums, &dweight) in sums.iter_mut().zip(dweight) {
                        for (sum, &w) in sums.iter_mut().zip(&w) {
                            *sum = simd.fma_scalar(dweight, w, *sum);
                        }
                    }
                }
                let rows = self.dd_offset[first * d_mul..].chunks_exact_mut(d_mul);
                for (row, sums) in rows.zip(&sums).take(block_taps) {
                    row[block..block + len].copy_from_slice(&sums[..len]);
                }
            }
        }
    }
}
