//! Kernels as the matrix product reads them.

use std::mem::MaybeUninit;

use crate::Scalar;
use crate::conv::for_each_chunk;
use crate::conv::gemm::Engine;
use crate::conv::simd::{Kernel, MOST_LANES, Simd, transpose};

/// A kernel seen as one matrix for each group: element `(row, (channel, tap))` of group `g` is
/// `data[g·group + row·row_stride + channel·channel_stride + tap]`.
#[derive(Clone, Copy)]
pub struct KernelView<'a, T> {
    pub data: &'a [T],
    pub groups: usize,
    /// Rows, channels and taps of a group.
    pub size: [usize; 3],
    pub group: usize,
    pub row_stride: usize,
    pub channel_stride: usize,
}

/// A kernel in the order that the register tile reads it: by group, by panel of as many rows as a
/// register has lanes, by tap, by channel; the last panel is filled up with anything.
#[derive(Debug)]
pub struct PackedKernel<T> {
    data: Vec<T>,
    /// Panels of a group.
    panels: usize,
    panel_len: usize,
    /// From one tap to the next.
    tap_len: usize,
}

/// Packing an element takes about as long as so many multiply-accumulates.
const PACKED_PER_ELEMENT: usize = 16;

impl<T: Scalar> PackedKernel<T> {
    pub fn new(engine: &Engine, view: &KernelView<T>) -> Self {
        let [rows, channels, taps] = view.size;
        let lanes = engine.lanes::<T>();
        let panels = rows.div_ceil(lanes);
        let panel_len = taps * channels * lanes;
        let len = view.groups * panels * panel_len;
        let mut data = Vec::with_capacity(len);
        let threads = engine.threads(len * PACKED_PER_ELEMENT);
        for_each_chunk(
            threads,
            &mut data.spare_capacity_mut()[..len],
            panel_len,
            |index, panel| {
                let panel =
                    Panel { view, group: index / panels, first: index % panels * lanes, panel };
                T::dispatch_to(engine.isa, panel);
            },
        );
        // SAFETY: every panel has been written.
        unsafe { data.set_len(len) };
        Self { data, panels, panel_len, tap_len: channels * lanes }
    }

    /// A group's panels from `panel` on.
    pub fn from_panel(&self, group: usize, panel: usize) -> &[T] {
        &self.data[(group * self.panels + panel) * self.panel_len..]
            [..self.panel_len * (self.panels - panel)]
    }

    pub fn panels(&self) -> usize {
        self.panels
    }

    pub fn panel_len(&self) -> usize {
        self.panel_len
    }

    pub fn tap_len(&self) -> usize {
        self.tap_len
    }
}

/// One panel to be written.
struct Panel<'a, T> {
    view: &'a KernelView<'a, T>,
    group: usize,
    first: usize,
    panel: &'a mut [MaybeUninit<T>],
}

impl<T: Scalar> Kernel<T> for Panel<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { view, group, first, panel } = self;
        let &KernelView { data, size: [rows, channels, taps], row_stride, .. } = view;
        let rows = S::LANES.min(rows - first);
        assert!(panel.len() == taps * channels * S::LANES);
        // Elements of a row that follow each other in memory.
        let run = if view.channel_stride == taps { channels * taps } else { taps };
        for from in (0..channels * taps).step_by(run) {
            let start = group * view.group + first * row_stride + from / taps * view.channel_stride;
            let source = &data[start..start + (rows - 1) * row_stride + run];
            for at in (0..run).step_by(S::LANES) {
                let len = S::LANES.min(run - at);
                let mask = simd.mask(0..len);
                // The last panel's rows past the last one are copies of that; nothing reads their
                // sums.
                let mut square = [simd.zero(); MOST_LANES];
                for (row, vector) in square[..S::LANES].iter_mut().enumerate() {
                    let start = row.min(rows - 1) * row_stride + at;
                    // SAFETY: the mask's lanes are inside `source`.
                    *vector = unsafe { simd.load_masked(source.as_ptr().add(start), mask) };
                }
                transpose::<T, S>(simd, &mut square);
                let mut step = [(from + at) / taps, (from + at) % taps];
                for (index, &vector) in square[..S::LANES].iter().enumerate() {
                    if index < len {
                        let [channel, tap] = step;
                        let target =
                            &mut panel[(tap * channels + channel) * S::LANES..][..S::LANES];
                        // SAFETY: `target` has LANES elements.
                        unsafe { simd.store(target.as_mut_ptr().cast(), vector) };
                        step = if tap + 1 == taps { [channel + 1, 0] } else { [channel, tap + 1] };
                    }
                }
            }
        }
    }
}
