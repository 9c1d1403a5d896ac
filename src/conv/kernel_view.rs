//! A kernel as it lies in memory, seen as the matrix of a product.

use std::ops::Range;

use super::gemm::panels::{PanelIndex, PanelSize, Panels};
use crate::machine::element::Element;
use crate::machine::simd::tile::Ahead;
use crate::machine::simd::{MOST_LANES, Simd, load_part, store, transpose};

/// How many channels before its turn one is brought near, where they lie far apart.
const CHANNELS_AHEAD: usize = 12;
/// How many cache lines before its turn a part of a row is.
const LINES_AHEAD: usize = 8;

/// A kernel seen as one matrix for each group: element `(row, (channel, tap))` of group `g` is
/// `data[g·group_stride + row·row_stride + channel·channel_stride + tap]`.
#[derive(Debug, Clone, Copy)]
pub struct KernelView<'a, T> {
    pub data: &'a [T],
    pub groups: usize,
    /// Rows, channels and taps of a group.
    pub size: [usize; 3],
    pub group_stride: usize,
    pub row_stride: usize,
    pub channel_stride: usize,
}

impl<'a, T: Element> KernelView<'a, T> {
    /// `data`, `[O, n, taps]`, as it maps the input: rows are output channels.
    pub fn forward(data: &'a [T], groups: usize, [outputs, inputs, taps]: [usize; 3]) -> Self {
        Self {
            data,
            groups,
            size: [outputs, inputs, taps],
            group_stride: outputs * inputs * taps,
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

    /// A panel's rows side by side at each of the elements `at` of a channel, at most a register's lanes.
    #[inline(always)]
    pub fn columns<S: Simd<T>>(
        &self,
        simd: S,
        panel: PanelIndex,
        channel: usize,
        at: Range<usize>,
    ) -> [S::Vector; MOST_LANES] {
        let &Self { data, size: [rows, ..], group_stride, row_stride, channel_stride, .. } = self;
        let PanelIndex { group, panel } = panel;
        let (first, len) = (panel * S::LANES, at.len());
        let rows = S::LANES.min(rows - first);
        let start = group * group_stride + first * row_stride + channel * channel_stride + at.start;
        let source = &data[start..start + (rows - 1) * row_stride + len];
        // No machine foresees so many rows, or channels so far apart.
        let near = source.as_ptr();
        if channel_stride > rows * row_stride {
            let next = near.wrapping_add(CHANNELS_AHEAD * channel_stride);
            for line in (0..source.len()).step_by(Ahead::<T>::LINE) {
                simd.prefetch(next.wrapping_add(line));
            }
        } else {
            for row in 0..rows {
                simd.prefetch(near.wrapping_add(row * row_stride + LINES_AHEAD * Ahead::<T>::LINE));
            }
        }
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
}

impl<T: Element> Panels<T> for KernelView<'_, T> {
    fn size(&self) -> PanelSize {
        let [rows, channels, taps] = self.size;
        PanelSize { groups: self.groups, rows, channels, taps }
    }

    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        index: PanelIndex,
        channels: Range<usize>,
        panel: &mut [T],
        _: &mut [T],
    ) {
        let [rows, _, taps] = self.size;
        if self.row_stride == 1 {
            // One tap the other way: a channel's rows lie side by side.
            let first = index.panel * S::LANES;
            let rows = first..rows.min(first + S::LANES);
            let source = &self.data[index.group * self.group_stride..];
            for (channel, target) in channels.zip(panel.chunks_exact_mut(S::LANES)) {
                let row = channel * self.channel_stride;
                store(simd, target, load_part(simd, &source[row + rows.start..row + rows.end]));
            }
            return;
        }
        // Channels that follow each other in memory.
        let run = if self.channel_stride == taps { channels.len() } else { 1 };
        for from in (0..channels.len()).step_by(run.max(1)) {
            for at in (0..run * taps).step_by(S::LANES) {
                let len = S::LANES.min(run * taps - at);
                let square = self.columns(simd, index, channels.start + from, at..at + len);
                let [mut channel, mut tap] = [from + at / taps, at % taps];
                for (index, &vector) in square[..S::LANES].iter().enumerate() {
                    if index < len {
                        store(
                            simd,
                            &mut panel[(tap * channels.len() + channel) * S::LANES..],
                            vector,
                        );
                        [channel, tap] =
                            if tap + 1 == taps { [channel + 1, 0] } else { [channel, tap + 1] };
                    }
                }
            }
        }
    }
}
