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
        plan.even = cols.step == 2;
        // What all taps of a kernel row and of a kernel column share.
        for run in &plan.runs {
            let line = |row| run.image * image_len + row * cols.input;
            for tap in 0..rows.offsets.len() {
                let line = rows.source(run.row, tap).map(line);
                plan.reach = plan.reach.max(line.map_or(0, |line| line + cols.input));
                plan.lines.push(line);
            }
            for tap in 0..cols.offsets.len() {
                plan.insides.push(cols.interior(run.col..run.col + run.len, tap));
            }
        }
        for row_tap in 0..rows.offsets.len() {
            for col_tap in 0..cols.offsets.len() {
                for first in (0..width).step_by(S::LANES) {
                    for (index, run) in plan.runs.iter().enumerate() {
                        let register = first..first + S::LANES;
                        if run.lane >= register.end || run.lane + run.len <= first {
                            continue;
                        }
                        let Some(line) = plan.lines[index * rows.offsets.len() + row_tap] else {
                            continue;
                        };
                        let inside = &plan.insides[index * cols.offsets.len() + col_tap];
                        let lane = |output: usize| run.lane + output - run.col;
                        let lanes =
                            lane(inside.start).max(first)..lane(inside.end).min(register.end);
                        if by_register && lanes.start < lanes.end {
                            // Where the register's first lane would read; that may be outside the
                            // image.
                            let output = (run.col + first) as isize - run.lane as isize;
                            let col = output * cols.step as isize + cols.offsets[col_tap];
                            let lanes = lanes.start - first..lanes.end - first;
                            plan.pieces.push(Piece {
                                offset: line as isize + col,
                                mask: simd.mask(lanes.clone()),
                                even_mask: simd.even_mask(lanes),
                            });
                        }
                        if by_register && cols.mode == PaddingMode::Zeros {
                            continue;
                        }
                        let outputs = run.col..run.col + run.len;
                        let single = |output: &usize| !(by_register && inside.contains(output));
                        for output in outputs.filter(single) {
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
        if plan.even {
            self.pack_by::<S, true>(simd, plan, depth, width, panel);
        } else {
            self.pack_by::<S, false>(simd, plan, depth, width, panel);
        }
    }

    #[inline(always)]
    fn pack_by<S: Simd<T>, const EVEN: bool>(
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
        let last_channel = self.first_channel + self.group_channels - 1;
        assert!(depth.end <= self.depth() && width == registers * S::LANES);
        assert!(plan.piece_ends.len() == taps * registers + 1);
        assert!(last_channel * plane + plan.reach <= self.x.len());
        let (mut channel, mut tap) = (depth.start / taps, depth.start % taps);
        for row in panel[..depth.len() * width].chunks_exact_mut(width) {
            let base = (self.first_channel + channel) * plane;
            let source = self.x.as_ptr().wrapping_add(base);
            let ends = &plan.piece_ends[tap * registers..][..registers + 1];
            for (register, target) in row.chunks_exact_mut(S::LANES).enumerate() {
                let read = |piece: &Piece<S::Mask, S::EvenMask>| {
                    let source = source.wrapping_offset(piece.offset);
                    // SAFETY: the lanes of a piece's mask read pixels within the plan's reach, which
                    // lies inside `x` for every channel of the group.
                    unsafe {
                        match EVEN {
                            true => simd.load_even(source, piece.even_mask),
                            false => simd.load_masked(source, piece.mask),
                        }
                    }
                };
                let pieces = &plan.pieces[ends[register]..ends[register + 1]];
                let vector = match pieces {
                    [] => simd.zero(),
                    [piece] => read(piece),
                    [first, rest @ ..] => {
                        rest.iter().fold(read(first), |sum, piece| simd.add(sum, read(piece)))
                    }
                };
                // SAFETY: `target` has LANES elements.
                unsafe { simd.store(target.as_mut_ptr(), vector) };
            }
            if !plan.singles.is_empty() {
                for &(lane, offset) in
                    &plan.singles[plan.single_ends[tap]..plan.single_ends[tap + 1]]
                {
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
    /// By run, then by kernel row, where the image row that is read starts; none for zeros.
    lines: Vec<Option<usize>>,
    /// By run, then by kernel column, the outputs that read inside the image.
    insides: Vec<Range<usize>>,
    /// Whether pixels are read at step 2.
    even: bool,
    /// Past the last pixel that is read, from the first pixel of the channel in the first image.
    reach: usize,
    /// By tap, then by register, then by run; and where each register's begin, and the last end.
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
            lines: Vec::new(),
            insides: Vec::new(),
            even: false,
            reach: 0,
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
        self.lines.clear();
        self.insides.clear();
        self.pieces.clear();
        self.piece_ends.clear();
        self.singles.clear();
        self.single_ends.clear();
        self.piece_ends.push(0);
        self.single_ends.push(0);
        self.reach = 0;
    }
}
