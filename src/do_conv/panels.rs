//! Panels of the kernel that `D` and `W` compose, which exists in no other form.

use std::ops::Range;

use crate::compose::{Composer, Factors};
use crate::conv::gemm::panels::{PanelIndex, PanelSize, Panels};
use crate::conv::kernel_view::KernelView;
use crate::conv::weights::Direction;
use crate::machine::Machine;
use crate::machine::element::Element;
use crate::machine::memory::{Buffer, Room};
use crate::machine::simd::{Simd, load, store};

/// The kernel `W'[m] = Σ_s D[c, m, s] · W[s]`, where `c` is the input channel.
pub struct ComposedPanels<'a, T: Element> {
    /// `W`, whose taps are the `s`.
    w: KernelView<'a, T>,
    d: D<'a, T>,
    taps: usize,
}

/// Most registers of `W` that are brought together before they are multiplied, in L1.
const TOGETHER: usize = 144;

/// `D = d_offset + E` by slices, `[S, MN]` of what stands side by side in a register.
enum D<'a, T: Element> {
    /// By input channel, one element, the same for all rows of a panel.
    ByChannel(Buffer<'a, T>),
    /// Where rows are input channels: by group and panel, an element for each lane.
    ByLane(Buffer<'a, T>),
}

impl<'a, T: Element> ComposedPanels<'a, T> {
    /// Of factors that are paired by input channel.
    pub fn new(
        machine: &Machine<'a, T>,
        Factors { composer, d_offset, w }: Factors<'a, T>,
        direction: Direction,
    ) -> Room<Self> {
        let &Composer { groups, group_inputs, group_outputs, taps, d_mul, .. } = composer;
        let size = [group_outputs, group_inputs, d_mul];
        let (w, lanes) = match direction {
            Direction::Forward => (KernelView::forward(w, groups, size), 1),
            Direction::Transposed => (KernelView::transposed(w, groups, size), machine.lanes()),
        };
        let panels = group_inputs.div_ceil(lanes);
        let mut data = machine.memory.buffer(groups * panels * d_mul * taps * lanes)?;
        let mut rows = data.chunks_exact_mut(taps * lanes);
        for group in 0..groups {
            for panel in 0..panels {
                for (s, row) in (0..d_mul).zip(&mut rows) {
                    let one = composer.identity_tap(s);
                    for (tap, values) in row.chunks_exact_mut(lanes).enumerate() {
                        for (lane, value) in values.iter_mut().enumerate() {
                            let input = (panel * lanes + lane).min(group_inputs - 1);
                            let row = (group * group_inputs + input) * taps + tap;
                            let offset = d_offset[row * d_mul + s];
                            *value = if one == Some(tap) { offset + T::one() } else { offset };
                        }
                    }
                }
            }
        }
        let d = match direction {
            Direction::Forward => D::ByChannel(data),
            Direction::Transposed => D::ByLane(data),
        };
        Ok(Self { w, d, taps })
    }

    /// Writes a panel by `d`, whose rows have one element for each tap or, `BY_LANE`, a register's.
    #[inline(always)]
    fn compose<S: Simd<T>, const BY_LANE: bool>(
        &self,
        simd: S,
        index: PanelIndex,
        all: Range<usize>,
        d: &[T],
        panel: &mut [T],
        w: &mut [T],
    ) {
        let [_, _, d_mul] = self.w.size;
        let slice = d_mul * self.taps * if BY_LANE { S::LANES } else { 1 };
        let per_group = d.len() / slice / self.w.groups;
        let most = self.channels_together();
        for first in all.clone().step_by(most) {
            let channels = first..all.end.min(first + most);
            let w = &mut w[..channels.len() * d_mul * S::LANES];
            self.w.write(simd, index, channels.clone(), w, &mut []);
            for channel in channels.clone() {
                let of_group = if BY_LANE { index.panel } else { channel };
                let d = &d[(index.group * per_group + of_group) * slice..][..slice];
                let mut products = Products {
                    w: &w[(channel - first) * S::LANES..],
                    w_channels: channels.len(),
                    d,
                    taps: self.taps,
                    channels: all.len(),
                    channel: channel - all.start,
                    panel,
                };
                let mut tap = 0;
                while tap < self.taps {
                    tap += if tap + 3 <= self.taps {
                        products.write::<S, BY_LANE, 3>(simd, tap)
                    } else {
                        products.write::<S, BY_LANE, 1>(simd, tap)
                    };
                }
            }
        }
    }

    /// Channels of `W` that are brought together.
    fn channels_together(&self) -> usize {
        let [_, channels, d_mul] = self.w.size;
        (TOGETHER / d_mul).clamp(1, channels.max(1))
    }
}

impl<T: Element> Panels<T> for ComposedPanels<'_, T> {
    fn size(&self) -> PanelSize {
        PanelSize { taps: self.taps, ..self.w.size() }
    }

    /// Some channels of `W` for a panel's rows, `[S, channels, LANES]`.
    fn spare(&self, lanes: usize) -> usize {
        self.channels_together() * self.w.size().taps * lanes
    }

    #[inline(always)]
    fn write<S: Simd<T>>(
        &self,
        simd: S,
        index: PanelIndex,
        channels: Range<usize>,
        panel: &mut [T],
        spare: &mut [T],
    ) {
        let w = &mut spare[..self.spare(S::LANES)];
        match &self.d {
            D::ByChannel(d) => self.compose::<S, false>(simd, index, channels, d, panel, w),
            D::ByLane(d) => self.compose::<S, true>(simd, index, channels, d, panel, w),
        }
    }
}

/// The products of one channel of a panel.
struct Products<'a, T> {
    /// `[S, w_channels, LANES]`, from this channel on.
    w: &'a [T],
    w_channels: usize,
    /// `[S, MN]`, of one element or a register's lanes.
    d: &'a [T],
    taps: usize,
    channels: usize,
    channel: usize,
    /// `[MN, channels, LANES]`.
    panel: &'a mut [T],
}

impl<T: Element> Products<'_, T> {
    /// Writes `Q` taps from `tap` on; gives `Q`.
    #[inline(always)]
    fn write<S: Simd<T>, const BY_LANE: bool, const Q: usize>(
        &mut self,
        simd: S,
        tap: usize,
    ) -> usize {
        let lanes = if BY_LANE { S::LANES } else { 1 };
        let mut sums = [simd.zero(); Q];
        let rows = self.d.chunks_exact(self.taps * lanes);
        for (w, d) in self.w.chunks(self.w_channels * S::LANES).zip(rows) {
            let w = load(simd, w);
            let d = &d[tap * lanes..(tap + Q) * lanes];
            for (q, sum) in sums.iter_mut().enumerate() {
                let d = if BY_LANE { load(simd, &d[q * lanes..]) } else { simd.splat(d[q]) };
                // In the order and with the rounding of every composition.
                *sum = simd.fma(w, d, *sum);
            }
        }
        for (q, &sum) in sums.iter().enumerate() {
            let at = (tap + q) * self.channels + self.channel;
            store(simd, &mut self.panel[at * S::LANES..], sum);
        }
        Q
    }
}
