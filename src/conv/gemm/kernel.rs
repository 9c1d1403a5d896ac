//! Kernels as the matrix product reads them.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Scalar;
use crate::compose::Composer;
use crate::conv::for_each_chunk;
use crate::conv::gemm::Engine;
use crate::conv::simd::{Kernel, MOST_LANES, Simd, store_part, transpose};
use crate::memory::{Buffer, Buffers, Need, Room, Scratch, reserve};

/// A kernel seen as one matrix for each group: element `(row, (channel, tap))` of group `g` is
/// `data[g·group + row·row_stride + channel·channel_stride + tap]`.
#[derive(Debug, Clone, Copy)]
pub struct KernelView<'a, T> {
    pub data: &'a [T],
    pub groups: usize,
    /// Rows, channels and taps of a group.
    pub size: [usize; 3],
    pub group: usize,
    pub row_stride: usize,
    pub channel_stride: usize,
}

impl<'a, T> KernelView<'a, T> {
    /// `data`, `[O, n, taps]`, as it maps the input: rows are output channels.
    pub fn forward(data: &'a [T], groups: usize, [outputs, inputs, taps]: [usize; 3]) -> Self {
        Self {
            data,
            groups,
            size: [outputs, inputs, taps],
            group: outputs * inputs * taps,
            row_stride: inputs * taps,
            channel_stride: taps,
        }
    }

    /// The same as it maps the gradient of the output: rows are input channels.
    pub fn transposed(data: &'a [T], groups: usize, [outputs, inputs, taps]: [usize; 3]) -> Self {
        Self {
            size: [inputs, outputs, taps],
            row_stride: taps,
            channel_stride: inputs * taps,
            ..Self::forward(data, groups, [outputs, inputs, taps])
        }
    }

    /// Elements that follow each other in memory from channel to channel.
    fn run(&self) -> usize {
        let [_, channels, taps] = self.size;
        if self.channel_stride == taps { channels * taps } else { taps }
    }
}

/// What turns the taps `s` of `W` into those of the composed kernel, where `D` goes by input channel:
/// `W'[m] = Σ_s D[c, m, s] · W[s]`.
pub struct Depthwise<'m, T: Scalar> {
    /// By group, channel of `D`, `s` and `m`, one element; or, where rows are input channels, by group,
    /// panel, `s` and `m`, an element for each lane.
    data: Buffer<'m, T>,
    by_row: bool,
    taps: usize,
}

impl<'m, T: Scalar> Depthwise<'m, T> {
    /// For the view `forward` of `W`, or, `by_row`, for that `transposed`.
    pub fn new(
        engine: &Engine<'m, T>,
        composer: &Composer,
        d_offset: &[T],
        by_row: bool,
    ) -> Room<Self> {
        let &Composer { groups, group_inputs, taps, d_mul, .. } = composer;
        let lanes = if by_row { engine.lanes() } else { 1 };
        let panels = group_inputs.div_ceil(lanes);
        let mut data = engine.memory.buffer(groups * panels * d_mul * taps * lanes)?;
        let mut slices = data.chunks_exact_mut(taps * lanes);
        for group in 0..groups {
            for panel in 0..panels {
                for (s, slice) in (0..d_mul).zip(&mut slices) {
                    let one = composer.identity_tap(s);
                    for (tap, slice) in slice.chunks_exact_mut(lanes).enumerate() {
                        for (lane, value) in slice.iter_mut().enumerate() {
                            let input = (panel * lanes + lane).min(group_inputs - 1);
                            let row = (group * group_inputs + input) * taps + tap;
                            let offset = d_offset[row * d_mul + s];
                            *value = if one == Some(tap) { offset + T::one() } else { offset };
                        }
                    }
                }
            }
        }
        Ok(Self { data, by_row, taps })
    }
}

/// A kernel in the order that the register tile reads it: by group, by panel of as many rows as a
/// register has lanes, by tap, by channel; the last panel is filled up with anything.
#[derive(Debug)]
pub struct PackedKernel<B> {
    data: B,
    panels: usize,
    panel_len: usize,
    tap_len: usize,
    finite: bool,
}

/// A packed kernel, to be read.
#[derive(Debug, Clone, Copy)]
pub struct Panels<'a, T> {
    data: &'a [T],
    /// Panels of a group.
    pub count: usize,
    pub panel_len: usize,
    /// From one tap to the next.
    pub tap_len: usize,
    /// Whether no element is infinite or not a number: then products with zeros are zero.
    pub finite: bool,
}

impl<'a, T> Panels<'a, T> {
    /// A group's panels from `panel` on.
    pub fn from(&self, group: usize, panel: usize) -> &'a [T] {
        let start = (group * self.count + panel) * self.panel_len;
        &self.data[start..][..self.panel_len * (self.count - panel)]
    }
}

/// Packing an element takes about as long as so many multiply-accumulates.
const PACKED_PER_ELEMENT: usize = 16;

impl<'m, T: Scalar> PackedKernel<Buffer<'m, T>> {
    /// Packs a kernel, or the one that `W` and `depthwise` compose.
    pub fn new(
        engine: &Engine<'m, T>,
        view: &KernelView<T>,
        depthwise: Option<&Depthwise<T>>,
    ) -> Room<Self> {
        let [rows, channels, view_taps] = view.size;
        let taps = depthwise.map_or(view_taps, |depthwise| depthwise.taps);
        let lanes = engine.lanes();
        let panels = rows.div_ceil(lanes);
        let panel_len = taps * channels * lanes;
        let len = view.groups * panels * panel_len;
        let threads = engine.threads(len * PACKED_PER_ELEMENT);
        let mut data = engine.memory.buffer(len)?;
        // The taps of one channel of W.
        let row = depthwise.map_or(0, |_| view_taps * lanes);
        let need =
            Need { threads: threads.min(view.groups * panels), lens: [row, 0, 0, 0, 0], tables: 0 };
        let scratch = Scratch::take(engine.memory, need)?;
        let finite = AtomicBool::new(true);
        for_each_chunk(threads, &mut data, panel_len, |index, target| {
            let [group, panel] = [index / panels, index % panels];
            let is_finite = scratch.lend(|buffers| {
                let panel = Panel { view, depthwise, group, panel, taps, target, buffers };
                T::dispatch_to(engine.isa, panel)
            });
            finite.fetch_and(is_finite, Ordering::Relaxed);
        });
        let finite = finite.into_inner();
        Ok(Self { data, panels, panel_len, tap_len: channels * lanes, finite })
    }

    /// The same in a buffer that stays.
    pub fn into_kept(self) -> PackedKernel<Vec<T>> {
        let Self { data, panels, panel_len, tap_len, finite } = self;
        PackedKernel { data: data.into_elements(), panels, panel_len, tap_len, finite }
    }
}

impl<B> PackedKernel<B> {
    /// The panels that the product reads.
    pub fn view<T>(&self) -> Panels<'_, T>
    where
        B: Deref<Target = [T]>,
    {
        let &Self { ref data, panels, panel_len, tap_len, finite } = self;
        Panels { data, count: panels, panel_len, tap_len, finite }
    }
}

impl<T> PackedKernel<Vec<T>> {
    /// Gives back the memory.
    pub fn into_elements(self) -> Vec<T> {
        self.data
    }
}

/// One panel to be written.
struct Panel<'a, T: Scalar> {
    view: &'a KernelView<'a, T>,
    depthwise: Option<&'a Depthwise<'a, T>>,
    group: usize,
    panel: usize,
    taps: usize,
    target: &'a mut [T],
    buffers: &'a mut Buffers<T>,
}

impl<T: Scalar> Kernel<T> for Panel<'_, T> {
    /// Whether all elements are finite.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd<T>>(mut self, simd: S) -> bool {
        // Zero, as long as each element times zero is.
        let mut zeros = simd.zero();
        match self.depthwise {
            Some(depthwise) if depthwise.by_row => {
                self.compose::<S, true>(simd, depthwise, &mut zeros);
            }
            Some(depthwise) => self.compose::<S, false>(simd, depthwise, &mut zeros),
            None => self.pack(simd, &mut zeros),
        }
        let mut lanes = [T::zero(); MOST_LANES];
        store_part(simd, &mut lanes[..S::LANES], zeros);
        lanes == [T::zero(); MOST_LANES]
    }
}

impl<T: Scalar> Panel<'_, T> {
    #[inline(always)]
    fn pack<S: Simd<T>>(&mut self, simd: S, zeros: &mut S::Vector) {
        let [_, channels, taps] = self.view.size;
        let run = self.view.run();
        for from in (0..channels * taps).step_by(run) {
            for at in (0..run).step_by(S::LANES) {
                let len = S::LANES.min(run - at);
                let square = self.columns(simd, from / taps, at, len);
                let [mut channel, mut tap] = [(from + at) / taps, (from + at) % taps];
                for (index, &vector) in square[..S::LANES].iter().enumerate() {
                    if index < len {
                        self.store(simd, tap, channel, vector, zeros);
                        [channel, tap] =
                            if tap + 1 == taps { [channel + 1, 0] } else { [channel, tap + 1] };
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn compose<S: Simd<T>, const BY_ROW: bool>(
        &mut self,
        simd: S,
        depthwise: &Depthwise<T>,
        zeros: &mut S::Vector,
    ) {
        let [_, channels, d_mul] = self.view.size;
        let lanes = if BY_ROW { S::LANES } else { 1 };
        let slice = d_mul * self.taps * lanes;
        let per_group = depthwise.data.len() / slice / self.view.groups;
        let mut buffer = std::mem::take(&mut self.buffers[0]);
        reserve(&mut buffer, d_mul * S::LANES);
        let w = &mut buffer[..d_mul * S::LANES];
        for channel in 0..channels {
            for at in (0..d_mul).step_by(S::LANES) {
                let len = S::LANES.min(d_mul - at);
                let square = self.columns(simd, channel, at, len);
                for (index, &vector) in square[..S::LANES].iter().enumerate() {
                    if index < len {
                        let target = &mut w[(at + index) * S::LANES..][..S::LANES];
                        // SAFETY: `target` has LANES elements.
                        unsafe { simd.store(target.as_mut_ptr(), vector) };
                    }
                }
            }
            let index = self.group * per_group + if BY_ROW { self.panel } else { channel };
            let d = &depthwise.data[index * slice..][..slice];
            let mut tap = 0;
            while tap < self.taps {
                tap += if tap + 3 <= self.taps {
                    self.sum::<S, BY_ROW, 3>(simd, w, d, [channel, tap], zeros)
                } else {
                    self.sum::<S, BY_ROW, 1>(simd, w, d, [channel, tap], zeros)
                };
            }
        }
        self.buffers[0] = buffer;
    }

    /// Writes `Q` taps from `tap` on of a channel of the composed kernel; gives `Q`.
    #[inline(always)]
    fn sum<S: Simd<T>, const BY_ROW: bool, const Q: usize>(
        &mut self,
        simd: S,
        w: &[T],
        d: &[T],
        [channel, tap]: [usize; 2],
        zeros: &mut S::Vector,
    ) -> usize {
        let lanes = if BY_ROW { S::LANES } else { 1 };
        let mut sums = [simd.zero(); Q];
        for (w, d) in w.chunks_exact(S::LANES).zip(d.chunks_exact(self.taps * lanes)) {
            let d = &d[tap * lanes..(tap + Q) * lanes];
            // SAFETY: `w` has LANES elements, and `d` one or LANES for each of `Q` taps.
            unsafe {
                let w = simd.load(w.as_ptr());
                for (q, sum) in sums.iter_mut().enumerate() {
                    let d = d.as_ptr().add(q * lanes);
                    let d = if BY_ROW { simd.load(d) } else { simd.splat(*d) };
                    // In the order and with the rounding of every composition.
                    *sum = simd.fma(w, d, *sum);
                }
            }
        }
        for (q, &sum) in sums.iter().enumerate() {
            self.store(simd, tap + q, channel, sum, zeros);
        }
        Q
    }

    /// The panel's rows side by side at each of `len` elements from `at` on of a channel.
    #[inline(always)]
    fn columns<S: Simd<T>>(
        &self,
        simd: S,
        channel: usize,
        at: usize,
        len: usize,
    ) -> [S::Vector; MOST_LANES] {
        let &KernelView { data, size: [rows, ..], group, row_stride, channel_stride, .. } =
            self.view;
        let first = self.panel * S::LANES;
        let rows = S::LANES.min(rows - first);
        let start = self.group * group + first * row_stride + channel * channel_stride + at;
        let source = &data[start..start + (rows - 1) * row_stride + len];
        let mask = simd.mask(0..len);
        let mut square = [simd.zero(); MOST_LANES];
        for (row, vector) in square[..S::LANES].iter_mut().enumerate() {
            // Rows past the last are copies of that; nothing reads their sums.
            let start = row.min(rows - 1) * row_stride;
            // SAFETY: the mask's lanes are inside `source`.
            *vector = unsafe { simd.load_masked(source.as_ptr().add(start), mask) };
        }
        transpose::<T, S>(simd, &mut square);
        square
    }

    #[inline(always)]
    fn store<S: Simd<T>>(
        &mut self,
        simd: S,
        tap: usize,
        channel: usize,
        vector: S::Vector,
        zeros: &mut S::Vector,
    ) {
        *zeros = simd.fma(vector, simd.zero(), *zeros);
        let channels = self.view.size[1];
        let target = &mut self.target[(tap * channels + channel) * S::LANES..][..S::LANES];
        // SAFETY: `target` has LANES elements.
        unsafe { simd.store(target.as_mut_ptr(), vector) };
    }
}
