//! The virtual im2col: which input pixel each row and column of the column matrix stands for, and
//! how to write any part of that matrix into a panel. The matrix as a whole never exists.

use std::ops::Range;

use crate::conv::simd::Simd;
use crate::geometry::Axis;
use crate::{PaddingMode, Scalar};

/// How one axis of a source image is read: output position `o` reads position
/// `o · step + offsets[tap]` of `input` pixels, continued past the border by `mode`.
#[derive(Clone)]
pub struct TapAxis {
    pub input: usize,
    pub output: usize,
    pub step: usize,
    pub offsets: Vec<isize>,
    pub mode: PaddingMode,
}

impl TapAxis {
    /// The axis as the convolution itself reads it.
    pub fn forward(axis: &Axis, mode: PaddingMode) -> Self {
        Self {
            input: axis.input,
            output: axis.output,
            step: axis.stride,
            offsets: (0..axis.kernel).map(|tap| axis.tap_offset(tap)).collect(),
            mode,
        }
    }

    /// The input position that `output` reads through `tap`; none for a zero.
    #[inline]
    pub fn source(&self, output: usize, tap: usize) -> Option<usize> {
        let position = (output * self.step) as isize + self.offsets[tap];
        self.mode.source(position, self.input)
    }

    /// The part of `outputs` that reads inside the image through `tap`.
    #[inline]
    pub fn interior(&self, outputs: Range<usize>, tap: usize) -> Range<usize> {
        let (step, offset) = (self.step as isize, self.offsets[tap]);
        let first = if offset < 0 { (-offset + step - 1) / step } else { 0 } as usize;
        let room = self.input as isize - offset;
        let end = if room > 0 { (room - 1) / step + 1 } else { 0 } as usize;
        let first = first.clamp(outputs.start, outputs.end);
        first..end.clamp(first, outputs.end)
    }
}

/// Consecutive output pixels of one row of one image, and the lane of the panel they start at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub image: usize,
    pub row: usize,
    pub col: usize,
    pub len: usize,
    pub lane: usize,
}

/// Cuts output pixels, counted through all images row by row, into runs.
pub fn runs(pixels: Range<usize>, rows: usize, cols: usize) -> impl Iterator<Item = Run> {
    let start = pixels.start;
    let mut at = pixels.start;
    std::iter::from_fn(move || {
        if at >= pixels.end {
            return None;
        }
        let (line, col) = (at / cols, at % cols);
        let run = Run {
            image: line / rows,
            row: line % rows,
            col,
            len: (cols - col).min(pixels.end - at),
            lane: at - start,
        };
        at += run.len;
        Some(run)
    })
}

/// The column matrix of one group: row `(i, tap)`, column an output pixel.
pub struct Columns<'a, T> {
    /// Images, `[B, channels, H, W]`.
    pub x: &'a [T],
    /// Channels of an image.
    pub channels: usize,
    /// The group's first channel.
    pub first_channel: usize,
    /// The group's channels.
    pub group_channels: usize,
    pub rows: &'a TapAxis,
    pub cols: &'a TapAxis,
}

impl<T: Scalar> Columns<'_, T> {
    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.rows.offsets.len() * self.cols.offsets.len()
    }

    /// Rows of the column matrix.
    pub fn depth(&self) -> usize {
        self.group_channels * self.taps()
    }

    /// How `pixels` are read into panels of `width` columns, a whole number of registers.
    pub fn plan<S: Simd<T>>(
        &self,
        simd: S,
        pixels: Range<usize>,
        width: usize,
        plan: &mut PanelPlan<S::Mask, S::EvenMask>,
    ) {
        let Self { rows, cols, .. } = *self;
        plan.clear();
        let plane = rows.input * cols.input;
        let image_len = self.channels * plane;
        plan.runs.extend(runs(pixels, rows.output, cols.output));
        let by_register = cols.step <= 2;
        for tap in 0..self.taps() {
            let (row_tap, col_tap) = (tap / cols.offsets.len(), tap % cols.offsets.len());
            for first in (0..width).step_by(S::LANES) {
                for run in &plan.runs {
                    let Some(row) = rows.source(run.row, row_tap) else { continue };
                    let line = run.image * image_len + row * cols.input;
                    let lane = |output: usize| run.lane + output - run.col;
                    let outputs = run.col..run.col + run.len;
                    let inside = cols.interior(outputs.clone(), col_tap);
                    let register = first..first + S::LANES;
                    let lanes = lane(inside.start).max(first)..lane(inside.end).min(register.end);
                    if by_register && !lanes.is_empty() {
                        // Where the register's first lane would read; that may be outside the image.
                        let output = (run.col + first) as isize - run.lane as isize;
                        let col = output * cols.step as isize + cols.offsets[col_tap];
                        let lanes = lanes.start - first..lanes.end - first;
                        plan.pieces.push(Piece {
                            offset: line as isize + col,
                            mask: simd.mask(lanes.clone()),
                            even_mask: simd.even_mask(lanes),
                        });
                    }
                    let single = if by_register { inside } else { outputs.start..outputs.start };
                    if cols.mode == PaddingMode::Zeros && by_register {
                        continue;
                    }
                    for output in (outputs.start..single.start).chain(single.end..outputs.end) {
                        if register.contains(&lane(output))
                            && let Some(col) = cols.source(output, col_tap)
                        {
                            plan.singles.push((lane(output), line + col));
                        }
                    }
                }
                plan.piece_ends.push(plan.pieces.len());
            }
            plan.single_ends.push(plan.singles.len());
        }
    }

    /// Writes rows `depth` of the planned pixels into `panel`, `[depth, width]`, and zeros past the
    /// pixels.
    #[inline(always)]
    pub fn pack<S: Simd<T>>(
        &self,
        simd: S,
        plan: &PanelPlan<S::Mask, S::EvenMask>,
        depth: Range<usize>,
        width: usize,
        panel: &mut [T],
    ) {
        let taps = self.taps();
        let plane = self.rows.input * self.cols.input;
        let registers = width / S::LANES;
        assert!(depth.end <= self.depth() && plan.piece_ends.len() == taps * registers);
        assert!(width == registers * S::LANES);
        let even = self.cols.step == 2;
        let (mut channel, mut tap) = (depth.start / taps, depth.start % taps);
        for row in panel[..depth.len() * width].chunks_exact_mut(width) {
            let base = (self.first_channel + channel) * plane;
            let source = self.x.as_ptr().wrapping_add(base);
            let ends = &plan.piece_ends[tap * registers..][..registers];
            let mut piece = match tap {
                0 => 0,
                _ => plan.piece_ends[tap * registers - 1],
            };
            for (&end, target) in ends.iter().zip(row.chunks_exact_mut(S::LANES)) {
                let mut vector = simd.zero();
                for (index, piece) in plan.pieces[piece..end].iter().enumerate() {
                    let source = source.wrapping_offset(piece.offset);
                    // SAFETY: the lanes of a piece's mask read pixels of a row of this channel.
                    let part = unsafe {
                        if even {
                            simd.load_even(source, piece.even_mask)
                        } else {
                            simd.load_masked(source, piece.mask)
                        }
                    };
                    vector = if index == 0 { part } else { simd.add(vector, part) };
                }
                // SAFETY: `target` has LANES elements.
                unsafe { simd.store(target.as_mut_ptr(), vector) };
                piece = end;
            }
            if !plan.singles.is_empty() {
                let first = if tap == 0 { 0 } else { plan.single_ends[tap - 1] };
                for &(lane, offset) in &plan.singles[first..plan.single_ends[tap]] {
                    row[lane] = self.x[base + offset];
                }
            }
            tap += 1;
            if tap == taps {
                (channel, tap) = (channel + 1, 0);
            }
        }
    }
}

/// How the pixels of one panel are read, the same for every channel.
pub struct PanelPlan<M, E> {
    runs: Vec<Run>,
    /// By tap, then by register, then by run.
    pieces: Vec<Piece<M, E>>,
    piece_ends: Vec<usize>,
    /// By tap, the lanes that are read one by one: those past the border of an image that isn't
    /// continued with zeros, or all for a step that has no instruction; and where, from the
    /// first pixel of the channel in the first image.
    singles: Vec<(usize, usize)>,
    single_ends: Vec<usize>,
}

/// The part of a register that one run fills: where its first lane would read, from the first pixel of
/// the channel in the first image, and the lanes that do.
struct Piece<M, E> {
    offset: isize,
    mask: M,
    even_mask: E,
}

impl<M, E> Default for PanelPlan<M, E> {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            pieces: Vec::new(),
            piece_ends: Vec::new(),
            singles: Vec::new(),
            single_ends: Vec::new(),
        }
    }
}

impl<M, E> PanelPlan<M, E> {
    fn clear(&mut self) {
        self.runs.clear();
        self.pieces.clear();
        self.piece_ends.clear();
        self.singles.clear();
        self.single_ends.clear();
    }
}
