//! The virtual im2col: which input pixel each row and column of the column matrix stands for, and
//! how to write any part of that matrix into a panel. The matrix as a whole never exists.

use std::ops::Range;

use crate::PaddingMode;
use crate::geometry::Axis;

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

impl<T: Copy + num_traits::Zero> Columns<'_, T> {
    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.rows.offsets.len() * self.cols.offsets.len()
    }

    /// Rows of the column matrix.
    pub fn depth(&self) -> usize {
        self.group_channels * self.taps()
    }

    /// Writes rows `depth` of `pixels` into `panel`, `[depth, width]`, and zeros past the pixels.
    pub fn pack(&self, depth: Range<usize>, pixels: Range<usize>, width: usize, panel: &mut [T]) {
        let panel = &mut panel[..depth.len() * width];
        let lanes = pixels.len();
        if lanes < width {
            for row in panel.chunks_exact_mut(width) {
                row[lanes..].fill(T::zero());
            }
        }
        for run in runs(pixels, self.rows.output, self.cols.output) {
            self.pack_run(depth.clone(), run, width, panel);
        }
    }

    fn pack_run(&self, depth: Range<usize>, run: Run, width: usize, panel: &mut [T]) {
        let taps = self.taps();
        let plane = self.rows.input * self.cols.input;
        let outputs = run.col..run.col + run.len;
        let image = (run.image * self.channels + self.first_channel) * plane;
        for tap in 0..taps {
            let (row_tap, col_tap) = (tap / self.cols.offsets.len(), tap % self.cols.offsets.len());
            // Channels whose row of the matrix at this tap lies in `depth`.
            let first = (depth.start.saturating_sub(tap)).div_ceil(taps);
            let end = depth.end.saturating_sub(tap).div_ceil(taps);
            let row = self.rows.source(run.row, row_tap);
            let interior = self.cols.interior(outputs.clone(), col_tap);
            for channel in first..end {
                let lane = (channel * taps + tap - depth.start) * width + run.lane;
                let target = &mut panel[lane..lane + run.len];
                let Some(row) = row else {
                    target.fill(T::zero());
                    continue;
                };
                let start = image + channel * plane + row * self.cols.input;
                let line = &self.x[start..start + self.cols.input];
                self.gather(line, outputs.clone(), interior.clone(), col_tap, target);
            }
        }
    }

    /// Reads `outputs` of one image row through `tap`.
    #[inline]
    fn gather(
        &self,
        line: &[T],
        outputs: Range<usize>,
        interior: Range<usize>,
        tap: usize,
        target: &mut [T],
    ) {
        let cols = self.cols;
        let border = |output| cols.source(output, tap).map_or(T::zero(), |at| line[at]);
        let (near, rest) = target.split_at_mut(interior.start - outputs.start);
        let (inside, far) = rest.split_at_mut(interior.len());
        for (value, output) in near.iter_mut().zip(outputs.start..) {
            *value = border(output);
        }
        for (value, output) in far.iter_mut().zip(interior.end..) {
            *value = border(output);
        }
        if interior.is_empty() {
            return;
        }
        let first = ((interior.start * cols.step) as isize + cols.offsets[tap]) as usize;
        if cols.step == 1 {
            inside.copy_from_slice(&line[first..first + interior.len()]);
        } else {
            let pixels = line[first..].iter().step_by(cols.step);
            inside.iter_mut().zip(pixels).for_each(|(value, &pixel)| *value = pixel);
        }
    }
}
