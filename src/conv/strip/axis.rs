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

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> impl Iterator<Item = TapAxis> {
        [(1, [-2, -1, 0]), (2, [-3, 0, 3]), (3, [1, 2, 9]), (1, [2, 1, 0])].into_iter().flat_map(
            |(step, offsets)| {
                (0..8).map(move |input| TapAxis {
                    input,
                    output: 6,
                    step,
                    offsets: offsets.to_vec(),
                    mode: PaddingMode::Zeros,
                })
            },
        )
    }

    #[test]
    fn the_interior_is_where_a_tap_reads_pixels() {
        for axis in axes() {
            let mut inside_all = Vec::new();
            for output in 0..axis.output {
                let reads = |tap: usize| {
                    let position = (output * axis.step) as isize + axis.offsets[tap];
                    (0..axis.input as isize).contains(&position).then_some(position as usize)
                };
                for tap in 0..axis.offsets.len() {
                    let interior = axis.interior(0..axis.output, tap);
                    assert_eq!(interior.contains(&output), reads(tap).is_some());
                    assert_eq!(axis.source(output, tap), reads(tap));
                }
                if (0..axis.offsets.len()).all(|tap| reads(tap).is_some()) {
                    inside_all.push(output);
                }
            }
            assert_eq!(axis.inside_through_all().collect::<Vec<_>>(), inside_all);
            let reflected = TapAxis { mode: PaddingMode::Reflect, ..axis };
            assert_eq!(reflected.inside_through_all(), 0..6);
        }
    }

    #[test]
    fn runs_are_the_pixels_row_by_row() {
        for (rows, cols) in [(1, 1), (2, 3), (4, 5)] {
            for start in 0..20 {
                for end in start..25 {
                    let mut at = start;
                    for run in runs(start..end, rows, cols) {
                        assert_eq!(run.lane, at - start);
                        assert_eq!((run.image * rows + run.row) * cols + run.col, at);
                        assert!(run.row < rows && run.len > 0 && run.col + run.len <= cols);
                        at += run.len;
                    }
                    assert_eq!(at, end);
                }
            }
        }
    }
}
