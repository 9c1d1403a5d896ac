//! Which pixels of a source each output pixel reads.

use std::ops::Range;

use crate::config::geometry::Axis;
use crate::config::padding::PaddingMode;

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

    /// Position of the source, which may be outside, that `output` reads through `tap`.
    pub fn position(&self, output: usize, tap: usize) -> isize {
        (output * self.step) as isize + self.offsets[tap]
    }

    /// Whether outputs next to each other read positions next to each other, and so do taps.
    pub fn consecutive(&self) -> bool {
        self.step == 1 && self.offsets.windows(2).all(|pair| pair[1] == pair[0] + 1)
    }

    /// The input position that `output` reads through `tap`; none for a zero.
    #[inline]
    pub fn source(&self, output: usize, tap: usize) -> Option<usize> {
        self.mode.source(self.position(output, tap), self.input)
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

    /// The outputs that read inside the image through every tap; all, where padding isn't zeros.
    pub fn inside_through_all(&self) -> Range<usize> {
        (0..self.offsets.len()).fold(0..self.output, |outputs, tap| self.nonzero(outputs, tap))
    }

    /// The part of `outputs` that doesn't just read zeros through `tap`, or a little more.
    pub fn nonzero(&self, outputs: Range<usize>, tap: usize) -> Range<usize> {
        match self.mode {
            PaddingMode::Zeros => self.interior(outputs, tap),
            _ => outputs,
        }
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
