//! Where a block's sums go.

use std::ops::Range;

use crate::conv::correlation::Target;
use crate::machine::element::Element;
use crate::machine::shared::Shared;
use crate::machine::simd::tile::Ahead;
use crate::machine::simd::{MOST_LANES, Simd};

/// The pixels of a block of some output channels.
pub struct Outputs<'a, T> {
    pub y: &'a Shared<'a, T>,
    pub target: &'a Target,
    /// The first channel, counted through all images.
    pub channel: usize,
    pub lines: Range<usize>,
    pub cols: Range<usize>,
    /// How far from this block's lines, if they are whole, those lie that are written next.
    pub further: Option<usize>,
}

impl<T: Element> Outputs<'_, T> {
    /// Brings the lines near that are written next in place of some of this block's.
    #[inline(always)]
    pub fn bring<S: Simd<T>>(&self, simd: S, lines: Range<usize>) {
        let (Some(further), Target { plane: [height, width], .. }) = (self.further, self.target)
        else {
            return;
        };
        let from = self.y.at(self.channel * height * width, 0);
        let from = from.wrapping_add(further + (self.lines.start + lines.start) * width);
        for at in (0..lines.len() * width).step_by(Ahead::<T>::LINE) {
            simd.prefetch_to_write(from.wrapping_add(at));
        }
    }

    /// Writes the sums of `C` vectors from `col` on of `R` channels of `Q` lines from `line` on.
    #[inline(always)]
    pub fn store<S: Simd<T>, const Q: usize, const R: usize, const C: usize>(
        &self,
        simd: S,
        [line, col]: [usize; 2],
        sums: &[[[S::Vector; C]; R]; Q],
    ) {
        let Target { plane: [height, width], origin, step } = self.target;
        let row = origin[0] + (self.lines.start + line) * step[0];
        let first =
            (self.channel * height + row) * width + origin[1] + (self.cols.start + col) * step[1];
        let pixels = self.cols.len() - col;
        let [to_line, to_channel] = [step[0] * width, height * width];
        let last = (R - 1) * to_channel + (Q - 1) * to_line;
        let most = (C * S::LANES).min(pixels);
        let y = self.y.at(first, last + (most - 1) * step[1] + 1);
        for c in 0..C {
            // A whole register of pixels needs no mask.
            let lanes = 0..S::LANES.min(pixels.saturating_sub(c * S::LANES));
            let is_full = step[1] == 1 && lanes.len() == S::LANES;
            let (mask, even_mask) = (simd.mask(lanes.clone()), simd.even_mask(lanes.clone()));
            for (q, sums) in sums.iter().enumerate() {
                for (r, sums) in sums.iter().enumerate() {
                    let at = r * to_channel + q * to_line + c * S::LANES * step[1];
                    let (y, sum) = (y.wrapping_add(at), sums[c]);
                    // SAFETY: no other task has these pixels, and where `step` leaves gaps, nothing
                    // touches those during this product. There is a lane for each pixel.
                    unsafe {
                        match step[1] {
                            1 if is_full => simd.store(y, sum),
                            1 => simd.store_masked(y, mask, sum),
                            2 => simd.store_even(y, even_mask, sum),
                            step => {
                                let mut values = [T::zero(); MOST_LANES];
                                simd.store(values.as_mut_ptr(), sum);
                                for lane in lanes.clone() {
                                    *y.add(lane * step) = values[lane];
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
