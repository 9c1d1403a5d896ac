//! Kernels as the matrix product reads them.

use std::ops::{Deref, Range};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::isa::Isa;
use crate::machine::memory::{Buffer, Need, Room, Scratch, reserve};
use crate::machine::simd::{MOST_LANES, Simd, WithSimd, load, store_part};
use crate::machine::threads::for_each_chunk;

/// The sizes of a kernel seen as one matrix for each group: rows are output channels, or input channels
/// where it maps the gradient of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PanelSize {
    pub groups: usize,
    pub rows: usize,
    /// Channels that a row sums over.
    pub channels: usize,
    pub taps: usize,
}

/// One panel of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct PanelIndex {
    pub group: usize,
    /// Within the group.
    pub panel: usize,
}

/// Where a packed kernel's panels come from.
pub trait Panels<T: Element>: Sync {
    /// The sizes of the kernel.
    fn size(&self) -> PanelSize;

    /// Channels from one tap to the next where `channels` are written, no fewer than those.
    fn tap_channels(&self, channels: usize) -> usize {
        channels
    }

    /// Elements of the spare buffer that [`Panels::write`] works in, for registers of `lanes` elements.
    fn spare(&self, _lanes: usize) -> usize {
        0
    }

    /// Writes some channels of a panel, `[taps, tap_channels, LANES]`; lanes past the last row get anything.
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        index: PanelIndex,
        channels: Range<usize>,
        panel: &mut [T],
        spare: &mut [T],
    );
}

/// [`Panels`] of any kind.
pub trait AnyPanels<T: Element>: Sync {
    /// [`Panels::spare`].
    fn any_spare(&self, lanes: usize) -> usize;

    /// [`Panels::write`].
    fn write_by(
        &self,
        isa: Isa,
        index: PanelIndex,
        channels: Range<usize>,
        panel: &mut [T],
        spare: &mut [T],
    );
}

impl<T: Element, K: Panels<T>> AnyPanels<T> for K {
    fn any_spare(&self, lanes: usize) -> usize {
        self.spare(lanes)
    }

    fn write_by(
        &self,
        isa: Isa,
        index: PanelIndex,
        channels: Range<usize>,
        panel: &mut [T],
        spare: &mut [T],
    ) {
        T::dispatch_to(isa, WriteSome { kernel: self, index, channels, panel, spare });
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
pub struct PackedPanels<'a, T> {
    data: &'a [T],
    /// Panels of a group.
    pub count: usize,
    pub panel_len: usize,
    /// From one tap to the next.
    pub tap_len: usize,
    /// Whether no element is infinite or not a number: then products with zeros are zero.
    pub finite: bool,
}

impl<'a, T> PackedPanels<'a, T> {
    /// A group's panels from `panel` on.
    pub fn from(&self, PanelIndex { group, panel }: PanelIndex) -> &'a [T] {
        let start = (group * self.count + panel) * self.panel_len;
        &self.data[start..][..self.panel_len * (self.count - panel)]
    }
}

/// Multiply-accumulates that take about as long as packing an element.
const PACKED_PER_ELEMENT: usize = 16;

impl<'m, T: Element> PackedKernel<Buffer<'m, T>> {
    /// Packs a kernel.
    pub fn new(machine: &Machine<'m, T>, kernel: &impl Panels<T>) -> Room<Self> {
        let PanelSize { groups, rows, channels, taps } = kernel.size();
        let tap_channels = kernel.tap_channels(channels);
        let lanes = machine.lanes();
        let panels = rows.div_ceil(lanes);
        let panel_len = taps * tap_channels * lanes;
        let len = groups * panels * panel_len;
        let threads = machine.threads(len * PACKED_PER_ELEMENT);
        let mut data = machine.memory.buffer(len)?;
        let spare = kernel.spare(lanes);
        let need =
            Need { threads: threads.min(groups * panels), lens: [spare, 0, 0, 0, 0], tables: 0 };
        let scratch = Scratch::take(machine.memory, need)?;
        let finite = AtomicBool::new(true);
        for_each_chunk(threads, &mut data, panel_len, |index, target| {
            let index = PanelIndex { group: index / panels, panel: index % panels };
            let is_finite = scratch.lend(|[buffer, ..]| {
                reserve(buffer, spare);
                machine.run(Write { kernel, index, target, spare: buffer })
            });
            finite.fetch_and(is_finite, Ordering::Relaxed);
        });
        let finite = finite.into_inner();
        Ok(Self { data, panels, panel_len, tap_len: tap_channels * lanes, finite })
    }

    /// The same in a buffer that stays.
    pub fn into_kept(self) -> PackedKernel<Vec<T>> {
        let Self { data, panels, panel_len, tap_len, finite } = self;
        PackedKernel { data: data.into_elements(), panels, panel_len, tap_len, finite }
    }
}

impl<B> PackedKernel<B> {
    /// Taps of a panel, or points where the kernel is transformed.
    pub fn taps(&self) -> usize {
        self.panel_len / self.tap_len
    }

    /// The panels that the product reads.
    pub fn view<T>(&self) -> PackedPanels<'_, T>
    where
        B: Deref<Target = [T]>,
    {
        let &Self { ref data, panels, panel_len, tap_len, finite } = self;
        PackedPanels { data, count: panels, panel_len, tap_len, finite }
    }
}

impl<T> PackedKernel<Vec<T>> {
    /// Gives back the memory.
    pub fn into_elements(self) -> Vec<T> {
        self.data
    }
}

/// By lane, whether all elements of the panel's row are finite.
#[inline(always)]
pub fn finite_rows<T: Element, S: Simd<T>>(simd: S, panel: &[T]) -> [bool; MOST_LANES] {
    // Zero, as long as each element of the row times zero is.
    let mut zeros = simd.zero();
    for elements in panel.chunks_exact(S::LANES) {
        zeros = simd.fma(load(simd, elements), simd.zero(), zeros);
    }
    let mut lanes = [T::zero(); MOST_LANES];
    store_part(simd, &mut lanes[..S::LANES], zeros);
    lanes.map(|zero| zero == T::zero())
}

/// One panel to be written.
struct Write<'a, T, K> {
    kernel: &'a K,
    index: PanelIndex,
    target: &'a mut [T],
    spare: &'a mut [T],
}

impl<T: Element, K: Panels<T>> WithSimd<T> for Write<'_, T, K> {
    /// Whether all elements are finite.
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) -> bool {
        let Self { kernel, index, target, spare } = self;
        kernel.write(simd, index, 0..kernel.size().channels, target, spare);
        finite_rows(simd, target) == [true; MOST_LANES]
    }
}

/// Some channels of a panel to be written.
struct WriteSome<'a, T, K: ?Sized> {
    kernel: &'a K,
    index: PanelIndex,
    channels: Range<usize>,
    panel: &'a mut [T],
    spare: &'a mut [T],
}

impl<T: Element, K: Panels<T>> WithSimd<T> for WriteSome<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Self { kernel, index, channels, panel, spare } = self;
        kernel.write(simd, index, channels, panel, spare);
    }
}
