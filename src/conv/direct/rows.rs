//! Rows of pixels, of a strip or where they lie.

use std::ops::Range;

use crate::config::padding::PaddingMode;
use crate::conv::strip::Strip;
use crate::conv::strip::axis::TapAxis;
use crate::machine::element::Element;
use crate::machine::simd::Simd;
use crate::machine::simd::tile::Ahead;

/// Where a block's lines read their pixels.
pub trait Pixels<T: Copy, S: Simd<T>> {
    /// Brings near what is read of a channel next in place of what some lines read, if no machine foresees it.
    /// That may be nobody's.
    fn bring(&self, _simd: S, _channel: usize, _lines: Range<usize>) {}

    /// Consecutive rows of a channel from that on which a line of the block reads through the first kernel
    /// row: `C` registers from a column on, which read through the kernel column `tap`. `place` is that line
    /// and column. Lanes from `len` on are zeros, unless that is all lanes.
    fn rows<const C: usize>(
        &self,
        simd: S,
        channel: usize,
        place: [usize; 2],
        tap: usize,
        len: usize,
    ) -> impl Rows<T, S, C>;
}

/// Consecutive rows of pixels, some registers of each.
pub trait Rows<T: Copy, S: Simd<T>, const C: usize> {
    /// Reads a row.
    ///
    /// # Safety
    /// A line of the block must read the row through some kernel row.
    unsafe fn load(&self, simd: S, row: usize) -> [S::Vector; C];
}

/// Pixels of a strip.
pub struct InStrip<'a, T, M, E> {
    pub strip: &'a Strip<M, E>,
    pub data: &'a [T],
}

impl<T: Element, S: Simd<T>> Pixels<T, S> for InStrip<'_, T, S::Mask, S::EvenMask> {
    #[inline(always)]
    fn rows<const C: usize>(
        &self,
        simd: S,
        channel: usize,
        [line, col]: [usize; 2],
        tap: usize,
        len: usize,
    ) -> impl Rows<T, S, C> {
        let Self { strip, data } = self;
        let start = strip.row_start(line, 0) + strip.tap_starts()[tap] + col;
        let first = data[channel * strip.channel_len..].as_ptr().wrapping_add(start);
        StripRows { first, row_len: strip.row_len(), len, masks: masks::<T, S, C>(simd, 0, len) }
    }
}

/// By register, the lanes from `first` to `end`, counted through all.
#[inline(always)]
fn masks<T: Copy, S: Simd<T>, const C: usize>(simd: S, first: usize, end: usize) -> [S::Mask; C] {
    let mut masks = [simd.mask(0..0); C];
    for (c, mask) in masks.iter_mut().enumerate() {
        let lane = |at: usize| at.saturating_sub(c * S::LANES).min(S::LANES);
        *mask = simd.mask(lane(first)..lane(end));
    }
    masks
}

/// Rows of a strip.
struct StripRows<T, M, const C: usize> {
    first: *const T,
    row_len: usize,
    len: usize,
    masks: [M; C],
}

impl<T: Element, S: Simd<T>, const C: usize> Rows<T, S, C> for StripRows<T, S::Mask, C> {
    #[inline(always)]
    unsafe fn load(&self, simd: S, row: usize) -> [S::Vector; C] {
        let mut pixels = [simd.zero(); C];
        for (c, (pixels, &mask)) in pixels.iter_mut().zip(&self.masks).enumerate() {
            let source = self.first.wrapping_add(row * self.row_len + c * S::LANES);
            // SAFETY: a row of the strip has a pixel for each column through each tap, and there are lanes
            // past the last.
            *pixels = unsafe {
                if self.len >= C * S::LANES {
                    simd.load(source)
                } else {
                    simd.load_masked(source, mask)
                }
            };
        }
        pixels
    }
}

/// Pixels where they lie: nothing is copied, and lanes past the border are masked.
pub struct InPlace<'a, T> {
    /// The planes of a group's channels, `[channels, rows, columns]`.
    pub x: &'a [T],
    pub rows: &'a TapAxis,
    pub cols: &'a TapAxis,
    /// The first line and column of the block.
    pub first: [usize; 2],
    /// How far from this block's lines, if they are whole, those lie that are read next.
    pub further: Option<usize>,
}

/// Whether pixels may be read where they lie, for one output channel.
pub fn in_place(rows: &TapAxis, cols: &TapAxis) -> bool {
    matches!(rows.offsets.len(), 3 | 5)
        && rows.consecutive()
        && cols.step == 1
        && [rows, cols].iter().all(|axis| axis.mode == PaddingMode::Zeros)
}

impl<T: Element, S: Simd<T>> Pixels<T, S> for InPlace<'_, T> {
    #[inline(always)]
    fn bring(&self, simd: S, channel: usize, lines: Range<usize>) {
        let Self { x, rows, cols, first: [first_line, _], further } = *self;
        let Some(further) = further else { return };
        let line = channel * rows.input + first_line + lines.start;
        let from = x.as_ptr().wrapping_add(further + line * cols.input);
        for at in (0..lines.len() * cols.input).step_by(Ahead::<T>::LINE) {
            simd.prefetch(from.wrapping_add(at));
        }
    }

    #[inline(always)]
    fn rows<const C: usize>(
        &self,
        simd: S,
        channel: usize,
        [line, col]: [usize; 2],
        tap: usize,
        len: usize,
    ) -> impl Rows<T, S, C> {
        let Self { x, rows, cols, first: [first_line, first_col], .. } = *self;
        let [height, width] = [rows.input, cols.input];
        let plane = &x[channel * height * width..][..height * width];
        let first_row = rows.position(first_line + line, 0);
        let first_col = cols.position(first_col + col, tap);
        let lane = |col: isize| usize::try_from(col - first_col).unwrap_or(0);
        PlaneRows {
            first: plane.as_ptr().wrapping_offset(first_row * width as isize + first_col),
            first_row,
            height,
            width,
            masks: masks::<T, S, C>(simd, lane(0), lane(width as isize).min(len)),
        }
    }
}

/// Rows of a plane.
struct PlaneRows<T, M, const C: usize> {
    /// The first pixel, which may be outside.
    first: *const T,
    first_row: isize,
    height: usize,
    width: usize,
    /// The lanes that are columns of the plane.
    masks: [M; C],
}

impl<T: Element, S: Simd<T>, const C: usize> Rows<T, S, C> for PlaneRows<T, S::Mask, C> {
    #[inline(always)]
    unsafe fn load(&self, simd: S, row: usize) -> [S::Vector; C] {
        let mut pixels = [simd.zero(); C];
        // A row above the first has a number that wraps around.
        if self.first_row.wrapping_add_unsigned(row) as usize >= self.height {
            return pixels;
        }
        for (c, (pixels, &mask)) in pixels.iter_mut().zip(&self.masks).enumerate() {
            let source = self.first.wrapping_add(row * self.width + c * S::LANES);
            // SAFETY: the row is one of the plane's, and the mask has lanes of its columns.
            *pixels = unsafe { simd.load_masked(source, mask) };
        }
        pixels
    }
}
