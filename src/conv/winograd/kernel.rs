//! The kernel's transform, `U = G·g·Gᵀ`.

use std::ops::Range;

use super::lines::{Kernel, Line};
use super::points::{Family, TAPS};
use crate::conv::gemm::panels::{AnyPanels, PackedPanels, PanelIndex, PanelSize, Panels};
use crate::machine::element::Element;
use crate::machine::simd::Simd;

/// A kernel as it comes to be transformed.
#[derive(Clone, Copy)]
pub enum KernelForm<'a, T: Element> {
    /// Packed; its taps are points if it has been transformed.
    Packed(PackedPanels<'a, T>),
    /// Not even packed.
    Panels(&'a dyn AnyPanels<T>),
}

/// Panels of a transformed kernel, whose taps are points.
pub struct TransformedPanels<'a, T, K> {
    pub family: &'a Family<T>,
    pub kernel: &'a K,
    /// Whether the kernel is turned by half a turn first, as for the gradient of the input.
    pub turned: bool,
}

impl<T: Element, K: Panels<T>> TransformedPanels<'_, T, K> {
    fn panel_len(&self, lanes: usize) -> usize {
        let PanelSize { channels, taps, .. } = self.kernel.size();
        taps * channels * lanes
    }
}

impl<T: Element, K: Panels<T>> Panels<T> for TransformedPanels<'_, T, K> {
    fn size(&self) -> PanelSize {
        PanelSize { taps: self.family.points().pow(2), ..self.kernel.size() }
    }

    /// An odd number, so that points don't compete for the same places of the cache.
    fn tap_channels(&self, channels: usize) -> usize {
        channels | 1
    }

    /// The kernel's own panel, and what that takes.
    fn spare(&self, lanes: usize) -> usize {
        self.panel_len(lanes) + self.kernel.spare(lanes)
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
        let (taps, spare) = spare.split_at_mut(self.panel_len(S::LANES));
        let tap_len = channels.len() * S::LANES;
        let point_len = self.tap_channels(channels.len()) * S::LANES;
        self.kernel.write(simd, index, channels.clone(), taps, spare);
        if point_len > tap_len {
            for point in panel.chunks_exact_mut(point_len) {
                point[tap_len..].fill(T::zero());
            }
        }
        for channel in 0..channels.len() {
            let at = channel * S::LANES;
            let taps = Strided { data: &taps[at..], step: tap_len };
            transform(simd, self.family, self.turned, taps, &mut panel[at..], point_len);
        }
    }
}

/// Registers `step` apart.
#[derive(Clone, Copy)]
pub struct Strided<'a, T> {
    pub data: &'a [T],
    pub step: usize,
}

/// Transforms the kernels of one input channel and of a register's lanes of output channels: from taps to
/// points, `point_len` apart.
#[inline(always)]
pub fn transform<T: Element, S: Simd<T>>(
    simd: S,
    family: &Family<T>,
    turned: bool,
    taps: Strided<T>,
    points: &mut [T],
    point_len: usize,
) {
    match family.outputs {
        4 => by::<T, S, 6>(simd, Kernel(family), turned, taps, points, point_len),
        _ => by::<T, S, 4>(simd, Kernel(family), turned, taps, points, point_len),
    }
}

#[inline(always)]
fn by<T: Element, S: Simd<T>, const P: usize>(
    simd: S,
    line: impl Line<T, TAPS, P>,
    turned: bool,
    taps: Strided<T>,
    points: &mut [T],
    point_len: usize,
) {
    assert!(taps.data.len() >= (TAPS * TAPS - 1) * taps.step + S::LANES);
    assert!(points.len() >= (P * P - 1) * point_len + S::LANES);
    let mut rows = [[simd.zero(); TAPS]; P];
    for col in 0..TAPS {
        let mut column = [simd.zero(); TAPS];
        for (row, vector) in column.iter_mut().enumerate() {
            let tap = row * TAPS + col;
            let tap = if turned { TAPS * TAPS - 1 - tap } else { tap };
            // SAFETY: there is a register at each tap, as just asserted.
            *vector = unsafe { simd.load(taps.data.as_ptr().add(tap * taps.step)) };
        }
        for (row, &vector) in rows.iter_mut().zip(&line.map(simd, column)) {
            row[col] = vector;
        }
    }
    for (row, &taps) in rows.iter().enumerate() {
        for (col, &vector) in line.map(simd, taps).iter().enumerate() {
            let target = points.as_mut_ptr().wrapping_add((row * P + col) * point_len);
            // SAFETY: there is a register at each point, as just asserted.
            unsafe { simd.store(target, vector) };
        }
    }
}
