//! Composition: `W'[o, i, m] = Σ_s D[c, m, s] · W[o, i, s]` with `D = d_offset + E`, and its adjoint
//! `dW[o, i, s] = Σ_m D[c, m, s] · dW'[o, i, m]`, `dd_offset[c, m, s] = Σ_(o,i) W[o, i, s] · dW'[o, i, m]`
//! over the `(o, i)` paired with channel `c`.
//!
//! Knows `D` and `W`, and no image. Sums run in the order of their index, so results don't depend on
//! the number of threads.

use crate::config::Pairing;
use crate::config::geometry::Spec;
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::memory::{Buffers, Need, Room, Scratch, reserve};
use crate::machine::simd::tile::Ahead;
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load, load_part, store, store_part};
use crate::machine::threads::for_each_chunk;

/// `D` and `W` of a layer.
#[derive(Debug, Clone, Copy)]
pub struct Factors<'a, T> {
    pub composer: &'a Composer,
    /// `[I, MN, S]`.
    pub d_offset: &'a [T],
    /// `[O, n, S]`.
    pub w: &'a [T],
}

/// Elements after its last that [`Composer::transposed`] makes room for.
pub(crate) const BEYOND: usize = 2 * MOST_LANES;

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

    /// `[O, n, S]`, the shape of `W`.
    pub fn w_shape(&self) -> [usize; 3] {
        [self.groups * self.group_outputs, self.group_inputs, self.d_mul]
    }

    /// `[I, MN, S]`, the shape of `D`; none for a 1×1 kernel.
    pub fn d_shape(&self) -> Option<[usize; 3]> {
        let channels = self.groups * self.group_inputs;
        (self.taps > 1).then_some([channels, self.taps, self.d_mul])
    }

    /// Elements of the composed kernel, `[O, n, MN]`.
    pub fn weight_len(&self) -> usize {
        self.groups * self.group_outputs * self.group_inputs * self.taps
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

    /// The elements of `d`, `[channels, MN, S]`, where the identity `E` is one, which is repeated as
    /// often as it fits into `S`: `s ≡ m` modulo `MN`.
    pub fn at_identity<'d, T>(&self, d: &'d mut [T]) -> impl Iterator<Item = &'d mut T> {
        let composer = *self;
        let rows = d.chunks_exact_mut(self.d_mul).enumerate();
        rows.flat_map(move |(row, values)| composer.at_identity_of(row, values))
    }

    /// The same of one row, `[S]`.
    fn at_identity_of<'d, T>(
        &self,
        row: usize,
        values: &'d mut [T],
    ) -> impl Iterator<Item = &'d mut T> + use<'d, T> {
        let Self { taps, d_mul, .. } = *self;
        values[row % taps..].iter_mut().step_by(taps).take(d_mul / taps)
    }

    /// The tap `m` where `E[m, s]` is one, if there is one.
    pub fn identity_tap(&self, s: usize) -> Option<usize> {
        let Self { taps, d_mul, .. } = *self;
        (s < d_mul / taps * taps).then_some(s % taps)
    }

    /// Multiply-accumulates of one composition; saturates.
    pub fn maccs(&self) -> usize {
        [self.groups, self.group_outputs, self.group_inputs, self.taps, self.d_mul]
            .into_iter()
            .fold(1, usize::saturating_mul)
    }

    /// Writes `W'`, `[O, n, MN]`, if there is room for `Dᵀ`.
    pub fn compose<T: Element>(
        &self,
        machine: &Machine<T>,
        d_offset: &[T],
        w: &[T],
        weight: &mut [T],
    ) -> Room<()> {
        let channel = self.taps * self.d_mul;
        let mut transposed = machine.memory.buffer(d_offset.len() + BEYOND)?;
        let targets = transposed.chunks_exact_mut(channel);
        targets.zip(d_offset.chunks_exact(channel)).for_each(|(to, from)| self.transpose(from, to));
        transposed[d_offset.len()..].fill(T::zero());
        self.compose_outputs(machine, &transposed, 0, w, weight);
        Ok(())
    }

    /// `Dᵀ`, `[I, S, MN]`, so that the taps of one `s` lie side by side, and what a register may read
    /// beyond; in the memory of `d_offset`.
    pub fn transposed<T: Element>(&self, mut d_offset: Vec<T>) -> Vec<T> {
        let mut channel = vec![T::zero(); self.taps * self.d_mul];
        for target in d_offset.chunks_exact_mut(self.taps * self.d_mul) {
            channel.copy_from_slice(target);
            self.transpose(&channel, target);
        }
        d_offset.reserve_exact(BEYOND);
        d_offset.resize(d_offset.len() + BEYOND, T::zero());
        d_offset
    }

    /// Writes one channel of `Dᵀ`, `[S, MN]`, for its offset, `[MN, S]`.
    fn transpose<T: Element>(&self, d_offset: &[T], target: &mut [T]) {
        let Self { taps, d_mul, .. } = *self;
        for (tap, row) in d_offset.chunks_exact(d_mul).enumerate() {
            let column = target[tap..].iter_mut().step_by(taps);
            column.zip(row).for_each(|(target, &value)| *target = value);
        }
        for (s, row) in target.chunks_exact_mut(taps).enumerate() {
            if let Some(tap) = self.identity_tap(s) {
                row[tap] += T::one();
            }
        }
    }

    /// Writes `W'` of some output channels from `first` on, `[outputs, n, MN]`, for their part of `W`
    /// and for `Dᵀ` as [`Composer::transposed`] gives it.
    pub fn compose_outputs<T: Element>(
        &self,
        machine: &Machine<T>,
        transposed: &[T],
        first: usize,
        w: &[T],
        weight: &mut [T],
    ) {
        // A few output channels together, which read the same rows one after the other.
        let block = self.group_outputs.min(8);
        let [w_len, len] = [self.d_mul, self.taps].map(|len| block * self.group_inputs * len);
        let maccs = w.len().saturating_mul(self.taps);
        for_each_chunk(machine.threads(maccs), weight, len, |index, weight| {
            let w = &w[index * w_len..];
            let first = first + index * block;
            machine.run(Products { composer: self, first, transposed, w, weight });
        });
    }

    /// As many channels of `D` as have their sums in L1 together, and neighbours in `W`.
    fn channels_together(&self) -> usize {
        match self.pairing {
            Pairing::TensorFlow if self.groups > 1 => 1,
            _ => (SUMS_IN_L1 / (self.taps * self.width())).clamp(1, 16).min(self.group_inputs),
        }
    }

    /// Elements of a row of `D`, filled up to whole registers.
    fn width(&self) -> usize {
        self.d_mul.next_multiple_of(MOST_LANES)
    }

    /// Threads that share the adjoint.
    fn adjoint_threads<T: Element>(&self, machine: &Machine<T>) -> usize {
        machine.threads(2 * self.maccs())
    }

    /// What [`Composer::adjoint`] works in.
    pub fn adjoint_need<T: Element>(&self, machine: &Machine<T>) -> Need {
        let sums = self.channels_together() * self.taps * self.width();
        let lens = [sums, sums, 4 * self.taps, 0, 0];
        let blocks = self.group_inputs.div_ceil(self.channels_together());
        let rows = self.group_outputs * size_of::<(usize, &mut [T])>();
        let tasks = self.groups * blocks * (size_of::<Adjoint<T>>() + rows);
        let threads = self.adjoint_threads(machine);
        Need { threads, lens, tables: tasks.div_ceil(threads) }
    }

    /// Writes the adjoint at `dweight`, `[O, n, MN]`: `dw`, `[O, n, S]`, and `dd_offset`,
    /// `[I, MN, S]`. If no `dweight` is given, `dw` holds it, `S` being `MN`.
    pub fn adjoint<T: Element>(
        &self,
        machine: &Machine<T>,
        scratch: &Scratch<T>,
        factors: Factors<T>,
        dweight: Option<&[T]>,
        dw: &mut [T],
        dd_offset: &mut [T],
    ) {
        let &Self { taps, d_mul, group_inputs, .. } = self;
        let block = self.channels_together();
        let group_len = group_inputs * taps * d_mul;
        let blocks = dd_offset
            .chunks_mut(group_len)
            .flat_map(|group| group.chunks_mut(block * taps * d_mul));
        let blocks_of_group = group_inputs.div_ceil(block);
        let mut tasks = Vec::with_capacity(self.groups * blocks_of_group);
        tasks.extend(blocks.map(|dd_offset| {
            let rows = Vec::with_capacity(self.group_outputs);
            Adjoint { first: 0, rows, dd_offset }
        }));
        for (output, dw) in dw.chunks_exact_mut(group_inputs * d_mul).enumerate() {
            let [first, step] = self.first_channel(output);
            for (index, dw) in dw.chunks_mut(block * d_mul).enumerate() {
                let input = index * block;
                let channel = first + input * step;
                let block_of_group = channel % group_inputs / block;
                let task = &mut tasks[channel / group_inputs * blocks_of_group + block_of_group];
                task.first = channel;
                task.rows.push((output * group_inputs + input, dw));
            }
        }
        let threads = self.adjoint_threads(machine);
        let chunk = tasks.len().div_ceil(8 * threads);
        for_each_chunk(threads, &mut tasks, chunk, |_, tasks| {
            scratch.lend(|buffers| {
                let adjoints = Adjoints { factors, dweight, tasks, buffers };
                machine.run(adjoints);
            });
        });
    }
}

/// Elements that take half of L1.
const SUMS_IN_L1: usize = 4096;

/// `weight[o, i, m] = Σ_s w[o, i, s] · transposed[c(o, i), s, m]` for a few output channels from `first`
/// on.
struct Products<'a, T> {
    composer: &'a Composer,
    first: usize,
    transposed: &'a [T],
    w: &'a [T],
    weight: &'a mut [T],
}

/// Which slices are multiplied: `W[output, input]` and `D[channel]`.
#[derive(Clone, Copy)]
struct Place {
    output: usize,
    input: usize,
    channel: usize,
}

impl<T: Element> WithSimd<T> for Products<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) {
        let Composer { group_inputs: inputs, taps, .. } = *self.composer;
        let outputs = self.weight.len() / (inputs * taps);
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
                    self.sums::<S, 4>(simd, Place { output: at, input, channel });
                    at += 4;
                }
                while at < output + together {
                    self.sums::<S, 1>(simd, Place { output: at, input, channel });
                    at += 1;
                }
            }
            output += together;
        }
    }
}

impl<T: Element> Products<'_, T> {
    /// Sums for `Q` output channels from `output` on.
    #[inline(always)]
    fn sums<S: Simd<T>, const Q: usize>(&mut self, simd: S, at: Place) {
        let mut start = 0;
        while start < self.composer.taps {
            if self.composer.taps - start > S::LANES {
                self.block::<S, Q, 2>(simd, at, start);
                start += 2 * S::LANES;
            } else {
                self.block::<S, Q, 1>(simd, at, start);
                start += S::LANES;
            }
        }
    }

    /// The sums of `V` registers of taps from `start` on.
    #[inline(always)]
    fn block<S: Simd<T>, const Q: usize, const V: usize>(
        &mut self,
        simd: S,
        at: Place,
        start: usize,
    ) {
        let Place { output, input, channel } = at;
        let Composer { group_inputs: inputs, taps, d_mul, .. } = *self.composer;
        let rows = &self.transposed[channel * d_mul * taps + start..];
        let mut by_output: [&[T]; Q] = [&[]; Q];
        for (q, part) in by_output.iter_mut().enumerate() {
            *part = &self.w[((output + q) * inputs + input) * d_mul..][..d_mul];
        }
        let mut sums = [[simd.zero(); V]; Q];
        for s in 0..d_mul {
            // Lanes beyond the taps read what comes next, and nobody reads their sums.
            let row = &rows[s * taps..][..V * S::LANES];
            let mut vectors = [simd.zero(); V];
            for (v, vector) in vectors.iter_mut().enumerate() {
                *vector = load(simd, &row[v * S::LANES..]);
            }
            for q in 0..Q {
                let w = simd.splat(by_output[q][s]);
                for v in 0..V {
                    sums[q][v] = simd.fma(w, vectors[v], sums[q][v]);
                }
            }
        }
        for (q, sums) in sums.into_iter().enumerate() {
            let first = ((output + q) * inputs + input) * taps + start;
            let mut targets = &mut self.weight[first..(output + q + 1) * inputs * taps];
            for sum in sums {
                // All lanes, where what the last ones overwrite comes later.
                if targets.len() >= S::LANES {
                    store(simd, targets, sum);
                    targets = &mut targets[S::LANES..];
                } else {
                    store_part(simd, targets, sum);
                    targets = &mut [];
                }
            }
        }
    }
}

/// A few channels of `D` next to each other and the `W[o, i]` paired with them.
struct Adjoint<'g, T> {
    /// The first channel.
    first: usize,
    /// By output channel, where in `[O, n]` the first of the channels is, and their part of `dw`.
    rows: Vec<(usize, &'g mut [T])>,
    dd_offset: &'g mut [T],
}

/// `dw[o, i, s] = Σ_m D[c, m, s] · dweight[o, i, m]` and
/// `dd_offset[c, m, s] = Σ_(o,i) dweight[o, i, m] · w[o, i, s]`, in one pass.
struct Adjoints<'a, 'g, T> {
    factors: Factors<'a, T>,
    dweight: Option<&'a [T]>,
    tasks: &'a mut [Adjoint<'g, T>],
    buffers: &'a mut Buffers<T>,
}

impl<T: Element> WithSimd<T> for Adjoints<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { factors, dweight, tasks, buffers: [d, sums, gradients, ..] } = self;
        let Factors { composer, d_offset, w } = factors;
        let &Composer { taps, d_mul, .. } = composer;
        let width = composer.width();
        reserve(gradients, 4 * taps);
        for Adjoint { first, rows, dd_offset } in tasks {
            let offset = &d_offset[*first * taps * d_mul..][..dd_offset.len()];
            let len = offset.len() / d_mul * width;
            reserve(d, len);
            reserve(sums, len);
            let (d, sums) = (&mut d[..len], &mut sums[..len]);
            let targets = d.chunks_exact_mut(width);
            for (row, (target, offset)) in targets.zip(offset.chunks_exact(d_mul)).enumerate() {
                // What comes after the row fills its last register, and nobody reads its products.
                target[d_mul..].fill(T::zero());
                let target = &mut target[..d_mul];
                target.copy_from_slice(offset);
                composer.at_identity_of(row, target).for_each(|value| *value += T::one());
            }
            sums.fill(T::zero());
            let products = AdjointProducts { composer, w, dweight, d };
            let mut rest = &mut rows[..];
            while !rest.is_empty() {
                let (some, after) = rest.split_at_mut(if rest.len() < 4 { 1 } else { 4 });
                let next = &after[..after.len().min(some.len())];
                match some.len() {
                    4 => products.add::<S, 4>(simd, some, next, gradients, sums),
                    _ => products.add::<S, 1>(simd, some, next, gradients, sums),
                }
                rest = after;
            }
            let targets = dd_offset.chunks_exact_mut(d_mul);
            for (target, sums) in targets.zip(sums.chunks_exact(width)) {
                target.copy_from_slice(&sums[..d_mul]);
            }
        }
    }
}

/// What the sums of a few channels of `D` are made of.
struct AdjointProducts<'a, T> {
    composer: &'a Composer,
    w: &'a [T],
    dweight: Option<&'a [T]>,
    /// `[channels, MN, width]`.
    d: &'a [T],
}

impl<T: Element> AdjointProducts<'_, T> {
    /// Brings a channel of the rows of some output channels near, which lie too far apart for any machine to
    /// foresee them.
    #[inline(always)]
    fn bring_near<S: Simd<T>>(&self, simd: S, rows: &[(usize, &mut [T])], channel: usize) {
        let &Composer { taps, d_mul, .. } = self.composer;
        for (row, dw) in rows {
            let dw = dw.as_ptr().wrapping_add(channel * d_mul);
            let w = self.w.as_ptr().wrapping_add((row + channel) * d_mul);
            for line in (0..d_mul).step_by(Ahead::<T>::LINE) {
                simd.prefetch(w.wrapping_add(line));
                simd.prefetch(dw.wrapping_add(line));
            }
            if let Some(dweight) = self.dweight {
                let dweight = dweight.as_ptr().wrapping_add((row + channel) * taps);
                for line in (0..taps).step_by(Ahead::<T>::LINE) {
                    simd.prefetch(dweight.wrapping_add(line));
                }
            }
        }
    }

    /// Writes `Q` output channels' part of `dw`, and adds theirs to `sums`, `[channels, MN, width]`, while
    /// those that come `next` are brought near.
    #[inline(always)]
    fn add<S: Simd<T>, const Q: usize>(
        &self,
        simd: S,
        rows: &mut [(usize, &mut [T])],
        next: &[(usize, &mut [T])],
        gradients: &mut [T],
        sums: &mut [T],
    ) {
        let &Self { composer: &Composer { taps, d_mul, .. }, dweight, d, .. } = self;
        let width = self.composer.width();
        // What is written over the gradients before all of them have been read.
        let copied = dweight.is_none() && d_mul > S::LANES;
        let slices = sums.chunks_exact_mut(taps * width).zip(d.chunks_exact(taps * width));
        for (channel, (sums, d)) in slices.enumerate() {
            self.bring_near(simd, next, channel);
            if copied {
                for ((_, dw), to) in rows.iter().zip(gradients.chunks_exact_mut(taps)) {
                    to.copy_from_slice(&dw[channel * taps..][..taps]);
                }
            }
            for start in (0..d_mul).step_by(S::LANES) {
                let len = S::LANES.min(d_mul - start);
                let mut from: [&[T]; Q] = [&[]; Q];
                for (q, (from, (row, dw))) in from.iter_mut().zip(&*rows).enumerate() {
                    *from = match dweight {
                        Some(dweight) => &dweight[(row + channel) * taps..][..taps],
                        None if copied => &gradients[q * taps..][..taps],
                        None => &dw[channel * taps..][..taps],
                    };
                }
                let mut row_w = [simd.zero(); Q];
                for (w_row, (row, _)) in row_w.iter_mut().zip(&*rows) {
                    let w = &self.w[(row + channel) * d_mul + start..][..len];
                    *w_row = load_part(simd, w);
                }
                let mut row_dw = [simd.zero(); Q];
                let d = d[start..].chunks(width);
                for (tap, (sums, d)) in sums[start..].chunks_mut(width).zip(d).enumerate() {
                    let d = load(simd, d);
                    let mut sum = load(simd, sums);
                    for q in 0..Q {
                        let gradient = simd.splat(from[q][tap]);
                        row_dw[q] = simd.fma(gradient, d, row_dw[q]);
                        sum = simd.fma(gradient, row_w[q], sum);
                    }
                    store(simd, sums, sum);
                }
                for (&vector, (_, dw)) in row_dw.iter().zip(&mut *rows) {
                    store_part(simd, &mut dw[channel * d_mul + start..][..len], vector);
                }
            }
        }
    }
}
